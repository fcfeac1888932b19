//! The distribution API (distribution spec 1.1) of the server, as its clients speak it: one connection, kept open.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{
    Algorithm, Descriptor, Digest, Hasher, Manifest, RepoName, Tag, limit::MANIFEST_BYTES, media,
};
use serde_json::Value;

use crate::{
    client::{Body, Connection, Server, broke, encode, read, unmade, unnamed, whole},
    layout::limit,
    refusal,
};

/// Longest refusal that is read, in bytes.
const REFUSAL_BYTES: usize = 64 * 1024;

const OCTETS: &str = "application/octet-stream";

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Tag(Tag),
    Digest(Digest),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "{tag}"),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

/// A manifest as the registry gave it, its bytes compared with its digest.
#[derive(Debug)]
pub(crate) struct Pulled {
    pub(crate) digest: Digest,
    pub(crate) bytes: Bytes,
    pub(crate) manifest: Manifest,
}

/// Where a blob that is about to come goes.
pub(crate) enum Begun {
    /// It is there: taken from another repository.
    Mounted,
    /// An upload, continued at this path.
    Upload(String),
}

/// Who speaks with the registry.
pub(crate) struct Remote {
    server: Server,
    connection: Connection,
    /// How long the registry may be waited for still.
    patience: Duration,
}

const PATIENCE: Duration = Duration::from_secs(limit::WAIT_SECONDS);

impl Remote {
    pub(crate) async fn connect(server: &Server) -> Result<Self, Problem> {
        Ok(Self { server: server.clone(), connection: server.connect().await?, patience: PATIENCE })
    }

    /// For what is asked from now on the registry may be waited for as long as ever.
    pub(crate) fn wait_anew(&mut self) {
        self.patience = PATIENCE;
    }

    /// Waits as long as the registry wants, at most [`limit::RETRY_SECONDS`]; false when that is longer than it may be
    /// waited for still.
    pub(crate) async fn wait(&mut self, wanted: Duration) -> bool {
        let wait = as_long_as_any(wanted);
        let Some(left) = self.patience.checked_sub(wait) else { return false };
        self.patience = left;
        tokio::time::sleep(wait).await;
        true
    }

    /// After a body that was not read to its end.
    pub(crate) async fn reconnect(&mut self) -> Result<(), Problem> {
        self.connection = self.server.connect().await?;
        Ok(())
    }

