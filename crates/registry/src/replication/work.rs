//! Who sends what is due, and when it is tried again.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, Timestamp};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    BELL,
    send::{Left, Sent, Shipment},
};
use crate::{
    Registry, RegistryError,
    db::{self, OutgoingKey, ReplicationRow, Settled},
    limit,
    upstream::{Trouble, Upstream, UpstreamConfig},
};

/// What is being sent, and what was learnt of the registries that it goes to.
#[derive(Default)]
pub(crate) struct Sending {
    /// With the epochs in which they were claimed.
    open: Mutex<HashMap<OutgoingKey, i64>>,
    known: Mutex<HashMap<String, (Timestamp, Arc<Upstream>)>>,
}

impl Sending {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OutgoingKey, i64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Sends what replications want, until cancelled. What is under way then is given back, and sent anew by whoever comes.
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
        let claimed = self.inner.sending.lock().clone();
        sending.shutdown().await;
        if let Err(error) = self.give_back(claimed).await {
            tracing::warn!(error = %seaworthy_store::chain(&error), "what was being sent is sent anew later");
        }
    }

    /// Has what was claimed due at once, where nobody took it since.
    async fn give_back(&self, claimed: HashMap<OutgoingKey, i64>) -> Result<(), RegistryError> {
        let context = (claimed, self.inner.clock.now());
        self.in_upkeep(context, |(claimed, now), tx| {
            Box::pin(async move {
                for (key, epoch) in claimed {
                    db::hold_outgoing(tx, key, *epoch, *now).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Begins to send what is due, as long as there is room.
    async fn send_due(&self, sending: &mut JoinSet<()>) -> Result<(), RegistryError> {
        let mut rows = db::replications(self.db()).await?;
        // Who has least under way comes first.
        let under_way = |row: &ReplicationRow| {
            let open = self.inner.sending.lock();
            open.keys().filter(|key| key.replication == row.settings.name.as_str()).count()
        };
        rows.sort_by_key(under_way);
        for row in rows {
            let now = self.inner.clock.now();
            if row.seed.is_some() {
                let context = (row.clone(), now);
                self.in_upkeep(context, |(row, now), tx| Box::pin(db::seed(tx, row, *now))).await?;
            }
            if self.far(&row).rests() {
                continue;
            }
            let name = row.settings.name.as_str();
            for key in db::due_outgoing(self.db(), name, now).await? {
                let is_free = {
                    let open = self.inner.sending.lock();
                    let of_it = open.keys().filter(|other| other.replication == name);
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
        let Some(claimed) = claimed else { return Ok(()) };
        let shipment = Shipment {
            registry: self.clone(),
            settings: row.settings.clone(),
            to: self.far(row),
            key: key.clone(),
            claimed,
        };
        self.inner.sending.lock().insert(key.clone(), claimed.epoch);
        let open = Open { registry: self.clone(), key };
        let changed_at = row.changed_at;
        sending.spawn(async move {
            let (registry, key, left) = (&open.registry, &open.key, Left::default());
            let work = shipment.run(&left);
            let outcome = registry.while_wanted((key, claimed.epoch), changed_at, work).await;
            let settled = registry.settle(changed_at, &shipment, (outcome, &left)).await;
            if let Err(error) = settled {
                let reason = seaworthy_store::chain(&error);
                tracing::warn!(reason, "how an image was replicated could not be noted");
            }
        });
        Ok(())
    }

    /// Keeps others from sending the same while `work` goes on; `None` when the replication changed, and it ends.
    async fn while_wanted<T>(
        &self,
        (key, epoch): (&OutgoingKey, i64),
        changed_at: Timestamp,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let tick = Duration::from_secs(limit::SEND_LOOK_SECONDS);
        loop {
            if let Ok(done) = tokio::time::timeout(tick, &mut work).await {
                return Some(done);
            }
            match db::is_so(self.db(), &key.replication, changed_at).await {
                Ok(false) => return None,
                Ok(true) => {}
                Err(error) => {
                    tracing::warn!(error = %seaworthy_store::chain(&error), "a replication was not read");
                }
            }
            let until = self.inner.clock.now().plus_seconds(limit::SEND_SECONDS);
            let context = (key.clone(), until);
            let held = self.in_upkeep(context, move |(key, until), tx| {
                Box::pin(db::hold_outgoing(tx, key, epoch, *until))
            });
            if let Err(error) = held.await {
                tracing::warn!(error = %seaworthy_store::chain(&error), "what is sent is not held any more");
            }
        }
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
        changed_at: Timestamp,
        shipment: &Shipment,
        (outcome, left): (Option<Result<Sent, Trouble>>, &Left),
    ) -> Result<(), RegistryError> {
        let (key, claimed, now) = (&shipment.key, shipment.claimed, self.inner.clock.now());
        let again = now.plus_seconds(again(claimed.tries));
        let mut is_new = left.manifests.load(Ordering::Relaxed) + left.blobs.load(Ordering::Relaxed) > 0;
        let mut acts = Vec::new();
        let settled = match outcome {
            // Whoever changed it has it looked at anew.
            None => None,
            Some(Ok(Sent::Nothing)) => Some(Settled::Forgotten),
            Some(Ok(Sent::Gone)) => {
                acts.push(shipment.act(Action::ReplicaDelete, json!({})));
                Some(Settled::Forgotten)
            }
            Some(Ok(Sent::There { there, behind })) => {
                // Who put it there may have been killed before saying so.
                is_new |= claimed.there != Some(there.digest);
                Some(match behind.reason {
                    None => Settled::Done(there),
                    Some(error) => {
                        let due = again.max(now.plus_seconds(behind.rest));
                        Settled::Failed { error, due, there: Some(there) }
                    }
                })
            }
            Some(Err(trouble)) => {
                let error = trouble.reason();
                let rest = now.plus_seconds(trouble.rest());
                Some(Settled::Failed { error, due: again.max(rest), there: None })
            }
        };
        if let Some(Settled::Failed { error: reason, .. }) = &settled {
            let (replication, repository, name) = (&key.replication, &key.repository, &key.name);
            tracing::warn!(replication, %repository, %name, reason, "not all of it is replicated");
        }
        if is_new {
            let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
            let sent = json!({
                "manifests": count(&left.manifests), "blobs": count(&left.blobs), "bytes": count(&left.bytes),
                "digest": match &settled {
                    Some(Settled::Done(there) | Settled::Failed { there: Some(there), .. }) => Some(there.digest),
                    _ => None,
                },
            });
            acts.push(shipment.act(Action::ManifestReplicate, sent));
        }
        let context = (key.clone(), settled, acts);
        seaworthy_ledger::write(self.db(), &Actor::system(), context, move |(key, settled, acts), tx| {
            Box::pin(async move {
                if let Some(settled) = settled {
                    db::settle_outgoing(tx, key, (claimed.epoch, changed_at), settled, now).await?;
                }
                Ok::<_, RegistryError>(((), acts.clone()))
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
        let object = crate::manifest::named(&self.key.repository, &self.key.name);
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

    /// It is held for longer before it is taken for left.
    const _: () = assert!(3 * limit::SEND_LOOK_SECONDS < limit::SEND_SECONDS.unsigned_abs());

    #[test]
    fn attempts_grow_apart() {
        assert_eq!((again(0), again(1)), (limit::SEND_AGAIN_SECONDS, 2 * limit::SEND_AGAIN_SECONDS));
        assert_eq!(again(i64::MAX), limit::SEND_AGAIN_SECONDS_MAX);
    }
}
