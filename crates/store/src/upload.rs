use std::{
    fs::{self, File, OpenOptions},
    io::{IoSlice, Read as _, Seek as _, SeekFrom, Write as _},
    ops::Range,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use seaworthy_model::UploadId;
use seaworthy_oci::{Algorithm, Digest, Hasher};

use crate::{BlobCopy, Blobs, SmallBlob, error::BlobError, limit, map::SentFile};

/// What a session must remember between two requests to go on after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadState {
    /// The upload.
    pub id: UploadId,
    /// Bytes received and hashed.
    pub offset: u64,
    /// [`Hasher::state`] at `offset`.
    pub hash_state: Vec<u8>,
    /// The run of the machine that wrote the bytes. They are not made durable before the upload ends: what another run, or
    /// another machine, finds in the file may be something else, and is hashed again; from then on they are.
    pub boot: String,
}

/// Instead of a run: the bytes are durable.
const DURABLE: &str = "durable";

/// The run of this machine (proc(5), `boot_id`); what cannot be told is another one each time.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let told = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        told.map_or_else(|_| UploadId::generate().to_string(), |text| text.trim().to_owned())
    })
}

impl UploadState {
    /// Of an upload that nothing was received of. It has no file.
    pub fn fresh(id: UploadId, algorithm: Algorithm) -> Self {
        Self { id, offset: 0, hash_state: Hasher::new(algorithm).state(), boot: boot().to_owned() }
    }
}

impl Blobs {
    /// The state as it would be if all that `lock`'s file holds had been acknowledged. What a request left there that was
    /// cut, or whose process was killed, is the beginning of what it sent: requests write one after the other, from where
    /// the state stands, and each cuts off what is beyond it first. The bytes are hashed from the file, so whatever
    /// a power failure made of them, a digest is that of what is there.
    pub async fn recover(&self, state: UploadState, lock: UploadLock) -> Result<UploadState, BlobError> {
        let lost = |found| BlobError::UploadLost { found, expected: state.offset };
        let mut hasher = Hasher::from_state(&state.hash_state).ok_or_else(|| lost(0))?;
        let turn = self.reread_turn().await;
        blocking(move || {
            let path = PathBuf::from(state.id.to_string());
            check_earlier(&lock.file.0, &path, &state)?;
            let offset = hash_from(&lock.file.0, state.offset, &mut hasher)
                .map_err(|source| failed("read", &path, source))?;
            drop(turn);
            Ok(UploadState { id: state.id, offset, hash_state: hasher.state(), boot: boot().to_owned() })
        })
        .await
    }
}

/// Bytes on their way in: hashed once, while they stream.
///
/// Up to [`limit::SMALL_BLOB_BYTES`] stay in memory; beyond that they go to a file under
/// `uploads/`, [`limit::UPLOAD_CHUNK_BYTES`] at a time, or less when there are many, on a blocking thread.
pub struct Upload {
    blobs: Blobs,
    room: &'static str,
    id: UploadId,
    path: PathBuf,
    sink: Option<Sink>,
    pending: Pending,
    offset: u64,
    /// Several machines write it, one after the other: what was written is made durable before the next goes on.
    is_shared: bool,
    open: OpenUpload,
}

/// One of the uploads that bytes are taken in for, until it is dropped.
pub(crate) struct OpenUpload(Arc<AtomicUsize>);

impl OpenUpload {
    pub(crate) fn new(open: Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }

    /// So many bytes wait to be written: all uploads together have room for [`limit::UPLOADS_BYTES`].
    fn chunk_bytes(&self) -> usize {
        let share = limit::UPLOADS_BYTES / self.0.load(Ordering::Relaxed).max(1);
        share.clamp(limit::UPLOAD_CHUNK_BYTES_MIN, limit::UPLOAD_CHUNK_BYTES)
    }
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes that were taken in and not written yet, as they came: those of some length are not copied.
#[derive(Default)]
struct Pending {
    pieces: Vec<Bytes>,
    /// What came in small pieces since the last long one.
    small: BytesMut,
    length: usize,
}

impl Pending {
    fn push(&mut self, chunk: Bytes) {
        self.length += chunk.len();
        if chunk.len() < limit::UPLOAD_PIECE_BYTES {
            self.small.extend_from_slice(&chunk);
            return;
        }
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
        self.pieces.push(chunk);
    }

