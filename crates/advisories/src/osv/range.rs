//! OSV's evaluation of versions (OSV schema, "Evaluation"), as spans that are computed once.

use seaworthy_package::DebVersion;
use serde::Deserialize;

use crate::{
    draft::{Draft, End, Span, TooMany},
    limit,
    tracker::check_version,
};

#[derive(Deserialize)]
pub(super) struct Range {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
    limit: Option<String>,
}

/// Why the versions of a record cannot be judged.
#[derive(Debug, thiserror::Error)]
pub(super) enum RangeError {
    #[error("{0}")]
    Version(String),
    #[error("neither ranges nor versions say which versions are affected")]
    Nothing,
    #[error("a range never starts")]
    NeverStarts,
    #[error("more than {} ranges or versions", limit::SPANS)]
    TooMany,
    #[error(transparent)]
    Texts(#[from] TooMany),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Introduced,
    Fixed,
    LastAffected,
}

/// The spans of affected versions: the union of all ranges and of the enumerated versions.
pub(super) fn spans(
    ranges: &[Range],
    versions: &[String],
    draft: &mut Draft,
) -> Result<Vec<Span>, RangeError> {
    if ranges.len() > limit::SPANS || versions.len() > limit::SPANS {
        return Err(RangeError::TooMany);
    }
    let mut spans = Vec::new();
    let mut judged = 0;
    // Ranges of git commits say nothing about packages; distributions do not use SEMVER.
    for range in ranges.iter().filter(|range| range.kind != "GIT") {
        judged += 1;
        push_range(range, &mut spans)?;
    }
    if judged == 0 && versions.is_empty() {
        return Err(RangeError::Nothing);
    }
    let within: Vec<(Option<String>, Bound)> =
        spans.iter().map(|(from, to)| (from.clone(), to.clone())).collect();
    for version in versions {
        check_version(version).map_err(RangeError::Version)?;
        if !within.iter().any(|(from, to)| contains(from.as_deref(), to, version)) {
            spans.push((Some(version.clone()), Bound::Through(version.clone())));
        }
    }
    spans.into_iter().map(|(from, to)| intern(from.as_deref(), &to, draft)).collect()
}

#[derive(Clone)]
enum Bound {
    Open,
    Before(String),
    Through(String),
}

fn intern(from: Option<&str>, to: &Bound, draft: &mut Draft) -> Result<Span, RangeError> {
    let from = from.map(|from| draft.texts.intern(from)).transpose()?;
    let end = match to {
        Bound::Open => End::Open,
        Bound::Before(to) => End::Before(draft.texts.intern(to)?),
        Bound::Through(to) => End::Through(draft.texts.intern(to)?),
    };
    Ok(Span { from, end })
}

fn contains(from: Option<&str>, to: &Bound, version: &str) -> bool {
    let Ok(version) = DebVersion::parse(version) else { return false };
    let order = |other: &str| DebVersion::parse(other).map(|other| version.cmp(&other));
    from.is_none_or(|from| order(from).is_ok_and(std::cmp::Ordering::is_ge))
        && match to {
            Bound::Open => true,
            Bound::Before(to) => order(to).is_ok_and(std::cmp::Ordering::is_lt),
            Bound::Through(to) => order(to).is_ok_and(std::cmp::Ordering::is_le),
        }
}

/// Walks the events in version order, as the schema's algorithm does for one version. Events at the
/// same version keep their order in the record. `limit` cuts everything at the highest limit.
fn push_range(range: &Range, spans: &mut Vec<(Option<String>, Bound)>) -> Result<(), RangeError> {
    if range.events.len() > limit::SPANS {
        return Err(RangeError::TooMany);
    }
    let mut steps: Vec<(Option<DebVersion<'_>>, Step)> = Vec::new();
    let mut limits: Vec<DebVersion<'_>> = Vec::new();
    for event in &range.events {
        let fields = [
            (&event.introduced, Step::Introduced),
            (&event.fixed, Step::Fixed),
            (&event.last_affected, Step::LastAffected),
        ];
        for (version, step) in fields {
            let Some(version) = version else { continue };
            // "0" as start is before every version, `0~1` too.
            let version =
                if step == Step::Introduced && version == "0" { None } else { Some(parse(version)?) };
            steps.push((version, step));
        }
        // `*` is no limit.
        if let Some(limit) = event.limit.as_deref().filter(|limit| *limit != "*") {
            limits.push(parse(limit)?);
        }
    }
    if !steps.iter().any(|(_, step)| *step == Step::Introduced) {
        return Err(RangeError::NeverStarts);
    }
    steps.sort_by(|a, b| a.0.cmp(&b.0));
    let unlimited = range.events.iter().any(|event| event.limit.as_deref() == Some("*"));
    let limit = if unlimited { None } else { limits.into_iter().max() };
    let mut push = |from: Option<DebVersion<'_>>, to: Option<DebVersion<'_>>, step: Step| {
        let cut = limit.filter(|limit| to.is_none_or(|to| *limit <= to));
        let text = |version: DebVersion<'_>| version.as_str().to_owned();
        let bound = match (cut, to, step) {
            // Where a limit cuts, nothing is known to be fixed: the version counts as not affected.
            (Some(limit), ..) => Bound::Before(text(limit)),
            (None, None, _) => Bound::Open,
            (None, Some(to), Step::LastAffected) => Bound::Through(text(to)),
            (None, Some(to), _) => Bound::Before(text(to)),
        };
        spans.push((from.map(text), bound));
    };
    let mut open: Option<Option<DebVersion<'_>>> = None;
    for (version, step) in steps {
        match (open, step) {
            (None, Step::Introduced) => open = Some(version),
            (Some(from), Step::Fixed | Step::LastAffected) => {
                push(from, version, step);
                open = None;
            }
            _ => {}
        }
    }
    if let Some(from) = open {
        push(from, None, Step::Fixed);
    }
    Ok(())
}

fn parse(version: &str) -> Result<DebVersion<'_>, RangeError> {
    check_version(version).map_err(RangeError::Version)?;
    DebVersion::parse(version).map_err(|fault| RangeError::Version(fault.to_string()))
}
