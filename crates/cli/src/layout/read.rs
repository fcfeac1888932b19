//! Reading a layout. Whatever it says is compared: manifests with their digests here, blobs while they are read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Descriptor, Digest, Manifest, limit::MANIFEST_BYTES, media};

use super::{
    INDEX, MARK, Verified,
    archive::{self, Table},
    blob_path, unreadable,
};

/// A layout as typed, and the name of one image in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) form: Form,
    pub(crate) path: PathBuf,
    pub(crate) name: Option<String>,
}

/// How a layout lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Folder,
    Archive,
}

impl Source {
    /// `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, or the path of a file; `None` for what names an image of a registry.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let named = |form, rest: &str| {
            // Names have colons, and so may paths: the longest path that is there.
            let ends = rest.match_indices(':').map(|(at, _)| at).rev();
            let found = ends.map(|at| rest.split_at(at)).find(|(path, _)| Path::new(path).exists());
            match found.filter(|_| !Path::new(rest).exists()) {
                Some((path, name)) => {
                    let name = name.trim_start_matches(':').to_owned();
                    Self { form, path: path.into(), name: Some(name).filter(|name| !name.is_empty()) }
                }
                None => Self { form, path: rest.into(), name: None },
            }
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            return Some(named(Form::Folder, rest));
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return Some(named(Form::Archive, rest));
        }
        let path = Path::new(text);
        path.is_file().then(|| Self { form: Form::Archive, path: path.into(), name: None })
    }
}

/// A layout that can be read.
#[derive(Debug)]
pub(crate) struct Layout {
    path: PathBuf,
    store: Store,
    entries: Vec<Descriptor>,
}

#[derive(Debug)]
enum Store {
    Folder,
    Archive(Arc<File>, Table),
}

impl Layout {
    pub(crate) fn open(source: &Source) -> Result<Self, Problem> {
        let path = source.path.clone();
        let store = match source.form {
            Form::Folder => {
                check_folders(&path)?;
                Store::Folder
            }
            Form::Archive => {
                let (file, table) = archive::open(&path)?;
                Store::Archive(Arc::new(file), table)
            }
        };
        let mut layout = Self { path, store, entries: Vec::new() };
        layout.check_mark()?;
        let bytes = layout.document(INDEX)?;
        layout.entries = entries(&layout.path.join(INDEX), &bytes)?;
        Ok(layout)
    }

    /// What `index.json` lists.
    pub(crate) fn entries(&self) -> &[Descriptor] {
        &self.entries
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of a digest, not compared yet; `None` when they are not there.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<Option<Blob>, Problem> {
        match &self.store {
            Store::Archive(file, table) => Ok(table.blobs.get(digest).map(|part| Blob {
                file: file.clone(),
                offset: part.offset,
                bytes: part.bytes,
            })),
            Store::Folder => {
                let path = blob_path(&self.path, digest);
                match open_plain(&path) {
                    Ok((file, bytes)) => Ok(Some(Blob { file: Arc::new(file), offset: 0, bytes })),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(unreadable(&path, error)),
                }
            }
        }
    }

    /// A blob whose length is the one that its descriptor says.
    pub(crate) fn described(&self, descriptor: &Descriptor) -> Result<Option<Blob>, Problem> {
        let Some(blob) = self.blob(&descriptor.digest)? else { return Ok(None) };
        if blob.bytes != descriptor.size {
            let (digest, said, found) = (descriptor.digest, descriptor.size, blob.bytes);
            let message = format!("{digest} is said to have {said} bytes, and has {found}");
            return Err(Problem::new(ErrorCode::SizeInvalid, message));
        }
        Ok(Some(blob))
    }

    /// A manifest or an index with its exact bytes; `None` when it is not there.
    pub(crate) fn manifest(&self, descriptor: &Descriptor) -> Result<Option<(Bytes, Manifest)>, Problem> {
        let Some(blob) = self.described(descriptor)? else { return Ok(None) };
        let digest = descriptor.digest;
        let bad = |why: String| {
            Problem::new(ErrorCode::ManifestInvalid, format!("manifest {digest} cannot be used: {why}"))
        };
        if blob.bytes > MANIFEST_BYTES as u64 {
            return Err(bad(format!("it is longer than {MANIFEST_BYTES} bytes")));
        }
        let mut bytes = Vec::new();
        let read = Verified::new(blob.reader(), digest, blob.bytes).read_to_end(&mut bytes);
        read.map_err(|error| bad(error.to_string()))?;
        let manifest = Manifest::parse(&bytes, said(&descriptor.media_type));
        let manifest = manifest.map_err(|error| bad(seaworthy_store::chain(&error)))?;
        Ok(Some((bytes.into(), manifest)))
    }

    fn check_mark(&self) -> Result<(), Problem> {
        let path = self.path.join(MARK);
        let bytes = self.document(MARK)?;
        let mark: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|error| unreadable(&path, format!("it is no JSON: {error}")))?;
        match mark.get("imageLayoutVersion").and_then(serde_json::Value::as_str) {
            Some("1.0.0") => Ok(()),
            _ => Err(unreadable(&path, "its `imageLayoutVersion` is not `1.0.0`")),
        }
    }

