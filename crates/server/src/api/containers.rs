//! Hosts and containers: what the fleet knows, beside what the other rooms say of the images.

use std::collections::HashMap;

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use seaworthy_access::{Identity, Permission};
use seaworthy_fleet::{ContainerView, Cursor, Filter, HostView};
use seaworthy_model::{ContentId, HostId, Presence, Scope};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_policy::{Verdict, weaknesses};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, ApiError, Rooms, image_page, invalid, require};
use crate::{limit, route::Routes};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new().get("/api/v1/hosts", hosts).get("/api/v1/containers", list)
}

async fn hosts(State(rooms): State<Rooms>, Extension(identity): Extension<Identity>) -> Answer {
    let shown = Shown::to(&rooms, &identity).await?;
    let hosts = rooms.fleet.hosts().await?;
    let rows = hosts.iter().filter(|host| shown.covers(host.id)).map(host_row);
    Ok(Json(Value::Array(rows.collect())))
}

/// A host as pages show it.
pub(super) fn host_row(host: &HostView) -> Value {
    json!({
        "id": host.id,
        "name": host.name,
        "joined_at": host.joined_at,
        "heard_at": host.heard_at,
        "engine": host.facts.as_ref().and_then(|facts| facts.engine.as_deref()),
        "kernel": host.facts.as_ref().map(|facts| facts.kernel.as_str()),
        "platform": host.facts.as_ref().map(|facts| facts.platform.to_string()),
        "processors": host.facts.as_ref().map(|facts| facts.processors),
        "memory_bytes": host.facts.as_ref().map(|facts| facts.memory_bytes),
        "agent": host.facts.as_ref().map(|facts| facts.agent.as_str()),
        "wrong_clock": host.has_wrong_clock(),
        "running": host.live,
        "stopped": host.stopped,
    })
}

/// The hosts that a caller may see: those where clearances may be read. Others are not there.
pub(super) enum Shown {
    All,
    These(Vec<HostId>),
}

impl Shown {
    pub(super) async fn to(rooms: &Rooms, identity: &Identity) -> Result<Self, ApiError> {
        let all = super::scope("/hosts")?;
        if rooms.access.allows(identity, Permission::ClearanceRead, &all).await? {
            return Ok(Self::All);
        }
        if identity.is_anonymous() {
            require(rooms, identity, Permission::ClearanceRead, &all).await?;
        }
        let mut these = Vec::new();
        for host in rooms.fleet.hosts().await? {
            // A name that is no scope is for those who may see all.
            let Ok(scope) = format!("/hosts/{}", host.name).parse::<Scope>() else { continue };
            if rooms.access.allows(identity, Permission::ClearanceRead, &scope).await? {
                these.push(host.id);
            }
        }
        Ok(Self::These(these))
    }

