use std::{fmt, sync::Arc};

use seaworthy_model::{FixState, Severity};
use sha2::{Digest as _, Sha256};

use super::{
    BODY_START, HASH_START, KIND_BEFORE, KIND_OPEN, KIND_THROUGH, MAGIC, Meta, NONE, SECTIONS, VERSION,
    write::STATES,
};
use crate::{import::hex, limit};

/// Why bytes are not a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Another kind of file, or cut off in its header.
    #[error("not an advisory segment")]
    Magic,
    /// Written by another version of this program.
    #[error("advisory segment has format {found}; this program reads format {VERSION}")]
    Version {
        /// The format found.
        found: u32,
    },
    /// Larger than [`limit::SEGMENT_BYTES`].
    #[error("advisory segment is larger than {} bytes", limit::SEGMENT_BYTES)]
    TooLarge,
    /// The bytes are not those that were written.
    #[error("advisory segment does not match its checksum")]
    Checksum,
    /// A number points outside of what it numbers, or an order is broken.
    #[error("advisory segment has a broken {section} section")]
    Broken {
        /// The section.
        section: &'static str,
    },
}

/// One feed's compiled content. Cheap to share; reading allocates nothing.
#[derive(Clone)]
pub struct Segment {
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    ranges: [(usize, usize); SECTIONS],
    meta: Meta,
    content_hash: String,
}

impl Segment {
    /// Verifies the checksum and every number in `bytes`: what opens is safe to read.
    pub fn open(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Self, SegmentError> {
        let data = (*bytes).as_ref();
        let hash = check_header(data)?;
        let content_hash = hex(hash);
        let mut ranges = [(0, 0); SECTIONS];
        for (index, slot) in ranges.iter_mut().enumerate() {
            let broken = SegmentError::Broken { section: "table" };
            let [start, length] = record::<2>(data.get(BODY_START..).unwrap_or_default(), index)
                .map(|pair| pair.map(|number| number as usize))
                .ok_or(SegmentError::Magic)?;
            let end = start.checked_add(length).filter(|end| *end <= data.len()).ok_or(broken)?;
            *slot = (start, end);
        }
        let view = View::new(data, &ranges);
        let meta = serde_json::from_slice(view.meta).map_err(|_| SegmentError::Broken { section: "meta" })?;
        view.check()?;
        Ok(Self { bytes, ranges, meta, content_hash })
    }

    /// Its length, in bytes.
    pub fn size_bytes(&self) -> usize {
        (*self.bytes).as_ref().len()
    }

    /// The feed's name.
    pub fn feed(&self) -> &str {
        &self.meta.feed
    }

    /// What the feed covers: `deb:debian:12`, `kev`, `epss`; sorted.
    pub fn covers(&self) -> &[String] {
        &self.meta.covers
    }

    /// Records in the feed.
    pub const fn records(&self) -> u64 {
        self.meta.records
    }

    /// The feed's own date.
    pub fn newest(&self) -> Option<&str> {
        self.meta.newest.as_deref()
    }

    /// SHA-256 of the content, hex.
    pub fn content_hash(&self) -> &str {
        &self.content_hash
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::new((*self.bytes).as_ref(), &self.ranges)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("meta", &self.meta)
            .field("content_hash", &self.content_hash)
            .finish_non_exhaustive()
    }
}

fn check_header(data: &[u8]) -> Result<&[u8], SegmentError> {
    if data.len() > limit::SEGMENT_BYTES {
        return Err(SegmentError::TooLarge);
    }
    let version = data.get(MAGIC.len()..).and_then(|rest| record::<1>(rest, 0));
    match (data.strip_prefix(MAGIC), version) {
        (Some(_), Some([VERSION])) => {}
        (Some(_), Some([found])) => return Err(SegmentError::Version { found }),
        _ => return Err(SegmentError::Magic),
    }
    let (hash, body) =
        data.get(HASH_START..BODY_START).zip(data.get(BODY_START..)).ok_or(SegmentError::Magic)?;
    if Sha256::digest(body).as_slice() == hash { Ok(hash) } else { Err(SegmentError::Checksum) }
}

/// The sections as slices.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(super) meta: &'a [u8],
    pub(super) text_ends: &'a [u8],
    pub(super) texts: &'a [u8],
    pub(super) key_ends: &'a [u8],
    pub(super) keys: &'a [u8],
    pub(super) packages: &'a [u8],
    pub(super) rows: &'a [u8],
    pub(super) aliases: &'a [u8],
    pub(super) spans: &'a [u8],
    pub(super) scores: &'a [u8],
    pub(super) ids: &'a [u8],
    pub(super) spoken: &'a [u8],
}

/// A row, with texts resolved on demand.
#[derive(Clone, Copy)]
pub(crate) struct RowView<'a> {
    view: View<'a>,
    fields: [u32; 9],
}

