//! Substance: the metadata database ([`Db`]), the bytes ([`Blobs`]), deliveries and leases,
//! and the data directory ([`DataDir`]).
//!
//! Invariants: a blob is durable before the row that names it commits; a transaction's caller
//! hears of success only after its commit is on disk; SQL is one text for both engines; a
//! handler's effect and the end of its delivery commit together. Deliberately absent: any
//! room's tables, any knowledge of images, any trait over databases.

#![deny(unsafe_code)]

mod blobs;
mod datadir;
mod db;
mod delivery;
mod error;
mod files;
mod intake;
mod lease;
mod mark;
mod sql;
mod sqlite;
mod upload;
mod watch;
mod writer;

pub mod limit;
/// Read-only file maps: with `agent::kernel` the only place that may say `unsafe`.
pub mod map;
pub mod schema;

pub use blobs::{BlobBody, BlobCopy, BlobReader, BlobSource, Blobs, Piece, SmallBlob};
pub use datadir::{DataDir, DataDirError};
pub use db::{Db, TxFuture};
pub use delivery::{Delivery, FailedDelivery, WorkerConfig, work};
pub use error::{BlobError, DbError, DriverError, chain};
pub use files::{Found, StoredFile};
pub use lease::Lease;
pub use mark::ClaimError;
pub use sql::{Arg, Row, Tx};
pub use upload::{Growing, Hold, Stored, Upload, UploadLock, UploadState};
pub use watch::Watch;
