//! The advisory pack: the demo feeds, into a database with images. Read in this process: in a test
//! binary a child reads on a thread of the harness, whose allocator opens a file in `/proc` when it
//! gives memory back, which the sandbox rightly forbids.

use std::{fmt::Write as _, time::Instant};

use seaworthy_findings::ImportOutcome;
use seaworthy_model::Actor;
use seaworthy_testkit::{TestDb, advisory_pack, db_tests};

use crate::world::{World, installed};

db_tests!(crate::world::ROOMS; the_demo_feeds_import);

/// User and system time of this process and its children, in seconds, from `/proc/self/stat`.
fn cpu_seconds() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..15].iter().map(|field| field.parse::<u64>().unwrap()).sum::<u64>() / 100
}

async fn the_demo_feeds_import(test: TestDb) {
    let Some(pack) = advisory_pack("the_demo_feeds_import") else { return };
    let world = World::new(test).await;
    for number in 0..20 {
        world.inventory(number, &[installed("expat", "2.5.0-1"), installed("x", &number.to_string())]).await;
    }
    let paths: Vec<_> = ["debian", "kev", "epss"].iter().map(|name| pack.join(name)).collect();
    let mut report = String::new();
    for expected in [ImportOutcome::Imported, ImportOutcome::Unchanged] {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let import = world.findings.import(&Actor::operator(0), &paths).await.unwrap();
        assert_eq!(import.outcome, expected);
        let feeds: Vec<_> = import.feeds.iter().map(|it| (it.feed.as_str(), it.records)).collect();
        let _ = writeln!(
            report,
            "{:?}: {expected:?} in {:?}, about {} s of processor time, {:?}; skipped {}; {:?}",
            world.test.engine,
            start.elapsed(),
            cpu_seconds() - cpu,
            import.rematched,
            import.skipped.len(),
            feeds
        );
        let names: Vec<_> = feeds.iter().map(|feed| feed.0).collect();
        assert_eq!(names, ["debian", "epss", "kev", "osv-debian"]);
    }
    print!("{report}");
    let found = world.found(3).await;
    assert!(found.iter().any(|(id, source, _)| id == "CVE-2024-45490" && source == "expat"), "{found:?}");
}
