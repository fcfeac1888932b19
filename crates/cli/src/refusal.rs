//! What a pull that policy refuses says. The registry says it in the language of its server, which is not always the
//! caller's; a check gives the same reasons in that.

use seaworthy_model::{ErrorCode, Problem};
use serde_json::Value;

use crate::text::{Text, language};

/// The problem with its verdict, as the check of the same image explains it, if it does.
pub(crate) fn explained(problem: Problem, check: &Value) -> Problem {
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let code = match text(check, "verdict").as_str() {
        "blocked" => ErrorCode::Blocked,
        "pending" => return Problem { code: ErrorCode::Pending, ..problem },
        _ => return problem,
    };
    let all = check.get("reasons").and_then(Value::as_array).into_iter().flatten();
    let blocking = all.filter(|it| text(it, "mode") == "enforce" && text(it, "result") != "pass");
    let mut blocking: Vec<&Value> = blocking.collect();
    // What fails is said before what merely could not be told; the same cause is said once.
    if blocking.iter().any(|it| text(it, "result") == "fail") {
        blocking.retain(|it| text(it, "result") == "fail");
    }
    let mut said: Vec<String> = Vec::new();
    let mut parts: Vec<String> = Vec::new();
    for reason in &blocking {
        let message = text(reason, "message");
        if !said.contains(&message) {
            let form = if parts.is_empty() { Text::BlockedBy } else { Text::AndBlockedBy };
            parts.push(fill(form, [&text(reason, "rule"), &message]));
            said.push(message);
        }
    }
    let Some(first) = blocking.first() else { return Problem { code, ..problem } };
    let name = format!("{}@{}", text(check, "repository"), text(check, "digest"));
    let told = Problem::new(code, format!("{name} {}", parts.join("; ")));
    match text(first, "hint") {
        hint if hint.is_empty() => told,
        hint => told.hint(hint),
    }
}

/// A text with its two arguments; what is in them is not filled again.
fn fill(text: Text, [first, second]: [&str; 2]) -> String {
    let form = text.say(language());
    let (before, rest) = form.split_once("{}").unwrap_or((form, ""));
    let (between, after) = rest.split_once("{}").unwrap_or((rest, ""));
    format!("{before}{first}{between}{second}{after}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fails_is_said_first_and_once() {
        let denied = || Problem::new(ErrorCode::Denied, "as the registry says it");
        let reason = |rule: &str, result: &str, message: &str, mode: &str| json!({"rule": rule, "result": result, "mode": mode, "message": message, "hint": format!("mend {rule}")});
        let mut check = json!({"repository": "a", "digest": "d", "verdict": "blocked", "reasons": [
            reason("p/1", "indeterminate", "unknown", "enforce"), reason("p/2", "fail", "bad", "warn"),
            reason("p/3", "fail", "{} bad", "enforce"), reason("p/4", "fail", "{} bad", "enforce"),
            reason("p/5", "fail", "worse", "enforce"),
        ]});
        let told = explained(denied(), &check);
        assert_eq!(told.code, ErrorCode::Blocked);
        assert!(told.message.starts_with("a@d ") && !told.message.contains("unknown"), "{told:?}");
        assert_eq!(told.message.matches("{} bad").count(), 1, "{told:?}");
        assert!(told.message.contains("`p/3`") && told.message.contains("`p/5`"), "{told:?}");
        assert_eq!(told.hint.as_deref(), Some("mend p/3"));

        check["reasons"] = json!([]);
        assert_eq!(explained(denied(), &check).message, "as the registry says it");
        for (verdict, code) in [("pending", ErrorCode::Pending), ("allowed", ErrorCode::Denied)] {
            check["verdict"] = json!(verdict);
            assert_eq!(explained(denied(), &check).code, code);
        }
    }
}
