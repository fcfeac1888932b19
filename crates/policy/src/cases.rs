//! `policy test`: cases written as files, run by the same [`decide`] as the server's.

use seaworthy_model::{
    ContentId, FeedCoverage, Finding, FindingSet, FixState, OsRelease, OsSupport, ProblemCode, Severity,
    Timestamp,
};
use seaworthy_oci::Platform;
use seaworthy_package::Ecosystem;

use crate::{
    Counting, Facts, InventoryFacts, Origin, Policy, PolicyError, RuleResult, Settling, Source,
    WorkloadSettings, decide, limit,
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
    "container",
    "from",
    "expect",
    "fails",
    "passes",
    "indeterminate",
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
    indeterminate: Vec<String>,
}

impl Expectation {
    fn is_nothing(&self) -> bool {
        self.verdict.is_none()
            && [&self.fails, &self.passes, &self.indeterminate].iter().all(|it| it.is_empty())
    }
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
    for (rules, wanted) in [
        (expected.fails, RuleResult::Fail),
        (expected.passes, RuleResult::Pass),
        (expected.indeterminate, RuleResult::Indeterminate),
    ] {
        for rule in rules {
            match result_of(&rule) {
                Some(result) if result == wanted => {}
                Some(result) => {
                    differs.push(format!("`{rule}` is {result:?}, not {wanted:?}").to_lowercase());
                }
                None => differs.push(not_asked(&rule, policies, &facts)),
            }
        }
    }
    Ok(CaseOutcome { name, line: node.line, differs })
}

/// Why a rule has no result: it is about containers alone, or there is none.
fn not_asked(rule: &str, policies: &[&Policy], facts: &Facts) -> String {
    let selecting = policies.iter().filter(|policy| policy.selects(&facts.repository));
    let mut rules = selecting.flat_map(|policy| policy.rules.iter().map(move |it| (&policy.name, &it.name)));
    if rules.any(|(policy, name)| rule.split_once('/') == Some((policy.as_str(), name.as_str()))) {
        format!("`{rule}` is asked about containers: the case needs a `container`")
    } else {
        format!("no rule `{rule}` selects `{}`", facts.repository)
    }
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
            "indeterminate" => expected.indeterminate = texts(value, "`indeterminate`")?,
            word => draft.read(word, value)?,
        }
    }
    let missing = |key: &str| node.error(format!("`{key}` is missing"));
    if expected.is_nothing() {
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
    /// Settings of the container; `None` for a pull, unless the case says where its image is from.
    container: Option<WorkloadSettings>,
    from: Option<From>,
}

/// Where a container's image is from.
enum From {
    /// Pushed to this registry.
    This,
    /// From elsewhere, or nobody says.
    Elsewhere(Option<String>),
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
            container: None,
            from: None,
            inventory: InventoryFacts {
                content_id: ContentId::of(&Platform::linux_amd64(), &[]),
                reader_version: 0,
                os: Some(OsRelease {
                    id: "debian".into(),
                    version: Some("12".into()),
                    codename: Some("bookworm".into()),
                    name: "Debian GNU/Linux 12 (bookworm)".into(),
                }),
                support: Some(OsSupport { full_ends: far, lts_ends: far }),
                secrets: Vec::new(),
                more_secrets: 0,
                problems: Vec::new(),
                more_problems: 0,
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
            "container" => self.container = Some(WorkloadSettings::read(value)?),
            "from" => self.from = Some(from(value)?),
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
        // The image's config says nothing of a user: it runs as root, once it is read.
        let image_user = self.inspected.then_some("");
        let is_deploy = self.container.is_some() || self.from.is_some();
        let (named, origin) = match self.from {
            None | Some(From::This) => (None, Origin::Here),
            Some(From::Elsewhere(named)) => (named, Origin::Unknown),
        };
        let settings = self.container.unwrap_or_default();
        let workload = is_deploy.then(|| settings.of_origin(named, origin, image_user));
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
            counting: Counting::AnyVersion,
            workload,
        }
    }
}

