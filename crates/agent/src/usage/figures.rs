//! Figures out of the kernel's texts: pure, and without allocation.
//!
//! Formats: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the Linux kernel.

/// v1 says "no limit" as the largest multiple of its page size; no machine has so much memory.
const V1_NO_LIMIT_BYTES: u64 = 1 << 62;

/// Bytes and operations of block devices since the cgroup was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// What passed the interfaces of a network namespace, its loopback left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Errors while receiving.
    pub receive_errors: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Errors while sending.
    pub send_errors: u64,
}

/// Time in which tasks waited for a resource, in microseconds since the cgroup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// At least one task waited.
    pub some_micros: u64,
    /// All tasks waited; some kernels do not say it of processors.
    pub full_micros: Option<u64>,
}

/// The most that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// No limit.
    Unlimited,
    /// So many bytes.
    Bytes(u64),
}

/// Digits alone: no sign, no blank, nothing above `u64::MAX`.
fn digits(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A file that holds one number.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    digits(text.trim_ascii())
}

/// A limit of v2, `max` or bytes, or of v1, where a huge number stands for none.
pub(super) fn limit(text: &[u8]) -> Option<Limit> {
    match text.trim_ascii() {
        b"max" => Some(Limit::Unlimited),
        word => digits(word).map(|bytes| match bytes {
            V1_NO_LIMIT_BYTES.. => Limit::Unlimited,
            bytes => Limit::Bytes(bytes),
        }),
    }
}

