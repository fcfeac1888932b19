//! A server of the test's own: the real binary, on a free port, in a folder that goes away.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use seaworthy_testkit::program;
use serde_json::Value;

use crate::http::{Door, docker_credential};

/// How long a server may take until it says that it is ready.
const READY: Duration = Duration::from_secs(60);

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}

/// Runs a command that has to succeed.
pub(crate) fn done(command: &mut Command) -> String {
    let said = run(command);
    assert_eq!(said.code, 0, "{command:?}: {}{}", said.out, said.err);
    said.out
}

/// The binary, speaking English, with no setting of the caller's.
pub(crate) fn seaworthy() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seaworthy"));
    settle(&mut command);
    command
}

fn settle(command: &mut Command) {
    command.env("SEAWORTHY_LANG", "en").env_remove("SEAWORTHY_DATA").env_remove("SEAWORTHY_LOG");
}

/// A folder with `data`, `docker` (its `DOCKER_CONFIG`) and the log of its server.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    /// Its PostgreSQL; without, it has a SQLite of its own.
    pub(crate) database: Option<String>,
}

/// Tests that take a place: each over SQLite, and over PostgreSQL where there is one.
macro_rules! on_both_engines {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $test() {
                super::$test(&mut $crate::server::Place::new());
            })+
        }
        mod postgres {
            $(#[test]
            fn $test() {
                match seaworthy_testkit::fresh_database() {
                    Some(database) => super::$test(&mut $crate::server::Place::over(&database)),
                    None => seaworthy_testkit::missing(concat!(module_path!(), "::", stringify!($test)), "PostgreSQL"),
                }
            })+
        }
    };
}
pub(crate) use on_both_engines;

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::create_dir(folder.path().join("docker")).expect("docker's folder");
        Self { folder, database: None }
    }

    /// Whose servers have their rows in a PostgreSQL.
    pub(crate) fn over(database: &str) -> Self {
        let place = Self { database: Some(database.to_owned()), ..Self::new() };
        fs::create_dir(place.data()).expect("data directory");
        place.configure("");
        place
    }

    /// Writes the configuration of the servers that start here from now on.
    pub(crate) fn configure(&self, settings: &str) {
        let database = self.database.as_ref().map(|url| format!("database = \"{url}\"\n"));
        let file = self.data().join("seaworthy.toml");
        fs::write(file, database.unwrap_or_default() + settings).expect("written");
    }

    /// The rows of a query, straight from the database, each with `|` between its columns.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        if let Some(database) = &self.database {
            return crate::chain::sql(database, sql).lines().map(str::to_owned).collect();
        }
        let file = rusqlite::Connection::open(self.data().join("seaworthy.sqlite")).expect("the database");
        let mut statement = file.prepare(sql).expect("a query");
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let column = |at| Ok(text_of(row.get_ref(at)?));
            Ok((0..columns).map(column).collect::<rusqlite::Result<Vec<_>>>()?.join(" | "))
        };
        statement.query_map([], row).expect("rows").map(|row| row.expect("a row")).collect()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn docker_config(&self) -> PathBuf {
        self.path("docker")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A verb of the command line, against this place's server.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = seaworthy();
        command.arg("--data").arg(self.data()).args(words).env("DOCKER_CONFIG", self.docker_config());
        command
    }

    pub(crate) fn cli(&self, words: &[&str]) -> Said {
        run(&mut self.command(words))
    }

    /// The operator's door.
    pub(crate) fn socket(&self) -> Door {
        Door::Socket(self.data().join("admin.sock"))
    }

    /// Signs docker in, and gives its door.
    pub(crate) fn login(&self, port: u16) -> Door {
        let said = self.cli(&["login", "--docker"]);
        assert_eq!(said.code, 0, "{said:?}");
        let basic = docker_credential(&self.docker_config(), &format!("localhost:{port}"));
        Door::Tcp { port, basic }
    }

    /// Starts a server here; on a port that somebody else took meanwhile, tries another.
    pub(crate) fn up(&self, feeds: &[PathBuf]) -> Server {
        for _ in 0..5 {
            match self.try_up(free_port(), feeds, "en") {
                Ok(server) => return server,
                Err(log) => assert!(log.contains("in use") || log.contains("listen"), "{log}"),
            }
        }
        panic!("no free port");
    }

    /// Starts a server on a port; its log when it does not come up.
    pub(crate) fn try_up(&self, port: u16, feeds: &[PathBuf], language: &str) -> Result<Server, String> {
        let mut flags = Vec::new();
        for feed in feeds {
            flags.extend(["--advisories", feed.to_str().expect("a path")]);
        }
        self.start(port, Launch { flags: &flags, language, ..Launch::default() })
    }

    /// Starts a server on a port with more flags.
    pub(crate) fn try_up_with(&self, port: u16, flags: &[&str]) -> Result<Server, String> {
        self.start(port, Launch { flags, ..Launch::default() })
    }

    /// Starts a server on a port that may open so many files.
    pub(crate) fn try_up_with_files(&self, port: u16, files: u64) -> Result<Server, String> {
        self.start(port, Launch { files: Some(files), ..Launch::default() })
    }

    /// Starts a server on a port, and beside it the agent of the engine at `docker_host`.
    pub(crate) fn try_up_beside(&self, port: u16, docker_host: &str) -> Result<Server, String> {
        self.start(port, Launch { docker_host: Some(docker_host), ..Launch::default() })
    }

    /// Tests share the machine's engine with nobody: only who names one gets an agent.
    fn start(&self, port: u16, launch: Launch<'_>) -> Result<Server, String> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("log");
        // It ends with the thread that started it, whatever becomes of the test.
        let mut command = Command::new(program("setpriv").unwrap_or_else(|| "setpriv".into()));
        settle(&mut command);
        command.args(["--pdeathsig", "KILL"]);
        if let Some(files) = launch.files {
            command.arg("prlimit").arg(format!("--nofile={files}:{files}"));
        }
        command.args([env!("CARGO_BIN_EXE_seaworthy"), "up", "--data"]);
        command.arg(self.data()).args(["--listen", &format!("localhost:{port}")]);
        command
            .args(launch.flags)
            .env("SEAWORTHY_LANG", launch.language)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        match launch.docker_host {
            Some(host) => command.env("DOCKER_HOST", host),
            None => command.arg("--no-agent"),
        };
        let started = Instant::now();
        let mut child = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(lines.next()));
        if let Ok(Some(Ok(line))) = receiver.recv_timeout(READY) {
            assert_eq!(line, format!("ready http://localhost:{port}"));
            return Ok(Server { child, port, ready_after: started.elapsed() });
        }
        drop(child.kill());
        drop(child.wait());
        Err(self.log())
    }
}

