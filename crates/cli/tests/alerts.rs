//! An advisory arrives, what runs becomes blocked, and somebody is told: signed, once, after kills too.

use seaworthy_oci::Digest;
use serde_json::{Value, json};

use crate::{
    agent::until,
    image::Image,
    receiver::Receiver,
    server::{Place, Said, free_port},
};

/// A running container of `dev/web:1`, as an agent tells it.
fn batch(number: u64, image: &Image, name: &str, port: u16) -> Value {
    json!({
        "version": 1, "spool": "5b0c7a52-6d0d-4f3c-9d0e-0d5a54b0f6a1", "number": number,
        "made_at": "2026-11-23T10:00:01Z",
        "items": [{
            "item": "container", "runtime": "docker", "id": Digest::sha256(name.as_bytes()).hex(), "name": name,
            "image": format!("localhost:{port}/dev/web:1"), "image_id": image.digest().to_string(),
            "manifest": null, "state": "running", "created_at": null, "started_at": "2026-11-23T10:00:00Z",
            "finished_at": null, "exit_code": null,
            "settings": {
                "privileged": false, "user": "7", "host_network": false, "host_pid": false, "host_ipc": false,
                "added_capabilities": [], "dropped_capabilities": [], "devices": [], "mounts": [],
                "read_only_root": false, "no_new_privileges": false, "seccomp_unconfined": false,
                "apparmor_unconfined": false, "environment": [],
            },
            "labels": {}, "seen_at": "2026-11-23T10:00:01Z", "cut": false,
        }],
    })
}

struct Story {
    place: Place,
    port: u16,
}

