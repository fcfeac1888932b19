//! The ledger.

use seaworthy_model::Problem;
use seaworthy_server::{Config, Overrides, StartError, verify_ledger};
use seaworthy_store::{DataDir, DataDirError};
use serde_json::{Value, json};

use crate::{
    client::{Server, data_dir, encode},
    failure::{Failure, Outcome},
    flags::Global,
    render::{self, Amount, note, out, progress},
    text::{Text, language},
};

pub(crate) async fn list(global: &Global, pairs: &[(&str, Option<String>)], n: u32) -> Outcome {
    let mut path = format!("/api/v1/ledger?n={n}");
    for (name, value) in pairs {
        if let Some(value) = value {
            path = format!("{path}&{name}={}", encode(value));
        }
    }
    let columns = [
        ("INDEX", "/index"),
        ("AT", "/record/at"),
        ("ACTOR", "/record/actor/name"),
        ("ACTION", "/record/action"),
        ("OBJECT", "/record/object"),
    ];
    render::list(global, &Server::of(global)?.get(&path).await?, "/index", &columns);
    Ok(())
}

pub(crate) async fn verify(global: &Global) -> Outcome {
    let bar = progress(global, Text::Comparing, Amount::Unknown);
    let answer = compared(global).await;
    bar.finish_and_clear();
    let answer = answer?;
    let broken = answer.get("broken").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if render::is_table(global) {
        let language = language();
        if broken.is_empty() {
            let size = render::cell(answer.get("size"));
            out(&format!("{} {size} {}\n", Text::LedgerWhole.say(language), Text::Records.say(language)));
        } else {
            out(&format!("{}\n", Text::LedgerBroken.say(language)));
            broken.iter().for_each(|it| out(&format!("  {}\n", render::cell(Some(it)))));
        }
    } else {
        render::json(&answer);
    }
    if broken.is_empty() { Ok(()) } else { Err(Failure::No) }
}

/// The server's answer, or what its data directory says while it does not run: it may be because of the ledger
/// that it does not.
async fn compared(global: &Global) -> Result<Value, Problem> {
    let server = Server::of(global)?;
    if server.is_away().await {
        let path = data_dir(global)?;
        match DataDir::open_to_read(&path) {
            Ok(data) => {
                note(&format!("{} {}", Text::ReadFrom.say(language()), path.display()));
                return directly(global, &data).await.map_err(Problem::from);
            }
            Err(DataDirError::Absent { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    server.post("/api/v1/ledger/verify", &json!({})).await
}

async fn directly(global: &Global, data: &DataDir) -> Result<Value, StartError> {
    let overrides = Overrides { file: global.config.clone(), ..Overrides::default() };
    verify_ledger(data, &Config::load(data.path(), &overrides)?).await
}

pub(crate) async fn proof(global: &Global, index: u64) -> Outcome {
    render::json(&Server::of(global)?.get(&format!("/api/v1/ledger/{index}/proof")).await?);
    Ok(())
}
