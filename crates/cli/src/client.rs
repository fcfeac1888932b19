//! Talking to the server: the operator socket of this machine, or HTTP with the login kept for it,
//! and with no other: docker's credential may be somebody else's.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_policy::Language;
use serde_json::Value;
use tokio::{
    io,
    net::{TcpStream, UnixStream},
};

use crate::{
    address::{Address, Scheme},
    distribution,
    flags::Global,
    login::{self, Login},
    render::note,
    text::{Text, language},
    tls,
};

/// Longest answer, in bytes.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// A server.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    Socket(PathBuf),
    Http { address: Address, login: Option<Login> },
}

impl Server {
    /// The server that the flags name, else the one on this machine.
    pub(crate) fn of(global: &Global) -> Result<Self, Problem> {
        let Some(url) = &global.server else { return Ok(Self::Socket(data_dir(global)?.join("admin.sock"))) };
        let address = Address::parse(url)?;
        Ok(Self::Http { login: login::of(&address)?, address })
    }

    /// True where nobody listens: at a socket that is not there, or that a server left behind.
    pub(crate) async fn is_away(&self) -> bool {
        let Self::Socket(socket) = self else { return false };
        let gone = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        UnixStream::connect(socket).await.is_err_and(|error| gone.contains(&error.kind()))
    }

    /// A server, as somebody.
    pub(crate) const fn with(address: Address, login: Login) -> Self {
        Self::Http { address, login: Some(login) }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Problem> {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Problem> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Problem> {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Problem> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Problem> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(whole(bytes))
            .map_err(|error| unmade(&error))?;
        let response = self.connect().await?.send(request).await?;
        let status = response.status();
        let bytes = read(response.into_body(), ANSWER_BYTES).await?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| broke(&error));
        }
        if path.starts_with("/acr/v1/") {
            return Err(self.to_login(distribution::problem_of(status, None, &bytes)));
        }
        let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let problem = said.get("error").and_then(|problem| serde_json::from_value(problem.clone()).ok());
        let problem = problem.or_else(|| of_token_service(status, &said));
        Err(self.to_login(problem.unwrap_or_else(|| unnamed(status, &bytes))))
    }

    /// Connects, as whoever the login says.
    pub(crate) async fn connect(&self) -> Result<Connection, Problem> {
        match self {
            Self::Socket(socket) => {
                let stream = UnixStream::connect(socket)
                    .await
                    .map_err(|error| away(&socket.display().to_string(), &error))?;
                let sender = converse(stream).await?;
                Ok(Connection { sender, host: "localhost".to_owned(), authorization: None })
            }
            Self::Http { address, login } => {
                let host = address.authority();
                let stream = TcpStream::connect((address.host.as_str(), address.port))
                    .await
                    .map_err(|error| away(&host, &error))?;
                if login.is_none() {
                    say_nobody(address);
                }
                let sender = if address.scheme == Scheme::Http {
                    converse(stream).await?
                } else {
                    let ca = login.as_ref().and_then(|login| login.ca.as_deref());
                    converse(tls::connect(stream, &address.host, ca).await?).await?
                };
                Ok(Connection { sender, host, authorization: login.as_ref().map(basic) })
            }
        }
    }

    /// Who is not known there is led to the login of that server, not to docker's, nor to how HTTP does it.
    pub(crate) fn to_login(&self, problem: Problem) -> Problem {
        match self {
            // The login itself has no hint.
            Self::Http { address, login }
                if problem.code == ErrorCode::Unauthorized && (login.is_none() || problem.hint.is_some()) =>
            {
                problem.hint(format!("run `seaworthy login {address}`"))
            }
            _ => problem,
        }
    }

    /// How docker calls the registry; `None` at the operator socket, which does not know.
    pub(crate) fn registry(&self) -> Option<String> {
        let Self::Http { address, .. } = self else { return None };
        let name = address.authority();
        let is_plain = address.scheme == Scheme::Https && address.port == 443;
        Some(name.strip_suffix(":443").filter(|_| is_plain).map_or(name.clone(), str::to_owned))
    }
}

