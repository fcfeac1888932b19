use std::{cmp::Ordering, fmt};

use crate::VersionError;

/// A version as dpkg reads it: `[epoch:]upstream[-revision]` (Debian Policy §5.6.12,
/// deb-version(7)), borrowed from its text.
///
/// Accepted is what `dpkg --validate-version` accepts, white space around it included,
/// except a sign in front of the epoch, which Policy's "unsigned integer" excludes.
///
/// Two versions are equal when neither is newer: `1.0`, `0:1.0`, `1.0-0` and `1.00` all are.
#[derive(Clone, Copy, Debug)]
pub struct DebVersion<'a> {
    epoch: u32,
    upstream: &'a str,
    revision: &'a str,
    text: &'a str,
}

impl<'a> DebVersion<'a> {
    /// Parses a version; the epoch ends at the first colon, the revision starts after the last hyphen.
    pub fn parse(text: &'a str) -> Result<Self, VersionError> {
        let text = text.trim_ascii();
        if text.is_empty() {
            return Err(VersionError::Empty);
        }
        if text.bytes().any(|byte| byte.is_ascii_whitespace() || byte == 0x0b) {
            return Err(VersionError::Space);
        }
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (parse_epoch(epoch)?, rest),
            None => (0, text),
        };
        let (upstream, revision) = match rest.rsplit_once('-') {
            Some((_, "")) => return Err(VersionError::RevisionEmpty),
            Some((upstream, revision)) => (upstream, revision),
            None => (rest, ""),
        };
        match upstream.bytes().next() {
            None => return Err(VersionError::UpstreamEmpty),
            Some(first) if !first.is_ascii_digit() => return Err(VersionError::UpstreamNotDigit),
            Some(_) => {}
        }
        check_characters(upstream, ".-+~:", "upstream version")?;
        check_characters(revision, ".+~", "revision")?;
        Ok(Self { epoch, upstream, revision, text })
    }

    /// The epoch, 0 when absent.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The upstream part.
    pub const fn upstream(&self) -> &'a str {
        self.upstream
    }

    /// The revision; empty when absent, which equals `0`.
    pub const fn revision(&self) -> &'a str {
        self.revision
    }

    /// The text, without white space around it.
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// Bytes whose lexical order is the order of versions.
    pub fn sort_key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.text.len() + 16);
        key.extend_from_slice(&self.epoch.to_be_bytes());
        push_part(&mut key, self.upstream.as_bytes());
        push_part(&mut key, self.revision.as_bytes());
        key
    }
}

impl fmt::Display for DebVersion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text)
    }
}

impl Ord for DebVersion<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_part(self.upstream.as_bytes(), other.upstream.as_bytes()))
            .then_with(|| compare_part(self.revision.as_bytes(), other.revision.as_bytes()))
    }
}

impl PartialOrd for DebVersion<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for DebVersion<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for DebVersion<'_> {}

fn parse_epoch(digits: &str) -> Result<u32, VersionError> {
    if digits.is_empty() {
        return Err(VersionError::EpochEmpty);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(VersionError::EpochNotNumber);
    }
    // All digits, so the only way to fail is size.
    let epoch: u32 = digits.parse().map_err(|_| VersionError::EpochTooBig)?;
    if i32::try_from(epoch).is_err() { Err(VersionError::EpochTooBig) } else { Ok(epoch) }
}

fn check_characters(part: &str, extra: &str, name: &'static str) -> Result<(), VersionError> {
    match part.chars().find(|c| !c.is_ascii_alphanumeric() && !extra.contains(*c)) {
        Some(character) => Err(VersionError::Character { part: name, character }),
        None => Ok(()),
    }
}

/// Order of one character outside digit runs: `~`, then the end, then letters, then the rest.
/// The values are also the bytes of a sort key.
const fn rank(character: u8) -> u8 {
    match character {
        b'~' => 1,
        b'A'..=b'Z' | b'a'..=b'z' => character,
        other => other | 0x80,
    }
}

/// Rank of "no character here": a digit run begins, or the text is over.
const END: u8 = 2;

/// Takes the leading run that satisfies `wanted` off `rest`.
fn take_run<'a>(rest: &mut &'a [u8], wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
    let length = rest.iter().position(|byte| !wanted(byte)).unwrap_or(rest.len());
    let (run, tail) = rest.split_at(length);
    *rest = tail;
    run
}

/// A digit run as a number: leading zeros carry nothing.
fn take_number<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    take_run(rest, |byte| *byte == b'0');
    take_run(rest, u8::is_ascii_digit)
}

fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let words = (take_run(&mut a, |c| !c.is_ascii_digit()), take_run(&mut b, |c| !c.is_ascii_digit()));
        let ranked = |word: &[u8]| word.iter().map(|c| rank(*c)).chain([END]).collect::<Vec<_>>();
        // The words are nearly always equal and short; only differing ones are ranked.
        if words.0 != words.1 {
            return ranked(words.0).cmp(&ranked(words.1));
        }
        let numbers = (take_number(&mut a), take_number(&mut b));
        let order = numbers.0.len().cmp(&numbers.1.len()).then_with(|| numbers.0.cmp(numbers.1));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Appends a part: (word, END, digit count, digits) pairs, then END. A missing number counts as 0,
