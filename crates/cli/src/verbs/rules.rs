//! Promotion, and the rules of repositories: `image promote`, `registry rules`.

use serde_json::json;

use super::images::seconds;
use crate::{
    client::{Server, encode},
    failure::Outcome,
    flags::{Global, RulesVerb},
    render::{self, Amount},
    text::Text,
};

/// A copy that the clearance there does not allow is refused like a pull: exit code 1, and the reasons.
pub(crate) async fn promote(global: &Global, (from, to): (&str, &str), wait: &str) -> Outcome {
    let wait = seconds(wait)?;
    let bar = render::progress(global, Text::Inspecting, Amount::SecondsOf(wait));
    let server = Server::of(global)?;
    let body = json!({"from": from, "to": to, "wait": wait});
    let answer = server.post("/api/v1/images/promote", &body).await;
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
                ("IMMUTABLE TAGS", "/immutable"),
            ];
            render::list(global, &answer, "/prefix", &columns);
        }
        RulesVerb::Set { prefix, promotion_only, immutable } => {
            let body = json!({"prefix": prefix, "promotion_only": promotion_only, "immutable": immutable});
            render::record(global, &server.post("/api/v1/registry/rules", &body).await?);
        }
        RulesVerb::Remove { prefix } => {
            let path = format!("/api/v1/registry/rules?prefix={}", encode(&prefix));
            render::record(global, &server.delete(&path).await?);
        }
    }
    Ok(())
}
