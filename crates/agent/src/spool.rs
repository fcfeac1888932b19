//! Batches on disk, until the control plane has them.
//!
//! A batch is one file, named by its place in the order. It gets its number, which follows the last
//! acknowledged one, when it is the first in line; only the first may have been sent. So any other
//! may be dropped without a hole in the numbers, and a kill at any instant leaves none.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use seaworthy_link::{Ack, Batch, Gap, Item, VERSION};
use seaworthy_model::{SpoolId, Timestamp};
use seaworthy_oci::Digest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::limit;

const STATE: &str = "spool";
const SEEN: &str = "seen";
const LOCK: &str = "lock";

/// What could not be done on disk.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another agent uses the folder.
    #[error("spool `{folder}` is used by another agent")]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The system refused.
    #[error("failed to {act} `{path}`")]
    Disk {
        /// What was to be done.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// How much a spool holds.
#[derive(Clone, Copy, Debug)]
pub struct SpoolLimits {
    /// Batches.
    pub files: usize,
    /// Bytes of all batches.
    pub bytes: u64,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self { files: limit::SPOOL_FILES, bytes: limit::SPOOL_BYTES }
    }
}

/// What came of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All is kept.
    All,
    /// Something was lost and a gap stands in its place: a full list is due.
    Gap,
}

/// The spool.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    limits: SpoolLimits,
    state: State,
    files: VecDeque<Entry>,
    next: u64,
    _lock: File,
}

/// What outlives a restart besides the batches.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct State {
    spool: SpoolId,
    /// The last number that was acknowledged.
    acked: u64,
    /// The file that had it: this one and all before are done with.
    place: u64,
    /// When that batch was made.
    made_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    place: u64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Content {
    made_at: Timestamp,
    items: Vec<Item>,
}

impl Spool {
    /// Opens the spool of a folder, or begins one.
    pub fn open(folder: &Path, limits: SpoolLimits) -> Result<Self, SpoolError> {
        fs::create_dir_all(folder).map_err(disk("make folder", folder))?;
        let path = folder.join(LOCK);
        let lock = File::create(&path).map_err(disk("create", &path))?;
        lock.try_lock().map_err(|_| SpoolError::Locked { folder: folder.into() })?;
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(disk("list", folder))? {
            let entry = entry.map_err(disk("list", folder))?;
            let path = entry.path();
            if path.extension().is_some_and(|it| it == "tmp") {
                fs::remove_file(&path).map_err(disk("remove", &path))?;
            } else if let Some(place) = place_of(&path) {
                let bytes = entry.metadata().map_err(disk("look at", &path))?.len();
                files.push(Entry { place, bytes });
            }
        }
        files.sort_by_key(|entry| entry.place);
        let path = folder.join(STATE);
        let state = read(&path)?.unwrap_or_else(|| State {
            spool: SpoolId::generate(),
            acked: 0,
            place: files.first().map_or(0, |first| first.place.saturating_sub(1)),
            made_at: None,
        });
        let next = files.last().map_or(0, |last| last.place).max(state.place) + 1;
        let mut spool = Self { folder: folder.into(), limits, state, files: files.into(), next, _lock: lock };
        spool.write(&path, &spool.state)?;
        while spool.files.front().is_some_and(|first| first.place <= spool.state.place) {
            spool.remove(0)?;
        }
        Ok(spool)
    }

    /// Its id.
    pub const fn id(&self) -> SpoolId {
        self.state.spool
    }

    /// True when nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Until when all was observed and kept, by this agent or the one before it.
    pub fn seen(&self) -> Option<Timestamp> {
        read(&self.folder.join(SEEN)).ok().flatten()
    }

    /// All until `until` is observed and kept.
    pub fn set_seen(&self, until: Timestamp) -> Result<(), SpoolError> {
        self.write(&self.folder.join(SEEN), &until)
    }

    /// Keeps a batch: it is on disk when this returns. When the spool is full, the oldest batches
    /// that were never sent are dropped, down to half, and one gap takes their place.
    pub fn append(&mut self, items: &[Item], made_at: Timestamp) -> Result<Kept, SpoolError> {
        let bytes = encode(&Content { made_at, items: items.to_vec() });
        let length = bytes.len() as u64;
        let is_full = self.files.len() + 1 > self.limits.files || self.bytes() + length > self.limits.bytes;
        let kept = if is_full { self.make_room(length)? } else { Kept::All };
        let entry = Entry { place: self.next, bytes: length };
        self.write_bytes(&self.path(entry.place), &bytes)?;
        self.next += 1;
        self.files.push_back(entry);
        Ok(kept)
    }

