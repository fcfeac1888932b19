//! What is sent: webhooks to real receivers, mails to a real mail server, and what becomes of both
//! when either end breaks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads as one story"
)]

mod mails;
mod post;
mod receiver;
mod smtp;
mod webhooks;

use std::path::{Path, PathBuf};

use seaworthy_testkit::db_tests;

use post::{
    a_killed_sender_is_followed_under_the_same_id, a_slow_target_holds_up_itself_alone,
    a_summary_is_one_mail, what_fails_is_sent_again_until_it_is_given_up,
};

db_tests!(&[seaworthy_ledger::SCHEMA, seaworthy_clearance::SCHEMA, seaworthy_telemetry::SCHEMA];
    a_slow_target_holds_up_itself_alone, a_killed_sender_is_followed_under_the_same_id,
    what_fails_is_sent_again_until_it_is_given_up, a_summary_is_one_mail);

/// A certificate for `names`, made by itself.
struct Identity {
    _folder: tempfile::TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    fn of(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let names: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("write");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("write");
        Self { _folder: folder, certificate, key }
    }

    fn paths(&self) -> (&Path, &Path) {
        (&self.certificate, &self.key)
    }
}
