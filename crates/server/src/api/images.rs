//! Images: list, scan, delete.

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use http::{HeaderMap, HeaderValue, header};
use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, FindingsChanged, InventoryReady, Problem, Scope};
use seaworthy_oci::{Digest, Manifest, RepoName, media};
use seaworthy_package::InstalledPackage;
use seaworthy_policy::{Language, Verdict};
use seaworthy_registry::{ImageRow, Withheld};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, ApiError, Rooms, invalid,
    named::{AskedHost, Named},
    require,
};
use crate::route::Routes;
use crate::{limit, report};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .get("/api/v1/images", list)
        .delete("/api/v1/images", remove)
        .get("/api/v1/scan", scan)
        .post("/api/v1/scan", scan_inventory)
        .get("/api/v1/findings", findings)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    repository: String,
    /// Only images with this answer.
    verdict: Option<Verdict>,
    n: Option<u32>,
    #[serde(default)]
    after_repository: String,
    #[serde(default)]
    after_tag: String,
}

/// A page; the header `Link` leads to the next one (RFC 8288) as long as there may be one.
async fn list(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(page): Query<Page>,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    let most = page.n.unwrap_or(limit::PAGE).min(limit::PAGE);
    let mut out = Vec::new();
    let mut last = (page.after_repository.clone(), page.after_tag.clone());
    let mut ended = most == 0;
    let mut read = 0;
    // An answer is asked for each tag, so what a filter leaves out is looked at up to a bound.
    while !ended && out.len() < most as usize && read < limit::PREVIEWED {
        let rows = rooms.registry.images(&identity, &page.repository, (&last.0, &last.1), most).await?;
        ended = rows.len() < most as usize;
        for row in rows {
            read += 1;
            last = (row.repository.to_string(), row.tag.clone());
            let verdict = verdict_of(&rooms, &identity, &row).await?;
            if page.verdict.is_some_and(|wanted| wanted != verdict) {
                continue;
            }
            let mut value = json!(row);
            if let Value::Object(map) = &mut value {
                map.insert("verdict".into(), json!(verdict));
            }
            out.push(value);
            if out.len() == most as usize {
                ended = false;
                break;
            }
        }
    }
    let next = if ended { None } else { Some(next_page(&page, most, &last)) };
    let headers = next.and_then(|next| Some((header::LINK, HeaderValue::from_str(&next).ok()?)));
    Ok((headers.into_iter().collect(), Json(Value::Array(out))))
}

/// The answer of a row: what a lock or a quarantine keeps the caller from is blocked, whatever the policies say, as for
/// `check`. The row says most of it; only of an index is more to be read.
async fn verdict_of(rooms: &Rooms, identity: &Identity, row: &ImageRow) -> Result<Verdict, ApiError> {
    if row.locked {
        return Ok(Verdict::Blocked);
    }
    let scope = Scope::repository(&row.repository);
    if row.quarantined && !rooms.access.allows(identity, Permission::Quarantine, &scope).await? {
        return Ok(Verdict::Blocked);
    }
    let verdict = rooms.clearance.ask(&row.repository, &row.digest).await?.verdict;
    if verdict == Verdict::Blocked || !media::is_index(&row.media_type) {
        return Ok(verdict);
    }
    let image = image_of(rooms, &row.repository, row.digest).await?;
    let withheld = rooms.registry.withheld(identity, &row.repository, Err(image)).await?;
    Ok(if withheld.is_some() { Verdict::Blocked } else { verdict })
}

