use std::{future::Future, io};

use axum::{
    body::to_bytes,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    net::UnixStream,
    time::Instant,
};

use super::*;

/// Bytes that stand between two ends before one waits for the other.
const PIPE: usize = 4 * 1024;

fn caller() -> Caller {
    Caller { address: "192.0.2.1:4000".parse().expect("an address"), is_secure: false, certificate: None }
}

/// Answers at `/`, takes an hour at `/slow`, reads what it gets at `/read`, says at `/length` how much that will be,
/// and has much to say at `/long`.
fn app() -> App {
    let router = Router::new().fallback(|request: Request| async {
        match request.uri().path() {
            "/slow" => {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                Response::default()
            }
            "/long" => Response::new(vec![b'x'; 64 * PIPE].into()),
            "/pieces" => {
                let pieces =
                    [&[b'x'; 3 * PIPE][..], REFUSAL.as_bytes(), &[b'y'; 3 * PIPE], REFUSAL.as_bytes()];
                let pieces = pieces.map(|piece| Ok::<_, io::Error>(Bytes::copy_from_slice(piece)));
                let length = pieces.iter().flatten().map(Bytes::len).sum::<usize>();
                // Each is written before the next is there.
                let pieces = futures_util::stream::iter(pieces).then(|piece| async {
                    tokio::task::yield_now().await;
                    piece
                });
                let body = Body::from_stream(pieces);
                Response::builder().header("content-length", length).body(body).expect("an answer")
            }
            "/refusal" => Response::new(REFUSAL.into()),
            "/no" => StatusCode::FORBIDDEN.into_response(),
            "/read" => match to_bytes(request.into_body(), usize::MAX).await {
                Ok(bytes) => Response::new(bytes.len().to_string().into()),
                Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
            },
            "/length" => Response::new(format!("{:?}", request.body().size_hint().exact()).into()),
            _ => Response::new("here".into()),
        }
    });
    App { router, language: Language::English }
}

/// The client's end of a connection that is served, and its server.
fn connected() -> (DuplexStream, tokio::task::JoinHandle<()>) {
    stoppable(CancellationToken::new())
}

fn stoppable(stop: CancellationToken) -> (DuplexStream, tokio::task::JoinHandle<()>) {
    let (client, server) = tokio::io::duplex(PIPE);
    (client, tokio::spawn(converse(server, (caller(), ConnectionHold::new(())), app(), stop)))
}

/// Seconds until `done`, on a clock that jumps whenever all wait.
async fn seconds(done: impl Future) -> u64 {
    let began = Instant::now();
    done.await;
    began.elapsed().as_secs()
}

/// What is cut off in the midst of something says so before.
async fn ends_after(server: impl Future, patience: u64) {
    let taken = seconds(server).await;
    assert!((patience..=patience + limit::PARTING_SECONDS).contains(&taken), "{taken}");
}

async fn ask(client: &mut DuplexStream, request: &str) {
    client.write_all(request.as_bytes()).await.expect("sent");
}

/// What comes until `end` does.
async fn answer(client: &mut DuplexStream, end: &str) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(end.as_bytes()) {
        assert_eq!(client.read(&mut byte).await.expect("read"), 1, "{}", String::from_utf8_lossy(&read));
        read.extend(byte);
    }
    String::from_utf8(read).expect("text")
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_nothing_ends() {
    let (_client, server) = connected();
    assert_eq!(seconds(server).await, limit::HEAD_SECONDS);
}

