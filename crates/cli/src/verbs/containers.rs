//! Containers and hosts: `container list`, `ps`, `host list`.

use seaworthy_model::{ErrorCode, Problem};
use serde_json::Value;

use crate::{
    client::{Server, encode},
    failure::{Failure, Outcome},
    flags::{ContainerList, Global},
    render::{self, cell, note, out},
    text::{Text, language},
};

/// Pages that are asked for at most: more than all containers of the largest fleet.
const PAGES: u32 = 1_000_000;
/// Characters of an id in a table, as docker shows it.
const ID_CHARS: usize = 12;

pub(crate) async fn list(global: &Global, flags: &ContainerList) -> Outcome {
    let server = Server::of(global)?;
    let mut asked = format!("/api/v1/containers?vulnerable={}", flags.vulnerable);
    if let Some(host) = &flags.host {
        asked = format!("{asked}&host={}", encode(host));
    }
    let (mut all, mut unknown) = (Vec::new(), 0);
    let mut path = asked.clone();
    for _ in 0..PAGES {
        let mut page = server.get(&path).await?;
        unknown += page.get("unknown").and_then(Value::as_u64).unwrap_or(0);
        if let Some(Value::Array(rows)) = page.get_mut("containers").map(Value::take) {
            all.extend(rows);
        }
        let Some(next) = page.get("next").and_then(Value::as_str) else { break };
        path = format!("{asked}&after={}", encode(next));
    }
    if render::is_table(global) && !global.quiet {
        out(&table(&all));
    } else {
        render::list(global, &Value::Array(all), "/id", &[]);
    }
    if unknown > 0 {
        note(&format!("{} {unknown}", Text::UnknownLeftOut.say(language())));
    }
    Ok(())
}

fn table(rows: &[Value]) -> String {
    let titles = [
        "NAME", "HOST", "ID", "STATE", "STARTED", "CPU", "MEMORY", "IMAGE", "MAPPING", "VERDICT", "FINDINGS",
    ];
    let body = rows.iter().map(|row| {
        let at = |pointer: &str| cell(row.pointer(pointer));
        let id: String = at("/id").chars().take(ID_CHARS).collect();
        let verdict = verdict(row);
        let known = [at("/name"), at("/host"), id, at("/state"), at("/started_at"), cpu(row), memory(row)];
        known
            .into_iter()
            .chain([at("/image/reported")])
            .chain([mapping(row), verdict.to_owned(), findings(row)])
            .collect()
    });
    render::table(titles.map(str::to_owned).to_vec(), body.collect())
}

/// `12.5%` of one processor, as docker counts; `-` when it is not known.
pub(super) fn cpu(row: &Value) -> String {
    let millis = row.pointer("/usage/cpu_millis").and_then(Value::as_u64);
    millis.map_or_else(|| "-".to_owned(), |millis| format!("{}.{}%", millis / 10, millis % 10))
}

/// `34 MiB`; `-` when it is not known.
pub(super) fn memory(row: &Value) -> String {
    let bytes = row.pointer("/usage/memory_bytes").and_then(Value::as_u64);
    bytes.map_or_else(|| "-".to_owned(), binary)
}

/// Bytes in a unit of which there are fewer than 1024.
pub(super) fn binary(bytes: u64) -> String {
    let (mut value, mut rest, mut unit) = (bytes, 0, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1_024 {
            break;
        }
        (value, rest, unit) = (value / 1_024, value % 1_024, next);
    }
    match (unit, value) {
        ("B", _) | (_, 10..) => format!("{value} {unit}"),
        _ => format!("{value}.{} {unit}", rest * 10 / 1_024),
    }
}

/// `exact`, or `unmapped` and why.
pub(super) fn mapping(row: &Value) -> String {
    let word = cell(row.pointer("/image/mapping"));
    match row.pointer("/image/reason").and_then(Value::as_str) {
        Some(reason) => format!("{word} ({})", render::clean(reason)),
        None => word,
    }
}

/// What is not known is said so, never left empty.
pub(super) fn verdict(row: &Value) -> &'static str {
    let text = match row.get("verdict").and_then(Value::as_str) {
        Some("allowed") => Text::Allowed,
        Some("blocked") => Text::Blocked,
        Some("pending") => Text::Pending,
        _ => Text::Unknown,
    };
    text.say(language())
}

