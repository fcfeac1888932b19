//! What an agent and the control plane say to each other: numbered batches of observations one
//! way, acknowledgements the other.
//!
//! A batch is JSON. Batches of one spool are numbered from 1 without a gap; the agent sends
//! number n + 1 only after n was acknowledged, and sends n again until it is. The control plane
//! stores what a batch says and its number in one transaction, so a batch counts once however
//! often it arrives. A new spool (the agent's disk was lost) begins at 1 again and with a
//! complete list.
//!
//! Everything that an agent says is a claim about its own host: [`Batch::check`] bounds it, and
//! nothing in it is believed about any other host. Values of environment variables have no place
//! in these types, so they cannot be sent.
#![forbid(unsafe_code)]

mod join;
mod message;
mod usage;

/// Named limits.
pub mod limit;

pub use join::{BadJoinToken, CONTROL_PLANE, Join, JoinToken, Joined, Unread};
pub use message::{
    Ack, Batch, BatchError, Container, ContainerState, EngineImage, Gap, Host, Item, Listed, Removed,
    Runtime, Scanned, VERSION,
};
pub use seaworthy_model::{Mount, Settings};
pub use usage::{Figures, Usage, UsageReport};
