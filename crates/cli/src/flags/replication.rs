//! Flags of replications.

use clap::{Args, Subcommand};

use super::RemoteFlags;

/// Verbs of `registry replication`.
#[derive(Debug, Subcommand)]
pub(crate) enum ReplicationVerb {
    /// Copy a prefix to another registry from now on
    #[command(
        after_help = "Tags that are there are copied first, then each when it moves, with what refers to it (signatures, SBOMs). What may not be
pulled here is not sent, and tried again.
Examples:
  seaworthy registry replication create edge prod --to https://edge.example.com --username ci --password-stdin < secret.txt
  seaworthy registry replication create public prod/site --to ghcr.io --remote-prefix acme/site --tag 'v*'
  seaworthy registry replication create lab '*' --to http://10.1.2.3:5000 --allow-network 10.1.2.0/24 --remote-prefix mirror"
    )]
    Create(ReplicationFlags),
    /// List replications, and how far each is behind
    List,
    /// Show one
    Show {
        /// Name of the replication
        name: String,
    },
    /// What it copied, and what is not there yet and why
    #[command(after_help = "Examples:
  seaworthy registry replication status edge
  seaworthy registry replication status edge --waiting -o json")]
    Status {
        /// Name of the replication
        name: String,
        /// Only what is not there as it is here; exits 1 when there is such
        #[arg(long)]
        waiting: bool,
    },
    /// Have everything of it looked at again now
    Run {
        /// Name of the replication
        name: String,
    },
    /// End it; what was copied stays
    #[command(visible_alias = "remove")]
    Delete {
        /// Name of the replication
        name: String,
    },
}

/// What a replication is.
#[derive(Debug, Args)]
pub(crate) struct ReplicationFlags {
    /// What it is called, such as edge
    pub(crate) name: String,
    /// Repositories at and below it, such as prod or team/app; `*` is all
    pub(crate) prefix: String,
    /// Where they are copied to: an https URL without a path, or a known name such as ghcr.io
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// What names begin with there, instead of PREFIX [default: they stay]
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) remote_prefix: String,
    /// Copy tags of this name alone; `*` stands for any characters
    #[arg(long, value_name = "PATTERN")]
    pub(crate) tag: Vec<String>,
    /// Delete tags there that are deleted here
    #[arg(long)]
    pub(crate) deletions: bool,
    /// As whom it is asked.
    #[command(flatten)]
    pub(crate) remote: RemoteFlags,
}
