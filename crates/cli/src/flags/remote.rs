//! Flags of everything that talks to another registry.

use clap::Args;

/// How another registry is reached, and as whom.
#[derive(Debug, Args)]
pub(crate) struct RemoteFlags {
    /// Host of its token service, if that is another
    #[arg(long, value_name = "HOST")]
    pub(crate) realm: Vec<String>,
    /// User name there
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    pub(crate) username: Option<String>,
    /// Read the password or token from stdin
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
    /// Network that it may be in, if that is a private one
    #[arg(long, value_name = "NET")]
    pub(crate) allow_network: Vec<String>,
    /// Set all of one that is there anew; what is not named is gone, its password too
    #[arg(long)]
    pub(crate) replace: bool,
}
