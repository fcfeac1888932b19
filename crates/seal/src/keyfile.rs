use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use seaworthy_model::Secret;

use crate::{SealError, random};

/// Reads `keys/seal.key`.
pub(crate) fn load(directory: &Path) -> Result<Secret<[u8; 32]>, SealError> {
    let path = directory.join("seal.key");
    let failed = |operation| {
        let path = path.clone();
        move |source| SealError::KeyFile { operation, path, source }
    };
    let bytes = fs::read(&path).map_err(failed("read"))?;
    let mode = fs::metadata(&path).map_err(failed("inspect"))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SealError::Exposed { path, mode });
    }
    let length = bytes.len();
    let key = bytes.try_into().map_err(|_| SealError::WrongLength { path, bytes: length })?;
    Ok(Secret::new(key))
}

/// Reads `keys/seal.key`, making it on first use.
pub(crate) fn load_or_create(directory: &Path) -> Result<Secret<[u8; 32]>, SealError> {
    match load(directory) {
        Err(SealError::KeyFile { path, source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let failed = |operation| {
                let path = path.clone();
                move |source| SealError::KeyFile { operation, path, source }
            };
            let key = random::<32>()?;
            // Under another name first: a crash must not leave half a key that later seals nothing.
            let fresh = directory.join("seal.key.new");
            drop(fs::remove_file(&fresh));
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&fresh)
                .map_err(failed("create"))?;
            file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed("write"))?;
            // `link` does not replace: two first starts agree on one key.
            match fs::hard_link(&fresh, &path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    drop(fs::remove_file(&fresh));
                    return load_or_create(directory);
                }
                Err(source) => return Err(failed("create")(source)),
            }
            fs::remove_file(&fresh).map_err(failed("create"))?;
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync"))?;
            Ok(Secret::new(key))
        }
        loaded => loaded,
    }
}
