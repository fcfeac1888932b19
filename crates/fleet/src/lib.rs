//! The fleet room: hosts, their containers, and the image that each container runs.
//!
//! Agents tell what their hosts run ([`Fleet::receive`]); registry and inspection tell what was
//! pushed and what it is ([`Fleet::run`]). Together they answer which content id a container runs,
//! whichever digest its engine reports.
//!
//! Invariants:
//! - one transaction stores all of a batch and its number: a batch counts once, or not at all;
//! - a host's word counts for that host. Names that lead to a content id come from the registry's
//!   manifests and the inspection's measurements alone; what an engine claims never becomes one;
//! - a container's mapping is what its names and the known facts give, in whatever order they came:
//!   the event that brings a missing link resolves the containers that wait for it;
//! - whatever is not sure is `unmapped`, with its reason;
//! - times of an agent are compared with times of the same agent only, never with our clock.
//!
//! Absent on purpose: verdicts and findings (asked by content id), what a host is sent, and who may
//! see a container.
#![forbid(unsafe_code)]

mod alias;
mod db;
mod error;
mod fleet;
mod history;
mod join;
mod query;
mod receive;
mod tell;
mod usage;
mod view;
mod work;

/// Named limits of this room.
pub mod limit;

pub use alias::repository_of;
pub use db::SCHEMA;
pub use error::FleetError;
pub use fleet::{Fleet, FleetConfig};
pub use history::{Happening, HistoryRow};
pub use join::{Hash, Invitation, Newcomer};
pub use query::{ContainerPage, Cursor, Filter, Stats};
pub use seaworthy_model::Presence;
pub use usage::{UsageSeries, UsageView};
pub use view::{ContainerView, HostView, ImageView, Mapping, Unmapped};
