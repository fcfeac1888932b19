//! What is copied to other registries: `registry replication`.

use serde_json::{Value, json};

use crate::{
    client::{Server, encode},
    failure::{Failure, Outcome},
    flags::{Global, ReplicationFlags, ReplicationVerb},
    render,
    verbs::remote,
};

const PATH: &str = "/api/v1/registry/replications";

pub(crate) async fn replication(global: &Global, verb: ReplicationVerb) -> Outcome {
    let server = Server::of(global)?;
    match verb {
        ReplicationVerb::Create(flags) => {
            let wanted = wanted(&flags)?;
            let taken = format!("`{}` is a replication already", flags.name);
            remote::free(&server, &one(&flags.name), &flags.remote, taken).await?;
            render::record(global, &server.post(PATH, &wanted).await?);
        }
        ReplicationVerb::List => {
            let columns = [
                ("NAME", "/name"),
                ("PREFIX", "/prefix"),
                ("TO", "/to"),
                ("REMOTE PREFIX", "/remote_prefix"),
                ("TAGS", "/tags"),
                ("WAITING", "/waiting"),
                ("FAILED", "/failed"),
            ];
            render::list(global, &server.get(PATH).await?, "/name", &columns);
        }
        ReplicationVerb::Show { name } => {
            let found = server.get(&one(&name)).await?;
            render::record(global, found.get(0).unwrap_or(&found));
        }
        ReplicationVerb::Status { name, waiting } => return status(global, &server, &name, waiting).await,
        ReplicationVerb::Run { name } => {
            let path = format!("{PATH}/run");
            render::record(global, &server.post(&path, &json!({"name": name})).await?);
        }
        ReplicationVerb::Delete { name } => {
            render::record(global, &server.delete(&one(&name)).await?);
        }
    }
    Ok(())
}

fn one(name: &str) -> String {
    format!("{PATH}?name={}", encode(name))
}

async fn status(global: &Global, server: &Server, name: &str, waiting: bool) -> Outcome {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let last = |key: &str| all.last().and_then(|row| row.get(key)).and_then(Value::as_str).unwrap_or("");
        let path = format!(
            "{PATH}/outgoing?name={}&waiting={waiting}&after_repository={}&after_name={}",
            encode(name),
            encode(last("repository")),
            encode(last("name"))
        );
        match server.get(&path).await? {
            Value::Array(page) if !page.is_empty() => all.extend(page),
            _ => break,
        }
    }
    let shown = server.get(&one(name)).await?;
    let is_seeding = shown.pointer("/0/seeding").and_then(Value::as_bool) == Some(true);
    let is_behind = waiting && (is_seeding || !all.is_empty());
    let columns = [
        ("REPOSITORY", "/repository"),
        ("NAME", "/name"),
        ("THERE", "/digest"),
        ("SINCE", "/done_at"),
        ("NEXT", "/due"),
        ("TRIES", "/tries"),
        ("WHY", "/error"),
    ];
    if global.quiet {
        all.iter_mut().for_each(|row| row["reference"] = reference(row).into());
    }
    render::list(global, &Value::Array(all), "/reference", &columns);
    if is_behind { Err(Failure::No) } else { Ok(()) }
}

/// What a row is about: a tag, or a manifest by its digest.
fn reference(row: &Value) -> String {
    let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
    let mark = if text("name").contains(':') { '@' } else { ':' };
    format!("{}{mark}{}", text("repository"), text("name"))
}

fn wanted(flags: &ReplicationFlags) -> Result<Value, seaworthy_model::Problem> {
    let mut wanted = json!({
        "name": flags.name,
        "prefix": flags.prefix,
        "to": flags.to,
        "remote_prefix": flags.remote_prefix,
        "tags": flags.tag,
        "deletions": flags.deletions,
    });
    remote::add(&mut wanted, &flags.remote)?;
    Ok(wanted)
}
