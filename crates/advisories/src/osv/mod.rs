//! OSV records (OSV schema 1.x). Those about Debian's source packages become rows; records of
//! ecosystems without a version order are counted, never taken for covered.

mod identity;
mod range;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use seaworthy_model::{FixState, Severity};
use serde::Deserialize;

use self::{
    identity::{Clusters, cve_of},
    range::Range,
};
use crate::{
    ImportError, Warnings, cvss,
    document::Document,
    draft::{Draft, Row, Span, TextId, TooMany},
    limit, release,
    text::one_line,
    tracker,
};

const FORMAT: &str = "OSV";

#[derive(Deserialize)]
struct Record {
    id: String,
    modified: Option<String>,
    withdrawn: Option<String>,
    summary: Option<String>,
    details: Option<String>,
    aliases: Option<Vec<String>>,
    upstream: Option<Vec<String>>,
    severity: Option<Vec<Rating>>,
    affected: Option<Vec<Affected>>,
    database_specific: Option<Words>,
}

/// What a record must at least have to tell whom it concerns.
#[derive(Deserialize)]
struct Outline {
    id: String,
    affected: Vec<AffectedOutline>,
}

#[derive(Deserialize)]
struct AffectedOutline {
    package: Option<Package>,
}

#[derive(Deserialize)]
struct Affected {
    package: Option<Package>,
    ranges: Option<Vec<Range>>,
    versions: Option<Vec<String>>,
    severity: Option<Vec<Rating>>,
    database_specific: Option<Words>,
    ecosystem_specific: Option<Words>,
}

#[derive(Deserialize)]
struct Package {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct Rating {
    #[serde(rename = "type")]
    kind: String,
    score: String,
}

/// The words of free-form objects that rate a flaw; each database has its own.
#[derive(Deserialize)]
struct Words {
    severity: Option<serde_json::Value>,
    urgency: Option<serde_json::Value>,
}

/// The OSV records of one archive, folder or file.
#[derive(Default)]
pub(crate) struct Osv {
    draft: Draft,
    clusters: Clusters,
    /// The version of each record that was taken.
    seen: HashMap<String, Seen>,
    families: BTreeSet<String>,
    not_covered: BTreeMap<String, u64>,
    by_release: BTreeMap<String, u64>,
}

/// One record, as far as later versions of it must know.
#[derive(Default)]
struct Seen {
    modified: String,
    /// It concerns a release whose versions are compared.
    covered: bool,
}

/// What the records of one archive, folder or file come to.
pub(crate) struct Gathered {
    pub(crate) draft: Draft,
    /// Records of ecosystems that have no version order here, by ecosystem.
    pub(crate) not_covered: BTreeMap<String, u64>,
}

impl Osv {
    /// True when no record was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Reads a file: one record, records one after the other, or an array of them.
    pub(crate) fn add(
        &mut self,
        document: &Document<'_>,
        warnings: &mut Warnings,
    ) -> Result<(), ImportError> {
        let bytes = document.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document.bytes);
        if bytes.trim_ascii_start().first() == Some(&b'[') {
            let records: Vec<Record> =
                serde_json::from_slice(bytes).map_err(|e| ImportError::json(document.path, FORMAT, e))?;
            return records.into_iter().try_for_each(|record| self.record(document.path, &record, warnings));
        }
        for record in serde_json::Deserializer::from_slice(bytes).into_iter::<Record>() {
            match record {
                Ok(record) => self.record(document.path, &record, warnings)?,
                Err(error) if error.is_data() && self.passes_over(bytes) => return Ok(()),
                Err(error) => return Err(ImportError::json(document.path, FORMAT, error)),
            }
        }
        Ok(())
    }

    /// True for a record about ecosystems that are not ours: some databases (Photon OS) have their own
    /// idea of the schema, which must not stop the import of a collection of many.
    fn passes_over(&mut self, bytes: &[u8]) -> bool {
        let Ok(outline) = serde_json::from_slice::<Outline>(bytes) else { return false };
        let packages: Vec<&Package> =
            outline.affected.iter().filter_map(|affected| affected.package.as_ref()).collect();
        let ours = packages.iter().any(|package| release::of_osv_ecosystem(&package.ecosystem).is_some());
        if ours || packages.is_empty() || outline.id.len() > limit::NAME_BYTES {
            return false;
        }
        self.seen.entry(outline.id).or_default();
        self.count_ecosystems(&packages);
        true
    }

