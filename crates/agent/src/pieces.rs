//! JSON objects out of a byte stream, one at a time, so that a list of any length needs the memory
//! of its longest object.

use crate::limit;

/// Why a stream has no further object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PieceError {
    /// Something else than an object where one was expected.
    #[error("not a list of JSON objects")]
    Format,
    /// One object is longer than [`limit::PIECE_BYTES`].
    #[error("one object is longer than {} bytes", limit::PIECE_BYTES)]
    TooLong,
    /// The stream ended within a list or an object.
    #[error("it ends in the middle")]
    Half,
}

/// Where in the stream the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    Between,
    Object,
    Text,
    Escape,
    End,
}

/// Cuts a stream into its objects. Says nothing about what is inside an object.
#[derive(Debug)]
pub(crate) struct Pieces {
    place: Place,
    /// A list in brackets, or objects one after the other.
    is_list: bool,
    depth: u32,
    piece: Vec<u8>,
}

impl Pieces {
    /// `[{…}, {…}]`.
    pub(crate) const fn of_list() -> Self {
        Self { place: Place::Start, is_list: true, depth: 0, piece: Vec::new() }
    }

    /// `{…}{…}`, with or without white space between.
    pub(crate) const fn of_sequence() -> Self {
        Self { place: Place::Between, is_list: false, depth: 0, piece: Vec::new() }
    }

    /// Takes the next bytes; `each` gets every object that is complete.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), PieceError> {
        for byte in bytes {
            self.step(*byte)?;
            if self.place == Place::Between && !self.piece.is_empty() {
                each(&self.piece);
                self.piece.clear();
            }
        }
        Ok(())
    }

    /// The stream is over.
    pub(crate) fn finish(&self) -> Result<(), PieceError> {
        match self.place {
            Place::End => Ok(()),
            Place::Between if !self.is_list => Ok(()),
            _ => Err(PieceError::Half),
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), PieceError> {
        match (self.place, byte) {
            (Place::Start | Place::Between | Place::End, b' ' | b'\n' | b'\r' | b'\t') => {}
            (Place::Start, b'[') => self.place = Place::Between,
            (Place::Between, b',') if self.is_list => {}
            (Place::Between, b']') if self.is_list => self.place = Place::End,
            (Place::Between, b'{') => {
                self.depth = 1;
                self.place = Place::Object;
                self.keep(byte)?;
            }
            (Place::Start | Place::Between | Place::End, _) => return Err(PieceError::Format),
            (Place::Object, _) => {
                self.keep(byte)?;
                self.in_object(byte);
            }
            (Place::Text, _) => {
                self.keep(byte)?;
                self.place = match byte {
                    b'"' => Place::Object,
                    b'\\' => Place::Escape,
                    _ => Place::Text,
                };
            }
            (Place::Escape, _) => {
                self.keep(byte)?;
                self.place = Place::Text;
            }
        }
        Ok(())
    }

    fn in_object(&mut self, byte: u8) {
        match byte {
            b'"' => self.place = Place::Text,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.place = Place::Between;
                }
            }
            _ => {}
        }
    }

    fn keep(&mut self, byte: u8) -> Result<(), PieceError> {
        if self.piece.len() == limit::PIECE_BYTES {
            return Err(PieceError::TooLong);
        }
        self.piece.push(byte);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(mut pieces: Pieces, chunks: &[&[u8]]) -> Result<Vec<String>, PieceError> {
        let mut out = Vec::new();
        for chunk in chunks {
            pieces.push(chunk, |piece| out.push(String::from_utf8_lossy(piece).into_owned()))?;
        }
        pieces.finish().map(|()| out)
    }

    #[test]
    fn lists_are_cut_at_their_objects_wherever_the_chunks_end() {
        let text = r#" [ {"a":"}\"]{"} ,{"b":[{},{"c":[]}]}, {} ] "#;
        let expected = vec![r#"{"a":"}\"]{"}"#.to_owned(), r#"{"b":[{},{"c":[]}]}"#.into(), "{}".into()];
        for at in 0..=text.len() {
            let (before, after) = text.as_bytes().split_at(at);
            assert_eq!(cut(Pieces::of_list(), &[before, after]), Ok(expected.clone()), "{at}");
        }
        assert_eq!(cut(Pieces::of_sequence(), &[b"{}{\"a\":1}\n{}\n"]).map(|it| it.len()), Ok(3));
    }

    #[test]
    fn halves_and_strangers_are_errors() {
        for half in ["", "[", "[{", "[{}", r#"[{"a"#, "[{},"] {
            assert_eq!(cut(Pieces::of_list(), &[half.as_bytes()]), Err(PieceError::Half), "{half}");
        }
        for strange in ["{}", "null", "[1]", "[{}]]", "<html>"] {
            assert_eq!(cut(Pieces::of_list(), &[strange.as_bytes()]), Err(PieceError::Format), "{strange}");
        }
        assert_eq!(cut(Pieces::of_sequence(), &[b"{}{\"a\""]), Err(PieceError::Half));
        let long = |bytes: usize| format!(r#"[{{"a":"{}"}}]"#, "x".repeat(bytes - 8));
        assert!(cut(Pieces::of_list(), &[long(limit::PIECE_BYTES).as_bytes()]).is_ok());
        let one_more = long(limit::PIECE_BYTES + 1);
        assert_eq!(cut(Pieces::of_list(), &[one_more.as_bytes()]), Err(PieceError::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(cut(Pieces::of_list(), &[&bytes]));
            drop(cut(Pieces::of_sequence(), &[&bytes]));
        }
    }
}
