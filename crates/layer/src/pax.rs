/// The records of one extended header, as far as we use them (pax, POSIX.1-2001; GNU tar's
/// `GNU.sparse.*`; star's `SCHILY.xattr.*`).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link_path: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: SparseRecords,
}

/// `GNU.sparse.*`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct SparseRecords {
    pub(crate) major: Vec<u8>,
    pub(crate) minor: Vec<u8>,
    pub(crate) name: Vec<u8>,
    pub(crate) size: Vec<u8>,
    pub(crate) real_size: Vec<u8>,
    /// Numbers of the map, comma separated (0.1), or gathered from pairs of records (0.0).
    pub(crate) map: Vec<u8>,
    pairs: u64,
}

/// Reads records `LENGTH KEY=VALUE\n`. Of several records with one key the last wins; an
/// empty value leaves the header's own field (as Go's reader does).
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Pax, &'static str> {
    let mut pax = Pax::default();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or("has a malformed pax record")?;
        store(&mut pax, key, value)?;
        bytes = rest;
    }
    if pax.sparse.pairs % 2 != 0 {
        return Err("has a sparse offset without a length");
    }
    Ok(pax)
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(21).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(bytes.get(..space)?)?).ok()?;
    let line = bytes.get(space + 1..length)?;
    let line = line.strip_suffix(b"\n")?;
    let equals = line.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    Some((line.get(..equals)?, line.get(equals + 1..)?, bytes.get(length..)?))
}

fn store(pax: &mut Pax, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
    let named = || (!value.is_empty()).then(|| value.to_vec());
    let numeric = || match value {
        b"" => Ok(None),
        digits => decimal(digits).map(Some).ok_or("has a bad number in a pax record"),
    };
    match key {
        b"path" | b"linkpath" if value.contains(&0) => return Err("has a NUL in a pax path"),
        b"path" => pax.path = named(),
        b"linkpath" => pax.link_path = named(),
        b"size" => pax.size = numeric()?,
        b"uid" => pax.uid = numeric()?,
        b"gid" => pax.gid = numeric()?,
        b"GNU.sparse.major" => pax.sparse.major = value.to_vec(),
        b"GNU.sparse.minor" => pax.sparse.minor = value.to_vec(),
        b"GNU.sparse.name" => pax.sparse.name = value.to_vec(),
        b"GNU.sparse.size" => pax.sparse.size = value.to_vec(),
        b"GNU.sparse.realsize" => pax.sparse.real_size = value.to_vec(),
        b"GNU.sparse.map" => pax.sparse.map = value.to_vec(),
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
            let wants_length = pax.sparse.pairs % 2 == 1;
            if wants_length != (key == b"GNU.sparse.numbytes") || value.contains(&b',') {
                return Err("has sparse records out of order");
            }
            if pax.sparse.pairs > 0 {
                pax.sparse.map.push(b',');
            }
            pax.sparse.map.extend_from_slice(value);
            pax.sparse.pairs += 1;
        }
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                pax.xattrs.retain(|(known, _)| known != name);
                pax.xattrs.push((name.to_vec(), value.to_vec()));
                if pax.xattrs.len() > 256 {
                    return Err("has more than 256 extended attributes");
                }
            }
        }
    }
    Ok(())
}

/// Decimal digits only; at most `i64::MAX`.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    i64::try_from(value).is_ok().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let pax = parse(b"12 path=new\n12 size=100\n22 SCHILY.xattr.u.a=b\n8 path=\n").expect("pax");
        assert_eq!(pax.path, None, "an empty value leaves the header's own");
        assert_eq!(pax.size, Some(100));
        assert_eq!(pax.xattrs, vec![(b"u.a".to_vec(), b"b".to_vec())]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"11 path=new"[..],
            b"5 path=new\n",
            b"99999999999999999999 path=new\n",
            b"x path=new\n",
            b"7 =new\n",
            b"12 path=a\0b\n",
            b"12 size=1x0\n",
            b"23 GNU.sparse.offset=1\n",
            b"25 GNU.sparse.numbytes=1\n",
        ] {
            assert!(parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
