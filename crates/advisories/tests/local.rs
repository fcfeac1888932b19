//! Single OSV records: added, replaced, withdrawn; OSV's evaluation; who wins over whom.

use seaworthy_advisories::Segment;
use seaworthy_model::{FixState, Severity};

use crate::{debian, found, import_files, index, installed, read_file};

fn record(id: &str, extra: &str, events: &str) -> String {
    format!(
        r#"{{"id":"{id}","modified":"2026-01-01T00:00:00Z"{extra},"affected":[{{"package":{{"ecosystem":"Debian:12","name":"expat"}},
            "ranges":[{{"type":"ECOSYSTEM","events":[{events}]}}]}}]}}"#
    )
}

fn versions_hit(record: &str, versions: &[&str]) -> Vec<String> {
    let index = index(&[&read_file("r.json", record).unwrap()]);
    let packages: Vec<_> = versions.iter().map(|version| installed("expat", version)).collect();
    let mut hit: Vec<_> = found(&index, "12", &packages).into_iter().map(|row| row.2).collect();
    hit.sort_by_key(|version| versions.iter().position(|other| other == version));
    hit
}

#[test]
fn records_are_added_replaced_and_withdrawn() {
    let packages = [installed("expat", "2.0")];
    let mut local: Option<Segment> = None;
    let mut apply = |text: &str| {
        let import = import_files(&[("one.json", text)], local.as_ref()).unwrap();
        let [segment] = import.segments.as_slice() else { panic!("one feed") };
        assert_eq!(segment.feed, "local");
        assert!(segment.covers.is_empty(), "a record covers no release");
        local = Some(segment.open().unwrap());
        found(&index(&[&import]), "12", &packages)
            .into_iter()
            .map(|row| (row.0, row.3.unwrap()))
            .collect::<Vec<_>>()
    };
    let row = |id: &str, fixed: &str| (id.to_owned(), fixed.to_owned());
    assert_eq!(apply(&record("A-1", "", r#"{"introduced":"0"},{"fixed":"3"}"#)), [row("A-1", "3")]);
    assert_eq!(
        apply(&record("A-2", "", r#"{"introduced":"0"},{"fixed":"4"}"#)),
        [row("A-1", "3"), row("A-2", "4")]
    );
    assert_eq!(
        apply(&record("A-1", "", r#"{"introduced":"0"},{"fixed":"5"}"#)),
        [row("A-1", "5"), row("A-2", "4")]
    );
    let gone = record("A-1", r#","withdrawn":"2026-02-01T00:00:00Z""#, r#"{"introduced":"0"},{"fixed":"5"}"#);
    assert_eq!(apply(&gone), [row("A-2", "4")]);
    assert_eq!(apply(&gone), [row("A-2", "4")], "twice is the same");
    assert_eq!(
        apply(r#"{"id":"A-2","modified":"2026-03-01T00:00:00Z","withdrawn":"2026-03-01T00:00:00Z"}"#),
        []
    );
}

#[test]
fn several_records_in_one_file() {
    let (a, b) = (record("A-1", "", r#"{"introduced":"0"}"#), record("A-2", "", r#"{"introduced":"0"}"#));
    for text in [format!("[{a},{b}]"), format!("{}\n{}\n", a.replace('\n', " "), b.replace('\n', " "))] {
        assert_eq!(read_file("r.json", text).unwrap().segments[0].records, 2);
    }
}

#[test]
fn events_are_evaluated_as_osv_says() {
    let all = ["0~1", "0.9", "1", "1.5", "2", "2.5", "3", "4"];
    for (events, hit) in [
        (r#"{"introduced":"0"}"#, &all[..]),
        (r#"{"introduced":"0"},{"fixed":"2"}"#, &["0~1", "0.9", "1", "1.5"]),
        (r#"{"introduced":"1"},{"last_affected":"2"}"#, &["1", "1.5", "2"]),
        (r#"{"fixed":"2"},{"introduced":"1"}"#, &["1", "1.5"]),
        (r#"{"introduced":"1"},{"fixed":"2"},{"introduced":"3"}"#, &["1", "1.5", "3", "4"]),
        (r#"{"introduced":"1"},{"fixed":"2"},{"introduced":"2"},{"fixed":"3"}"#, &["1", "1.5", "2", "2.5"]),
        (r#"{"introduced":"0"},{"fixed":"0"}"#, &["0~1"]),
        (r#"{"introduced":"0"},{"limit":"2"}"#, &["0~1", "0.9", "1", "1.5"]),
        (r#"{"introduced":"0"},{"fixed":"3"},{"limit":"1"},{"limit":"2"}"#, &["0~1", "0.9", "1", "1.5"]),
        (r#"{"introduced":"0"},{"fixed":"1"},{"limit":"*"}"#, &["0~1", "0.9"]),
    ] {
        assert_eq!(versions_hit(&record("A-1", "", events), &all), hit, "{events}");
    }
    let listed = r#"{"id":"A-1","modified":"2026","affected":[{"package":{"ecosystem":"Debian:12","name":"expat"},"versions":["1","2.5"],
        "ranges":[{"type":"GIT","events":[{"introduced":"0"}]},{"type":"ECOSYSTEM","events":[{"introduced":"1.5"},{"fixed":"2"}]}]}]}"#;
    assert_eq!(versions_hit(listed, &all), ["1", "1.5", "2.5"]);
}

#[test]
fn what_cannot_be_judged_counts_as_affected_with_a_warning() {
    for text in [
        record("A-1", "", r#"{"introduced":"0"},{"fixed":"latest"}"#),
        record("A-1", "", r#"{"fixed":"2"}"#),
        r#"{"id":"A-1","modified":"2026","affected":[{"package":{"ecosystem":"Debian:12","name":"expat"}}]}"#
            .to_owned(),
    ] {
        let import = read_file("r.json", &text).unwrap();
        assert_eq!(import.warnings.lines().count(), 1, "{text}");
        let rows = index(&[&import]).find(Some(&debian("12")), &[installed("expat", "9")]).rows;
        assert_eq!((rows.len(), rows[0].state), (1, FixState::UnderInvestigation), "{text}");
    }
    let fixed = record("A-1", "", r#"{"introduced":"0"},{"fixed":"2"}"#);
    let rows = index(&[&read_file("r.json", fixed).unwrap()])
        .find(Some(&debian("12")), &[installed("expat", "weird")])
        .rows;
    assert_eq!(rows[0].state, FixState::UnderInvestigation, "an installed version without order");
}

#[test]
fn names_of_clusters() {
    let names = |extra: &str| {
        let import = read_file("r.json", record("DSA-1-1", extra, r#"{"introduced":"0"}"#)).unwrap();
        let rows = index(&[&import]).find(Some(&debian("12")), &[installed("expat", "1")]).rows;
        rows.into_iter().map(|row| (row.id, row.aliases.join(" "))).collect::<Vec<_>>()
    };
    let row = |id: &str, aliases: &str| (id.to_owned(), aliases.to_owned());
    assert_eq!(names(""), [row("DSA-1-1", "")]);
    assert_eq!(names(r#","related":["CVE-2020-1111"]"#), [row("DSA-1-1", "")], "related is no alias");
    assert_eq!(
        names(r#","upstream":["CVE-2020-1111","DEBIAN-CVE-2020-1111"]"#),
        [row("CVE-2020-1111", "DEBIAN-CVE-2020-1111 DSA-1-1")]
    );
    assert_eq!(
        names(r#","upstream":["CVE-2020-2222","CVE-2020-1111"],"aliases":["GHSA-x"]"#),
        [row("CVE-2020-1111", "DSA-1-1"), row("CVE-2020-2222", "DSA-1-1")]
    );
}

#[test]
fn severities() {
    let severity = |extra: &str| {
        let import = read_file("r.json", record("GHSA-1", extra, r#"{"introduced":"0"}"#)).unwrap();
        let row = index(&[&import]).find(Some(&debian("12")), &[installed("expat", "1")]).rows.remove(0);
        (row.severity, row.severity_source)
    };
    assert_eq!(severity(""), (Severity::Unknown, String::new()));
    assert_eq!(severity(r#","database_specific":{"severity":"MODERATE","x":[1]}"#).0, Severity::Medium);
    assert_eq!(severity(r#","database_specific":{"severity":7}"#).0, Severity::Unknown);
    let vector = r#","severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]"#;
    assert_eq!(severity(vector), (Severity::Critical, "github".to_owned()));
}

#[test]
fn the_vendor_decides_and_local_adds() {
    let tracker = r#"{"expat":{"CVE-2020-1111":{"releases":{"bookworm":{"status":"resolved","fixed_version":"0"}}},
        "CVE-2020-2222":{"releases":{"bookworm":{"status":"resolved","fixed_version":"2","urgency":"high"}}}}}"#;
    let advisory = |cve: &str, fixed: &str| {
        record(
            "DSA-1-1",
            &format!(r#","upstream":["{cve}"]"#),
            &format!(r#"{{"introduced":"0"}},{{"fixed":"{fixed}"}}"#),
        )
    };
    let tracker = read_file("t", tracker).unwrap();
    let zipped = |text: &str| {
        let tar = crate::folder(&[("DSA-1-1.json", text.as_bytes())]);
        seaworthy_advisories::read("osv", seaworthy_advisories::InputKind::Folder, &mut tar.as_slice())
            .unwrap()
    };
    let find = |other: &seaworthy_advisories::Import| {
        let rows = index(&[other, &tracker]).find(Some(&debian("12")), &[installed("expat", "2.5")]).rows;
        rows.into_iter()
            .map(|row| (row.id, row.fixed_version.unwrap(), row.aliases.len()))
            .collect::<Vec<_>>()
    };
    let feed = zipped(&advisory("CVE-2020-1111", "3"));
    assert_eq!(feed.segments[0].feed, "osv-debian");
    assert_eq!(find(&feed), [], "never affected, says the vendor");
    assert_eq!(find(&zipped(&advisory("CVE-2020-2222", "3"))), [], "fixed in 2, says the vendor");
    let local = read_file("r.json", advisory("CVE-2020-2222", "3")).unwrap();
    assert_eq!(find(&local), [("CVE-2020-2222".to_owned(), "3".to_owned(), 1)]);
}

#[test]
fn regression_updates_do_not_raise_the_fix() {
    let update = |id: &str, fixed: &str| {
        record(
            id,
            r#","upstream":["CVE-2020-1111"]"#,
            &format!(r#"{{"introduced":"0"}},{{"fixed":"{fixed}"}}"#),
        )
    };
    let (first, second) = (update("DSA-1-1", "2"), update("DSA-1-2", "3"));
    let tar = crate::folder(&[("b.json", second.as_bytes()), ("a.json", first.as_bytes())]);
    let import =
        seaworthy_advisories::read("osv", seaworthy_advisories::InputKind::Folder, &mut tar.as_slice())
            .unwrap();
    let rows = found(&index(&[&import]), "12", &[installed("expat", "1"), installed("expat", "2")]);
    assert_eq!(
        rows.into_iter().map(|row| (row.2, row.3.unwrap())).collect::<Vec<_>>(),
        [("1".to_owned(), "2".to_owned())]
    );
}
