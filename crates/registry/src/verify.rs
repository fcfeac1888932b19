//! Whether rows and files agree; and bringing them to.
//!
//! A blob whose bytes are wrong is marked: nobody is given them, and who pushes it again is asked for
//! them, which heals it. A file that no row names is left over from a push that was cut off; its name is
//! never used again, so removing it late is safe.

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, ErrorCode, Problem, Timestamp};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{Found, Hold, StoredFile};
use serde::Serialize;
use serde_json::json;

use crate::{
    NameRange, ROOM, Registry, RegistryError,
    db::{self, BlobRow, BlobState},
    limit,
};

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// At what is there, and how long it is.
    Lengths,
    /// At all bytes.
    Bytes,
}

/// What to do about it.
#[derive(Clone, Debug)]
pub enum Remedy {
    /// Nothing.
    Tell,
    /// Mark what is damaged, and remove what is left over: in this name.
    Apply(Actor),
}

/// What is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StorageProblem {
    /// `blob`, `manifest`, or `file`: one that no row names.
    pub of: &'static str,
    /// The blob or manifest.
    pub digest: Digest,
    /// `missing`, `length`, `rot`, `unreadable`, `denied` (to the server's user), or `orphan`: a file that no row names.
    pub problem: &'static str,
    /// Length in bytes by its row, or of the file that no row names.
    pub bytes: u64,
    /// Repositories whose manifests name it, the first ones.
    pub repositories: Vec<RepoName>,
    /// `none`; `marked`: it is not served, and healed by a push; `removed`; or `adopted`: it is served in place of a copy
    /// that is lost.
    pub done: &'static str,
}

/// A part of a look at everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoragePage {
    /// Blobs and files looked at.
    pub checked: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<StorageProblem>,
    /// What to go on with; `None` at the end.
    pub next: Option<String>,
}

impl Registry {
    /// Looks at blobs, then at manifests, then at files, behind `cursor`: at most [`limit::PAGE`] blobs or manifests, or
    /// [`limit::VERIFIED_BYTES`], or one folder of files. What is marked or removed is recorded.
    pub async fn verify(
        &self,
        cursor: &str,
        depth: Depth,
        remedy: &Remedy,
    ) -> Result<StoragePage, RegistryError> {
        if cursor.is_empty() && matches!(remedy, Remedy::Apply(_)) {
            // What a server that runs does every few minutes: sessions that are over, and files that none remembers.
            self.sweep().await?;
        }
        match Cursor::parse(cursor)? {
            Cursor::Blobs { after } => self.verify_blobs(&after, depth, remedy).await,
            Cursor::Manifests { repository, digest } => {
                self.verify_manifests((&repository, &digest), depth).await
            }
            Cursor::Files { folder } => self.verify_files(folder, remedy).await,
        }
    }

    async fn verify_blobs(
        &self,
        after: &str,
        depth: Depth,
        remedy: &Remedy,
    ) -> Result<StoragePage, RegistryError> {
        let mut page = StoragePage::default();
        let all = Timestamp::from_micros(i64::MAX);
        let rows = db::blobs_page(self.db(), after, (all, all), limit::PAGE.into()).await?;
        let mut last = rows.last().filter(|_| rows.len() == limit::PAGE as usize);
        for row in &rows {
            page.checked += 1;
            if depth == Depth::Bytes {
                page.bytes += row.size;
            }
            match (self.look_at(row, depth).await?, &row.damage) {
                (Some(damage), _) => page.problems.push(self.told(row, damage, remedy).await?),
                // From outside nothing is to be seen of some damage.
                (None, Some(damage)) if depth == Depth::Lengths && row.state != BlobState::Deleting => {
                    page.problems.push(self.told(row, known(damage), remedy).await?);
                }
                (None, Some(_)) => {
                    if let Remedy::Apply(actor) = remedy {
                        self.repaired(actor, row, None).await?;
                    }
                }
                (None, None) => {}
            }
            if page.bytes >= limit::VERIFIED_BYTES {
                last = Some(row);
                break;
            }
        }
        let next = match last {
            Some(row) => Cursor::Blobs { after: row.copy.digest.to_string() },
            None => Cursor::Manifests { repository: String::new(), digest: String::new() },
        };
        page.next = Some(next.text());
        Ok(page)
    }

