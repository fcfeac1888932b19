//! Flags of scope maps and tokens.

use clap::Subcommand;

/// Verbs of `scope-map`.
#[derive(Debug, Subcommand)]
pub(crate) enum ScopeMapVerb {
    /// List scope maps
    List,
    /// Show one
    Show {
        /// Name
        name: String,
    },
    /// Set one, instead of what it says
    #[command(
        after_help = "A line is REPOSITORY=ACTION,… of content/read, content/write, content/delete, metadata/read and metadata/write.
dev is dev alone, dev/* what lies below it, * every repository. Repositories need not exist yet.
Examples:
  seaworthy scope-map set ci 'dev/*=content/read,content/write' base=content/read
  seaworthy scope-map set mirror '*=content/read,metadata/read' --description 'the mirror in Osaka'"
    )]
    Set {
        /// Name
        name: String,
        /// Lines, such as dev/web=content/read,content/write
        #[arg(required = true, value_name = "LINE")]
        lines: Vec<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Delete one that no token has
    #[command(visible_alias = "remove")]
    Delete {
        /// Name
        name: String,
    },
}

/// Verbs of `token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Create a token, a principal that may do what its scope map says; the secret is shown once
    #[command(
        after_help = "It has two secrets, so that one can be rotated: seaworthy principal credential add NAME --days 30
Examples:
  seaworthy token create ci --scope-map ci
  seaworthy token create guest --scope-map _repositories_pull --days 7
  docker login registry.example.com -u guest"
    )]
    Create {
        /// Name
        name: String,
        /// What it may do
        #[arg(long, value_name = "MAP")]
        scope_map: String,
        /// How long the secret lasts [default: until it is removed]
        #[arg(long)]
        days: Option<u32>,
    },
    /// Give a token another scope map; effective at its next request
    Update {
        /// Name
        name: String,
        /// What it may do
        #[arg(long, value_name = "MAP")]
        scope_map: String,
    },
    /// List tokens
    List,
    /// Show one token with its secrets' ids
    Show {
        /// Name or id
        name: String,
    },
    /// Delete one token with its secrets
    #[command(visible_alias = "remove")]
    Delete {
        /// Name or id
        name: String,
    },
}
