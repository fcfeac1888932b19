//! What strict reading costs a request: names for all of them, documents for those that bring one. Run with
//! `cargo bench -p seaworthy-oci`.

use std::collections::BTreeMap;

use seaworthy_oci::{Descriptor, Digest, Manifest, Reference, RepoName, Tag, check_json};
use serde::Deserialize;

fn main() {
    divan::main();
}

/// A manifest of so many layers, as `docker buildx` writes it.
fn manifest(layers: usize) -> Vec<u8> {
    let descriptor = |media_type: &str, number: usize| {
        let digest = Digest::sha256(&number.to_le_bytes());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{}}}"#, 1_000_000 + number)
    };
    let config = descriptor("application/vnd.oci.image.config.v1+json", 0);
    let layer = |number| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", number);
    let layers: Vec<String> = (1..=layers).map(layer).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{config},"layers":[{}],"annotations":{{"org.opencontainers.image.version":"1.2.3"}}}}"#,
        layers.join(",")
    )
    .into_bytes()
}

/// What every request is asked: a repository and a tag.
#[divan::bench]
fn names() -> Option<(RepoName, Tag)> {
    let (name, tag) = (divan::black_box("team/platform/web"), divan::black_box("v1.2.3-rc.1"));
    name.parse().ok().zip(tag.parse().ok())
}

/// Or a repository and a digest.
#[divan::bench]
fn digest(bencher: divan::Bencher<'_, '_>) {
    let text = Digest::sha256(b"x").to_string();
    bencher.bench_local(|| divan::black_box(text.as_str()).parse::<Digest>().is_ok());
}

#[divan::bench]
fn reference() -> bool {
    divan::black_box("registry.example.com:5000/team/platform/web:v1.2.3").parse::<Reference>().is_ok()
}

/// What a struct's reader alone makes of a manifest: a key twice in what it ignores, an array for an object, any depth.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read to be dropped")]
struct Lax {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

/// Reading without strictness, which costs the difference to [`strict`]; 127 layers are the most that engines mount.
#[divan::bench(args = [1, 10, 40, 127])]
fn lax(bencher: divan::Bencher<'_, '_>, layers: usize) {
    let bytes = manifest(layers);
    bencher.bench_local(|| serde_json::from_slice::<Lax>(divan::black_box(&bytes)).is_ok());
}

/// No key twice, no more depth than there may be, one meaning.
#[divan::bench(args = [1, 10, 40, 127])]
fn strict(bencher: divan::Bencher<'_, '_>, layers: usize) {
    let bytes = manifest(layers);
    bencher.bench_local(|| Manifest::parse(divan::black_box(&bytes), None).is_ok());
}

/// The same without reading: what is not read as a type is only looked at.
#[divan::bench(args = [1, 10, 40, 127])]
fn checked(bencher: divan::Bencher<'_, '_>, layers: usize) {
    let bytes = manifest(layers);
    bencher.bench_local(|| check_json(divan::black_box(&bytes)).is_ok());
}
