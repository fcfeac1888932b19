//! A private PostgreSQL cluster: one per test process, or the one that `SEAWORTHY_TEST_POSTGRES`
//! names. It runs under a user of its own when the tests run as root, listens on a socket only,
//! and ends with the process.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

struct Cluster {
    /// `postgres:///{database}?host=…&user=postgres`, with `{database}` to be filled in.
    url: String,
    psql: PathBuf,
}

static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The URL of a new, empty database in the private cluster; `None` when PostgreSQL is not installed.
pub fn fresh_database() -> Option<String> {
    let cluster = CLUSTER.get_or_init(start).as_ref()?;
    let name = fresh_name();
    cluster.run(&format!("CREATE DATABASE {name} {EMPTY}"));
    Some(cluster.url.replace("{database}", &name))
}

const EMPTY: &str = "TEMPLATE template0 ENCODING 'UTF8'";

fn fresh_name() -> String {
    format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst))
}

/// A new, empty database whose rows lie in a folder of the caller's; gone when dropped, before the folder may go.
pub struct PlacedDatabase {
    cluster: &'static Cluster,
    name: String,
}

impl PlacedDatabase {
    /// In a folder that everybody may go through; `None` when PostgreSQL is not installed.
    pub fn create(folder: &Path) -> Option<Self> {
        let cluster = CLUSTER.get_or_init(start).as_ref()?;
        let (name, rows) = (fresh_name(), folder.join("rows"));
        fs::create_dir(&rows).expect("a folder");
        if is_root() {
            let status = Command::new("chown").arg("postgres").arg(&rows).status().expect("chown runs");
            assert!(status.success(), "the user `postgres` exists");
        }
        cluster.run(&format!("CREATE TABLESPACE {name} LOCATION '{}'", rows.display()));
        cluster.run(&format!("CREATE DATABASE {name} TABLESPACE {name} {EMPTY}"));
        Some(Self { cluster, name })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.cluster.url.replace("{database}", &self.name)
    }
}

impl Drop for PlacedDatabase {
    fn drop(&mut self) {
        self.cluster.run(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
        self.cluster.run(&format!("DROP TABLESPACE {}", self.name));
    }
}

impl Cluster {
    fn run(&self, statement: &str) {
        let output = Command::new(&self.psql)
            .arg(self.url.replace("{database}", "postgres"))
            .args(["-qc", statement])
            .output()
            .expect("psql runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn binaries() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    versions.sort();
    versions.into_iter().rev().find(|path| path.join("initdb").exists())
}

fn start() -> Option<Cluster> {
    let binaries = binaries()?;
    let psql = binaries.join("psql");
    if let Ok(url) = std::env::var("SEAWORTHY_TEST_POSTGRES") {
        return Some(Cluster { url, psql });
    }
    sweep();
    let root = std::env::temp_dir().join(format!("seaworthy-test-pg-{}", std::process::id()));
    fs::create_dir_all(&root).expect("cluster directory");
    let data = root.join("data");
    if is_root() {
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("mode");
        let status = Command::new("chown").arg("postgres").arg(&root).status().expect("chown runs");
        assert!(status.success(), "the user `postgres` exists");
    }
    let output = as_database_user(&binaries.join("initdb"))
        .args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
        .arg(&data)
        .current_dir("/")
        .output()
        .expect("initdb runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let url = format!("postgres:///{{database}}?host={}&user=postgres", root.display());
    launch(&binaries.join("postgres"), &data, &root);
    wait_until_ready(&binaries.join("pg_isready"), &root);
    Some(Cluster { url, psql })
}

/// The server dies with the thread that started it, so that thread lives as long as the process.
fn launch(postgres: &Path, data: &Path, socket: &Path) {
    let mut command = as_database_user(postgres);
    command
        .arg("-D")
        .arg(data)
        .arg("-k")
        .arg(socket)
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=400"])
        .args(["-c", "shared_buffers=64MB", "-c", "log_min_messages=fatal"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    std::thread::spawn(move || {
        let status = command.spawn().expect("postgres starts").wait();
        panic!("postgres ended: {status:?}");
    });
}

fn wait_until_ready(pg_isready: &Path, socket: &Path) {
    for _ in 0..600 {
        let ready = Command::new(pg_isready).arg("-qh").arg(socket).status().expect("pg_isready runs");
        if ready.success() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("PostgreSQL did not start within 30 s");
}

/// PostgreSQL refuses to run as root, so root steps down to Debian's `postgres`.
fn as_database_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "INT"]).arg(program);
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
}

/// Removes the clusters of processes that are gone.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix("seaworthy-test-pg-")) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