    /// A manifest or an index, if it may be pulled.
    pub(crate) async fn manifest(&mut self, repository: &RepoName, name: &Name) -> Result<Pulled, Problem> {
        let path = format!("/v2/{repository}/manifests/{name}");
        self.wait_anew();
        let response = self.ask(Method::GET, &path, Bytes::new(), &[]).await?;
        if response.status() != StatusCode::OK {
            let problem = self.refused(response).await?;
            return Err(self.explained(problem, repository, name).await);
        }
        let (head, body) = response.into_parts();
        let bytes = read(body, MANIFEST_BYTES).await?;
        let text = |name: header::HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let said = text(header::HeaderName::from_static("docker-content-digest"));
        let wanted: Option<Digest> = match name {
            Name::Digest(digest) => Some(*digest),
            Name::Tag(_) => said.and_then(|text| text.parse().ok()),
        };
        let mut hasher = Hasher::new(wanted.map_or(Algorithm::Sha256, |digest| digest.algorithm()));
        hasher.update(&bytes);
        let digest = hasher.finish();
        if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
            let message = format!("the server gave manifest {digest} for {wanted}");
            return Err(Problem::new(ErrorCode::DigestInvalid, message));
        }
        let manifest = Manifest::parse(&bytes, text(header::CONTENT_TYPE)).map_err(|error| {
            let message = format!("manifest {digest} cannot be used: {}", seaworthy_store::chain(&error));
            Problem::new(ErrorCode::ManifestInvalid, message)
        })?;
        Ok(Pulled { digest, bytes, manifest })
    }

    /// The refusal of a pull with its verdict, which the distribution API has no words for, and with the reason that
    /// a tag in quarantine does not tell.
    async fn explained(&mut self, problem: Problem, repository: &RepoName, name: &Name) -> Problem {
        match (problem.code, name) {
            (ErrorCode::Denied, _) => {
                let mark = if matches!(name, Name::Tag(_)) { ':' } else { '@' };
                let image = encode(&format!("{repository}{mark}{name}"));
                match self.server.get(&format!("/api/v1/check?image={image}&wait=0")).await {
                    Ok(check) => refusal::explained(problem, &check),
                    Err(_) => problem,
                }
            }
            (ErrorCode::ManifestUnknown, Name::Tag(_)) => {
                let Ok(Some(digest)) = self.digest_of(repository, name).await else { return problem };
                let path = format!("/v2/{repository}/manifests/{digest}");
                let Ok(response) = self.ask(Method::GET, &path, Bytes::new(), &[]).await else {
                    return problem;
                };
                if response.status() == StatusCode::OK {
                    problem
                } else {
                    self.refused(response).await.unwrap_or(problem)
                }
            }
            _ => problem,
        }
    }

    /// What a tag or a digest stands for; `None` when it stands for nothing.
    pub(crate) async fn digest_of(
        &mut self,
        repository: &RepoName,
        name: &Name,
    ) -> Result<Option<Digest>, Problem> {
        let path = format!("/v2/{repository}/manifests/{name}");
        self.wait_anew();
        let response = self.ask(Method::HEAD, &path, Bytes::new(), &[]).await?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        let digest = response.headers().get("docker-content-digest");
        Ok(digest.and_then(|value| value.to_str().ok()?.parse().ok()))
    }

    /// What refers to a manifest (distribution spec, "Listing Referrers"), page by page.
    pub(crate) async fn referrers(
        &mut self,
        repository: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Problem> {
        let mut path = format!("/v2/{repository}/referrers/{subject}");
        let mut all = Vec::new();
        loop {
            self.wait_anew();
            let response = self.ask(Method::GET, &path, Bytes::new(), &[]).await?;
            if response.status() != StatusCode::OK {
                return Err(self.refused(response).await?);
            }
            let next = next_page(response.headers());
            let bytes = read(response.into_body(), MANIFEST_BYTES).await?;
            let Ok(Manifest::Index(page)) = Manifest::parse(&bytes, Some(media::OCI_INDEX)) else {
                return Err(broke(&"a page of referrers is no index"));
            };
            let is_empty = page.manifests.is_empty();
            all.extend(page.manifests);
            if all.len() > limit::MANIFESTS {
                let message = format!("{subject} has more than {} referrers", limit::MANIFESTS);
                return Err(
                    Problem::new(ErrorCode::TooLarge, message).hint("export it with `--no-referrers`")
                );
            }
            match next {
                Some(next) if !is_empty => path = next,
                _ => return Ok(all),
            }
        }
    }

    /// The bytes of a blob from an offset on.
    pub(crate) async fn blob(
        &mut self,
        repository: &RepoName,
        digest: &Digest,
        from: u64,
    ) -> Result<Incoming, Problem> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let range = format!("bytes={from}-");
        let headers = [(header::RANGE, range.as_str())];
        let response =
            self.ask(Method::GET, &path, Bytes::new(), if from == 0 { &[] } else { &headers }).await?;
        let wanted = if from == 0 { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
        if response.status() == wanted {
            return Ok(response.into_body());
        }
        Err(self.refused(response).await?)
    }

    /// True when a repository has a blob, for who may push there.
    pub(crate) async fn has_blob(&mut self, repository: &RepoName, digest: &Digest) -> Result<bool, Problem> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        Ok(self.ask(Method::HEAD, &path, Bytes::new(), &[]).await?.status() == StatusCode::OK)
    }

    /// Mounts a blob from a repository, or begins its upload.
    pub(crate) async fn begin(
        &mut self,
        repository: &RepoName,
        digest: &Digest,
        from: Option<&RepoName>,
    ) -> Result<Begun, Problem> {
        let path = match from {
            Some(from) => {
                format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={}", encode(from.as_str()))
            }
            None => format!("/v2/{repository}/blobs/uploads/?digest-algorithm={}", digest.algorithm().name()),
        };
        let response = self.ask(Method::POST, &path, Bytes::new(), &[]).await?;
        match response.status() {
            StatusCode::CREATED => Ok(Begun::Mounted),
            StatusCode::ACCEPTED => {
                let place = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                let path = place.and_then(|place| place.get(place.find("/v2/")?..)).map(str::to_owned);
                path.map(Begun::Upload).ok_or_else(|| broke(&"an upload has no place"))
            }
            _ => Err(self.refused(response).await?),
        }
    }

    /// Sends a blob of so many bytes to its upload, which it ends.
    pub(crate) async fn upload(
        &mut self,
        place: &str,
        (digest, size): (&Digest, u64),
        body: Body,
    ) -> Result<(), Problem> {
        let mark = if place.contains('?') { '&' } else { '?' };
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{place}{mark}digest={digest}"))
            .header(header::CONTENT_TYPE, OCTETS)
            .header(header::CONTENT_LENGTH, size)
            .body(body)
            .map_err(|error| unmade(&error))?;
        let response = self.connection.send(request).await?;
        if response.status() == StatusCode::CREATED { Ok(()) } else { Err(self.refused(response).await?) }
    }

    /// Gives an upload up. Nobody is told: it ends by itself, later.
    pub(crate) async fn cancel(&mut self, place: &str) {
        if self.reconnect().await.is_ok() {
            drop(self.ask(Method::DELETE, place, Bytes::new(), &[]).await);
        }
    }

    /// Stores a manifest under its digest, byte for byte, and sets a tag with it (distribution spec, "Pushing Manifests").
    /// Says what the registry warns of.
    pub(crate) async fn put_manifest(
        &mut self,
        repository: &RepoName,
        (digest, tag): (&Digest, Option<&Tag>),
        (media_type, bytes): (&str, Bytes),
    ) -> Result<Option<String>, Problem> {
        let tag = tag.map(|tag| format!("?tag={tag}")).unwrap_or_default();
        let path = format!("/v2/{repository}/manifests/{digest}{tag}");
        self.wait_anew();
        let response = self.ask(Method::PUT, &path, bytes, &[(header::CONTENT_TYPE, media_type)]).await?;
        if response.status() != StatusCode::CREATED {
            return Err(self.refused(response).await?);
        }
        Ok(warning(response.headers()))
    }

    /// What the registry says when it refuses. Whom it does not know, it sends to docker's login.
    async fn refused(&self, response: Response<Incoming>) -> Result<Problem, Problem> {
        let mut problem = refused(response).await?;
        if let (ErrorCode::Unauthorized, Server::Http { .. }) = (problem.code, &self.server)
            && let Some((message, hint)) = problem.message.rsplit_once("; ")
        {
            problem = Problem::new(problem.code, message).hint(hint);
        }
        Ok(self.server.to_login(problem))
    }

    /// A request that may be sent again: after a connection that had ended, and when the server wants it later.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        headers: &[(header::HeaderName, &str)],
    ) -> Result<Response<Incoming>, Problem> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut request =
                Request::builder().method(method.clone()).uri(path).header(header::ACCEPT, ACCEPT);
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            let request = request.body(whole(body.clone())).map_err(|error| unmade(&error))?;
            match self.connection.send(request).await {
                Ok(response)
                    if response.status() == StatusCode::TOO_MANY_REQUESTS && attempt < limit::ATTEMPTS =>
                {
                    let wait = Duration::from_secs(retry_after(response.headers()).unwrap_or(1));
                    if self.patience < as_long_as_any(wait) {
                        return Ok(response);
                    }
                    read(response.into_body(), REFUSAL_BYTES).await?;
                    self.wait(wait).await;
                }
                Ok(response) => return Ok(response),
                Err(problem) if attempt > 1 => return Err(problem),
                Err(_) => self.reconnect().await?,
            }
        }
    }
}