/// Repositories and tags need no escaping in a query.
fn next_page(page: &Page, most: u32, last: &(String, String)) -> String {
    let verdict = page.verdict.map(|verdict| format!("&verdict={}", verdict.word())).unwrap_or_default();
    // What filters by is the caller's own text.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    let repository = if page.repository.bytes().all(plain) { page.repository.as_str() } else { "" };
    let (after_repository, after_tag) = last;
    format!(
        "</api/v1/images?repository={repository}&n={most}{verdict}\
         &after_repository={after_repository}&after_tag={after_tag}>; rel=\"next\""
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    image: String,
    /// Seconds to wait for the inspection.
    wait: Option<u64>,
    /// What makes a scan fail.
    fail_on: Option<String>,
}

pub(super) async fn resolve(
    rooms: &Rooms,
    identity: &Identity,
    (asked, text): (&AskedHost, &str),
) -> Result<(Named, Digest), ApiError> {
    let named = Named::parse(rooms, asked, text)?;
    let scope = Scope::repository(&named.repository);
    let unknown = || ApiError(named.unknown(rooms, text));
    if !rooms.access.allows(identity, Permission::ClearanceRead, &scope).await? {
        if identity.is_anonymous() {
            require(rooms, identity, Permission::ClearanceRead, &scope).await?;
        }
        return Err(unknown());
    }
    let digest = match named.which() {
        Err(digest) => rooms.registry.has_manifest(&named.repository, &digest).await?.then_some(digest),
        Ok(tag) => rooms.registry.digest_of(&named.repository, &tag).await?,
    };
    let digest = digest.ok_or_else(unknown)?;
    if rooms.registry.is_hidden(identity, &named.repository, &digest).await? {
        return Err(unknown());
    }
    Ok((named, digest))
}

/// What keeps the caller from pulling an image whatever its clearance is; of an index, or the image of it for this server's
/// platform.
pub(super) async fn withheld(
    rooms: &Rooms,
    identity: &Identity,
    named: &Named,
    digest: Digest,
) -> Result<Option<Withheld>, ApiError> {
    let repository = &named.repository;
    if let Some(withheld) = rooms.registry.withheld(identity, repository, named.which()).await? {
        return Ok(Some(withheld));
    }
    match image_of(rooms, repository, digest).await? {
        image if image == digest => Ok(None),
        image => Ok(rooms.registry.withheld(identity, repository, Err(image)).await?),
    }
}

/// The image itself, or of an index the child for this server's platform, else its first image.
pub(super) async fn image_of(
    rooms: &Rooms,
    repository: &RepoName,
    digest: Digest,
) -> Result<Digest, ApiError> {
    Ok(runnable(rooms, repository, digest).await?.unwrap_or(digest))
}

/// The same; `None` of an index whose image for this platform the repository does not have. An index may
/// name what is elsewhere: that is nobody's business here.
pub(super) async fn runnable(
    rooms: &Rooms,
    repository: &RepoName,
    digest: Digest,
) -> Result<Option<Digest>, ApiError> {
    let Some((bytes, media_type)) = rooms.registry.manifest_bytes(repository, &digest).await? else {
        return Ok(Some(digest));
    };
    let Ok(Manifest::Index(index)) = Manifest::parse(&bytes, Some(&media_type)) else {
        return Ok(Some(digest));
    };
    let Some(child) = index.manifest_for(&seaworthy_oci::Platform::host()) else { return Ok(Some(digest)) };
    let is_here = rooms.registry.has_manifest(repository, &child.digest).await?;
    Ok(is_here.then_some(child.digest))
}

async fn scan(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    asked: AskedHost,
    Query(it): Query<Target>,
) -> Answer {
    let (Named { repository, .. }, digest) = resolve(&rooms, &identity, (&asked, &it.image)).await?;
    let image = image_of(&rooms, &repository, digest).await?;
    let wait = Duration::from_secs(it.wait.unwrap_or(30).min(limit::WAIT_SECONDS));
    rooms.clearance.ask_waiting(&repository, &image, wait).await?;
    let pending = || {
        let problem = Problem::new(ErrorCode::Pending, format!("`{}` is not inspected yet", it.image));
        ApiError(problem.hint("inspection is under way, try again").retry_after(2))
    };
    let ready = rooms.inspection.of_manifest(&image).await?.ok_or_else(pending)?;
    let set = rooms.findings.of_content(ready.content_id()).await?.ok_or_else(pending)?;
    let feeds = rooms.findings.feeds().await?;
    let about = report::Scanned {
        reference: &it.image,
        digest: Some(digest),
        ready: &ready,
        set: &set,
        feeds: &feeds,
        now: rooms.db.now(),
        language,
    };
    scanned(&about, it.fail_on.as_deref())
}

/// An inventory made elsewhere, used for this answer only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    reference: String,
    ready: InventoryReady,
    fail_on: Option<String>,
}

/// The report, with the answer to `fail_on` when one was asked for.
fn scanned(it: &report::Scanned<'_>, fail_on: Option<&str>) -> Answer {
    let mut value = report::scan(it);
    if let (Some(word), Value::Object(map)) = (fail_on, &mut value) {
        map.insert("fail_on".into(), report::fail_on(word, it).map_err(invalid)?);
    }
    Ok(Json(value))
}

pub(super) async fn match_sent(rooms: &Rooms, ready: &InventoryReady) -> Result<FindingsChanged, ApiError> {
    let packages: Vec<InstalledPackage> =
        ready.inventory.packages.iter().map(|row| row.package.clone()).collect();
    Ok(rooms.findings.find(ready.os(), &packages).await?)
}

async fn scan_inventory(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    Json(sent): Json<Sent>,
) -> Answer {
    require(&rooms, &identity, Permission::ClearanceRead, &Scope::root()).await?;
    let findings = match_sent(&rooms, &sent.ready).await?;
    let feeds = rooms.findings.feeds().await?;
    let about = report::Scanned {
        reference: &sent.reference,
        digest: None,
        ready: &sent.ready,
        set: &findings.set,
        feeds: &feeds,
        now: rooms.db.now(),
        language,
    };
    scanned(&about, sent.fail_on.as_deref())
}

async fn remove(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    asked: AskedHost,
    Query(it): Query<Target>,
) -> Answer {
    let Named { repository, tag, digest, .. } = Named::parse(&rooms, &asked, &it.image)?;
    let registry = &rooms.registry;
    match (tag, digest) {
        (Some(tag), Some(digest)) => registry.delete_tag_of(&identity, &repository, (tag, digest)).await,
        (Some(tag), None) => registry.delete_manifest(&identity, &repository, Ok(tag)).await,
        (None, Some(digest)) => registry.delete_manifest(&identity, &repository, Err(digest)).await,
        (None, None) => return Err(invalid("name a tag or a digest to delete")),
    }?;
    Ok(Json(json!({"deleted": it.image})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FindingQuery {
    cve: String,
}

/// Tags whose image has a vulnerability.
async fn findings(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(it): Query<FindingQuery>,
) -> Answer {
    require(&rooms, &identity, Permission::ClearanceRead, &Scope::root()).await?;
    let contents = rooms.findings.contents_with(&it.cve).await?;
    let mut out = Vec::new();
    let mut after = (String::new(), String::new());
    loop {
        let rows = rooms.registry.images(&identity, "", (&after.0, &after.1), limit::PAGE).await?;
        let Some(last) = rows.last() else { return Ok(Json(Value::Array(out))) };
        after = (last.repository.to_string(), last.tag.clone());
        for row in rows {
            let image = image_of(&rooms, &row.repository, row.digest).await?;
            let Some(ready) = rooms.inspection.of_manifest(&image).await? else { continue };
            let hides = async |digest| rooms.registry.is_hidden(&identity, &row.repository, digest).await;
            if row.quarantined && (hides(&row.digest).await? || hides(&image).await?) {
                continue;
            }
            if contents.contains(ready.content_id()) {
                out.push(json!({"repository": row.repository, "tag": row.tag, "digest": row.digest}));
            }
        }
    }
}
