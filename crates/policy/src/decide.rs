use seaworthy_model::{ExceptionId, Finding, Severity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Cause, Condition, Count, Counting, Evidence, Example, Exception, Facts, Mode, Policy, Rule, Settling,
    SupportLevel, limit, workload,
};

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// May be pulled, may run.
    Allowed,
    /// May not.
    Blocked,
    /// Not decided yet: work that is under way can still settle it.
    Pending,
}

impl Verdict {
    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
            Self::Pending => "pending",
        }
    }
}

/// How one rule came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleResult {
    /// What it asks holds.
    Pass,
    /// It does not.
    Fail,
    /// It cannot be told. Never "fine".
    Indeterminate,
}

/// One rule's result, and what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// `prod/vulns`.
    pub rule: String,
    /// The result.
    pub result: RuleResult,
    /// What a failure does.
    pub mode: Mode,
    /// Why.
    pub cause: Cause,
    /// Further names of what proves it: advisory ids, paths, digests.
    pub evidence: Evidence,
}

/// A verdict with everything it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// Every rule of every policy that selects the repository, in order.
    pub reasons: Vec<Reason>,
    /// When time alone may change the answer; past it the verdict is pending.
    pub valid_until: Option<Timestamp>,
    /// Exceptions that were used.
    pub exceptions: Vec<ExceptionId>,
}

/// Judges. All policies that select the repository apply; an enforced `fail` blocks; an enforced
/// `indeterminate` is pending while work that is under way can settle it, else it blocks; `warn`
/// and `audit` never change the verdict.
pub fn decide(policies: &[&Policy], facts: &Facts, exceptions: &[Exception], now: Timestamp) -> Decision {
    let mut judge =
        Judge { facts, exceptions, now, valid_until: None, used: Vec::new(), distinct: distinct(facts) };
    let selecting = || policies.iter().filter(|policy| policy.selects(&facts.repository));
    let mut reasons = Vec::with_capacity(selecting().map(|policy| policy.rules.len()).sum());
    for policy in selecting() {
        let asked = |rule: &&Rule| facts.workload.is_some() || !rule.condition.is_about_workloads();
        for rule in policy.rules.iter().filter(asked) {
            reasons.push(judge.rule(policy, rule));
        }
    }
    let enforced =
        |result| reasons.iter().any(|reason| reason.mode == Mode::Enforce && reason.result == result);
    let settling = facts.image == Settling::UnderWay || facts.import == Settling::UnderWay;
    let verdict = if enforced(RuleResult::Fail) {
        Verdict::Blocked
    } else if enforced(RuleResult::Indeterminate) {
        if settling { Verdict::Pending } else { Verdict::Blocked }
    } else {
        Verdict::Allowed
    };
    let mut exceptions = judge.used;
    exceptions.sort_unstable();
    exceptions.dedup();
    Decision { verdict, reasons, valid_until: judge.valid_until, exceptions }
}

struct Judge<'f> {
    facts: &'f Facts,
    exceptions: &'f [Exception],
    now: Timestamp,
    valid_until: Option<Timestamp>,
    used: Vec<ExceptionId>,
    /// See [`distinct`].
    distinct: Vec<Counted<'f>>,
}

/// One (vulnerability, source package), at whatever versions.
#[derive(Clone, Copy)]
struct Counted<'f> {
    /// The version that is told: one that can be fixed, when there is one.
    finding: &'f Finding,
    /// That of the version which is rated highest.
    severity: Severity,
    /// A version that nobody rated could be of any severity.
    is_unrated: bool,
    kev: bool,
}

impl Counted<'_> {
    const fn is_fixable(&self) -> bool {
        self.finding.fixed_version.is_some()
    }
}

