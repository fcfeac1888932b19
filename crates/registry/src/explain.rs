//! Why something is still here, and what would go.

use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, Problem, Scope, Timestamp};
use seaworthy_oci::{Digest, RepoName};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    NameRange, Registry, RegistryError,
    db::{self, BlobState, Hold, Waiting},
    fate::{self, Fate, Keeper},
    limit,
};

/// What would go, or not before when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// `blob`, `manifest`, or `deleted`: a deleted manifest at its end.
    pub kind: &'static str,
    /// Of a manifest.
    pub repository: Option<RepoName>,
    /// Which.
    pub digest: Digest,
    /// Length in bytes of a blob.
    pub bytes: u64,
    /// When it goes, if nothing comes in between.
    pub at: Timestamp,
    /// Why: `unnamed`, `condemned`, `deleting`, `untagged`, `deleted`; what keeps it until then: `lease`,
    /// `grace`, `deleted_tag`.
    pub why: &'static str,
}

/// A part of what would go.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ForecastPage {
    /// In the order of the queue.
    pub items: Vec<Forecast>,
    /// What to go on with; `None` at the end.
    pub next: Option<String>,
}

impl Registry {
    /// Why a blob or manifest is here and who uses it, as far as `identity` may pull there.
    pub async fn explain(&self, identity: &Identity, digest: &Digest) -> Result<Value, RegistryError> {
        let mut manifests = Vec::new();
        for (repository, until) in self.places(identity, digest).await? {
            if self.sees(identity, (&repository, digest)).await? {
                manifests.push(self.explain_manifest(identity, (&repository, digest), until).await?);
            }
        }
        let blob = self.explain_blob(identity, digest).await?;
        if manifests.is_empty() && blob.is_none() {
            let message = format!("nothing here is called {digest}");
            return Err(Problem::new(ErrorCode::NotFound, message).into());
        }
        Ok(json!({"digest": digest, "manifests": manifests, "blob": blob}))
    }

    /// Where a manifest is, or was and can be restored, of repositories that the caller may pull from: the first
    /// [`limit::EXPLAINED`].
    async fn places(
        &self,
        identity: &Identity,
        digest: &Digest,
    ) -> Result<Vec<(RepoName, Option<Timestamp>)>, RegistryError> {
        let (mut places, most) = (Vec::new(), limit::EXPLAINED);
        for range in self.ranges(identity, "").await? {
            let left = most - i64::try_from(places.len()).unwrap_or(most);
            places.extend(db::manifest_places(self.db(), digest, &range, left).await?);
        }
        Ok(places)
    }

    /// Whether the caller may pull from the repository, and the manifest is neither in quarantine for them nor locked.
    async fn sees(
        &self,
        identity: &Identity,
        (repository, manifest): (&RepoName, &Digest),
    ) -> Result<bool, RegistryError> {
        if !self.access().allows(identity, Permission::Pull, &Scope::repository(repository)).await?
            || self.is_hidden(identity, repository, manifest).await?
        {
            return Ok(false);
        }
        Ok(self.check_unlocked(repository, Err(*manifest)).await.is_ok())
    }

    /// Containers on hosts whose clearances the caller may read; of others that one keeps it, and no more.
    async fn seen_running(
        &self,
        identity: &Identity,
        runners: &[db::Runner],
    ) -> Result<Vec<Value>, RegistryError> {
        let mut told = Vec::new();
        for it in runners {
            // A name that is no scope is for those who may see all.
            let scope = format!("/hosts/{}", it.host).parse().or_else(|_| "/hosts".parse());
            let scope: Scope = scope.map_err(|error: seaworthy_model::ScopeError| {
                Problem::new(ErrorCode::Internal, error.to_string())
            })?;
            if self.access().allows(identity, Permission::ClearanceRead, &scope).await? {
                told.push(json!({"host": it.host, "container": it.container}));
            }
        }
        Ok(told)
    }

    async fn explain_manifest(
        &self,
        identity: &Identity,
        (repository, digest): (&RepoName, &Digest),
        until: Option<Timestamp>,
    ) -> Result<Value, RegistryError> {
        let (db, now, most) = (self.db(), self.inner.clock.now(), limit::EXPLAINED);
        let runners = db::runners(db, repository, digest, most).await?;
        let containers = self.seen_running(identity, &runners).await?;
        if let Some(until) = until {
            return Ok(json!({
                "repository": repository, "state": "deleted", "restorable_until": until, "containers": containers,
            }));
        }
        let naming = db::naming(db, digest, &NameRange::one(repository), most).await?;
        let indexes: Vec<&Digest> = naming.iter().map(|it| &it.manifest).collect();
        let facts = db::facts(db, repository, digest, !runners.is_empty()).await?;
        let untagged = self.untagged(repository).await?;
        let (kept_by, at) = match facts.map(|facts| fate::decide(&facts, untagged, now)) {
            Some(Fate::Kept(keeper)) => (Some(keeper.word()), None),
            Some(Fate::KeptUntil(keeper, at)) => (Some(keeper.word()), Some(at)),
            Some(Fate::Goes) | None => (None, Some(now)),
        };
        Ok(json!({
            "repository": repository,
            "state": "live",
            "kept_by": kept_by,
            "looked_at_again": at,
            "tags": db::tags_of(db, repository, digest, most).await?,
            "indexes": indexes,
            "referrers": db::referring(db, repository, digest, ("", most)).await?,
            "containers": containers,
        }))
    }

