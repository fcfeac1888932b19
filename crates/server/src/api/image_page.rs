//! What is known about one image, composed of what the rooms say.

use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use seaworthy_access::Identity;
use seaworthy_model::{FindingSet, InventoryReady};
use seaworthy_oci::{Digest, ImageManifest, Manifest, RepoName};
use seaworthy_policy::Language;
use seaworthy_registry::ImageRow;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, ApiError, Rooms,
    images::{image_of, resolve, withheld},
    named::AskedHost,
};
use crate::{japanese, route::Routes};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new().get("/api/v1/images/show", show)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    image: String,
}

/// Of an index, layers and findings are those of the image for this server's platform.
async fn show(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    asked: AskedHost,
    Query(it): Query<Wanted>,
) -> Answer {
    let (named, digest) = resolve(&rooms, &identity, (&asked, &it.image)).await?;
    let repository = named.repository.clone();
    let image = image_of(&rooms, &repository, digest).await?;
    let ready = rooms.inspection.of_manifest(&image).await?;
    let set = match &ready {
        Some(ready) => rooms.findings.of_content(ready.content_id()).await?,
        None => None,
    };
    let manifest = manifest_of(&rooms, &repository, &image).await?;
    let parsed = match &manifest {
        Some((Manifest::Image(image), _)) => Some(image),
        _ => None,
    };
    let own = manifest_of(&rooms, &repository, &digest).await?;
    let withheld = withheld(&rooms, &identity, &named, digest).await?;
    let withheld = withheld.map(|it| japanese::problem(it.problem, language).message);
    Ok(Json(json!({
        "repository": repository,
        "digest": digest,
        "image": image,
        "media_type": own.as_ref().map(|(_, media_type)| media_type),
        "platforms": platforms(own.as_ref().map(|(manifest, _)| manifest), ready.as_ref(), digest),
        "content_id": ready.as_ref().map(InventoryReady::content_id),
        "bytes": parsed.map(|it| it.config.size + it.layers.iter().map(|layer| layer.size).sum::<u64>()),
        "layers": layers(parsed, ready.as_ref()),
        "tags": tags(&rooms, &identity, &repository, &digest).await?,
        "verdicts": verdicts(&rooms, &repository, &digest).await?,
        "findings": set.as_deref().map(counts),
        "withheld": withheld,
    })))
}

async fn manifest_of(
    rooms: &Rooms,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<(Manifest, String)>, ApiError> {
    let Some((bytes, media_type)) = rooms.registry.manifest_bytes(repository, digest).await? else {
        return Ok(None);
    };
    Ok(Manifest::parse(&bytes, Some(&media_type)).ok().map(|manifest| (manifest, media_type)))
}

fn platforms(manifest: Option<&Manifest>, ready: Option<&InventoryReady>, digest: Digest) -> Vec<Value> {
    match manifest {
        Some(Manifest::Index(index)) => index
            .manifests
            .iter()
            .map(|child| {
                let platform = child.platform.as_ref().map(ToString::to_string);
                json!({"platform": platform, "digest": child.digest})
            })
            .collect(),
        _ => ready
            .map(|ready| json!({"platform": ready.inventory.platform.to_string(), "digest": digest}))
            .into_iter()
            .collect(),
    }
}

/// Layers as pushed, with what the inspection knows about each.
fn layers(manifest: Option<&ImageManifest>, ready: Option<&InventoryReady>) -> Vec<Value> {
    let pushed = manifest.map(|manifest| manifest.layers.as_slice()).unwrap_or_default();
    let row = |(at, layer): (usize, &seaworthy_oci::Descriptor)| {
        let known = ready.and_then(|ready| ready.inventory.layers.get(at));
        json!({
            "index": at,
            "digest": layer.digest,
            "media_type": layer.media_type,
            "bytes": layer.size,
            "diff_id": known.map(|known| known.diff_id),
            "created_by": known.and_then(|known| known.created_by.as_deref()),
        })
    };
    pushed.iter().enumerate().map(row).collect()
}

/// Tags of the same repository that name it, a page of them, and who pushed them.
pub(super) async fn tags(
    rooms: &Rooms,
    identity: &Identity,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Vec<Value>, ApiError> {
    let rows = rooms.registry.images_of(identity, repository, digest).await?;
    let row = |row: ImageRow| json!({"tag": row.tag, "pushed_at": row.pushed_at, "pushed_by": row.pushed_by});
    Ok(rows.into_iter().map(row).collect())
}

/// One per purpose; `pull` is the only one that is decided yet.
async fn verdicts(rooms: &Rooms, repository: &RepoName, digest: &Digest) -> Result<Vec<Value>, ApiError> {
    let answer = rooms.clearance.ask(repository, digest).await?;
    let stored = answer.stored.as_ref();
    Ok(vec![json!({
        "purpose": "pull",
        "verdict": answer.verdict,
        "decided_at": stored.map(|stored| stored.decided_at),
        "valid_until": stored.and_then(|stored| stored.valid_until),
    })])
}

/// Distinct (vulnerability, source package), as policies count them.
pub(super) fn counts(set: &FindingSet) -> Value {
    let mut by: BTreeMap<String, usize> = BTreeMap::new();
    for row in &set.rows {
        *by.entry(row.severity.to_string()).or_default() += 1;
    }
    let of = |word: &str| by.get(word).copied().unwrap_or(0);
    json!({
        "critical": of("critical"), "high": of("high"), "medium": of("medium"), "low": of("low"),
        "negligible": of("negligible"), "unknown": of("unknown"),
        "fixable": set.rows.iter().filter(|row| row.fixed_version.is_some()).count(),
        "covered": set.covered,
        "exploited": set.rows.iter().filter(|row| row.kev).count(),
    })
}
