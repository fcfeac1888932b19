use std::{collections::HashMap, iter};

use seaworthy_model::{FixState, Severity};
use seaworthy_package::{Ecosystem, sort_key};
use sha2::{Digest as _, Sha256};

use super::{BODY_START, KIND_BEFORE, KIND_OPEN, KIND_THROUGH, MAGIC, Meta, NONE, SECTIONS, VERSION};
use crate::{
    ImportError,
    draft::{Draft, End, Row, Span, TextId},
    import::{CompiledSegment, hex},
    limit,
};

/// Compiles a draft. Equal content gives equal bytes.
pub(crate) fn compile(draft: &Draft) -> Result<CompiledSegment, ImportError> {
    let meta = Meta {
        feed: draft.feed.clone(),
        newest: draft.newest.clone(),
        records: draft.records,
        covers: draft.covers.iter().cloned().collect(),
    };
    let mut writer = Writer::new(draft);
    writer.rows(draft);
    writer.scores(draft);
    let meta_json =
        serde_json::to_vec(&meta).map_err(|source| ImportError::json(&draft.feed, "segment", source))?;
    let bytes = writer.assemble(meta_json).ok_or_else(|| {
        ImportError::too_large(&draft.feed, limit::SEGMENT_BYTES as u64, "bytes in its segment")
    })?;
    let content_hash = bytes.get(super::HASH_START..BODY_START).map(hex).unwrap_or_default();
    let Meta { feed, newest, records, covers } = meta;
    Ok(CompiledSegment { feed, records, newest, covers, content_hash, bytes })
}

#[derive(Default)]
struct Writer<'a> {
    /// Number of a text in the segment, by its number in the draft.
    numbers: Vec<u32>,
    /// The draft's texts by draft number, for version keys.
    texts: Vec<&'a str>,
    sorted: Vec<&'a str>,
    key_numbers: HashMap<TextId, u32>,
    key_ends: Vec<u32>,
    keys: Vec<u8>,
    packages: Vec<[u32; 4]>,
    rows: Vec<[u32; 9]>,
    aliases: Vec<u32>,
    spans: Vec<[u32; 5]>,
    scores: Vec<[u32; 2]>,
    ids: Vec<[u32; 2]>,
    spoken: Vec<u32>,
}

impl<'a> Writer<'a> {
    fn new(draft: &'a Draft) -> Self {
        let sorted = draft.texts.sorted();
        let mut writer =
            Self { numbers: vec![0; sorted.len()], texts: vec![""; sorted.len()], ..Self::default() };
        for (position, (text, id)) in sorted.iter().enumerate() {
            if let (Some(number), Some(slot)) =
                (writer.numbers.get_mut(id.0 as usize), writer.texts.get_mut(id.0 as usize))
            {
                *number = length(position);
                *slot = text;
            }
        }
        writer.sorted = sorted.into_iter().map(|(text, _)| text).collect();
        writer
    }

    fn text(&self, id: TextId) -> u32 {
        self.numbers.get(id.0 as usize).copied().unwrap_or(NONE)
    }

    fn rows(&mut self, draft: &Draft) {
        let mut rows: Vec<&Row> = draft.rows.iter().collect();
        rows.sort_by_cached_key(|row| {
            (self.text(row.release), self.text(row.source), self.text(row.id), self.text(row.record))
        });
        for row in rows {
            let (release, source) = (self.text(row.release), self.text(row.source));
            match self.packages.last_mut() {
                Some([last_release, last_source, _, count])
                    if (*last_release, *last_source) == (release, source) =>
                {
                    *count += 1;
                }
                _ => self.packages.push([release, source, length(self.rows.len()), 1]),
            }
            self.row(row);
        }
        self.ids.sort_unstable();
        self.ids.dedup();
        self.spoken = draft.spoken.iter().map(|id| self.text(*id)).collect();
        self.spoken.sort_unstable();
        self.spoken.dedup();
    }

    fn row(&mut self, row: &Row) {
        let package = length(self.packages.len() - 1);
        let mut aliases: Vec<u32> = row.aliases.iter().map(|alias| self.text(*alias)).collect();
        aliases.sort_unstable();
        aliases.dedup();
        let id = self.text(row.id);
        self.ids.extend(aliases.iter().chain([&id]).map(|id| [*id, package]));
        let mut spans = row.spans.clone();
        spans.sort_by_key(|span| self.span_order(*span));
        self.rows.push([
            id,
            self.text(row.record),
            self.text(row.rated_by),
            self.text(row.summary),
            severity_code(row.severity) << 8 | state_code(row.state),
            length(self.aliases.len()),
            length(aliases.len()),
            length(self.spans.len()),
            length(spans.len()),
        ]);
        self.aliases.extend(aliases);
        for span in spans {
            let span = self.span(span);
            self.spans.push(span);
        }
    }

