//! The registries that caches stand in front of and that replications push to, as a client sees them (distribution
//! spec, "Pull" and "Push").
//!
//! Requests are made here from nothing: no header of our own client's is ever sent on. Our credentials go to the
//! upstream and to the realms that its cache names; a redirect takes none along. Every address is looked at
//! when it is connected to.

mod address;
mod breaker;
mod challenge;
mod connect;
mod error;
mod link;
mod lists;
mod push;
mod trouble;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full};
use seaworthy_model::{Clock, Network, Secret, Timestamp};
use seaworthy_oci::{Digest, RepoName, limit::MANIFEST_BYTES, media};
use serde::Deserialize;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use address::Place;
pub use address::{HostName, Origin};
use breaker::Breaker;
use challenge::Challenge;
pub(crate) use connect::Flow;
use connect::Outgoing;
pub(crate) use error::UpstreamError;
pub(crate) use trouble::Trouble;

use crate::{
    limit,
    path::{ManifestName, encode},
};

const AGENT: &str = concat!("seaworthy/", env!("CARGO_PKG_VERSION"));

/// A user name and password, or token, for one upstream.
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Secret<String>,
}

/// What an upstream is, as its cache says.
pub(crate) struct UpstreamConfig {
    pub(crate) origin: Origin,
    pub(crate) realms: Vec<HostName>,
    pub(crate) networks: Vec<Network>,
    pub(crate) login: Option<Login>,
    pub(crate) tls: TlsConnector,
    /// How long a head may take, and how long a body may stand still.
    pub(crate) patience: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

/// One upstream, with what was learnt of it: tokens, and whether it is well.
pub(crate) struct Upstream {
    config: UpstreamConfig,
    tokens: Mutex<HashMap<(String, Right), Token>>,
    /// It asked for a user name and password itself.
    wants_basic: AtomicBool,
    breaker: Breaker,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Timestamp,
}

/// A manifest as the upstream sent it.
pub(crate) struct Sent {
    pub(crate) bytes: Bytes,
    pub(crate) content_type: Option<String>,
    /// What the upstream calls it.
    pub(crate) digest: Option<Digest>,
}

/// A blob on its way.
pub(crate) struct Arriving {
    pub(crate) flow: Flow,
    /// The place in the blob that its first byte has.
    pub(crate) start: u64,
}

/// What is to be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Right {
    Pull,
    /// Also for the questions of who pushes: a registry need not answer others about what is not there yet.
    Push,
    Delete,
}

impl Right {
    /// Actions of a scope (distribution spec, token authentication).
    const fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
            Self::Delete => "pull,delete",
        }
    }
}

/// One request.
struct Wanted {
    method: Method,
    path: String,
    right: Right,
    accept: Option<HeaderValue>,
    from: u64,
    /// A manifest, with its media type.
    body: Option<(HeaderValue, Bytes)>,
}

/// True when an answer says in the distribution spec's words that a registry does not have it: what stands in
/// front of one answers 404 as well, while that is away.
async fn says_unknown(flow: Flow) -> bool {
    let Ok(bytes) = flow.all(limit::TOKEN_ANSWER_BYTES).await else { return false };
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return false };
    let errors = answer.get("errors").and_then(serde_json::Value::as_array);
    let codes = errors.into_iter().flatten().filter_map(|error| error.get("code")?.as_str());
    let known = ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN", "NOT_FOUND"];
    codes.into_iter().any(|code| known.contains(&code))
}

/// For fuzzing: reads challenges.
#[cfg(fuzzing)]
pub(crate) fn challenge<'h>(headers: impl Iterator<Item = &'h str>) -> Option<impl Sized> {
    challenge::parse(headers)
}

impl Upstream {
    pub(crate) fn new(config: UpstreamConfig) -> Self {
        Self {
            config,
            tokens: Mutex::default(),
            wants_basic: AtomicBool::new(false),
            breaker: Breaker::default(),
        }
    }

    /// Its host, for messages.
    pub(crate) fn host(&self) -> &str {
        &self.config.origin.host
    }

