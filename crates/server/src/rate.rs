//! How many requests somebody may send: a steady rate, and a burst of some seconds of it.
//!
//! Counted is whoever asks: a principal, however many credentials and connections it has; whoever signs in as
//! nobody, or with what is wrong, by network address. Who signs in by a form is told by the form: until then the
//! address is counted apart, so that who reads as nobody keeps nobody from signing in. One number for each is kept, the time at which it would have used up its
//! rate (the generic cell rate algorithm), in a bounded cache: who asked long ago is forgotten.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension,
    body::Body,
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use quick_cache::sync::Cache;
use seaworthy_access::Identity;
use seaworthy_model::{ErrorCode, PrincipalId, Problem};
use seaworthy_registry::{Told, body_of};
use tokio::time::Instant;

use crate::{api::ApiError, auth::RemoteHost, connections::network, limit, tls::Caller, token};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asker {
    Principal(PrincipalId),
    Address(IpAddr),
    /// That sends a form to sign in with.
    Form(IpAddr),
}

/// How a request came.
#[derive(Clone, Copy)]
enum Way {
    Form,
    Other,
}

/// What was wrong with the credentials of a request, on their way past the rate.
#[derive(Clone)]
pub(crate) struct Rejected(pub(crate) Problem);

impl Rejected {
    pub(crate) fn answer(&self, path: &str) -> Response {
        if path.starts_with("/oauth2/") {
            token::failed(self.0.clone())
        } else {
            ApiError(self.0.clone()).into_response()
        }
    }
}

/// Who signed in by a form, on the way back.
#[derive(Clone, Copy)]
pub(crate) struct SignedIn(pub(crate) PrincipalId);

/// Counts requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rates(Arc<Inner>);

struct Inner {
    began: Instant,
    principals: Option<Rate>,
    nobody: Option<Rate>,
    /// Microseconds since `began` until which the rate is used up.
    used: Cache<Asker, Arc<AtomicU64>>,
}

/// Microseconds.
#[derive(Clone, Copy, Debug)]
struct Rate {
    each: u64,
    burst: u64,
}

impl Rate {
    /// `None` for as many as one likes.
    fn per_minute(requests: u32) -> Option<Self> {
        let each = 60_000_000_u64.checked_div(requests.into())?;
        Some(Self { each, burst: limit::BURST_SECONDS * 1_000_000 })
    }

    /// Takes one request; else how long to wait for the next.
    fn take(self, used: &AtomicU64, now: u64) -> Result<(), u64> {
        let mut before = used.load(Ordering::Relaxed);
        loop {
            let after = before.max(now) + self.each;
            // One request is always in order after a time without any, however low the rate is.
            let allowed = now + self.burst.max(self.each);
            if after > allowed {
                return Err(after - allowed);
            }
            match used.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => before = other,
            }
        }
    }
}

impl Rates {
    /// Requests a minute of each principal, and of each address that nobody signs in from; `0` is as many as
    /// they like.
    pub(crate) fn new(principals: u32, nobody: u32) -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            principals: Rate::per_minute(principals),
            nobody: Rate::per_minute(nobody),
            used: Cache::new(limit::ASKERS),
        }))
    }

    fn of(&self, asker: Asker) -> Option<Rate> {
        match asker {
            Asker::Principal(_) => self.0.principals,
            Asker::Address(_) | Asker::Form(_) => self.0.nobody,
        }
    }

    /// Undoes a [`Rates::take`] that was in order.
    fn give_back(&self, asker: Asker) {
        if let (Some(rate), Some(used)) = (self.of(asker), self.0.used.get(&asker)) {
            // What is before now is a rate that is not used at all.
            let back = |used: u64| Some(used.saturating_sub(rate.each));
            let _ = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
        }
    }

    fn take(&self, asker: Asker) -> Result<(), Duration> {
        let Some(rate) = self.of(asker) else { return Ok(()) };
        let now = u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let found =
            self.0.used.get_or_insert_with::<_, std::convert::Infallible>(&asker, || Ok(Arc::default()));
        let Ok(used) = found;
        rate.take(&used, now).map_err(Duration::from_micros)
    }
}

