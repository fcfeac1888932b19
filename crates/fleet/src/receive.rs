//! A batch of observations becomes rows, in one transaction.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use seaworthy_link::{Ack, Batch, Container, Gap, Item, Listed, Removed, Scanned};
use seaworthy_model::{Event, HostId, Timestamp, consumer};
use seaworthy_store::Tx;

use crate::{
    Fleet, FleetError, Happening, HistoryRow, Presence,
    alias::{self, Resolver},
    db::{
        self, HostRow, aliases,
        containers::{self, Key, Names},
    },
    history, limit,
};

impl Fleet {
    /// Stores a batch of `host`, whose agent the caller has authenticated. A batch that was stored
    /// before is acknowledged again and changes nothing.
    pub async fn receive(&self, host: HostId, batch: Batch) -> Result<Ack, FleetError> {
        batch.check()?;
        let context = (host, batch, self.db().now(), self.registry_hosts());
        self.db()
            .upkeep(context, |(host, batch, now, hosts), tx| Box::pin(store(tx, *host, batch, (*now, hosts))))
            .await
    }
}

async fn store(
    tx: &mut Tx<'_>,
    host: HostId,
    batch: &Batch,
    (now, registry_hosts): (Timestamp, &Arc<[String]>),
) -> Result<Ack, FleetError> {
    let mut row = db::host(tx, host).await?.ok_or(FleetError::UnknownHost { host })?;
    let last = db::spool_number(tx, host, batch.spool).await?;
    if let Some(number) = last.filter(|last| batch.number <= *last) {
        return Ok(Ack { spool: batch.spool, number });
    }
    if last.is_some() && row.spool != Some(batch.spool) {
        return Err(FleetError::SpoolReplaced { spool: batch.spool });
    }
    let expected = last.unwrap_or(0).saturating_add(1);
    if batch.number != expected {
        return Err(FleetError::Order { spool: batch.spool, number: batch.number, expected });
    }
    let replaced = last.is_none() && row.spool.replace(batch.spool).is_some();
    row.generation += i64::from(last.is_none());
    db::set_spool_number(tx, host, batch.spool, (row.generation, batch.number)).await?;
    let mut receipt = Receipt { host, row, now, added: false, touched: Touched::default() };
    if replaced {
        let reason = "the agent began a new spool: its disk was lost".to_owned();
        receipt.note(tx, ("", ""), (batch.made_at, Happening::Gap { from: None, reason })).await?;
    }
    for item in &batch.items {
        receipt.item(tx, item).await?;
    }
    receipt.finish(tx, batch.made_at, registry_hosts).await?;
    Ok(Ack { spool: batch.spool, number: batch.number })
}

/// Whose images must be resolved, once, when all items are stored.
#[derive(Default)]
struct Touched {
    all: bool,
    images: BTreeSet<(&'static str, String)>,
    containers: BTreeSet<Key>,
    /// Seen or gone, whatever their images.
    seen: BTreeSet<Key>,
}

struct Receipt {
    host: HostId,
    row: HostRow,
    now: Timestamp,
    added: bool,
    touched: Touched,
}

impl Receipt {
    async fn item(&mut self, tx: &mut Tx<'_>, item: &Item) -> Result<(), FleetError> {
        match item {
            Item::Host(facts) => {
                self.touched.all |= self.row.platform().as_ref() != Some(&facts.platform);
                self.row.facts = Some(facts.clone());
                Ok(())
            }
            Item::Container(container) => self.container(tx, container).await,
            Item::Removed(removed) => self.removed(tx, removed).await,
            Item::Listed(listed) => self.listed(tx, listed).await,
            Item::Image(image) => {
                if aliases::put_image(tx, self.host, image, self.now).await? {
                    self.touched.images.insert((image.runtime.word(), alias::image_key(&image.id)));
                }
                Ok(())
            }
            Item::Scanned(scanned) => self.scanned(tx, scanned).await,
            Item::Gap(Gap { from, until, reason }) => {
                let gap = Happening::Gap { from: Some(*from), reason: reason.clone() };
                self.note(tx, ("", ""), (*until, gap)).await
            }
        }
    }

