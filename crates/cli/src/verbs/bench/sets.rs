//! The inverted index with the shape of a large registry: 2,000 bases of 120 packages and 100,000
//! application sets of 250, names drawn by Zipf's law; and images that each have one base and one
//! application set at random, which is the worst order.

use std::time::Instant;

use seaworthy_advisories::{PackageSetIndex, SetId};
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
const MORE_PACKAGES: u32 = 250;
/// Source packages that there are: as many as Debian has.
const SOURCES: u32 = 35_000;
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
    let name = |source: u32| (RELEASE, names.get(source as usize).map_or("", String::as_str));
    let (memory, start, cpu) = (own_memory_mib()?, Instant::now(), super::cpu_seconds()?);
    let mut index = PackageSetIndex::new();
    for base in 0..BASES {
        // A base is what is most common, with some of what is less so.
        let packages: Vec<u32> = (0..BASE_PACKAGES).map(|_| draw.source()).collect();
        index.add_set(id(base), packages.into_iter().map(name));
    }
    let built = SYSTEMS.min(flags.images);
    for system in BASES..BASES + built {
        let packages: Vec<u32> = (0..MORE_PACKAGES).map(|_| draw.source()).collect();
        index.add_set(id(system), packages.into_iter().map(name));
    }
    // What it gives back, the images take.
    index.shrink();
    let sets_mib = own_memory_mib()? - memory;
    for image in 0..flags.images {
        let content = ContentId::from_bytes(&id(u32::MAX - image));
        let content = content.map_err(|error| unable(error.to_string()))?;
        index.add_content(content, &[id(draw.below(BASES)), id(BASES + draw.below(built))]);
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
        let package = name(if number < 20 { number } else { draw.source() });
        let start = Instant::now();
        std::hint::black_box(index.sets_with([package]));
        asked.samples.push(elapsed_ms(start));
        let start = Instant::now();
        let images: Vec<ContentId> = index.contents_with([package]).copied().collect();
        whole.samples.push(elapsed_ms(start));
        hit.samples.push(f64::from(u32::try_from(images.len()).unwrap_or(u32::MAX)));
    }
    figures.extend([asked, whole, hit]);
    let fingerprint = json!({
        "images": flags.images, "package_sets": BASES + built, "sources": SOURCES,
    });
    report(global, "sets", &fingerprint, &figures);
    Ok(())
}

/// A hash as good as any: no two numbers have the same.
fn id(number: u32) -> SetId {
    let mut bytes = [7; 32];
    let mixed = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    bytes.iter_mut().zip(mixed).for_each(|(slot, byte)| *slot = byte);
    bytes
}

/// Memory of this process without mapped files, from proc(5) `status`.
fn own_memory_mib() -> Result<f64, crate::failure::Failure> {
    let status =
        std::fs::read_to_string("/proc/self/status").map_err(|error| unable(format!("`/proc`: {error}")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    let kib: u32 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    Ok(f64::from(kib) / 1024.0)
}