/// One finding per (vulnerability, source package): what rules count. Rows are sorted by id, then
/// source, so the same pair at another version is a neighbour.
fn distinct(facts: &Facts) -> Vec<Counted<'_>> {
    let rows = facts.findings.as_ref().map(|set| set.rows.as_slice()).unwrap_or_default();
    let mut out: Vec<Counted<'_>> = Vec::with_capacity(rows.len());
    for finding in rows {
        let same =
            |last: &&mut Counted<'_>| last.finding.id == finding.id && last.finding.source == finding.source;
        match out.last_mut().filter(same) {
            None => out.push(Counted {
                finding,
                severity: finding.severity,
                is_unrated: finding.severity == Severity::Unknown,
                kev: finding.kev,
            }),
            Some(last) if facts.counting == Counting::AnyVersion => {
                last.severity = last.severity.max(finding.severity);
                last.is_unrated |= finding.severity == Severity::Unknown;
                last.kev |= finding.kev;
                if !last.is_fixable() && finding.fixed_version.is_some() {
                    last.finding = finding;
                }
            }
            Some(_) => {}
        }
    }
    out
}

/// A rule's result and its cause.
pub(crate) type Outcome = (RuleResult, Cause);

const PASS: Outcome = (RuleResult::Pass, Cause::Holds);

fn fail(cause: Cause) -> Outcome {
    (RuleResult::Fail, cause)
}

fn unknown(cause: Cause) -> Outcome {
    (RuleResult::Indeterminate, cause)
}

impl<'f> Judge<'f> {
    fn rule(&mut self, policy: &Policy, rule: &Rule) -> Reason {
        let name = [&*policy.name, "/", &*rule.name].concat();
        let mut evidence = Evidence::default();
        let (mut result, mut cause) = match &rule.condition {
            Condition::Vulnerabilities { .. } => self.vulnerabilities(&name, &rule.condition, &mut evidence),
            Condition::Secrets { max } => self.secrets(*max, &mut evidence),
            Condition::Inspected => self.inspected(),
            Condition::Covered => self.covered(),
            Condition::Advisories { checked_within } => self.advisories(*checked_within),
            Condition::Os { supported } => self.os(*supported),
            Condition::Binaries { max_unowned } => self.binaries(*max_unowned),
            Condition::Container { demands } => match &self.facts.workload {
                Some(workload) => workload::container(demands, workload, &mut evidence),
                None => PASS,
            },
            Condition::Registries { allow } => match &self.facts.workload {
                Some(workload) => workload::registries(allow, workload),
                None => PASS,
            },
        };
        if result != RuleResult::Pass
            && let Some(exception) = self.whole_rule_exception(&name)
        {
            let (owner, until, id) = (exception.owner.clone(), exception.expires_at, exception.id);
            self.used.push(id);
            self.until(until);
            (result, cause) = (RuleResult::Pass, Cause::Excepted { owner, until });
        }
        Reason { rule: name, result, mode: rule.mode, cause, evidence }
    }

    fn until(&mut self, moment: Timestamp) {
        self.valid_until = Some(self.valid_until.map_or(moment, |other| other.min(moment)));
    }

    fn whole_rule_exception(&self, rule: &str) -> Option<&Exception> {
        self.exceptions.iter().find(|exception| {
            exception.is_whole_rule() && exception.applies(&self.facts.repository, rule, self.now)
        })
    }

    /// Nothing is known of the image: it is not inspected yet, or nobody pushed what runs.
    fn not_inspected(&self) -> Cause {
        match &self.facts.workload {
            Some(workload) if self.facts.is_unmapped() => Cause::Unmapped { named: workload.named.clone() },
            _ => Cause::NotInspected,
        }
    }

    /// What keeps any rule about packages from being sure, if anything does.
    fn blind_spot(&self) -> Option<Cause> {
        let Some(inventory) = &self.facts.inventory else { return Some(self.not_inspected()) };
        if let Some((code, layer, message)) = inventory.problems.first() {
            let found = inventory.problems_found();
            return Some(Cause::Problems { code: *code, layer: *layer, message: message.clone(), found });
        }
        let Some(findings) = &self.facts.findings else { return Some(self.not_inspected()) };
        if !findings.covered {
            let release = findings.release.clone().unwrap_or_else(|| "this image".into());
            return Some(Cause::Uncovered { release });
        }
        if !inventory.uncovered.is_empty() {
            return Some(Cause::NoReader { ecosystems: inventory.uncovered.clone() });
        }
        None
    }

