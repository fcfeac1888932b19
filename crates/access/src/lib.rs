//! Who may do what: principals, their credentials, short-lived tokens, roles and decisions.
//!
//! Invariants: no secret is stored, only its hash; a principal whose rights, credentials or
//! state changed has another *epoch*, and every older token is refused at its next request;
//! a decision names the assignment that made it. Deliberately absent: routes, passwords of
//! people (they come with the console), default credentials.
#![forbid(unsafe_code)]

mod access;
mod credential;
mod db;
mod decision;
mod error;
mod principal;
mod role;
mod snapshot;
mod token;

/// Named limits of this crate.
pub mod limit {
    /// Lifetime of an access token, in seconds (15 minutes).
    pub const TOKEN_SECONDS: i64 = 900;
    /// Lifetime of a credential made by `login --docker`, in seconds (12 hours).
    pub const LOGIN_SECONDS: i64 = 12 * 3600;
    /// Client secrets of one principal: two, so that one can be rotated.
    pub const CLIENT_SECRETS: usize = 2;
    /// Login credentials of one principal; the oldest gives way.
    pub const LOGINS: usize = 20;
    /// Longest name of a principal, in bytes.
    pub const NAME_BYTES: usize = 64;
    /// Longest token that is looked at, in bytes.
    pub const TOKEN_BYTES: usize = 8 * 1024;
    /// Verified tokens remembered; others are verified again.
    pub const TOKEN_CACHE: usize = 4_096;
    /// Scopes one token request may ask for.
    pub const TOKEN_SCOPES: usize = 64;
    /// Custom roles; one more is refused.
    pub const ROLES: usize = 500;
}

pub use access::{Access, NewPrincipal};
pub use credential::{Credential, CredentialKind, NewCredential};
pub use db::SCHEMA;
pub use decision::{Decision, Identity};
pub use error::AccessError;
pub use principal::{Principal, PrincipalKind, PrincipalName};
pub use role::{Permission, Role, RoleId};
pub use snapshot::Assignment;
pub use token::{DockerScope, ResourceAccess, Token};
