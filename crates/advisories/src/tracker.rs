//! Debian's security tracker, JSON export:
//! `{source: {CVE: {releases: {codename: {status, fixed_version, urgency, nodsa_reason, repositories}}}}}`.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use seaworthy_model::{FixState, Severity};
use seaworthy_package::DebVersion;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor},
};

use crate::{
    ImportError, Warnings,
    document::Document,
    draft::{Draft, End, Row, Span, TextId, TooMany},
    limit, release,
    text::one_line,
};

/// The feed's name, and the name under which it rates severities.
pub(crate) const FEED: &str = "debian";

const FORMAT: &str = "Debian security tracker";

/// Reads an export. Its own date is the file's, when the archive tells one: the format has none.
pub(crate) fn import(document: &Document<'_>, warnings: &mut Warnings) -> Result<Draft, ImportError> {
    let mut draft = Draft::new(FEED);
    draft.newest = document.date.map(str::to_owned);
    let mut reader = serde_json::Deserializer::from_slice(document.bytes);
    let sources = Sources { path: document.path, draft: &mut draft, warnings };
    sources
        .deserialize(&mut reader)
        .and_then(|()| reader.end())
        .map_err(|source| ImportError::json(document.path, FORMAT, source))?;
    draft.join_rows();
    Ok(draft)
}

/// One CVE in one source package.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    description: Option<Cow<'a, str>>,
    #[serde(borrow)]
    releases: BTreeMap<Cow<'a, str>, ReleaseEntry<'a>>,
}

#[derive(Deserialize)]
struct ReleaseEntry<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    fixed_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    urgency: Option<Cow<'a, str>>,
    nodsa_reason: Option<String>,
    #[serde(borrow, default)]
    repositories: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

struct Sources<'a> {
    path: &'a str,
    draft: &'a mut Draft,
    warnings: &'a mut Warnings,
}

impl<'de> DeserializeSeed<'de> for Sources<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Sources<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of source packages")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut sources: A) -> Result<(), A::Error> {
        while let Some(source) = sources.next_key::<Cow<'de, str>>()? {
            check_name::<A::Error>(&source)?;
            sources.next_value_seed(Source { name: &source, sources: &mut self })?;
        }
        Ok(())
    }
}

struct Source<'a, 'b> {
    name: &'a str,
    sources: &'a mut Sources<'b>,
}

impl<'de> DeserializeSeed<'de> for Source<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Source<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of CVEs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some((id, entry)) = entries.next_entry::<Cow<'de, str>, Entry<'de>>()? {
            check_name::<A::Error>(&id)?;
            self.sources.draft.records += 1;
            self.sources.entry(self.name, &id, &entry).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

impl Sources<'_> {
    fn entry(&mut self, source: &str, id: &str, entry: &Entry<'_>) -> Result<(), TooMany> {
        let summary = self.draft.texts.intern(&one_line(entry.description.as_deref().unwrap_or_default()))?;
        let (source_id, id_id) = (self.draft.texts.intern(source)?, self.draft.texts.intern(id)?);
        let feed = self.draft.texts.intern(FEED)?;
        for (codename, facts) in &entry.releases {
            let place = || format!("{}: {source}, {id}, {codename}", self.path);
            let Some(verdict) = judge(codename, facts, &place, self.warnings) else { continue };
            let key = release::of_codename(codename);
            let release = self.draft.texts.intern(&key)?;
            self.draft.covers.insert(key);
            let severity = severity(facts.urgency.as_deref().unwrap_or_default());
            let spans = match verdict.spans {
                Affected::No => Vec::new(),
                Affected::All => vec![Span::ALL],
                Affected::Before(version) => {
                    vec![Span { from: None, end: End::Before(self.draft.texts.intern(version)?) }]
                }
            };
            let rated_by = if severity == Severity::Unknown { TextId(0) } else { feed };
            self.draft.push(Row {
                release,
                source: source_id,
                id: id_id,
                record: TextId(0),
                severity,
                rated_by,
                state: verdict.state,
                summary,
                aliases: Vec::new(),
                spans,
            })?;
        }
        Ok(())
    }
}

enum Affected<'a> {
    No,
    All,
    Before(&'a str),
}

