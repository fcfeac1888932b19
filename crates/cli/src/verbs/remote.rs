//! What caches and replications say of the registry at their other end.

use seaworthy_model::{ErrorCode, Problem, Secret};
use serde_json::{Value, json};

use crate::{client::Server, flags::RemoteFlags, login};

/// Adds it to the body of a request; the password comes from stdin, if one is wanted.
pub(super) fn add(wanted: &mut Value, flags: &RemoteFlags) -> Result<(), Problem> {
    let password = flags.password_stdin.then(login::secret_from_stdin).transpose()?;
    wanted["realms"] = json!(flags.realm);
    wanted["username"] = json!(flags.username);
    wanted["password"] = json!(password.as_ref().map(Secret::expose));
    wanted["networks"] = json!(flags.allow_network);
    Ok(())
}

/// Refuses with `taken` when `path` finds one, unless it may be replaced: a setting anew is whole, and would take
/// away what is not named, the sealed password included.
pub(super) async fn free(
    server: &Server,
    path: &str,
    flags: &RemoteFlags,
    taken: String,
) -> Result<(), Problem> {
    if flags.replace {
        return Ok(());
    }
    match server.get(path).await {
        Err(problem) if problem.code == ErrorCode::NotFound => Ok(()),
        Err(problem) => Err(problem),
        Ok(_) => Err(Problem::new(ErrorCode::Conflict, taken)
            .hint("`--replace` sets all of it anew: what is not named is gone, its password too")),
    }
}
