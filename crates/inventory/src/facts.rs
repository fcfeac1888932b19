use std::io::Read;

use seaworthy_layer::{
    Body, Chunk, Entry, EntryKind, LayerDigest, LayerError, Limits, Magic, PathTable, Visitor,
};
use seaworthy_oci::Digest;

use crate::{
    limit,
    secret::{Scanner, SecretRule},
};

/// Version of everything that reads layers and facts. Raise it when a reader sees more than
/// before: stored inventories of an older version are made again.
pub const READER_VERSION: u32 = 2;

/// All that one pass over a layer yields, whatever image it is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerFacts {
    /// What the layer hashes to, uncompressed.
    pub digest: LayerDigest,
    /// All its entries.
    pub table: PathTable,
    /// Small metadata files, by entry.
    pub(crate) kept: Vec<Kept>,
    /// Secrets, by entry: at most one more than [`limit::SECRETS`], which says that there are more.
    pub secrets: Vec<SecretHit>,
}

/// A file whose content is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) index: u32,
    /// `None` when it was too large to keep.
    pub(crate) content: Option<Vec<u8>>,
}

/// A secret in one file of a layer. The value itself is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretHit {
    /// Number of the entry.
    pub index: u32,
    /// What it is.
    pub rule: SecretRule,
    /// SHA-256 of the normalised value.
    pub value: Digest,
}

/// A file of which the reader should have kept the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    Bytes(&'a [u8]),
    /// Too large, or of a name and look that nothing is kept for.
    Away,
}

/// Reads a layer in one pass. `limits` are the layer's; what is kept is bounded by [`limit`].
pub fn read_layer(input: impl Read, limits: &Limits) -> Result<LayerFacts, LayerError> {
    let mut collector = Collector {
        limits: *limits,
        table: PathTable::default(),
        kept: Vec::new(),
        kept_bytes: 0,
        secrets: Vec::new(),
        scanner: Scanner::new(),
    };
    let digest = seaworthy_layer::read_layer(input, limits, &mut collector)?;
    let Collector { table, kept, secrets, .. } = collector;
    Ok(LayerFacts { digest, table, kept, secrets })
}

impl LayerFacts {
    /// Memory that the facts hold, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let kept: usize = self.kept.iter().filter_map(|kept| kept.content.as_ref()).map(Vec::capacity).sum();
        self.table.memory_bytes()
            + kept
            + self.kept.capacity() * size_of::<Kept>()
            + self.secrets.capacity() * size_of::<SecretHit>()
    }

    /// The content of entry `index`; an empty file is always at hand.
    pub(crate) fn content(&self, index: u32) -> Content<'_> {
        if self.table.row(index).is_some_and(|row| row.size == 0) {
            return Content::Bytes(b"");
        }
        let at = self.kept.binary_search_by_key(&index, |kept| kept.index).ok();
        let kept = at.and_then(|at| self.kept.get(at)).and_then(|kept| kept.content.as_deref());
        kept.map_or(Content::Away, Content::Bytes)
    }
}

struct Collector {
    limits: Limits,
    table: PathTable,
    kept: Vec<Kept>,
    kept_bytes: usize,
    secrets: Vec<SecretHit>,
    scanner: Scanner,
}

impl Visitor for Collector {
    fn entry(&mut self, entry: &Entry<'_>, body: &mut Body<'_>) -> Result<(), LayerError> {
        let mut magic = Magic::Other;
        if entry.kind == EntryKind::File && entry.size > 0 {
            magic = self.content(entry, body)?;
        }
        self.table.push(entry, magic, &self.limits)
    }
}

impl Collector {
    fn content(&mut self, entry: &Entry<'_>, body: &mut Body<'_>) -> Result<Magic, LayerError> {
        let mut magic = Magic::Other;
        let mut at_most = route(entry.path.as_bytes());
        let mut content = Vec::new();
        let mut first = true;
        self.scanner.start();
        while let Some(chunk) = body.next_chunk()? {
            let bytes = match chunk {
                Chunk::Data(bytes) => bytes,
                Chunk::Hole(_) => {
                    // No key and no metadata has a hole in it.
                    self.scanner.start();
                    first = false;
                    if at_most.is_some() {
                        at_most = Some(0);
                    }
                    continue;
                }
            };
            if first {
                magic = look(bytes);
                at_most = at_most.or_else(|| is_status(bytes).then_some(limit::STATUS_BYTES));
                first = false;
            }
            if at_most.is_some_and(|most| content.len() + bytes.len() <= most) {
                content.extend_from_slice(bytes);
            } else if at_most.is_some() {
                at_most = Some(0);
                content = Vec::new();
            }
            let secrets = &mut self.secrets;
            self.scanner.push(bytes, &mut |rule, value| {
                let hit = SecretHit { index: entry.index, rule, value };
                // One key twice in one file is one secret.
                if secrets.len() <= limit::SECRETS && secrets.last() != Some(&hit) {
                    secrets.push(hit);
                }
            });
        }
        if at_most.is_some() {
            self.keep(entry, content);
        }
        Ok(magic)
    }

    fn keep(&mut self, entry: &Entry<'_>, content: Vec<u8>) {
        let whole = content.len() as u64 == entry.size;
        let fits = self.kept_bytes + content.len() <= limit::KEPT_BYTES;
        let content = (whole && fits).then_some(content);
        self.kept_bytes += content.as_ref().map_or(0, Vec::len);
        self.kept.push(Kept { index: entry.index, content });
    }
}

/// How much of a file is kept, by its name alone. Directories in front are not looked at
/// closely: they may be reached through links of other layers.
fn route(path: &[u8]) -> Option<usize> {
    let mut parts = path.rsplit(|byte| *byte == b'/');
    let name = parts.next()?;
    let parent = parts.next().unwrap_or_default();
    if name.starts_with(b"os-release") {
        return Some(limit::OS_RELEASE_BYTES);
    }
    if parent == b"status.d" || (name == b"status" && parent.starts_with(b"dpkg")) {
        return Some(limit::STATUS_BYTES);
    }
    (parent == b"info" && name.ends_with(b".list")).then_some(limit::LIST_BYTES)
}

/// A package database under any name: metadata may be a hard link to a file of a store.
/// The archives' `Packages` files look alike but have no `Status`.
fn is_status(bytes: &[u8]) -> bool {
    bytes.starts_with(b"Package: ")
        && memchr::memmem::find(bytes.get(..512).unwrap_or(bytes), b"\nStatus: ").is_some()
}

fn look(bytes: &[u8]) -> Magic {
    match bytes {
        [0x7f, b'E', b'L', b'F', ..] => Magic::Elf,
        [b'#', b'!', ..] => Magic::Script,
        _ => Magic::Other,
    }
}
