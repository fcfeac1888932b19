//! Logins at servers: `$XDG_CONFIG_HOME/seaworthy/logins.json`, 0600. A secret is never in a URL,
//! an argument, or an answer.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use seaworthy_model::{ErrorCode, Problem, Secret};
use serde_json::{Value, json};

use crate::{
    address::Address,
    flags::LoginFlags,
    text::{Text, language},
};

/// Read of a password or token of another service; what is too long for one is refused by the server.
const PASSWORD_BYTES: u64 = 64 * 1024;
/// Longest client secret, in bytes.
const SECRET_BYTES: u64 = 4 * 1024;

/// What is kept for one server.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) secret: Secret<String>,
    /// Certificates to trust, beside the system's.
    pub(crate) ca: Option<PathBuf>,
}

fn place() -> Result<PathBuf, Problem> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|base| !base.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    base.map(|base| base.join("seaworthy/logins.json"))
        .ok_or_else(|| Problem::new(ErrorCode::Invalid, "neither HOME nor XDG_CONFIG_HOME is set"))
}

fn unable(operation: &str, path: &Path, error: &io::Error) -> Problem {
    Problem::new(ErrorCode::Unavailable, format!("failed to {operation} `{}`: {error}", path.display()))
}

fn read(path: &Path) -> Result<BTreeMap<String, Value>, Problem> {
    let data = match fs::metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(unable("read", path, &error)),
    };
    if data.permissions().mode() & 0o077 != 0 {
        let message = format!("others can read the logins in `{}`", path.display());
        return Err(Problem::new(ErrorCode::Unavailable, message)
            .hint("run `chmod 600` on it, and rotate the secrets in it"));
    }
    let text = fs::read_to_string(path).map_err(|error| unable("read", path, &error))?;
    let damaged =
        || Problem::new(ErrorCode::Unavailable, format!("`{}` is not a JSON object", path.display()));
    let value: Value = serde_json::from_str(&text).map_err(|_| damaged())?;
    let servers = value.get("servers").and_then(Value::as_object).ok_or_else(damaged)?;
    Ok(servers.iter().map(|(url, login)| (url.clone(), login.clone())).collect())
}

/// Whole or not at all, readable by its owner alone.
fn write(path: &Path, servers: &BTreeMap<String, Value>) -> Result<(), Problem> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).map_err(|error| unable("create", folder, &error))?;
    let fresh = folder.join(format!(".logins.json.{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&fresh).map_err(|error| unable("create", &fresh, &error))?;
    let text = serde_json::to_string_pretty(&json!({"version": 1, "servers": servers})).unwrap_or_default();
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| unable("write", &fresh, &error))?;
    fs::rename(&fresh, path).map_err(|error| unable("replace", path, &error))
}

/// The login kept for a server.
pub(crate) fn of(address: &Address) -> Result<Option<Login>, Problem> {
    let servers = read(&place()?)?;
    let Some(login) = servers.get(&address.to_string()) else { return Ok(None) };
    let text = |key: &str| login.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    let (Some(username), Some(secret)) = (text("username"), text("secret")) else { return Ok(None) };
    Ok(Some(Login { username, secret: Secret::new(secret), ca: text("ca").map(PathBuf::from) }))
}

/// Keeps a login; says where.
pub(crate) fn keep(address: &Address, login: &Login) -> Result<PathBuf, Problem> {
    let path = place()?;
    let mut servers = read(&path)?;
    let value = json!({"username": login.username, "secret": login.secret.expose(), "ca": login.ca});
    servers.insert(address.to_string(), value);
    write(&path, &servers)?;
    Ok(path)
}

/// Forgets a login; false when there was none.
pub(crate) fn forget(address: &Address) -> Result<bool, Problem> {
    let path = place()?;
    let mut servers = read(&path)?;
    let was = servers.remove(&address.to_string()).is_some();
    if was {
        write(&path, &servers)?;
    }
    Ok(was)
}

/// A password or token of another service, from stdin.
pub(crate) fn secret_from_stdin() -> Result<Secret<String>, Problem> {
    let failed = |error: io::Error| Problem::new(ErrorCode::Unavailable, format!("stdin: {error}"));
    let mut text = String::new();
    io::stdin().take(PASSWORD_BYTES).read_to_string(&mut text).map_err(failed)?;
    let text = Secret::new(text);
    let text = Secret::new(text.expose().trim_end_matches(['\r', '\n']).to_owned());
    if text.expose().is_empty() {
        return Err(Problem::new(ErrorCode::Invalid, "the password or token on stdin is empty")
            .hint("give it as `--password-stdin < FILE`"));
    }
    Ok(text)
}

/// What the flags, stdin or the person at the terminal say.
pub(crate) fn asked(flags: &LoginFlags) -> Result<Login, Problem> {
    let missing = |what: &str| {
        Problem::new(ErrorCode::Invalid, format!("{what} is missing, and stdin is no terminal"))
            .hint("use `-u NAME --password-stdin`")
    };
    let terminal = io::stdin().is_terminal();
    let failed = |error: io::Error| Problem::new(ErrorCode::Unavailable, format!("stdin: {error}"));
    let term = console::Term::stderr();
    let username = match &flags.username {
        Some(name) => name.clone(),
        None if terminal && !flags.password_stdin => {
            term.write_str(&format!("{} ", Text::Username.say(language()))).map_err(failed)?;
            term.read_line().map_err(failed)?
        }
        None => return Err(missing("`-u NAME`")),
    };
    let secret = if flags.password_stdin {
        let mut text = String::new();
        io::stdin().take(SECRET_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        text
    } else if terminal {
        term.write_str(&format!("{} ", Text::Password.say(language()))).map_err(failed)?;
        term.read_secure_line().map_err(failed)?
    } else {
        return Err(missing("`--password-stdin`"));
    };
    let secret = secret.trim_end_matches(['\r', '\n']).to_owned();
    if secret.is_empty()
        || secret.len() as u64 > SECRET_BYTES
        || username.is_empty()
        || username.contains(':')
    {
        return Err(Problem::new(ErrorCode::Invalid, "the name or the client secret is not one"));
    }
    let ca = flags.ca.as_ref().map(|path| path.canonicalize().map_err(|error| unable("read", path, &error)));
    Ok(Login { username, secret: Secret::new(secret), ca: ca.transpose()? })
}
