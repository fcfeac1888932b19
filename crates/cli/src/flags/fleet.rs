//! Flags of what runs: containers and hosts.

use clap::{Args, Subcommand};

/// Flags of `container list`.
#[derive(Debug, Args)]
pub(crate) struct ContainerList {
    /// Only on this host
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only those whose image has a known vulnerability
    #[arg(long)]
    pub(crate) vulnerable: bool,
}

/// Verbs of `container`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerVerb {
    /// List containers with the verdict and the findings of their images
    #[command(after_help = "Example: seaworthy container list --vulnerable -o json")]
    List(ContainerList),
    /// May this container run here, and how do we know?
    #[command(after_help = "NAME is a container's name, the beginning of its id, or HOST/NAME.
Examples:
  seaworthy container explain web
  seaworthy container explain h1/web -o json")]
    Explain {
        /// Name, beginning of the id, or HOST/NAME
        name: String,
    },
}

/// Verbs of `host`.
#[derive(Debug, Subcommand)]
pub(crate) enum HostVerb {
    /// List hosts
    #[command(after_help = "Example: seaworthy host list")]
    List,
}
