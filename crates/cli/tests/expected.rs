//! What a scan has to find, computed naively and by other means: the text of dpkg's database,
//! the tracker's JSON, and the real `dpkg --compare-versions`.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

/// The tracker's JSON in the pack.
const TRACKER: (&str, &str) =
    ("debian/debian-security.tar.zst", "debian-security/security-tracker/tracker/data/json");

/// (CVE, source package) of everything that the tracker says about what a base has installed.
pub(crate) fn pairs(base: &Path, pack: &Path) -> BTreeSet<(String, String)> {
    let status = member(Command::new("tar").arg("-xOf").arg(base).arg("./var/lib/dpkg/status"));
    let sources = installed_sources(&String::from_utf8(status).expect("UTF-8"));
    assert!(sources.len() > 50, "a base has many packages, not {}", sources.len());
    let tracker =
        member(Command::new("tar").args(["-I", "zstd", "-xOf"]).arg(pack.join(TRACKER.0)).arg(TRACKER.1));
    let tracker: Value = serde_json::from_slice(&tracker).expect("the tracker's JSON");
    let mut found = BTreeSet::new();
    let mut asked = Vec::new();
    for (source, version) in &sources {
        let Some(entries) = tracker.get(source).and_then(Value::as_object) else { continue };
        for (cve, entry) in entries {
            let release = &entry["releases"]["bookworm"];
            let pair = (cve.clone(), source.clone());
            match (release["status"].as_str(), release["fixed_version"].as_str()) {
                (Some("open"), _) => drop(found.insert(pair)),
                // Version 0 is the tracker's word for "not affected".
                (Some("resolved"), Some(fixed)) if fixed != "0" => asked.push((version.clone(), fixed, pair)),
                _ => {}
            }
        }
    }
    let lines: String = asked.iter().map(|(version, fixed, _)| format!("{version} {fixed}\n")).collect();
    for (answer, (_, _, pair)) in older(&lines).into_iter().zip(asked) {
        if answer {
            found.insert(pair);
        }
    }
    found
}

fn member(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("tar runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// (source, version) of what is installed: `Source: NAME (VERSION)`, where each half that is
/// absent is the package's own.
fn installed_sources(status: &str) -> BTreeSet<(String, String)> {
    let mut out = BTreeSet::new();
    for stanza in status.split("\n\n") {
        let field = |name: &str| {
            stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let (Some(name), Some(version)) = (field("Package"), field("Version")) else { continue };
        if !field("Status").is_some_and(|it| it.ends_with(" installed")) {
            continue;
        }
        let source = field("Source").unwrap_or(name);
        let (source, version) = source
            .split_once(" (")
            .map_or((source, version), |(source, rest)| (source, rest.trim_end_matches(')')));
        out.insert((source.to_owned(), version.to_owned()));
    }
    out
}

/// For each line `A B`: is A older than B, says dpkg.
fn older(lines: &str) -> Vec<bool> {
    let script = r#"while read -r a b; do dpkg --compare-versions "$a" lt "$b"; echo $?; done"#;
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh runs");
    let mut stdin = child.stdin.take().expect("stdin");
    let text = lines.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("sh ends");
    writer.join().expect("written").expect("written");
    let answers: Vec<bool> = String::from_utf8(output.stdout)
        .expect("digits")
        .lines()
        .map(|line| match line {
            "0" => true,
            "1" => false,
            other => panic!("dpkg answered {other}"),
        })
        .collect();
    assert_eq!(answers.len(), lines.lines().count());
    answers
}
