//! A real mail server in a process of its own, which ends with the test.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use seaworthy_testkit::{missing, program};
use serde_json::{Value, json};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// How the server is to behave.
pub(crate) struct Behaviour<'b> {
    pub(crate) tls: &'b str,
    /// Certificate and key, PEM files.
    pub(crate) identity: Option<(&'b Path, &'b Path)>,
    pub(crate) login: Option<(&'b str, &'b str)>,
    /// `250`, or the refusal of every mail.
    pub(crate) answer: &'b str,
}

/// The server, and the mails that it took.
pub(crate) struct MailServer {
    child: Child,
    pub(crate) port: u16,
    mails: mpsc::Receiver<Value>,
}

impl MailServer {
    /// `None` after saying that Debian's package is not there.
    pub(crate) fn start(test: &str, it: &Behaviour<'_>) -> Option<Self> {
        let python = program("python3")?;
        let has = Command::new(&python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !has.is_ok_and(|status| status.success()) {
            missing(test, "Debian's `python3-aiosmtpd`");
            return None;
        }
        let (user, password) = it.login.unwrap_or_default();
        let (certificate, key) = it.identity.unzip();
        let config = json!({
            "tls": it.tls, "certificate": certificate, "key": key, "user": user, "password": password,
            "answer": it.answer,
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smtp.py");
        // It ends with the thread that started it, whatever becomes of the test.
        let mut child = Command::new(program("setpriv").expect("util-linux"))
            .args(["--pdeathsig", "KILL"])
            .arg(python)
            .arg(script)
            .arg(config.to_string())
            .stdout(Stdio::piped())
            // It tells of every connection that a test breaks.
            .stderr(Stdio::null())
            .spawn()
            .expect("python starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let (sender, mails) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                drop(sender.send(serde_json::from_str(&line).expect("JSON")));
            }
        });
        let first: Value = mails.recv_timeout(DEADLINE).expect("a port");
        let port = u16::try_from(first["port"].as_u64().expect("a port")).expect("a port");
        Some(Self { child, port, mails })
    }

    pub(crate) fn next(&self) -> Value {
        self.mails.recv_timeout(DEADLINE).expect("a mail")
    }

    pub(crate) fn has_more(&self) -> bool {
        self.mails.try_recv().is_ok()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A header of a mail, as its reader decodes it.
pub(crate) fn header<'m>(mail: &'m Value, name: &str) -> &'m str {
    let all = mail["headers"].as_array().expect("headers");
    all.iter().find(|it| it[0] == name).and_then(|it| it[1].as_str()).unwrap_or_default()
}
