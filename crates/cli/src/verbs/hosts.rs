//! Hosts come into the fleet, and leave it: `host invite`, `host join`, `host remove`.

use std::{
    fs::{DirBuilder, File},
    io::Read as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use seaworthy_agent::Membership;
use seaworthy_link::JoinToken;
use seaworthy_model::{ErrorCode, Problem};
use serde_json::{Value, json};

use crate::{
    address::{Address, Scheme},
    client::{self, Server, encode},
    failure::{Outcome, unable, usage},
    flags::Global,
    render::{self, note},
    text::{Text, language},
};

/// Longest token that is read, in bytes.
const TOKEN_BYTES: u64 = 4 * 1024;

/// Where the agent of this machine keeps what is its own.
pub(super) fn agent_folder(global: &Global) -> Result<PathBuf, Problem> {
    Ok(client::data_dir(global)?.join("agent"))
}

pub(crate) async fn invite(global: &Global, name: Option<&str>, expires: &str) -> Outcome {
    let body = json!({"name": name, "seconds": super::images::seconds(expires)?});
    let made = Server::of(global)?.post("/api/v1/host-invitations", &body).await?;
    render::record(global, &made);
    note(Text::ShownOnce.say(language()));
    let url = made.get("url").and_then(Value::as_str).unwrap_or_default();
    note(&format!("  seaworthy host join {url} < token    # {}", Text::JoinThere.say(language())));
    Ok(())
}

pub(crate) async fn remove(global: &Global, name: &str) -> Outcome {
    let removed = Server::of(global)?.delete(&format!("/api/v1/hosts/{}", encode(name))).await?;
    render::record(global, &removed);
    Ok(())
}

/// On the host itself.
pub(crate) async fn join(
    global: &Global,
    url: &str,
    (token_file, name): (Option<&Path>, Option<String>),
) -> Outcome {
    let address = Address::parse(url)?;
    if address.scheme != Scheme::Https {
        let problem = Problem::new(ErrorCode::Invalid, "hosts join over HTTPS");
        return Err(problem.hint("write `https://HOST:8443`").into());
    }
    let folder = agent_folder(global)?;
    if let Some(member) = Membership::read(&folder).map_err(|it| unable(seaworthy_store::chain(&it)))? {
        let message = format!("this host is `{}` in the fleet of `{}` already", member.name, member.server);
        let hint = format!("to join another, remove `{}` first", folder.display());
        return Err(Problem::new(ErrorCode::Conflict, message).hint(hint).into());
    }
    let token = read_token(token_file)?;
    // Made before anything is asked: a token is used once.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|error| unable(format!("`{}`: {error}", folder.display())))?;
    let name = name.unwrap_or_else(super::agent::host_name);
    let key = Membership::key(&folder).map_err(|error| unable(seaworthy_store::chain(&error)))?;
    let joined = Membership::join((&address.host, address.port), &token, &name, &key).await;
    let member = joined.map_err(|error| unable(seaworthy_store::chain(&error)))?;
    member.write(&folder).map_err(|error| unable(seaworthy_store::chain(&error)))?;
    render::record(global, &json!({"name": member.name, "server": url, "joined": true}));
    let data = global.data.as_ref().map(|data| format!(" --data {}", data.display())).unwrap_or_default();
    note(&format!("  seaworthy agent{data}    # {}", Text::ReportHere.say(language())));
    Ok(())
}

fn read_token(file: Option<&Path>) -> Result<JoinToken, crate::failure::Failure> {
    let mut text = String::new();
    let read = match file {
        Some(path) => File::open(path).and_then(|file| file.take(TOKEN_BYTES).read_to_string(&mut text)),
        None => std::io::stdin().take(TOKEN_BYTES).read_to_string(&mut text),
    };
    let place = file.map_or_else(|| "stdin".to_owned(), |path| path.display().to_string());
    read.map_err(|error| unable(format!("`{place}`: {error}")))?;
    // `host invite -o json` may be piped as it is.
    let token = serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|made| made.get("token")?.as_str().map(str::to_owned))
        .unwrap_or(text);
    token.trim().parse().map_err(|error| usage(format!("{place}: {error}")))
}
