//! Tables for people, JSON for programs. Data goes to stdout, everything else to stderr.

use std::{
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
    sync::OnceLock,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_policy::Language;
use serde_json::Value;

use crate::{
    failure::Failure,
    flags::{Global, Output},
    text::{Text, language},
};

/// Why a part of the answer did not reach stdout.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

/// Writes to stdout; a reader that went away is not an error worth telling, a full disk is.
pub(crate) fn out(text: &str) {
    let mut stdout = std::io::stdout();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        let _ = LOST.set(error);
    }
}

/// The problem that kept a part of the answer from being written.
pub(crate) fn lost() -> Option<Problem> {
    let error = LOST.get()?;
    Some(Problem::new(ErrorCode::Unavailable, format!("failed to write the answer: {error}")))
}

/// Writes one line to stderr.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says a problem, and what to do about it on a line of its own.
pub(crate) fn problem(problem: &Problem) {
    let language = language();
    let problem = &seaworthy_server::japanese::problem(problem.clone(), language);
    // Names of others stand in both.
    let lines = |text: &str| text.lines().map(clean).collect::<Vec<_>>().join("\n");
    note(&format!("{}: {}", Text::Error.say(language), lines(&problem.message)));
    if let Some(hint) = &problem.hint {
        note(&format!("{}: {}", Text::Hint.say(language), lines(hint)));
    }
}

/// Says in Japanese what one of our own parsers says of a value; false when that is left to clap.
pub(crate) fn wrong_value(error: &clap::Error) -> bool {
    let source = std::error::Error::source(error).map(ToString::to_string);
    let Some(english) = source.filter(|_| error.kind() == clap::error::ErrorKind::ValueValidation) else {
        return false;
    };
    let said = seaworthy_server::japanese::text(english.clone(), language());
    if said == english {
        return false;
    }
    let flag = error.get(clap::error::ContextKind::InvalidArg).map(|flag| format!("{flag}: "));
    note(&format!("{}: {}{}", Text::Error.say(language()), flag.unwrap_or_default(), clean(&said)));
    true
}

/// True when people read: a table was asked for, or stdout is a terminal.
pub(crate) fn is_table(global: &Global) -> bool {
    match global.output {
        Some(output) => output == Output::Table,
        None => std::io::stdout().is_terminal(),
    }
}

/// One JSON document. What could steer a terminal is written as escapes, which mean the same.
pub(crate) fn json(value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let mut safe = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c != '\n' && is_hostile(c) {
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe.push('\n');
    out(&safe);
}

/// A list: ids with `-q`, a table for people, else JSON. `columns` are JSON pointers and titles.
pub(crate) fn list(global: &Global, value: &Value, id: &str, columns: &[(&str, &str)]) {
    let rows = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if global.quiet {
        rows.iter().for_each(|row| out(&format!("{}\n", cell(row.pointer(id)))));
    } else if is_table(global) {
        let titles = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let body =
            rows.iter().map(|row| columns.iter().map(|(_, at)| cell(row.pointer(at))).collect()).collect();
        out(&table(titles, body));
    } else {
        json(value);
    }
}

/// One value: JSON, or for people a line for each key; a key of a nested value has its path.
pub(crate) fn record(global: &Global, value: &Value) {
    if !is_table(global) {
        return json(value);
    }
    let mut lines = Vec::new();
    flatten(String::new(), value, &mut lines);
    let width = lines.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    for (key, value) in lines {
        out(&format!("{key:width$}  {value}\n"));
    }
}

fn flatten(path: String, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { clean(key) } else { format!("{path}.{}", clean(key)) };
                flatten(path, value, lines);
            }
        }
        // What a cell has no words for gets lines of its own.
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (number, value) in items.iter().enumerate() {
                flatten(format!("{path}[{number}]"), value, lines);
            }
        }
        value => lines.push((path, cell(Some(value)))),
    }
}

/// A value as text in a table. Control characters of images and names never reach the terminal.
pub(crate) fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.is_empty() => "-".to_owned(),
        Some(Value::Array(items)) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    clean(&text)
}