    /// `oci-layout` or `index.json`, at most as long as a manifest.
    fn document(&self, name: &str) -> Result<Vec<u8>, Problem> {
        let path = self.path.join(name);
        let blob = match &self.store {
            Store::Folder => {
                let (file, bytes) = open_plain(&path).map_err(|error| unreadable(&path, error))?;
                Blob { file: Arc::new(file), offset: 0, bytes }
            }
            Store::Archive(file, table) => {
                let part = if name == MARK { table.mark } else { table.index };
                let part = part.ok_or_else(|| unreadable(&path, "it is not there"))?;
                Blob { file: file.clone(), offset: part.offset, bytes: part.bytes }
            }
        };
        if blob.bytes > MANIFEST_BYTES as u64 {
            return Err(unreadable(&path, format!("it is longer than {MANIFEST_BYTES} bytes")));
        }
        let mut bytes = Vec::new();
        blob.reader().read_to_end(&mut bytes).map_err(|error| unreadable(&path, error))?;
        Ok(bytes)
    }
}

/// What an `index.json` lists.
pub(super) fn entries(path: &Path, bytes: &[u8]) -> Result<Vec<Descriptor>, Problem> {
    // Its media type is a property that it should have, and that some leave out.
    match Manifest::parse(bytes, None) {
        Ok(Manifest::Index(index)) => Ok(index.manifests),
        Ok(Manifest::Image(_)) => Err(unreadable(path, "it is not an image index")),
        Err(error) => Err(unreadable(path, seaworthy_store::chain(&error))),
    }
}

/// A media type that decides how a manifest is read; what a descriptor says beside those is nothing to us.
fn said(media_type: &str) -> Option<&str> {
    media::is_manifest(media_type).then_some(media_type)
}

/// A folder's own folders are no links: what is read lies within.
pub(super) fn check_folders(root: &Path) -> Result<(), Problem> {
    for name in ["blobs", "blobs/sha256", "blobs/sha512"] {
        let path = root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(data) if !data.is_dir() => return Err(unreadable(&path, "it is not a folder")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&path, error)),
        }
    }
    Ok(())
}

/// Opens a plain file that is no link, and says how long it is. A pipe keeps nobody waiting.
pub(super) fn open_plain(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path);
    let file = file.map_err(|error| match error.raw_os_error() {
        Some(nix::libc::ELOOP) => io::Error::other("it is a link"),
        _ => error,
    })?;
    let data = file.metadata()?;
    if data.is_file() { Ok((file, data.len())) } else { Err(io::Error::other("it is not a plain file")) }
}

/// A part of a file.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    file: Arc<File>,
    offset: u64,
    pub(crate) bytes: u64,
}

impl Blob {
    /// From its beginning. Several read one file at once.
    pub(crate) fn reader(&self) -> BlobReader {
        BlobReader { blob: self.clone(), at: 0 }
    }
}

