//! People in the console: the printed link, passwords, cookies, other pages, the live stream.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_store::{Db, args};
use serde_json::{Value, json};

use crate::{
    agent::until,
    http::{Answer, Door},
    server::Place,
};

const PASSWORD: &str = "correct horse battery";

/// How long an event may take.
const EVENT: Duration = Duration::from_secs(30);

/// A browser at the server's own page, with its cookie.
struct Browser {
    port: u16,
    cookie: String,
}

impl Browser {
    fn at(port: u16) -> Self {
        Self { port, cookie: String::new() }
    }

    fn page(&self) -> Door {
        self.page_of("same-origin", &format!("http://localhost:{}", self.port))
    }

    fn page_of(&self, site: &str, origin: &str) -> Door {
        let mut headers = vec![("sec-fetch-site", site.to_owned()), ("origin", origin.to_owned())];
        if !self.cookie.is_empty() {
            headers.push(("cookie", self.cookie.clone()));
        }
        Door::Page { port: self.port, headers }
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.page().ask("POST", path, "application/json", body.to_string().as_bytes()).expect("answered")
    }

    /// Signs in, and keeps the cookie as a browser would.
    fn sign_in(&mut self, body: &Value) -> Answer {
        let answer = self.post("/api/v1/session", body);
        if let Some(set) = answer.header("set-cookie") {
            assert_eq!(answer.status, 200, "{}", answer.text());
            let (cookie, attributes) = set.split_once("; ").expect("attributes");
            assert!(cookie.starts_with("__Host-seaworthy=swc_"), "{set}");
            assert_eq!(attributes, "Path=/; HttpOnly; Secure; SameSite=Strict");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            cookie.clone_into(&mut self.cookie);
        }
        answer
    }

