//! A server that is told to stop.

use std::{io::Write as _, net::TcpStream, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::Value;

use crate::{http::Door, image::Image, server::Place};

#[test]
fn a_stop_ends_it_and_keeps_what_was_pushed() {
    let place = Place::new();
    let server = place.up(&[]);
    let port = server.port;
    let door = place.login(port);
    for number in 0..20 {
        Image::debian("expat", "99:1", &number.to_string()).push(&door, "dev/app", &number.to_string());
    }
    // A connection that asks for nothing holds up nobody.
    let idle = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    let (code, after) = server.stop();
    assert_eq!(code, Some(0), "after {after:?}: {}", place.log());
    eprintln!("stopped after {after:?}");
    drop(idle);
    assert!(!place.data().join("admin.sock").exists());
    assert!(!place.log().contains("in time"), "nobody was late: {}", place.log());

    let server = place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(door.get("GET", "/v2/dev/app/manifests/19").status, 200);
    let verified = place.cli(&["ledger", "verify", "-o", "json"]);
    assert_eq!(verified.code, 0, "{verified:?}");

    // An upload that never ends does, and is named.
    let mut half = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    let Door::Tcp { basic, .. } = &door else { panic!("a door of TCP") };
    let head = format!(
        "POST /v2/dev/app/blobs/uploads/?digest=sha256:{} HTTP/1.1\r\nhost: localhost\r\n\
         authorization: Basic {basic}\r\ncontent-length: 1000000\r\n\r\nhalf",
        "0".repeat(64)
    );
    half.write_all(head.as_bytes()).expect("sent");
    // The door is busy with it once a later request is answered.
    assert_eq!(door.get("GET", "/livez").status, 200);
    if !seaworthy_testkit::slow("the late half of a_stop_ends_it_and_keeps_what_was_pushed") {
        return;
    }
    let (code, after) = server.stop();
    assert_eq!(code, Some(0), "after {after:?}: {}", place.log());
    let log = place.log();
    assert!(log.contains(&format!("requests at 127.0.0.1:{port}")) && log.contains("in time"), "{log}");
}

/// More records than are looked at before the doors open: the server opens them, finds what was changed, and ends.
/// The next one does not open.
#[test]
fn a_server_over_a_changed_ledger_ends_by_itself() {
    let place = Place::new();
    let server = place.up(&[]);
    let port = server.port;
    assert_eq!(server.stop().0, Some(0));
    let database =
        || rusqlite::Connection::open(place.data().join("seaworthy.sqlite")).expect("the database");
    let many = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
                INSERT INTO ledger_leaves (id, at, actor, action, object, leaf)
                SELECT CAST(printf('%016d', i) AS BLOB), 0, 'a', 'policy.apply', 'policies/p', 'leaf ' || i FROM n";
    database().execute(many, []).expect("rows");
    let server = place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(server.stop().0, Some(0), "{}", place.log());
    let changed = database().execute("UPDATE ledger_leaves SET leaf = 'leaf x' WHERE leaf = 'leaf 7'", []);
    assert_eq!(changed.expect("changed"), 1);

    let mut server = place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"));
    let code = server.ended();
    let log = place.log();
    let said = "do not have the root that was signed";
    assert!(
        code == Some(3) && log.contains(said) && log.contains("seaworthy ledger verify"),
        "{code:?}: {log}"
    );
    let refused = place.try_up(port, &[], "en").map(|_| ()).expect_err("it knows");
    assert!(refused.contains(said), "{refused}");
}

/// Who is told to verify a ledger can, though no server runs over it.
#[test]
fn a_ledger_is_verified_without_a_server() {
    let place = Place::new();
    let nowhere = place.cli(&["ledger", "verify"]);
    assert!(nowhere.code == 3 && nowhere.err.contains("no server answers"), "{nowhere:?}");
    assert!(!place.data().exists(), "nothing is made");
    verified_and_named(&place, None);

    let Some(database) = seaworthy_testkit::fresh_database() else {
        seaworthy_testkit::missing("a_ledger_is_verified_without_a_server over PostgreSQL", "PostgreSQL");
        return;
    };
    let place = Place::new();
    std::fs::create_dir(place.data()).expect("made");
    let shared = place.path("shared");
    let config = format!("database = \"{database}\"\nshared = \"{}\"\n", shared.display());
    std::fs::write(place.data().join("seaworthy.toml"), config).expect("written");
    verified_and_named(&place, Some(&shared));
}

fn verified_and_named(place: &Place, shared: Option<&Path>) {
    let server = place.up(&[]);
    let port = server.port;
    for name in ["a", "b", "c"] {
        assert_eq!(place.cli(&["principal", "create", name]).code, 0);
    }
    let verify = |words: &[&str]| {
        let said = place.cli(&[&["ledger", "verify"], words].concat());
        let answer: Value = serde_json::from_str(&said.out).unwrap_or_default();
        (said.code, answer, said.err)
    };
    let (code, asked, err) = verify(&["-o", "json"]);
    assert!(code == 0 && !err.contains("no server runs"), "{code} {err}");
    let socket = place.data().join("admin.sock");
    let kept = place.path("kept.sock");
    std::fs::rename(&socket, &kept).expect("moved");
    let (code, _, err) = verify(&[]);
    assert!(code == 0 && err.contains("no server runs"), "it may just start: {code} {err}");
    std::fs::rename(&kept, &socket).expect("moved back");
    // Killed: the socket stays and nobody listens, and the log of the database is not copied yet.
    drop(server);
    let left = || {
        let files = ["seaworthy.sqlite", "seaworthy.sqlite-wal", "lock"];
        files.map(|name| std::fs::read(place.data().join(name)).ok())
    };
    let before = left();
    let (code, read, err) = verify(&["--deep", "-o", "json"]);
    assert!(code == 0 && err.contains("no server runs"), "{code} {err}");
    assert!(left() == before && (shared.is_some() || before[1].as_ref().is_some_and(|log| !log.is_empty())));
    assert!(read["key"] == asked["key"] && read["size"].as_u64() >= asked["size"].as_u64(), "{read} {asked}");
    let checkpoint = shared.map_or_else(|| place.data(), Path::to_owned).join("ledger/checkpoint");
    let whole = std::fs::read(&checkpoint).expect("signed");
    std::fs::write(&checkpoint, b"seaworthy/ledger\n1\n").expect("written");
    let (code, broken, _) = verify(&["-o", "json"]);
    let named = broken["broken"].to_string();
    assert!(code == 1 && named.contains("ledger/checkpoint"), "{code} {named}");
    std::fs::write(&checkpoint, whole).expect("written");
    if shared.is_none() {
        let database = place.data().join("seaworthy.sqlite");
        let change = "UPDATE ledger_leaves SET leaf = leaf || ' ' WHERE position = 1";
        let changed = rusqlite::Connection::open(&database).and_then(|it| it.execute(change, []));
        assert_eq!(changed.expect("changed"), 1);
        let refused = place.try_up(port, &[], "en").map(|_| ()).expect_err("it is changed");
        assert!(refused.contains("run `seaworthy ledger verify` with the same"), "{refused}");
        let (code, broken, _) = verify(&["-o", "json"]);
        let named = "record 1 in the database is not the record that was signed";
        assert!(code == 1 && broken["broken"] == serde_json::json!([named]), "{code} {broken}");
        std::fs::rename(&database, place.path("gone")).expect("moved");
    }
    let key = shared.map_or_else(|| place.data(), Path::to_owned).join("keys/seal.key");
    std::fs::rename(&key, place.path("key")).expect("moved");
    let (code, _, err) = verify(&[]);
    assert!(code == 3 && err.contains("seal.key") && !key.exists(), "{code} {err}");
    std::fs::rename(place.path("key"), &key).expect("moved back");
    let (code, _, err) = verify(&[]);
    let database = place.data().join("seaworthy.sqlite");
    assert!(shared.is_some() || code == 3 && err.contains("seaworthy.sqlite"), "{code} {err}");
    assert!(!database.exists(), "nothing is made");
}

/// The disk of the blobs is not mounted: what would be made there would lie below it.
#[test]
fn a_start_that_is_refused_makes_nothing() {
    let Some(database) = seaworthy_testkit::fresh_database() else {
        seaworthy_testkit::missing("a_start_that_is_refused_makes_nothing", "PostgreSQL");
        return;
    };
    let place = Place::over(&database);
    let share = |shared: &Path| place.configure(&format!("shared = \"{}\"\n", shared.display()));
    let shared = place.path("shared");
    share(&shared);
    drop(place.up(&[]));
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    for path in [shared.clone(), shared.join("blobs"), shared.join("keys"), shared.join("ledger")] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    let (empty, absent) = (place.path("empty"), place.path("absent/below"));
    std::fs::create_dir(&empty).expect("made");
    for wrong in [&empty, &absent] {
        share(wrong);
        let refused = place.try_up(crate::server::free_port(), &[], "en").map(|_| ()).expect_err("refused");
        assert!(refused.contains("installation"), "{refused}");
    }
    assert_eq!(std::fs::read_dir(&empty).expect("read").count(), 0);
    assert!(!place.path("absent").exists());
}
