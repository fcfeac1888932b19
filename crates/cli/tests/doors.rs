//! The doors: logins at another server, the caller's language, the operator group.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, Stdio},
};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    http::Door,
    image::Image,
    server::{Place, Said, free_port, run, seaworthy},
};

/// The binary of a person elsewhere: no data directory, a configuration folder of their own.
fn elsewhere(place: &Place, words: &[&str]) -> Command {
    let mut command = seaworthy();
    command.args(words).env("XDG_CONFIG_HOME", place.path("config")).env("HOME", place.path("home"));
    command.env("DOCKER_CONFIG", place.path("nobodys-docker")).env("SEAWORTHY_DATA", place.path("nowhere"));
    command
}

pub(crate) fn with_stdin(mut command: Command, input: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn who_is_not_signed_in_is_told_where_to() {
    let place = Place::new();
    let server = place.up(&[]);
    let url = format!("http://localhost:{}", server.port);
    let at = |words: &[&str]| run(&mut elsewhere(&place, &[&["--server", &url], words].concat()));
    let note = format!("not signed in at {url}: run `seaworthy login {url}`");

    let list = at(&["images", "-o", "json"]);
    assert_eq!((list.code, list.json()), (0, json!([])), "{list:?}");
    assert_eq!(list.err.trim(), note);
    let mut japanese = elsewhere(&place, &["--server", &url, "images"]);
    let japanese = run(japanese.env("SEAWORTHY_LANG", "ja"));
    assert!(japanese.err.contains("サインインしていません"), "{japanese:?}");

    let file = place.path("a.tar");
    for words in [&["principal", "list"][..], &["image", "export", "a:1", "--to", file.to_str().unwrap()]] {
        let said = at(words);
        assert_eq!(said.code, 3, "{said:?}");
        assert_eq!(said.err.matches(&note).count(), 1, "{said:?}");
        assert!(said.err.contains(&format!("hint: run `seaworthy login {url}`")), "{said:?}");
        assert!(!said.err.contains("--docker") && !said.err.contains("Basic"), "{said:?}");
    }

    let made = place.cli(&["principal", "create", "ci", "--role", "Reader", "--scope", "/"]);
    let secret = made.json()["client_secret"].as_str().expect("a secret").to_owned();
    let words = ["login", &url, "-u", "ci", "--password-stdin"];
    assert_eq!(with_stdin(elsewhere(&place, &words), &secret).code, 0);
    let list = at(&["images", "-o", "json"]);
    assert_eq!((list.code, list.err.as_str()), (0, ""), "{list:?}");
    // A login that holds no more.
    assert_eq!(place.cli(&["principal", "delete", "ci"]).code, 0);
    let said = at(&["principal", "list"]);
    assert!(!said.err.contains("not signed in"), "{said:?}");
    assert!(said.err.contains(&format!("hint: run `seaworthy login {url}`")), "{said:?}");
}

#[test]
fn a_login_at_a_server_is_checked_kept_used_and_forgotten() {
    let place = Place::new();
    let server = place.up(&[]);
    let url = format!("http://localhost:{}", server.port);
    let made = place.cli(&["principal", "create", "ci", "--role", "Reader", "--scope", "/"]);
    let secret = made.json()["client_secret"].as_str().expect("a secret").to_owned();
    let login = |secret: &str| {
        let words = ["login", &url, "-u", "ci", "--password-stdin"];
        with_stdin(elsewhere(&place, &words), secret)
    };

    let wrong = login("not the secret\n");
    assert_eq!(wrong.code, 3, "{wrong:?}");
    assert!(!place.path("config").exists(), "what the server does not believe is not kept");

    let right = login(&format!("{secret}\n"));
    assert_eq!((right.code, right.out.as_str()), (0, ""), "{right:?}");
    assert!(!right.err.contains(&secret), "{right:?}");
    let file = place.path("config/seaworthy/logins.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let who = run(&mut elsewhere(&place, &["--server", &url, "whoami", "-o", "json"]));
    let actor = who.json();
    assert_eq!((who.code, &actor["name"], &actor["login"]), (0, &json!("ci"), &json!("ci")), "{who:?}");
    assert!(!who.out.contains(&secret), "{who:?}");
    let list = run(&mut elsewhere(&place, &["--server", &url, "policy", "list", "-o", "json"]));
    assert_eq!(list.code, 0, "{list:?}");

    // Opened to others, it is not used any more.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let opened = run(&mut elsewhere(&place, &["--server", &url, "whoami"]));
    assert_eq!(opened.code, 3, "{opened:?}");
    assert!(opened.err.contains("chmod 600"), "{opened:?}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();

    assert_eq!(run(&mut elsewhere(&place, &["logout", &url])).code, 0);
    assert!(!fs::read_to_string(&file).unwrap().contains(&secret));
    assert_eq!(run(&mut elsewhere(&place, &["logout", &url])).code, 2, "there is none any more");
    let who = run(&mut elsewhere(&place, &["--server", &url, "whoami", "-o", "json"]));
    assert_eq!(who.json()["kind"], "anonymous", "{who:?}");
}

/// TLS in front of a server, with a certificate of the test's own; gone with the test's process.
fn tls_before(port: u16, certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> u16 {
    use std::sync::Arc;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key.into())
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let outside = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not believe the certificate goes away here.
                let Ok(mut outer) = acceptor.accept(stream).await else { continue };
                let mut inner = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut outer, &mut inner).await);
            }
        });
    });
    outside
}

