//! Rules of Rust files.

use super::{Finding, scan::Scanned};

/// Most lines of a file that are not tests.
const LINES: usize = 800;
/// Above this a file is named in a note.
const LINES_NOTED: usize = 400;

/// Where `unsafe` may be said.
const UNSAFE: &[&str] = &["crates/store/src/map.rs", "crates/agent/src/kernel"];

/// Who may open a transaction; everybody else goes through `ledger::write` or `Db::upkeep`.
const TRANSACT: &[&str] = &["crates/store/", "crates/ledger/"];

/// Macros and attributes that have no place in a finished change.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// All rules for one file.
pub(crate) fn check(file: &Scanned<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(too_long(file));
    findings.extend(head(file));
    findings.extend(unsafe_code(file));
    findings.extend(transactions(file));
    findings.extend(unfinished(file));
    findings.extend(allowances(file));
    findings
}

fn too_long(file: &Scanned<'_>) -> Option<Finding> {
    let lines = file.product_lines();
    (lines > LINES)
        .then(|| Finding::new(file.path, format!("{lines} lines without tests; {LINES} is the most")))
}

/// A note about a file that grows too long.
pub(crate) fn note_length(file: &Scanned<'_>) -> Option<String> {
    let lines = file.product_lines();
    (lines > LINES_NOTED && lines <= LINES)
        .then(|| format!("{}: {lines} lines without tests; {LINES_NOTED} is the aim", file.path))
}