/// A span that contains a version: where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hit<'a> {
    /// Affected, and this version is not.
    FixedBy(&'a str),
    /// Affected, no version known that is not.
    NoFix,
}

/// One span as texts: first affected version, last version, kind of end.
pub(crate) type SpanTexts<'a> = (Option<&'a str>, Option<&'a str>, u32);

impl<'a> View<'a> {
    fn new(data: &'a [u8], ranges: &[(usize, usize); SECTIONS]) -> Self {
        let [meta, text_ends, texts, key_ends, keys, packages, rows, aliases, spans, scores, ids, spoken] =
            ranges.map(|(start, end)| data.get(start..end).unwrap_or_default());
        Self { meta, text_ends, texts, key_ends, keys, packages, rows, aliases, spans, scores, ids, spoken }
    }

    /// A text as bytes: what is only compared need not be proven to be UTF-8 again.
    fn text_bytes(self, number: u32) -> &'a [u8] {
        piece(self.text_ends, self.texts, number).unwrap_or_default()
    }

    pub(crate) fn text(self, number: u32) -> &'a str {
        piece(self.text_ends, self.texts, number)
            .and_then(|bytes| str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    fn key(self, number: u32) -> &'a [u8] {
        piece(self.key_ends, self.keys, number).unwrap_or_default()
    }

    fn number_of(self, text: &str) -> Option<u32> {
        search(count::<1>(self.text_ends), |index| Some(self.text_bytes(index).cmp(text.as_bytes())))
    }

    pub(crate) fn packages(self) -> impl Iterator<Item = (&'a str, &'a str, u32)> {
        (0..count::<4>(self.packages)).filter_map(move |index| {
            let [release, source, ..] = record::<4>(self.packages, index as usize)?;
            Some((self.text(release), self.text(source), index))
        })
    }

    /// The rows of a package of [`View::packages`], by its number.
    pub(crate) fn rows_of(self, package: u32) -> impl Iterator<Item = RowView<'a>> {
        let [_, _, first, rows] = record::<4>(self.packages, package as usize).unwrap_or_default();
        (first..first.saturating_add(rows))
            .filter_map(move |index| Some(RowView { view: self, fields: record(self.rows, index as usize)? }))
    }

    /// The rows of a package with this id: rows are in id order.
    pub(crate) fn rows_named(self, package: u32, id: &'a [u8]) -> impl Iterator<Item = RowView<'a>> {
        let [_, _, first, rows] = record::<4>(self.packages, package as usize).unwrap_or_default();
        let row = move |index: u32| Some(RowView { view: self, fields: record(self.rows, index as usize)? });
        let before = |offset: u32| row(first.saturating_add(offset)).is_some_and(|row| row.id_bytes() < id);
        let start = partition(rows, before);
        (start..rows)
            .map_while(move |offset| row(first.saturating_add(offset)))
            .take_while(move |row| row.id_bytes() == id)
    }

    pub(crate) fn find_package(self, release: &str, source: &str) -> Option<u32> {
        let wanted = (self.number_of(release)?, self.number_of(source)?);
        search(count::<4>(self.packages), |index| {
            let [release, source, ..] = record::<4>(self.packages, index as usize)?;
            Some((release, source).cmp(&wanted))
        })
    }

    /// Packages that have a row with this id or alias, as (release, source).
    pub(crate) fn packages_with(self, id: &str) -> Vec<(&'a str, &'a str)> {
        let Some(wanted) = self.number_of(id) else { return Vec::new() };
        let rows = count::<2>(self.ids);
        let first =
            partition(rows, |index| record::<2>(self.ids, index as usize).is_some_and(|[id, _]| id < wanted));
        (first..rows)
            .map_while(|index| record::<2>(self.ids, index as usize).filter(|[id, _]| *id == wanted))
            .filter_map(|[_, package]| record::<4>(self.packages, package as usize))
            .map(|[release, source, ..]| (self.text(release), self.text(source)))
            .collect()
    }

    pub(crate) fn score(self, cve: &str) -> Option<f32> {
        let wanted = self.number_of(cve)?;
        let index = search(count::<2>(self.scores), |index| {
            record::<2>(self.scores, index as usize).map(|[id, _]| id.cmp(&wanted))
        })?;
        record::<2>(self.scores, index as usize).map(|[_, bits]| f32::from_bits(bits))
    }

    pub(crate) fn scores(self) -> impl Iterator<Item = (&'a str, f32)> {
        (0..count::<2>(self.scores)).filter_map(move |index| {
            record::<2>(self.scores, index as usize).map(|[id, bits]| (self.text(id), f32::from_bits(bits)))
        })
    }

    pub(crate) fn spoken(self) -> impl Iterator<Item = &'a str> {
        (0..count::<1>(self.spoken))
            .filter_map(move |index| record::<1>(self.spoken, index as usize).map(|[id]| self.text(id)))
    }
}

