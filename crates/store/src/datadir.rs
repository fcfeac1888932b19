use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use seaworthy_model::{ErrorCode, Problem};

/// Version of the layout below DATA; a newer one is refused.
const FORMAT: u32 = 1;
/// Where the marker of the format is written before it gets its name.
const FRESH_MARKER: &str = "format.new";
/// How often a lock of a holder that died is tried again, and how long apart: 5 s in all.
const HELD_BY_DEAD_WAITS: u32 = 100;
const HELD_BY_DEAD_WAIT: Duration = Duration::from_millis(50);

/// The data directory, locked for this process as long as the value lives, unless it was opened to read.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Option<File>,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another server holds it.
    #[error("`{path}` is in use by process {pid} ({command})")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The holder's process id, as it wrote it; `?` when it did not.
        pid: String,
        /// The holder's command.
        command: String,
    },
    /// There is none.
    #[error("there is no data directory at `{path}`")]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("`{path}` is not empty and not a Seaworthy data directory")]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error("`{path}` has data format {found}, this version knows {FORMAT}")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The format found.
        found: String,
    },
    /// The file system said no.
    #[error("failed to {operation} `{path}`")]
    File {
        /// Create, lock, read, …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl From<DataDirError> for Problem {
    fn from(error: DataDirError) -> Self {
        let message = crate::error::chain(&error);
        match error {
            DataDirError::InUse { .. } => Self::new(ErrorCode::Conflict, message)
                .hint("stop that process, or use another directory with `--data DIR`"),
            DataDirError::Absent { .. } => {
                Self::new(ErrorCode::NotFound, message).hint("name it with `--data DIR`")
            }
            DataDirError::NotOurs { .. } => {
                Self::new(ErrorCode::Conflict, message).hint("choose an empty directory with `--data DIR`")
            }
            DataDirError::Newer { .. } => {
                Self::new(ErrorCode::Conflict, message).hint("run the newer `seaworthy` that wrote it")
            }
            DataDirError::File { .. } => Self::new(ErrorCode::Unavailable, message)
                .hint("check the directory's owner, mode and mount options"),
        }
    }
}

impl DataDir {
    /// Opens `path`, creating it with mode 0700, and locks it. A holder that died is not obeyed:
    /// the kernel drops its lock with it, or a moment later with a child that it was starting.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::File { operation, path, source }
        };
        create_directory(path)?;
        let path = path.canonicalize().map_err(failed("resolve", path))?;
        let marker = path.join("format");
        check_format(&path, &marker)?;
        let lock = lock(&path, || std::thread::sleep(HELD_BY_DEAD_WAIT))?;
        if !marker.exists() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))
                .map_err(failed("protect", &path))?;
            write_marker(&path, &marker)?;
        }
        for sub in ["keys", "blobs", "uploads", "ledger"] {
            create_directory(&path.join(sub))?;
        }
        Ok(Self { path, _lock: Some(lock) })
    }

    /// Opens what an earlier [`open`](Self::open) made, to read. Makes and locks nothing.
    pub fn open_to_read(path: &Path) -> Result<Self, DataDirError> {
        let absent = || DataDirError::Absent { path: path.to_owned() };
        let path = match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(absent()),
            other => other.map_err(|source| DataDirError::File {
                operation: "resolve",
                path: path.to_owned(),
                source,
            })?,
        };
        let marker = path.join("format");
        check_format(&path, &marker)?;
        if !marker.exists() {
            return Err(absent());
        }
        Ok(Self { path, _lock: None })
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SQLite file.
    pub fn database(&self) -> PathBuf {
        self.path.join("seaworthy.sqlite")
    }

    /// The operator's socket.
    pub fn socket(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    /// Where keys are.
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// Where the ledger's tiles and checkpoint are.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger")
    }
}

/// Creates what is missing of a directory, each part durable in its parent: what is acknowledged
/// below it must not go with it when the power does.
fn create_directory(path: &Path) -> Result<(), DataDirError> {
    if path.is_dir() {
        return Ok(());
    }
    let failed = |operation| move |source| DataDirError::File { operation, path: path.to_owned(), source };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_directory(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other.map_err(failed("create"))?,
    }
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed("sync the parent of"))
}

/// Whole or not there: a directory without it, or with an empty one, is not ours at the next start.
fn write_marker(path: &Path, marker: &Path) -> Result<(), DataDirError> {
    let fresh = path.join(FRESH_MARKER);
    let failed = |operation| move |source| DataDirError::File { operation, path: marker.to_owned(), source };
    let mut file = File::create(&fresh).map_err(failed("create"))?;
    writeln!(file, "seaworthy-data {FORMAT}").and_then(|()| file.sync_all()).map_err(failed("write"))?;
    fs::rename(&fresh, marker).map_err(failed("rename"))?;
    File::open(path).and_then(|directory| directory.sync_all()).map_err(failed("sync"))
}

