//! Findings of all images that the caller may see: by vulnerability, and by remedy.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ContentId, Finding, FindingSet, Scope, Severity};
use seaworthy_oci::{Digest, media};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, ApiError, Rooms, images::image_of, signed_in};
use crate::{
    limit,
    remedies::{self, Bands},
    report::probability,
    route::Routes,
};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new().get("/api/v1/vulnerabilities", list)
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Remedy,
    Vulnerability,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    by: By,
    /// Part of a source package's name or of an id.
    #[serde(default)]
    text: String,
    source: Option<String>,
    severity: Option<Severity>,
    fixable: Option<bool>,
    exploited: Option<bool>,
    n: Option<u32>,
    /// Rows to skip: `next` of the page before.
    #[serde(default)]
    after: u32,
}

impl Filter {
    fn takes(&self, finding: &Finding) -> bool {
        let has_text = || {
            let text = self.text.to_ascii_lowercase();
            let names = [&finding.id, &finding.source].into_iter().chain(&finding.aliases);
            names.into_iter().any(|name| name.to_ascii_lowercase().contains(&text))
        };
        self.source.as_ref().is_none_or(|source| *source == finding.source)
            && self.severity.is_none_or(|severity| severity == finding.severity)
            && self.fixable.is_none_or(|fixable| fixable == finding.fixed_version.is_some())
            && self.exploited.is_none_or(|exploited| exploited == finding.kev)
            && (self.text.is_empty() || has_text())
    }
}

/// One content and the tags that lead to it.
struct Content {
    id: ContentId,
    tags: Vec<String>,
    set: Arc<FindingSet>,
}

/// What is behind the tags that the caller may see.
struct Found {
    /// Each content once.
    contents: Vec<Content>,
    /// Tags whose image is not read, not matched, or of a release that no feed covers.
    unknown: usize,
    /// False: there are more tags than one answer looks at.
    is_complete: bool,
}

async fn contents(rooms: &Rooms, identity: &Identity) -> Result<Found, ApiError> {
    let tags = rooms.registry.images(identity, "", ("", ""), limit::PREVIEWED).await?;
    let is_complete = tags.len() < limit::PREVIEWED as usize;
    let mut images = Vec::new();
    for of_repository in tags.chunk_by(|lhs, rhs| lhs.repository == rhs.repository) {
        let Some(repository) = of_repository.first().map(|tag| &tag.repository) else { continue };
        let scope = Scope::repository(repository);
        if !rooms.access.allows(identity, Permission::ClearanceRead, &scope).await? {
            continue;
        }
        for tag in of_repository {
            let hides = async |digest| rooms.registry.is_hidden(identity, repository, digest).await;
            if tag.quarantined && hides(&tag.digest).await? {
                continue;
            }
            let name = format!("{repository}:{}", tag.tag);
            let image = if media::is_index(&tag.media_type) {
                image_of(rooms, repository, tag.digest).await?
            } else {
                tag.digest
            };
            // An index that is let out may have an image that was put back.
            if image != tag.digest && hides(&image).await? {
                continue;
            }
            images.push((name, image));
        }
    }
    let digests: Vec<Digest> = images.iter().map(|(_, image)| *image).collect();
    let inspected = rooms.inspection.contents_of(&digests).await?;
    let ids: BTreeSet<ContentId> = inspected.values().copied().collect();
    let sets = rooms.findings.of_contents(&ids.into_iter().collect::<Vec<_>>()).await?;
    let mut by: BTreeMap<ContentId, Content> = BTreeMap::new();
    let mut unknown = 0;
    for (name, image) in images {
        let known = inspected.get(&image).and_then(|id| Some((id, sets.get(id)?)));
        // Nothing found where no feed looks is not "none".
        unknown += usize::from(known.is_none_or(|(_, set)| !set.covered));
        let Some((id, set)) = known else { continue };
        let content =
            by.entry(*id).or_insert_with(|| Content { id: *id, tags: Vec::new(), set: Arc::clone(set) });
        content.tags.push(name);
    }
    Ok(Found { contents: by.into_values().collect(), unknown, is_complete })
}

async fn list(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(it): Query<Filter>,
) -> Answer {
    signed_in(&identity)?;
    let Found { contents, unknown, is_complete } = contents(&rooms, &identity).await?;
    let most = it.n.unwrap_or(100).clamp(1, limit::PAGE) as usize;
    let after = it.after as usize;
    let page = after..after.saturating_add(most);
    let (total, rows) = match it.by {
        By::Remedy => by_remedy(&contents, &it, page),
        By::Vulnerability => by_vulnerability(&contents, &it, page),
    };
    let next = (after + most < total).then_some(after + most);
    Ok(Json(json!({"total": total, "rows": rows, "next": next, "complete": is_complete, "unknown": unknown})))
}

/// How many tags lead to what was counted, each content once.
#[derive(Default)]
struct Reach {
    tags: usize,
    last: Option<ContentId>,
}