    fn vulnerabilities(&mut self, rule: &str, condition: &Condition, evidence: &mut Evidence) -> Outcome {
        let Condition::Vulnerabilities { any, any_fixable, kev, at_or_above } = condition else {
            return PASS;
        };
        let unaccepted = self.unaccepted(rule);
        let counted = unaccepted.as_deref().unwrap_or(&self.distinct);
        let bounds = [(*any_fixable, Count::Fixable), (*kev, Count::Exploited), (*any, Count::Any)];
        let bounds = bounds.into_iter().filter_map(|(bound, count)| Some((bound?, count)));
        let severities = at_or_above.iter().map(|(severity, bound)| (*bound, Count::AtOrAbove(*severity)));
        for (max, count) in bounds.chain(severities) {
            let hits: Vec<&Finding> = counted
                .iter()
                .filter(|it| match count {
                    Count::Any => true,
                    Count::Fixable => it.is_fixable(),
                    Count::Exploited => it.kev,
                    Count::AtOrAbove(severity) => it.severity >= severity,
                })
                .map(|it| it.finding)
                .collect();
            let found = u32::try_from(hits.len()).unwrap_or(u32::MAX);
            if found > max {
                // `CVE-2026-12345 imagemagick` is 26 bytes.
                evidence.reserve(hits.len(), 26);
                hits.iter().for_each(|finding| evidence.push(&finding.id, &finding.source));
                let examples =
                    hits.iter().take(limit::EXAMPLES).map(|finding| Example::from(*finding)).collect();
                return fail(Cause::TooMany { count, found, max, examples });
            }
        }
        if let Some(cause) = self.blind_spot() {
            return unknown(cause);
        }
        if kev.is_some() && !self.facts.has_feed("kev") {
            return unknown(Cause::NoFeed { feed: "kev".into() });
        }
        // An unrated finding could be of any severity: it decides whether a bound would still hold.
        let unrated = |severity| counted.iter().filter(|it| it.is_unrated && it.severity < severity).count();
        let rated = |severity| counted.iter().filter(|it| it.severity >= severity).count();
        if at_or_above.iter().any(|(severity, max)| rated(*severity) + unrated(*severity) > *max as usize) {
            let unrated = counted.iter().filter(|it| it.is_unrated).count();
            return unknown(Cause::Unrated { found: u32::try_from(unrated).unwrap_or(u32::MAX) });
        }
        PASS
    }

