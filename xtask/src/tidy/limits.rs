//! Every named limit has a test that names it.

use std::collections::BTreeSet;

use super::{Finding, scan::Scanned};

/// Limits that no test of their crate names yet: `crate::NAME`. It only gets shorter.
const OWED: &[&str] = &[
    "access::NAME_BYTES",
    "access::TOKEN_CACHE",
    "advisories::SEGMENT_BYTES",
    "advisories::TEXTS",
    "agent::ACK_BYTES",
    "agent::ANSWER",
    "agent::ANSWER_BYTES",
    "agent::ASIDE_FILES",
    "agent::DELIVERY",
    "agent::EVENTS_AT_ONCE",
    "agent::SPOOL_BYTES",
    "agent::SPOOL_FILES",
    "clearance::CACHE",
    "clearance::CACHE_MS",
    "clearance::CONCURRENCY",
    "clearance::DUE_MS",
    "clearance::WAIT_MS",
    "findings::EVENT_BATCH_BYTES",
    "findings::GENERATION_RACES",
    "findings::LEASE_RETRY_MS",
    "findings::LEASE_SECONDS",
    "findings::LEASE_TRIES",
    "findings::MATCHERS",
    "findings::PAGE",
    "findings::READERS",
    "findings::RECOVERY_SECONDS",
    "findings::SETS_PAGE",
    "fleet::CANDIDATES",
    "fleet::CHILDREN",
    "fleet::CONCURRENCY",
    "fleet::CONTENTS",
    "fleet::CONTENT_IDS",
    "fleet::GONE",
    "fleet::GONE_DAYS",
    "fleet::HISTORY",
    "fleet::HISTORY_DAYS",
    "fleet::HISTORY_PAGE",
    "fleet::HOSTS",
    "fleet::IMAGES",
    "fleet::NAME_BYTES",
    "fleet::PAGE",
    "fleet::PLACES",
    "fleet::RESOLVE",
    "fleet::SPOOLS",
    "fleet::UPKEEP_ROWS",
    "fleet::UPKEEP_SECONDS",
    "inspection::CANDIDATES",
    "inspection::FOLDS",
    "inspection::LOCAL_READERS",
    "inspection::READERS",
    "inspection::START_ATTEMPTS",
    "layer::RATIO",
    "layer::RATIO_FREE_BYTES",
    "ledger::CHECKPOINT_MS",
    "ledger::LEASE_SECONDS",
    "registry::SWEEP_SECONDS",
    "sandbox::OPEN_FILES",
    "server::ACCOUNTS_BYTES",
    "server::AUTHORIZATION_BYTES",
    "server::BODY_BYTES",
    "server::CAUSES",
    "server::CLOSE_SECONDS",
    "server::LANGUAGES",
    "server::PAGE",
    "server::PREVIEWED",
    "server::REJECTION_BYTES",
    "server::SHUTDOWN_SECONDS",
    "server::WAIT_SECONDS",
    "store::BACKOFF_SECONDS_MAX",
    "store::CLAIM_BATCH",
    "store::DELIVERY_LEASE_SECONDS",
    "store::DISK_FLOOR_BYTES",
    "store::GROUP_COMMIT",
    "store::POLL_POSTGRES_MS",
    "store::POLL_SQLITE_MS",
    "store::POSTGRES_CONNECTIONS",
    "store::READ_CHUNK_BYTES",
    "store::WRITER_QUEUE",
];

/// Limits that only the product names, and entries of [`OWED`] that are paid or gone.
pub(crate) fn untested(files: &[Scanned<'_>]) -> Vec<Finding> {
    untested_but(files, OWED)
}

fn untested_but(files: &[Scanned<'_>], owed: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut open: BTreeSet<&str> = owed.iter().copied().collect();
    for file in files {
        let Some(krate) = crate_of(file.path) else { continue };
        for (at, name) in limits(file) {
            let tests = files.iter().filter(|other| crate_of(other.path) == Some(krate));
            let tested = tests.into_iter().any(|test| test.words(name).any(|at| test.is_test(at)));
            let is_owed = open.remove(format!("{krate}::{name}").as_str());
            if !tested && !is_owed {
                let message =
                    format!("no test of this crate names the limit `{name}`: run it there and one past it");
                findings.push(Finding::new(file.place(at), message));
            } else if tested && is_owed {
                findings.push(Finding::new(
                    file.place(at),
                    format!("`{name}` has a test now: it is owed no more"),
                ));
            }
        }
    }
    findings.extend(open.into_iter().map(|name| Finding::new(name, "is owed a test, but is no limit")));
    findings
}

fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split('/').next()
}

/// Public constants of a file `limit.rs` or a `mod limit { … }`: where, and their names.
fn limits<'s>(file: &'s Scanned<'_>) -> impl Iterator<Item = (usize, &'s str)> {
    let code = file.code.as_str();
    let inline = code.find("mod limit {").map(|start| {
        let end =
            code.get(start..).and_then(|rest| rest.find("\n}")).map_or(code.len(), |length| start + length);
        start..end
    });
    let whole = file.path.ends_with("/limit.rs").then_some(0..code.len());
    let range = whole.or(inline).unwrap_or(0..0);
    file.words("const").filter(move |at| range.contains(at)).filter_map(move |at| {
        let is_public = code.get(..at)?.trim_end().ends_with(['b', ')']);
        let name = code.get(at + "const".len()..)?.split(':').next()?.trim();
        is_public.then_some((at, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(test: &str, owed: &[&str], expected: &[&str]) {
        let scanned = [
            Scanned::new("crates/a/src/limit.rs", "pub const ONE: u32 = 1;\nconst OWN: u32 = 2;\n"),
            Scanned::new("crates/a/src/lib.rs", "pub mod limit;\nfn a() { limit::ONE; limit::TWO }\n"),
            Scanned::new(
                "crates/b/src/lib.rs",
                "pub mod limit {\n    pub const TWO: u32 = 2;\n}\npub const NO: u8 = 3;\n",
            ),
            Scanned::new("crates/a/tests/main.rs", test),
            Scanned::new("crates/b/src/x.rs", "#[cfg(test)]\nmod tests { fn a() { limit::TWO } }\n"),
        ];
        let found: Vec<String> = untested_but(&scanned, owed)
            .into_iter()
            .map(|it| format!("{} {}", it.place, it.message))
            .collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn a_limit_is_named_by_a_test_of_its_crate() {
        check("fn a() { limit::ONE }", &[], &[]);
        check(
            "fn a() { limit::TWO }",
            &[],
            &["crates/a/src/limit.rs:1 no test of this crate names the limit `ONE`"],
        );
        check("// limit::ONE", &[], &["`ONE`"]);
        check("", &["a::ONE"], &[]);
        check("fn a() { limit::ONE }", &["a::ONE"], &["owed no more"]);
        check("fn a() { limit::ONE }", &["a::GONE"], &["a::GONE is owed a test, but is no limit"]);
    }
}