    /// The batch to send now, the same until it is acknowledged. One that cannot be read is set
    /// aside, and a gap takes its place.
    pub fn head(&mut self) -> Result<Option<(Batch, Kept)>, SpoolError> {
        let Some(first) = self.files.front().copied() else { return Ok(None) };
        let (content, kept) = match read::<Content>(&self.path(first.place))? {
            Some(content) => (content, Kept::All),
            None => (self.set_aside(first, "a batch on the agent's disk is damaged")?, Kept::Gap),
        };
        let State { spool, acked, .. } = self.state;
        let Content { made_at, items } = content;
        Ok(Some((Batch { version: VERSION, spool, number: acked + 1, made_at, items }, kept)))
    }

    /// The control plane has stored the first batch. When it counts otherwise than this spool, one
    /// of the two was set back: a new spool begins with the same batches, and a full list is due.
    pub fn acked(&mut self, ack: Ack) -> Result<Kept, SpoolError> {
        let Some(first) = self.files.front().copied() else { return Ok(Kept::All) };
        let path = self.folder.join(STATE);
        if ack.spool != self.state.spool || ack.number != self.state.acked + 1 {
            return self.begin_anew();
        }
        let made_at = read::<Content>(&self.path(first.place))?.map(|content| content.made_at);
        let state = State { acked: ack.number, place: first.place, made_at, ..self.state };
        self.write(&path, &state)?;
        self.state = state;
        self.remove(0)?;
        Ok(Kept::All)
    }

    /// The control plane counts otherwise: what is not acknowledged is numbered anew, in a new spool.
    pub fn begin_anew(&mut self) -> Result<Kept, SpoolError> {
        let state = State { spool: SpoolId::generate(), acked: 0, ..self.state };
        self.write(&self.folder.join(STATE), &state)?;
        self.state = state;
        Ok(Kept::Gap)
    }

    /// The control plane will never take the first batch: it is set aside for people, and a gap
    /// takes its place.
    pub fn refused(&mut self) -> Result<(), SpoolError> {
        let Some(first) = self.files.front().copied() else { return Ok(()) };
        self.set_aside(first, "the control plane refused a batch").map(drop)
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|entry| entry.bytes).sum()
    }

    /// Drops the oldest batches behind the first, which may have been sent.
    fn make_room(&mut self, wanted: u64) -> Result<Kept, SpoolError> {
        let mut bytes = self.bytes() + wanted;
        let mut count = 0;
        let behind = self.files.iter().skip(1);
        for entry in behind {
            if bytes <= self.limits.bytes / 2 && self.files.len() - count <= self.limits.files / 2 {
                break;
            }
            bytes -= entry.bytes;
            count += 1;
        }
        let Some((first, gap_at)) = self.files.front().zip(self.files.get(1)).map(|(a, b)| (*a, *b)) else {
            return Ok(Kept::All);
        };
        let made_at = |place| read::<Content>(&self.path(place)).map(|it| it.map(|content| content.made_at));
        let last = self.files.get(count).map_or(gap_at.place, |entry| entry.place);
        let until = made_at(last)?;
        let from =
            made_at(first.place)?.or(self.state.made_at).or(until).unwrap_or(Timestamp::from_micros(0));
        let gap =
            Gap { from, until: until.unwrap_or(from), reason: "the agent's disk space was used up".into() };
        // The gap is there before anything is gone.
        self.replace(1, &Content { made_at: gap.until, items: vec![Item::Gap(gap)] })?;
        for _ in 1..count {
            self.remove(2)?;
        }
        Ok(Kept::Gap)
    }

    fn set_aside(&mut self, first: Entry, reason: &str) -> Result<Content, SpoolError> {
        let path = self.path(first.place);
        let next = self.files.get(1).and_then(|next| read::<Content>(&self.path(next.place)).ok().flatten());
        let own = read::<Content>(&path)?.map(|content| content.made_at);
        let until = own.or(next.map(|content| content.made_at)).or(self.state.made_at);
        let until = until.unwrap_or(Timestamp::from_micros(0));
        let from = self.state.made_at.unwrap_or(until);
        fs::copy(&path, path.with_extension("aside")).map_err(disk("copy", &path))?;
        let gap = Item::Gap(Gap { from, until: until.max(from), reason: reason.into() });
        let content = Content { made_at: until.max(from), items: vec![gap] };
        self.replace(0, &content)?;
        self.forget_aside()?;
        Ok(content)
    }

    fn forget_aside(&self) -> Result<(), SpoolError> {
        let entries = fs::read_dir(&self.folder).map_err(disk("list", &self.folder))?;
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        let mut aside: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|it| it == "aside")).collect();
        aside.sort();
        let surplus = aside.len().saturating_sub(limit::ASIDE_FILES);
        aside.iter().take(surplus).try_for_each(|path| fs::remove_file(path).map_err(disk("remove", path)))
    }

    fn replace(&mut self, index: usize, content: &Content) -> Result<(), SpoolError> {
        let Some(place) = self.files.get(index).map(|entry| entry.place) else { return Ok(()) };
        let bytes = encode(content);
        self.write_bytes(&self.path(place), &bytes)?;
        if let Some(entry) = self.files.get_mut(index) {
            entry.bytes = bytes.len() as u64;
        }
        Ok(())
    }

    fn remove(&mut self, index: usize) -> Result<(), SpoolError> {
        let Some(entry) = self.files.get(index).copied() else { return Ok(()) };
        let path = self.path(entry.place);
        fs::remove_file(&path).map_err(disk("remove", &path))?;
        self.files.remove(index);
        Ok(())
    }

    fn path(&self, place: u64) -> PathBuf {
        self.folder.join(format!("{place:020}.batch"))
    }

    fn write(&self, path: &Path, value: &impl Serialize) -> Result<(), SpoolError> {
        self.write_bytes(path, &encode(value))
    }

    /// The whole file or none of it, and on disk.
    fn write_bytes(&self, path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
        let part = path.with_extension("tmp");
        let mut file = File::create(&part).map_err(disk("create", &part))?;
        file.write_all(bytes).map_err(disk("write", &part))?;
        file.sync_all().map_err(disk("sync", &part))?;
        fs::rename(&part, path).map_err(disk("rename", &part))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(disk("sync", &self.folder))
    }
}

