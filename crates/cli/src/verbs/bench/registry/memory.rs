//! Memory that the machine really has. The host of a virtual machine may take back what is free in it, and finds it
//! again page by page, when it is touched: what then is measured is the host.

use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
};

use indicatif::ProgressBar;
use tempfile::NamedTempFile;

use crate::{
    failure::{Failure, unable},
    flags::Global,
    render::{self, Amount},
    text::Text,
};

const CHUNK_BYTES: usize = 1 << 20;

/// A file without content in the page cache, which makes room for whatever is written. Kept until it is dropped.
pub(super) struct Filled(#[allow(dead_code, reason = "removed when it is dropped")] NamedTempFile);

/// Touches the memory that is free, by reading a file of that length in `directory`, where the registry's files are too:
/// what the host has taken back is found before anything is measured. Not more than that: once it must make room, the
/// kernel frees much of it again. Fails where much stays free: on a file system that is in memory itself, or within a
/// memory limit.
pub(super) async fn fill(global: &Global, directory: &Path) -> Result<Filled, Failure> {
    let failed = |error: std::io::Error| unable(format!("failed to fill the memory: {error}"));
    let read = fs::read_to_string("/proc/meminfo").map_err(failed)?;
    let total = bytes(&read, "MemTotal:").unwrap_or_default();
    let length = bytes(&read, "MemFree:").ok_or_else(|| unable("`/proc/meminfo` does not say MemFree"))?;
    let bar = render::progress(global, Text::FillingMemory, Amount::BytesOf(length));
    let file = NamedTempFile::new_in(directory).map_err(failed)?;
    let filled = tokio::task::spawn_blocking(move || {
        let read = file.as_file().set_len(length).and_then(|()| read_all(file.as_file(), &bar));
        bar.finish_and_clear();
        read.map(|()| Filled(file))
    });
    let filled = filled.await.map_err(|error| unable(error.to_string()))?.map_err(failed)?;
    let left = fs::read_to_string("/proc/meminfo").ok().and_then(|read| bytes(&read, "MemFree:"));
    // What little stays free on a machine in use is warm.
    if left.is_none_or(|left| left > total / 4) {
        return Err(unable(format!(
            "the memory was not filled by a file in `{}`: it may be in memory itself, or within a memory limit",
            directory.display()
        )));
    }
    Ok(filled)
}

fn read_all(mut file: &File, bar: &ProgressBar) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => bar.inc(read as u64),
        }
    }
}

/// What `proc_meminfo(5)` gives in kB.
fn bytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_is_available() {
        let meminfo =
            "MemTotal:       24105000 kB\nMemFree:          466000 kB\nMemAvailable:    7377920 kB\n";
        assert_eq!(bytes(meminfo, "MemAvailable:"), Some(7_377_920 * 1_024));
        for bad in [
            "",
            "MemFree: 1 kB",
            "MemAvailable: 1",
            "MemAvailable: -1 kB",
            "MemAvailable: 99999999999999999999 kB",
        ] {
            assert_eq!(bytes(bad, "MemAvailable:"), None, "{bad}");
        }
        assert!(
            bytes(&fs::read_to_string("/proc/meminfo").expect("Linux"), "MemFree:").is_some_and(|it| it > 0)
        );
    }
}
