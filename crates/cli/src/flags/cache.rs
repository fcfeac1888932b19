//! Flags of caches.

use clap::{Args, Subcommand};

use super::RemoteFlags;

/// Verbs of `registry cache`.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheVerb {
    /// Make a prefix a cache of another registry
    #[command(
        after_help = "What is asked for below PREFIX comes from the upstream, is kept, and judged like what is pushed. Known by name:
docker.io, ghcr.io, quay.io, mcr.microsoft.com, registry.k8s.io, public.ecr.aws.
Examples:
  seaworthy registry cache create hub --upstream docker.io
  seaworthy registry cache create hub --upstream docker.io --username me --password-stdin < token.txt
  seaworthy registry cache create hub --upstream docker.io --mirror 'library/alpine:3.*' --mirror library/busybox
  seaworthy registry cache create hub --upstream docker.io --check-seconds 300 --replace
  seaworthy registry cache create team --upstream https://registry.example.com --remote-prefix team
  docker pull localhost:5000/hub/library/alpine:3.20"
    )]
    Create(CacheFlags),
    /// List caches
    List,
    /// Show one, with what it mirrors
    Show {
        /// Its prefix
        prefix: String,
    },
    /// Make a cache a prefix like others; what is in it stays
    #[command(visible_alias = "remove")]
    Delete {
        /// Its prefix
        prefix: String,
    },
}

/// What a cache is.
#[derive(Debug, Args)]
pub(crate) struct CacheFlags {
    /// Repository, with all below it; nobody pushes there
    pub(crate) prefix: String,
    /// Where images come from: an https URL without a path, or a known name such as docker.io
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: String,
    /// What names begin with there, such as library
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub(crate) remote_prefix: String,
    /// Host that containerd names with `ns=` for it
    #[arg(long, value_name = "HOST")]
    pub(crate) ns: Vec<String>,
    /// As whom it is asked.
    #[command(flatten)]
    pub(crate) remote: RemoteFlags,
    /// How long its answer about a tag holds, in seconds [default: 60]
    #[arg(long, value_name = "N")]
    pub(crate) check_seconds: Option<u32>,
    /// Fetch these before anybody asks: a repository as the upstream calls it, with a pattern of tags or all
    #[arg(long, value_name = "REPOSITORY[:PATTERN]")]
    pub(crate) mirror: Vec<String>,
    /// How often they are looked at, in seconds [default: 3600]
    #[arg(long, value_name = "N")]
    pub(crate) mirror_seconds: Option<u32>,
}
