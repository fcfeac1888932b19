use std::path::{Path, PathBuf};

use crate::missing;

/// How much is to be run: `SEAWORTHY_TIER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// `quick`: nothing that needs root, Docker or minutes.
    Quick,
    /// Not set: what this machine can run.
    Default,
    /// `full`: all that lands; what is missing is a failure.
    Full,
    /// `long`: soak and thousands of kills; what is missing is a failure.
    Long,
}

impl Tier {
    /// The tier of this run.
    pub fn current() -> Self {
        match std::env::var("SEAWORTHY_TIER").as_deref() {
            Ok("quick") => Self::Quick,
            Ok("full") => Self::Full,
            Ok("long") => Self::Long,
            Ok("") | Err(_) => Self::Default,
            Ok(other) => panic!("SEAWORTHY_TIER is `quick`, `full` or `long`, not `{other}`"),
        }
    }

    /// True when a test that was not run for want of something fails.
    fn is_strict(self) -> bool {
        matches!(self, Self::Full | Self::Long)
    }
}

/// True when a test that is too slow for the quick tier runs; says so when it does not.
pub fn slow(test: &str) -> bool {
    if Tier::current() == Tier::Quick {
        eprintln!("not run: {test} is left out of the quick tier");
        return false;
    }
    true
}

/// True when a test that needs root and these programs runs; says so when it does not. In the
/// full tiers, and with `CI=true`, a want is a failure.
pub fn real_engines(test: &str, programs: &[&str]) -> bool {
    if !slow(test) {
        return false;
    }
    let absent: Vec<&str> = programs.iter().copied().filter(|name| program(name).is_none()).collect();
    if !is_root() {
        return wanted(test, "root");
    }
    absent.is_empty() || wanted(test, &absent.join(", "))
}

/// Says that a test was not run for want of something: false, or a failure in the full tiers.
pub fn wanted(test: &str, what: &str) -> bool {
    assert!(!Tier::current().is_strict(), "`{test}` needs {what}");
    missing(test, what);
    false
}

/// Where a program is: Debian's own places first, for another may be first on PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["/usr/bin", "/usr/sbin"]
        .into_iter()
        .map(PathBuf::from)
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
}

/// True while a process of this id is there.
pub(crate) fn is_alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}
