//! One mail at a time: what a real mail server is given, and what hostile text does not do to it.

use std::path::Path;

use seaworthy_model::{
    AlertId, AlertMessageId, ChangeReason, ClearanceChange, ClearanceChanged, ContainerKey, HostId, Timestamp,
};
use seaworthy_policy::Language;
use seaworthy_server::{
    MailConfig,
    alerts::{Letter, Links, letter},
    limit,
    mail::{Mail, MailError},
};
use seaworthy_telemetry::{Alert, AlertKind, Body};
use serde_json::Value;

use crate::{
    Identity,
    smtp::{Behaviour, MailServer, header},
};

const PLAIN: Behaviour<'_> = Behaviour { tls: "none", identity: None, login: None, answer: "250" };

fn config(server: &MailServer, tls: &str) -> MailConfig {
    MailConfig {
        host: if tls == "none" { "127.0.0.1".into() } else { "localhost".into() },
        port: server.port,
        tls: tls.into(),
        from: "Seaworthy <seaworthy@example.com>".into(),
        ..MailConfig::default()
    }
}

fn links() -> Links {
    Links { base: "https://seaworthy.example.com".into() }
}

pub(crate) fn about(name: &str) -> ClearanceChanged {
    ClearanceChanged {
        change: ClearanceChange::NewlyBlocked,
        key: ContainerKey { host: HostId::from_u128(7), runtime: "docker".into(), id: "ab".repeat(32) },
        host_name: "h1".into(),
        name: name.into(),
        reported: "localhost:5000/prod/web:1".into(),
        repository: "prod/web".parse().expect("name"),
        digest: None,
        content_id: None,
        started_at: None,
        verdict: "blocked".into(),
        before: Some("allowed".into()),
        reasons: vec![ChangeReason {
            rule: "prod/vulns".into(),
            result: "fail".into(),
            mode: "enforce".into(),
            message: "1 fixable vulnerability (CVE-1 expat 1 → 2)".into(),
            message_ja: "修正可能な脆弱性 1 件".into(),
        }],
        more_reasons: 2,
        decided_at: "2026-11-23".parse().expect("date"),
    }
}

fn alert(name: &str) -> Body {
    let about = about(name);
    let at: Timestamp = "2026-11-23".parse().expect("date");
    Body::Alert(Box::new(Alert { id: AlertId::from_u128(1), kind: AlertKind::of(&about), at, about }))
}

async fn send(mail: &Mail, letter: &Letter) -> Result<(), MailError> {
    let now = "2026-11-23T10:00:00Z".parse().expect("date");
    mail.send("ops@example.com", AlertMessageId::from_u128(5), letter, now).await
}

