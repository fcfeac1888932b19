//! A room's tables are its own: they bear its name, and nobody else's SQL mentions them.

use super::{Finding, scan::Scanned};

/// Words that a table's name follows.
const BEFORE_TABLE: &[&str] = &["FROM", "INTO", "UPDATE", "JOIN"];

/// What may follow instead: `FOR UPDATE SKIP LOCKED`, `DO UPDATE SET`, `FROM (SELECT …)`.
const NO_TABLE: &[&str] = &["SET", "SKIP", "NOWAIT", "OF", "ONLY", "SELECT", "LATERAL"];

/// Words that an SQL text begins with. Others are messages, help or something else again.
const STATEMENTS: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "TRUNCATE", "FROM", "JOIN"];

/// Both rules, for a file of the product.
pub(crate) fn check(file: &Scanned<'_>) -> Vec<Finding> {
    let Some(room) = room(file) else { return Vec::new() };
    let mut findings = Vec::new();
    for string in file.strings.iter().filter(|string| !file.is_test(string.start)) {
        let wrong = |table: &str| {
            let message = format!("`{table}` is not a table of `{room}`; a room touches its own tables only");
            Finding::new(file.place(string.start), message)
        };
        let own = |table: &&str| table.strip_prefix(room).is_some_and(|rest| rest.starts_with('_'));
        if declares_table(file, string.start) && !own(&string.content) {
            findings.push(wrong(string.content));
        }
        findings.extend(tables(string.content).into_iter().filter(|table| !own(table)).map(wrong));
    }
    findings
}

/// The crate's folder, for code of the product.
fn room<'f>(file: &Scanned<'f>) -> Option<&'f str> {
    let (room, rest) = file.path.strip_prefix("crates/")?.split_once('/')?;
    // testkit's SQL makes and drops whole databases.
    (rest.starts_with("src/") && !file.is_test_file() && room != "testkit").then_some(room)
}

/// True for the string in `Table { name: "…"`.
fn declares_table(file: &Scanned<'_>, start: usize) -> bool {
    let before = file.code.get(..start.saturating_sub(1)).unwrap_or_default();
    let before = before.trim_end().strip_suffix("name:").unwrap_or_default();
    let before = before.trim_end().strip_suffix('{').unwrap_or_default();
    before.trim_end().ends_with("Table")
}

/// The tables that an SQL text names, its own `WITH` names left out.
fn tables(text: &str) -> Vec<&str> {
    let words: Vec<&str> = text.split(is_gap).filter(|word| !word.is_empty()).collect();
    if !words.first().is_some_and(|word| STATEMENTS.contains(word)) {
        return Vec::new();
    }
    let named_here: Vec<&str> = words
        .windows(2)
        .filter_map(|pair| if let [name, "AS"] = pair { Some(*name) } else { None })
        .collect();
    let mut tables = Vec::new();
    for window in words.windows(2) {
        let [keyword, name] = window else { continue };
        let is_name = name.starts_with(|char: char| char.is_ascii_lowercase())
            && name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_');
        if BEFORE_TABLE.contains(keyword)
            && is_name
            && !NO_TABLE.contains(name)
            && !named_here.contains(name)
            && !is_call(text, name)
        {
            tables.push(*name);
        }
    }
    tables
}

/// `json_each($1)` and its like are functions.
fn is_call(text: &str, name: &str) -> bool {
    text.split(name).nth(1).is_some_and(|rest| rest.starts_with('(') && !rest.starts_with("( "))
}

fn is_gap(char: char) -> bool {
    char.is_whitespace() || matches!(char, '(' | ')' | ',' | ';' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_check(text: &str, expected: &[&str]) {
        let findings = check(&Scanned::new("crates/registry/src/db.rs", text));
        assert_eq!(findings.len(), expected.len(), "{text}: {findings:?}");
        for (finding, table) in findings.iter().zip(expected) {
            assert!(finding.message.starts_with(&format!("`{table}`")), "{finding:?}: {table}");
        }
    }

    #[test]
    fn own_tables_only() {
        test_check(r#"q("SELECT a FROM registry_tags t JOIN registry_blobs b ON a = b")"#, &[]);
        test_check(r#"q("SELECT a FROM registry_tags JOIN access_roles ON a = b")"#, &["access_roles"]);
        test_check("q(\"INSERT INTO\n  clearance_verdicts (a) VALUES ($1)\")", &["clearance_verdicts"]);
        test_check(
            r#"q("UPDATE registry_tags SET a = $1 WHERE b IN (SELECT b FROM fleet_hosts)")"#,
            &["fleet_hosts"],
        );
        test_check(
            r#"q("INSERT INTO registry_tags (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = $1")"#,
            &[],
        );
        test_check(r#"q("SELECT a FROM registry_tags FOR UPDATE SKIP LOCKED")"#, &[]);
        test_check(
            r#"q("WITH old AS (SELECT a FROM registry_tags) DELETE FROM registry_tags USING old")"#,
            &[],
        );
        test_check(r#"q("WITH old AS (SELECT a FROM store_leases) SELECT a FROM old")"#, &["store_leases"]);
        test_check(r#"q("SELECT value FROM json_each($1)")"#, &[]);
        test_check(r#"hint("take it FROM elsewhere")"#, &[]);
        test_check("#[cfg(test)]\nmod tests { fn a() { q(\"SELECT a FROM access_roles\") } }", &[]);
        test_check(r#"q("SELECT a FROM registrytags")"#, &["registrytags"]);
    }

    #[test]
    fn tables_bear_the_name_of_their_room() {
        test_check(r#"const T: Table = Table { name: "registry_tags", columns: &[] };"#, &[]);
        test_check("const T: Table = Table {\n    name: \"tags\",\n};", &["tags"]);
        test_check(r#"const C: Column = Column { name: "digest" };"#, &[]);
    }
}
