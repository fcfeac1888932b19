//! What runs on a real engine, from the first container to what happened while nobody looked.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use seaworthy_testkit::{
    Dockerd,
    debian::{Base, base},
    docker, modern_docker, real_engines,
};
use serde_json::Value;

use crate::{
    agent::{agent_of, kill, until},
    http::{Door, docker_credential},
    names,
    server::{Place, Server, done, free_port},
};

/// How soon after `up` every container is listed.
const LISTED: Duration = Duration::from_secs(5);

const PROGRAMS: &[&str] = &["dockerd", "docker", "mmdebstrap", "setpriv", "skopeo", "unshare"];

/// A server with an agent beside a real engine.
pub(crate) struct Story {
    pub(crate) place: Place,
    engine: &'static Dockerd,
    port: u16,
}

/// Ends the containers of this story, whatever becomes of it.
impl Drop for Story {
    fn drop(&mut self) {
        for name in ["web", "foreign", "mighty", "powers", "late", "cached"] {
            drop(self.docker(&["rm", "-f", name]).output());
        }
    }
}

impl Story {
    /// A name here as engines write it.
    pub(crate) fn full(&self, reference: &str) -> String {
        format!("localhost:{}/{reference}", self.port)
    }

    /// The registry's door, for who is signed in.
    pub(crate) fn door(&self) -> Door {
        let basic = docker_credential(&self.place.docker_config(), &format!("localhost:{}", self.port));
        Door::Tcp { port: self.port, basic }
    }

    /// True of the containerd image store: an image's id is the digest of its manifest or index.
    pub(crate) fn names_manifests(&self) -> bool {
        !std::ptr::eq(self.engine, docker())
    }

    pub(crate) fn docker(&self, words: &[&str]) -> Command {
        let mut command = self.engine.client(&self.place.docker_config());
        command.args(words);
        command
    }

    fn up(&self) -> Server {
        self.place.try_up_beside(self.port, &self.engine.host()).unwrap_or_else(|log| panic!("{log}"))
    }

    /// Starts a container that waits; returns its id.
    pub(crate) fn run(&self, name: &str, options: &str, image: &str) -> String {
        let mut command = self.docker(&["run", "-d", "--name", name]);
        command.args(options.split_whitespace()).args([image, "sleep", "100000"]);
        done(&mut command).trim().to_owned()
    }

    /// What `ps` lists: an empty list when the server is not there.
    fn ps(&self) -> Vec<Value> {
        let said = self.place.cli(&["ps", "-o", "json"]);
        if said.code == 0 { said.json().as_array().cloned().unwrap_or_default() } else { Vec::new() }
    }

    /// The rows with these names, once each is there and is so.
    pub(crate) fn listed(&self, names: &[&str], is: impl Fn(&Value) -> bool) -> Vec<Value> {
        until(&format!("{names:?}\n{}", self.place.log()), || {
            let rows = self.ps();
            let find = |name: &&str| rows.iter().find(|row| row["name"] == **name && is(row)).cloned();
            names.iter().map(find).collect()
        })
    }

    fn explain(&self, name: &str) -> Value {
        let said = self.place.cli(&["container", "explain", name, "-o", "json"]);
        assert_eq!(said.code, 0, "{said:?}");
        said.json()
    }
}

pub(crate) fn is_running(row: &Value) -> bool {
    row["state"] == "running"
}

#[test]
fn what_runs_here_is_known_and_explained() {
    if real_engines("what_runs_here_is_known_and_explained", PROGRAMS) {
        is_known_and_explained(docker());
    }
}

#[test]
fn what_runs_on_a_containerd_image_store_is_known_and_explained() {
    let test = "what_runs_on_a_containerd_image_store_is_known_and_explained";
    if real_engines(test, PROGRAMS)
        && let Some(engine) = modern_docker(test)
    {
        is_known_and_explained(engine);
    }
}

