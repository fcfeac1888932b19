use std::time::Duration;

/// Longest request, in bytes: it travels base64-encoded in one environment variable, which
/// Linux bounds to 128 KiB. A longer one is an error and starts no child.
pub const REQUEST_BYTES: usize = 64 * 1024;
/// Bytes of the child's standard error that are kept for a message: the last.
pub const STDERR_BYTES: usize = 4 * 1024;
/// Bytes that may precede the frame: what the test harness prints before a test begins. After more
/// the answer counts as incomplete.
pub const PREAMBLE_BYTES: usize = 1024;
/// Longest message of a failed reader, in bytes; the rest is cut.
pub const MESSAGE_BYTES: usize = 1024;
/// Open descriptors of a child. It may not ask for one in any case: this holds beneath the filter of
/// system calls.
pub const OPEN_FILES: u64 = 16;

/// What one child may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time from start to result.
    pub wall: Duration,
    /// Processor time, in seconds.
    pub cpu_seconds: u64,
    /// Address space, in bytes.
    pub memory_bytes: u64,
    /// Output, in bytes.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_mins(5),
            cpu_seconds: 120,
            memory_bytes: 1024 * 1024 * 1024,
            output_bytes: 512 * 1024 * 1024,
        }
    }
}
