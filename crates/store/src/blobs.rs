use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicUsize},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use seaworthy_model::UploadId;
use seaworthy_oci::{Algorithm, Digest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Db, DbError, Hold, Tx, Upload, UploadLock, UploadState, args,
    error::{BlobError, is_of_file},
    intake::Intake,
    limit,
    map::SentFile,
    mark::Claimed,
    upload::{OpenUpload, blocking, failed, remove_file},
};

/// Immutable bytes by (room, digest): files under DATA, small ones in SQL. Cheap to clone.
///
/// A blob is durable under its final name before [`Upload::finish`] returns; the caller's row
/// comes after. A blob without a row is swept by its room; a row without a blob cannot be.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    db: Db,
    floor_bytes: u64,
    /// Uploads that bytes are taken in for.
    uploads: Arc<AtomicUsize>,
    intake: Arc<Intake>,
    /// Turns for reading an upload's file again: others need threads and processors too.
    rereads: Arc<Semaphore>,
    claimed: Claimed,
}

/// A blob of at most [`limit::SMALL_BLOB_BYTES`], on its way into SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallBlob {
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Bytes,
}

/// One stored copy of a blob.
///
/// A room that removes blobs while others are pushed calls each copy by the upload that brought it: a
/// name is used once, so who is late to remove one copy cannot hit the next. Other rooms keep one copy
/// for ever, called by its digest alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlobCopy {
    /// The blob.
    pub digest: Digest,
    /// The upload that brought this copy, where copies are called by it.
    pub upload: Option<UploadId>,
}

impl From<&Digest> for BlobCopy {
    fn from(digest: &Digest) -> Self {
        Self { digest: *digest, upload: None }
    }
}

/// An open blob.
#[derive(Debug)]
pub struct BlobReader {
    /// Length in bytes.
    pub size: u64,
    /// Where the bytes are.
    pub source: BlobSource,
}

/// Where an open blob's bytes are.
#[derive(Debug)]
pub enum BlobSource {
    /// In memory, from SQL.
    Bytes(Bytes),
    /// In a file.
    File(File),
}

impl Blobs {
    /// Blobs below `root` (DATA); uploads are refused while less than `floor_bytes` are free.
    pub fn new(root: PathBuf, db: Db, floor_bytes: u64) -> Self {
        let (uploads, intake) = (Arc::default(), Intake::new());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let rereads = Arc::new(Semaphore::new(processors));
        let claimed = Claimed::new();
        Self { inner: Arc::new(Inner { root, db, floor_bytes, uploads, intake, rereads, claimed }) }
    }

