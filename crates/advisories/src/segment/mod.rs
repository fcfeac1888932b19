//! A compiled feed: one immutable run of bytes that is mapped and read in place.
//!
//! ```text
//! magic "SWADVSEG" · u32 version · sha256 of all that follows
//! section table: (u32 offset, u32 length) each          all integers little endian
//!   meta        JSON: feed, newest, records, covers
//!   text ends   u32 each          texts   UTF-8, distinct, in lexical order: numbers order like texts
//!   key ends    u32 each          keys    order-preserving bytes of versions
//!   packages    release, source, first row, rows         sorted: found by binary search
//!   rows        id, record, rated by, summary, severity|state, first alias, aliases, first span, spans
//!   aliases     text
//!   spans       from text, from key, to text, to key, kind
//!   scores      CVE, bits of an f32                      sorted
//!   ids         id or alias, package                     sorted
//!   spoken      id                                       sorted
//! ```
//!
//! Every offset and number is checked once, in [`Segment::open`]; readers never index blindly.

mod check;
mod read;
mod write;

pub(crate) use read::{Hit, RowView, View};
pub use read::{Segment, SegmentError};
pub(crate) use write::compile;

use serde::{Deserialize, Serialize};

pub(crate) const MAGIC: &[u8; 8] = b"SWADVSEG";
/// Version of the format; readers refuse any other.
pub(crate) const VERSION: u32 = 1;
pub(crate) const HASH_START: usize = 12;
pub(crate) const BODY_START: usize = HASH_START + 32;
pub(crate) const SECTIONS: usize = 12;
/// Number that stands for "no text" and "no key".
pub(crate) const NONE: u32 = u32::MAX;

pub(crate) const KIND_OPEN: u32 = 0;
pub(crate) const KIND_BEFORE: u32 = 1;
pub(crate) const KIND_THROUGH: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) feed: String,
    pub(crate) newest: Option<String>,
    pub(crate) records: u64,
    pub(crate) covers: Vec<String>,
}