/// Says once that nobody is signed in: what a list then leaves out is not seen.
fn say_nobody(address: &Address) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        note(&Text::NotSignedIn.say(language()).replace("{}", &address.to_string()));
    }
}

/// What a request carries.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// A body that is in memory.
pub(crate) fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// One connection, kept open.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    host: String,
    authorization: Option<String>,
}

impl Connection {
    /// Sends a request to a path; the answer's body is still to be read.
    pub(crate) async fn send(&mut self, mut request: Request<Body>) -> Result<Response<Incoming>, Problem> {
        let spoken = match language() {
            Language::Japanese => "ja",
            Language::English => "en",
        };
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(spoken));
        headers.insert(header::HOST, HeaderValue::from_str(&self.host).map_err(|error| unmade(&error))?);
        if let Some(authorization) = &self.authorization {
            let value = HeaderValue::from_str(authorization).map_err(|error| unmade(&error))?;
            headers.insert(header::AUTHORIZATION, value);
        }
        self.sender.ready().await.map_err(|error| broke(&error))?;
        self.sender.send_request(request).await.map_err(|error| broke(&error))
    }
}

/// A body of at most so many bytes.
pub(crate) async fn read(body: Incoming, most: usize) -> Result<Bytes, Problem> {
    Ok(Limited::new(body, most).collect().await.map_err(|error| broke(&error))?.to_bytes())
}

pub(crate) fn broke(what: &dyn std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::Unavailable, format!("the server's answer broke off: {what}"))
}

pub(crate) fn unmade(why: &dyn std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::Invalid, format!("request cannot be made: {why}"))
}

/// A refusal by the token service, which says it as registries do.
fn of_token_service(status: StatusCode, said: &Value) -> Option<Problem> {
    let message = said.pointer("/errors/0/message")?.as_str()?;
    let code = match status {
        StatusCode::UNAUTHORIZED => ErrorCode::Unauthorized,
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::TooManyRequests,
        StatusCode::SERVICE_UNAVAILABLE => ErrorCode::Unavailable,
        StatusCode::INSUFFICIENT_STORAGE => ErrorCode::NoSpace,
        status if status.is_server_error() => ErrorCode::Internal,
        _ => ErrorCode::Invalid,
    };
    Some(Problem::new(code, message))
}

/// An answer that says nothing we understand.
pub(crate) fn unnamed(status: StatusCode, body: &[u8]) -> Problem {
    let text: String = String::from_utf8_lossy(body).chars().take(300).collect();
    let code = match status {
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::TooManyRequests,
        StatusCode::INSUFFICIENT_STORAGE => ErrorCode::NoSpace,
        _ if status.is_server_error() => ErrorCode::Unavailable,
        _ => ErrorCode::Invalid,
    };
    Problem::new(code, format!("the server answered {status}: {text}"))
}

fn basic(login: &Login) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", login.username, login.secret.expose())))
}

fn away(place: &str, error: &io::Error) -> Problem {
    let problem = Problem::new(ErrorCode::Unavailable, format!("no server answers at `{place}`: {error}"));
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            problem.hint("run the command as root, or as the server's own user")
        }
        _ => problem.hint("start it with `seaworthy up`, or name it with `--data DIR` or `--server URL`"),
    }
}

async fn converse<S>(stream: S) -> Result<SendRequest<Body>, Problem>
where
    S: io::AsyncRead + io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broke(&error))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The data directory of the server on this machine.
pub(crate) fn data_dir(global: &Global) -> Result<PathBuf, Problem> {
    if let Some(data) = &global.data {
        return Ok(data.clone());
    }
    if is_root() {
        return Ok("/var/lib/seaworthy".into());
    }
    let base = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    base.map(|base| base.join("seaworthy")).ok_or_else(|| {
        Problem::new(ErrorCode::Invalid, "neither HOME nor XDG_DATA_HOME is set").hint("use `--data DIR`")
    })
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
}

/// Percent-encodes a value for a query string or a path segment.
pub(crate) fn encode(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
