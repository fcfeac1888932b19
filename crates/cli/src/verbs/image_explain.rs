//! `image explain`: why something is still here, and who uses it.

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, DigestError, Reference};
use serde_json::Value;

use crate::{
    client::{Server, encode},
    failure::Outcome,
    flags::Global,
    render::{self, cell, clean, out},
    text::{Text, language},
};

/// Rows of a table, for people; JSON has all.
const ROWS: usize = 20;
/// Names in a cell.
const NAMES: usize = 3;

pub(crate) async fn explain(global: &Global, digest: &str) -> Outcome {
    let digest = parse(digest)?;
    let path = format!("/api/v1/registry/explain?digest={}", encode(&digest.to_string()));
    let answer = Server::of(global)?.get(&path).await?;
    if !render::is_table(global) {
        render::json(&answer);
        return Ok(());
    }
    manifests(rows(&answer, "/manifests"));
    if let Some(blob) = answer.get("blob").filter(|blob| blob.is_object()) {
        if !rows(&answer, "/manifests").is_empty() {
            out("\n");
        }
        for key in ["bytes", "state", "damage", "pinned_until", "looked_at_again"] {
            if let Some(value) = blob.get(key).filter(|value| !value.is_null()) {
                out(&format!("{key:15}  {}\n", cell(Some(value))));
            }
        }
        named_by(rows(blob, "/named_by"));
        brought_to(rows(blob, "/brought_to"));
    }
    Ok(())
}

/// A digest; an image is another thing, which has several.
fn parse(text: &str) -> Result<Digest, Problem> {
    let refused = |error: DigestError| Problem::new(ErrorCode::Invalid, error.to_string());
    let error = match text.parse() {
        Ok(digest) => return Ok(digest),
        Err(error) => error,
    };
    if text.starts_with("sha256:") || text.starts_with("sha512:") {
        return Err(refused(error));
    }
    let problem = Problem::new(ErrorCode::Invalid, format!("`{text}` is no digest"));
    Err(match text.parse::<Reference>() {
        Ok(Reference { digest: Some(digest), .. }) => problem.hint(format!("write `{digest}` alone")),
        Ok(_) => problem.hint(format!("`seaworthy image show {text}` says which digests it has")),
        Err(_) => problem.hint("write one like `sha256:9c1e…`"),
    })
}

fn rows<'v>(value: &'v Value, at: &str) -> &'v [Value] {
    value.pointer(at).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn manifests(all: &[Value]) {
    let titles = ["REPOSITORY", "TAGS", "WHY", "UNTIL", "INDEXES", "REFERRERS", "CONTAINERS"];
    shorter(all, &titles, |row| {
        let is_deleted = row.get("state").and_then(Value::as_str) == Some("deleted");
        let (why, until) =
            if is_deleted { ("state", "restorable_until") } else { ("kept_by", "looked_at_again") };
        let count = |key: &str| rows(row, key).len().to_string();
        vec![
            cell(row.get("repository")),
            few(rows(row, "/tags"), ""),
            cell(row.get(why)),
            cell(row.get(until)),
            count("/indexes"),
            count("/referrers"),
            few(rows(row, "/containers"), "/container"),
        ]
    });
}

fn named_by(all: &[Value]) {
    shorter(all, &["REPOSITORY", "MANIFEST", "AS", "TAGS", "DELETED", "CONTAINERS"], |row| {
        vec![
            cell(row.get("repository")),
            cell(row.get("manifest")),
            cell(row.get("as")),
            few(rows(row, "/tags"), ""),
            cell(row.get("deleted")),
            few(rows(row, "/containers"), "/container"),
        ]
    });
}

fn brought_to(all: &[Value]) {
    shorter(all, &["BROUGHT TO", "AT"], |row| vec![cell(row.get("repository")), cell(row.get("at"))]);
}

/// The first rows, and how many more there are.
fn shorter(all: &[Value], titles: &[&str], cells: impl Fn(&Value) -> Vec<String>) {
    if all.is_empty() {
        return;
    }
    let titles = titles.iter().map(|title| (*title).to_owned()).collect();
    out(&render::table(titles, all.iter().take(ROWS).map(cells).collect()));
    if let Some(more) = all.len().checked_sub(ROWS).filter(|more| *more > 0) {
        out(&format!("{}\n", Text::MoreInJson.say(language()).replace("{}", &more.to_string())));
    }
}

/// The first names, and how many more there are.
fn few(all: &[Value], at: &str) -> String {
    let name =
        |value: &Value| value.pointer(at).and_then(Value::as_str).map_or_else(|| "-".to_owned(), clean);
    let first: Vec<String> = all.iter().take(NAMES).map(name).collect();
    match all.len() {
        0 => "-".to_owned(),
        count if count > NAMES => format!("{} +{}", first.join(", "), count - NAMES),
        _ => first.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_has_few_names() {
        assert_eq!(few(&[], ""), "-");
        assert_eq!(few(&[json!("a"), json!("b"), json!("c")], ""), "a, b, c");
        assert_eq!(few(&[json!("a"), json!("b"), json!("c"), json!("d"), json!("e")], ""), "a, b, c +2");
        assert_eq!(few(&[json!({"container": "web\u{1b}"})], "/container"), "web\u{fffd}");
    }

    #[test]
    fn an_image_is_no_digest() {
        let digest = Digest::sha256(b"").to_string();
        assert!(parse(&digest).is_ok());
        for (text, message, hint) in [
            (
                "dev/app:1",
                "`dev/app:1` is no digest",
                "`seaworthy image show dev/app:1` says which digests it has",
            ),
            ("latest", "`latest` is no digest", "`seaworthy image show latest` says which digests it has"),
            (
                &format!("a@{digest}"),
                &format!("`a@{digest}` is no digest"),
                &format!("write `{digest}` alone"),
            ),
            ("", "`` is no digest", "write one like `sha256:9c1e…`"),
        ] {
            let problem = parse(text).expect_err(text);
            assert_eq!((problem.message.as_str(), problem.hint.as_deref()), (message, Some(hint)));
        }
        assert_ne!(parse("sha256:00").expect_err("short").message, "`sha256:00` is no digest");
    }
}
