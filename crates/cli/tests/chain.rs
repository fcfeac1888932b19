//! The riskiest assumption (design, "Test the riskiest assumption first"): push → sandbox →
//! three durable hops → gate loses nothing, with three replicas on one PostgreSQL, 64 pushers,
//! commits forced late, and a kill -9 whenever it hurts. Exactly one final verdict for each push.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_oci::Digest;
use seaworthy_testkit::Tier;
use serde_json::{Value, json};

const REPLICAS: usize = 3;
const PUSHERS: usize = 64;
/// One fixed version above 1 and below 3: images with `expat 1` are blocked, with `expat 3` allowed.
const TRACKER: &str = r#"{"expat":{"CVE-2026-0001":{"releases":{"bookworm":
    {"status":"resolved","repositories":{"bookworm":"2"},"fixed_version":"2","urgency":"high"}}}}}"#;
/// One commit in eight that brings a delivery is held back for up to 300 ms, after everything in
/// it is done: whoever reads in the order of ids or times has passed it by then. And every
/// delivery's life, from its insertion to the commit that settles it, is noted by kind.
const LATE_COMMITS: &str = "
    CREATE TABLE chain_hops (consumer TEXT, kind TEXT, ms DOUBLE PRECISION);
    CREATE FUNCTION chain_late() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF random() < 0.125 THEN PERFORM pg_sleep(random() * 0.3); END IF;
            RETURN NULL;
        END $$;
    CREATE FUNCTION chain_hop() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO chain_hops VALUES (OLD.consumer, OLD.kind,
                extract(epoch FROM clock_timestamp()) * 1000 - OLD.created_at / 1000.0);
            RETURN NULL;
        END $$;
    CREATE CONSTRAINT TRIGGER chain_late AFTER INSERT ON store_deliveries
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_late();
    CREATE TRIGGER chain_hop AFTER DELETE ON store_deliveries FOR EACH ROW EXECUTE FUNCTION chain_hop();";
const HOPS: &str = "
    SELECT consumer, kind, count(*), round(percentile_disc(0.5) WITHIN GROUP (ORDER BY ms)),
           round(percentile_disc(0.99) WITHIN GROUP (ORDER BY ms)), round(max(ms))
    FROM chain_hops GROUP BY consumer, kind ORDER BY 1, 2";
const KEV: &str = r#"{"title":"t","catalogVersion":"2026.08.07","dateReleased":"2026-08-07T00:00:00Z","count":0,
    "vulnerabilities":[]}"#;

#[test]
fn three_replicas_lose_nothing_when_killed() {
    if !seaworthy_testkit::slow("three_replicas_lose_nothing_when_killed") {
        return;
    }
    let (pushes, kills) = if Tier::current() == Tier::Long { (2_000, 200) } else { (192, 12) };
    let Some(database) = seaworthy_testkit::fresh_database() else {
        return seaworthy_testkit::missing("three_replicas_lose_nothing_when_killed", "PostgreSQL");
    };
    let world = World::start(&database);
    sql(&database, LATE_COMMITS);
    let begun = Instant::now();
    world.push_while_killing(pushes, kills);
    eprintln!("{pushes} pushes with {kills} kills took {:.1} s", begun.elapsed().as_secs_f32());
    world.everything_is_decided_once(pushes);
    let hops = sql(&database, HOPS);
    eprintln!("consumer | event | deliveries | p50, p99, max in ms, kills and late commits included\n{hops}");
    for consumer in ["inspection", "findings", "clearance"] {
        assert!(hops.contains(consumer), "{consumer} was never late enough to be seen: {hops}");
    }
}

