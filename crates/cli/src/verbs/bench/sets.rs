//! The inverted index with the shape of a large registry: 2,000 bases of 120 packages; up to 100,000
//! systems that add 130 more to one of them, their names drawn by Zipf's law; and images that each
//! have one of these at random, which is the worst order.

use std::time::Instant;

use seaworthy_advisories::{PackageSetIndex, PackageVersion};
use seaworthy_model::ContentId;
use serde_json::json;

use super::{Figure, elapsed_ms, report};
use crate::{
    failure::{Outcome, unable},
    flags::{BenchSetsFlags, Global},
};

const BASES: u32 = 2_000;
const BASE_PACKAGES: u32 = 120;
const SYSTEMS: u32 = 100_000;
const MORE_PACKAGES: u32 = 130;
/// Source packages that there are: as many as Debian has.
const SOURCES: u32 = 35_000;
/// Versions of each that are about.
const VERSIONS: u32 = 12;
const RELEASE: &str = "deb:debian:12";
/// Advisories that are asked for, of the most common packages and of rare ones.
const ADVISORIES: u32 = 200;

/// The same numbers in every run (xorshift, Marsaglia 2003).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: u32) -> u32 {
        u32::try_from(self.next() % u64::from(most)).unwrap_or(0)
    }

    /// Of `SOURCES` ranks, each in inverse proportion to itself.
    fn source(&mut self) -> u32 {
        let part = f64::from(self.below(1 << 30)) / f64::from(1 << 30);
        let rank = f64::from(SOURCES).powf(part);
        // A rank is at least 1 and at most SOURCES.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 1..=SOURCES")]
        let rank = rank as u32;
        rank.min(SOURCES) - 1
    }
}

/// Runs the bench.
pub(crate) fn bench(global: &Global, flags: &BenchSetsFlags) -> Outcome {
    let mut draw = Draw(0x5eed);
    let names: Vec<String> = (0..SOURCES).map(|source| format!("source-package-{source}")).collect();
    let versions: Vec<String> = (0..VERSIONS).map(|version| format!("1.{version}.0-3+deb12u1")).collect();
    let text = |pairs: &[(u32, u32)], out: &mut Vec<(u32, u32)>| {
        out.extend_from_slice(pairs);
        out.sort_unstable();
        out.dedup_by_key(|(source, _)| *source);
    };
    let bases: Vec<Vec<(u32, u32)>> = (0..BASES)
        .map(|_| (0..BASE_PACKAGES).map(|package| (package, draw.below(VERSIONS))).collect())
        .collect();
    let (memory, start, cpu) = (own_memory_mib()?, Instant::now(), super::cpu_seconds()?);
    let mut index = PackageSetIndex::new();
    let mut packages = Vec::new();
    let ids: Vec<String> = (0..BASES + SYSTEMS.min(flags.images)).map(|set| format!("{set:064x}")).collect();
    for (number, id) in (0..).zip(&ids) {
        packages.clear();
        let base = usize::try_from(number % BASES).unwrap_or(0);
        text(bases.get(base).map_or(&[], Vec::as_slice), &mut packages);
        if number >= BASES {
            let more: Vec<(u32, u32)> =
                (0..MORE_PACKAGES).map(|_| (draw.source(), draw.below(VERSIONS))).collect();
            text(&more, &mut packages);
        }
        let rows: Vec<PackageVersion<'_>> = packages
            .iter()
            .filter_map(|(source, version)| {
                let source = names.get(*source as usize)?;
                Some(PackageVersion { release: RELEASE, source, version: versions.get(*version as usize)? })
            })
            .collect();
        index.add_set(id, &rows);
    }
    let sets_mib = own_memory_mib()? - memory;
    for image in 0..flags.images {
        let mut bytes = [0; 32];
        let (head, tail) = bytes.split_at_mut(8);
        head.copy_from_slice(&u64::from(image).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        tail.fill(7);
        let content = ContentId::from_bytes(&bytes).map_err(|error| unable(error.to_string()))?;
        let set = usize::try_from(draw.below(u32::try_from(ids.len()).unwrap_or(1))).unwrap_or(0);
        index.assign(&content, ids.get(set).map_or("", String::as_str));
    }
    let mut figures = vec![
        Figure::of("build", "ms", elapsed_ms(start)),
        Figure::of("build, cpu", "s", super::cpu_seconds()? - cpu),
        Figure::of("index, package sets", "MiB", sets_mib),
        Figure::of("index, with its images", "MiB", own_memory_mib()? - memory),
    ];
    let mut asked = Figure::new("one advisory to its package sets", "ms");
    let mut whole = Figure::new("one advisory to its images", "ms");
    let mut hit = Figure::new("images of one advisory", "images");
    for number in 0..ADVISORIES {
        // The most common first, then as they are drawn.
        let source = if number < 20 { number } else { draw.source() };
        let name = names.get(source as usize).map_or("", String::as_str);
        let start = Instant::now();
        let sets = index.sets_with([(RELEASE, name)]);
        asked.samples.push(elapsed_ms(start));
        let images: usize = sets.iter().map(|set| index.contents_of(set).count()).sum();
        whole.samples.push(elapsed_ms(start));
        hit.samples.push(f64::from(u32::try_from(images).unwrap_or(u32::MAX)));
    }
    figures.extend([asked, whole, hit]);
    let fingerprint = json!({
        "images": flags.images, "package_sets": ids.len(), "sources": SOURCES, "versions": VERSIONS,
    });
    report(global, "sets", &fingerprint, &figures);
    Ok(())
}

/// Memory of this process without mapped files, from proc(5) `status`.
fn own_memory_mib() -> Result<f64, crate::failure::Failure> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(|error| unable(format!("`/proc`: {error}")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    let kib: u32 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    Ok(f64::from(kib) / 1024.0)
}
