//! Findings of all images that the caller may see: by vulnerability, and by remedy.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ContentId, Finding, Scope, Severity};
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
    tags: Vec<String>,
    rows: Vec<Finding>,
}

/// What is behind the tags that the caller may see, each content once. False: there are more tags
/// than one answer looks at.
async fn contents(rooms: &Rooms, identity: &Identity) -> Result<(Vec<Content>, bool), ApiError> {
    let tags = rooms.registry.images(identity, "", ("", ""), limit::PREVIEWED).await?;
    let is_complete = tags.len() < limit::PREVIEWED as usize;
    let mut by: BTreeMap<ContentId, Content> = BTreeMap::new();
    for tag in tags {
        let scope = Scope::repository(&tag.repository);
        if !rooms.access.allows(identity, Permission::ClearanceRead, &scope).await? {
            continue;
        }
        let image = image_of(rooms, &tag.repository, tag.digest).await?;
        let Some(ready) = rooms.inspection.of_manifest(&image).await? else { continue };
        let name = format!("{}:{}", tag.repository, tag.tag);
        if let Some(content) = by.get_mut(ready.content_id()) {
            content.tags.push(name);
        } else if let Some(set) = rooms.findings.of_content(ready.content_id()).await? {
            by.insert(*ready.content_id(), Content { tags: vec![name], rows: set.rows });
        }
    }
    Ok((by.into_values().collect(), is_complete))
}

async fn list(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(it): Query<Filter>,
) -> Answer {
    signed_in(&identity)?;
    let (contents, is_complete) = contents(&rooms, &identity).await?;
    let rows = match it.by {
        By::Remedy => by_remedy(&contents, &it),
        By::Vulnerability => by_vulnerability(&contents, &it),
    };
    let most = it.n.unwrap_or(100).clamp(1, limit::PAGE) as usize;
    let after = it.after as usize;
    let total = rows.len();
    let page: Vec<Value> = rows.into_iter().skip(after).take(most).collect();
    let next = (after + most < total).then_some(after + most);
    Ok(Json(json!({"total": total, "rows": page, "next": next, "complete": is_complete})))
}

/// What is known about one vulnerability everywhere.
struct Seen<'c> {
    worst: &'c Finding,
    bands: BTreeSet<Severity>,
    sources: BTreeSet<&'c str>,
    images: BTreeSet<&'c str>,
    fixable: bool,
}

fn by_vulnerability(contents: &[Content], filter: &Filter) -> Vec<Value> {
    let mut by: BTreeMap<&str, Seen<'_>> = BTreeMap::new();
    for content in contents {
        for finding in content.rows.iter().filter(|row| filter.takes(row)) {
            let seen = by.entry(&finding.id).or_insert(Seen {
                worst: finding,
                bands: BTreeSet::new(),
                sources: BTreeSet::new(),
                images: BTreeSet::new(),
                fixable: false,
            });
            if finding.severity > seen.worst.severity {
                seen.worst = finding;
            }
            seen.bands.insert(finding.severity);
            seen.sources.insert(&finding.source);
            seen.images.extend(content.tags.iter().map(String::as_str));
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
            .then_with(|| rhs.images.len().cmp(&lhs.images.len()))
            .then_with(|| lhs.worst.id.cmp(&rhs.worst.id))
    });
    all.iter()
        .map(|it| {
            json!({
                "id": it.worst.id, "aliases": it.worst.aliases, "summary": it.worst.summary,
                "severity": it.worst.severity, "exploited": it.worst.kev,
                "epss": it.worst.epss.map(probability), "fixable": it.fixable,
                "sources": it.sources, "images": it.images.len(),
            })
        })
        .collect()
}

fn by_remedy(contents: &[Content], filter: &Filter) -> Vec<Value> {
    /// What a remedy would remove, and where.
    #[derive(Default)]
    struct Everywhere<'c> {
        ids: BTreeSet<&'c str>,
        exploited: BTreeSet<&'c str>,
        bands: Bands,
        images: BTreeSet<&'c str>,
    }
    let mut groups: BTreeMap<remedies::Key<'_>, (Vec<&Finding>, Everywhere<'_>)> = BTreeMap::new();
    for content in contents {
        for finding in content.rows.iter().filter(|row| filter.takes(row)) {
            let (rows, seen) = groups.entry(remedies::key(finding)).or_default();
            seen.images.extend(content.tags.iter().map(String::as_str));
            if seen.ids.insert(&finding.id) {
                seen.bands.add(finding.severity);
                rows.push(finding);
            }
            if finding.kev {
                seen.exploited.insert(&finding.id);
            }
        }
    }
    let mut all: Vec<_> = groups.into_values().collect();
    all.sort_by_key(|(rows, seen)| {
        let has_fix = rows.first().is_some_and(|row| row.fixed_version.is_some());
        std::cmp::Reverse((has_fix, seen.exploited.len(), seen.ids.len() * seen.images.len()))
    });
    all.into_iter()
        .filter_map(|(rows, seen)| {
            let group = remedies::groups(rows).into_iter().next()?;
            Some(json!({
                "source": group.finding().source, "version": group.finding().version,
                "type": group.finding().ecosystem, "fixed_version": group.finding().fixed_version,
                "state": group.finding().state, "vulnerabilities": seen.ids.len(),
                "exploited": seen.exploited.len(), "severities": seen.bands.json(),
                "images": seen.images.len(),
            }))
        })
        .collect()
}
