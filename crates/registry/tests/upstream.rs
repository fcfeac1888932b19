//! A registry that does what a test tells it: what a real one will not do on demand.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, request::Parts};
use seaworthy_access::Identity;
use seaworthy_oci::Digest;
use seaworthy_registry::NewCache;
use seaworthy_store::args;
use serde_json::json;
use tokio::sync::mpsc;

pub(crate) use crate::client::until;
use crate::client::{IMAGE, World};

/// What it does instead of answering.
pub(crate) enum Fault {
    Status(u16, Vec<(&'static str, String)>),
    /// Never answers.
    Hang,
    /// Ends the connection after so many bytes of the body.
    Cut(usize),
    /// Sends what the test sends.
    Drip(mpsc::Receiver<Bytes>),
    /// Other bytes under the same name.
    Other(Bytes),
    /// What it has, with a header for each line.
    With(&'static str, String),
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) call: String,
    pub(crate) headers: HeaderMap,
}

struct Content {
    media_type: String,
    bytes: Bytes,
    digest: Digest,
}

#[derive(Default)]
struct State {
    content: HashMap<String, Content>,
    seen: Vec<Seen>,
    faults: HashMap<String, VecDeque<Fault>>,
    /// Every request is answered so.
    down: Option<u16>,
    /// The challenge, and the header that answers it.
    guard: Option<(String, String)>,
    /// What the token service gives.
    token: String,
    /// It gives another to who does not want to push.
    is_for_pushers: bool,
}

#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// An image that is nowhere yet.
pub(crate) struct Image {
    pub(crate) manifest: String,
    pub(crate) digest: Digest,
    pub(crate) config: Digest,
    pub(crate) layers: Vec<Digest>,
}

pub(crate) const CONFIG: &[u8] = br#"{"os":"linux","architecture":"amd64"}"#;

pub(crate) fn image(layers: &[&[u8]]) -> Image {
    let config = Digest::sha256(CONFIG);
    let layer = |bytes: &&[u8]| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": Digest::sha256(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": IMAGE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": CONFIG.len()},
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    })
    .to_string();
    let digest = Digest::sha256(manifest.as_bytes());
    Image { manifest, digest, config, layers: layers.iter().map(|bytes| Digest::sha256(bytes)).collect() }
}

impl Upstream {
    pub(crate) async fn new() -> Self {
        Self::at("127.0.0.1").await
    }

