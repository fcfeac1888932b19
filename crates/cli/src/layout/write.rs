//! Writing a layout. Nothing that looks finished is there before it is: an archive gets its name at its end, a folder
//! its `index.json`.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter, IsTerminal as _, Read, Write},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Digest, limit::MANIFEST_BYTES};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{
    DOCKER, INDEX, MARK, MARK_TEXT, REF_NAME, REPOSITORY, Verified, blob_name, blob_path,
    read::{check_folders, entries, open_plain},
    unreadable, unwritable,
};

/// Where a layout is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A tar archive.
    Archive(PathBuf),
    /// A folder; what it holds stays.
    Folder(PathBuf),
    /// A tar archive on stdout.
    Stdout,
    /// A tar archive that goes into what is there and is no file: a pipe, a device.
    Stream(PathBuf),
}

/// Links that lead from one to another.
const LINKS: usize = 40;

impl Destination {
    /// `FILE`, `oci-archive:FILE`, `oci:DIR`, or `-` where that is no terminal.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        if text != "-" {
            return match text.strip_prefix("oci:") {
                Some(path) => Ok(Self::Folder(path.into())),
                None => Self::at(Path::new(text.strip_prefix("oci-archive:").unwrap_or(text))),
            };
        }
        if io::stdout().is_terminal() {
            return Err(for_a_terminal());
        }
        Ok(Self::Stdout)
    }

    /// What is there decides: a plain file or nothing is replaced as a whole, and a link to it stays; what else has a
    /// name in the file system keeps it, and takes the bytes.
    fn at(path: &Path) -> Result<Self, Problem> {
        let failed = |error: io::Error| unwritable(path, error);
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                followed(path).map(Self::Archive).map_err(failed)
            }
            Err(error) => Err(failed(error)),
            Ok(data) if data.is_dir() => {
                let message = format!("`{}` is a folder", path.display());
                Err(Problem::new(ErrorCode::Invalid, message)
                    .hint("write `--to oci:DIR` for a layout in a folder"))
            }
            // `/dev/stdout`, whatever the shell made of it.
            Ok(data) if is_stdout(&data) => Self::parse("-"),
            Ok(data) if data.is_file() => fs::canonicalize(path).map(Self::Archive).map_err(failed),
            Ok(_) => Ok(Self::Stream(path.into())),
        }
    }
}

fn for_a_terminal() -> Problem {
    Problem::new(ErrorCode::Invalid, "an archive is not for a terminal")
        .hint("redirect stdout, or use `--to FILE.tar`")
}

fn is_stdout(data: &fs::Metadata) -> bool {
    fs::metadata("/proc/self/fd/1").is_ok_and(|it| (it.dev(), it.ino()) == (data.dev(), data.ino()))
}

/// Where a path leads, whose end is not there yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            // It is no link, or is not there.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("its links lead in a circle"))
}

/// A layout in the making.
pub(crate) struct Writer(Kind);

enum Kind {
    Archive(tar::Builder<BufWriter<NamedTempFile>>, PathBuf),
    Stream(tar::Builder<BufWriter<Box<dyn Write + Send>>>, PathBuf),
    Folder(PathBuf),
}

const BUFFER_BYTES: usize = 256 * 1024;

impl Writer {
    pub(crate) fn create(to: &Destination) -> Result<Self, Problem> {
        match to {
            Destination::Stdout => Self::stream(Box::new(io::stdout()), Path::new("stdout")),
            Destination::Stream(path) => {
                let opened = File::options().write(true).open(path);
                let file = opened.map_err(|error| unwritable(path, error))?;
                if file.is_terminal() {
                    return Err(for_a_terminal());
                }
                Self::stream(Box::new(file), path)
            }
            Destination::Archive(path) => {
                let begun = beside(path).and_then(|file| {
                    let mut builder = tar::Builder::new(BufWriter::with_capacity(BUFFER_BYTES, file));
                    append(&mut builder, MARK, MARK_TEXT.as_bytes())?;
                    Ok(builder)
                });
                let builder = begun.map_err(|error| unwritable(path, error))?;
                Ok(Self(Kind::Archive(builder, path.clone())))
            }
            Destination::Folder(path) => {
                prepare(path)?;
                Ok(Self(Kind::Folder(path.clone())))
            }
        }
    }

