//! May this container run here, and how do we know? One page, composed of what the rooms say.

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use seaworthy_access::Identity;
use seaworthy_fleet::{ContainerView, HistoryRow};
use seaworthy_link::Container;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_policy::Language;
use serde_json::{Value, json};

use super::{
    Answer, ApiError, Rooms,
    containers::{Shown, host_row, known, may_know, place, row, unknown_host},
    image_page,
};
use crate::{limit, report, route::Routes};

pub(super) fn routes() -> Routes<Rooms> {
    Routes::new().get("/api/v1/containers/{host}/{id}", explain)
}

async fn explain(
    State(rooms): State<Rooms>,
    Extension(identity): Extension<Identity>,
    Extension(language): Extension<Language>,
    Path((host, id)): Path<(String, String)>,
) -> Answer {
    let shown = Shown::to(&rooms, &identity).await?;
    let unknown = || ApiError(Problem::new(ErrorCode::NotFound, format!("container `{id}` is not known")));
    let host_id = rooms.fleet.host_named(&host).await?.filter(|id| shown.covers(*id));
    let host_id = host_id.ok_or_else(|| unknown_host(&host))?;
    let view = rooms.fleet.container_of(host_id, &id).await?.ok_or_else(unknown)?;
    let mut page = row(&rooms, &view, &known(&rooms, &identity, &view).await?);
    let about = image(&rooms, &identity, &view).await?;
    let clearance = clearance(&rooms, &identity, &view, language).await?;
    let history = newest(rooms.fleet.history(&view, None).await?);
    let host = rooms.fleet.hosts().await?.into_iter().find(|it| it.id == host_id);
    let it = &view.container;
    if let Value::Object(page) = &mut page {
        for (key, value) in [
            ("gone_at", json!(view.gone_at)),
            ("usage_series", json!(rooms.fleet.usage_series(&view.key()))),
            ("host_facts", host.as_ref().map_or(Value::Null, host_row)),
            ("settings", json!(it.settings)),
            ("weaknesses", weak(&it.settings, language)),
            ("labels", json!(it.labels)),
            ("cut", json!(it.cut)),
            ("started_by", started_by(it)),
            ("clearance", clearance),
            ("lineage", about.lineage),
            ("worst", about.worst),
            ("history", json!(history)),
        ] {
            page.insert(key.to_owned(), value);
        }
    }
    Ok(Json(page))
}

/// The verdict with its reasons; null for what is gone or not judged yet.
async fn clearance(
    rooms: &Rooms,
    identity: &Identity,
    view: &ContainerView,
    language: Language,
) -> Result<Value, ApiError> {
    if !may_know(rooms, identity, view).await? {
        return Ok(Value::Null);
    }
    let Some(workload) = rooms.clearance.workload(&view.key()).await? else { return Ok(Value::Null) };
    let verdict = rooms.clearance.deploy_verdict(&workload).await?;
    Ok(report::check_workload(&workload, verdict, language))
}

/// What is known of the image; null where nothing is, or the caller may not know it.
#[derive(Default)]
struct About {
    lineage: Value,
    worst: Value,
}

async fn image(rooms: &Rooms, identity: &Identity, view: &ContainerView) -> Result<About, ApiError> {
    let mut about = About::default();
    if !may_know(rooms, identity, view).await? {
        return Ok(about);
    }
    // What a host read itself has findings and no lineage here.
    if let Some((repository, digest)) = place(view) {
        let ready = rooms.inspection.of_manifest(&digest).await?;
        about.lineage = json!({
            "tags": image_page::tags(rooms, identity, &repository, &digest).await?,
            "platform": ready.as_ref().map(|ready| ready.inventory.platform.to_string()),
            "config": ready.as_ref().map(|ready| ready.config),
            "layers": ready.as_ref().map(|ready| &ready.inventory.layers),
        });
    }
    if let Some(content) = &view.image.content_id
        && let Some(set) = rooms.findings.of_content(content).await?
    {
        about.worst = json!(report::worst(&set, limit::WORST));
    }
    Ok(about)
}

/// What weakens the container, each with its words.
fn weak(settings: &seaworthy_model::Settings, language: Language) -> Value {
    let row = |it: &seaworthy_policy::Weakness| {
        let mut row = json!(it);
        if let Value::Object(map) = &mut row {
            map.insert("message".to_owned(), json!(it.message(language)));
        }
        row
    };
    Value::Array(seaworthy_policy::weaknesses(settings).iter().map(row).collect())
}

/// As much of a history, newest first, as a page shows.
fn newest(mut history: Vec<HistoryRow>) -> Vec<HistoryRow> {
    history.truncate(limit::HAPPENINGS);
    history
}

/// Engines do not say who started a container; labels of those who start many may.
fn started_by(it: &Container) -> Value {
    let label = |name: &str| it.labels.get(name).filter(|value| !value.is_empty());
    for (by, group, part) in [
        ("compose", "com.docker.compose.project", "com.docker.compose.service"),
        ("swarm", "com.docker.stack.namespace", "com.docker.swarm.service.name"),
        ("kubernetes", "io.kubernetes.pod.namespace", "io.kubernetes.pod.name"),
    ] {
        let named: Vec<&str> = [group, part].into_iter().filter_map(label).map(String::as_str).collect();
        if !named.is_empty() {
            return json!({"by": by, "name": named.join("/"), "source": "labels"});
        }
    }
    Value::Null
}

#[cfg(test)]
mod tests {
    use seaworthy_fleet::Happening;
    use seaworthy_model::{Finding, FindingSet, FixState, Severity, Timestamp};

    use super::*;

    #[test]
    fn a_page_shows_so_much_and_no_more() {
        let at = Timestamp::from_micros(0);
        let row = |number| HistoryRow {
            number,
            container: None,
            at,
            received_at: at,
            what: Happening::Gap { from: None, reason: String::new() },
        };
        let most = limit::HAPPENINGS as u64;
        assert_eq!(newest((0..most).map(row).collect()).len(), limit::HAPPENINGS);
        let shown = newest((0..=most).rev().map(row).collect());
        assert_eq!((shown.len(), shown[0].number), (limit::HAPPENINGS, most), "the newest are kept");
        let finding = |n: usize, kev: bool| Finding {
            id: format!("CVE-{n}"),
            aliases: vec![],
            ecosystem: seaworthy_package::Ecosystem::Deb,
            source: "expat".into(),
            version: "1".into(),
            severity: Severity::Low,
            severity_source: String::new(),
            state: FixState::Affected,
            fixed_version: None,
            kev,
            epss: None,
            summary: String::new(),
        };
        let mut rows: Vec<Finding> = (0..limit::WORST).map(|n| finding(n, false)).collect();
        let set = |rows: Vec<Finding>| FindingSet {
            id: String::new(),
            index_hash: String::new(),
            release: None,
            covered: true,
            rows,
        };
        assert_eq!(report::worst(&set(rows.clone()), limit::WORST).len(), limit::WORST);
        rows.push(finding(limit::WORST, true));
        let worst = report::worst(&set(rows), limit::WORST);
        assert_eq!((worst.len(), &worst[0]["kev"]), (limit::WORST, &json!(true)), "the worst is among them");
    }
}
