//! The bench of registries: what it says of a server of its own, and of one beside another.

use std::collections::BTreeMap;

use serde_json::Value;

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
    let report = place.cli(&["bench", "registry", "--only", "kill", "--kills", "3", "-o", "json"]);
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
