//! May this be pulled from there, or run like this?

use std::time::Duration;

use axum::{
    Extension, Json,
    extract::{Query, State},
};
use seaworthy_access::{Identity, Permission};
use seaworthy_clearance::{Purpose, Unrecorded};
use seaworthy_model::{ErrorCode, InventoryReady, Problem, Scope};
use seaworthy_oci::{Digest, Reference, RepoName};
use seaworthy_policy::{InventoryFacts, Language, Verdict, WorkloadSettings};
use seaworthy_registry::Withheld;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    Answer, ApiError, Rooms,
    images::{self, match_sent, resolve, runnable},
    invalid,
    named::{self, AskedHost, Named},
    require,
};
use crate::{japanese, limit, report, route::Routes};

/// How often a pending answer about a container is computed again while somebody waits.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new().get("/api/v1/check", check).post("/api/v1/check", check_asked)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    image: String,
    /// Seconds to wait for a pending answer.
    wait: Option<u64>,
    #[serde(rename = "fail_on")]
    _fail_on: Option<String>,
}

pub(super) fn waiting(seconds: Option<u64>) -> Duration {
    Duration::from_secs(seconds.unwrap_or(0).min(limit::WAIT_SECONDS))
}

async fn check(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    asked: AskedHost,
    Query(it): Query<Target>,
) -> Answer {
    let (named, digest) = resolve(&rooms, &identity, (&asked, &it.image)).await?;
    let value = check_document(&rooms, (&named.repository, &digest), waiting(it.wait), language).await?;
    Ok(Json(withheld(&rooms, (&identity, language), (&named, digest), value).await?))
}

/// An answer about an image that is here, and what the registry itself says of it: a lock or a quarantine keeps it from
/// being pulled, whatever the policies say.
async fn withheld(
    rooms: &Rooms,
    (identity, language): (&Identity, Language),
    (named, digest): (&Named, Digest),
    mut value: Value,
) -> Result<Value, ApiError> {
    let withheld = images::withheld(rooms, identity, named, digest).await?;
    let Some(Withheld { by, problem }) = withheld else { return Ok(value) };
    let problem = japanese::problem(problem, language);
    let reason = json!({
        "rule": by, "result": "fail", "mode": "enforce", "message": problem.message, "hint": problem.hint, "evidence": [],
    });
    if let Value::Object(map) = &mut value {
        map.insert("verdict".to_owned(), json!(Verdict::Blocked));
        if let Some(Value::Array(reasons)) = map.get_mut("reasons") {
            reasons.insert(0, reason);
        }
    }
    Ok(value)
}

/// The recorded answer, waiting for a pending one.
async fn check_document(
    rooms: &Rooms,
    (repository, digest): (&RepoName, &Digest),
    wait: Duration,
    language: Language,
) -> Result<Value, ApiError> {
    let answer = rooms.clearance.ask_waiting(repository, digest, wait).await?;
    let Some(stored) = &answer.stored else {
        return Ok(json!({
            "repository": repository, "digest": digest, "purpose": "pull", "verdict": answer.verdict,
            "policies": [], "reasons": [], "recorded": answer.verdict != Verdict::Pending,
        }));
    };
    let mut value = report::check_stored(stored, answer.verdict.word(), language);
    if let Value::Object(map) = &mut value {
        map.insert("digest".into(), json!(digest));
    }
    Ok(value)
}

/// A question with more to it: about an inventory made elsewhere, or about a container.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    reference: String,
    /// Used for this answer only; without it the question is about an image of this registry.
    ready: Option<InventoryReady>,
    /// To be pulled when it does not say.
    purpose: Option<Purpose>,
    /// A settings file; without it those of a plain `docker run`.
    settings: Option<String>,
    /// Seconds to wait for a pending answer.
    wait: Option<u64>,
    #[serde(rename = "fail_on")]
    _fail_on: Option<String>,
}

impl Question {
    /// How the container is to be run; `None` for a pull.
    fn workload(&self) -> Result<Option<WorkloadSettings>, ApiError> {
        match (self.purpose, &self.settings) {
            (Some(Purpose::Deploy), Some(text)) => Ok(Some(report::settings(text)?)),
            (Some(Purpose::Deploy), None) => Ok(Some(WorkloadSettings::default())),
            (_, None) => Ok(None),
            (_, Some(_)) => Err(invalid("settings are those of a container: ask with the purpose `deploy`")),
        }
    }
}

