//! From files and archives to drafts: unpacking, recognising, choosing the newest.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
};

use seaworthy_model::Timestamp;

use crate::{
    ImportError, Skipped, Warnings, catalogue,
    document::{self, Document, Format},
    draft::Draft,
    limit,
    osv::Osv,
    tar::{Tar, is_tar},
    tracker,
};

/// The feed that single OSV files add to.
pub(crate) const LOCAL: &str = "local";

/// Everything that was read so far, one draft for each feed.
#[derive(Default)]
pub(crate) struct Collector {
    /// With the path that each came from.
    pub(crate) feeds: BTreeMap<String, (String, Draft)>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) skipped_more: u64,
    pub(crate) warnings: Warnings,
    pub(crate) not_covered: BTreeMap<String, u64>,
}

/// How a file reached us.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Named by the caller.
    Alone,
    /// In a folder that the caller named.
    Folder,
    /// In an archive.
    Archive,
}

/// A file on its way in.
struct Item<'a> {
    path: &'a str,
    bytes: &'a mut dyn Read,
    /// Modification date from the archive, `2026-08-21`.
    date: Option<&'a str>,
    /// How many wrappings were taken off.
    depth: usize,
}

/// What is around a file's content, by its first bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrapping {
    Zstd,
    Gzip,
    Zip,
    Tar,
    None,
}

impl Wrapping {
    fn of(head: &[u8]) -> Self {
        match head {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x1f, 0x8b, ..] => Self::Gzip,
            // The second is the end record of an archive without files.
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            _ if is_tar(head) => Self::Tar,
            _ => Self::None,
        }
    }
}

/// Where OSV records go: those of one folder or archive are one feed.
struct Unit<'a> {
    place: Place,
    osv: &'a mut Osv,
}

impl Collector {
    /// A file that the caller names: a feed, an archive of feeds, or OSV records for the feed `local`.
    pub(crate) fn file(&mut self, path: &str, bytes: &mut dyn Read) -> Result<(), ImportError> {
        let mut osv = Osv::default();
        let item = Item { path, bytes, date: None, depth: 0 };
        self.any(item, &mut Unit { place: Place::Alone, osv: &mut osv })?;
        self.finish_osv(path, osv, Some(LOCAL));
        Ok(())
    }

    /// A folder, as a tar of its files: archives in it are feeds of their own, its OSV files are one feed.
    pub(crate) fn folder(&mut self, path: &str, bytes: &mut dyn Read) -> Result<(), ImportError> {
        let mut osv = Osv::default();
        let item = Item { path, bytes, date: None, depth: 0 };
        self.tar(item, &mut Unit { place: Place::Folder, osv: &mut osv })?;
        self.finish_osv(path, osv, None);
        Ok(())
    }

    fn any(&mut self, item: Item<'_>, unit: &mut Unit<'_>) -> Result<(), ImportError> {
        let Item { path, bytes, date, depth } = item;
        if depth > limit::NESTING {
            return Err(ImportError::too_large(path, limit::NESTING as u64, "wrappings"));
        }
        let mut head = Vec::with_capacity(512);
        let damage = (&mut *bytes).take(512).read_to_end(&mut head).err();
        let wrapping = Wrapping::of(&head);
        if let Some(source) = damage {
            // Damage to what would be passed over anyway hides nothing.
            let other = !head.is_empty() && wrapping == Wrapping::None && !document::may_be_feed(&head);
            if !other || unit.place == Place::Alone {
                return Err(read_error(path, source));
            }
            self.skip(path, "damaged, and not a format that is recognised".to_owned());
            return Ok(());
        }
        let mut whole = head.as_slice().chain(bytes);
        if matches!(wrapping, Wrapping::Zip | Wrapping::Tar) && unit.place == Place::Archive {
            self.skip(path, "an archive inside an archive".to_owned());
            return Ok(());
        }
        let depth = depth + 1;
        match wrapping {
            Wrapping::Zstd => {
                let counted = Counted::new(&mut whole);
                let count = counted.count.clone();
                let plain = zstd::Decoder::new(counted).map_err(|source| read_error(path, source))?;
                self.any(Item { path, bytes: &mut Bounded::new(plain, count), date, depth }, unit)
            }
            Wrapping::Gzip => {
                let counted = Counted::new(&mut whole);
                let count = counted.count.clone();
                let plain = flate2::read::MultiGzDecoder::new(counted);
                self.any(Item { path, bytes: &mut Bounded::new(plain, count), date, depth }, unit)
            }
            Wrapping::Zip => self.archive(Item { path, bytes: &mut whole, date, depth }, Self::zip),
            Wrapping::Tar => self.archive(Item { path, bytes: &mut whole, date, depth }, Self::tar),
            Wrapping::None if document::may_be_feed(&head) => {
                self.plain(Item { path, bytes: &mut whole, date, depth }, unit)
            }
            Wrapping::None => {
                self.skip(path, "not a format that is recognised".to_owned());
                Ok(())
            }
        }
    }

