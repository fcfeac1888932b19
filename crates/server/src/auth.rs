//! Authentication: who is asking, before any route is looked at. A credential that is given
//! and wrong is refused, behind the rate: below `/v2/` by the registry's own 401, which nobody passes. A cookie of
//! a session that ended is no mistake: its bearer is nobody.

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{header, uri::Authority};
use seaworthy_access::{Access, AccessError, Identity};
use seaworthy_fleet::Fleet;
use seaworthy_model::{ErrorCode, HostId, Problem, Secret};
use seaworthy_registry::CredentialRejected;
use tokio::net::UnixStream;

use crate::{
    api::ApiError,
    cookie,
    group::{Accounts, OperatorGroup, is_operator},
    limit,
    rate::Rejected,
    tls::Caller,
};

/// The uid of the operator socket's other end, as the kernel reports it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    uid: Option<u32>,
}

impl Peer {
    pub(crate) fn of(stream: &UnixStream) -> Self {
        Self { uid: stream.peer_cred().ok().map(|cred| cred.uid()) }
    }
}

/// On the operator socket being root, the server's own user, or a member of the operator group is
/// the credential.
pub(crate) async fn operator(
    State(group): State<Option<OperatorGroup>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    // The files are read only when they decide something.
    let accounts = if group.is_some() { Accounts::read() } else { Accounts::default() };
    match peer.uid {
        Some(uid) if is_operator(uid, own_uid(), group, &accounts) => {
            let mut identity = Identity::operator(uid);
            // A member of the group is recorded by name; the uid stays beside it.
            if let Some(name) = accounts.name(uid).filter(|_| uid != 0 && uid != own_uid()) {
                name.clone_into(&mut identity.actor.name);
                identity.actor.source = Some(format!("uid:{uid}"));
            }
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        _ => ApiError(
            Problem::new(
                ErrorCode::Denied,
                "you are not an operator of this machine: root, the server's own user and members of `operator_group` are",
            )
            .hint("run the command with sudo"),
        )
        .into_response(),
    }
}

fn own_uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&match std::fs::metadata("/proc/self") {
        Ok(data) => data,
        Err(_) => return 0,
    })
}

/// The host whose agent asks, as its certificate proves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteHost(pub(crate) HostId);

/// Behind TLS: the address is complete, and a certificate stands for a host that is in the fleet.
pub(crate) async fn host(
    State(fleet): State<Fleet>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    if caller.is_secure {
        *request.uri_mut() = secure(&request);
    }
    let Some(certificate) = caller.certificate else { return next.run(request).await };
    match fleet.certified(&certificate).await {
        Ok(Some(host)) => {
            request.extensions_mut().insert(RemoteHost(host));
            next.run(request).await
        }
        Ok(None) => {
            let problem = Problem::new(ErrorCode::Denied, "this host is not in the fleet any more");
            ApiError(problem.hint("invite it with `seaworthy host invite`, and let it join again"))
                .into_response()
        }
        Err(error) => ApiError(error.into()).into_response(),
    }
}

/// The request's URI with `https` and the host that was asked for (RFC 9112 section 3.2.2). The door is what it is also where
/// none was named (HTTP/1.0), or one that is none, which is refused where it matters.
fn secure(request: &Request) -> http::Uri {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let mut parts = request.uri().clone().into_parts();
    let authority = parts.authority.take().or_else(|| host?.parse().ok());
    if parts.path_and_query.is_some() {
        parts.authority = Some(authority.unwrap_or_else(|| Authority::from_static("localhost")));
        parts.scheme = Some(http::uri::Scheme::HTTPS);
    }
    http::Uri::from_parts(parts).unwrap_or_else(|_| request.uri().clone())
}

/// Over a network: a bearer token, or a name and a secret, or a session, or nobody.
pub(crate) async fn network(
    State(access): State<Access>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let source = Some(caller.address.ip().to_string());
    let (parts, body) = request.into_parts();
    let cookie = match cookie::of(&parts) {
        Ok(cookie) => cookie,
        Err(problem) => return ApiError(problem).into_response(),
    };
    let mut request = Request::from_parts(parts, body);
    let header = request.headers().get(header::AUTHORIZATION).cloned();
    let identity = match (header, cookie) {
        (Some(value), _) => authenticate(&access, value.as_bytes(), source).await,
        (None, Some(cookie)) => session(&access, &cookie, source).await,
        (None, None) => Ok(Identity::anonymous(source)),
    };
    match identity {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        // The distribution API answers with its own error body and challenge, whatever is asked.
        Err(AccessError::BadCredential)
            if ["/v2", "/acr/v1"].iter().any(|it| request.uri().path().starts_with(it)) =>
        {
            request.extensions_mut().insert(Identity::anonymous(None));
            request.extensions_mut().insert(CredentialRejected);
            next.run(request).await
        }
        // What is no fault of theirs is charged to nobody.
        Err(error) if !matches!(error, AccessError::BadCredential) => {
            Rejected(error.into()).answer(request.uri().path())
        }
        Err(error) => {
            request.extensions_mut().insert(Identity::anonymous(None));
            request.extensions_mut().insert(Rejected(error.into()));
            next.run(request).await
        }
    }
}

async fn session(
    access: &Access,
    cookie: &Secret<String>,
    source: Option<String>,
) -> Result<Identity, AccessError> {
    let identity = access.authenticate_session(cookie.expose(), source.clone()).await?;
    Ok(identity.unwrap_or_else(|| Identity::anonymous(source)))
}

async fn authenticate(
    access: &Access,
    value: &[u8],
    source: Option<String>,
) -> Result<Identity, AccessError> {
    let text = std::str::from_utf8(value).map_err(|_| AccessError::BadCredential)?;
    if text.len() > limit::AUTHORIZATION_BYTES {
        return Err(AccessError::BadCredential);
    }
    let (scheme, rest) = text.split_once(' ').ok_or(AccessError::BadCredential)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return access.authenticate_token(rest.trim(), source).await;
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let (user, secret) = basic(rest).ok_or(AccessError::BadCredential)?;
        return access.authenticate_secret(&user, &secret, source).await;
    }
    Err(AccessError::BadCredential)
}

/// User and secret of Basic authentication (RFC 7617).
pub(crate) fn basic(encoded: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, secret) = text.split_once(':')?;
    Some((user.to_owned(), secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scheme of a challenge's realm is that of the door, whoever says what it is called.
    #[test]
    fn behind_tls_it_is_https() {
        for (target, host, expected) in [
            ("/v2/", Some("a:5000"), "https://a:5000/v2/"),
            ("http://b/v2/", Some("a"), "https://b/v2/"),
            ("/v2/", None, "https://localhost/v2/"),
            ("/v2/", Some("a[b"), "https://localhost/v2/"),
        ] {
            let mut request = http::Request::get(target);
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            let request = request.body(axum::body::Body::empty()).expect("a request");
            assert_eq!(secure(&request).to_string(), expected);
        }
    }
}
