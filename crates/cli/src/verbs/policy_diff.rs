//! `policy diff`: what changes from one policy to another, and for which images.

use std::{collections::BTreeMap, path::Path};

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_policy::{Condition, Policy, Rule, SupportLevel};
use serde_json::{Value, json};

use crate::{
    client::{Server, encode},
    failure::{Failure, Outcome, unable},
    flags::Global,
    render::{self, out},
    text::{Text, language},
};

/// Whether stored images are judged anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Images {
    /// The server tells whose verdict would change.
    Judged,
    /// Rules only.
    Left,
}

pub(crate) async fn diff(global: &Global, (old, new): (&str, &str), images: Images) -> Outcome {
    let (old, new) = (load(global, old).await?, load(global, new).await?);
    let rows = differences(&old, &new);
    let judged = match images {
        Images::Left => Value::Null,
        Images::Judged => {
            let body = json!({"source": new.source});
            Server::of(global)?.post("/api/v1/policies/preview", &body).await?
        }
    };
    let empty = Vec::new();
    let changed = judged.get("changed").and_then(Value::as_array).unwrap_or(&empty);
    let same = rows.is_empty() && changed.is_empty();
    if !render::is_table(global) {
        render::json(&json!({"old": old.name, "new": new.name, "changes": rows, "images": judged}));
    } else if same {
        out(&format!("{}\n", Text::Same.say(language())));
    } else {
        table(global, &rows, changed);
    }
    if let Some(count) = judged.get("judged") {
        render::note(&format!("{} {}", render::cell(Some(count)), Text::Judged.say(language())));
    }
    if same { Ok(()) } else { Err(Failure::No) }
}

fn table(global: &Global, rows: &[Value], changed: &[Value]) {
    let columns = [("CHANGE", "/change"), ("WHAT", "/what"), ("OLD", "/old"), ("NEW", "/new")];
    render::list(global, &json!(rows), "/what", &columns);
    if !changed.is_empty() {
        out(&format!("\n{}\n", Text::VerdictsChange.say(language())));
        let columns = [
            ("REPOSITORY", "/repository"),
            ("TAG", "/tag"),
            ("BEFORE", "/before"),
            ("AFTER", "/after"),
            ("RULES", "/rules"),
        ];
        render::list(global, &json!(changed), "/digest", &columns);
    }
}

/// A file when there is one of that name, else a policy of the server.
async fn load(global: &Global, name: &str) -> Result<Policy, Failure> {
    let path = Path::new(name);
    let source = if path.is_file() {
        std::fs::read_to_string(path).map_err(|error| unable(format!("failed to read `{name}`: {error}")))?
    } else {
        let route = match name.rsplit_once('@') {
            Some((name, version)) => {
                format!("/api/v1/policies/{}/versions/{}", encode(name), encode(version))
            }
            None => format!("/api/v1/policies/{}", encode(name)),
        };
        let answer = Server::of(global)?.get(&route).await?;
        answer.get("source").and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    Policy::parse(&source).map_err(|error| {
        let mut problem = super::policies::refused(error);
        problem.message = format!("{name}: {}", problem.message);
        Problem { code: ErrorCode::Invalid, ..problem }.into()
    })
}

/// One row per thing that was added, removed or changed, in the order of what it is called.
fn differences(old: &Policy, new: &Policy) -> Vec<Value> {
    let (old, new) = (values(old), values(new));
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let row = |key: &String| {
        let (before, after) = (old.get(key), new.get(key));
        let change = match (before, after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ if before == after => return None,
            _ => "changed",
        };
        Some(json!({"change": change, "what": key, "old": before, "new": after}))
    };
    keys.into_iter().filter_map(row).collect()
}

/// Everything that a policy says, by name.
fn values(policy: &Policy) -> BTreeMap<String, String> {
    let selects: Vec<&str> = policy.selects.iter().map(seaworthy_policy::RepoPattern::as_str).collect();
    let mut all = BTreeMap::from([
        ("name".to_owned(), policy.name.clone()),
        ("description".to_owned(), policy.description.clone()),
        ("selects".to_owned(), selects.join(", ")),
    ]);
    for rule in &policy.rules {
        let mut at = |key: &str, value: String| {
            all.insert(format!("rules/{}/{key}", rule.name), value);
        };
        at("mode", rule.mode.word().to_owned());
        conditions(rule).into_iter().for_each(|(key, value)| at(&key, value));
    }
    all
}

fn conditions(rule: &Rule) -> Vec<(String, String)> {
    match &rule.condition {
        Condition::Vulnerabilities { any, any_fixable, kev, at_or_above } => {
            let named = [("any", any), ("any_fixable", any_fixable), ("kev", kev)];
            let named = named.into_iter().filter_map(|(key, most)| Some((key.to_owned(), (*most)?)));
            let banded = at_or_above.iter().map(|(severity, most)| (severity.to_string(), *most));
            let row = |(key, most): (String, u32)| (format!("vulnerabilities.{key}"), most.to_string());
            named.chain(banded).map(row).collect()
        }
        Condition::Secrets { max } => vec![("secrets.max".into(), max.to_string())],
        Condition::Inspected => vec![("inspected".into(), "{}".into())],
        Condition::Covered => vec![("covered".into(), "{}".into())],
        Condition::Advisories { checked_within } => {
            vec![("advisories.checked_within".into(), format!("{checked_within}s"))]
        }
        Condition::Os { supported } => {
            let word = if *supported == SupportLevel::Full { "full" } else { "lts" };
            vec![("os.supported".into(), word.into())]
        }
        Condition::Binaries { max_unowned } => {
            vec![("binaries.max_unowned".into(), max_unowned.to_string())]
        }
        Condition::Container { demands } => {
            let entries = demands.iter().map(seaworthy_policy::Demand::entry);
            entries.map(|(key, value)| (format!("container.{key}"), value)).collect()
        }
        Condition::Registries { allow } => {
            let texts: Vec<String> = allow.iter().map(ToString::to_string).collect();
            vec![("registries.allow".into(), texts.join(", "))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(old: &str, new: &str) -> Vec<String> {
        let parse = |rules: &str| {
            let text = format!("policy: p\nselects: [\"prod/**\"]\nmode: enforce\nrules:\n{rules}");
            Policy::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
        };
        let text = |row: Value| {
            let at = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
            format!("{} {} {} {}", at("change"), at("what"), at("old"), at("new"))
        };
        differences(&parse(old), &parse(new)).into_iter().map(text).collect()
    }

    #[test]
    fn every_change_has_its_old_and_new_value() {
        let old = "  - name: vulns\n    vulnerabilities: { any_fixable: 0, high: 2 }\n  - inspected: {}\n";
        let new = "  - name: vulns\n    mode: warn\n    vulnerabilities: { any_fixable: 3, kev: 0 }\n  - secrets: { max: 0 }\n";
        assert!(rows(old, old).is_empty());
        assert_eq!(
            rows(old, new),
            [
                "removed rules/inspected/inspected {} -",
                "removed rules/inspected/mode enforce -",
                "added rules/secrets/mode - enforce",
                "added rules/secrets/secrets.max - 0",
                "changed rules/vulns/mode enforce warn",
                "changed rules/vulns/vulnerabilities.any_fixable 0 3",
                "removed rules/vulns/vulnerabilities.high 2 -",
                "added rules/vulns/vulnerabilities.kev - 0",
            ]
        );
    }
}
