//! An OCI image layout in a tar archive: what is where. The archive is read where it lies; one that is compressed is
//! unpacked into a temporary file without a name first.

use std::{
    cell::Cell,
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt as _,
    path::Path,
};

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Algorithm, Digest};

use super::{DOCKER, INDEX, MARK, limit, unreadable};

/// A member's place in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// What an archive holds of a layout. Other members are passed over.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) blobs: HashMap<Digest, Part>,
    pub(super) index: Option<Part>,
    pub(super) mark: Option<Part>,
    /// `manifest.json`, which older archives of Docker have alone.
    docker: Option<Part>,
}

/// Opens an archive.
pub(super) fn open(path: &Path) -> Result<(File, Table), Problem> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let data = file.metadata().map_err(|error| unreadable(path, error))?;
    if !data.is_file() {
        return Err(unreadable(path, "it is not a plain file").hint("name a folder as `oci:DIR`"));
    }
    let file = unpacked(file, data.len()).map_err(|error| unreadable(path, error))?;
    let table = Table::read(&file).map_err(|error| unreadable(path, error))?;
    if table.index.is_none() && table.docker.is_some() {
        let message = format!("`{}` is an archive of an older Docker, not an OCI layout", path.display());
        return Err(Problem::new(ErrorCode::Invalid, message)
            .hint("bring it in with `docker load` and `docker push`, or save it with Docker 25 or later"));
    }
    if table.index.is_none() || table.mark.is_none() {
        let what = if table.index.is_none() { INDEX } else { MARK };
        return Err(unreadable(path, format!("it is no OCI layout: it has no `{what}`")));
    }
    Ok((file, table))
}

/// The archive itself, or what it unpacks to. Told by its first bytes, never by its name.
fn unpacked(file: File, length: u64) -> io::Result<File> {
    (&file).seek(SeekFrom::Start(0))?;
    let mut magic = [0; 4];
    let known = file.read_at(&mut magic, 0)?;
    let reader: Box<dyn Read + '_> = match magic.get(..known) {
        Some([0x1f, 0x8b, ..]) => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::new(&file))),
        Some([0x28, 0xb5, 0x2f, 0xfd]) => Box::new(zstd::stream::read::Decoder::new(&file)?),
        _ => return Ok(file),
    };
    unpack(reader, most_of(length))
}

/// How much an archive of so many bytes may unpack to.
fn most_of(length: u64) -> u64 {
    length.saturating_mul(limit::UNPACKED_RATIO).max(limit::UNPACKED_FREE_BYTES)
}

fn unpack(reader: impl Read, most: u64) -> io::Result<File> {
    let mut out = tempfile::tempfile()?;
    let copied = io::copy(&mut reader.take(most.saturating_add(1)), &mut out)?;
    if copied > most {
        return Err(io::Error::other(format!("it unpacks to more than {most} bytes")));
    }
    out.flush()?;
    out.seek(SeekFrom::Start(0))?;
    Ok(out)
}

/// The archive for who reads its headers: so many bytes between two members, and what is passed over costs none.
struct Heads<'f> {
    file: &'f File,
    left: &'f Cell<u64>,
}

impl Read for Heads<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            let message = format!("what describes a member is longer than {} bytes", limit::HEAD_BYTES);
            return Err(io::Error::other(message));
        }
        let count = self.file.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.left.set(self.left.get().saturating_sub(count as u64));
        Ok(count)
    }
}