#[test]
fn https_needs_a_certificate_that_is_believed() {
    let place = Place::new();
    let server = place.up(&[]);
    let made = place.cli(&["principal", "create", "ci", "--role", "Reader", "--scope", "/"]);
    let secret = made.json()["client_secret"].as_str().expect("a secret").to_owned();
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca = place.path("ca.pem");
    fs::write(&ca, certificate.cert.pem()).unwrap();
    let url = format!("https://localhost:{}", tls_before(server.port, &certificate));
    let ca = ca.to_str().unwrap();
    let doubted = ["login", &url, "-u", "ci", "--password-stdin"];
    let said = with_stdin(elsewhere(&place, &doubted), &secret);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("--ca FILE") && !place.path("config").exists(), "{said:?}");
    let believed = ["login", &url, "-u", "ci", "--password-stdin", "--ca", ca];
    let said = with_stdin(elsewhere(&place, &believed), &secret);
    assert_eq!(said.code, 0, "{said:?}");
    let who = run(&mut elsewhere(&place, &["--server", &url, "whoami", "-o", "json"]));
    assert_eq!(who.json()["name"], "ci", "{who:?}");
    // The certificate is for `localhost`, not for the address.
    let other = url.replace("localhost", "127.0.0.1");
    let words = ["login", &other, "-u", "ci", "--password-stdin", "--ca", ca];
    assert_eq!(with_stdin(elsewhere(&place, &words), &secret).code, 3);
}

#[test]
fn a_secret_is_never_sent_in_the_clear_or_written_as_an_argument() {
    let place = Place::new();
    for words in [
        &["login", "http://registry.example.com", "-u", "ci", "--password-stdin"][..],
        &["login", "https://ci:secret@registry.example.com", "-u", "ci", "--password-stdin"],
        &["--server", "http://registry.example.com", "status"],
        &["login"],
        &["login", "https://registry.example.com", "-u", "ci"],
    ] {
        let said = run(&mut elsewhere(&place, words));
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{words:?}: {said:?}");
        assert!(!said.err.contains("secret@"), "{said:?}");
    }
}

