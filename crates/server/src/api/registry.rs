//! What the registry keeps and lets go: undo, explanations, retention, looking after bytes.

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use seaworthy_access::{Identity, Permission};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_registry::{Depth, Prefix, Remedy, RetentionRules};
use serde::Deserialize;
use serde_json::json;

use super::{
    Answer, ApiError, ListPart, Rooms, invalid,
    named::{AskedHost, Named},
    require, scope,
};
use crate::limit;
use crate::route::Routes;

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .get("/api/v1/registry/deleted", deleted)
        .post("/api/v1/registry/restore", restore)
        .get("/api/v1/registry/explain", explain)
        .get("/api/v1/registry/collection", collection)
        .post("/api/v1/registry/verify", verify)
        .post("/api/v1/registry/repair", repair)
        .get("/api/v1/registry/retention", retention)
        .post("/api/v1/registry/retention", set_retention)
        .delete("/api/v1/registry/retention", remove_retention)
        .post("/api/v1/registry/retention/preview", preview)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    repository: String,
    n: Option<u32>,
    #[serde(default)]
    after_repository: String,
    #[serde(default)]
    after_tag: String,
    #[serde(default)]
    after_digest: String,
}

async fn deleted(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(page): Query<Page>,
) -> Answer {
    let after = (page.after_repository.as_str(), page.after_tag.as_str(), page.after_digest.as_str());
    let most = page.n.unwrap_or(limit::PAGE);
    Ok(Json(json!(rooms.registry.deleted(&identity, &page.repository, after, most).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restore {
    image: String,
}

async fn restore(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    asked: AskedHost,
    Json(it): Json<Restore>,
) -> Answer {
    let Named { repository, tag, digest, .. } = Named::parse(&rooms, &asked, &it.image)?;
    let registry = &rooms.registry;
    let restored = match (tag, digest) {
        (Some(tag), Some(digest)) => registry.restore_tag_of(&identity, &repository, (tag, digest)).await,
        (Some(tag), None) => registry.restore(&identity, &repository, Ok(tag)).await,
        (None, Some(digest)) => registry.restore(&identity, &repository, Err(digest)).await,
        (None, None) => return Err(invalid("name a tag or a digest to restore")),
    }?;
    Ok(Json(json!({"repository": repository, "digest": restored.digest, "tags": restored.tags})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    digest: Digest,
}

async fn explain(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(it): Query<Which>,
) -> Answer {
    Ok(Json(rooms.registry.explain(&identity, &it.digest).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    #[serde(default)]
    after: String,
}

/// What would go: nothing is changed.
async fn collection(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(it): Query<After>,
) -> Answer {
    require(&rooms, &identity, Permission::MetadataRead, &scope("/repositories")?).await?;
    Ok(Json(json!(rooms.registry.forecast(&it.after).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    #[serde(default)]
    after: String,
    /// Whether all bytes are read.
    #[serde(default)]
    deep: bool,
    /// Whether anything is done about it.
    #[serde(default)]
    apply: bool,
}

impl Look {
    const fn depth(&self) -> Depth {
        if self.deep { Depth::Bytes } else { Depth::Lengths }
    }
}

async fn verify(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(look): Json<Look>,
) -> Answer {
    require(&rooms, &identity, Permission::MetadataRead, &scope("/repositories")?).await?;
    if look.apply {
        return Err(invalid("`apply` is for `/api/v1/registry/repair`"));
    }
    Ok(Json(json!(rooms.registry.verify(&look.after, look.depth(), &Remedy::Tell).await?)))
}

async fn repair(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(look): Json<Look>,
) -> Answer {
    require(&rooms, &identity, Permission::Delete, &scope("/repositories")?).await?;
    let remedy = if look.apply { Remedy::Apply(identity.actor.clone()) } else { Remedy::Tell };
    Ok(Json(json!(rooms.registry.verify(&look.after, look.depth(), &remedy).await?)))
}

async fn retention(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(part): Query<ListPart>,
) -> Answer {
    Ok(Json(part.of(&rooms.registry.retention(&identity).await?, "prefix")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    prefix: Prefix,
    rules: RetentionRules,
}

async fn set_retention(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(it): Json<Kept>,
) -> Answer {
    rooms.registry.set_retention(&identity, it.prefix.name(), &it.rules).await?;
    Ok(Json(json!({"prefix": it.prefix, "rules": it.rules})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ruled {
    prefix: Prefix,
}

async fn remove_retention(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(it): Query<Ruled>,
) -> Answer {
    rooms.registry.remove_retention(&identity, it.prefix.name()).await?;
    Ok(Json(json!({"removed": it.prefix})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    repository: String,
    /// Instead of those that hold.
    rules: Option<RetentionRules>,
    #[serde(default)]
    after: String,
    n: Option<u32>,
}

async fn preview(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(it): Json<Asked>,
) -> Answer {
    let repository: RepoName = it
        .repository
        .parse()
        .map_err(|_| -> ApiError { invalid(format!("`{}` is no repository", it.repository)) })?;
    let page = (it.after.as_str(), it.n.unwrap_or(limit::PAGE));
    Ok(Json(json!(rooms.registry.preview_retention(&identity, &repository, it.rules, page).await?)))
}
