//! Who sends what is due, and when it is tried again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, Timestamp};
use seaworthy_oci::{RepoName, Tag};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    BELL,
    send::{Sent, Shipment, Trouble},
};
use crate::{
    Registry, RegistryError,
    db::{self, OutgoingKey, ReplicationRow, Settled},
    limit,
    path::ManifestName,
    upstream::{Upstream, UpstreamConfig},
};

/// What is being sent, and what was learnt of the registries that it goes to.
#[derive(Default)]
pub(crate) struct Sending {
    open: Mutex<HashSet<OutgoingKey>>,
    known: Mutex<HashMap<String, (Timestamp, Arc<Upstream>)>>,
}

impl Sending {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<OutgoingKey>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Sends what replications want, until cancelled. What is under way then is sent anew by the next server.
    pub async fn replicating(self, cancel: CancellationToken) {
        let bell = self.db().bell(BELL);
        let mut sending = JoinSet::new();
        loop {
            // What rings from now on is heard.
            let rung = bell.notified();
            let mut rung = std::pin::pin!(rung);
            rung.as_mut().enable();
            if let Err(error) = self.send_due(&mut sending).await {
                tracing::warn!(error = %seaworthy_store::chain(&error), "looking for images to replicate failed");
            }
            tokio::select! {
                () = &mut rung => {}
                Some(_) = sending.join_next(), if !sending.is_empty() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = cancel.cancelled() => break,
            }
        }
        sending.shutdown().await;
    }

    /// Begins to send what is due, as long as there is room.
    async fn send_due(&self, sending: &mut JoinSet<()>) -> Result<(), RegistryError> {
        for row in db::replications(self.db()).await? {
            if row.seed.is_some() {
                self.look_through(&row).await?;
            }
            let now = self.inner.clock.now();
            let name = row.settings.name.as_str();
            for key in db::due_outgoing(self.db(), name, now).await? {
                let is_free = {
                    let open = self.inner.sending.lock();
                    let of_it = open.iter().filter(|other| other.replication == name);
                    open.len() < limit::SENDS
                        && of_it.clone().count() < limit::SENDS_PER_REPLICATION
                        // What the names of a repository have in common goes once.
                        && of_it.clone().all(|other| other.repository != key.repository)
                };
                if is_free {
                    self.begin(&row, key, sending).await?;
                }
            }
        }
        Ok(())
    }

    async fn begin(
        &self,
        row: &ReplicationRow,
        key: OutgoingKey,
        sending: &mut JoinSet<()>,
    ) -> Result<(), RegistryError> {
        let now = self.inner.clock.now();
        let context = (key.clone(), now, now.plus_seconds(limit::SEND_SECONDS));
        let claimed = self
            .in_upkeep(context, |(key, now, until), tx| {
                Box::pin(async move { db::claim_outgoing(tx, key, (*now, *until)).await })
            })
            .await?;
        let Some((tries, epoch, there)) = claimed else { return Ok(()) };
        let shipment = Shipment {
            registry: self.clone(),
            settings: row.settings.clone(),
            to: self.far(row),
            repository: key.repository.clone(),
            name: key.name.clone(),
            there,
            tries,
        };
        self.inner.sending.lock().insert(key.clone());
        let open = Open { registry: self.clone(), key };
        sending.spawn(async move {
            let outcome = shipment.run().await;
            if let Err(error) = open.registry.settle(&open.key, (tries, epoch), &shipment, outcome).await {
                let reason = seaworthy_store::chain(&error);
                tracing::warn!(reason, "how an image was replicated could not be noted");
            }
        });
        Ok(())
    }

