//! One real layer, from compressed bytes to inventory. Run with `SEAWORTHY_BENCH_LAYER=FILE`,
//! where FILE is a layer as a registry holds it (`tar.gz`, `tar.zst`); without it nothing runs.

use std::{fs::File, sync::Arc};

use seaworthy_inventory::{LayerFacts, inspect, read_layer};
use seaworthy_layer::Limits;
use seaworthy_oci::{ImageConfig, Platform};

fn main() {
    divan::main();
}

fn layer() -> Option<File> {
    File::open(std::env::var_os("SEAWORTHY_BENCH_LAYER")?).ok()
}

fn facts() -> Option<LayerFacts> {
    read_layer(layer()?, &Limits::default()).ok()
}

#[divan::bench]
fn read() -> Option<LayerFacts> {
    facts()
}

#[divan::bench]
fn store(bencher: divan::Bencher<'_, '_>) {
    let facts = facts();
    bencher.bench_local(|| facts.as_ref().map(LayerFacts::to_bytes));
}

#[divan::bench]
fn load(bencher: divan::Bencher<'_, '_>) {
    let bytes = facts().map(|facts| facts.to_bytes());
    bencher.bench_local(|| bytes.as_ref().map(|bytes| LayerFacts::from_bytes(bytes).is_ok()));
}

#[divan::bench]
fn fold(bencher: divan::Bencher<'_, '_>) {
    let layers: Vec<_> = facts().into_iter().map(|facts| Ok(Arc::new(facts))).collect();
    let (config, platform) = (ImageConfig::default(), Platform::linux_amd64());
    bencher.bench_local(|| inspect(Ok(&config), &platform, &layers));
}