impl Seek for Heads<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Table {
    fn read(mut file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(0))?;
        let left = Cell::new(limit::HEAD_BYTES);
        let mut archive = tar::Archive::new(Heads { file, left: &left });
        let mut entries = archive.entries_with_seek()?;
        let mut table = Self::default();
        let mut members = 0;
        loop {
            left.set(limit::HEAD_BYTES);
            let Some(entry) = entries.next() else { return Ok(table) };
            // What the reader of a first header says of anything else is noise.
            let entry = match entry {
                Err(_) if members == 0 => return Err(io::Error::other("it is no tar archive")),
                entry => entry?,
            };
            members += 1;
            if members > limit::MEMBERS {
                return Err(io::Error::other(format!("it has more than {} members", limit::MEMBERS)));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let kind = entry.header().entry_type();
            let part = Part { offset: entry.raw_file_position(), bytes: entry.size() };
            if kind.is_dir() || kind.is_pax_global_extensions() {
                continue;
            }
            if part.offset.checked_add(part.bytes).is_none_or(|end| end > length) {
                return Err(io::Error::other(format!("it is cut within `{}`", short(&name))));
            }
            table.put(&name, kind.is_file(), part)?;
        }
    }

    fn put(&mut self, name: &str, is_file: bool, part: Part) -> io::Result<()> {
        let refused = |why: &str| Err(io::Error::other(format!("`{}` {why}", short(name))));
        if name.starts_with('/') || name.split('/').any(|step| step == "..") {
            return refused("leads out of the layout");
        }
        let mut plain = name;
        while let Some(rest) = plain.strip_prefix("./") {
            plain = rest;
        }
        let slot = match plain {
            INDEX => &mut self.index,
            MARK => &mut self.mark,
            DOCKER => &mut self.docker,
            _ => return self.put_blob(plain, is_file, part),
        };
        if !is_file {
            return refused("is not a plain file");
        }
        if slot.replace(part).is_some() { refused("is there twice") } else { Ok(()) }
    }

    fn put_blob(&mut self, name: &str, is_file: bool, part: Part) -> io::Result<()> {
        let refused = |why: &str| Err(io::Error::other(format!("`{}` {why}", short(name))));
        let Some(rest) = name.strip_prefix("blobs/") else { return Ok(()) };
        if !is_file {
            return refused("is not a plain file");
        }
        let Some(digest) = digest_of(rest) else { return Ok(()) };
        match self.blobs.entry(digest) {
            Entry::Occupied(_) => refused("is there twice"),
            Entry::Vacant(slot) => {
                slot.insert(part);
                Ok(())
            }
        }
    }
}

/// `sha256/9c1e…`
fn digest_of(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.split_once('/')?;
    let algorithm: Algorithm = algorithm.parse().ok()?;
    format!("{}:{hex}", algorithm.name()).parse().ok()
}

/// Longest name of a member that is told, in characters.
const NAME_CHARACTERS: usize = 160;