    fn archive(
        &mut self,
        item: Item<'_>,
        read: fn(&mut Self, Item<'_>, &mut Unit<'_>) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let (mut osv, path) = (Osv::default(), item.path);
        read(self, item, &mut Unit { place: Place::Archive, osv: &mut osv })?;
        self.finish_osv(path, osv, None);
        Ok(())
    }

    fn tar(&mut self, item: Item<'_>, unit: &mut Unit<'_>) -> Result<(), ImportError> {
        let Item { path, bytes, depth, .. } = item;
        let mut tar = Tar::new(bytes);
        for count in 0.. {
            let Some(member) = tar.next().map_err(|source| read_error(path, source))? else { break };
            check_count(path, count)?;
            let separator = if unit.place == Place::Folder { "/" } else { "!" };
            let name = format!("{path}{separator}{}", printable(&member.path));
            let date =
                i64::try_from(member.modified_seconds).ok().filter(|seconds| (1..1 << 36).contains(seconds));
            let date = date.map(|seconds| Timestamp::from_seconds(seconds).date());
            self.any(Item { path: &name, bytes: &mut tar, date: date.as_deref(), depth }, unit)?;
        }
        Ok(())
    }

    fn zip(&mut self, item: Item<'_>, unit: &mut Unit<'_>) -> Result<(), ImportError> {
        let Item { path, bytes, depth, .. } = item;
        let archive_error =
            |e: zip::result::ZipError| ImportError::Archive { path: path.to_owned(), reason: e.to_string() };
        let packed = read_whole(path, bytes, limit::MEMBER_BYTES)?;
        let mut unpacked = 0;
        let mut zip = zip::ZipArchive::new(Cursor::new(packed.as_slice())).map_err(archive_error)?;
        check_count(path, zip.len().saturating_sub(1))?;
        for index in 0..zip.len() {
            let file = zip.by_index(index).map_err(archive_error)?;
            if !file.is_file() {
                continue;
            }
            let name = format!("{path}!{}", printable(&file.name().map_err(archive_error)?));
            // Ratio and total hold for the archive as a whole: what one member leaves, the next may use.
            let mut bounded = Bounded { inner: file, unpacked, packed: Count::fixed(packed.len() as u64) };
            self.any(Item { path: &name, bytes: &mut bounded, date: None, depth }, unit)?;
            // Read to the end, so that the checksum is verified of files that were not kept, too.
            io::copy(&mut bounded, &mut io::sink()).map_err(|source| read_error(&name, source))?;
            unpacked = bounded.unpacked;
        }
        Ok(())
    }

