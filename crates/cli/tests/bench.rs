//! The bench of registries: what it says of a server of its own, and of one beside another.

use std::{collections::BTreeMap, fs, net::TcpListener};

use seaworthy_testkit::foreign_program;
use serde_json::{Value, json};

use crate::{
    caching::user,
    server::{Place, run},
};

/// Figures by name.
fn figures(report: &Value) -> BTreeMap<&str, &Value> {
    let all = report["figures"].as_array().expect("figures");
    all.iter().map(|figure| (figure["name"].as_str().expect("a name"), figure)).collect()
}

#[test]
fn kills_lose_and_leak_nothing_that_the_bench_can_find() {
    let place = Place::new();
    // Behind it goes on what comes after it.
    let words = ["bench", "registry", "--only", "kill,cold", "--kills", "3", "--rows", "1000", "-o", "json"];
    let report = place.cli(&words);
    assert_eq!(report.code, 0, "{report:?}");
    let report = report.json();
    let figures = figures(&report);
    let median = |name: &str| figures[name]["median"].as_f64().expect("a number");
    assert!(median("images acknowledged while it was killed") > 0.0, "{report:#}");
    assert_eq!(figures["images acknowledged and lost"]["median"], 0.0);
    assert_eq!(figures["layers acknowledged and lost"]["median"], 0.0);
    assert_eq!(figures["leaked after a repair"]["median"], 0.0);
    assert_eq!(figures["files missing after a repair"]["median"], 0.0);
    assert_eq!(figures["killed and started again"]["runs"], 3);
    assert_eq!(figures["killed, started, first pull of 1000 manifests"]["runs"], 3);
}

#[test]
fn what_could_not_be_measured_is_no_success() {
    let place = Place::new();
    let dead = format!("http://localhost:{}", free_port());
    for only in [&["--only", "push"][..], &[]] {
        let words = [&["bench", "registry", &dead, "-o", "json"], only].concat();
        let said = place.cli(&words);
        assert_eq!(said.code, 3, "{said:?}");
        assert_eq!(said.json()["figures"], json!([]), "the report is printed: {said:?}");
        assert!(said.err.contains("workloads that could not run: ") && said.err.contains("push"), "{said:?}");
    }
    // What could run is in the report.
    let server = place.up(&[]);
    let door = place.login(server.port);
    let login = user(&door);
    let (name, secret) = login.split_once(':').expect("both");
    let url = format!("http://localhost:{}", server.port);
    let words = ["bench", "registry", &url, "--only", "manifest-get,collect", "--collect", "false"];
    let mut command = place.command(&words);
    command.env("SEAWORTHY_BENCH_PASSWORD", secret).args([
        "--username",
        name,
        "--requests",
        "100",
        "-o",
        "json",
    ]);
    let said = run(&mut command);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(!said.json()["figures"].as_array().expect("figures").is_empty(), "{said:?}");
    assert!(said.err.contains("workloads that could not run: collect"), "{said:?}");
}