    /// A turn for reading an upload's file again, which whoever reads holds to the end.
    pub(crate) async fn reread_turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.inner.rereads.clone().acquire_owned().await.ok()
    }

    /// Counts an upload for as long as the guard lives.
    pub(crate) fn open_upload(&self) -> OpenUpload {
        OpenUpload::new(self.inner.uploads.clone())
    }

    /// Begins an upload. Refused below the disk floor.
    pub fn begin(&self, room: &'static str, id: UploadId, algorithm: Algorithm) -> Result<Upload, BlobError> {
        self.check_floor()?;
        Ok(Upload::fresh(self.clone(), room, id, algorithm))
    }

    /// Goes on with an upload that was suspended, on this or an earlier run of the server.
    /// Whoever else may write to its file is kept away by `lock`.
    pub async fn resume(
        &self,
        room: &'static str,
        state: UploadState,
        lock: Option<UploadLock>,
    ) -> Result<Upload, BlobError> {
        self.check_floor()?;
        Upload::resumed(self.clone(), room, state, lock).await
    }

    /// Takes an upload's file for this request alone, among all servers that share the directory: two
    /// writers would mix their bytes under one hash. Read what is known of the upload afterwards, not
    /// before.
    pub async fn hold(&self, room: &'static str, id: UploadId) -> Result<Hold, BlobError> {
        let path = self.upload_path(room, id);
        // Most that are asked for have no file, which is told in microseconds.
        let Some(file) = UploadLock::open(&path)? else { return Ok(Hold::NoFile) };
        blocking(move || UploadLock::take(file, &path)).await
    }

    /// The same of an upload that may have no file yet: then it is made. Who finds that the upload has ended meanwhile
    /// discards it.
    pub async fn hold_or_make(&self, room: &'static str, id: UploadId) -> Result<Hold, BlobError> {
        let path = self.upload_path(room, id);
        blocking(move || UploadLock::take(UploadLock::make(&path)?, &path)).await
    }

    /// How many bytes an upload's file holds, acknowledged or not; none without a file.
    pub async fn upload_length(&self, room: &'static str, id: UploadId) -> Result<u64, BlobError> {
        let path = self.upload_path(room, id);
        blocking(move || match std::fs::metadata(&path) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(failed("inspect", &path, source)),
        })
        .await
    }

    /// Forgets an upload's bytes.
    pub async fn discard(&self, room: &str, id: UploadId) -> Result<(), BlobError> {
        let path = self.upload_path(room, id);
        // As in `hold`.
        if UploadLock::open(&path)?.is_none() {
            return Ok(());
        }
        blocking(move || remove_file(&path)).await
    }

    /// Opens a blob whose row says it has `size` bytes; `None` when it is not stored. A length
    /// that differs from the row's is an error, never short data.
    pub async fn open(
        &self,
        room: &'static str,
        copy: impl Into<BlobCopy>,
        size: u64,
    ) -> Result<Option<BlobReader>, BlobError> {
        let copy = copy.into();
        let digest = &copy.digest;
        let truncated = |found| BlobError::Truncated { digest: copy.digest, found, expected: size };
        if size <= limit::SMALL_BLOB_BYTES as u64 {
            let row = self
                .inner
                .db
                .fetch_optional(
                    "SELECT bytes FROM store_small_blobs WHERE room = $1 AND digest = $2",
                    args![room, &digest.to_string()],
                )
                .await?;
            let Some(row) = row else { return Ok(None) };
            let bytes = Bytes::copy_from_slice(row.bytes(0)?);
            let found = bytes.len() as u64;
            return if found == size {
                Ok(Some(BlobReader { size, source: BlobSource::Bytes(bytes) }))
            } else {
                Err(truncated(found))
            };
        }
        let path = self.blob_path(room, &copy);
        let opened = blocking(move || match File::open(&path) {
            Ok(file) => {
                let found = file.metadata().map_err(|source| failed("inspect", &path, source))?.len();
                Ok(Some((file, found)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) if is_of_file(&source) => Err(BlobError::Unreadable { digest: copy.digest, source }),
            Err(source) => Err(failed("open", &path, source)),
        })
        .await?;
        match opened {
            Some((file, found)) if found == size => {
                Ok(Some(BlobReader { size, source: BlobSource::File(file) }))
            }
            Some((_, found)) => Err(truncated(found)),
            None => Ok(None),
        }
    }

    /// Stores bytes that are all in memory. Small ones come back to be put into SQL.
    pub async fn put(&self, room: &'static str, bytes: Bytes) -> Result<crate::Stored, BlobError> {
        let digest = Digest::sha256(&bytes);
        let id = UploadId::generate();
        let mut upload = self.begin(room, id, Algorithm::Sha256)?;
        let stored = match upload.write(bytes).await {
            Ok(()) => upload.finish(digest).await,
            Err(error) => Err(error),
        };
        if stored.is_err() {
            self.discard(room, id).await?;
        }
        stored
    }

    /// Makes a copy that no row names the file of `upload` again, whose request holds it.
    pub async fn put_back(
        &self,
        room: &'static str,
        copy: &BlobCopy,
        upload: UploadId,
    ) -> Result<(), BlobError> {
        let (from, to) = (self.blob_path(room, copy), self.upload_path(room, upload));
        blocking(move || {
            // Not over a file that another server has begun meanwhile.
            match std::fs::hard_link(&from, &to) {
                Ok(()) => remove_file(&from),
                // Some file systems have no links; whose request this is holds the upload among those of this server.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !to.exists() => {
                    std::fs::rename(&from, to).map_err(|source| failed("rename", &from, source))
                }
                Err(source) => Err(failed("link", &from, source)),
            }
        })
        .await
    }

    /// Takes a copy's file for this caller alone, among all servers: to remove it, or to have a row name it.
    pub async fn hold_copy(&self, room: &'static str, copy: &BlobCopy) -> Result<Hold, BlobError> {
        let path = self.blob_path(room, copy);
        blocking(move || match UploadLock::open(&path)? {
            Some(file) => UploadLock::take(file, &path),
            None => Ok(Hold::NoFile),
        })
        .await
    }

    /// Removes a copy's file, if there is one. The caller knows that no row names it, or none that is read.
    /// A loss of power may bring it back, as a file that no row names.
    pub async fn remove(&self, room: &'static str, copy: &BlobCopy) -> Result<(), BlobError> {
        let path = self.blob_path(room, copy);
        blocking(move || remove_file(&path)).await
    }

    /// Rooms that have upload files.
    pub async fn uploading_rooms(&self) -> Result<Vec<String>, BlobError> {
        let directory = self.inner.root.join("uploads");
        blocking(move || {
            let Ok(entries) = std::fs::read_dir(&directory) else { return Ok(Vec::new()) };
            Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
        })
        .await
    }

    /// Upload files of `room` that are older than `seconds`: sessions that no row remembers.
    pub async fn stale_uploads(&self, room: &str, seconds: u64) -> Result<Vec<UploadId>, BlobError> {
        let directory = self.inner.root.join("uploads").join(room);
        blocking(move || {
            let Ok(entries) = std::fs::read_dir(&directory) else { return Ok(Vec::new()) };
            let old = |entry: &std::fs::DirEntry| {
                entry
                    .metadata()
                    .and_then(|data| data.modified())
                    .ok()
                    .and_then(|modified| modified.elapsed().ok())
                    .is_some_and(|age| age.as_secs() >= seconds)
            };
            Ok(entries
                .filter_map(Result::ok)
                .filter(old)
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect())
        })
        .await
    }

    /// [`BlobError::DiskFloor`] when too little space is free, [`BlobError::Away`] when the directory is away.
    pub fn check_floor(&self) -> Result<(), BlobError> {
        if self.is_away() {
            return Err(BlobError::Away);
        }
        let floor_bytes = self.inner.floor_bytes;
        let stat = rustix::fs::statvfs(&self.inner.root)
            .map_err(|error| failed("measure", &self.inner.root, error.into()))?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) < floor_bytes {
            return Err(BlobError::DiskFloor { floor_bytes });
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.inner.root
    }

    pub(crate) fn claimed(&self) -> &Claimed {
        &self.inner.claimed
    }

    pub(crate) fn intake(&self) -> &Arc<Intake> {
        &self.inner.intake
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) fn blob_path(&self, room: &str, copy: &BlobCopy) -> PathBuf {
        let hex = copy.digest.hex();
        let fan = hex.get(..2).unwrap_or_default();
        let folder = self.inner.root.join("blobs").join(room).join(copy.digest.algorithm().name()).join(fan);
        match copy.upload {
            None => folder.join(&hex),
            Some(upload) => folder.join(format!("{hex}.{upload}")),
        }
    }

    pub(crate) fn upload_path(&self, room: &str, id: UploadId) -> PathBuf {
        self.inner.root.join("uploads").join(room).join(id.to_string())
    }
}

