//! What an import yields, how it crosses a process boundary, and how several become one.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    ImportError, Segment,
    collect::{Collector, LOCAL},
    limit, local,
    segment::compile,
};

/// A file, or a folder as a tar of its files ([`crate::append_file`] writes one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// A feed, an archive, or OSV records.
    File,
    /// A tar of a folder's files: its OSV files form one feed, archives in it are feeds of their own.
    Folder,
}

/// One thing to import.
pub struct NamedInput<'a> {
    /// Name for people, in messages; nothing is opened by it.
    pub path: String,
    /// What the bytes are.
    pub kind: InputKind,
    /// The bytes.
    pub bytes: Box<dyn Read + 'a>,
}

/// One feed, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledSegment {
    /// `debian`, `osv-debian`, `kev`, `epss`, `local`, …
    pub feed: String,
    /// Records in the feed: (source, CVE) pairs, advisories, CVEs.
    pub records: u64,
    /// The feed's own date, when it has one: text that begins like `2026-08-21`.
    pub newest: Option<String>,
    /// Coverage keys, sorted.
    pub covers: Vec<String>,
    /// SHA-256 of the content, hex: an unchanged feed compiles to the same.
    pub content_hash: String,
    /// For [`Segment::open`].
    pub bytes: Vec<u8>,
}

impl CompiledSegment {
    /// Opens a copy of the bytes.
    pub fn open(&self) -> Result<Segment, ImportError> {
        Segment::open(Arc::new(self.bytes.clone()))
            .map_err(|source| ImportError::Segment { feed: self.feed.clone(), source })
    }
}

/// A file that gave nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The file; members of archives follow a `!`.
    pub path: String,
    /// Why it was passed over.
    pub reason: String,
}

/// Notes about records that were taken with reservations; the first [`limit::LISTED`] by word, the
/// rest counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings {
    listed: Vec<String>,
    counted: BTreeMap<String, u64>,
}

impl Warnings {
    pub(crate) fn push(&mut self, warning: &str) {
        if self.listed.len() < limit::LISTED {
            self.listed.push(warning.chars().take(500).collect());
        } else {
            self.count("further warnings");
        }
    }

    pub(crate) fn count(&mut self, what: &str) {
        match self.counted.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.counted.insert(what.to_owned(), 1)),
        }
    }

    /// One sentence each.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.listed.iter().cloned().chain(self.counted.iter().map(|(what, count)| format!("{count} {what}")))
    }

    fn extend(&mut self, other: Self) {
        other.listed.into_iter().for_each(|warning| self.push(&warning));
        for (what, count) in other.counted {
            *self.counted.entry(what).or_default() += count;
        }
    }
}

/// Everything that one import found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// One for each feed, by name.
    pub segments: Vec<CompiledSegment>,
    /// Files that gave nothing.
    pub skipped: Vec<Skipped>,
    /// Skipped files beyond [`limit::LISTED`].
    pub skipped_more: u64,
    /// Records taken with reservations.
    pub warnings: Warnings,
    /// OSV records of ecosystems whose versions are not compared yet, by ecosystem.
    pub not_covered: BTreeMap<String, u64>,
}

/// Imports everything that `sources` yields. Fails as a whole: nothing of a broken import is kept.
///
/// Single OSV files replace and withdraw records of `previous_local`, the feed `local` so far.
pub fn import<'a>(
    sources: &mut dyn FnMut() -> Option<NamedInput<'a>>,
    previous_local: Option<&Segment>,
) -> Result<Import, ImportError> {
    let mut imports = Vec::new();
    while let Some(mut source) = sources() {
        imports.push(read(&source.path, source.kind, &mut *source.bytes)?);
    }
    Import::merge(imports, previous_local)
}

/// Reads one input, without what the feed `local` had before: [`Import::merge`] brings that in.
pub fn read(path: &str, kind: InputKind, bytes: &mut dyn Read) -> Result<Import, ImportError> {
    let mut collector = Collector::default();
    match kind {
        InputKind::File => collector.file(path, bytes)?,
        InputKind::Folder => collector.folder(path, bytes)?,
    }
    let segments = collector.feeds.values().map(|(_, draft)| compile(draft)).collect::<Result<_, _>>()?;
    let Collector { skipped, skipped_more, warnings, not_covered, .. } = collector;
    Ok(Import { segments, skipped, skipped_more, warnings, not_covered })
}