/// The number behind `key` in a file of `key number` lines.
pub(super) fn keyed(text: &[u8], key: &str) -> Option<u64> {
    let line = lines(text).find(|line| words(line).next() == Some(key.as_bytes()))?;
    let mut words = words(line).skip(1);
    let value = digits(words.next()?)?;
    words.next().is_none().then_some(value)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345`, and the same of `full`.
pub(super) fn pressure(text: &[u8]) -> Option<Pressure> {
    let total = |kind: &[u8]| {
        let line = lines(text).find(|line| words(line).next() == Some(kind))?;
        words(line).find_map(|word| word.strip_prefix(b"total=")).and_then(digits)
    };
    Some(Pressure { some_micros: total(b"some")?, full_micros: total(b"full") })
}

/// `io.stat` of v2: a line for each device. An empty file says that there was no traffic.
pub(super) fn io_stat(text: &[u8]) -> Option<Io> {
    let mut io = Io::default();
    for word in lines(text).flat_map(|line| words(line).skip(1)) {
        let at = word.iter().position(|byte| *byte == b'=')?;
        let (key, value) = word.split_at_checked(at)?;
        let sum = match key {
            b"rbytes" => &mut io.read_bytes,
            b"wbytes" => &mut io.written_bytes,
            b"rios" => &mut io.reads,
            b"wios" => &mut io.writes,
            // Discards, and what cost models and later kernels add.
            _ => continue,
        };
        *sum = sum.checked_add(digits(value.strip_prefix(b"=")?)?)?;
    }
    Some(io)
}

/// Reads and writes of a `blkio` file of v1: `8:0 Read 4096`, one line for each device and kind.
pub(super) fn blkio(text: &[u8]) -> Option<(u64, u64)> {
    let (mut read, mut written, mut is_whole) = (0_u64, 0_u64, false);
    for line in lines(text) {
        let mut words = words(line);
        let (first, second, third) = (words.next()?, words.next()?, words.next());
        // The last line is `Total N`: without it the text was cut.
        is_whole |= first == b"Total";
        let sum = match (second, third) {
            (b"Read", Some(_)) => &mut read,
            (b"Write", Some(_)) => &mut written,
            _ => continue,
        };
        *sum = sum.checked_add(digits(third?)?)?;
    }
    is_whole.then_some((read, written))
}

/// `/proc/PID/net/dev`: two lines of titles, then `name: ` and sixteen numbers for each interface.
pub(super) fn network(text: &[u8]) -> Option<Network> {
    let mut sum = Network::default();
    let mut titles = 0;
    for line in lines(text) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            titles += 1;
            continue;
        };
        let (name, numbers) = line.split_at_checked(colon)?;
        if name == b"lo" {
            continue;
        }
        let mut count = 0;
        for (column, word) in words(numbers.strip_prefix(b":")?).enumerate() {
            count += 1;
            let value = digits(word)?;
            let into = match column {
                0 => &mut sum.received_bytes,
                1 => &mut sum.received_packets,
                2 => &mut sum.receive_errors,
                8 => &mut sum.sent_bytes,
                9 => &mut sum.sent_packets,
                10 => &mut sum.send_errors,
                _ => continue,
            };
            *into = into.checked_add(value)?;
        }
        if count < 11 {
            return None;
        }
    }
    (titles == 2).then_some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NET: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     500       5    0    0    0     0          0         0      500       5    0    0    0     0       0          0
  eth0:1306       15    1    0    0     0          0         0      826       9    2    0    0     0       0          0
  eth1:  4       1    0    0    0     0          0         0      6       1    0    0    0     0       0          0
";

    #[test]
    fn every_format_is_read() {
        assert_eq!(
            (number(b"12\n"), number(b"-1\n"), number(b""), number(b"1 2")),
            (Some(12), None, None, None)
        );
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"18446744073709551616"), None);
        assert_eq!(limit(b"max\n"), Some(Limit::Unlimited));
        assert_eq!(limit(b"9223372036854771712\n"), Some(Limit::Unlimited));
        assert_eq!((limit(b"67108864\n"), limit(b"most")), (Some(Limit::Bytes(67_108_864)), None));
        let stat = b"usage_usec 7\nuser_usec 5\nnr_throttled\nbad 1 2\n";
        assert_eq!((keyed(stat, "usage_usec"), keyed(stat, "usage")), (Some(7), None));
        assert_eq!((keyed(stat, "nr_throttled"), keyed(stat, "bad")), (None, None));
        let psi = b"some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        assert_eq!(pressure(psi), Some(Pressure { some_micros: 12, full_micros: Some(5) }));
        assert_eq!(pressure(&psi[..48]), Some(Pressure { some_micros: 12, full_micros: None }));
        assert_eq!(pressure(b"full total=5"), None);
        let io = b"8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 rbytes=5 wbytes=0 rios=1 wios=0 cost.vrate=100.00\n";
        assert_eq!(io_stat(io), Some(Io { read_bytes: 15, written_bytes: 20, reads: 2, writes: 2 }));
        assert_eq!((io_stat(b""), io_stat(b"8:0 rbytes=x")), (Some(Io::default()), None));
        let blk = b"8:0 Read 10\n8:0 Write 20\n8:0 Sync 0\n8:0 Total 30\n8:16 Read 1\nTotal 31\n";
        assert_eq!(
            (blkio(blk), blkio(b"Total 0\n"), blkio(b"8:0 Read 10\n")),
            (Some((11, 20)), Some((0, 0)), None)
        );
        let expected = Network {
            received_bytes: 1_310,
            received_packets: 16,
            receive_errors: 1,
            sent_bytes: 832,
            sent_packets: 10,
            send_errors: 2,
        };
        assert_eq!(network(NET.as_bytes()), Some(expected));
        assert_eq!((network(b""), network(b"a\nb\neth0: 1 2 3\n")), (None, None));
    }

    proptest! {
        /// Any bytes give a value or none; no panic.
        #[test]
        fn garbage_is_none_or_a_value(text in proptest::collection::vec(any::<u8>(), 0..400), key in "[a-z_]{0,9}") {
            let _ = (number(&text), limit(&text), keyed(&text, &key), pressure(&text));
            let _ = (io_stat(&text), blkio(&text), network(&text));
        }

        /// What the kernel writes is read as it was written, whatever the numbers and however it is damaged.
        #[test]
        fn written_is_read(values in proptest::collection::vec(any::<u32>(), 16), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let wide: Vec<u64> = values.iter().copied().map(u64::from).collect();
            let numbers: Vec<String> = wide.iter().map(u64::to_string).collect();
            let mut net = format!("a|b\nc|d\n eth0: {}\n", numbers.join("   ")).into_bytes();
            let seen = network(&net).expect("read");
            prop_assert_eq!([seen.received_bytes, seen.receive_errors, seen.sent_bytes, seen.send_errors], [wide[0], wide[2], wide[8], wide[10]]);
            let io = format!("8:0 rbytes={} wbytes={} rios={} wios={}\n", wide[0], wide[1], wide[2], wide[3]);
            prop_assert_eq!(io_stat(io.as_bytes()), Some(Io { read_bytes: wide[0], written_bytes: wide[1], reads: wide[2], writes: wide[3] }));
            let stat = format!("user_usec 1\nusage_usec {}\n", wide[4]);
            prop_assert_eq!(keyed(stat.as_bytes(), "usage_usec"), Some(wide[4]));
            let at = at.index(net.len());
            net[at] = byte;
            let _ = network(&net);
        }
    }
}