    pub(super) fn covers(&self, host: HostId) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(&host),
        }
    }

    fn hosts(self) -> Option<Vec<HostId>> {
        match self {
            Self::All => None,
            Self::These(these) => Some(these),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// Only on the host of this name.
    host: Option<String>,
    /// Only those with this name, or else those whose ids begin so.
    name: Option<String>,
    /// Only those whose names begin so.
    #[serde(default)]
    text: String,
    /// Only those of this content.
    content_id: Option<ContentId>,
    /// Only those that run, or are there and do not, or are gone.
    presence: Option<Presence>,
    /// Only those with this answer.
    verdict: Option<Verdict>,
    /// Only those whose image has a known vulnerability.
    #[serde(default)]
    vulnerable: bool,
    /// Only those that a setting weakens.
    #[serde(default)]
    weak: bool,
    /// `next` of the page before.
    after: Option<String>,
    limit: Option<u32>,
}

/// Containers that are read at once where a filter leaves some out.
const SIEVED_AT_ONCE: usize = 250;

impl Page {
    /// Counts in `unknown` what is left out because nothing is known of its findings.
    fn takes(&self, view: &ContainerView, known: &Known, unknown: &mut u64) -> bool {
        let is_wanted = self.verdict.is_none_or(|wanted| known.verdict == json!(wanted))
            && !(self.weak && weaknesses(&view.container.settings).is_empty());
        if is_wanted && self.vulnerable && !known.is_vulnerable {
            *unknown += u64::from(known.findings.is_null());
            return false;
        }
        is_wanted
    }
}

async fn list(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(page): Query<Page>,
) -> Answer {
    let shown = Shown::to(&rooms, &identity).await?;
    let hosts = match &page.host {
        None => shown.hosts(),
        Some(name) => {
            let host = rooms.fleet.host_named(name).await?.filter(|host| shown.covers(*host));
            Some(vec![host.ok_or_else(|| unknown_host(name))?])
        }
    };
    let mut images = Images::new(&rooms, &identity);
    let (mut rows, mut unknown) = (Vec::new(), 0_u64);
    if let Some(name) = &page.name {
        let found = rooms.fleet.find(hosts.as_deref(), name).await?;
        for (view, known) in found.iter().zip(images.of(&found).await?) {
            if page.takes(view, &known, &mut unknown) {
                rows.push(row(&rooms, view, &known));
            }
        }
        return Ok(Json(json!({"containers": rows, "next": null, "unknown": unknown})));
    }
    let mut after = page.after.as_deref().map(read_cursor).transpose()?;
    let most = usize::try_from(page.limit.unwrap_or(limit::PAGE).clamp(1, limit::PAGE)).unwrap_or(1);
    let is_sieved = page.verdict.is_some() || page.vulnerable || page.weak;
    // Few of many may fit: they are not read one by one.
    let at_once = if is_sieved { most.max(SIEVED_AT_ONCE) } else { most };
    let presence = page.presence.into_iter().collect();
    let filter = Filter { hosts, content: page.content_id, name_prefix: page.text.clone(), presence };
    // What a filter leaves out is looked at up to a bound; the next page goes on from there.
    let mut read = 0;
    loop {
        let found = rooms.fleet.containers(&filter, after.as_ref(), at_once).await?;
        after = found.next;
        let known = images.of(&found.containers).await?;
        for (at, (view, known)) in found.containers.iter().zip(known).enumerate() {
            if page.takes(view, &known, &mut unknown) {
                rows.push(row(&rooms, view, &known));
            }
            if rows.len() == most {
                let is_last = at + 1 == found.containers.len();
                after = if is_last { after } else { Some(view.cursor()) };
                break;
            }
        }
        read += found.containers.len();
        if after.is_none() || rows.len() == most || read >= limit::PREVIEWED as usize {
            break;
        }
    }
    let next = after.as_ref().map(write_cursor);
    Ok(Json(json!({"containers": rows, "next": next, "unknown": unknown})))
}

pub(super) fn unknown_host(name: &str) -> ApiError {
    let message = format!("host `{name}` is not known");
    seaworthy_model::Problem::new(seaworthy_model::ErrorCode::NotFound, message).into()
}

fn write_cursor(cursor: &Cursor) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(cursor).unwrap_or_default())
}

fn read_cursor(text: &str) -> Result<Cursor, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let cursor = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    cursor.ok_or_else(|| invalid("`after` is not the `next` of a page"))
}

/// A container as lists and its page show it (interface: "JSON shapes that scripts use").
pub(super) fn row(rooms: &Rooms, view: &ContainerView, known: &Known) -> Value {
    let it = &view.container;
    json!({
        "host": view.host_name,
        "runtime": it.runtime,
        "id": it.id,
        "name": it.name,
        "image": view.image,
        "state": it.state,
        "presence": view.presence,
        "created_at": it.created_at,
        "started_at": it.started_at,
        "finished_at": it.finished_at,
        "exit_code": it.exit_code,
        "verdict": known.verdict,
        "purpose": if known.verdict.is_null() { Value::Null } else { json!("deploy") },
        "findings": known.findings,
        "weak": weaknesses(&it.settings).len(),
        "usage": rooms.fleet.usage(&view.key()),
        "received_at": view.received_at,
    })
}