fn short(name: &str) -> String {
    name.chars().take(NAME_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use tar::{Builder, EntryType, Header};

    use super::*;

    type Member<'m> = (&'m str, EntryType, &'m [u8]);

    fn archive(members: &[Member<'_>]) -> File {
        let mut out = Builder::new(tempfile::tempfile().unwrap());
        for (name, kind, bytes) in members {
            let mut header = Header::new_gnu();
            // As others write them: the builder itself would refuse some of these names.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            out.append(&header, *bytes).unwrap();
        }
        out.into_inner().unwrap()
    }

    fn read(members: &[Member<'_>]) -> Result<Table, String> {
        Table::read(&archive(members)).map_err(|error| error.to_string())
    }

    const FILE: EntryType = EntryType::Regular;

    #[test]
    fn members_are_where_their_bytes_are() {
        let blob = super::super::blob_name(&Digest::sha256(b"abc"));
        let file = archive(&[
            ("./oci-layout", FILE, b"{}"),
            ("blobs", EntryType::Directory, b""),
            (&blob, FILE, b"abc"),
            ("blobs/other/00", FILE, b"?"),
            ("readme", EntryType::Symlink, b""),
            ("index.json", FILE, b"[]"),
        ]);
        let table = Table::read(&file).unwrap();
        let at = |part: Part| {
            let mut bytes = vec![0; usize::try_from(part.bytes).unwrap()];
            file.read_exact_at(&mut bytes, part.offset).unwrap();
            bytes
        };
        assert_eq!(at(table.mark.unwrap()), b"{}");
        assert_eq!(at(table.index.unwrap()), b"[]");
        assert_eq!(at(table.blobs[&Digest::sha256(b"abc")]), b"abc");
        assert_eq!(table.blobs.len(), 1);
    }

    #[test]
    fn what_leads_elsewhere_or_stands_twice_is_refused() {
        let blob = super::super::blob_name(&Digest::sha256(b"abc"));
        for (members, says) in [
            (&[("../index.json", FILE, &b"x"[..])][..], "leads out"),
            (&[("blobs/../../x", FILE, b"x")], "leads out"),
            (&[("/etc/passwd", FILE, b"x")], "leads out"),
            (&[(&blob, EntryType::Symlink, b"")], "not a plain file"),
            (&[(&blob, EntryType::Link, b"")], "not a plain file"),
            (&[("index.json", EntryType::Symlink, b"")], "not a plain file"),
            (&[("./index.json", FILE, b"a"), ("index.json", FILE, b"b")], "twice"),
            (&[(&blob, FILE, b"abc"), (&blob, FILE, b"abc")], "twice"),
        ] {
            let error = read(members).expect_err(says);
            assert!(error.contains(says), "{members:?}: {error}");
        }
    }

    #[test]
    fn a_cut_archive_is_refused_or_whole() {
        let blob = super::super::blob_name(&Digest::sha256(b"abc"));
        let mut whole = Vec::new();
        let mut file = archive(&[(&blob, FILE, &[7; 2_000]), ("index.json", FILE, b"[]")]);
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut whole).unwrap();
        for end in 0..whole.len() {
            let mut cut = tempfile::tempfile().unwrap();
            cut.write_all(&whole[..end]).unwrap();
            let Ok(table) = Table::read(&cut) else { continue };
            // The blob's bytes end at 512 + 2,000.
            assert!(table.blobs.is_empty() || end >= 2_512, "{end}");
        }
    }

    #[test]
    fn numbers_and_headers_are_bounded() {
        let names: Vec<String> = (0..=limit::MEMBERS).map(|number| format!("m{number}")).collect();
        let members: Vec<Member<'_>> = names.iter().map(|name| (name.as_str(), FILE, &b""[..])).collect();
        assert!(read(&members[1..]).is_ok());
        assert!(read(&members).unwrap_err().contains("members"));

        // A long name takes a header of its own, its bytes, and the member's header.
        let most = usize::try_from(limit::HEAD_BYTES).unwrap();
        for (length, is_fine) in [(most - 2 * 512, true), (most - 2 * 512 + 1, false)] {
            let long = vec![b'n'; length];
            let members = [("././@LongLink", EntryType::GNULongName, &long[..]), ("n", FILE, b"")];
            assert_eq!(read(&members).is_ok(), is_fine, "{length}");
        }
    }

    #[test]
    fn what_is_compressed_is_unpacked_within_bounds() {
        let file = archive(&[("index.json", FILE, b"[]")]);
        let mut plain = Vec::new();
        (&file).seek(SeekFrom::Start(0)).unwrap();
        (&file).read_to_end(&mut plain).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for packed in [plain.clone(), gzip.finish().unwrap(), zstd] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&packed).unwrap();
            let table = Table::read(&unpacked(file, packed.len() as u64).unwrap()).unwrap();
            assert!(table.index.is_some());
        }
        assert!(unpack(io::repeat(0).take(9), 9).is_ok());
        assert!(unpack(io::repeat(0).take(10), 9).unwrap_err().to_string().contains("more than 9"));
        // What is free is free whatever the ratio; past it the ratio counts.
        let free = limit::UNPACKED_FREE_BYTES;
        let last = free / limit::UNPACKED_RATIO;
        assert_eq!((most_of(0), most_of(last)), (free, free));
        assert_eq!(most_of(last + 1), (last + 1) * limit::UNPACKED_RATIO);
    }
}
