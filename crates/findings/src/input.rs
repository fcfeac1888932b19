//! From paths to imports: walking folders, packing them, reading through the sandbox.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use seaworthy_advisories::{Import, Index, InputKind, Segment, Skipped, feed_request};
use seaworthy_model::{FeedCoverage, Timestamp};
use seaworthy_sandbox::{Input, ReaderFn, Sandbox, SandboxError};

use crate::{FeedCache, FindingsError, limit};

/// The reader that `main` must offer to [`seaworthy_sandbox::child`] for imports to work.
pub const READER: (&str, ReaderFn) = ("advisory-feed", seaworthy_advisories::feed_reader);

/// Where feeds, which are hostile bytes, are parsed.
#[derive(Clone, Debug)]
pub enum FeedReader {
    /// In a confined child: the product's way.
    Sandboxed(Arc<Sandbox>),
    /// In this process: for tests, and for a `check` without a server of feeds the user names.
    InProcess,
}

/// What an import passed over or took with reservations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSummary {
    /// Files that gave nothing, the first of them.
    pub skipped: Vec<Skipped>,
    /// How many more there were.
    pub skipped_more: u64,
    /// Records taken with reservations, one sentence each.
    pub warnings: Vec<String>,
    /// OSV records of ecosystems whose versions are not compared yet, by ecosystem.
    pub not_covered: BTreeMap<String, u64>,
}

/// The index of these files and folders, without a server or a database; `now` becomes their
/// `checked_at`. What is in `cache` is not read again. Blocks.
pub fn index_of_paths(
    paths: &[PathBuf],
    reader: &FeedReader,
    cache: &FeedCache,
    now: Timestamp,
) -> Result<(Index, Vec<FeedCoverage>, ReadSummary), FindingsError> {
    let found = gather(paths)?;
    let read = |source| reader.read_cached(source, cache);
    let imports = found.sources.into_iter().map(read).collect::<Result<_, _>>()?;
    let import = Import::merge(imports, None)?;
    let segments = import.segments.iter().map(|segment| segment.open().map(Arc::new));
    let index = Index::new(segments.collect::<Result<Vec<Arc<Segment>>, _>>()?);
    let coverage = index.coverage(&|_| now);
    Ok((index, coverage, summary(&import, found.skipped)))
}

/// Everything of an import but its segments.
pub(crate) fn summary(import: &Import, unread: Vec<Skipped>) -> ReadSummary {
    let most = seaworthy_advisories::limit::LISTED;
    let all = import.skipped.len() + unread.len();
    let skipped: Vec<Skipped> = unread.into_iter().chain(import.skipped.iter().cloned()).take(most).collect();
    ReadSummary {
        skipped_more: import.skipped_more + (all - skipped.len()) as u64,
        skipped,
        warnings: import.warnings.lines().collect(),
        not_covered: import.not_covered.clone(),
    }
}

/// What there is to read.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// In the order given; of two equal feeds the later counts.
    pub(crate) sources: Vec<Source>,
    /// What is not read at all.
    pub(crate) skipped: Vec<Skipped>,
    files: usize,
}

/// One thing for one run of the reader.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// The files of a folder, in name order.
    Folder { root: PathBuf, files: Vec<Member> },
}

/// A file of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    path: PathBuf,
    /// Below the folder, with `/`.
    name: String,
    size: u64,
}

/// Walks `paths`: what cannot be read is an error before anything has changed. Links in folders are
/// not followed and hidden files (`.git`) are passed over.
pub(crate) fn gather(paths: &[PathBuf]) -> Result<Gathered, FindingsError> {
    let mut found = Gathered::default();
    for path in paths {
        let data = fs::metadata(path).map_err(|source| unreadable(path, source))?;
        if data.is_dir() {
            let mut files = Vec::new();
            found.walk(path, (path, 1), &mut files)?;
            check_total(path, &files)?;
            if !files.is_empty() {
                found.sources.push(Source::Folder { root: path.clone(), files });
            }
        } else if data.is_file() {
            found.count(path)?;
            check_size(path, data.len())?;
            found.sources.push(Source::File(path.clone()));
        } else {
            return Err(unreadable(path, io::Error::other("neither a file nor a folder")));
        }
    }
    Ok(found)
}

