use std::fmt::Write as _;

use crate::merkle::{Hash, root_of};

/// Hashes in a full tile, entries in a full bundle (C2SP `tlog-tiles`).
pub const TILE_WIDTH: u64 = 256;

/// One tile: up to 256 consecutive hashes of one level. Level 0 holds leaf hashes; each hash
/// of level n+1 is the root over one full tile of level n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Level, leaves are 0.
    pub level: u8,
    /// Position within the level.
    pub index: u64,
    /// The hashes, 1 to 256.
    pub hashes: Vec<Hash>,
}

impl Tile {
    /// `tile/<level>/<index>[.p/<width>]`.
    pub fn path(&self) -> String {
        path(&self.level.to_string(), self.index, self.hashes.len() as u64)
    }

    /// The file's bytes: the hashes, one after another.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(|hash| hash.0).collect()
    }

    /// Reads the hashes of a tile file; `None` when the length is not `width` hashes.
    pub fn read_hashes(bytes: &[u8], width: usize) -> Option<Vec<Hash>> {
        if bytes.len() != width * 32 {
            return None;
        }
        bytes.chunks_exact(32).map(|chunk| chunk.try_into().ok().map(Hash)).collect()
    }

    /// The root over the tile, when it is full: the hash that stands for it one level up.
    pub fn summary(&self) -> Option<Hash> {
        (self.hashes.len() as u64 == TILE_WIDTH).then(|| root_of(&self.hashes))
    }

    /// The records whose hashes this tile covers, first and one past the last.
    pub fn records(&self) -> std::ops::Range<u64> {
        let span = TILE_WIDTH.saturating_pow(u32::from(self.level));
        let start = self.index.saturating_mul(TILE_WIDTH).saturating_mul(span);
        start..start.saturating_add((self.hashes.len() as u64).saturating_mul(span))
    }
}

/// `tile/entries/<index>[.p/<width>]`: the file of an entry bundle.
pub fn bundle_path(index: u64, width: u64) -> String {
    path("entries", index, width)
}

fn path(kind: &str, index: u64, width: u64) -> String {
    let mut groups = vec![index % 1000];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(rest % 1000);
        rest /= 1000;
    }
    let mut out = format!("tile/{kind}");
    for (position, group) in groups.iter().enumerate().rev() {
        let _ = write!(out, "/{}{group:03}", if position > 0 { "x" } else { "" });
    }
    if width < TILE_WIDTH {
        let _ = write!(out, ".p/{width}");
    }
    out
}

/// An entry longer than a bundle can hold, or a bundle that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BundleError {
    /// Entries are at most 65,535 bytes: their length is two bytes.
    #[error("ledger entry is {bytes} bytes, more than 65535")]
    EntryTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The bytes end inside an entry.
    #[error("entry bundle ends inside entry {entry}")]
    Truncated {
        /// Position in the bundle.
        entry: usize,
    },
}

/// Appends one entry to a bundle: two bytes of length, big-endian, then the entry.
pub fn encode_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), BundleError> {
    let length = u16::try_from(entry.len()).map_err(|_| BundleError::EntryTooLong { bytes: entry.len() })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle<'b>(pub Vec<&'b [u8]>);

impl<'b> Bundle<'b> {
    /// Splits a bundle file into its entries.
    pub fn read(mut bytes: &'b [u8]) -> Result<Self, BundleError> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            let truncated = BundleError::Truncated { entry: entries.len() };
            let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return Err(truncated) };
            let Some((entry, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into()) else {
                return Err(truncated);
            };
            entries.push(entry);
            bytes = rest;
        }
        Ok(Self(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_follow_the_specification() {
        for (index, width, expected) in [
            (0, 256, "tile/entries/000"),
            (273, 256, "tile/entries/273"),
            (1_234_067, 256, "tile/entries/x001/x234/067"),
            (273, 112, "tile/entries/273.p/112"),
        ] {
            assert_eq!(bundle_path(index, width), expected);
        }
        let tile = Tile { level: 1, index: 1_000, hashes: vec![Hash([0; 32]); 3] };
        assert_eq!(tile.path(), "tile/1/x001/000.p/3");
        assert_eq!(tile.records(), 65_536_000..65_536_768);
    }

    proptest! {
        #[test]
        fn bundles_round_trip(entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut bytes = Vec::new();
            for entry in &entries {
                encode_entry(&mut bytes, entry).expect("short enough");
            }
            let read = Bundle::read(&bytes).expect("own bundle");
            prop_assert_eq!(read.0, entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }

        #[test]
        fn hostile_bundles_do_not_panic(bytes: Vec<u8>) {
            let _ = Bundle::read(&bytes);
        }
    }

    #[test]
    fn entries_end_at_65535_bytes() {
        let mut bytes = Vec::new();
        assert!(encode_entry(&mut bytes, &vec![0; 65_535]).is_ok());
        assert_eq!(
            encode_entry(&mut bytes, &vec![0; 65_536]),
            Err(BundleError::EntryTooLong { bytes: 65_536 })
        );
    }
}
