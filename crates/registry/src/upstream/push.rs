//! Pushing to another registry (distribution spec, "Push" and "Content Management").

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use seaworthy_oci::{Algorithm, Digest, RepoName};

use super::{Place, Right, Upstream, UpstreamError, Wanted, digest_in, text};
use crate::{
    limit,
    path::{ManifestName, encode},
};

impl Upstream {
    /// The digest that a manifest has there, for who pushes; `None` when it is not there, or is not said to be.
    pub(crate) async fn digest_there(
        &self,
        remote: &RepoName,
        name: &ManifestName,
    ) -> Result<Option<Digest>, UpstreamError> {
        match self.digest_of(remote, name, Right::Push).await {
            Err(UpstreamError::NotFound { .. }) => Ok(None),
            answered => answered,
        }
    }

    /// True when a blob is there.
    pub(crate) async fn has_blob(
        &self,
        remote: &RepoName,
        digest: &Digest,
        right: Right,
    ) -> Result<bool, UpstreamError> {
        let wanted = Wanted::new(Method::HEAD, format!("/v2/{remote}/blobs/{digest}"), right);
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
        let place = self.upload_at(&begin.path, begun.headers())?;
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
        let host = || self.host().to_owned();
        let now = self.config.clock.now();
        let pass =
            self.breaker.enter(now).map_err(|seconds| UpstreamError::Resting { host: host(), seconds })?;
        let sending = self.send(&place, request);
        let outcome = in_time(sending, (&sent, size), self.config.patience).await;
        let outcome = outcome.unwrap_or_else(|| Err(UpstreamError::Late { host: host() }));
        self.note(pass, &outcome);
        let response = outcome?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // It ended while the bytes went.
            self.lock_tokens().remove(&(remote.to_string(), Right::Push));
        }
        let answer = self.judge(response)?;
        self.check_digest(&answer, digest)
    }

    /// Sends a manifest under a name. A tag stands for a digest of SHA-256 but where it is said: then the registry
    /// must understand that (distribution spec, "Pushing Manifests", `tag`).
    pub(crate) async fn put_manifest(
        &self,
        remote: &RepoName,
        name: &ManifestName,
        (bytes, media_type): (&Bytes, &str),
        digest: &Digest,
    ) -> Result<(), UpstreamError> {
        let wrong = |_| self.wrong("a media type that no header can carry");
        let media_type = HeaderValue::from_str(media_type).map_err(wrong)?;
        let path = match name {
            ManifestName::Tag(tag) if digest.algorithm() != Algorithm::Sha256 => {
                format!("/v2/{remote}/manifests/{digest}?tag={tag}")
            }
            _ => format!("/v2/{remote}/manifests/{name}"),
        };
        let wanted =
            Wanted { body: Some((media_type, bytes.clone())), ..Wanted::new(Method::PUT, path, Right::Push) };
        let answer = self.ask(remote, &wanted).await?;
        self.check_digest(&answer, digest)?;
        if digest.algorithm() != Algorithm::Sha256 && self.digest_there(remote, name).await? != Some(*digest)
        {
            return Err(self.wrong("no tag for a digest that is not SHA-256"));
        }
        Ok(())
    }

    /// Takes a name away; a registry that says that it does not know it is right.
    pub(crate) async fn delete_manifest(
        &self,
        remote: &RepoName,
        name: &ManifestName,
    ) -> Result<(), UpstreamError> {
        let wanted = Wanted::new(Method::DELETE, format!("/v2/{remote}/manifests/{name}"), Right::Delete);
        match self.ask(remote, &wanted).await {
            Ok(_) | Err(UpstreamError::NotFound { is_told: true, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn upload_at(&self, asked: &str, headers: &http::HeaderMap) -> Result<Place, UpstreamError> {
        let own = Place { origin: self.config.origin.clone(), path: asked.to_owned() };
        let place = text(headers, &header::LOCATION).and_then(|location| own.towards(location));
        match place.map(|place| place.behind_tls_of(&own.origin)) {
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

/// What comes of sending `size` bytes, of which `sent` counts those that went; `None` when nothing goes on, or it
/// goes on too slowly. A registry has time to store what it has.
async fn in_time<T>(
    work: impl Future<Output = T>,
    (sent, size): (&AtomicU64, u64),
    patience: Duration,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let began = tokio::time::Instant::now();
    let most = patience + Duration::from_secs(size / limit::SEND_BYTES_PER_SECOND);
    let (mut seen, mut waited) = (0, Duration::ZERO);
    let store = patience + Duration::from_secs(size / limit::SEND_STORE_BYTES_PER_SECOND);
    loop {
        if let Ok(done) = tokio::time::timeout(patience, &mut work).await {
            return Some(done);
        }
        let now = sent.load(Ordering::Relaxed);
        waited = if now == seen { waited + patience } else { Duration::ZERO };
        let is_late = if now < size { now == seen } else { waited >= store };
        if is_late || began.elapsed() > most + store {
            return None;
        }
        seen = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Sends `pace` bytes a second, then takes `store` seconds to answer; how long that took.
    async fn sending(size: u64, pace: u64, store: u64) -> Option<u64> {
        let sent = AtomicU64::new(0);
        let began = tokio::time::Instant::now();
        let work = async {
            while pace > 0 && sent.load(Ordering::Relaxed) < size {
                tokio::time::sleep(Duration::from_secs(1)).await;
                sent.fetch_add(pace.min(size - sent.load(Ordering::Relaxed)), Ordering::Relaxed);
            }
            if pace == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(store)).await;
        };
        in_time(work, (&sent, size), PATIENCE).await?;
        Some(began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn slow_is_not_too_slow() {
        const MIB: u64 = 1024 * 1024;
        let size = 64 * MIB;
        assert_eq!(sending(size, 64 * MIB, 5).await, Some(6));
        assert_eq!(sending(size, 0, 0).await, None, "nothing goes on");
        // As long as storing may take, and not much longer.
        let store = PATIENCE.as_secs() + size / limit::SEND_STORE_BYTES_PER_SECOND;
        assert_eq!(sending(size, 64 * MIB, store - 2).await, Some(store - 1));
        assert_eq!(sending(size, 64 * MIB, store + 3 * PATIENCE.as_secs()).await, None);
        // As slow as it may be, and half as fast.
        assert!(sending(size, limit::SEND_BYTES_PER_SECOND, 0).await.is_some());
        assert_eq!(sending(size, limit::SEND_BYTES_PER_SECOND / 2, 0).await, None);
    }
}