/// `critical 1, high 3, fixable 4`: what is zero is left out.
pub(super) fn findings(row: &Value) -> String {
    let language = language();
    let Some(Value::Object(counts)) = row.get("findings") else {
        return Text::Unknown.say(language).to_owned();
    };
    let words = ["critical", "high", "medium", "low", "negligible", "unknown", "fixable", "exploited"];
    let count = |word: &&str| counts.get(*word).and_then(Value::as_u64).unwrap_or(0);
    let said: Vec<String> =
        words.iter().filter(|word| count(word) > 0).map(|word| format!("{word} {}", count(word))).collect();
    if said.is_empty() {
        return Text::NoFindings.say(language).to_owned();
    }
    let incomplete = counts.get("covered") == Some(&Value::Bool(false));
    let more = if incomplete { format!(" ({})", Text::MaybeMore.say(language)) } else { String::new() };
    format!("{}{more}", said.join(", "))
}

pub(crate) async fn hosts(global: &Global) -> Outcome {
    let answer = Server::of(global)?.get("/api/v1/hosts").await?;
    let columns = [
        ("NAME", "/name"),
        ("RUNNING", "/running"),
        ("STOPPED", "/stopped"),
        ("ENGINE", "/engine"),
        ("PLATFORM", "/platform"),
        ("KERNEL", "/kernel"),
        ("AGENT", "/agent"),
        ("HEARD", "/heard_at"),
    ];
    render::list(global, &answer, "/id", &columns);
    Ok(())
}

/// The one container that a user means: its name, the beginning of its id, or HOST/NAME.
pub(super) async fn only(server: &Server, name: &str) -> Result<Value, Failure> {
    // Names of containers have no `/`.
    let (host, bare) = match name.split_once('/') {
        Some((host, bare)) => (Some(host), bare),
        None => (None, name),
    };
    let mut path = format!("/api/v1/containers?name={}", encode(bare));
    if let Some(host) = host {
        path = format!("{path}&host={}", encode(host));
    }
    let mut page = server.get(&path).await?;
    let mut found = match page.get_mut("containers").map(Value::take) {
        Some(Value::Array(found)) => found,
        _ => Vec::new(),
    };
    if found.len() > 1 {
        let place = |row: &Value| format!("{}/{}", cell(row.get("host")), cell(row.get("id")));
        let candidates: Vec<String> = found.iter().map(place).collect();
        let message = format!("`{name}` is {} containers", candidates.len());
        let hint = format!("name the host, or more of the id: {}", candidates.join(", "));
        return Err(Problem::new(ErrorCode::Invalid, message).hint(hint).into());
    }
    found.pop().ok_or_else(|| {
        let problem = Problem::new(ErrorCode::NotFound, format!("container `{name}` is not known"));
        problem.hint("`seaworthy ps` lists them").into()
    })
}

/// The page of the container that a user means.
pub(super) async fn page(server: &Server, name: &str) -> Result<Value, Failure> {
    let row = only(server, name).await?;
    let part = |key: &str| encode(row.get(key).and_then(Value::as_str).unwrap_or_default());
    Ok(server.get(&format!("/api/v1/containers/{}/{}", part("host"), part("id"))).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_is_said() {
        let unmapped = json!({"verdict": null, "findings": null, "image": {"mapping": "unmapped", "reason": "never-pushed"}});
        assert_eq!(mapping(&unmapped), "unmapped (never-pushed)");
        assert_eq!(verdict(&unmapped), Text::Unknown.say(language()));
        assert_eq!(findings(&unmapped), Text::Unknown.say(language()));
        let none = json!({"findings": {"critical": 0, "high": 0}});
        assert_eq!(findings(&none), Text::NoFindings.say(language()));
        let some = json!({"findings": {"critical": 1, "high": 0, "low": 2, "fixable": 3}});
        assert_eq!(findings(&some), "critical 1, low 2, fixable 3");
        let partly = json!({"findings": {"low": 2, "covered": false}});
        assert_eq!(findings(&partly), format!("low 2 ({})", Text::MaybeMore.say(language())));
    }

    #[test]
    fn hostile_names_do_not_reach_the_terminal() {
        let row = json!({"name": "\u{1b}[2Jweb\u{202e}\u{61c}", "host": "h\n1", "image": {"reported": "a\u{9b}b", "mapping": "unmapped"}});
        let text = table(&[row]);
        for hostile in ['\u{1b}', '\u{202e}', '\u{61c}', '\u{9b}'] {
            assert!(!text.contains(hostile), "{text:?}");
        }
        assert_eq!(text.lines().count(), 2, "{text:?}");
    }

    #[test]
    fn figures_have_units_and_what_is_unknown_is_not_zero() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (10_239, "9.9 KiB"),
            (10_240, "10 KiB"),
            (35_651_584, "34 MiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(binary(bytes), shown);
        }
        let row = serde_json::json!({"usage": {"cpu_millis": 125, "memory_bytes": null}});
        assert_eq!((cpu(&row), memory(&row)), ("12.5%".to_owned(), "-".to_owned()));
        assert_eq!(cpu(&serde_json::json!({})), "-");
    }
}
