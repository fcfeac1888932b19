//! The distribution spec's own conformance suite against the real server, over both databases: the
//! released version and the spec's current main, as somebody who may push and delete and no more.

use std::fs;

use seaworthy_testkit::{Subject, conformance_suite, fresh_database, missing, slow};

use crate::server::{Place, free_port};

/// What the suite leaves out for everybody, by version: 1.1 did not ask for cancelling yet.
const LEFT_OUT: &[(&str, &[&str])] = &[
    (
        "1.1",
        &[
            "OCI Conformance Test/sha256 blobs/post cancel/blob-post-cancel",
            "OCI Conformance Test/sha512 blobs/post cancel/blob-post-cancel",
        ],
    ),
    ("dev", &[]),
];
/// Cases that end in a status of their own; fewer mean that the suite gave up on the way.
const CASES: &[(&str, usize)] = &[("1.1", 690), ("dev", 790)];

#[test]
fn the_suite_passes_over_sqlite() {
    check("the_suite_passes_over_sqlite", &Place::new());
}

#[test]
fn the_suite_passes_over_postgres() {
    let test = "the_suite_passes_over_postgres";
    if !slow(test) {
        return;
    }
    match fresh_database() {
        Some(database) => check(test, &Place::over(&database)),
        None => missing(test, "PostgreSQL"),
    }
}

fn check(test: &str, place: &Place) {
    if !slow(test) {
        return;
    }
    let Some(suite) = conformance_suite(test) else { return };
    let server = (0..5).find_map(|_| place.try_up_with(free_port(), &[]).ok()).expect("a server");
    let made =
        place.cli(&["principal", "create", "suite", "--role", "AcrPush", "--scope", "/", "-o", "json"]);
    let secret = made.json()["client_secret"].as_str().expect("a secret").to_owned();
    let assigned =
        place.cli(&["role", "assign", "--principal", "suite", "--role", "AcrDelete", "--scope", "/"]);
    assert_eq!(assigned.code, 0, "{assigned:?}");
    for ((version, left_out), (_, least)) in LEFT_OUT.iter().zip(CASES) {
        let folder = place.path(version);
        fs::create_dir(&folder).unwrap();
        let registry = format!("localhost:{}", server.port);
        let subject = Subject { registry: &registry, user: ("suite", &secret), version };
        let cases = suite.run(&subject, &folder);
        let count = |status: &str| cases.iter().filter(|case| case.status == status).count();
        eprintln!(
            "{version}: {} passed, {} skipped, {} failed, {} broke",
            count("passed"),
            count("skipped"),
            count("failure"),
            count("error"),
        );
        let bad: Vec<String> = cases
            .iter()
            .filter(|case| case.status != "passed" && !left_out.contains(&case.name.as_str()))
            .map(ToString::to_string)
            .collect();
        assert!(bad.is_empty(), "{version}:\n{}\n{}", bad.join("\n"), place.log());
        assert_eq!(count("skipped"), left_out.len(), "{version}");
        assert!(count("passed") >= *least, "{version}: only {} cases ran", count("passed"));
    }
    drop(server);
}
