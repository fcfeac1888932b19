//! `cargo xtask fuzz`: each target of `fuzz/` for a while, on the stable toolchain.
//!
//! What libFuzzer needs of the compiler is said by flags (those of the `sancov-module` pass), for our own
//! target directory and for the target triple alone: build scripts and macros are built as always.

use std::{fs, path::PathBuf, process::Command};

use crate::step::{self, Outcome};

/// The targets, as `fuzz/Cargo.toml` names them.
/// Each with what it begins with.
const TARGETS: &[(&str, &[&[u8]])] = &[
    ("manifest", &[MANIFEST]),
    ("index", &[INDEX]),
    ("range", &[b"\0\0\0\0\0\0\0\x64bytes=0-4,10-20,-5", b"\0\0\0\0\0\0\0\x640-1023"]),
    (
        "challenge",
        &[
            b"repository:dev/web:pull,push registry:catalog:*",
            b"repositories/dev/*/content/read",
            b"/repositories/dev",
        ],
    ),
    (
        "reference",
        &[
            b"registry.example.com:5000/dev/web:1.2",
            b"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            b"dev/web/manifests/latest",
            b"dev%2Fweb/_tags/1",
        ],
    ),
    (
        "upload",
        &[
            &[0, 0, 1, 0, 20, 65, 3, 5, 0, 10, 66, 1, 9, 0, 30, 67, 4, 0],
            &[0, 0, 1, 0, 255, 1, 0, 4, 0, 7, 0, 8, 1],
        ],
    ),
];

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":0,
"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
"layers":[],"annotations":{"a":"b"}}"#;

const INDEX: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,
"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]}"#;

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Bytes of an input, at most.
const INPUT_BYTES: u32 = 4_096;
/// Seconds that one input may take.
const INPUT_SECONDS: u32 = 20;
/// Memory of one target, in MiB.
const MEMORY_MIB: u32 = 2_048;

/// Builds the targets.
pub(crate) fn build() -> Outcome {
    let mut cargo = step::cargo();
    cargo.args(["build", "--release", "--locked", "--bins", "--manifest-path", "fuzz/Cargo.toml"]);
    cargo.args(["--target", &triple()?, "--target-dir"]).arg(target_dir());
    cargo.env("RUSTFLAGS", FLAGS);
    step::run(&mut cargo)
}

/// Runs each for so many seconds, from the inputs that were found before. The first that fails ends it; its
/// input is kept.
pub(crate) fn run(seconds: u32) -> Outcome {
    let programs = target_dir().join(triple()?).join("release");
    for (target, seeds) in TARGETS {
        let corpus = target_dir().join("corpus").join(target);
        fs::create_dir_all(&corpus)
            .map_err(|error| format!("failed to create {}: {error}", corpus.display()))?;
        for (number, seed) in seeds.iter().enumerate() {
            let path = corpus.join(format!("seed-{number}"));
            fs::write(&path, seed).map_err(|error| format!("failed to write {}: {error}", path.display()))?;
        }
        let kept = target_dir().join("artifacts").join(target);
        fs::create_dir_all(&kept).map_err(|error| format!("failed to create {}: {error}", kept.display()))?;
        let mut command = Command::new(programs.join(target));
        command.arg(&corpus);
        command.arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-max_len={INPUT_BYTES}"));
        command.arg(format!("-timeout={INPUT_SECONDS}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MIB}"));
        command.arg(format!("-artifact_prefix={}/", kept.display()));
        command.args(["-print_final_stats=1", "-verbosity=0"]);
        step::run(&mut command).map_err(|error| format!("{error}; its input is in {}", kept.display()))?;
    }
    Ok(())
}

fn target_dir() -> PathBuf {
    step::target_dir().join("fuzz")
}

/// The triple of this machine.
fn triple() -> Outcome<String> {
    let output =
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output();
    let output = output.map_err(|error| format!("failed to start rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not say its host".to_owned())
}
