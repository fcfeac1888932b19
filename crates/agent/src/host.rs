use std::fs;

use seaworthy_link::Host;
use seaworthy_oci::Platform;

/// The host as its own kernel describes it, so that it is known while no engine answers.
pub(crate) fn describe(name: &str, engine: Option<String>) -> Host {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Host {
        name: name.to_owned(),
        kernel: format!("Linux {}", release.trim()),
        platform: Platform::host(),
        engine,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        processors: std::thread::available_parallelism()
            .map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory_bytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
    }
}

/// `MemTotal` of `/proc/meminfo`, 0 when it is not there.
fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kibibytes.unwrap_or_default().saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_described() {
        assert_eq!(memory_bytes("MemFree: 1 kB\nMemTotal:       16307492 kB\n"), 16_307_492 * 1024);
        assert_eq!(memory_bytes("MemTotal: many"), 0);
        let host = describe("here", None);
        assert!(
            host.kernel.len() > "Linux ".len() && host.processors > 0 && host.memory_bytes > 0,
            "{host:?}"
        );
    }
}
