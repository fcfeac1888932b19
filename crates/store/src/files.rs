//! Looking after what is stored: whether it is all there, and what nobody knows.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, Hasher};

use crate::{
    BlobCopy, Blobs, args,
    error::{BlobError, is_of_file},
    limit,
    upload::{blocking, failed},
};

/// What is there of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// So many bytes, which is not what its row says.
    Length(u64),
    /// All of it, by its length.
    Whole,
    /// Other bytes of that length.
    Rotten,
    /// Something that cannot be read.
    Unreadable,
    /// Something that this process may not read: the rights are wrong, and probably those of others too.
    Denied,
}

/// A file of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// What it is called.
    pub copy: BlobCopy,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written to, by the clock of its disk.
    pub modified_at: Timestamp,
}

impl Blobs {
    /// Whether a copy has the `size` bytes of its row.
    pub async fn look(&self, room: &'static str, copy: BlobCopy, size: u64) -> Result<Found, BlobError> {
        let of_length = move |length| if length == size { Found::Whole } else { Found::Length(length) };
        if size <= limit::SMALL_BLOB_BYTES as u64 {
            let found = self.small_bytes(room, &copy).await?;
            return Ok(found.map_or(Found::Missing, |bytes| of_length(bytes.len() as u64)));
        }
        let path = self.blob_path(room, &copy);
        blocking(move || match fs::metadata(&path) {
            Ok(data) if !data.is_file() => Ok(Found::Unreadable),
            Ok(data) => Ok(of_length(data.len())),
            Err(source) => unread("inspect", &path, source),
        })
        .await
    }

    /// [`Blobs::look`], and whether the bytes are those of the digest: all of them are read.
    pub async fn hash(&self, room: &'static str, copy: BlobCopy, size: u64) -> Result<Found, BlobError> {
        let found = self.look(room, copy, size).await?;
        if found != Found::Whole {
            return Ok(found);
        }
        let mut hasher = Hasher::new(copy.digest.algorithm());
        if size <= limit::SMALL_BLOB_BYTES as u64 {
            hasher.update(&self.small_bytes(room, &copy).await?.unwrap_or_default());
        } else {
            let path = self.blob_path(room, &copy);
            let at = path.clone();
            let opened = blocking(move || match File::open(&at) {
                Ok(file) => Ok(Ok(file)),
                Err(source) => unread("open", &at, source).map(Err),
            });
            let mut file = match opened.await? {
                Ok(file) => file,
                Err(found) => return Ok(found),
            };
            // In slices: who is cancelled does not read a large one to its end.
            loop {
                let at = path.clone();
                let slice = blocking(move || match hash_slice(hasher, file) {
                    Ok(read) => Ok(Ok(read)),
                    Err(source) => unread("read", &at, source).map(Err),
                });
                match slice.await? {
                    Err(found) => return Ok(found),
                    Ok((read, next, true)) => (hasher, file) = (read, next),
                    Ok((read, ..)) => {
                        hasher = read;
                        break;
                    }
                }
            }
        }
        Ok(if hasher.finish() == copy.digest { Found::Whole } else { Found::Rotten })
    }

    async fn small_bytes(&self, room: &'static str, copy: &BlobCopy) -> Result<Option<Vec<u8>>, BlobError> {
        let sql = "SELECT bytes FROM store_small_blobs WHERE room = $1 AND digest = $2";
        let row = self.db().fetch_optional(sql, args![room, &copy.digest.to_string()]).await?;
        Ok(row.map(|row| row.bytes(0).map(<[u8]>::to_vec)).transpose()?)
    }

    /// The blobs' files of one folder: a digest's algorithm and its first two digits. What is called
    /// otherwise is none of ours.
    pub async fn folder(
        &self,
        room: &'static str,
        algorithm: &'static str,
        fan: u8,
    ) -> Result<Vec<StoredFile>, BlobError> {
        let folder = self.root().join("blobs").join(room).join(algorithm).join(format!("{fan:02x}"));
        blocking(move || {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(source) => return Err(failed("list", &folder, source)),
            };
            let mut files = Vec::new();
            for entry in entries {
                let entry = entry.map_err(|source| failed("list", &folder, source))?;
                let name = entry.file_name();
                let Some(copy) = name.to_str().and_then(|name| named(algorithm, name)) else { continue };
                // It went while the folder was read.
                let Ok(data) = entry.metadata() else { continue };
                let modified_at = Timestamp::from_micros(
                    data.mtime().saturating_mul(1_000_000) + data.mtime_nsec() / 1_000,
                );
                files.push(StoredFile { copy, size: data.len(), modified_at });
            }
            files.sort_by_key(|file| (file.copy.digest, file.copy.upload));
            Ok(files)
        })
        .await
    }
}

/// The copy that a file is called after.
fn named(algorithm: &str, name: &str) -> Option<BlobCopy> {
    let (hex, upload) = name.split_once('.').map_or((name, None), |(hex, upload)| (hex, Some(upload)));
    let digest: Digest = format!("{algorithm}:{hex}").parse().ok()?;
    let upload = match upload {
        None => None,
        Some(upload) => Some(upload.parse().ok()?),
    };
    Some(BlobCopy { digest, upload })
}

/// What an error says of one file; else it is no answer.
fn unread(operation: &'static str, path: &Path, source: std::io::Error) -> Result<Found, BlobError> {
    if source.kind() == std::io::ErrorKind::NotFound {
        return Ok(Found::Missing);
    }
    if source.kind() == std::io::ErrorKind::PermissionDenied {
        tracing::error!(path = %path.display(), error = %source, "a file of a blob may not be read by this user");
        return Ok(Found::Denied);
    }
    if !is_of_file(&source) {
        return Err(failed(operation, path, source));
    }
    tracing::error!(path = %path.display(), error = %source, "a file of a blob is not to be read");
    Ok(Found::Unreadable)
}

/// Hashes the next slice of a file; false when that was the last.
fn hash_slice(mut hasher: Hasher, mut file: File) -> std::io::Result<(Hasher, File, bool)> {
    let mut buffer = vec![0; limit::UPLOAD_CHUNK_BYTES];
    for _ in 0..limit::SLICE_CHUNKS {
        let length = file.read(&mut buffer)?;
        match buffer.get(..length).filter(|chunk| !chunk.is_empty()) {
            Some(chunk) => hasher.update(chunk),
            None => return Ok((hasher, file, false)),
        }
    }
    Ok((hasher, file, true))
}
