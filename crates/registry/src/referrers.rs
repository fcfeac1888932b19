//! Who refers to a manifest (distribution spec 1.1, "Listing Referrers").

use std::collections::HashMap;

use seaworthy_access::{Identity, Permission};
use seaworthy_model::Scope;
use seaworthy_oci::{Digest, Manifest, RepoName, media};
use serde_json::{Value, json};

use crate::{
    Door, Registry, RegistryError,
    db::{self, ReferrerRow},
    limit,
    lock::{self, Ability},
};

/// One page of a list of referrers.
pub(crate) struct ReferrersPage {
    /// An image index.
    pub(crate) index: Value,
    /// The last digest on it, when there is more.
    pub(crate) next: Option<Digest>,
}

impl Registry {
    /// Referrers of `subject` after `last` in digest order, whether or not it is here itself. With an
    /// artifact type, those of it alone.
    ///
    /// A list says of a manifest what HEAD says of it. Its annotations are its content: they are
    /// shown of manifests that the caller may pull.
    pub(crate) async fn referrers(
        &self,
        identity: &Identity,
        repository: &RepoName,
        subject: &Digest,
        (artifact_type, last): (Option<&str>, &str),
    ) -> Result<ReferrersPage, RegistryError> {
        self.require(identity, Permission::Pull, repository).await?;
        let locks = db::repository_locks(self.db(), repository).await?.unwrap_or_default();
        lock::check_read(locks, repository.as_str())?;
        let of = (repository, subject);
        let mut rows = db::referrers(self.db(), of, artifact_type, last, limit::REFERRERS + 1).await?;
        let fit = fitting(&rows);
        let more = fit < rows.len();
        rows.truncate(fit);
        let scope = Scope::repository(repository);
        let sees_all = self.access().allows(identity, Permission::Quarantine, &scope).await?;
        let mut view = View {
            registry: self,
            of,
            sees_all,
            hides: !sees_all && self.is_quarantined(repository).await?,
            annotations: match (rows.first(), rows.last()) {
                (Some(first), Some(last)) => {
                    db::annotations(self.db(), of, artifact_type, (&first.digest, &last.digest)).await?
                }
                _ => HashMap::new(),
            },
            door: Door::Manifest,
        };
        let mut manifests = Vec::with_capacity(rows.len());
        for row in &rows {
            manifests.push(view.descriptor(row).await?);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": manifests });
        Ok(ReferrersPage { index, next: rows.last().filter(|_| more).map(|row| row.digest) })
    }
}

/// How many of these rows go on one page.
fn fitting(rows: &[ReferrerRow]) -> usize {
    let mut bytes = 0u64;
    let most = usize::try_from(limit::REFERRERS).unwrap_or(usize::MAX);
    let too_many = rows.iter().take(most).position(|row| {
        bytes = bytes.saturating_add(row.annotation_bytes);
        bytes > limit::REFERRERS_BYTES
    });
    too_many.map_or(rows.len().min(most), |position| position.max(1))
}

/// What one caller sees of the referrers of one subject.
struct View<'r> {
    registry: &'r Registry,
    of: (&'r RepoName, &'r Digest),
    sees_all: bool,
    /// What nobody let out of quarantine.
    hides: bool,
    /// Of the page, as JSON.
    annotations: HashMap<Digest, String>,
    /// A pending answer is waited for once per page.
    door: Door,
}

impl View<'_> {
    async fn descriptor(&mut self, row: &ReferrerRow) -> Result<Value, RegistryError> {
        let mut descriptor = json!({ "mediaType": row.media_type, "digest": row.digest, "size": row.size });
        let Some(fields) = descriptor.as_object_mut() else { return Ok(descriptor) };
        if !row.artifact_type.is_empty() {
            fields.insert("artifactType".to_owned(), row.artifact_type.clone().into());
        }
        if row.annotation_bytes > "{}".len() as u64 && self.may_be_read(row).await? {
            let annotations = self.annotations(row).await?;
            if annotations.as_object().is_some_and(|annotations| !annotations.is_empty()) {
                fields.insert("annotations".to_owned(), annotations);
            }
        }
        Ok(descriptor)
    }

    async fn may_be_read(&mut self, row: &ReferrerRow) -> Result<bool, RegistryError> {
        if !row.locks.allow(Ability::Read) || (self.hides && !row.locks.has_passed()) {
            return Ok(false);
        }
        if self.sees_all {
            return Ok(true);
        }
        let gate = &self.registry.inner.config.gate;
        let Some(refusal) = gate.check(self.of.0, &row.digest, self.door).await? else { return Ok(true) };
        if refusal.verdict == "pending" {
            self.door = Door::Blob;
        }
        Ok(false)
    }

    async fn annotations(&self, row: &ReferrerRow) -> Result<Value, RegistryError> {
        if let Some(text) = self.annotations.get(&row.digest) {
            return Ok(serde_json::from_str(text).unwrap_or_default());
        }
        let db = self.registry.db();
        // From before there was a table of referrers, or deleted just now.
        let Some(bytes) = db::manifest_bytes(db, &row.digest).await? else { return Ok(Value::Null) };
        Ok(Manifest::parse(&bytes, Some(&row.media_type))
            .map_or(Value::Null, |manifest| json!(manifest.annotations())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_at_its_bytes_and_has_one_referrer() {
        let rows = |bytes: &[u64]| -> usize {
            let row = |annotation_bytes: &u64| ReferrerRow {
                digest: Digest::sha256(b"x"),
                media_type: String::new(),
                artifact_type: String::new(),
                size: 0,
                annotation_bytes: *annotation_bytes,
                locks: lock::Locks::default(),
            };
            fitting(&bytes.iter().map(row).collect::<Vec<_>>())
        };
        let most = limit::REFERRERS_BYTES;
        assert_eq!(rows(&[]), 0);
        assert_eq!(rows(&[most]), 1);
        assert_eq!(rows(&[most - 1, 1, 0]), 3, "at the limit");
        assert_eq!(rows(&[most - 1, 2]), 1, "one past it");
        assert_eq!(rows(&[most + 1, 0]), 1, "one is always on it");
        let count = usize::try_from(limit::REFERRERS).expect("small");
        assert_eq!(rows(&vec![0; count]), count);
        assert_eq!(rows(&vec![0; count + 1]), count);
    }
}