    fn take(&mut self) -> Vec<Bytes> {
        let Self { mut pieces, small, .. } = std::mem::take(self);
        if !small.is_empty() {
            pieces.push(small.freeze());
        }
        pieces
    }
}

/// What a blocking thread works on.
pub(crate) struct Sink {
    pub(crate) hasher: Hasher,
    pub(crate) file: Option<File>,
    /// Whoever may still write to the file holds it.
    pub(crate) lock: Option<UploadLock>,
}

impl Sink {
    /// True when neither this request nor one before it made a file.
    const fn is_in_memory(&self) -> bool {
        self.file.is_none() && self.lock.is_none()
    }
}

/// The bytes of an upload that were written so far: who asks for some knows that there are so many. Nothing of
/// them is verified.
#[derive(Debug)]
pub struct Growing {
    file: File,
    map: OnceLock<Arc<SentFile>>,
}

impl Growing {
    /// `length` bytes from `at` on, read.
    pub async fn read(self: &Arc<Self>, at: u64, length: usize) -> std::io::Result<Bytes> {
        let growing = Arc::clone(self);
        let read = move || {
            let mut buffer = BytesMut::zeroed(length);
            growing.file.read_exact_at(&mut buffer, at).map(|()| buffer.freeze())
        };
        tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?
    }

    /// The same of an upload that will have `size` bytes, for a door that sends files without reading them
    /// ([`crate::map::file_behind`]).
    pub fn slice(&self, size: u64, range: Range<u64>) -> std::io::Result<Bytes> {
        let map = if let Some(map) = self.map.get() {
            map
        } else {
            let map = SentFile::growing(self.file.try_clone()?, size)?;
            self.map.get_or_init(|| map)
        };
        // What is not written yet must not be touched.
        if range.end > self.file.metadata()?.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(map.slice(range))
    }
}

/// A finished upload: verified, and durable unless it is small.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Goes into SQL with the row that names it: [`crate::Tx::put_small_blob`].
    Small(SmallBlob),
    /// Is on disk, fsynced, under its final name.
    File {
        /// Its name.
        copy: BlobCopy,
        /// Its length in bytes.
        size: u64,
    },
}

impl Stored {
    /// The blob's name.
    pub const fn digest(&self) -> &Digest {
        match self {
            Self::Small(small) => &small.digest,
            Self::File { copy, .. } => &copy.digest,
        }
    }

    /// The blob's length in bytes.
    pub const fn size(&self) -> u64 {
        match self {
            Self::Small(small) => small.bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }
}

/// An upload's file, held by one request of all that share the directory, until the last of its clones is dropped
/// or its process ends.
#[derive(Clone, Debug)]
pub struct UploadLock {
    file: Arc<Locked>,
}

/// Let go of when it is dropped, not when its file is closed: a child that is being made for an inspection has the file
/// too, until it runs (flock(2): the lock is the open file description's).
#[derive(Debug)]
struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // The file is closed next, which lets go as well.
        let _ = rustix::fs::flock(&self.0, rustix::fs::FlockOperation::Unlock);
    }
}

/// What became of asking for an [`UploadLock`].
#[derive(Debug)]
pub enum Hold {
    /// It is the caller's.
    Taken(UploadLock),
    /// Another request has it.
    Busy,
    /// There is no file to write to.
    NoFile,
}

