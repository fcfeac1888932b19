//! One container's files, kept open and read from their beginning each time.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{
    Folders, Io, Limit, Network, Pressure,
    figures::{blkio, io_stat, keyed, limit as most, network, number, pressure},
};
use crate::limit;

/// What is read each second. Counters run from when the cgroup was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quick {
    /// Processor time, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Periods in which it was throttled.
    pub throttled_periods: Option<u64>,
    /// How long it was throttled, in microseconds.
    pub throttled_micros: Option<u64>,
    /// Memory without what the kernel can take back at once (inactive file pages), in bytes.
    pub memory_bytes: Option<u64>,
    /// Block devices.
    pub io: Option<Io>,
    /// The network namespace of its first process.
    pub network: Option<Network>,
}

/// What is read each ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slow {
    /// The most memory it may use.
    pub memory_limit: Option<Limit>,
    /// Processes that the kernel killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Waiting for processors (v2).
    pub cpu_pressure: Option<Pressure>,
    /// Waiting for memory (v2).
    pub memory_pressure: Option<Pressure>,
    /// Waiting for block devices (v2).
    pub io_pressure: Option<Pressure>,
}

/// Reads what one container uses.
#[derive(Debug)]
pub struct Meter {
    version: Version,
    cpu: Kept,
    cpu_stat: Kept,
    memory: Kept,
    memory_stat: Kept,
    io_bytes: Kept,
    io_counts: Kept,
    network: Kept,
    memory_folder: Option<PathBuf>,
    buffer: Box<[u8]>,
}

/// Whose file names and units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Meter {
    /// Opens nothing yet. `network` is `/proc/PID/net/dev`, or `None` where the network is not the
    /// container's own.
    pub fn new(folders: &Folders, network: Option<PathBuf>) -> Self {
        // In a hybrid layout controllers are in v1, and the v2 folder counts nothing of interest.
        let has_v1 = folders.cpuacct.is_some() || folders.memory.is_some();
        let version = if has_v1 || folders.unified.is_none() { Version::V1 } else { Version::V2 };
        let of = |v1: &Option<PathBuf>, v1_name: &str, v2_name: &str| {
            let (folder, name) = match version {
                Version::V1 => (v1, v1_name),
                Version::V2 => (&folders.unified, v2_name),
            };
            // In v2 one file has what v1 says in two.
            Kept::new(folder.as_deref().filter(|_| !name.is_empty()).map(|folder| folder.join(name)))
        };
        Self {
            version,
            cpu: of(&folders.cpuacct, "cpuacct.usage", ""),
            cpu_stat: of(&folders.cpu, "cpu.stat", "cpu.stat"),
            memory: of(&folders.memory, "memory.usage_in_bytes", "memory.current"),
            memory_stat: of(&folders.memory, "memory.stat", "memory.stat"),
            io_bytes: of(&folders.blkio, "blkio.throttle.io_service_bytes_recursive", "io.stat"),
            io_counts: of(&folders.blkio, "blkio.throttle.io_serviced_recursive", ""),
            network: Kept::new(network),
            memory_folder: match version {
                Version::V1 => folders.memory.clone(),
                Version::V2 => folders.unified.clone(),
            },
            buffer: vec![0; limit::USAGE_FILE_BYTES + 1].into_boxed_slice(),
        }
    }

    /// Reads what is read each second.
    pub fn quick(&mut self) -> Quick {
        let (cpu_micros, throttled_periods, throttled_micros) = self.processor();
        let used = self.memory.read(&mut self.buffer).and_then(number);
        let key = match self.version {
            Version::V1 => "total_inactive_file",
            Version::V2 => "inactive_file",
        };
        let idle = self.memory_stat.read(&mut self.buffer).and_then(|text| keyed(text, key));
        Quick {
            cpu_micros,
            throttled_periods,
            throttled_micros,
            // Both are read one after the other, so the part can be larger than the whole.
            memory_bytes: used.zip(idle).map(|(used, idle)| used.saturating_sub(idle)),
            io: self.block_devices(),
            network: self.network.read(&mut self.buffer).and_then(network),
        }
    }

    /// Reads what is read each ten seconds; these files are not kept open.
    pub fn slow(&mut self) -> Slow {
        let buffer = &mut self.buffer;
        let memory = self.memory_folder.as_deref();
        let Some(folder) = memory else { return Slow::default() };
        match self.version {
            Version::V1 => Slow {
                memory_limit: once(&folder.join("memory.limit_in_bytes"), buffer).and_then(most),
                oom_kills: once(&folder.join("memory.oom_control"), buffer)
                    .and_then(|text| keyed(text, "oom_kill")),
                ..Slow::default()
            },
            Version::V2 => {
                let mut waited = |name: &str| once(&folder.join(name), buffer).and_then(pressure);
                let [cpu_pressure, memory_pressure, io_pressure] =
                    ["cpu.pressure", "memory.pressure", "io.pressure"].map(&mut waited);
                Slow {
                    memory_limit: once(&folder.join("memory.max"), buffer).and_then(most),
                    oom_kills: once(&folder.join("memory.events"), buffer)
                        .and_then(|text| keyed(text, "oom_kill")),
                    cpu_pressure,
                    memory_pressure,
                    io_pressure,
                }
            }
        }
    }

    fn processor(&mut self) -> (Option<u64>, Option<u64>, Option<u64>) {
        let nanos = self.cpu.read(&mut self.buffer).and_then(number);
        let stat = self.cpu_stat.read(&mut self.buffer);
        let of = |key: &str| stat.and_then(|text| keyed(text, key));
        match self.version {
            Version::V1 => (
                nanos.map(|nanos| nanos / 1_000),
                of("nr_throttled"),
                of("throttled_time").map(|nanos| nanos / 1_000),
            ),
            Version::V2 => (of("usage_usec"), of("nr_throttled"), of("throttled_usec")),
        }
    }

    fn block_devices(&mut self) -> Option<Io> {
        if self.version == Version::V2 {
            return self.io_bytes.read(&mut self.buffer).and_then(io_stat);
        }
        let (read_bytes, written_bytes) = self.io_bytes.read(&mut self.buffer).and_then(blkio)?;
        let (reads, writes) = self.io_counts.read(&mut self.buffer).and_then(blkio)?;
        Some(Io { read_bytes, written_bytes, reads, writes })
    }
}