    /// Ends reading; `feed` is the name to use when the records alone do not name one.
    pub(crate) fn finish(self, feed: Option<&str>) -> Gathered {
        let Self { mut draft, clusters, families, not_covered, by_release, seen } = self;
        let mut families = families.into_iter();
        let single = families.next().filter(|_| families.next().is_none());
        draft.feed = match (feed, &single) {
            (Some(feed), _) => feed.to_owned(),
            (None, Some(family)) => format!("osv-{}", family.to_lowercase()),
            (None, None) => "osv".to_owned(),
        };
        if feed.is_none() {
            let least = if single.is_some() { 1 } else { limit::MIXED_FEED_RECORDS };
            draft.covers =
                by_release.into_iter().filter(|(_, records)| *records >= least).map(|(key, _)| key).collect();
        }
        draft.records = seen.values().filter(|seen| seen.covered).count() as u64;
        rename_clusters(&mut draft, &clusters.names());
        if feed.is_none() {
            draft.join_rows();
        }
        Gathered { draft, not_covered }
    }

    fn record(&mut self, path: &str, record: &Record, warnings: &mut Warnings) -> Result<(), ImportError> {
        let large = |e: TooMany| ImportError::too_large(path, e.limit as u64, e.what);
        check_names(path, record)?;
        let modified = record.modified.as_deref().unwrap_or_default();
        if let Some(taken) = self.seen.get(&record.id) {
            warnings.count("OSV records occur twice; the one modified last was taken");
            if taken.modified.as_str() > modified {
                return Ok(());
            }
            let id = self.draft.texts.intern(&record.id).map_err(large)?;
            self.draft.rows.retain(|row| row.record != id);
        }
        let id = self.draft.texts.intern(&record.id).map_err(large)?;
        self.draft.spoken.push(id);
        if self.draft.newest.as_deref() < Some(modified) {
            self.draft.newest = Some(modified.chars().take(40).collect());
        }
        let packages: Vec<&Package> = packages(record).collect();
        let covered = self.count_ecosystems(&packages);
        self.seen.insert(record.id.clone(), Seen { modified: modified.to_owned(), covered });
        if record.withdrawn.is_some() || !covered {
            return Ok(());
        }
        let names = self.names(record).map_err(large)?;
        let affected = record.affected.iter().flatten();
        affected
            .into_iter()
            .try_for_each(|affected| self.rows((path, record), affected, &names, warnings))
            .map_err(large)
    }

    /// True when some package of the record has a version order.
    fn count_ecosystems(&mut self, packages: &[&Package]) -> bool {
        let (mut releases, mut others) = (BTreeSet::new(), BTreeSet::new());
        for package in packages {
            let family = package.ecosystem.split(':').next().unwrap_or_default();
            self.families.insert(family.to_owned());
            match release::of_osv_ecosystem(&package.ecosystem) {
                Some(key) => releases.insert(key),
                None => others.insert(family.to_owned()),
            };
        }
        for key in &releases {
            *self.by_release.entry(key.clone()).or_default() += 1;
        }
        let covered = !releases.is_empty() || others.is_empty();
        if let Some(family) = others.into_iter().next().filter(|_| !covered) {
            *self.not_covered.entry(family).or_default() += 1;
        }
        covered
    }

    /// The names under which a record's rows go: one for each CVE, else its own.
    fn names(&mut self, record: &Record) -> Result<Vec<Name>, TooMany> {
        let others = || record.aliases.iter().chain(&record.upstream).flatten().map(String::as_str);
        let cves: BTreeSet<&str> = others().chain([record.id.as_str()]).filter_map(cve_of).collect();
        let texts = &mut self.draft.texts;
        let mut name = |id: &str, aliases: &mut dyn Iterator<Item = &str>| -> Result<Name, TooMany> {
            let aliases = aliases
                .filter(|alias| *alias != id)
                .map(|alias| texts.intern(alias))
                .collect::<Result<_, _>>()?;
            Ok(Name { id: texts.intern(id)?, aliases })
        };
        if cves.len() <= 1 {
            self.clusters.join(others().chain([record.id.as_str()]));
            let id = cves.first().copied().unwrap_or(&record.id);
            return Ok(vec![name(id, &mut others().chain([record.id.as_str()]))?]);
        }
        // An advisory about several CVEs: each gets its vendor's record about it and the advisory as other names.
        cves.iter()
            .map(|cve| {
                name(
                    cve,
                    &mut others().filter(|other| cve_of(other) == Some(cve)).chain([record.id.as_str()]),
                )
            })
            .collect()
    }