impl Story {
    fn done(&self, words: &[&str]) -> Said {
        let said = self.place.cli(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
        said
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.place.path(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    fn tell(&self, batch: &Value) {
        let body = batch.to_string();
        let answer =
            self.place.socket().ask("POST", "/api/v1/agent/batches", "application/json", body.as_bytes());
        assert_eq!(answer.expect("answered").status, 200);
    }

    fn verdict_is(&self, name: &str, verdict: &str) {
        until(&format!("`{name}` is {verdict}"), || {
            let rows = self.place.cli(&["ps", "-o", "json"]).json();
            rows.as_array()?.iter().any(|row| row["name"] == name && row["verdict"] == verdict).then_some(())
        });
    }

    /// A target that receives at `receiver`; its secret.
    fn target(&self, name: &str, receiver: &Receiver) -> String {
        let url = format!("http://127.0.0.1:{}/{name}?token=hush", receiver.port);
        let made = self.done(&[
            "alert",
            "target",
            "create",
            name,
            "--url",
            &url,
            "--allow-network",
            "127.0.0.1",
            "-o",
            "json",
        ]);
        assert!(made.err.contains("shown once") && !made.out.contains("hush"), "{made:?}");
        made.json()["secret"].as_str().expect("a secret").to_owned()
    }
}

#[test]
fn what_happens_in_the_registry_is_told() {
    let place = Place::new();
    let port = free_port();
    let server = place.try_up_with(port, &[]).unwrap_or_else(|log| panic!("{log}"));
    let story = Story { place, port };
    let (events, azure) = (Receiver::answering("204 No Content"), Receiver::answering("200 OK"));
    let target = |name: &str, receiver: &Receiver, more: &[&str]| {
        let url = format!("http://127.0.0.1:{}/{name}", receiver.port);
        let words =
            ["alert", "target", "create", name, "--url", &url, "--allow-network", "127.0.0.1", "-o", "json"];
        story.done(&[&words, more].concat()).json()["secret"].as_str().expect("a secret").to_owned()
    };
    let words: Vec<&str> = ["manifest.push", "manifest.delete", "tag.delete", "image.promote"]
        .iter()
        .flat_map(|word| ["--event", word])
        .collect();
    let secret = target("ci", &events, &[&words[..], &["--repository", "dev"]].concat());
    let only = ["--format", "acr", "--event", "manifest.push", "--event", "manifest.delete"];
    let acr_secret = target("acr", &azure, &only);
    let wrong = ["alert", "target", "create", "x", "--url", "https://a.example", "--format", "acr"];
    assert!(story.place.cli(&wrong).err.contains("has no word for `container.blocked`"));

    let (image, other) = (Image::debian("expat", "2.5.0-1", ""), Image::debian("expat", "2.5.0-1", "other"));
    let door = story.place.login(port);
    image.push(&door, "other/web", "1");
    other.push(&door, "dev/web", "1");
    let manifest = door.get("GET", "/v2/other/web/manifests/1");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let path = format!("/v2/other/web/manifests/{}?tag=a&tag=b", image.digest());
    assert_eq!(door.ask("PUT", &path, kind, manifest.text().as_bytes()).expect("sent").status, 201);
    story.done(&["image", "delete", "dev/web:1"]);
    story.done(&["image", "delete", &format!("dev/web@{}", other.digest())]);
    let all = until("the events arrive", || Some(events.requests()).filter(|all| all.len() == 3));
    let all: Vec<Value> = all.iter().map(|it| it.believed(&secret)).collect();
    let push = all.iter().find(|it| it["type"] == "seaworthy.manifest.push").expect("the push");
    let data = &push["data"];
    assert_eq!((&data["repository"], &data["tag"]), (&json!("dev/web"), &json!("1")), "{push:#}");
    assert_eq!(data["digest"], other.digest().to_string());
    assert!(data["actor"]["name"].is_string() && data["ledger"]["index"].is_u64(), "{push:#}");
    let deleted = all.iter().find(|it| it["type"] == "seaworthy.tag.delete").expect("the tag");
    let gone = (&json!("1"), &json!(other.digest().to_string()));
    assert_eq!((&deleted["data"]["tag"], &deleted["data"]["digest"]), gone);

    let all = until("Azure's arrive", || Some(azure.requests()).filter(|all| all.len() == 5));
    let mut all: Vec<Value> = all.iter().map(|it| it.believed(&acr_secret)).collect();
    all.sort_by_key(|it| it["timestamp"].as_str().expect("a time").to_owned());
    let (pushed, gone) = (&all[0], &all[4]);
    let mut both: Vec<&Value> = all[2..4].iter().map(|it| &it["target"]["tag"]).collect();
    both.sort_by_key(ToString::to_string);
    assert_eq!(both, [&json!("a"), &json!("b")], "{all:#?}");
    assert!(all[2]["id"] != all[3]["id"] && all[2]["request"]["id"] == all[3]["request"]["id"], "{all:#?}");
    assert_eq!((&pushed["action"], &gone["action"]), (&json!("push"), &json!("delete")), "{all:#?}");
    let size = image.size();
    assert_eq!(
        pushed["target"],
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "size": size, "length": size,
            "digest": image.digest().to_string(), "repository": "other/web", "tag": "1",
        }),
    );
    assert_eq!(pushed["request"]["host"], format!("localhost:{port}"));
    assert_eq!(gone["target"], json!({"digest": other.digest().to_string(), "repository": "dev/web"}));
    let record = story.done(&["ledger", "list", "-o", "json", "-n", "100"]).json();
    let id = pushed["id"].as_str().expect("an id");
    assert!(record.as_array().expect("records").iter().any(|it| it.to_string().contains(id)), "{record:#}");
    drop(server);
}

#[test]
fn an_advisory_that_hits_what_runs_is_told() {
    let place = Place::new();
    let port = free_port();
    let mut server = place.try_up_with(port, &[]).unwrap_or_else(|log| panic!("{log}"));
    let story = Story { place, port };
    let image = Image::debian("expat", "2.5.0-1", "");
    image.push(&story.place.login(port), "dev/web", "1");
    let tracker = r#"{"zsh":{"CVE-2026-0001":{"releases":{"bookworm":
        {"status":"resolved","repositories":{"bookworm":"2"},"fixed_version":"2","urgency":"high"}}}}}"#;
    story.done(&["advisories", "import", &story.file("tracker.json", tracker)]);
    let policy = "policy: dev\nselects: ['dev/**']\nrules:\n  - vulnerabilities: { any: 0 }\n";
    story.done(&["policy", "apply", "-f", &story.file("dev.yaml", policy)]);
    story.tell(&batch(1, &image, "web", port));
    story.verdict_is("web", "allowed");
    let (there, away) =
        (Receiver::answering("204 No Content"), Receiver::answering("503 Service Unavailable"));
    let slow = Receiver::holding(1, "204 No Content");
    let secret = story.target("chat", &there);
    story.target("siem", &away);

    let test = story.done(&["alert", "target", "test", "chat", "-o", "json"]);
    assert_eq!(test.json(), json!({"delivered": true, "failure": null}));
    let tried = there.requests()[0].clone();
    assert_eq!(tried.believed(&secret)["type"], "seaworthy.test");
    assert_eq!(
        (tried.target.as_str(), tried.header("content-type")),
        ("/chat?token=hush", "application/cloudevents+json; charset=utf-8")
    );
    let failed = story.place.cli(&["alert", "target", "test", "siem", "-o", "json"]);
    assert_eq!((failed.code, &failed.json()["delivered"]), (1, &json!(false)), "{failed:?}");

    let held = story.target("slow", &slow);
    let hit = r#"{"id":"LOCAL-2026-1","modified":"2026-01-01T00:00:00Z","affected":[{
        "package":{"ecosystem":"Debian:12","name":"expat"},
        "ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"99"}]}]}]}"#;
    story.done(&["advisories", "import", &story.file("one.json", hit)]);
    let told = until("the alert arrives", || there.requests().get(1).cloned());
    let event = told.believed(&secret);
    assert_eq!(
        (&event["type"], &event["specversion"], &event["data"]["container"]["name"]),
        (&json!("seaworthy.container.blocked"), &json!("1.0"), &json!("web")),
        "{event:#}"
    );
    assert_eq!(event["data"]["image"]["digest"], image.digest().to_string());
    let reason = &event["data"]["reasons"][0];
    assert_eq!((&reason["rule"], &event["data"]["before"]), (&json!("dev/vulns"), &json!("allowed")));
    assert!(reason["message"].as_str().is_some_and(|it| it.contains("LOCAL-2026-1")), "{reason}");
    let link = event["data"]["links"]["container"].as_str().expect("a link");
    let path = link.strip_prefix(&format!("http://localhost:{port}")).expect("here");
    assert_eq!(story.place.socket().get("GET", path).json()["name"], "web", "the link leads there");
    let explain = event["data"]["links"]["explain"].as_str().expect("a command");
    let words: Vec<&str> = explain.split(' ').skip(1).collect();
    assert!(story.done(&words).out.contains("LOCAL-2026-1"), "and the command explains it");

    // Killed while one receiver holds the request and another one is away: the next server sends both
    // again, under the same ids.
    let first = until("the other is tried", || away.requests().get(1).cloned());
    let taken = until("the slow one has it", || slow.requests().first().cloned());
    drop(server);
    server = story.place.try_up_with(story.port, &[]).unwrap_or_else(|log| panic!("{log}"));
    let again = until("and tried again", || away.requests().get(2).cloned());
    assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    assert_ne!(again.header("webhook-id"), told.header("webhook-id"));
    let again = until("and sent again", || slow.requests().get(1).cloned());
    assert_eq!(again.header("webhook-id"), taken.header("webhook-id"));
    assert_eq!(again.believed(&held), taken.believed(&held));
    let shown = || story.done(&["alert", "target", "show", "slow", "-o", "json"]).json();
    until("it is delivered", || (shown()["health"]["delivered"] == 1).then_some(()));
    assert_eq!(there.requests().len(), 2, "nobody is told twice");

    let listed = story.done(&["alert", "list", "-o", "json"]).json();
    assert_eq!(
        (listed.as_array().map(Vec::len), &listed[0]["event"]),
        (Some(1), &json!("container.blocked"))
    );
    let screen = story.done(&["alert", "target", "list", "-o", "table"]).out;
    assert!(screen.contains("503") && !screen.contains("hush"), "{screen}");
    let status = story.done(&["status", "-o", "json"]).json();
    assert_eq!(status["alerts"], json!({"waiting": 1, "dead": 0, "dropped": 0}));
    story.done(&["alert", "target", "delete", "siem"]);
    let acts = story.done(&["ledger", "list", "-o", "json", "-n", "1000"]).out;
    assert!(!acts.contains("hush") && !acts.contains(&secret), "secrets are in no record");
    for file in ["seaworthy.sqlite", "seaworthy.sqlite-wal"] {
        let bytes = std::fs::read(story.place.data().join(file)).unwrap_or_default();
        assert!(!bytes.windows(4).any(|it| it == b"hush"), "nor in {file}");
    }
    assert!(!story.place.log().contains("hush"), "nor in the log");
    drop(server);
}
