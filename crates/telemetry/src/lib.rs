//! The telemetry room, begun with alerts: what people are told, where to, and whether it arrived.
//!
//! A room that sees something worth telling delivers it here in the transaction of the change
//! ([`Telemetry::run`] takes it); an alert is stored under the id of that delivery, so it is there
//! once. With it one message is stored for each target that wants it. Whoever sends (the server)
//! claims messages target by target ([`Telemetry::claim`]) and says how it went.
//!
//! Targets that ask for it are told of what happens in the registry, too: that is read from the ledger
//! (`follow.rs`), where every act is, in order, and once.
//!
//! Invariants:
//! - an alert and its messages commit together, with the end of the delivery that brought it; messages about
//!   the registry with how far the ledger was read;
//! - a message keeps its id through every attempt, so a receiver can tell a repetition;
//! - a message leaves the table when its target took it, or when its target is deleted. What cannot be
//!   delivered within [`limit::RETRY_SECONDS`] is kept apart, visible, and can be sent again;
//! - of many mails within [`limit::SUMMARY_SECONDS`] one summary is made.
//!
//! Absent on purpose: sockets, HTTP, mail and keys. What a target keeps secret is sealed by the
//! caller and opaque here.
#![forbid(unsafe_code)]

mod alert;
mod db;
mod error;
mod follow;
mod outbox;
mod retry;
mod target;
mod telemetry;
mod wanted;

/// Named limits of this room.
pub mod limit;

pub use alert::{Alert, AlertKind, Summary, UnknownAlertKind};
pub use db::SCHEMA;
pub use error::TelemetryError;
pub use outbox::{Body, Counts, DeadMessage, Message};
pub use retry::{Failure, Retry, delay_seconds};
pub use target::{NewTarget, Target, TargetHealth, TargetKind};
pub use telemetry::{BELL, Telemetry};
pub use wanted::{ACTS, Format, Subject, Told, UnknownEvent, Wanted, acr_action};
