//! Feeds, and comparing versions.

use std::{
    cmp::Ordering,
    io::{BufRead as _, Read as _},
    path::PathBuf,
};

use seaworthy_package::Ecosystem;
use serde_json::{Value, json};

use crate::{
    client::Server,
    failure::{Failure, Outcome, unable, usage},
    flags::Global,
    render::{self, Amount, note, out},
    text::Text,
};

/// Longest line of `compare -`, in bytes.
const LINE_BYTES: u64 = 64 * 1024;

pub(crate) async fn import(global: &Global, paths: &[PathBuf]) -> Outcome {
    let mut absolute = Vec::new();
    for path in paths {
        absolute.push(path.canonicalize().map_err(|error| unable(format!("`{}`: {error}", path.display())))?);
    }
    let server = Server::of(global)?;
    let bar = render::progress(global, Text::Importing, Amount::Unknown);
    let answer = server.post("/api/v1/advisories/import", &json!({"paths": absolute})).await;
    bar.finish_and_clear();
    let answer = answer?;
    // Nothing that was named is a feed: done, but not what was asked for.
    let nothing = answer.get("feeds").and_then(Value::as_array).is_none_or(Vec::is_empty);
    let outcome = if nothing { Err(Failure::No) } else { Ok(()) };
    if !render::is_table(global) {
        render::json(&answer);
        return outcome;
    }
    let empty = Value::Array(Vec::new());
    let columns = [("FEED", "/feed"), ("RECORDS", "/records"), ("NEWEST", "/newest"), ("CHANGE", "/change")];
    render::list(global, answer.get("feeds").unwrap_or(&empty), "/feed", &columns);
    for skipped in answer.get("skipped").and_then(Value::as_array).unwrap_or(&Vec::new()) {
        note(&format!(
            "skipped {}: {}",
            render::cell(skipped.get("path")),
            render::cell(skipped.get("reason"))
        ));
    }
    outcome
}

pub(crate) async fn status(global: &Global) -> Outcome {
    let answer = Server::of(global)?.get("/api/v1/advisories").await?;
    if !render::is_table(global) {
        render::json(&answer);
        return Ok(());
    }
    let empty = Value::Array(Vec::new());
    let columns = [
        ("FEED", "/feed"),
        ("RECORDS", "/records"),
        ("NEWEST", "/newest"),
        ("CHECKED", "/checked_at"),
        ("LICENCE", "/licence"),
        ("COVERS", "/covers"),
    ];
    render::list(global, answer.get("feeds").unwrap_or(&empty), "/feed", &columns);
    Ok(())
}

pub(crate) async fn history(global: &Global) -> Outcome {
    let answer = Server::of(global)?.get("/api/v1/advisories/history").await?;
    let columns =
        [("STARTED", "/started_at"), ("FINISHED", "/finished_at"), ("BY", "/actor"), ("OUTCOME", "/outcome")];
    render::list(global, &answer, "/revision", &columns);
    Ok(())
}

/// `<`, `=`, `>` or `invalid: why`; with `-` one answer for each tab-separated pair of stdin.
pub(crate) fn compare(ecosystem: &str, first: &str, second: Option<&str>) -> Outcome {
    let ecosystem: Ecosystem =
        ecosystem.parse().map_err(|error: seaworthy_package::UnknownEcosystem| usage(error.to_string()))?;
    let answer = |first: &str, second: &str| match seaworthy_package::compare(ecosystem, first, second) {
        Ok(Ordering::Less) => "<\n".to_owned(),
        Ok(Ordering::Equal) => "=\n".to_owned(),
        Ok(Ordering::Greater) => ">\n".to_owned(),
        Err(error) => format!("invalid: {}\n", render::clean(&error.to_string())),
    };
    if let Some(second) = second {
        out(&answer(first, second));
        return Ok(());
    }
    if first != "-" {
        return Err(usage("compare takes two versions, or `-` to read pairs from stdin"));
    }
    let mut input = std::io::stdin().lock();
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line);
        if read.map_err(|error| unable(format!("stdin: {error}")))? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        out(&match text.trim_end_matches(['\n', '\r']).split_once('\t') {
            Some((first, second)) => answer(first, second),
            None => "invalid: no tab between two versions\n".to_owned(),
        });
    }
}