    /// True while it is left alone.
    pub(crate) fn rests(&self) -> bool {
        self.breaker.enter(self.config.clock.now()).is_err()
    }

    /// The digest that a tag has there; `None` when it does not say.
    pub(crate) async fn digest_of(
        &self,
        remote: &RepoName,
        name: &ManifestName,
        right: Right,
    ) -> Result<Option<Digest>, UpstreamError> {
        let wanted = Wanted::manifest(Method::HEAD, (remote, name), right);
        let response = self.ask(remote, &wanted).await?;
        Ok(digest_in(response.headers()))
    }

    /// A manifest. Its bytes are not looked at.
    pub(crate) async fn manifest(
        &self,
        remote: &RepoName,
        name: &ManifestName,
        right: Right,
    ) -> Result<Sent, UpstreamError> {
        let wanted = Wanted::manifest(Method::GET, (remote, name), right);
        let response = self.ask(remote, &wanted).await?;
        let content_type = text(response.headers(), &header::CONTENT_TYPE);
        let content_type = content_type.and_then(|it| it.split(';').next()).map(|it| it.trim().to_owned());
        let digest = digest_in(response.headers());
        let bytes = response.into_body().all(MANIFEST_BYTES).await?;
        Ok(Sent { bytes, content_type, digest })
    }

