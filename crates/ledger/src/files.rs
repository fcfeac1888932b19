//! Tiles, bundles and the checkpoint as files: written whole or not at all.

use std::{
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

impl Files {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Writes `bytes` under `name`, durable when it returns. A full tile or bundle that is there
    /// with the same content is left alone; one with other content is never overwritten.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), LedgerError> {
        let path = self.root.join(name);
        let failed = |operation| {
            let path = path.clone();
            move |source| LedgerError::File { operation, path, source }
        };
        if let Ok(present) = fs::read(&path)
            && present == bytes
        {
            return Ok(());
        }
        let directory = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(directory).map_err(failed("create"))?;
        let fresh = directory.join(format!(".{}.new", path.file_name().unwrap_or_default().display()));
        let mut file = File::create(&fresh).map_err(failed("create"))?;
        file.write_all(bytes).and_then(|()| file.sync_data()).map_err(failed("write"))?;
        fs::rename(&fresh, &path).map_err(failed("rename"))?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync"))
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
        let bytes = self.read(&path)?.ok_or_else(|| LedgerError::Incomplete { path: path.clone() })?;
        tile.hashes = Tile::read_hashes(&bytes, width).ok_or(LedgerError::Incomplete { path })?;
        Ok(tile)
    }

    /// Removes partial files that a wider or full one has replaced.
    pub(crate) fn remove_partial(&self, name: &str) {
        // They cost a few bytes when this fails; nothing reads them any more.
        drop(fs::remove_file(self.root.join(name)));
        if let Some(directory) = self.root.join(name).parent() {
            drop(fs::remove_dir(directory));
        }
    }

    /// Name of the bundle with record `index * 256`, at `width`.
    pub(crate) fn bundle(index: u64, width: u64) -> String {
        bundle_path(index, width)
    }
}