    fn plain(&mut self, item: Item<'_>, unit: &mut Unit<'_>) -> Result<(), ImportError> {
        let Item { path, bytes, date, .. } = item;
        let content = read_whole(path, bytes, limit::MEMBER_BYTES)?;
        let document = Document { path, bytes: &content, date };
        let draft = match document::recognise(&content) {
            Format::DebianTracker => tracker::import(&document, &mut self.warnings)?,
            Format::KevJson => catalogue::kev_json(&document)?,
            Format::KevCsv => catalogue::kev_csv(&document)?,
            Format::Epss => catalogue::epss(&document)?,
            Format::Osv => return unit.osv.add(&document, &mut self.warnings),
            Format::BrokenOtherJson if unit.place != Place::Alone => {
                self.skip(path, "damaged JSON, but not of a feed that is recognised".to_owned());
                return Ok(());
            }
            Format::BrokenOtherJson => return Err(broken_json(&document)),
            Format::BrokenJson if unit.place == Place::Alone || has_json_name(path) => {
                return Err(broken_json(&document));
            }
            Format::BrokenJson => {
                self.skip(path, "not JSON, and nothing else that is recognised".to_owned());
                return Ok(());
            }
            Format::Unknown(why) => {
                self.skip(path, why.to_owned());
                return Ok(());
            }
        };
        self.offer(path, draft);
        Ok(())
    }

    fn finish_osv(&mut self, path: &str, osv: Osv, feed: Option<&str>) {
        if osv.is_empty() {
            return;
        }
        let mut gathered = osv.finish(feed);
        for (ecosystem, records) in std::mem::take(&mut gathered.not_covered) {
            *self.not_covered.entry(ecosystem).or_default() += records;
        }
        if gathered.draft.records == 0 {
            self.skip(path, "OSV records, but of no ecosystem whose versions are compared yet".to_owned());
            return;
        }
        self.offer(path, gathered.draft);
    }

    /// Of several drafts of one feed the newest stays; of equal age the larger, then the later one.
    fn offer(&mut self, path: &str, draft: Draft) {
        let rank = |draft: &Draft| (draft.newest.clone(), draft.records);
        let feed = draft.feed.clone();
        let loser = match self.feeds.remove(&feed) {
            Some((other_path, other)) if rank(&other) > rank(&draft) => {
                self.feeds.insert(feed.clone(), (other_path, other));
                Some(path.to_owned())
            }
            Some((other_path, _)) => {
                self.feeds.insert(feed.clone(), (path.to_owned(), draft));
                Some(other_path)
            }
            None => {
                self.feeds.insert(feed.clone(), (path.to_owned(), draft));
                None
            }
        };
        if let Some(loser) = loser {
            self.skip(&loser, format!("another file of feed `{feed}` is newer"));
        }
    }

    pub(crate) fn skip(&mut self, path: &str, reason: String) {
        if self.skipped.len() < limit::LISTED {
            self.skipped.push(Skipped { path: path.to_owned(), reason });
        } else {
            self.skipped_more += 1;
        }
    }
}

fn check_count(path: &str, before: usize) -> Result<(), ImportError> {
    if before >= limit::MEMBERS {
        return Err(ImportError::too_large(path, limit::MEMBERS as u64, "files"));
    }
    Ok(())
}