    pub(crate) async fn at(host: &str) -> Self {
        let listener = tokio::net::TcpListener::bind((host, 0)).await.expect("bound");
        let upstream = Self { address: listener.local_addr().expect("an address"), state: Arc::default() };
        let it = upstream.clone();
        let router = Router::new().fallback(move |request: Request| {
            let it = it.clone();
            let (head, _) = request.into_parts();
            async move { it.answer(head).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        upstream
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A cache of it, for whoever may do everything.
    pub(crate) async fn cached(&self, world: &World, more: serde_json::Value) {
        let mut new =
            json!({"prefix": "hub", "upstream": self.url(), "networks": ["127.0.0.1"], "check_seconds": 0});
        new.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let new: NewCache = serde_json::from_value(new).expect("a cache");
        world.registry.set_cache(&Identity::operator(0), &new).await.expect("a cache");
    }

    pub(crate) fn put(&self, path: &str, media_type: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256(&bytes);
        let content = Content { media_type: media_type.into(), bytes, digest };
        self.lock().content.insert(path.to_owned(), content);
        digest
    }

    pub(crate) fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        self.put(&format!("/v2/{repository}/blobs/{digest}"), "application/octet-stream", bytes.to_vec())
    }

    pub(crate) fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        manifest: &str,
    ) -> Digest {
        let digest = Digest::sha256(manifest.as_bytes());
        for name in [tag, &digest.to_string()] {
            self.put(&format!("/v2/{repository}/manifests/{name}"), media_type, manifest.to_owned());
        }
        digest
    }

    pub(crate) fn put_image(&self, reference: &str, layers: &[&[u8]]) -> Image {
        let (repository, tag) = reference.split_once(':').expect("a tag");
        let image = image(layers);
        self.put_blob(repository, CONFIG);
        for layer in layers {
            self.put_blob(repository, layer);
        }
        self.put_manifest(repository, tag, IMAGE, &image.manifest);
        image
    }

    /// What a list says, whatever is there.
    pub(crate) fn list_tags(&self, repository: &str, tags: &[&str]) {
        let list = json!({"name": repository, "tags": tags}).to_string();
        self.put(&format!("/v2/{repository}/tags/list"), "application/json", list);
    }

    pub(crate) fn list_referrers(&self, path: &str, referrers: &[&str]) {
        let manifests: Vec<_> = referrers
            .iter()
            .map(|it| json!({"mediaType": IMAGE, "digest": Digest::sha256(it.as_bytes()), "size": it.len()}))
            .collect();
        let list = json!({"schemaVersion": 2, "mediaType": crate::client::INDEX, "manifests": manifests});
        self.put(path, crate::client::INDEX, list.to_string());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.lock().content.remove(path);
    }

    /// What happens to the next request of this kind, such as `GET /v2/a/blobs/…`; several in order.
    pub(crate) fn fault(&self, call: &str, fault: Fault) {
        self.lock().faults.entry(call.to_owned()).or_default().push_back(fault);
    }

    /// Forgets the first of what happens to requests of this kind.
    pub(crate) fn lift(&self, call: &str, count: usize) {
        drop(self.lock().faults.get_mut(call).expect("some").drain(..count));
    }

    pub(crate) fn down(&self, status: Option<u16>) {
        self.lock().down = status;
    }

    /// Asks for `header` with `challenge`; its own token service gives `token`.
    pub(crate) fn guard(&self, challenge: &str, header: &str, token: &str) {
        let mut state = self.lock();
        state.guard = Some((challenge.to_owned(), header.to_owned()));
        token.clone_into(&mut state.token);
    }

    /// Only who may push is answered.
    pub(crate) fn guard_for_pushers(&self) {
        self.lock().is_for_pushers = true;
    }

    pub(crate) fn unguard(&self) {
        self.lock().guard = None;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// How often this was asked for.
    pub(crate) fn count(&self, call: &str) -> usize {
        self.lock().seen.iter().filter(|seen| seen.call == call).count()
    }

    async fn answer(&self, head: Parts) -> Response {
        let (method, path, headers) = (head.method.to_string(), head.uri.path().to_owned(), head.headers);
        let call = format!("{method} {path}");
        let query = head.uri.query().unwrap_or_default();
        let fault = {
            let mut state = self.lock();
            state.seen.push(Seen { call: call.clone(), headers: headers.clone() });
            if let Some(status) = state.down {
                return plain(status, &[]);
            }
            if path == "/token" {
                let is_enough = !state.is_for_pushers || query.contains("push");
                let token = if is_enough { state.token.as_str() } else { "less" };
                let token = json!({"token": token, "expires_in": 300}).to_string();
                return Response::new(Body::from(token));
            }
            if let Some((challenge, wanted)) = &state.guard
                && headers.get("authorization").is_none_or(|given| given != wanted.as_str())
            {
                return plain(401, &[("www-authenticate", challenge.clone())]);
            }
            state.faults.get_mut(&call).and_then(VecDeque::pop_front)
        };
        match fault {
            Some(Fault::Status(status, headers)) => plain(status, &headers),
            Some(Fault::Hang) => std::future::pending().await,
            other => self.content(&method, &path, &headers, other),
        }
    }

    fn content(&self, method: &str, path: &str, headers: &HeaderMap, fault: Option<Fault>) -> Response {
        let state = self.lock();
        let Some(content) = state.content.get(path) else {
            let mut answer = plain(404, &[]);
            // As a registry says it; what merely stands in front of one says nothing.
            *answer.body_mut() = Body::from(r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
            return answer;
        };
        let mut bytes = match &fault {
            Some(Fault::Other(other)) => other.clone(),
            _ => content.bytes.clone(),
        };
        let mut answer = Response::builder()
            .header("content-type", &content.media_type)
            .header("docker-content-digest", content.digest.to_string());
        let range = headers.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
        if let Some(from) = range.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok()) {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            answer = answer.status(StatusCode::PARTIAL_CONTENT).header("content-range", range);
            bytes = bytes.slice(from..);
        }
        let mut answer = answer.header("content-length", bytes.len());
        if let Some(Fault::With(name, value)) = &fault {
            for value in value.lines() {
                answer = answer.header(*name, value);
            }
        }
        let body = match fault {
            _ if method == "HEAD" => Body::empty(),
            Some(Fault::Cut(length)) => {
                let some = stream::iter([Ok(bytes.slice(..length)), Err(std::io::Error::other("cut"))]);
                // What was sent is on its way before the connection ends.
                Body::from_stream(some.then(|piece| async {
                    tokio::task::yield_now().await;
                    piece
                }))
            }
            Some(Fault::Drip(drops)) => Body::from_stream(stream::unfold(drops, |mut drops| async move {
                let drop = drops.recv().await?;
                Some((Ok::<_, std::io::Error>(drop), drops))
            })),
            _ => Body::from(bytes),
        };
        answer.body(body).expect("an answer")
    }
}

fn plain(status: u16, headers: &[(&'static str, String)]) -> Response {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, value);
    }
    answer.body(Body::from("words of the upstream")).expect("an answer")
}

/// True when all blobs of a manifest are here, and inspection was told.
pub(crate) async fn is_filled(world: &World, digest: &Digest) -> bool {
    let sql = "SELECT filled FROM registry_cached WHERE digest = $1";
    let rows = world.test.db.fetch_all(sql, args![&digest.to_string()]).await.expect("rows");
    !rows.is_empty() && rows.iter().all(|row| row.int(0).expect("a number") == 1)
}
