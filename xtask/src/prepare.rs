//! What tests need of the machine: Debian packages, crates, the ledger's verifier, the distribution
//! spec's conformance suite, a foreign registry, Azure's client, an engine, base images.

use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    args::Install,
    azure, conformance, debian, engine, foreign,
    step::{self, Outcome, Steps},
    verifier, web,
};

/// What the build and the tests start, by Debian package. `aws-lc-sys` needs a C compiler, libFuzzer one of C++.
const PACKAGES: &[&str] = &[
    "gcc",
    "g++",
    "libc6-dev",
    "libseccomp-dev",
    "pkg-config",
    "git",
    "zstd",
    "postgresql",
    "containerd",
    "docker.io",
    "podman",
    "skopeo",
    "buildah",
    "mmdebstrap",
    "e2fsprogs",
    "mount",
    "python3-pip",
    "python3-aiosmtpd",
    "chromium",
    "fonts-noto-cjk",
];

/// Names the folder of the cached base images; changes whenever their making does.
const BASES: &str = "bases-1";

/// Packages that base images have on top of Debian's minimum.
const INCLUDED: &str = "nginx-light,python3,rsync";

/// Brings this machine into the state that the full tests need.
pub(crate) fn prepare(steps: &mut Steps, install: Install) -> Outcome {
    let install = if install == Install::Ask && step::is_ci() { Install::Yes } else { install };
    steps.run("prepare: Debian packages", || packages(install))?;
    steps.run("prepare: crates", || {
        step::run(step::cargo().args(["fetch", "--locked"]))?;
        step::run(step::cargo().args(["fetch", "--locked", "--manifest-path", "fuzz/Cargo.toml"]))
    })?;
    let cache = cache()?;
    steps.run("prepare: the ledger's verifier", || verifier::verifier(&cache))?;
    steps.run("prepare: the distribution spec's conformance suite", || conformance::suite(&cache))?;
    steps.run("prepare: a foreign registry", || foreign::registry(&cache))?;
    steps.run("prepare: Azure's client of a registry", || azure::sdk(&cache))?;
    steps.run("prepare: the current Docker engine", || engine::modern(&cache))?;
    steps.run("prepare: the console's tools", || web::prepare(&cache))?;
    steps.run("prepare: base images", || base_images(&cache))
}

/// Where what is costly to make is kept, by version.
pub(crate) fn cache() -> Outcome<PathBuf> {
    let home = std::env::var_os("HOME").ok_or("`HOME` is not set")?;
    Ok(Path::new(&home).join(".cache/seaworthy"))
}

fn packages(install: Install) -> Outcome {
    let missing = match installed() {
        Ok(list) => debian::missing(PACKAGES, &list),
        Err(message) => {
            println!("    not checked, this is no Debian: {message}");
            return Ok(());
        }
    };
    if missing.is_empty() {
        println!("    all {} are installed", PACKAGES.len());
        return Ok(());
    }
    let line = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    match install {
        Install::Yes => {}
        Install::Ask if agreed(&line)? => {}
        Install::Ask | Install::No => {
            println!("{line}");
            return Err(format!("{} Debian packages are missing", missing.len()));
        }
    }
    if !has_lists() {
        step::run(apt().arg("update"))?;
    }
    let install = || step::run(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing));
    install().or_else(|_| {
        println!("    once more with fresh package lists");
        step::run(apt().arg("update"))?;
        install()
    })
}

fn installed() -> Outcome<String> {
    // Names that dpkg never heard of make its exit code 1 and are no failure here.
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Abbrev}\n"])
        .args(PACKAGES)
        .output()
        .map_err(|error| format!("failed to start `dpkg-query`: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn agreed(line: &str) -> Outcome<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    print!("    missing; run `{line}`? [y/N] ");
    let failed = |error| format!("failed to ask: {error}");
    std::io::stdout().flush().map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn apt() -> Command {
    let mut command = if is_root() {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn has_lists() -> bool {
    fs::read_dir("/var/lib/apt/lists").is_ok_and(|entries| {
        entries.filter_map(Result::ok).any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
    })
}

/// True when we run as root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

/// A cached base image.
pub(crate) fn base(file: &str) -> Outcome<PathBuf> {
    let home = std::env::var("HOME").map_err(|_| "HOME is not set".to_owned())?;
    let path = Path::new(&home).join(".cache/seaworthy").join(BASES).join(file);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{file} is not cached: run `cargo xtask prepare` as root"))
    }
}

/// Builds what is not cached yet. What this machine cannot build is said, and is no failure:
/// the tests that need it report themselves as not run.
fn base_images(cache: &Path) -> Outcome {
    let folder = cache.join(BASES);
    let sources = debian::host_sources();
    for base in debian::BASES {
        let file = folder.join(base.file);
        if file.exists() {
            println!("    {} is cached", base.file);
            continue;
        }
        if !is_root() {
            println!("    not built: {} needs root", base.file);
            continue;
        }
        match debian::source_lines(&sources, base.suites) {
            Ok(lines) => build(&folder, base.file, &lines)?,
            Err(suite) => {
                println!("    not built: {}: no apt source of this host has Debian's `{suite}`", base.file);
            }
        }
    }
    Ok(())
}

fn build(folder: &Path, name: &str, source_lines: &str) -> Outcome {
    let failed = |what: &str, path: &Path, error| format!("failed to {what} {}: {error}", path.display());
    fs::create_dir_all(folder).map_err(|error| failed("create", folder, error))?;
    let list = folder.join(format!("{name}.list"));
    fs::write(&list, source_lines).map_err(|error| failed("write", &list, error))?;
    // Built beside its place and renamed: a name that exists is complete.
    let part: PathBuf = folder.join(format!("{name}.part"));
    step::run(
        Command::new("mmdebstrap")
            .args(["--quiet", "--mode=root", "--format=tar", "--variant=minbase"])
            .arg(format!("--include={INCLUDED}"))
            .arg("bookworm")
            .args([&part, &list]),
    )?;
    let place = folder.join(name);
    fs::rename(&part, &place).map_err(|error| failed("rename", &part, error))
}