    /// A blob's bytes from a place on, or all of them.
    pub(crate) async fn blob(
        &self,
        remote: &RepoName,
        digest: &Digest,
        from: u64,
    ) -> Result<Arriving, UpstreamError> {
        let path = format!("/v2/{remote}/blobs/{digest}");
        let wanted = Wanted { from, ..Wanted::new(Method::GET, path, Right::Pull) };
        let response = self.ask(remote, &wanted).await?;
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = text(response.headers(), &header::CONTENT_RANGE).and_then(range_start);
                range
                    .filter(|start| *start == from)
                    .ok_or_else(|| self.wrong("another range than asked for"))?
            }
            _ => 0,
        };
        Ok(Arriving { flow: response.into_body(), start })
    }

    /// Asks, unless it is left alone; what comes is a success.
    async fn ask(&self, remote: &RepoName, wanted: &Wanted) -> Result<Response<Flow>, UpstreamError> {
        let host = || self.host().to_owned();
        let now = self.config.clock.now();
        let pass =
            self.breaker.enter(now).map_err(|seconds| UpstreamError::Resting { host: host(), seconds })?;
        let asked = timeout(self.config.patience, self.ask_with_rights(remote, wanted)).await;
        let outcome = match asked {
            Ok(Ok(response)) if response.status() == StatusCode::NOT_FOUND => {
                let said = timeout(self.config.patience, says_unknown(response.into_body())).await;
                let is_told = said.unwrap_or_default();
                Err(UpstreamError::NotFound { host: host(), is_told })
            }
            Ok(Ok(response)) => self.judge(response),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(UpstreamError::Late { host: host() }),
        };
        self.note(pass, &outcome);
        outcome
    }

    /// What an answer says about how the upstream is.
    fn note<T>(&self, pass: breaker::Pass<'_>, outcome: &Result<T, UpstreamError>) {
        match outcome {
            Err(error) if error.is_trouble() => {
                if let Some(seconds) = pass.failed(self.config.clock.now(), error.retry_after()) {
                    let reason = seaworthy_store::chain(error);
                    tracing::warn!(upstream = self.host(), seconds, reason, "upstream is left alone");
                }
            }
            _ => {
                if pass.answered() {
                    tracing::info!(upstream = self.host(), "upstream is back");
                }
            }
        }
    }

    fn judge(&self, response: Response<Flow>) -> Result<Response<Flow>, UpstreamError> {
        let (host, status) = (self.host().to_owned(), response.status());
        match status {
            _ if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => Err(UpstreamError::NotFound { host, is_told: false }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(UpstreamError::Refused { host, status }),
            _ => {
                let asked = text(response.headers(), &header::RETRY_AFTER);
                let retry_after = asked.map(|it| it.trim().parse().unwrap_or(limit::UPSTREAM_RETRY_SECONDS));
                Err(UpstreamError::Answered { host, status, retry_after })
            }
        }
    }

    /// Asks with what is known to be wanted, and once more with what is then asked for.
    async fn ask_with_rights(
        &self,
        remote: &RepoName,
        wanted: &Wanted,
    ) -> Result<Response<Flow>, UpstreamError> {
        let (response, is_own) = self.follow(wanted, self.known_rights(remote, wanted.right)).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !is_own {
            return Ok(response);
        }
        self.lock_tokens().remove(&(remote.to_string(), wanted.right));
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
        let Some(challenge) = challenge::parse(headers.iter().filter_map(|it| it.to_str().ok())) else {
            return Ok(response);
        };
        drop(response);
        let Some(rights) = self.rights((remote, wanted.right), challenge).await? else {
            return Err(UpstreamError::Refused {
                host: self.host().to_owned(),
                status: StatusCode::UNAUTHORIZED,
            });
        };
        Ok(self.follow(wanted, Some(rights)).await?.0)
    }

    /// Follows redirects. Rights are for the upstream itself, and not for a place that was come to from elsewhere.
    /// Says whether the answer is the upstream's own.
    async fn follow(
        &self,
        wanted: &Wanted,
        rights: Option<HeaderValue>,
    ) -> Result<(Response<Flow>, bool), UpstreamError> {
        let astray = |why| UpstreamError::Astray { host: self.host().to_owned(), why };
        let mut place = Place { origin: self.config.origin.clone(), path: wanted.path.clone() };
        let mut rights = rights;
        let mut is_own = true;
        for _ in 0..=limit::REDIRECTS {
            let response = self.send(&place, wanted.request(&place, rights.as_ref())).await?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, is_own));
            }
            if !wanted.method.is_safe() {
                return Err(astray("a push elsewhere"));
            }
            let location = text(response.headers(), &header::LOCATION);
            let next = location.and_then(|it| place.towards(it));
            let next = next.ok_or_else(|| astray("a redirect to nowhere"))?;
            if next.origin.is_plain && !place.origin.is_plain {
                return Err(astray("a redirect from https to http"));
            }
            if next.origin != self.config.origin {
                rights = None;
                is_own = false;
            }
            place = next;
        }
        Err(astray("too many redirects"))
    }

    async fn send(&self, place: &Place, request: Request<Outgoing>) -> Result<Response<Flow>, UpstreamError> {
        let UpstreamConfig { networks, tls, patience, .. } = &self.config;
        connect::exchange(&place.origin, networks, tls, request, *patience).await
    }

    fn known_rights(&self, remote: &RepoName, right: Right) -> Option<HeaderValue> {
        if self.wants_basic.load(Ordering::Relaxed) {
            return self.basic();
        }
        let now = self.config.clock.now();
        let key = (remote.to_string(), right);
        let mut tokens = self.lock_tokens();
        if tokens.get(&key).is_some_and(|token| token.until <= now) {
            tokens.remove(&key);
        }
        tokens.get(&key).map(|token| token.header.clone())
    }

    fn lock_tokens(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Right), Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn basic(&self) -> Option<HeaderValue> {
        let login = self.config.login.as_ref()?;
        let pair = Secret::new(format!("{}:{}", login.username, login.password.expose()));
        secret_header(&format!("Basic {}", STANDARD.encode(pair.expose())))
    }

    /// What answers a challenge; `None` when we have nothing that does.
    async fn rights(
        &self,
        (remote, right): (&RepoName, Right),
        challenge: Challenge,
    ) -> Result<Option<HeaderValue>, UpstreamError> {
        let Challenge::Bearer { realm, service, scope } = challenge else {
            self.wants_basic.store(self.config.login.is_some(), Ordering::Relaxed);
            return Ok(self.basic());
        };
        let place = self.realm(&realm)?;
        let own = format!("repository:{remote}:{}", right.actions());
        // A question is answered with a challenge to read alone.
        let is_less =
            |scope: &String| right == Right::Push && scope.starts_with(&format!("repository:{remote}:"));
        let scope = scope.filter(|scope| !is_less(scope)).unwrap_or(own);
        let service = service.map(|it| format!("&service={}", encode(&it))).unwrap_or_default();
        let joint = if place.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{joint}scope={}{service}", place.path, encode(&scope));
        let place = Place { origin: place.origin, path };
        let wanted = Wanted::new(Method::GET, String::new(), Right::Pull);
        let response = self.send(&place, wanted.request(&place, self.basic().as_ref())).await?;
        let response = match self.judge(response) {
            // That the service is not there says nothing about the image.
            Err(UpstreamError::NotFound { host, .. }) => {
                let status = StatusCode::NOT_FOUND;
                return Err(UpstreamError::Answered { host, status, retry_after: None });
            }
            judged => judged?,
        };
        let bytes = Secret::new(response.into_body().all(limit::TOKEN_ANSWER_BYTES).await?.to_vec());
        let token = self.token(bytes.expose())?;
        let header = token.header.clone();
        self.remember((remote, right), token);
        Ok(Some(header))
    }

    fn remember(&self, (remote, right): (&RepoName, Right), token: Token) {
        let mut tokens = self.lock_tokens();
        if tokens.len() >= limit::UPSTREAM_TOKENS {
            tokens.clear();
        }
        tokens.insert((remote.to_string(), right), token);
    }

    /// The place of a realm that this upstream may name: its own host, or one that its cache lists.
    fn realm(&self, realm: &str) -> Result<Place, UpstreamError> {
        let astray = |why| UpstreamError::Astray { host: self.host().to_owned(), why };
        let place = Place::parse(realm).ok_or_else(|| astray("a token service that is no URL"))?;
        let own = &self.config.origin;
        if place.origin.is_plain && !own.is_plain {
            return Err(astray("a token service without TLS"));
        }
        let is_listed = self.config.realms.iter().any(|host| host.is_of(&place.origin));
        if place.origin.authority() != own.authority() && !is_listed {
            return Err(astray("a token service that the cache does not name"));
        }
        Ok(place)
    }

    fn token(&self, bytes: &[u8]) -> Result<Token, UpstreamError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<i64>,
        }
        let wrong = || self.wrong("a token that is none");
        let answer: Answer = serde_json::from_slice(bytes).map_err(|_| wrong())?;
        let token = answer.token.or(answer.access_token).map(Secret::new).ok_or_else(wrong)?;
        let header = secret_header(&format!("Bearer {}", token.expose())).ok_or_else(wrong)?;
        // Distribution spec, token authentication: 60 seconds when nothing is said.
        let lives = answer.expires_in.unwrap_or(60).clamp(0, limit::TOKEN_SECONDS_MAX);
        let until = self.config.clock.now().plus_seconds(lives - limit::TOKEN_MARGIN_SECONDS);
        Ok(Token { header, until })
    }

    fn wrong(&self, why: &str) -> UpstreamError {
        UpstreamError::Wrong { host: self.host().to_owned(), why: why.to_owned() }
    }
}

