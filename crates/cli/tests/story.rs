//! The story that the product is for: push, inspect, find, decide, pull, and the way out.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use seaworthy_testkit::{
    Dockerd, LedgerVerifier, advisory_pack,
    debian::{Base, base},
    docker, ledger_verifier, real_engines,
};
use serde_json::Value;

use crate::{
    expected,
    http::Door,
    server::{Place, Said, Server, debian_feeds, done, run},
};

const TOOLS: &[&str] =
    &["dockerd", "docker", "podman", "skopeo", "mmdebstrap", "zstd", "tar", "dpkg", "setpriv"];

struct Story {
    place: Place,
    server: Server,
    engine: &'static Dockerd,
    door: Door,
    began: Instant,
}

#[test]
fn the_story_from_push_to_pull() {
    const NAME: &str = "the_story_from_push_to_pull";
    if !real_engines(NAME, TOOLS) {
        return;
    }
    let Some(pack) = advisory_pack(NAME) else { return };
    let Some(verifier) = ledger_verifier(NAME) else { return };
    let story = Story::begin(&pack);
    story.tell("up");

    story.build(Base::Main, "prod/web:1");
    story.push("prod/web:1");
    story.tell("built and pushed");
    let check = story.place.cli(&["check", "prod/web:1", "--wait", "60s", "-o", "json"]);
    story.tell("checked");
    story.is_blocked(&check);
    let judged = check.json();
    let digest = judged["digest"].as_str().expect("a digest").to_owned();
    story.finds_every_pair_and_no_other(&base(Base::Main), &pack);
    story.tell("scanned");

    story.nobody_pulls(&digest);
    story.layers_do_not_leak(&digest);
    story.tell("refused");
    story.elsewhere_it_is_a_warning();
    story.other_clients_get_the_same();
    story.tell("pulled elsewhere");
    story.judged_before_the_push(&judged, &pack);
    story.tell("judged locally");

    story.build(Base::Security, "prod/web:2");
    story.push("prod/web:2");
    let check = story.place.cli(&["check", "prod/web:2", "--wait", "60s", "-o", "json"]);
    assert_eq!((check.code, verdict(&check)), (0, "allowed".to_owned()), "{check:?}");
    story.pulls("prod/web:2");
    story.tell("rebuilt and pulled");
    story.is_in_the_ledger(&digest);
    story.another_program_believes_the_ledger(&verifier);
}

fn verdict(check: &Said) -> String {
    check.json()["verdict"].as_str().unwrap_or_default().to_owned()
}

/// (rule, result) of every reason, in order.
fn results(check: &Value) -> Vec<(String, String)> {
    let word = |reason: &Value, key: &str| reason[key].as_str().expect("a word").to_owned();
    let reasons = check["reasons"].as_array().expect("reasons");
    reasons.iter().map(|reason| (word(reason, "rule"), word(reason, "result"))).collect()
}

impl Story {
    fn begin(pack: &Path) -> Self {
        let began = Instant::now();
        let place = Place::new();
        let server = place.up(&debian_feeds(pack));
        eprintln!("ready after {:?}, feeds imported behind it", server.ready_after);

        // A second server on the same data is refused, and told by whom.
        let second = place.cli(&["up", "--listen", &format!("localhost:{}", crate::server::free_port())]);
        assert_eq!((second.code, second.out.as_str()), (3, ""), "{second:?}");
        assert!(second.err.contains(&server.pid().to_string()), "{second:?}");

        let door = place.login(server.port);
        Self { place, server, engine: docker(), door, began }
    }

    fn tell(&self, what: &str) {
        eprintln!("{:6.1} s: {what}", self.began.elapsed().as_secs_f32());
    }

    fn docker(&self, words: &[&str]) -> Command {
        let mut command = self.engine.client(&self.place.docker_config());
        command.args(words);
        command
    }

