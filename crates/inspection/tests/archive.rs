//! Layers and configs made by hand.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use seaworthy_oci::Digest;

/// An uncompressed layer of plain files.
pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, content) in files {
        out.extend_from_slice(&header(path, content.len()));
        out.extend_from_slice(content.as_bytes());
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub(crate) fn header(path: &str, size: usize) -> [u8; 512] {
    let mut block = [0u8; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{size:011o}\x0000000000000\0        0").as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn status(packages: &[&str]) -> String {
    let paragraph = |package: &&str| {
        let (name, version) = package.split_once(' ').expect("name and version");
        format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n")
    };
    packages.iter().map(paragraph).collect()
}

/// The bottom layer of a small Debian.
pub(crate) fn debian() -> Vec<u8> {
    tar(&[
        ("usr/lib/os-release", "ID=debian\nVERSION_ID=12\nPRETTY_NAME='Debian 12'\n"),
        ("var/lib/dpkg/status", &status(&["bash 5.2-1", "zlib1g 1.2.13"])),
        ("var/lib/dpkg/info/bash.list", "/bin/bash\n"),
        ("var/lib/dpkg/info/zlib1g.list", "/usr/lib/libz.so.1\n"),
        ("bin/bash", "bash"),
        ("usr/lib/libz.so.1", "zlib"),
    ])
}

/// What `apt-get install curl` puts on top.
pub(crate) fn curl() -> Vec<u8> {
    tar(&[
        ("var/lib/dpkg/status", &status(&["bash 5.2-1", "curl 7.88.1", "zlib1g 1.2.13"])),
        ("var/lib/dpkg/info/curl.list", "/usr/bin/curl\n"),
        ("usr/bin/curl", "curl"),
    ])
}

/// A layer whose facts are too long for SQL.
pub(crate) fn many_files() -> Vec<u8> {
    let names: Vec<String> = (0..2_000u32).map(|at| Digest::sha256(&at.to_le_bytes()).hex()).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    tar(&files)
}

/// A config that claims these uncompressed layers.
pub(crate) fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", Digest::sha256(layer))).collect();
    format!(
        r#"{{"os":"linux","architecture":"amd64","config":{{"User":"1000"}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    )
    .into_bytes()
}
