//! A feed while it is being read: rows over interned texts, before they become a segment.

use std::collections::{BTreeSet, HashMap};

use seaworthy_model::{FixState, Severity};
use seaworthy_package::{Ecosystem, sort_key};

use crate::limit;

/// A text of one draft, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TextId(pub(crate) u32);

/// The feed has more distinct texts or rows than [`limit::TEXTS`] and [`limit::ROWS`].
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} {what}")]
pub(crate) struct TooMany {
    pub(crate) limit: usize,
    pub(crate) what: &'static str,
}

/// Distinct texts, numbered in order of arrival. Number 0 is the empty text.
#[derive(Debug)]
pub(crate) struct Texts {
    numbers: HashMap<Box<str>, u32>,
}

impl Texts {
    pub(crate) fn intern(&mut self, text: &str) -> Result<TextId, TooMany> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(TextId(*number));
        }
        let too_many = TooMany { limit: limit::TEXTS, what: "texts" };
        if self.numbers.len() >= limit::TEXTS {
            return Err(too_many);
        }
        let number = u32::try_from(self.numbers.len()).map_err(|_| too_many)?;
        self.numbers.insert(text.into(), number);
        Ok(TextId(number))
    }

    pub(crate) fn get(&self, text: &str) -> Option<TextId> {
        self.numbers.get(text).map(|number| TextId(*number))
    }

    /// The texts in lexical order, with their numbers.
    pub(crate) fn sorted(&self) -> Vec<(&str, TextId)> {
        let mut texts: Vec<_> =
            self.numbers.iter().map(|(text, number)| (&**text, TextId(*number))).collect();
        texts.sort_unstable();
        texts
    }
}

impl Default for Texts {
    fn default() -> Self {
        Self { numbers: [(Box::from(""), 0)].into() }
    }
}

/// Where a span of versions ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum End {
    /// All later versions belong to it.
    Open,
    /// Up to, without, the first fixed version.
    Before(TextId),
    /// Up to and with the last affected version.
    Through(TextId),
}

/// Versions `from ..= end`; `None` is before every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) from: Option<TextId>,
    pub(crate) end: End,
}

impl Span {
    pub(crate) const ALL: Self = Self { from: None, end: End::Open };
}

/// One vulnerability in one source package of one release. No spans: the feed says *not affected*.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) release: TextId,
    pub(crate) source: TextId,
    /// The cluster's name.
    pub(crate) id: TextId,
    /// The advisory it came from; empty in feeds that are not made of advisories.
    pub(crate) record: TextId,
    pub(crate) severity: Severity,
    pub(crate) rated_by: TextId,
    /// What holds for an affected version for which the span names no fix.
    pub(crate) state: FixState,
    pub(crate) summary: TextId,
    pub(crate) aliases: Vec<TextId>,
    pub(crate) spans: Vec<Span>,
}

/// A feed's content, not yet compiled.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) feed: String,
    /// The feed's own date; compared as text, so it must begin like `2026-08-21`.
    pub(crate) newest: Option<String>,
    pub(crate) records: u64,
    pub(crate) covers: BTreeSet<String>,
    pub(crate) texts: Texts,
    pub(crate) rows: Vec<Row>,
    /// CVEs with a value; 1.0 for members of a plain catalogue.
    pub(crate) scores: Vec<(TextId, f32)>,
    /// Advisories that this import speaks about, withdrawn ones too (feed `local` only).
    pub(crate) spoken: Vec<TextId>,
}

impl Draft {
    pub(crate) fn new(feed: &str) -> Self {
        Self { feed: feed.to_owned(), ..Self::default() }
    }

    pub(crate) fn push(&mut self, row: Row) -> Result<(), TooMany> {
        if self.rows.len() >= limit::ROWS {
            return Err(TooMany { limit: limit::ROWS, what: "rows" });
        }
        self.rows.push(row);
        Ok(())
    }

    /// Joins rows about the same vulnerability, package and release.
    ///
    /// Debian's advisories (DSA, DLA) name a CVE again in regression updates (`-2`) and in later advisories
    /// with a higher version; the first fix already repaired the flaw, so the lowest version wins, as in
    /// Debian's own tracker. Other databases' advisories add up: who is affected by one is affected.
    pub(crate) fn join_rows(&mut self) {
        let order = |row: &Row| (row.release, row.source, row.id);
        let names: HashMap<TextId, &str> =
            self.texts.sorted().into_iter().map(|(text, id)| (id, text)).collect();
        let name = |id: TextId| names.get(&id).copied().unwrap_or_default();
        self.rows.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| name(a.record).cmp(name(b.record))));
        let mut joined: Vec<Row> = Vec::with_capacity(self.rows.len());
        for row in self.rows.drain(..) {
            match joined.last_mut() {
                Some(last) if order(last) == order(&row) => {
                    let debian =
                        is_debian_advisory(name(last.record)) && is_debian_advisory(name(row.record));
                    join(last, row, debian.then_some(&name));
                }
                _ => joined.push(row),
            }
        }
        self.rows = joined;
    }
}

/// True for an advisory of Debian's security teams.
fn is_debian_advisory(record: &str) -> bool {
    record.starts_with("DSA-") || record.starts_with("DLA-")
}

fn join<'a>(kept: &mut Row, other: Row, lowest_wins: Option<&dyn Fn(TextId) -> &'a str>) {
    kept.aliases.extend(other.aliases);
    kept.aliases.sort_unstable();
    kept.aliases.dedup();
    if kept.severity < other.severity {
        kept.severity = other.severity;
        kept.rated_by = other.rated_by;
    }
    if kept.summary == TextId(0) {
        kept.summary = other.summary;
    }
    let open = |spans: &[Span]| spans.iter().any(|span| span.end == End::Open);
    if open(&other.spans) && !open(&kept.spans) {
        kept.state = other.state;
    }
    if let (
        Some(name),
        [Span { from: None, end: End::Before(ours) }],
        [Span { from: None, end: End::Before(theirs) }],
    ) = (lowest_wins, kept.spans.as_mut_slice(), other.spans.as_slice())
    {
        let key = |id: TextId| sort_key(Ecosystem::Deb, name(id)).unwrap_or_default();
        if key(*theirs) < key(*ours) {
            *ours = *theirs;
        }
        return;
    }
    kept.spans.extend(other.spans);
    kept.spans.sort_unstable();
    kept.spans.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let text = TextId(0);
        Row {
            release: text,
            source: text,
            id: text,
            record: text,
            severity: Severity::Unknown,
            rated_by: text,
            state: FixState::Affected,
            summary: text,
            aliases: Vec::new(),
            spans: Vec::new(),
        }
    }

    #[test]
    fn rows_end_at_their_limit() {
        let mut draft = Draft::new("f");
        draft.rows.reserve_exact(limit::ROWS);
        draft.rows.resize(limit::ROWS - 1, row());
        assert!(draft.push(row()).is_ok(), "at the limit");
        let refused = draft.push(row()).expect_err("one more");
        assert_eq!((refused.limit, refused.what), (limit::ROWS, "rows"));
        assert_eq!(draft.rows.len(), limit::ROWS);
    }
}