    /// The name that docker knows `reference` by.
    fn full(&self, reference: &str) -> String {
        format!("localhost:{}/{reference}", self.server.port)
    }

    /// RUN and COPY on top of a base.
    fn build(&self, kind: Base, reference: &str) {
        let context = self.place.path("context");
        fs::create_dir_all(&context).expect("context");
        let from = format!("base-{kind:?}").to_lowercase();
        done(self.docker(&["import"]).arg(base(kind)).arg(&from));
        let text =
            format!("FROM {from}\nRUN useradd -m app\nCOPY index.html /var/www/html/\nCMD [\"nginx\"]\n");
        fs::write(context.join("Dockerfile"), text).expect("Dockerfile");
        fs::write(context.join("index.html"), "hello\n").expect("file");
        done(self.docker(&["build", "--network=none", "-q", "-t", &self.full(reference)]).arg(&context));
    }

    fn push(&self, reference: &str) {
        done(&mut self.docker(&["push", "-q", &self.full(reference)]));
    }

    /// From nothing: no copy of it is left in the engine.
    fn pulls(&self, reference: &str) {
        done(&mut self.docker(&["image", "rm", "-f", &self.full(reference)]));
        done(&mut self.docker(&["pull", "-q", &self.full(reference)]));
    }

    fn is_blocked(&self, check: &Said) {
        assert_eq!(check.code, 1, "{check:?}\n{}", self.place.log());
        let answer = check.json();
        assert_eq!(answer["verdict"], "blocked", "{answer:#}");
        assert_eq!(answer["recorded"], true, "{answer:#}");
        let vulns = find(&answer, "prod/vulns");
        assert_eq!((&vulns["result"], &vulns["mode"]), (&"fail".into(), &"enforce".into()), "{answer:#}");
    }

    fn finds_every_pair_and_no_other(&self, tar: &Path, pack: &Path) {
        let scan = self.place.cli(&["scan", "prod/web:1", "-o", "json"]);
        assert_eq!(scan.code, 0, "{}", scan.err);
        let report = scan.json();
        let findings = report["findings"].as_array().expect("findings");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let found: BTreeSet<(String, String)> =
            findings.iter().map(|it| (text(&it["id"]), text(&it["package"]["source"]["name"]))).collect();
        let expected = expected::pairs(tar, pack);
        assert!(expected.len() > 20, "the feed knows this base: {}", expected.len());
        let missed: Vec<_> = expected.difference(&found).collect();
        let invented: Vec<_> = found.difference(&expected).collect();
        assert!(missed.is_empty() && invented.is_empty(), "missed {missed:?}, invented {invented:?}");
        eprintln!("{} pairs, as computed independently", expected.len());
        for finding in findings {
            assert_eq!(finding["layer"], 0, "the base brought it: {finding:#}");
            assert!(!text(&finding["introduced_by"]).is_empty(), "{finding:#}");
            if finding["state"] == "fixed" {
                let package = text(&finding["package"]["name"]);
                let command = text(&finding["remedy"]["command"]);
                assert!(command.contains("--only-upgrade") && command.contains(&package), "{finding:#}");
                assert!(!text(&finding["fixed_version"]).is_empty(), "{finding:#}");
            }
        }
        let failing = self.place.cli(&["scan", "prod/web:1", "--fail-on", "any-fixable", "-o", "json"]);
        assert_eq!(failing.code, 1, "{}", failing.err);
    }

    fn nobody_pulls(&self, digest: &str) {
        for reference in [self.full("prod/web:1"), format!("{}@{digest}", self.full("prod/web"))] {
            is_refused(&run(&mut self.docker(&["pull", &reference])), digest);
        }
        // HEAD answers as if allowed: clients then GET, and show the text.
        for reference in ["1", digest] {
            let head = self.door.get("HEAD", &format!("/v2/prod/web/manifests/{reference}"));
            assert_eq!(head.status, 200, "{}", head.head);
            let get = self.door.get("GET", &format!("/v2/prod/web/manifests/{reference}"));
            assert_eq!(get.status, 403, "{}", get.text());
            assert_eq!(get.json()["errors"][0]["code"], "DENIED", "{}", get.text());
        }
    }