fn text_of(value: rusqlite::types::ValueRef<'_>) -> String {
    use rusqlite::types::ValueRef::{Blob, Integer, Null, Real, Text};
    match value {
        Null => String::new(),
        Integer(number) => number.to_string(),
        Real(number) => number.to_string(),
        Text(text) => String::from_utf8_lossy(text).into_owned(),
        Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// How a server is started.
#[derive(Clone, Copy)]
struct Launch<'a> {
    flags: &'a [&'a str],
    language: &'a str,
    docker_host: Option<&'a str>,
    /// That it may open.
    files: Option<u64>,
}

impl Default for Launch<'_> {
    fn default() -> Self {
        Self { flags: &[], language: "en", docker_host: None, files: None }
    }
}

/// A port that nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) ready_after: Duration,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, as a service manager stops it; how it ended, and after what time.
    pub(crate) fn stop(mut self) -> (Option<i32>, Duration) {
        let asked = Instant::now();
        done(Command::new("kill").arg("-TERM").arg(self.pid().to_string()));
        (self.ended(), asked.elapsed())
    }

    /// Waits until it ends; with which code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < READY {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Server {
    /// SIGKILL: nothing is told to the server.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The feeds of the pack that judge Debian images.
pub(crate) fn debian_feeds(pack: &Path) -> Vec<PathBuf> {
    ["debian", "kev", "epss"].iter().map(|name| pack.join(name)).collect()
}
