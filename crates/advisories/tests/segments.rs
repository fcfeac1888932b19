//! Segments and imports on their way through hostile hands.

use std::sync::Arc;

use proptest::prelude::*;
use seaworthy_advisories::{
    Import, Index, InputKind, Segment, SegmentError, feed_reader, feed_request, touched,
};
use sha2::{Digest as _, Sha256};

use crate::{debian, import_files, index, installed, read_file};

const TRACKER: &str = r#"{"expat":{"CVE-2013-0340":{"description":"billion laughs","releases":{
    "bookworm":{"status":"resolved","fixed_version":"2.4.1-1","urgency":"low"},
    "trixie":{"status":"open","urgency":"unimportant","nodsa_reason":"ignored"}}}},
  "zlib":{"CVE-2022-37434":{"releases":{"bookworm":{"status":"resolved","fixed_version":"1:1.2.13-1","urgency":"high"}}}}}"#;
const EPSS: &str = "#model_version:v1,score_date:2025-09-30\ncve,epss,percentile\nCVE-2013-0340,0.25,0.9\nCVE-2022-37434,0.5,0.9\n";

fn segment(content: &str) -> Vec<u8> {
    read_file("f", content).unwrap().segments[0].bytes.clone()
}

fn exercise(segment: &Segment) {
    let index = Index::new(vec![Arc::new(segment.clone())]);
    for release in ["12", "13"] {
        index.find(
            Some(&debian(release)),
            &[installed("expat", "1"), installed("zlib", "1"), installed("x", "?")],
        );
    }
    index.packages_with("CVE-2013-0340");
    touched(None, Some(segment));
    touched(Some(segment), None);
}

proptest! {
    #[test]
    fn flipped_bytes_are_refused(at in any::<prop::sample::Index>(), flip in 1..=255_u8, epss in any::<bool>()) {
        let mut bytes = segment(if epss { EPSS } else { TRACKER });
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Segment::open(Arc::new(bytes)).is_err());
    }

    /// A writer that computes the checksum over nonsense: nothing may panic, in opening or in reading.
    #[test]
    fn nonsense_with_a_valid_checksum_is_harmless(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        epss in any::<bool>(),
    ) {
        let mut bytes = segment(if epss { EPSS } else { TRACKER });
        for (at, value) in flips {
            let at = 44 + at.index(bytes.len() - 44);
            bytes[at] = value;
        }
        let hash = Sha256::digest(&bytes[44..]);
        bytes[12..44].copy_from_slice(&hash);
        if let Ok(segment) = Segment::open(Arc::new(bytes)) {
            exercise(&segment);
        }
    }

    #[test]
    fn damaged_imports_are_refused(at in any::<prop::sample::Index>(), cut in any::<bool>()) {
        let bytes = import_files(&[("t", TRACKER), ("e", EPSS)], None).unwrap().to_bytes();
        let at = at.index(bytes.len());
        let damaged = if cut { bytes[..at].to_vec() } else { [&bytes[..at], &[bytes[at] ^ 1], &bytes[at + 1..]].concat() };
        // A flip inside a skipped file's name is another name; everything else is noticed.
        if let Ok(import) = Import::from_bytes(&damaged) {
            prop_assert_eq!(import.segments.len(), 2);
        }
    }
}

#[test]
fn versions_and_kinds_are_told_apart() {
    let bytes = segment(TRACKER);
    let open = |bytes: &[u8]| Segment::open(Arc::new(bytes.to_vec())).unwrap_err();
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert!(matches!(open(&newer), SegmentError::Version { found: 2 }));
    assert!(matches!(open(b"SQLite"), SegmentError::Magic));
    assert!(matches!(open(&bytes[..40]), SegmentError::Magic));
    assert!(matches!(open(&bytes[..bytes.len() - 1]), SegmentError::Checksum));
}

#[test]
fn a_child_process_gives_the_same_import() {
    let mut output = Vec::new();
    feed_reader(&feed_request("f", InputKind::File), &mut TRACKER.as_bytes(), &mut output).unwrap();
    assert_eq!(Import::from_bytes(&output).unwrap(), read_file("f", TRACKER).unwrap());
    let error = feed_reader(
        &feed_request("f.json", InputKind::File),
        &mut &TRACKER.as_bytes()[..300],
        &mut Vec::new(),
    )
    .unwrap_err();
    assert!(error.contains("f.json") && error.contains("line") && error.contains("EOF"), "{error}");
    assert!(feed_reader(b"{}", &mut TRACKER.as_bytes(), &mut Vec::new()).is_err());
}

#[test]
fn equal_content_is_equal_bytes() {
    let reordered = r#"{"zlib":{"CVE-2022-37434":{"releases":{"bookworm":{"status":"open","fixed_version":"1:1.2.13-1","urgency":"high"}}}},
        "expat":{"CVE-2013-0340":{"releases":{
            "trixie":{"status":"open","urgency":"unimportant","nodsa_reason":"ignored"},
            "bookworm":{"status":"resolved","fixed_version":"2.4.1-1","urgency":"low**"}},"description":"billion  laughs"}}}"#;
    assert_eq!(segment(TRACKER), segment(reordered));
    let same = |a: &str, b: &str| {
        let open = |text| read_file("f", text).unwrap().segments[0].open().unwrap();
        touched(Some(&open(a)), Some(&open(b)))
    };
    assert_eq!(same(TRACKER, reordered), seaworthy_advisories::Touched::default());
    let changed = same(TRACKER, &TRACKER.replace("2.4.1-1", "2.4.1-2"));
    assert_eq!(
        changed.packages.into_iter().collect::<Vec<_>>(),
        [("deb:debian:12".to_owned(), "expat".to_owned())]
    );
    assert!(changed.releases.is_empty() && changed.cves.is_empty());
    let first = touched(None, Some(&read_file("f", TRACKER).unwrap().segments[0].open().unwrap()));
    assert_eq!((first.packages.len(), first.releases.len()), (3, 2));
    let scores = same(EPSS, &EPSS.replace("0.25", "0.26"));
    assert_eq!(scores.cves.into_iter().collect::<Vec<_>>(), ["CVE-2013-0340"]);
}

#[test]
fn index_hash_and_set_id_follow_content_alone() {
    let (tracker, epss) = (read_file("t", TRACKER).unwrap(), read_file("e", EPSS).unwrap());
    let (a, b) = (index(&[&tracker, &epss]), index(&[&epss, &tracker]));
    assert_eq!(a.hash(), b.hash());
    assert_ne!(a.hash(), index(&[&tracker]).hash());
    let set =
        |index: &Index, version: &str| index.find(Some(&debian("12")), &[installed("expat", version)]).id;
    assert_eq!(set(&a, "2.4.0-1"), set(&b, "2.4.0-1"));
    assert_ne!(set(&a, "2.4.0-1"), set(&a, "2.4.0-2"));
    assert_ne!(set(&a, "2.4.0-1"), set(&index(&[&tracker]), "2.4.0-1"), "a score is part of the row");
    assert_eq!(a.packages_with("CVE-2013-0340").len(), 2);
}
