//! Manifests and referrers.

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use seaworthy_access::Permission;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, RepoName, Tag, limit::MANIFEST_BYTES, media};

use super::{Answer, Call, list_answer, not_modified, set_digest, tell, text_header, whole};
use crate::{
    RegistryError,
    conditional::{self, Precondition},
    limit,
    manifest::{ManifestPut, Pushed},
    path::{self, ManifestName, encode},
    respond::{empty, set},
};

impl Call<'_> {
    /// HEAD answers as if allowed: clients then GET, and show the reason.
    pub(super) async fn head_manifest(
        &self,
        name: &RepoName,
        reference: &ManifestName,
        headers: &HeaderMap,
    ) -> Answer {
        let (stored, served) = self.registry.resolve_for_head(self.identity, name, reference).await?;
        Precondition::of_read(headers).check(Some(&stored.digest))?;
        let mut response = if conditional::is_fresh(headers, &stored.digest) {
            let mut response = not_modified(&stored.digest);
            // That of the answer to a GET, or nothing: HTTP would say 0.
            set(&mut response, header::CONTENT_LENGTH, &stored.size.to_string());
            response
        } else {
            let mut response = Response::new(Body::empty());
            manifest_headers(&mut response, &stored.media_type, &stored.digest, stored.size);
            response
        };
        tell(&mut response, served.as_ref());
        Ok(response)
    }

    pub(super) async fn get_manifest(
        &self,
        name: &RepoName,
        reference: &ManifestName,
        headers: &HeaderMap,
    ) -> Answer {
        let pulled = self.registry.pull_manifest(self.identity, name, reference).await?;
        let (stored, bytes) = (pulled.stored, pulled.bytes);
        Precondition::of_read(headers).check(Some(&stored.digest))?;
        let mut response = if conditional::is_fresh(headers, &stored.digest) {
            not_modified(&stored.digest)
        } else {
            let size = bytes.len() as u64;
            let mut response = Response::new(Body::from(bytes));
            manifest_headers(&mut response, &stored.media_type, &stored.digest, size);
            response
        };
        tell(&mut response, pulled.served.as_ref());
        Ok(response)
    }

    pub(super) async fn put_manifest(
        &self,
        name: &RepoName,
        reference: &ManifestName,
        request: Request,
    ) -> Answer {
        // Rights before the body: nobody uploads 4 MiB to be told no.
        self.registry.require(self.identity, Permission::Push, name).await?;
        self.registry.check_open(name).await?;
        let asked = self.asked_tags()?;
        // Media types are the same in any case (RFC 9110 section 8.3.1).
        let content_type =
            text_header(request.headers(), &header::CONTENT_TYPE).map(|it| it.to_ascii_lowercase());
        let too_long =
            || Problem::new(ErrorCode::TooLarge, format!("manifest is longer than {MANIFEST_BYTES} bytes"));
        if text_header(request.headers(), &header::CONTENT_LENGTH)
            .and_then(|length| length.parse::<u64>().ok())
            .is_some_and(|length| length > MANIFEST_BYTES as u64)
        {
            return Err(too_long().into());
        }
        let precondition = Precondition::of_write(request.headers());
        let bytes = whole(request.into_body(), MANIFEST_BYTES, too_long).await?;
        let mut tags = asked.clone();
        if let ManifestName::Tag(tag) = reference
            && !asked.contains(tag)
        {
            tags.insert(0, tag.clone());
        }
        let content_type = content_type.as_deref();
        let put = ManifestPut { name: reference, precondition, tags, bytes, content_type };
        let pushed = self.registry.push_manifest(self.identity, name, put).await?;
        Ok(pushed_answer(name, &pushed, &asked))
    }

    /// The tags that `?tag=` asks for, each once.
    fn asked_tags(&self) -> Result<Vec<Tag>, RegistryError> {
        let mut tags: Vec<Tag> = Vec::new();
        for (number, text) in self.query.all("tag").enumerate() {
            if number >= limit::TAGS_PER_PUSH {
                let message = format!("a push sets at most {} tags", limit::TAGS_PER_PUSH);
                return Err(Problem::new(ErrorCode::UriTooLong, message)
                    .hint("push the same manifest again with the other tags")
                    .into());
            }
            let tag = path::tag(text)?;
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Ok(tags)
    }

    pub(super) async fn delete_manifest(
        &self,
        name: &RepoName,
        reference: &ManifestName,
        headers: &HeaderMap,
    ) -> Answer {
        let condition = (reference.clone(), Precondition::of_write(headers));
        self.registry.delete_manifest_if(self.identity, name, condition).await?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    pub(super) async fn referrers(&self, name: &RepoName, subject: &Digest) -> Answer {
        let artifact_type = self.query.get("artifactType").filter(|name| !name.is_empty());
        let last = self.query.get("last").unwrap_or_default();
        let page = self.registry.referrers(self.identity, name, subject, (artifact_type, last)).await?;
        let filter = artifact_type.map(|it| format!("artifactType={}&", encode(it))).unwrap_or_default();
        let link = page
            .next
            .map(|last| format!("</v2/{name}/referrers/{subject}?{filter}last={last}>; rel=\"next\""));
        let mut response = list_answer(page.index, link);
        set(&mut response, header::CONTENT_TYPE, media::OCI_INDEX);
        if artifact_type.is_some() {
            set(&mut response, header::HeaderName::from_static("oci-filters-applied"), "artifactType");
        }
        tell(&mut response, page.served.as_ref());
        Ok(response)
    }
}

fn pushed_answer(name: &RepoName, pushed: &Pushed, asked: &[Tag]) -> Response {
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, header::LOCATION, &format!("/v2/{name}/manifests/{}", pushed.digest));
    set_digest(&mut response, &pushed.digest);
    if let Some(subject) = &pushed.subject {
        set(&mut response, header::HeaderName::from_static("oci-subject"), &subject.to_string());
    }
    for tag in asked {
        if let Ok(value) = HeaderValue::from_str(tag.as_str()) {
            response.headers_mut().append(header::HeaderName::from_static("oci-tag"), value);
        }
    }
    if let Some((count, one)) = &pushed.absent {
        // Distribution spec, "Warnings": code 299, agent `-`, no date.
        let text =
            format!("299 - \"`{name}` does not have {count} of the index's manifests, such as {one}\"");
        set(&mut response, header::WARNING, &text);
    }
    response
}

fn manifest_headers(response: &mut Response, media_type: &str, digest: &Digest, size: u64) {
    set(response, header::CONTENT_TYPE, media_type);
    set(response, header::CONTENT_LENGTH, &size.to_string());
    set(response, header::ETAG, &conditional::etag(digest));
    set_digest(response, digest);
}
