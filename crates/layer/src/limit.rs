/// Longest path of an entry, in bytes (Linux `PATH_MAX`). As for all that follow unless they say
/// otherwise, a layer beyond it is refused whole as too large.
pub const PATH_BYTES: usize = 4096;
/// Most parts of an entry's path.
pub const PATH_DEPTH: usize = 256;
/// Longest link target, in bytes.
pub const LINK_BYTES: usize = 4096;
/// Largest pax header, GNU long name or sparse map, in bytes (as Go's `archive/tar`).
pub const SPECIAL_BYTES: u64 = 1024 * 1024;
/// Most symbolic links followed while resolving one path (Linux `MAXSYMLINKS`). A path beyond it leads
/// nowhere, as for a process.
pub const SYMLINK_HOPS: u32 = 40;
/// log2 of the largest zstd window: 128 MiB. A layer that asks for more is unreadable.
pub const ZSTD_WINDOW_LOG: u32 = 27;
/// Bytes that are decoded at a time.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that a layer may expand to whatever its ratio. Zeros are honest at this size: an emptied
/// log, a preallocated file, a sparse one that a builder wrote out. They cost about a second to read.
pub const RATIO_FREE_BYTES: u64 = 256 * 1024 * 1024;
/// Uncompressed bytes for each compressed byte, beyond [`RATIO_FREE_BYTES`].
///
/// Measured: systems 3, logs 12, one line of a log for ever 344; nothing but zeros 229 to 1,029 by gzip
/// (deflate cannot pass 1,032) and 32,000 by zstd. So a bound above 1,032 would let every gzip bomb pass
/// as far as the limit of bytes. What is past 200 over hundreds of MiB is filling, not software.
pub const RATIO: u64 = 200;

/// What a layer may cost. Time is bounded by whoever runs the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes of one layer.
    pub uncompressed_bytes: u64,
    /// Uncompressed bytes that are not yet held against the ratio.
    pub ratio_free_bytes: u64,
    /// Uncompressed bytes per compressed byte that was read so far, beyond `ratio_free_bytes`:
    /// see [`RATIO`].
    pub ratio: u64,
    /// Entries of one layer.
    pub entries: u32,
    /// Bytes of one entry's path, as it is written and as symbolic links lead it.
    pub path_bytes: usize,
    /// Parts of one entry's path.
    pub path_depth: usize,
    /// Bytes of one link target.
    pub link_bytes: usize,
    /// Bytes of one pax header, GNU long name or sparse map.
    pub special_bytes: u64,
    /// Path and link bytes of all entries of one layer together.
    pub table_bytes: usize,
    /// Names made while one image is folded: entries, the directories that only their paths imply, and what
    /// later layers replace. Each takes up to 64 bytes for itself, 76 to be found and 20 once it is removed, and
    /// as much again for a moment while the tables grow: 0.5 GiB at the limit.
    pub fold_names: u32,
    /// Path components looked up while one image is folded and asked.
    pub fold_steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uncompressed_bytes: 64 * 1024 * 1024 * 1024,
            ratio_free_bytes: RATIO_FREE_BYTES,
            ratio: RATIO,
            entries: 1_000_000,
            path_bytes: PATH_BYTES,
            path_depth: PATH_DEPTH,
            link_bytes: LINK_BYTES,
            special_bytes: SPECIAL_BYTES,
            table_bytes: 256 * 1024 * 1024,
            fold_names: 2_000_000,
            fold_steps: 200_000_000,
        }
    }
}
