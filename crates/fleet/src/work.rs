//! The worker: what was pushed and what was measured become aliases, and the containers that
//! waited for them are resolved.

use std::{collections::BTreeSet, sync::Arc};

use seaworthy_model::{ChildManifest, ContentId, Event, InventoryReady, ManifestPushed, Timestamp, consumer};
use seaworthy_oci::{Digest, Platform, RepoName};
use seaworthy_store::{DbError, Delivery, Tx, WorkerConfig};
use tokio_util::sync::CancellationToken;

use crate::{
    Fleet, FleetError,
    alias::Resolver,
    db::{
        aliases,
        containers::{self, Key},
    },
    limit,
};

impl Fleet {
    pub(crate) async fn handle_events(&self, cancel: CancellationToken) {
        let config = WorkerConfig { consumer: consumer::FLEET, concurrency: limit::CONCURRENCY };
        let room = self.clone();
        seaworthy_store::work(self.db().clone(), config, cancel, move |delivery| {
            let room = room.clone();
            async move { room.handle(delivery).await }
        })
        .await;
    }

    /// The first transaction stores the fact and resolves the first containers; more follow in
    /// rounds. A crash in between repeats all of it, which changes nothing that is already so.
    async fn handle(&self, delivery: Delivery) -> Result<(), FleetError> {
        let mut round = Round { fact: Fact::of(&delivery.event), rest: Vec::new() };
        loop {
            let context = (round, delivery.clone(), self.registry_hosts());
            let rest = self
                .db()
                .upkeep(context, |(round, delivery, hosts), tx| Box::pin(round.run(tx, delivery, hosts)))
                .await
                .map_err(|error: DbError| FleetError::Db(error))?;
            if rest.is_empty() {
                return Ok(());
            }
            round = Round { fact: Fact::Nothing, rest };
        }
    }
}

struct Round {
    fact: Fact,
    rest: Vec<Key>,
}

impl Round {
    /// Returns the containers that are left; with the last one the delivery is settled.
    async fn run(
        &self,
        tx: &mut Tx<'_>,
        delivery: &Delivery,
        hosts: &Arc<[String]>,
    ) -> Result<Vec<Key>, DbError> {
        let mut keys = self.fact.store(tx).await?;
        keys.extend(self.rest.iter().cloned());
        let mut keys: Vec<Key> = keys.into_iter().collect();
        let rest = keys.split_off(keys.len().min(limit::RESOLVE));
        let mut resolver = Resolver::new(hosts);
        for key in &keys {
            resolver.store(tx, key).await?;
            resolver.tell(tx, key, delivery.created_at).await?;
        }
        if rest.is_empty() {
            tx.settle(delivery).await?;
        }
        Ok(rest)
    }
}

/// What an event says about names.
enum Fact {
    Image { repository: RepoName, digest: Digest, config: Digest, pushed_at: Timestamp },
    Index { repository: RepoName, digest: Digest, children: Vec<ChildManifest>, pushed_at: Timestamp },
    Content { manifests: Vec<(RepoName, Digest)>, config: Digest, content: ContentId, platform: Platform },
    Nothing,
}

impl Fact {
    fn of(event: &Event) -> Self {
        match event {
            Event::ManifestPushed(pushed) => Self::pushed(pushed),
            Event::InventoryReady(ready) => Self::measured(ready),
            Event::BlobStored(_)
            | Event::FindingsChanged(_)
            | Event::FeedsChanged(_)
            | Event::ContainerSeen(_)
            | Event::ClearanceChanged(_) => Self::Nothing,
        }
    }

    fn pushed(pushed: &ManifestPushed) -> Self {
        let (repository, digest, pushed_at) = (pushed.repository.clone(), pushed.digest, pushed.pushed_at);
        match pushed.config {
            Some(config) if pushed.is_image => Self::Image { repository, digest, config, pushed_at },
            // An artifact: nothing runs it.
            Some(_) => Self::Nothing,
            None => Self::Index { repository, digest, children: pushed.children.clone(), pushed_at },
        }
    }

    fn measured(ready: &InventoryReady) -> Self {
        Self::Content {
            manifests: ready.manifests.clone(),
            config: ready.config,
            content: *ready.content_id(),
            platform: ready.inventory.platform.clone(),
        }
    }

    /// Stores the fact; returns the containers whose image it may change.
    async fn store(&self, tx: &mut Tx<'_>) -> Result<BTreeSet<Key>, DbError> {
        let mut names = BTreeSet::new();
        let mut contents = BTreeSet::new();
        match self {
            Self::Nothing => {}
            Self::Image { repository, digest, config, pushed_at } => {
                aliases::put_manifest(tx, repository, digest, Some(config), *pushed_at).await?;
                names.extend([*digest, *config]);
                names.extend(aliases::parents(tx, digest).await?);
                // The same content in another repository may be the one a container stands for.
                contents.extend(aliases::manifest(tx, digest).await?.and_then(|known| known.content));
            }
            Self::Index { repository, digest, children, pushed_at } => {
                aliases::put_manifest(tx, repository, digest, None, *pushed_at).await?;
                aliases::put_children(tx, digest, children).await?;
                names.insert(*digest);
            }
            Self::Content { manifests, config, content, platform } => {
                names.insert(*config);
                contents.insert(*content);
                for (repository, digest) in manifests {
                    contents.extend(aliases::manifest(tx, digest).await?.and_then(|known| known.content));
                    aliases::put_content(tx, (repository, digest), config, content, platform).await?;
                    names.insert(*digest);
                    names.extend(aliases::parents(tx, digest).await?);
                }
            }
        }
        let mut keys = BTreeSet::new();
        for name in &names {
            keys.extend(containers::named(tx, name).await?);
        }
        for content in &contents {
            keys.extend(containers::of_content(tx, content).await?);
        }
        Ok(keys)
    }
}