    /// A blob that this caller knows of: by a manifest that they may pull, or by having brought it there.
    async fn explain_blob(
        &self,
        identity: &Identity,
        digest: &Digest,
    ) -> Result<Option<Value>, RegistryError> {
        let (db, most) = (self.db(), limit::EXPLAINED);
        let Some(row) = db::blob(db, digest).await? else { return Ok(None) };
        let (mut named_by, mut naming) = (Vec::new(), Vec::new());
        for range in self.ranges(identity, "").await? {
            naming.extend(
                db::naming_blob(db, digest, &range, most - i64::try_from(naming.len()).unwrap_or(most))
                    .await?,
            );
        }
        for it in naming {
            if self.sees(identity, (&it.repository, &it.manifest)).await? {
                let tags = db::tags_of(db, &it.repository, &it.manifest, most).await?;
                let runs = db::runners(db, &it.repository, &it.manifest, most).await?;
                let containers = self.seen_running(identity, &runs).await?;
                named_by.push(json!({
                    "repository": it.repository, "manifest": it.manifest, "as": it.kind, "tags": tags,
                    "deleted": it.is_deleted, "containers": containers,
                }));
            }
        }
        let mut brought_to = Vec::new();
        let brought = db::links(db, digest, &db::bearer(identity.principal()), most).await?;
        for (repository, at) in brought {
            if self.access().allows(identity, Permission::Pull, &Scope::repository(&repository)).await? {
                brought_to.push(json!({"repository": repository, "at": at}));
            }
        }
        if named_by.is_empty() && brought_to.is_empty() {
            return Ok(None);
        }
        let review = db::review_of(db, "blob", "", digest).await?;
        Ok(Some(json!({
            "bytes": row.size,
            "state": row.state.word(),
            "generation": row.generation,
            "pinned_until": row.pinned_until,
            "damage": row.damage,
            "named_by": named_by,
            "brought_to": brought_to,
            "looked_at_again": review.map(|(at, _)| at),
        })))
    }

    /// A part of what would go, behind `cursor`: at most [`limit::PAGE`] of what is to be looked at. Nothing
    /// is changed.
    pub async fn forecast(&self, cursor: &str) -> Result<ForecastPage, RegistryError> {
        let wrong = || Problem::new(ErrorCode::Invalid, "`after` is not what a page before said");
        let after: Vec<&str> = cursor.split(' ').collect();
        let after = match after.as_slice() {
            [""] => ("", "", ""),
            [kind, repository, digest] => (*kind, *repository, *digest),
            _ => return Err(wrong().into()),
        };
        let rows = db::waiting(self.db(), after, limit::PAGE.into()).await?;
        let mut page = ForecastPage::default();
        for row in &rows {
            page.items.extend(self.foresee(row).await?);
        }
        page.next = rows
            .last()
            .filter(|_| rows.len() == limit::PAGE as usize)
            .map(|row| format!("{} {} {}", row.kind, row.repository, row.digest));
        Ok(page)
    }

    async fn foresee(&self, review: &Waiting) -> Result<Option<Forecast>, RegistryError> {
        let Ok(digest) = review.digest.parse() else { return Ok(None) };
        match review.kind.as_str() {
            "blob" => self.foresee_blob(digest).await,
            "manifest" => match review.repository.parse() {
                Ok(repository) => self.foresee_manifest(repository, digest, &review.reason).await,
                Err(_) => Ok(None),
            },
            _ => Ok(None),
        }
    }

    async fn foresee_blob(&self, digest: Digest) -> Result<Option<Forecast>, RegistryError> {
        let now = self.inner.clock.now();
        let Some(row) = db::blob(self.db(), &digest).await? else { return Ok(None) };
        // A transaction, as collection looks at it, that writes nothing.
        let look = (row.clone(), now);
        let hold = self
            .in_upkeep(look, |(row, now), tx| Box::pin(async move { db::hold_on(tx, row, *now).await }))
            .await?;
        let condemned = |at: Timestamp| at.plus_seconds(limit::CONDEMNED_SECONDS);
        let (at, why) = match (hold, row.state) {
            (_, BlobState::Deleting) => (now, "deleting"),
            (Hold::Named, _) => return Ok(None),
            (Hold::Until(at), _) => (condemned(at), "lease"),
            (Hold::Nothing, BlobState::Live) => (condemned(now), "unnamed"),
            (Hold::Nothing, BlobState::Condemned) => (condemned(row.changed_at), "condemned"),
        };
        Ok(Some(Forecast { kind: "blob", repository: None, digest, bytes: row.size, at, why }))
    }

    async fn foresee_manifest(
        &self,
        repository: RepoName,
        digest: Digest,
        reason: &str,
    ) -> Result<Option<Forecast>, RegistryError> {
        let (now, untagged) = (self.inner.clock.now(), self.untagged(&repository).await?);
        let runs = !db::runners(self.db(), &repository, &digest, 1).await?.is_empty();
        let forecast = |kind, at, why| {
            Some(Forecast { kind, repository: Some(repository.clone()), digest, bytes: 0, at, why })
        };
        let Some(mut facts) = db::facts(self.db(), &repository, &digest, runs).await? else {
            let places = db::manifest_places(self.db(), &digest, &NameRange::one(&repository), 1).await?;
            let until = places.into_iter().next().and_then(|(_, until)| until);
            return Ok(until.filter(|_| !runs).and_then(|until| forecast("deleted", until, "deleted")));
        };
        if reason == "upgrade" {
            facts.touched_at = now;
        }
        Ok(match fate::decide(&facts, untagged, now) {
            Fate::Goes => forecast("manifest", now, "untagged"),
            Fate::KeptUntil(keeper @ (Keeper::Grace | Keeper::DeletedTag), at) => {
                forecast("manifest", at, keeper.word())
            }
            Fate::Kept(_) | Fate::KeptUntil(..) => None,
        })
    }
}