    fn stream(to: Box<dyn Write + Send>, name: &Path) -> Result<Self, Problem> {
        let mut builder = tar::Builder::new(BufWriter::with_capacity(BUFFER_BYTES, to));
        append(&mut builder, MARK, MARK_TEXT.as_bytes()).map_err(|error| unwritable(name, error))?;
        Ok(Self(Kind::Stream(builder, name.into())))
    }

    /// True when the bytes are there already, whole. Reads them.
    pub(crate) fn holds(&self, digest: &Digest, size: u64) -> bool {
        let Kind::Folder(root) = &self.0 else { return false };
        let Ok((file, bytes)) = open_plain(&blob_path(root, digest)) else { return false };
        bytes == size && io::copy(&mut Verified::new(file, *digest, size), &mut io::sink()).is_ok()
    }

    /// Writes the bytes of a digest as they come. Bytes that are not those leave nothing behind.
    pub(crate) fn blob(&mut self, digest: &Digest, size: u64, bytes: impl Read) -> io::Result<()> {
        let mut bytes = Verified::new(bytes, *digest, size);
        match &mut self.0 {
            Kind::Archive(builder, _) => append_from(builder, &blob_name(digest), size, &mut bytes),
            Kind::Stream(builder, _) => append_from(builder, &blob_name(digest), size, &mut bytes),
            Kind::Folder(root) => {
                let path = blob_path(root, digest);
                let mut file = beside(&path)?;
                io::copy(&mut bytes, &mut file)?;
                keep(file, &path)
            }
        }
    }

    /// Names the images, last of all: `entries` are those of `index.json`, `docker` those of `manifest.json`.
    pub(crate) fn finish(self, entries: &[Value], docker: &[Value]) -> Result<(), Problem> {
        match self.0 {
            Kind::Archive(mut builder, path) => {
                let index = index_text(entries)?;
                let whole = end(&mut builder, &index, docker)
                    .and_then(|()| builder.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error))
                    .and_then(|file| keep(file, &path));
                whole.map_err(|error| unwritable(&path, error))
            }
            Kind::Stream(mut builder, name) => {
                let index = index_text(entries)?;
                let whole = end(&mut builder, &index, docker).and_then(|()| builder.into_inner()?.flush());
                whole.map_err(|error| unwritable(&name, error))
            }
            Kind::Folder(root) => {
                let path = root.join(INDEX);
                let index = index_text(&merged(&path, entries)?)?;
                let written = beside(&path).and_then(|mut file| {
                    file.write_all(index.as_bytes())?;
                    keep(file, &path)
                });
                written.map_err(|error| unwritable(&path, error))
            }
        }
    }
}

/// A folder that is a layout, or becomes one. What is something else is left alone.
fn prepare(root: &Path) -> Result<(), Problem> {
    let failed = |error: io::Error| unwritable(root, error);
    let mark = root.join(MARK);
    fs::create_dir_all(root).map_err(failed)?;
    if !mark.exists() && fs::read_dir(root).map_err(failed)?.next().is_some() {
        let message = format!("`{}` has files, and is no OCI layout", root.display());
        return Err(Problem::new(ErrorCode::Invalid, message).hint("name an empty folder, or another layout"));
    }
    check_folders(root)?;
    // One that cannot be read is not written over at the end of a long export.
    merged(&root.join(INDEX), &[])?;
    let made = fs::create_dir_all(root.join("blobs/sha256")).and_then(|()| {
        fs::create_dir_all(root.join("blobs/sha512"))?;
        if mark.exists() { Ok(()) } else { fs::write(&mark, MARK_TEXT) }
    });
    made.map_err(failed)
}