/// Replaces control characters and bidirectional overrides.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_hostile(c) { '\u{fffd}' } else { c }).collect()
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns, two spaces apart; the last one is not padded.
pub(crate) fn table(titles: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let all: Vec<Vec<String>> = std::iter::once(titles).chain(rows).collect();
    let columns = all.first().map_or(0, Vec::len);
    let width =
        |column: usize| all.iter().filter_map(|row| row.get(column)).map(|it| it.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &all {
        let mut line = String::new();
        for (value, width) in row.iter().zip(&widths) {
            line.push_str(value);
            line.push_str(&" ".repeat(width.saturating_sub(value.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How long work lasts before its progress is shown.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// What is known about work before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    /// Nothing: a spinner with the time spent.
    Unknown,
    /// Bytes, but not how many.
    Bytes,
    /// So many bytes: a bar with the rate and the time left.
    BytesOf(u64),
    /// At most so many seconds.
    SecondsOf(u64),
}

impl Amount {
    const fn template(self) -> &'static str {
        match self {
            Self::Unknown => "{spinner} {msg} {elapsed}",
            Self::Bytes => "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec} {elapsed}",
            Self::BytesOf(_) => {
                "{msg} [{bar:24}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
            }
            Self::SecondsOf(_) => "{spinner} {msg} {elapsed} / {len} s",
        }
    }
}

/// The progress of work, shown on stderr when that is a terminal, the work lasts over a second, and
/// `-q` does not forbid it.
pub(crate) fn progress(global: &Global, what: Text, amount: Amount) -> ProgressBar {
    if !shows(global.quiet, std::io::stderr().is_terminal()) {
        return ProgressBar::hidden();
    }
    let length = match amount {
        Amount::BytesOf(length) | Amount::SecondsOf(length) => Some(length),
        Amount::Unknown | Amount::Bytes => None,
    };
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
    bar.set_message(what.say(language()));
    if let Ok(style) = ProgressStyle::with_template(amount.template()) {
        bar.set_style(style.progress_chars("=> "));
    }
    let later = bar.clone();
    // It ends by itself within the second, or with the process.
    std::thread::spawn(move || {
        std::thread::sleep(SHOWN_AFTER);
        if !later.is_finished() {
            later.set_draw_target(ProgressDrawTarget::stderr());
            later.enable_steady_tick(Duration::from_millis(100));
        }
    });
    bar
}

const fn shows(quiet: bool, terminal: bool) -> bool {
    terminal && !quiet
}

/// The document of `check`, for people.
pub(crate) fn check(global: &Global, value: &Value) -> Result<(), Failure> {
    if is_table(global) {
        check_table(value, language());
    } else {
        json(value);
    }
    match value.get("verdict").and_then(Value::as_str) {
        Some("allowed") => Ok(()),
        _ => Err(Failure::No),
    }
}

fn check_table(value: &Value, language: Language) {
    let word = match value.get("verdict").and_then(Value::as_str) {
        Some("allowed") => Text::Allowed,
        Some("blocked") => Text::Blocked,
        _ => Text::Pending,
    };
    let name = match value.get("digest").and_then(Value::as_str) {
        Some(digest) => format!("{}@{digest}", cell(value.get("repository"))),
        None => cell(value.get("repository")),
    };
    out(&format!("{name}: {}\n", word.say(language)));
    for digest in value.get("left_behind").and_then(Value::as_array).into_iter().flatten() {
        out(&format!("({}: {})\n", Text::LeftBehind.say(language), cell(digest.get("digest"))));
    }
    for digest in value.get("absent").and_then(Value::as_array).into_iter().flatten() {
        out(&format!("({} {})\n", Text::AbsentLeftOut.say(language), cell(Some(digest))));
    }
    if value.get("recorded") == Some(&Value::Bool(false)) {
        out(&format!("({})\n", Text::NotRecorded.say(language)));
    }
    if value.get("settings_from").and_then(Value::as_str) == Some("plain") {
        out(&format!("({})\n", Text::PlainSettings.say(language)));
    }
    let empty = Vec::new();
    let reasons = value.get("reasons").and_then(Value::as_array).unwrap_or(&empty);
    for reason in reasons {
        let result = match reason.get("result").and_then(Value::as_str) {
            Some("pass") => Text::Pass,
            Some("fail") => Text::Fail,
            _ => Text::Indeterminate,
        };
        let line = format!(
            "  {} [{}] {}: {}\n",
            result.say(language),
            cell(reason.get("mode")),
            cell(reason.get("rule")),
            cell(reason.get("message"))
        );
        out(&line);
        if let Some(hint) = reason.get("hint").and_then(Value::as_str) {
            out(&format!("      {}: {}\n", Text::Hint.say(language), clean(hint)));
        }
    }
}

/// The document of `scan`, for people.
pub(crate) fn scan(value: &Value) {
    let language = language();
    let empty = Vec::new();
    let list = |name: &str| value.get(name).and_then(Value::as_array).unwrap_or(&empty);
    let at = |row: &Value, pointer: &str| cell(row.pointer(pointer));
    let findings = list("findings");
    if findings.is_empty() {
        out(&format!("{}\n", Text::NoFindings.say(language)));
    } else {
        let titles = [
            "ID",
            "SEVERITY",
            "PACKAGE",
            "INSTALLED",
            "FIXED",
            "STATE",
            "KEV",
            "EPSS",
            "LAYER",
            "INTRODUCED BY",
        ];
        let rows = findings.iter().map(|row| {
            let mut instruction = at(row, "/introduced_by");
            if instruction.chars().count() > 48 {
                instruction = instruction.chars().take(47).chain(['…']).collect();
            }
            let kev = if row.pointer("/kev") == Some(&Value::Bool(true)) { "yes" } else { "-" };
            let cells = ["/id", "/severity", "/package/name", "/package/version", "/fixed_version", "/state"];
            let mut cells: Vec<String> = cells.iter().map(|pointer| at(row, pointer)).collect();
            cells.extend([kev.to_owned(), at(row, "/epss"), at(row, "/layer"), instruction]);
            cells
        });
        out(&table(titles.map(str::to_owned).to_vec(), rows.collect()));
        let mut commands: Vec<String> = findings
            .iter()
            .filter_map(|row| Some(row.pointer("/remedy/command")?.as_str()?.to_owned()))
            .collect();
        commands.sort();
        commands.dedup();
        if !commands.is_empty() {
            out(&format!("\n{}\n", Text::Remedy.say(language)));
            commands.iter().for_each(|command| out(&format!("  {}\n", clean(command))));
        }
    }
    for (title, name, pointers) in
        [(Text::Secrets, "secrets", ["/path", "/rule"]), (Text::Problems, "problems", ["/code", "/message"])]
    {
        if !list(name).is_empty() {
            out(&format!("\n{}\n", title.say(language)));
            for row in list(name) {
                out(&format!("  {} {}\n", at(row, pointers[0]), at(row, pointers[1])));
            }
        }
    }
    let uncovered = value.pointer("/coverage/uncovered").and_then(Value::as_array).unwrap_or(&empty);
    if !uncovered.is_empty() {
        let names: Vec<String> = uncovered.iter().map(|name| cell(Some(name))).collect();
        out(&format!("\n{} {}\n", Text::Uncovered.say(language), names.join(", ")));
    }
    if value.pointer("/advisories/covered") == Some(&Value::Bool(false)) {
        out(&format!("\n{}\n", Text::NotCovered.say(language)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_for_people_at_a_terminal() {
        assert!(shows(false, true));
        assert!(!shows(true, true) && !shows(false, false) && !shows(true, false));
    }

    #[test]
    fn every_template_is_one_and_known_bytes_have_rate_and_time_left() {
        for amount in [Amount::Unknown, Amount::Bytes, Amount::BytesOf(9), Amount::SecondsOf(9)] {
            assert!(ProgressStyle::with_template(amount.template()).is_ok(), "{amount:?}");
        }
        for part in ["binary_bytes}", "binary_total_bytes", "binary_bytes_per_sec", "eta"] {
            assert!(Amount::BytesOf(9).template().contains(part), "{part}");
        }
    }

    #[test]
    fn a_record_has_a_line_for_each_value() {
        let value = serde_json::json!({"digest": "d", "manifests": [
            {"repository": "a", "tags": ["1", "2"], "parents": []}, {"repository": "b", "runs_on": [{"host": "h"}]}],
            "blob": null});
        let mut lines = Vec::new();
        flatten(String::new(), &value, &mut lines);
        lines.sort();
        let lines: Vec<_> = lines.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let expected = [
            ("blob", "-"),
            ("digest", "d"),
            ("manifests[0].parents", "-"),
            ("manifests[0].repository", "a"),
            ("manifests[0].tags", "1, 2"),
            ("manifests[1].repository", "b"),
            ("manifests[1].runs_on[0].host", "h"),
        ];
        assert_eq!(lines, expected);
    }
}