impl UploadLock {
    /// The file that is there; `None` without one.
    pub(crate) fn open(path: &Path) -> Result<Option<File>, BlobError> {
        // To be written to as well: a lock of one alone needs that on NFS (flock(2)).
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed("open", path, source)),
        }
    }

    /// The file that is there, or is made.
    pub(crate) fn make(path: &Path) -> Result<File, BlobError> {
        if let Some(directory) = path.parent() {
            create_directories(directory)?;
        }
        let mut options = OpenOptions::new();
        // Another server may have made it, and written.
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(path).map_err(|source| failed("create", path, source))
    }

    pub(crate) fn take(file: File, path: &Path) -> Result<Hold, BlobError> {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            // Who had it until now may have made it a blob, or removed it.
            Ok(()) if !is_at(&file, path)? => Ok(Hold::NoFile),
            Ok(()) => Ok(Hold::Taken(Self { file: Arc::new(Locked(file)) })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Hold::Busy),
            Err(error) => Err(failed("lock", path, error.into())),
        }
    }
}

impl Upload {
    pub(crate) fn fresh(blobs: Blobs, room: &'static str, id: UploadId, algorithm: Algorithm) -> Self {
        let path = blobs.upload_path(room, id);
        let sink = Some(Sink { hasher: Hasher::new(algorithm), file: None, lock: None });
        let open = blobs.open_upload();
        Self { blobs, room, id, path, sink, pending: Pending::default(), offset: 0, is_shared: false, open }
    }