fn check_format(path: &Path, marker: &Path) -> Result<(), DataDirError> {
    match fs::read_to_string(marker) {
        Ok(text) => {
            let found = text.strip_prefix("seaworthy-data ").map(str::trim);
            match found {
                Some(found) if found.parse() == Ok(FORMAT) => Ok(()),
                Some(found) => Err(DataDirError::Newer {
                    path: path.to_owned(),
                    found: found.chars().take(20).collect(),
                }),
                None => Err(DataDirError::NotOurs { path: path.to_owned() }),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let failed = |source| DataDirError::File { operation: "list", path: path.to_owned(), source };
            // Only what an earlier start that died before writing the marker may have left.
            let foreign = fs::read_dir(path).map_err(failed)?.filter_map(Result::ok).any(|entry| {
                let ours = ["lock", "lost+found", "seaworthy.toml", FRESH_MARKER];
                !entry.file_name().to_str().is_some_and(|name| ours.contains(&name))
            });
            if foreign { Err(DataDirError::NotOurs { path: path.to_owned() }) } else { Ok(()) }
        }
        Err(source) => Err(DataDirError::File { operation: "read", path: marker.to_owned(), source }),
    }
}

fn lock(path: &Path, mut pause: impl FnMut()) -> Result<File, DataDirError> {
    let name = path.join("lock");
    let failed = |operation| {
        let path = name.clone();
        move |source| DataDirError::File { operation, path, source }
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(failed("open"))?;
    let mut waits = HELD_BY_DEAD_WAITS;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        let mut text = String::new();
        // The holder writes its id right after locking; an empty file is that moment.
        drop(file.rewind().and_then(|()| file.read_to_string(&mut text)));
        let pid = text.trim().to_owned();
        let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        // A killed holder's child has its files until it runs its own program: a moment.
        let holder_died = !pid.is_empty() && command.is_empty();
        if holder_died && waits > 0 {
            waits -= 1;
            pause();
            continue;
        }
        return Err(DataDirError::InUse {
            path: path.to_owned(),
            pid: if pid.is_empty() { "?".into() } else { pid },
            command: if command.is_empty() { "unknown".into() } else { command.trim().to_owned() },
        });
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed("truncate"))?;
    writeln!(file, "{}", std::process::id()).map_err(failed("write"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_holds_it() {
        let dir = tempfile::tempdir().expect("dir");
        let first = DataDir::open(dir.path()).expect("first");
        let error = DataDir::open(dir.path()).expect_err("locked").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        DataDir::open(dir.path()).expect("free again");
    }

    #[test]
    fn what_is_to_be_there_is_not_made() {
        let dir = tempfile::tempdir().expect("dir");
        let none = dir.path().join("none");
        for absent in [none.as_path(), dir.path()] {
            assert!(matches!(DataDir::open_to_read(absent), Err(DataDirError::Absent { .. })));
        }
        assert!(!none.exists() && !dir.path().join("lock").exists());
        drop(DataDir::open(&none).expect("made"));
        fs::remove_file(none.join("lock")).expect("as in a backup");
        let read = DataDir::open_to_read(&none).expect("there");
        assert!(!none.join("lock").exists());
        drop(DataDir::open(&none).expect("it is not locked"));
        drop(read);
        fs::write(none.join("format"), "seaworthy-data 2\n").expect("write");
        assert!(matches!(DataDir::open_to_read(&none), Err(DataDirError::Newer { .. })));
    }

    #[test]
    fn a_dead_holders_child_is_waited_for() {
        let dir = tempfile::tempdir().expect("dir");
        drop(lock(dir.path(), || {}).expect("free"));
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let dead = child.id();
        child.wait().expect("it ended");
        fs::write(dir.path().join("lock"), format!("{dead}\n")).expect("write");
        let held = File::open(dir.path().join("lock")).expect("open");
        held.lock().expect("lock");
        let mut paused = 0;
        let error = lock(dir.path(), || paused += 1).expect_err("it is never let go");
        assert_eq!(paused, HELD_BY_DEAD_WAITS);
        assert!(error.to_string().contains("unknown"), "{error}");
        let mut held = Some(held);
        lock(dir.path(), || drop(held.take())).expect("let go during the first wait");
    }

    #[test]
    fn what_is_not_ours_or_newer_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        fs::write(dir.path().join("holiday.jpg"), "x").expect("write");
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::NotOurs { .. })));
        fs::write(dir.path().join("format"), "something else").expect("write");
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::NotOurs { .. })));
        fs::write(dir.path().join("format"), "seaworthy-data 2\n").expect("write");
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::Newer { .. })));
        fs::write(dir.path().join("format"), "seaworthy-data 1\n").expect("write");
        assert!(DataDir::open(dir.path()).is_ok());
    }

    #[test]
    fn a_start_that_died_over_its_marker_is_finished() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("made/for/it");
        fs::create_dir_all(&path).expect("create");
        fs::write(path.join("lock"), "1\n").expect("write");
        fs::write(path.join(FRESH_MARKER), "seaw").expect("write");
        drop(DataDir::open(&path).expect("ours"));
        assert_eq!(fs::read_to_string(path.join("format")).expect("marker"), "seaworthy-data 1\n");
        assert!(!path.join(FRESH_MARKER).exists());
    }

    #[test]
    fn a_marker_file_in_the_way_is_an_error() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("file");
        fs::write(&file, "x").expect("write");
        assert!(matches!(DataDir::open(&file), Err(DataDirError::File { .. })));
    }
}