    /// Manifests whose bytes are lost, or that need a blob which nobody knows: pushing them again mends it.
    async fn verify_manifests(
        &self,
        after: (&str, &str),
        depth: Depth,
    ) -> Result<StoragePage, RegistryError> {
        let mut page = StoragePage::default();
        let held = db::manifests_held(self.db(), after, limit::PAGE.into()).await?;
        let mut last = held.last().filter(|_| held.len() == limit::PAGE as usize);
        for it in &held {
            page.checked += 1;
            let problem = match it.found {
                None => Some("missing"),
                Some(found) if found != it.size => Some("length"),
                Some(_) if depth == Depth::Bytes => {
                    page.bytes += it.size;
                    let bytes = db::manifest_bytes(self.db(), &it.digest).await?;
                    // It may have gone meanwhile.
                    bytes.is_some_and(|bytes| !it.digest.is_of(&bytes)).then_some("rot")
                }
                Some(_) => None,
            };
            let tell = |of, digest, problem, bytes| StorageProblem {
                of,
                digest,
                problem,
                bytes,
                repositories: vec![it.repository.clone()],
                done: "none",
            };
            page.problems.extend(problem.map(|problem| tell("manifest", it.digest, problem, it.size)));
            let unknown = db::unknown_blobs(self.db(), &it.repository, &it.digest).await?;
            page.problems.extend(unknown.into_iter().map(|digest| tell("blob", digest, "missing", 0)));
            if page.bytes >= limit::VERIFIED_BYTES {
                last = Some(it);
                break;
            }
        }
        let next = last.map_or(Cursor::Files { folder: 0 }, |it| Cursor::Manifests {
            repository: it.repository.to_string(),
            digest: it.digest.to_string(),
        });
        page.next = Some(next.text());
        Ok(page)
    }

    /// What is wrong with a blob that is to be there.
    pub(crate) async fn look_at(
        &self,
        row: &BlobRow,
        depth: Depth,
    ) -> Result<Option<&'static str>, RegistryError> {
        if row.state == BlobState::Deleting {
            return Ok(None);
        }
        let found = match depth {
            Depth::Lengths => self.blobs().look(ROOM, row.copy, row.size).await?,
            Depth::Bytes => self.blobs().hash(ROOM, row.copy, row.size).await?,
        };
        let damage = match found {
            Found::Whole => None,
            Found::Missing => Some("missing"),
            Found::Length(_) => Some("length"),
            Found::Rotten => Some("rot"),
            Found::Unreadable => Some("unreadable"),
            Found::Denied => Some("denied"),
        };
        if damage.is_none() {
            return Ok(None);
        }
        // It may have gone, or have been replaced, while we looked.
        let now = db::blob(self.db(), &row.copy.digest).await?;
        Ok(damage.filter(|_| now.is_some_and(|now| now.generation == row.generation)))
    }

    async fn told(
        &self,
        row: &BlobRow,
        problem: &'static str,
        remedy: &Remedy,
    ) -> Result<StorageProblem, RegistryError> {
        let named = db::naming(self.db(), &row.copy.digest, &NameRange::all(), limit::EXPLAINED).await?;
        let mut repositories: Vec<RepoName> = named.into_iter().map(|it| it.repository).collect();
        repositories.dedup();
        let done = match remedy {
            _ if row.damage.is_some() => "marked",
            Remedy::Tell => "none",
            Remedy::Apply(_) if self.is_away(row, problem) => "none",
            Remedy::Apply(actor) => {
                self.repaired(actor, row, Some(problem)).await?;
                "marked"
            }
        };
        Ok(StorageProblem {
            of: "blob",
            digest: row.copy.digest,
            problem,
            bytes: row.size,
            repositories,
            done,
        })
    }

    /// Marks a blob, or with no problem takes its mark away; what changes nothing is not recorded.
    async fn repaired(
        &self,
        actor: &Actor,
        row: &BlobRow,
        problem: Option<&'static str>,
    ) -> Result<(), RegistryError> {
        let context = (row.clone(), problem, self.inner.clock.now());
        seaworthy_ledger::write(self.db(), actor, context, |(row, problem, now), tx| {
            Box::pin(async move {
                let is_new = match problem {
                    Some(problem) => row.damage.is_none() && db::set_damage(tx, row, problem, *now).await?,
                    None => db::clear_damage(tx, row, *now).await?,
                };
                let act = Act::new(Action::RegistryRepair, format!("blobs/{}", row.copy.digest))
                    .details(json!({"problem": problem}));
                Ok::<_, RegistryError>(((), if is_new { vec![act] } else { vec![] }))
            })
        })
        .await
    }

    async fn verify_files(&self, folder: u16, remedy: &Remedy) -> Result<StoragePage, RegistryError> {
        let mut page = StoragePage::default();
        if folder + 1 < FOLDERS {
            page.next = Some(Cursor::Files { folder: folder + 1 }.text());
        }
        for file in self.orphans(folder, limit::ORPHAN_SECONDS, &mut page.checked).await? {
            let done = match remedy {
                Remedy::Tell => "none",
                Remedy::Apply(actor) => self.end_orphan(actor, &file).await?,
            };
            page.problems.push(StorageProblem {
                of: "file",
                digest: file.copy.digest,
                problem: "orphan",
                bytes: file.size,
                repositories: Vec::new(),
                done,
            });
        }
        Ok(page)
    }

    /// Files of a folder that no row names and that are so old.
    pub(crate) async fn orphans(
        &self,
        folder: u16,
        age_seconds: i64,
        checked: &mut u64,
    ) -> Result<Vec<StoredFile>, RegistryError> {
        let (algorithm, fan) = place(folder);
        let before = self.inner.clock.now().plus_seconds(-age_seconds);
        let mut out = Vec::new();
        for file in self.blobs().folder(ROOM, algorithm, fan).await? {
            *checked += 1;
            // A push that ends now may have been writing to it for a day.
            if file.modified_at > before {
                continue;
            }
            let row = db::blob(self.db(), &file.copy.digest).await?;
            if row.is_none_or(|row| row.copy != file.copy) {
                out.push(file);
            }
        }
        Ok(out)
    }

    /// Removes a file that no row names, unless the copy that its blob's row names is lost and this one is good: then
    /// the row names this one. A database that knows no blob knows nobody's.
    pub(crate) async fn end_orphan(
        &self,
        actor: &Actor,
        file: &StoredFile,
    ) -> Result<&'static str, RegistryError> {
        if !db::knows_blobs(self.db()).await? {
            return Ok("none");
        }
        // Another may be about to adopt it, or has: nothing is decided by what was read before.
        let held = match self.blobs().hold_copy(ROOM, &file.copy).await {
            Ok(Hold::Taken(held)) => held,
            Ok(Hold::Busy | Hold::NoFile) => return Ok("none"),
            Err(error) => {
                let (digest, error) = (file.copy.digest, seaworthy_store::chain(&error));
                tracing::warn!(%digest, error, "a file that no row names cannot be opened");
                return Ok("none");
            }
        };
        let row = db::blob(self.db(), &file.copy.digest).await?;
        if row.as_ref().is_some_and(|row| row.copy == file.copy) {
            return Ok("none");
        }
        let row = row.filter(|row| row.state != BlobState::Deleting && row.size == file.size);
        if let Some(row) = row
            && (row.damage.is_some() || self.look_at(&row, Depth::Lengths).await?.is_some())
        {
            match self.blobs().hash(ROOM, file.copy, file.size).await? {
                Found::Whole if self.adopt(actor, &row, file).await? => return Ok("adopted"),
                Found::Rotten | Found::Length(_) => {}
                // Nobody knows what it has.
                _ => return Ok("none"),
            }
        }
        self.remove_orphan(actor, file).await?;
        drop(held);
        Ok("removed")
    }

    /// False when the row is another by now.
    async fn adopt(&self, actor: &Actor, row: &BlobRow, file: &StoredFile) -> Result<bool, RegistryError> {
        let context = (row.clone(), file.copy, self.inner.clock.now());
        seaworthy_ledger::write(self.db(), actor, context, |(row, copy, now), tx| {
            Box::pin(async move {
                let is_new = db::adopt(tx, row, copy, *now).await?;
                let act = Act::new(Action::RegistryRepair, format!("blobs/{}", copy.digest))
                    .details(json!({"problem": "orphan", "done": "adopted"}));
                Ok::<_, RegistryError>((is_new, if is_new { vec![act] } else { vec![] }))
            })
        })
        .await
    }

    /// That it is to go is recorded before.
    async fn remove_orphan(&self, actor: &Actor, file: &StoredFile) -> Result<(), RegistryError> {
        seaworthy_ledger::write(self.db(), actor, *file, |file, _| {
            Box::pin(async move {
                let act = Act::new(Action::RegistryRepair, format!("blobs/{}", file.copy.digest))
                    .details(json!({"problem": "orphan", "bytes": file.size}));
                Ok::<_, RegistryError>(((), vec![act]))
            })
        })
        .await?;
        Ok(self.blobs().remove(ROOM, &file.copy).await?)
    }
}

