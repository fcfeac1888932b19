//! Pushing to another registry (distribution spec, "Push" and "Content Management").

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use seaworthy_oci::{Digest, RepoName};

use super::{Place, Right, Upstream, UpstreamError, Wanted, digest_in, text};
use crate::path::{ManifestName, encode};

impl Upstream {
    /// The digest that a manifest has there; `None` when it is not there, or is not said to be.
    pub(crate) async fn digest_there(
        &self,
        remote: &RepoName,
        name: &ManifestName,
    ) -> Result<Option<Digest>, UpstreamError> {
        match self.digest_of(remote, name).await {
            Err(UpstreamError::NotFound { .. }) => Ok(None),
            answered => answered,
        }
    }

    /// True when a blob is there.
    pub(crate) async fn has_blob(&self, remote: &RepoName, digest: &Digest) -> Result<bool, UpstreamError> {
        let wanted = Wanted::new(Method::HEAD, format!("/v2/{remote}/blobs/{digest}"), Right::Pull);
        match self.ask(remote, &wanted).await {
            Ok(_) => Ok(true),
            Err(UpstreamError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a blob of `size` bytes in one piece.
    pub(crate) async fn put_blob(
        &self,
        remote: &RepoName,
        (digest, size): (&Digest, u64),
        bytes: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), UpstreamError> {
        let begin = Wanted::new(Method::POST, format!("/v2/{remote}/blobs/uploads/"), Right::Push);
        let begun = self.ask(remote, &begin).await?;
        let place = self.upload_at(begun.headers())?;
        drop(begun);
        let joint = if place.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{joint}digest={}", place.path, encode(&digest.to_string()));
        let put = Wanted::new(Method::PUT, path, Right::Push);
        let sent = Arc::new(AtomicU64::new(0));
        let counted = {
            let sent = sent.clone();
            bytes.map(move |piece| {
                let piece = piece?;
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Ok(Frame::data(piece))
            })
        };
        let place = Place { path: put.path.clone(), ..place };
        let mut request: Request<_> = put.request(&place, self.known_rights(remote, Right::Push).as_ref());
        *request.body_mut() = StreamBody::new(counted).boxed_unsync();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let mut answering = std::pin::pin!(self.send(&place, request));
        let mut seen = 0;
        let response = loop {
            tokio::select! {
                response = &mut answering => break response?,
                () = tokio::time::sleep(self.config.patience) => {
                    let now = sent.load(Ordering::Relaxed);
                    // Slow is not too slow.
                    if now == seen {
                        return Err(UpstreamError::Late { host: self.host().to_owned() });
                    }
                    seen = now;
                }
            }
        };
        if response.status() == StatusCode::UNAUTHORIZED {
            // It ended while the bytes went.
            self.lock_tokens().remove(&(remote.to_string(), Right::Push));
        }
        let answer = self.judge(response)?;
        self.check_digest(&answer, digest)
    }

    /// Sends a manifest under a name.
    pub(crate) async fn put_manifest(
        &self,
        remote: &RepoName,
        name: &ManifestName,
        (bytes, media_type): (&Bytes, &str),
        digest: &Digest,
    ) -> Result<(), UpstreamError> {
        let wrong = |_| self.wrong("a media type that no header can carry");
        let media_type = HeaderValue::from_str(media_type).map_err(wrong)?;
        let wanted = Wanted {
            body: Some((media_type, bytes.clone())),
            ..Wanted::new(Method::PUT, format!("/v2/{remote}/manifests/{name}"), Right::Push)
        };
        let answer = self.ask(remote, &wanted).await?;
        self.check_digest(&answer, digest)
    }

    /// Takes a name away; one that is not there is none.
    pub(crate) async fn delete_manifest(
        &self,
        remote: &RepoName,
        name: &ManifestName,
    ) -> Result<(), UpstreamError> {
        let wanted = Wanted::new(Method::DELETE, format!("/v2/{remote}/manifests/{name}"), Right::Delete);
        match self.ask(remote, &wanted).await {
            Ok(_) | Err(UpstreamError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn upload_at(&self, headers: &http::HeaderMap) -> Result<Place, UpstreamError> {
        let own = Place { origin: self.config.origin.clone(), path: "/".to_owned() };
        let place = text(headers, &header::LOCATION).and_then(|location| own.towards(location));
        match place {
            // Our rights are for it alone, and so are our bytes.
            Some(place) if place.origin == own.origin => Ok(place),
            _ => Err(UpstreamError::Astray { host: self.host().to_owned(), why: "an upload elsewhere" }),
        }
    }

    /// What it says that it stored is what was sent.
    fn check_digest<B>(&self, answer: &http::Response<B>, digest: &Digest) -> Result<(), UpstreamError> {
        match digest_in(answer.headers()) {
            Some(stored) if stored != *digest => Err(self.wrong("another digest for what was sent")),
            _ => Ok(()),
        }
    }
}
