//! A server that is told to stop.

use std::{io::Write as _, net::TcpStream};

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