#[derive(Serialize, Deserialize)]
struct Request {
    path: String,
    kind: InputKind,
}

/// The request that makes [`feed_reader`] read this input.
pub fn feed_request(path: &str, kind: InputKind) -> Vec<u8> {
    // A struct of a text and a word always serialises.
    serde_json::to_vec(&Request { path: path.to_owned(), kind }).unwrap_or_default()
}

/// [`read()`] for a confined child process: request from [`feed_request`], the input's bytes, and
/// [`Import::to_bytes`] as output. The error is a message for people.
pub fn feed_reader(request: &[u8], input: &mut dyn Read, output: &mut dyn Write) -> Result<(), String> {
    let import = serde_json::from_slice(request)
        .map_err(|source| ImportError::Request { source })
        .and_then(|Request { path, kind }| read(&path, kind, input))
        .map_err(|error| chain(&error))?;
    output.write_all(&import.to_bytes()).map_err(|error| format!("failed to write the result: {error}"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

const MAGIC: &[u8; 8] = b"SWADVIMP";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    skipped: Vec<Skipped>,
    skipped_more: u64,
    warnings: Warnings,
    not_covered: BTreeMap<String, u64>,
    segment_bytes: Vec<usize>,
}

impl Import {
    /// Magic, version, length of a JSON header, header, segments.
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = Header {
            skipped: self.skipped.clone(),
            skipped_more: self.skipped_more,
            warnings: self.warnings.clone(),
            not_covered: self.not_covered.clone(),
            segment_bytes: self.segments.iter().map(|segment| segment.bytes.len()).collect(),
        };
        // Texts and numbers always serialise; the reader refuses an empty header.
        let header = serde_json::to_vec(&header).unwrap_or_default();
        let length = u32::try_from(header.len()).unwrap_or(u32::MAX);
        let mut bytes = [MAGIC.as_slice(), &VERSION.to_le_bytes(), &length.to_le_bytes(), &header].concat();
        for segment in &self.segments {
            bytes.extend_from_slice(&segment.bytes);
        }
        bytes
    }

    /// Reads what a child wrote; every segment is verified as [`Segment::open`] does.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImportError> {
        let broken = |reason| ImportError::Result { reason };
        let rest = bytes.strip_prefix(MAGIC).ok_or(broken("another kind of data"))?;
        let (version, rest) = rest.split_first_chunk().ok_or(broken("cut off"))?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(broken("written by another version"));
        }
        let (length, rest) = rest.split_first_chunk().ok_or(broken("cut off"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > limit::IMPORT_HEADER_BYTES {
            return Err(broken("the header is too large"));
        }
        let (header, mut rest) = rest.split_at_checked(length).ok_or(broken("cut off"))?;
        let header: Header = serde_json::from_slice(header).map_err(|_| broken("the header is damaged"))?;
        if header.segment_bytes.len() > limit::SEGMENTS {
            return Err(broken("too many segments"));
        }
        let mut segments = Vec::new();
        for length in header.segment_bytes {
            let (bytes, tail) = rest.split_at_checked(length).ok_or(broken("cut off"))?;
            rest = tail;
            segments.push(reopened(bytes)?);
        }
        if !rest.is_empty() {
            return Err(broken("bytes follow the end"));
        }
        let Header { skipped, skipped_more, warnings, not_covered, .. } = header;
        Ok(Self { segments, skipped, skipped_more, warnings, not_covered })
    }

    /// One import of several: of two segments of one feed the newer stays, by the feed's own date, then
    /// by its number of records, then the later one. Segments of the feed `local` are changes: they
    /// are applied in order to `previous_local`.
    pub fn merge(imports: Vec<Self>, previous_local: Option<&Segment>) -> Result<Self, ImportError> {
        let mut merged = Self::default();
        let mut feeds: BTreeMap<String, CompiledSegment> = BTreeMap::new();
        let mut changes = Vec::new();
        for import in imports {
            for segment in import.segments {
                match feeds.get(&segment.feed) {
                    _ if segment.feed == LOCAL => changes.push(segment),
                    Some(other) if (&other.newest, other.records) > (&segment.newest, segment.records) => {
                        merged.skip_older(&segment);
                    }
                    other => {
                        if let Some(other) = other {
                            merged.skip_older(other);
                        }
                        feeds.insert(segment.feed.clone(), segment);
                    }
                }
            }
            let room = limit::LISTED.saturating_sub(merged.skipped.len());
            merged.skipped_more += import.skipped_more + import.skipped.len().saturating_sub(room) as u64;
            merged.skipped.extend(import.skipped.into_iter().take(room));
            merged.warnings.extend(import.warnings);
            for (ecosystem, records) in import.not_covered {
                *merged.not_covered.entry(ecosystem).or_default() += records;
            }
        }
        if !changes.is_empty() {
            let local = apply(previous_local, &changes)?;
            feeds.insert(local.feed.clone(), local);
        }
        merged.segments = feeds.into_values().collect();
        Ok(merged)
    }

    fn skip_older(&mut self, segment: &CompiledSegment) {
        let date = segment.newest.as_deref().unwrap_or("no date");
        if self.skipped.len() < limit::LISTED {
            let reason = format!("of {date}; another file of this feed is newer");
            self.skipped.push(Skipped { path: format!("feed `{}`", segment.feed), reason });
        } else {
            self.skipped_more += 1;
        }
    }
}

fn apply(previous: Option<&Segment>, changes: &[CompiledSegment]) -> Result<CompiledSegment, ImportError> {
    let large = |e: crate::draft::TooMany| ImportError::too_large(LOCAL, e.limit as u64, e.what);
    let mut draft = match previous {
        Some(previous) => local::reopen(previous).map_err(large)?,
        None => crate::draft::Draft::new(LOCAL),
    };
    for change in changes {
        let change = local::reopen(&change.open()?).map_err(large)?;
        local::upsert(&mut draft, &change).map_err(large)?;
    }
    local::forget_spoken(&mut draft);
    compile(&draft)
}

fn reopened(bytes: &[u8]) -> Result<CompiledSegment, ImportError> {
    let bytes = bytes.to_vec();
    let segment = Segment::open(Arc::new(bytes.clone()))
        .map_err(|source| ImportError::Segment { feed: "unknown".to_owned(), source })?;
    Ok(CompiledSegment {
        feed: segment.feed().to_owned(),
        records: segment.records(),
        newest: segment.newest().map(str::to_owned),
        covers: segment.covers().to_vec(),
        content_hash: segment.content_hash().to_owned(),
        bytes,
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| char::from_digit(nibble.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(bytes: &[u8]) -> &'static str {
        match Import::from_bytes(bytes) {
            Err(ImportError::Result { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_header_of_a_result_is_bounded() {
        let claims = |bytes: usize| {
            let length = u32::try_from(bytes).expect("length");
            [MAGIC.as_slice(), &VERSION.to_le_bytes(), &length.to_le_bytes()].concat()
        };
        assert_eq!(reason(&claims(limit::IMPORT_HEADER_BYTES)), "cut off", "looked for");
        assert_eq!(reason(&claims(limit::IMPORT_HEADER_BYTES + 1)), "the header is too large");
    }

    #[test]
    fn the_segments_of_a_result_are_bounded() {
        let claims = |segments: usize| {
            let mut import = Import::default().to_bytes();
            let at = MAGIC.len() + 8;
            let header: serde_json::Value = serde_json::from_slice(&import[at..]).expect("header");
            let mut header = header;
            header["segment_bytes"] = vec![1; segments].into();
            let header = serde_json::to_vec(&header).expect("JSON");
            import.truncate(at - 4);
            import.extend(u32::try_from(header.len()).expect("length").to_le_bytes());
            import.extend(header);
            reason(&import)
        };
        assert_eq!(claims(limit::SEGMENTS), "cut off", "looked for");
        assert_eq!(claims(limit::SEGMENTS + 1), "too many segments");
    }
}
