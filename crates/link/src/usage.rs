use seaworthy_model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{BatchError, Runtime, VERSION, limit};

/// What the containers of a host used in the last interval. It is told beside the batches: when
/// nobody takes it, it is dropped, and the next one says what is so then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// The agent's clock when it was made.
    pub made_at: Timestamp,
    /// Running containers.
    pub containers: Vec<Usage>,
}

/// What one container used in the last interval. `None` is not known, never zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Whose container.
    pub runtime: Runtime,
    /// Its id.
    pub id: String,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// Figures of one container and interval. Rates are means over the interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Processor time, in thousandths of one processor.
    pub cpu_millis: Option<u64>,
    /// The same in the busiest second.
    pub cpu_peak_millis: Option<u64>,
    /// Time throttled by its processor limit, in thousandths of the interval; several processors add up.
    pub throttled_millis: Option<u64>,
    /// Memory without what the kernel can take back at once, in bytes, at the end of the interval.
    pub memory_bytes: Option<u64>,
    /// The most memory it may use, in bytes; `None` also without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// Processes killed for want of memory since it was made.
    pub oom_kills: Option<u64>,
    /// Time in which a task waited for a processor, in thousandths of the interval (PSI, cgroup v2).
    pub cpu_waited_millis: Option<u64>,
    /// The same for memory.
    pub memory_waited_millis: Option<u64>,
    /// The same for block devices.
    pub io_waited_millis: Option<u64>,
    /// Bytes read from block devices, a second.
    pub read_bytes_per_second: Option<u64>,
    /// Bytes written to block devices, a second.
    pub written_bytes_per_second: Option<u64>,
    /// Bytes received, a second; `None` in the host's network.
    pub received_bytes_per_second: Option<u64>,
    /// Bytes sent, a second.
    pub sent_bytes_per_second: Option<u64>,
}

impl UsageReport {
    /// Reads a report and holds it to its limits.
    pub fn parse(json: &[u8]) -> Result<Self, BatchError> {
        let report: Self =
            serde_json::from_slice(json).map_err(|error| BatchError::Format { reason: error.to_string() })?;
        if report.version > VERSION {
            return Err(BatchError::Version { version: report.version });
        }
        crate::message::at_most("containers", report.containers.len(), limit::USAGES)?;
        crate::message::texts(report.containers.iter().map(|it| &it.id))?;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(count: usize, id: &str) -> UsageReport {
        let figures = Figures { cpu_millis: Some(1), ..Figures::default() };
        let one = Usage { runtime: Runtime::Docker, id: id.to_owned(), figures };
        UsageReport { version: VERSION, made_at: Timestamp::from_micros(1), containers: vec![one; count] }
    }

    #[test]
    fn reports_come_back_within_their_limits() {
        let json = |report: &UsageReport| serde_json::to_vec(report).expect("json");
        let most = report(limit::USAGES, "ab");
        assert_eq!(UsageReport::parse(&json(&most)).expect("read"), most);
        let full = report(limit::USAGES, &"a".repeat(160));
        assert!(json(&full).len() <= limit::USAGE_BYTES, "ids of the longest kind fit");
        assert!(UsageReport::parse(&json(&report(limit::USAGES + 1, "ab"))).is_err());
        assert!(UsageReport::parse(&json(&report(1, &"a".repeat(limit::TEXT_BYTES)))).is_ok());
        assert!(UsageReport::parse(&json(&report(1, &"a".repeat(limit::TEXT_BYTES + 1)))).is_err());
        assert!(UsageReport::parse(&json(&UsageReport { version: VERSION + 1, ..report(1, "a") })).is_err());
        let bare =
            br#"{"version":1,"made_at":"2026-11-24T00:00:00Z","containers":[{"runtime":"docker","id":"a"}]}"#;
        assert_eq!(UsageReport::parse(bare).expect("read").containers[0].figures, Figures::default());
        assert!(UsageReport::parse(br#"{"version":1"#).is_err());
    }
}