impl<'a> RowView<'a> {
    pub(crate) fn id(&self) -> &'a str {
        self.view.text(self.fields[0])
    }
    /// The id's bytes, which order like ids.
    pub(crate) fn id_bytes(&self) -> &'a [u8] {
        self.view.text_bytes(self.fields[0])
    }
    pub(crate) fn record(&self) -> &'a str {
        self.view.text(self.fields[1])
    }
    pub(crate) fn rated_by(&self) -> &'a str {
        self.view.text(self.fields[2])
    }
    pub(crate) fn summary(&self) -> &'a str {
        self.view.text(self.fields[3])
    }
    pub(crate) fn severity(&self) -> Severity {
        Severity::ALL.get((self.fields[4] >> 8) as usize).copied().unwrap_or_default()
    }
    pub(crate) fn state(&self) -> FixState {
        STATES.get((self.fields[4] & 0xff) as usize).copied().unwrap_or(FixState::UnderInvestigation)
    }

    pub(crate) fn aliases(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (view, first, aliases) = (self.view, self.fields[5], self.fields[6]);
        (first..first.saturating_add(aliases)).filter_map(move |index| {
            record::<1>(view.aliases, index as usize).map(|[alias]| view.text(alias))
        })
    }

    fn spans(&self) -> impl Iterator<Item = [u32; 5]> + use<'a> {
        let (view, first, spans) = (self.view, self.fields[7], self.fields[8]);
        (first..first.saturating_add(spans)).filter_map(move |index| record::<5>(view.spans, index as usize))
    }

    pub(crate) fn span_texts(&self) -> impl Iterator<Item = SpanTexts<'a>> + use<'a> {
        let view = self.view;
        let text = move |number: u32| (number != NONE).then(|| view.text(number));
        self.spans().map(move |[from, _, to, _, kind]| (text(from), text(to), kind))
    }

    /// The span that holds the version with this sort key. `None` as key is a version that has no
    /// place in the order: it may be in any span.
    pub(crate) fn hit(&self, version: Option<&[u8]>) -> Option<Hit<'a>> {
        let inside = |[_, from, _, to, kind]: &[u32; 5]| {
            let Some(version) = version else { return true };
            (*from == NONE || self.view.key(*from) <= version)
                && match *kind {
                    KIND_BEFORE => version < self.view.key(*to),
                    KIND_THROUGH => version <= self.view.key(*to),
                    _ => true,
                }
        };
        // Of several spans the one that ends last tells what to upgrade to; one without end, that nothing helps.
        let rank =
            |[_, _, _, to, kind]: &[u32; 5]| (*kind == KIND_OPEN, *kind == KIND_BEFORE, self.view.key(*to));
        let [_, _, to, _, kind] = self.spans().filter(inside).max_by(|a, b| rank(a).cmp(&rank(b)))?;
        Some(if kind == KIND_BEFORE { Hit::FixedBy(self.view.text(to)) } else { Hit::NoFix })
    }
}

/// The `index`-th record of `N` little-endian numbers.
pub(super) fn record<const N: usize>(table: &[u8], index: usize) -> Option<[u32; N]> {
    let start = index.checked_mul(N * 4)?;
    let bytes = table.get(start..)?.get(..N * 4)?;
    let numbers = bytes.as_chunks::<4>().0;
    let mut fields = [0; N];
    for (at, field) in fields.iter_mut().enumerate() {
        *field = u32::from_le_bytes(*numbers.get(at)?);
    }
    Some(fields)
}

pub(super) fn numbers<const N: usize>(table: &[u8]) -> impl Iterator<Item = [u32; N]> {
    (0..count::<N>(table)).filter_map(|index| record::<N>(table, index as usize))
}

pub(super) fn count<const N: usize>(table: &[u8]) -> u32 {
    u32::try_from(table.len() / (N * 4)).unwrap_or(u32::MAX)
}

pub(super) fn piece<'a>(ends: &[u8], heap: &'a [u8], number: u32) -> Option<&'a [u8]> {
    let [end] = record::<1>(ends, number as usize)?;
    let start = match number.checked_sub(1) {
        Some(previous) => record::<1>(ends, previous as usize)?[0],
        None => 0,
    };
    heap.get(start as usize..end as usize)
}

/// First of `0..count` for which `before` is false.
fn partition(count: u32, before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn search(count: u32, order: impl Fn(u32) -> Option<std::cmp::Ordering>) -> Option<u32> {
    let index = partition(count, |index| order(index) == Some(std::cmp::Ordering::Less));
    (index < count && order(index) == Some(std::cmp::Ordering::Equal)).then_some(index)
}
