//! What caches and replications say of the registry at their other end.

use seaworthy_model::{Problem, Secret};
use serde_json::{Value, json};

use crate::{flags::RemoteFlags, login};

/// Adds it to the body of a request; the password comes from stdin, if one is wanted.
pub(super) fn add(wanted: &mut Value, flags: &RemoteFlags) -> Result<(), Problem> {
    let password = flags.password_stdin.then(login::secret_from_stdin).transpose()?;
    wanted["realms"] = json!(flags.realm);
    wanted["username"] = json!(flags.username);
    wanted["password"] = json!(password.as_ref().map(Secret::expose));
    wanted["networks"] = json!(flags.allow_network);
    Ok(())
}