#[test]
fn the_caller_is_answered_in_their_language() {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    Image::debian("expat", "2.5.0-1", "").push(&door, "prod/web", "1");
    let check = |language: &str| {
        let words = ["check", "prod/web:1", "--wait", "60s", "-o", "json"];
        run(place.command(&words).env("SEAWORTHY_LANG", language)).out
    };
    assert!(check("en").is_ascii(), "{}", check("en"));
    assert!(!check("ja").is_ascii(), "{}", check("ja"));
    let page = place.cli(&["image", "show", "prod/web:1", "-o", "table"]);
    for part in ["linux/", "blocked", "sha256:", "DECIDED", "CREATED BY"] {
        assert!(page.code == 0 && page.out.contains(part), "{part}: {page:?}");
    }
    let missing = run(place.command(&["check", "prod/web:9"]).env("SEAWORTHY_LANG", "ja"));
    assert!(missing.err.contains("イメージ `prod/web:9` は登録されていません"), "{missing:?}");
    let missing = run(place.command(&["check", "prod/web:9"]).env("SEAWORTHY_LANG", "en"));
    assert!(missing.err.contains("image `prod/web:9` is not known"), "{missing:?}");
    // docker sends no language: the server's own holds.
    let refused = door.get("GET", "/v2/prod/web/manifests/1").text();
    assert!(refused.contains("is blocked by"), "{refused}");
    let help = run(seaworthy().args(["check", "--help"]).env("SEAWORTHY_LANG", "ja"));
    assert!(help.code == 0 && help.out.contains("使い方:") && !help.out.contains("Usage:"), "{help:?}");
}

#[test]
fn members_of_the_operator_group_are_operators_and_nobody_else() {
    const NAME: &str = "members_of_the_operator_group_are_operators_and_nobody_else";
    // Users that every Debian has: `games` is a member of its own group, `nobody` is not.
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |name: &str| {
        let line = accounts.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2).map(|it| it.parse::<u32>().ok());
        Some((fields.next()??, fields.next()??))
    };
    let (Some(member), Some(stranger), true) = (of("games"), of("nobody"), is_root()) else {
        eprintln!("not run: {NAME} needs root and the users `games` and `nobody`");
        return;
    };
    let place = Place::new();
    // The folder itself has to be passable; DATA decides.
    fs::set_permissions(place.path("."), fs::Permissions::from_mode(0o711)).unwrap();
    fs::create_dir(place.data()).unwrap();
    drop(fs::remove_dir(place.data()));
    let file = place.path("group.toml");
    fs::write(&file, format!("operator_group = \"{}\"\n", member.1)).unwrap();
    let port = free_port();
    let config = file.to_str().unwrap().to_owned();
    let _server = place.try_up_with(port, &["--config", &config]).unwrap_or_else(|log| panic!("{log}"));

    let binary = place.path("seaworthy");
    fs::copy(env!("CARGO_BIN_EXE_seaworthy"), &binary).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let whoami = |(uid, gid): (u32, u32)| {
        let mut command = Command::new(&binary);
        command.arg("--data").arg(place.data()).args(["whoami", "-o", "json"]).env("SEAWORTHY_LANG", "en");
        run(command.uid(uid).gid(gid))
    };
    let said = whoami(member);
    assert_eq!(said.code, 0, "{said:?}\n{}", place.log());
    let actor = said.json();
    assert_eq!((&actor["kind"], &actor["name"]), (&json!("operator"), &json!("games")), "{actor:#}");
    let refused = whoami(stranger);
    assert_eq!((refused.code, refused.out.as_str()), (3, ""), "{refused:?}");
    // The group of a process is not what counts: the accounts are.
    let borrowed = whoami((stranger.0, member.1));
    assert_eq!(borrowed.code, 3, "{borrowed:?}");
    assert!(borrowed.err.contains("operator_group"), "{borrowed:?}");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.data()), 0o710);
    for entry in fs::read_dir(place.data()).unwrap() {
        let path = entry.unwrap().path();
        let expected = if path.ends_with("admin.sock") { 0o660 } else { mode(&path) & 0o700 };
        assert_eq!(mode(&path), expected, "{} is {:o}", path.display(), mode(&path));
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
}

