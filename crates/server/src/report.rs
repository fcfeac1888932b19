use std::collections::BTreeMap;

use seaworthy_clearance::{StoredVerdict, Unrecorded, Workload};
use seaworthy_model::{
    ErrorCode, FeedsChanged, Finding, FindingSet, FindingsChanged, InventoryReady, PackageRow, Problem,
    Timestamp,
};
use seaworthy_oci::Digest;
use seaworthy_package::Purl;
use seaworthy_policy::{
    Facts, InventoryFacts, Language, Policy, Reason, Settling, Verdict, WorkloadSettings, decide,
};
use serde_json::{Value, json};

use crate::japanese;

/// What a scan is about.
#[derive(Clone, Debug)]
pub struct Scanned<'s> {
    /// As the user named it.
    pub reference: &'s str,
    /// Manifest digest, when it has one.
    pub digest: Option<Digest>,
    /// The inspection.
    pub ready: &'s InventoryReady,
    /// The match.
    pub set: &'s FindingSet,
    /// Loaded feeds.
    pub feeds: &'s FeedsChanged,
    /// The moment of the answer.
    pub now: Timestamp,
    /// Whose words remedies and reasons are said in.
    pub language: Language,
}

/// The document of `scan -o json` (interface: "JSON shapes that scripts use").
pub fn scan(it: &Scanned<'_>) -> Value {
    let inventory = &it.ready.inventory;
    let support = it.ready.support;
    let os = inventory.os.as_ref().map(|os| {
        json!({
            "id": os.id, "version": os.version, "codename": os.codename, "name": os.name,
            "support": support.map(|support| phase(support, it.now)),
            "support_ends": support.map(|support| support.lts_ends.plus_seconds(-1).date()),
        })
    });
    json!({
        "image": {
            "reference": it.reference,
            "digest": it.digest,
            "content_id": inventory.content_id,
            "platform": inventory.platform.to_string(),
            "os": os,
        },
        "packages": inventory.packages.len(),
        "layers": inventory.layers,
        "findings": findings(it),
        "secrets": inventory.secrets.iter().map(secret).collect::<Vec<_>>(),
        "coverage": inventory.coverage,
        "problems": inventory.problems,
        "advisories": {
            "generation": it.feeds.generation.to_string(),
            "index": it.feeds.index_hash,
            "covered": it.set.covered,
            "release": it.set.release,
            "newest": it.feeds.feeds.iter().filter_map(|feed| feed.newest.clone()).max(),
            "checked_at": it.feeds.feeds.iter().map(|feed| feed.checked_at).max(),
        },
    })
}

/// The value of a secret is never shown, not even its hash: only where it is.
fn secret(row: &seaworthy_model::SecretRow) -> Value {
    json!({"rule": row.rule, "path": row.path, "layer": row.layer, "removed_in_layer": row.removed_in_layer})
}

/// One entry per finding and binary package, worst first.
fn findings(it: &Scanned<'_>) -> Vec<Value> {
    let (ready, set) = (it.ready, it.set);
    let mut by_source: BTreeMap<(&str, &str), Vec<&PackageRow>> = BTreeMap::new();
    for row in &ready.inventory.packages {
        let source = &row.package.source;
        by_source.entry((&source.name, &source.version)).or_default().push(row);
    }
    let rows = worst_first(set);
    let mut out = Vec::new();
    for finding in rows {
        let packages = by_source.get(&(finding.source.as_str(), finding.version.as_str()));
        let packages = packages.map(Vec::as_slice).unwrap_or_default();
        let names: Vec<&str> = packages.iter().map(|row| row.package.name.as_str()).collect();
        let mut remedy = seaworthy_advisories::remedy(finding, &names);
        remedy.text = japanese::text(remedy.text, it.language);
        for row in packages {
            out.push(entry(finding, row, ready, &remedy));
        }
    }
    out
}

fn worst_first(set: &FindingSet) -> Vec<&Finding> {
    let mut rows: Vec<&Finding> = set.rows.iter().collect();
    rows.sort_by(|lhs, rhs| {
        let key = |it: &Finding| (it.kev, it.fixed_version.is_some(), it.severity);
        key(rhs).cmp(&key(lhs)).then_with(|| (&lhs.id, &lhs.source).cmp(&(&rhs.id, &rhs.source)))
    });
    rows
}

/// The first findings of a set: exploited ones, then those that can be fixed, by severity.
pub(crate) fn worst(set: &FindingSet, most: usize) -> Vec<Value> {
    let row = |it: &Finding| {
        json!({
            "id": it.id, "severity": it.severity, "source": it.source, "version": it.version,
            "state": it.state, "fixed_version": it.fixed_version, "kev": it.kev,
        })
    };
    worst_first(set).into_iter().take(most).map(row).collect()
}

fn entry(
    finding: &Finding,
    row: &PackageRow,
    ready: &InventoryReady,
    remedy: &seaworthy_model::Remedy,
) -> Value {
    let layer = ready.inventory.layers.get(row.layer as usize);
    let distro =
        ready.inventory.os.as_ref().and_then(|os| Some(format!("{}-{}", os.id, os.version.as_deref()?)));
    json!({
        "id": finding.id,
        "aliases": finding.aliases,
        "severity": finding.severity,
        "severity_source": finding.severity_source,
        "package": {
            "name": row.package.name,
            "version": row.package.version,
            "architecture": row.package.architecture,
            "type": row.package.ecosystem,
            "purl": Purl::of(&row.package, distro.as_deref()).to_string(),
            "source": row.package.source,
        },
        "state": finding.state,
        "fixed_version": finding.fixed_version,
        "layer": row.layer,
        "introduced_by": layer.and_then(|layer| layer.created_by.as_deref()),
        "paths": row.paths,
        "kev": finding.kev,
        "epss": finding.epss.map(probability),
        "in_use": "unknown",
        "vex": null,
        "summary": finding.summary,
        "remedy": remedy,
    })
}

