//! Where the kernel's cgroup file systems are, and where a container is in them.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// How this machine arranges cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A hierarchy for each controller.
    V1,
    /// One hierarchy for all.
    V2,
    /// Controllers in v1, and a v2 hierarchy beside them.
    Hybrid,
    /// No cgroup file system.
    Absent,
}

/// A mounted cgroup file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mounted {
    /// The part of the hierarchy that is mounted: `/` except in a container.
    root: PathBuf,
    at: PathBuf,
}

/// The mounted cgroup file systems that say what containers use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    unified: Option<Mounted>,
    cpu: Option<Mounted>,
    cpuacct: Option<Mounted>,
    memory: Option<Mounted>,
    blkio: Option<Mounted>,
}

/// A container's folders in the hierarchies; `None` where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// In the v2 hierarchy.
    pub unified: Option<PathBuf>,
    /// v1: limits of processor time.
    pub cpu: Option<PathBuf>,
    /// v1: used processor time.
    pub cpuacct: Option<PathBuf>,
    /// v1: memory.
    pub memory: Option<PathBuf>,
    /// v1: block devices.
    pub blkio: Option<PathBuf>,
}

impl Hierarchies {
    /// Those of this process, by `self/mountinfo` in `proc`.
    pub fn read(proc: &Path) -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string(proc.join("self/mountinfo"))?))
    }

    /// Reads `proc_pid_mountinfo(5)`; of several mounts of one hierarchy the first that shows it
    /// from its root counts, else the first.
    pub fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let mut left = left.split(' ').skip(3);
            let (Some(root), Some(at)) = (left.next(), left.next()) else { continue };
            let mounted = Mounted { root: unescaped(root), at: unescaped(at) };
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
            match kind {
                Some("cgroup2") => prefer(&mut found.unified, &mounted),
                Some("cgroup") => options.split(',').for_each(|option| {
                    if let Some(slot) = found.controller(option) {
                        prefer(slot, &mounted);
                    }
                }),
                _ => {}
            }
        }
        found
    }

    /// How they are arranged.
    pub const fn layout(&self) -> Layout {
        let has_v1 =
            self.cpu.is_some() || self.cpuacct.is_some() || self.memory.is_some() || self.blkio.is_some();
        match (has_v1, self.unified.is_some()) {
            (true, true) => Layout::Hybrid,
            (true, false) => Layout::V1,
            (false, true) => Layout::V2,
            (false, false) => Layout::Absent,
        }
    }

    /// The folders of container `id`, by `/proc/PID/cgroup` of its first process.
    ///
    /// Whichever driver made the cgroup, its name holds the id (`docker/ID`, `docker-ID.scope`,
    /// `libpod-ID.scope`), so another process that got the same number is not taken for it; what
    /// the container made below its own cgroup (`ID/init.scope`) is counted in it.
    pub fn of_process(&self, cgroups: &str, id: &str) -> Folders {
        let mut found = Folders::default();
        for line in cgroups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let Some(path) = until_id(Path::new(path), id) else { continue };
            if controllers.is_empty() {
                found.unified = below(self.unified.as_ref(), &path);
            }
            for controller in controllers.split(',') {
                match controller {
                    "cpu" => found.cpu = below(self.cpu.as_ref(), &path),
                    "cpuacct" => found.cpuacct = below(self.cpuacct.as_ref(), &path),
                    "memory" => found.memory = below(self.memory.as_ref(), &path),
                    "blkio" => found.blkio = below(self.blkio.as_ref(), &path),
                    _ => {}
                }
            }
        }
        found
    }

    fn controller(&mut self, name: &str) -> Option<&mut Option<Mounted>> {
        match name {
            "cpu" => Some(&mut self.cpu),
            "cpuacct" => Some(&mut self.cpuacct),
            "memory" => Some(&mut self.memory),
            "blkio" => Some(&mut self.blkio),
            _ => None,
        }
    }
}

fn prefer(slot: &mut Option<Mounted>, mounted: &Mounted) {
    let is_whole = |it: &Mounted| it.root == Path::new("/");
    if slot.as_ref().is_none_or(|old| !is_whole(old) && is_whole(mounted)) {
        *slot = Some(mounted.clone());
    }
}

