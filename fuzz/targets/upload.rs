//! The upload machine against a model: whatever is sent, in whichever order and by whom, sessions stand where the
//! model says, and a blob is there when it was acknowledged, with its bytes.
#![no_main]

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use axum::{Extension, Router, body::Body};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use libfuzzer_sys::fuzz_target;
use seaworthy_access::{Access, Identity, PrincipalKind};
use seaworthy_model::{Actor, SystemClock};
use seaworthy_oci::Digest;
use seaworthy_registry::{OpenGate, Registry, RegistryConfig, SparseIndexes, UpstreamAccess};
use seaworthy_seal::Seal;
use seaworthy_store::{Blobs, Db};
use tower::ServiceExt as _;

/// Steps of one run.
const STEPS: usize = 24;
/// More bytes than a run sends.
const FAR: u64 = 1 << 30;

struct World {
    runtime: tokio::runtime::Runtime,
    operator: Router,
    other: Router,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl World {
    fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            // In memory where there is such a place: what is tried here is not the disk.
            let memory = std::path::Path::new("/dev/shm");
            let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
            let folder = folder.expect("a folder");
            let (operator, other) = runtime.block_on(Self::open(folder.path()));
            World { runtime, operator, other, _folder: folder }
        })
    }

    async fn open(folder: &std::path::Path) -> (Router, Router) {
        let db = Db::open_sqlite(&folder.join("db"), Arc::new(SystemClock)).await.expect("a database");
        let rooms = [
            seaworthy_seal::SCHEMA,
            seaworthy_ledger::SCHEMA,
            seaworthy_access::SCHEMA,
            seaworthy_registry::SCHEMA,
        ];
        db.migrate(&rooms).await.expect("tables");
        let seal = Seal::open(folder).expect("a seal");
        let access = Access::open(db.clone(), &seal, "registry.test").await.expect("access");
        let actor = Actor::system();
        let made = access
            .create_principal(&actor, "other".parse().expect("a name"), PrincipalKind::ServicePrincipal)
            .await
            .expect("made");
        access
            .assign(&actor, "other", "AcrPush", "/repositories".parse().expect("a scope"))
            .await
            .expect("assigned");
        let secret = made.secret.expect("a secret").secret;
        let other = access.authenticate_secret("other", secret.expose(), None).await.expect("believed");
        let registry = Registry::new(RegistryConfig {
            db: db.clone(),
            blobs: Blobs::new(folder.to_owned(), db, 0),
            access,
            gate: Arc::new(OpenGate),
            sparse_indexes: SparseIndexes::Allow,
            blob_consumers: &[],
            manifest_consumers: &[],
            collection: Default::default(),
            hosts: Vec::new(),
            upstreams: UpstreamAccess::new(Arc::new(seal), rustls::RootCertStore::empty()).expect("TLS"),
        });
        let of = |identity| seaworthy_registry::router(registry.clone()).layer(Extension(identity));
        (of(Identity::operator(0)), of(other))
    }

    fn send(&self, router: &Router, method: &str, path: &str, range: Option<&str>, body: &[u8]) -> Answer {
        self.send_body(router, method, path, range, Body::from(body.to_vec()))
    }

    /// A body that ends early.
    fn send_cut(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let cut = std::io::ErrorKind::ConnectionReset.into();
        let pieces = [Ok(bytes::Bytes::copy_from_slice(body)), Err::<_, std::io::Error>(cut)];
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        self.send_body(&self.operator, method, path, None, body)
    }

    fn send_body(
        &self,
        router: &Router,
        method: &str,
        path: &str,
        range: Option<&str>,
        body: Body,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:5000");
        if let Some(range) = range {
            request = request.header("content-range", range);
        }
        let request = request.body(body).expect("a request");
        self.runtime.block_on(async {
            let response = router.clone().oneshot(request).await.expect("infallible");
            let (parts, body) = response.into_parts();
            let body = body.collect().await.expect("a body").to_bytes().to_vec();
            Answer { status: parts.status, headers: parts.headers, body }
        })
    }
}

/// What is read from the fuzzer's bytes.
struct Input<'d>(&'d [u8]);

impl<'d> Input<'d> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self) -> Vec<u8> {
        let (length, unit) = (usize::from(self.byte()), self.byte());
        // Now and then more than a small blob.
        let length = if length > 250 { 17_000 + length } else { length % 40 };
        vec![unit; length]
    }
}

/// A session as it should stand.
struct Session {
    location: String,
    bytes: Vec<u8>,
    /// What came with the last request, which was cut: who asks goes on behind it.
    cut: Vec<u8>,
    is_over: bool,
}

impl Session {
    fn told(&mut self) -> String {
        // One byte is nothing: the same is said of both.
        if self.bytes.len() + self.cut.len() > 1 {
            self.bytes.append(&mut self.cut);
        }
        stands(&self.bytes)
    }
}

fn range_of(answer: &Answer) -> &str {
    answer.headers.get("range").map_or("", |value| value.to_str().expect("text"))
}

fn stands(bytes: &[u8]) -> String {
    format!("0-{}", bytes.len().saturating_sub(1))
}

