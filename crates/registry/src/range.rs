use std::ops::Range;

/// What a `Range` header asks of `size` bytes (RFC 9110 §14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No range, or one this server ignores: everything.
    All,
    /// One range.
    Part(Range<u64>),
    /// Nothing of it exists: 416.
    Unsatisfiable,
}

/// Reads a `Range` header. Several ranges at once are answered with everything, as the RFC allows.
pub(crate) fn parse(header: Option<&str>, size: u64) -> Wanted {
    let Some(spec) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Wanted::All;
    };
    if spec.contains(',') {
        return Wanted::All;
    }
    let Some((first, last)) = spec.trim().split_once('-') else { return Wanted::All };
    let number = |text: &str| text.trim().parse::<u64>();
    let range = match (first.trim(), last.trim()) {
        ("", "") => return Wanted::All,
        ("", suffix) => match number(suffix) {
            Ok(length) => size.saturating_sub(length)..size,
            Err(_) => return Wanted::All,
        },
        (first, "") => match number(first) {
            Ok(first) => first..size,
            Err(_) => return Wanted::All,
        },
        (first, last) => match (number(first), number(last)) {
            (Ok(first), Ok(last)) => first..last.saturating_add(1).min(size),
            _ => return Wanted::All,
        },
    };
    if range.start >= range.end { Wanted::Unsatisfiable } else { Wanted::Part(range) }
}

/// Reads the `Content-Range` of a chunk, `0-1023` (distribution spec, "Pushing a blob in chunks");
/// `None` when it is not one.
pub(crate) fn parse_chunk(header: &str) -> Option<Range<u64>> {
    let text = header.trim().strip_prefix("bytes ").unwrap_or(header.trim());
    let text = text.split('/').next()?;
    let (first, last) = text.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then(|| first..last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges() {
        use Wanted::{All, Part, Unsatisfiable};
        for (header, expected) in [
            ("bytes=0-4", Part(0..5)),
            ("bytes=5-", Part(5..10)),
            ("bytes=-3", Part(7..10)),
            ("bytes=-30", Part(0..10)),
            ("bytes=9-100", Part(9..10)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=500-0", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-1,3-4", All),
            ("bytes=-", All),
            ("bytes=a-b", All),
            ("items=0-4", All),
        ] {
            assert_eq!(parse(Some(header), 10), expected, "{header}");
        }
        assert_eq!(parse(None, 10), All);
        assert_eq!(parse_chunk("0-1023"), Some(0..1024));
        assert_eq!(parse_chunk("bytes 5-9/10"), Some(5..10));
        assert_eq!(parse_chunk("9-5"), None);
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
    }
}
