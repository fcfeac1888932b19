//! One generation of the advisory index: packages to findings.

use std::{collections::BTreeSet, sync::Arc};

use seaworthy_model::{FeedCoverage, Finding, FindingSet, FixState, OsRelease, Severity, Timestamp};
use seaworthy_package::{Ecosystem, InstalledPackage, sort_key};
use sha2::{Digest as _, Sha256};

use crate::{
    Segment, catalogue,
    collect::LOCAL,
    import::hex,
    release::release_key,
    segment::{Hit, RowView},
    tracker,
};

/// An immutable set of segments, at most one for each feed.
#[derive(Clone, Debug)]
pub struct Index {
    /// Feeds of rows, the vendor's own verdict first.
    rows: Vec<(Rank, Arc<Segment>)>,
    kev: Option<Arc<Segment>>,
    epss: Option<Arc<Segment>>,
    all: Vec<Arc<Segment>>,
    hash: String,
}

/// Whose word decides about one CVE in one source package of one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The distribution's tracker: its verdict stands, "not affected" too.
    Vendor,
    /// Advisories about the distribution: used where the vendor's tracker says nothing.
    Advisories,
    /// What people here added: never overruled, it only adds.
    Local,
}

/// Adds one candidate row to what is known about a cluster.
struct Candidate<'a> {
    rank: Rank,
    row: RowView<'a>,
    hit: Option<Hit<'a>>,
}

impl Index {
    /// Of two segments of one feed the later in `segments` counts.
    pub fn new(segments: Vec<Arc<Segment>>) -> Self {
        let mut all: Vec<Arc<Segment>> = Vec::with_capacity(segments.len());
        for segment in segments {
            all.retain(|other| other.feed() != segment.feed());
            all.push(segment);
        }
        all.sort_by(|a, b| a.feed().cmp(b.feed()));
        let mut hasher = Sha256::new();
        for segment in &all {
            let mut bytes = Vec::new();
            push(&mut bytes, segment.feed());
            push(&mut bytes, segment.content_hash());
            hasher.update(&bytes);
        }
        let named = |feed: &str| all.iter().find(|segment| segment.feed() == feed).cloned();
        let mut rows: Vec<(Rank, Arc<Segment>)> = all
            .iter()
            .filter(|segment| ![catalogue::KEV, catalogue::EPSS].contains(&segment.feed()))
            .map(|segment| (rank(segment.feed()), Arc::clone(segment)))
            .collect();
        rows.sort_by(|a, b| (a.0, a.1.feed()).cmp(&(b.0, b.1.feed())));
        Self {
            rows,
            kev: named(catalogue::KEV),
            epss: named(catalogue::EPSS),
            hash: hex(&hasher.finalize()),
            all,
        }
    }

    /// SHA-256 over the segments' names and content hashes, hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The segments, by feed name.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.all
    }

    /// What the loaded feeds cover; `checked_at` tells when a feed was last imported or verified.
    pub fn coverage(&self, checked_at: &dyn Fn(&str) -> Timestamp) -> Vec<FeedCoverage> {
        let row = |segment: &Arc<Segment>| FeedCoverage {
            feed: segment.feed().to_owned(),
            covers: segment.covers().to_vec(),
            checked_at: checked_at(segment.feed()),
            newest: segment.newest().map(str::to_owned),
        };
        self.all.iter().map(row).collect()
    }

    /// True when a loaded feed covers this key (`deb:debian:12`, `kev`).
    pub fn covers(&self, key: &str) -> bool {
        self.all.iter().any(|segment| segment.covers().iter().any(|covered| covered == key))
    }

    /// All findings of a package set, once for each distinct source package and version.
    ///
    /// A version that its ecosystem's rules do not accept cannot be placed: everything known about its
    /// package is found, with state [`FixState::UnderInvestigation`].
    pub fn find(&self, os: Option<&OsRelease>, packages: &[InstalledPackage]) -> FindingSet {
        let release = release_key(os, packages);
        let covered = release.as_deref().is_none_or(|release| self.covers(release));
        let sources: BTreeSet<(&str, &str)> = packages
            .iter()
            .map(|package| (package.source.name.as_str(), package.source.version.as_str()))
            .collect();
        let mut rows = Vec::new();
        if let Some(release) = &release {
            for (source, version) in sources {
                self.find_source(release, (source, version), &mut rows);
            }
        }
        rows.sort_by(|a, b| (&a.id, &a.source, &a.version).cmp(&(&b.id, &b.source, &b.version)));
        FindingSet {
            id: set_id(&rows, release.as_deref(), covered),
            index_hash: self.hash.clone(),
            release,
            covered,
            rows,
        }
    }

    /// Every (release, source package) about which a row with this id or alias exists.
    pub fn packages_with(&self, id: &str) -> BTreeSet<(String, String)> {
        let found = self.rows.iter().flat_map(|(_, segment)| segment.view().packages_with(id));
        found.map(|(release, source)| (release.to_owned(), source.to_owned())).collect()
    }

    fn find_source(&self, release: &str, (source, version): (&str, &str), rows: &mut Vec<Finding>) {
        let (name, own_version) = advisory_source(source, version);
        let key = sort_key(Ecosystem::Deb, &own_version).ok();
        let places: Vec<_> = self
            .rows
            .iter()
            .filter_map(|(rank, segment)| {
                Some((*rank, segment.view(), segment.view().find_package(release, name)?))
            })
            .collect();
        // Most rows are about versions long gone: first what is hit, then what else is said about it.
        let mut ids: Vec<&[u8]> = places
            .iter()
            .flat_map(|(_, view, package)| view.rows_of(*package))
            .filter(|row| row.hit(key.as_deref()).is_some())
            .map(|row| row.id_bytes())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let mut cluster = Vec::new();
        for id in ids {
            cluster.clear();
            for (rank, view, package) in &places {
                let rows = view.rows_named(*package, id);
                cluster.extend(rows.map(|row| Candidate { rank: *rank, hit: row.hit(key.as_deref()), row }));
            }
            if let Some(mut finding) = judge(&cluster) {
                source.clone_into(&mut finding.source);
                version.clone_into(&mut finding.version);
                if key.is_none() {
                    finding.state = FixState::UnderInvestigation;
                }
                self.enrich(&mut finding);
                rows.push(finding);
            }
        }
    }

    fn enrich(&self, finding: &mut Finding) {
        let ids = || std::iter::once(&finding.id).chain(&finding.aliases).filter(|id| catalogue::is_cve(id));
        let kev = self.kev.as_ref().is_some_and(|segment| ids().any(|id| segment.view().score(id).is_some()));
        let epss = self
            .epss
            .as_ref()
            .and_then(|segment| ids().filter_map(|id| segment.view().score(id)).max_by(f32::total_cmp));
        (finding.kev, finding.epss) = (kev, epss);
    }
}

