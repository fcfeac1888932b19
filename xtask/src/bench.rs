//! `cargo xtask bench`: the released binary's own benches over the Debian image of the tests.
//!
//! The image is the base with known holes as one gzip layer, written as an OCI layout next to
//! what cargo builds, so that every run of one checkout measures the same bytes.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    foreign, prepare,
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
        steps.run("registry", || registry(&["bench", "registry"], None))?;
        steps.run("registry, inspection off", || {
            registry(
                &["bench", "registry", "--no-inspection", "--only", "push,push-streamed,manifest-put,tiny"],
                None,
            )
        })?;
        for peer in PEERS {
            steps.run(peer.name(), || peer.bench())?;
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

/// A registry that others wrote, measured in the same run as ours.
#[derive(Clone, Copy)]
enum Peer {
    /// Debian's, where that is installed.
    Debian,
    Current,
}

const PEERS: &[Peer] = &[Peer::Debian, Peer::Current];

impl Peer {
    const fn name(self) -> &'static str {
        match self {
            Self::Debian => "docker-registry",
            Self::Current => foreign::FOLDER,
        }
    }

    fn program(self) -> Outcome<PathBuf> {
        match self {
            Self::Debian => Ok(self.name().into()),
            Self::Current => {
                let cache = prepare::cache()?;
                foreign::registry(&cache)?;
                Ok(cache.join(foreign::FOLDER).join("registry"))
            }
        }
    }

    /// Starts it in a directory of its own, measures it in turn with this binary, and ends it.
    fn bench(self) -> Outcome {
        let folder = step::target_dir().join("bench-peer");
        drop(fs::remove_dir_all(&folder));
        let data = folder.join("data");
        fs::create_dir_all(&data).map_err(|error| failed(&data, &error))?;
        let config = folder.join("config.yml");
        let port = free_port()?;
        write(
            &config,
            &format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
                 http: {{addr: \"127.0.0.1:{port}\"}}\n",
                data.display()
            ),
        )?;
        let program = self.program()?;
        let mut command = Command::new(&program);
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        // Without Debian's registry there is nothing to compare with, and no failure.
        let Ok(mut process) = command.spawn() else {
            println!("    not measured: there is no {}", program.display());
            return Ok(());
        };
        let words = ["bench", "registry", "--beside", "--runs", "5"];
        let measured = registry(&words, Some((port, process.id(), &data)));
        drop(process.kill());
        drop(process.wait());
        measured
    }
}

/// The bench of registries: ours, or the one at a port.
fn registry(words: &[&str], peer: Option<(u16, u32, &Path)>) -> Outcome {
    let mut command = Command::new(step::target_dir().join("release/seaworthy"));
    command.args(words).arg("--fill-memory");
    if let Some((port, pid, data)) = peer {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(format!("no registry came up at port {port}"));
            }
            std::thread::yield_now();
        }
        command.arg(format!("http://127.0.0.1:{port}"));
        command.args(["--pid", &pid.to_string(), "--dir"]).arg(data);
    }
    step::run(command.args(["-o", "table"]))
}

fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
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
