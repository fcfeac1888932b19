//! Db, deliveries, leases and blobs on both engines.

mod blobs;
mod database;
mod deliveries;