/// Behind authentication, in front of the routes.
pub(crate) async fn limited(
    State(rates): State<Rates>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Extension(identity): Extension<Identity>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let rejected = request.extensions().get::<Rejected>().cloned();
    let go_on = async |request| match &rejected {
        Some(rejected) => rejected.answer(&path),
        None => next.run(request).await,
    };
    if is_free(&path, request.extensions().get::<RemoteHost>().is_some()) {
        return go_on(request).await;
    }
    let bears = [header::AUTHORIZATION, header::COOKIE].iter().any(|it| request.headers().contains_key(it));
    let is_form = request.method() == Method::POST && path.starts_with("/oauth2/") && !bears;
    let way = if is_form { Way::Form } else { Way::Other };
    let address = network(caller.address.ip());
    let asker = asker(&identity, address, way);
    // Not what guesses in a form, nor who sends a body to be read.
    let is_question = [Method::GET, Method::HEAD].contains(request.method())
        && ["/v2", "/acr/v1"].iter().any(|it| path.starts_with(it))
        && !bears;
    match rates.take(asker) {
        Ok(()) => {
            let answer = go_on(request).await;
            // Who signs in asks first where to: that is not what nobody may read so much of.
            if is_question && answer.status() == StatusCode::UNAUTHORIZED {
                rates.give_back(asker);
            }
            if let (Asker::Form(_), Some(SignedIn(principal))) = (asker, answer.extensions().get()) {
                let principal = Asker::Principal(*principal);
                rates.give_back(asker);
                return rates
                    .take(principal)
                    .map_or_else(|wait| refused(&path, principal, wait), |()| answer);
            }
            answer
        }
        Err(wait) => {
            let answer = refused(&path, asker, wait);
            seaworthy_registry::drain(request).await;
            answer
        }
    }
}

/// Who watches over the server must not be kept out by what it serves. Agents have limits of their own, where they report.
fn is_free(path: &str, is_host: bool) -> bool {
    ["/livez", "/readyz", "/metrics"].contains(&path) || is_host && path.starts_with("/api/v1/agent/")
}

/// Who is counted. The token that everybody gets says nothing of who bears it.
fn asker(identity: &Identity, address: IpAddr, way: Way) -> Asker {
    match (identity.principal(), way) {
        (Some(principal), _) if !identity.is_nobody() => Asker::Principal(principal),
        (_, Way::Form) => Asker::Form(address),
        (_, Way::Other) => Asker::Address(address),
    }
}

fn refused(path: &str, asker: Asker, wait: Duration) -> Response {
    let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1);
    let problem = Problem::new(ErrorCode::TooManyRequests, "too many requests")
        .hint(match asker {
            Asker::Principal(_) => {
                "wait as long as `Retry-After` says; `requests_per_minute` in `seaworthy.toml` is the limit"
            }
            Asker::Address(_) | Asker::Form(_) => {
                "sign in, or wait as long as `Retry-After` says; `anonymous_requests_per_minute` in `seaworthy.toml` is the limit"
            }
        })
        .retry_after(seconds);
    if !["/v2", "/acr/v1"].iter().any(|it| path.starts_with(it)) {
        return ApiError(problem).into_response();
    }
    let mut response = Response::new(Body::from(body_of(&problem)));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    headers.insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    response.extensions_mut().insert(Told(problem));
    response
}

#[cfg(test)]
mod tests {
    use seaworthy_access::PrincipalKind;
    use seaworthy_model::Actor;
    use seaworthy_testkit::{TestDb, db_tests};

    use super::*;

    db_tests!(&[seaworthy_seal::SCHEMA, seaworthy_ledger::SCHEMA, seaworthy_access::SCHEMA];
        nobody_uses_up_what_others_have);

    fn address(text: &str) -> Asker {
        Asker::Address(network(text.parse().expect("an address")))
    }

    /// Requests of one asker that are taken now.
    fn taken(rates: &Rates, asker: Asker) -> u64 {
        (0..100_000).take_while(|_| rates.take(asker).is_ok()).count() as u64
    }

