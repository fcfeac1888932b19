//! An alert as other programs read it.

use seaworthy_model::{AlertMessageId, ClearanceChanged, Timestamp};
use seaworthy_policy::Language;
use seaworthy_telemetry::{Alert, Body, Summary, Told, acr_action};
use serde_json::{Value, json};

/// Where links in alerts lead.
#[derive(Clone, Debug)]
pub struct Links {
    /// What they begin with, `https://seaworthy.example.com`.
    pub base: String,
}

impl Links {
    /// The page of a container in the API.
    pub fn container(&self, about: &ClearanceChanged) -> String {
        let (host, id) = (encode(&about.host_name), encode(&about.key.id));
        format!("{}/api/v1/containers/{host}/{id}", self.base.trim_end_matches('/'))
    }

    /// The command that explains a container. Names of containers are foreign text, which nobody should
    /// paste into a shell: the id is used, and nothing when it is no id.
    pub fn explain(&self, about: &ClearanceChanged) -> Option<String> {
        let is_plain = |text: &str| {
            (1..=253).contains(&text.len())
                && !text.starts_with('-')
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let id = about.key.id.get(..12).unwrap_or(&about.key.id);
        let both = is_plain(id) && is_plain(&about.host_name);
        both.then(|| format!("seaworthy container explain {}/{id}", about.host_name))
    }

    /// This installation, as the source of events: a network-path reference (RFC 3986, 4.2).
    fn source(&self) -> String {
        let host = self.base.split_once("://").map_or(self.base.as_str(), |(_, host)| host);
        format!("//{}/alerts", host.trim_end_matches('/'))
    }
}

/// The body of a webhook: a `CloudEvent` 1.0 in structured JSON, so that receivers which know none of
/// our words can still route it, store it, and tell repetitions by `source` and `id`.
pub fn cloud_event(links: &Links, id: AlertMessageId, body: &Body, now: Timestamp) -> Value {
    let (id, kind, time, subject, data) = match body {
        Body::Alert(alert) => {
            let about = &alert.about;
            let subject = format!("hosts/{}/containers/{}", about.host_name, about.key.id);
            (alert.id.to_string(), alert.kind.word(), alert.at, Some(subject), data(links, alert))
        }
        Body::Summary(summary) => {
            (id.to_string(), "summary", summary.until, None, summary_data(links, summary))
        }
        Body::Act(told) => {
            let record = &told.record;
            let subject = Some(record.object.clone());
            (record.id.to_string(), record.action.word(), record.at, subject, told_data(told))
        }
        Body::Test => (id.to_string(), "test", now, None, json!({})),
    };
    let mut event = json!({
        "specversion": "1.0",
        "id": id,
        "source": links.source(),
        "type": format!("seaworthy.{kind}"),
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    });
    if let (Some(subject), Value::Object(event)) = (subject, &mut event) {
        // Control characters have no place in an attribute (`CloudEvents` 1.0.2, "Type System").
        let subject: String = subject.chars().filter(|c| !c.is_control()).collect();
        event.insert("subject".into(), subject.into());
    }
    event
}

/// An alert as lists show it, its reasons in one language.
pub fn row(links: &Links, alert: &Alert, language: Language) -> Value {
    let mut row = data(links, alert);
    if let Value::Object(row) = &mut row {
        for (key, value) in [("id", json!(alert.id)), ("event", json!(alert.kind)), ("at", json!(alert.at))] {
            row.insert(key.into(), value);
        }
        let reasons = alert.about.reasons.iter().map(|it| {
            let message = if language == Language::Japanese { &it.message_ja } else { &it.message };
            json!({"rule": it.rule, "result": it.result, "mode": it.mode, "message": message})
        });
        row.insert("reasons".into(), reasons.collect());
    }
    row
}

fn data(links: &Links, alert: &Alert) -> Value {
    let it = &alert.about;
    json!({
        "host": {"id": it.key.host, "name": it.host_name},
        "container": {
            "runtime": it.key.runtime, "id": it.key.id, "name": it.name, "started_at": it.started_at,
        },
        "image": {
            "reported": it.reported, "repository": it.repository, "digest": it.digest,
            "content_id": it.content_id,
        },
        "verdict": it.verdict,
        "before": it.before,
        "decided_at": it.decided_at,
        "reasons": it.reasons,
        "more_reasons": it.more_reasons,
        "links": {"container": links.container(it), "explain": links.explain(it)},
    })
}

/// An act of the registry: what it is about, who did it, and where the ledger has it.
fn told_data(told: &Told) -> Value {
    let record = &told.record;
    let subject = told.subject();
    let detail = |name: &str| record.details.get(name).cloned().unwrap_or_default();
    let tag = subject.as_ref().and_then(|it| it.tag).map_or_else(|| detail("tag"), Into::into);
    let mut details = record.details.clone();
    if let Some(fields) = details.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "from" | "because"));
    }
    json!({
        "action": record.action,
        "repository": subject.as_ref().map(|it| &it.repository),
        "digest": subject.as_ref().and_then(|it| it.digest).map_or_else(|| detail("digest"), Into::into),
        "tag": tag,
        "media_type": detail("media_type"),
        "bytes": detail("bytes"),
        // From where, and by what proof, is for who may read the ledger; and so is where a copy came from.
        "actor": {"kind": record.actor.kind, "name": record.actor.name},
        "details": details,
        "ledger": {"id": record.id, "index": told.index},
    })
}

/// The body of a webhook as Azure's registry sends it ("Azure Container Registry webhook reference"). What only
/// the request knew (its id, its user agent) the ledger does not keep, so it is not there.
pub fn acr_event(links: &Links, id: AlertMessageId, body: &Body, now: Timestamp) -> Value {
    let host = links.source();
    let host = host.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned();
    let Body::Act(told) = body else {
        return json!({"id": id, "timestamp": now, "action": "ping", "request": {"host": host}});
    };
    let record = &told.record;
    let (subject, action) = (told.subject(), acr_action(record.action));
    let mut target = serde_json::Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            target.insert(name.to_owned(), value);
        }
    };
    let detail = |name: &str| record.details.get(name).cloned().unwrap_or_default();
    for (name, detail) in [
        ("mediaType", detail("media_type")),
        ("size", detail("bytes")),
        ("length", detail("bytes")),
        ("tag", told.tag.as_ref().map_or_else(|| detail("tag"), |tag| json!(tag))),
    ] {
        put(name, detail);
    }
    if let Some(subject) = &subject {
        put("repository", json!(subject.repository));
        put("digest", json!(subject.digest));
    }
    let method = if action == Some("delete") { "DELETE" } else { "PUT" };
    // One record makes several messages where it has several tags.
    let own = told.tag.as_ref().map_or_else(|| json!(record.id), |_| json!(id));
    json!({
        "id": own,
        "timestamp": record.at,
        "action": action,
        "target": target,
        "request": {"id": record.id, "host": host, "method": method},
    })
}

fn summary_data(links: &Links, summary: &Summary) -> Value {
    let first = summary.first.iter().map(|alert| row(links, alert, Language::English));
    json!({
        "count": summary.count(), "events": summary.kinds, "since": summary.since, "until": summary.until,
        "first": first.collect::<Vec<Value>>(),
    })
}

/// Percent-encodes a segment of a path (RFC 3986, 2.3).
fn encode(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}
