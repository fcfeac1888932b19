//! Feeds that are damaged, huge or wrong: the import fails as a whole and says where.

use std::{fmt::Write as _, io::Write as _};

use seaworthy_advisories::{ImportError, InputKind, limit, read};
use seaworthy_model::{FixState, Severity};

use crate::{debian, folder, import_files, index, installed, read_file};

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (path, content) in files {
        writer.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

const RECORD: &str = r#"{"id":"DSA-1-1","modified":"2026-01-01","affected":[{"package":{"ecosystem":"Debian:12","name":"expat"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}]}"#;
const TRACKER: &str = "{\"expat\":{\"CVE-2013-0340\":{\"releases\":{\n\"bookworm\":{\"status\":\"open\"}}}}}";

#[test]
fn a_cut_archive_gives_nothing() {
    let whole =
        zip(&[("a.json", RECORD.as_bytes()), ("b.json", RECORD.replace("DSA-1", "DSA-2").as_bytes())]);
    assert_eq!(read_file("z.zip", &whole).unwrap().segments[0].records, 2);
    for cut in [whole.len() / 4, whole.len() / 2, whole.len() - 1] {
        assert!(
            matches!(read_file("z.zip", &whole[..cut]), Err(ImportError::Archive { path, .. }) if path == "z.zip"),
            "{cut}"
        );
    }
    let packed = zstd::encode_all(folder(&[("json", TRACKER.as_bytes())]).as_slice(), 3).unwrap();
    assert!(read_file("t.tar.zst", &packed).is_ok());
    for cut in 5..packed.len() {
        assert!(read_file("t.tar.zst", &packed[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn a_flipped_byte_in_a_zip_member_is_noticed() {
    let mut whole = zip(&[("README", &[b'x'; 64])]);
    assert!(read_file("z.zip", &whole).is_ok(), "a file that is passed over");
    whole[30 + 6 + 1] ^= 1;
    assert!(read_file("z.zip", &whole).is_err());
}

/// Bytes, gzipped, with a wrong checksum.
fn gzip_of_a_wrong_sum(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    let mut packed = encoder.finish().unwrap();
    let sum = packed.len() - 8;
    packed[sum] ^= 1;
    packed
}

#[test]
fn damage_to_what_is_passed_over_stops_nothing() {
    let xml = gzip_of_a_wrong_sum(b"<updates/>");
    let cut = &br#"{"document":{"category":"csaf_vex","#[..];
    let whole = folder(&[("a.json", RECORD.as_bytes()), ("u.xml.gz", &xml), ("c.json", cut)]);
    let import = read("d", InputKind::Folder, &mut whole.as_slice()).unwrap();
    let skipped: Vec<&str> = import.skipped.iter().map(|skipped| skipped.path.as_str()).collect();
    assert_eq!((import.segments.len(), skipped.as_slice()), (1, &["d/u.xml.gz", "d/c.json"][..]));
    // Named by the caller, or perhaps a feed: an error.
    assert!(read_file("u.xml.gz", &xml).is_err());
    assert!(read_file("c.json", cut).is_err());
    let record = gzip_of_a_wrong_sum(RECORD.as_bytes());
    assert!(read("d", InputKind::Folder, &mut folder(&[("r.json.gz", &record)]).as_slice()).is_err());
}

#[test]
fn half_a_document_names_file_line_and_column() {
    for cut in 3..TRACKER.len() {
        match read_file("json", &TRACKER[..cut]) {
            Err(ImportError::Json { path, line, column, .. }) => {
                assert_eq!(
                    (path.as_str(), line),
                    ("json", TRACKER[..cut].matches('\n').count() + 1),
                    "{cut}"
                );
                assert!(column <= cut, "{cut}");
            }
            other => panic!("{cut}: {other:?}"),
        }
    }
    let error = read(
        "d",
        InputKind::Folder,
        &mut folder(&[("a.json", RECORD.as_bytes()), ("b.json", &RECORD.as_bytes()[..90])]).as_slice(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("`d/b.json` as OSV, line 1"), "{error}");
    assert!(
        import_files(&[("t", TRACKER), ("r.json", &RECORD[..90])], None).is_err(),
        "nothing of a broken import is kept"
    );
}

#[test]
fn wrong_types_are_errors_and_unknown_fields_are_not() {
    for (from, to) in [
        ("\"open\"", "7"),
        ("{\"status\":\"open\"}", "[]"),
        ("{\"status\":\"open\"}", "{}"),
        ("{\"releases\"", "{\"x\""),
    ] {
        let text = TRACKER.replace(from, to);
        assert!(matches!(read_file("t", &text), Err(ImportError::Json { line: 2, .. })), "{text}");
    }
    for (from, to) in
        [("\"DSA-1-1\"", "1"), ("\"expat\"", "null"), ("[{\"introduced\":\"0\"}]", "{}"), ("\"0\"", "0")]
    {
        assert!(
            matches!(read_file("r.json", RECORD.replace(from, to)), Err(ImportError::Json { .. })),
            "{to}"
        );
    }
    let tolerated = TRACKER
        .replace("\"status\"", "\"new\":[{}],\"status\"")
        .replace("\"releases\"", "\"debianbug\":1,\"scope\":\"x\",\"releases\"");
    assert!(read_file("t", tolerated).is_ok());
    assert!(read_file("r.json", RECORD.replace("\"id\"", "\"new\":{\"x\":[]},\"id\"")).is_ok());
}

#[test]
fn a_foreign_record_with_wrong_types_is_passed_over() {
    let foreign = RECORD
        .replace("DSA-1-1", "PHSA-1")
        .replace("Debian:12", "Photon OS:4.0")
        .replace("[{\"type\"", "{\"type\"")
        .replace("}]}]}]}", "}]}}]}");
    let tar = folder(&[("a.json", foreign.as_bytes()), ("b.json", RECORD.as_bytes())]);
    let import = read("d", InputKind::Folder, &mut tar.as_slice()).unwrap();
    assert_eq!(import.not_covered["Photon OS"], 1, "{import:?}");
    assert_eq!(import.segments[0].records, 1, "{import:?}");
    assert!(read_file("r.json", foreign.replace("Photon OS:4.0", "Debian:12")).is_err());
}

#[test]
fn bombs_are_stopped() {
    let spaces =
        [b"{".as_slice(), &vec![b' '; usize::try_from(limit::RATIO_FREE_BYTES).unwrap() + 1]].concat();
    let zstd = zstd::encode_all(spaces.as_slice(), 3).unwrap();
    for packed in [zip(&[("a.json", &spaces)]), zstd] {
        assert!(matches!(read_file("bomb", packed), Err(ImportError::TooLarge { limit: limit::RATIO, .. })));
    }
    let mut wrapped = TRACKER.as_bytes().to_vec();
    for depth in 1..=limit::NESTING + 1 {
        wrapped = zstd::encode_all(wrapped.as_slice(), 3).unwrap();
        assert_eq!(read_file("deep", &wrapped).is_ok(), depth <= limit::NESTING, "{depth}");
    }
    let inner = zip(&[("a.json", RECORD.as_bytes())]);
    let import = read_file("z", zip(&[("inner.zip", &inner)])).unwrap();
    assert!(import.segments.is_empty() && import.skipped[0].path == "z!inner.zip");
}

#[test]
fn deep_documents_are_refused() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read_file("t", TRACKER.replace("\"open\"", &deep)).is_err());
    assert!(read_file("r.json", RECORD.replace("\"0\"", &deep)).is_err());
}

#[test]
fn names_and_versions_are_bounded() {
    let name = |bytes: usize| read_file("t", TRACKER.replace("expat", &"e".repeat(bytes)));
    assert!(name(limit::NAME_BYTES).is_ok() && name(limit::NAME_BYTES + 1).is_err());
    let name = |bytes: usize| read_file("r.json", RECORD.replace("expat", &"e".repeat(bytes)));
    assert!(name(limit::NAME_BYTES).is_ok() && name(limit::NAME_BYTES + 1).is_err());
    let warnings = |bytes: usize| {
        let fixed = format!("\"open\",\"fixed_version\":\"{}\"", "1".repeat(bytes));
        read_file("t", TRACKER.replace("\"open\"", &fixed)).unwrap().warnings.lines().count()
    };
    assert_eq!((warnings(limit::VERSION_BYTES), warnings(limit::VERSION_BYTES + 1)), (0, 1));
    let aliases = |count: usize| {
        read_file(
            "r.json",
            RECORD.replace(
                "\"modified\"",
                &format!("\"aliases\":[{}],\"modified\"", vec!["\"A\""; count].join(",")),
            ),
        )
    };
    assert!(aliases(limit::ALIASES).is_ok() && aliases(limit::ALIASES + 1).is_err());
}

/// Beyond the limit every version counts as affected, and that is said.
#[test]
fn ranges_and_versions_are_bounded() {
    let warnings = |key: &str, one: &str, count: usize| {
        let list = vec![one; count].join(",");
        let record = format!(
            r#"{{"id":"DSA-1","modified":"2026-01-01T00:00:00Z","affected":[{{"package":{{"ecosystem":"Debian:12","name":"a"}},"{key}":[{list}]}}]}}"#
        );
        let import = read_file("r.json", record).unwrap();
        assert_eq!(import.segments.len(), 1);
        import.warnings.lines().collect::<Vec<_>>().join("\n")
    };
    let range = r#"{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1"}]}"#;
    for (key, one) in [("ranges", range), ("versions", "\"1\"")] {
        assert_eq!(warnings(key, one, limit::SPANS), "", "{key}");
        let told = warnings(key, one, limit::SPANS + 1);
        assert!(told.contains("more than 50000") && told.contains("every version counts"), "{told}");
    }
}

/// A handful of samples of an ecosystem is no coverage of it.
#[test]
fn a_mixed_feed_covers_what_it_has_enough_of() {
    let covers = |records: u64| {
        let record = |at: u64, ecosystem: &str| {
            let text = format!(
                r#"{{"id":"X-{ecosystem}-{at}","modified":"2026-01-01T00:00:00Z","affected":[{{"package":{{"ecosystem":"{ecosystem}","name":"a"}},"versions":["1"]}}]}}"#
            );
            (format!("{}{at}.json", ecosystem.replace(':', "-")), text)
        };
        let records: Vec<(String, String)> =
            (0..records).map(|at| record(at, "Debian:12")).chain([record(0, "npm")]).collect();
        let files: Vec<(&str, &[u8])> =
            records.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
        let import = read("d", InputKind::Folder, &mut folder(&files).as_slice()).unwrap();
        import.segments.iter().map(|segment| segment.covers.len()).sum::<usize>()
    };
    assert_eq!(covers(limit::MIXED_FEED_RECORDS), 1);
    assert_eq!(covers(limit::MIXED_FEED_RECORDS - 1), 0);
}

#[test]
fn a_million_keys_stay_small() {
    let mut text = String::from("{\"a\":{\"CVE-2000-0001\":{\"releases\":{}}}");
    for n in 0..1_000_000 {
        write!(text, ",\"s{n}\":{{}}").unwrap();
    }
    text.push('}');
    let import = read_file("t", text).unwrap();
    assert!(import.segments[0].bytes.len() < 10_000, "sources without rows leave nothing");
}

#[test]
fn lists_of_skipped_files_are_bounded() {
    let names: Vec<String> = (0..limit::LISTED + 5).map(|n| format!("{n}.txt")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"x".as_slice())).collect();
    let import = read("d", InputKind::Folder, &mut folder(&files).as_slice()).unwrap();
    assert_eq!((import.skipped.len(), import.skipped_more), (limit::LISTED, 5));
}

#[test]
fn verdicts_of_the_tracker() {
    let row = |facts: &str| {
        let import = read_file("t", TRACKER.replace("{\"status\":\"open\"}", facts)).unwrap();
        let rows = index(&[&import]).find(Some(&debian("12")), &[installed("expat", "2.0-1")]).rows;
        (rows.first().map(|row| (row.state, row.severity)), import.warnings.lines().count())
    };
    let affected = |state| Some((state, Severity::Unknown));
    for (facts, expected, warnings) in [
        (r#"{"status":"open"}"#, affected(FixState::Affected), 0),
        (r#"{"status":"open","urgency":"unimportant"}"#, Some((FixState::Affected, Severity::Negligible)), 0),
        (r#"{"status":"open","urgency":"high**"}"#, Some((FixState::Affected, Severity::High)), 0),
        (r#"{"status":"open","urgency":"end-of-life"}"#, affected(FixState::EndOfLife), 0),
        (r#"{"status":"open","nodsa":"x","nodsa_reason":""}"#, affected(FixState::Affected), 0),
        (r#"{"status":"open","nodsa_reason":"ignored"}"#, affected(FixState::WillNotFix), 0),
        (r#"{"status":"open","nodsa_reason":"postponed"}"#, affected(FixState::FixDeferred), 0),
        (r#"{"status":"undetermined"}"#, None, 1),
        (r#"{"status":"resolved","fixed_version":"0"}"#, None, 0),
        (r#"{"status":"resolved","fixed_version":"2.0-1"}"#, None, 0),
        (r#"{"status":"resolved","fixed_version":"2.0-2"}"#, affected(FixState::Fixed), 0),
        (r#"{"status":"open","fixed_version":"2.0-2"}"#, affected(FixState::Fixed), 0),
        (r#"{"status":"open","fixed_version":"x"}"#, affected(FixState::UnderInvestigation), 1),
        (r#"{"status":"resolved"}"#, affected(FixState::UnderInvestigation), 1),
        (r#"{"status":"resolved","repositories":{"bookworm":"2.0-1","sid":"3"}}"#, None, 1),
        (
            r#"{"status":"resolved","repositories":{"bookworm":"1","bookworm-security":"2.0-2"}}"#,
            affected(FixState::Fixed),
            1,
        ),
        (r#"{"status":"odd"}"#, affected(FixState::UnderInvestigation), 1),
    ] {
        assert_eq!(row(facts), (expected, warnings), "{facts}");
    }
}