/// `this`, `unknown`, or a registry's host with a repository, `docker.io/library/nginx`.
fn from(node: &Node) -> Result<From, PolicyError> {
    let text = node.text("`from`")?;
    let name = || text.split_once('/').and_then(|(_, name)| name.parse::<seaworthy_oci::RepoName>().ok());
    match text {
        "this" => Ok(From::This),
        "unknown" => Ok(From::Elsewhere(None)),
        _ if Source::parse(text).is_ok() && name().is_some() => Ok(From::Elsewhere(Some(text.to_owned()))),
        _ => Err(node.error(format!("`{text}` is not `this`, `unknown` or like `docker.io/library/nginx`"))),
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

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "policy: p
selects: ['**']
rules:
  - container: { privileged: forbid, user: non_root, engine_socket: forbid }
    mode: enforce
  - registries: { allow: [this, 'docker.io/library/*'] }
  - name: images
    vulnerabilities: { kev: 0 }
";

    /// What differs, or the mistake, of one case with these lines.
    fn check(lines: &str) -> Vec<String> {
        let policy = Policy::parse(POLICY).expect("compiles");
        let text = format!("now: 2026-11-23\ncases:\n  - name: n\n    repository: prod/web\n{lines}");
        match run_cases(&text, &[&policy], None) {
            Ok(outcomes) => outcomes.into_iter().flat_map(|outcome| outcome.differs).collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn a_container_case_is_judged_with_its_settings() {
        for lines in [
            "    container: { user: 1000 }\n    expect: allowed\n    passes: [p/container, p/registries, p/images]\n",
            "    container: {}\n    expect: blocked\n    fails: p/container\n",
            "    container: { user: 1000, privileged: true }\n    expect: blocked\n    fails: p/container\n",
            "    container: { user: 1000, host_paths: [{ path: /run/docker.sock }] }\n    fails: p/container\n",
            "    container: { user: app }\n    expect: blocked\n    indeterminate: p/container\n",
            "    container: { user: 1000, host_paths: unknown }\n    indeterminate: p/container\n",
            "    inspected: 'false'\n    container: {}\n    indeterminate: [p/container, p/images]\n",
            "    from: docker.io/library/nginx\n    passes: p/registries\n    fails: p/container\n",
            "    from: quay.io/a\n    container: { user: 1000 }\n    expect: blocked\n    fails: p/registries\n",
            "    from: unknown\n    container: { user: 1000 }\n    indeterminate: p/registries\n",
            "    from: this\n    container: { user: 1000 }\n    expect: allowed\n",
            // A pull is not asked.
            "    expect: allowed\n",
        ] {
            assert_eq!(check(lines), [""; 0], "{lines}");
        }
    }

    #[test]
    fn what_differs_is_said() {
        for (lines, says) in [
            ("    container: {}\n    expect: allowed\n", "expected allowed, is blocked"),
            (
                "    container: { user: app }\n    fails: p/container\n",
                "`p/container` is indeterminate, not fail",
            ),
            (
                "    container: {}\n    indeterminate: p/container\n",
                "`p/container` is fail, not indeterminate",
            ),
            (
                "    fails: p/container\n",
                "`p/container` is asked about containers: the case needs a `container`",
            ),
            ("    container: {}\n    fails: p/contained\n", "no rule `p/contained` selects `prod/web`"),
        ] {
            assert_eq!(check(lines), [says], "{lines}");
        }
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        for (lines, says) in [
            (
                "    container: { priviledged: true }\n    expect: allowed\n",
                "5:18: unknown key `priviledged`",
            ),
            ("    container: [x]\n    expect: allowed\n", "5:16: a container is a map of keys and values"),
            ("    form: this\n    expect: allowed\n", "5:5: unknown key `form`"),
            (
                "    from: nginx\n    expect: allowed\n",
                "5:11: `nginx` is not `this`, `unknown` or like `docker.io/library/nginx`",
            ),
            (
                "    from: docker.io/library/*\n    expect: allowed\n",
                "5:11: `docker.io/library/*` is not `this`, `unknown` or like `docker.io/library/nginx`",
            ),
            ("    container: {}\n", "3:5: the case expects nothing"),
        ] {
            assert_eq!(check(lines), [says], "{lines}");
        }
    }
}
