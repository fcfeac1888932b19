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
    /// Print a token that lets one host join, once
    #[command(after_help = "Examples:
  seaworthy host invite
  seaworthy host invite --name web-1 --expires 10m -o json")]
    Invite {
        /// Name that the host gets [default: its host name]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// For how long, such as 30m or 2h
        #[arg(long, value_name = "DURATION", default_value = "1h")]
        expires: String,
    },
    /// Join this machine to the fleet of a server; reads the token from stdin
    #[command(after_help = "Examples:
  seaworthy host join https://registry.example.com:8443 < token
  seaworthy host join https://10.0.0.5:8443 --token-file token && seaworthy agent")]
    Join {
        /// The HTTPS door of the server
        #[arg(value_name = "URL")]
        url: String,
        /// Read the token from this file
        #[arg(long, value_name = "FILE")]
        token_file: Option<std::path::PathBuf>,
        /// What this host calls itself [default: its host name]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Take a host out of the fleet, with its containers; its certificate ends at once
    #[command(after_help = "Example: seaworthy host remove web-1")]
    #[command(visible_alias = "delete")]
    Remove {
        /// Name
        name: String,
    },
}
