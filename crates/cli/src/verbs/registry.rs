//! What the registry keeps and lets go.

use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::{
    client::{Server, encode},
    failure::{Failure, Outcome},
    flags::{Global, RegistryVerb, RetentionVerb, RuleFlags},
    render::{self, Amount},
    text::{Text, language},
};

pub(crate) async fn registry(global: &Global, verb: RegistryVerb) -> Outcome {
    match verb {
        RegistryVerb::Verify { deep } => look(global, Look::Verify, &json!({"deep": deep})).await,
        RegistryVerb::Repair { deep, apply } => {
            let look_for = match (apply, deep) {
                (true, _) => Look::Repair,
                (false, true) => Look::Plan(REPAIR_DEEP),
                (false, false) => Look::Plan(REPAIR),
            };
            look(global, look_for, &json!({"deep": deep, "apply": apply})).await
        }
        RegistryVerb::Gc { .. } => forecast(global).await,
        RegistryVerb::Retention(verb) => retention(global, verb).await,
        RegistryVerb::Usage => super::rules::usage(global).await,
        RegistryVerb::Rules(verb) => super::rules::rules(global, verb).await,
        RegistryVerb::Cache(verb) => super::cache::cache(global, verb).await,
        RegistryVerb::Replication(verb) => super::replication::replication(global, verb).await,
    }
}

async fn retention(global: &Global, verb: RetentionVerb) -> Outcome {
    let server = Server::of(global)?;
    let path = "/api/v1/registry/retention";
    match verb {
        RetentionVerb::List => {
            let columns = [("PREFIX", "/prefix"), ("RULES", "/rules"), ("SET", "/set_at"), ("BY", "/set_by")];
            let mut answer = server.get(path).await?;
            if render::is_table(global) {
                for row in answer.as_array_mut().into_iter().flatten() {
                    row["rules"] = typed(&row["rules"]).into();
                }
            }
            render::list(global, &answer, "/prefix", &columns);
        }
        RetentionVerb::Set { prefix, rules } => {
            let body = json!({"prefix": prefix, "rules": written(&rules)});
            render::record(global, &server.post(path, &body).await?);
        }
        RetentionVerb::Remove { prefix } => {
            let answer = server.delete(&format!("{path}?prefix={}", encode(&prefix))).await?;
            render::record(global, &answer);
        }
        RetentionVerb::Preview { repository, rules } => {
            preview(global, &server, &repository, &written(&rules)).await?;
        }
    }
    Ok(())
}

/// What the API calls the flags that have a number.
const NUMBERS: [(&str, &str); 4] = [
    ("keep_last", "--keep-last"),
    ("keep_pulled_days", "--keep-pulled"),
    ("remove_older_than_days", "--remove-older-than"),
    ("untagged_days", "--untagged"),
];

/// The rules as they are typed.
fn typed(rules: &Value) -> String {
    let mut words = Vec::new();
    for (key, flag) in NUMBERS {
        words.extend(rules.get(key).and_then(Value::as_u64).map(|number| format!("{flag} {number}")));
    }
    let patterns = rules.get("keep_tags").and_then(Value::as_array).into_iter().flatten();
    words.extend(patterns.filter_map(Value::as_str).map(|pattern| format!("--keep-tag '{pattern}'")));
    if rules.get("keep_untagged") == Some(&Value::Bool(true)) {
        words.push("--keep-untagged".to_owned());
    }
    words.join(" ")
}

/// The rules as the API takes them: what was not said is not there.
fn written(flags: &RuleFlags) -> Value {
    let mut rules = serde_json::Map::new();
    let numbers = [flags.keep_last, flags.keep_pulled, flags.remove_older_than, flags.untagged];
    for ((key, _), value) in NUMBERS.into_iter().zip(numbers) {
        if let Some(value) = value {
            rules.insert(key.to_owned(), value.into());
        }
    }
    if !flags.keep_tag.is_empty() {
        rules.insert("keep_tags".to_owned(), json!(flags.keep_tag));
    }
    if flags.keep_untagged {
        rules.insert("keep_untagged".to_owned(), true.into());
    }
    Value::Object(rules)
}

