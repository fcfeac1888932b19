//! Whose bytes a directory has: those of one database, by an id that both know (ADR 0027).
//!
//! A database that does not know the files of a directory would have them removed as nobody's, and one whose disk is away
//! would have all that it knows marked as lost.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use seaworthy_model::UploadId;

use crate::{
    BlobError, Blobs, Db, DbError, args,
    upload::{blocking, create_directories, failed, remove_file, sync_directory},
};

/// The file that says it, among the blobs: it is away when they are.
const NAME: &str = "installation";

/// Why a directory is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It has the bytes of another database, or of this one before it was lost.
    #[error(
        "the blobs below `{path}` belong to another database: name that one, or restore it; to begin anew, begin with an \
         empty directory"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// It has the bytes of a database that had an id, and this one has none and is not new.
    #[error(
        "the blobs below `{path}` know their database, and this one does not know them: name the one that they belong to; \
         if this is an older backup of it, remove `{path}/installation`"
    )]
    Older {
        /// The directory.
        path: PathBuf,
    },
    /// The bytes of this database are not there.
    #[error(
        "`{path}` is not there, so these are not the blobs of this database: mount their disk, or name the directory that \
         all servers share. If they are lost, write `{id}` into that file"
    )]
    Away {
        /// The file.
        path: PathBuf,
        /// What it is to say.
        id: String,
    },
    /// What is uploaded cannot be moved to where it is kept.
    #[error("`{uploads}` and `{blobs}` must be on one file system, and in one mount")]
    Apart {
        /// The one.
        uploads: PathBuf,
        /// The other.
        blobs: PathBuf,
    },
    /// The file system said no.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The rows.
    #[error("failed to read whose blobs they are")]
    Db(#[from] DbError),
}

/// What a directory was known by when it was taken.
#[derive(Debug)]
pub(crate) struct Mark {
    id: String,
    at: (u64, u64),
}

/// [`Mark`], once there is one.
pub(crate) type Claimed = OnceLock<Mark>;

impl Blobs {
    /// Takes the directory for the database of these blobs: refuses one that has another's, and marks one that is new.
    pub async fn claim(&self) -> Result<(), ClaimError> {
        let (uploads, blobs) = (self.root().join("uploads"), self.root().join("blobs"));
        let path = blobs.join(NAME);
        let known = known(self.db()).await?;
        let found = read_mark(&path)?;
        let id = match (known, found) {
            (None, Some(_)) if is_new(self.db()).await? => return Err(ClaimError::Foreign { path: blobs }),
            (None, Some(_)) => return Err(ClaimError::Older { path: blobs }),
            (Some((id, _)), Some(found)) if id != found => return Err(ClaimError::Foreign { path: blobs }),
            (Some((id, true)), None) => return Err(ClaimError::Away { path, id }),
            (Some((id, _)), _) => id,
            (None, None) => made(self.db()).await?,
        };
        let (word, at) = (id.clone(), path.clone());
        blocking(move || {
            let set_up = [&uploads, &blobs].into_iter().try_for_each(|path| create_directories(path));
            Ok(set_up.map_err(ClaimError::from).and_then(|()| mark(&word, &at, &uploads, &blobs)))
        })
        .await??;
        noted(self.db()).await?;
        let data = fs::metadata(&path).map_err(|source| failed("inspect", &path, source))?;
        // Whoever claims it again finds the same.
        self.claimed().get_or_init(|| Mark { id, at: (data.dev(), data.ino()) });
        Ok(())
    }

    /// True when the directory that was claimed is not there: its disk is not mounted, or broken.
    pub fn is_away(&self) -> bool {
        let Some(mark) = self.claimed().get() else { return false };
        let path = self.root().join("blobs").join(NAME);
        let is_same = fs::metadata(&path).is_ok_and(|data| (data.dev(), data.ino()) == mark.at);
        !is_same && read_mark(&path).ok().flatten().as_ref() != Some(&mark.id)
    }
}

/// The database's id, and whether its directory was marked.
async fn known(db: &Db) -> Result<Option<(String, bool)>, DbError> {
    let row = db.fetch_optional("SELECT id, marked FROM store_installation WHERE one = 1", args![]).await?;
    row.map(|row| Ok((row.text(0)?.to_owned(), row.int(1)? == 1))).transpose()
}

/// True of a database that no blob was ever put into, as far as can be told.
async fn is_new(db: &Db) -> Result<bool, DbError> {
    Ok(db.fetch_optional("SELECT 1 FROM store_small_blobs LIMIT 1", args![]).await?.is_none())
}

/// A new id, or that of another server which began at the same time.
async fn made(db: &Db) -> Result<String, DbError> {
    let id = UploadId::generate().to_string();
    db.upkeep(id, |id, tx| {
        Box::pin(async move {
            let sql = "INSERT INTO store_installation (one, id, marked) VALUES (1, $1, 0) ON CONFLICT (one) DO NOTHING";
            tx.execute(sql, args![id]).await?;
            let row = tx.fetch_optional("SELECT id FROM store_installation WHERE one = 1", args![]).await?;
            row.map_or_else(|| Ok(id.clone()), |row| row.text(0).map(str::to_owned))
        })
    })
    .await
}

async fn noted(db: &Db) -> Result<(), DbError> {
    db.upkeep((), |(), tx| {
        Box::pin(async move {
            tx.execute("UPDATE store_installation SET marked = 1 WHERE one = 1 AND marked = 0", args![])
                .await
                .map(|_| ())
        })
    })
    .await
}

fn read_mark(path: &Path) -> Result<Option<String>, BlobError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", path, source)),
    }
}

/// Marks a directory that has no mark, durably, and sees that uploads can become blobs.
fn mark(id: &str, path: &Path, uploads: &Path, blobs: &Path) -> Result<(), ClaimError> {
    let name = format!("{NAME}.{}", UploadId::generate());
    let (from, to) = (uploads.join(&name), blobs.join(&name));
    let written = fs::write(&from, format!("{id}\n")).and_then(|()| fs::File::open(&from)?.sync_all());
    if let Err(source) = written {
        remove_file(&from)?;
        if path.exists() {
            // A full disk is no reason not to start: who starts may make room.
            tracing::error!(path = %from.display(), error = %source, "nothing can be uploaded");
            return Ok(());
        }
        return Err(failed("write", &from, source).into());
    }
    if let Err(source) = fs::rename(&from, &to) {
        remove_file(&from)?;
        return Err(if source.kind() == io::ErrorKind::CrossesDevices {
            ClaimError::Apart { uploads: uploads.to_owned(), blobs: blobs.to_owned() }
        } else {
            failed("rename", &from, source).into()
        });
    }
    if path.exists() {
        return Ok(remove_file(&to)?);
    }
    // Another server that begins at the same time marks it by the same id.
    fs::rename(&to, path).map_err(|source| failed("rename", &to, source))?;
    Ok(sync_directory(blobs)?)
}
