//! Envelopes open only for what they were made, and only whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads as one story"
)]

use std::{fs, os::unix::fs::PermissionsExt as _};

use proptest::prelude::*;
use seaworthy_seal::{SCHEMA, Seal, SealError, limit, sealed_item};
use seaworthy_testkit::{TestDb, db_tests};

db_tests!(&[super::SCHEMA]; two_makers_agree_on_one_value);

async fn two_makers_agree_on_one_value(test: TestDb) {
    let seal = Seal::open(test.path()).expect("key");
    let make = |byte: u8| sealed_item(&test.db, &seal, "token key", move || Ok(vec![byte; 32]));
    let (first, second) = tokio::join!(make(1), make(2));
    let (first, second) = (first.expect("first"), second.expect("second"));
    assert_eq!(first.expose(), second.expose());
    let other = tempfile::tempdir().expect("dir");
    let other = Seal::open(other.path()).expect("key");
    let refused = sealed_item(&test.db, &other, "token key", || Ok(vec![3])).await;
    assert!(matches!(refused, Err(SealError::OtherKey { .. })));
}

#[test]
fn the_key_file_is_private_and_stays() {
    let dir = tempfile::tempdir().expect("dir");
    let envelope = Seal::open(dir.path()).expect("key").wrap("x", b"payload").expect("sealed");
    let opened = Seal::open(dir.path()).expect("same key").unwrap("x", &envelope).expect("opened");
    assert_eq!(opened.expose(), b"payload");
    let key = dir.path().join("seal.key");
    assert_eq!(fs::metadata(&key).expect("key file").permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("mode");
    assert!(matches!(Seal::open(dir.path()), Err(SealError::Exposed { mode: 0o640, .. })));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("mode");
    fs::write(&key, b"short").expect("write");
    assert!(matches!(Seal::open(dir.path()), Err(SealError::WrongLength { bytes: 5, .. })));
}

#[test]
fn payloads_end_at_their_limit() {
    let dir = tempfile::tempdir().expect("dir");
    let seal = Seal::open(dir.path()).expect("key");
    assert!(seal.wrap("x", &vec![0; limit::PAYLOAD_BYTES]).is_ok());
    assert!(matches!(seal.wrap("x", &vec![0; limit::PAYLOAD_BYTES + 1]), Err(SealError::TooLong { .. })));
}

proptest! {
    #[test]
    fn any_change_is_noticed(payload: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
        let dir = tempfile::tempdir().expect("dir");
        let seal = Seal::open(dir.path()).expect("key");
        let envelope = seal.wrap("this", &payload).expect("sealed");
        let opened = seal.unwrap("this", &envelope).expect("opens");
        prop_assert_eq!(opened.expose(), &payload);
        prop_assert!(seal.unwrap("that", &envelope).is_err());
        let mut changed = envelope.clone();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        prop_assert!(seal.unwrap("this", &changed).is_err());
        prop_assert!(seal.unwrap("this", &envelope[..at]).is_err());
    }
}
