//! What was deleted: listing it, and bringing it back.

use seaworthy_access::{Identity, Permission};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{ErrorCode, Problem, Timestamp};
use seaworthy_oci::{Digest, Manifest, RepoName, Tag};
use seaworthy_store::Tx;
use serde::Serialize;
use serde_json::json;

use crate::{
    Registry, RegistryError, blob,
    db::{self, DeletedManifest, DeletedRow, NewManifest},
    limit,
    path::ManifestName,
    push::describe,
    quota,
    refusal::object,
    rules::{self, Way},
};

/// One manifest or tag that was deleted and can be restored.
#[derive(Clone, Debug, Serialize)]
pub struct Deleted {
    /// Repository.
    pub repository: RepoName,
    /// The tag; `None` for a manifest.
    pub tag: Option<String>,
    /// The manifest, or the one that the tag pointed at.
    pub digest: Digest,
    /// Of a manifest.
    pub media_type: Option<String>,
    /// When it was deleted.
    pub deleted_at: Timestamp,
    /// By whom; `system` by collection.
    pub deleted_by: String,
    /// `request`, `untagged`, `retention` or `upstream`.
    pub reason: String,
    /// Until when it can be restored.
    pub restorable_until: Timestamp,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The manifest.
    pub digest: Digest,
    /// Tags that point at it again.
    pub tags: Vec<Tag>,
}