    fn span_order(&self, span: Span) -> (Option<u32>, u32, u32) {
        let (kind, end) = match span.end {
            End::Open => (KIND_OPEN, NONE),
            End::Before(text) => (KIND_BEFORE, self.text(text)),
            End::Through(text) => (KIND_THROUGH, self.text(text)),
        };
        (span.from.map(|text| self.text(text)), kind, end)
    }

    fn span(&mut self, span: Span) -> [u32; 5] {
        let (from_text, from_key) = span.from.map_or((NONE, NONE), |text| (self.text(text), self.key(text)));
        let (to, kind) = match span.end {
            End::Open => (None, KIND_OPEN),
            End::Before(text) => (Some(text), KIND_BEFORE),
            End::Through(text) => (Some(text), KIND_THROUGH),
        };
        let (to_text, to_key) = to.map_or((NONE, NONE), |text| (self.text(text), self.key(text)));
        [from_text, from_key, to_text, to_key, kind]
    }

    fn key(&mut self, version: TextId) -> u32 {
        if let Some(number) = self.key_numbers.get(&version) {
            return *number;
        }
        // Importers let no unparsable version into a span; an empty key sorts before all, as "unknown start".
        let text = self.texts.get(version.0 as usize).copied().unwrap_or_default();
        self.keys.extend(sort_key(Ecosystem::Deb, text).unwrap_or_default());
        let number = length(self.key_ends.len());
        self.key_ends.push(length(self.keys.len()));
        self.key_numbers.insert(version, number);
        number
    }

    fn scores(&mut self, draft: &Draft) {
        self.scores = draft.scores.iter().map(|(id, value)| [self.text(*id), value.to_bits()]).collect();
        // Of a repeated CVE the highest value stays: bits of positive floats order like the floats.
        self.scores.sort_unstable_by(|a, b| b.cmp(a));
        self.scores.dedup_by_key(|[id, _]| *id);
        self.scores.reverse();
    }

    /// `None` when the result would pass [`limit::SEGMENT_BYTES`].
    fn assemble(self, meta: Vec<u8>) -> Option<Vec<u8>> {
        let text_ends = self.sorted.iter().scan(0_usize, |end, text| {
            *end += text.len();
            Some(length(*end))
        });
        let sections: [Vec<u8>; SECTIONS] = [
            meta,
            pack(text_ends),
            self.sorted.concat().into_bytes(),
            pack(self.key_ends),
            self.keys,
            pack(self.packages.into_iter().flatten()),
            pack(self.rows.into_iter().flatten()),
            pack(self.aliases),
            pack(self.spans.into_iter().flatten()),
            pack(self.scores.into_iter().flatten()),
            pack(self.ids.into_iter().flatten()),
            pack(self.spoken),
        ];
        let mut offset = BODY_START + SECTIONS * 8;
        let total = offset + sections.iter().map(Vec::len).sum::<usize>();
        if total > limit::SEGMENT_BYTES {
            return None;
        }
        let mut bytes = Vec::with_capacity(total);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend(iter::repeat_n(0, 32));
        for section in &sections {
            bytes.extend(pack([length(offset), length(section.len())]));
            offset += section.len();
        }
        for section in &sections {
            bytes.extend_from_slice(section);
        }
        let hash = Sha256::digest(bytes.get(BODY_START..)?);
        bytes.get_mut(super::HASH_START..BODY_START)?.copy_from_slice(&hash);
        Some(bytes)
    }
}

fn pack(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    numbers.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Lengths pass 32 bits only in segments that [`Writer::assemble`] refuses anyway.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(NONE)
}

fn severity_code(severity: Severity) -> u32 {
    Severity::ALL.into_iter().position(|other| other == severity).map_or(0, length)
}

pub(super) const STATES: [FixState; 6] = [
    FixState::Fixed,
    FixState::Affected,
    FixState::WillNotFix,
    FixState::FixDeferred,
    FixState::EndOfLife,
    FixState::UnderInvestigation,
];

fn state_code(state: FixState) -> u32 {
    STATES.into_iter().position(|other| other == state).map_or(0, length)
}
