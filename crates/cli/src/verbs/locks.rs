//! Locks of repositories, tags and manifests: `image lock`, `image unlock`, and what `image show` says of them.

use seaworthy_model::{ErrorCode, Problem};
use serde_json::{Map, Value, json};

use super::transfer::{local, names};
use crate::{
    client::Server,
    failure::{Failure, Outcome, usage},
    flags::{Global, LockFlags},
    render,
};

/// Our words, and the fields of `changeableAttributes`.
const LOCKS: [(&str, &str); 4] = [
    ("write", "writeEnabled"),
    ("delete", "deleteEnabled"),
    ("read", "readEnabled"),
    ("list", "listEnabled"),
];

/// What becomes of locks.
#[derive(Clone, Copy)]
pub(crate) enum Turn {
    Lock,
    Unlock,
}

pub(crate) async fn turn(global: &Global, turn: Turn, flags: &LockFlags) -> Outcome {
    let server = Server::of(global)?;
    let (path, mut record) = named(&server, &flags.reference).await?;
    let described = server.patch(&path, &change(turn, flags)).await?;
    // A repository is described by the answer itself, a tag and a manifest by a member of it.
    let thing = described.get("tag").or_else(|| described.get("manifest")).unwrap_or(&described);
    record.insert("locked".to_owned(), locked(thing));
    render::record(global, &Value::Object(record));
    Ok(())
}

/// The path of what is named, and its name in parts.
async fn named(server: &Server, text: &str) -> Result<(String, Map<String, Value>), Failure> {
    let reference = local(text, &names(server, &[text]).await)?;
    let repository = reference.repository;
    let mut record = Map::from_iter([("repository".to_owned(), json!(repository))]);
    let path = format!("/acr/v1/{repository}");
    let (path, key, name) = match (reference.tag, reference.digest) {
        (None, None) => return Ok((path, record)),
        (Some(tag), None) => (format!("{path}/_tags/{tag}"), "tag", tag.to_string()),
        (None, Some(digest)) => (format!("{path}/_manifests/{digest}"), "digest", digest.to_string()),
        (Some(_), Some(_)) => {
            let message = format!("`{text}` names a tag and a manifest, and each has locks of its own");
            return Err(usage(message));
        }
    };
    record.insert(key.to_owned(), name.into());
    Ok((path, record))
}

fn change(turn: Turn, flags: &LockFlags) -> Value {
    let chosen = [flags.write, flags.delete, flags.read, flags.list];
    let is_plain = !chosen.contains(&true);
    let is_meant = |word: &str, chosen: bool| chosen || is_plain && ["write", "delete"].contains(&word);
    let fields = LOCKS.iter().zip(chosen).filter(|((word, _), chosen)| is_meant(word, *chosen));
    Value::Object(
        fields.map(|((_, field), _)| ((*field).to_owned(), matches!(turn, Turn::Unlock).into())).collect(),
    )
}

/// What is forbidden, in our words.
fn locked(thing: &Value) -> Value {
    let attribute = |field: &str| thing.get("changeableAttributes").and_then(|it| it.get(field));
    LOCKS.iter().filter(|(_, field)| attribute(field) == Some(&json!(false))).map(|(word, _)| *word).collect()
}

/// Adds to what is shown of an image the locks of its manifest and tags, for whoever may see them.
pub(super) async fn add(server: &Server, page: &mut Value) -> Result<(), Problem> {
    let text = |key: &str| page.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (path, digest) = (format!("/acr/v1/{}", text("repository")), text("digest"));
    let Some(manifest) = seen(server, &format!("{path}/_manifests/{digest}")).await? else { return Ok(()) };
    page["locked"] = locked(manifest.get("manifest").unwrap_or(&Value::Null));
    let list = seen(server, &format!("{path}/_tags?digest={digest}")).await?.unwrap_or_default();
    let listed = list.get("tags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for row in page.get_mut("tags").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = row.get("tag").and_then(Value::as_str).unwrap_or_default();
        let found = match listed.iter().find(|it| it.get("name").and_then(Value::as_str) == Some(name)) {
            Some(tag) => Some(locked(tag)),
            // Lists leave out what is locked against them, and end.
            None => {
                seen(server, &format!("{path}/_tags/{name}")).await?.and_then(|it| it.get("tag").map(locked))
            }
        };
        row["locked"] = json!(found);
    }
    Ok(())
}

/// `None` for who may not see it, and when it went meanwhile.
async fn seen(server: &Server, path: &str) -> Result<Option<Value>, Problem> {
    match server.get(path).await {
        Ok(found) => Ok(Some(found)),
        Err(problem) => match problem.code {
            ErrorCode::Unauthorized
            | ErrorCode::Denied
            | ErrorCode::NameUnknown
            | ErrorCode::ManifestUnknown => Ok(None),
            _ => Err(problem),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_none_is_named_of_is_write_and_delete() {
        let flags =
            |write, read| LockFlags { reference: String::new(), write, delete: false, read, list: false };
        for (turn, flags, expected) in [
            (Turn::Lock, flags(false, false), json!({"writeEnabled": false, "deleteEnabled": false})),
            (Turn::Unlock, flags(false, false), json!({"writeEnabled": true, "deleteEnabled": true})),
            (Turn::Lock, flags(false, true), json!({"readEnabled": false})),
            (Turn::Unlock, flags(true, true), json!({"writeEnabled": true, "readEnabled": true})),
        ] {
            assert_eq!(change(turn, &flags), expected);
        }
        let thing = json!({"changeableAttributes": {"listEnabled": false, "writeEnabled": true, "readEnabled": false}});
        assert_eq!(locked(&thing), json!(["read", "list"]));
    }
}