    async fn container(&mut self, tx: &mut Tx<'_>, container: &Container) -> Result<(), FleetError> {
        let key = self.key(container.runtime.word(), &container.id);
        let stored = containers::stored(tx, &key).await?;
        let order = (self.row.generation, container.seen_at);
        if let Some(stored) = &stored {
            // What is gone comes back only by a later sight.
            let is_gone = stored.presence == Presence::Gone;
            if order < stored.order || (is_gone && order == stored.order) {
                return Ok(());
            }
        }
        containers::put(tx, &key, container, (self.row.generation, self.now)).await?;
        self.touched.seen.insert(key.clone());
        self.added |= stored.as_ref().is_none_or(|stored| stored.presence == Presence::Gone);
        if stored.as_ref().map(|stored| &stored.names) != Some(&Names::of(self.host, container)) {
            self.touched.containers.insert(key.clone());
        }
        for happening in history::between(stored.map(|stored| stored.before), container) {
            self.note(tx, (&key.runtime, &key.id), happening).await?;
        }
        Ok(())
    }

    async fn removed(&mut self, tx: &mut Tx<'_>, removed: &Removed) -> Result<(), FleetError> {
        let key = self.key(removed.runtime.word(), &removed.id);
        let Some(stored) = containers::stored(tx, &key).await? else { return Ok(()) };
        let order = (self.row.generation, removed.at);
        if stored.presence == Presence::Gone || order < stored.order {
            return Ok(());
        }
        containers::set_gone(tx, &key, order, self.now).await?;
        self.touched.seen.insert(key.clone());
        self.note(tx, (&key.runtime, &key.id), (removed.at, Happening::Removed)).await
    }

    /// A host vouches for nobody else: what it read gets an id of this host's own, and no manifest.
    async fn scanned(&mut self, tx: &mut Tx<'_>, scanned: &Scanned) -> Result<(), FleetError> {
        let (runtime, id) = (scanned.runtime.word(), alias::image_key(&scanned.image_id));
        let mut ready = scanned.ready.clone();
        let own = [b"scanned on host ".as_slice(), self.host.as_bytes()].concat();
        ready.inventory.content_id = ready.content_id().apart(&own);
        ready.manifests.clear();
        if !aliases::set_scanned(tx, self.host, (runtime, &id), ready.content_id()).await? {
            return Ok(());
        }
        self.touched.images.insert((runtime, id.clone()));
        let event = Event::InventoryReady(Box::new(ready));
        for room in [consumer::FINDINGS, consumer::CLEARANCE] {
            tx.deliver(room, &event, self.now).await?;
        }
        Ok(())
    }

    async fn listed(&mut self, tx: &mut Tx<'_>, listed: &Listed) -> Result<(), FleetError> {
        let runtime = listed.runtime.word();
        let order = (self.row.generation, listed.at);
        let there: HashSet<String> = listed.ids.iter().map(|id| alias::key(id)).collect();
        for key in containers::seen_until(tx, self.host, runtime, order).await? {
            if !there.contains(&key.id) {
                containers::set_gone(tx, &key, order, self.now).await?;
                self.touched.seen.insert(key.clone());
                self.note(tx, (&key.runtime, &key.id), (listed.at, Happening::Missing)).await?;
            }
        }
        Ok(())
    }

    fn key(&self, runtime: &str, id: &str) -> Key {
        Key { host: self.host, runtime: runtime.to_owned(), id: alias::key(id) }
    }

    async fn note(
        &mut self,
        tx: &mut Tx<'_>,
        whose: (&str, &str),
        (at, what): (Timestamp, Happening),
    ) -> Result<(), FleetError> {
        self.row.history += 1;
        let number = self.row.history.unsigned_abs();
        let row = HistoryRow { number, container: None, at, received_at: self.now, what };
        Ok(db::append_history(tx, self.host, whose, &row).await?)
    }

    /// Holds the limits, stores the host, and resolves what was touched.
    async fn finish(
        self,
        tx: &mut Tx<'_>,
        made_at: Timestamp,
        registry_hosts: &[String],
    ) -> Result<(), FleetError> {
        if self.added && containers::count(tx, self.host).await? > limit::CONTAINERS {
            return Err(FleetError::TooMany { what: "containers on this host", limit: limit::CONTAINERS });
        }
        db::trim_history(tx, self.host, self.row.history).await?;
        db::update_host(tx, self.host, &self.row, (self.now, made_at)).await?;
        let mut keys = self.touched.containers;
        if self.touched.all {
            keys.extend(containers::of_host(tx, self.host, None).await?);
        } else {
            for (runtime, image) in &self.touched.images {
                keys.extend(containers::of_host(tx, self.host, Some((runtime, image))).await?);
            }
        }
        let mut resolver = Resolver::new(registry_hosts);
        for key in &keys {
            resolver.store(tx, key).await?;
        }
        for key in keys.union(&self.touched.seen) {
            resolver.tell(tx, key, self.now).await?;
        }
        Ok(())
    }
}