/// The word for a damage as it is told.
fn known(damage: &str) -> &'static str {
    ["missing", "length", "rot", "denied"].into_iter().find(|word| *word == damage).unwrap_or("unreadable")
}

/// Folders of files: two algorithms, 256 each.
pub(crate) const FOLDERS: u16 = 512;

pub(crate) fn place(folder: u16) -> (&'static str, u8) {
    let algorithm = if folder < 256 { "sha256" } else { "sha512" };
    (algorithm, u8::try_from(folder % 256).unwrap_or_default())
}

/// Where a look at everything stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cursor {
    Blobs { after: String },
    Manifests { repository: String, digest: String },
    Files { folder: u16 },
}

impl Cursor {
    fn text(&self) -> String {
        match self {
            Self::Blobs { after } => format!("blobs:{after}"),
            Self::Manifests { repository, digest } => format!("manifests:{repository}@{digest}"),
            Self::Files { folder } => format!("files:{folder}"),
        }
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || Problem::new(ErrorCode::Invalid, "`after` is not what a page before said");
        match text.split_once(':') {
            None if text.is_empty() => Ok(Self::Blobs { after: String::new() }),
            Some(("blobs", after)) => Ok(Self::Blobs { after: after.to_owned() }),
            Some(("manifests", place)) => {
                let (repository, digest) = place.split_once('@').ok_or_else(wrong)?;
                Ok(Self::Manifests { repository: repository.to_owned(), digest: digest.to_owned() })
            }
            Some(("files", folder)) => {
                let folder = folder.parse().ok().filter(|folder| *folder < FOLDERS);
                Ok(Self::Files { folder: folder.ok_or_else(wrong)? })
            }
            _ => Err(wrong()),
        }
    }
}
