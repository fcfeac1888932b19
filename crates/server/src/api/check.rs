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
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    Answer, ApiError, Rooms,
    images::{match_sent, parse, resolve, runnable},
    invalid, require,
};
use crate::{limit, report, route::Routes};

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
    Query(it): Query<Target>,
) -> Answer {
    let (repository, digest) = resolve(&rooms, &identity, &it.image).await?;
    Ok(Json(check_document(&rooms, (&repository, &digest), waiting(it.wait), language).await?))
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
struct Asked {
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

impl Asked {
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
    Json(asked): Json<Asked>,
) -> Answer {
    let settings = asked.workload()?;
    let mut reference = parse(&asked.reference)?;
    if let Some(ready) = &asked.ready {
        let scope = Scope::repository(&reference.repository);
        require(&rooms, &identity, Permission::ClearanceRead, &scope).await?;
        name_host(&rooms, &mut reference);
        let answer = of_sent(&rooms, &reference, ready, settings.as_ref()).await?;
        return Ok(Json(report::check_unrecorded(&answer, None, settings.as_ref(), language)));
    }
    let (repository, digest) = resolve(&rooms, &identity, &asked.reference).await?;
    let wait = waiting(asked.wait);
    let Some(settings) = settings else {
        return Ok(Json(check_document(&rooms, (&repository, &digest), wait, language).await?));
    };
    let Some(image) = runnable(&rooms, &repository, digest).await? else {
        let message = format!("`{}` has no image for this server's platform here", asked.reference);
        return Err(Problem::new(ErrorCode::NotFound, message).into());
    };
    name_host(&rooms, &mut reference);
    let answer = of_stored(&rooms, (&reference, &image), &settings, wait).await?;
    let answer =
        answer.ok_or_else(|| invalid(format!("`{}` is not an image: it cannot be run", asked.reference)))?;
    Ok(Json(report::check_unrecorded(&answer, Some(&digest), Some(&settings), language)))
}

/// A container names its image with a host; who names none means this registry's own.
fn name_host(rooms: &Rooms, reference: &mut Reference) {
    reference.host.get_or_insert_with(|| rooms.registry_host.clone());
}

/// What an inventory made elsewhere would get there.
async fn of_sent(
    rooms: &Rooms,
    reference: &Reference,
    ready: &InventoryReady,
    settings: Option<&WorkloadSettings>,
) -> Result<Unrecorded, ApiError> {
    let inventory = InventoryFacts::from_event(ready);
    let findings = match_sent(rooms, ready).await?;
    let workload = settings.map(|settings| settings.facts(reference, ready.user()));
    Ok(rooms.clearance.judge_unrecorded(&reference.repository, &inventory, &findings, workload).await?)
}

/// What a container of a stored image would get, waiting for a pending answer; `None` for what is no
/// image.
async fn of_stored(
    rooms: &Rooms,
    (reference, image): (&Reference, &Digest),
    settings: &WorkloadSettings,
    wait: Duration,
) -> Result<Option<Unrecorded>, ApiError> {
    let deadline = Instant::now() + wait;
    let mut ready = None;
    loop {
        if ready.is_none() {
            ready = rooms.inspection.of_manifest(image).await?;
        }
        let workload = settings.facts(reference, ready.as_ref().and_then(InventoryReady::user));
        let answer = rooms.clearance.judge_deploy(&reference.repository, image, workload).await?;
        let is_pending = answer.as_ref().is_some_and(|it| it.decision.verdict == Verdict::Pending);
        if !is_pending || Instant::now() >= deadline {
            return Ok(answer);
        }
        sleep_until(deadline.min(Instant::now() + AGAIN)).await;
    }
}
