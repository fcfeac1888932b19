//! What another registry says that it has (distribution spec, "Content Discovery").

use bytes::Bytes;
use http::{Method, StatusCode, header};
use seaworthy_oci::{
    Descriptor, Digest, Manifest, RepoName, Tag, TagList, TagListError,
    limit::MANIFEST_BYTES,
    media::{OCI_INDEX, is_manifest},
};

use super::{Place, Right, Upstream, UpstreamError, Wanted, link::next_in};
use crate::{limit, path::ManifestName};

/// A list that is read page by page: where it goes on, and how much of it was read.
struct Pages {
    next: Option<String>,
    /// The paths of those that were.
    read: Vec<String>,
    bytes: usize,
}

impl Pages {
    const fn from(path: String) -> Self {
        Self { next: Some(path), read: Vec::new(), bytes: 0 }
    }
}

impl Upstream {
    /// The tags of a repository that `fits`, in the order that they are told in: at most `most`.
    pub(crate) async fn tags(
        &self,
        remote: &RepoName,
        most: usize,
        fits: impl Fn(&Tag) -> bool + Send + 'static,
    ) -> Result<Vec<Tag>, UpstreamError> {
        let mut pages = Pages::from(format!("/v2/{remote}/tags/list?n=1000"));
        // What is no tag here cannot be pulled from here.
        let mut list = TagList::new(most, fits);
        while let Some(page) = self.page(remote, &mut pages).await? {
            let read = aside(page, |page| (list.read(page), list)).await;
            list = match read {
                Some((Ok(()), list)) => list,
                Some((Err(TagListError::TooMany), _)) => {
                    return Err(self.wrong(&format!("more than {most} tags")));
                }
                Some((Err(TagListError::NoList), _)) | None => {
                    return Err(self.wrong("a list of tags that is none"));
                }
            };
        }
        Ok(list.into_tags())
    }

