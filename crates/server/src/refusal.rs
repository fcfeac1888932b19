//! What a refused pull says: the image, the rule, the reason and the way out (one sentence).

use seaworthy_clearance::Answer;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_policy::{Cause, Language, Mode, Reason, RuleResult, Verdict};

/// Seconds after which a client should ask again for a pending image.
const RETRY_SECONDS: u32 = 5;

/// The problem for an answer that is not `allowed`.
pub(crate) fn problem(
    repository: &RepoName,
    digest: &Digest,
    answer: &Answer,
    language: Language,
) -> Problem {
    let reasons = answer.stored.as_ref().map(|stored| stored.reasons.as_slice()).unwrap_or_default();
    of_reasons(&format!("{repository}@{digest}"), (answer.verdict, reasons), language)
}

/// The problem for a verdict that is not `allowed`, about the image of this name.
pub(crate) fn of_reasons(
    name: &str,
    (verdict, reasons): (Verdict, &[Reason]),
    language: Language,
) -> Problem {
    if verdict == Verdict::Pending {
        let (message, hint) = match language {
            Language::English => (format!("{name} is pending"), "inspection is under way, try again"),
            Language::Japanese => {
                (format!("{name} は判定待ちです"), "検査中です。しばらくしてから再試行してください")
            }
        };
        return Problem::new(ErrorCode::Pending, message).hint(hint).retry_after(RETRY_SECONDS);
    }
    let blocking: Vec<&Reason> = reasons
        .iter()
        .filter(|reason| reason.mode == Mode::Enforce && reason.result != RuleResult::Pass)
        .collect();
    // What fails is said before what merely could not be told; the same cause is said once.
    let fails = blocking.iter().any(|reason| reason.result == RuleResult::Fail);
    let mut said: Vec<&Cause> = Vec::new();
    let mut parts: Vec<String> = Vec::new();
    for reason in blocking.iter().filter(|reason| !fails || reason.result == RuleResult::Fail) {
        if !said.contains(&&reason.cause) {
            said.push(&reason.cause);
            let message = reason.cause.message(language);
            parts.push(match (language, parts.is_empty()) {
                (Language::English, true) => format!("{name} is blocked by `{}`: {message}", reason.rule),
                (Language::English, false) => format!("and by `{}`: {message}", reason.rule),
                (Language::Japanese, true) => {
                    format!("{name} は `{}` によりブロックされています: {message}", reason.rule)
                }
                (Language::Japanese, false) => {
                    format!("`{}` によってもブロックされています: {message}", reason.rule)
                }
            });
        }
    }
    if parts.is_empty() {
        parts.push(match language {
            Language::English => format!("{name} is blocked"),
            Language::Japanese => format!("{name} はブロックされています"),
        });
    }
    let problem = Problem::new(ErrorCode::Blocked, parts.join("; "));
    match said.first().and_then(|cause| cause.hint(language)) {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}
