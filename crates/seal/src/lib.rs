//! The root key and envelopes: what must not be readable from a stolen database or backup.
//!
//! The key-file provider keeps a 32-byte key in `DATA/keys/seal.key` (0600, refused when
//! others can read it). An envelope is a fresh data key wrapped by the root key, and the
//! payload under the data key, both AES-256-GCM (NIST SP 800-38D); the associated data binds
//! an envelope to what it is for, so it cannot be moved to another row.
#![forbid(unsafe_code)]

mod envelope;
mod error;
mod item;
mod keyfile;

/// Named limits of this crate.
pub mod limit {
    /// Largest sealed payload, in bytes.
    pub const PAYLOAD_BYTES: usize = 64 * 1024;
}

pub use envelope::Seal;
pub use error::SealError;
pub use item::{SCHEMA, existing_item, sealed_item};

/// `N` bytes from the system's random source.
pub fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SealError::Random)?;
    Ok(bytes)
}
