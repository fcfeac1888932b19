//! All running containers of an engine, second by second.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use seaworthy_link::{Figures, Runtime, Usage, limit::USAGES};

use super::{Hierarchies, Limit, Meter, Quick, Slow};
use crate::limit::USAGE_SECONDS;

/// A running container, as its engine described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its first process.
    pub pid: u32,
    /// False in the host's network, whose figures are not the container's.
    pub has_own_network: bool,
}

/// The containers that run now: written by whoever follows the engine, read by the sampler.
#[derive(Debug, Default)]
pub struct Running(Mutex<BTreeMap<String, Process>>);

impl Running {
    /// A container runs, or no longer does.
    pub fn set(&self, id: &str, process: Option<Process>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match process {
            Some(process) => drop(all.insert(id.to_owned(), process)),
            None => drop(all.remove(id)),
        }
    }

    /// The first by id, at most [`USAGES`].
    fn first(&self) -> BTreeMap<String, Process> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().take(USAGES).map(|(id, process)| (id.clone(), process.clone())).collect()
    }
}

/// Reads all containers' files and keeps the seconds of one report of each.
#[derive(Debug)]
pub struct Sampler {
    proc: PathBuf,
    hierarchies: Hierarchies,
    meters: BTreeMap<String, Metered>,
}

/// One container's meter, and what it showed: one second more than a report has, whose first is the
/// last of the report before.
#[derive(Debug)]
struct Metered {
    process: Process,
    meter: Meter,
    ring: VecDeque<(Instant, Quick)>,
    before: Option<(Instant, Slow)>,
}

impl Sampler {
    /// Of the machine whose `proc` this is.
    pub fn new(proc: &Path) -> std::io::Result<Self> {
        let hierarchies = Hierarchies::read(proc)?;
        Ok(Self { proc: proc.to_owned(), hierarchies, meters: BTreeMap::new() })
    }

    /// Reads what is read each second.
    pub fn tick(&mut self, running: &Running, now: Instant) {
        let running = running.first();
        self.meters.retain(|id, metered| running.get(id) == Some(&metered.process));
        for (id, process) in running {
            if !self.meters.contains_key(&id)
                && let Some(metered) = self.open(&id, process)
            {
                self.meters.insert(id, metered);
            }
        }
        for metered in self.meters.values_mut() {
            if metered.ring.len() > USAGE_SECONDS {
                metered.ring.pop_front();
            }
            metered.ring.push_back((now, metered.meter.quick()));
        }
    }

    /// What the containers used since the report before; one that was seen once has no rates yet.
    pub fn report(&mut self, runtime: Runtime, now: Instant) -> Vec<Usage> {
        let usages = self.meters.iter_mut().map(|(id, metered)| {
            let slow = metered.meter.slow();
            let before = metered.before.replace((now, slow));
            Usage { runtime, id: id.clone(), figures: figures(&metered.ring, before, (now, slow)) }
        });
        usages.collect()
    }

    /// None when the process is not the container's any more: its cgroup does not name it.
    fn open(&self, id: &str, process: Process) -> Option<Metered> {
        let folder = self.proc.join(process.pid.to_string());
        let cgroups = fs::read_to_string(folder.join("cgroup")).ok()?;
        let folders = self.hierarchies.of_process(&cgroups, id);
        if folders == super::Folders::default() {
            return None;
        }
        let network = process.has_own_network.then(|| folder.join("net/dev"));
        let meter = Meter::new(&folders, network);
        Some(Metered { process, meter, ring: VecDeque::with_capacity(USAGE_SECONDS + 1), before: None })
    }
}

/// Counters that went back (a container began anew under its name) give no rate.
fn figures(
    ring: &VecDeque<(Instant, Quick)>,
    before: Option<(Instant, Slow)>,
    (now, slow): (Instant, Slow),
) -> Figures {
    let Some((end, last)) = ring.back() else { return Figures::default() };
    let first = ring.front().filter(|(begin, _)| begin < end);
    let rate = |of: &dyn Fn(&Quick) -> Option<u64>, per: u64| {
        let (begin, first) = first?;
        per_time(of(first)?, of(last)?, micros(*begin, *end), per)
    };
    let seconds = ring.iter().zip(ring.iter().skip(1)).filter_map(|((begin, one), (end, other))| {
        per_time(one.cpu_micros?, other.cpu_micros?, micros(*begin, *end), 1_000)
    });
    let waited = |of: &dyn Fn(&Slow) -> Option<u64>| {
        let (begin, old) = before.as_ref()?;
        per_time(of(old)?, of(&slow)?, micros(*begin, now), 1_000)
    };
    Figures {
        cpu_millis: rate(&|it| it.cpu_micros, 1_000),
        cpu_peak_millis: seconds.max(),
        throttled_millis: rate(&|it| it.throttled_micros, 1_000),
        memory_bytes: last.memory_bytes,
        memory_limit_bytes: match slow.memory_limit {
            Some(Limit::Bytes(bytes)) => Some(bytes),
            Some(Limit::Unlimited) | None => None,
        },
        oom_kills: slow.oom_kills,
        cpu_waited_millis: waited(&|it| it.cpu_pressure.map(|it| it.some_micros)),
        memory_waited_millis: waited(&|it| it.memory_pressure.map(|it| it.some_micros)),
        io_waited_millis: waited(&|it| it.io_pressure.map(|it| it.some_micros)),
        read_bytes_per_second: rate(&|it| it.io.map(|io| io.read_bytes), 1_000_000),
        written_bytes_per_second: rate(&|it| it.io.map(|io| io.written_bytes), 1_000_000),
        received_bytes_per_second: rate(&|it| it.network.map(|it| it.received_bytes), 1_000_000),
        sent_bytes_per_second: rate(&|it| it.network.map(|it| it.sent_bytes), 1_000_000),
    }
}