    /// Goes on where `state` ended. What the file holds beyond it was never acknowledged and is cut off;
    /// [`Blobs::recover`] comes before, or never.
    pub(crate) async fn resumed(
        blobs: Blobs,
        room: &'static str,
        state: UploadState,
        lock: Option<UploadLock>,
    ) -> Result<Self, BlobError> {
        let path = blobs.upload_path(room, state.id);
        let (id, offset, at) = (state.id, state.offset, path.clone());
        let lost = move |found| BlobError::UploadLost { found, expected: offset };
        let hasher = Hasher::from_state(&state.hash_state).ok_or_else(|| lost(0))?;
        let is_shared = state.offset > 0 && state.boot != boot();
        let turn = if is_believed(&state) { None } else { blobs.reread_turn().await };
        let sink = blocking(move || {
            if offset == 0 && !at.exists() {
                return Ok(Sink { hasher, file: None, lock });
            }
            let opened = OpenOptions::new().read(true).write(true).open(&at);
            let mut file = opened.map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => lost(0),
                _ => failed("open", &at, source),
            })?;
            let found = file.metadata().map_err(|source| failed("inspect", &at, source))?.len();
            if found < offset {
                return Err(lost(found));
            }
            file.set_len(offset)
                .and_then(|()| file.seek(SeekFrom::End(0)))
                .map_err(|source| failed("truncate", &at, source))?;
            check_earlier(&file, &at, &state)?;
            drop(turn);
            Ok(Sink { hasher, file: Some(file), lock })
        })
        .await?;
        Ok(Self {
            open: blobs.open_upload(),
            blobs,
            room,
            id,
            path,
            sink: Some(sink),
            pending: Pending::default(),
            offset,
            is_shared,
        })
    }

    /// With a lock on its file, which lasts as long as anything is written to it.
    #[must_use]
    pub fn holding(mut self, lock: Option<UploadLock>) -> Self {
        if let Some(sink) = &mut self.sink {
            sink.lock = lock;
        }
        self
    }

    /// Bytes taken in so far.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the next bytes in.
    pub async fn write(&mut self, mut chunk: Bytes) -> Result<(), BlobError> {
        while !chunk.is_empty() {
            let piece = chunk.split_to(chunk.len().min(limit::UPLOAD_CHUNK_BYTES));
            self.offset += piece.len() as u64;
            self.pending.push(piece);
            if self.pending.length >= self.open.chunk_bytes() {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Writes what was taken in to the file, so that [`Upload::growing`] has it.
    pub async fn write_out(&mut self) -> Result<(), BlobError> {
        if self.pending.length == 0 { Ok(()) } else { self.flush().await }
    }

    /// The file as others may read it while it grows, and afterwards, whatever it is called then; `None` before
    /// anything was written.
    pub fn growing(&self) -> Result<Option<Growing>, BlobError> {
        let file = self.sink.as_ref().and_then(|sink| sink.file.as_ref());
        let file = file.map(File::try_clone).transpose();
        Ok(file
            .map_err(|source| failed("open", &self.path, source))?
            .map(|file| Growing { file, map: OnceLock::new() }))
    }

    /// Writes everything to the file and says what a later request needs to go on.
    pub async fn suspend(mut self) -> Result<UploadState, BlobError> {
        self.flush().await?;
        let hash_state = self.sink.as_ref().map(|sink| sink.hasher.state()).unwrap_or_default();
        let state = UploadState { id: self.id, offset: self.offset, hash_state, boot: boot().to_owned() };
        let file = self.sink.take().and_then(|sink| sink.file).filter(|_| self.is_shared);
        let Some(file) = file else { return Ok(state) };
        let path = self.path.clone();
        blocking(move || file.sync_data().map_err(|source| failed("sync", &path, source))).await?;
        Ok(UploadState { boot: DURABLE.to_owned(), ..state })
    }

    /// Leaves what was taken in for [`Blobs::recover`].
    pub async fn leave(mut self) -> Result<(), BlobError> {
        self.flush().await
    }

    /// Takes back what was taken in since the upload stood at `offset`.
    pub async fn take_back(mut self, offset: u64) -> Result<(), BlobError> {
        let (sink, path) = (self.sink.take(), self.path.clone());
        blocking(move || {
            let cut = match &sink {
                Some(Sink { file: Some(file), .. }) => file.set_len(offset),
                // Nothing was written.
                Some(_) => Ok(()),
                // What was being written to when it failed.
                None => match OpenOptions::new().write(true).open(&path) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                    opened => opened.and_then(|file| file.set_len(offset)),
                },
            };
            cut.map_err(|source| failed("truncate", &path, source))
        })
        .await
    }

    /// Verifies and stores under the digest's name, over an equal copy if there is one. `expected` is the
    /// name the client gave; with another content it is a [`BlobError::DigestMismatch`] and the bytes are
    /// gone. When its algorithm is not the one that was hashed so far, the bytes are hashed once more with
    /// it, from the file.
    pub async fn finish(self, expected: Digest) -> Result<Stored, BlobError> {
        self.place(BlobCopy::from(&expected)).await
    }

    /// [`Upload::finish`], as a copy of its own: who then finds that there is one already removes this
    /// one ([`Blobs::remove`]). Its name is new each time: a session that is ended twice makes two copies.
    pub async fn finish_copy(self, expected: Digest) -> Result<Stored, BlobError> {
        let upload = Some(UploadId::generate());
        self.place(BlobCopy { digest: expected, upload }).await
    }

    async fn place(mut self, copy: BlobCopy) -> Result<Stored, BlobError> {
        let Some(sink) = self.sink.take() else {
            return Err(BlobError::UploadLost { found: 0, expected: self.offset });
        };
        let pending = self.pending.take();
        let (size, path) = (self.offset, self.path.clone());
        let target = self.blobs.blob_path(self.room, &copy);
        self.blobs.check_floor()?;
        if sink.is_in_memory() && size <= limit::SMALL_BLOB_BYTES as u64 {
            // There is nothing to wait for.
            return store(sink, &pending, size, &Places { copy, path, target });
        }
        let is_hashed = sink.hasher.algorithm() == copy.digest.algorithm();
        let turn = if is_hashed { None } else { self.blobs.reread_turn().await };
        blocking(move || {
            let stored = store(sink, &pending, size, &Places { copy, path, target });
            drop(turn);
            stored
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        self.blobs.check_floor()?;
        let Some(sink) = self.sink.take() else { return Ok(()) };
        let pending = self.pending.take();
        self.sink = Some(self.blobs.intake().append(sink, pending, self.path.clone()).await?);
        Ok(())
    }
}

/// True when the open file is the one that is called so now.
fn is_at(file: &File, path: &Path) -> Result<bool, BlobError> {
    let open = file.metadata().map_err(|source| failed("inspect", path, source))?;
    match fs::metadata(path) {
        Ok(now) => Ok((now.dev(), now.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed("inspect", path, source)),
    }
}

struct Places {
    copy: BlobCopy,
    path: PathBuf,
    target: PathBuf,
}

fn store(mut sink: Sink, pending: &[Bytes], size: u64, places: &Places) -> Result<Stored, BlobError> {
    let expected = places.copy.digest;
    let has_no_file = sink.is_in_memory();
    let remove = || if has_no_file { Ok(()) } else { remove_file(&places.path) };
    if sink.hasher.algorithm() != expected.algorithm() {
        sink.hasher = hash_again(sink.file.as_ref(), expected.algorithm(), &places.path)?;
    }
    pending.iter().for_each(|piece| sink.hasher.update(piece));
    let actual = sink.hasher.finish();
    if actual != expected {
        remove()?;
        return Err(BlobError::DigestMismatch { expected, actual });
    }
    if size <= limit::SMALL_BLOB_BYTES as u64 {
        let mut bytes = Vec::new();
        if let Some(file) = &mut sink.file {
            file.seek(SeekFrom::Start(0))
                .and_then(|_| file.read_to_end(&mut bytes))
                .map_err(|source| failed("read", &places.path, source))?;
        }
        remove()?;
        pending.iter().for_each(|piece| bytes.extend_from_slice(piece));
        return Ok(Stored::Small(SmallBlob { digest: actual, bytes: bytes.into() }));
    }
    append(&mut sink.file, &places.path, pending)?;
    let Some(file) = sink.file else { return Err(BlobError::UploadLost { found: 0, expected: size }) };
    file.sync_data().map_err(|source| failed("sync", &places.path, source))?;
    let directory = places.target.parent().unwrap_or(Path::new("/"));
    create_directories(directory)?;
    // Who ended the upload meanwhile removed it, and another may have begun a file of that name.
    if !is_at(&file, &places.path)? {
        return Err(BlobError::UploadLost { found: 0, expected: size });
    }
    fs::rename(&places.path, &places.target).map_err(|source| failed("rename", &places.path, source))?;
    sync_directory(directory)?;
    Ok(Stored::File { copy: places.copy, size })
}

/// A client that begins a session need not say by which algorithm it will end it. What was written
/// is then read back once.
fn hash_again(file: Option<&File>, algorithm: Algorithm, path: &Path) -> Result<Hasher, BlobError> {
    let mut hasher = Hasher::new(algorithm);
    if let Some(file) = file {
        hash_from(file, 0, &mut hasher).map_err(|source| failed("read", path, source))?;
    }
    Ok(hasher)
}

/// This run wrote the bytes, and reads them back, or they are durable, or there are none.
fn is_believed(state: &UploadState) -> bool {
    state.offset == 0 || state.boot == boot() || state.boot == DURABLE
}

/// Whether the acknowledged bytes are those that were hashed, when another run of the machine wrote them.
fn check_earlier(file: &File, path: &Path, state: &UploadState) -> Result<(), BlobError> {
    if is_believed(state) {
        return Ok(());
    }
    let lost = || BlobError::UploadLost { found: 0, expected: state.offset };
    let acknowledged = Hasher::from_state(&state.hash_state).ok_or_else(lost)?;
    let mut found = Hasher::new(acknowledged.algorithm());
    let end = hash_range(file, 0..state.offset, &mut found).map_err(|source| failed("read", path, source))?;
    if end == state.offset && found.finish() == acknowledged.finish() { Ok(()) } else { Err(lost()) }
}

/// Hashes the rest of a file from `at` on; returns where it ends.
fn hash_from(file: &File, at: u64, hasher: &mut Hasher) -> std::io::Result<u64> {
    hash_range(file, at..u64::MAX, hasher)
}

/// Hashes a range of a file; returns where it or the file ends.
fn hash_range(file: &File, range: Range<u64>, hasher: &mut Hasher) -> std::io::Result<u64> {
    let mut buffer = vec![0; limit::UPLOAD_CHUNK_BYTES];
    let mut at = range.start;
    loop {
        let most = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
        let length = file.read_at(buffer.get_mut(..most).unwrap_or_default(), at)?;
        let Some(chunk) = buffer.get(..length).filter(|chunk| !chunk.is_empty()) else { return Ok(at) };
        hasher.update(chunk);
        at += length as u64;
    }
}

pub(crate) fn append(file: &mut Option<File>, path: &Path, pieces: &[Bytes]) -> Result<(), BlobError> {
    if file.is_none() {
        let made = UploadLock::make(path)?;
        made.set_len(0).map_err(|source| failed("truncate", path, source))?;
        *file = Some(made);
    }
    let Some(file) = file else { return Ok(()) };
    write_all(file, pieces).map_err(|source| failed("write", path, source))
}

/// All pieces in one call: the kernel then takes them into few large folios instead of one for each piece.
fn write_all(file: &mut File, pieces: &[Bytes]) -> std::io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = slices.as_mut_slice();
    // Empty ones at the front would look like a write that wrote nothing.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Creates missing directories and makes each durable in its parent.
pub(crate) fn create_directories(directory: &Path) -> Result<(), BlobError> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        create_directories(parent)?;
        // Nobody else's business, as the key files beside them.
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => sync_directory(parent)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failed("create", directory, source)),
        }
    }
    Ok(())
}