    fn who(&self) -> Value {
        let answer = self.page().get("GET", "/api/v1/whoami");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

/// An open live stream.
pub(crate) struct Stream {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Stream {
    pub(crate) fn open(page: &Door) -> Self {
        let Door::Page { port, headers } = page else { panic!("{page:?}") };
        let mut socket = TcpStream::connect(("127.0.0.1", *port)).expect("connected");
        socket.set_read_timeout(Some(EVENT)).expect("a time-out");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("GET /api/v1/live HTTP/1.1\r\nhost: localhost:{port}\r\n{headers}\r\n");
        socket.write_all(head.as_bytes()).expect("asked");
        Self { socket, read: Vec::new() }
    }

    /// Reads until the body so far contains `part`: the answer so far.
    pub(crate) fn until(&mut self, part: &str) -> Answer {
        self.read_while(|stream| !stream.so_far().is_some_and(|answer| answer.text().contains(part)));
        self.so_far().expect("an answer")
    }

    /// Reads until a number of the last state is greater than it was.
    fn until_greater(&mut self, kind: &str, before: &Value) {
        self.read_while(|stream| stream.state()[kind].as_u64() <= before[kind].as_u64());
    }

    /// Reads until the server ends the stream.
    fn ends(mut self) {
        self.read_while(|stream| !stream.read.ends_with(b"0\r\n\r\n"));
    }

    fn read_while(&mut self, wanted: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while wanted(self) {
            let mut some = [0; 4096];
            let count = self.socket.read(&mut some).expect("more to come");
            let text = String::from_utf8_lossy(&self.read);
            assert!(count > 0 && started.elapsed() < EVENT, "nothing more: {text}");
            self.read.extend(&some[..count]);
        }
    }

    fn so_far(&self) -> Option<Answer> {
        let text = String::from_utf8_lossy(&self.read).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        // The lengths of chunks stand on lines of their own.
        let body: Vec<&str> =
            body.split("\r\n").filter(|it| usize::from_str_radix(it, 16).is_err()).collect();
        Some(Answer { status, head: head.to_owned(), body: body.concat().into_bytes() })
    }

    /// The numbers of the last state.
    fn state(&self) -> Value {
        let text = self.so_far().expect("an answer").text();
        let data = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).expect("a state");
        serde_json::from_str(data).expect("JSON")
    }
}

fn fragment(url: &str) -> String {
    url.trim().split_once("/sign-in#").expect("a link").1.to_owned()
}

/// A person with [`PASSWORD`] and rights everywhere, signed in.
fn person(place: &Place, port: u16, name: &str) -> Browser {
    let made = place.cli(&["principal", "create", name, "--user", "--role", "Owner", "--scope", "/"]);
    assert_eq!(made.code, 0, "{made:?}");
    let link = fragment(made.json()["link"]["url"].as_str().expect("a link"));
    let mut browser = Browser::at(port);
    let signed = browser.sign_in(&json!({"link": link, "password": PASSWORD}));
    assert_eq!(signed.status, 200, "{}", signed.text());
    browser
}

#[test]
fn the_printed_link_signs_in_once() {
    let place = Place::new();
    let server = place.up(&[]);
    let said = place.cli(&["console"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 1), "{said:?}");
    assert!(said.out.starts_with(&format!("http://localhost:{}/sign-in#swl_", server.port)), "{said:?}");
    assert!(said.err.contains("once"), "{said:?}");
    let link = fragment(&said.out);
    let mut browser = Browser::at(server.port);
    assert_eq!(browser.who()["kind"], "anonymous");
    let signed = browser.sign_in(&json!({"link": link}));
    assert_eq!(signed.status, 200, "{}", signed.text());
    let who = browser.who();
    let uid =
        place.cli(&["whoami", "-o", "json"]).json()["name"].as_str().unwrap().replace("uid:", "operator-");
    assert_eq!((&who["name"], &who["method"]), (&json!(uid), &json!("session")), "{who}");
    assert!(who["session"]["expires_at"].is_string(), "{who}");
    assert_eq!(browser.page().get("GET", "/api/v1/principals").status, 200, "with the operator's rights");

    let again = Browser::at(server.port).sign_in(&json!({"link": link}));
    assert_eq!(again.status, 401);
    assert!(
        again.json()["error"]["hint"].as_str().unwrap().contains("seaworthy console"),
        "{}",
        again.text()
    );
    let json = place.cli(&["console", "-o", "json"]).json();
    assert!(json["url"].is_string() && json["expires_at"].is_string(), "{json}");

    let out = browser.page().get("DELETE", "/api/v1/session");
    assert!(out.header("set-cookie").unwrap().ends_with("Max-Age=0"), "{}", out.head);
    assert_eq!(browser.who()["kind"], "anonymous", "the cookie itself is worth nothing now");
    let list = || place.cli(&["ledger", "list", "-o", "json"]).out;
    until("the sign-out is in the ledger", || list().contains("session.end").then_some(()));
    let told = format!("{}{}", place.log(), list());
    assert!(told.contains("link.issue") && told.contains("session.begin"), "{told}");
    assert!(!told.contains(&link) && !told.contains("swc_"), "{told}");
}

#[test]
fn a_person_sets_a_password_and_may_be_cut_off() {
    let place = Place::new();
    let server = place.up(&[]);
    let mut ann = person(&place, server.port, "ann");
    assert_eq!(ann.who()["name"], "ann");
    ann.sign_in(&json!({"name": "ann", "password": PASSWORD}));
    let shown = place.cli(&["principal", "show", "ann"]).json();
    assert_eq!(shown["sessions"], 1, "the one before ended: {shown}");
    assert!(shown["password_set_at"].is_string() && !shown.to_string().contains("hash"), "{shown}");

    let link = fragment(&place.cli(&["principal", "link", "ann"]).out);
    let mut other = Browser::at(server.port);
    let asked = other.sign_in(&json!({"link": link}));
    assert_eq!((asked.status, &asked.json()["error"]["code"]), (409, &json!("PASSWORD_REQUIRED")));
    let weak = json!({"link": link, "password": "annannannann"}).to_string();
    let mut japanese = other.page();
    if let Door::Page { headers, .. } = &mut japanese {
        headers.push(("accept-language", "ja".to_owned()));
    }
    let weak = japanese.ask("POST", "/api/v1/session", "application/json", weak.as_bytes()).unwrap();
    assert_eq!(weak.status, 400);
    assert!(weak.text().contains("推測されやすい") && weak.text().contains("12 文字以上"), "{}", weak.text());
    assert_eq!(ann.who()["kind"], "user", "nothing happened yet");
    assert_eq!(other.sign_in(&json!({"link": link, "password": "another horse battery"})).status, 200);
    assert_eq!(ann.who()["kind"], "anonymous", "another password ends the sessions of the old one");

    assert_eq!(place.cli(&["principal", "disable", "ann"]).code, 0);
    assert_eq!(other.who()["kind"], "anonymous");
    assert_eq!(other.page().get("GET", "/api/v1/principals").status, 401);
    let refused = other.sign_in(&json!({"name": "ann", "password": "another horse battery"}));
    let unknown = other.sign_in(&json!({"name": "nobody", "password": "another horse battery"}));
    assert_eq!((refused.status, refused.text()), (401, unknown.text()), "one answer for all");
    assert_eq!(place.cli(&["principal", "link", "ann"]).code, 3, "disabled");
    let refused = place.cli(&["principal", "create", "operator-4242", "--user"]);
    assert!(refused.code == 2 && refused.err.contains("operator of this machine"), "{refused:?}");
    for body in [
        json!({}),
        json!({"name": "ann"}),
        json!({"link": link, "name": "ann"}),
        json!({"x": PASSWORD}),
        json!([]),
    ] {
        let answer = other.post("/api/v1/session", &body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(!answer.text().contains(PASSWORD), "a secret is not repeated");
    }
    let form = other.page().ask("POST", "/api/v1/session", "text/plain", b"{}").unwrap();
    assert_eq!(form.status, 400, "{}", form.text());
}

#[test]
fn other_pages_cannot_use_the_cookie() {
    let place = Place::new();
    let server = place.up(&[]);
    let ann = person(&place, server.port, "ann");
    let role = json!({"name": "planted", "permissions": ["access/write"]}).to_string();
    let own = format!("http://localhost:{}", server.port);
    let stale = Browser { port: server.port, cookie: format!("__Host-seaworthy=swc_{}", "A".repeat(43)) };
    for (browser, page, status) in [
        (&ann, ann.page_of("cross-site", "https://evil.example"), 403),
        (&ann, ann.page_of("same-site", "http://localhost:3000"), 403),
        (&ann, ann.page_of("same-origin", "null"), 403),
        (&ann, Door::Page { port: server.port, headers: vec![("cookie", ann.cookie.clone())] }, 403),
        // The same whether or not the cookie still holds: it tells nothing.
        (&stale, stale.page_of("cross-site", "https://evil.example"), 403),
        (&stale, stale.page(), 401),
        (&ann, ann.page_of("same-origin", &own), 200),
    ] {
        let answer = page.ask("POST", "/api/v1/roles", "application/json", role.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{page:?}: {}", answer.text());
        assert!(status != 403 || answer.text().contains("another site"), "{}", answer.text());
        assert!(!browser.cookie.is_empty());
    }
    // What another page reads, nobody reads; a cookie that is none hurts nobody.
    let read = ann.page_of("same-site", "http://localhost:3000").get("GET", "/api/v1/whoami");
    assert_eq!(read.json()["kind"], "anonymous");
    assert_eq!(stale.who()["kind"], "anonymous");
    assert_eq!(stale.page().get("GET", "/livez").status, 200);
    assert_eq!(ann.page().get("GET", "/v2/").status, 401, "docker's door knows no cookies");
    assert_eq!(ann.page().get("GET", "/oauth2/token?service=seaworthy").status, 401);
}

#[test]
fn two_servers_on_one_host_share_the_cookie_and_nothing_else() {
    let (place, other) = (Place::new(), Place::new());
    let (here, there) = (place.up(&[]), other.up(&[]));
    let ann = person(&place, here.port, "ann");
    // Browsers know no ports: they send what one server set to the other.
    let mut elsewhere = Browser { port: there.port, cookie: ann.cookie.clone() };
    assert_eq!(elsewhere.who()["kind"], "anonymous");
    let link = fragment(&other.cli(&["console"]).out);
    assert_eq!(elsewhere.sign_in(&json!({"link": link})).status, 200);
    assert_eq!(ann.who()["name"], "ann", "signing in there ends nothing here");
}

#[test]
fn approving_asks_for_the_password_again() {
    let place = Place::new();
    let server = place.up(&[]);
    let mut ann = person(&place, server.port, "ann");
    let words = [
        "exception",
        "request",
        "--repo",
        "prod/web",
        "--rule",
        "prod/vulns",
        "--owner",
        "web",
        "--reason",
        "r",
    ];
    let tomorrow =
        seaworthy_model::Clock::now(&seaworthy_model::SystemClock).plus_seconds(86_400).to_string();
    let mut command = place.command(&words);
    command.args(["--expires", &tomorrow, "-o", "json"]);
    let asked = crate::server::run(&mut command).json();
    let path = format!("/api/v1/exceptions/{}/approve", asked["exception"]["id"].as_str().expect("an id"));
    // The session began five minutes ago: the rows are this test's to age.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = std::sync::Arc::new(seaworthy_model::SystemClock);
        let db = Db::open_sqlite(&place.data().join("seaworthy.sqlite"), clock).await.unwrap();
        let aged: Result<u64, seaworthy_store::DbError> = db
            .upkeep((), |(), tx| {
                let sql = "UPDATE access_sessions SET began_at = began_at - 300000000";
                Box::pin(async move { tx.execute(sql, args![]).await })
            })
            .await;
        assert_eq!(aged.unwrap(), 1);
        db.close().await;
    });
    let refused = ann.post(&path, &json!({}));
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (403, &json!("STEP_UP")),
        "{}",
        refused.text()
    );
    assert_eq!(ann.sign_in(&json!({"name": "ann", "password": PASSWORD})).status, 200);
    let approved = ann.post(&path, &json!({}));
    assert_eq!(approved.status, 200, "{}", approved.text());
}

#[test]
fn the_live_stream_tells_what_changed_and_ends_with_the_session() {
    let place = Place::new();
    let server = place.up(&[]);
    let ann = person(&place, server.port, "ann");
    let mut stream = Stream::open(&ann.page());
    let opened = stream.until("event: state");
    assert_eq!((opened.status, opened.header("content-type")), (200, Some("text/event-stream")));
    stream.until("}\n\n");
    let before = stream.state();
    for (kind, words) in [
        ("policies", &["policy", "apply", "-f", "examples/policies/zero.yaml"][..]),
        ("ledger", &["role", "define", "a-role", "--permission", "pull"]),
    ] {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        assert_eq!(crate::server::run(place.command(words).current_dir(root)).code, 0);
        stream.until_greater(kind, &before);
    }
    stream.until(": beat");

    // As many windows as there are seats, and one more.
    let mut open = Vec::new();
    while open.len() < 15 {
        let mut one = Stream::open(&ann.page());
        one.until("event: state");
        open.push(one);
    }
    let full = ann.page().get("GET", "/api/v1/live");
    assert_eq!(full.status, 429, "{}", full.text());
    assert!(full.header("retry-after").is_some(), "{}", full.head);
    drop(open);

    assert_eq!(place.cli(&["principal", "disable", "ann"]).code, 0);
    stream.ends();

    let ben = person(&place, server.port, "ben");
    let mut stream = Stream::open(&ben.page());
    stream.until("event: state");
    let (code, after) = server.stop();
    assert_eq!(code, Some(0));
    assert!(after < Duration::from_secs(15), "a listener does not hold the server: {after:?}");
    stream.ends();
}

/// The token that everybody gets is no sign-in, and one that ended hears nothing more.
#[test]
fn the_live_stream_is_for_who_signed_in() {
    let place = Place::new();
    let server = place.up(&[]);
    let port = server.port;
    let bearer = |door: &Door| {
        let answer = door.get("GET", "/oauth2/token?scope=repository:public/a:pull");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token = answer.json()["token"].as_str().expect("a token").to_owned();
        Door::Page { port, headers: vec![("authorization", format!("Bearer {token}"))] }
    };
    let create = |name: &str| {
        let role = ["--role", "AcrPull", "--scope", "/repositories/public"];
        let made = place.cli(&[&["principal", "create", name][..], &role].concat());
        assert_eq!(made.code, 0, "{made:?}");
        made.json()
    };
    create("anonymous");
    let everybody = bearer(&Door::Page { port, headers: Vec::new() });
    assert_eq!(everybody.get("GET", "/api/v1/live").status, 401);
    let ci = create("ci");
    let text = |key: &str| ci[key].as_str().expect("text").to_owned();
    let basic = STANDARD.encode(format!("{}:{}", text("client_id"), text("client_secret")));
    let mut stream = Stream::open(&bearer(&Door::Tcp { port, basic }));
    assert_eq!(stream.until("event: state").status, 200);
    let role = ["--principal", "ci", "--role", "AcrPull", "--scope", "/repositories/public"];
    assert_eq!(place.cli(&[&["role", "unassign"][..], &role].concat()).code, 0);
    stream.ends();
}