/// However long it wants to be left alone.
fn as_long_as_any(wanted: Duration) -> Duration {
    wanted.min(Duration::from_secs(limit::RETRY_SECONDS))
}

const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, */*";

fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// `299 - "text"` (distribution spec, "Warnings").
fn warning(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::WARNING)?.to_str().ok()?;
    let quoted = text.strip_prefix("299 - \"").and_then(|text| text.strip_suffix('"'));
    Some(quoted.unwrap_or(text).to_owned())
}

/// `</v2/…>; rel="next"` (RFC 8288), of this server alone.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::LINK)?.to_str().ok()?;
    let (path, rest) = text.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = rest.split(';').any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next"));
    (is_next && path.starts_with("/v2/")).then(|| path.to_owned())
}

/// What the registry says when it refuses (distribution spec, "Error Codes").
async fn refused(response: Response<Incoming>) -> Result<Problem, Problem> {
    let (status, wait) = (response.status(), retry_after(response.headers()));
    let bytes = read(response.into_body(), REFUSAL_BYTES).await?;
    Ok(problem_of(status, wait, &bytes))
}

pub(crate) fn problem_of(status: StatusCode, wait: Option<u64>, body: &[u8]) -> Problem {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| value.pointer(&format!("/errors/0/{key}")).and_then(Value::as_str);
    let later = |problem: Problem| match wait.map(u32::try_from) {
        Some(Ok(seconds)) if problem.code != ErrorCode::Pending => problem.retry_after(seconds),
        _ => problem,
    };
    let Some(message) = text("message") else { return later(unnamed(status, body)) };
    let code = match (status.as_u16(), text("code").unwrap_or_default()) {
        (401, _) => ErrorCode::Unauthorized,
        (403, _) if wait.is_some() => ErrorCode::Pending,
        (403, _) => ErrorCode::Denied,
        (404, "NAME_UNKNOWN") => ErrorCode::NameUnknown,
        (404, "BLOB_UNKNOWN") => ErrorCode::BlobUnknown,
        (404, _) => ErrorCode::ManifestUnknown,
        (405, _) => ErrorCode::Locked,
        (413, _) => ErrorCode::TooLarge,
        (429, _) => ErrorCode::TooManyRequests,
        (507, _) => ErrorCode::NoSpace,
        (400, "MANIFEST_BLOB_UNKNOWN") => ErrorCode::ManifestBlobUnknown,
        (400, "DIGEST_INVALID") => ErrorCode::DigestInvalid,
        (500.., _) => ErrorCode::Unavailable,
        _ => ErrorCode::Invalid,
    };
    later(Problem::new(code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_their_reason() {
        let body =
            |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"why","detail":null}}]}}"#);
        for (status, wait, code, expected) in [
            (403, None, "DENIED", ErrorCode::Denied),
            (403, Some(5), "DENIED", ErrorCode::Pending),
            (404, None, "MANIFEST_UNKNOWN", ErrorCode::ManifestUnknown),
            (404, None, "NAME_UNKNOWN", ErrorCode::NameUnknown),
            (400, None, "MANIFEST_BLOB_UNKNOWN", ErrorCode::ManifestBlobUnknown),
            (507, None, "UNAVAILABLE", ErrorCode::NoSpace),
            (503, Some(1), "UNAVAILABLE", ErrorCode::Unavailable),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let problem = problem_of(status, wait, body(code).as_bytes());
            assert_eq!((problem.code, problem.message.as_str()), (expected, "why"), "{status} {code}");
        }
        assert!(problem_of(StatusCode::BAD_GATEWAY, None, b"<html>").message.contains("502"));
    }

    #[test]
    fn warnings_are_said_without_their_wrapping() {
        let mut headers = HeaderMap::new();
        assert_eq!(warning(&headers), None);
        headers.insert(header::WARNING, r#"299 - "one is missing""#.parse().expect("a header"));
        assert_eq!(warning(&headers).as_deref(), Some("one is missing"));
    }

    #[test]
    fn the_next_page_is_one_of_this_server() {
        let next = |link: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LINK, link.parse().expect("a header"));
            next_page(&headers)
        };
        assert_eq!(
            next(r#"</v2/a/referrers/x?last=y>; rel="next""#).as_deref(),
            Some("/v2/a/referrers/x?last=y")
        );
        assert_eq!(next(r#"<https://elsewhere/v2/a>; rel="next""#), None);
        assert_eq!(next(r#"</v2/a>; rel="prev""#), None);
        assert_eq!(next_page(&HeaderMap::new()), None);
    }
}