/// What the other rooms say of a container's image; null where nothing is known, or the caller may
/// not know it.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) verdict: Value,
    pub(super) findings: Value,
    is_vulnerable: bool,
}

/// Asks about each image once.
struct Images<'r> {
    rooms: &'r Rooms,
    identity: &'r Identity,
    known: HashMap<(RepoName, Digest), Known>,
}

impl<'r> Images<'r> {
    fn new(rooms: &'r Rooms, identity: &'r Identity) -> Self {
        Self { rooms, identity, known: HashMap::new() }
    }

    async fn of(&mut self, views: &[ContainerView]) -> Result<Vec<Known>, ApiError> {
        let keys: Vec<_> = views.iter().map(ContainerView::key).collect();
        let verdicts = self.rooms.clearance.deploy_verdicts(&keys).await?;
        let mut all = Vec::with_capacity(views.len());
        for (view, verdict) in views.iter().zip(verdicts) {
            let mut known = self.of_image(view).await?;
            known.verdict = shown_verdict(self.rooms, self.identity, view, verdict).await?;
            all.push(known);
        }
        Ok(all)
    }

    async fn of_image(&mut self, view: &ContainerView) -> Result<Known, ApiError> {
        let place = place(view);
        if let Some(known) = place.as_ref().and_then(|place| self.known.get(place)) {
            return Ok(known.clone());
        }
        let known = of_image(self.rooms, self.identity, view).await?;
        if let Some(place) = place {
            self.known.insert(place, known.clone());
        }
        Ok(known)
    }
}

/// The manifest here that a container stands for.
pub(super) fn place(view: &ContainerView) -> Option<(RepoName, Digest)> {
    let repository = view.image.repository.as_deref().and_then(|name| name.parse().ok());
    repository.zip(view.image.digest)
}

/// What is known of one container.
pub(super) async fn known(
    rooms: &Rooms,
    identity: &Identity,
    view: &ContainerView,
) -> Result<Known, ApiError> {
    let mut known = of_image(rooms, identity, view).await?;
    let verdict = rooms.clearance.deploy_verdicts(&[view.key()]).await?.pop().flatten();
    known.verdict = shown_verdict(rooms, identity, view, verdict).await?;
    Ok(known)
}

/// May it run here? Null for what is gone, and for who may not know of an image of this registry.
async fn shown_verdict(
    rooms: &Rooms,
    identity: &Identity,
    view: &ContainerView,
    verdict: Option<Verdict>,
) -> Result<Value, ApiError> {
    if view.presence == Presence::Gone || !may_know(rooms, identity, view).await? {
        return Ok(Value::Null);
    }
    Ok(json!(verdict.unwrap_or(Verdict::Pending)))
}

/// What is known of an image here is for who may read its repository.
pub(super) async fn may_know(
    rooms: &Rooms,
    identity: &Identity,
    view: &ContainerView,
) -> Result<bool, ApiError> {
    let Some((repository, _)) = place(view) else { return Ok(true) };
    let scope = Scope::repository(&repository);
    Ok(rooms.access.allows(identity, Permission::ClearanceRead, &scope).await?)
}

/// Findings of a container's image.
async fn of_image(rooms: &Rooms, identity: &Identity, view: &ContainerView) -> Result<Known, ApiError> {
    if view.image.content_id.is_none() || !may_know(rooms, identity, view).await? {
        return Ok(Known::default());
    }
    let set = match &view.image.content_id {
        Some(content) => rooms.findings.of_content(content).await?,
        None => None,
    };
    Ok(Known {
        verdict: Value::Null,
        is_vulnerable: set.as_ref().is_some_and(|set| !set.rows.is_empty()),
        // Nothing found where no feed looks is not "none".
        findings: set
            .as_deref()
            .filter(|set| set.covered || !set.rows.is_empty())
            .map_or(Value::Null, image_page::counts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let cursor = Cursor::default();
        assert_eq!(read_cursor(&write_cursor(&cursor)).expect("read"), cursor);
        for bad in ["", "x", "bnVsbA", "e30="] {
            assert!(read_cursor(bad).is_err(), "{bad}");
        }
    }
}