fn rank(feed: &str) -> Rank {
    match feed {
        tracker::FEED => Rank::Vendor,
        LOCAL => Rank::Local,
        _ => Rank::Advisories,
    }
}

/// The name and version under which advisories speak of an installed source package. Debian's signed
/// kernels are built from `linux-signed-amd64 6.1.90+1`, which is `linux 6.1.90-1`.
fn advisory_source<'a>(source: &'a str, version: &'a str) -> (&'a str, std::borrow::Cow<'a, str>) {
    match version.rsplit_once('+') {
        Some((upstream, revision)) if source.starts_with("linux-signed-") && !version.contains('-') => {
            ("linux", format!("{upstream}-{revision}").into())
        }
        _ => (source, version.into()),
    }
}

/// One cluster's rows in one source package: the finding, unless the version is not affected.
fn judge(cluster: &[Candidate<'_>]) -> Option<Finding> {
    let vendor_speaks = cluster.iter().any(|candidate| candidate.rank == Rank::Vendor);
    let decides = |candidate: &&Candidate<'_>| !vendor_speaks || candidate.rank != Rank::Advisories;
    // Rows are ordered by rank: the first that is hit has the best word on the fix.
    let (deciding, hit) =
        cluster.iter().filter(decides).find_map(|candidate| Some((candidate, candidate.hit?)))?;
    let (state, fixed_version) = match hit {
        Hit::FixedBy(version) => (FixState::Fixed, Some(version.to_owned())),
        Hit::NoFix => (deciding.row.state(), None),
    };
    let id = deciding.row.id();
    let aliases = cluster.iter().flat_map(|candidate| candidate.row.aliases()).filter(|alias| *alias != id);
    let mut aliases: Vec<String> = aliases.map(str::to_owned).collect();
    aliases.sort_unstable();
    aliases.dedup();
    let rated =
        cluster.iter().map(|candidate| &candidate.row).find(|row| row.severity() != Severity::Unknown);
    let summary = cluster.iter().map(|candidate| candidate.row.summary()).find(|summary| !summary.is_empty());
    Some(Finding {
        id: id.to_owned(),
        aliases,
        ecosystem: Ecosystem::Deb,
        source: String::new(),
        version: String::new(),
        severity: rated.map_or(Severity::Unknown, RowView::severity),
        severity_source: rated.map_or("", RowView::rated_by).to_owned(),
        state,
        fixed_version,
        kev: false,
        epss: None,
        summary: summary.unwrap_or_default().to_owned(),
    })
}

/// Length-prefixed, so that no two different sets hash the same bytes.
fn set_id(rows: &[Finding], release: Option<&str>, covered: bool) -> String {
    let mut hasher = Sha256::new();
    let mut bytes = b"finding-set-1".to_vec();
    push(&mut bytes, release.unwrap_or_default());
    bytes.extend([u8::from(covered), u8::from(release.is_some())]);
    bytes.extend((rows.len() as u64).to_le_bytes());
    for row in rows {
        for field in [&row.id, &row.source, &row.version, &row.severity_source, &row.summary] {
            push(&mut bytes, field);
        }
        push(&mut bytes, row.ecosystem.name());
        push(&mut bytes, row.severity.name());
        bytes.push(row.state as u8);
        bytes.extend([row.kev, row.epss.is_some(), row.fixed_version.is_some()].map(u8::from));
        bytes.extend(row.epss.unwrap_or_default().to_bits().to_le_bytes());
        push(&mut bytes, row.fixed_version.as_deref().unwrap_or_default());
        bytes.extend((row.aliases.len() as u64).to_le_bytes());
        row.aliases.iter().for_each(|alias| push(&mut bytes, alias));
        // One row at a time: few and long updates, no copy of the whole set.
        hasher.update(&bytes);
        bytes.clear();
    }
    hasher.update(&bytes);
    hex(&hasher.finalize())
}

fn push(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_kernels_are_linux() {
        assert_eq!(advisory_source("linux-signed-amd64", "6.1.90+1"), ("linux", "6.1.90-1".into()));
        assert_eq!(
            advisory_source("linux-signed-amd64", "6.1.90-1+b1"),
            ("linux-signed-amd64", "6.1.90-1+b1".into())
        );
        assert_eq!(advisory_source("expat", "2.5.0+1"), ("expat", "2.5.0+1".into()));
    }
}
