//! What the child writes: a magic, blocks of output, and one closing record with the status
//! and the total length. A child that dies half-way can never pass for a short success.

use std::io::{self, Write};

use crate::limit;

pub(crate) const MAGIC: &[u8; 16] = b"\0SeaworthyFrame1";

/// How the child ended, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    /// The output is the message.
    Failed,
    NoLandlock,
}

/// Highest block length; larger numbers close the frame.
const BLOCK: u32 = 1 << 20;
const CLOSE: u32 = 0xffff_ff00;
/// Voids all output so far.
const VOID: u32 = 0xffff_fe00;

/// Writes a frame.
pub(crate) struct Sink<W: Write> {
    out: W,
    buffer: Vec<u8>,
    total: u64,
}

impl<W: Write> Sink<W> {
    pub(crate) fn open(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self { out, buffer: Vec::with_capacity(64 * 1024), total: 0 })
    }

    /// Voids what was written and writes `bytes` instead.
    pub(crate) fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.clear();
        self.total = 0;
        self.out.write_all(&VOID.to_le_bytes())?;
        self.write_all(bytes)
    }

    pub(crate) fn close(mut self, status: Status) -> io::Result<()> {
        self.send()?;
        let code = match status {
            Status::Ok => 0,
            Status::Failed => 1,
            Status::NoLandlock => 2,
        };
        self.out.write_all(&(CLOSE | code).to_le_bytes())?;
        self.out.write_all(&self.total.to_le_bytes())?;
        self.out.flush()
    }

    fn send(&mut self) -> io::Result<()> {
        for block in self.buffer.chunks(BLOCK as usize) {
            self.out.write_all(&u32::try_from(block.len()).unwrap_or_default().to_le_bytes())?;
            self.out.write_all(block)?;
            self.total += block.len() as u64;
        }
        self.buffer.clear();
        Ok(())
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 64 * 1024 {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a frame piece by piece, as it comes out of the pipe.
pub(crate) struct Source {
    pending: Vec<u8>,
    output: Vec<u8>,
    state: State,
    at_most: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preamble,
    Head,
    Block(usize),
    Closed(Status),
    Broken,
    TooLarge,
}

/// What a frame came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Complete(Status, Vec<u8>),
    Incomplete,
    TooLarge,
}

impl Source {
    pub(crate) fn new(at_most: usize) -> Self {
        Self { pending: Vec::new(), output: Vec::new(), state: State::Preamble, at_most }
    }

    /// Takes the next bytes; false when more cannot help.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        match self.state {
            State::Broken | State::TooLarge => return false,
            // Nothing may follow a closed frame: the child's own exit prints nothing here.
            State::Closed(_) => self.state = if bytes.is_empty() { self.state } else { State::Broken },
            _ => self.pending.extend_from_slice(bytes),
        }
        while self.advance() {}
        !matches!(self.state, State::Broken | State::TooLarge)
    }

    pub(crate) fn finish(self) -> Outcome {
        match self.state {
            State::Closed(status) => Outcome::Complete(status, self.output),
            State::TooLarge => Outcome::TooLarge,
            _ => Outcome::Incomplete,
        }
    }

    fn advance(&mut self) -> bool {
        match self.state {
            State::Preamble => self.find_magic(),
            State::Head => self.head(),
            State::Block(length) => {
                let taken = length.min(self.pending.len());
                if self.output.len() + taken > self.at_most {
                    self.state = State::TooLarge;
                    return false;
                }
                self.output.extend(self.pending.drain(..taken));
                self.state = if taken == length { State::Head } else { State::Block(length - taken) };
                taken > 0 && taken == length
            }
            State::Closed(_) | State::Broken | State::TooLarge => false,
        }
    }

    fn find_magic(&mut self) -> bool {
        if let Some(at) = self.pending.windows(MAGIC.len()).position(|window| window == MAGIC) {
            if at > limit::PREAMBLE_BYTES {
                self.state = State::Broken;
                return false;
            }
            self.pending.drain(..at + MAGIC.len());
            self.state = State::Head;
            return true;
        }
        if self.pending.len() > limit::PREAMBLE_BYTES + MAGIC.len() {
            self.state = State::Broken;
        }
        false
    }

    fn head(&mut self) -> bool {
        let Some(word) = self.pending.first_chunk::<4>() else { return false };
        let word = u32::from_le_bytes(*word);
        if (1..=BLOCK).contains(&word) {
            self.pending.drain(..4);
            self.state = State::Block(word as usize);
            return true;
        }
        if word == VOID {
            self.pending.drain(..4);
            self.output.clear();
            return true;
        }
        let Some(total) = self.pending.get(4..12).and_then(|bytes| bytes.first_chunk::<8>()) else {
            if word < CLOSE {
                self.state = State::Broken;
            }
            return false;
        };
        let status = match word ^ CLOSE {
            0 => Status::Ok,
            1 => Status::Failed,
            2 => Status::NoLandlock,
            _ => {
                self.state = State::Broken;
                return false;
            }
        };
        let right = u64::from_le_bytes(*total) == self.output.len() as u64 && self.pending.len() == 12;
        self.state = if right { State::Closed(status) } else { State::Broken };
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: &[&[u8]], status: Status) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sink = Sink::open(&mut out).expect("open");
        parts.iter().for_each(|part| sink.write_all(part).expect("write"));
        sink.close(status).expect("close");
        out
    }

    fn read(bytes: &[u8], step: usize, at_most: usize) -> Outcome {
        let mut source = Source::new(at_most);
        for part in bytes.chunks(step) {
            source.push(part);
        }
        source.finish()
    }

    #[test]
    fn whole_frames_are_read_in_any_pieces_and_cut_ones_never() {
        let big = vec![7; 3_000_000];
        for (parts, status) in [
            (vec![&b"hello"[..], b" world"], Status::Ok),
            (vec![], Status::NoLandlock),
            (vec![&big[..]], Status::Failed),
        ] {
            let frame = written(&parts, status);
            let expected = Outcome::Complete(status, parts.concat());
            for step in [1, 7, 4096, 1 << 24].into_iter().filter(|step| frame.len() / step < 100_000) {
                assert_eq!(read(&frame, step, 3_000_000), expected);
            }
            for cut in [0, 1, 15, 16, 19, frame.len() - 12, frame.len() - 1] {
                assert_eq!(read(&frame[..cut.min(frame.len() - 1)], 4096, 3_000_000), Outcome::Incomplete);
            }
            let mut longer = frame.clone();
            longer.push(0);
            assert_eq!(read(&longer, 4096, 3_000_000), Outcome::Incomplete);
        }
    }

    #[test]
    fn replaced_output_is_gone() {
        let mut out = Vec::new();
        let mut sink = Sink::open(&mut out).expect("open");
        sink.write_all(&vec![1; 200_000]).expect("write");
        sink.replace(b"no").expect("replace");
        sink.close(Status::Failed).expect("close");
        assert_eq!(read(&out, 999, 1 << 20), Outcome::Complete(Status::Failed, b"no".to_vec()));
    }

    #[test]
    fn output_is_bounded() {
        let frame = written(&[&[1; 100]], Status::Ok);
        assert!(matches!(read(&frame, 50, 100), Outcome::Complete(Status::Ok, _)));
        assert_eq!(read(&frame, 50, 99), Outcome::TooLarge);
    }

    #[test]
    fn what_precedes_is_bounded_and_garbage_is_nothing() {
        let preceded = |bytes: usize| {
            let mut out = vec![b'x'; bytes];
            out.extend(written(&[b"ok"], Status::Ok));
            out
        };
        assert!(matches!(read(&preceded(limit::PREAMBLE_BYTES), 100, 10), Outcome::Complete(Status::Ok, _)));
        assert_eq!(read(&preceded(limit::PREAMBLE_BYTES + 1), 100, 10), Outcome::Incomplete);
        let mut garbage = MAGIC.to_vec();
        garbage.extend([0xee; 64]);
        assert_eq!(read(&garbage, 3, 10), Outcome::Incomplete);
        assert_eq!(read(b"all is well", 3, 10), Outcome::Incomplete);
    }
}