/// A probability as the feed wrote it: five digits, without what `f32` adds.
pub(crate) fn probability(value: f32) -> f64 {
    (f64::from(value) * 100_000.0).round() / 100_000.0
}

/// Which support the release has at `now`: `full`, `lts` or `eol`.
fn phase(support: seaworthy_model::OsSupport, now: Timestamp) -> &'static str {
    if now < support.full_ends {
        "full"
    } else if now < support.lts_ends {
        "lts"
    } else {
        "eol"
    }
}

/// The document of `check -o json` for a recorded verdict.
pub fn check_stored(stored: &StoredVerdict, verdict: &str, language: Language) -> Value {
    json!({
        "repository": stored.repository,
        "digest": stored.digest,
        "content_id": stored.content_id,
        "purpose": "pull",
        "verdict": verdict,
        "policies": stored.policies,
        "reasons": reasons(&stored.reasons, language),
        "inputs": inputs(&stored.facts, &stored.exceptions),
        "recorded": true,
        "decided_at": stored.decided_at,
        "valid_until": stored.valid_until,
    })
}

/// The same document for a container; null until it is judged.
pub fn check_workload(workload: &Workload, verdict: Verdict, language: Language) -> Value {
    let Some(it) = &workload.judgement else { return Value::Null };
    json!({
        "repository": workload.seen.repository,
        "digest": workload.seen.digest,
        "content_id": workload.seen.content_id,
        "purpose": "deploy",
        "verdict": verdict,
        "policies": it.policies,
        "reasons": reasons(&it.reasons, language),
        "inputs": inputs(&it.facts, &it.exceptions),
        "recorded": true,
        "decided_at": it.decided_at,
        "valid_until": it.valid_until,
    })
}

/// The document of `check -o json` for an answer that is not recorded; `digest` of an image that is
/// stored, `settings` of a container as they were given.
pub fn check_unrecorded(
    answer: &Unrecorded,
    digest: Option<&Digest>,
    settings: Option<&WorkloadSettings>,
    language: Language,
) -> Value {
    let Unrecorded { facts, decision, policies } = answer;
    let mut value = json!({
        "repository": facts.repository,
        "digest": digest,
        "content_id": facts.inventory.as_ref().map(|inventory| inventory.content_id),
        "purpose": "pull",
        "verdict": decision.verdict,
        "policies": policies,
        "reasons": reasons(&decision.reasons, language),
        "inputs": inputs(facts, &decision.exceptions),
        "recorded": false,
        "valid_until": decision.valid_until,
    });
    if let (Some(workload), Some(settings), Value::Object(map)) = (&facts.workload, settings, &mut value) {
        let plain = *settings == WorkloadSettings::default();
        map.insert("purpose".into(), json!("deploy"));
        map.insert("settings_from".into(), json!(if plain { "plain" } else { "given" }));
        map.insert("settings".into(), json!(workload.settings));
        map.insert("unknown_settings".into(), json!(workload.unknown));
    }
    value
}

/// Settings of a container that is to run, from the text of a file.
pub fn settings(text: &str) -> Result<WorkloadSettings, Problem> {
    WorkloadSettings::parse(text).map_err(|error| {
        let problem = Problem::new(ErrorCode::Invalid, format!("settings are refused at {error}"));
        match error.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    })
}

fn inputs(facts: &Facts, exceptions: &[seaworthy_model::ExceptionId]) -> Value {
    json!({
        "inventory": facts.inventory.as_ref().map(|inventory| inventory.content_id),
        "advisories": facts.findings.as_ref().map(|set| &set.index_hash),
        "finding_set": facts.findings.as_ref().map(|set| &set.id),
        "exceptions": exceptions,
    })
}

fn reasons(reasons: &[Reason], language: Language) -> Vec<Value> {
    reasons
        .iter()
        .map(|reason| {
            json!({
                "rule": reason.rule,
                "result": reason.result,
                "mode": reason.mode,
                "message": reason.cause.message(language),
                "hint": reason.cause.hint(language),
                "evidence": reason.evidence,
            })
        })
        .collect()
}

/// The answer of `scan --fail-on WORD`: a policy of one rule, decided like any other. `word` is a
/// severity, meant "or above", or `any-fixable`.
pub fn fail_on(word: &str, it: &Scanned<'_>) -> Result<Value, String> {
    let condition = match word {
        "any-fixable" => "{ any_fixable: 0 }".to_owned(),
        "low" | "medium" | "high" | "critical" => format!("{{ {word}: 0 }}"),
        other => {
            return Err(format!("`{other}` is not `low`, `medium`, `high`, `critical` or `any-fixable`"));
        }
    };
    let source = format!(
        "policy: scan\nselects: [\"**\"]\nrules:\n  - name: fail-on\n    vulnerabilities: {condition}\n"
    );
    let policy = Policy::parse(&source).map_err(|error| error.to_string())?;
    let repository = "scan".parse().map_err(|_| "scan".to_owned())?;
    let findings =
        FindingsChanged { set: it.set.clone(), content_ids: Vec::new(), generation: it.feeds.generation };
    let inventory = InventoryFacts::from_event(it.ready);
    let facts =
        Facts::from_events(&repository, Some(&inventory), Some(&findings), Some(it.feeds), Settling::Settled);
    // Time does not count for this rule.
    let decision = decide(&[&policy], &facts, &[], Timestamp::from_micros(0));
    let reasons = reasons(&decision.reasons, it.language);
    Ok(json!({"at": word, "failed": decision.verdict != Verdict::Allowed, "reasons": reasons}))
}
