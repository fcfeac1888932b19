//! `cargo xtask bench`: the released binary's own benches over the Debian image of the tests.
//!
//! The image is the base with known holes as one gzip layer, written as an OCI layout next to
//! what cargo builds, so that every run of one checkout measures the same bytes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    prepare,
    step::{self, Outcome, Steps},
};

/// Feeds of the pack that the figures are stated for.
const FEEDS: &[&str] = &["debian", "kev", "epss"];

/// The command.
pub(crate) fn command() -> Outcome {
    Steps::summarised(|steps| {
        steps.run("build", || step::run(step::cargo().args(["build", "--release", "--locked"])))?;
        let layout = steps.run("image", image)?;
        for (bench, more) in [("scan", &["--runs", "7"][..]), ("match", &[]), ("clearance", &["--runs", "5"])]
        {
            steps.run(bench, || {
                let mut command = Command::new(step::target_dir().join("release/seaworthy"));
                command.args(["bench", bench]).arg(format!("oci:{}", layout.display())).args(more);
                for feed in FEEDS {
                    command.arg("--advisories").arg(advisories().join(feed));
                }
                step::run(command.args(["-o", "table"]))
            })?;
        }
        for bench in ["fleet", "findings", "sets", "agents"] {
            steps.run(bench, || {
                let mut command = Command::new(step::target_dir().join("release/seaworthy"));
                step::run(command.args(["bench", bench, "-o", "table"]))
            })?;
        }
        steps.run("engine", || {
            let mut command = step::cargo();
            command.args([
                "run",
                "--quiet",
                "--locked",
                "-p",
                "seaworthy-testkit",
                "--bin",
                "with-docker",
                "--",
            ]);
            command.arg(step::target_dir().join("release/seaworthy")).args(["bench", "engine", "--rootfs"]);
            step::run(command.arg(prepare::base("base-main.tar")?).args(["-o", "table"]))
        })
    })
}

fn advisories() -> PathBuf {
    std::env::var_os("SEAWORTHY_ADVISORIES").map_or_else(|| "../shared/advisories".into(), PathBuf::from)
}

/// Writes the layout, unless it is there.
fn image() -> Outcome<PathBuf> {
    let layout = step::target_dir().join("bench-image");
    if layout.join("index.json").exists() {
        return Ok(layout);
    }
    let base = prepare::base("base-main.tar")?;
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|error| failed(&blobs, &error))?;
    let diff_id = sum(&base)?;
    let packed = layout.join("layer.tar.gz");
    let file = fs::File::create(&packed).map_err(|error| failed(&packed, &error))?;
    let status = Command::new("gzip").args(["-6", "-n", "-c"]).arg(&base).stdout(file).status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(format!("gzip failed on {}", base.display()));
    }
    let layer = store(&blobs, &packed)?;
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]},
        "history": [{"created_by": "mmdebstrap bookworm main"}],
    });
    let config = put(&blobs, &layout, &config.to_string())?;
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer)],
    });
    let manifest = put(&blobs, &layout, &manifest.to_string())?;
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor("application/vnd.oci.image.manifest.v1+json", &manifest)],
    });
    write(&layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    // Last: a layout with an index is complete.
    write(&layout.join("index.json"), &index.to_string())?;
    Ok(layout)
}

/// A blob: its hash and length.
type Blob = (String, u64);

fn descriptor(media_type: &str, (hash, size): &Blob) -> serde_json::Value {
    serde_json::json!({"mediaType": media_type, "digest": format!("sha256:{hash}"), "size": size})
}

fn put(blobs: &Path, layout: &Path, text: &str) -> Outcome<Blob> {
    let path = layout.join("blob");
    write(&path, text)?;
    store(blobs, &path)
}

/// Moves a file to the name that its content gives it.
fn store(blobs: &Path, file: &Path) -> Outcome<Blob> {
    let hash = sum(file)?;
    let size = fs::metadata(file).map_err(|error| failed(file, &error))?.len();
    fs::rename(file, blobs.join(&hash)).map_err(|error| failed(file, &error))?;
    Ok((hash, size))
}

fn sum(file: &Path) -> Outcome<String> {
    let line = step::read(Command::new("sha256sum").arg(file))?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("failed to write {}: {error}", path.display())
}
