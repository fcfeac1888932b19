//! The real advisory pack.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Cursor, Read as _},
    path::PathBuf,
};

use seaworthy_advisories::{Import, InputKind, read, touched};
use serde_json::Value;

use crate::{debian, folder, found, index, installed, naive, read_file};

const RELEASES: [(&str, &str); 2] = [("12", "bookworm"), ("13", "trixie")];

/// The pack's folder; `None`, said aloud, where it is not there. CI always has it.
fn pack(test: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/advisories");
    let path = std::env::var_os("SEAWORTHY_ADVISORIES").map_or_else(|| PathBuf::from(default), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs the advisory pack");
    println!("not run: {test} needs the advisory pack");
    None
}

fn tracker_import(pack: &std::path::Path) -> Import {
    read_file("debian-security.tar.zst", fs::read(pack.join("debian/debian-security.tar.zst")).unwrap())
        .unwrap()
}

fn osv_import(pack: &std::path::Path) -> Import {
    read_file("osv-debian-all.zip", fs::read(pack.join("debian/osv-debian-all.zip")).unwrap()).unwrap()
}

fn tracker_json(pack: &std::path::Path) -> Value {
    let tar = zstd::decode_all(fs::File::open(pack.join("debian/debian-security.tar.zst")).unwrap()).unwrap();
    serde_json::from_slice(naive::tar_member(&tar, "tracker/data/json")).unwrap()
}

fn osv_json(pack: &std::path::Path) -> Vec<Value> {
    let mut zip =
        zip::ZipArchive::new(Cursor::new(fs::read(pack.join("debian/osv-debian-all.zip")).unwrap())).unwrap();
    (0..zip.len())
        .map(|at| {
            let mut text = String::new();
            zip.by_index(at).unwrap().read_to_string(&mut text).unwrap();
            serde_json::from_str(&text).unwrap()
        })
        .collect()
}

#[test]
fn the_pack_is_read_whole() {
    let Some(pack) = pack("the_pack_is_read_whole") else { return };
    let import = tracker_import(&pack);
    let [segment] = import.segments.as_slice() else { panic!("{:?}", import.segments.len()) };
    assert_eq!((segment.feed.as_str(), segment.records), ("debian", 11_942));
    assert_eq!(segment.covers, ["deb:debian:12", "deb:debian:13"]);
    assert_eq!(import.skipped.len(), 6, "{:?}", import.skipped);
    assert_eq!(import.warnings.lines().collect::<Vec<_>>(), [""; 0]);
    let import = osv_import(&pack);
    let [segment] = import.segments.as_slice() else { panic!("{:?}", import.segments.len()) };
    assert_eq!((segment.feed.as_str(), segment.records), ("osv-debian", 3_648));
    assert_eq!(segment.newest.as_deref(), Some("2026-08-21T00:00:00Z"));
    assert_eq!(segment.covers, ["deb:debian:10", "deb:debian:11", "deb:debian:12", "deb:debian:13"]);
    assert!(import.skipped.is_empty() && import.not_covered.is_empty());
}

#[test]
fn tracker_findings_equal_a_naive_recomputation() {
    let Some(pack) = pack("tracker_findings_equal_a_naive_recomputation") else { return };
    let (json, index) = (tracker_json(&pack), index(&[&tracker_import(&pack)]));
    for (release, codename) in RELEASES {
        let facts = naive::tracker(&json, codename);
        let mut installs: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for ((source, _), fixed) in &facts {
            let versions = installs.entry(source).or_default();
            let Some(fixed) = fixed else { continue };
            versions.extend([format!("{fixed}~"), fixed.clone(), format!("{fixed}+x1")]);
        }
        // Kernels and browsers have hundreds of versions; an even choice of them keeps this quick.
        for versions in installs.values_mut() {
            let step = versions.len() / 60 + 1;
            *versions = std::mem::take(versions).into_iter().step_by(step).collect();
        }
        let (mut expected, mut packages) = (Vec::new(), Vec::new());
        for ((source, cve), fixed) in &facts {
            for version in &installs[source.as_str()] {
                let affected =
                    fixed.as_ref().is_none_or(|fixed| fixed != "0" && naive::compare(version, fixed).is_lt());
                if affected {
                    expected.push((cve.clone(), source.clone(), version.clone(), fixed.clone()));
                }
            }
        }
        for (source, versions) in &installs {
            packages.extend(versions.iter().map(|version| installed(source, version)));
        }
        expected.sort();
        let findings = found(&index, release, &packages);
        assert!(expected.len() > 10_000, "{release}: {} expected", expected.len());
        assert_eq!(findings.len(), expected.len(), "{release}");
        assert!(findings == expected, "{release}: the pairs differ");
    }
}

/// Two importers of the same facts, the cheapest differential test there is: what Debian's tracker and
/// Debian's advisories both speak about must be the same fact, and lead to the same findings.
#[test]
fn tracker_and_advisories_agree() {
    let Some(pack) = pack("tracker_and_advisories_agree") else { return };
    let (json, records) = (tracker_json(&pack), osv_json(&pack));
    let (by_tracker, by_advisories) = (index(&[&tracker_import(&pack)]), index(&[&osv_import(&pack)]));
    for (release, codename) in RELEASES {
        let tracker = naive::tracker(&json, codename);
        let (mut shared, mut differing, mut packages) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        for (key, advisories) in naive::osv(&records, &format!("Debian:{release}")) {
            let Some(fixed) = tracker.get(&key) else { continue };
            let lowest =
                advisories.iter().map(|(_, version)| version).min_by(|a, b| naive::compare(a, b)).unwrap();
            if fixed.as_ref() != Some(lowest) {
                differing.push((key.clone(), fixed.clone(), advisories.clone()));
            }
            packages.extend(
                advisories
                    .iter()
                    .flat_map(|(_, fixed)| [fixed.clone(), format!("{fixed}~")])
                    .map(|version| (key.0.clone(), version)),
            );
            shared.insert(key);
        }
        assert!(shared.len() > 4_000, "{release}: {} facts are shared", shared.len());
        assert!(differing.is_empty(), "{release}: {differing:#?}");
        let packages: Vec<_> = packages.iter().map(|(source, version)| installed(source, version)).collect();
        let shared_findings = |index| {
            let mut rows = found(index, release, &packages);
            rows.retain(|(id, source, ..)| shared.contains(&(source.clone(), id.clone())));
            rows
        };
        let rows = shared_findings(&by_tracker);
        assert!(!rows.is_empty());
        assert!(rows == shared_findings(&by_advisories), "{release}: findings differ");
    }
}

#[test]
fn both_feeds_together_keep_the_trackers_word() {
    let Some(pack) = pack("both_feeds_together_keep_the_trackers_word") else { return };
    let imports = [tracker_import(&pack), osv_import(&pack)];
    let (both, tracker) = (index(&[&imports[0], &imports[1]]), index(&[&imports[0]]));
    let packages = [installed("expat", "2.5.0-1"), installed("openssl", "3.0.0-1")];
    let rows = both.find(Some(&debian("12")), &packages).rows;
    let alone = tracker.find(Some(&debian("12")), &packages).rows;
    assert!(alone.len() > 20);
    for row in &alone {
        let other = rows.iter().find(|other| (&other.id, &other.source) == (&row.id, &row.source)).unwrap();
        assert_eq!((other.state, &other.fixed_version), (row.state, &row.fixed_version), "{}", row.id);
    }
    assert!(rows.iter().any(|row| row.aliases.iter().any(|alias| alias.starts_with("DSA-"))));
}

#[test]
fn catalogues_of_the_pack() {
    let Some(pack) = pack("catalogues_of_the_pack") else { return };
    let file = |path: &str| fs::read(pack.join(path)).unwrap();
    let json = read_file("kev.json", file("kev/known_exploited_vulnerabilities.json")).unwrap();
    let csv = read_file("kev.csv", file("kev/known_exploited_vulnerabilities-2025-08-25.csv")).unwrap();
    let epss = read_file("epss.csv", file("epss/epss_scores-partial.csv")).unwrap();
    assert_eq!(json.segments[0].records, 1_662);
    assert_eq!(csv.segments[0].records, 1_404);
    assert_eq!(epss.segments[0].records, 5_152);
    for imports in [vec![json.clone(), csv.clone()], vec![csv.clone(), json.clone()]] {
        let merged = Import::merge(imports, None).unwrap();
        assert_eq!(merged.segments, json.segments, "the newer catalogue wins, in any order");
        assert_eq!(merged.skipped.len(), 1);
    }
    let changed = touched(Some(&csv.segments[0].open().unwrap()), Some(&json.segments[0].open().unwrap()));
    assert!(changed.cves.contains("CVE-2026-8037") && changed.cves.len() >= 258);
    let index = index(&[&json, &epss, &tracker_import(&pack)]);
    let rows =
        index.find(Some(&debian("12")), &[installed("sudo", "1.9.0-1"), installed("glibc", "2.36-1")]).rows;
    assert!(rows.iter().any(|row| row.kev), "CVE-2025-32463 of sudo or CVE-2023-4911 of glibc are exploited");
    assert!(rows.iter().any(|row| row.epss.is_some()));
}

/// Everything else in the pack is not ours yet: it must be passed over by name, and must not claim coverage.
#[test]
fn a_folder_of_everything() {
    let Some(pack) = pack("a_folder_of_everything") else { return };
    let names = [
        "debian/debian-security.tar.zst",
        "debian/osv-debian-all.zip",
        "kev/known_exploited_vulnerabilities.json",
        "kev/known_exploited_vulnerabilities-2025-08-25.csv",
        "kev/known_exploited_vulnerabilities_schema.json",
        "epss/epss_scores-partial.csv",
        "go/go-vulndb-osv.tar.zst",
        "osv-distro-samples/osv-distro-samples.tar.zst",
        "README.md",
    ];
    let contents: Vec<_> = names.iter().map(|name| fs::read(pack.join(name)).unwrap()).collect();
    let files: Vec<_> = names.iter().copied().zip(contents.iter().map(Vec::as_slice)).collect();
    let import = read("pack", InputKind::Folder, &mut folder(&files).as_slice()).unwrap();
    let feeds: Vec<_> =
        import.segments.iter().map(|segment| (segment.feed.as_str(), segment.records)).collect();
    assert_eq!(feeds[..4], [("debian", 11_942), ("epss", 5_152), ("kev", 1_662), ("osv", feeds[3].1)]);
    assert_eq!(feeds[4..], [("osv-debian", 3_648)]);
    assert!(import.segments[3].covers.is_empty(), "samples cover nothing");
    assert!(import.not_covered["Go"] > 4_000, "{:?}", import.not_covered);
    for skipped in [
        "pack/README.md",
        "pack/kev/known_exploited_vulnerabilities_schema.json",
        "pack/kev/known_exploited_vulnerabilities-2025-08-25.csv",
    ] {
        assert!(import.skipped.iter().any(|other| other.path == skipped), "{skipped}");
    }
}

/// Every file of the pack, each as the archive or the text that it is.
fn files(dir: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let (folders, mut all): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    all.extend(folders.iter().flat_map(|folder| files(folder)));
    all.sort();
    all
}

#[test]
fn all_feeds_import_together() {
    let Some(pack) = pack("all_feeds_import_together") else { return };
    let mut tar = Vec::new();
    for path in files(&pack) {
        let content = fs::read(&path).unwrap();
        let name = path.strip_prefix(&pack).unwrap().to_str().unwrap();
        let length = content.len() as u64;
        seaworthy_advisories::append_file(&mut tar, name, length, &mut content.as_slice()).unwrap();
    }
    seaworthy_advisories::finish_folder(&mut tar).unwrap();
    let import = read("pack", InputKind::Folder, &mut tar.as_slice()).unwrap();
    let segment =
        |feed: &str| import.segments.iter().find(|segment| segment.feed == feed).map(|it| it.records);
    // Samples of other days lose against the feeds themselves.
    assert_eq!(segment("debian"), Some(11_942));
    assert_eq!(segment("osv-debian"), Some(3_648));
    assert_eq!(segment("kev"), Some(1_662));
    assert_eq!(segment("epss"), Some(5_152));
    assert!(import.not_covered.contains_key("Go"), "{:?}", import.not_covered);
    let why = |name: &str| import.skipped.iter().find(|skipped| skipped.path.ends_with(name));
    assert!(why("README.md").is_some() && why("MANIFEST.tsv").is_some(), "{:?}", import.skipped);
}
