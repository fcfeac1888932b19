//! The ledger.

use serde_json::{Value, json};

use crate::{
    client::{Server, encode},
    failure::{Failure, Outcome},
    flags::Global,
    render::{self, out},
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
    let answer = Server::of(global)?.post("/api/v1/ledger/verify", &json!({})).await?;
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

pub(crate) async fn proof(global: &Global, index: u64) -> Outcome {
    render::json(&Server::of(global)?.get(&format!("/api/v1/ledger/{index}/proof")).await?);
    Ok(())
}
