//! The control plane: builds the rooms, adapts them to each other, and opens the doors.
//!
//! A request passes, in this order and nowhere else: limits → authentication → route →
//! authorisation → room. This crate decides nothing: it composes what rooms say, and renders
//! [`seaworthy_model::Problem`]s per protocol.
#![forbid(unsafe_code)]

mod adapt;
pub mod alerts;
mod api;
mod auth;
mod config;
mod connections;
mod console;
mod cookie;
mod error;
mod group;
/// Problems in the reader's language.
pub mod japanese;
mod japanese_registry;
mod japanese_texts;
mod japanese_transfer;
mod live;
mod local_ca;
pub mod mail;
mod offline;
mod plain_door;
mod rate;
mod refusal;
mod remedies;
mod route;
mod speak;
mod start;
mod tasks;
mod tls;
mod token;
/// Whom TLS connections believe.
pub mod trusted;
pub mod webhook;

/// Named limits of this crate.
pub mod limit {
    /// Largest request body of the API, in bytes: an inventory that the command line sends.
    pub const BODY_BYTES: usize = 32 * 1024 * 1024;
    /// Longest form at the token service, in bytes: a token that is exchanged has a few thousand.
    pub const FORM_BYTES: usize = 64 * 1024;
    /// How long a shutdown waits for requests and workers, in seconds.
    pub const SHUTDOWN_SECONDS: u64 = 20;
    /// How long it then waits for the database to close, in seconds.
    pub const CLOSE_SECONDS: u64 = 5;
    /// How long a `check` may wait for a pending answer, in seconds.
    pub const WAIT_SECONDS: u64 = 600;
    /// How long `/readyz` waits for the database, in seconds: probes wait as long.
    pub const READY_SECONDS: u64 = 2;
    /// Items of one API page.
    pub const PAGE: u32 = 1_000;
    /// Findings on the page of a container.
    pub const WORST: usize = 5;
    /// Entries of its history on the page of a container.
    pub const HAPPENINGS: usize = 20;
    /// Longest plain-text refusal of the router that is repeated in a problem, in bytes.
    pub const REJECTION_BYTES: usize = 4 * 1024;
    /// Language ranges of one `Accept-Language` that are looked at.
    pub const LANGUAGES: usize = 20;
    /// Longest problem that is said in another language, in bytes.
    pub const TRANSLATED_BYTES: usize = 4 * 1024;
    /// Causes of one problem that are said in another language.
    pub const CAUSES: usize = 6;
    /// Longest `/etc/passwd` or `/etc/group` that is read, in bytes.
    pub const ACCOUNTS_BYTES: u64 = 16 * 1024 * 1024;
    /// Images that one answer looks at: a policy preview, an overview, a list by verdict.
    pub const PREVIEWED: u32 = 1_000;
    /// Listeners of the live stream.
    pub const LISTENERS: usize = 256;
    /// Listeners of one principal.
    pub const LISTENERS_EACH: usize = 16;
    /// How long one live stream lasts, in seconds (15 minutes); then the browser asks again.
    pub const LIVE_SECONDS: u64 = 900;
    /// How often the live stream shows that it lives, in seconds.
    pub const BEAT_SECONDS: u64 = 5;
    /// Longest sign-in, in bytes.
    pub const SESSION_BYTES: usize = 8 * 1024;
    /// Longest address of a webhook, in bytes.
    pub const URL_BYTES: usize = 2_048;
    /// How long one attempt to send a webhook may take, in seconds.
    pub const WEBHOOK_SECONDS: u64 = 20;
    /// How long connecting to one address of its may take, in seconds.
    pub const CONNECT_SECONDS: u64 = 5;
    /// Addresses of one name that are tried.
    pub const ADDRESSES: usize = 8;
    /// Longest head of a receiver's answer, in bytes; its body is not read.
    pub const ANSWER_HEAD_BYTES: usize = 16 * 1024;
    /// Messages that are sent to one target at once: a slow one holds up itself alone.
    pub const PER_TARGET: usize = 2;
    /// How often messages are looked for that are due, in milliseconds.
    pub const POST_POLL_MS: u64 = 500;
    /// How long handing in one mail may take, in seconds.
    pub const MAIL_SECONDS: u64 = 20;
    /// Longest foreign text in a mail, in characters.
    pub const SHOWN_CHARS: usize = 100;
    /// Longest file with a password, in bytes.
    pub const PASSWORD_BYTES: u64 = 4 * 1024;
    /// Longest `Accept-Encoding` that is looked at, in bytes.
    pub const ENCODINGS_BYTES: usize = 1_024;
    /// Files that this process may open, if the system lets it.
    pub const FILES: u64 = 65_536;
    /// Of them, those that are not for connections: the database, the ledger, uploads between requests.
    pub const FILES_KEPT: u64 = 256;
    /// Files that a connection may have open: its socket, a blob, an upload.
    pub const FILES_PER_CONNECTION: u64 = 3;
    /// Connections at the network doors, all together; more wait to be accepted.
    pub const CONNECTIONS: usize = 8_192;
    /// Connections there are place for at the least, however few files may be opened.
    pub const CONNECTIONS_LEAST: usize = 16;
    /// One network address gets this part of them; beyond it connections are closed.
    pub const CONNECTION_SHARES: usize = 4;

