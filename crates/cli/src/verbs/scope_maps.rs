//! Scope maps and tokens.

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::RepoName;
use serde_json::{Value, json};

use crate::{
    client::{Server, encode},
    failure::{Failure, Outcome, usage},
    flags::{Global, ScopeMapVerb, TokenVerb},
    render::{self, note},
    text::{Text, language},
};

/// What a line may permit.
const ACTIONS: [&str; 5] =
    ["content/read", "content/write", "content/delete", "metadata/read", "metadata/write"];

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
        let name = repository.strip_suffix("/*").unwrap_or(repository);
        if name != "*" && name.parse::<RepoName>().is_err() {
            let message = format!("`{repository}` in `{line}` names no repositories");
            let problem = Problem::new(ErrorCode::Invalid, message);
            return Err(problem
                .hint("write dev for dev alone, dev/* for what lies below it, * for all")
                .into());
        }
        for action in actions.split(',').map(str::trim) {
            if !ACTIONS.contains(&action) {
                let message = format!("`{action}` in `{line}` is no action of a scope map");
                let problem = Problem::new(ErrorCode::Invalid, message);
                return Err(problem.hint(format!("write some of {}", ACTIONS.join(", "))).into());
            }
            all.push(format!("repositories/{repository}/{action}"));
        }
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
            let path = format!("{}/scope-map", principal(&name));
            render::record(global, &server.post(&path, &json!({"scope_map": scope_map})).await?);
        }
        TokenVerb::Show { name } => render::record(global, &found(&server, &name).await?),
        TokenVerb::Delete { name } => {
            found(&server, &name).await?;
            render::record(global, &server.delete(&principal(&name)).await?);
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

fn principal(name: &str) -> String {
    format!("/api/v1/principals/{}", encode(name))
}

/// A token, which is a principal that has a scope map.
async fn found(server: &Server, name: &str) -> Result<Value, Problem> {
    let found = server.get(&principal(name)).await?;
    if found.pointer("/principal/scope_map").is_some_and(Value::is_string) {
        return Ok(found);
    }
    Err(Problem::new(ErrorCode::NotFound, format!("`{name}` is no token"))
        .hint(format!("see `seaworthy principal show {name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_typed() {
        let read = |line: &str| actions(&[line.to_owned()]);
        assert_eq!(
            read("dev/*=content/read, metadata/read").expect("a line"),
            ["repositories/dev/*/content/read", "repositories/dev/*/metadata/read"]
        );
        assert!(read("*=content/delete").is_ok());
        for (line, message) in [
            ("dev=bogus", "`bogus` in `dev=bogus` is no action of a scope map"),
            ("dev=", "`` in `dev=` is no action of a scope map"),
            ("Dev=content/read", "`Dev` in `Dev=content/read` names no repositories"),
            ("/*=content/read", "`/*` in `/*=content/read` names no repositories"),
            ("dev", "`dev` is not like `dev/web=content/read,content/write`"),
        ] {
            let Err(Failure::Problem(problem)) = read(line) else { panic!("{line}") };
            assert_eq!(problem.message, message);
        }
    }
}
