//! The words that rooms share: typed ids, time, severity, scopes, actors, [`Problem`],
//! [`Secret`], addresses that may be connected to, events, and the inventory and finding rows that events carry.
//!
//! Invariants: no I/O and no clock of its own ([`Clock`] is injected); rows are plain data
//! with public fields; whatever crosses from room to room, or from the sandboxed child to
//! its parent, is defined here and serialises the same way everywhere.
#![forbid(unsafe_code)]

mod actor;
mod event;
mod finding;
mod id;
mod inventory;
mod network;
mod prefix;
mod problem;
mod scope;
mod secret;
mod severity;
mod time;
mod workload;

pub use actor::{Actor, ActorKind, AuthMethod};
pub use event::{
    BlobStored, ChangeReason, ChildManifest, ClearanceChange, ClearanceChanged, Event, FeedState,
    FeedsChanged, FindingsChanged, InventoryReady, LayerRef, ManifestPushed, consumer,
};
pub use finding::{FeedCoverage, Finding, FindingSet, FixState, Remedy};
pub use id::{
    AlertId, AlertMessageId, AlertTargetId, CredentialId, DeliveryId, ExceptionId, HostId, LeafId, PolicyId,
    PrincipalId, RoleAssignmentId, SpoolId, UploadId,
};
pub use id::{ContentId, ContentIdError, IdError};
pub use inventory::{
    Coverage, ImageFacts, Inventory, InventoryProblem, LayerRow, OsRelease, OsSupport, PackageRow,
    ProblemCode, SecretRow,
};
pub use network::{Network, NetworkError, is_permitted, meant};
pub use prefix::Prefix;
pub use problem::{ErrorCode, Problem};
pub use scope::{Scope, ScopeError};
pub use secret::Secret;
pub use severity::{Severity, UnknownSeverity};
pub use time::{Clock, FixedClock, SystemClock, Timestamp, TimestampError};
pub use workload::{ContainerKey, ContainerSeen, Mount, Presence, Settings};
