//! The distribution API's HTTP (distribution spec 1.1): one handler below `/v2/`, because
//! repository names contain slashes.

use std::collections::HashMap;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::any,
};
use futures_util::TryStreamExt as _;
use http::{HeaderMap, Method, StatusCode, header};
use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, Problem, Scope, UploadId};
use seaworthy_oci::{Algorithm, Digest, RepoName, limit::MANIFEST_BYTES};
use serde_json::json;

use crate::{
    Registry, RegistryError, limit,
    path::{ManifestName, Target, decode, encode},
    range::{self, Wanted},
    registry::unauthorized,
    respond::{self, Host, empty, set},
    upload::Progress,
};

/// Marks a request whose credential was given and is not valid: it is answered with the challenge,
/// so that the client fetches another token for the same scope, and never as from nobody.
#[derive(Clone, Copy, Debug)]
pub struct CredentialRejected;

/// The routes below `/v2/`. Requests carry an [`Identity`] extension, put there by authentication.
pub fn router(registry: Registry) -> Router {
    Router::new()
        .route("/v2", any(handle))
        .route("/v2/", any(handle))
        .route("/v2/{*path}", any(handle))
        .with_state(registry)
}

async fn handle(
    State(registry): State<Registry>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Response {
    let head = request.method() == Method::HEAD;
    let (method, uri, headers) = (request.method().clone(), request.uri().clone(), request.headers().clone());
    let host = match Host::of(&headers, &uri) {
        Ok(host) => host,
        Err(problem) => return finish(respond::problem(&problem, head)),
    };
    let target =
        match Target::parse(uri.path().strip_prefix("/v2").unwrap_or_default().trim_start_matches('/')) {
            Ok(target) => target,
            Err(problem) => return finish(respond::problem(&problem, head)),
        };
    let query = parse_query(uri.query().unwrap_or_default());
    let call = Call { registry: &registry, identity: &identity, query: &query };
    let rejected = request.extensions().get::<CredentialRejected>().is_some();
    let answer = if rejected { Err(unauthorized().into()) } else { call.dispatch(&target, request).await };
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            let problem = Problem::from(error);
            let mut response = respond::problem(&problem, head);
            if problem.code == ErrorCode::Unauthorized {
                let scope = respond::wanted_scope(&target, &method, query.get("from").map(String::as_str));
                respond::challenge(&mut response, &host, registry.access().service(), &scope);
            }
            response
        }
    };
    finish(response)
}

/// Headers of every answer. The API version is what older docker clients look for.
fn finish(mut response: Response) -> Response {
    set(&mut response, header::HeaderName::from_static("docker-distribution-api-version"), "registry/2.0");
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn parse_query(query: &str) -> HashMap<String, String> {
    query
        .split('&')
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(&value.replace('+', " "))?))
        })
        .collect()
}

struct Call<'c> {
    registry: &'c Registry,
    identity: &'c Identity,
    query: &'c HashMap<String, String>,
}

type Answer = Result<Response, RegistryError>;