/// Runs statements on the replicas' database and gives what they print, fields with ` | ` between.
pub(crate) fn sql(database: &str, statements: &str) -> String {
    let output = Command::new(seaworthy_testkit::program("psql").expect("PostgreSQL brings psql"))
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--field-separator", " | "])
        .args(["--set", "ON_ERROR_STOP=1", "--command", statements, database])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

struct World {
    directory: tempfile::TempDir,
    ports: Vec<u16>,
    replicas: Vec<Mutex<Child>>,
    authorization: String,
    /// Acknowledged pushes: (repository, digest) → the verdict it must get.
    pushed: Mutex<BTreeMap<(String, Digest), &'static str>>,
}

impl Drop for World {
    fn drop(&mut self) {
        for replica in &self.replicas {
            let mut replica = replica.lock().unwrap();
            drop(replica.kill());
            drop(replica.wait());
        }
    }
}

impl World {
    fn start(database: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = (0..REPLICAS).map(|_| free_port()).collect();
        for (number, port) in ports.iter().enumerate() {
            let data = directory.path().join(number.to_string());
            std::fs::create_dir(&data).unwrap();
            let shared = directory.path().join("shared");
            let config = format!(
                "listen = \"127.0.0.1:{port}\"\ndatabase = \"{database}\"\nshared = \"{}\"\ndisk_floor_bytes = 1048576\n",
                shared.display()
            );
            std::fs::write(data.join("seaworthy.toml"), config).unwrap();
        }
        let feeds = directory.path().join("feeds");
        std::fs::create_dir(&feeds).unwrap();
        std::fs::write(feeds.join("tracker.json"), TRACKER).unwrap();
        std::fs::write(feeds.join("kev.json"), KEV).unwrap();
        let replicas = (0..REPLICAS)
            .map(|number| Mutex::new(launch(&directory.path().join(number.to_string()))))
            .collect();
        let mut world =
            Self { directory, ports, replicas, authorization: String::new(), pushed: Mutex::default() };
        world.cli(&["advisories", "import", feeds.to_str().unwrap()]);
        let made = world.cli(&["principal", "create", "ci", "--role", "AcrPush", "--scope", "/repositories"]);
        let secret = made["client_secret"].as_str().unwrap();
        world.authorization = format!("Basic {}", STANDARD.encode(format!("ci:{secret}")));
        world
    }

    fn data(&self, replica: usize) -> PathBuf {
        self.directory.path().join(replica.to_string())
    }

    /// Runs a verb against the first replica and reads its JSON.
    fn cli(&self, args: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
            .args(args)
            .args(["-o", "json", "--data"])
            .arg(self.data(0))
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn push_while_killing(&self, pushes: usize, kills: usize) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| self.kill_at_random(pushes, kills));
            for _ in 0..PUSHERS {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if number >= pushes {
                            return;
                        }
                        self.push_until_acknowledged(number);
                    }
                });
            }
        });
    }

    /// Kills replicas at moments that differ from run to run, and starts them again. The kills are
    /// spread over the pushes, so that a slow machine makes progress between them.
    fn kill_at_random(&self, pushes: usize, kills: usize) {
        for round in 0..kills {
            while self.pushed.lock().unwrap().len() < round * pushes / kills {
                std::thread::sleep(Duration::from_millis(10));
            }
            let random = u64::from(std::process::id())
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(round as u64 * 97);
            std::thread::sleep(Duration::from_millis(random % 300));
            let victim = usize::try_from(random).unwrap_or_default() % REPLICAS;
            let mut replica = self.replicas[victim].lock().unwrap();
            replica.kill().unwrap();
            replica.wait().unwrap();
            *replica = launch(&self.data(victim));
        }
    }

    fn push_until_acknowledged(&self, number: usize) {
        let (version, verdict) = if number.is_multiple_of(3) { ("1", "blocked") } else { ("3", "allowed") };
        let repository = format!("prod/app{}", number % 7);
        let image = Image::new(number, version);
        let deadline = Instant::now() + Duration::from_secs(120);
        for attempt in 0.. {
            let port = self.ports[(number + attempt) % REPLICAS];
            if image.push(port, &repository, &self.authorization) {
                self.pushed.lock().unwrap().insert((repository, image.digest), verdict);
                return;
            }
            assert!(Instant::now() < deadline, "push {number} was never acknowledged");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn everything_is_decided_once(&self, pushes: usize) {
        let pushed = self.pushed.lock().unwrap();
        assert_eq!(pushed.len(), pushes, "each push is another image");
        for (number, ((repository, digest), expected)) in pushed.iter().enumerate() {
            let path = format!("/api/v1/check?image={repository}@{digest}&wait=60");
            let (status, body) =
                request(self.ports[number % REPLICAS], "GET", &path, &self.authorization, &[])
                    .expect("an answer");
            let json: Value = serde_json::from_slice(&body).unwrap_or_default();
            assert_eq!(
                (status, json["verdict"].as_str()),
                (200, Some(*expected)),
                "{repository}@{digest}: {json}"
            );
        }
        self.wait_for_silence();
        let report = self.wait_for_ledger(pushes);
        assert_eq!(report["broken"], json!([]), "{report}");
        let mut decided: BTreeMap<String, usize> = BTreeMap::new();
        let mut before = u64::MAX;
        loop {
            let page = self.ledger_page(before);
            let Some(last) = page.last() else { break };
            before = last["index"].as_u64().unwrap();
            for row in page {
                *decided.entry(row["record"]["object"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        assert_eq!(decided.len(), pushes);
        let twice: Vec<_> = decided.iter().filter(|(_, times)| **times != 1).collect();
        assert!(twice.is_empty(), "decided other than once: {twice:?}");
    }

    /// A killed replica's deliveries are taken up when their leases end, even if their effect is
    /// known already from another event; waits until none is left.
    fn wait_for_silence(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.cli(&["status"]);
            assert_eq!(status["failed"], json!([]), "{status}");
            if status["waiting"].as_object().unwrap().values().all(|waiting| *waiting == 0) {
                return;
            }
            assert!(Instant::now() < deadline, "deliveries are left over: {status}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The checkpoint follows the records within a second; waits until it has them all.
    fn wait_for_ledger(&self, pushes: usize) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let report = self.cli(&["ledger", "verify"]);
            let enough = report["size"].as_u64().unwrap() >= 2 * pushes as u64;
            if enough || Instant::now() > deadline {
                return report;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn ledger_page(&self, before: u64) -> Vec<Value> {
        let path = format!("/api/v1/ledger?action=clearance.decide&n=1000&before={before}");
        let socket = self.data(0).join("admin.sock");
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let (_, body) = split(&answer).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a replica and waits for its ready line.
fn launch(data: &Path) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_seaworthy"))
        .args(["serve", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap_or_else(|error| panic!("not ready: {error}"));
    assert_eq!(&line, b"ready ");
    child
}

/// A tiny Debian image: one layer with a package database.
struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    digest: Digest,
}

impl Image {
    fn new(number: usize, version: &str) -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        let status = format!(
            "Package: libexpat1\nStatus: install ok installed\nArchitecture: amd64\nSource: expat\n\
             Maintainer: x\nVersion: {version}\n\n"
        );
        for (path, text) in [
            (
                "etc/os-release",
                "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian 12\"\n"
                    .to_owned(),
            ),
            ("var/lib/dpkg/status", status),
            ("srv/number", number.to_string()),
            // Beyond what SQL keeps, so that files and their order of durability are part of it.
            ("srv/padding", format!("{number:08}").repeat(4_000)),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let layer = tar.into_inner().unwrap();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&layer)]},
            "history": [{"created_by": format!("COPY {number} /")}],
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                       "digest": Digest::sha256(&config), "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                        "digest": Digest::sha256(&layer), "size": layer.len()}],
        })
        .to_string()
        .into_bytes();
        let digest = Digest::sha256(&manifest);
        Self { layer, config, manifest, digest }
    }

    /// True when the manifest was acknowledged.
    fn push(&self, port: u16, repository: &str, authorization: &str) -> bool {
        for blob in [&self.layer, &self.config] {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::sha256(blob));
            if !matches!(request(port, "POST", &path, authorization, blob), Some((201, _))) {
                return false;
            }
        }
        let path = format!("/v2/{repository}/manifests/{}", self.digest);
        matches!(request(port, "PUT", &path, authorization, &self.manifest), Some((201, _)))
    }
}

/// One request on a connection of its own; `None` when the server went away over it.
fn request(port: u16, method: &str, path: &str, authorization: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(90))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: {authorization}\r\n\
         Content-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    split(&answer)
}

/// Status and body of an answer; our own answers to these requests are not chunked.
fn split(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, answer[end + 4..].to_vec()))
}
