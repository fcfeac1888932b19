//! The little of tar that feeds need: regular files with their names, sizes and dates (POSIX ustar
//! and pax, GNU long names). Everything else in an archive is passed over.

use std::io::{self, Read, Write};

use crate::limit;

const BLOCK: usize = 512;

/// One regular file of an archive; its bytes are read from the archive next.
pub(crate) struct Member {
    pub(crate) path: String,
    /// Modification time, seconds since the epoch; 0 when absent.
    pub(crate) modified_seconds: u64,
}

/// Iterates over an archive that is read once, front to back.
pub(crate) struct Tar<R> {
    inner: R,
    /// Bytes of the current member, padding included, not yet read.
    left: u64,
    padding: u64,
}

impl<R: Read> Tar<R> {
    pub(crate) const fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0 }
    }

    /// The next regular file; what is left of the one before is passed over.
    pub(crate) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut long_name = None;
        let mut pax = Pax::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let field = |from: usize, to: usize| header.get(from..to).unwrap_or_default();
            let kind = field(156, 157).first().copied().unwrap_or(b'0');
            let own_size = number(field(124, 136)).ok_or_else(|| broken("a size is no number"))?;
            let size = if matches!(kind, b'x' | b'g' | b'L' | b'K') {
                own_size
            } else {
                pax.size.unwrap_or(own_size)
            };
            self.left = size;
            self.padding = size.next_multiple_of(BLOCK as u64) - size;
            match kind {
                b'L' => {
                    let name = self.extension()?;
                    long_name = Some(text(name.split(|byte| *byte == 0).next().unwrap_or_default()));
                }
                b'x' => pax = Pax::parse(&self.extension()?),
                0 | b'0' | b'7' => {
                    let modified_seconds = number(field(136, 148)).unwrap_or(0);
                    let path =
                        pax.path.take().or_else(|| long_name.take()).unwrap_or_else(|| ustar_path(&header));
                    if path.len() > limit::PATH_BYTES {
                        return Err(broken("a name is too long"));
                    }
                    return Ok(Some(Member { path, modified_seconds }));
                }
                // Attributes of the next member are used up by it, whatever it is.
                _ => (long_name, pax) = (None, Pax::default()),
            }
        }
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.left + self.padding;
        let skipped = io::copy(&mut (&mut self.inner).take(rest), &mut io::sink())?;
        (self.left, self.padding) = (0, 0);
        if skipped == rest { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The next header block; `None` at the end of the archive. An archive that just stops is cut
    /// off: the end is two zero blocks.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut header = [0; BLOCK];
        self.inner.read_exact(&mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let stored = header.get(148..156).and_then(number);
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
            .sum();
        if stored == Some(sum) {
            Ok(Some(header))
        } else {
            Err(broken("a header does not match its checksum"))
        }
    }

    fn extension(&mut self) -> io::Result<Vec<u8>> {
        if self.left > 4 * limit::PATH_BYTES as u64 {
            return Err(broken("an extended header is too large"));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for Tar<R> {
    /// Reads from the current member.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            // Decompressors take a read into nothing for a lack of progress.
            return Ok(0);
        }
        let read = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// True for the first block of a tar archive.
pub(crate) fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// Writes one file in the form that a folder takes on its way into [`crate::feed_reader`].
///
/// `size` bytes are taken from `content`; a shorter content is an error.
pub fn append_file(out: &mut dyn Write, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
    if path.len() > limit::PATH_BYTES {
        return Err(broken("a name is too long"));
    }
    // Always as a GNU long name: one form, no splitting.
    let name = [path.as_bytes(), &[0]].concat();
    append(out, b'L', name.len() as u64, &mut name.as_slice())?;
    append(out, b'0', size, content)
}

/// Ends the archive that [`append_file`] wrote.
pub fn finish(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn append(out: &mut dyn Write, kind: u8, size: u64, content: &mut dyn Read) -> io::Result<()> {
    let size_field =
        if size < 1 << 33 { format!("{size:011o}\0") } else { return Err(broken("a file is too large")) };
    let parts: [(&[u8], usize); 7] = [
        (b"feed", 100),
        (b"0000644", 24),
        (size_field.as_bytes(), 12),
        (b"00000000000\0", 12),
        (b"        ", 8),
        (&[kind], 101),
        (b"ustar\x0000", 255),
    ];
    let mut header = Vec::with_capacity(BLOCK);
    for (bytes, width) in parts {
        let end = header.len() + width;
        header.extend_from_slice(bytes);
        header.resize(end, 0);
    }
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    if let Some(field) = header.get_mut(148..156) {
        field.copy_from_slice(sum.as_bytes());
    }
    out.write_all(&header)?;
    if io::copy(&mut content.take(size), out)? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let padding = usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0);
    out.write_all([0; BLOCK].get(..padding).unwrap_or_default())
}

#[derive(Default)]
struct Pax {
    path: Option<String>,
    size: Option<u64>,
}

impl Pax {
    /// Records are `length key=value\n`, the length counting itself.
    fn parse(mut records: &[u8]) -> Self {
        let mut pax = Self::default();
        while let Some(space) = records.iter().position(|byte| *byte == b' ') {
            let length =
                records.get(..space).and_then(|digits| str::from_utf8(digits).ok()?.parse::<usize>().ok());
            let Some((record, rest)) = length.and_then(|length| records.split_at_checked(length)) else {
                break;
            };
            let record = record.get(space + 1..).unwrap_or_default();
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            if let Some(path) = record.strip_prefix(b"path=") {
                pax.path = Some(text(path));
            } else if let Some(size) = record.strip_prefix(b"size=") {
                pax.size = str::from_utf8(size).ok().and_then(|size| size.parse().ok());
            }
            records = rest;
        }
        pax
    }
}

fn ustar_path(header: &[u8; BLOCK]) -> String {
    let field = |from: usize, to: usize| {
        let bytes = header.get(from..to).unwrap_or_default();
        text(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
    };
    let (name, prefix) = (field(0, 100), field(345, 500));
    if prefix.is_empty() || header.get(257..263) != Some(b"ustar\0") {
        name
    } else {
        format!("{prefix}/{name}")
    }
}

/// Octal text, or GNU base-256 when the first bit is set. Bounded so that sums cannot overflow.
fn number(field: &[u8]) -> Option<u64> {
    let value = if let Some((0x80, rest)) = field.split_first() {
        rest.iter().try_fold(0_u64, |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte)))?
    } else {
        let digits = str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
        if digits.is_empty() { 0 } else { u64::from_str_radix(digits, 8).ok()? }
    };
    (value < 1 << 62).then_some(value)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, content) in files {
            append_file(&mut out, path, content.len() as u64, &mut &**content).unwrap();
        }
        finish(&mut out).unwrap();
        out
    }

    fn list(bytes: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut tar = Tar::new(bytes);
        let mut files = Vec::new();
        while let Some(member) = tar.next()? {
            let mut content = Vec::new();
            tar.read_to_end(&mut content)?;
            files.push((member.path, content));
        }
        Ok(files)
    }

    #[test]
    fn what_is_written_is_read() {
        let long = format!("{}/x.json", "d".repeat(300));
        let block = [7; BLOCK];
        let files: [(&str, &[u8]); 4] = [("a.json", b"{}"), (&long, b""), ("é", &block), ("b", &block[1..])];
        let read = list(&archive(&files)).unwrap();
        assert_eq!(read, files.map(|(path, content)| (path.to_owned(), content.to_vec())));
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = archive(&[("a.json", b"{}"), ("b.json", b"[1]")]);
        for cut in 0..whole.len() - BLOCK {
            // Nothing but the second zero block may be missing.
            assert!(list(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_header_is_noticed() {
        let whole = archive(&[("a.json", b"{}")]);
        let mut broken = whole.clone();
        broken[124] ^= 1;
        assert!(list(&whole).is_ok() && list(&broken).is_err());
    }

    #[test]
    fn names_are_bounded() {
        let name = |bytes: usize| append_file(&mut Vec::new(), &"n".repeat(bytes), 0, &mut io::empty());
        assert!(name(limit::PATH_BYTES).is_ok() && name(limit::PATH_BYTES + 1).is_err());
        assert_eq!(list(&archive(&[(&"n".repeat(limit::PATH_BYTES), b"")])).unwrap().len(), 1);
    }
}
