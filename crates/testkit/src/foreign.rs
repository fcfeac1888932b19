//! A registry that others wrote, which `cargo xtask prepare` builds: docker's own, of the distribution project.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::tier::wanted;

/// Where `cargo xtask prepare` puts it, below the home directory (see `xtask/src/foreign.rs`).
const PROGRAM: &str = ".cache/seaworthy/registry-3.1.2/registry";
/// bcrypt of [`ForeignRegistry::SECRET`].
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
const START: Duration = Duration::from_secs(30);

/// A running registry over an empty directory, ended when this is dropped.
pub struct ForeignRegistry {
    /// Plain HTTP on `localhost`.
    pub port: u16,
    child: Child,
    _place: TempDir,
}

/// Its program; or `None` after saying which test was not run.
pub fn foreign_program(test: &str) -> Option<PathBuf> {
    let program = Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(PROGRAM);
    if !program.is_file() {
        wanted(test, "a foreign registry (`cargo xtask prepare` builds it)");
        return None;
    }
    Some(program)
}

/// It, asking everybody for the user name and secret; or `None` after saying which test was not run.
pub fn foreign_registry(test: &str) -> Option<ForeignRegistry> {
    foreign_program(test).map(|program| ForeignRegistry::start(&program))
}

impl ForeignRegistry {
    /// Who may do everything.
    pub const USER: &'static str = "them";
    /// What they show.
    pub const SECRET: &'static str = "secret";

    fn start(program: &Path) -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let at = place.path().display();
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address").port()
        };
        fs::write(place.path().join("users"), format!("{}:{HASH}\n", Self::USER)).expect("written");
        let config = place.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {at}/data}}, delete: {{enabled: true}}}}\n\
             auth: {{htpasswd: {{realm: theirs, path: {at}/users}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"}}\n"
        );
        fs::write(&config, text).expect("written");
        let mut command = Command::new(program);
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self { child: command.spawn().expect("it starts"), port, _place: place };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < START, "no foreign registry came up");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    /// Ends it.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for ForeignRegistry {
    fn drop(&mut self) {
        self.end();
    }
}