impl Gathered {
    fn walk(
        &mut self,
        root: &Path,
        (folder, depth): (&Path, usize),
        files: &mut Vec<Member>,
    ) -> Result<(), FindingsError> {
        if depth > limit::FOLDER_DEPTH {
            return Err(too_large(root, limit::FOLDER_DEPTH as u64, "folders inside each other"));
        }
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(|source| unreadable(folder, source))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            // Not following links: a folder cannot lead out of itself, or round in a circle.
            let data = entry.metadata().map_err(|source| unreadable(&path, source))?;
            if data.is_dir() {
                self.walk(root, (&path, depth + 1), files)?;
            } else if data.is_file() {
                self.count(&path)?;
                check_size(&path, data.len())?;
                if data.len() > limit::ALONE_BYTES && is_archive(&path)? {
                    self.sources.push(Source::File(path));
                } else {
                    let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                    files.push(Member { path, name, size: data.len() });
                }
            } else if self.skipped.len() < seaworthy_advisories::limit::LISTED {
                let reason = "neither a file nor a folder".to_owned();
                self.skipped.push(Skipped { path: path.display().to_string(), reason });
            }
        }
        Ok(())
    }

    fn count(&mut self, path: &Path) -> Result<(), FindingsError> {
        self.files += 1;
        if self.files > limit::FILES {
            return Err(too_large(path, limit::FILES as u64, "files before it"));
        }
        Ok(())
    }
}

impl FeedReader {
    /// Reads one source to its end. Blocks.
    pub(crate) fn read(&self, source: Source) -> Result<Import, FindingsError> {
        let (path, kind, file) = source.open()?;
        self.read_open(path, kind, file)
    }

    /// The same, with what was read before.
    fn read_cached(&self, source: Source, cache: &FeedCache) -> Result<Import, FindingsError> {
        let (path, kind, mut file) = source.open()?;
        let place = cache
            .place(&path, kind, &mut file)
            .map_err(|source| FindingsError::Path { path: path.clone(), source })?;
        if let Some(kept) = place.as_deref().and_then(FeedCache::get) {
            return Ok(kept);
        }
        let import = self.read_open(path, kind, file)?;
        if let Some(place) = place {
            cache.put(&place, &import.to_bytes());
        }
        Ok(import)
    }

    fn read_open(&self, path: String, kind: InputKind, file: File) -> Result<Import, FindingsError> {
        match self {
            Self::Sandboxed(sandbox) => {
                let output = sandbox.run(READER.0, &feed_request(&path, kind), Input::File(file));
                let output = output.map_err(|error| match error {
                    SandboxError::Reader { message, .. } => FindingsError::Feed { message },
                    source => FindingsError::Sandbox { path, source },
                })?;
                Ok(Import::from_bytes(&output)?)
            }
            Self::InProcess => seaworthy_advisories::read(&path, kind, &mut BufReader::new(file))
                .map_err(|error| FindingsError::Feed { message: seaworthy_store::chain(&error) }),
        }
    }
}

impl Source {
    /// Its name for people, its kind, and an open file at its start.
    fn open(self) -> Result<(String, InputKind, File), FindingsError> {
        match self {
            Self::File(path) => {
                let file = File::open(&path).map_err(|source| unreadable(&path, source))?;
                Ok((path.display().to_string(), InputKind::File, file))
            }
            Self::Folder { root, files } => {
                let file = pack(&root, &files)?;
                Ok((root.display().to_string(), InputKind::Folder, file))
            }
        }
    }
}

/// One unnamed file with all files of a folder in it, gone when it is closed.
fn pack(root: &Path, files: &[Member]) -> Result<File, FindingsError> {
    let failed = |source| unreadable(root, source);
    let mut out = BufWriter::new(tempfile::tempfile().map_err(failed)?);
    for member in files {
        let write = |out: &mut BufWriter<File>| {
            let mut content = File::open(&member.path)?;
            seaworthy_advisories::append_file(out, &member.name, member.size, &mut content)
        };
        write(&mut out).map_err(|source| unreadable(&member.path, source))?;
    }
    seaworthy_advisories::finish_folder(&mut out).map_err(failed)?;
    out.flush().map_err(failed)?;
    let mut file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.rewind().map_err(failed)?;
    Ok(file)
}

/// Zstandard, gzip, zip: what is packed may be large inside, so it gets memory of its own.
fn is_archive(path: &Path) -> Result<bool, FindingsError> {
    let mut head = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.map_err(|source| unreadable(path, source))?;
    Ok(matches!(head, [0x28, 0xb5, 0x2f, 0xfd] | [0x1f, 0x8b, ..] | [b'P', b'K', 3 | 5, 4 | 6]))
}

fn check_size(path: &Path, size: u64) -> Result<(), FindingsError> {
    if size > limit::FILE_BYTES { Err(too_large(path, limit::FILE_BYTES, "bytes")) } else { Ok(()) }
}

