//! The feed `local`: single OSV records that people add, replace and withdraw.

use std::collections::{BTreeSet, HashMap};

use crate::{
    Segment,
    draft::{Draft, End, Row, Span, TextId, TooMany},
    segment::{KIND_BEFORE, KIND_THROUGH, View},
};

/// Applies what `newer` says on top of `kept`: rows of every advisory it speaks about are replaced,
/// of withdrawn ones removed.
pub(crate) fn upsert(kept: &mut Draft, newer: &Draft) -> Result<(), TooMany> {
    let names: HashMap<TextId, &str> =
        newer.texts.sorted().into_iter().map(|(text, id)| (id, text)).collect();
    let name = |id: &TextId| names.get(id).copied().unwrap_or_default();
    let mut spoken = BTreeSet::new();
    for id in &newer.spoken {
        spoken.insert(kept.texts.intern(name(id))?);
    }
    kept.rows.retain(|row| !spoken.contains(&row.record));
    kept.spoken.extend(spoken);
    for row in &newer.rows {
        let mut text = |id: &TextId| kept.texts.intern(name(id));
        let spans = row.spans.iter().map(|span| {
            let from = span.from.as_ref().map(&mut text).transpose()?;
            let end = match &span.end {
                End::Open => End::Open,
                End::Before(to) => End::Before(text(to)?),
                End::Through(to) => End::Through(text(to)?),
            };
            Ok(Span { from, end })
        });
        let spans = spans.collect::<Result<_, TooMany>>()?;
        let row = Row {
            release: text(&row.release)?,
            source: text(&row.source)?,
            id: text(&row.id)?,
            record: text(&row.record)?,
            severity: row.severity,
            rated_by: text(&row.rated_by)?,
            state: row.state,
            summary: text(&row.summary)?,
            aliases: row.aliases.iter().map(&mut text).collect::<Result<_, _>>()?,
            spans,
        };
        kept.push(row)?;
    }
    kept.newest = kept.newest.take().max(newer.newest.clone());
    kept.records = count_records(kept);
    Ok(())
}

/// The draft that compiles to `segment`, for feeds of rows.
pub(crate) fn reopen(segment: &Segment) -> Result<Draft, TooMany> {
    let view = segment.view();
    let mut draft = Draft::new(segment.feed());
    draft.newest = segment.newest().map(str::to_owned);
    draft.covers = segment.covers().iter().cloned().collect();
    for (release, source, package) in view.packages() {
        rows(view, (release, source, package), &mut draft)?;
    }
    for id in view.spoken() {
        let id = draft.texts.intern(id)?;
        draft.spoken.push(id);
    }
    draft.records = count_records(&draft);
    Ok(draft)
}

fn rows(
    view: View<'_>,
    (release, source, package): (&str, &str, u32),
    draft: &mut Draft,
) -> Result<(), TooMany> {
    for row in view.rows_of(package) {
        let texts = &mut draft.texts;
        let mut spans = Vec::new();
        for (from, to, kind) in row.span_texts() {
            let from = from.map(|from| texts.intern(from)).transpose()?;
            let end = match (kind, to) {
                (KIND_BEFORE, Some(to)) => End::Before(texts.intern(to)?),
                (KIND_THROUGH, Some(to)) => End::Through(texts.intern(to)?),
                _ => End::Open,
            };
            spans.push(Span { from, end });
        }
        let row = Row {
            release: texts.intern(release)?,
            source: texts.intern(source)?,
            id: texts.intern(row.id())?,
            record: texts.intern(row.record())?,
            severity: row.severity(),
            rated_by: texts.intern(row.rated_by())?,
            state: row.state(),
            summary: texts.intern(row.summary())?,
            aliases: row.aliases().map(|alias| texts.intern(alias)).collect::<Result<_, _>>()?,
            spans,
        };
        draft.push(row)?;
    }
    Ok(())
}

/// Removed advisories need no trace once they are removed.
pub(crate) fn forget_spoken(draft: &mut Draft) {
    draft.spoken.clear();
}

fn count_records(draft: &Draft) -> u64 {
    draft.rows.iter().map(|row| row.record).collect::<BTreeSet<_>>().len() as u64
}
