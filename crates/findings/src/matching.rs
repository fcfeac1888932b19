//! Inventories to finding sets.

use seaworthy_model::{ContentId, Event, FindingsChanged, InventoryReady, Timestamp, consumer};
use seaworthy_store::{DbError, Delivery, Tx};

use crate::{
    Findings, FindingsError,
    db::{self, package_sets, running},
    generation::Generation,
    limit,
    package_set::{Matched, PackageSet},
};

/// A result on its way into its transaction.
struct Keep {
    delivery: Delivery,
    content: ContentId,
    reader_version: u32,
    set: PackageSet,
    packed: Vec<u8>,
    matched: Matched,
    generation: i64,
    now: Timestamp,
}

/// How the transaction went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Everything is stored, or was already.
    Yes,
    /// Another generation became active meanwhile: nothing is stored.
    Moved,
}

impl Findings {
    /// Handles one delivery, and settles it in the transaction of its effect.
    pub(crate) async fn handle(&self, delivery: Delivery) -> Result<(), FindingsError> {
        if let Event::InventoryReady(ready) = &delivery.event {
            return self.inventory_ready(&delivery, ready).await;
        }
        let context = (delivery, self.db().now());
        let settled: Result<(), DbError> = self
            .db()
            .upkeep(context, |(delivery, now), tx| {
                Box::pin(async move {
                    // Other events tell this room nothing that it keeps.
                    if let Event::ContainerSeen(seen) = &delivery.event {
                        running::put(tx, seen, *now).await?;
                    }
                    tx.settle(delivery).await
                })
            })
            .await;
        Ok(settled?)
    }

    async fn inventory_ready(
        &self,
        delivery: &Delivery,
        ready: &InventoryReady,
    ) -> Result<(), FindingsError> {
        for _ in 0..limit::GENERATION_RACES {
            let set = PackageSet::of(ready.os(), &ready.inventory.packages)?;
            let generation = self.generation().await?;
            let (set, matched) = self.matched(&generation, set).await?;
            let keep = Keep {
                delivery: delivery.clone(),
                content: *ready.content_id(),
                reader_version: ready.inventory.reader_version,
                packed: set.to_bytes(),
                set,
                matched,
                generation: generation.number,
                now: self.db().now(),
            };
            if self.keep(keep).await? == Kept::Yes {
                return Ok(());
            }
        }
        let context = (delivery.clone(), self.db().now());
        let postponed: Result<(), DbError> =
            self.db().upkeep(context, |(delivery, now), tx| Box::pin(tx.postpone(delivery, *now, 1))).await;
        Ok(postponed?)
    }

    /// What `generation` finds in `set`: as stored if that is known to hold, else matched now.
    ///
    /// The order of the reads matters. When nothing waits to be matched again and the generation is
    /// still the same in the transaction that follows, every result read after that look holds.
    async fn matched(
        &self,
        generation: &Generation,
        set: PackageSet,
    ) -> Result<(PackageSet, Matched), FindingsError> {
        let settled = db::rematch(self.db()).await?.is_none();
        if let Some((computed_with, body)) = package_sets::body(self.db(), &set.id).await?
            && (settled || computed_with == generation.number)
        {
            let mut matched = Matched::from_body(body)?;
            generation.index.hash().clone_into(&mut matched.set.index_hash);
            return Ok((set, matched));
        }
        self.find_in(generation, set).await
    }

    async fn keep(&self, keep: Keep) -> Result<Kept, FindingsError> {
        let keep = std::sync::Arc::new(keep);
        let kept: Result<Kept, DbError> =
            self.db().upkeep(keep.clone(), |keep, tx| Box::pin(keep.store(tx))).await;
        let kept = kept?;
        if kept == Kept::Yes {
            self.inner.sets.add(&keep.set);
        }
        Ok(kept)
    }
}

impl Keep {
    async fn store(&self, tx: &mut Tx<'_>) -> Result<Kept, DbError> {
        if db::held_state(tx).await?.generation != self.generation {
            return Ok(Kept::Moved);
        }
        let before = package_sets::set_of(tx, &self.content).await?;
        if before.is_some_and(|(_, version)| version > i64::from(self.reader_version)) {
            // What newer readers saw is stored already.
            tx.settle(&self.delivery).await?;
            return Ok(Kept::Yes);
        }
        self.store_result(tx).await?;
        package_sets::assign(tx, &self.content, &self.set.id, self.reader_version, self.now).await?;
        if let Some((before, _)) = before
            && before != self.set.id
        {
            package_sets::forget_unused(tx, &before).await?;
        }
        let changed = FindingsChanged {
            set: self.matched.set.clone(),
            content_ids: vec![self.content],
            generation: self.generation,
        };
        tx.deliver(consumer::CLEARANCE, &Event::FindingsChanged(changed), self.now).await?;
        tx.settle(&self.delivery).await?;
        Ok(Kept::Yes)
    }

    async fn store_result(&self, tx: &mut Tx<'_>) -> Result<(), DbError> {
        let (id, matched) = (&self.set.id, &self.matched);
        match package_sets::result_in(tx, id).await? {
            // Another image brought it first; the others of a set that changed are told by the rematch.
            Some(stored) if stored.generation >= self.generation => Ok(()),
            Some(stored) if stored.finding_set == matched.set.id => Ok(()),
            _ => {
                package_sets::insert_set(tx, id, &self.packed, self.now).await?;
                package_sets::put_result(tx, id, self.generation, &matched.set.id, &matched.body).await
            }
        }
    }
}