#[test]
fn a_policy_is_compared_with_the_one_it_would_replace() {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    Image::debian("expat", "2.5.0-1", "").push(&door, "prod/web", "1");
    assert_eq!(place.cli(&["check", "prod/web:1", "--wait", "60s"]).code, 1);
    let file = place.path("prod.yaml");
    let text = "policy: prod\nselects: [\"prod/**\"]\nmode: enforce\nrules:\n  - secrets: { max: 1 }\n";
    fs::write(&file, text).unwrap();
    let new = file.to_str().unwrap();
    let same = place.cli(&["policy", "diff", "prod", "prod@1", "-o", "json"]);
    assert_eq!(same.code, 0, "{same:?}");
    let said = place.cli(&["policy", "diff", "prod", new, "--images", "-o", "json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let diff = said.json();
    let change = json!({"change": "changed", "what": "rules/secrets/secrets.max", "old": "0", "new": "1"});
    assert!(diff["changes"].as_array().unwrap().contains(&change), "{diff:#}");
    let image = &diff["images"]["changed"][0];
    assert_eq!((&image["before"], &image["after"]), (&json!("blocked"), &json!("allowed")), "{diff:#}");
    // Nothing was applied.
    assert_eq!(place.cli(&["check", "prod/web:1"]).code, 1);
    assert_eq!(place.cli(&["policy", "diff", "prod", "nosuch"]).code, 2);
}

#[test]
fn a_port_that_is_left_to_the_system_is_told() {
    let place = Place::new();
    let mut command = place.command(&["up", "--no-agent", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a server");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let line = lines.next().expect("a line").expect("text");
    let port = line.strip_prefix("ready http://127.0.0.1:").and_then(|port| port.parse::<u16>().ok());
    let answer = port.map(|port| Door::Page { port, headers: vec![] }.get("GET", "/livez").status);
    child.kill().expect("it ends");
    child.wait().expect("it ended");
    assert_eq!(answer, Some(200), "{line}");
}

/// Who opens connections and says nothing uses up its own share of them, and no more.
#[tokio::test]
async fn silent_connections_leave_room_for_others() {
    const ROOM: u64 = 64;
    let place = Place::new();
    let port = free_port();
    let files = seaworthy_server::limit::FILES_KEPT + ROOM * seaworthy_server::limit::FILES_PER_CONNECTION;
    let server = place.try_up_with_files(port, files).expect("it starts");
    let connect = |from: &str| {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{from}:0").parse().expect("an address")).expect("loopback");
        socket.connect(format!("127.0.0.1:{port}").parse().expect("an address"))
    };
    let mut silent = Vec::new();
    for _ in 0..3 * ROOM {
        silent.push(connect("127.0.0.2").await.expect("connected"));
    }
    let mut answer = String::new();
    let mut stream = connect("127.0.0.3").await.expect("connected");
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    stream.read_to_string(&mut answer).await.expect("an answer");
    let share = ROOM / u64::try_from(seaworthy_server::limit::CONNECTION_SHARES).expect("small");
    assert!(answer.contains(&format!("\nseaworthy_connections_most {ROOM}\n")), "{answer}");
    assert!(answer.contains(&format!("\nseaworthy_connections_open {}\n", share + 1)), "{answer}");
    let closed = format!("\nseaworthy_connections_closed_total{{reason=\"share\"}} {}\n", 3 * ROOM - share);
    assert!(answer.contains(&closed), "{answer}");
    drop(server);
}

#[test]
fn who_asks_too_much_is_told_when_to_come_back() {
    let place = Place::new();
    let config = place.path("limits.toml");
    fs::write(&config, "requests_per_minute = 60\nanonymous_requests_per_minute = 6\n").expect("written");
    let config = config.to_str().expect("a path");
    let server = place.try_up_with(free_port(), &["--config", config]).expect("it starts");
    let door = place.login(server.port);
    // At 60 a minute ten may come at once.
    let answers: Vec<_> = (0..30).map(|_| door.get("GET", "/v2/_catalog")).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(answers.iter().take(10).all(|answer| answer.status == 200), "{answers:?}");
    let last = refused.last().unwrap_or_else(|| panic!("none of 30 was refused: {answers:?}"));
    assert_eq!(last.json()["errors"][0]["code"], "TOOMANYREQUESTS");
    assert_eq!(last.header("retry-after"), Some("1"));
    // Whoever sends something is told as well, and not cut off.
    let chunk = vec![0; 3 << 20];
    let told = (0..3).map(|_| door.ask("PUT", "/v2/a/blobs/uploads/x", "application/octet-stream", &chunk));
    let told: Vec<_> = told.map(|answer| answer.expect("an answer").status).collect();
    assert!(told.contains(&429), "{told:?}");
    let nobody = Door::Page { port: server.port, headers: vec![] };
    // Where to sign in is told as often as it is asked.
    assert!((0..20).all(|_| nobody.get("GET", "/v2/").status == 401));
    let answers: Vec<_> = (0..5).map(|_| nobody.get("GET", "/")).collect();
    assert_eq!(answers[0].status, 200);
    let refused = answers.iter().find(|answer| answer.status == 429);
    let refused = refused.unwrap_or_else(|| panic!("an account of its own: {answers:?}"));
    assert!(refused.text().contains("anonymous_requests_per_minute"), "{}", refused.text());
    assert_eq!(nobody.get("GET", "/livez").status, 200);
    // What is wrong counts where nobody does, wherever it is shown.
    for (path, authorization) in
        [("/api/v1/images", "Basic YTpi"), ("/api/v1/images", "Bearer x"), ("/oauth2/token", "Basic YTpi")]
    {
        let wrong =
            Door::Page { port: server.port, headers: vec![("authorization", authorization.to_owned())] };
        assert_eq!(wrong.get("GET", path).status, 429, "{path} {authorization}");
    }
    // Who signs in by a form is who it says, whatever nobody did from there; who guesses is not.
    let form = |secret: &str| {
        let form = format!("grant_type=password&service=localhost&username=ci&password={secret}");
        let kind = "application/x-www-form-urlencoded";
        nobody.ask("POST", "/oauth2/token", kind, form.as_bytes()).expect("an answer")
    };
    let made = place.cli(&[
        "principal",
        "create",
        "ci",
        "--role",
        "AcrPull",
        "--scope",
        "/repositories",
        "-o",
        "json",
    ]);
    let made = made.json();
    let secret = made["client_secret"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let signed: Vec<_> = (0..30).map(|_| form(&secret).status).collect();
    assert!(signed.iter().take(3).all(|status| *status == 200), "{signed:?}");
    assert!(signed.contains(&429), "its own rate: {signed:?}");
    let guessed: Vec<_> = (0..5).map(|_| form("wrong").status).collect();
    assert!(guessed[0] == 401 && guessed.contains(&429), "{guessed:?}");
    for _ in 0..20 {
        assert_eq!(place.socket().get("GET", "/api/v1/whoami").status, 200, "the operator is not counted");
    }
}

/// RFC 9110 §8.6: as long as what a GET would bring, in the caller's language.
#[test]
fn a_refused_head_says_how_long_its_get_is() {
    let place = Place::new();
    let server = place.up(&[]);
    for language in ["en", "ja"] {
        let headers = vec![("accept-language", language.to_owned())];
        let door = Door::Page { port: server.port, headers };
        for path in ["/v2/", "/v2/a/manifests/1", "/v2/a/blobs/sha256:0", "/v2/UPPER/manifests/1"] {
            let [head, get] = ["HEAD", "GET"].map(|method| door.get(method, path));
            assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
            assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()), "{path}");
            assert!(get.json()["errors"][0]["code"].is_string(), "{path}: {}", get.text());
        }
    }
}
