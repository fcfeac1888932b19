//! One private PostgreSQL cluster for a whole test run: its own folder, a socket only, no fsync.
//! Test processes find it by `SEAWORTHY_TEST_POSTGRES` (see `crates/testkit`).

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use crate::{
    prepare::is_root,
    step::{self, Outcome},
};

/// The variable that hands the cluster to the tests.
pub(crate) const VARIABLE: &str = "SEAWORTHY_TEST_POSTGRES";

/// How often we look whether it has started or ended, 50 ms apart.
const LOOKS: u32 = 600;

/// A running cluster; dropping it stops it and removes its files.
pub(crate) struct Cluster {
    server: Child,
    root: PathBuf,
}

impl Cluster {
    /// Starts one, or gives `None` when PostgreSQL is not installed.
    ///
    /// The server dies with the *thread* that starts it, so that must be the main one.
    pub(crate) fn start() -> Outcome<Option<Self>> {
        let Some(binaries) = binaries() else { return Ok(None) };
        // The tests' own sweep knows this name and removes what a killed run left behind.
        let root = std::env::temp_dir().join(format!("seaworthy-test-pg-{}", std::process::id()));
        let failed = |error| format!("failed to create {}: {error}", root.display());
        fs::create_dir_all(&root).map_err(failed)?;
        if is_root() {
            fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).map_err(failed)?;
            step::read(Command::new("chown").arg("postgres").arg(&root))?;
        }
        let data = root.join("data");
        step::read(
            as_database_user(&binaries.join("initdb"))
                .args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
                .arg(&data)
                .current_dir("/"),
        )?;
        let server = as_database_user(&binaries.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&root)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=400"])
            .args(["-c", "shared_buffers=64MB", "-c", "log_min_messages=fatal"])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("failed to start postgres: {error}"))?;
        let mut cluster = Self { server, root };
        cluster.wait_until_ready(&binaries.join("pg_isready"))?;
        Ok(Some(cluster))
    }

    /// What the tests connect to: they put a name for `{database}`.
    pub(crate) fn url(&self) -> String {
        format!("postgres:///{{database}}?host={}&user=postgres", self.root.display())
    }

    fn wait_until_ready(&mut self, pg_isready: &Path) -> Outcome {
        for _ in 0..LOOKS {
            if step::read(Command::new(pg_isready).arg("-qh").arg(&self.root)).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.server.try_wait() {
                return Err(format!("postgres ended while starting ({status})"));
            }
            sleep(Duration::from_millis(50));
        }
        Err("postgres did not start within 30 s".to_owned())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown; after the last look it is killed.
        drop(step::read(Command::new("kill").args(["-INT", &self.server.id().to_string()])));
        for _ in 0..LOOKS {
            if !matches!(self.server.try_wait(), Ok(None)) {
                break;
            }
            sleep(Duration::from_millis(50));
        }
        drop(self.server.kill());
        drop(self.server.wait());
        drop(fs::remove_dir_all(&self.root));
    }
}

/// The newest installed version's programs.
fn binaries() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|path| path.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop()
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