/// Names from archives go to terminals and logs.
fn printable(name: &str) -> String {
    name.chars().take(300).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn has_json_name(path: &str) -> bool {
    path.rsplit('.').next().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn broken_json(document: &Document<'_>) -> ImportError {
    match document.parse::<serde::de::IgnoredAny>("JSON") {
        Err(error) => error,
        // Recognition stopped at something that the plain parser lets pass, such as a key that is no text.
        Ok(_) => {
            ImportError::Archive { path: document.path.to_owned(), reason: "JSON is damaged".to_owned() }
        }
    }
}

fn read_whole(path: &str, bytes: &mut dyn Read, most: u64) -> Result<Vec<u8>, ImportError> {
    let mut content = Vec::new();
    bytes.take(most + 1).read_to_end(&mut content).map_err(|source| read_error(path, source))?;
    if content.len() as u64 > most {
        return Err(ImportError::too_large(path, most, "bytes in one file"));
    }
    Ok(content)
}

fn read_error(path: &str, source: io::Error) -> ImportError {
    match source.get_ref().and_then(|inner| inner.downcast_ref::<Bomb>()) {
        Some(Bomb { limit, what }) => ImportError::too_large(path, *limit, what),
        None => ImportError::Read { path: path.to_owned(), source },
    }
}

/// Bytes taken from a packed stream so far, or all of them where they are known.
#[derive(Clone)]
struct Count(std::rc::Rc<std::cell::Cell<u64>>);

impl Count {
    fn fixed(bytes: u64) -> Self {
        Self(std::rc::Rc::new(bytes.into()))
    }
}

struct Counted<R> {
    inner: R,
    count: Count,
}

impl<R: Read> Counted<R> {
    fn new(inner: R) -> Self {
        Self { inner, count: Count::fixed(0) }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.0.set(self.count.0.get() + read as u64);
        Ok(read)
    }
}

/// Stops an unpacked stream at [`limit::UNPACKED_BYTES`] and [`limit::RATIO`].
struct Bounded<R> {
    inner: R,
    unpacked: u64,
    packed: Count,
}

#[derive(Debug, thiserror::Error)]
#[error("more than {limit} {what}")]
struct Bomb {
    limit: u64,
    what: &'static str,
}

impl<R> Bounded<R> {
    const fn new(inner: R, packed: Count) -> Self {
        Self { inner, unpacked: 0, packed }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.unpacked += read as u64;
        let ratio = self.packed.0.get().saturating_mul(limit::RATIO).max(limit::RATIO_FREE_BYTES);
        if self.unpacked > limit::UNPACKED_BYTES {
            Err(io::Error::other(Bomb { limit: limit::UNPACKED_BYTES, what: "unpacked bytes" }))
        } else if self.unpacked > ratio {
            Err(io::Error::other(Bomb { limit: limit::RATIO, what: "unpacked bytes for each packed byte" }))
        } else {
            Ok(read)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_memory_are_bounded() {
        let read = |bytes: u64| read_whole("f", &mut io::repeat(b' ').take(bytes), 1000);
        assert_eq!(read(1000).unwrap().len(), 1000);
        assert!(matches!(read(1001), Err(ImportError::TooLarge { limit: 1000, .. })));
    }

    #[test]
    fn unpacking_is_bounded() {
        let unpack = |packed: u64, bytes: u64, before: u64| {
            let mut bounded = Bounded {
                inner: io::repeat(b' ').take(bytes),
                unpacked: before,
                packed: Count::fixed(packed),
            };
            io::copy(&mut bounded, &mut io::sink())
        };
        assert!(unpack(1, limit::RATIO_FREE_BYTES, 0).is_ok());
        assert!(unpack(1, limit::RATIO_FREE_BYTES + 1, 0).is_err());
        let packed = limit::RATIO_FREE_BYTES;
        assert!(unpack(packed, 10, limit::RATIO * packed - 10).is_err(), "total comes first");
        assert!(unpack(packed, 10, limit::UNPACKED_BYTES - 10).is_ok());
        assert!(unpack(packed, 11, limit::UNPACKED_BYTES - 10).is_err());
    }

    #[test]
    fn counts_are_bounded() {
        assert!(check_count("f", limit::MEMBERS - 1).is_ok());
        assert!(check_count("f", limit::MEMBERS).is_err());
    }

    #[test]
    fn files_are_read_whole_up_to_their_limit() {
        let read = |bytes: u64, most: u64| read_whole("f", &mut io::repeat(b'x').take(bytes), most);
        assert_eq!(read(10, 10).expect("at the limit").len(), 10);
        assert!(matches!(read(11, 10), Err(ImportError::TooLarge { limit: 10, .. })));
        // As shipped, of a stream that never ends.
        let endless = read(u64::MAX, limit::MEMBER_BYTES);
        assert!(matches!(endless, Err(ImportError::TooLarge { limit: limit::MEMBER_BYTES, .. })));
    }
}