pub(crate) fn sync_directory(directory: &Path) -> Result<(), BlobError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(|source| failed("sync", directory, source))
}

pub(crate) fn remove_file(path: &Path) -> Result<(), BlobError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

pub(crate) fn failed(operation: &'static str, path: &Path, source: std::io::Error) -> BlobError {
    BlobError::File { operation, path: path.to_owned(), source }
}

/// Runs file work on a blocking thread. A panic there is a bug and becomes an error here.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(failed("finish", Path::new("blocking thread"), std::io::Error::other(error)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a child has it between its making and its running.
    #[test]
    fn who_else_has_the_file_does_not_hold_it() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("upload");
        let take = || UploadLock::take(UploadLock::make(&path).expect("made"), &path).expect("asked");
        let Hold::Taken(lock) = take() else { panic!("nobody has it") };
        // NFS locks for one alone only what may be written to.
        let found = UploadLock::open(&path).expect("opened").expect("there");
        assert!(found.set_len(1).is_ok() && found.set_len(0).is_ok());
        let also = lock.file.0.try_clone().expect("another descriptor");
        assert!(matches!(take(), Hold::Busy));
        drop(lock);
        assert!(matches!(take(), Hold::Taken(_)));
        drop(also);
    }

    #[test]
    fn many_uploads_wait_with_less_each() {
        let count = Arc::new(AtomicUsize::new(0));
        let mut open: Vec<OpenUpload> = Vec::new();
        let most = limit::UPLOADS_BYTES / limit::UPLOAD_CHUNK_BYTES_MIN;
        for number in 1..=most + 1 {
            open.push(OpenUpload::new(count.clone()));
            let each = open[0].chunk_bytes();
            assert!((limit::UPLOAD_CHUNK_BYTES_MIN..=limit::UPLOAD_CHUNK_BYTES).contains(&each));
            assert!(each * number <= limit::UPLOADS_BYTES || number > most, "{number}");
        }
        let few = limit::UPLOADS_BYTES / limit::UPLOAD_CHUNK_BYTES;
        open.truncate(few + 1);
        assert!(open[0].chunk_bytes() < limit::UPLOAD_CHUNK_BYTES);
        open.truncate(few);
        assert_eq!(open[0].chunk_bytes(), limit::UPLOAD_CHUNK_BYTES);
    }
}