    fn layers_do_not_leak(&self, digest: &str) {
        let layers = self.layers("prod/web:1");
        assert_eq!(layers.len(), 3, "base, RUN, COPY of {digest}");
        for layer in &layers {
            let get = self.door.get("GET", &format!("/v2/prod/web/blobs/{layer}"));
            assert_eq!(get.status, 403, "{}", get.head);
            let mount = format!("/v2/dev/mounted/blobs/uploads/?mount={layer}&from=prod/web");
            assert_eq!(self.door.get("POST", &mount).status, 201, "mounting checks rights, not verdicts");
            let get = self.door.get("GET", &format!("/v2/prod/web/blobs/{layer}"));
            assert_eq!(get.status, 403, "{}", get.head);
        }
    }

    /// Digests of the layers as pushed. The manifest of a blocked image cannot be read, so the
    /// same image goes to an open repository too, and is read there.
    fn layers(&self, reference: &str) -> Vec<String> {
        let open = self.full("open/copy:1");
        done(&mut self.docker(&["tag", &self.full(reference), &open]));
        done(&mut self.docker(&["push", "-q", &open]));
        let check = self.place.cli(&["check", "open/copy:1", "--wait", "60s", "-o", "json"]);
        assert_eq!(check.code, 0, "{check:?}");
        let manifest = self.door.get("GET", "/v2/open/copy/manifests/1").json();
        let layers = manifest["layers"].as_array().expect("layers");
        layers.iter().map(|layer| layer["digest"].as_str().expect("digest").to_owned()).collect()
    }

