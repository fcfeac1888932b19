//! Blobs as the plain door sends them: from their files, between other answers, to clients that stop.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use seaworthy_oci::Digest;

use crate::{
    http::Door,
    server::{Place, Server},
};

/// Far more than what a connection holds by itself.
const LENGTH: usize = 9 << 20;

/// A server with one large blob in `dev/files`.
struct Files {
    door: Door,
    server: Server,
    path: String,
    bytes: Vec<u8>,
    _place: Place,
}

impl Files {
    fn up() -> Self {
        let place = Place::new();
        let server = place.up(&[]);
        let door = place.login(server.port);
        let bytes: Vec<u8> = (0..=246).cycle().take(LENGTH).collect();
        let digest = Digest::sha256(&bytes).to_string();
        let begun = door.get("POST", "/v2/dev/files/blobs/uploads/");
        let location = begun.header("location").expect("where to go on").to_owned();
        let mark = if location.contains('?') { '&' } else { '?' };
        let put = format!("{location}{mark}digest={digest}");
        let done = door.ask("PUT", &put, "application/octet-stream", &bytes).expect("an answer");
        assert_eq!(done.status, 201, "{}", done.text());
        // Whoever brought a blob may read it.
        Self { door, server, path: format!("/v2/dev/files/blobs/{digest}"), bytes, _place: place }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.server.port)).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream
    }

    fn request(&self, method: &str, more: &str) -> String {
        let Door::Tcp { basic, .. } = &self.door else { panic!("a TCP door") };
        format!(
            "{method} {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\n{more}\r\n",
            self.path
        )
    }
}

/// One answer from a connection that goes on: its head, and as many bytes as it says.
fn answer(stream: &mut TcpStream, has_body: bool) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|it| it.parse().ok()).expect("a length");
    let mut body = vec![0; if has_body { length } else { 0 }];
    stream.read_exact(&mut body).expect("a body");
    (head, body)
}

#[test]
fn http_pipelined_get_after_sendfile() {
    let files = Files::up();
    let mut stream = files.connect();
    let all = [
        files.request("GET", ""),
        files.request("HEAD", ""),
        files.request("GET", "range: bytes=5-70000\r\n"),
        files.request("GET", "range: bytes=0-9,40000-99999\r\n"),
        files.request("GET", "connection: close\r\n"),
    ];
    stream.write_all(all.concat().as_bytes()).expect("sent");
    let (head, body) = answer(&mut stream, true);
    assert!(head.starts_with("http/1.1 200") && body == files.bytes, "{head}");
    let (head, _) = answer(&mut stream, false);
    assert!(head.contains(&format!("content-length: {LENGTH}")), "{head}");
    let (head, body) = answer(&mut stream, true);
    assert!(head.starts_with("http/1.1 206") && body == files.bytes[5..=70_000], "{head}");
    let (head, body) = answer(&mut stream, true);
    assert!(head.contains("multipart/byteranges"), "{head}");
    let part = |range: std::ops::Range<usize>| {
        let wanted = &files.bytes[range];
        body.windows(wanted.len()).any(|window| window == wanted)
    };
    assert!(part(0..10) && part(40_000..100_000));
    let (_, body) = answer(&mut stream, true);
    assert!(body == files.bytes);
    assert_eq!(stream.read(&mut [0]).expect("the end"), 0, "nothing follows");
}

#[test]
fn clients_that_stop_reading_hold_up_nobody() {
    let files = Files::up();
    let stalled: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = files.connect();
            stream.write_all(files.request("GET", "").as_bytes()).expect("sent");
            // The first bytes are there, so it is under way.
            stream.peek(&mut [0; 1]).expect("a beginning");
            stream
        })
        .collect();
    let whole = files.door.get("GET", &files.path);
    assert!(whole.status == 200 && whole.body == files.bytes);
    // One goes on where it stopped, the others go away in the middle.
    let mut stalled = stalled.into_iter();
    let mut patient = stalled.next().expect("one");
    drop(stalled);
    assert!(answer(&mut patient, true).1 == files.bytes);
    assert_eq!(files.door.get("HEAD", &files.path).status, 200);
}