    /// The distinct findings that no exception accepts, when there is an exception for the rule.
    fn unaccepted(&mut self, rule: &str) -> Option<Vec<Counted<'f>>> {
        let applying: Vec<&Exception> = self
            .exceptions
            .iter()
            .filter(|it| !it.is_whole_rule() && it.applies(&self.facts.repository, rule, self.now))
            .collect();
        if applying.is_empty() {
            return None;
        }
        let (mut used, mut until) = (Vec::new(), None::<Timestamp>);
        let mut out = Vec::with_capacity(self.distinct.len());
        for counted in &self.distinct {
            let accepts = |exception: &&&Exception| exception.accepts(counted.finding);
            if let Some(exception) = applying.iter().find(accepts) {
                used.push(exception.id);
                until = Some(until.map_or(exception.expires_at, |other| other.min(exception.expires_at)));
            } else {
                out.push(*counted);
            }
        }
        self.used.extend(used);
        if let Some(until) = until {
            self.until(until);
        }
        Some(out)
    }

    fn secrets(&self, max: u32, evidence: &mut Evidence) -> Outcome {
        let Some(inventory) = &self.facts.inventory else { return unknown(self.not_inspected()) };
        let found = inventory.secrets_found();
        if found > max {
            let paths = inventory.secrets.iter().map(|(_, path)| path.clone());
            inventory.secrets.iter().for_each(|(rule, path)| evidence.push(rule, path));
            let paths = paths.take(limit::EXAMPLES).collect();
            return fail(Cause::Secrets { found, max, paths });
        }
        self.unread().map_or(PASS, unknown)
    }

    /// A problem that could hide a secret or a package.
    fn unread(&self) -> Option<Cause> {
        let inventory = self.facts.inventory.as_ref()?;
        let (code, layer, message) = inventory.problems.first()?;
        let found = inventory.problems_found();
        Some(Cause::Problems { code: *code, layer: *layer, message: message.clone(), found })
    }

    fn inspected(&self) -> Outcome {
        if self.facts.inventory.is_none() {
            return unknown(self.not_inspected());
        }
        self.unread().map_or(PASS, unknown)
    }

    fn covered(&self) -> Outcome {
        match self.blind_spot() {
            None => PASS,
            Some(cause) => unknown(cause),
        }
    }

    fn advisories(&mut self, checked_within: i64) -> Outcome {
        let release = self.facts.findings.as_ref().and_then(|findings| findings.release.as_deref());
        let covering = self
            .facts
            .feeds
            .iter()
            .filter(|feed| release.is_none_or(|release| feed.covers.iter().any(|covered| covered == release)))
            .max_by_key(|feed| feed.checked_at);
        let Some(feed) = covering else {
            let release = release.unwrap_or("this image").to_owned();
            return unknown(Cause::Uncovered { release });
        };
        let ends = feed.checked_at.plus_seconds(checked_within);
        if self.now < ends {
            self.until(ends);
            return PASS;
        }
        fail(Cause::Stale { feed: feed.feed.clone(), checked_at: feed.checked_at })
    }

    fn os(&mut self, supported: SupportLevel) -> Outcome {
        let Some(inventory) = &self.facts.inventory else { return unknown(self.not_inspected()) };
        // An image without a distribution has no release that could end.
        let Some(os) = &inventory.os else { return PASS };
        let Some(support) = inventory.support else {
            return unknown(Cause::UnknownOs { os: os.name.clone() });
        };
        let ends = match supported {
            SupportLevel::Full => support.full_ends,
            SupportLevel::Lts => support.lts_ends.max(support.full_ends),
        };
        if self.now < ends {
            self.until(ends);
            return PASS;
        }
        fail(Cause::Unsupported { os: os.name.clone(), ended: ends })
    }

    fn binaries(&self, max: u32) -> Outcome {
        let Some(inventory) = &self.facts.inventory else { return unknown(self.not_inspected()) };
        if inventory.unowned_binaries > max {
            return fail(Cause::Unowned { found: inventory.unowned_binaries, max });
        }
        self.unread().map_or(PASS, unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExceptionScope, Language};
    use proptest::prelude::*;

    const PROD: &str = include_str!("../../../examples/policies/prod.yaml");
    const EVERYWHERE: &str = include_str!("../../../examples/policies/everywhere.yaml");
    const ZERO: &str = include_str!("../../../examples/policies/zero.yaml");
    const WORKLOADS: &str = include_str!("../../../examples/policies/workloads.yaml");

    fn now() -> Timestamp {
        "2026-11-23".parse().expect("date")
    }

    #[test]
    fn shipped_policies_pass_their_own_cases() {
        let policies =
            [PROD, EVERYWHERE, ZERO, WORKLOADS].map(|source| Policy::parse(source).expect("compiles"));
        let all: Vec<&Policy> = policies.iter().collect();
        for (cases, policies) in [
            (include_str!("../../../examples/policies/tests/prod.yaml"), &all[..2]),
            (include_str!("../../../examples/policies/tests/zero.yaml"), &all[2..3]),
            (include_str!("../../../examples/policies/tests/workloads.yaml"), &all[3..]),
        ] {
            let outcomes = crate::run_cases(cases, policies, None).expect("cases are read");
            assert!(outcomes.len() >= 3);
            for outcome in outcomes {
                assert_eq!(outcome.differs, Vec::<String>::new(), "{}", outcome.name);
            }
        }
        let wrong = "now: 2026-11-23\ncases:\n  - {name: x, repository: prod/web, expect: blocked}\n";
        let outcomes = crate::run_cases(wrong, &all[..1], None).expect("read");
        assert_eq!(outcomes[0].differs, ["expected blocked, is allowed"]);
    }

    fn finding(id: &str, fixed: Option<&str>) -> Finding {
        Finding {
            id: id.into(),
            aliases: vec![format!("DSA-{id}")],
            ecosystem: seaworthy_package::Ecosystem::Deb,
            source: "expat".into(),
            version: "2.5.0-1".into(),
            severity: Severity::Unknown,
            severity_source: String::new(),
            state: seaworthy_model::FixState::Fixed,
            fixed_version: fixed.map(str::to_owned),
            kev: false,
            epss: None,
            summary: String::new(),
        }
    }

    fn facts(rows: Vec<Finding>) -> Facts {
        let feeds = vec![seaworthy_model::FeedCoverage {
            feed: "debian".into(),
            covers: vec!["deb:debian:12".into(), "kev".into()],
            checked_at: now(),
            newest: None,
        }];
        Facts {
            repository: "prod/web".parse().expect("name"),
            inventory: Some(crate::InventoryFacts {
                content_id: seaworthy_model::ContentId::of(&seaworthy_oci::Platform::linux_amd64(), &[]),
                reader_version: 0,
                os: None,
                support: None,
                secrets: vec![],
                more_secrets: 0,
                problems: vec![],
                more_problems: 0,
                uncovered: vec![],
                unowned_binaries: 0,
            }),
            findings: Some(seaworthy_model::FindingSet {
                id: "x".into(),
                index_hash: "y".into(),
                release: Some("deb:debian:12".into()),
                covered: true,
                rows,
            }),
            feeds,
            image: Settling::Settled,
            import: Settling::Settled,
            counting: Counting::AnyVersion,
            workload: None,
        }
    }

    fn exception(advisory: Option<&str>, approved_by: Option<&str>) -> Exception {
        Exception {
            id: ExceptionId::from_u128(1),
            scope: ExceptionScope {
                repositories: "prod/**".parse().expect("pattern"),
                rule: "prod/vulns".into(),
                advisory: advisory.map(str::to_owned),
                package: None,
            },
            owner: "team-web".into(),
            reason: "not reachable".into(),
            requested_by: "dev".into(),
            approved_by: approved_by.map(str::to_owned),
            created_at: now().plus_seconds(-10),
            expires_at: now().plus_seconds(3600),
        }
    }

    #[test]
    fn a_blocked_image_says_why_in_both_languages() {
        let prod = Policy::parse(PROD).expect("compiles");
        let rows = vec![finding("CVE-2026-1", Some("2.5.0-1+deb12u2")), finding("CVE-2026-2", None)];
        let decision = decide(&[&prod], &facts(rows), &[], now());
        assert_eq!(decision.verdict, Verdict::Blocked);
        let reason =
            decision.reasons.iter().find(|reason| reason.result == RuleResult::Fail).expect("a failure");
        assert_eq!(reason.rule, "prod/vulns");
        assert_eq!(
            reason.cause.message(Language::English),
            "1 fixable vulnerability (CVE-2026-1 expat 2.5.0-1 → 2.5.0-1+deb12u2)"
        );
        assert_eq!(
            reason.cause.message(Language::Japanese),
            "修正可能な脆弱性 1 件 (CVE-2026-1 expat 2.5.0-1 → 2.5.0-1+deb12u2)"
        );
    }

    #[test]
    fn exceptions_accept_what_they_name_until_they_end() {
        let prod = Policy::parse(PROD).expect("compiles");
        let rows = vec![finding("CVE-2026-1", Some("2")), finding("CVE-2026-2", Some("2"))];
        let verdict = |exceptions: &[Exception], at: i64| {
            decide(&[&prod], &facts(rows.clone()), exceptions, now().plus_seconds(at)).verdict
        };
        let (one, two) =
            (exception(Some("CVE-2026-1"), Some("boss")), exception(Some("DSA-CVE-2026-2"), Some("boss")));
        assert_eq!(verdict(&[], 0), Verdict::Blocked);
        assert_eq!(verdict(std::slice::from_ref(&one), 0), Verdict::Blocked);
        assert_eq!(verdict(&[one.clone(), two.clone()], 0), Verdict::Allowed);
        assert_eq!(verdict(&[one.clone(), two.clone()], 3599), Verdict::Allowed);
        assert_eq!(verdict(&[one, two], 3600), Verdict::Blocked);
        assert_eq!(verdict(&[exception(None, Some("boss"))], 0), Verdict::Allowed);
        assert_eq!(verdict(&[exception(None, None)], 0), Verdict::Blocked, "not approved");
        let decision = decide(&[&prod], &facts(rows.clone()), &[exception(None, Some("boss"))], now());
        assert_eq!(decision.exceptions, [ExceptionId::from_u128(1)]);
        assert_eq!(decision.valid_until, Some(now().plus_seconds(3600)));
        let mut own = exception(None, None);
        assert!(own.approve("dev").is_err());
        own.expires_at = own.created_at.plus_seconds(limit::EXCEPTION_SECONDS);
        assert!(own.check().is_ok());
        own.expires_at = own.expires_at.plus_seconds(1);
        assert!(own.check().is_err());
    }

    type Change<'c> = (&'c str, &'c dyn Fn(&mut Facts));

    #[test]
    fn unknown_is_never_fine() {
        let prod = Policy::parse(PROD).expect("compiles");
        let judge = |change: &dyn Fn(&mut Facts)| {
            let mut facts = facts(vec![]);
            change(&mut facts);
            decide(&[&prod], &facts, &[], now()).verdict
        };
        assert_eq!(judge(&|_| {}), Verdict::Allowed);
        let changes: [Change<'_>; 6] = [
            ("no inventory", &|facts| facts.inventory = None),
            ("no match", &|facts| facts.findings = None),
            ("not covered", &|facts| facts.findings.iter_mut().for_each(|set| set.covered = false)),
            ("no reader", &|facts| {
                facts.inventory.iter_mut().for_each(|it| it.uncovered = vec!["npm".into()]);
            }),
            ("no kev", &|facts| {
                facts.feeds.iter_mut().for_each(|feed| feed.covers = vec!["deb:debian:12".into()]);
            }),
            ("a problem", &|facts| {
                let problem =
                    (seaworthy_model::ProblemCode::LayerUnreadable, Some(1), "cut short".to_owned());
                facts.inventory.iter_mut().for_each(|it| it.problems = vec![problem.clone()]);
            }),
        ];
        for (name, change) in changes {
            assert_eq!(judge(change), Verdict::Blocked, "{name}");
            let under_way = judge(&|facts| {
                change(facts);
                facts.image = Settling::UnderWay;
            });
            assert_eq!(under_way, Verdict::Pending, "{name}");
        }
    }

    /// Rules count what the facts do not list, and what is decided again from stored facts is the same.
    #[test]
    fn what_is_not_listed_counts() {
        let source =
            |max: u32| format!("policy: p\nselects: ['**']\nrules:\n  - secrets: {{ max: {max} }}\n");
        let mut facts = facts(vec![]);
        let listed = (0..limit::LISTED).map(|at| ("pem".to_owned(), format!("k/{at}"))).collect();
        let listed: Vec<(String, String)> = listed;
        facts.inventory.iter_mut().for_each(|it| (it.secrets, it.more_secrets) = (listed.clone(), 9_000));
        let judge = |max: u32, facts: &Facts| {
            let policy = Policy::parse(&source(max)).expect("compiles");
            decide(&[&policy], facts, &[], now())
        };
        assert_eq!(judge(10_000, &facts).verdict, Verdict::Allowed);
        let decision = judge(9_999, &facts);
        assert_eq!(decision.verdict, Verdict::Blocked);
        let Cause::Secrets { found, .. } = &decision.reasons[0].cause else { panic!("{decision:?}") };
        assert_eq!((*found, decision.reasons[0].evidence.len()), (10_000, limit::LISTED));
        let stored = serde_json::to_string(&facts).expect("json");
        assert_eq!(judge(9_999, &serde_json::from_str(&stored).expect("facts")), decision);
        // As before there was a bound: everything is listed.
        let all = (0..10_000).map(|at| ("pem".to_owned(), format!("k/{at}"))).collect::<Vec<_>>();
        facts.inventory.iter_mut().for_each(|it| (it.secrets, it.more_secrets) = (all.clone(), 0));
        assert_eq!(judge(9_999, &facts), decision);
    }

    /// Whichever version comes first; but a verdict that was stored before is what it was.
    #[test]
    fn one_version_that_can_be_fixed_is_enough() {
        let at = |version: &str, fixed: Option<&str>, severity: Severity, kev: bool| Finding {
            version: version.into(),
            severity,
            kev,
            ..finding("CVE-1", fixed)
        };
        let unfixed = at("1", None, Severity::Low, false);
        let fixed = at("2", Some("3"), Severity::Unknown, false);
        let exploited = at("3", None, Severity::High, true);
        let judge = |rule: &str, facts: &Facts| {
            let source =
                format!("policy: p\nselects: ['**']\nrules:\n  - name: v\n    vulnerabilities: {rule}\n");
            decide(&[&Policy::parse(&source).expect("compiles")], facts, &[], now())
        };
        let now_counted = facts(vec![unfixed, fixed, exploited]);
        for rule in ["{any_fixable: 0}", "{kev: 0}", "{high: 0}", "{any: 0}"] {
            let decision = judge(rule, &now_counted);
            assert_eq!(decision.verdict, Verdict::Blocked, "{rule}");
            let Cause::TooMany { found, examples, .. } = &decision.reasons[0].cause else { panic!("{rule}") };
            assert_eq!((*found, examples[0].version.as_str()), (1, "2"), "{rule}: once, as it can be fixed");
        }
        assert_eq!(judge("{any: 1}", &now_counted).verdict, Verdict::Allowed);
        // One that nobody rated is not fine because another one is.
        for order in [[Severity::Unknown, Severity::Low], [Severity::Low, Severity::Unknown]] {
            let rows = order.into_iter().enumerate();
            let rows = rows.map(|(n, severity)| at(&n.to_string(), None, severity, false)).collect();
            let decision = judge("{high: 0}", &facts(rows));
            assert_eq!(decision.reasons[0].result, RuleResult::Indeterminate, "{order:?}");
        }
        let mut stored = serde_json::to_value(&now_counted).expect("json");
        assert_eq!(
            stored.as_object_mut().and_then(|map| map.remove("counting")).expect("said"),
            "any_version"
        );
        let before: Facts = serde_json::from_value(stored).expect("facts");
        for rule in ["{any_fixable: 0}", "{kev: 0}", "{high: 0}"] {
            assert_eq!(judge(rule, &before).verdict, Verdict::Allowed, "{rule}");
        }
    }

    #[test]
    fn unrated_findings_decide_only_when_they_could() {
        let source =
            |rule: &str| format!("policy: p\nselects: ['**']\nrules:\n  - vulnerabilities: {rule}\n");
        let judge = |rule: &str, rows: Vec<Finding>| {
            let policy = Policy::parse(&source(rule)).expect("compiles");
            decide(&[&policy], &facts(rows), &[], now()).reasons[0].result
        };
        let rated = |severity| Finding { severity, ..finding("CVE-1", None) };
        assert_eq!(judge("{high: 0}", vec![finding("CVE-1", None)]), RuleResult::Indeterminate);
        assert_eq!(judge("{high: 1}", vec![finding("CVE-1", None)]), RuleResult::Pass);
        assert_eq!(judge("{high: 0}", vec![rated(Severity::Medium)]), RuleResult::Pass);
        assert_eq!(judge("{high: 0}", vec![rated(Severity::Critical)]), RuleResult::Fail);
        assert_eq!(judge("{any: 0}", vec![finding("CVE-1", None)]), RuleResult::Fail);
        assert_eq!(judge("{any_fixable: 0}", vec![finding("CVE-1", None)]), RuleResult::Pass);
    }

    proptest! {
        /// More findings never turn a blocked image into an allowed one.
        #[test]
        fn verdicts_are_monotonic(ids in prop::collection::btree_set(0u32..50, 0..20), fixed: Vec<bool>, cut: prop::sample::Index) {
            let prod = Policy::parse(PROD).expect("compiles");
            let rows: Vec<Finding> = ids
                .iter()
                .map(|id| finding(&format!("CVE-{id:03}"), fixed.get(*id as usize).copied().unwrap_or(false).then_some("9")))
                .collect();
            let fewer = rows[..cut.index(rows.len() + 1)].to_vec();
            let (more, fewer) = (decide(&[&prod], &facts(rows), &[], now()), decide(&[&prod], &facts(fewer), &[], now()));
            prop_assert!(!(fewer.verdict == Verdict::Blocked && more.verdict == Verdict::Allowed));
            let stored = serde_json::to_string(&more).expect("json");
            prop_assert_eq!(serde_json::from_str::<Decision>(&stored).expect("json"), more);
        }
    }
}
