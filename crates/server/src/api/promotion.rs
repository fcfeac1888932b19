//! Promotion, and the rules of repositories.

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use http::StatusCode;
use seaworthy_access::{Identity, Permission};
use seaworthy_clearance::Unrecorded;
use seaworthy_model::{Problem, Scope};
use seaworthy_oci::{Digest, Reference, RepoName, Tag};
use seaworthy_policy::{Language, Verdict};
use seaworthy_registry::{
    Finding, Prefix, Promotion, QuarantineState, Referrers, RepositoryRules, RulesChange,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    Answer, ApiError, ListPart, Rooms,
    check::{AGAIN, waiting},
    images::resolve,
    invalid,
    named::{self, AskedHost, Named},
    require,
};
use crate::{refusal, report, route::Routes};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new()
        .post("/api/v1/images/promote", promote)
        .post("/api/v1/images/quarantine", judge)
        .post("/api/v1/images/import", import)
        .get("/api/v1/registry/rules", rules)
        .post("/api/v1/registry/rules", set_rules)
        .patch("/api/v1/registry/rules", change_rules)
        .delete("/api/v1/registry/rules", remove_rules)
        .get("/api/v1/registry/usage", usage)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Copy {
    /// An image of this registry.
    from: String,
    /// A repository of it, with a tag or without.
    to: String,
    /// Seconds to wait for a pending answer.
    wait: Option<u64>,
    /// False: what refers to it, such as signatures, is left behind.
    referrers: Option<bool>,
}

