//! The routes of alerts answer as described.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{agent::until, http::Door, openapi::Description, receiver::Receiver};

/// Targets, before there is anything to tell; by whom they may be made.
pub(crate) fn targets(it: &mut Description, socket: &Door, port: u16, receiver: &Receiver) {
    let (all, one) = ("/api/v1/alerts/targets", "/api/v1/alerts/targets/{name}");
    let url = format!("http://127.0.0.1:{}/hook", receiver.port);
    let new = json!({"name": "gone", "url": url, "networks": ["127.0.0.1"]});
    let made = it.ask(socket, ("POST", all), all, &new);
    assert_eq!(made.status, 200, "{}", made.text());
    for (change, status) in [
        (json!({}), 409),
        (json!({"name": "UPPER"}), 400),
        (json!({"name": "b", "mail": "ops@example.com"}), 400),
        (json!({"name": "b", "url": null}), 400),
        (json!({"name": "b", "url": "ftp://h/"}), 400),
        (json!({"name": "b", "networks": ["0.0.0.0/0"]}), 400),
        (json!({"name": "b", "events": ["rain"]}), 400),
        (json!({"name": "b", "url": null, "networks": [], "mail": "ops"}), 400),
        (json!({"name": "b", "url": null, "networks": [], "mail": "ops@example.com"}), 409),
    ] {
        let mut bad = new.clone();
        bad.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let refused = it.ask(socket, ("POST", all), all, &bad);
        assert_eq!(refused.status, status, "{change}: {}", refused.text());
    }
    // Who may send to the internet may not send behind our walls.
    let contributor = json!({"name": "alerts", "role": "Contributor", "scope": "/"});
    let made = it.ask(socket, ("POST", "/api/v1/principals"), "/api/v1/principals", &contributor).json();
    let pair = format!("alerts:{}", made["client_secret"].as_str().unwrap());
    let door = Door::Tcp { port, basic: STANDARD.encode(pair) };
    let inside = json!({"name": "inside", "url": url, "networks": ["127.0.0.1"]});
    assert_eq!(it.ask(&door, ("POST", all), all, &inside).status, 403);
    let quiet = json!({"name": "quiet", "url": "http://localhost:9/", "events": ["container.blocked"]});
    assert_eq!(it.ask(&door, ("POST", all), all, &quiet).status, 200);
    let tested = it.ask(
        &door,
        ("POST", "/api/v1/alerts/targets/{name}/test"),
        &format!("{all}/quiet/test"),
        &Value::Null,
    );
    assert!(tested.json()["failure"].as_str().is_some_and(|it| it.contains("not in an allowed network")));
    assert_eq!(it.get(&door, one, &format!("{all}/quiet")).status, 200);
    assert_eq!(it.get(&door, one, &format!("{all}/nobody")).status, 404);
    it.ask(&door, ("DELETE", one), &format!("{all}/quiet"), &Value::Null);
}

/// What the containers made known, and what did not arrive.
pub(crate) fn raised(it: &mut Description, socket: &Door) {
    let listed = it.get(socket, "/api/v1/alerts", "/api/v1/alerts").json();
    let alerts = listed["alerts"].as_array().expect("alerts");
    assert!(alerts.iter().any(|it| it["container"]["name"] == "web"), "{listed:#}");
    assert_eq!(alerts[0]["event"], "container.violation", "{listed:#}");
    let first = it.get(socket, "/api/v1/alerts", "/api/v1/alerts?limit=1").json();
    assert_eq!((&first["alerts"][0], &first["next"]), (&alerts[0], &alerts[0]["id"]));
    for bad in ["after=x", "limit=x", "colour=red"] {
        assert_eq!(it.get(socket, "/api/v1/alerts", &format!("/api/v1/alerts?{bad}")).status, 400, "{bad}");
    }
    let dead = "/api/v1/alerts/dead";
    let given_up = until("all are given up", || {
        let messages = it.get(socket, dead, dead).json()["messages"].clone();
        (messages.as_array()?.len() == alerts.len()).then_some(messages)
    });
    assert_eq!((&given_up[0]["target"], &given_up[0]["attempts"]), (&json!("gone"), &json!(1)));
    let counted = format!("\nseaworthy_alert_messages_dead {}\n", alerts.len());
    assert!(
        socket.get("GET", "/metrics").text().contains(&counted),
        "{}",
        socket.get("GET", "/metrics").text()
    );
    let resend = ("POST", "/api/v1/alerts/dead/{id}/resend");
    let path = format!("{dead}/{}/resend", given_up[0]["id"].as_str().unwrap());
    assert_eq!(it.ask(socket, resend, &path, &Value::Null).status, 200);
    assert_eq!(it.ask(socket, resend, &format!("{dead}/x/resend"), &Value::Null).status, 400);
    let never = format!("{dead}/0190a2b4-0000-7000-8000-000000000001/resend");
    assert_eq!(it.ask(socket, resend, &never, &Value::Null).status, 404);
    let targets = it.get(socket, "/api/v1/alerts/targets", "/api/v1/alerts/targets").json();
    assert_eq!(targets[0]["address"].as_str().map(|it| it.contains("/hook")), Some(false), "{targets:#}");
}
