//! Flags of the registry's own settings.

use clap::Subcommand;

/// Verbs of `registry rules`.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesVerb {
    /// List rules
    List,
    /// Set the rules of a prefix, instead of those that it has
    #[command(
        after_help = "PREFIX is a repository with all that lies below it; `*` is all of them. All rules that cover a
repository hold. In a pattern `*` stands for any letters.
Examples:
  seaworthy registry rules set prod --promotion-only --immutable 'v*'
  seaworthy registry rules set '*' --immutable '*-release'"
    )]
    Set {
        /// Repository, with all below it; `*` is all of them
        prefix: String,
        /// Nobody pushes there: images come by `image promote`
        #[arg(long)]
        promotion_only: bool,
        /// Tags that are set once, and neither moved nor deleted
        #[arg(long, value_name = "PATTERN")]
        immutable: Vec<String>,
    },
    /// Remove the rules of a prefix
    Remove {
        /// Repository, with all below it; `*` is all of them
        prefix: String,
    },
}