impl Copy {
    fn referrers(&self) -> Referrers {
        if self.referrers == Some(false) { Referrers::Left } else { Referrers::Along }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    image: String,
    state: QuarantineState,
    #[serde(default)]
    details: String,
}

/// What somebody found out about an image in quarantine.
async fn judge(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    asked: AskedHost,
    Json(found): Json<Found>,
) -> Answer {
    let (Named { repository, .. }, digest) = resolve(&rooms, &identity, (&asked, &found.image)).await?;
    require(&rooms, &identity, Permission::QuarantineWrite, &Scope::repository(&repository)).await?;
    let finding = Finding { state: found.state, details: found.details };
    rooms.registry.judge_quarantined(&identity, &repository, &digest, finding).await?;
    Ok(Json(json!({"repository": repository, "digest": digest, "state": found.state})))
}

/// Where to, and the tag there: the one that it has here when nothing else is said.
fn destination(
    to: Named,
    from: Result<Tag, Digest>,
    digest: &Digest,
) -> Result<(RepoName, Option<Tag>), ApiError> {
    if to.digest.is_some_and(|named| named != *digest) {
        let message =
            format!("`{}` names another image than {digest}: a copy keeps its digest", to.repository);
        return Err(invalid(message));
    }
    Ok((to.repository, to.tag.or(from.ok())))
}

async fn promote(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    asked: AskedHost,
    Json(copy): Json<Copy>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let (named, digest) = resolve(&rooms, &identity, (&asked, &copy.from)).await?;
    let (from, source) = (named.which(), named.repository);
    require(&rooms, &identity, Permission::Pull, &Scope::repository(&source)).await?;
    let to = Named::parse(&rooms, &asked, &copy.to)?;
    require(&rooms, &identity, Permission::Push, &Scope::repository(&to.repository)).await?;
    to.check_place(&rooms, &copy.to).await?;
    let to = destination(to, from.clone(), &digest)?;
    // A tag may be locked, and its manifest not.
    rooms.registry.check_unlocked(&source, from).await?;
    copied(&rooms, &identity, language, (source, digest), (to, &copy)).await
}

/// Fetches an image from the upstream of a cache, and copies it to where it is wanted, if it may be there.
async fn import(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    asked: AskedHost,
    Json(copy): Json<Copy>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let to = Named::parse(&rooms, &asked, &copy.to)?;
    let from = named::read(&copy.from)?;
    // Nothing is fetched for who may not have it, and nobody is told which caches there are.
    require(&rooms, &identity, Permission::Push, &Scope::repository(&to.repository)).await?;
    to.check_place(&rooms, &copy.to).await?;
    let source = cached(&rooms, &asked, &from).await?;
    require(&rooms, &identity, Permission::Pull, &Scope::repository(&source)).await?;
    let which = from.digest.map_or_else(|| Ok(from.tag.unwrap_or_else(Tag::latest)), Err);
    let digest = rooms.registry.fetch_whole(&identity, (&source, which.clone()), copy.referrers()).await?;
    let to = destination(to, which, &digest)?;
    copied(&rooms, &identity, language, (source, digest), (to, &copy)).await
}

/// Where an image is below a cache: by the registry that it comes from, or by its name here, which may begin with a host as
/// well.
async fn cached(rooms: &Rooms, asked: &AskedHost, from: &Reference) -> Result<RepoName, ApiError> {
    let registry = &rooms.registry;
    let host = from.host.as_deref().filter(|host| !named::is_ours(rooms, asked, host));
    let found = registry.cached_place(host, &from.repository).await;
    if found.is_ok() || host.is_none() {
        return Ok(found?);
    }
    match from.whole_repository() {
        Some(whole) => Ok(registry.cached_place(None, &whole).await.or(found)?),
        None => Ok(found?),
    }
}

async fn copied(
    rooms: &Rooms,
    identity: &Identity,
    language: Language,
    (source, digest): (RepoName, Digest),
    ((destination, tag), asked): ((RepoName, Option<Tag>), &Copy),
) -> Result<(StatusCode, Json<Value>), ApiError> {
    // Before anything is told of the verdict there.
    for (permission, repository) in [(Permission::Pull, &source), (Permission::Push, &destination)] {
        require(rooms, identity, permission, &Scope::repository(repository)).await?;
    }
    let mut parts = rooms.registry.parts_with(identity, (&source, &digest), asked.referrers()).await?;
    let deadline = Instant::now() + waiting(asked.wait);
    let answer = judged(rooms, (&source, &parts.manifests), &destination, deadline).await?;
    let mut value = match &answer {
        // An artifact, or an index of artifacts: there is nothing that could run.
        None => json!({"verdict": Verdict::Allowed, "policies": [], "reasons": [], "recorded": false}),
        Some(judged) => {
            let verdict = judged.decision.verdict;
            if verdict != Verdict::Allowed {
                let name = format!("{source}@{digest} as {destination}");
                return Err(refusal::of_reasons(&name, (verdict, &judged.decision.reasons), language).into());
            }
            report::check_unrecorded(judged, Some(&digest), None, language)
        }
    };
    // What refers to it and could run needs a clearance of its own.
    let mut left = Vec::new();
    for image in parts.referring.clone() {
        let alone = std::slice::from_ref(&image);
        if let Some(answer) = judged(rooms, (&source, alone), &destination, deadline).await?
            && answer.decision.verdict != Verdict::Allowed
        {
            parts.leave(&image);
            left.push(json!({"digest": image, "verdict": answer.decision.verdict}));
        }
    }
    let policies = value.get("policies").cloned().unwrap_or_else(|| json!([]));
    let because = json!({"verdict": Verdict::Allowed, "policies": policies});
    let promotion = Promotion { source, digest, destination: destination.clone(), tag: tag.clone(), because };
    let absent = parts.absent.clone();
    let promoted = rooms.registry.promote(identity, promotion, parts).await?;
    if let Value::Object(map) = &mut value {
        map.insert("repository".into(), json!(destination));
        map.insert("tag".into(), json!(tag));
        map.insert("digest".into(), json!(digest));
        map.insert("manifests".into(), json!(promoted.manifests));
        map.insert("absent".into(), json!(absent));
        map.insert("left_behind".into(), json!(left));
    }
    Ok((StatusCode::CREATED, Json(value)))
}

/// What the image would get there, waiting for a pending answer. An index gets what an index gets: the answer
/// of an image that is allowed, if there is one, else of one that is pending. `None` when there is no image.
async fn judged(
    rooms: &Rooms,
    (source, manifests): (&RepoName, &[Digest]),
    destination: &RepoName,
    deadline: Instant,
) -> Result<Option<Unrecorded>, Problem> {
    loop {
        let mut best: Option<Unrecorded> = None;
        for manifest in manifests {
            let Some(answer) = rooms.clearance.judge_as(source, manifest, destination).await? else {
                continue;
            };
            let rank = |it: &Unrecorded| match it.decision.verdict {
                Verdict::Allowed => 0,
                Verdict::Pending => 1,
                Verdict::Blocked => 2,
            };
            if best.as_ref().is_none_or(|best| rank(&answer) < rank(best)) {
                best = Some(answer);
            }
        }
        let is_pending = best.as_ref().is_some_and(|it| it.decision.verdict == Verdict::Pending);
        if !is_pending || Instant::now() >= deadline {
            return Ok(best);
        }
        sleep_until(deadline.min(Instant::now() + AGAIN)).await;
    }
}

async fn rules(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(part): Query<ListPart>,
) -> Answer {
    super::signed_in(&identity)?;
    Ok(Json(part.of(&rooms.registry.rules(&identity).await?, "prefix")))
}

/// What is used of quotas.
async fn usage(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(part): Query<ListPart>,
) -> Answer {
    Ok(Json(part.of(&rooms.registry.usage(&identity).await?, "prefix")))
}

async fn set_rules(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(rules): Json<RepositoryRules>,
) -> Answer {
    super::signed_in(&identity)?;
    let answer = json!(rules);
    rooms.registry.set_rules(&identity, rules).await?;
    Ok(Json(answer))
}

async fn change_rules(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Json(change): Json<RulesChange>,
) -> Answer {
    super::signed_in(&identity)?;
    Ok(Json(json!(rooms.registry.change_rules(&identity, change).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    prefix: Prefix,
}

async fn remove_rules(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Query(which): Query<Which>,
) -> Answer {
    super::signed_in(&identity)?;
    rooms.registry.remove_rules(&identity, &which.prefix).await?;
    Ok(Json(json!({"removed": which.prefix})))
}
