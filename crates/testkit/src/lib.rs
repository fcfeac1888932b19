//! What tests share: a fresh database of either engine, a Docker engine, Debian base images, the
//! ledger's foreign verifier, the distribution spec's conformance suite, a foreign registry, Azure's client of a
//! registry.
//!
//! Development only; nothing in the product depends on it. It panics where a test would.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "test support: a panic is a failed test"
)]

mod azure;
mod conformance;
mod database;
pub mod debian;
mod engine;
mod foreign;
mod postgres;
mod tier;
mod verifier;

pub use azure::azure_sdk;
pub use conformance::{Case, ConformanceSuite, Subject, conformance_suite};
pub use database::{Engine, TestDb, run};
pub use engine::{Dockerd, docker, modern_docker};
pub use foreign::{ForeignRegistry, foreign_program, foreign_registry};
pub use postgres::{PlacedDatabase, fresh_database};
pub use tier::{Tier, program, real_engines, slow, wanted};
pub use verifier::{Checked, LedgerVerifier, ledger_verifier};

/// The advisory pack, or `None` after saying which test was not run. With `CI=true` its absence fails.
pub fn advisory_pack(test: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("SEAWORTHY_ADVISORIES").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/advisories"),
        Into::into,
    );
    if path.join("README.md").exists() {
        return Some(path);
    }
    missing(test, "the advisory pack (SEAWORTHY_ADVISORIES)");
    None
}

/// Says that a test was not run for want of `what`; with `CI=true` that is a failure.
pub fn missing(test: &str, what: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "`{test}` needs {what}");
    eprintln!("not run: {test} needs {what}");
}

/// Makes one test per engine of each `async fn(TestDb)`: `sqlite::name` and `postgres::name`.
#[macro_export]
macro_rules! db_tests {
    ($rooms:expr; $($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[test] fn $name() { $crate::run($crate::Engine::Sqlite, stringify!($name), $rooms, super::$name) })*
        }
        mod postgres {
            $(#[test] fn $name() { $crate::run($crate::Engine::Postgres, stringify!($name), $rooms, super::$name) })*
        }
    };
}
