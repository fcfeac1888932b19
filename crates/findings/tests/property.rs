//! Whatever order imports and inventories come in, what is stored is what the newest index finds.

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use seaworthy_package::InstalledPackage;
use seaworthy_testkit::{TestDb, db_tests};

use crate::world::{World, content, debian, findings_changed, installed, tracker};

db_tests!(crate::world::ROOMS; stored_findings_are_what_the_newest_index_finds);

#[derive(Clone, Debug)]
enum Step {
    /// Rows of the tracker: source, CVE, fixed version (0 is none).
    Tracker(Vec<(u8, u8, u8)>),
    Kev(Vec<u8>),
    /// Image and its packages: source, version.
    Inventory(u8, Vec<(u8, u8)>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => prop::collection::vec((0..4_u8, 0..4_u8, 0..4_u8), 0..6).prop_map(Step::Tracker),
        1 => prop::collection::vec(0..4_u8, 1..3).prop_map(Step::Kev),
        3 => (0..5_u8, prop::collection::vec((0..4_u8, 1..4_u8), 0..4))
            .prop_map(|(image, packages)| Step::Inventory(image, packages)),
    ]
}

async fn stored_findings_are_what_the_newest_index_finds(test: TestDb) {
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec(step(), 60).new_tree(&mut runner).unwrap().current();
    let world = World::new(test).await;
    let mut images = std::collections::BTreeMap::<u64, Vec<InstalledPackage>>::new();
    let mut heard = std::collections::BTreeMap::new();
    for step in steps {
        match &step {
            Step::Tracker(rows) => {
                let rows: Vec<_> = rows
                    .iter()
                    .map(|(source, cve, fixed)| {
                        let fixed = if *fixed == 0 { String::new() } else { fixed.to_string() };
                        (format!("s{source}"), format!("CVE-2026-{}", 1000 + u32::from(*cve)), fixed)
                    })
                    .collect();
                let rows: Vec<_> =
                    rows.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
                world.import("t.json", &tracker(&rows)).await.unwrap();
            }
            Step::Kev(cves) => {
                let entry =
                    |cve: &u8| serde_json::json!({"cveID": format!("CVE-2026-{}", 1000 + u32::from(*cve))});
                let entries: Vec<_> = cves.iter().map(entry).collect();
                let kev = serde_json::json!({"catalogVersion": "2026.08.07", "vulnerabilities": entries});
                world.import("kev.json", &kev.to_string()).await.unwrap();
            }
            Step::Inventory(image, packages) => {
                let packages: Vec<_> = packages
                    .iter()
                    .map(|(source, version)| installed(&format!("s{source}"), &version.to_string()))
                    .collect();
                world.inventory((*image).into(), &packages).await;
                images.insert((*image).into(), packages);
            }
        }
        for event in findings_changed(&world.told().await) {
            for id in event.content_ids {
                heard.insert(id, event.set.clone());
            }
        }
        for (number, packages) in &images {
            let fresh = world.findings.find(Some(&debian()), packages).await.unwrap().set;
            let stored = world.findings.of_content(&content(*number)).await.unwrap().unwrap();
            let heard = &heard[&content(*number)];
            assert_eq!(
                (&stored.id, &stored.rows, stored.covered),
                (&fresh.id, &fresh.rows, fresh.covered),
                "{step:?}"
            );
            assert_eq!(
                (&heard.id, &heard.rows),
                (&fresh.id, &fresh.rows),
                "what clearance heard, after {step:?}"
            );
        }
    }
}