async fn preview(global: &Global, server: &Server, repository: &str, rules: &Value) -> Outcome {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = last(&all, "tag");
        let mut body = json!({"repository": repository, "after": after});
        if let (Some(fields), false) = (body.as_object_mut(), *rules == json!({})) {
            fields.insert("rules".to_owned(), rules.clone());
        }
        match server.post("/api/v1/registry/retention/preview", &body).await? {
            Value::Array(page) if !page.is_empty() => all.extend(page),
            _ => break,
        }
    }
    let columns = [
        ("TAG", "/tag"),
        ("ACTION", "/action"),
        ("RULE", "/rule"),
        ("SET", "/set_at"),
        ("PULLED", "/last_pull"),
        ("DIGEST", "/digest"),
    ];
    render::list(global, &Value::Array(all), "/tag", &columns);
    Ok(())
}

pub(crate) async fn deleted(global: &Global, repository: &str) -> Outcome {
    let server = Server::of(global)?;
    let mut all: Vec<Value> = Vec::new();
    loop {
        let path = format!(
            "/api/v1/registry/deleted?repository={}&after_repository={}&after_tag={}&after_digest={}",
            encode(repository),
            encode(last(&all, "repository")),
            encode(last(&all, "tag")),
            encode(last(&all, "digest"))
        );
        match server.get(&path).await? {
            Value::Array(page) if !page.is_empty() => all.extend(page),
            _ => break,
        }
    }
    let columns = [
        ("REPOSITORY", "/repository"),
        ("TAG", "/tag"),
        ("DIGEST", "/digest"),
        ("DELETED", "/deleted_at"),
        ("BY", "/deleted_by"),
        ("WHY", "/reason"),
        ("RESTORABLE UNTIL", "/restorable_until"),
    ];
    render::list(global, &Value::Array(all), "/digest", &columns);
    Ok(())
}

fn last<'v>(all: &'v [Value], key: &str) -> &'v str {
    all.last().and_then(|row| row.get(key)).and_then(Value::as_str).unwrap_or("")
}

pub(crate) async fn restore(global: &Global, reference: &str) -> Outcome {
    let body = json!({"image": reference});
    render::record(global, &Server::of(global)?.post("/api/v1/registry/restore", &body).await?);
    Ok(())
}

const REPAIR: &str = "`seaworthy registry repair --apply`";
const REPAIR_DEEP: &str = "`seaworthy registry repair --deep --apply`";

