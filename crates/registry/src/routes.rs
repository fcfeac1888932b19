//! The distribution API's HTTP (distribution spec 1.1): one handler below `/v2/`, because
//! repository names contain slashes.

mod acr;
mod blobs;
mod manifests;
mod uploads;

use std::{any::Any, sync::Arc};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::any,
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use seaworthy_access::{AccessError, Identity, Permission};
use seaworthy_model::{ErrorCode, Problem, Scope};
use seaworthy_oci::{Digest, RepoName};
use serde_json::json;

use crate::{
    NameRange, Registry, RegistryError,
    cache::Served,
    conditional::{self, Precondition},
    drain, limit,
    path::{Target, decode, encode},
    registry::unauthorized,
    respond::{self, Host, empty, set},
};

/// Marks a request whose credential was given and is not valid: it is answered with the challenge,
/// so that the client fetches another token for the same scope, and never as from nobody.
#[derive(Clone, Copy, Debug)]
pub struct CredentialRejected;

/// Marks a request at a door that sends files without reading them
/// ([`seaworthy_store::map::file_behind`]).
#[derive(Clone, Copy, Debug)]
pub struct SendsFiles;

/// What a request's connection has of the server: what goes on when the connection is gone has it still.
#[derive(Clone)]
pub struct ConnectionHold(
    #[allow(dead_code, reason = "let go when it is dropped")] Arc<dyn Any + Send + Sync>,
);

impl ConnectionHold {
    /// Holds `it` until the last clone is dropped.
    pub fn new(it: impl Any + Send + Sync) -> Self {
        Self(Arc::new(it))
    }
}

/// The routes below `/v2/` and `/acr/v1/`. Requests carry an [`Identity`] extension, put there by authentication.
pub fn router(registry: Registry) -> Router {
    Router::new()
        .route("/v2", any(handle))
        .route("/v2/", any(handle))
        .route("/v2/{*path}", any(handle))
        .route("/acr/v1/{*path}", any(acr::handle))
        .route("/v1/{*path}", any(nowhere))
        .route("/acr/v1", any(nowhere))
        .route("/acr/v1/", any(nowhere))
        .with_state(registry)
}

async fn handle(
    State(registry): State<Registry>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Response {
    let head = request.method() == Method::HEAD;
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let parsed = check_once(request.headers()).and_then(|()| {
        let host = Host::of(request.headers(), &uri)?;
        let target = Target::parse(uri.path().strip_prefix("/v2/").unwrap_or_default())?;
        Ok((host, target, Query::parse(uri.query().unwrap_or_default())?))
    });
    let (host, target, query) = match parsed {
        Ok(parsed) => parsed,
        Err(problem) => return finish(respond::problem(&problem, head)),
    };
    let rejected = request.extensions().get::<CredentialRejected>().is_some();
    let is_nobody = rejected || identity.is_nobody();
    // Whom a proxy answers for. What the caches are called is told to who is somebody: a stranger has the same answer,
    // in the words of the question, whether there is one or none.
    let placed = if rejected || identity.is_anonymous() {
        Ok(None)
    } else {
        registry.placed(&target, query.get("ns"), host.name()).await
    };
    let (target, asked, refused) = match placed {
        Ok(Some(placed)) => (placed, Some(target), None),
        Ok(None) if rejected => (target, None, Some(Problem::from(AccessError::BadCredential))),
        Ok(None) => (target, None, None),
        Err(RegistryError::Refused(_)) if is_nobody => (target, None, Some(unauthorized())),
        Err(error) => return finish(respond::problem(&Problem::from(error), head)),
    };
    let sends = request.extensions().get::<SendsFiles>().copied();
    let hold = request.extensions().get::<ConnectionHold>().cloned();
    let names = asked.as_ref().and_then(Target::repository);
    let call = Call { registry: &registry, identity: &identity, query: &query, asked: names, sends, hold };
    let token_error = respond::token_error(&request);
    let (request, rest) = drain::lend(request);
    let answer = if let Some(problem) = refused {
        drop(request);
        Err(problem.into())
    } else {
        call.dispatch(&target, request).await
    };
    let mut response = match answer {
        Ok(response) => response,
        Err(error) => {
            rest.drain().await;
            let problem = Problem::from(error);
            let mut response = respond::problem(&problem, head);
            if problem.code == ErrorCode::Unauthorized {
                let wanted = if is_nobody { asked.as_ref().unwrap_or(&target) } else { &target };
                let scope = respond::wanted_scope(wanted, &method, query.get("from"));
                let ns = query.get("ns").filter(|ns| is_nobody && ns.len() <= limit::HOST_BYTES);
                let service = registry.access().service();
                respond::challenge(&mut response, &host, service, (&scope, ns), token_error);
            }
            if problem.code == ErrorCode::Unsupported {
                set(&mut response, header::ALLOW, methods(&target));
            }
            response
        }
    };
    let is_told = !is_nobody || response.status() != StatusCode::UNAUTHORIZED;
    if let Some(namespace) = query.get("ns").filter(|_| asked.is_some() && is_told) {
        set(&mut response, header::HeaderName::from_static("oci-namespace"), namespace);
    }
    finish(response)
}

/// What may be asked of it.
const fn methods(target: &Target) -> &'static str {
    match target {
        Target::Root | Target::Catalog | Target::Tags(_) | Target::Referrers(..) => "GET, HEAD",
        Target::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Target::Blob(..) => "GET, HEAD, DELETE",
        Target::Uploads(_) => "POST",
        Target::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
    }
}