/// What an `index.json` has already, and these. A name is one entry's: its older entry goes.
fn merged(path: &Path, fresh: &[Value]) -> Result<Vec<Value>, Problem> {
    let (file, bytes) = match open_plain(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(fresh.to_vec()),
        Err(error) => return Err(unreadable(path, error)),
    };
    let mut text = Vec::new();
    if bytes > MANIFEST_BYTES as u64 {
        return Err(unreadable(path, format!("it is longer than {MANIFEST_BYTES} bytes")));
    }
    file.take(bytes).read_to_end(&mut text).map_err(|error| unreadable(path, error))?;
    entries(path, &text)?;
    // As they are: with what only their writer knows.
    let index: Value = serde_json::from_slice(&text).map_err(|error| unreadable(path, error))?;
    let mut all = index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    all.retain(|old| !fresh.iter().any(|new| replaces(new, old)));
    all.extend_from_slice(fresh);
    Ok(all)
}

fn replaces(new: &Value, old: &Value) -> bool {
    let annotation = |entry: &Value, key: &str| {
        entry.get("annotations")?.get(key).and_then(Value::as_str).map(str::to_owned)
    };
    let name = |entry: &Value| annotation(entry, REF_NAME);
    let same_image = new.get("digest") == old.get("digest")
        && name(new) == name(old)
        && annotation(new, REPOSITORY) == annotation(old, REPOSITORY);
    same_image || (name(new).is_some() && name(new) == name(old))
}

fn index_text(entries: &[Value]) -> Result<String, Problem> {
    let most = seaworthy_oci::limit::INDEX_CHILDREN;
    let index =
        json!({"schemaVersion": 2, "mediaType": seaworthy_oci::media::OCI_INDEX, "manifests": entries});
    let text = index.to_string();
    if text.len() > MANIFEST_BYTES || entries.len() > most {
        let message =
            format!("the layout would have an index of more than {MANIFEST_BYTES} bytes or {most} entries");
        return Err(Problem::new(ErrorCode::TooLarge, message).hint("export fewer images at once"));
    }
    Ok(text)
}

fn end<W: Write>(builder: &mut tar::Builder<W>, index: &str, docker: &[Value]) -> io::Result<()> {
    if !docker.is_empty() {
        append(builder, DOCKER, json!(docker).to_string().as_bytes())?;
    }
    append(builder, INDEX, index.as_bytes())?;
    builder.finish()
}

fn append<W: Write>(builder: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    append_from(builder, name, bytes.len() as u64, bytes)
}

/// The same content gives the same archive: no times, no owners.
fn append_from<W: Write>(
    builder: &mut tar::Builder<W>,
    name: &str,
    size: u64,
    bytes: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    builder.append_data(&mut header, name, bytes)
}

/// A file in the same folder, which goes away unless it gets its name.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".seaworthy-")
        .suffix(".part")
        // What the caller's umask leaves of it.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
}