impl Call<'_> {
    async fn dispatch(&self, target: &Target, request: Request) -> Answer {
        // A body is not `Sync`, so only owned headers live across an await.
        let (method, headers) = (request.method().clone(), request.headers().clone());
        match (target, method) {
            (Target::Root, Method::GET | Method::HEAD) => self.root(),
            (Target::Catalog, Method::GET) => self.catalog().await,
            (Target::Tags(name), Method::GET) => self.tags(name).await,
            (Target::Manifest(name, reference), Method::GET) => {
                self.get_manifest(name, reference, &headers).await
            }
            (Target::Manifest(name, reference), Method::HEAD) => self.head_manifest(name, reference).await,
            (Target::Manifest(name, reference), Method::PUT) => {
                self.put_manifest(name, reference, request).await
            }
            (Target::Manifest(name, reference), Method::DELETE) => {
                self.delete_manifest(name, reference).await
            }
            (Target::Blob(name, digest), Method::GET) => self.get_blob(name, digest, &headers).await,
            (Target::Blob(name, digest), Method::HEAD) => self.head_blob(name, digest).await,
            (Target::Blob(name, digest), Method::DELETE) => {
                self.registry.delete_blob(self.identity, name, digest).await?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            (Target::Uploads(name), Method::POST) => self.post_upload(name, request).await,
            (Target::Upload(name, id), Method::GET | Method::HEAD) => {
                let progress = self.registry.upload_progress(self.identity, name, *id).await?;
                Ok(upload_answer(name, progress, StatusCode::NO_CONTENT))
            }
            (Target::Upload(name, id), Method::PATCH) => self.patch_upload(name, *id, request).await,
            (Target::Upload(name, id), Method::PUT) => self.put_upload(name, *id, request).await,
            (Target::Upload(name, id), Method::DELETE) => {
                self.registry.cancel_upload(self.identity, name, *id).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
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
            Some(n) => n
                .parse::<u32>()
                .map_err(|_| Problem::new(ErrorCode::Invalid, "`n` is not a number"))?
                .min(limit::PAGE),
        };
        Ok((most, self.query.get("last").map_or("", String::as_str)))
    }

    async fn catalog(&self) -> Answer {
        let access = self.registry.access();
        let all: Scope = "/repositories".parse().map_err(|_| unauthorized())?;
        if !access.allows_below(self.identity, Permission::Catalog, &all).await? {
            return Err(if self.identity.is_anonymous() || access.may_list(self.identity).await? {
                unauthorized()
            } else {
                Problem::new(ErrorCode::Denied, "listing the catalog is not permitted")
            }
            .into());
        }
        let (most, last) = self.page()?;
        let mut names = Vec::new();
        let mut after = last.to_owned();
        let mut more = most > 0;
        while more && names.len() < most as usize {
            let page = self.registry.repositories(&after, most).await?;
            more = page.len() == most as usize;
            for name in page {
                after.clone_from(&name);
                let repository: RepoName =
                    name.parse().map_err(|_| Problem::new(ErrorCode::Internal, "bad name"))?;
                if names.len() < most as usize && access.may_see(self.identity, &repository).await? {
                    names.push(name);
                }
            }
        }
        let link = names
            .last()
            .filter(|_| names.len() == most as usize)
            .map(|last| format!("</v2/_catalog?n={most}&last={}>; rel=\"next\"", encode(last)));
        Ok(list_answer(json!({"repositories": names}).to_string(), link))
    }

    async fn tags(&self, name: &RepoName) -> Answer {
        let (most, last) = self.page()?;
        let tags = self.registry.tags(self.identity, name, last, most).await?;
        let link = tags
            .last()
            .filter(|_| tags.len() == most as usize)
            .map(|last| format!("</v2/{name}/tags/list?n={most}&last={}>; rel=\"next\"", encode(last)));
        Ok(list_answer(json!({"name": name, "tags": tags}).to_string(), link))
    }

    /// HEAD answers as if allowed: clients then GET, and show the reason.
    async fn head_manifest(&self, name: &RepoName, reference: &ManifestName) -> Answer {
        let stored = self.registry.resolve(self.identity, name, reference).await?;
        let mut response = Response::new(Body::empty());
        manifest_headers(&mut response, &stored.media_type, &stored.digest, stored.size);
        Ok(response)
    }

    async fn get_manifest(&self, name: &RepoName, reference: &ManifestName, headers: &HeaderMap) -> Answer {
        let pulled = self.registry.pull_manifest(self.identity, name, reference).await?;
        let (stored, bytes) = (pulled.stored, pulled.bytes);
        let etag = format!("\"{}\"", stored.digest);
        let cached =
            headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(
                |value| value.split(',').any(|candidate| candidate.trim() == etag || candidate.trim() == "*"),
            );
        if cached {
            let mut response = empty(StatusCode::NOT_MODIFIED);
            set(&mut response, header::ETAG, &etag);
            return Ok(response);
        }
        let size = bytes.len() as u64;
        let mut response = Response::new(Body::from(bytes));
        manifest_headers(&mut response, &stored.media_type, &stored.digest, size);
        Ok(response)
    }

    async fn put_manifest(&self, name: &RepoName, reference: &ManifestName, request: Request) -> Answer {
        // Rights before the body: nobody uploads 4 MiB to be told no.
        self.registry.require(self.identity, Permission::Push, name).await?;
        let content_type = text_header(request.headers(), &header::CONTENT_TYPE);
        let too_long =
            || Problem::new(ErrorCode::TooLarge, format!("manifest is longer than {MANIFEST_BYTES} bytes"));
        if text_header(request.headers(), &header::CONTENT_LENGTH)
            .and_then(|length| length.parse::<u64>().ok())
            .is_some_and(|length| length > MANIFEST_BYTES as u64)
        {
            return Err(too_long().into());
        }
        let bytes =
            axum::body::to_bytes(request.into_body(), MANIFEST_BYTES).await.map_err(|_| too_long())?;
        let body = (bytes, content_type.as_deref());
        let (digest, subject) = self.registry.push_manifest(self.identity, name, reference, body).await?;
        let mut response = empty(StatusCode::CREATED);
        set(&mut response, header::LOCATION, &format!("/v2/{name}/manifests/{digest}"));
        set_digest(&mut response, &digest);
        if let Some(subject) = subject {
            set(&mut response, header::HeaderName::from_static("oci-subject"), &subject.to_string());
        }
        Ok(response)
    }

    async fn delete_manifest(&self, name: &RepoName, reference: &ManifestName) -> Answer {
        let reference = match reference {
            ManifestName::Tag(tag) => Ok(tag.clone()),
            ManifestName::Digest(digest) => Err(*digest),
        };
        self.registry.delete_manifest(self.identity, name, reference).await?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    async fn head_blob(&self, name: &RepoName, digest: &Digest) -> Answer {
        let size = self.registry.blob_size(self.identity, name, digest).await?;
        let mut response = Response::new(Body::empty());
        blob_headers(&mut response, digest);
        set(&mut response, header::CONTENT_LENGTH, &size.to_string());
        Ok(response)
    }

    async fn get_blob(&self, name: &RepoName, digest: &Digest, headers: &HeaderMap) -> Answer {
        let reader = self.registry.open_blob(self.identity, name, digest).await?;
        let size = reader.size;
        let header = text_header(headers, &header::RANGE);
        let (range, partial) = match range::parse(header.as_deref(), size) {
            Wanted::All => (0..size, false),
            Wanted::Part(range) => (range, true),
            Wanted::Unsatisfiable => {
                let problem = Problem::new(ErrorCode::RangeInvalid, format!("blob has {size} bytes"));
                let mut response = respond::problem(&problem, false);
                set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
                return Ok(response);
            }
        };
        let log = *digest;
        let stream = reader.stream(range.clone()).inspect_err(move |error| {
            tracing::error!(digest = %log, %error, "reading a blob failed while it was served");
        });
        let mut response = Response::new(Body::from_stream(stream));
        blob_headers(&mut response, digest);
        set(&mut response, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
        if partial {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = range.end.saturating_sub(1);
            set(&mut response, header::CONTENT_RANGE, &format!("bytes {}-{last}/{size}", range.start));
        }
        Ok(response)
    }

    async fn post_upload(&self, name: &RepoName, request: Request) -> Answer {
        self.registry.require(self.identity, Permission::Push, name).await?;
        if let Some(mount) = self.query.get("mount") {
            let digest = parse_digest(mount)?;
            let from = self.query.get("from").and_then(|from| from.parse::<RepoName>().ok());
            if let Some(from) = from
                && self.registry.mount(self.identity, name, &digest, &from).await?
            {
                return Ok(created(name, &digest));
            }
        } else if let Some(digest) = self.query.get("digest") {
            let digest = parse_digest(digest)?;
            self.registry.upload_whole(self.identity, name, digest, request.into_body()).await?;
            return Ok(created(name, &digest));
        }
        let algorithm = match self.query.get("digest-algorithm") {
            None => Algorithm::Sha256,
            Some(name) => name.parse().map_err(|error: seaworthy_oci::DigestError| {
                Problem::new(ErrorCode::DigestInvalid, error.to_string())
            })?,
        };
        let progress = self.registry.begin_upload(self.identity, name, algorithm).await?;
        Ok(upload_answer(name, progress, StatusCode::ACCEPTED))
    }

    async fn patch_upload(&self, name: &RepoName, id: UploadId, request: Request) -> Answer {
        let content_range = text_header(request.headers(), &header::CONTENT_RANGE);
        let chunk = (content_range.as_deref(), request.into_body());
        match self.registry.continue_upload(self.identity, name, id, chunk).await {
            Ok(progress) => Ok(upload_answer(name, progress, StatusCode::ACCEPTED)),
            Err(error) => self.out_of_order(name, id, error).await,
        }
    }

    async fn put_upload(&self, name: &RepoName, id: UploadId, request: Request) -> Answer {
        let digest = self
            .query
            .get("digest")
            .ok_or_else(|| Problem::new(ErrorCode::DigestInvalid, "the closing PUT needs `?digest=`"))?;
        let digest = parse_digest(digest)?;
        let content_range = text_header(request.headers(), &header::CONTENT_RANGE);
        let chunk = (content_range.as_deref(), request.into_body());
        match self.registry.finish_upload(self.identity, name, (id, digest), chunk).await {
            Ok(()) => Ok(created(name, &digest)),
            Err(error) => self.out_of_order(name, id, error).await,
        }
    }

    /// A chunk out of order is told where the upload stands, so that the client can go on.
    async fn out_of_order(&self, name: &RepoName, id: UploadId, error: RegistryError) -> Answer {
        let problem = Problem::from(error);
        if problem.code != ErrorCode::RangeInvalid {
            return Err(problem.into());
        }
        let mut response = respond::problem(&problem, false);
        if let Ok(progress) = self.registry.upload_progress(self.identity, name, id).await {
            progress_headers(&mut response, name, progress);
        }
        Ok(response)
    }
}

fn text_header(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn parse_digest(text: &str) -> Result<Digest, RegistryError> {
    text.parse().map_err(|error: seaworthy_oci::DigestError| {
        Problem::new(ErrorCode::DigestInvalid, error.to_string()).into()
    })
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

fn manifest_headers(response: &mut Response, media_type: &str, digest: &Digest, size: u64) {
    set(response, header::CONTENT_TYPE, media_type);
    set(response, header::CONTENT_LENGTH, &size.to_string());
    set(response, header::ETAG, &format!("\"{digest}\""));
    set_digest(response, digest);
}

fn blob_headers(response: &mut Response, digest: &Digest) {
    set(response, header::CONTENT_TYPE, "application/octet-stream");
    set(response, header::ACCEPT_RANGES, "bytes");
    set(response, header::ETAG, &format!("\"{digest}\""));
    set_digest(response, digest);
}

fn created(name: &RepoName, digest: &Digest) -> Response {
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, header::LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    set_digest(&mut response, digest);
    response
}

fn upload_answer(name: &RepoName, progress: Progress, status: StatusCode) -> Response {
    let mut response = empty(status);
    progress_headers(&mut response, name, progress);
    response
}

fn progress_headers(response: &mut Response, name: &RepoName, progress: Progress) {
    let Progress { id, offset } = progress;
    set(response, header::LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"));
    // The end is inclusive; an empty upload says `0-0`, as every registry does.
    set(response, header::RANGE, &format!("0-{}", offset.saturating_sub(1)));
    set(response, header::HeaderName::from_static("docker-upload-uuid"), &id.to_string());
}
