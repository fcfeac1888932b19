//! The distribution spec's conformance suite, which `cargo xtask prepare` builds.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::tier::wanted;

/// Where `cargo xtask prepare` puts it, below the home directory (see `xtask/src/conformance.rs`).
const PROGRAM: &str = ".cache/seaworthy/oci-conformance-20260831/conformance";

/// The suite, or `None` after saying which test was not run.
pub fn conformance_suite(test: &str) -> Option<ConformanceSuite> {
    let program = Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(PROGRAM);
    if !program.is_file() {
        wanted(test, "the distribution spec's conformance suite (`cargo xtask prepare` builds it)");
        return None;
    }
    Some(ConformanceSuite { program })
}

/// The program.
#[derive(Clone, Debug)]
pub struct ConformanceSuite {
    program: PathBuf,
}

/// Whom it talks to, and as whom.
#[derive(Clone, Debug)]
pub struct Subject<'s> {
    /// `localhost:5000`, over plain HTTP.
    pub registry: &'s str,
    /// Who may push, pull and delete in the repositories below `conformance-VERSION`.
    pub user: (&'s str, &'s str),
    /// `1.1` or `dev`.
    pub version: &'s str,
}

/// How one case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its path in the suite.
    pub name: String,
    /// `passed`, `skipped`, `failure` or `error`.
    pub status: String,
    /// What the suite says about it.
    pub says: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.name, self.says)
    }
}

impl ConformanceSuite {
    /// Runs every case; reports go to `folder`.
    pub fn run(&self, subject: &Subject<'_>, folder: &Path) -> Vec<Case> {
        let Subject { registry, user: (name, password), version } = subject;
        let output = Command::new(&self.program)
            .env_clear()
            .envs([("OCI_REGISTRY", *registry), ("OCI_TLS", "disabled"), ("OCI_VERSION", version)])
            .envs([("OCI_USERNAME", name), ("OCI_PASSWORD", password)])
            .env("OCI_REPO1", format!("conformance-{version}/repo1"))
            .env("OCI_REPO2", format!("conformance-{version}/repo2"))
            .env("OCI_RESULTS_DIR", folder)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .expect("the suite runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let report = std::fs::read_to_string(folder.join("junit.xml"));
        cases(&report.unwrap_or_else(|error| panic!("{error}: {} {said}", output.status)))
    }
}

/// Reads what Go's XML writer makes of the suite's cases.
fn cases(report: &str) -> Vec<Case> {
    let between = |text: &str, begin: &str, end: &str| {
        let (_, rest) = text.split_once(begin)?;
        rest.split_once(end).map(|(found, _)| found.to_owned())
    };
    let case = |text: &str| {
        let (head, _) = text.split_once('>').expect("a tag");
        Case {
            name: between(head, "name=\"", "\"").expect("a name"),
            status: between(head, "status=\"", "\"").expect("a status"),
            says: between(text, "<system-out>", "</system-out>").unwrap_or_default(),
        }
    };
    report.split("<testcase ").skip(1).map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_read() {
        let report = r#"<testsuites tests="2"><testsuite name="s">
            <testcase name="a/b" classname="" time="0.1" status="passed"><system-err>x</system-err></testcase>
            <testcase name="a/c" classname="" time="0.1" status="failure"><system-out>no &gt; yes</system-out>
            </testcase></testsuite></testsuites>"#;
        let said: Vec<String> = cases(report).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["passed a/b: ", "failure a/c: no &gt; yes"]);
    }
}
