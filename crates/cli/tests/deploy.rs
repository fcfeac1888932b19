//! May it run, asked before it does: with a server, without one, and what is refused.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use seaworthy_oci::Platform;
use serde_json::{Value, json};

use crate::{
    agent::until,
    image::{Image, lay_out},
    server::{Place, Said, Server, run},
};

const POLICY: &str = "policy: run
selects: ['dev/**']
rules:
  - container: { privileged: forbid, user: non_root, engine_socket: forbid }
    mode: enforce
  - registries: { allow: [this] }
";

const TRACKER: &str = r#"{"zsh":{"CVE-2026-0001":{"releases":{"bookworm":
    {"status":"resolved","repositories":{"bookworm":"2"},"fixed_version":"2","urgency":"high"}}}}}"#;

/// A Debian whose config names this user.
fn running_as(user: &str) -> Image {
    let image = Image::debian("expat", "2.5.0-1", "");
    let config = json!({
        "architecture": Platform::host().architecture, "os": "linux", "config": {"User": user},
        "rootfs": {"type": "layers", "diff_ids": [image.layer_digest().to_string()]},
    });
    image.configured(config.to_string().as_bytes())
}

struct Deploy {
    place: Place,
    server: Server,
}

impl Deploy {
    /// A server with one feed and the policy.
    fn begin() -> Self {
        let place = Place::new();
        let server = place.up(&[]);
        let it = Self { place, server };
        for words in [
            &["advisories", "import", &it.file("tracker.json", TRACKER)][..],
            &["policy", "apply", "-f", &it.file("run.yaml", POLICY)],
        ] {
            let said = it.place.cli(words);
            assert_eq!(said.code, 0, "{said:?}");
        }
        it
    }

    /// Pushes, and waits until clearance knows what it is.
    fn push(&self, image: &Image, repository: &str) {
        image.push(&self.place.login(self.server.port), repository, "1");
        let asked = || self.place.cli(&["check", &format!("{repository}:1"), "-o", "json"]);
        until("it is inspected", || asked().json()["content_id"].is_string().then_some(()));
    }

    fn file(&self, name: &str, text: &str) -> String {
        write(&self.place, name, text).display().to_string()
    }

    fn asked(&self, reference: &str, more: &[&str]) -> Said {
        let words = ["check", reference, "--purpose", "deploy", "--wait", "60s", "-o", "json"];
        self.place.cli(&[&words[..], more].concat())
    }

    /// Exit code, verdict, and the results of the container's and the registry's rules.
    fn outcome(&self, reference: &str, settings: &str) -> (i32, String, [String; 2]) {
        outcome(&self.asked(reference, &["--settings", &self.file("settings.yaml", settings)]))
    }
}

fn write(place: &Place, name: &str, text: &str) -> PathBuf {
    let path = place.path(name);
    fs::write(&path, text).unwrap();
    path
}

fn rule<'v>(answer: &'v Value, name: &str) -> &'v Value {
    let found = answer["reasons"].as_array().unwrap().iter().find(|it| it["rule"] == name);
    found.unwrap_or_else(|| panic!("{name}: {answer:#}"))
}

fn outcome(said: &Said) -> (i32, String, [String; 2]) {
    let answer = said.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let results = ["run/container", "run/registries"].map(|name| text(&rule(&answer, name)["result"]));
    (said.code, text(&answer["verdict"]), results)
}

fn expected(code: i32, verdict: &str, results: [&str; 2]) -> (i32, String, [String; 2]) {
    (code, verdict.to_owned(), results.map(str::to_owned))
}