/// Reads a part of a file.
#[derive(Debug)]
pub(crate) struct BlobReader {
    blob: Blob,
    at: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.blob.bytes - self.at).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let part = buffer.get_mut(..most).unwrap_or_default();
        let count = self.blob.file.read_at(part, self.blob.offset + self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(index: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        fs::write(folder.path().join(MARK), super::super::MARK_TEXT).unwrap();
        fs::write(folder.path().join(INDEX), index).unwrap();
        folder
    }

    fn open(path: &Path) -> Result<Layout, Problem> {
        Layout::open(&Source { form: Form::Folder, path: path.into(), name: None })
    }

    const EMPTY: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

    #[test]
    fn sources_are_told_from_references() {
        let folder = folder(EMPTY);
        let at = folder.path().display();
        let parsed =
            |text: String| Source::parse(&text).map(|it| (it.form, it.path.display().to_string(), it.name));
        let here = at.to_string();
        assert_eq!(parsed(format!("oci:{at}")), Some((Form::Folder, here.clone(), None)));
        let named = Some("prod/web:1".to_owned());
        assert_eq!(parsed(format!("oci:{at}:prod/web:1")), Some((Form::Folder, here.clone(), named.clone())));
        let file = format!("{at}/{MARK}");
        assert_eq!(parsed(file.clone()), Some((Form::Archive, file.clone(), None)));
        assert_eq!(parsed(format!("oci-archive:{file}:prod/web:1")), Some((Form::Archive, file, named)));
        assert_eq!(parsed("oci:none".into()), Some((Form::Folder, "none".into(), None)));
        assert_eq!(parsed("docker.io/library/debian:12".into()), None);
        assert_eq!(parsed(here), None, "a folder is named as one");
    }

    #[test]
    fn an_index_is_bounded_and_is_one() {
        for (index, says) in [
            ("{", "strict JSON"),
            (r#"{"schemaVersion":2,"config":{},"layers":[]}"#, "misshapen"),
            (r#"{"schemaVersion":2}"#, "misshapen"),
        ] {
            let problem = open(folder(index).path()).expect_err(says);
            assert!(problem.message.contains(says), "{problem:?}");
        }
        for (extra, is_fine) in [(0, true), (1, false)] {
            let index = format!("{EMPTY}{}", " ".repeat(MANIFEST_BYTES - EMPTY.len() + extra));
            assert_eq!(open(folder(&index).path()).is_ok(), is_fine, "{extra}");
        }
    }

    #[test]
    fn nothing_outside_is_read() {
        use std::os::unix::fs::symlink;
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let digest = Digest::sha256(b"secret");

        let layout = folder(EMPTY);
        symlink(outside.path().join("secret"), blob_path(layout.path(), &digest)).unwrap();
        let problem = open(layout.path()).unwrap().blob(&digest).expect_err("a link");
        assert!(problem.message.ends_with("it is a link"), "{problem:?}");

        let layout = folder(EMPTY);
        fs::remove_dir(layout.path().join("blobs/sha256")).unwrap();
        symlink(outside.path(), layout.path().join("blobs/sha256")).unwrap();
        assert!(open(layout.path()).expect_err("a link").message.ends_with("not a folder"));

        let layout = folder(EMPTY);
        fs::create_dir(blob_path(layout.path(), &digest)).unwrap();
        assert!(open(layout.path()).unwrap().blob(&digest).is_err(), "a folder is no blob");
    }

    #[test]
    fn sizes_and_digests_are_compared() {
        let layout = folder(EMPTY);
        let digest = Digest::sha256(EMPTY.as_bytes());
        fs::write(blob_path(layout.path(), &digest), EMPTY).unwrap();
        let layout = open(layout.path()).unwrap();
        let text = |digest: Digest, size: usize| {
            format!(r#"{{"mediaType":"{}","digest":"{digest}","size":{size}}}"#, media::OCI_INDEX)
        };
        let descriptor = |text: String| serde_json::from_str::<Descriptor>(&text).unwrap();
        let good = descriptor(text(digest, EMPTY.len()));
        assert!(layout.manifest(&good).unwrap().is_some());
        let lying = layout.manifest(&descriptor(text(digest, 1))).expect_err("a lie");
        assert_eq!(lying.code, ErrorCode::SizeInvalid);
        let absent = descriptor(text(Digest::sha256(b""), 0));
        assert!(layout.manifest(&absent).unwrap().is_none());
        fs::write(blob_path(layout.path(), &digest), EMPTY.replace('2', "3")).unwrap();
        let flipped = layout.manifest(&good).expect_err("flipped");
        assert!(flipped.message.contains("those of"), "{flipped:?}");
    }
}