    fn rows(
        &mut self,
        (path, record): (&str, &Record),
        affected: &Affected,
        names: &[Name],
        warnings: &mut Warnings,
    ) -> Result<(), TooMany> {
        let Some(package) = &affected.package else {
            warnings.push(&format!("{path}: {}: an affected entry names no package", record.id));
            return Ok(());
        };
        let Some(key) = release::of_osv_ecosystem(&package.ecosystem) else { return Ok(()) };
        let ranges = affected.ranges.as_deref().unwrap_or_default();
        let (state, spans) =
            match range::spans(ranges, affected.versions.as_deref().unwrap_or_default(), &mut self.draft) {
                Ok(spans) => (FixState::Affected, spans),
                Err(range::RangeError::Texts(too_many)) => return Err(too_many),
                Err(why) => {
                    let (id, name) = (&record.id, &package.name);
                    warnings.push(&format!("{path}: {id}, {name}: {why}; every version counts as affected"));
                    (FixState::UnderInvestigation, vec![Span::ALL])
                }
            };
        let severity = severity(record, affected);
        let texts = &mut self.draft.texts;
        let summary = texts
            .intern(&one_line(record.summary.as_deref().or(record.details.as_deref()).unwrap_or_default()))?;
        let rater = if severity == Severity::Unknown { "" } else { rater(&record.id) };
        let (rated_by, record) = (texts.intern(rater)?, texts.intern(&record.id)?);
        let (release, source) = (texts.intern(&key)?, texts.intern(&package.name)?);
        for name in names {
            let (id, aliases, spans) = (name.id, name.aliases.clone(), spans.clone());
            self.draft.push(Row {
                release,
                source,
                id,
                record,
                severity,
                rated_by,
                state,
                summary,
                aliases,
                spans,
            })?;
        }
        Ok(())
    }
}

/// A cluster's name as a record gives it.
struct Name {
    id: TextId,
    aliases: Vec<TextId>,
}

/// Gives rows without a CVE the one CVE of their cluster, when other records tell it.
fn rename_clusters(draft: &mut Draft, names: &HashMap<String, String>) {
    let mut renamed: HashMap<TextId, TextId> = HashMap::new();
    for (id, name) in names.iter().filter(|(id, name)| id != name) {
        // At the limit of texts a row keeps its own name.
        if let Some(id) = draft.texts.get(id)
            && let Ok(name) = draft.texts.intern(name)
        {
            renamed.insert(id, name);
        }
    }
    for row in &mut draft.rows {
        if let Some(name) = renamed.get(&row.id) {
            row.aliases.retain(|alias| alias != name);
            row.aliases.push(std::mem::replace(&mut row.id, *name));
        }
    }
}

fn packages(record: &Record) -> impl Iterator<Item = &Package> {
    record.affected.iter().flatten().filter_map(|affected| affected.package.as_ref())
}

fn check_names(path: &str, record: &Record) -> Result<(), ImportError> {
    let others = record.aliases.iter().chain(&record.upstream).flatten();
    if others.clone().count() > limit::ALIASES {
        return Err(ImportError::too_large(path, limit::ALIASES as u64, "aliases in one record"));
    }
    let packages = record.affected.iter().flatten().filter_map(|affected| affected.package.as_ref());
    let names =
        packages.flat_map(|package| [&package.ecosystem, &package.name]).chain(others).chain([&record.id]);
    if names.into_iter().any(|name| name.len() > limit::NAME_BYTES) {
        return Err(ImportError::too_large(path, limit::NAME_BYTES as u64, "bytes in a name"));
    }
    Ok(())
}

/// The package's own rating first, then the record's; words before vectors.
fn severity(record: &Record, affected: &Affected) -> Severity {
    let by_words = |words: Option<&Words>| {
        let words = words?;
        let text = |value: &Option<serde_json::Value>| {
            value.as_ref().and_then(|value| value.as_str().map(str::to_ascii_lowercase))
        };
        let urgency = text(&words.urgency).map_or(Severity::Unknown, |word| tracker::severity(&word));
        let severity = match text(&words.severity).unwrap_or_default().as_str() {
            "negligible" => Severity::Negligible,
            "low" => Severity::Low,
            "moderate" | "medium" => Severity::Medium,
            "important" | "high" => Severity::High,
            "critical" => Severity::Critical,
            _ => Severity::Unknown,
        };
        Some(severity.max(urgency)).filter(|severity| *severity != Severity::Unknown)
    };
    let by_vectors = |ratings: Option<&Vec<Rating>>| {
        ratings?
            .iter()
            .filter(|rating| rating.kind == "CVSS_V3")
            .filter_map(|rating| cvss::severity(&rating.score))
            .max()
    };
    by_words(affected.ecosystem_specific.as_ref())
        .or_else(|| by_words(affected.database_specific.as_ref()))
        .or_else(|| by_vectors(affected.severity.as_ref()))
        .or_else(|| by_words(record.database_specific.as_ref()))
        .or_else(|| by_vectors(record.severity.as_ref()))
        .unwrap_or_default()
}

/// Who rates in a record: Debian in its own, else the database that the id's prefix names.
fn rater(id: &str) -> &str {
    match id.split('-').next().unwrap_or_default() {
        "DSA" | "DLA" | "DTSA" | "DEBIAN" => tracker::FEED,
        "GHSA" => "github",
        _ => "osv",
    }
}
