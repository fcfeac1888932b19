use std::io;

/// Which clock ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    /// [`crate::Limits::wall`].
    Wall,
    /// [`crate::Limits::cpu_seconds`].
    Cpu,
}

/// Why there is no result. None of these says that the input is harmless.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The child could not be started or watched.
    #[error("failed to run reader `{reader}` in a child process")]
    Spawn {
        /// The reader.
        reader: String,
        /// What the system said.
        source: io::Error,
    },
    /// The request is longer than [`crate::limit::REQUEST_BYTES`].
    #[error("request of {bytes} bytes to reader `{reader}` is longer than {}", crate::limit::REQUEST_BYTES)]
    RequestTooLarge {
        /// The reader.
        reader: String,
        /// Length of the request.
        bytes: usize,
    },
    /// Out of time.
    #[error("reader `{reader}` ran out of {} time", match limit { TimeLimit::Wall => "wall-clock", TimeLimit::Cpu => "processor" })]
    Timeout {
        /// The reader.
        reader: String,
        /// Which clock.
        limit: TimeLimit,
    },
    /// Out of memory.
    #[error("reader `{reader}` ran out of memory")]
    Memory {
        /// The reader.
        reader: String,
    },
    /// Ended by a signal; SIGSYS (31) is a forbidden system call.
    #[error("reader `{reader}` was killed by signal {signal}")]
    Killed {
        /// The reader.
        reader: String,
        /// The signal's number.
        signal: i32,
        /// What it last wrote to standard error, shortened.
        stderr: String,
    },
    /// More output than [`crate::Limits::output_bytes`].
    #[error("reader `{reader}` gave more than {at_most} bytes")]
    OutputTooLarge {
        /// The reader.
        reader: String,
        /// The limit.
        at_most: usize,
    },
    /// The reader said no, or panicked.
    #[error("reader `{reader}` failed: {message}")]
    Reader {
        /// The reader.
        reader: String,
        /// Its own words.
        message: String,
    },
    /// The kernel has no Landlock, or it is switched off.
    #[error("this kernel does not enforce Landlock, so hostile bytes are not read")]
    NoLandlock,
    /// The child ended without a complete frame.
    #[error("reader `{reader}` gave no complete result")]
    Protocol {
        /// The reader.
        reader: String,
        /// What it last wrote to standard error, shortened.
        stderr: String,
    },
}
