//! Repositories, their tags, and what refers to an image: what people look through.

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use seaworthy_access::Identity;
use seaworthy_oci::RepoName;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, ApiError, Rooms, invalid,
    named::{AskedHost, Named},
};
use crate::{limit, route::Routes};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .get("/api/v1/registry/repositories", repositories)
        .get("/api/v1/registry/tags", tags)
        .get("/api/v1/registry/referrers", referrers)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prefixed {
    /// What their names begin with.
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    after: String,
    n: Option<u32>,
}

async fn repositories(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(it): Query<Prefixed>,
) -> Answer {
    let most = it.n.unwrap_or(limit::PAGE);
    let (shown, next) = rooms.registry.repositories_shown(&identity, &it.prefix, &it.after, most).await?;
    let may = rooms.registry.acts_somewhere(&identity).await?;
    Ok(Json(json!({"repositories": shown, "next": next, "may": may})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tagged {
    repository: String,
    #[serde(default)]
    after: String,
    n: Option<u32>,
}

/// Tags with the answer for each.
async fn tags(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(it): Query<Tagged>,
) -> Answer {
    let repository = parsed(&it.repository)?;
    let page = (it.after.as_str(), it.n.unwrap_or(limit::PAGE));
    let (shown, next) = rooms.registry.tags_shown(&identity, &repository, page).await?;
    let mut tags = Vec::with_capacity(shown.len());
    for tag in shown {
        let verdict = rooms.clearance.ask(&repository, &tag.digest).await?.verdict;
        let mut value = json!(tag);
        if let Value::Object(map) = &mut value {
            map.insert("verdict".into(), json!(verdict));
        }
        tags.push(value);
    }
    Ok(Json(json!({"repository": repository, "tags": tags, "next": next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    /// `REPOSITORY@DIGEST`.
    image: String,
    #[serde(default)]
    after: String,
}

/// One level of a tree: each of them can be asked about in turn.
async fn referrers(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    asked: AskedHost,
    Query(it): Query<Subject>,
) -> Answer {
    let named = Named::parse(&rooms, &asked, &it.image)?;
    let digest = named.digest.ok_or_else(|| invalid("name an image by its digest: a tag may move"))?;
    let page = rooms.registry.referrers_shown(&identity, &named.repository, &digest, &it.after).await?;
    Ok(Json(json!(page)))
}

fn parsed(repository: &str) -> Result<RepoName, ApiError> {
    repository.parse().map_err(|_| invalid(format!("`{repository}` is no repository")))
}
