//! One image's findings: by remedy, and row by row.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use seaworthy_access::Identity;
use seaworthy_model::{ErrorCode, Finding, FindingSet, InventoryReady, PackageRow, Problem, Severity};
use seaworthy_policy::Language;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, ApiError, Rooms,
    images::{image_of, resolve},
    named::AskedHost,
};
use crate::{
    japanese, limit,
    remedies::{self, Bands},
    report::probability,
    route::Routes,
};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new().get("/api/v1/images/remedies", by_remedy).get("/api/v1/images/findings", rows)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    image: String,
}

/// What inspection and matching found in an image.
struct Known {
    ready: InventoryReady,
    set: Arc<FindingSet>,
}

async fn known(
    rooms: &Rooms,
    identity: &Identity,
    (asked, text): (&AskedHost, &str),
) -> Result<Known, ApiError> {
    let (named, digest) = resolve(rooms, identity, (asked, text)).await?;
    let image = image_of(rooms, &named.repository, digest).await?;
    let pending = || {
        let problem = Problem::new(ErrorCode::Pending, format!("`{text}` is not inspected yet"));
        ApiError(problem.hint("inspection is under way, try again").retry_after(2))
    };
    let ready = rooms.inspection.of_manifest(&image).await?.ok_or_else(pending)?;
    let set = rooms.findings.of_content(ready.content_id()).await?.ok_or_else(pending)?;
    Ok(Known { ready, set })
}

/// The installed packages of each source package at its version.
type Sources<'k> = BTreeMap<(&'k str, &'k str), Vec<&'k PackageRow>>;

impl Known {
    fn sources(&self) -> Sources<'_> {
        let mut by = Sources::new();
        for row in &self.ready.inventory.packages {
            let source = &row.package.source;
            by.entry((&source.name, &source.version)).or_default().push(row);
        }
        by
    }
}

fn packages<'k>(sources: &'k Sources<'k>, finding: (&'k str, &'k str)) -> &'k [&'k PackageRow] {
    sources.get(&finding).map(Vec::as_slice).unwrap_or_default()
}

/// The layer whose change made the vulnerable version appear.
fn layer(sources: &Sources<'_>, finding: &Finding) -> Option<u32> {
    packages(sources, (&finding.source, &finding.version)).iter().map(|row| row.layer).max()
}

/// The whole image in groups, and the findings that each layer brought.
async fn by_remedy(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    asked: AskedHost,
    Query(it): Query<Wanted>,
) -> Answer {
    let known = known(&rooms, &identity, (&asked, &it.image)).await?;
    let sources = known.sources();
    let groups = remedies::groups(&known.set.rows);
    let fixable = known.set.rows.iter().filter(|row| row.fixed_version.is_some()).count();
    let shown: Vec<Value> =
        groups.iter().map(|group| group.json(packages(&sources, group.source()), language)).collect();
    Ok(Json(json!({
        "total": known.set.rows.len(),
        "fixable": fixable,
        "packages": known.ready.inventory.packages.len(),
        "groups": shown,
        "layers": layers(&known, &sources),
        "release": known.set.release,
        "covered": known.set.covered,
        "coverage": known.ready.inventory.coverage,
        "problems": known.ready.inventory.problems,
    })))
}

fn layers(known: &Known, sources: &Sources<'_>) -> Vec<Value> {
    let mut found: BTreeMap<u32, (Bands, u32, u32)> = BTreeMap::new();
    for finding in &known.set.rows {
        let Some(at) = layer(sources, finding) else { continue };
        let (bands, total, fixable) = found.entry(at).or_default();
        bands.add(finding.severity);
        *total += 1;
        *fixable += u32::from(finding.fixed_version.is_some());
    }
    let row = |layer: &seaworthy_model::LayerRow| {
        let (bands, total, fixable) = found.get(&layer.index).copied().unwrap_or_default();
        let here = known.ready.inventory.packages.iter().filter(|row| row.layer == layer.index).count();
        json!({
            "index": layer.index, "created_by": layer.created_by, "packages": here,
            "findings": total, "fixable": fixable, "severities": bands.json(),
        })
    };
    known.ready.inventory.layers.iter().map(row).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    image: String,
    /// Part of a source package's name or of an id.
    #[serde(default)]
    text: String,
    source: Option<String>,
    severity: Option<Severity>,
    fixable: Option<bool>,
    exploited: Option<bool>,
    layer: Option<u32>,
    n: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

impl Filter {
    fn takes(&self, finding: &Finding, at: Option<u32>) -> bool {
        let has_text = || {
            let text = self.text.to_ascii_lowercase();
            let names = [&finding.id, &finding.source].into_iter().chain(&finding.aliases);
            names.into_iter().any(|name| name.to_ascii_lowercase().contains(&text))
        };
        self.source.as_ref().is_none_or(|source| *source == finding.source)
            && self.severity.is_none_or(|severity| severity == finding.severity)
            && self.fixable.is_none_or(|fixable| fixable == finding.fixed_version.is_some())
            && self.exploited.is_none_or(|exploited| exploited == finding.kev)
            && self.layer.is_none_or(|layer| Some(layer) == at)
            && (self.text.is_empty() || has_text())
    }
}

/// Findings, exploited and worst first. A set never changes, so the last row's name is the place
/// where the next page begins; in another set, which a feed may bring meanwhile, it begins anew.
async fn rows(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    asked: AskedHost,
    Query(it): Query<Filter>,
) -> Answer {
    let known = known(&rooms, &identity, (&asked, &it.image)).await?;
    let sources = known.sources();
    let mut all: Vec<&Finding> =
        known.set.rows.iter().filter(|row| it.takes(row, layer(&sources, row))).collect();
    all.sort_by(|lhs, rhs| {
        let key = |it: &Finding| (it.kev, it.severity, it.fixed_version.is_some());
        key(rhs).cmp(&key(lhs)).then_with(|| (&lhs.id, &lhs.source).cmp(&(&rhs.id, &rhs.source)))
    });
    let most = it.n.unwrap_or(100).clamp(1, limit::PAGE) as usize;
    let place = |finding: &Finding| format!("{} {}", finding.id, finding.source);
    let from = it.after.as_ref().and_then(|after| all.iter().position(|row| place(row) == *after));
    let rest = all.get(from.map_or(0, |at| at + 1)..).unwrap_or_default();
    let page: Vec<Value> = rest.iter().take(most).map(|finding| row(finding, &sources, language)).collect();
    let next = (rest.len() > most).then(|| rest.get(most - 1).map(|last| place(last))).flatten();
    Ok(Json(json!({"total": all.len(), "findings": page, "next": next})))
}

fn row(finding: &Finding, sources: &Sources<'_>, language: Language) -> Value {
    let packages = packages(sources, (&finding.source, &finding.version));
    let mut names: Vec<&str> = packages.iter().map(|row| row.package.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let remedy = seaworthy_advisories::remedy(finding, &names);
    json!({
        "id": finding.id, "aliases": finding.aliases, "summary": finding.summary,
        "severity": finding.severity, "severity_source": finding.severity_source,
        "type": finding.ecosystem, "source": finding.source, "version": finding.version,
        "state": finding.state, "fixed_version": finding.fixed_version,
        "kev": finding.kev, "epss": finding.epss.map(probability),
        "packages": names, "layer": layer(sources, finding),
        "references": seaworthy_advisories::references(finding),
        "remedy": {"text": japanese::text(remedy.text, language), "command": remedy.command},
    })
}
