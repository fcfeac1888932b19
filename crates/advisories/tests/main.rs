//! The crate through its own door: real feeds against a naive path, hostile feeds, the feed `local`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code: a panic is the report"
)]

mod hostile;
mod local;
mod naive;
mod pack;
mod segments;
mod sets;

use std::sync::Arc;

use seaworthy_advisories::{Import, ImportError, Index, InputKind, NamedInput, Segment, import, read};
use seaworthy_model::OsRelease;
use seaworthy_package::{Ecosystem, InstalledPackage, SourcePackage};

fn debian(version: &str) -> OsRelease {
    OsRelease {
        id: "debian".to_owned(),
        version: Some(version.to_owned()),
        codename: None,
        name: String::new(),
    }
}

fn installed(source: &str, version: &str) -> InstalledPackage {
    InstalledPackage {
        ecosystem: Ecosystem::Deb,
        distribution: "debian".to_owned(),
        name: format!("lib{source}"),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        source: SourcePackage { name: source.to_owned(), version: version.to_owned() },
    }
}

fn read_file(path: &str, content: impl AsRef<[u8]>) -> Result<Import, ImportError> {
    read(path, InputKind::File, &mut content.as_ref())
}

fn import_files(files: &[(&str, &str)], previous_local: Option<&Segment>) -> Result<Import, ImportError> {
    let mut files = files.iter();
    let mut next = || {
        files.next().map(|(path, content)| NamedInput {
            path: (*path).to_owned(),
            kind: InputKind::File,
            bytes: Box::new(content.as_bytes()),
        })
    };
    import(&mut next, previous_local)
}

fn index(imports: &[&Import]) -> Index {
    let segments = imports.iter().flat_map(|import| &import.segments);
    Index::new(segments.map(|segment| Arc::new(segment.open().unwrap())).collect())
}

/// A folder as it travels: a tar of its files.
fn folder(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (path, content) in files {
        seaworthy_advisories::append_file(&mut tar, path, content.len() as u64, &mut &**content).unwrap();
    }
    seaworthy_advisories::finish_folder(&mut tar).unwrap();
    tar
}

/// (id, source, version, fixed version) of each finding.
fn found(
    index: &Index,
    release: &str,
    packages: &[InstalledPackage],
) -> Vec<(String, String, String, Option<String>)> {
    let rows = index.find(Some(&debian(release)), packages).rows;
    rows.into_iter().map(|row| (row.id, row.source, row.version, row.fixed_version)).collect()
}