fn is_known_and_explained(engine: &'static Dockerd) {
    let story = Story { place: Place::new(), engine, port: free_port() };
    let server = story.up();
    story.place.login(server.port);
    let digest = pushes_and_pulls(&story);
    let full = format!("localhost:{}/dev/web:1", story.port);
    let web = story.run("web", "--network=none -u 7:7", &full);
    story.run("foreign", "--network=none -u 7", "running-base");
    let options = "--network=host -u 0 -v /etc:/host/etc:ro -l com.docker.compose.project=shop";
    story.run("mighty", options, "running-base");
    // Made and not started: not every machine lets its engine give all rights away.
    let all = [
        "create",
        "--name",
        "powers",
        "--privileged",
        "--cap-add=NET_ADMIN",
        "--network=none",
        "running-base",
        "true",
    ];
    done(&mut story.docker(&all));
    story.listed(&["powers"], |row| row["state"] == "created");
    // A container may run before the image that was pulled from here is inspected.
    let exact = story.listed(&["web"], |row| is_running(row) && row["image"]["mapping"] == "exact");
    let image = &exact[0]["image"];
    assert_eq!((&exact[0]["id"], &image["repository"]), (&web.into(), &"dev/web".into()), "{exact:#?}");
    assert_eq!(image["digest"], digest, "{exact:#?}");
    // What was pulled is named by its manifest, or by its config.
    assert_eq!(image["reported_id"] == digest, story.names_manifests(), "{exact:#?}");
    let judged = |row: &Value| is_running(row) && row["verdict"] != "pending";
    story.listed(&["web"], judged);
    // Never pushed: its own host reads it, and nobody else believes that.
    let read = |row: &Value| judged(row) && row["image"]["mapping"] == "scanned-here";
    for row in story.listed(&["foreign", "mighty"], read) {
        assert_eq!((&row["image"]["reason"], &row["image"]["digest"]), (&Value::Null, &Value::Null));
        assert_ne!(row["image"]["content_id"], image["content_id"], "{row:#}");
        // No policy enforces for `docker.io/library/…`, and no feed is loaded.
        assert_eq!((&row["verdict"], &row["findings"]), (&"allowed".into(), &Value::Null), "{row:#}");
    }
    is_explained(&story);
    is_measured(&story);
    names::lead_to_one_content(&story, &image["content_id"], &digest);
    a_blocked_image_in_the_cache_is_reported(&story);
    an_advisory_reaches_what_runs(&story);
    let server = while_nobody_looks(&story, server);
    a_fresh_up_lists_all_at_once(&story, server);
}

/// The gate cannot refuse what an engine has already: its start is a violation, told at once.
fn a_blocked_image_in_the_cache_is_reported(story: &Story) {
    let full = format!("localhost:{}/prod/web:1", story.port);
    let allowed = format!("localhost:{}/dev/web:1", story.port);
    done(&mut story.docker(&["tag", &allowed, &full]));
    done(&mut story.docker(&["push", "-q", &full]));
    let check = story.place.cli(&["check", "prod/web:1", "--wait", "60s"]);
    assert_eq!(check.code, 1, "no feed covers it: {check:?}");
    let id = story.run("cached", "--network=none -u 7", &full);
    let row = &story.listed(&["cached"], |row| row["verdict"] == "blocked")[0];
    assert_eq!((&row["image"]["mapping"], &row["purpose"]), (&"exact".into(), &"deploy".into()), "{row:#}");
    let page = story.explain("cached");
    assert_eq!(page["clearance"]["verdict"], "blocked", "{page:#}");
    // The ledger lists what it has sealed, a moment after the act.
    let mine = until("the violation is in the ledger", || {
        let said = story.place.cli(&["ledger", "list", "--action", "clearance.violation", "-o", "json"]);
        let rows = said.json().as_array().cloned().unwrap_or_default();
        let of = |row: &&Value| row["record"]["object"].as_str().is_some_and(|object| object.ends_with(&id));
        let mine: Vec<Value> = rows.iter().filter(of).cloned().collect();
        (!mine.is_empty()).then_some(mine)
    });
    assert_eq!(mine.len(), 1, "{mine:#?}");
    assert_eq!(story.explain("web")["clearance"]["verdict"], "allowed", "it stands for `dev/`");
    done(&mut story.docker(&["rm", "-f", "cached"]));
}