/// A file that is opened at its first reading, and again some readings after it failed.
#[derive(Debug)]
struct Kept {
    path: Option<PathBuf>,
    file: Option<File>,
    skip: u32,
}

impl Kept {
    const fn new(path: Option<PathBuf>) -> Self {
        Self { path, file: None, skip: 0 }
    }

    /// All of it; `None` when it is not there or longer than [`limit::USAGE_FILE_BYTES`].
    fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        if self.file.is_none() {
            let path = self.path.as_ref()?;
            if self.skip > 0 {
                self.skip -= 1;
                return None;
            }
            self.file = File::open(path).ok();
        }
        let text = self.file.as_ref().and_then(|file| whole(file, buffer));
        if text.is_none() {
            self.file = None;
            self.skip = limit::USAGE_FILE_SKIPS;
        }
        text
    }
}

fn once<'b>(path: &Path, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    whole(&File::open(path).ok()?, buffer)
}

/// The kernel gives a page at a time.
fn whole<'b>(file: &File, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let mut length = 0;
    loop {
        let offset = u64::try_from(length).ok()?;
        match file.read_at(buffer.get_mut(length..)?, offset).ok()? {
            0 => break,
            count => length += count,
        }
    }
    // A full buffer may hold a part only.
    if length >= buffer.len() { None } else { buffer.get(..length) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Writes `name: text` below a folder.
    fn put(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).expect("folder");
        for (name, text) in files {
            fs::write(folder.join(name), text).expect("file");
        }
    }

    fn v2(folder: &Path) {
        put(
            folder,
            &[
                (
                    "cpu.stat",
                    "usage_usec 1000\nuser_usec 600\nnr_periods 5\nnr_throttled 2\nthrottled_usec 70\n",
                ),
                ("memory.current", "5000\n"),
                ("memory.stat", "anon 1\ninactive_file 2000\n"),
                ("memory.max", "max\n"),
                ("memory.events", "low 0\noom 3\noom_kill 1\n"),
                ("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2\n"),
                ("cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"),
            ],
        );
    }

    fn v1(folder: &Path) {
        put(
            folder,
            &[
                ("cpuacct.usage", "1000999\n"),
                ("cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 70000\n"),
                ("memory.usage_in_bytes", "5000\n"),
                ("memory.stat", "inactive_file 1\ntotal_inactive_file 2000\n"),
                ("memory.limit_in_bytes", "65536\n"),
                ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
                ("blkio.throttle.io_service_bytes_recursive", "8:0 Read 10\n8:0 Write 20\nTotal 30\n"),
                ("blkio.throttle.io_serviced_recursive", "8:0 Read 1\n8:0 Write 2\nTotal 3\n"),
            ],
        );
    }

    fn v1_folders(folder: &Path) -> Folders {
        let at = Some(folder.to_owned());
        Folders { unified: None, cpu: at.clone(), cpuacct: at.clone(), memory: at.clone(), blkio: at }
    }

    fn expected() -> Quick {
        Quick {
            cpu_micros: Some(1_000),
            throttled_periods: Some(2),
            throttled_micros: Some(70),
            memory_bytes: Some(3_000),
            io: Some(Io { read_bytes: 10, written_bytes: 20, reads: 1, writes: 2 }),
            network: None,
        }
    }

    #[test]
    fn every_layout_says_the_same() {
        let folder = tempfile::tempdir().expect("folder");
        let (old, new) = (folder.path().join("v1"), folder.path().join("v2"));
        v1(&old);
        v2(&new);
        let unified = Folders { unified: Some(new.clone()), ..Folders::default() };
        let mut meter = Meter::new(&unified, None);
        assert_eq!(meter.quick(), expected());
        let slow = meter.slow();
        assert_eq!((slow.memory_limit, slow.oom_kills), (Some(Limit::Unlimited), Some(1)));
        assert_eq!(slow.cpu_pressure, Some(Pressure { some_micros: 9, full_micros: None }));
        assert_eq!((slow.memory_pressure, slow.io_pressure), (None, None));
        let hybrid = Folders { unified: Some(folder.path().join("empty")), ..v1_folders(&old) };
        for folders in [v1_folders(&old), hybrid] {
            let mut meter = Meter::new(&folders, None);
            assert_eq!(meter.quick(), expected());
            let slow =
                Slow { memory_limit: Some(Limit::Bytes(65_536)), oom_kills: Some(1), ..Slow::default() };
            assert_eq!(meter.slow(), slow);
        }
        let mut nowhere = Meter::new(&Folders::default(), None);
        assert_eq!((nowhere.quick(), nowhere.slow()), (Quick::default(), Slow::default()));
    }

    #[test]
    fn what_goes_or_is_garbage_is_unknown_and_comes_back() {
        let folder = tempfile::tempdir().expect("folder");
        v2(folder.path());
        let unified = Folders { unified: Some(folder.path().to_owned()), ..Folders::default() };
        let mut meter = Meter::new(&unified, Some(folder.path().join("absent")));
        assert_eq!(meter.quick(), expected());
        // The same open file is read again, also when its counters begin anew.
        put(folder.path(), &[("cpu.stat", "usage_usec 4\n"), ("memory.stat", "garbage\u{0}\n")]);
        let seen = meter.quick();
        assert_eq!((seen.cpu_micros, seen.throttled_periods, seen.memory_bytes), (Some(4), None, None));
        assert_eq!(seen.io, expected().io);
        fs::remove_file(folder.path().join("io.stat")).expect("removed");
        let mut anew = Meter::new(&unified, None);
        assert_eq!(anew.quick().io, None);
        put(folder.path(), &[("io.stat", "8:0 rbytes=1 wbytes=0 rios=0 wios=0\n")]);
        let skipped = (0..limit::USAGE_FILE_SKIPS).filter(|_| anew.quick().io.is_none()).count();
        assert_eq!(skipped, limit::USAGE_FILE_SKIPS as usize);
        assert_eq!(anew.quick().io.map(|io| io.read_bytes), Some(1));
    }

    #[test]
    fn long_files_are_unknown_not_cut() {
        let folder = tempfile::tempdir().expect("folder");
        v2(folder.path());
        let unified = Folders { unified: Some(folder.path().to_owned()), ..Folders::default() };
        for (length, is_known) in [(limit::USAGE_FILE_BYTES, true), (limit::USAGE_FILE_BYTES + 1, false)] {
            let text = format!("{:\n<length$}", "usage_usec 1\n");
            put(folder.path(), &[("cpu.stat", &text)]);
            assert_eq!(Meter::new(&unified, None).quick().cpu_micros.is_some(), is_known, "{length}");
        }
    }

    /// The kernel's own files, of this process.
    #[test]
    fn this_kernel_is_read() {
        let network = Meter::new(&Folders::default(), Some("/proc/self/net/dev".into())).quick().network;
        assert!(network.is_some());
    }
}