/// Run by run, with what one is in parts of the other.
#[test]
fn two_registries_are_measured_in_turn() {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    let (login, url) = (user(&door), format!("http://localhost:{}", server.port));
    let (name, secret) = login.split_once(':').expect("both");
    let pid = server.pid().to_string();
    let measured = |words: &[&str]| {
        let mut command = place.command(&["bench", "registry", &url, "--pid", &pid, "--username", name]);
        command.env("SEAWORTHY_BENCH_PASSWORD", secret).args(["--requests", "100", "--runs", "2"]);
        run(command.args(["--only", "manifest-get", "-o", "json"]).args(words))
    };
    let report = measured(&["--beside"]);
    assert_eq!(report.code, 0, "{report:?}");
    let report = report.json();
    let figures = figures(&report);
    for kind in ["server cpu", "rate"] {
        let name = format!("manifest GET by tag, c=16: {kind}");
        let [ours, theirs, ratio] =
            ["", ": at the URL", ": ratio"].map(|whose| figures[format!("{name}{whose}").as_str()]);
        assert_eq!([&ours["runs"], &theirs["runs"], &ratio["runs"]], [2, 2, 2], "{report:#}");
        assert!(ours["unit"] == theirs["unit"] && ratio["unit"] == "x", "{report:#}");
    }
    let wrong = measured(&["--no-inspection"]);
    assert!(wrong.code == 2 && wrong.err.contains("--beside"), "{wrong:?}");
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// What needs a server of the bench's own is measured at others that the bench can start, and whose collection it can.
#[test]
fn a_registry_of_others_is_killed_and_collected() {
    const NAME: &str = "a_registry_of_others_is_killed_and_collected";
    let Some(program) = foreign_program(NAME) else { return };
    let (place, port) = (Place::new(), free_port());
    let (folder, config) = (place.path("theirs"), place.path("config.yml"));
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: \"127.0.0.1:{port}\"}}\n",
        folder.display()
    );
    fs::write(&config, text).expect("written");
    let url = format!("http://127.0.0.1:{port}");
    let command = |verb: &str| format!("{} {verb} {}", program.display(), config.display());
    let (start, collect, folder) =
        (command("serve"), command("garbage-collect"), folder.display().to_string());
    let bench = |words: &[&str]| {
        let common = ["bench", "registry", &url, "--rows", "1000", "--requests", "200", "-o", "json"];
        place.cli(&[&common, words].concat())
    };
    let report = bench(&[
        "--only",
        "kill,cold,collect",
        "--kills",
        "2",
        "--runs",
        "2",
        "--start",
        &start,
        "--collect",
        &collect,
        "--dir",
        &folder,
    ]);
    assert_eq!(report.code, 0, "{report:?}");
    let report = report.json();
    let figures = figures(&report);
    let median = |name: &str| figures[name]["median"].as_f64().expect("a number");
    assert_eq!(figures["killed and started again"]["runs"], 4, "{report:#}");
    assert!(median("images acknowledged while it was killed") > 0.0, "{report:#}");
    assert_eq!(figures["images acknowledged and lost"]["median"], 0.0);
    assert_eq!(figures["killed, started, first pull of 1000 manifests"]["runs"], 6);
    assert!(median("files and folders collected") >= 1_000.0, "{report:#}");
    assert!(figures.contains_key("collection"), "{report:#}");
    assert!(figures.contains_key("manifest GET while blobs are collected: latency"), "{report:#}");

    for (words, says) in [
        (&["--only", "kill"][..], "--start"),
        (&["--only", "collect"], "--collect"),
        (&["--only", "pull-through"], "--upstream"),
        (&["--only", "pull-tls"], "https://"),
        (&["--start", &start, "--pid", "1"], "--pid"),
    ] {
        let wrong = bench(words);
        assert!(wrong.code == 2 && wrong.err.contains(says), "{words:?}: {wrong:?}");
    }
    let wrong = bench(&["--only", "cold", "--start", "echo no such thing"]);
    assert!(wrong.code != 0 && wrong.err.contains("no such thing"), "{wrong:?}");
}

/// As a cache of an upstream that the bench is.
#[test]
fn a_cache_at_a_url_is_measured() {
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    let (login, upstream) = (user(&door), format!("127.0.0.1:{}", free_port()));
    let (name, secret) = login.split_once(':').expect("both");
    let theirs = format!("http://{upstream}");
    let made = place.cli(&[
        "registry",
        "cache",
        "create",
        "hub",
        "--upstream",
        &theirs,
        "--allow-network",
        "127.0.0.1",
    ]);
    assert_eq!(made.code, 0, "{made:?}");
    let url = format!("http://localhost:{}", server.port);
    let mut command = place.command(&["bench", "registry", &url, "--username", name, "-o", "json"]);
    command.env("SEAWORTHY_BENCH_PASSWORD", secret).args(["--only", "pull-through", "--blob-mib", "1"]);
    let report = run(command.args(["--upstream", &upstream, "--cached-as", "hub", "--runs", "2"]));
    assert_eq!(report.code, 0, "{report:?}");
    let report = report.json();
    let figures = figures(&report);
    let times = &figures["200 clients pull what is not here: sent by the upstream"];
    // The second time it is here.
    assert_eq!((&times["runs"], &times["max"]), (&Value::from(2), &Value::from(1.0)), "{report:#}");
}
