use crate::{header, pax};

/// A piece of a sparse file that has data; between the pieces are holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Adds the entries of a GNU sparse header (24 bytes each) until an empty one.
pub(crate) fn add_old(map: &mut Vec<Piece>, entries: &[u8]) -> Result<(), &'static str> {
    for entry in entries.chunks_exact(24) {
        if entry.first() == Some(&0) {
            break;
        }
        let (offset, length) = entry.split_at(12);
        map.push(Piece {
            offset: header::number(offset).ok_or("has a bad sparse map")?,
            length: header::number(length).ok_or("has a bad sparse map")?,
        });
    }
    Ok(())
}

/// The comma-separated map of versions 0.0 and 0.1.
pub(crate) fn from_list(list: &[u8]) -> Result<Vec<Piece>, &'static str> {
    let mut numbers = list.split(|byte| *byte == b',');
    let mut map = Vec::new();
    while let Some(offset) = numbers.next() {
        let offset = pax::decimal(offset).ok_or("has a bad sparse map")?;
        let length = numbers.next().and_then(pax::decimal).ok_or("has a bad sparse map")?;
        map.push(Piece { offset, length });
    }
    Ok(map)
}

/// Pieces in order, apart, inside the file, with exactly the data that is stored.
pub(crate) fn check(map: &[Piece], size: u64, stored: u64) -> Result<(), &'static str> {
    let (mut end, mut data) = (0u64, 0u64);
    for piece in map {
        if piece.offset < end {
            return Err("has a sparse map out of order");
        }
        end = piece.offset.checked_add(piece.length).ok_or("has a bad sparse map")?;
        data = data.checked_add(piece.length).ok_or("has a bad sparse map")?;
    }
    if end > size || data > stored {
        return Err("has a sparse map that does not fit its file");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        let map = |list: &str| from_list(list.as_bytes()).expect(list);
        assert_eq!(check(&map("0,5,10,5"), 15, 10), Ok(()));
        assert!(check(&map("0,5,10,5"), 14, 10).is_err());
        assert!(check(&map("0,5,10,5"), 15, 9).is_err());
        assert!(check(&map("0,5,4,5"), 15, 10).is_err());
        assert!(from_list(b"1").is_err() && from_list(b"").is_err() && from_list(b"1,x").is_err());
    }
}