/// One advisory blocks what runs, and its end allows it: nothing is pushed, started or inspected.
fn an_advisory_reaches_what_runs(story: &Story) {
    let file = |name: &str, text: &str| {
        let path = story.place.path(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let run = |words: &[&str]| {
        let said = story.place.cli(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
    };
    let tracker = r#"{"zsh":{"CVE-2026-0001":{"releases":{"bookworm":
        {"status":"resolved","repositories":{"bookworm":"2"},"fixed_version":"2","urgency":"high"}}}}}"#;
    run(&["advisories", "import", &file("tracker.json", tracker)]);
    let policy = "policy: dev\nselects: ['dev/**']\nrules:\n  - vulnerabilities: { any: 0 }\n";
    run(&["policy", "apply", "-f", &file("dev.yaml", policy)]);
    story.listed(&["web"], |row| row["verdict"] == "allowed" && row["findings"]["unknown"] == 0);
    let one = |modified: &str, extra: &str| {
        format!(
            r#"{{"id":"LOCAL-2026-1","modified":"{modified}"{extra},"affected":[{{
            "package":{{"ecosystem":"Debian:12","name":"rsync"}},
            "ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}},{{"fixed":"99"}}]}}]}}]}}"#
        )
    };
    run(&["advisories", "import", &file("one.json", &one("2026-01-01T00:00:00Z", ""))]);
    let hit = &story.listed(&["web"], |row| row["verdict"] == "blocked")[0];
    assert_eq!(hit["findings"]["fixable"], 1, "{hit:#}");
    let page = story.explain("web");
    assert_eq!(page["worst"][0]["id"], "LOCAL-2026-1", "{page:#}");
    // It reaches what only its host has read, too.
    story.listed(&["mighty"], |row| row["findings"]["fixable"] == 1);
    assert_eq!(story.explain("mighty")["worst"][0]["id"], "LOCAL-2026-1");
    assert!(
        page["clearance"]["reasons"].as_array().expect("reasons").iter().any(|it| it["rule"] == "dev/vulns"
            && it["message"].as_str().is_some_and(|text| text.contains("LOCAL-2026-1"))),
        "{page:#}"
    );
    let end = r#","withdrawn":"2026-02-01T00:00:00Z""#;
    run(&["advisories", "import", &file("one.json", &one("2026-02-01T00:00:00Z", end))]);
    story.listed(&["web"], |row| row["verdict"] == "allowed" && row["findings"]["fixable"] == 0);
}

/// Pushes an image of two layers and pulls it from nothing; returns the digest that docker was told.
fn pushes_and_pulls(story: &Story) -> String {
    done(story.docker(&["import"]).arg(base(Base::Main)).arg("running-base"));
    let full = format!("localhost:{}/dev/web:1", story.port);
    done(&mut story.docker(&["run", "--name", "web", "--network=none", "running-base", "touch", "/web"]));
    done(&mut story.docker(&["commit", "web", &full]));
    done(&mut story.docker(&["rm", "web"]));
    let pushed = done(&mut story.docker(&["push", &full]));
    let digest =
        pushed.split_whitespace().find(|word| word.starts_with("sha256:")).expect("a digest").to_owned();
    done(&mut story.docker(&["image", "rm", &full]));
    // Below `dev/` rules only warn, so it is given out before it is inspected.
    let check = story.place.cli(&["check", "dev/web:1", "--wait", "60s"]);
    assert_eq!(check.code, 0, "{check:?}");
    done(&mut story.docker(&["pull", "-q", &full]));
    digest
}

/// The kernel's own figures, with their last minutes.
fn is_measured(story: &Story) {
    let busy = ["exec", "-d", "web", "sh", "-c", "while :; do :; done"];
    done(&mut story.docker(&busy));
    let rows = story.listed(&["web"], |row| row["usage"]["cpu_millis"].as_u64().is_some_and(|it| it > 100));
    let usage = &rows[0]["usage"];
    assert!(usage["memory_bytes"].as_u64().is_some_and(|it| (1..1 << 30).contains(&it)), "{usage:#}");
    assert!(usage["cpu_peak_millis"].as_u64() >= usage["cpu_millis"].as_u64(), "{usage:#}");
    let page = story.explain("web");
    assert!(page["usage_series"]["cpu_millis"].as_array().is_some_and(|all| !all.is_empty()), "{page:#}");
    let created = story.listed(&["powers"], |row| row["state"] == "created");
    assert_eq!(created[0]["usage"], Value::Null, "nothing runs in it");
    done(&mut story.docker(&["exec", "web", "sh", "-c", "kill -9 -1 || true"]));
}

