//! Alerts, where they are sent, and what did not arrive.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::{
    client::{Server, encode},
    failure::{Failure, Outcome, unable},
    flags::{AlertDeadVerb, AlertTargetVerb, AlertVerb, Global},
    render::{self, note},
    text::{Text, language},
};

/// Longest address that is read from stdin, in bytes.
const URL_BYTES: u64 = 64 * 1024;

pub(crate) async fn alert(global: &Global, verb: AlertVerb) -> Outcome {
    match verb {
        AlertVerb::List { n } => list(global, n).await,
        AlertVerb::Target(verb) => target(global, verb).await,
        AlertVerb::Dead(AlertDeadVerb::List { n }) => dead(global, n).await,
        AlertVerb::Dead(AlertDeadVerb::Resend { id }) => {
            let path = format!("/api/v1/alerts/dead/{}/resend", encode(&id));
            render::record(global, &Server::of(global)?.post(&path, &json!({})).await?);
            Ok(())
        }
    }
}

/// The list that a page of the API holds under `key`.
async fn page(global: &Global, path: &str, key: &str) -> Result<Value, Failure> {
    let mut page = Server::of(global)?.get(path).await?;
    Ok(page.get_mut(key).map(Value::take).unwrap_or_default())
}

async fn list(global: &Global, n: u32) -> Outcome {
    let columns = [
        ("AT", "/at"),
        ("EVENT", "/event"),
        ("HOST", "/host/name"),
        ("CONTAINER", "/container/name"),
        ("IMAGE", "/image/reported"),
        ("RULE", "/reasons/0/rule"),
        ("WHY", "/reasons/0/message"),
    ];
    let alerts = page(global, &format!("/api/v1/alerts?limit={n}"), "alerts").await?;
    render::list(global, &alerts, "/id", &columns);
    Ok(())
}

async fn dead(global: &Global, n: u32) -> Outcome {
    let columns = [
        ("ID", "/id"),
        ("TARGET", "/target"),
        ("EVENT", "/event"),
        ("ALERTS", "/alerts"),
        ("CONTAINER", "/container"),
        ("SINCE", "/created_at"),
        ("ATTEMPTS", "/attempts"),
        ("FAILURE", "/failure"),
    ];
    let messages = page(global, &format!("/api/v1/alerts/dead?limit={n}"), "messages").await?;
    render::list(global, &messages, "/id", &columns);
    Ok(())
}

async fn target(global: &Global, verb: AlertTargetVerb) -> Outcome {
    let server = Server::of(global)?;
    let place = |name: &str| format!("/api/v1/alerts/targets/{}", encode(name));
    match verb {
        AlertTargetVerb::Create { name, url, mail, events, repositories, format, networks } => {
            let url = url.map(read_url).transpose()?;
            let body = json!({
                "name": name, "url": url, "mail": mail, "events": events, "repositories": repositories,
                "format": format, "networks": networks,
            });
            let made = server.post("/api/v1/alerts/targets", &body).await?;
            render::record(global, &made);
            if made.get("secret").is_some_and(Value::is_string) {
                note(Text::ShownOnce.say(language()));
            }
        }
        AlertTargetVerb::List => {
            let columns = [
                ("NAME", "/name"),
                ("KIND", "/kind"),
                ("ADDRESS", "/address"),
                ("WAITING", "/health/waiting"),
                ("DEAD", "/health/dead"),
                ("DELIVERED", "/health/delivered"),
                ("LAST", "/health/delivered_at"),
                ("FAILURE", "/health/failure"),
            ];
            render::list(global, &server.get("/api/v1/alerts/targets").await?, "/name", &columns);
        }
        AlertTargetVerb::Show { name } => render::record(global, &server.get(&place(&name)).await?),
        AlertTargetVerb::Delete { name } => render::record(global, &server.delete(&place(&name)).await?),
        AlertTargetVerb::Test { name } => {
            let answer = server.post(&format!("{}/test", place(&name)), &json!({})).await?;
            render::record(global, &answer);
            if answer.get("delivered") != Some(&json!(true)) {
                return Err(Failure::No);
            }
        }
    }
    Ok(())
}

/// An address may be a secret by itself, which is better not typed where others see it.
fn read_url(url: String) -> Result<String, Failure> {
    if url != "-" {
        return Ok(url);
    }
    let mut text = String::new();
    let read = std::io::stdin().take(URL_BYTES).read_to_string(&mut text);
    read.map_err(|error| unable(format!("failed to read the address from stdin: {error}")))?;
    Ok(text.trim().to_owned())
}
