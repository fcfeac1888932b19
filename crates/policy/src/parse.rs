//! From a file to a [`Policy`].

use seaworthy_model::Severity;

use crate::{Condition, Mode, Policy, PolicyError, Rule, SupportLevel, demands, limit, yaml::Node};

const POLICY_KEYS: &[&str] = &["policy", "description", "selects", "mode", "rules"];
const RULE_KEYS: &[&str] = &[
    "name",
    "mode",
    "vulnerabilities",
    "secrets",
    "inspected",
    "covered",
    "advisories",
    "os",
    "binaries",
    "container",
    "registries",
];
const VULNERABILITY_KEYS: &[&str] = &["any", "any_fixable", "kev", "critical", "high", "medium", "low"];

pub(crate) fn policy(source: &str) -> Result<Policy, PolicyError> {
    let root = Node::parse(source)?;
    let (mut name, mut description, mut selects) = (None, String::new(), None);
    let (mut mode, mut rules) = (Mode::Enforce, None);
    for (key, value) in root.map("a policy file")? {
        match key.word("key", POLICY_KEYS)? {
            "policy" => name = Some(name_of(value, "the policy's name")?),
            "description" => value.text("`description`")?.clone_into(&mut description),
            "selects" => selects = Some(patterns(value)?),
            "mode" => mode = read_mode(value)?,
            _ => rules = Some(value),
        }
    }
    let missing = |key: &str| root.error(format!("`{key}` is missing"));
    let rules_node = rules.ok_or_else(|| missing("rules"))?;
    let mut rules = Vec::new();
    for node in rules_node.list("`rules`")? {
        let rule = read_rule(node, mode)?;
        if rules.iter().any(|other: &Rule| other.name == rule.name) {
            let mut error = node.error(format!("two rules are named `{}`", rule.name));
            error.hint = Some("give one of them another `name`".into());
            return Err(error);
        }
        rules.push(rule);
    }
    if rules.is_empty() || rules.len() > limit::RULES {
        return Err(rules_node.error(format!("a policy has 1 to {} rules", limit::RULES)));
    }
    Ok(Policy {
        name: name.ok_or_else(|| missing("policy"))?,
        description,
        selects: selects.ok_or_else(|| missing("selects"))?,
        rules,
        hash: String::new(),
        source: String::new(),
    })
}

fn name_of(node: &Node, what: &str) -> Result<String, PolicyError> {
    let text = node.text(what)?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if text.is_empty() || text.len() > 40 || !text.chars().all(plain) {
        return Err(node.error(format!("{what} is 1 to 40 of `a-z`, `0-9`, `-`, `_`")));
    }
    Ok(text.to_owned())
}

fn patterns(node: &Node) -> Result<Vec<crate::RepoPattern>, PolicyError> {
    let items = node.list("`selects`")?;
    if items.is_empty() || items.len() > limit::PATTERNS {
        return Err(node.error(format!("`selects` has 1 to {} patterns", limit::PATTERNS)));
    }
    items
        .iter()
        .map(|item| {
            item.text("a pattern")?
                .parse()
                .map_err(|error: crate::PatternError| item.error(error.to_string()))
        })
        .collect()
}

fn read_mode(node: &Node) -> Result<Mode, PolicyError> {
    Ok(match node.word("mode", &Mode::WORDS)? {
        "enforce" => Mode::Enforce,
        "warn" => Mode::Warn,
        _ => Mode::Audit,
    })
}

fn read_rule(node: &Node, default_mode: Mode) -> Result<Rule, PolicyError> {
    let (mut name, mut mode, mut condition) = (None, None, None);
    for (key, value) in node.map("a rule")? {
        match key.word("key", RULE_KEYS)? {
            "name" => name = Some(name_of(value, "the rule's name")?),
            "mode" => mode = Some(read_mode(value)?),
            kind => {
                if let Some((first, _)) = condition {
                    return Err(
                        key.error(format!("a rule has one condition, this one has `{first}` and `{kind}`"))
                    );
                }
                condition = Some((kind.to_owned(), read_condition(kind, value)?));
            }
        }
    }
    let Some((kind, condition)) = condition else {
        return Err(node.error("the rule has no condition"));
    };
    // Settings of containers are watched before they are enforced.
    let default_mode =
        if matches!(condition, Condition::Container { .. }) { Mode::Audit } else { default_mode };
    let default_name = if kind == "vulnerabilities" { "vulns".to_owned() } else { kind };
    Ok(Rule { name: name.unwrap_or(default_name), mode: mode.unwrap_or(default_mode), condition })
}