/// Gives a file its name, durably.
fn keep(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_archive_has_its_name_at_its_end_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let to = Destination::parse(path.to_str().unwrap()).unwrap();
        let mut writer = Writer::create(&to).unwrap();
        assert!(!path.exists());
        writer.blob(&Digest::sha256(b"abc"), 3, &b"abc"[..]).unwrap();
        assert!(writer.blob(&Digest::sha256(b"other"), 3, &b"abc"[..]).is_err());
        drop(writer);
        assert_eq!(files(folder.path()), Vec::<String>::new());

        let mut long = seaworthy_oci::Hasher::new(seaworthy_oci::Algorithm::Sha512);
        long.update(b"abc");
        let long = long.finish();
        let mut writer = Writer::create(&to).unwrap();
        writer.blob(&Digest::sha256(b"abc"), 3, &b"abc"[..]).unwrap();
        writer.blob(&long, 3, &b"abc"[..]).unwrap();
        writer.finish(&[], &[json!({})]).unwrap();
        assert_eq!(files(folder.path()), ["a.tar"]);
        let mut archive = tar::Archive::new(File::open(&path).unwrap());
        let names = archive.entries().unwrap().map(|it| it.unwrap().path().unwrap().display().to_string());
        let wanted = [MARK, &blob_name(&Digest::sha256(b"abc")), &blob_name(&long), DOCKER, INDEX];
        assert_eq!(names.collect::<Vec<_>>(), wanted);
    }

    /// An archive with one blob, to where these words say.
    fn write(text: &Path) -> Result<(), Problem> {
        let mut writer = Writer::create(&Destination::parse(text.to_str().unwrap())?)?;
        writer.blob(&Digest::sha256(b"abc"), 3, &b"abc"[..]).unwrap();
        writer.finish(&[], &[])
    }

    #[test]
    fn links_stay_and_what_they_lead_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("far")).unwrap();
        fs::write(at("far/old.tar"), "old").unwrap();
        for (link, target) in [("full", "far/old.tar"), ("empty", "far/new.tar"), ("chain", "empty")] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
            write(&at(link)).unwrap();
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
            assert!(fs::metadata(at(link)).unwrap().len() > 1024, "{link}");
        }
        assert_eq!(files(&at("far")), ["new.tar", "old.tar"]);
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        assert!(write(&at("loop")).is_err());
        assert_eq!(write(&at("far")).unwrap_err().code, ErrorCode::Invalid);
    }

    #[test]
    fn pipes_and_devices_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe)
        });
        let written = write(&pipe);
        let is_pipe = !fs::metadata(&pipe).unwrap().is_file();
        assert!(is_pipe && written.is_ok(), "{written:?}");
        let file = folder.path().join("file.tar");
        write(&file).unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), fs::read(&file).unwrap());
        assert_eq!(files(folder.path()), ["file.tar", "pipe"]);
        // Nothing is written there.
        let null = Destination::parse("/dev/null").unwrap();
        assert!(matches!(null, Destination::Stream(_) | Destination::Stdout), "{null:?}");
    }

    #[test]
    fn a_folder_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("layout");
        let to = Destination::parse(&format!("oci:{}", root.display())).unwrap();
        let entry = |digest: &str, name: Option<&str>| {
            json!({"mediaType": seaworthy_oci::media::OCI_MANIFEST, "size": 0,
                "digest": Digest::sha256(digest.as_bytes()), "x-kept": true,
                "annotations": name.map_or(json!({}), |name| json!({REF_NAME: name}))})
        };
        let write = |entries: Vec<Value>| {
            let writer = Writer::create(&to).unwrap();
            writer.finish(&entries, &[]).unwrap();
            let index: Value = serde_json::from_slice(&fs::read(root.join(INDEX)).unwrap()).unwrap();
            index["manifests"].as_array().unwrap().clone()
        };
        write(vec![entry("a", Some("a:1")), entry("b", None)]);
        let all = write(vec![entry("c", Some("a:1")), entry("d", Some("d:1")), entry("b", None)]);
        let wanted = [entry("c", Some("a:1")), entry("d", Some("d:1")), entry("b", None)];
        assert_eq!(all, wanted, "a name moves, and nothing is there twice");

        let mut writer = Writer::create(&to).unwrap();
        let digest = Digest::sha256(b"abc");
        assert!(!writer.holds(&digest, 3));
        writer.blob(&digest, 3, &b"abc"[..]).unwrap();
        assert!(writer.holds(&digest, 3) && !writer.holds(&digest, 4));
        fs::write(blob_path(&root, &digest), "abd").unwrap();
        assert!(!writer.holds(&digest, 3), "it is read again");
        assert!(writer.blob(&digest, 3, &b"xyz"[..]).is_err());
        assert_eq!(files(&root.join("blobs/sha256")), [digest.hex()]);

        fs::write(root.join(INDEX), "{").unwrap();
        assert!(Writer::create(&to).is_err(), "what cannot be read is not written over");
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("file"), "").unwrap();
        assert!(Writer::create(&Destination::Folder(other.path().into())).is_err());
    }

    #[test]
    fn indexes_stay_readable() {
        let entry = json!({"digest": "x"});
        let most = seaworthy_oci::limit::INDEX_CHILDREN;
        assert!(index_text(&vec![entry.clone(); most]).is_ok());
        assert!(index_text(&vec![entry; most + 1]).is_err());
        assert!(index_text(&[json!(" ".repeat(MANIFEST_BYTES))]).is_err());
    }
}