#[tokio::test]
async fn a_mail_says_what_happened() {
    let Some(server) = MailServer::start("a_mail_says_what_happened", &PLAIN) else { return };
    let mail = Mail::new(&config(&server, "none"), None).expect("usable");
    send(&mail, &letter(&links(), &alert("web"), Language::English)).await.expect("taken");
    let got = server.next();
    assert_eq!(
        (&got["mail_from"], &got["rcpt_tos"][0]),
        (&"seaworthy@example.com".into(), &"ops@example.com".into())
    );
    assert_eq!(header(&got, "Subject"), "[seaworthy] running container `web` on `h1` is now blocked");
    assert_eq!(header(&got, "From"), "Seaworthy <seaworthy@example.com>");
    assert_eq!(header(&got, "Message-ID"), "<00000000-0000-0000-0000-000000000005@example.com>");
    assert_eq!(header(&got, "Auto-Submitted"), "auto-generated");
    assert_eq!(header(&got, "Date"), "Mon, 23 Nov 2026 10:00:00 +0000");
    assert_eq!((&got["content_type"], &got["is_multipart"]), (&"text/plain".into(), &false.into()));
    let text = got["text"].as_str().expect("text");
    for part in [
        "Container: web (abab",
        "Image: localhost:5000/prod/web:1",
        "Verdict: allowed → blocked",
        "- prod/vulns (fail): 1 fixable vulnerability (CVE-1 expat 1 → 2)",
        "- and 2 more",
        "seaworthy container explain h1/abababababab",
        "https://seaworthy.example.com/api/v1/containers/h1/abab",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    send(&mail, &letter(&links(), &alert("web"), Language::Japanese)).await.expect("taken");
    let got = server.next();
    assert_eq!(header(&got, "Subject"), "[seaworthy] `h1` で実行中のコンテナー `web` がブロックになりました");
    let text = got["text"].as_str().expect("text");
    assert!(text.contains("判定: 許可 → ブロック") && text.contains("修正可能な脆弱性 1 件"), "{text}");
    send(&mail, &letter(&links(), &Body::Test, Language::Japanese)).await.expect("taken");
    assert!(server.next()["text"].as_str().is_some_and(|it| it.contains("テスト")));
}

/// Names are foreign text: they add no header, steer no terminal and are not pasted into a shell.
#[tokio::test]
async fn hostile_names_are_shown_and_not_obeyed() {
    let Some(server) = MailServer::start("hostile_names_are_shown_and_not_obeyed", &PLAIN) else { return };
    let mail = Mail::new(&config(&server, "none"), None).expect("usable");
    let plain: Vec<String> = {
        send(&mail, &letter(&links(), &alert("web"), Language::English)).await.expect("taken");
        names(&server.next())
    };
    for name in [
        "a\r\nBcc: victim@example.com",
        "a\nSubject: other",
        "a\r\n\r\n<script>alert(1)</script>",
        "a\r\n.\r\nMAIL FROM:<x@example.com>",
        "\u{202e}gnp.exe\u{2066}\u{200b}\u{feff}\u{e0041}",
        "=?utf-8?q?Bcc=3A_victim=40example.com?=",
        "\u{1b}[2J\u{0}\u{7}",
        "日本語 'quoted' \"double\" <a@b.example>, c@d.example",
        &"x".repeat(10_000),
        &"é".repeat(2_000),
    ] {
        let mut body = about(name);
        body.host_name = format!("h{name}");
        body.reported = format!("{name}:1");
        body.reasons[0].rule = format!("prod/{name}");
        let kind = AlertKind::ContainerViolation;
        let at = "2026-11-23".parse().expect("date");
        let body = Body::Alert(Box::new(Alert { id: AlertId::from_u128(1), kind, at, about: body }));
        send(&mail, &letter(&links(), &body, Language::English)).await.expect("taken");
        let got = server.next();
        assert_eq!(names(&got), plain, "{name:?}: no header more: {got:#}");
        assert_eq!(got["rcpt_tos"].as_array().map(Vec::len), Some(1));
        assert!(got["longest_line"].as_u64().is_some_and(|it| it <= 998), "RFC 5322, 2.1.1: {name:?}");
        let (subject, text) = (header(&got, "Subject"), got["text"].as_str().expect("text"));
        for hostile in ['\u{1b}', '\0', '\u{7}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{e0041}']
        {
            assert!(!subject.contains(hostile) && !text.contains(hostile), "{hostile:?}: {text:?}");
        }
        assert!(!text.lines().any(|line| line.starts_with("Bcc:") || line.starts_with("Subject:")), "{text}");
        assert!(!text.contains("container explain h"), "nothing to paste: {text}");
        assert!(subject.chars().count() < 3 * limit::SHOWN_CHARS, "{subject}");
    }
    let exact = "y".repeat(limit::SHOWN_CHARS);
    let said = letter(&links(), &alert(&exact), Language::English);
    assert!(said.subject.contains(&exact) && !said.subject.contains('…'));
    let said = letter(&links(), &alert(&format!("{exact}z")), Language::English);
    assert!(said.subject.contains(&format!("{exact}…")), "{}", said.subject);
}

fn names(mail: &Value) -> Vec<String> {
    let all = mail["headers"].as_array().expect("headers");
    let mut names: Vec<String> = all.iter().map(|it| it[0].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_mail_server_is_believed_and_told_who_we_are() {
    const NAME: &str = "the_mail_server_is_believed_and_told_who_we_are";
    let identity = Identity::of(&["localhost"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    };
    let (right, wrong) = (file("right", "pa ss\n"), file("wrong", "other\n"));
    let test = letter(&links(), &Body::Test, Language::English);
    for tls in ["starttls", "tls"] {
        let login = (tls == "starttls").then_some(("seaworthy", "pa ss"));
        let behaviour = Behaviour { tls, identity: Some(identity.paths()), login, answer: "250" };
        let Some(server) = MailServer::start(NAME, &behaviour) else { return };
        let signed_in = |password: &Path| MailConfig {
            user: login.map_or(String::new(), |(user, _)| user.to_owned()),
            password_file: login.map_or(String::new(), |_| password.display().to_string()),
            ..config(&server, tls)
        };
        let ca = Some(identity.certificate.as_path());
        let mail = Mail::new(&signed_in(&right), ca).expect("usable");
        send(&mail, &test).await.expect("taken");
        let got = server.next();
        assert_eq!(
            (&got["tls"], got["login"].as_str()),
            (&true.into(), login.map(|(user, _)| user)),
            "{tls}"
        );
        let doubted = send(&Mail::new(&signed_in(&right), None).expect("usable"), &test).await;
        assert!(matches!(doubted, Err(MailError::Refused { .. })), "not believed: {doubted:?}");
        if login.is_some() {
            let refused = send(&Mail::new(&signed_in(&wrong), ca).expect("usable"), &test).await;
            assert!(matches!(refused, Err(MailError::Refused { .. })), "{refused:?}");
        }
        assert!(!server.has_more());
    }
    // A password file that is none.
    let long = usize::try_from(limit::PASSWORD_BYTES).expect("small");
    for (bytes, fits) in [(long, true), (long + 1, false)] {
        let path = file("long", &"p".repeat(bytes));
        let config = MailConfig {
            host: "localhost".into(),
            from: "a@b.example".into(),
            user: "u".into(),
            password_file: path.display().to_string(),
            ..MailConfig::default()
        };
        assert_eq!(Mail::new(&config, None).is_ok(), fits, "{bytes}");
    }
}

#[tokio::test]
async fn what_is_not_taken_is_told() {
    const NAME: &str = "what_is_not_taken_is_told";
    let Some(server) = MailServer::start(NAME, &Behaviour { answer: "451", ..PLAIN }) else { return };
    let test = letter(&links(), &Body::Test, Language::English);
    let refused = send(&Mail::new(&config(&server, "none"), None).expect("usable"), &test).await;
    let Err(error) = refused else { panic!("taken") };
    assert!(seaworthy_store::chain(&error).contains("451"), "{}", seaworthy_store::chain(&error));
    // Without TLS where it is asked for, nothing is said.
    let plain = send(&Mail::new(&config(&server, "starttls"), None).expect("usable"), &test).await;
    assert!(matches!(plain, Err(MailError::Refused { .. })), "{plain:?}");
    let now = "2026-11-23".parse().expect("date");
    let mail = Mail::new(&config(&server, "none"), None).expect("usable");
    let nobody =
        mail.send("ops@example.com\r\nRCPT TO:<x@y.example>", AlertMessageId::from_u128(1), &test, now).await;
    assert!(matches!(nobody, Err(MailError::Address { .. })), "{nobody:?}");
}

/// A mail server that takes the connection and says nothing costs as long as we are patient.
#[tokio::test]
async fn a_silent_mail_server_ends_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let config = MailConfig {
        host: "127.0.0.1".into(),
        port: listener.local_addr().expect("its address").port(),
        tls: "none".into(),
        from: "a@b.example".into(),
        ..MailConfig::default()
    };
    let mail = Mail::new(&config, None).expect("usable").patience(std::time::Duration::from_millis(200));
    let test = letter(&links(), &Body::Test, Language::English);
    let (outcome, connection) = tokio::join!(send(&mail, &test), listener.accept());
    assert!(matches!(outcome, Err(MailError::Late { .. })), "{outcome:?}");
    drop(connection.expect("it came"));
}