/// A crate's root says what it is for, and forbids `unsafe` (denies it where one file may).
fn head(file: &Scanned<'_>) -> Vec<Finding> {
    let is_root = file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs");
    if !is_root {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if !file.text.starts_with("//!") {
        findings.push(Finding::new(
            file.path,
            "a crate's root begins with `//!`: its job, what it lacks on purpose",
        ));
    }
    let may_have_unsafe = ["crates/store/", "crates/agent/"].iter().any(|it| file.path.starts_with(it));
    let wanted = if may_have_unsafe { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
    if !file.code.contains(wanted) && !file.code.contains("#![forbid(unsafe_code)]") {
        findings.push(Finding::new(file.path, format!("a crate's root has `{wanted}`")));
    }
    findings
}

fn unsafe_code(file: &Scanned<'_>) -> Vec<Finding> {
    if UNSAFE.iter().any(|path| file.path.starts_with(path)) {
        return Vec::new();
    }
    let message = format!("`unsafe` is for {} alone", UNSAFE.join(" and "));
    file.words("unsafe").map(|at| Finding::new(file.place(at), &message)).collect()
}

fn transactions(file: &Scanned<'_>) -> Vec<Finding> {
    if TRANSACT.iter().any(|folder| file.path.starts_with(folder)) {
        return Vec::new();
    }
    let message = "acts go through `ledger::write`, derived rows through `Db::upkeep`";
    file.code.match_indices(".transact(").map(|(at, _)| Finding::new(file.place(at), message)).collect()
}

fn unfinished(file: &Scanned<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = UNFINISHED
        .iter()
        .flat_map(|word| file.words(word).map(move |at| (at, *word)))
        .map(|(at, word)| Finding::new(file.place(at), format!("`{word}` is not finished")))
        .collect();
    findings.extend(file.code.match_indices("#[ignore").map(|(at, _)| {
        Finding::new(file.place(at), "a test runs, or says by name that it was not run; it is never ignored")
    }));
    findings
}

/// `allow` and `expect` attributes say why.
fn allowances(file: &Scanned<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for attribute in ["allow(", "expect("] {
        for at in file.words(attribute) {
            let before = file.code.get(..at).unwrap_or_default();
            let line = before.rsplit('\n').next().unwrap_or_default();
            let is_attribute = line.contains("#[") || line.contains("#![");
            if is_attribute && !inside_parentheses(file, at + attribute.len()).contains("reason =") {
                let message = format!("`{}` without `reason = …`", attribute.trim_end_matches('('));
                findings.push(Finding::new(file.place(at), message));
            }
        }
    }
    findings
}

fn inside_parentheses<'f>(file: &'f Scanned<'_>, start: usize) -> &'f str {
    let rest = file.code.get(start..).unwrap_or_default();
    let mut depth = 1_u32;
    let end = rest.bytes().position(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_check(path: &str, text: &str, expected: &[&str]) {
        let findings = check(&Scanned::new(path, text));
        assert_eq!(findings.len(), expected.len(), "{path}: {findings:?}");
        for (finding, part) in findings.iter().zip(expected) {
            assert!(format!("{}: {}", finding.place, finding.message).contains(part), "{finding:?}: {part}");
        }
    }

    #[test]
    fn bad_examples() {
        let path = "crates/registry/src/db.rs";
        test_check(path, "fn a() { db.upkeep(c, |c, tx| w) }", &[]);
        test_check(path, "fn a() {\n db.transact(c, |c, tx| w) }", &["db.rs:2: acts go through"]);
        test_check("crates/ledger/src/write.rs", "fn a() { db.transact(c, |c, tx| w) }", &[]);
        test_check(path, "fn a() { unsafe { b() } }", &["`unsafe` is for"]);
        test_check("crates/store/src/map.rs", "fn a() { unsafe { b() } }", &[]);
        test_check(path, "// unsafe, todo!() and dbg!(x)", &[]);
        test_check(path, "fn a() { todo!() }", &["`todo!`"]);
        test_check(path, "fn a() { dbg!(1); unimplemented!() }", &["`unimplemented!`", "`dbg!`"]);
        test_check(path, "#[test]\n#[ignore = \"slow\"]\nfn a() {}", &["db.rs:2: a test runs"]);
    }

    #[test]
    fn allowances_have_reasons() {
        let path = "crates/registry/src/db.rs";
        test_check(path, "#[allow(dead_code, reason = \"soon\")]\nfn a() {}", &[]);
        test_check(path, "#![allow(\n    dead_code,\n    reason = \"soon\"\n)]", &[]);
        test_check(path, "#[allow(dead_code)]\nfn a() {}", &["`allow` without"]);
        test_check(path, "#[expect(dead_code)]\nfn a() { b.expect(\"x\") }", &["`expect` without"]);
        test_check(path, "#[cfg_attr(test, allow(dead_code))]\nfn a() {}", &["`allow` without"]);
        test_check(path, "// #[allow(dead_code)]\nfn a() { policy.allow(b) }", &[]);
    }

    #[test]
    fn roots_say_what_they_are() {
        test_check("crates/oci/src/lib.rs", "//! Words.\n#![forbid(unsafe_code)]\n", &[]);
        test_check("crates/oci/src/lib.rs", "mod a;\n", &["begins with `//!`", "forbid(unsafe_code)"]);
        test_check("crates/oci/src/lib.rs", "//! Words.\n#![deny(unsafe_code)]\n", &["forbid(unsafe_code)"]);
        test_check("crates/store/src/lib.rs", "//! Bytes.\n#![deny(unsafe_code)]\n", &[]);
    }

    #[test]
    fn long_files_are_noted_then_refused() {
        let lengths = |lines: usize, noted: usize, refused: usize| {
            let mut text = "fn a() {}\n".repeat(lines);
            text.push_str("#[cfg(test)]\nmod tests {\n");
            text.push_str(&"    fn b() {}\n".repeat(1_000));
            text.push_str("}\n");
            let file = Scanned::new("crates/oci/src/a.rs", &text);
            let got = (note_length(&file).into_iter().count(), check(&file).len());
            assert_eq!(got, (noted, refused), "{lines}");
        };
        lengths(LINES_NOTED, 0, 0);
        lengths(LINES_NOTED + 1, 1, 0);
        lengths(LINES, 1, 0);
        lengths(LINES + 1, 0, 1);
    }
}
