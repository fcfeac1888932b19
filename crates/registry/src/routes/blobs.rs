//! Reading blobs.

use std::{io, ops::Range};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http::{HeaderMap, StatusCode, header};
use seaworthy_model::{ErrorCode, Problem, UploadId};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{BlobBody, BlobReader, Piece};

use super::{Answer, Call, not_modified, set_digest, text_header};
use crate::{
    blob::{Absent, Opened},
    cache::{Begun, Part, Served},
    conditional::{self, Precondition},
    range::{self, Wanted},
    respond::{self, set},
};

const OCTETS: &str = "application/octet-stream";

impl Call<'_> {
    pub(super) async fn head_blob(&self, name: &RepoName, digest: &Digest, headers: &HeaderMap) -> Answer {
        let size = self.registry.blob_size(self.identity, name, digest).await?;
        Precondition::of_read(headers).check(Some(digest))?;
        let mut response = if conditional::is_fresh(headers, digest) {
            not_modified(digest)
        } else {
            let mut response = Response::new(Body::empty());
            blob_headers(&mut response, digest);
            response
        };
        set(&mut response, header::CONTENT_LENGTH, &size.to_string());
        Ok(response)
    }

    pub(super) async fn get_blob(&self, name: &RepoName, digest: &Digest, headers: &HeaderMap) -> Answer {
        let opened = self.registry.open_blob(self.identity, name, digest).await?;
        Precondition::of_read(headers).check(Some(digest))?;
        if conditional::is_fresh(headers, digest) {
            return Ok(not_modified(digest));
        }
        match opened {
            Opened::Stored(reader) => {
                let mut response = self.blob_answer(reader, digest, headers).await?;
                if self.registry.is_cache(name).await? {
                    Served::Kept.tell(&mut response);
                }
                Ok(response)
            }
            Opened::Absent(absent) => self.get_absent(&absent, name, digest, headers).await,
        }
    }

    /// A blob that comes from an upstream: as it comes, or, where parts of it are asked for, when it is here.
    async fn get_absent(
        &self,
        absent: &Absent,
        name: &RepoName,
        digest: &Digest,
        headers: &HeaderMap,
    ) -> Answer {
        let Absent { cache, repository, blob } = absent;
        let mut follower = self.registry.follow(cache, repository, *blob)?;
        let served = if follower.part == Part::Joined { Served::Joined } else { Served::Fetched };
        let is_whole = !headers.contains_key(header::RANGE);
        let mut response = if is_whole && follower.begun().await? == Begun::Flowing {
            let size = follower.size;
            let mut response = Response::new(body(digest, follower.stream(self.sends)));
            blob_headers(&mut response, digest);
            set(&mut response, header::CONTENT_LENGTH, &size.to_string());
            response
        } else {
            follower.finished().await?;
            match self.registry.open_blob(self.identity, name, digest).await? {
                Opened::Stored(reader) => self.blob_answer(reader, digest, headers).await?,
                Opened::Absent(_) => return Err(crate::blob::unknown(digest).into()),
            }
        };
        served.tell(&mut response);
        Ok(response)
    }

    async fn blob_answer(&self, reader: BlobReader, digest: &Digest, headers: &HeaderMap) -> Answer {
        let blob = if self.sends.is_some() { reader.mapped_body().await? } else { reader.body() };
        let size = blob.size();
        let header =
            text_header(headers, &header::RANGE).filter(|_| conditional::obeys_range(headers, digest));
        match range::parse(header.as_deref(), size) {
            Wanted::All => {
                let mut response = Response::new(body(digest, blob.stream(0..size)));
                blob_headers(&mut response, digest);
                set(&mut response, header::CONTENT_LENGTH, &size.to_string());
                Ok(response)
            }
            Wanted::Part(range) => {
                let mut response = Response::new(body(digest, blob.stream(range.clone())));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                blob_headers(&mut response, digest);
                set(&mut response, header::CONTENT_LENGTH, &(range.end - range.start).to_string());
                set(&mut response, header::CONTENT_RANGE, &content_range(&range, size));
                Ok(response)
            }
            Wanted::Parts(ranges) => Ok(in_parts(blob, digest, &ranges)),
            Wanted::Unsatisfiable => {
                let problem = Problem::new(ErrorCode::RangeUnsatisfiable, format!("blob has {size} bytes"));
                let mut response = respond::problem(&problem, false);
                set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
                Ok(response)
            }
        }
    }
}

/// Several ranges as `multipart/byteranges` (RFC 9110 §14.6).
fn in_parts(blob: BlobBody, digest: &Digest, ranges: &[Range<u64>]) -> Response {
    let size = blob.size();
    // Random, so that nobody writes a blob that contains it.
    let boundary = UploadId::generate();
    let mut pieces = Vec::with_capacity(ranges.len() * 2 + 1);
    let mut length = 0u64;
    let mut text = |pieces: &mut Vec<Piece>, text: String| {
        length += text.len() as u64;
        pieces.push(Piece::Bytes(text.into()));
    };
    for range in ranges {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {OCTETS}\r\nContent-Range: {}\r\n\r\n",
            content_range(range, size)
        );
        text(&mut pieces, head);
        pieces.push(Piece::Range(range.clone()));
    }
    text(&mut pieces, format!("\r\n--{boundary}--\r\n"));
    length += ranges.iter().map(|range| range.end - range.start).sum::<u64>();
    let mut response = Response::new(body(digest, blob.pieces(pieces)));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    blob_headers(&mut response, digest);
    set(&mut response, header::CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    response
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))
}

fn body(digest: &Digest, bytes: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    let digest = *digest;
    Body::from_stream(bytes.inspect_err(move |error| {
        tracing::error!(%digest, %error, "reading a blob failed while it was served");
    }))
}

fn blob_headers(response: &mut Response, digest: &Digest) {
    set(response, header::CONTENT_TYPE, OCTETS);
    set(response, header::ACCEPT_RANGES, "bytes");
    set(response, header::ETAG, &conditional::etag(digest));
    set_digest(response, digest);
}
