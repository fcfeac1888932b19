//! Where an answer came from, as headers tell it.

use axum::response::Response;
use http::{HeaderName, header};

use crate::respond::set;

/// Where what is served came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// From here; nobody was asked.
    Kept,
    /// From here; the upstream says that it is the same there.
    Checked,
    /// From the upstream, and kept.
    Fetched,
    /// From the upstream, with what another request began.
    Joined,
    /// From here, though the upstream could not be asked.
    Stale(String),
    /// A list of what is here: the upstream does not say what it has.
    Unsaid,
}

impl Served {
    /// Adds `Cache-Status` (RFC 9211), and to what may be stale a warning, code 299 as the distribution spec
    /// has it.
    pub(crate) fn tell(&self, response: &mut Response) {
        let status = match self {
            Self::Kept => "seaworthy; hit".to_owned(),
            Self::Checked => "seaworthy; hit; detail=checked".to_owned(),
            Self::Fetched => "seaworthy; fwd=miss; stored".to_owned(),
            Self::Joined => "seaworthy; fwd=miss; collapsed".to_owned(),
            Self::Stale(reason) => {
                let reason = quoted(reason);
                let warning = format!("299 - \"this may be stale: {reason}\"");
                set(response, header::WARNING, &warning);
                format!("seaworthy; hit; detail=\"stale: {reason}\"")
            }
            Self::Unsaid => {
                let warning = "299 - \"this is what the cache has; its upstream may have more\"";
                set(response, header::WARNING, warning);
                "seaworthy; hit".to_owned()
            }
        };
        set(response, HeaderName::from_static("cache-status"), &status);
    }
}

/// A text that can stand between quotes.
fn quoted(text: &str) -> String {
    text.chars().filter(|letter| matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stale_says_so() {
        let told = |served: Served| {
            let mut response = Response::new(axum::body::Body::empty());
            served.tell(&mut response);
            let header = |name: &str| {
                response
                    .headers()
                    .get(name)
                    .map(|it| it.to_str().expect("text").to_owned())
                    .unwrap_or_default()
            };
            (header("cache-status"), header("warning"))
        };
        assert_eq!(told(Served::Kept), ("seaworthy; hit".into(), String::new()));
        assert!(told(Served::Unsaid).1.contains("may have more"));
        let (status, warning) = told(Served::Stale("it \"said\"\r\n\\no 例".into()));
        assert_eq!(status, "seaworthy; hit; detail=\"stale: it saidno \"");
        assert_eq!(warning, "299 - \"this may be stale: it saidno \"");
    }
}