/// so that `a` and `a0` get equal keys; END behind a number sorts between `~` and everything else.
fn push_part(key: &mut Vec<u8>, mut part: &[u8]) {
    loop {
        key.extend(take_run(&mut part, |c| !c.is_ascii_digit()).iter().map(|c| rank(*c)));
        key.push(END);
        let number = take_number(&mut part);
        match u8::try_from(number.len()) {
            Ok(count) if count < u8::MAX => key.push(count),
            _ => {
                key.push(u8::MAX);
                key.extend_from_slice(&(number.len() as u64).to_be_bytes());
            }
        }
        key.extend_from_slice(number);
        if part.is_empty() {
            key.push(END);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(a: &str, b: &str) -> Ordering {
        DebVersion::parse(a).unwrap().cmp(&DebVersion::parse(b).unwrap())
    }

    #[test]
    fn known_orders() {
        // Every text is older than all that follow it: Debian Policy's own list and versions of the field.
        let ascending = [
            "0~",
            "0",
            "0.1~~",
            "0.1~~a",
            "0.1~",
            "0.1",
            "0.1a",
            "0.1+b1",
            "0.1.1",
            "1.0~rc1-1",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb12u1",
            "1.0-1+deb12u2",
            "1.0-1+deb12u10",
            "1.0-2",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.0.99999999999999999999999-1",
            "1.0.100000000000000000000000-1",
            "2.5.0-1",
            "2.5.0-1+deb12u1",
            "2.5.1-0.1",
            "1:1.3.dfsg+really1.3.1-1+deb12u1",
            "1:1.3.dfsg+really1.3.1-1+deb13u1",
            "2:0",
            "8:6.9.11.60+dfsg-1.6+deb12u15",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(order(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn equal_spellings() {
        for (a, b) in [
            ("1.0", "0:1.0"),
            ("1.0", "1.0-0"),
            ("1.00", "1.0"),
            ("1.a", "1.a0"),
            ("1-a", "1-a0"),
            ("1", " 1\n"),
        ] {
            assert_eq!(order(a, b), Ordering::Equal, "{a} {b}");
            assert_eq!(
                DebVersion::parse(a).unwrap().sort_key(),
                DebVersion::parse(b).unwrap().sort_key(),
                "{a} {b}"
            );
        }
    }

    #[test]
    fn invalid_versions_name_their_fault() {
        use VersionError as E;
        for (text, fault) in [
            ("", E::Empty),
            (" \t", E::Empty),
            ("1 2", E::Space),
            (":1", E::EpochEmpty),
            ("x:1", E::EpochNotNumber),
            ("-1:1", E::EpochNotNumber),
            ("+1:1", E::EpochNotNumber),
            ("2147483648:1", E::EpochTooBig),
            ("99999999999999999999:1", E::EpochTooBig),
            ("1:", E::UpstreamEmpty),
            ("-1", E::UpstreamEmpty),
            ("1:-1", E::UpstreamEmpty),
            ("v1", E::UpstreamNotDigit),
            ("latest", E::UpstreamNotDigit),
            ("1-", E::RevisionEmpty),
            ("1_2", E::Character { part: "upstream version", character: '_' }),
            ("1-2:3", E::EpochNotNumber),
            ("0:1-2:3", E::Character { part: "revision", character: ':' }),
            ("1é", E::Character { part: "upstream version", character: 'é' }),
        ] {
            assert_eq!(DebVersion::parse(text).unwrap_err(), fault, "{text:?}");
        }
        assert!(DebVersion::parse("2147483647:1").is_ok());
        assert!(DebVersion::parse("1:2:3-4").is_ok());
    }

    #[test]
    fn long_numbers_do_not_overflow() {
        let big = |n: usize| format!("1.{}", "9".repeat(n));
        for n in [1, 19, 20, 254, 255, 256, 70_000] {
            assert_eq!(order(&big(n), &big(n + 1)), Ordering::Less);
            let keys = (
                DebVersion::parse(&big(n)).unwrap().sort_key(),
                DebVersion::parse(&big(n + 1)).unwrap().sort_key(),
            );
            assert!(keys.0 < keys.1, "{n}");
        }
    }

    /// Few letters, so that generated versions share prefixes and meet the interesting ties.
    fn version() -> impl Strategy<Value = String> {
        "([0-2]:)?[0-2][0a1.~+-]{0,8}[0-9az](-[01.~+ab]{1,6})?"
    }

    proptest! {
        #[test]
        fn keys_order_like_versions(a in version(), b in version()) {
            let (Ok(a), Ok(b)) = (DebVersion::parse(&a), DebVersion::parse(&b)) else { return Ok(()) };
            prop_assert_eq!(a.sort_key().cmp(&b.sort_key()), a.cmp(&b));
        }

        #[test]
        fn order_is_total(a in version(), b in version(), c in version()) {
            let (Ok(a), Ok(b), Ok(c)) = (DebVersion::parse(&a), DebVersion::parse(&b), DebVersion::parse(&c)) else { return Ok(()) };
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }

        #[test]
        fn any_text_is_judged(text in ".{0,24}") {
            if let Ok(version) = DebVersion::parse(&text) {
                prop_assert_eq!(version.cmp(&version), Ordering::Equal);
            }
        }
    }
}
