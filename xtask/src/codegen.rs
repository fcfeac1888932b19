//! `cargo xtask codegen`: reference pages, written by the binary about itself.

use std::{fs, path::Path, process::Command};

use crate::{
    args::Mode,
    step::{self, Outcome},
};

/// `seaworthy reference PAGE` prints `docs/reference/PAGE.md`.
const PAGES: &[&str] = &["cli", "cli.ja", "config", "errors"];

/// Builds the binary as the tests do, so that nothing else is built anew.
pub(crate) fn build() -> Outcome {
    step::run(step::cargo().args(["build", "--workspace", "--bins", "--locked"]))
}

/// Writes or compares all pages.
pub(crate) fn codegen(mode: Mode) -> Outcome {
    let binary = step::target_dir().join("debug/seaworthy");
    let mut stale = Vec::new();
    for page in PAGES {
        let text = step::read(Command::new(&binary).args(["reference", page]))?;
        if text.trim().is_empty() {
            return Err(format!("`seaworthy reference {page}` prints nothing"));
        }
        let path = format!("docs/reference/{page}.md");
        let old = fs::read_to_string(&path).unwrap_or_default();
        match (first_difference(&old, &text), mode) {
            (None, _) => println!("    {path} is up to date"),
            (Some(line), Mode::Check) => {
                println!("    {path} differs from line {line} on");
                stale.push(path);
            }
            (Some(_), Mode::Write) => write(Path::new(&path), &text)?,
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("run `cargo xtask codegen` and commit {}", stale.join(", ")))
}

fn write(path: &Path, text: &str) -> Outcome {
    let failed = |error| format!("failed to write {}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)?;
    println!("    wrote {}", path.display());
    Ok(())
}

/// The first line, counted from 1, in which two texts differ.
fn first_difference(old: &str, new: &str) -> Option<usize> {
    if old == new {
        return None;
    }
    let same = old.lines().zip(new.lines()).take_while(|(old, new)| old == new).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_at_any_place() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("", "a\n"), Some(1));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("a", "a\n"), Some(2));
    }
}
