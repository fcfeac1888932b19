//! Matching and deciding in this process: no server, no disk.

use std::time::Instant;

use seaworthy_findings::{FeedCache, FeedReader};
use seaworthy_model::{Clock as _, FeedState, FeedsChanged, FindingsChanged, SystemClock};
use seaworthy_oci::RepoName;
use seaworthy_package::InstalledPackage;
use seaworthy_policy::{Facts, InventoryFacts, Policy, Settling, decide};
use seaworthy_sandbox::{Limits, Sandbox};
use serde_json::json;

use super::{Figure, microseconds, report};
use crate::{
    failure::{Outcome, unable, usage},
    flags::{BenchMatchFlags, Global},
    image::{self, Target},
};

/// Ten rules of the kinds that there are, as an organisation with strict rules would write them.
const TEN_RULES: &str = r#"
policy: ten
selects: ["**"]
mode: enforce
rules:
  - vulnerabilities: { any_fixable: 0, kev: 0 }
  - name: critical
    vulnerabilities: { critical: 0 }
  - name: high
    vulnerabilities: { high: 5 }
  - secrets: { max: 0 }
  - inspected: {}
  - covered: {}
  - advisories: { checked_within: 24h }
  - os: { supported: lts }
  - name: unowned
    binaries: { max_unowned: 0 }
  - name: medium
    vulnerabilities: { medium: 50 }
    mode: warn
"#;

/// Runs the bench.
pub(crate) async fn bench(global: &Global, flags: &BenchMatchFlags) -> Outcome {
    let target = Target::parse(&flags.target);
    let (start, cpu) = (Instant::now(), super::cpu_seconds()?);
    let ready = image::inspect(global, &target).await?;
    let mut figures = vec![
        Figure::of("inspect", "ms", super::elapsed_ms(start)),
        Figure::of("inspect, cpu", "s", super::cpu_seconds()? - cpu),
    ];
    let packages: Vec<InstalledPackage> =
        ready.inventory.packages.iter().map(|row| row.package.clone()).collect();

    let (paths, now) = (flags.advisories.clone(), SystemClock.now());
    let (start, cpu) = (Instant::now(), super::cpu_seconds()?);
    let built = tokio::task::spawn_blocking(move || {
        let reader = FeedReader::Sandboxed(std::sync::Arc::new(Sandbox::new(Limits::default())));
        seaworthy_findings::index_of_paths(&paths, &reader, &FeedCache::none(), now)
    });
    let (index, coverage, _) = built.await.map_err(|_| unable("the import ended unexpectedly"))??;
    figures.push(Figure::of("import", "ms", super::elapsed_ms(start)));
    figures.push(Figure::of("import, cpu", "s", super::cpu_seconds()? - cpu));
    let bytes: usize = index.segments().iter().map(|segment| segment.size_bytes()).sum();
    let mib = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / f64::from(1 << 20);
    figures.push(Figure::of("index", "MiB", mib));

    figures.push(microseconds("match one image", || index.find(ready.os(), &packages)));
    let set = index.find(ready.os(), &packages);
    let found = set.rows.len();
    let feeds = FeedsChanged {
        generation: 0,
        revision: 0,
        index_hash: set.index_hash.clone(),
        feeds: coverage,
        state: FeedState::Settled,
    };
    let findings = FindingsChanged { set, content_ids: Vec::new(), generation: 0 };
    let inventory = InventoryFacts::from_event(&ready);
    let repository: RepoName = "prod/bench".parse().map_err(|_| usage("no repository name"))?;
    let facts =
        Facts::from_events(&repository, Some(&inventory), Some(&findings), Some(&feeds), Settling::Settled);
    let policy = Policy::parse(TEN_RULES).map_err(super::super::policies::refused)?;
    figures.push(microseconds("decide ten rules", || decide(&[&policy], &facts, &[], now)));
    let fingerprint = json!({
        "target": flags.target,
        "content_id": ready.content_id().to_string(),
        "packages": packages.len(),
        "findings": found,
        "index_hash": index.hash(),
    });
    report(global, "match", &fingerprint, &figures);
    Ok(())
}