fn is_explained(story: &Story) {
    let settings = |page: &Value| -> Vec<String> {
        let all = page["weaknesses"].as_array().expect("weaknesses");
        all.iter().map(|it| it["setting"].as_str().expect("a word").to_owned()).collect()
    };
    let mighty = story.explain("mighty");
    assert_eq!(settings(&mighty), ["root", "host-network", "host-path"], "{mighty:#}");
    assert_eq!(mighty["started_by"]["name"], "shop");
    let powers = settings(&story.explain("powers"));
    for setting in ["privileged", "root", "capability"] {
        assert!(powers.iter().any(|it| it == setting), "{setting}: {powers:?}");
    }
    let web = story.explain("web");
    assert_eq!(web["findings"], Value::Null, "no feed is loaded: {web:#}");
    assert_eq!(settings(&web), Vec::<String>::new(), "{web:#}");
    assert_eq!(
        (&web["verdict"], &web["clearance"]["verdict"]),
        (&"allowed".into(), &"allowed".into()),
        "{web:#}"
    );
    assert_eq!(
        (&web["lineage"]["tags"][0]["tag"], &web["lineage"]["layers"][1]["index"]),
        (&"1".into(), &1.into())
    );
    let screen = |name| {
        let said = story.place.cli(&["container", "explain", name, "-o", "table"]);
        eprintln!("{}", said.out);
        said.out
    };
    let (mighty, powers, web) = (screen("mighty"), screen("powers"), screen("web"));
    for (screen, part) in [
        (&mighty, "unknown"),
        (&mighty, "scanned-here"),
        (&mighty, "runs as root"),
        (&mighty, "shares the host's network"),
        (&mighty, "can read the host's `/etc`"),
        (&powers, "is privileged"),
        (&powers, "NET_ADMIN"),
        (&web, "exact  dev/web@sha256:"),
        (&web, "allowed"),
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    let host = story.place.cli(&["host", "list", "-o", "json"]).json()[0].clone();
    assert!(host["engine"].as_str().is_some_and(|it| it.starts_with("Docker Engine ")), "{host:#}");
    assert_eq!((&host["running"], &host["wrong_clock"]), (&3.into(), &false.into()), "{host:#}");
}

/// Kills the agent, then the server with its agent, while containers come and go.
fn while_nobody_looks(story: &Story, server: Server) -> Server {
    let first = agent_of(&server).expect("an agent");
    kill(first);
    done(&mut story.docker(&["rm", "-f", "foreign"]));
    story.run("late", "--network=none -u 7", "running-base");
    story.listed(&["web", "mighty", "late"], is_running);
    until("the end of `foreign`", || story.ps().iter().all(|row| row["name"] != "foreign").then_some(()));
    let gaps = |page: &Value| {
        page["history"]
            .as_array()
            .expect("history")
            .iter()
            .filter(|it| it["what"]["happening"] == "gap")
            .count()
    };
    // `late` may be seen before the new agent has said what it cannot know.
    let before = until("a gap", || Some(gaps(&story.explain("web"))).filter(|count| *count > 0));

    drop(server);
    done(&mut story.docker(&["rm", "-f", "late"]));
    done(&mut story.docker(&["stop", "-t", "0", "mighty"]));
    let foreign = story.run("foreign", "--network=none -u 7", "running-base");
    let server = story.up();
    let rows = story.listed(&["foreign"], is_running);
    assert_eq!(rows[0]["id"], foreign);
    let stopped = story.listed(&["mighty"], |row| row["state"] == "exited");
    assert_eq!(stopped[0]["exit_code"], 137, "{stopped:#?}");
    until("the end of `late`", || story.ps().iter().all(|row| row["name"] != "late").then_some(()));
    let page = until("another gap", || Some(story.explain("web")).filter(|page| gaps(page) > before));
    assert!(
        page["history"]
            .as_array()
            .is_some_and(|all| all.iter().any(|it| it["what"]["happening"] == "started"))
    );
    let gone = story.explain("late");
    assert_eq!(gone["presence"], "gone", "{gone:#}");
    server
}

/// On a machine that nobody has looked at, all is listed within seconds of `ready`.
fn a_fresh_up_lists_all_at_once(story: &Story, server: Server) {
    drop(server);
    let place = Place::new();
    let server = place.try_up_beside(free_port(), &story.engine.host()).unwrap_or_else(|log| panic!("{log}"));
    let ready = Instant::now();
    let names: Vec<String> = until("four containers", || {
        let rows = place.cli(&["ps", "-o", "json"]).json();
        let names = rows.as_array()?.iter().map(|row| row["name"].as_str().map(str::to_owned));
        names.collect::<Option<Vec<_>>>().filter(|names| names.len() == 4)
    });
    eprintln!("listed {:?} after ready", ready.elapsed());
    assert!(ready.elapsed() < LISTED, "{:?}", ready.elapsed());
    assert_eq!(names, ["foreign", "mighty", "powers", "web"]);
    drop(server);
}