impl Tx<'_> {
    /// Stores a small blob in the transaction that names it.
    pub async fn put_small_blob(&mut self, room: &'static str, blob: &SmallBlob) -> Result<(), DbError> {
        self.execute(
            "INSERT INTO store_small_blobs (room, digest, bytes) VALUES ($1, $2, $3)
             ON CONFLICT (room, digest) DO NOTHING",
            args![room, &blob.digest.to_string(), blob.bytes.as_ref()],
        )
        .await
        .map(|_| ())
    }

    /// Removes a small blob in the transaction that forgets it.
    pub async fn remove_small_blob(&mut self, room: &'static str, digest: &Digest) -> Result<(), DbError> {
        self.execute(
            "DELETE FROM store_small_blobs WHERE room = $1 AND digest = $2",
            args![room, &digest.to_string()],
        )
        .await
        .map(|_| ())
    }
}

impl BlobReader {
    /// All bytes, for blobs that the caller knows to be small enough.
    pub async fn read_all(self) -> Result<Bytes, BlobError> {
        match self.source {
            BlobSource::Bytes(bytes) => Ok(bytes),
            BlobSource::File(file) => {
                let size = usize::try_from(self.size).unwrap_or(usize::MAX);
                blocking(move || {
                    let mut buffer = vec![0; size];
                    file.read_exact_at(&mut buffer, 0)
                        .map_err(|source| failed("read", Path::new("blob"), source))?;
                    Ok(buffer.into())
                })
                .await
            }
        }
    }