/// A head that comes letter by letter is none.
#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_is_cut_off() {
    let (mut client, server) = connected();
    let trickle = tokio::spawn(async move {
        for letter in "GET / HTTP/1.1\r\nhost: a\r\nx-header: ".bytes().chain(std::iter::repeat(b'x')) {
            if client.write_all(&[letter]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    ends_after(server, limit::HEAD_SECONDS).await;
    trickle.await.expect("ended");
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_for_its_next_request() {
    let (mut client, server) = connected();
    for _ in 0..3 {
        ask(&mut client, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        answer(&mut client, "here").await;
        tokio::time::sleep(Duration::from_secs(limit::IDLE_SECONDS - 1)).await;
    }
    ask(&mut client, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    answer(&mut client, "here").await;
    assert_eq!(seconds(server).await, limit::IDLE_SECONDS);
    assert_eq!(client.read(&mut [0]).await.expect("read"), 0, "closed");
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_its_time() {
    let (mut client, server) = connected();
    ask(&mut client, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(seconds(answer(&mut client, "content-length: 0\r\n")).await, 3_600);
    drop(client);
    server.await.expect("ended");
}

/// What HTTP refuses by itself is refused in the registry's words, whole also where the other end reads slowly.
#[tokio::test]
async fn what_nobody_could_read_is_refused_with_a_body() {
    let many: String = (0..200).map(|number| format!("x-{number}: a\r\n")).collect();
    let coded = |codings: &str| {
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {codings}\r\n\r\n0\r\n\r\n")
    };
    for (asked, status, code) in [
        ("NONSENSE\r\n\r\n".to_owned(), "400 Bad Request", "UNSUPPORTED"),
        ("GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), "400 Bad Request", "UNSUPPORTED"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400 Bad Request", "UNSUPPORTED"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n".to_owned(), "400 Bad Request", "UNSUPPORTED"),
        ("GET / HTTP/1.1\r\nhost: a[b\r\n\r\n".to_owned(), "400 Bad Request", "UNSUPPORTED"),
        ("GET / HTTP/1.1\r\nhost: u@a\r\n\r\n".to_owned(), "400 Bad Request", "UNSUPPORTED"),
        ("GET http://a/ HTTP/1.1\r\nhost: \r\n\r\n".to_owned(), "400 Bad Request", "UNSUPPORTED"),
        (coded("gzip, chunked"), "501 Not Implemented", "UNSUPPORTED"),
        (coded("chunked, chunked"), "501 Not Implemented", "UNSUPPORTED"),
        (coded("gzip\r\ntransfer-encoding: chunked"), "501 Not Implemented", "UNSUPPORTED"),
        (
            format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(70_000)),
            "414 URI Too Long",
            "UNSUPPORTED",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
            "431 Request Header Fields Too Large",
            "UNSUPPORTED",
        ),
    ] {
        // An answer before it: who asks one after the other gets both.
        for first in ["", "GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
            let (client, server) = tokio::io::duplex(7);
            let serving = tokio::spawn(converse(
                server,
                (caller(), ConnectionHold::new(())),
                app(),
                CancellationToken::new(),
            ));
            let (mut read, mut write) = tokio::io::split(client);
            let request = format!("{first}{asked}");
            let sending = tokio::spawn(async move { write.write_all(request.as_bytes()).await });
            let mut all = String::new();
            read.read_to_string(&mut all).await.expect("an answer and its end");
            let refusal = &all[all.rfind("HTTP/1.1 ").expect("an answer")..];
            let (head, body) = refusal.split_once("\r\n\r\n").expect("a head");
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{all}");
            assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{all}");
            let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(body["errors"][0]["code"], code);
            assert_eq!(all.matches("here").count(), usize::from(!first.is_empty()), "{all}");
            drop((sending.await, read));
            serving.await.expect("ended");
        }
    }
}

/// What HTTP says when it refuses by itself, as somebody may have pushed it.
const REFUSAL: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";

/// Whatever is in an answer arrives as it is, in whichever pieces it is written.
#[tokio::test]
async fn an_answer_that_looks_like_a_refusal_is_none() {
    for pipe in [7, 300, PIPE, 64 * PIPE] {
        for path in ["/pieces", "/refusal"] {
            let (client, server) = tokio::io::duplex(pipe);
            let serving =
                converse(server, (caller(), ConnectionHold::new(())), app(), CancellationToken::new());
            let serving = tokio::spawn(serving);
            let (mut read, mut write) = tokio::io::split(client);
            let asked = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
            let last = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            let asked = format!("{asked}{asked}{last}");
            let sending = tokio::spawn(async move { write.write_all(asked.as_bytes()).await });
            let mut all = String::new();
            read.read_to_string(&mut all).await.expect("answers");
            let count = if path == "/pieces" { 4 } else { 2 };
            assert_eq!(all.matches(REFUSAL).count(), count, "{pipe} {path}");
            assert!(!all.contains("errors") && all.ends_with("here"), "{pipe} {path}");
            sending.await.expect("ended").expect("sent");
            serving.await.expect("ended");
        }
    }
}

/// HTTP/1.0 knows no `Host`, and a target may name it.
#[tokio::test]
async fn who_is_asked_may_be_said_in_other_ways() {
    for asked in ["GET / HTTP/1.0\r\n\r\n", "GET http://a/ HTTP/1.1\r\n\r\n"] {
        let (mut client, _server) = connected();
        ask(&mut client, asked).await;
        answer(&mut client, "here").await;
    }
}

/// So that what does not fit is refused before it is sent.
#[tokio::test]
async fn how_long_a_body_is_is_known_before_it_comes() {
    for (said, known) in [
        ("content-length: 100\r\nexpect: 100-continue", "Some(100)"),
        ("content-length: 100", "Some(100)"),
        ("transfer-encoding: chunked", "None"),
        ("content-length: 0", "Some(0)"),
    ] {
        let (mut client, _server) = connected();
        ask(&mut client, &format!("POST /length HTTP/1.1\r\nhost: a\r\n{said}\r\n\r\n")).await;
        let told = answer(&mut client, known).await;
        assert!(told.starts_with("HTTP/1.1 200"), "not told to go on: {told}");
    }
}

/// To close a connection whose other end still sends is to reset it; who wrote all before reading would lose the answer.
#[tokio::test]
async fn who_is_refused_while_sending_reads_why() {
    let (tcp, stop) = (TcpListener::bind("127.0.0.1:0").await.expect("a port"), CancellationToken::new());
    let address = tcp.local_addr().expect("bound");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let unix = UnixListener::bind(&path).expect("bound");
    let slots = Slots::new(64);
    let servers = [
        tokio::spawn(serve(tcp, Door::Plain, app(), slots, stop.clone())),
        tokio::spawn(serve_socket(unix, app(), stop.clone())),
    ];
    let many = "x".repeat(32 << 20);
    let chunked =
        format!("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2000000\r\n{many}\r\n");
    let sized = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{many}", many.len());
    let refused =
        format!("POST /no HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2000000\r\n{many}\r\n");
    let unreadable = format!("POST \0 HTTP/1.1\r\nhost: a\r\n\r\n{many}");
    for (request, says) in [
        (&chunked, "here"),
        (&sized, "here"),
        (&refused, "connection: close\r\n"),
        (&unreadable, "cannot be read"),
    ] {
        let through_tcp = TcpStream::connect(address).await.expect("connected");
        let through_unix = UnixStream::connect(&path).await.expect("connected");
        for (name, said) in [
            ("tcp", writes_then_reads(through_tcp, request).await),
            ("unix", writes_then_reads(through_unix, request).await),
        ] {
            assert!(said.contains(says), "{name}, {}: {said}", &request[..60]);
        }
    }
    stop.cancel();
    for server in servers {
        server.await.expect("ended");
    }
}

async fn writes_then_reads<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> String {
    if let Err(error) = stream.write_all(request.as_bytes()).await {
        return format!("not sent: {error}");
    }
    let mut said = String::new();
    match stream.read_to_string(&mut said).await {
        Ok(_) => said,
        Err(error) => format!("not read: {error}"),
    }
}

/// Clients that take `localhost` for plain would show the bytes of an alert.
#[tokio::test]
async fn who_speaks_plainly_to_the_https_door_is_told() {
    let (tcp, stop) = (TcpListener::bind("127.0.0.1:0").await.expect("a port"), CancellationToken::new());
    let address = tcp.local_addr().expect("bound");
    let door = Door::Tls(tls::tests::acceptor().await);
    let server = tokio::spawn(serve(tcp, door, app(), Slots::new(64), stop.clone()));
    for (asked, says) in [
        ("GET /v2/ HTTP/1.1\r\nhost: a\r\n\r\n", "speaks HTTPS"),
        ("PATCH / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", "400 Bad Request"),
        // Nothing that anybody says.
        ("\x17\x03\x03\0\0", "not read"),
        ("get", "not read"),
    ] {
        let stream = TcpStream::connect(address).await.expect("connected");
        let (mut read, mut write) = stream.into_split();
        write.write_all(asked.as_bytes()).await.expect("sent");
        let mut said = Vec::new();
        let done = read.read_to_end(&mut said).await;
        let said = String::from_utf8_lossy(&said).into_owned();
        // An alert is not text.
        let is_alert = said.starts_with('\x15') || done.is_err();
        assert!(said.contains(says) || (says == "not read" && is_alert), "{asked:?}: {said:?}");
    }
    stop.cancel();
    server.await.expect("ended");
}

/// Whoever was refused and goes on is cut off in the end, and so is who says nothing more.
#[tokio::test(start_paused = true)]
async fn who_goes_on_after_a_refusal_is_cut_off() {
    let refused = async || {
        let (mut client, server) = connected();
        ask(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await;
        answer(&mut client, "here").await;
        (client, server)
    };
    let (client, server) = refused().await;
    assert_eq!(seconds(server).await, limit::PARTING_SILENCE_SECONDS);
    drop(client);
    let (mut client, server) = refused().await;
    let trickle = tokio::spawn(async move {
        while client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(limit::PARTING_SILENCE_SECONDS - 1)).await;
        }
    });
    assert_eq!(seconds(server).await, limit::PARTING_READ_SECONDS);
    trickle.await.expect("ended");
    let (client, server) = refused().await;
    drop(client);
    assert_eq!(seconds(server).await, 0);
    // Nor does a server that stops wait for them.
    let stop = CancellationToken::new();
    let (mut client, server) = stoppable(stop.clone());
    ask(&mut client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n").await;
    answer(&mut client, "here").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    assert_eq!(seconds(server).await, 0);
}

/// `slowloris_upload`: whoever says a length and sends nothing more is given up.
#[tokio::test(start_paused = true)]
async fn slowloris_upload() {
    let (mut client, _server) = connected();
    ask(&mut client, "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n").await;
    for _ in 0..50 {
        ask(&mut client, "x").await;
        tokio::time::sleep(Duration::from_secs(limit::READ_STALL_SECONDS - 1)).await;
    }
    let head = answer(&mut client, "\r\n").await;
    assert_eq!(head, "HTTP/1.1 408 Request Timeout\r\n");
    let (mut client, _server) = connected();
    ask(&mut client, "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(limit::READ_STALL_SECONDS - 1)).await;
    ask(&mut client, "xyz").await;
    assert_eq!(answer(&mut client, "\r\n").await, "HTTP/1.1 200 OK\r\n");
}

/// `client_stalls_10_min`: whoever reads nothing of an answer is given up; whoever reads slowly is not.
#[tokio::test(start_paused = true)]
async fn client_stalls_10_min() {
    let (mut client, server) = connected();
    ask(&mut client, "GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await;
    ends_after(server, limit::WRITE_STALL_SECONDS).await;
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.expect("what was under way");
    assert!(rest.len() <= PIPE);
    let (mut client, _server) = connected();
    ask(&mut client, "GET /long HTTP/1.1\r\nhost: a\r\n\r\n").await;
    answer(&mut client, "\r\n\r\n").await;
    let mut piece = vec![0; PIPE];
    for _ in 0..64 {
        tokio::time::sleep(Duration::from_secs(limit::WRITE_STALL_SECONDS - 1)).await;
        client.read_exact(&mut piece).await.expect("a piece");
    }
}

/// HTTP/2 is another protocol, whoever begins with it.
#[tokio::test(start_paused = true)]
async fn a_second_version_is_no_way_around() {
    let (mut client, server) = connected();
    ask(&mut client, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("settings");
    assert_eq!(seconds(server).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_lets_requests_finish() {
    let stop = CancellationToken::new();
    let (mut busy, served) = stoppable(stop.clone());
    ask(&mut busy, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (_silent, unserved) = stoppable(stop.clone());
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    assert_eq!(seconds(unserved).await, 0);
    answer(&mut busy, "content-length: 0\r\n").await;
    assert_eq!(seconds(served).await, 0);
}

/// A handshake that does not begin, or does not end, is cut off.
#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let acceptor = tls::tests::acceptor().await;
    tokio::time::pause();
    for begun in [&b""[..], &[0x16, 3, 1, 1, 0, 1]] {
        let (mut client, server) = tokio::io::duplex(PIPE);
        client.write_all(begun).await.expect("sent");
        let shaking = {
            let who = (caller().address, ConnectionHold::new(()));
            shake_hands(server, who, &acceptor, app(), CancellationToken::new())
        };
        assert_eq!(seconds(shaking).await, limit::HANDSHAKE_SECONDS);
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn an_address_has_its_share_and_no_more() {
    let slots = Slots::new(3 * limit::CONNECTION_SHARES);
    let take = |text: &str| slots.shares.take(address(text));
    let mut held: Vec<_> = (0..3).map(|_| take("192.0.2.1").expect("its share")).collect();
    assert!(take("192.0.2.1").is_none());
    assert!(take("::ffff:192.0.2.1").is_none(), "the same, written in IPv6");
    assert!(take("192.0.2.2").is_some(), "another");
    held.pop();
    held.push(take("192.0.2.1").expect("one came back"));
    // One machine has all addresses of its network.
    let others: Vec<_> = (1..=3).map(|it| take(&format!("2001:db8::{it}")).expect("its share")).collect();
    assert!(take("2001:db8::ffff:1").is_none());
    assert!(take("2001:db8:0:1::1").is_some(), "another network");
    let most = 3 * limit::CONNECTION_SHARES;
    assert_eq!(slots.count(), Connections { open: 6, most, closed: 3 });
    drop((held, others));
    assert_eq!(slots.count().open, 0);
    assert!(slots.shares.taken().is_empty(), "nobody is remembered for nothing");
}

#[test]
fn there_is_a_file_for_each_connection() {
    let files = |connections: usize| {
        limit::FILES_KEPT + limit::FILES_PER_CONNECTION * u64::try_from(connections).expect("small")
    };
    assert_eq!(limit::connections(files(1_000)), 1_000);
    assert_eq!(limit::connections(files(limit::CONNECTIONS)), limit::CONNECTIONS);
    assert_eq!(limit::connections(files(limit::CONNECTIONS + 1)), limit::CONNECTIONS);
    assert_eq!(limit::connections(u64::MAX), limit::CONNECTIONS);
    assert_eq!(limit::connections(0), limit::CONNECTIONS_LEAST);
    assert!(files(limit::CONNECTIONS) <= limit::FILES);
    assert!(raise_files() > limit::FILES_KEPT);
}

/// One more than there are slots for waits, is not refused, and gets the first one that is free.
#[tokio::test]
async fn who_finds_no_slot_waits_for_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let stop = CancellationToken::new();
    let slots = Slots::new(limit::CONNECTION_SHARES * 2);
    // Others have all but two.
    let _others = slots.free.clone().acquire_many_owned(6).await.expect("free");
    let server = tokio::spawn(serve(listener, Door::Plain, app(), slots, stop.clone()));
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
        stream.readable().await.expect("answered");
        held.push(stream);
    }
    let mut waiting = TcpStream::connect(address).await.expect("in the queue");
    waiting.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut held_up = [0; 512];
    // Whoever has a slot is answered again while the third is not.
    let first = held.first_mut().expect("two");
    for _ in 0..20 {
        let _ = first.read(&mut held_up).await.expect("an answer");
        first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    }
    let error = waiting.try_read(&mut held_up).expect_err("nothing yet");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    held.pop();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("here"), "{answer}");
    stop.cancel();
    server.await.expect("ended");
}