impl Registry {
    /// What was deleted in repositories that begin with `prefix` and that `identity` may pull from, in
    /// order after (repository, tag, digest): `most` of it and no more than [`limit::PAGE`].
    pub async fn deleted(
        &self,
        identity: &Identity,
        prefix: &str,
        after: (&str, &str, &str),
        most: u32,
    ) -> Result<Vec<Deleted>, RegistryError> {
        let most = most.min(limit::PAGE) as usize;
        let mut after = (after.0.to_owned(), after.1.to_owned(), after.2.to_owned());
        let (mut out, now) = (Vec::new(), self.inner.clock.now());
        for range in self.ranges(identity, prefix).await? {
            let mut more = most > 0;
            while more {
                let from = (after.0.as_str(), after.1.as_str(), after.2.as_str());
                let rows = db::deleted_page(self.db(), (&range, now), from, limit::PAGE.into()).await?;
                more = rows.len() == limit::PAGE as usize;
                let roles = self.access().roles_now().await?;
                for row in rows {
                    let tag = row.tag.clone().unwrap_or_default();
                    after = (row.repository.to_string(), tag, row.digest.to_string());
                    if roles.allow(identity, Permission::Pull, &row.repository) {
                        out.push(deleted(row));
                        if out.len() == most {
                            return Ok(out);
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    /// Brings a deleted tag back with its manifest, or a deleted manifest with the tags that went with it; and what
    /// the manifest is made of, with what referred to it and went with it. A tag that points elsewhere now stays there.
    /// It is a push, by rights and by rules.
    pub async fn restore(
        &self,
        identity: &Identity,
        repository: &RepoName,
        reference: Result<Tag, Digest>,
    ) -> Result<Restored, RegistryError> {
        let name = reference.map_or_else(ManifestName::Digest, ManifestName::Tag);
        self.bring_back(identity, repository, (name, None)).await
    }

    /// [`Registry::restore`] of a tag that was deleted more than once: as it was when it pointed at `digest`.
    pub async fn restore_tag_of(
        &self,
        identity: &Identity,
        repository: &RepoName,
        (tag, digest): (Tag, Digest),
    ) -> Result<Restored, RegistryError> {
        self.bring_back(identity, repository, (ManifestName::Tag(tag), Some(digest))).await
    }

    async fn bring_back(
        &self,
        identity: &Identity,
        repository: &RepoName,
        (name, pointed_at): (ManifestName, Option<Digest>),
    ) -> Result<Restored, RegistryError> {
        self.require(identity, Permission::Delete, repository).await?;
        self.require(identity, Permission::Push, repository).await?;
        let cache = self.inner.caches.of(repository).await?.map(|cache| cache.settings.clone());
        let context = (repository.clone(), name, pointed_at, cache, self.inner.clock.now());
        seaworthy_ledger::write(self.db(), &identity.actor, context, |context, tx| {
            let (repository, name, pointed_at, cache, now) = context;
            Box::pin(async move {
                db::hold_rules(tx).await?;
                blob::check_writable(tx, repository).await?;
                let (restored, action) = match name {
                    ManifestName::Tag(tag) => {
                        let tag = (tag, pointed_at.as_ref());
                        (tag_back(tx, repository, tag, *now).await?, Action::TagRestore)
                    }
                    ManifestName::Digest(digest) => {
                        let back = manifest_back(tx, repository, digest, *now).await?;
                        let restored = back.map(|(tags, acts)| (Restored { digest: *digest, tags }, acts));
                        (restored, Action::ManifestRestore)
                    }
                };
                let (restored, mut acts) = restored.ok_or_else(|| {
                    let message = format!("`{repository}` has no deleted `{name}` that can be restored");
                    Problem::new(ErrorCode::ManifestUnknown, message).hint("see `seaworthy image deleted`")
                })?;
                // What is not to be is undone with the transaction.
                let what = (restored.tags.as_slice(), &restored.digest);
                // What came from an upstream comes back below its cache, where nothing is pushed.
                let is_cached = db::filled_in(tx, repository, &restored.digest).await?.is_some();
                let way = if is_cached { Way::Cache } else { Way::Push };
                if let Some(settings) = cache.as_ref().filter(|_| is_cached) {
                    crate::cache::check_upstream(tx, settings).await?;
                }
                rules::check_push(tx, repository, way, what).await?;
                let act = Act::new(action, object(repository, &restored.digest))
                    .details(json!({"tags": restored.tags}));
                acts.insert(0, act);
                Ok::<_, RegistryError>((restored, acts))
            })
        })
        .await
    }
}

async fn tag_back(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    (tag, pointed_at): (&Tag, Option<&Digest>),
    now: Timestamp,
) -> Result<Option<(Restored, Vec<Act>)>, RegistryError> {
    let found = db::deleted_tag(tx, repository, (tag, pointed_at), now).await?;
    let Some(digest) = found else { return Ok(None) };
    if let Some(other) = db::target_of(tx, repository, tag).await? {
        let message = format!("`{repository}:{tag}` points at {other} now");
        let hint = "delete the tag first, or restore the manifest by its digest";
        return Err(Problem::new(ErrorCode::Conflict, message).hint(hint).into());
    }
    let is_here = db::manifest_facts(tx, repository, &digest).await?.is_some();
    let (mut tags, mut acts) = (Vec::new(), Vec::new());
    if !is_here {
        match manifest_back(tx, repository, &digest, now).await? {
            Some(back) => (tags, acts) = back,
            None => return Ok(None),
        }
    }
    if !tags.contains(tag) {
        let held = db::set_tag(tx, repository, tag, &digest, now).await?;
        quota::charge(tx, repository, held).await?;
        tags.push(tag.clone());
    }
    Ok(Some((Restored { digest, tags }, acts)))
}

/// Brings a deleted manifest back; returns the tags that came with it, and what is to be said of its parts. `None` when
/// it was not deleted.
async fn manifest_back(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<(Vec<Tag>, Vec<Act>)>, RegistryError> {
    let deleted = db::deleted_manifest(tx, repository, digest).await?.filter(|it| it.until > now);
    let Some(deleted) = deleted else { return Ok(None) };
    let tags = db::undelete_tags(tx, repository, digest, deleted.deleted_at).await?;
    if !rows_back(tx, (repository, digest), &deleted, now).await? {
        return Ok(None);
    }
    for tag in &tags {
        let held = db::set_tag(tx, repository, tag, digest, now).await?;
        quota::charge(tx, repository, held).await?;
    }
    if tags.is_empty() {
        db::enqueue(tx, &db::Subject::Manifest(repository.clone(), *digest), now, "restored").await?;
    }
    let acts = parts_back(tx, repository, (*digest, deleted.deleted_at), now).await?;
    Ok(Some((tags, acts)))
}

/// Brings back what a manifest is made of, whoever deleted it: an index without its images is none. What referred to it
/// or to a part comes with it if it went with it, as a repository's signatures do.
async fn parts_back(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    whole: (Digest, Timestamp),
    now: Timestamp,
) -> Result<Vec<Act>, RegistryError> {
    let (mut acts, mut next) = (Vec::new(), vec![whole]);
    while let Some((digest, deleted_at)) = next.pop() {
        for part in db::deleted_parts(tx, repository, (&digest, deleted_at), now).await? {
            let Some(deleted) = db::deleted_manifest(tx, repository, &part).await? else { continue };
            if acts.len() >= limit::RESTORED_MANIFESTS {
                let most = limit::RESTORED_MANIFESTS;
                let message = format!("more than {most} manifests would come back at once");
                let hint = "restore some of them by their digests first";
                return Err(Problem::new(ErrorCode::TooLarge, message).hint(hint).into());
            }
            if !rows_back(tx, (repository, &part), &deleted, now).await? {
                continue;
            }
            db::enqueue(tx, &db::Subject::Manifest(repository.clone(), part), now, "restored").await?;
            let act = Act::new(Action::ManifestRestore, object(repository, &part));
            acts.push(act.details(json!({"tags": [], "part_of": digest})));
            next.push((part, deleted.deleted_at));
        }
    }
    Ok(acts)
}

/// Brings a manifest back that was collected, for an index that wants it after all. What somebody deleted
/// stays deleted: a push is no restoration. What it is made of is here as long as it can be restored.
pub(crate) async fn collected_back(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    now: Timestamp,
) -> Result<Option<Act>, RegistryError> {
    let deleted = db::deleted_manifest(tx, repository, digest).await?;
    let Some(deleted) = deleted.filter(|it| it.is_collected && it.until > now) else { return Ok(None) };
    if !rows_back(tx, (repository, digest), &deleted, now).await? {
        return Ok(None);
    }
    db::enqueue(tx, &db::Subject::Manifest(repository.clone(), *digest), now, "restored").await?;
    let act = Act::new(Action::ManifestRestore, object(repository, digest));
    Ok(Some(act.details(json!({"tags": [], "reason": "index"}))))
}

/// False when its bytes are gone.
async fn rows_back(
    tx: &mut Tx<'_>,
    (repository, digest): (&RepoName, &Digest),
    deleted: &DeletedManifest,
    now: Timestamp,
) -> Result<bool, RegistryError> {
    let Some(bytes) = db::bytes_of_manifest(tx, digest).await? else { return Ok(false) };
    let manifest = Manifest::parse(&bytes, Some(&deleted.media_type))?;
    let pushed = describe(repository, *digest, &manifest, deleted.pushed_at);
    let annotations = json!(manifest.annotations()).to_string();
    let new = NewManifest {
        pushed: &pushed,
        artifact_type: manifest.artifact_type(),
        annotations: &annotations,
        bytes: &bytes,
        by: &deleted.pushed_by,
        now,
        is_cached: db::filled_in(tx, repository, digest).await?.is_some(),
    };
    let named = db::deleted_blobs(tx, (repository, digest), "blob").await?;
    let (mut held, _) = db::insert_manifest(tx, &new).await?;
    for (blob, size) in named {
        held = held.and(db::name_in_index(tx, (repository, digest), (&blob, size)).await?);
    }
    quota::charge(tx, repository, held).await?;
    // What it is was told when it was pushed, by a version that may have read it otherwise.
    db::enqueue(tx, &db::Subject::Reread(repository.clone(), *digest), now, "restored").await?;
    Ok(true)
}

fn deleted(row: DeletedRow) -> Deleted {
    Deleted {
        repository: row.repository,
        tag: row.tag,
        digest: row.digest,
        media_type: row.media_type,
        deleted_at: row.deleted_at,
        deleted_by: row.deleted_by,
        reason: row.reason,
        restorable_until: row.until,
    }
}
