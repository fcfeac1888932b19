//! Who may do what: principals, their credentials, short-lived tokens, sessions of people, roles
//! and decisions.
//!
//! Invariants: no secret is stored, only its hash; a principal that lost a right or a credential, or
//! whose state changed, has another *epoch*, and every older token and session is refused at its next
//! request; a decision names the assignment that made it; a refused sign-in says nothing about
//! whether the name exists. Deliberately absent: routes, cookies, default credentials.
#![forbid(unsafe_code)]

mod access;
mod assignments;
mod credential;
mod db;
mod decision;
mod error;
mod granted;
mod password;
mod principal;
mod refresh;
mod refused;
mod role;
mod roles_now;
mod scope_map;
mod session;
mod sign_in;
mod sign_in_error;
mod snapshot;
mod throttle;
mod token;

/// Named limits of this crate.
pub mod limit {
    /// Lifetime of an access token, in seconds (15 minutes).
    pub const TOKEN_SECONDS: i64 = 900;
    /// Lifetime of a refresh token, in seconds (3 hours).
    pub const REFRESH_SECONDS: i64 = 3 * 3600;
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
    /// Names and secrets that were right and are remembered, as hashes; others are looked up again.
    pub const SECRET_CACHE: usize = 4_096;
    /// Scopes one token request may ask for.
    pub const TOKEN_SCOPES: usize = 64;
    /// Scope maps besides those that ship; one more is refused.
    pub const SCOPE_MAPS: usize = 500;
    /// Lines of one scope map.
    pub const MAP_ENTRIES: usize = 500;
    /// Longest life of a secret that ends, in days (ten years).
    pub const SECRET_DAYS: u32 = 3_650;
    /// Role assignments of one principal; one more is refused.
    pub const ASSIGNMENTS: usize = 500;
    /// Custom roles; one more is refused.
    pub const ROLES: usize = 500;
    /// How long an operator's sign-in link holds, in seconds (10 minutes).
    pub const OPERATOR_LINK_SECONDS: i64 = 600;
    /// How long a person's link to set a password holds, in seconds (one day).
    pub const PASSWORD_LINK_SECONDS: i64 = 24 * 3600;
    /// How long a session lasts at most, in seconds (12 hours).
    pub const SESSION_SECONDS: i64 = 12 * 3600;
    /// How long a session lasts without a request, in seconds (one hour).
    pub const SESSION_IDLE_SECONDS: i64 = 3600;
    /// How often a session's last use is written, in seconds.
    pub const SESSION_TOUCH_SECONDS: i64 = 60;
    /// How long after its beginning a session may approve, in seconds (5 minutes).
    pub const STEP_UP_SECONDS: i64 = 300;
    /// Sessions of one principal; the oldest gives way.
    pub const SESSIONS: usize = 20;
    /// Longest cookie or link that is looked at, in bytes.
    pub const PROOF_BYTES: usize = 64;
    /// Shortest password, in characters.
    pub const PASSWORD_CHARS: usize = 12;
    /// Longest password, in bytes.
    pub const PASSWORD_BYTES: usize = 1_024;
    /// Different characters that a password has at least.
    pub const PASSWORD_DIFFERENT: usize = 5;
    /// Characters that a password has beside its person's name and well-known words.
    pub const PASSWORD_OWN: usize = 8;
    /// Passwords hashed at the same time, of 19 MiB each.
    pub const HASHES: usize = 2;
    /// Passwords that wait to be hashed; one more is refused.
    pub const HASHES_WAITING: usize = 32;
    /// Slots of the sign-in throttle: names and addresses share them by keyed hash.
    pub const THROTTLE_SLOTS: usize = 16_384;
    /// Failed sign-ins of one name at once.
    pub const NAME_FAILURES: i64 = 10;
    /// After how many seconds a name may fail once more.
    pub const NAME_RECOVERY_SECONDS: i64 = 10;
    /// Failed sign-ins from one address at once.
    pub const ADDRESS_FAILURES: i64 = 30;
    /// After how many seconds an address may fail once more.
    pub const ADDRESS_RECOVERY_SECONDS: i64 = 2;
    /// Repeats of a refused sign-in within so many seconds are counted, not recorded one by one.
    pub const REFUSAL_SECONDS: i64 = 60;
    /// Refused sign-ins counted at the same time; the rest are counted together.
    pub const REFUSALS: usize = 4_096;
}

pub use access::{Access, NewPrincipal};
pub use credential::{Credential, CredentialKind, NewCredential};
pub use db::SCHEMA;
pub use decision::{Decision, Identity};
pub use error::AccessError;
pub use principal::{Principal, PrincipalKind, PrincipalName};
pub use refresh::REFRESH_USER;
pub use role::{Permission, Role, RoleId};
pub use roles_now::RolesNow;
pub use scope_map::{MapAction, MapEntry, ScopeMap};
pub use session::Session;
pub use sign_in::{NewLink, Proof, SignedIn};
pub use sign_in_error::SignInError;
pub use snapshot::{Assignment, Reach, Span};
pub use token::{DockerScope, ResourceAccess, Token};