/// What everything is looked at for.
#[derive(Clone, Copy)]
enum Look {
    Verify,
    /// Nothing is done, but by this command.
    Plan(&'static str),
    Repair,
}

/// Looks at everything, part by part. What does not agree, and stays so, is a no.
async fn look(global: &Global, what: Look, body: &Value) -> Outcome {
    let verb = if matches!(what, Look::Verify) { "verify" } else { "repair" };
    let server = Server::of(global)?;
    let (mut problems, mut after) = (Vec::new(), String::new());
    let bar = render::progress(global, Text::LookingAt, Amount::Bytes);
    let mut checked = 0;
    loop {
        let mut body = body.clone();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("after".to_owned(), after.clone().into());
        }
        let mut part = server.post(&format!("/api/v1/registry/{verb}"), &body).await?;
        if let Some(Value::Array(found)) = part.get_mut("problems").map(Value::take) {
            problems.extend(found);
        }
        let count = |of: &str| part.get(of).and_then(Value::as_u64).unwrap_or(0);
        checked += count("checked");
        bar.inc(count("bytes"));
        match part.get("next").and_then(Value::as_str) {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    let read = bar.position();
    bar.finish_and_clear();
    let is_left = problems.iter().any(|it| {
        !it.get("done").and_then(Value::as_str).is_some_and(|done| ["removed", "adopted"].contains(&done))
    });
    let advice = if problems.is_empty() {
        Some(Text::NothingWrong.say(language()).to_owned())
    } else {
        way_out(&problems)
    };
    let is_undone = show(global, what, problems);
    if render::is_table(global) {
        let of = |text: Text| text.say(language());
        render::note(&format!("{checked} {} ({})", of(Text::LookedAt), HumanBytes(read)));
        match what {
            Look::Plan(command) if is_undone => {
                render::note(&format!("{} {command}", of(Text::NothingDone)));
            }
            _ => advice.iter().for_each(|advice| render::note(advice)),
        }
    }
    if is_left { Err(Failure::No) } else { Ok(()) }
}

/// What to do about bytes that are lost. A blob that is not marked is found by who pushes it again, who then sends
/// nothing.
fn way_out(problems: &[Value]) -> Option<String> {
    let is = |it: &Value, key: &str, words: &[&str]| {
        it.get(key).and_then(Value::as_str).is_some_and(|word| words.contains(&word))
    };
    let unmarked = || problems.iter().filter(|it| repair_of(it, problems) == Some("marked"));
    if unmarked().next().is_some() {
        // What only reading shows is marked only by who reads.
        let is_deep = unmarked().any(|it| is(it, "problem", &["rot", "unreadable"]));
        let command = if is_deep { REPAIR_DEEP } else { REPAIR };
        return Some(Text::RepairFirst.say(language()).replace("{}", command));
    }
    let is_lost = |it: &Value| !is(it, "of", &["file"]) && !is(it, "problem", &["denied"]);
    problems.iter().any(is_lost).then(|| Text::PushAgain.say(language()).to_owned())
}

/// What is wrong, and for people what a repair would do; true when it would do anything.
fn show(global: &Global, what: Look, mut problems: Vec<Value>) -> bool {
    let mut columns = vec![
        ("OF", "/of"),
        ("DIGEST", "/digest"),
        ("PROBLEM", "/problem"),
        ("BYTES", "/bytes"),
        ("REPOSITORIES", "/repositories"),
    ];
    let mut is_undone = false;
    if matches!(what, Look::Plan(_)) && render::is_table(global) {
        let would: Vec<_> = problems.iter().map(|it| repair_of(it, &problems)).collect();
        is_undone = would.iter().any(Option::is_some);
        for (problem, would) in problems.iter_mut().zip(would) {
            problem["would_be"] = json!(would);
        }
        columns.push(("WOULD BE", "/would_be"));
    } else {
        columns.push(("DONE", "/done"));
    }
    render::list(global, &Value::Array(problems), "/digest", &columns);
    is_undone
}

/// What a repair does about a problem, in the words with which it says what it did.
fn repair_of(problem: &Value, all: &[Value]) -> Option<&'static str> {
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
    let is = |key: &str, word: &str| text(problem, key).as_deref() == Some(word);
    if !is("done", "none") {
        return None;
    }
    if is("of", "file") {
        let digest = text(problem, "digest");
        let is_wanted =
            all.iter().any(|it| text(it, "of").as_deref() == Some("blob") && text(it, "digest") == digest);
        return Some(if is_wanted { "adopted" } else { "removed" });
    }
    // A file that the server may not read is whole once it may; a blob that only a manifest knows of has no row to mark,
    // and no length.
    let is_unknown = is("problem", "missing") && problem.get("bytes").and_then(Value::as_u64) == Some(0);
    (is("of", "blob") && !is_unknown && !is("problem", "denied")).then_some("marked")
}

async fn forecast(global: &Global) -> Outcome {
    let server = Server::of(global)?;
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/registry/collection?after={}", encode(&after));
        let mut part = server.get(&path).await?;
        if let Some(Value::Array(found)) = part.get_mut("items").map(Value::take) {
            items.extend(found);
        }
        match part.get("next").and_then(Value::as_str) {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    let columns = [
        ("KIND", "/kind"),
        ("REPOSITORY", "/repository"),
        ("DIGEST", "/digest"),
        ("BYTES", "/bytes"),
        ("NOT BEFORE", "/at"),
        ("WHY", "/why"),
    ];
    render::list(global, &Value::Array(items), "/digest", &columns);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_is_foretold() {
        let it = |of: &str, digest: &str, problem: &str, bytes: u64| json!({"of": of, "digest": digest, "problem": problem, "bytes": bytes, "done": "none"});
        let mut marked = it("blob", "e", "rot", 1);
        marked["done"] = json!("marked");
        let all = [
            (it("blob", "a", "rot", 9), Some("marked")),
            (it("file", "a", "orphan", 9), Some("adopted")),
            (it("file", "b", "orphan", 9), Some("removed")),
            (it("blob", "c", "missing", 0), None),
            (it("blob", "f", "denied", 9), None),
            (it("manifest", "d", "rot", 5), None),
            (marked, None),
        ];
        let problems: Vec<Value> = all.iter().map(|(problem, _)| problem.clone()).collect();
        for (problem, would) in &all {
            assert_eq!(repair_of(problem, &problems), *would, "{problem}");
        }
    }

    #[test]
    fn rules_are_said_as_they_are_typed() {
        let rules = json!({"keep_last": 10, "keep_tags": ["v*", "x"], "untagged_days": 14});
        assert_eq!(typed(&rules), "--keep-last 10 --untagged 14 --keep-tag 'v*' --keep-tag 'x'");
        assert_eq!(typed(&json!({"keep_untagged": true, "keep_last": null})), "--keep-untagged");
    }
}
