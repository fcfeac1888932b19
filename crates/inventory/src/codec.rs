//! Layer facts as bytes: a magic, a version, and a zstd frame of varints and byte strings.

use std::io::Read as _;

use seaworthy_layer::{EntryKind, LayerDigest, Limits, Magic, PathTable, TableRow};
use seaworthy_oci::{Algorithm, Digest};

use crate::{
    LayerFacts, SecretHit, SecretRule,
    facts::{Kept, READER_VERSION},
    limit,
};

const MAGIC: &[u8; 4] = b"SWLF";
/// Version of the encoding. A change of what is read raises [`READER_VERSION`] instead.
const FORMAT: u32 = 1;

/// Why stored facts are not read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// Not facts, or of a newer format.
    #[error("layer facts have an unknown format")]
    Format,
    /// Made by another version of the readers: read the layer again.
    #[error("layer facts were made by reader version {version}")]
    OtherReader {
        /// That version.
        version: u32,
    },
    /// Damaged.
    #[error("layer facts are damaged: {what}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
    },
    /// Longer than [`limit::FACTS_BYTES`].
    #[error("layer facts are longer than {} bytes", limit::FACTS_BYTES)]
    TooLong,
}

impl LayerFacts {
    /// The facts as bytes, compressed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(self.digest.diff_id.hash());
        put(&mut body, self.digest.uncompressed_bytes);
        put(&mut body, u64::from(self.digest.entries));
        put(&mut body, u64::from(self.table.len()));
        for row in self.table.rows() {
            body.push(kind_code(row.kind) | magic_code(row.magic) << 4);
            put(&mut body, u64::from(row.mode));
            put(&mut body, row.size);
            put_bytes(&mut body, row.path);
            put_bytes(&mut body, row.link);
        }
        put(&mut body, self.kept.len() as u64);
        for kept in &self.kept {
            put(&mut body, u64::from(kept.index));
            body.push(u8::from(kept.content.is_some()));
            put_bytes(&mut body, kept.content.as_deref().unwrap_or_default());
        }
        put(&mut body, self.secrets.len() as u64);
        for hit in &self.secrets {
            put(&mut body, u64::from(hit.index));
            body.push(SecretRule::ALL.iter().position(|rule| *rule == hit.rule).map_or(0, to_u8));
            body.extend_from_slice(hit.value.hash());
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&READER_VERSION.to_le_bytes());
        // Compressing into memory cannot fail but for want of memory; an empty body is damage to any reader.
        out.extend(zstd::bulk::compress(&body, 3).unwrap_or_default());
        out
    }

    /// Reads what [`LayerFacts::to_bytes`] made. Nothing is believed: every length is checked.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FactsError> {
        let head = bytes.get(..12).ok_or(FactsError::Format)?;
        let number = |at: usize| {
            let word = head.get(at..at + 4).and_then(|word| word.first_chunk::<4>());
            word.map_or(0, |word| u32::from_le_bytes(*word))
        };
        if !head.starts_with(MAGIC) || number(4) != FORMAT {
            return Err(FactsError::Format);
        }
        if number(8) != READER_VERSION {
            return Err(FactsError::OtherReader { version: number(8) });
        }
        if bytes.len() as u64 > limit::FACTS_BYTES {
            return Err(FactsError::TooLong);
        }
        let body = inflate(bytes.get(12..).unwrap_or_default(), limit::FACTS_BYTES)?;
        let mut input = Input(&body);
        let facts = read(&mut input).ok_or(FactsError::Damaged { what: "a field does not fit" })??;
        if input.0.is_empty() { Ok(facts) } else { Err(FactsError::Damaged { what: "bytes are left over" }) }
    }
}

fn inflate(frame: &[u8], most_bytes: u64) -> Result<Vec<u8>, FactsError> {
    let damaged = |_| FactsError::Damaged { what: "the compressed part" };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(frame).map_err(damaged)?;
    decoder.window_log_max(27).map_err(damaged)?;
    let mut body = Vec::new();
    decoder.take(most_bytes + 1).read_to_end(&mut body).map_err(damaged)?;
    if body.len() as u64 > most_bytes { Err(FactsError::TooLong) } else { Ok(body) }
}

