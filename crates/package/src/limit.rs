/// Longest package URL that is parsed, in bytes.
pub const PURL_BYTES: usize = 4096;
