//! `container explain`: the product's question for one container, on one screen.

use serde_json::Value;

use super::containers;
use crate::{
    client::Server,
    failure::Outcome,
    flags::Global,
    render::{self, cell, out},
    text::{Text, language},
};

/// Entries of the history on a screen.
const HAPPENINGS: usize = 6;
/// Rows before the column of values.
const WIDTH: usize = 12;

pub(crate) async fn explain(global: &Global, name: &str) -> Outcome {
    let page = containers::page(&Server::of(global)?, name).await?;
    if render::is_table(global) {
        out(&screen(&page));
    } else {
        render::json(&page);
    }
    Ok(())
}

fn screen(page: &Value) -> String {
    let language = language();
    let at = |pointer: &str| cell(page.pointer(pointer));
    let list = |pointer: &str| page.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut screen = Screen::default();
    screen.line("", &format!("{}/{}: {}", at("/host"), at("/name"), containers::verdict(page)));
    screen.line("id", &format!("{} ({})", at("/id"), at("/runtime")));
    screen.line("state", &state(page));
    screen.line("started by", &started_by(page));
    if let Some(used) = usage(page) {
        screen.line("usage", &used);
    }

    screen.line("image", &at("/image/reported"));
    screen.line("", &lineage(page));
    for tag in list("/lineage/tags") {
        let (tag, when, who) = (cell(tag.get("tag")), cell(tag.get("pushed_at")), cell(tag.get("pushed_by")));
        screen.line("", &format!("{tag}  {} {when} {who}", Text::Pushed.say(language)));
    }
    clearance(&mut screen, page);
    screen.line("findings", &containers::findings(page));
    for row in list("/worst") {
        screen.line("", &finding(&row));
    }
    let weaknesses = list("/weaknesses");
    if weaknesses.is_empty() {
        screen.line("settings", Text::NothingWeakens.say(language));
    }
    for (number, row) in weaknesses.iter().enumerate() {
        screen.line(if number == 0 { "settings" } else { "" }, &cell(row.get("message")));
    }
    for (number, row) in list("/history").iter().take(HAPPENINGS).enumerate() {
        screen.line(if number == 0 { "history" } else { "" }, &happening(row));
    }
    screen.0
}

/// Titles and values, one below the other.
#[derive(Default)]
struct Screen(String);

impl Screen {
    fn line(&mut self, title: &str, value: &str) {
        let line = format!("{title:WIDTH$} {value}");
        self.0.push_str(if self.0.is_empty() { value } else { line.trim_end() });
        self.0.push('\n');
    }
}

fn state(page: &Value) -> String {
    let language = language();
    let at = |pointer: &str| cell(page.pointer(pointer));
    match page.pointer("/presence").and_then(Value::as_str) {
        Some("gone") => format!("{} {}", Text::Gone.say(language), at("/gone_at")),
        Some("live") => format!("{}, {} {}", at("/state"), Text::Since.say(language), at("/started_at")),
        _ => format!("{} ({})", at("/state"), at("/exit_code")),
    }
}

/// Points of a line: the last minutes.
const POINTS: usize = 24;

/// What it uses now, and the last minutes as lines.
fn usage(page: &Value) -> Option<String> {
    page.get("usage").filter(|usage| !usage.is_null())?;
    let limit = page.pointer("/usage/memory_limit_bytes").and_then(Value::as_u64);
    let limit = limit.map(|bytes| format!(" / {}", containers::binary(bytes))).unwrap_or_default();
    let line = |name: &str| spark(page.pointer(&format!("/usage_series/{name}")));
    let (cpu, memory) = (containers::cpu(page), containers::memory(page));
    Some(format!("cpu {cpu} {}  memory {memory}{limit} {}", line("cpu_millis"), line("memory_bytes")))
}

/// A line of eight heights; what is not known is a gap.
fn spark(values: Option<&Value>) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<Option<u64>> =
        values.and_then(Value::as_array).into_iter().flatten().map(Value::as_u64).collect();
    let values = values.get(values.len().saturating_sub(POINTS)..).unwrap_or_default();
    let most = values.iter().flatten().copied().max().unwrap_or(0).max(1);
    let height = |value: u64| {
        let at = usize::try_from(u128::from(value) * 7 / u128::from(most)).unwrap_or(0);
        HEIGHTS.get(at).copied().unwrap_or(' ')
    };
    values.iter().map(|value| value.map_or(' ', height)).collect()
}

fn started_by(page: &Value) -> String {
    match page.get("started_by").filter(|by| !by.is_null()) {
        Some(by) => {
            let says = Text::LabelsSay.say(language());
            format!("{} {} ({says})", cell(by.get("by")), cell(by.get("name")))
        }
        None => Text::EngineDoesNotSay.say(language()).to_owned(),
    }
}

/// How the reported name leads to a manifest here, or why it does not.
fn lineage(page: &Value) -> String {
    let at = |pointer: &str| cell(page.pointer(pointer));
    let mapping = containers::mapping(page);
    if page.pointer("/image/digest").is_none_or(Value::is_null) {
        return format!("{mapping}  {}", at("/image/reported_id"));
    }
    let place = format!("{}@{}", at("/image/repository"), at("/image/digest"));
    format!("{mapping}  {place}")
}

fn clearance(screen: &mut Screen, page: &Value) {
    let language = language();
    screen.line("clearance", containers::verdict(page));
    let reasons = page.pointer("/clearance/reasons").and_then(Value::as_array);
    for reason in reasons.into_iter().flatten() {
        let result = match reason.get("result").and_then(Value::as_str) {
            // What holds needs no line; `-o json` has all.
            Some("pass") => continue,
            Some("fail") => Text::Fail,
            _ => Text::Indeterminate,
        };
        let at = |key: &str| cell(reason.get(key));
        screen.line(
            "",
            &format!("{} [{}] {}: {}", result.say(language), at("mode"), at("rule"), at("message")),
        );
    }
}

fn finding(row: &Value) -> String {
    let at = |key: &str| cell(row.get(key));
    let fixed = match row.get("fixed_version").filter(|it| !it.is_null()) {
        Some(fixed) => format!("{} -> {}", at("version"), cell(Some(fixed))),
        None => format!("{} ({})", at("version"), at("state")),
    };
    let kev = if row.get("kev") == Some(&Value::Bool(true)) { "  KEV" } else { "" };
    format!("{} {} {} {fixed}{kev}", at("id"), at("severity"), at("source"))
}

fn happening(row: &Value) -> String {
    let language = language();
    let at = |pointer: &str| cell(row.pointer(pointer));
    let what = match row.pointer("/what/happening").and_then(Value::as_str).unwrap_or_default() {
        "started" => Text::Started.say(language).to_owned(),
        "ended" => format!("{} ({})", Text::Ended.say(language), at("/what/exit_code")),
        "removed" => Text::Gone.say(language).to_owned(),
        "missing" => Text::Missing.say(language).to_owned(),
        "gap" => format!("{} {}: {}", Text::Gap.say(language), at("/what/from"), at("/what/reason")),
        _ => Text::Unknown.say(language).to_owned(),
    };
    format!("{}  {what}", at("/at"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_show_the_last_minutes() {
        let values = serde_json::json!([0, 50, null, 100]);
        assert_eq!(spark(Some(&values)), "▁▄ █");
        assert_eq!((spark(None), spark(Some(&serde_json::json!([0])))), (String::new(), "▁".to_owned()));
    }
}
