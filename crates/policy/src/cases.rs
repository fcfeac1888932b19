//! `policy test`: cases written as files, run by the same [`decide`] as the server's.

use seaworthy_model::{
    ContentId, FeedCoverage, Finding, FindingSet, FixState, OsRelease, OsSupport, ProblemCode, Severity,
    Timestamp,
};
use seaworthy_oci::Platform;
use seaworthy_package::Ecosystem;

use crate::{
    Facts, InventoryFacts, Policy, PolicyError, RuleResult, Settling, decide, limit,
    yaml::{Node, Value},
};

const FILE_KEYS: &[&str] = &["now", "cases"];
const CASE_KEYS: &[&str] = &[
    "name",
    "repository",
    "findings",
    "secrets",
    "problems",
    "uncovered",
    "unowned_binaries",
    "covered",
    "feeds",
    "checked_at",
    "support_ends",
    "inspected",
    "under_way",
    "expect",
    "fails",
    "passes",
];
const FINDING_KEYS: &[&str] = &["id", "source", "version", "fixed", "severity", "kev"];

/// How one case came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseOutcome {
    /// Its name.
    pub name: String,
    /// Line of the case, from 1.
    pub line: usize,
    /// What differs from what was expected; empty when nothing does.
    pub differs: Vec<String>,
}

/// Runs the cases of one file against `policies`. `now` replaces the file's own when given.
pub fn run_cases(
    text: &str,
    policies: &[&Policy],
    now: Option<Timestamp>,
) -> Result<Vec<CaseOutcome>, PolicyError> {
    let root = Node::parse(text)?;
    let (mut file_now, mut cases) = (None, None);
    for (key, value) in root.map("a case file")? {
        match key.word("key", FILE_KEYS)? {
            "now" => file_now = Some(time(value)?),
            _ => cases = Some(value.list("`cases`")?),
        }
    }
    let cases = cases.ok_or_else(|| root.error("`cases` is missing"))?;
    let now = now.or(file_now).ok_or_else(|| root.error("`now` is missing"))?;
    cases.iter().map(|case| run_case(case, policies, now)).collect()
}

#[derive(Default)]
struct Expectation {
    verdict: Option<String>,
    fails: Vec<String>,
    passes: Vec<String>,
}

fn run_case(node: &Node, policies: &[&Policy], now: Timestamp) -> Result<CaseOutcome, PolicyError> {
    let (name, facts, expected) = read_case(node, now)?;
    let decision = decide(policies, &facts, &[], now);
    let mut differs = Vec::new();
    if let Some(verdict) = expected.verdict.filter(|verdict| verdict != decision.verdict.word()) {
        differs.push(format!("expected {verdict}, is {}", decision.verdict.word()));
    }
    let result_of =
        |rule: &str| decision.reasons.iter().find(|reason| reason.rule == rule).map(|reason| reason.result);
    for (rules, wanted) in [(expected.fails, RuleResult::Fail), (expected.passes, RuleResult::Pass)] {
        for rule in rules {
            match result_of(&rule) {
                Some(result) if result == wanted => {}
                Some(result) => {
                    differs.push(format!("`{rule}` is {result:?}, not {wanted:?}").to_lowercase());
                }
                None => differs.push(format!("no rule `{rule}` selects `{}`", facts.repository)),
            }
        }
    }
    Ok(CaseOutcome { name, line: node.line, differs })
}

fn read_case(node: &Node, now: Timestamp) -> Result<(String, Facts, Expectation), PolicyError> {
    let mut name = None;
    let mut repository = None;
    let mut expected = Expectation::default();
    let mut draft = Draft::new(now);
    for (key, value) in node.map("a case")? {
        match key.word("key", CASE_KEYS)? {
            "name" => name = Some(value.text("`name`")?.to_owned()),
            "repository" => {
                let text = value.text("`repository`")?;
                let parsed = text
                    .parse()
                    .map_err(|error: seaworthy_oci::ReferenceError| value.error(error.to_string()))?;
                repository = Some(parsed);
            }
            "expect" => {
                expected.verdict =
                    Some(value.word("verdict", &["allowed", "blocked", "pending"])?.to_owned());
            }
            "fails" => expected.fails = texts(value, "`fails`")?,
            "passes" => expected.passes = texts(value, "`passes`")?,
            word => draft.read(word, value)?,
        }
    }
    let missing = |key: &str| node.error(format!("`{key}` is missing"));
    if expected.verdict.is_none() && expected.fails.is_empty() && expected.passes.is_empty() {
        return Err(node.error("the case expects nothing"));
    }
    let facts = draft.facts(repository.ok_or_else(|| missing("repository"))?);
    Ok((name.ok_or_else(|| missing("name"))?, facts, expected))
}

/// A well-inspected, covered Debian 12 image without findings, until a case says otherwise.
struct Draft {
    inspected: bool,
    under_way: bool,
    covered: bool,
    rows: Vec<Finding>,
    feeds: Vec<String>,
    checked_at: Timestamp,
    inventory: InventoryFacts,
}

