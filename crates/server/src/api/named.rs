//! What callers call an image of this registry: `[HOST/]REPOSITORY[:TAG][@DIGEST]`.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{header, request::Parts};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, Reference, RepoName, Tag};

use super::{ApiError, Rooms, invalid};

/// What the caller calls this server: behind a proxy it has a name that nobody told it.
pub(super) struct AskedHost(Option<String>);

impl FromRequestParts<Rooms> for AskedHost {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Rooms) -> Result<Self, Infallible> {
        let header = || parts.headers.get(header::HOST)?.to_str().ok();
        let host = parts.uri.authority().map(http::uri::Authority::as_str).or_else(header);
        // Who asks on the operator socket names nobody, and podman's own images are called so.
        Ok(Self(host.filter(|host| !host.eq_ignore_ascii_case("localhost")).map(str::to_owned)))
    }
}

/// An image of this registry, by name. What is read as a host is left out if it is one of ours. Else it is the first part of
/// the repository, as it is in the distribution API: `quay.io/dev/web` is not our `dev/web`.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) repository: RepoName,
    pub(super) tag: Option<Tag>,
    pub(super) digest: Option<Digest>,
    /// The one of ours that was named.
    pub(super) host: Option<String>,
    /// The first part of the repository, if it could be a host.
    foreign: Option<String>,
}

impl Named {
    pub(super) fn parse(rooms: &Rooms, asked: &AskedHost, text: &str) -> Result<Self, ApiError> {
        let reference = read(text)?;
        let whole = reference.whole_repository();
        let Reference { host, repository, tag, digest } = reference;
        let Some(host) = host else {
            return Ok(Self { repository, tag, digest, host: None, foreign: None });
        };
        if is_ours(rooms, asked, &host) {
            return Ok(Self { repository, tag, digest, host: Some(host), foreign: None });
        }
        let repository = whole.ok_or_else(|| elsewhere(rooms, text))?;
        Ok(Self { repository, tag, digest, host: None, foreign: Some(host) })
    }

    /// The tag or the digest, which wins.
    pub(super) fn which(&self) -> Result<Tag, Digest> {
        self.digest.map_or_else(|| Ok(self.tag.clone().unwrap_or_else(Tag::latest)), Err)
    }

    /// That it is not known, and perhaps why.
    pub(super) fn unknown(&self, rooms: &Rooms, text: &str) -> Problem {
        let problem = Problem::new(ErrorCode::NotFound, format!("image `{text}` is not known"));
        if self.foreign.is_some() { problem.hint(called(rooms)) } else { problem }
    }

    /// Refuses as a place for an image what begins with a host that is none of ours, unless there is a repository of that
    /// name: it would be judged by other policies than those that its author means.
    pub(super) async fn check_place(&self, rooms: &Rooms, text: &str) -> Result<(), ApiError> {
        if self.foreign.is_some() && !rooms.registry.has_repository(&self.repository).await? {
            return Err(elsewhere(rooms, text).into());
        }
        Ok(())
    }
}

/// As it is written, a host with it.
pub(super) fn read(text: &str) -> Result<Reference, ApiError> {
    text.parse().map_err(|error: seaworthy_oci::ReferenceError| invalid(error.to_string()))
}

pub(super) fn is_ours(rooms: &Rooms, AskedHost(asked): &AskedHost, host: &str) -> bool {
    // With their ports, as engines and the fleet read them.
    rooms.registry.names().iter().chain(asked).any(|name| name.eq_ignore_ascii_case(host))
}

fn elsewhere(rooms: &Rooms, text: &str) -> Problem {
    let message = format!("`{text}` is an image of another registry");
    Problem::new(ErrorCode::NotFound, message).hint(called(rooms))
}

fn called(rooms: &Rooms) -> String {
    format!("this registry is called `{}`: leave the host out, or name that one", rooms.registry_host)
}