struct Verdict<'a> {
    spans: Affected<'a>,
    state: FixState,
}

/// What an entry says about installed versions. `status` speaks of the archive's newest version, so
/// it decides only where no `fixed_version` does:
/// - open: affected, no fix; the reason against an advisory and the urgency tell what to expect;
/// - resolved: the archive's newest version has no flaw, so everything older is suspect;
/// - undetermined: the vendor has no opinion, so there is no row; it is counted in the warnings.
///
/// A fixed version that dpkg would refuse makes every version suspect, and is a warning.
fn judge<'a>(
    codename: &str,
    facts: &'a ReleaseEntry<'_>,
    place: &dyn Fn() -> String,
    warnings: &mut Warnings,
) -> Option<Verdict<'a>> {
    let unclear = Verdict { spans: Affected::All, state: FixState::UnderInvestigation };
    if let Some(fixed) = facts.fixed_version.as_deref() {
        if fixed == "0" {
            return Some(Verdict { spans: Affected::No, state: FixState::Fixed });
        }
        return Some(match check_version(fixed) {
            Ok(()) => Verdict { spans: Affected::Before(fixed), state: FixState::Fixed },
            Err(why) => {
                warnings
                    .push(&format!("{}: fixed version: {why}; every version counts as affected", place()));
                unclear
            }
        });
    }
    match &*facts.status {
        "open" => Some(Verdict { spans: Affected::All, state: unfixed_state(facts) }),
        "undetermined" => {
            warnings.count("entries are undetermined in the Debian tracker and left out");
            None
        }
        "resolved" => {
            warnings.push(&format!(
                "{}: resolved without a fixed version; older than the archive counts as affected",
                place()
            ));
            let newest = newest_in_archive(codename, facts);
            Some(newest.map_or(unclear, |newest| Verdict {
                spans: Affected::Before(newest),
                state: FixState::Fixed,
            }))
        }
        _ => {
            warnings.push(&format!("{}: unknown status; every version counts as affected", place()));
            Some(unclear)
        }
    }
}

fn newest_in_archive<'a>(codename: &str, facts: &'a ReleaseEntry<'_>) -> Option<&'a str> {
    let own = facts.repositories.iter().filter(|(name, _)| {
        name.strip_prefix(codename).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    });
    own.filter_map(|(_, version)| DebVersion::parse(version).ok()).max().map(|version| version.as_str())
}

/// Debian's reasons against an advisory of its own: ignored, postponed; without a word ("no-dsa") the
/// package is affected like any other.
fn unfixed_state(facts: &ReleaseEntry<'_>) -> FixState {
    if urgency(facts.urgency.as_deref().unwrap_or_default()) == "end-of-life" {
        return FixState::EndOfLife;
    }
    match facts.nodsa_reason.as_deref() {
        Some("ignored") => FixState::WillNotFix,
        Some("postponed") => FixState::FixDeferred,
        _ => FixState::Affected,
    }
}

/// Stars mark urgencies that were assigned automatically.
fn urgency(word: &str) -> &str {
    word.trim_end_matches('*').trim()
}

/// Debian's urgency as a severity; `not yet assigned` and unknown words rate nothing.
pub(crate) fn severity(word: &str) -> Severity {
    match urgency(word) {
        "unimportant" => Severity::Negligible,
        "low" => Severity::Low,
        "medium" => Severity::Medium,
        "high" => Severity::High,
        _ => Severity::Unknown,
    }
}

/// Why a version of a feed cannot be used.
pub(crate) fn check_version(version: &str) -> Result<(), String> {
    if version.len() > limit::VERSION_BYTES {
        return Err(format!("version is longer than {} bytes", limit::VERSION_BYTES));
    }
    match DebVersion::parse(version) {
        Ok(_) => Ok(()),
        Err(fault) => Err(format!("`{}`: {fault}", version.chars().take(60).collect::<String>())),
    }
}

fn check_name<E: serde::de::Error>(name: &str) -> Result<(), E> {
    if name.is_empty() || name.len() > limit::NAME_BYTES {
        return Err(E::custom(format!("a name is empty or longer than {} bytes", limit::NAME_BYTES)));
    }
    Ok(())
}