impl Draft {
    fn new(now: Timestamp) -> Self {
        let far = now.plus_seconds(3650 * 24 * 3600);
        Self {
            inspected: true,
            under_way: false,
            covered: true,
            rows: Vec::new(),
            feeds: vec!["kev".into(), "epss".into()],
            checked_at: now,
            inventory: InventoryFacts {
                content_id: ContentId::of(&Platform::linux_amd64(), &[]),
                os: Some(OsRelease {
                    id: "debian".into(),
                    version: Some("12".into()),
                    codename: Some("bookworm".into()),
                    name: "Debian GNU/Linux 12 (bookworm)".into(),
                }),
                support: Some(OsSupport { full_ends: far, lts_ends: far }),
                secrets: Vec::new(),
                problems: Vec::new(),
                uncovered: Vec::new(),
                unowned_binaries: 0,
            },
        }
    }

    fn read(&mut self, word: &str, value: &Node) -> Result<(), PolicyError> {
        match word {
            "findings" => {
                let items = value.list("`findings`")?;
                self.rows = items.iter().map(read_finding).collect::<Result<_, _>>()?;
                self.rows.sort_by(|lhs, rhs| (&lhs.id, &lhs.source).cmp(&(&rhs.id, &rhs.source)));
            }
            "secrets" => {
                let paths = texts(value, "`secrets`")?;
                self.inventory.secrets =
                    paths.into_iter().map(|path| ("private-key-pem".to_owned(), path)).collect();
            }
            "problems" => {
                let messages = texts(value, "`problems`")?;
                self.inventory.problems = messages
                    .into_iter()
                    .map(|message| (ProblemCode::LayerUnreadable, Some(0), message))
                    .collect();
            }
            "uncovered" => self.inventory.uncovered = texts(value, "`uncovered`")?,
            "unowned_binaries" => self.inventory.unowned_binaries = value.count("`unowned_binaries`")?,
            "feeds" => self.feeds = texts(value, "`feeds`")?,
            "checked_at" => self.checked_at = time(value)?,
            "support_ends" => {
                let ends = time(value)?;
                self.inventory.support = Some(OsSupport { full_ends: ends, lts_ends: ends });
            }
            "inspected" => self.inspected = yes(value)?,
            "under_way" => self.under_way = yes(value)?,
            _ => self.covered = yes(value)?,
        }
        Ok(())
    }

    fn facts(self, repository: seaworthy_oci::RepoName) -> Facts {
        let release = "deb:debian:12";
        let mut covers = self.feeds;
        if self.covered {
            covers.push(release.to_owned());
        }
        let findings = FindingSet {
            id: "case".into(),
            index_hash: "case".into(),
            release: Some(release.into()),
            covered: self.covered,
            rows: self.rows,
        };
        Facts {
            repository,
            inventory: self.inspected.then_some(self.inventory),
            findings: self.inspected.then_some(findings),
            feeds: vec![FeedCoverage {
                feed: "case".into(),
                covers,
                checked_at: self.checked_at,
                newest: None,
            }],
            image: if self.under_way { Settling::UnderWay } else { Settling::Settled },
            import: Settling::Settled,
            workload: None,
        }
    }
}

fn read_finding(node: &Node) -> Result<Finding, PolicyError> {
    let mut finding = Finding {
        id: String::new(),
        aliases: Vec::new(),
        ecosystem: Ecosystem::Deb,
        source: String::new(),
        version: "1".into(),
        severity: Severity::Unknown,
        severity_source: String::new(),
        state: FixState::Affected,
        fixed_version: None,
        kev: false,
        epss: None,
        summary: String::new(),
    };
    for (key, value) in node.map("a finding")? {
        let text = || value.text("a value").map(str::to_owned);
        match key.word("key", FINDING_KEYS)? {
            "id" => finding.id = text()?,
            "source" => finding.source = text()?,
            "version" => finding.version = text()?,
            "fixed" => {
                finding.fixed_version = Some(text()?);
                finding.state = FixState::Fixed;
            }
            "severity" => {
                let parsed = text()?.parse();
                finding.severity = parsed
                    .map_err(|error: seaworthy_model::UnknownSeverity| value.error(error.to_string()))?;
            }
            _ => finding.kev = yes(value)?,
        }
    }
    if finding.id.is_empty() || finding.source.is_empty() {
        return Err(node.error("a finding has an `id` and a `source`"));
    }
    Ok(finding)
}

fn texts(node: &Node, what: &str) -> Result<Vec<String>, PolicyError> {
    if let Value::Text(text) = &node.value {
        return Ok(vec![text.clone()]);
    }
    let items = node.list(what)?;
    items.iter().take(limit::NODES).map(|item| item.text("an item").map(str::to_owned)).collect()
}

fn yes(node: &Node) -> Result<bool, PolicyError> {
    Ok(node.word("value", &["true", "false"])? == "true")
}

fn time(node: &Node) -> Result<Timestamp, PolicyError> {
    node.text("a time")?
        .parse()
        .map_err(|error: seaworthy_model::TimestampError| node.error(error.to_string()))
}
