//! What containers use now and used in the last minutes: in memory alone, and gone with this process.
//! Its past comes with telemetry.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use seaworthy_link::{Figures, UsageReport};
use seaworthy_model::{ContainerKey, HostId, Timestamp};
use serde::Serialize;

use crate::{Fleet, alias, limit};

/// What one container used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsageView {
    /// When it was last told, by our clock.
    pub at: Timestamp,
    /// The last interval.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The last minutes of one container, the oldest first; each point is one report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UsageSeries {
    /// When each was told, by our clock.
    pub at: Vec<Timestamp>,
    /// Processor time, in thousandths of one processor.
    pub cpu_millis: Vec<Option<u64>>,
    /// Memory, in bytes.
    pub memory_bytes: Vec<Option<u64>>,
}

/// A point of a series, small: there is one for each container and report.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: Timestamp,
    cpu_millis: Option<u32>,
    memory_kib: Option<u32>,
}

#[derive(Debug)]
struct Kept {
    at: Timestamp,
    figures: Figures,
    points: VecDeque<Point>,
}

/// By runtime and id.
type OfHost = HashMap<(String, String), Kept>;

/// All that is kept, by host; what a host says is about its own containers alone.
#[derive(Debug, Default)]
pub(crate) struct Board {
    hosts: Mutex<HashMap<HostId, OfHost>>,
}

impl Board {
    /// How many of a report's containers are kept.
    fn receive(&self, host: HostId, report: UsageReport, now: Timestamp) -> usize {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let old = now.plus_seconds(-limit::USAGE_STALE_SECONDS);
        for kept in hosts.values_mut() {
            kept.retain(|_, it| it.at > old);
        }
        hosts.retain(|it, kept| *it == host || !kept.is_empty());
        let mut total: usize = hosts.values().map(HashMap::len).sum();
        let here = hosts.entry(host).or_default();
        let mut count = 0;
        for usage in report.containers {
            let key = (usage.runtime.word().to_owned(), alias::key(&usage.id));
            if !here.contains_key(&key) {
                if total >= limit::USAGE_CONTAINERS {
                    continue;
                }
                total += 1;
            }
            let points = VecDeque::new();
            let kept = here.entry(key).or_insert(Kept { at: now, figures: usage.figures, points });
            (kept.at, kept.figures) = (now, usage.figures);
            if kept.points.len() >= limit::USAGE_POINTS {
                kept.points.pop_front();
            }
            let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            kept.points.push_back(Point {
                at: now,
                cpu_millis: usage.figures.cpu_millis.map(small),
                memory_kib: usage.figures.memory_bytes.map(|bytes| small(bytes / 1_024)),
            });
            count += 1;
        }
        count
    }

    fn look<T>(&self, key: &ContainerKey, now: Timestamp, of: impl FnOnce(&Kept) -> T) -> Option<T> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = hosts.get(&key.host)?.get(&(key.runtime.clone(), key.id.clone()))?;
        (kept.at > now.plus_seconds(-limit::USAGE_STALE_SECONDS)).then(|| of(kept))
    }
}

impl Fleet {
    /// Keeps what a host says that its containers use; how many there is room for.
    pub fn receive_usage(&self, host: HostId, report: UsageReport) -> usize {
        self.board().receive(host, report, self.db().now())
    }

    /// What a container used last; `None` when nothing was told for [`limit::USAGE_STALE_SECONDS`].
    pub fn usage(&self, key: &ContainerKey) -> Option<UsageView> {
        self.board().look(key, self.db().now(), |it| UsageView { at: it.at, figures: it.figures })
    }

    /// What a container used in the last minutes.
    pub fn usage_series(&self, key: &ContainerKey) -> Option<UsageSeries> {
        self.board().look(key, self.db().now(), |it| UsageSeries {
            at: it.points.iter().map(|it| it.at).collect(),
            cpu_millis: it.points.iter().map(|it| it.cpu_millis.map(u64::from)).collect(),
            memory_bytes: it
                .points
                .iter()
                .map(|it| it.memory_kib.map(|kib| u64::from(kib) * 1_024))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_link::{Runtime, Usage, VERSION};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn report(ids: impl IntoIterator<Item = String>, cpu: u64) -> UsageReport {
        let figures = Figures { cpu_millis: Some(cpu), memory_bytes: Some(10_000), ..Figures::default() };
        let one = |id| Usage { runtime: Runtime::Docker, id, figures };
        UsageReport { version: VERSION, made_at: at(0), containers: ids.into_iter().map(one).collect() }
    }

    fn key(host: HostId, id: &str) -> ContainerKey {
        ContainerKey { host, runtime: "docker".into(), id: id.into() }
    }

    #[test]
    fn the_last_minutes_are_kept_and_no_more() {
        let (board, host, id) = (Board::default(), HostId::generate(), || ["a".to_owned()]);
        let last = i64::try_from(limit::USAGE_POINTS).expect("small");
        for second in 0..=last {
            assert_eq!(board.receive(host, report(id(), second.unsigned_abs()), at(second)), 1);
        }
        let look =
            |key: &ContainerKey, now| board.look(key, at(now), |it| (it.figures.cpu_millis, it.points.len()));
        let seen = look(&key(host, "a"), last);
        assert_eq!(seen, Some((Some(last.unsigned_abs()), limit::USAGE_POINTS)));
        assert_eq!(look(&key(HostId::generate(), "a"), last), None, "another host's container");
        assert_eq!(look(&key(host, "b"), last), None);
        let stale = last + limit::USAGE_STALE_SECONDS;
        assert_eq!(look(&key(host, "a"), stale - 1), seen);
        assert_eq!(look(&key(host, "a"), stale), None);
        // Another host's report sweeps it out.
        board.receive(HostId::generate(), report(["b".to_owned()], 1), at(stale));
        assert_eq!(board.hosts.lock().expect("lock").len(), 1);
    }

    #[test]
    fn so_many_are_kept_whoever_tells() {
        let board = Board::default();
        let ids = |from: usize, count| (from..from + count).map(|it| it.to_string());
        let most = limit::USAGE_CONTAINERS;
        assert_eq!(board.receive(HostId::generate(), report(ids(0, most - 1), 1), at(0)), most - 1);
        let host = HostId::generate();
        assert_eq!(board.receive(host, report(ids(0, 2), 1), at(1)), 1);
        assert_eq!(board.receive(host, report(ids(0, 1), 2), at(2)), 1, "what is kept goes on");
    }
}
