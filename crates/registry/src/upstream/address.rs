//! Where upstream registries are, and where they lead.

use std::{fmt, str::FromStr};

use http::{Uri, uri::Scheme};
use seaworthy_model::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::limit;

/// Scheme, host and port: whom a connection is opened to, and whom a credential is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    pub(crate) is_plain: bool,
    /// In lower case, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// The origin of an absolute URL; `None` when it is none of ours, or names a user.
    fn of(uri: &Uri) -> Option<Self> {
        let is_plain = match uri.scheme()? {
            it if *it == Scheme::HTTPS => false,
            it if *it == Scheme::HTTP => true,
            _ => return None,
        };
        let authority = uri.authority().filter(|it| !it.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        // `Uri` takes a port that is none for no port at all.
        let behind = authority.as_str().strip_prefix(authority.host())?;
        let port = match behind.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if !behind.is_empty() => return None,
            None if is_plain => 80,
            None => 443,
        };
        (!host.is_empty() && port != 0).then_some(Self { is_plain, host, port })
    }

    /// `registry.example.com`, `registry.example.com:8443`, `[::1]:5000`.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_plain { 80 } else { 443 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_plain { "http" } else { "https" }, self.authority())
    }
}

impl FromStr for Origin {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            let shown: String = text.chars().take(100).collect();
            let message = format!("`{}` is no address of a registry", shown.escape_debug());
            Problem::new(ErrorCode::Invalid, message)
                .hint("write scheme and host alone, such as `https://registry.example.com`")
        };
        let place = Place::parse(text).ok_or_else(wrong)?;
        if place.path == "/" { Ok(place.origin) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Origin {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

/// One URL: an origin, and a path with its query.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) origin: Origin,
    pub(crate) path: String,
}

/// Paths and queries may be somebody's secret: signed addresses are.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.origin)
    }
}

impl Place {
    /// Reads an absolute `http` or `https` URL; a fragment is left out.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split('#').next().unwrap_or_default();
        if text.len() > limit::UPSTREAM_URL_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let uri: Uri = text.parse().ok()?;
        let path = uri.path_and_query().map_or("/", |it| it.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { origin: Origin::of(&uri)?, path })
    }

    /// Where a `Location` leads: an absolute URL, or a reference relative to this place (RFC 3986, section 5.2).
    pub(crate) fn towards(&self, location: &str) -> Option<Self> {
        if location.starts_with("//") {
            let scheme = if self.origin.is_plain { "http:" } else { "https:" };
            return Self::parse(&format!("{scheme}{location}"));
        }
        if location.starts_with('/') {
            return Self::parse(&format!("{}{location}", self.origin));
        }
        Self::parse(location).or_else(|| {
            let here = Url::parse(&format!("{}{}", self.origin, self.path)).ok()?;
            Self::parse(here.join(location).ok()?.as_str())
        })
    }

    /// The same on HTTPS, where a proxy before `origin` took TLS off and what is behind it wrote `http://`.
    pub(crate) fn behind_tls_of(self, origin: &Origin) -> Self {
        let is_its_own = self.origin.is_plain
            && !origin.is_plain
            && self.origin.host == origin.host
            && (self.origin.port == 80 || self.origin.port == origin.port);
        if is_its_own { Self { origin: origin.clone(), ..self } } else { self }
    }
}

/// A host, with a port or without, as in `auth.docker.io`: of realms and of `ns`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// As it was written, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when an origin has this host, and this port if one is written.
    pub(crate) fn is_of(&self, origin: &Origin) -> bool {
        let scheme = if origin.is_plain { "http" } else { "https" };
        Place::parse(&format!("{scheme}://{}", self.0)).is_some_and(|place| place.origin == *origin)
    }
}

impl FromStr for HostName {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let fits = text.len() <= limit::HOST_BYTES && text.bytes().all(known);
        let origin = Place::parse(&format!("https://{text}")).filter(|place| fits && place.path == "/");
        if origin.is_some() {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let shown: String = text.chars().take(100).collect();
        let message = format!("`{}` is no name of a host", shown.escape_debug());
        Err(Problem::new(ErrorCode::Invalid, message).hint("write a host alone, such as `auth.docker.io`"))
    }
}

impl TryFrom<String> for HostName {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(host: HostName) -> Self {
        host.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_scheme_host_and_port() {
        for (text, shown) in [
            ("https://registry-1.docker.io", "https://registry-1.docker.io"),
            ("https://Quay.IO:443/", "https://quay.io"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://r.example:8443#x", "https://r.example:8443"),
        ] {
            assert_eq!(text.parse::<Origin>().expect(text).to_string(), shown);
        }
        for wrong in [
            "",
            "docker.io",
            "ftp://a",
            "https://",
            "https://u:p@a",
            "https://u@a",
            "https://a/v2",
            "https://a/?b",
            "https://a:0",
            "https://a:",
            "https://a:99999",
            "https://a b",
            "https://a\n",
            "https://例え",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
        let long = |bytes: usize| format!("https://a/{}", "x".repeat(bytes - 10));
        assert!(Place::parse(&long(limit::UPSTREAM_URL_BYTES)).is_some());
        assert!(Place::parse(&long(limit::UPSTREAM_URL_BYTES + 1)).is_none());
        assert!("a".repeat(limit::HOST_BYTES).parse::<HostName>().is_ok());
        for wrong in ["", "a/b", "a?b", "u@a", "a b", "https://a", "a:", &"a".repeat(limit::HOST_BYTES + 1)] {
            assert!(wrong.parse::<HostName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn redirects_lead_to_absolute_places() {
        let from = Place::parse("https://a.example/v2/x").expect("a place");
        for (location, expected) in [
            ("/y?z=1", Some("https://a.example /y?z=1")),
            ("//b.example/y", Some("https://b.example /y")),
            ("https://c.example:8443/y#z", Some("https://c.example:8443 /y")),
            ("http://169.254.169.254/latest", Some("http://169.254.169.254 /latest")),
            ("y", Some("https://a.example /v2/y")),
            ("../y/./z?q=%2F", Some("https://a.example /y/z?q=%2F")),
            ("?state=1", Some("https://a.example /v2/x?state=1")),
            ("", Some("https://a.example /v2/x")),
            ("https://", None),
            ("data:text/plain,x", None),
            ("file:///etc/passwd", None),
            ("https://u:p@a.example/", None),
        ] {
            let place = from.towards(location).map(|place| format!("{} {}", place.origin, place.path));
            assert_eq!(place.as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn plain_is_taken_for_tls_on_the_same_host_alone() {
        let origin = |text: &str| text.parse::<Origin>().expect("an origin");
        for (own, said, expected) in [
            ("https://a.example", "http://a.example/u", "https://a.example"),
            ("https://a.example:8443", "http://a.example:8443/u", "https://a.example:8443"),
            ("https://a.example:8443", "http://a.example/u", "https://a.example:8443"),
            ("https://a.example", "http://a.example:8080/u", "http://a.example:8080"),
            ("https://a.example", "http://b.example/u", "http://b.example"),
            ("http://a.example", "http://a.example/u", "http://a.example"),
            ("http://a.example", "https://a.example/u", "https://a.example"),
        ] {
            let place = Place::parse(said).expect("a place").behind_tls_of(&origin(own));
            assert_eq!(place.origin, origin(expected), "{own} {said}");
        }
    }
}