impl Reach {
    /// Contents come one after the other.
    fn add(&mut self, content: &Content) {
        if self.last.replace(content.id) != Some(content.id) {
            self.tags += content.tags.len();
        }
    }
}

/// What is known about one vulnerability everywhere.
struct Seen<'c> {
    worst: &'c Finding,
    bands: BTreeSet<Severity>,
    sources: BTreeSet<&'c str>,
    reach: Reach,
    fixable: bool,
}

/// How many there are, and the rows of one page.
fn by_vulnerability(contents: &[Content], filter: &Filter, page: Range<usize>) -> (usize, Vec<Value>) {
    let mut by: HashMap<&str, Seen<'_>> = HashMap::new();
    for content in contents {
        for finding in content.set.rows.iter().filter(|row| filter.takes(row)) {
            let seen = by.entry(&finding.id).or_insert(Seen {
                worst: finding,
                bands: BTreeSet::new(),
                sources: BTreeSet::new(),
                reach: Reach::default(),
                fixable: false,
            });
            if finding.severity > seen.worst.severity {
                seen.worst = finding;
            }
            seen.bands.insert(finding.severity);
            seen.sources.insert(&finding.source);
            seen.reach.add(content);
            seen.fixable |= finding.fixed_version.is_some();
        }
    }
    let mut all: Vec<Seen<'_>> = by.into_values().collect();
    all.sort_by(|lhs, rhs| {
        let key = |it: &Seen<'_>| (it.worst.kev, it.worst.severity);
        let chance = |it: &Seen<'_>| it.worst.epss.unwrap_or(-1.0);
        key(rhs)
            .cmp(&key(lhs))
            .then_with(|| chance(rhs).total_cmp(&chance(lhs)))
            .then_with(|| rhs.reach.tags.cmp(&lhs.reach.tags))
            .then_with(|| lhs.worst.id.cmp(&rhs.worst.id))
    });
    let rows = all
        .iter()
        .skip(page.start)
        .take(page.len())
        .map(|it| {
            json!({
                "id": it.worst.id, "aliases": it.worst.aliases, "summary": it.worst.summary,
                "severity": it.worst.severity, "exploited": it.worst.kev,
                "epss": it.worst.epss.map(probability), "fixable": it.fixable,
                "sources": it.sources, "images": it.reach.tags,
            })
        })
        .collect();
    (all.len(), rows)
}

/// How many there are, and the rows of one page.
fn by_remedy(contents: &[Content], filter: &Filter, page: Range<usize>) -> (usize, Vec<Value>) {
    let mut by: HashMap<remedies::Key<'_>, (Vec<&Finding>, Reach)> = HashMap::new();
    for content in contents {
        for finding in content.set.rows.iter().filter(|row| filter.takes(row)) {
            let (rows, reach) = by.entry(remedies::key(finding)).or_default();
            rows.push(finding);
            reach.add(content);
        }
    }
    let mut all: Vec<Everywhere<'_>> = by.into_iter().map(Everywhere::of).collect();
    // Only what comes before the end of the page is put in order.
    let total = all.len();
    if page.end < total {
        all.select_nth_unstable(page.end);
        all.truncate(page.end);
    }
    all.sort_unstable();
    let rows = all.into_iter().skip(page.start).filter_map(Everywhere::json).collect();
    (total, rows)
}

/// What a remedy would remove, and where; ordered by what removes most.
struct Everywhere<'c> {
    key: remedies::Key<'c>,
    /// One finding of each id.
    rows: Vec<&'c Finding>,
    exploited: usize,
    tags: usize,
}

impl<'c> Everywhere<'c> {
    fn of((key, (mut rows, reach)): (remedies::Key<'c>, (Vec<&'c Finding>, Reach))) -> Self {
        rows.sort_unstable_by(|lhs, rhs| lhs.id.cmp(&rhs.id));
        rows.dedup_by(|lhs, rhs| lhs.id == rhs.id);
        let exploited = rows.iter().filter(|row| row.kev).count();
        Self { key, rows, exploited, tags: reach.tags }
    }

    fn weight(&self) -> (bool, usize, usize) {
        let has_fix = self.rows.first().is_some_and(|row| row.fixed_version.is_some());
        (has_fix, self.exploited, self.rows.len() * self.tags)
    }

    fn json(self) -> Option<Value> {
        let (vulnerabilities, exploited, tags) = (self.rows.len(), self.exploited, self.tags);
        let mut bands = Bands::default();
        self.rows.iter().for_each(|row| bands.add(row.severity));
        let group = remedies::groups(self.rows).into_iter().next()?;
        Some(json!({
            "source": group.finding().source, "version": group.finding().version,
            "type": group.finding().ecosystem, "fixed_version": group.finding().fixed_version,
            "state": group.finding().state, "vulnerabilities": vulnerabilities,
            "exploited": exploited, "severities": bands.json(),
            "images": tags,
        }))
    }
}

impl Ord for Everywhere<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.weight().cmp(&self.weight()).then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for Everywhere<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Everywhere<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Everywhere<'_> {}
