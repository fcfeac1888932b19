/// One tar block.
pub(crate) const BLOCK: usize = 512;

/// What a header block states, before pax records and GNU long names are laid over it.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) type_flag: u8,
    pub(crate) mode: u64,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) size: u64,
}

/// Reads a header block; the error says what is wrong with it.
///
/// Dialects as Go's `archive/tar` tells them apart: `ustar\0` (with `tar\0` at the end: star),
/// `ustar  \0` (GNU, no prefix), anything else is v7.
pub(crate) fn parse(block: &[u8; BLOCK]) -> Result<Header, &'static str> {
    check_sum(block)?;
    let mut header = Header {
        name: text(field(block, 0, 100)).to_vec(),
        link: text(field(block, 157, 100)).to_vec(),
        type_flag: block.get(156).copied().unwrap_or_default(),
        mode: number(field(block, 100, 8)).ok_or("has a bad mode")?,
        uid: number(field(block, 108, 8)).ok_or("has a bad uid")?,
        gid: number(field(block, 116, 8)).ok_or("has a bad gid")?,
        size: number(field(block, 124, 12)).ok_or("has a bad size")?,
    };
    if !is_time(field(block, 136, 12)) {
        return Err("has a bad time");
    }
    let prefix: &[u8] = if field(block, 257, 6) == b"ustar\0" {
        let star = field(block, 508, 4) == b"tar\0";
        text(field(block, 345, if star { 131 } else { 155 }))
    } else if field(block, 257, 8) == b"ustar  \0" {
        gnu_prefix(block)
    } else {
        b""
    };
    if !prefix.is_empty() {
        let mut name = prefix.to_vec();
        name.push(b'/');
        name.append(&mut header.name);
        header.name = name;
    }
    Ok(header)
}

/// True for a block of zeros.
pub(crate) fn is_zero(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Entries of the GNU header's own sparse map, its real size, and whether more blocks follow.
pub(crate) fn old_sparse(block: &[u8; BLOCK]) -> (&[u8], Option<u64>, bool) {
    (field(block, 386, 96), number(field(block, 483, 12)), block.get(482).is_some_and(|flag| *flag != 0))
}

/// Entries of a GNU sparse extension block, and whether more blocks follow.
pub(crate) fn more_sparse(block: &[u8; BLOCK]) -> (&[u8], bool) {
    (field(block, 0, 504), block.get(504).is_some_and(|flag| *flag != 0))
}

/// A numeric field: base-256 when its first bit is set, else octal text that may be padded
/// with spaces and NULs; empty is 0. Negative and overlong numbers are refused.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    if let Some(first) = field.first()
        && first & 0x80 != 0
    {
        if first & 0x40 != 0 {
            return None;
        }
        let mut value = u64::from(first & 0x3f);
        for byte in field.iter().skip(1) {
            value = value.checked_mul(256)?.checked_add(u64::from(*byte))?;
        }
        return i64::try_from(value).is_ok().then_some(value);
    }
    let padding = |byte: &u8| *byte == b' ' || *byte == 0;
    let begin = field.iter().position(|byte| !padding(byte)).unwrap_or(field.len());
    let digits = text(field.get(begin..)?);
    let end = digits.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    let mut value = 0u64;
    for digit in digits.get(..end)? {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))?;
    }
    i64::try_from(value).is_ok().then_some(value)
}

/// Go before 1.8 wrote GNU headers with a prefix where the times belong; readers still take
/// the prefix when the times are no numbers. Runtimes do, so we must, or a path could hide.
fn gnu_prefix(block: &[u8; BLOCK]) -> &[u8] {
    let bad = |field: &[u8]| field.first().is_some_and(|first| *first != 0) && !is_time(field);
    if bad(field(block, 345, 12)) || bad(field(block, 357, 12)) {
        let prefix = text(field(block, 345, 155));
        if prefix.is_ascii() {
            return prefix;
        }
    }
    b""
}

/// Times may be negative in base-256.
fn is_time(field: &[u8]) -> bool {
    field.first().is_some_and(|first| first & 0x80 != 0) || number(field).is_some()
}

/// POSIX sums unsigned bytes; some old writers summed signed ones. The sum counts its own
/// field as spaces.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), &'static str> {
    let stated = number(field(block, 148, 8)).ok_or("has a bad header checksum")?;
    let (mut unsigned, mut signed) = (0u64, 0i64);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += u64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    if stated == unsigned || i64::try_from(stated).is_ok_and(|stated| stated == signed) {
        Ok(())
    } else {
        Err("has a wrong header checksum")
    }
}

/// Up to the first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn field(block: &[u8; BLOCK], start: usize, length: usize) -> &[u8] {
    block.get(start..start + length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"", Some(0)),
            (b"0000008\0", None),
            (b"-1", None),
            (b"\x80\x00\x00\x01\x00", Some(256)),
            (b"\xff\xff\xff\xff", None),
            (b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"777777777777777777777777", None),
            (b"12\x0034", Some(0o12)),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }
}
