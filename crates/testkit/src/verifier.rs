//! The ledger's foreign verifier: a Go program that `cargo xtask prepare` builds into the cache
//! from `crates/ledger/tests/verifier`.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::tier::wanted;

const SOURCES: &[(&str, &str)] = &[
    ("go.mod", include_str!("../../ledger/tests/verifier/go.mod")),
    ("go.sum", include_str!("../../ledger/tests/verifier/go.sum")),
    ("main.go", include_str!("../../ledger/tests/verifier/main.go")),
];

/// What the verifier said.
#[derive(Debug)]
pub struct Checked {
    /// Everything holds.
    pub holds: bool,
    /// Its line of JSON, and what it wrote to its standard error.
    pub line: String,
}

/// The verifier that was built from these very sources; `None` after saying which test was not run.
pub fn ledger_verifier(test: &str) -> Option<LedgerVerifier> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let entries = fs::read_dir(Path::new(&home).join(".cache/seaworthy")).into_iter().flatten();
    let found = entries.filter_map(|entry| Some(entry.ok()?.path())).find(|folder| {
        let is_ours = |(name, text): &(&str, &str)| {
            fs::read(folder.join(name)).is_ok_and(|bytes| bytes == text.as_bytes())
        };
        folder.extension().is_none() && folder.join("verifier").is_file() && SOURCES.iter().all(is_ours)
    });
    if found.is_none() {
        wanted(test, "the ledger's verifier (`cargo xtask prepare` builds it)");
    }
    found.map(|folder| LedgerVerifier { program: folder.join("verifier") })
}

/// The program.
#[derive(Clone, Debug)]
pub struct LedgerVerifier {
    program: PathBuf,
}

impl LedgerVerifier {
    /// Checks a folder of tiles with the public key `key`, and that each of `older` (checkpoint
    /// files) is a beginning of it.
    pub fn tree(&self, folder: &Path, key: &str, older: &[PathBuf]) -> Checked {
        let words = [OsStr::new("tree"), folder.as_os_str(), OsStr::new(key)];
        self.run(words.into_iter().chain(older.iter().map(|path| path.as_os_str())))
    }

    /// Checks a file with what `seaworthy ledger proof` printed.
    pub fn proof(&self, file: &Path, key: &str) -> Checked {
        self.run([OsStr::new("proof"), file.as_os_str(), OsStr::new(key)].into_iter())
    }

    fn run<'w>(&self, words: impl Iterator<Item = &'w OsStr>) -> Checked {
        let output =
            Command::new(&self.program).args(words).stdin(Stdio::null()).output().expect("verifier runs");
        let line = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // Anything else is a verifier that broke, not a ledger.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {line}", output.status);
        Checked { holds: output.status.success(), line }
    }
}