fn read_condition(kind: &str, node: &Node) -> Result<Condition, PolicyError> {
    match kind {
        "vulnerabilities" => vulnerabilities(node),
        "secrets" => Ok(Condition::Secrets { max: only(node, "max")?.count("`max`")? }),
        "inspected" => nothing(node, kind).map(|()| Condition::Inspected),
        "covered" => nothing(node, kind).map(|()| Condition::Covered),
        "advisories" => Ok(Condition::Advisories { checked_within: seconds(only(node, "checked_within")?)? }),
        "os" => {
            let level = only(node, "supported")?;
            Ok(Condition::Os {
                supported: match level.word("support level", &["full", "lts"])? {
                    "full" => SupportLevel::Full,
                    _ => SupportLevel::Lts,
                },
            })
        }
        "container" => demands::container(node),
        "registries" => demands::registries(node, only(node, "allow")?),
        _ => Ok(Condition::Binaries { max_unowned: only(node, "max_unowned")?.count("`max_unowned`")? }),
    }
}

fn vulnerabilities(node: &Node) -> Result<Condition, PolicyError> {
    let (mut any, mut any_fixable, mut kev, mut at_or_above) = (None, None, None, Vec::new());
    for (key, value) in node.map("`vulnerabilities`")? {
        let word = key.word("key", VULNERABILITY_KEYS)?;
        let count = value.count(&format!("`{word}`"))?;
        match word {
            "any" => any = Some(count),
            "any_fixable" => any_fixable = Some(count),
            "kev" => kev = Some(count),
            _ => at_or_above.extend(word.parse::<Severity>().ok().map(|severity| (severity, count))),
        }
    }
    if any.is_none() && any_fixable.is_none() && kev.is_none() && at_or_above.is_empty() {
        return Err(node.error("`vulnerabilities` asks nothing"));
    }
    // A wider kind with a smaller bound makes a narrower one's bound meaningless: somebody erred.
    if let Some(any) = any
        && let Some(wider) =
            any_fixable.into_iter().chain(kev).chain(at_or_above.iter().map(|it| it.1)).find(|n| *n > any)
    {
        return Err(node.error(format!("`any: {any}` contradicts a bound of {wider} for some of them")));
    }
    for (severity, bound) in &at_or_above {
        let narrower = at_or_above.iter().find(|(other, count)| other > severity && count > bound);
        if let Some((other, count)) = narrower {
            let message =
                format!("`{severity}: {bound}` counts `{other}` too and contradicts `{other}: {count}`");
            return Err(node.error(message));
        }
    }
    Ok(Condition::Vulnerabilities { any, any_fixable, kev, at_or_above })
}

/// The value of the one key a condition has.
fn only<'n>(node: &'n Node, name: &'static str) -> Result<&'n Node, PolicyError> {
    let entries = node.map("a condition")?;
    for (key, _) in entries {
        key.word("key", &[name])?;
    }
    entries.first().map(|(_, value)| value).ok_or_else(|| node.error(format!("`{name}` is missing")))
}

fn nothing(node: &Node, kind: &str) -> Result<(), PolicyError> {
    match node.map(&format!("`{kind}`"))?.first() {
        None => Ok(()),
        Some((key, _)) => Err(key.error(format!("`{kind}` takes no keys"))),
    }
}

