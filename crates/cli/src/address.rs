//! `http://HOST[:PORT]` and `https://HOST[:PORT]`: where a server is.

use std::fmt;

use seaworthy_model::{ErrorCode, Problem};

/// How to talk to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In the clear: this machine only.
    Http,
    /// TLS.
    Https,
}

/// A server's address. Written the same way for equal addresses, so that logins are found by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) scheme: Scheme,
    /// Lower case; an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Reads an address as typed. Plain HTTP is for loopback: a secret never leaves in the clear.
    pub(crate) fn parse(url: &str) -> Result<Self, Problem> {
        let bad = || {
            // What stands before an `@` may be a secret.
            let shown = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
            Problem::new(ErrorCode::Invalid, format!("`{shown}` is not a server's address"))
                .hint("write `https://HOST[:PORT]`, or `http://localhost:PORT` on this machine")
        };
        let (scheme, rest, default) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (Scheme::Https, rest, 443),
            (_, Some(rest)) => (Scheme::Http, rest, 80),
            _ => return Err(bad()),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port),
            None => rest.find(':').map_or((rest, ""), |at| rest.split_at(at)),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| bad())?,
            None if port.is_empty() => default,
            None => return Err(bad()),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(bad());
        }
        let address = Self { scheme, host: host.to_ascii_lowercase(), port };
        if scheme == Scheme::Http && !address.is_loopback() {
            let message = format!("`{address}` would send credentials in the clear");
            return Err(Problem::new(ErrorCode::Invalid, message).hint("use `https://`"));
        }
        Ok(address)
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
    }

    /// `HOST:PORT`, as docker writes it and as the `Host` header has it.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_strict_and_plain_http_stays_here() {
        for (url, expected) in [
            ("http://localhost:5000/", Some("http://localhost:5000")),
            ("http://127.0.0.1", Some("http://127.0.0.1:80")),
            ("http://[::1]:5000", Some("http://[::1]:5000")),
            ("https://Registry.Example.com", Some("https://registry.example.com:443")),
            ("http://registry.example.com", None),
            ("http://10.0.0.1:5000", None),
            ("https://user:secret@registry.example.com", None),
            ("https://registry.example.com/path", None),
            ("https://registry.example.com:x", None),
            ("https://", None),
            ("registry.example.com", None),
        ] {
            let got = Address::parse(url).map(|it| it.to_string());
            assert_eq!(got.as_deref().ok(), expected, "{url}");
            if let Err(problem) = got {
                assert!(!problem.message.contains("secret"), "{problem:?}");
            }
        }
    }
}