/// The path up to the part that names `id`; none when it does not, or when it climbs.
fn until_id(path: &Path, id: &str) -> Option<PathBuf> {
    let mut kept = PathBuf::new();
    for part in path.components() {
        match part {
            Component::RootDir => kept.push("/"),
            Component::Normal(name) => {
                kept.push(name);
                if !id.is_empty() && name.to_str().is_some_and(|name| name.contains(id)) {
                    return Some(kept);
                }
            }
            _ => return None,
        }
    }
    None
}

fn below(mounted: Option<&Mounted>, path: &Path) -> Option<PathBuf> {
    let mounted = mounted?;
    path.strip_prefix(&mounted.root).ok().map(|rest| mounted.at.join(rest))
}

/// Blanks and backslashes are three octal digits in mountinfo.
fn unescaped(text: &str) -> PathBuf {
    let mut plain = text.to_owned();
    for (escape, byte) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escape, byte);
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f5d3a6c1b2e4f5d3a6c1b2e4f5d3a6c1b2e4f5d3a6c1b2e4f5d3a6c1b2e4f5d";
    const V1: &str = "32 31 0:29 / /c/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /c/memory rw - cgroup cgroup rw,memory\n38 31 0:35 / /c/blkio rw - cgroup cgroup rw,blkio\n";
    const NAMED: &str = "40 31 0:37 / /c/systemd rw - cgroup cgroup rw,name=systemd\n";
    const V2: &str = "41 31 0:38 / /c/uni\\040fied rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn layouts_are_told_apart() {
        let layout = |text: &str| Hierarchies::parse(text).layout();
        assert_eq!(layout(&format!("{V1}{NAMED}")), Layout::V1);
        assert_eq!(layout(V2), Layout::V2);
        assert_eq!(layout(&format!("{V1}{V2}")), Layout::Hybrid);
        // A v1 hierarchy without controllers beside v2 changes nothing.
        assert_eq!(layout(&format!("{V2}{NAMED}")), Layout::V2);
        assert_eq!(layout("garbage - x\n\n1 2 3 - cgroup2"), Layout::Absent);
        assert_ne!(Hierarchies::read(Path::new("/proc")).expect("mountinfo").layout(), Layout::Absent);
    }

    #[test]
    fn containers_are_found_whoever_made_their_cgroups() {
        let both = Hierarchies::parse(&format!("{V1}{V2}"));
        for (path, kept) in [
            (format!("/docker/{ID}"), format!("docker/{ID}")),
            (format!("/docker/{ID}/init.scope"), format!("docker/{ID}")),
            (format!("/system.slice/docker-{ID}.scope"), format!("system.slice/docker-{ID}.scope")),
            (
                format!("/machine.slice/libpod-{ID}.scope/container"),
                format!("machine.slice/libpod-{ID}.scope"),
            ),
        ] {
            let found = both.of_process(
                &format!("4:memory:{path}\n3:cpu,cpuacct:{path}\n2:pids:{path}\n0::{path}\n"),
                ID,
            );
            let at = |mount: &str| Some(Path::new(mount).join(&kept));
            let expected = Folders {
                unified: at("/c/uni fied"),
                cpu: at("/c/cpu,cpuacct"),
                cpuacct: at("/c/cpu,cpuacct"),
                memory: at("/c/memory"),
                blkio: None,
            };
            assert_eq!(found, expected);
        }
        for other in ["/docker/another", "/", &format!("/../{ID}"), ""] {
            assert_eq!(
                both.of_process(&format!("0::{other}\n4:memory:{other}"), ID),
                Folders::default(),
                "{other}"
            );
        }
        assert_eq!(both.of_process(&format!("0::/docker/{ID}"), ""), Folders::default());
        // Seen from a container, only what is below the mounted part is there.
        let part = Hierarchies::parse("1 2 0:1 /docker /c/part rw - cgroup2 cgroup rw\n");
        let found = part.of_process(&format!("0::/docker/{ID}"), ID);
        assert_eq!(found.unified, Some(Path::new("/c/part").join(ID)));
        assert_eq!(part.of_process(&format!("0::/other/{ID}"), ID), Folders::default());
    }
}
