//! The rules of the house that the compiler does not know. Each rule is a function over values
//! in memory and is tested on a bad example; only this file reads the tree.

use std::{fs, path::Path, process::Command};

use crate::step::{self, Outcome};

mod edges;
mod graph;
mod limits;
mod scan;
mod source;
mod sql;
mod tree;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `path`, `path:line` or a crate's name.
    place: String,
    message: String,
}

impl Finding {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

/// A tracked text file.
pub(crate) struct File {
    path: String,
    text: String,
}

/// Checks everything and prints all that is wrong.
pub(crate) fn tidy() -> Outcome {
    let paths = tracked_paths()?;
    let files: Vec<File> = paths.iter().filter_map(|path| read(path)).collect();
    let metadata =
        step::read(step::cargo().args(["metadata", "--format-version", "1", "--locked", "--all-features"]))?;
    let graph = graph::Graph::parse(&metadata)?;

    let mut findings = edges::crate_edges(&graph);
    findings.extend(edges::pure_trees(&graph));
    findings.extend(edges::test_binaries(&graph));
    findings.extend(tree::root_entries(&paths));
    findings.extend(tree::module_names(&paths));
    findings.extend(tree::decision_records(&paths));
    findings.extend(tree::architecture(&files, &graph));
    for file in &files {
        findings.extend(tree::whitespace(file));
        findings.extend(tree::foreign_names(file));
    }
    let mut long = Vec::new();
    let rust = files.iter().filter(|file| tree::has_extension(&file.path, "rs"));
    let scanned: Vec<scan::Scanned<'_>> =
        rust.map(|file| scan::Scanned::new(&file.path, &file.text)).collect();
    for file in &scanned {
        findings.extend(source::check(file));
        findings.extend(sql::check(file));
        long.extend(source::note_length(file));
    }
    findings.extend(limits::untested(&scanned));
    for note in &long {
        println!("    note: {note}");
    }
    for Finding { place, message } in &findings {
        println!("    {place}: {message}");
    }
    println!("    {} files, {} workspace crates", files.len(), graph.members().count());
    if findings.is_empty() { Ok(()) } else { Err(format!("{} rules are broken", findings.len())) }
}

/// What git tracks or would track, deleted files left out.
fn tracked_paths() -> Outcome<Vec<String>> {
    let list = step::read(Command::new("git").args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]))?;
    let mut paths: Vec<String> =
        list.split('\0').filter(|path| Path::new(path).is_file()).map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// `None` for what is not text.
fn read(path: &str) -> Option<File> {
    fs::read_to_string(path).ok().map(|text| File { path: path.to_owned(), text })
}