    /// The blob as an answer's body: read [`limit::READ_CHUNK_BYTES`] at a time.
    pub fn body(self) -> BlobBody {
        let source = match self.source {
            BlobSource::Bytes(bytes) => BodySource::Bytes(bytes),
            BlobSource::File(file) => BodySource::File(Arc::new(file)),
        };
        BlobBody { size: self.size, source }
    }

    /// The same for a door that sends files without reading them ([`crate::map::file_behind`]); any other
    /// reads the same bytes from the map.
    pub async fn mapped_body(self) -> Result<BlobBody, BlobError> {
        let BlobSource::File(file) = self.source else { return Ok(self.body()) };
        let map = move || SentFile::open(file).map_err(|source| failed("map", Path::new("blob"), source));
        Ok(BlobBody { size: self.size, source: BodySource::Map(blocking(map).await?) })
    }
}

/// A part of an answer that is made of a blob and of other bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// These bytes of the blob.
    Range(Range<u64>),
}

/// An open blob's bytes on their way into an answer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BlobBody {
    size: u64,
    source: BodySource,
}

#[derive(Clone, Debug)]
enum BodySource {
    Bytes(Bytes),
    File(Arc<File>),
    Map(Arc<SentFile>),
}

impl BlobBody {
    /// Length of the blob in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Ranges of the blob (clamped to it) and given bytes, one after the other.
    pub fn pieces(self, pieces: Vec<Piece>) -> impl Stream<Item = io::Result<Bytes>> + Send {
        stream::iter(pieces)
            .map(move |piece| match piece {
                Piece::Bytes(bytes) => stream::once(std::future::ready(Ok(bytes))).left_stream(),
                Piece::Range(range) => self.clone().stream(range).right_stream(),
            })
            .flatten()
    }

    /// The bytes of `range`, clamped to the blob.
    pub fn stream(self, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let end = range.end.min(self.size);
        let start = range.start.min(end);
        let first = match self.source {
            BodySource::Bytes(bytes) => {
                let slice = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                State::Memory(bytes.slice(slice(start)..slice(end)))
            }
            BodySource::File(file) => State::File { file, at: start, end },
            BodySource::Map(sent) => State::Memory(sent.slice(start..end)),
        };
        stream::try_unfold(first, |state| async move {
            match state {
                State::Memory(bytes) if bytes.is_empty() => Ok(None),
                State::Memory(bytes) => Ok(Some((bytes, State::Memory(Bytes::new())))),
                State::File { at, end, .. } if at >= end => Ok(None),
                State::File { file, at, end } => {
                    let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(limit::READ_CHUNK_BYTES);
                    let source = file.clone();
                    let chunk = tokio::task::spawn_blocking(move || {
                        let mut buffer = BytesMut::zeroed(length);
                        source.read_exact_at(&mut buffer, at).map(|()| buffer.freeze())
                    })
                    .await
                    .map_err(io::Error::other)??;
                    let at = at + chunk.len() as u64;
                    Ok(Some((chunk, State::File { file, at, end })))
                }
            }
        })
    }
}

enum State {
    Memory(Bytes),
    File { file: Arc<File>, at: u64, end: u64 },
}