fuzz_target!(|data: &[u8]| {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let world = World::get();
    let repository = format!("r{}", RUNS.fetch_add(1, Ordering::Relaxed));
    let mut input = Input(data);
    let mut sessions: Vec<Session> = Vec::new();
    let mut blobs: Vec<(Digest, Vec<u8>)> = Vec::new();
    let me = &world.operator;
    for _ in 0..STEPS {
        if input.0.is_empty() {
            break;
        }
        let (action, which) = (input.byte() % 11, usize::from(input.byte()));
        if sessions.is_empty() || action == 0 {
            let answer = world.send(me, "POST", &format!("/v2/{repository}/blobs/uploads/"), None, b"");
            assert_eq!(answer.status, StatusCode::ACCEPTED);
            let location = answer.headers["location"].to_str().expect("text").to_owned();
            sessions.push(Session { location, bytes: Vec::new(), cut: Vec::new(), is_over: false });
            continue;
        }
        let index = which % sessions.len();
        let session = &mut sessions[index];
        let gone = StatusCode::NOT_FOUND;
        match action {
            1..=3 => {
                let (bytes, at) = (input.bytes(), session.bytes.len() as u64);
                let end = (at + bytes.len() as u64).saturating_sub(1);
                let (range, fits) = match input.byte() % 4 {
                    0 if !bytes.is_empty() => (Some(format!("{at}-{end}")), true),
                    // Behind whatever came.
                    1 => (Some(format!("{}-{}", at + FAR, end + FAR)), false),
                    2 if !bytes.is_empty() => (Some(format!("{at}-{}", end + 1)), false),
                    _ => (None, true),
                };
                let lies_about_its_length =
                    range.as_ref().is_some_and(|it| it.starts_with(&format!("{at}-"))) && !fits;
                let answer = world.send(me, "PATCH", &session.location, range.as_deref(), &bytes);
                if session.is_over {
                    assert_eq!(answer.status, gone);
                } else if fits {
                    session.cut.clear();
                    session.bytes.extend(&bytes);
                    assert_eq!(answer.status, StatusCode::ACCEPTED);
                    assert_eq!(range_of(&answer), stands(&session.bytes));
                } else if lies_about_its_length {
                    assert!(answer.status.is_client_error(), "{}", answer.status);
                } else {
                    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
                    assert_eq!(range_of(&answer), session.told(), "it says where it stands");
                }
            }
            4 => {
                let answer = world.send(me, "GET", &session.location, None, b"");
                if session.is_over {
                    assert_eq!(answer.status, gone);
                } else {
                    assert_eq!(
                        (answer.status, range_of(&answer)),
                        (StatusCode::NO_CONTENT, session.told().as_str())
                    );
                }
            }
            5 | 6 => {
                let rest = input.bytes();
                let mut whole = session.bytes.clone();
                whole.extend(&rest);
                let is_right = input.byte() % 4 != 0;
                let digest =
                    if is_right { Digest::sha256(&whole) } else { Digest::sha256(b"something else") };
                let path = format!("{}?digest={digest}", session.location);
                let answer = world.send(me, "PUT", &path, None, &rest);
                if session.is_over {
                    // The answer that it is there is given again.
                    let is_there = blobs.iter().any(|(there, _)| *there == digest);
                    assert_eq!(answer.status, if is_there { StatusCode::CREATED } else { gone });
                } else if is_right {
                    assert_eq!(answer.status, StatusCode::CREATED);
                    session.is_over = true;
                    blobs.push((digest, whole));
                } else {
                    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
                    session.is_over = true;
                }
            }
            7 => {
                let answer = world.send(me, "DELETE", &session.location, None, b"");
                let expected = if session.is_over { gone } else { StatusCode::NO_CONTENT };
                assert_eq!(answer.status, expected);
                session.is_over = true;
            }
            8 => {
                let (bytes, is_closing) = (input.bytes(), input.byte() % 2 == 0);
                let digest = Digest::sha256(b"something else");
                let answer = if is_closing {
                    world.send_cut("PUT", &format!("{}?digest={digest}", session.location), &bytes)
                } else {
                    world.send_cut("PATCH", &session.location, &bytes)
                };
                if session.is_over {
                    assert_eq!(answer.status, gone);
                } else {
                    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
                    session.cut = bytes;
                }
            }
            9 => {
                // Another principal, who may push here too.
                let (method, body) = [("PATCH", b"x".as_slice()), ("GET", b""), ("DELETE", b"")][which % 3];
                assert_eq!(world.send(&world.other, method, &session.location, None, body).status, gone);
            }
            _ => {
                let bytes = input.bytes();
                let digest = Digest::sha256(&bytes);
                let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
                assert_eq!(world.send(me, "POST", &path, None, &bytes).status, StatusCode::CREATED);
                blobs.push((digest, bytes));
            }
        }
    }
    for (digest, bytes) in &blobs {
        let answer = world.send(me, "GET", &format!("/v2/{repository}/blobs/{digest}"), None, b"");
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.body == *bytes, "what was acknowledged is what is read");
    }
    // What is not over is given up, or the principal would have too many.
    for session in sessions.iter().filter(|session| !session.is_over) {
        assert_eq!(world.send(me, "DELETE", &session.location, None, b"").status, StatusCode::NO_CONTENT);
    }
});