fn disk(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError::Disk { act, path, source }
}

fn place_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".batch")?;
    if name.len() == 20 { name.parse().ok() } else { None }
}

/// The digest of the JSON in one line, then the JSON.
fn encode(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut bytes = format!("{}\n", Digest::sha256(&json)).into_bytes();
    bytes.extend(json);
    bytes
}

/// What [`encode`] wrote; `None` when it is not there or not whole.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SpoolError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk("read", path)(error)),
    };
    let parts = bytes.iter().position(|byte| *byte == b'\n').map(|at| bytes.split_at(at));
    let json = parts.and_then(|(digest, rest)| {
        let json = rest.get(1..)?;
        (Digest::sha256(json).to_string().as_bytes() == digest).then_some(json)
    });
    Ok(json.and_then(|json| serde_json::from_slice(json).ok()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_000)
    }

    /// An observation that can be told from others.
    fn item(mark: u64) -> Item {
        Item::Gap(Gap { from: now(), until: now(), reason: format!("{mark}") })
    }

    fn open(folder: &Path) -> Spool {
        Spool::open(folder, SpoolLimits::default()).expect("spool")
    }

    fn ack(batch: &Batch) -> Ack {
        Ack { spool: batch.spool, number: batch.number }
    }

    fn head(spool: &mut Spool) -> Batch {
        spool.head().expect("readable").expect("a batch").0
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Append,
        Deliver,
        DeliverUnheard,
        Kill,
        KillWhileWriting,
        KillBeforeRemoving,
    }

    /// A control plane that keeps the contract: it counts, and stores each number once.
    #[derive(Default)]
    struct Plane {
        stored: Vec<Batch>,
    }

    impl Plane {
        fn take(&mut self, batch: Batch) -> Ack {
            let ack = ack(&batch);
            if let Some(known) = self.stored.iter().find(|it| it.number == batch.number) {
                assert_eq!(*known, batch, "one number, two meanings");
            } else {
                assert_eq!(batch.number, self.stored.len() as u64 + 1, "a hole in the numbers");
                self.stored.push(batch);
            }
            ack
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn nothing_is_lost_doubled_or_out_of_order(steps in proptest::collection::vec(prop_oneof![
            Just(Step::Append), Just(Step::Append), Just(Step::Deliver), Just(Step::DeliverUnheard), Just(Step::Kill),
            Just(Step::KillWhileWriting), Just(Step::KillBeforeRemoving)], 0..40)) {
            let folder = tempfile::tempdir().expect("folder");
            let mut spool = open(folder.path());
            let (mut plane, mut count) = (Plane::default(), 0);
            for step in steps {
                match step {
                    Step::Append => {
                        spool.append(&[item(count)], now()).expect("append");
                        count += 1;
                    }
                    Step::Deliver if !spool.is_empty() => {
                        let ack = plane.take(head(&mut spool));
                        prop_assert_eq!(spool.acked(ack).expect("acked"), Kept::All);
                    }
                    Step::DeliverUnheard if !spool.is_empty() => {
                        plane.take(head(&mut spool));
                    }
                    Step::KillWhileWriting => {
                        fs::write(folder.path().join(format!("{:020}.tmp", 7)), b"half").expect("write");
                        drop(spool);
                        spool = open(folder.path());
                    }
                    Step::KillBeforeRemoving if !spool.is_empty() => {
                        let path = spool.path(spool.files[0].place);
                        let bytes = fs::read(&path).expect("read");
                        let ack = plane.take(head(&mut spool));
                        spool.acked(ack).expect("acked");
                        fs::write(path, bytes).expect("write");
                        drop(spool);
                        spool = open(folder.path());
                    }
                    _ => {
                        drop(spool);
                        spool = open(folder.path());
                    }
                }
            }
            while !spool.is_empty() {
                let ack = plane.take(head(&mut spool));
                spool.acked(ack).expect("acked");
            }
            let stored: Vec<Item> = plane.stored.into_iter().flat_map(|batch| batch.items).collect();
            prop_assert_eq!(stored, (0..count).map(item).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_full_spool_drops_the_oldest_that_were_never_sent() {
        let folder = tempfile::tempdir().expect("folder");
        let limits = SpoolLimits { files: 8, bytes: u64::MAX };
        let mut spool = Spool::open(folder.path(), limits).expect("spool");
        for mark in 0..8 {
            let made_at = now().plus_seconds(mark);
            assert_eq!(spool.append(&[item(mark.cast_unsigned())], made_at).expect("append"), Kept::All);
        }
        assert_eq!(spool.append(&[item(8)], now()).expect("append"), Kept::Gap);
        let mut seen = Vec::new();
        while !spool.is_empty() {
            let batch = head(&mut spool);
            assert_eq!(batch.number, seen.len() as u64 + 1);
            seen.extend(batch.items.clone());
            spool.acked(ack(&batch)).expect("acked");
        }
        let gap = Gap {
            from: now(),
            until: now().plus_seconds(4),
            reason: "the agent's disk space was used up".into(),
        };
        assert_eq!(seen, [item(0), Item::Gap(gap), item(5), item(6), item(7), item(8)]);
    }

    #[test]
    fn bytes_are_limited_at_their_edge() {
        let folder = tempfile::tempdir().expect("folder");
        let mut spool = open(folder.path());
        for mark in 0..4 {
            spool.append(&[item(mark)], now()).expect("append");
        }
        let bytes = spool.bytes();
        let one = bytes / 4;
        spool.limits.bytes = bytes + one;
        assert_eq!(spool.append(&[item(4)], now()).expect("append"), Kept::All);
        assert_eq!(spool.append(&[item(5)], now()).expect("append"), Kept::Gap);
        assert!(spool.bytes() <= spool.limits.bytes);
    }

    #[test]
    fn a_damaged_batch_is_set_aside_and_said() {
        let folder = tempfile::tempdir().expect("folder");
        let mut spool = open(folder.path());
        for mark in 0..3 {
            spool.append(&[item(mark)], now().plus_seconds(mark.cast_signed())).expect("append");
        }
        let first = head(&mut spool);
        spool.acked(ack(&first)).expect("acked");
        let path = spool.path(spool.files[0].place);
        let mut bytes = fs::read(&path).expect("read");
        let at = bytes.len() - 20;
        bytes[at] ^= 1;
        fs::write(&path, bytes).expect("write");
        drop(spool);
        let mut spool = open(folder.path());
        let (batch, kept) = spool.head().expect("readable").expect("a batch");
        let gap = Gap {
            from: now(),
            until: now().plus_seconds(2),
            reason: "a batch on the agent's disk is damaged".into(),
        };
        assert_eq!((batch.number, kept, batch.items.clone()), (2, Kept::Gap, vec![Item::Gap(gap)]));
        assert_eq!(head(&mut spool), batch);
        assert!(path.with_extension("aside").exists());
        spool.acked(ack(&batch)).expect("acked");
        assert_eq!(head(&mut spool).items, [item(2)]);
    }

    #[test]
    fn who_counts_otherwise_gets_a_new_spool() {
        let folder = tempfile::tempdir().expect("folder");
        let mut spool = open(folder.path());
        spool.append(&[item(0)], now()).expect("append");
        let batch = head(&mut spool);
        assert!(Spool::open(folder.path(), SpoolLimits::default()).is_err(), "one agent per spool");
        assert_eq!(spool.acked(Ack { number: 9, ..ack(&batch) }).expect("acked"), Kept::Gap);
        let again = head(&mut spool);
        assert!(again.spool != batch.spool && again.number == 1 && again.items == batch.items);
        spool.refused().expect("set aside");
        assert_ne!(head(&mut spool).items, batch.items);
    }
}