    fn elsewhere_it_is_a_warning(&self) {
        done(&mut self.docker(&["tag", &self.full("prod/web:1"), &self.full("dev/web:1")]));
        self.push("dev/web:1");
        // A warning delays no verdict: it is there when the inspection is.
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let check = self.place.cli(&["check", "dev/web:1", "--wait", "60s", "-o", "json"]);
            assert_eq!((check.code, verdict(&check)), (0, "allowed".to_owned()), "{check:?}");
            let vulns = find(&check.json(), "everywhere/vulns");
            assert_eq!(vulns["mode"], "warn", "{check:?}");
            if vulns["result"] == "fail" {
                break;
            }
            assert_eq!(vulns["result"], "indeterminate", "{check:?}");
            assert!(Instant::now() < deadline, "never inspected: {check:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.pulls("dev/web:1");
    }

    fn other_clients_get_the_same(&self) {
        let auth = self.place.docker_config().join("config.json");
        let skopeo = |reference: &str, out: &str| {
            let mut command = Command::new("skopeo");
            command.args(["copy", "--src-tls-verify=false", "--src-authfile"]).arg(&auth);
            command.arg(format!("docker://{}", self.full(reference)));
            command.arg(format!("dir:{}", self.place.path(out).display()));
            run(&mut command)
        };
        is_refused(&skopeo("prod/web:1", "skopeo-prod"), "prod/web@sha256:");
        let said = skopeo("dev/web:1", "skopeo-dev");
        assert_eq!(said.code, 0, "{said:?}");

        let podman = |reference: &str| {
            let mut command = Command::new("podman");
            command
                .arg("--root")
                .arg(self.place.path("podman"))
                .arg("--runroot")
                .arg(self.place.path("podman-run"));
            command.args(["--storage-driver", "vfs", "pull", "--tls-verify=false", "--authfile"]).arg(&auth);
            command.arg(self.full(reference));
            run(&mut command)
        };
        is_refused(&podman("prod/web:1"), "prod/web@sha256:");
        let said = podman("dev/web:1");
        assert_eq!(said.code, 0, "{said:?}");
    }

    /// The same image from the engine, and from a folder with no server, gets the same answer.
    fn judged_before_the_push(&self, judged: &Value, pack: &Path) {
        let name = format!("docker:{}", self.full("prod/web:1"));
        let mut command = self.place.command(&["check", &name, "--as", "prod/web:1", "-o", "json"]);
        let said = run(command.env("DOCKER_HOST", self.engine.host()));
        self.same_answer(&said, judged);

        let layout = self.place.path("layout");
        let mut command = Command::new("skopeo");
        command.args(["copy", "--src-daemon-host", &self.engine.host()]);
        command.arg(format!("docker-daemon:{}", self.full("prod/web:1")));
        done(command.arg(format!("oci:{}:1", layout.display())));
        let mut command = crate::server::seaworthy();
        command.arg("check").arg(format!("oci:{}", layout.display())).args([
            "--as",
            "prod/web:1",
            "-o",
            "json",
        ]);
        // No server is to be found either.
        command.arg("--data").arg(self.place.path("nowhere"));
        for feed in debian_feeds(pack) {
            command.arg("--advisories").arg(feed);
        }
        self.same_answer(&run(&mut command), judged);
    }

    fn same_answer(&self, said: &Said, judged: &Value) {
        assert_eq!(said.code, 1, "{}{}\n{}", said.err, said.out, self.place.log());
        let answer = said.json();
        assert_eq!(answer["recorded"], false, "{answer:#}");
        assert_eq!(answer["verdict"], judged["verdict"], "{answer:#}");
        assert_eq!(answer["content_id"], judged["content_id"], "{answer:#}");
        assert_eq!(results(&answer), results(judged));
    }

    fn is_in_the_ledger(&self, digest: &str) {
        let list = self.place.cli(&["ledger", "list", "--action", "pull.refuse", "-o", "json"]);
        assert_eq!(list.code, 0, "{list:?}");
        let object = format!("repositories/prod/web@{digest}");
        let records = list.json();
        let records = records.as_array().expect("records");
        assert!(records.iter().any(|it| it["record"]["object"] == object.as_str()), "{records:#?}");
        let verified = self.place.cli(&["ledger", "verify", "-o", "json"]);
        assert_eq!(verified.code, 0, "{verified:?}");
        assert!(verified.json()["size"].as_u64().expect("size") > 5, "{verified:?}");
    }

    /// Code of other authors, with nothing but the data directory and the public key.
    fn another_program_believes_the_ledger(self, verifier: &LedgerVerifier) {
        let verified = self.place.cli(&["ledger", "verify", "-o", "json"]).json();
        let key = verified["key"].as_str().expect("a key");
        let size = verified["size"].as_u64().expect("a size");
        for index in [0, size / 2, size - 1] {
            let said = self.place.cli(&["ledger", "proof", &index.to_string()]);
            assert_eq!(said.code, 0, "{said:?}");
            let file = self.place.path("proof.json");
            fs::write(&file, &said.out).expect("written");
            let checked = verifier.proof(&file, key);
            assert!(checked.holds, "{index}: {checked:?}");
        }
        // Nobody writes while it reads.
        drop(self.server);
        let ledger = self.place.data().join("ledger");
        let checked = verifier.tree(&ledger, key, &[]);
        assert!(checked.holds, "{checked:?}");
        eprintln!("the ledger as Go reads it: {}", checked.line.trim());
    }
}

fn find(check: &Value, rule: &str) -> Value {
    let reasons = check["reasons"].as_array().expect("reasons");
    let found = reasons.iter().find(|reason| reason["rule"] == rule);
    found.unwrap_or_else(|| panic!("no `{rule}` in {check:#}")).clone()
}

/// The client failed, and showed what the server said.
fn is_refused(said: &Said, image: &str) {
    let text = format!("{}{}", said.out, said.err);
    assert_ne!(said.code, 0, "{text}");
    for part in [image, "is blocked by `prod/vulns`", "seaworthy exception request"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}