fn micros(begin: Instant, end: Instant) -> u64 {
    u64::try_from(end.saturating_duration_since(begin).as_micros()).unwrap_or(u64::MAX)
}

/// How much a counter grew in `per` microseconds of those that passed.
fn per_time(before: u64, after: u64, passed_micros: u64, per: u64) -> Option<u64> {
    let grown = u128::from(after.checked_sub(before)?);
    let rate = (grown * u128::from(per)).checked_div(u128::from(passed_micros))?;
    u64::try_from(rate).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ID: &str = "4f5d3a6c1b2e4f5d3a6c1b2e4f5d3a6c1b2e4f5d3a6c1b2e4f5d3a6c1b2e4f5d";

    /// A machine with one container in v2.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let it = Self(tempfile::tempdir().expect("folder"));
            let mount = format!("41 31 0:38 / {} rw - cgroup2 cgroup2 rw\n", it.path("cgroup").display());
            it.put("proc/self/mountinfo", &mount);
            it.put("proc/7/cgroup", &format!("0::/docker/{ID}\n"));
            it.at(0, 0);
            it
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn put(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folder");
            fs::write(path, text).expect("file");
        }

        /// Counters at a time.
        fn at(&self, cpu_micros: u64, received: u64) {
            let file = |name: &str| format!("cgroup/docker/{ID}/{name}");
            self.put(
                &file("cpu.stat"),
                &format!("usage_usec {cpu_micros}\nthrottled_usec {}\n", cpu_micros / 10),
            );
            self.put(&file("memory.current"), "5000\n");
            self.put(&file("memory.stat"), "inactive_file 1000\n");
            self.put(&file("memory.max"), "65536\n");
            self.put(
                &file("cpu.pressure"),
                &format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={cpu_micros}\n"),
            );
            let zeros = "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0";
            self.put("proc/7/net/dev", &format!("a|b\nc|d\neth0: {received} {zeros}\n"));
        }

        fn sampler(&self) -> Sampler {
            Sampler::new(&self.path("proc")).expect("a sampler")
        }
    }

    fn running(pid: u32) -> Running {
        let running = Running::default();
        running.set(ID, Some(Process { pid, has_own_network: true }));
        running
    }

    #[test]
    fn rates_are_means_and_the_busiest_second_stands_out() {
        let (machine, running, begin) = (Machine::new(), running(7), Instant::now());
        let mut sampler = machine.sampler();
        sampler.tick(&running, begin);
        let first = sampler.report(Runtime::Docker, begin)[0].figures;
        assert_eq!((first.cpu_millis, first.memory_bytes), (None, Some(4_000)), "no time has passed");
        // A quarter of a processor, and in the third second two.
        let mut used = 0;
        for second in 1..=USAGE_SECONDS as u64 {
            used += if second == 3 { 2_000_000 } else { 250_000 };
            machine.at(used, second * 500);
            sampler.tick(&running, begin + Duration::from_secs(second));
        }
        let end = begin + Duration::from_secs(USAGE_SECONDS as u64);
        let it = sampler.report(Runtime::Docker, end)[0].figures;
        let mean = used / 1_000 / USAGE_SECONDS as u64;
        assert_eq!((it.cpu_millis, it.cpu_peak_millis), (Some(mean), Some(2_000)));
        assert_eq!((it.throttled_millis, it.cpu_waited_millis), (Some(mean / 10), Some(mean)));
        assert_eq!((it.received_bytes_per_second, it.sent_bytes_per_second), (Some(500), Some(0)));
        assert_eq!((it.memory_limit_bytes, it.read_bytes_per_second), (Some(65_536), None));
        // The ring has forgotten what is older than one report.
        for second in 11..=11 + USAGE_SECONDS as u64 {
            sampler.tick(&running, begin + Duration::from_secs(second));
        }
        let quiet = sampler.report(Runtime::Docker, end)[0].figures;
        assert_eq!((quiet.cpu_millis, quiet.cpu_peak_millis), (Some(0), Some(0)));
        machine.at(1, 0);
        sampler.tick(&running, begin + Duration::from_secs(30));
        assert_eq!(sampler.report(Runtime::Docker, end)[0].figures.cpu_millis, None, "it began anew");
    }

    #[test]
    fn only_the_container_itself_is_read() {
        let machine = Machine::new();
        machine.put("proc/8/cgroup", "0::/system.slice/ssh.service\n");
        let mut sampler = machine.sampler();
        for (pid, count) in [(8, 0), (9, 0), (7, 1), (8, 0)] {
            sampler.tick(&running(pid), Instant::now());
            assert_eq!(sampler.report(Runtime::Docker, Instant::now()).len(), count, "{pid}");
        }
        let host = Running::default();
        host.set(ID, Some(Process { pid: 7, has_own_network: false }));
        sampler.tick(&host, Instant::now());
        machine.at(0, 99);
        sampler.tick(&host, Instant::now());
        let figures = sampler.report(Runtime::Docker, Instant::now())[0].figures;
        assert_eq!(figures.received_bytes_per_second, None, "the host's network is not its own");
        host.set(ID, None);
        sampler.tick(&host, Instant::now());
        assert_eq!(sampler.report(Runtime::Docker, Instant::now()), []);
    }

    #[test]
    fn a_report_has_room_for_so_many() {
        let running = Running::default();
        for number in 0..=USAGES {
            running.set(&format!("{number:08}"), Some(Process { pid: 1, has_own_network: false }));
        }
        assert_eq!(running.first().len(), USAGES);
    }
}