    #[test]
    fn a_host_is_free_where_it_reports() {
        for (path, is_host, free) in [
            ("/livez", false, true),
            ("/api/v1/agent/batches", true, true),
            ("/api/v1/agent/batches", false, false),
            ("/v2/", true, false),
            ("/oauth2/token", true, false),
            ("/api/v1/agents", true, false),
        ] {
            assert_eq!(is_free(path, is_host), free, "{path} {is_host}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_taken_and_then_the_rate() {
        let rates = Rates::new(0, 600);
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(taken(&rates, one), 10 * limit::BURST_SECONDS);
        assert_eq!(rates.take(one), Err(Duration::from_millis(100)), "one past it");
        assert_eq!(taken(&rates, other), 10 * limit::BURST_SECONDS, "each its own");
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(taken(&rates, one), 1);
        tokio::time::advance(Duration::from_secs(limit::BURST_SECONDS / 2)).await;
        assert_eq!(taken(&rates, one), 10 * (limit::BURST_SECONDS / 2));
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(taken(&rates, one), 10 * limit::BURST_SECONDS, "no more is saved up");
        // A machine has all addresses of its network.
        assert_eq!(taken(&rates, address("2001:db8::1")), 10 * limit::BURST_SECONDS);
        assert_eq!(taken(&rates, address("2001:db8::2")), 0);
        let principal = Asker::Principal(PrincipalId::generate());
        assert_eq!(taken(&rates, principal), 100_000, "as many as it likes");
        let few = Rates::new(0, 6);
        let one = address("192.0.2.1");
        for _ in 0..100 {
            assert_eq!(few.take(one), Ok(()));
            few.give_back(one);
        }
        assert_eq!(taken(&few, one), 1, "what was given back, and no more");
        let slow = Rates::new(1, 0);
        assert_eq!(taken(&slow, principal), 1);
        assert_eq!(slow.take(principal), Err(Duration::from_secs(60)));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(taken(&slow, principal), 1);
    }

    /// The token that everybody gets is one principal's, and its bearers are many.
    async fn nobody_uses_up_what_others_have(test: TestDb) {
        let seal = Arc::new(seaworthy_seal::Seal::open(test.path()).expect("seal"));
        let access =
            seaworthy_access::Access::open(test.db.clone(), &seal, "localhost").await.expect("access");
        let (system, kind) = (Actor::system(), PrincipalKind::ServicePrincipal);
        for name in ["anonymous", "ci"] {
            access.create_principal(&system, name.parse().expect("a name"), kind).await.expect("created");
        }
        let token = access.issue_token(&Identity::anonymous(None), &[]).await.expect("a token").token;
        let bearer = access.authenticate_token(token.expose(), None).await.expect("valid");
        let rates = Rates::new(6, 6);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|it| it.parse().expect("an address"));
        assert_eq!(taken(&rates, asker(&bearer, one, Way::Other)), 1);
        assert_eq!(taken(&rates, asker(&Identity::anonymous(None), one, Way::Other)), 0, "the same");
        assert_eq!(taken(&rates, asker(&bearer, other, Way::Other)), 1, "each its own");
        let ci = access.principal("ci").await.expect("there");
        let secret = access.add_secret(&system, &ci, "x").await.expect("a secret").secret;
        let ci = access.authenticate_secret("ci", secret.expose(), None).await.expect("believed");
        assert_eq!(taken(&rates, asker(&ci, one, Way::Other)), 1);
        assert_eq!(taken(&rates, asker(&ci, other, Way::Other)), 0, "wherever it is");
    }

    #[test]
    fn askers_are_bounded() {
        let rates = Rates::new(0, 60);
        for number in 0..u32::try_from(2 * limit::ASKERS).expect("small") {
            assert!(rates.take(Asker::Address(std::net::Ipv4Addr::from(number).into())).is_ok());
        }
        assert!(rates.0.used.len() <= limit::ASKERS);
    }

    #[tokio::test]
    async fn a_refusal_says_when_to_come_back() {
        for (path, key) in [("/v2/a/tags/list", "errors"), ("/api/v1/images", "error")] {
            let response = refused(path, address("192.0.2.1"), Duration::from_millis(1_001));
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(response.headers()[header::RETRY_AFTER], "2");
            let body = axum::body::to_bytes(response.into_body(), 4_096).await.expect("a body");
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert!(body[key].is_array() || body[key].is_object(), "{body}");
        }
    }
}
