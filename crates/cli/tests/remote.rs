//! A host of another machine: invited, joined, reporting over mutual TLS, removed. The other machine
//! is a data directory of its own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::ResolvesClientCert,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    sign::{CertifiedKey, SingleCertAndKey},
};
use seaworthy_link::CONTROL_PLANE;
use seaworthy_testkit::{
    debian::{Base, base},
    docker, real_engines,
};
use serde_json::{Value, json};

use crate::{
    agent::until,
    doors::with_stdin,
    server::{Place, Said, Server, done, free_port, run},
};

/// A server with an HTTPS door on this machine.
struct Far {
    place: Place,
    server: Server,
    port: u16,
}

impl Far {
    fn up() -> Self {
        let place = Place::new();
        for _ in 0..5 {
            let port = free_port();
            let listen = format!("localhost:{port}");
            if let Ok(server) = place.try_up_with(free_port(), &["--tls-listen", &listen]) {
                return Self { place, server, port };
            }
        }
        panic!("{}", place.log());
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    fn token(&self, name: &str) -> String {
        let said = self.place.cli(&["host", "invite", "--name", name, "-o", "json"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(said.json()["url"], self.url());
        said.json()["token"].as_str().expect("a token").to_owned()
    }

    fn join(&self, there: &Place, token: &str) -> Said {
        with_stdin(there.command(&["host", "join", &self.url(), "-o", "json"]), token)
    }

    /// One request at the HTTPS door, by whoever has this certificate and key. The answer's head and body.
    fn ask(&self, name: &str, who: Option<(&str, &str)>, request: &str) -> Result<String, std::io::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        let ca = fs::read(self.place.data().join("ca.pem")).expect("the CA");
        roots.add(CertificateDer::from_pem_slice(&ca).expect("PEM")).expect("a CA");
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_root_certificates(roots);
        let config = match who {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                // Not compared with each other here: a thief would not either.
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                let key = provider.key_provider.load_private_key(key).expect("a key");
                let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
                config.with_client_cert_resolver(Arc::new(shown) as Arc<dyn ResolvesClientCert>)
            }
        };
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, TcpStream::connect(("localhost", self.port))?);
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        if answer.is_empty() {
            read?;
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn get(&self, who: Option<(&str, &str)>, path: &str) -> Result<String, std::io::Error> {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        self.ask(CONTROL_PLANE, who, &head)
    }

    fn post(&self, who: Option<(&str, &str)>, path: &str, body: &Value) -> String {
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.ask(CONTROL_PLANE, who, &format!("{head}{body}")).expect("an answer")
    }

    fn host(&self, name: &str) -> Option<Value> {
        let rows = self.place.cli(&["host", "list", "-o", "json"]).json();
        rows.as_array().expect("a list").iter().find(|row| row["name"] == name).cloned()
    }
}

fn member(place: &Place) -> Value {
    let text = fs::read_to_string(place.data().join("agent/membership.json")).expect("a member");
    serde_json::from_str(&text).expect("JSON")
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn a_token_lets_one_host_in_and_its_certificate_is_its_alone() {
    let far = Far::up();
    let there = Place::new();
    let token = far.token("web-1");

    // Whoever is at that address is not the one who made this token: it is not told the secret.
    let other = Far::up();
    let wrong = other.join(&there, &token);
    assert_eq!(wrong.code, 3, "{wrong:?}");
    assert!(wrong.err.contains("UnknownIssuer"), "{wrong:?}");
    assert!(!wrong.err.contains(&token[50..]), "{wrong:?}");
    for bad in ["", "swj_", &token[..token.len() - 2]] {
        assert_eq!(far.join(&there, bad).code, 2, "{bad}");
    }
    // Its key is kept, because the answer to the next try may be lost.
    let key_file = there.data().join("agent/membership.key");
    let key = fs::read(&key_file).expect("a key");
    let lost = far.join(&there, &token);
    assert_eq!(lost.code, 0, "{lost:?}");
    assert!(!key_file.exists(), "the membership has it");
    fs::remove_file(there.data().join("agent/membership.json")).expect("forgotten");
    fs::write(&key_file, key).expect("as before");
    let joined = far.join(&there, &token);
    assert_eq!((joined.code, &joined.json()["name"]), (0, &json!("web-1")), "{joined:?}");
    let again = far.join(&there, &token);
    assert!(again.code != 0 && again.err.contains("already"), "{again:?}");
    let used = far.join(&Place::new(), &token);
    assert_eq!(used.code, 3, "{used:?}");
    assert!(used.err.contains("used or expired"), "{used:?}");
    let kept = member(&there);
    let text = |it: &Value, name: &str| it[name].as_str().expect("text").to_owned();
    let (certificate, key) = (text(&kept, "certificate"), text(&kept, "key"));
    let web = Some((certificate.as_str(), key.as_str()));

    // A host may report, and nothing else.
    let unread = "/api/v1/agent/unread";
    assert_eq!(status(&far.get(web, unread).unwrap()), "200");
    assert_eq!(status(&far.get(None, unread).unwrap()), "401");
    for path in ["/api/v1/containers?host=web-1", "/api/v1/access", "/api/v1/ledger"] {
        let answer = far.get(web, path).unwrap();
        assert!(!answer.contains("200 OK") || answer.contains("\"containers\":[]"), "{answer}");
    }
    // A certificate without its key, and one of another CA.
    let elsewhere = Place::new();
    assert_eq!(other.join(&elsewhere, &other.token("web-1")).code, 0);
    let foreign = member(&elsewhere);
    let (foreign_certificate, foreign_key) = (text(&foreign, "certificate"), text(&foreign, "key"));
    assert!(far.get(Some((&certificate, &foreign_key)), unread).is_err());
    assert!(far.get(Some((&foreign_certificate, &foreign_key)), unread).is_err());

    // A batch counts once, for the host that sends it; a clock that is a year ahead is shown.
    let (spool, late) = ("0198f000-0000-7000-8000-000000000001", "2031-01-01T00:00:00Z");
    let gap = json!({"item": "gap", "from": "2030-12-31T00:00:00Z", "until": late, "reason": "asleep"});
    let batch = json!({"version": 1, "spool": spool, "number": 1, "made_at": late, "items": [gap]});
    for _ in 0..2 {
        let answer = far.post(web, "/api/v1/agent/batches", &batch);
        assert_eq!(status(&answer), "200", "{answer}");
    }
    let mut third = batch.clone();
    third["number"] = json!(3);
    assert_eq!(status(&far.post(web, "/api/v1/agent/batches", &third)), "409");
    assert_eq!(far.host("web-1").expect("a host")["wrong_clock"], true);
    assert_eq!(status(&far.post(None, "/api/v1/agent/batches", &batch)), "401");

    // Removed, it is nobody at once.
    assert_eq!(far.place.cli(&["host", "remove", "web-1"]).code, 0);
    let gone = far.get(web, unread).unwrap();
    assert_eq!(status(&gone), "403", "{gone}");
    assert!(gone.contains("not in the fleet any more"), "{gone}");
    assert_eq!(far.place.cli(&["host", "remove", "web-1"]).code, 2);
    // Whatever a host is called, it can be removed.
    assert_eq!(far.join(&Place::new(), &far.token("invitations")).code, 0);
    assert_eq!(far.place.cli(&["host", "remove", "invitations"]).code, 0);
    let acts = until("its records", || {
        let acts = far.place.cli(&["ledger", "list", "-o", "json"]).out;
        ["host.invite", "host.join", "host.remove"].iter().all(|act| acts.contains(act)).then_some(acts)
    });
    assert!(!acts.contains(&token[50..]));
    assert!(!far.place.log().contains(&token[50..]));
}

#[test]
fn the_https_door_has_everything_and_outlives_its_server() {
    let far = Far::up();
    let made = far.place.cli(&["principal", "create", "ci", "--role", "AcrPull", "--scope", "/"]);
    let secret = made.json()["client_secret"].as_str().expect("a secret").to_owned();
    let ca = far.place.data().join("ca.pem");
    let before = fs::read(&ca).expect("the CA");
    let words = ["login", &far.url(), "-u", "ci", "--password-stdin", "--ca", ca.to_str().unwrap()];
    let mut command = far.place.command(&words);
    command.env("XDG_CONFIG_HOME", far.place.path("config"));
    let said = with_stdin(command, &secret);
    assert_eq!(said.code, 0, "{said:?}");
    let mut who = far.place.command(&["--server", &far.url(), "whoami", "-o", "json"]);
    assert_eq!(run(who.env("XDG_CONFIG_HOME", far.place.path("config"))).json()["name"], "ci");
    // What a registry's client is told to ask next is behind TLS too.
    let head = "GET /v2/ HTTP/1.1\r\nhost: localhost:8443\r\nconnection: close\r\n\r\n";
    let answer = far.ask("localhost", None, head).unwrap();
    assert!(answer.contains("realm=\"https://localhost:8443/oauth2/token\""), "{answer}");
    let Far { place, server, port } = far;
    assert_eq!(server.stop().0, Some(0), "{}", place.log());
    let listen = format!("localhost:{port}");
    let server = place.try_up_with(free_port(), &["--tls-listen", &listen]).unwrap();
    assert_eq!(fs::read(&ca).expect("the CA"), before, "agents have pinned it");
    drop(server);
    // Closed, it invites nobody.
    let _server = place.try_up_with(free_port(), &[]).unwrap();
    let said = place.cli(&["host", "invite"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("--domain"), "{said:?}");
}

/// The agent of the other machine; gone with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn what_runs_on_a_host_that_joined_is_known() {
    if !real_engines("what_runs_on_a_host_that_joined_is_known", &["dockerd", "docker", "mmdebstrap"]) {
        return;
    }
    let far = Far::up();
    let there = Place::new();
    assert_eq!(far.join(&there, &far.token("far-1")).code, 0);
    let engine = docker();
    let client = |words: &[&str]| -> Command {
        let mut command = engine.client(&there.docker_config());
        command.args(words);
        command
    };
    done(&mut client(&["import", base(Base::Main).to_str().expect("a path"), "far-base"]));
    drop(client(&["rm", "-f", "far-web"]).output());
    done(&mut client(&["run", "-d", "--name", "far-web", "--network=none", "far-base", "sleep", "100000"]));
    let start = || {
        let log = fs::File::create(there.path("agent.log")).expect("a log");
        let mut command = there.command(&["agent", "--docker-host", &engine.host()]);
        Agent(command.stdin(Stdio::null()).stderr(log).spawn().expect("an agent"))
    };
    let log = || fs::read_to_string(there.path("agent.log")).unwrap_or_default();
    let row = || {
        let rows = far.place.cli(&["ps", "--host", "far-1", "-o", "json"]);
        let rows = if rows.code == 0 { rows.json() } else { json!([]) };
        rows.as_array().into_iter().flatten().find(|row| row["name"] == "far-web").cloned()
    };
    let agent = start();
    let seen = until(&format!("the container: {}", log()), row);
    assert_eq!((&seen["host"], &seen["state"]), (&json!("far-1"), &json!("running")), "{seen}");
    // It reads there what was never pushed here, and says what it uses.
    until("its image", || row().filter(|row| row["image"]["mapping"] == "scanned-here"));
    drop(agent);
    done(&mut client(&["rm", "-f", "far-web"]));
    let _agent = start();
    until("its end", || row().is_none().then_some(()));
    assert_eq!(far.place.cli(&["host", "remove", "far-1"]).code, 0);
    drop(client(&["run", "--rm", "--network=none", "far-base", "true"]).output());
    until("a word about it", || log().contains("not in the fleet any more").then_some(()));
    assert!(far.host("far-1").is_none());
    assert!(far.server.pid() > 0);
}