#[test]
fn a_container_is_judged_before_it_runs() {
    let it = Deploy::begin();
    it.push(&running_as("1000"), "dev/web");
    // A pull is not asked how it will run.
    let pull = it.place.cli(&["check", "dev/web:1", "--wait", "60s", "-o", "json"]);
    assert_eq!((pull.code, &pull.json()["purpose"]), (0, &json!("pull")), "{pull:?}");
    assert!(!pull.out.contains("run/container"), "{pull:?}");

    // The first question comes before the inspection; it is waited for.
    let image = running_as("7:7");
    image.push(&it.place.login(it.server.port), "dev/new", "1");
    let plain = it.asked("dev/new:1", &[]);
    assert_eq!(outcome(&plain), expected(0, "allowed", ["pass", "pass"]), "{plain:?}");
    let answer = plain.json();
    let same = |pointer: &str, value: Value| assert_eq!(answer.pointer(pointer), Some(&value), "{answer:#}");
    same("/purpose", json!("deploy"));
    same("/recorded", json!(false));
    same("/digest", json!(image.digest().to_string()));
    same("/settings_from", json!("plain"));
    same("/settings/user", json!("7:7"));
    same("/unknown_settings", json!([]));
    let words = ["check", "dev/new:1", "--purpose", "deploy", "-o", "table"];
    let table = it.place.cli(&words);
    assert!(table.out.contains("settings of a plain `docker run`"), "{table:?}");
    let table = run(it.place.command(&words).env("SEAWORTHY_LANG", "ja"));
    assert!(table.out.contains("追加指定のない `docker run`"), "{table:?}");

    for (settings, code, verdict, container) in [
        ("privileged: true", 1, "blocked", "fail"),
        (r#"{"privileged": true}"#, 1, "blocked", "fail"),
        ("user: root", 1, "blocked", "fail"),
        ("host_paths: [{ path: /var/run/docker.sock, writable: false }]", 1, "blocked", "fail"),
        ("host_network: true", 0, "allowed", "pass"),
        // What nobody knows is not fine.
        ("user: app", 1, "blocked", "indeterminate"),
        ("privileged: unknown", 1, "blocked", "indeterminate"),
        ("host_paths: unknown", 1, "blocked", "indeterminate"),
        ("host_paths: unknown\nprivileged: true", 1, "blocked", "fail"),
        ("seccomp: unknown", 0, "allowed", "pass"),
        ("{}", 0, "allowed", "pass"),
    ] {
        let expected = expected(code, verdict, [container, "pass"]);
        assert_eq!(it.outcome("dev/web:1", settings), expected, "{settings}");
    }
    let given = it.asked("dev/web:1", &["--settings", &it.file("given.yaml", "privileged: true")]).json();
    assert_eq!(given["settings_from"], "given", "{given:#}");
    let message = rule(&given, "run/container")["message"].as_str().unwrap();
    assert_eq!(message, "the container is privileged");

    // The image's own user counts where the settings name none.
    it.push(&running_as(""), "dev/root");
    let root = it.asked("dev/root:1", &[]);
    assert_eq!(outcome(&root), expected(1, "blocked", ["fail", "pass"]), "{root:?}");
    assert_eq!(it.outcome("dev/root:1", "user: 1000").0, 0);
    // Nobody knows the user of a config that cannot be read.
    it.push(&Image::debian("expat", "2.5.0-1", "").configured(b"[]"), "dev/torn");
    let torn = it.asked("dev/torn:1", &[]);
    assert_eq!(outcome(&torn), expected(1, "blocked", ["indeterminate", "pass"]), "{torn:?}");
    assert_eq!(torn.json()["unknown_settings"], json!(["user"]), "{torn:?}");

    // What is no image cannot be run, and a name that is not there is told as such.
    let artifact = Image::debian("expat", "2.5.0-1", "").configured(b"{}");
    let artifact = artifact.called(Some("application/x-notes"), "application/x-notes+json");
    artifact.push(&it.place.login(it.server.port), "dev/notes", "1");
    let said = it.asked("dev/notes:1", &[]);
    assert!(said.code == 2 && said.err.contains("is not an image"), "{said:?}");
    assert_eq!(it.asked("dev/web:9", &[]).code, 2);

    // A container names its image with this registry's host, also when the question did not.
    let elsewhere = "policy: elsewhere\nselects: ['dev/**']\nrules:\n  - registries: { allow: [quay.io] }\n";
    let said = it.place.cli(&["policy", "apply", "-f", &it.file("elsewhere.yaml", elsewhere)]);
    assert_eq!(said.code, 0, "{said:?}");
    let port = it.server.port;
    for (reference, named) in [
        ("dev/web:1".to_owned(), format!("localhost:{port}/dev/web")),
        (format!("127.0.0.1:{port}/dev/web:1"), format!("127.0.0.1:{port}/dev/web")),
    ] {
        let answer = it.asked(&reference, &[]).json();
        let judged = rule(&answer, "elsewhere/registries");
        let message = format!("`{named}` is not from an approved registry");
        assert_eq!((&judged["result"], &judged["message"]), (&json!("fail"), &json!(message)));
    }

    // Nothing of it was recorded.
    let ledger = it.place.cli(&["ledger", "list", "--object", "repositories/dev/", "-o", "json"]);
    assert!(ledger.out.contains("clearance.decide") && !ledger.out.contains("deploy"), "{ledger:?}");
}

#[test]
fn the_same_answer_is_given_before_the_push_and_without_a_server() {
    let it = Deploy::begin();
    let image = running_as("1000");
    it.push(&image, "dev/web");
    let folder = it.place.path("layout");
    lay_out(&folder, "web:1", &[(&Platform::host().architecture, &image)]);
    let target = format!("oci:{}", folder.display());
    let (feed, policy) = (it.file("tracker.json", TRACKER), it.file("run.yaml", POLICY));
    let alone = ["--advisories", &feed, "--policy", &policy];
    for (settings, code) in [("{}", 0), ("privileged: true", 1), ("user: app", 1), ("user: 0", 1)] {
        let settings = it.file("settings.yaml", settings);
        let stored = it.asked("dev/web:1", &["--settings", &settings]);
        let sent = it.asked(&target, &["--as", "dev/web:1", "--settings", &settings]);
        // No server is to be found either.
        let mut command = crate::server::seaworthy();
        command.arg("--data").arg(it.place.path("nowhere")).args(["check", &target, "--as", "dev/web:1"]);
        command.args(["--purpose", "deploy", "--settings", &settings, "-o", "json"]).args(alone);
        let local = run(command.env("XDG_CACHE_HOME", it.place.path("cache")));
        assert_eq!(outcome(&stored).0, code, "{stored:?}");
        for said in [&sent, &local] {
            assert_eq!(outcome(said), outcome(&stored), "{said:?}");
            let (here, there) = (said.json(), stored.json());
            let message = |answer: &Value| rule(answer, "run/container")["message"].clone();
            assert_eq!((message(&here), &here["settings"]), (message(&there), &there["settings"]));
            assert_eq!((&here["digest"], &here["purpose"]), (&Value::Null, &json!("deploy")), "{here:#}");
            assert_eq!(here["content_id"], there["content_id"]);
        }
    }
}

#[test]
fn wrong_settings_are_wrong_use() {
    let place = Place::new();
    let path = |name: &str, text: &str| write(&place, name, text).display().to_string();
    let typo = path("web.yaml", "user: 1000\npriviledged: true\n");
    let good = path("good.yaml", "user: 1000\n");
    // No server runs: all of it is refused before one is asked.
    for (words, code, says) in [
        (&["--purpose", "deploy", "--settings", &typo][..], 2, &["web.yaml", "2:1", "`privileged`"][..]),
        (&["--settings", &good], 2, &["--purpose deploy"]),
        (&["--purpose", "pull", "--settings", &good], 2, &["--purpose deploy"]),
        (&["--purpose", "run"], 2, &["deploy"]),
        (&["--purpose", "deploy", "--settings", "/nonexistent.yaml"], 3, &["/nonexistent.yaml"]),
        (&["--purpose", "deploy", "--settings", &good], 3, &["seaworthy up"]),
    ] {
        let said = place.cli(&[&["check", "dev/web:1"], words].concat());
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{words:?}: {said:?}");
        for part in says {
            assert!(said.err.contains(part), "{part}: {said:?}");
        }
    }
    let words = ["check", "dev/web:1", "--purpose", "deploy", "--settings", &typo];
    let said = run(place.command(&words).env("SEAWORTHY_LANG", "ja"));
    assert!(said.err.contains("設定を受け付けられません: 2:1: 不明なキー"), "{said:?}");
}

#[test]
fn settings_are_read_from_stdin() {
    let it = Deploy::begin();
    it.push(&running_as("1000"), "dev/web");
    let words =
        ["check", "dev/web:1", "--purpose", "deploy", "--wait", "60s", "-o", "json", "--settings", "-"];
    let mut command: Command = it.place.command(&words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"privileged: true\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &answer["verdict"]), (Some(1), &json!("blocked")), "{answer:#}");
}

#[test]
fn cases_say_how_a_container_runs() {
    let place = Place::new();
    fs::create_dir_all(place.path("pol/tests")).unwrap();
    write(&place, "pol/run.yaml", POLICY);
    let (head, expects) =
        ("now: 2026-11-23\ncases:\n  - name: n\n    repository: dev/web\n", "expect: blocked");
    let tested = |container: &str| {
        write(&place, "pol/tests/run.yaml", &format!("{head}    container: {container}\n    {expects}\n"));
        run(crate::server::seaworthy().args(["policy", "test"]).arg(place.path("pol")).args(["-o", "json"]))
    };
    let passed = tested("{ privileged: true }");
    assert_eq!((passed.code, &passed.json()["passed"]), (0, &json!(1)), "{passed:?}");
    let failed = tested("{ user: 1000 }");
    assert_eq!((failed.code, &failed.json()["failed"][0]["line"]), (1, &json!(3)), "{failed:?}");
    let refused = tested("{ priviledged: true }");
    assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{refused:?}");
    for part in ["tests/run.yaml", "5:18", "`privileged`"] {
        assert!(refused.err.contains(part), "{part}: {refused:?}");
    }
}
