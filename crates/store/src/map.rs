use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::Range,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use bytes::Bytes;

/// The bytes of an immutable file, mapped read-only.
#[derive(Debug)]
pub struct FileMap(memmap2::Mmap);

impl FileMap {
    /// Maps all of `file`.
    ///
    /// The caller passes only files that this process never changes after they got their final
    /// name: blobs and index segments. An empty file cannot be mapped and is an error.
    pub fn open(file: &File) -> io::Result<Self> {
        Self::of_length(file, file.metadata()?.len())
    }

    /// Maps `length` bytes, of which `file` may have fewer yet: the caller touches none that were not written.
    fn of_length(file: &File, length: u64) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
        if length == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "file is empty"));
        }
        #[allow(unsafe_code, reason = "a memory map is the product's one shared read-only file view")]
        // SAFETY: bytes that are there are immutable by the contracts above: `Blobs` writes under another name,
        // only behind what is there, then renames, and only ever unlinks; what it cuts are uploads that go on after
        // a crash, which nobody maps. Bytes of a growing file that are not there yet are in no slice that leaves
        // this crate (`Growing::slice`). A foreign process that truncates it inside our 0700 data
        // directory could raise SIGBUS, which ends the process without corrupting anything.
        let map = unsafe { memmap2::MmapOptions::new().len(length).map(file)? };
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A mapped file whose bytes can be sent without being read: who is to write a slice of them asks
/// [`file_behind`] for the file and lets the kernel copy. Who does not simply reads the map.
#[derive(Debug)]
pub struct SentFile {
    file: File,
    map: FileMap,
}

/// Maps by the address at which they begin. An entry goes with its map.
static SENT: RwLock<BTreeMap<usize, Weak<SentFile>>> = RwLock::new(BTreeMap::new());

impl SentFile {
    /// Maps all of `file`, under the contract of [`FileMap::open`].
    pub fn open(file: File) -> io::Result<Arc<Self>> {
        let length = file.metadata()?.len();
        Self::growing(file, length)
    }

    /// Maps a file that is on its way to `length` bytes: slices are taken of what was written before.
    pub(crate) fn growing(file: File, length: u64) -> io::Result<Arc<Self>> {
        let sent = Arc::new(Self { map: FileMap::of_length(&file, length)?, file });
        let mut all = SENT.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(sent.map.as_ref().as_ptr().addr(), Arc::downgrade(&sent));
        Ok(sent)
    }

    /// The bytes of `range`, clamped to the map; nothing is read.
    pub fn slice(self: &Arc<Self>, range: Range<u64>) -> Bytes {
        let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(self.map.as_ref().len());
        Bytes::from_owner(Shared(Arc::clone(self))).slice(at(range.start)..at(range.end.max(range.start)))
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for SentFile {
    fn drop(&mut self) {
        // Still mapped, so nobody else has this address.
        let mut all = SENT.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.map.as_ref().as_ptr().addr());
    }
}

struct Shared(Arc<SentFile>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.map.as_ref()
    }
}

/// The file whose map holds these bytes, and where in it they begin.
pub fn file_behind(bytes: &[u8]) -> Option<(Arc<SentFile>, u64)> {
    let start = bytes.as_ptr().addr();
    let all = SENT.read().unwrap_or_else(PoisonError::into_inner);
    let (base, sent) = all.range(..=start).next_back()?;
    let (base, sent) = (*base, sent.upgrade()?);
    // Before the map is let go, which may take it out of the list.
    drop(all);
    let offset = start - base;
    let is_inside = offset.checked_add(bytes.len()).is_some_and(|end| end <= sent.map.as_ref().len());
    is_inside.then_some((sent, offset as u64))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(length: u32) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        file.write_all(&bytes).expect("written");
        file
    }

    #[test]
    fn a_slice_leads_back_to_its_file() {
        let (one, two) =
            (SentFile::open(file(10_000)).expect("map"), SentFile::open(file(5_000)).expect("map"));
        for (sent, length) in [(&one, 10_000_u64), (&two, 5_000)] {
            for range in [0..length, 0..1, length - 1..length, 100..4_200, length..length] {
                let slice = sent.slice(range.clone());
                assert_eq!(slice.len() as u64, range.end - range.start);
                let first = slice.first().map(|byte| u64::from(*byte));
                assert!(first.is_none_or(|byte| byte == range.start % 251), "{range:?}");
                if !slice.is_empty() {
                    let (found, offset) = file_behind(&slice).expect("its file");
                    assert!(Arc::ptr_eq(&found, sent), "{range:?}");
                    assert_eq!(offset, range.start);
                }
            }
            assert_eq!(sent.slice(length - 1..length + 100).len(), 1, "clamped");
        }
        assert!(file_behind(b"bytes of somebody else").is_none());
    }

    #[test]
    fn a_file_is_sent_while_it_grows() {
        let mut file = tempfile::tempfile().expect("a file");
        let sent = SentFile::growing(file.try_clone().expect("a file"), 10_000).expect("map");
        for (round, part) in [[1_u8; 5_000], [2; 5_000]].iter().enumerate() {
            file.write_all(part).expect("written");
            let begin = round as u64 * 5_000;
            let slice = sent.slice(begin..begin + 5_000);
            assert_eq!(slice, part.as_slice());
            let (found, offset) = file_behind(&slice).expect("its file");
            assert!(Arc::ptr_eq(&found, &sent));
            assert_eq!(offset, begin);
        }
        assert!(SentFile::growing(file, 0).is_err(), "nothing to map");
    }

    #[test]
    fn what_is_let_go_is_forgotten() {
        let sent = SentFile::open(file(4_096)).expect("map");
        let (slice, base) = (sent.slice(0..4_096), sent.map.as_ref().as_ptr().addr());
        let weak = Arc::downgrade(&sent);
        drop(sent);
        assert!(file_behind(&slice).is_some(), "a slice keeps its map");
        drop(slice);
        assert!(weak.upgrade().is_none());
        // Another map may have the address by now.
        assert!(SENT.read().expect("lock").get(&base).is_none_or(|it| !it.ptr_eq(&weak)));
    }
}