/// What older clients ask for, and nothing has.
async fn nowhere(method: Method) -> Response {
    let problem = Problem::new(ErrorCode::NotFound, "no such route in the distribution API");
    finish(respond::problem(&problem, method == Method::HEAD))
}

/// Headers of every answer. The API version is what older docker clients look for.
fn finish(mut response: Response) -> Response {
    set(&mut response, header::HeaderName::from_static("docker-distribution-api-version"), "registry/2.0");
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

/// What a request says once: whoever stands before us may have read the other.
const ONCE: &[header::HeaderName] =
    &[header::HOST, header::AUTHORIZATION, header::CONTENT_TYPE, header::CONTENT_RANGE];

/// What a query has once.
const SINGLE: &[&str] =
    &["artifactType", "digest", "digest-algorithm", "from", "last", "mount", "n", "ns", "orderby"];

fn check_once(headers: &HeaderMap) -> Result<(), Problem> {
    match ONCE.iter().find(|name| headers.get_all(*name).iter().nth(1).is_some()) {
        Some(name) => Err(Problem::new(ErrorCode::Invalid, format!("request has the header `{name}` twice"))),
        None => Ok(()),
    }
}

/// A request's query, in order; a name may occur several times.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    fn parse(query: &str) -> Result<Self, Problem> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(&value.replace('+', " "))?))
        });
        let pairs: Option<Vec<(String, String)>> = pairs.collect();
        let pairs = pairs
            .ok_or_else(|| Problem::new(ErrorCode::Invalid, "query has a malformed percent-encoding"))?;
        // Two readers of a name that is there twice see two requests.
        let is_twice = |at: usize, name: &str| pairs.iter().take(at).any(|(other, _)| other == name);
        for (at, (name, _)) in pairs.iter().enumerate() {
            if SINGLE.contains(&name.as_str()) && is_twice(at, name) {
                return Err(Problem::new(ErrorCode::Invalid, format!("query has `{name}` twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &'static str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of this name.
    pub(crate) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// One request's caller and query.
pub(crate) struct Call<'c> {
    pub(crate) registry: &'c Registry,
    pub(crate) identity: &'c Identity,
    pub(crate) query: &'c Query,
    /// What the repository is called where `ns=` says, if it was called so.
    pub(crate) asked: Option<&'c RepoName>,
    /// Where bodies may be maps of files.
    pub(crate) sends: Option<SendsFiles>,
    pub(crate) hold: Option<ConnectionHold>,
}

pub(crate) type Answer = Result<Response, RegistryError>;

impl Call<'_> {
    async fn dispatch(&self, target: &Target, request: Request) -> Answer {
        // A body is not `Sync`, so only owned headers live across an await.
        let (method, headers) = (request.method().clone(), request.headers().clone());
        match (target, method) {
            (Target::Root, Method::GET | Method::HEAD) => self.root(),
            (Target::Catalog, Method::GET | Method::HEAD) => self.catalog("/v2/_catalog").await,
            (Target::Tags(name), Method::GET | Method::HEAD) => self.tags(name).await,
            (Target::Manifest(name, reference), Method::GET) => {
                self.get_manifest(name, reference, &headers).await
            }
            (Target::Manifest(name, reference), Method::HEAD) => {
                self.head_manifest(name, reference, &headers).await
            }
            (Target::Manifest(name, reference), Method::PUT) => {
                self.put_manifest(name, reference, request).await
            }
            (Target::Manifest(name, reference), Method::DELETE) => {
                self.delete_manifest(name, reference, &headers).await
            }
            (Target::Blob(name, digest), Method::GET) => self.get_blob(name, digest, &headers).await,
            (Target::Blob(name, digest), Method::HEAD) => self.head_blob(name, digest, &headers).await,
            (Target::Blob(name, digest), Method::DELETE) => {
                let condition = Precondition::of_write(&headers);
                self.registry.delete_blob(self.identity, name, digest, condition).await?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            (Target::Referrers(name, subject), Method::GET | Method::HEAD) => {
                self.referrers(name, subject).await
            }
            (Target::Uploads(name), Method::POST) => self.post_upload(name, request).await,
            (Target::Upload(name, id), Method::GET | Method::HEAD) => self.get_upload(name, *id).await,
            (Target::Upload(name, id), Method::PATCH) => self.patch_upload(name, *id, request).await,
            (Target::Upload(name, id), Method::PUT) => self.put_upload(name, *id, request).await,
            (Target::Upload(name, id), Method::DELETE) => self.cancel_upload(name, *id).await,
            _ => Err(Problem::new(ErrorCode::Unsupported, "method is not supported here").into()),
        }
    }

    /// Clients learn here whether to authenticate, so nobody who did not is told "fine".
    fn root(&self) -> Answer {
        if self.identity.is_anonymous() {
            return Err(unauthorized().into());
        }
        Ok(json_answer("{}".to_owned()))
    }

    fn page(&self) -> Result<(u32, &str), RegistryError> {
        let most = match self.query.get("n") {
            None => limit::PAGE,
            Some(n) if n.is_empty() || !n.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(Problem::new(ErrorCode::Invalid, "`n` is not a number").into());
            }
            // What no number here holds is more than a page.
            Some(n) => n.parse().unwrap_or(limit::PAGE).min(limit::PAGE),
        };
        Ok((most, self.query.get("last").unwrap_or_default()))
    }

    async fn catalog(&self, path: &str) -> Answer {
        let access = self.registry.access();
        let all: Scope = "/repositories".parse().map_err(|_| unauthorized())?;
        if !access.allows_below(self.identity, Permission::Catalog, &all).await? {
            if self.identity.is_nobody() || access.may_list(self.identity).await? {
                return Err(unauthorized().into());
            }
            let problem = Problem::new(ErrorCode::Denied, "listing the catalog is not permitted");
            return Err(RegistryError::NotPermitted(Box::new(problem)));
        }
        let (most, last) = self.page()?;
        let (ranges, step) = match access.repository_scopes(self.identity, Permission::Catalog).await? {
            None => (vec![NameRange::all()], most + u32::from(most > 0)),
            Some(scopes) => (NameRange::of(&scopes), limit::PAGE),
        };
        let mut names = Vec::new();
        let mut after = last.to_owned();
        for range in ranges {
            let mut more = step > 0;
            while more && names.len() <= most as usize {
                let page = self.registry.repositories(&range, &after, step).await?;
                more = page.len() == step as usize;
                let roles = access.roles_now().await?;
                for name in page {
                    after.clone_from(&name);
                    let repository: RepoName =
                        name.parse().map_err(|_| Problem::new(ErrorCode::Internal, "bad name"))?;
                    if names.len() <= most as usize && roles.show(self.identity, &repository) {
                        names.push(name);
                    }
                }
            }
        }
        // One more than the page says whether there is another.
        let is_more = names.len() > most as usize;
        names.truncate(most as usize);
        let link = names
            .last()
            .filter(|_| is_more)
            .map(|last| format!("<{path}?n={most}&last={}>; rel=\"next\"", encode(last)));
        Ok(list_answer(json!({"repositories": names}).to_string(), link))
    }

    async fn tags(&self, name: &RepoName) -> Answer {
        let (most, last) = self.page()?;
        let (mut tags, served) = self.registry.tags(self.identity, name, last, most + 1).await?;
        let is_more = tags.len() > most as usize;
        tags.truncate(most as usize);
        let link = tags
            .last()
            .filter(|_| is_more)
            .map(|last| format!("</v2/{name}/tags/list?n={most}&last={}>; rel=\"next\"", encode(last)));
        let mut response =
            list_answer(json!({"name": self.asked.unwrap_or(name), "tags": tags}).to_string(), link);
        tell(&mut response, served.as_ref());
        Ok(response)
    }
}

/// Where it came from, below a cache.
fn tell(response: &mut Response, served: Option<&Served>) {
    if let Some(served) = served {
        served.tell(response);
    }
}

/// All of a body of at most `most` bytes.
async fn whole(body: Body, most: usize, too_long: impl FnOnce() -> Problem) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, most).await.map_err(|error| {
        let error = error.into_inner();
        if error.is::<http_body_util::LengthLimitError>() {
            return too_long();
        }
        Problem::new(ErrorCode::Invalid, format!("the request body ended early: {error}"))
    })
}

/// What is no text is read as one that nothing takes, and not as if it were not there.
fn text_header(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn json_answer(body: String) -> Response {
    let length = body.len().to_string();
    let mut response = Response::new(Body::from(body));
    set(&mut response, header::CONTENT_TYPE, "application/json");
    set(&mut response, header::CONTENT_LENGTH, &length);
    response
}

fn list_answer(body: String, link: Option<String>) -> Response {
    let mut response = json_answer(body);
    if let Some(link) = link {
        set(&mut response, header::LINK, &link);
    }
    response
}

fn set_digest(response: &mut Response, digest: &Digest) {
    set(response, header::HeaderName::from_static("docker-content-digest"), &digest.to_string());
}

fn not_modified(digest: &Digest) -> Response {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    set(&mut response, header::ETAG, &conditional::etag(digest));
    set_digest(&mut response, digest);
    response
}
