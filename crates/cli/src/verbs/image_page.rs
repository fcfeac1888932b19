//! `image show`: what is known about one image.

use serde_json::Value;

use crate::{
    client::{Server, encode},
    failure::Outcome,
    flags::Global,
    render::{self, cell, out},
    verbs::locks,
};

pub(crate) async fn show(global: &Global, reference: &str) -> Outcome {
    let path = format!("/api/v1/images/show?image={}", encode(reference));
    let server = Server::of(global)?;
    let mut page = server.get(&path).await?;
    locks::add(&server, &mut page).await?;
    if !render::is_table(global) {
        render::json(&page);
        return Ok(());
    }
    for key in ["repository", "digest", "image", "media_type", "content_id", "bytes"] {
        out(&format!("{key:11} {}\n", cell(page.get(key))));
    }
    if let Some(locked) = page.get("locked") {
        out(&format!("{:11} {}\n", "locked", cell(Some(locked))));
    }
    let words = |value: Option<&Value>| match value {
        Some(Value::Object(map)) => {
            map.iter().map(|(word, count)| format!("{word} {count}")).collect::<Vec<_>>().join(", ")
        }
        other => cell(other),
    };
    out(&format!("{:11} {}\n", "findings", words(page.get("findings"))));
    if let Some(why) = page.get("withheld").and_then(Value::as_str) {
        out(&format!("{:11} {why}\n", "withheld"));
    }
    section(
        &page,
        "verdicts",
        &[("PURPOSE", "/purpose"), ("VERDICT", "/verdict"), ("DECIDED", "/decided_at")],
    );
    let tags = [("TAG", "/tag"), ("PUSHED", "/pushed_at"), ("BY", "/pushed_by"), ("LOCKED", "/locked")];
    section(&page, "tags", &tags);
    section(&page, "platforms", &[("PLATFORM", "/platform"), ("DIGEST", "/digest")]);
    let layers =
        [("LAYER", "/index"), ("BYTES", "/bytes"), ("DIGEST", "/digest"), ("CREATED BY", "/created_by")];
    section(&page, "layers", &layers);
    Ok(())
}

fn section(page: &Value, key: &str, columns: &[(&str, &str)]) {
    let rows = page.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !rows.is_empty() {
        let titles = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let body =
            rows.iter().map(|row| columns.iter().map(|(_, at)| cell(row.pointer(at))).collect()).collect();
        out(&format!("\n{}", render::table(titles, body)));
    }
}
