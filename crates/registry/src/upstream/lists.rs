//! What another registry says that it has (distribution spec, "Content Discovery").

use http::{Method, StatusCode, header};
use seaworthy_oci::{Digest, Manifest, RepoName, Tag, media};
use serde::Deserialize;

use super::{Place, Right, Upstream, UpstreamError, Wanted, text};
use crate::{limit, path::ManifestName};

impl Upstream {
    /// The tags of a repository that `fits`, in the order that they are told in: at most [`limit::MIRROR_TAGS`].
    pub(crate) async fn tags(
        &self,
        remote: &RepoName,
        fits: impl Fn(&Tag) -> bool,
    ) -> Result<Vec<Tag>, UpstreamError> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut path = format!("/v2/{remote}/tags/list?n=1000");
        let mut tags: Vec<Tag> = Vec::new();
        for _ in 0..limit::MIRROR_PAGES {
            let answer = self.ask(remote, &Wanted::new(Method::GET, path.clone(), Right::Pull)).await?;
            let next = text(answer.headers(), &header::LINK).and_then(next_in).map(str::to_owned);
            let bytes = answer.into_body().all(limit::LIST_BYTES).await?;
            let page: Page =
                serde_json::from_slice(&bytes).map_err(|_| self.wrong("a list of tags that is none"))?;
            // What is no tag here cannot be pulled from here.
            let told = page.tags.unwrap_or_default().into_iter().filter_map(|tag| tag.parse().ok());
            tags.extend(told.filter(&fits));
            if tags.len() > limit::MIRROR_TAGS {
                return Err(self.wrong(&format!("more than {} tags to mirror", limit::MIRROR_TAGS)));
            }
            let Some(next) = next else { return Ok(tags) };
            path = self.next_page(path, &next)?;
        }
        Err(self.wrong("a list of tags without an end"))
    }

    /// The manifests that refer to one; none when the registry does not say.
    pub(crate) async fn referrers(
        &self,
        remote: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<Digest>, UpstreamError> {
        let mut path = format!("/v2/{remote}/referrers/{subject}");
        let mut all = Vec::new();
        for _ in 0..limit::MIRROR_PAGES {
            let answer = match self.ask(remote, &Wanted::new(Method::GET, path.clone(), Right::Pull)).await {
                Ok(answer) => answer,
                // As registries did before they had such an API ("Referrers Tag Schema").
                Err(
                    UpstreamError::NotFound { .. }
                    | UpstreamError::Answered {
                        status: StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED,
                        ..
                    },
                ) => return self.tagged_referrers(remote, subject).await,
                Err(error) => return Err(error),
            };
            let next = text(answer.headers(), &header::LINK).and_then(next_in).map(str::to_owned);
            all.extend(self.listed(&answer.into_body().all(limit::LIST_BYTES).await?)?);
            let Some(next) = next else { return Ok(all) };
            path = self.next_page(path, &next)?;
        }
        Err(self.wrong("a list of referrers without an end"))
    }

    async fn tagged_referrers(
        &self,
        remote: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<Digest>, UpstreamError> {
        let tag = format!("{}-{}", subject.algorithm().name(), subject.hex());
        // That of SHA-512 is longer than a tag.
        let Ok(tag) = tag.parse() else { return Ok(Vec::new()) };
        match self.manifest(remote, &ManifestName::Tag(tag)).await {
            Ok(sent) => self.listed(&sent.bytes),
            Err(UpstreamError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn listed(&self, bytes: &[u8]) -> Result<Vec<Digest>, UpstreamError> {
        match Manifest::parse(bytes, Some(media::OCI_INDEX)) {
            Ok(Manifest::Index(index)) => Ok(index.manifests.iter().map(|it| it.digest).collect()),
            _ => Err(self.wrong("a list of referrers that is none")),
        }
    }

    /// The page behind the one that was `asked` for.
    fn next_page(&self, asked: String, next: &str) -> Result<String, UpstreamError> {
        let own = Place { origin: self.config.origin.clone(), path: asked };
        match own.towards(next) {
            Some(place) if place.origin == own.origin => Ok(place.path),
            _ => Err(self.wrong("a next page elsewhere")),
        }
    }
}

/// The address of `</v2/…>; rel="next"` (RFC 8288).
fn next_in(header: &str) -> Option<&str> {
    let (address, rest) = header.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = rest.split(';').any(|param| matches!(param.trim(), "rel=\"next\"" | "rel=next"));
    is_next.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_read() {
        for (header, next) in [
            (r#"</v2/a/tags/list?n=1&last=b>; rel="next""#, Some("/v2/a/tags/list?n=1&last=b")),
            ("<https://a.example/x>;rel=next", Some("https://a.example/x")),
            (r#"</x>; rel="prev""#, None),
            ("</x>", None),
            ("/x; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_in(header), next, "{header}");
        }
    }
}