async fn check_asked(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    asked: AskedHost,
    Json(question): Json<Question>,
) -> Answer {
    let settings = question.workload()?;
    let text = &question.reference;
    if let Some(ready) = &question.ready {
        let place = Place::of(&rooms, &asked, text, settings.is_some()).await?;
        let scope = Scope::repository(&place.repository);
        require(&rooms, &identity, Permission::ClearanceRead, &scope).await?;
        let answer = of_sent(&rooms, &place, ready, settings.as_ref()).await?;
        return Ok(Json(report::check_unrecorded(&answer, None, settings.as_ref(), language)));
    }
    let (named, digest) = resolve(&rooms, &identity, (&asked, text)).await?;
    let repository = &named.repository;
    let wait = waiting(question.wait);
    let Some(settings) = settings else {
        let value = check_document(&rooms, (repository, &digest), wait, language).await?;
        return Ok(Json(withheld(&rooms, (&identity, language), (&named, digest), value).await?));
    };
    let Some(image) = runnable(&rooms, repository, digest).await? else {
        let message = format!("`{text}` has no image for this server's platform here");
        return Err(Problem::new(ErrorCode::NotFound, message).into());
    };
    let place = Place::here(&rooms, named.clone());
    let answer = of_stored(&rooms, (&place, &image), &settings, wait).await?;
    let answer = answer.ok_or_else(|| invalid(format!("`{text}` is not an image: it cannot be run")))?;
    let value = report::check_unrecorded(&answer, Some(&digest), Some(&settings), language);
    Ok(Json(withheld(&rooms, (&identity, language), (&named, digest), value).await?))
}

/// Where an image is judged.
struct Place {
    /// By whose policies.
    repository: RepoName,
    /// As a container names it, which is with a host.
    reference: Reference,
}

impl Place {
    /// Who names no host means this registry's own.
    fn here(rooms: &Rooms, named: Named) -> Self {
        let Named { repository, tag, digest, host, .. } = named;
        let host = Some(host.unwrap_or_else(|| rooms.registry_host.clone()));
        Self { repository: repository.clone(), reference: Reference { host, repository, tag, digest } }
    }

    /// What is to be run may come from another registry, and is judged by the name that its containers have. What is to
    /// be pulled comes from here.
    async fn of(rooms: &Rooms, asked: &AskedHost, text: &str, is_run: bool) -> Result<Self, ApiError> {
        let reference = named::read(text)?;
        let is_foreign = reference.host.as_ref().is_some_and(|host| !named::is_ours(rooms, asked, host));
        if is_run && is_foreign {
            let repository = seaworthy_fleet::repository_of(text)
                .ok_or_else(|| invalid(format!("`{text}` is not what an engine calls an image")))?;
            return Ok(Self { repository, reference });
        }
        let named = Named::parse(rooms, asked, text)?;
        named.check_place(rooms, text).await?;
        Ok(Self::here(rooms, named))
    }
}

/// What an inventory made elsewhere would get there.
async fn of_sent(
    rooms: &Rooms,
    place: &Place,
    ready: &InventoryReady,
    settings: Option<&WorkloadSettings>,
) -> Result<Unrecorded, ApiError> {
    let inventory = InventoryFacts::from_event(ready);
    let findings = match_sent(rooms, ready).await?;
    let workload = settings.map(|settings| settings.facts(&place.reference, ready.user()));
    Ok(rooms.clearance.judge_unrecorded(&place.repository, &inventory, &findings, workload).await?)
}

/// What a container of a stored image would get, waiting for a pending answer; `None` for what is no
/// image.
async fn of_stored(
    rooms: &Rooms,
    (place, image): (&Place, &Digest),
    settings: &WorkloadSettings,
    wait: Duration,
) -> Result<Option<Unrecorded>, ApiError> {
    let deadline = Instant::now() + wait;
    let mut ready = None;
    loop {
        if ready.is_none() {
            ready = rooms.inspection.of_manifest(image).await?;
        }
        let workload = settings.facts(&place.reference, ready.as_ref().and_then(InventoryReady::user));
        let answer = rooms.clearance.judge_deploy(&place.repository, image, workload).await?;
        let is_pending = answer.as_ref().is_some_and(|it| it.decision.verdict == Verdict::Pending);
        if !is_pending || Instant::now() >= deadline {
            return Ok(answer);
        }
        sleep_until(deadline.min(Instant::now() + AGAIN)).await;
    }
}