    /// Connections that a process has place for that may open `files` files.
    pub fn connections(files: u64) -> usize {
        let room = files.saturating_sub(FILES_KEPT) / FILES_PER_CONNECTION;
        usize::try_from(room).unwrap_or(CONNECTIONS).clamp(CONNECTIONS_LEAST, CONNECTIONS)
    }

    /// How long a TLS handshake may take, in seconds.
    pub const HANDSHAKE_SECONDS: u64 = 10;
    /// How long a connection may take for the head of its first request, in seconds.
    pub const HEAD_SECONDS: u64 = 20;
    /// How long one may be without a request later, in seconds: longer than clients keep connections
    /// that they do not use (Go: 90 s), so that it is they who close them.
    pub const IDLE_SECONDS: u64 = 120;
    /// How long the body of a request may stand still while it is read, in seconds.
    pub const READ_STALL_SECONDS: u64 = 120;
    /// How long an answer may stand still, in seconds: its reader may write to a slow disk.
    pub const WRITE_STALL_SECONDS: u64 = 300;
    /// How long a connection that ends may take to say so, in seconds.
    pub const PARTING_SECONDS: u64 = 1;
    /// How long what a client still sends is read after it was refused, in seconds: an answer is lost to who is cut off
    /// before reading it.
    pub const PARTING_READ_SECONDS: u64 = 30;
    /// How long it may send nothing meanwhile, in seconds.
    pub const PARTING_SILENCE_SECONDS: u64 = 5;
    /// A rate of requests may be used up for so many seconds at once.
    pub const BURST_SECONDS: u64 = 10;
    /// Askers whose requests are counted; who asked long ago is forgotten first.
    pub const ASKERS: usize = 16_384;
    /// After how many seconds the certificate of the HTTPS door is made anew: 30 days.
    pub const CERTIFICATE_SECONDS: u64 = 30 * 24 * 3_600;
    /// How long a host may be invited for, in seconds, when nothing is said: one hour.
    pub const INVITED_SECONDS: i64 = 3_600;
    /// Longest `Authorization` header that is looked at, in bytes.
    pub const AUTHORIZATION_BYTES: usize = 16 * 1024;
}
/// Shapes that scripts rely on, composed of what rooms say.
pub mod report;

pub use config::{Config, ConfigError, MailConfig, Overrides};
pub use error::StartError;
pub use local_ca::CaError;
pub use offline::verify_ledger;
pub use start::{DEFAULT_POLICIES, Running, readers, start};