fn check_total(path: &Path, files: &[Member]) -> Result<(), FindingsError> {
    let total = files.iter().fold(0_u64, |total, member| total.saturating_add(member.size));
    if total > limit::FOLDER_BYTES { Err(too_large(path, limit::FOLDER_BYTES, "bytes")) } else { Ok(()) }
}

fn unreadable(path: &Path, source: io::Error) -> FindingsError {
    FindingsError::Path { path: path.display().to_string(), source }
}

fn too_large(path: &Path, limit: u64, unit: &'static str) -> FindingsError {
    FindingsError::TooLarge { what: format!("`{}`", path.display()), limit, unit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("temporary directory")
    }

    fn is_too_large(outcome: &Result<Gathered, FindingsError>) -> bool {
        matches!(outcome, Err(FindingsError::TooLarge { .. }))
    }

    #[test]
    fn depth_is_bounded() {
        let root = folder();
        let mut path = root.path().to_owned();
        for _ in 1..limit::FOLDER_DEPTH {
            path.push("d");
        }
        fs::create_dir_all(&path).expect("folders");
        fs::write(path.join("f"), "x").expect("file");
        let found = gather(&[root.path().to_owned()]).expect("at the limit");
        let [Source::Folder { files, .. }] = found.sources.as_slice() else { panic!("one folder") };
        assert_eq!(files.len(), 1);
        fs::create_dir(path.join("d")).expect("folder");
        assert!(is_too_large(&gather(&[root.path().to_owned()])));
    }

    #[test]
    fn sizes_are_bounded() {
        let root = folder();
        let path = root.path().join("f");
        let file = File::create(&path).expect("file");
        // Sparse: takes no space.
        file.set_len(limit::FILE_BYTES).expect("length");
        assert!(gather(&[path.clone(), root.path().to_owned()]).is_ok());
        file.set_len(limit::FILE_BYTES + 1).expect("length");
        assert!(is_too_large(&gather(&[path])));
        assert!(is_too_large(&gather(&[root.path().to_owned()])));
        file.set_len(limit::FILE_BYTES).expect("length");
        for name in ["g", "h", "i"] {
            File::create(root.path().join(name)).and_then(|f| f.set_len(limit::FILE_BYTES)).expect("file");
        }
        assert_eq!(limit::FOLDER_BYTES, 4 * limit::FILE_BYTES);
        assert!(gather(&[root.path().to_owned()]).is_ok(), "four times one is the limit");
        fs::write(root.path().join("j"), "x").expect("file");
        assert!(is_too_large(&gather(&[root.path().to_owned()])));
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let mut found = Gathered { files: limit::FILES - 1, ..Gathered::default() };
        assert!(found.count(Path::new("f")).is_ok());
        assert!(found.count(Path::new("g")).is_err());
    }

    #[test]
    fn hidden_files_and_links_are_passed_over() {
        let root = folder();
        fs::create_dir(root.path().join(".git")).expect("folder");
        fs::write(root.path().join(".git/pack"), "x").expect("file");
        fs::write(root.path().join("b"), "x").expect("file");
        fs::write(root.path().join("a"), "x").expect("file");
        std::os::unix::fs::symlink("/etc", root.path().join("link")).expect("link");
        let found = gather(&[root.path().to_owned()]).expect("walk");
        let [Source::Folder { files, .. }] = found.sources.as_slice() else { panic!("one folder") };
        assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(found.skipped.len(), 1);
        assert!(matches!(gather(&[root.path().join("no")]), Err(FindingsError::Path { .. })));
    }

    #[test]
    fn large_archives_are_read_alone() {
        let root = folder();
        for (name, head) in [("a.zst", [0x28, 0xb5, 0x2f, 0xfd]), ("b.json", *b"{   ")] {
            fs::write(root.path().join(name), head).expect("file");
            let file = File::options().write(true).open(root.path().join(name)).expect("file");
            file.set_len(limit::ALONE_BYTES + 1).expect("length");
        }
        let found = gather(&[root.path().to_owned()]).expect("walk");
        assert_eq!(found.sources.len(), 2);
        assert_eq!(found.sources.first(), Some(&Source::File(root.path().join("a.zst"))));
        let small = File::options().write(true).open(root.path().join("a.zst")).expect("file");
        small.set_len(limit::ALONE_BYTES).expect("length");
        assert_eq!(gather(&[root.path().to_owned()]).expect("walk").sources.len(), 1);
    }
}
