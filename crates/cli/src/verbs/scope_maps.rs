//! Scope maps and tokens.

use serde_json::{Value, json};

use crate::{
    client::{Server, encode},
    failure::{Failure, Outcome, usage},
    flags::{Global, ScopeMapVerb, TokenVerb},
    render::{self, note},
    text::{Text, language},
};

const MAPS: &str = "/api/v1/scope-maps";

pub(crate) async fn scope_map(global: &Global, verb: ScopeMapVerb) -> Outcome {
    let server = Server::of(global)?;
    let path = |name: &str| format!("{MAPS}/{}", encode(name));
    match verb {
        ScopeMapVerb::List => {
            let columns = [("NAME", "/name"), ("DESCRIPTION", "/description"), ("ACTIONS", "/actions")];
            render::list(global, &server.get(MAPS).await?, "/name", &columns);
        }
        ScopeMapVerb::Show { name } => render::record(global, &server.get(&path(&name)).await?),
        ScopeMapVerb::Set { name, lines, description } => {
            let body = json!({"name": name, "description": description, "actions": actions(&lines)?});
            render::record(global, &server.post(MAPS, &body).await?);
        }
        ScopeMapVerb::Delete { name } => render::record(global, &server.delete(&path(&name)).await?),
    }
    Ok(())
}

/// `dev=content/read,content/write` as the API takes it.
fn actions(lines: &[String]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for line in lines {
        let Some((repository, actions)) = line.split_once('=') else {
            return Err(usage(format!("`{line}` is not like `dev/web=content/read,content/write`")));
        };
        all.extend(actions.split(',').map(|action| format!("repositories/{repository}/{}", action.trim())));
    }
    Ok(all)
}

pub(crate) async fn token(global: &Global, verb: TokenVerb) -> Outcome {
    let server = Server::of(global)?;
    match verb {
        TokenVerb::Create { name, scope_map, days } => {
            let body = json!({"name": name, "kind": "token", "scope_map": scope_map, "days": days});
            render::record(global, &server.post("/api/v1/principals", &body).await?);
            note(Text::ShownOnce.say(language()));
        }
        TokenVerb::Update { name, scope_map } => {
            let path = format!("/api/v1/principals/{}/scope-map", encode(&name));
            render::record(global, &server.post(&path, &json!({"scope_map": scope_map})).await?);
        }
        TokenVerb::List => {
            let mut all = server.get("/api/v1/principals").await?;
            if let Value::Array(rows) = &mut all {
                rows.retain(|row| row.get("scope_map").is_some());
            }
            let columns = [
                ("NAME", "/name"),
                ("SCOPE MAP", "/scope_map"),
                ("DISABLED", "/disabled"),
                ("CREATED", "/created_at"),
            ];
            render::list(global, &all, "/name", &columns);
        }
    }
    Ok(())
}
