//! Tiles, bundles and the checkpoint as files: written whole or not at all.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use seaworthy_trust::{Hash, TILE_WIDTH, Tile, bundle_path};

use crate::{LedgerError, tree::tiles_at};

/// The directory of a ledger.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

/// What [`Files::signed`] found.
pub(crate) struct Found {
    pub(crate) bytes: Vec<u8>,
    /// True when these are the bytes of the full file.
    pub(crate) replaced: bool,
}

impl Files {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Writes `bytes` under `name`, durable when it returns.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), LedgerError> {
        let mut batch = self.batch(Above::Durable);
        batch.write(name, bytes)?;
        batch.finish()
    }

    /// Files that become durable together.
    pub(crate) fn batch(&self, above: Above) -> Batch {
        Batch { root: self.root.clone(), above, directories: BTreeSet::new() }
    }

    /// The bytes of a file; `None` when there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LedgerError::File { operation: "read", path, source }),
        }
    }

    /// The hashes of the tile at `level`, `index` in a tree of `size` leaves.
    pub(crate) fn tile(&self, level: u8, index: u64, size: u64) -> Result<Tile, LedgerError> {
        let (full, partial) = tiles_at(size, level);
        let width = if index < full { TILE_WIDTH } else { partial };
        let width = usize::try_from(width).unwrap_or_default();
        let mut tile = Tile { level, index, hashes: vec![Hash([0; 32]); width] };
        let path = tile.path();
        let found = self.signed(&path)?.ok_or_else(|| LedgerError::Incomplete { path: path.clone() })?;
        let kept = if found.replaced { usize::try_from(TILE_WIDTH).unwrap_or_default() } else { width };
        tile.hashes = Tile::read_hashes(&found.bytes, kept).ok_or(LedgerError::Incomplete { path })?;
        tile.hashes.truncate(width);
        Ok(tile)
    }

    /// A file of the tree under some checkpoint. The tree may have grown since: then the full file
    /// has replaced a partial one, which is its beginning.
    pub(crate) fn signed(&self, name: &str) -> Result<Option<Found>, LedgerError> {
        if let Some(bytes) = self.read(name)? {
            return Ok(Some(Found { bytes, replaced: false }));
        }
        let Some((full, _)) = name.split_once(".p/") else { return Ok(None) };
        Ok(self.read(full)?.map(|bytes| Found { bytes, replaced: true }))
    }

    /// The partial files of a bundle or tile, with their widths.
    pub(crate) fn partials(&self, full: &str) -> Result<Vec<(usize, String)>, LedgerError> {
        let path = self.root.join(format!("{full}.p"));
        let failed = |source| LedgerError::File { operation: "list", path: path.clone(), source };
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            // What is being written has a name that is no number.
            if let Some(width) = name.to_str().and_then(|name| name.parse().ok()) {
                found.push((width, format!("{full}.p/{width}")));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), LedgerError> {
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LedgerError::File { operation: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Removes the partial files of a full tile or bundle.
    pub(crate) fn remove_partials(&self, full: &str) {
        // They cost a few kilobytes when this fails; nobody needs them any more.
        drop(fs::remove_dir_all(self.root.join(format!("{full}.p"))));
    }

    /// Name of the bundle with record `index * 256`, at `width`.
    pub(crate) fn bundle(index: u64, width: u64) -> String {
        bundle_path(index, width)
    }
}

/// What is known of the directories above those that are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Above {
    /// A batch before this one was finished, or these are made.
    Durable,
    /// Whoever made them may have died before their names were durable.
    Unknown,
}

/// Files that are written one by one, and durable once it is finished: each directory is synced once.
pub(crate) struct Batch {
    root: PathBuf,
    above: Above,
    /// Those with a new name in them.
    directories: BTreeSet<PathBuf>,
}

impl Batch {
    /// Writes `bytes` under `name`. A file that is there with the same content is left alone.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), LedgerError> {
        let path = self.root.join(name);
        let failed = |operation| {
            let path = path.clone();
            move |source| LedgerError::File { operation, path, source }
        };
        let directory = path.parent().unwrap_or(&self.root).to_owned();
        if self.above == Above::Unknown {
            let above = directory.ancestors().take_while(|it| it.starts_with(&self.root));
            self.directories.extend(above.map(Path::to_owned));
        }
        if fs::read(&path).is_ok_and(|present| present == bytes) {
            // Whoever wrote it may have died before its name was durable.
            self.directories.insert(directory);
            return Ok(());
        }
        self.create_directories(&directory).map_err(failed("create"))?;
        let fresh = directory.join(format!(".{}.new", path.file_name().unwrap_or_default().display()));
        let mut file = File::create(&fresh).map_err(failed("create"))?;
        file.write_all(bytes).and_then(|()| file.sync_data()).map_err(failed("write"))?;
        fs::rename(&fresh, &path).map_err(failed("rename"))?;
        self.directories.insert(directory);
        Ok(())
    }

    /// Creates what is missing down to `directory`.
    fn create_directories(&mut self, directory: &Path) -> io::Result<()> {
        if directory.is_dir() {
            return Ok(());
        }
        if directory == self.root {
            return fs::create_dir_all(directory);
        }
        let parent = directory.parent().unwrap_or(&self.root).to_owned();
        self.create_directories(&parent)?;
        match fs::create_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        self.directories.insert(parent);
        Ok(())
    }

    /// Returns when all of them are durable.
    pub(crate) fn finish(self) -> Result<(), LedgerError> {
        for path in self.directories {
            File::open(&path)
                .and_then(|directory| directory.sync_all())
                .map_err(|source| LedgerError::File { operation: "sync", path, source })?;
        }
        Ok(())
    }
}