/// `90m`, `24h`, `7d`, as seconds.
fn seconds(node: &Node) -> Result<i64, PolicyError> {
    let text = node.text("a duration")?;
    let unit = |text: &str| match text {
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(24 * 3600),
        _ => None,
    };
    text.len()
        .checked_sub(1)
        .and_then(|at| text.split_at_checked(at))
        .and_then(|(number, suffix)| i64::from(number.parse::<u16>().ok()?).checked_mul(unit(suffix)?))
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| node.error(format!("`{text}` is not a duration like `90m`, `24h` or `7d`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str) -> String {
        match Policy::parse(source) {
            Ok(policy) => format!("{} with {} rules", policy.name, policy.rules.len()),
            Err(error) => {
                format!("{error}{}", error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())
            }
        }
    }

    #[test]
    fn refuses_with_place_and_nearest_word() {
        for (source, says) in [
            ("policy: p\nselects: ['**']\nrules:\n  - inspected: {}\n", "p with 1 rules"),
            ("polciy: p\n", "1:1: unknown key `polciy` (did you mean `policy`?)"),
            (
                "policy: p\nselects: ['**']\nrules:\n  - vulnerabilites: {kev: 0}\n",
                "4:5: unknown key `vulnerabilites` (did you mean `vulnerabilities`?)",
            ),
            (
                "policy: p\nselects: ['**']\nrules:\n  - vulnerabilities: {xyzzy: 0}\n",
                "4:23: unknown key `xyzzy` (valid here: `any`, `any_fixable`, `kev`, `critical`, `high`, `medium`, `low`)",
            ),
            (
                "policy: p\nselects: ['**']\nrules:\n  - vulnerabilities: {kev: -1}\n",
                "4:28: `kev` is a whole number from 0, not `-1`",
            ),
            (
                "policy: p\nselects: ['**']\nrules:\n  - vulnerabilities: {any: 1, kev: 2}\n",
                "4:22: `any: 1` contradicts a bound of 2 for some of them",
            ),
            (
                "policy: p\nselects: ['**']\nrules:\n  - vulnerabilities: {low: 0, high: 2}\n",
                "4:22: `low: 0` counts `high` too and contradicts `high: 2`",
            ),
            (
                "policy: p\nselects: ['**']\nrules:\n  - {inspected: {}, covered: {}}\n",
                "4:21: a rule has one condition, this one has `inspected` and `covered`",
            ),
            (
                "policy: p\nselects: ['**']\nrules:\n  - inspected: {}\n  - inspected: {}\n",
                "5:5: two rules are named `inspected` (give one of them another `name`)",
            ),
            (
                "policy: p\nselects: ['A']\nrules: []\n",
                "2:11: repository pattern `A` has characters other than `a-z`, `0-9`, `.`, `_`, `-`, `*`, `/`",
            ),
            ("policy: p\nselects: ['**']\nrules: []\n", "3:8: a policy has 1 to 100 rules"),
            ("policy: p\nrules:\n  - inspected: {}\n", "1:1: `selects` is missing"),
            (
                "policy: p\nselects: ['**']\nrules:\n  - advisories: {checked_within: 1y}\n",
                "4:34: `1y` is not a duration like `90m`, `24h` or `7d`",
            ),
            (
                "policy: p\nselects: ['**']\nmode: enforced\nrules:\n  - inspected: {}\n",
                "3:7: unknown mode `enforced` (did you mean `enforce`?)",
            ),
        ] {
            assert_eq!(check(source), says, "{source}");
        }
    }

    #[test]
    fn rules_are_bounded() {
        let many = |n: usize| {
            let rules: String = (0..n).map(|n| format!("  - {{name: r{n}, inspected: {{}}}}\n")).collect();
            format!("policy: p\nselects: ['**']\nrules:\n{rules}")
        };
        assert_eq!(check(&many(limit::RULES)), "p with 100 rules");
        assert!(check(&many(limit::RULES + 1)).contains("1 to 100 rules"));
    }

    #[test]
    fn patterns_are_bounded() {
        let many = |n: usize| {
            let patterns = (0..n).map(|n| format!("'team/r{n}'")).collect::<Vec<_>>().join(", ");
            check(&format!("policy: p\nselects: [{patterns}]\nrules:\n  - inspected: {{}}\n"))
        };
        assert_eq!(many(limit::PATTERNS), "p with 1 rules");
        assert_eq!(many(limit::PATTERNS + 1), "2:10: `selects` has 1 to 100 patterns");
    }
}