/// `None` when a field does not fit.
fn read(input: &mut Input<'_>) -> Option<Result<LayerFacts, FactsError>> {
    let diff_id = Digest::from_hash(Algorithm::Sha256, input.take(32)?)?;
    let uncompressed_bytes = input.number()?;
    let entries = u32::try_from(input.number()?).ok()?;
    let limits = Limits::default();
    let mut table = PathTable::default();
    for _ in 0..input.number()? {
        let code = input.take(1)?.first().copied()?;
        let mode = u16::try_from(input.number()?).ok()?;
        let size = input.number()?;
        let (path, link) = (input.bytes()?, input.bytes()?);
        if path.len() > limits.path_bytes || link.len() > limits.link_bytes || !is_clean(path) {
            return Some(Err(FactsError::Damaged { what: "a path" }));
        }
        let row = TableRow { path, link, kind: kind(code & 15)?, mode, magic: magic(code >> 4)?, size };
        if table.push_row(row, &limits).is_err() {
            return Some(Err(FactsError::TooLong));
        }
    }
    let mut kept: Vec<Kept> = Vec::new();
    for _ in 0..input.number()? {
        let index = u32::try_from(input.number()?).ok().filter(|index| *index < table.len())?;
        let whole = input.take(1)?.first() == Some(&1);
        let content = input.bytes()?;
        if kept.last().is_some_and(|last| last.index >= index) {
            return Some(Err(FactsError::Damaged { what: "the order of kept files" }));
        }
        kept.push(Kept { index, content: whole.then(|| content.to_vec()) });
    }
    let mut secrets = Vec::new();
    for _ in 0..input.number()? {
        let index = u32::try_from(input.number()?).ok().filter(|index| *index < table.len())?;
        let rule = *SecretRule::ALL.get(usize::from(*input.take(1)?.first()?))?;
        secrets.push(SecretHit {
            index,
            rule,
            value: Digest::from_hash(Algorithm::Sha256, input.take(32)?)?,
        });
    }
    let digest = LayerDigest { diff_id, uncompressed_bytes, entries };
    Some(Ok(LayerFacts { digest, table, kept, secrets }))
}

/// As [`seaworthy_layer::EntryPath`] holds paths.
fn is_clean(path: &[u8]) -> bool {
    path.is_empty() || path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    /// LEB128.
    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(0x80 | to_u8(usize::try_from(value & 0x7f).unwrap_or_default()));
        value >>= 7;
    }
    out.push(to_u8(usize::try_from(value).unwrap_or_default()));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn to_u8(value: usize) -> u8 {
    u8::try_from(value).unwrap_or_default()
}

const KINDS: [EntryKind; 7] = [
    EntryKind::File,
    EntryKind::Directory,
    EntryKind::Symlink,
    EntryKind::Hardlink,
    EntryKind::CharDevice,
    EntryKind::BlockDevice,
    EntryKind::Fifo,
];
const MAGICS: [Magic; 3] = [Magic::Other, Magic::Elf, Magic::Script];

fn kind_code(kind: EntryKind) -> u8 {
    KINDS.iter().position(|known| *known == kind).map_or(0, to_u8)
}

fn magic_code(magic: Magic) -> u8 {
    MAGICS.iter().position(|known| *known == magic).map_or(0, to_u8)
}

fn kind(code: u8) -> Option<EntryKind> {
    KINDS.get(usize::from(code)).copied()
}

fn magic(code: u8) -> Option<Magic> {
    MAGICS.get(usize::from(code)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Neither form may be longer; the stored one is made of zeros that no memory stands behind.
    #[test]
    fn facts_are_bounded_in_both_forms() {
        let stored = |bytes: u64| {
            let mut stored = vec![0; usize::try_from(bytes).expect("bytes")];
            stored[..4].copy_from_slice(MAGIC);
            stored[4..8].copy_from_slice(&FORMAT.to_le_bytes());
            stored[8..12].copy_from_slice(&READER_VERSION.to_le_bytes());
            LayerFacts::from_bytes(&stored)
        };
        assert!(matches!(stored(limit::FACTS_BYTES), Err(FactsError::Damaged { .. })), "looked at");
        assert!(matches!(stored(limit::FACTS_BYTES + 1), Err(FactsError::TooLong)));

        let frame = zstd::bulk::compress(&[7; 1000], 3).expect("frame");
        assert_eq!(inflate(&frame, 1000).expect("at the limit"), [7; 1000]);
        assert!(matches!(inflate(&frame, 999), Err(FactsError::TooLong)));
    }
}