impl Wanted {
    fn manifest(method: Method, (remote, name): (&RepoName, &ManifestName), right: Right) -> Self {
        let accept = [media::OCI_INDEX, media::OCI_MANIFEST, media::DOCKER_LIST, media::DOCKER_MANIFEST];
        let accept = HeaderValue::from_str(&accept.join(", ")).ok();
        Self { accept, ..Self::new(method, format!("/v2/{remote}/manifests/{name}"), right) }
    }

    const fn new(method: Method, path: String, right: Right) -> Self {
        Self { method, path, right, accept: None, from: 0, body: None }
    }

    fn request(&self, place: &Place, rights: Option<&HeaderValue>) -> Request<Outgoing> {
        let body = match &self.body {
            Some((_, bytes)) => Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync(),
            None => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = place.path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(&place.origin.authority()) {
            headers.insert(header::HOST, host);
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        match &self.body {
            Some((media_type, _)) => {
                headers.insert(header::CONTENT_TYPE, media_type.clone());
            }
            // Some that stand in front of registries insist (411).
            None if self.method == Method::POST => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            None => {}
        }
        if let Some(accept) = &self.accept {
            headers.insert(header::ACCEPT, accept.clone());
        }
        if self.from > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.from))
        {
            headers.insert(header::RANGE, range);
        }
        if let Some(rights) = rights {
            headers.insert(header::AUTHORIZATION, rights.clone());
        }
        request
    }
}

fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn text<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn digest_in(headers: &HeaderMap) -> Option<Digest> {
    text(headers, &header::HeaderName::from_static("docker-content-digest"))?.parse().ok()
}

/// The first place of `bytes 5-9/10`.
fn range_start(header: &str) -> Option<u64> {
    header.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use seaworthy_model::FixedClock;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000);

    pub(super) fn upstream() -> Upstream {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Upstream::new(UpstreamConfig {
            origin: "https://r.example".parse().expect("an origin"),
            realms: ["auth.example:8443", "usual.example:443"].map(|it| it.parse().expect("a host")).to_vec(),
            networks: Vec::new(),
            login: None,
            tls: TlsConnector::from(Arc::new(tls)),
            patience: Duration::from_secs(limit::UPSTREAM_SECONDS),
            clock: Arc::new(FixedClock::at(NOW)),
        })
    }

    #[test]
    fn a_token_is_used_for_a_while() {
        let lives = |text: &str| {
            let token = upstream().token(text.as_bytes()).ok()?;
            Some((token.until.as_micros() - NOW.as_micros()) / 1_000_000 + limit::TOKEN_MARGIN_SECONDS)
        };
        for (text, seconds) in [
            (r#"{"token":"a"}"#.to_owned(), Some(60)),
            (r#"{"access_token":"a","expires_in":300}"#.to_owned(), Some(300)),
            (
                format!(r#"{{"token":"a","expires_in":{}}}"#, limit::TOKEN_SECONDS_MAX),
                Some(limit::TOKEN_SECONDS_MAX),
            ),
            (
                format!(r#"{{"token":"a","expires_in":{}}}"#, limit::TOKEN_SECONDS_MAX + 1),
                Some(limit::TOKEN_SECONDS_MAX),
            ),
            (r#"{"token":"a","expires_in":-5}"#.to_owned(), Some(0)),
            (r#"{"token":"a\nb: c"}"#.to_owned(), None),
            ("{}".to_owned(), None),
            ("a".to_owned(), None),
        ] {
            assert_eq!(lives(&text), seconds, "{text}");
        }
    }

    #[test]
    fn tokens_are_bounded() {
        let upstream = upstream();
        let keep = |number: usize| {
            let token = upstream.token(br#"{"token":"a"}"#).expect("a token");
            upstream.remember((&format!("r{number}").parse().expect("a name"), Right::Pull), token);
            upstream.lock_tokens().len()
        };
        for number in 1..=limit::UPSTREAM_TOKENS {
            assert_eq!(keep(number), number);
        }
        assert_eq!(keep(limit::UPSTREAM_TOKENS + 1), 1, "begun anew");
    }

    #[test]
    fn a_realm_is_the_upstreams_own_or_a_named_one() {
        for (realm, fits) in [
            ("https://r.example/token", true),
            ("https://R.example:443/token?a=b", true),
            ("https://auth.example:8443/token", true),
            ("https://usual.example/token", true),
            ("https://auth.example/token", false),
            ("http://r.example/token", false),
            ("https://r.example:444/token", false),
            ("https://r.example.evil/token", false),
            ("https://r.example@evil.example/token", false),
            ("https://evil.example/r.example", false),
        ] {
            assert_eq!(upstream().realm(realm).is_ok(), fits, "{realm}");
        }
    }
}
