use std::ops::Range;

use crate::limit;

/// What a `Range` header asks of `size` bytes (RFC 9110 §14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No range, or one this server ignores: everything.
    All,
    /// One range.
    Part(Range<u64>),
    /// Several that do not overlap, none of them empty.
    Parts(Vec<Range<u64>>),
    /// Nothing of it exists: 416.
    Unsatisfiable,
}

/// Reads a `Range` header. More than [`limit::RANGES`] are answered with everything, as the RFC allows
/// (§14.2); ranges that overlap are joined. Those that only touch are not: clients of zstd:chunked
/// layers count on one part for each range.
pub(crate) fn parse(header: Option<&str>, size: u64) -> Wanted {
    let Some((unit, spec)) = header.and_then(|header| header.trim().split_once('=')) else {
        return Wanted::All;
    };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Wanted::All;
    }
    let mut ranges = Vec::new();
    let mut is_empty = true;
    for (number, one) in spec.split(',').map(str::trim).enumerate() {
        if number >= limit::RANGES {
            return Wanted::All;
        }
        if one.is_empty() {
            // Elements of a list may be empty, all of them may not (§5.6.1).
            continue;
        }
        is_empty = false;
        match parse_one(one, size) {
            None => return Wanted::All,
            Some(range) if range.start < range.end => ranges.push(range),
            Some(_) => {}
        }
    }
    if is_empty {
        return Wanted::All;
    }
    let mut ranges = joined(ranges);
    match ranges.len() {
        0 => Wanted::Unsatisfiable,
        1 => ranges.pop().map_or(Wanted::Unsatisfiable, Wanted::Part),
        _ => Wanted::Parts(ranges),
    }
}

/// One range, empty when nothing of it exists; `None` when it is not one.
fn parse_one(spec: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    // What no number here holds is behind every end.
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
    match (first.trim(), last.trim()) {
        ("", "") => None,
        ("", suffix) => Some(size.saturating_sub(number(suffix)?)..size),
        (first, "") => Some(number(first)?..size),
        (first, last) => Some(number(first)?..number(last)?.saturating_add(1).min(size)),
    }
}

/// The ranges as they were asked for, or, when some overlap, joined and in order.
fn joined(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted = ranges.clone();
    sorted.sort_by_key(|range| (range.start, range.end));
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match out.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    if out.len() == ranges.len() { ranges } else { out }
}

/// Reads the `Content-Range` of a chunk, `0-1023` (distribution spec, "Pushing a blob in chunks");
/// `None` when it is not one.
pub(crate) fn parse_chunk(header: &str) -> Option<Range<u64>> {
    let text = header.trim().strip_prefix("bytes ").unwrap_or(header.trim());
    let text = text.split('/').next()?;
    let (first, last) = text.split_once('-')?;
    // Digits alone: numbers as Rust reads them may have a sign.
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok());
    let (first, last) = (number(first.trim())??, number(last.trim())??);
    (first <= last).then(|| first..last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges() {
        use Wanted::{All, Part, Parts, Unsatisfiable};
        for (header, expected) in [
            ("bytes=0-4", Part(0..5)),
            ("bytes=5-", Part(5..10)),
            ("bytes=-3", Part(7..10)),
            ("bytes=-30", Part(0..10)),
            ("bytes=9-100", Part(9..10)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=500-0", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-1,3-4", Parts(vec![0..2, 3..5])),
            ("bytes=3-4,0-1", Parts(vec![3..5, 0..2])),
            ("bytes=0-1,2-3", Parts(vec![0..2, 2..4])),
            ("bytes=5-6, 0-3 ,2-4,-1", Parts(vec![0..5, 5..7, 9..10])),
            ("bytes=0-5,2-3", Part(0..6)),
            ("bytes=0-1,20-30,9-5", Part(0..2)),
            ("bytes=20-30,500-0", Unsatisfiable),
            ("bytes=0-1,x", All),
            ("bytes=0-1,", Part(0..2)),
            ("bytes=,, 0-1", Part(0..2)),
            ("bytes=,", All),
            ("bytes=", All),
            ("Bytes=0-1", Part(0..2)),
            ("bytes=0-18446744073709551616", Part(0..10)),
            ("bytes=18446744073709551616-", Unsatisfiable),
            ("bytes=-99999999999999999999", Part(0..10)),
            ("bytes=+1-2", All),
            ("bytes=-", All),
            ("bytes=a-b", All),
            ("items=0-4", All),
        ] {
            assert_eq!(parse(Some(header), 10), expected, "{header}");
        }
        assert_eq!(parse(None, 10), All);
        let many = |count: usize| {
            let ranges: Vec<String> = (0..count).map(|at| format!("{0}-{0}", at * 2)).collect();
            parse(Some(&format!("bytes={}", ranges.join(","))), 1_000_000)
        };
        assert!(matches!(many(limit::RANGES), Parts(parts) if parts.len() == limit::RANGES));
        assert_eq!(many(limit::RANGES + 1), All);
        assert_eq!(many(10_000), All);
        assert_eq!(parse_chunk("0-1023"), Some(0..1024));
        assert_eq!(parse_chunk("bytes 5-9/10"), Some(5..10));
        for header in ["9-5", "+0-4", "0-+4", "-", "0-", "0x0-4"] {
            assert_eq!(parse_chunk(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_blob(header: String, size: u64, first: u64, last: u64) {
            for header in [header, format!("bytes={first}-{last}"), format!("bytes=-{last}")] {
                if let Wanted::Part(range) = parse(Some(&header), size) {
                    prop_assert!(range.start < range.end && range.end <= size);
                }
                let _ = parse_chunk(&header);
            }
        }

        #[test]
        fn parts_have_each_wanted_byte_once(wanted in proptest::collection::vec((0u64..60, 0u64..60), 2..8)) {
            let header: Vec<String> = wanted.iter().map(|(first, last)| format!("{first}-{last}")).collect();
            let size = 50;
            let parts = match parse(Some(&format!("bytes={}", header.join(","))), size) {
                Wanted::Parts(parts) => parts,
                Wanted::Part(part) => vec![part],
                _ => Vec::new(),
            };
            for byte in 0..size {
                let asked = wanted.iter().any(|(first, last)| (*first..=*last).contains(&byte));
                let sent = parts.iter().filter(|part| part.contains(&byte)).count();
                prop_assert_eq!(sent, usize::from(asked), "{}", byte);
            }
        }
    }
}
