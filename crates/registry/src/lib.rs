//! The registry room: the OCI distribution API, and the data plane of Azure's registry, over `store`.
//!
//! Invariants: a digest that was acknowledged is durable before its row; manifests are served
//! byte for byte as they were pushed; a blob is served only through a manifest of the same
//! repository that the caller may pull, or to the principal that brought it there; every read
//! of content asks the [`PullGate`]. Deliberately absent: verdicts (the gate has them) and any
//! global lock: nothing here waits for anything but its own rows.
#![forbid(unsafe_code)]

mod attributes;
mod blob;
mod cache;
mod catalog;
mod collect;
mod conditional;
mod db;
mod deletion;
mod drain;
mod error;
mod explain;
mod fate;
mod foreign;
mod gate;
mod lock;
mod locking;
mod manifest;
mod names;
mod path;
mod pauses;
mod promotion;
mod pulls;
mod push;
mod quarantine;
mod quota;
mod range;
mod reads;
mod referrers;
mod refusal;
mod registry;
mod remote;
mod replication;
mod respond;
mod restore;
mod retention;
mod routes;
mod rules;
mod running;
mod scrub;
mod tags;
mod upload;
mod upstream;
mod verify;

pub mod limit;
pub mod measuring;

/// What fuzz targets call of what nobody else can.
#[cfg(fuzzing)]
pub mod fuzzing {
    use std::ops::Range;

    use crate::{
        path::{AcrTarget, Target, decode, encode},
        range::{self, Wanted},
    };

    /// The parts that a `Range` header asks for; `None` for everything, and for nothing.
    pub fn ranges(header: &str, size: u64) -> Option<Vec<Range<u64>>> {
        match range::parse(Some(header), size) {
            Wanted::All | Wanted::Unsatisfiable => None,
            Wanted::Part(part) => Some(vec![part]),
            Wanted::Parts(parts) => Some(parts),
        }
    }

    /// Reads the challenge of an upstream, which is hostile.
    pub fn challenge(header: &str) {
        drop(crate::upstream::challenge(header.lines()));
    }

    /// The part that a chunk's `Content-Range` claims.
    pub fn chunk(header: &str) -> Option<Range<u64>> {
        range::parse_chunk(header)
    }

    /// Reads a path below `/v2/`, and one below `/acr/v1/`.
    pub fn path(path: &str) {
        if let Ok(target) = Target::parse(path)
            && let Some(repository) = target.repository()
        {
            assert!(path.contains(repository.as_str()) || path.contains('%'), "{path}");
        }
        drop(AcrTarget::parse(path));
        if let Some(text) = decode(path) {
            assert_eq!(decode(&encode(&text)).as_deref(), Some(text.as_str()));
        }
    }
}

pub use cache::{CacheSettings, CacheShown, Mirror, MirrorShown, NewCache};
pub use catalog::{RepositoryShown, RulesShown, TagShown};
pub use collect::Preview;
pub use db::SCHEMA;
pub use drain::drain;
pub use error::RegistryError;
pub use explain::{Forecast, ForecastPage};
pub use fate::{Collection, Untagged};
pub use foreign::{Foreign, ForeignAccess};
pub use gate::{Door, OpenGate, Passage, PullGate, Refusal};
pub use lock::QuarantineState;
pub use manifest::ImageRow;
pub use names::NameRange;
pub use promotion::{Parts, Promoted, Promotion, Referrers};
pub use quarantine::{Finding, Withheld};
pub use quota::{Change, Quota, Usage};
pub use referrers::{ReferrerShown, ReferrersShown};
pub use registry::{Registry, RegistryConfig, SparseIndexes, UpstreamAccess};
pub use replication::{NewReplication, Outgoing, ReplicationName, ReplicationSettings, ReplicationShown};
pub use respond::{Told, body_of};
pub use restore::{Deleted, Restored};
pub use retention::RetentionRules;
pub use routes::{ConnectionHold, CredentialRejected, SendsFiles, router};
pub use rules::{QuotaChange, RepositoryRules, RulesChange, Said, TagPattern};
pub use seaworthy_model::Prefix;
pub use upstream::{HostName, Origin};
pub use verify::{Depth, Remedy, StoragePage, StorageProblem};

// The tests in this crate share the integration tests' client, which calls it by its name.
#[cfg(test)]
extern crate self as seaworthy_registry;

/// The room's name: its tables, its blobs, its sweeps.
pub(crate) const ROOM: &str = "registry";
