//! Promotion, and the rules of repositories: `image promote`, `registry rules`.

use serde_json::{Value, json};

use super::{containers::binary, images::seconds};
use crate::{
    client::{Server, encode},
    failure::Outcome,
    flags::{CopyFlags, Global, RulesVerb},
    render::{self, Amount},
    text::Text,
};

/// A copy that the clearance there does not allow is refused like a pull: exit code 1, and the reasons.
pub(crate) async fn copy(
    global: &Global,
    verb: &str,
    (from, to): (&str, &str),
    flags: &CopyFlags,
) -> Outcome {
    let wait = seconds(&flags.wait)?;
    let bar = render::progress(global, Text::Inspecting, Amount::SecondsOf(wait));
    let server = Server::of(global)?;
    let body = json!({"from": from, "to": to, "wait": wait, "referrers": !flags.no_referrers});
    let answer = server.post(&format!("/api/v1/images/{verb}"), &body).await;
    bar.finish_and_clear();
    render::check(global, &answer?)
}

pub(crate) async fn rules(global: &Global, verb: RulesVerb) -> Outcome {
    let server = Server::of(global)?;
    match verb {
        RulesVerb::List => {
            let answer = server.get("/api/v1/registry/rules").await?;
            let columns = [
                ("PREFIX", "/prefix"),
                ("PROMOTION ONLY", "/promotion_only"),
                ("QUARANTINE", "/quarantine"),
                ("IMMUTABLE TAGS", "/immutable"),
                ("BYTES", "/quota/bytes"),
                ("TAGS", "/quota/tags"),
                ("REPOSITORIES", "/quota/repositories"),
            ];
            render::list(global, &answer, "/prefix", &columns);
        }
        RulesVerb::Set(flags) => {
            render::record(global, &server.patch("/api/v1/registry/rules", &flags.change()).await?);
        }
        RulesVerb::Remove { prefix } => {
            let path = format!("/api/v1/registry/rules?prefix={}", encode(&prefix));
            render::record(global, &server.delete(&path).await?);
        }
    }
    Ok(())
}

/// What is used of quotas: for people as `9.9 GiB of 10 GiB`.
pub(crate) async fn usage(global: &Global) -> Outcome {
    let mut answer = Server::of(global)?.get("/api/v1/registry/usage").await?;
    if render::is_table(global) {
        for row in answer.as_array_mut().into_iter().flatten() {
            for (key, format) in [
                ("bytes", binary as fn(u64) -> String),
                ("tags", |count| count.to_string()),
                ("repositories", |count| count.to_string()),
            ] {
                let number = |at: &str| row.pointer(&format!("/{at}/{key}")).and_then(Value::as_u64);
                let used = number("used").map_or_else(String::new, format);
                let text = number("quota").map_or(used.clone(), |most| format!("{used} of {}", format(most)));
                if let Some(fields) = row.as_object_mut() {
                    fields.insert(key.to_owned(), text.into());
                }
            }
        }
    }
    let columns =
        [("PREFIX", "/prefix"), ("BYTES", "/bytes"), ("TAGS", "/tags"), ("REPOSITORIES", "/repositories")];
    render::list(global, &answer, "/prefix", &columns);
    Ok(())
}

/// What is said of an image in quarantine.
pub(crate) async fn judge(global: &Global, (image, state): (&str, &str), details: &str) -> Outcome {
    let body = json!({"image": image, "state": state, "details": details});
    render::record(global, &Server::of(global)?.post("/api/v1/images/quarantine", &body).await?);
    Ok(())
}
