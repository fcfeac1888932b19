//! The state of the whole in one answer: how many images are allowed, how old the feeds are.

use axum::{Extension, Json, extract::State};
use seaworthy_access::{Identity, Permission};
use seaworthy_model::Scope;
use seaworthy_policy::Verdict;
use serde_json::json;

use super::{Answer, Rooms, signed_in};
use crate::{limit, route::Routes};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new().get("/api/v1/overview", overview)
}

/// Counts the tags that the caller may see, at most [`limit::PREVIEWED`]; `complete` says whether
/// these are all.
async fn overview(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    signed_in(&identity)?;
    let rows = rooms.registry.images(&identity, "", ("", ""), limit::PREVIEWED).await?;
    let (mut allowed, mut blocked, mut pending) = (0_u32, 0_u32, 0_u32);
    for row in &rows {
        match rooms.clearance.ask(&row.repository, &row.digest).await?.verdict {
            Verdict::Allowed => allowed += 1,
            Verdict::Blocked => blocked += 1,
            Verdict::Pending => pending += 1,
        }
    }
    let may_read = rooms.access.allows(&identity, Permission::ClearanceRead, &Scope::root()).await?;
    let advisories = if may_read { Some(rooms.findings.status().await?) } else { None };
    let advisories = advisories.map(|status| {
        let feeds = status.feeds.iter().map(|feed| {
            json!({
                "feed": feed.feed, "records": feed.records,
                "newest": feed.newest, "checked_at": feed.checked_at,
            })
        });
        json!({"state": status.state, "feeds": feeds.collect::<Vec<_>>()})
    });
    Ok(Json(json!({
        "images": {
            "total": rows.len(), "allowed": allowed, "blocked": blocked, "pending": pending,
            "complete": rows.len() < limit::PREVIEWED as usize,
        },
        "advisories": advisories,
    })))
}
