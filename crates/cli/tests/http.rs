//! HTTP/1.1 over a plain stream: one request per connection, nothing shared with the product.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(120);

/// Where to ask, and as whom.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    Tcp {
        port: u16,
        basic: String,
    },
    Socket(PathBuf),
    /// As a browser asks for the server's own page, or for another's: with these headers.
    Page {
        port: u16,
        headers: Vec<(&'static str, String)>,
    },
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// The credential that docker keeps for a host.
pub(crate) fn docker_credential(config: &Path, host: &str) -> String {
    let text = std::fs::read_to_string(config.join("config.json")).expect("docker's config.json");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    let auth = config["auths"][host]["auth"].as_str().unwrap_or_else(|| panic!("no `{host}` in {text}"));
    let pair = STANDARD.decode(auth).expect("base64");
    assert!(pair.contains(&b':'), "user:secret");
    auth.to_owned()
}

impl Door {
    /// One request; `Err` when the server went away.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> Result<Answer, std::io::Error> {
        let head = self.head(method, path, kind, body.len());
        match self {
            Self::Tcp { port, .. } | Self::Page { port, .. } => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_read_timeout(Some(ANSWER))?;
                exchange(stream, &head, body, method == "HEAD")
            }
            Self::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(ANSWER))?;
                exchange(stream, &head, body, method == "HEAD")
            }
        }
    }

    fn head(&self, method: &str, path: &str, kind: &str, length: usize) -> String {
        let authorization = match self {
            Self::Tcp { basic, .. } => format!("authorization: Basic {basic}\r\n"),
            Self::Socket(_) => String::new(),
            Self::Page { headers, .. } => {
                headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
            }
        };
        let host = match self {
            Self::Page { port, .. } => format!("localhost:{port}"),
            Self::Tcp { .. } | Self::Socket(_) => "localhost".to_owned(),
        };
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{authorization}\
             content-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        )
    }

    /// A request whose body of `length` bytes is the caller's to send, or not, over TCP.
    pub(crate) fn begin(&self, method: &str, path: &str, kind: &str, length: usize) -> TcpStream {
        let (Self::Tcp { port, .. } | Self::Page { port, .. }) = self else { panic!("a door of TCP") };
        let mut stream = TcpStream::connect(("127.0.0.1", *port)).expect("connected");
        stream.write_all(self.head(method, path, kind, length).as_bytes()).expect("written");
        stream
    }

    /// A request without a body that has to be answered.
    pub(crate) fn get(&self, method: &str, path: &str) -> Answer {
        self.ask(method, path, "application/json", b"").expect("the server answers")
    }
}

fn exchange<S: Read + Write>(
    mut stream: S,
    head: &str,
    body: &[u8],
    no_body: bool,
) -> Result<Answer, std::io::Error> {
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw)?;
    let gone = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let end = raw.windows(4).position(|it| it == b"\r\n\r\n").ok_or_else(gone)?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or_else(gone)?;
    let mut answer = Answer { status, head, body: raw[end + 4..].to_vec() };
    if no_body {
        return Ok(answer);
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = unchunk(&answer.body).ok_or_else(gone)?;
    }
    let length = answer.header("content-length").and_then(|it| it.parse::<usize>().ok());
    if length.is_some_and(|length| length != answer.body.len()) {
        return Err(gone());
    }
    Ok(answer)
}

fn unchunk(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let line = raw.windows(2).position(|it| it == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..line]).ok()?.trim(), 16).ok()?;
        raw = &raw[line + 2..];
        if size == 0 {
            return Some(out);
        }
        out.extend(raw.get(..size)?);
        raw = raw.get(size + 2..)?;
    }
}
