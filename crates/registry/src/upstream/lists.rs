//! What another registry says that it has (distribution spec, "Content Discovery").

use bytes::Bytes;
use http::{Method, StatusCode, header};
use seaworthy_oci::{
    Descriptor, Digest, Manifest, RepoName, Tag, check_json,
    limit::MANIFEST_BYTES,
    media::{OCI_INDEX, is_manifest},
};
use serde_json::{Map, Value};

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
        fits: impl Fn(&Tag) -> bool + Send,
    ) -> Result<Vec<Tag>, UpstreamError> {
        let mut pages = Pages::from(format!("/v2/{remote}/tags/list?n=1000"));
        let mut tags: Vec<Tag> = Vec::new();
        while let Some(page) = self.page(remote, &mut pages).await? {
            let names = names_in(&page).ok_or_else(|| self.wrong("a list of tags that is none"))?;
            // What is no tag here cannot be pulled from here.
            tags.extend(names.iter().filter_map(|name| name.parse().ok()).filter(&fits));
            if tags.len() > most {
                return Err(self.wrong(&format!("more than {most} tags")));
            }
        }
        Ok(tags)
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
            all.extend(self.listed(&page)?);
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
        match self.manifest(remote, &ManifestName::Tag(tag)).await {
            Ok(sent) => self.listed(&sent.bytes),
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
    fn listed(&self, bytes: &[u8]) -> Result<Vec<Descriptor>, UpstreamError> {
        let Ok(Manifest::Index(index)) = Manifest::parse(bytes, Some(OCI_INDEX)) else {
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

/// The names in a list of tags, which says at least whose they are.
fn names_in(page: &[u8]) -> Option<Vec<String>> {
    check_json(page).ok()?;
    let mut page: Map<String, Value> = serde_json::from_slice(page).ok()?;
    match page.remove("tags") {
        Some(Value::Array(names)) => {
            let text = |name| if let Value::String(name) = name { Some(name) } else { None };
            names.into_iter().map(text).collect()
        }
        // As some say that there are none.
        Some(Value::Null) => Some(Vec::new()),
        None if page.contains_key("name") => Some(Vec::new()),
        _ => None,
    }
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

    #[test]
    fn lists_of_tags_are_read() {
        for (page, names) in [
            (r#"{"name":"a","tags":["1","2"]}"#, Some(vec!["1", "2"])),
            (r#"{"tags":["1"]}"#, Some(vec!["1"])),
            (r#"{"name":"a","tags":null}"#, Some(vec![])),
            (r#"{"name":"a"}"#, Some(vec![])),
            ("{}", None),
            (r#"["a",["1"]]"#, None),
            (r#"{"name":"a","tags":"1"}"#, None),
            (r#"{"name":"a","tags":["1",2]}"#, None),
            (r#"{"name":"a","tags":["1"],"tags":["2"]}"#, None),
            (r#"{"errors":[{"code":"DENIED"}]}"#, None),
            ("", None),
        ] {
            let names = names.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(names_in(page.as_bytes()), names, "{page}");
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
