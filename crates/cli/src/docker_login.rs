//! docker's and podman's credentials: `DOCKER_CONFIG`, else `~/.docker/config.json`.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_model::{ErrorCode, Problem, Secret};
use serde_json::{Map, Value, json};

/// The file, and the user it belongs to: under sudo the one who called it.
fn place() -> Result<(PathBuf, Option<(u32, u32)>), Problem> {
    if let Some(directory) = std::env::var_os("DOCKER_CONFIG") {
        return Ok((PathBuf::from(directory).join("config.json"), None));
    }
    if crate::client::is_root()
        && let (Ok(user), Ok(uid), Ok(gid)) =
            (std::env::var("SUDO_USER"), number("SUDO_UID"), number("SUDO_GID"))
        && let Some(home) = home_of(&user)
    {
        return Ok((home.join(".docker/config.json"), Some((uid, gid))));
    }
    let home = std::env::var_os("HOME").ok_or_else(|| {
        Problem::new(ErrorCode::Invalid, "HOME is not set")
            .hint("set DOCKER_CONFIG to docker's configuration folder")
    })?;
    Ok((PathBuf::from(home).join(".docker/config.json"), None))
}

fn number(name: &str) -> Result<u32, Problem> {
    let value = std::env::var(name).ok().and_then(|value| value.parse().ok());
    value.ok_or_else(|| Problem::new(ErrorCode::Invalid, format!("{name} is not a number")))
}

fn home_of(user: &str) -> Option<PathBuf> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user))?;
    line.split(':').nth(5).map(PathBuf::from)
}

fn read(path: &Path) -> Result<Map<String, Value>, Problem> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(unable("read", path, &error)),
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(Problem::new(ErrorCode::Unavailable, format!("`{}` is not a JSON object", path.display()))),
    }
}

fn unable(operation: &str, path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(ErrorCode::Unavailable, format!("failed to {operation} `{}`: {error}", path.display()))
}

/// Whom Azure's registry takes a token from.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// Who we are at the registry `host`, as docker would be: its file, else the helper that this names for it.
pub(crate) fn of(host: &str) -> Result<Option<(String, Secret<String>)>, Problem> {
    let (path, owner) = place()?;
    let config = read(&path)?;
    // docker's first registry is called so since before there were others.
    let hub = ["https://index.docker.io/v1/", "index.docker.io", "docker.io"];
    let names = if hub.contains(&host) { hub.to_vec() } else { vec![host] };
    let text =
        |value: Option<&Value>| value.and_then(Value::as_str).filter(|it| !it.is_empty()).map(str::to_owned);
    let under = |key: &str, name: &str| config.get(key).and_then(|it| it.get(name)).cloned();
    for name in names {
        let helper = match under("credHelpers", name) {
            Some(helper) => text(Some(&helper)),
            None => text(config.get("credsStore")),
        };
        // Under sudo the file is somebody else's: root runs no program that it names.
        if let Some(helper) = helper.filter(|_| owner.is_none()) {
            match helped(&helper, name) {
                Ok(Some(login)) => return Ok(Some(login)),
                Ok(None) => {}
                // As docker does: what is public needs nobody.
                Err(problem) => crate::render::note(&problem.message),
            }
        }
        let urls = [name.to_owned(), format!("https://{name}"), format!("https://{name}/v1/")];
        let Some(kept) = urls.iter().find_map(|url| under("auths", url)) else { continue };
        let pair = text(kept.get("auth")).and_then(|it| String::from_utf8(STANDARD.decode(it).ok()?).ok());
        let pair =
            pair.and_then(|it| it.split_once(':').map(|(user, secret)| (user.to_owned(), secret.to_owned())));
        // Of a login by a token there is a user name alone, and the token, which Azure's registry takes as its secret.
        let secret =
            text(kept.get("identitytoken")).or_else(|| pair.as_ref().map(|(_, secret)| secret.clone()));
        if let (Some((user, _)), Some(secret)) = (pair, secret.filter(|it| !it.is_empty())) {
            return Ok(Some((user, Secret::new(secret))));
        }
    }
    Ok(None)
}

/// What a credential helper of docker knows (`docker-credential-NAME get`).
fn helped(helper: &str, host: &str) -> Result<Option<(String, Secret<String>)>, Problem> {
    let program = format!("docker-credential-{helper}");
    if helper.contains(['/', '\\']) {
        return Err(Problem::new(ErrorCode::Invalid, format!("`{program}` is no name of a program")));
    }
    let failed = |why: &dyn std::fmt::Display| {
        Problem::new(ErrorCode::Unavailable, format!("`{program}` was not asked for `{host}`: {why}"))
    };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(host.as_bytes()).map_err(|error| failed(&error))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    // It knows nothing of it: so it is asked as nobody, as docker does.
    if !output.status.success() {
        return Ok(None);
    }
    let said: Value = serde_json::from_slice(&output.stdout).map_err(|_| failed(&"its answer is no JSON"))?;
    let text =
        |key: &str| said.get(key).and_then(Value::as_str).filter(|it| !it.is_empty()).map(str::to_owned);
    // A token instead of a password: who has one is nobody by name at Azure's registry.
    let user = text("Username").map(|user| if user == "<token>" { NOBODY.to_owned() } else { user });
    Ok(user.zip(text("Secret").map(Secret::new)))
}

/// Stores (or with `None` removes) the credential of `hosts`.
pub(crate) fn store(hosts: &[String], credential: Option<(&str, &str)>) -> Result<PathBuf, Problem> {
    let (path, owner) = place()?;
    let mut config = read(&path)?;
    let auths = config.entry("auths").or_insert_with(|| json!({}));
    let Value::Object(auths) = auths else {
        return Err(Problem::new(
            ErrorCode::Unavailable,
            format!("`auths` in `{}` is not an object", path.display()),
        ));
    };
    for host in hosts {
        match credential {
            Some((user, secret)) => {
                auths.insert(host.clone(), json!({"auth": STANDARD.encode(format!("{user}:{secret}"))}));
            }
            None => {
                auths.remove(host);
            }
        }
    }
    // Where a credential helper is configured docker would ask it, and not find us there.
    if credential.is_some() && config.contains_key("credsStore") {
        let helpers = config.entry("credHelpers").or_insert_with(|| json!({}));
        if let Value::Object(helpers) = helpers {
            hosts.iter().for_each(|host| {
                helpers.insert(host.clone(), json!(""));
            });
        }
    }
    write(&path, owner, &Value::Object(config))?;
    Ok(path)
}

/// Whole or not at all, readable by its owner alone.
fn write(path: &Path, owner: Option<(u32, u32)>, config: &Value) -> Result<(), Problem> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let made = !directory.exists();
    fs::create_dir_all(directory).map_err(|error| unable("create", directory, &error))?;
    let fresh = directory.join(format!(".config.json.{}", std::process::id()));
    let text = serde_json::to_string_pretty(config).unwrap_or_default();
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&fresh).map_err(|error| unable("create", &fresh, &error))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| unable("write", &fresh, &error))?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::chown(&fresh, Some(uid), Some(gid))
            .map_err(|error| unable("give away", &fresh, &error))?;
        if made {
            std::os::unix::fs::chown(directory, Some(uid), Some(gid))
                .map_err(|error| unable("give away", directory, &error))?;
        }
    } else if let Ok(data) = fs::metadata(path) {
        // Keep whose it was.
        drop(std::os::unix::fs::chown(&fresh, Some(data.uid()), Some(data.gid())));
    }
    fs::rename(&fresh, path).map_err(|error| unable("replace", path, &error))
}