    /// The manifests that refer to one; none when the registry does not say.
    pub(crate) async fn referrers(
        &self,
        remote: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, UpstreamError> {
        let mut pages = Pages::from(format!("/v2/{remote}/referrers/{subject}"));
        let mut all = Vec::new();
        loop {
            let page = match self.page(remote, &mut pages).await {
                // As registries did before they had such an API ("Referrers Tag Schema").
                Err(
                    UpstreamError::NotFound { .. }
                    | UpstreamError::Answered {
                        status: StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED,
                        ..
                    },
                ) if pages.read.is_empty() => return self.tagged_referrers(remote, subject).await,
                page => page?,
            };
            let Some(page) = page else { return Ok(all) };
            all.extend(self.listed(page).await?);
            if all.len() > limit::LISTED_REFERRERS {
                return Err(self.wrong(&format!("more than {} referrers", limit::LISTED_REFERRERS)));
            }
        }
    }

    async fn tagged_referrers(
        &self,
        remote: &RepoName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, UpstreamError> {
        // No longer than SHA-256 has it.
        let hex = subject.hex();
        let tag = format!("{}-{}", subject.algorithm().name(), hex.get(..64).unwrap_or(&hex));
        let Ok(tag) = tag.parse() else { return Ok(Vec::new()) };
        match self.manifest(remote, &ManifestName::Tag(tag), Right::Pull).await {
            Ok(sent) => self.listed(sent.bytes).await,
            Err(UpstreamError::NotFound { is_told: true, .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The next page of a list; `None` after the last.
    async fn page(&self, remote: &RepoName, pages: &mut Pages) -> Result<Option<Bytes>, UpstreamError> {
        let Some(path) = pages.next.take() else { return Ok(None) };
        if pages.read.len() >= limit::LIST_PAGES {
            return Err(self.wrong("a list without an end"));
        }
        let answer = self.ask(remote, &Wanted::new(Method::GET, path.clone(), Right::Pull)).await?;
        pages.read.push(path);
        let links = answer.headers().get_all(header::LINK);
        let next = next_in(links.iter().filter_map(|it| it.to_str().ok()));
        pages.next = next.map(|next| self.next_page(&pages.read, next)).transpose()?;
        let most = limit::LIST_BYTES.min(limit::LIST_BYTES_MAX - pages.bytes);
        let page = answer.into_body().all(most).await?;
        pages.bytes += page.len();
        Ok(Some(page))
    }

    /// The entries of an index that can be pulled from here: older kinds of manifests cannot.
    async fn listed(&self, bytes: Bytes) -> Result<Vec<Descriptor>, UpstreamError> {
        let read = aside(bytes, |bytes| Manifest::parse(bytes, Some(OCI_INDEX))).await;
        let Some(Ok(Manifest::Index(index))) = read else {
            return Err(self.wrong("a list of referrers that is none"));
        };
        if !index.manifests.iter().all(|it| is_media_type(&it.media_type)) {
            return Err(self.wrong("a referrer without a media type"));
        }
        let fits = |it: &Descriptor| is_manifest(&it.media_type) && it.size <= MANIFEST_BYTES as u64;
        Ok(index.manifests.into_iter().filter(fits).collect())
    }

    /// The page behind those that were `read`.
    fn next_page(&self, read: &[String], next: &str) -> Result<String, UpstreamError> {
        let path = read.last().cloned().unwrap_or_default();
        let own = Place { origin: self.config.origin.clone(), path };
        match own.towards(next).map(|place| place.behind_tls_of(&own.origin)) {
            Some(place) if place.origin != own.origin => Err(self.wrong("a next page elsewhere")),
            Some(place) if read.contains(&place.path) => Err(self.wrong("a next page that was read")),
            Some(place) => Ok(place.path),
            None => Err(self.wrong("a next page elsewhere")),
        }
    }
}

/// What `read` makes of a page; where that is long, nobody waits for it but who asked. `None` when the server ends.
async fn aside<T: Send + 'static>(page: Bytes, read: impl FnOnce(&[u8]) -> T + Send + 'static) -> Option<T> {
    if page.len() <= limit::LIST_BYTES_AT_HAND {
        return Some(read(&page));
    }
    tokio::task::spawn_blocking(move || read(&page)).await.ok()
}

/// `type/subtype` (RFC 6838, section 4.2).
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        (1..=127).contains(&name.len()) && name.bytes().all(known)
    };
    text.split_once('/').is_some_and(|(kind, name)| is_name(kind) && is_name(name))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::upstream, *};

    #[tokio::test]
    async fn long_pages_are_read_aside() {
        let here = std::thread::current().id();
        for (bytes, is_here) in [(limit::LIST_BYTES_AT_HAND, true), (limit::LIST_BYTES_AT_HAND + 1, false)] {
            let read = aside(vec![0; bytes].into(), |page| (page.len(), std::thread::current().id()));
            let (length, thread) = read.await.expect("read");
            assert_eq!((length, thread == here), (bytes, is_here));
        }
    }

    #[test]
    fn media_types_have_two_names() {
        assert!(is_media_type(OCI_INDEX) && is_media_type(&format!("a/{}", "b".repeat(127))));
        for wrong in
            ["", "a", "/", "a/", "/b", "a/b/c", "a/b c", "a/b;c=d", "a/例", &format!("a/{}", "b".repeat(128))]
        {
            assert!(!is_media_type(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_next_page_is_another_one_of_the_same_registry() {
        let upstream = upstream();
        let read = ["/v2/a/tags/list?n=1000", "/v2/a/tags/list?p=1"].map(str::to_owned);
        let next = |next: &str| upstream.next_page(&read, next).map_err(|error| error.to_string());
        for (address, path) in [
            ("?p=2", "/v2/a/tags/list?p=2"),
            ("/v2/a/next", "/v2/a/next"),
            ("https://r.example/v2/a/next", "/v2/a/next"),
            // Written by what is behind a proxy that takes TLS off.
            ("http://r.example/v2/a/next", "/v2/a/next"),
        ] {
            assert_eq!(next(address).as_deref(), Ok(path), "{address}");
        }
        for (address, why) in [
            ("https://other.example/v2/a/next", "a next page elsewhere"),
            ("http://r.example:8080/v2/a/next", "a next page elsewhere"),
            ("http://other.example/v2/a/next", "a next page elsewhere"),
            ("?p=1", "a next page that was read"),
            ("https://r.example/v2/a/tags/list?n=1000", "a next page that was read"),
        ] {
            assert!(next(address).expect_err(address).contains(why), "{address}");
        }
    }
}
