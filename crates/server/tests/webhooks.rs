//! One request at a time: what is signed, whom it goes to, and what it does not do.

use std::time::{Duration, Instant};

use seaworthy_model::{Network, Timestamp};
use seaworthy_server::{
    limit, trusted,
    webhook::{Address, Endpoint, Key, Parcel, SendError, Webhook},
};

use crate::{
    Identity,
    receiver::{Receiver, babbling},
};

fn endpoint(url: &str) -> Endpoint {
    Endpoint { address: Address::parse(url).expect(url), key: Key::generate().expect("random") }
}

fn parcel() -> Parcel {
    let body = r#"{"name":"日本語"}"#;
    Parcel { id: "0190a2b4".into(), content_type: "application/json", body: body.as_bytes().into() }
}

fn here() -> Vec<Network> {
    vec!["127.0.0.1".parse().expect("a network"), "::1".parse().expect("a network")]
}

fn sender() -> Webhook {
    Webhook::new(trusted::roots(None).expect("roots"), &[]).expect("TLS")
}

async fn send(endpoint: &Endpoint, networks: &[Network]) -> Result<(), SendError> {
    sender().send(endpoint, networks, &parcel(), "2026-11-23".parse().expect("date")).await
}

#[tokio::test]
async fn a_receiver_believes_what_is_sent() {
    let receiver = Receiver::http(&[204]).await;
    let it = endpoint(&format!("http://127.0.0.1:{}/a/b?c=d", receiver.port));
    send(&it, &here()).await.expect("sent");
    let request = receiver.came(1).await[0].clone();
    assert_eq!(request.believed(it.key.told().expose())["name"], "日本語");
    let at: Timestamp = "2026-11-23".parse().expect("date");
    assert_eq!(request.header("webhook-timestamp"), at.as_seconds().to_string());
    assert_eq!(request.header("webhook-id"), "0190a2b4");
    assert_eq!(request.header("host"), format!("127.0.0.1:{}", receiver.port));
    assert!(request.header("user-agent").starts_with("seaworthy/"), "{request:?}");
    let other = endpoint("https://h/").key;
    let wrong = std::panic::catch_unwind(|| request.believed(other.told().expose()));
    assert!(wrong.is_err(), "another key signs otherwise");
}

#[tokio::test]
async fn tls_is_believed_by_the_configured_certificates_alone() {
    let identity = Identity::of(&["localhost"]);
    let receiver = Receiver::https(&[200], &identity.certificate, &identity.key).await;
    let it = endpoint(&format!("https://localhost:{}/", receiver.port));
    let now = "2026-11-23".parse().expect("date");
    let own =
        Webhook::new(trusted::roots(Some(&identity.certificate)).expect("roots"), &here()).expect("TLS");
    own.send(&it, &[], &parcel(), now).await.expect("believed");
    let refused = sender().send(&it, &here(), &parcel(), now).await;
    assert!(matches!(refused, Err(SendError::Tls { .. })), "{refused:?}");
    // The certificate is for another name.
    let by_number = endpoint(&format!("https://127.0.0.1:{}/", receiver.port));
    let refused = own.send(&by_number, &[], &parcel(), now).await;
    assert!(matches!(refused, Err(SendError::Tls { .. })), "{refused:?}");
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn nobody_behind_our_walls_hears_of_it() {
    let receiver = Receiver::http(&[200]).await;
    let port = receiver.port;
    // What a name, a number in another form or a mapped address leads to is what is looked at.
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "2130706433",
        "127.1",
        "0x7f.1",
    ] {
        for scheme in ["http", "https"] {
            let refused = send(&endpoint(&format!("{scheme}://{host}:{port}/")), &[]).await;
            let is_refused = matches!(refused, Err(SendError::Forbidden { .. } | SendError::Resolve { .. }));
            assert!(is_refused, "{scheme}://{host}: {refused:?}");
        }
    }
    let other: Vec<Network> = vec!["10.0.0.0/8".parse().expect("a network")];
    let refused = send(&endpoint(&format!("http://127.0.0.1:{port}/")), &other).await;
    assert!(matches!(refused, Err(SendError::Forbidden { .. })), "{refused:?}");
    assert_eq!(receiver.requests().len(), 0);
    // Allowed, the mapped address is this machine too.
    send(&endpoint(&format!("http://[::ffff:127.0.0.1]:{port}/")), &here()).await.expect("sent");
    // Plain HTTP leaves this machine never, whatever is allowed.
    let allowed: Vec<Network> = vec!["192.0.2.0/24".parse().expect("a network")];
    let plain = send(&endpoint("http://192.0.2.1/"), &allowed).await;
    assert!(matches!(plain, Err(SendError::Plain { .. })), "{plain:?}");
    let unknown = send(&endpoint("https://no-such-host.invalid/"), &[]).await;
    assert!(matches!(unknown, Err(SendError::Resolve { .. })), "{unknown:?}");
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let receiver = Receiver::http(&[302, 307, 308]).await;
    let it = endpoint(&format!("http://127.0.0.1:{}/", receiver.port));
    for _ in 0..3 {
        let answer = send(&it, &here()).await;
        assert!(matches!(answer, Err(SendError::Redirected { .. })), "{answer:?}");
    }
    assert_eq!(receiver.requests().len(), 3);
}

/// A head that does not end is cut off at its limit, long before time is over; a body is not read.
#[tokio::test]
async fn answers_are_bounded() {
    let began = Instant::now();
    for bytes in [
        &b"x-header: value\r\n"[..],
        b"HTTP/1.1 200 OK\r\n",
        b"\0",
        b"HTTP/1.1 500 Not Now\r\ncontent-length: 18446744073709551615\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    ] {
        let port = babbling(bytes).await;
        let answer = send(&endpoint(&format!("http://127.0.0.1:{port}/")), &here()).await;
        assert!(answer.is_err(), "{answer:?}: {}", String::from_utf8_lossy(bytes));
    }
    // As long as the limit is a head; one that is longer is not.
    let head = |bytes: usize| -> &'static [u8] {
        let frame = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: \r\n\r\n".len();
        let text =
            format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n", "y".repeat(bytes - frame));
        text.leak().as_bytes()
    };
    for (bytes, fits) in [(limit::ANSWER_HEAD_BYTES / 2, true), (limit::ANSWER_HEAD_BYTES * 4, false)] {
        let port = babbling(head(bytes)).await;
        let answer = send(&endpoint(&format!("http://127.0.0.1:{port}/")), &here()).await;
        assert_eq!(answer.is_ok(), fits, "{bytes}: {answer:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(limit::WEBHOOK_SECONDS), "{:?}", began.elapsed());
}

/// A receiver that says nothing costs as long as the sender is patient, by default
/// [`limit::WEBHOOK_SECONDS`].
#[tokio::test]
async fn silence_ends_in_time() {
    let receiver = Receiver::http(&[0]).await;
    let it = endpoint(&format!("http://127.0.0.1:{}/", receiver.port));
    let now = "2026-11-23".parse().expect("date");
    let patience = Duration::from_millis(200);
    let answer = sender().patience(patience).send(&it, &here(), &parcel(), now).await;
    assert!(matches!(answer, Err(SendError::Late { .. })), "{answer:?}");
    receiver.came(1).await;
    let lease = u64::try_from(seaworthy_telemetry::limit::LEASE_SECONDS).expect("positive");
    assert!(limit::WEBHOOK_SECONDS.max(limit::MAIL_SECONDS) < lease, "an attempt ends before its lease");
    const { assert!(limit::CONNECT_SECONDS < limit::WEBHOOK_SECONDS && limit::ADDRESSES > 1) };
}