    /// The registry that a replication sends to, with what was learnt of it as long as its settings stay.
    fn far(&self, row: &ReplicationRow) -> Arc<Upstream> {
        let mut known = self.inner.sending.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, far)) = known.get(row.settings.name.as_str())
            && *at == row.changed_at
        {
            return far.clone();
        }
        let (access, settings) = (&self.inner.config.upstreams, &row.settings);
        let far = Arc::new(Upstream::new(UpstreamConfig {
            origin: settings.to.clone(),
            realms: settings.realms.clone(),
            networks: settings.networks.clone(),
            login: access.login(&settings.sealed_for(), row.sealed.as_deref()),
            tls: tokio_rustls::TlsConnector::from(access.tls.clone()),
            patience: access.patience,
            clock: self.inner.clock.clone(),
        }));
        if known.len() as u64 > limit::REPLICATIONS {
            known.clear();
        }
        known.insert(settings.name.to_string(), (row.changed_at, far.clone()));
        far
    }

    async fn settle(
        &self,
        key: &OutgoingKey,
        (tries, epoch): (i64, i64),
        shipment: &Shipment,
        outcome: Result<Sent, Trouble>,
    ) -> Result<(), RegistryError> {
        let now = self.inner.clock.now();
        let mut acts = Vec::new();
        let settled = match outcome {
            Ok(Sent::Nothing) => Settled::Forgotten,
            Ok(Sent::Gone) => {
                acts.push(shipment.act(Action::ReplicaDelete, json!({})));
                Settled::Forgotten
            }
            Ok(Sent::There { digest, manifests, blobs, bytes }) => {
                if manifests > 0 {
                    let sent =
                        json!({"digest": digest, "manifests": manifests, "blobs": blobs, "bytes": bytes});
                    acts.push(shipment.act(Action::ManifestReplicate, sent));
                }
                Settled::Done(digest)
            }
            Err(trouble) => {
                let error = trouble.reason();
                tracing::warn!(
                    replication = key.replication,
                    repository = %key.repository,
                    name = %key.name,
                    reason = error,
                    "a replication failed"
                );
                let wait = again(tries).max(trouble.rest());
                Settled::Failed { error, due: now.plus_seconds(wait) }
            }
        };
        let context = (key.clone(), settled, acts);
        seaworthy_ledger::write(self.db(), &Actor::system(), context, move |(key, settled, acts), tx| {
            Box::pin(async move {
                db::settle_outgoing(tx, key, epoch, settled, now).await?;
                Ok::<_, RegistryError>(((), acts.clone()))
            })
        })
        .await
    }

    /// Looks at some more of the tags that a replication may want.
    async fn look_through(&self, row: &ReplicationRow) -> Result<(), RegistryError> {
        let Some(before) = row.seed.clone() else { return Ok(()) };
        let settings = &row.settings;
        let most = i64::try_from(limit::SEED_TAGS).unwrap_or(i64::MAX);
        let rows = db::images(self.db(), settings.prefix.name(), (&before.0, &before.1), most).await?;
        let mut wanted: Vec<(RepoName, Tag)> = Vec::new();
        let mut after = None;
        for row in &rows {
            let (repository, tag): (RepoName, Tag) = (row.parsed(0)?, row.parsed(1)?);
            after = Some((repository.to_string(), tag.to_string()));
            if settings.wants(&repository, &ManifestName::Tag(tag.clone())) {
                wanted.push((repository, tag));
            }
        }
        let after = after.filter(|_| rows.len() as u64 >= limit::SEED_TAGS);
        let context = (settings.name.clone(), row.changed_at, before, after, wanted, self.inner.clock.now());
        self.in_upkeep(context, |(name, changed_at, before, after, wanted, now), tx| {
            Box::pin(async move {
                let name = (name.as_str(), *changed_at);
                db::seed(tx, name, (before, after.as_ref()), wanted, *now).await
            })
        })
        .await
    }
}

/// Something that is being sent, until this is dropped.
struct Open {
    registry: Registry,
    key: OutgoingKey,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.registry.inner.sending.lock().remove(&self.key);
    }
}

impl Shipment {
    fn act(&self, action: Action, mut details: serde_json::Value) -> Act {
        let object = crate::manifest::named(&self.repository, &self.name);
        if let Some(fields) = details.as_object_mut() {
            fields.insert("replication".to_owned(), json!(self.settings.name));
            fields.insert("to".to_owned(), json!(self.settings.to));
        }
        Act::new(action, format!("repositories/{object}")).details(details)
    }
}

/// In how many seconds something is sent again that was tried so often before.
fn again(tries: i64) -> i64 {
    (limit::SEND_AGAIN_SECONDS << tries.clamp(0, 16)).min(limit::SEND_AGAIN_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_grow_apart() {
        assert_eq!((again(0), again(1)), (limit::SEND_AGAIN_SECONDS, 2 * limit::SEND_AGAIN_SECONDS));
        assert_eq!(again(i64::MAX), limit::SEND_AGAIN_SECONDS_MAX);
    }
}
