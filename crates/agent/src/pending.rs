//! What was seen and is in no batch yet: one entry per container, however often it changes.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use seaworthy_link::{
    Container, EngineImage, Gap, Host, Item, Listed, Removed, Scanned,
    limit::{BATCH_BYTES, BATCH_ITEMS},
};
use seaworthy_model::Timestamp;
use tokio::sync::Notify;

use crate::limit;

/// Most gaps kept apart; another one widens the last.
const GAPS: usize = 100;
/// What a batch has around its items, generously, in bytes.
const FRAME_BYTES: usize = 1024;

/// Observations that wait for a batch. Bounded: what does not fit becomes a gap and a new list.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    state: Mutex<State>,
    /// Something waits.
    pub(crate) filled: Notify,
    /// There is room again.
    pub(crate) emptied: Notify,
    /// Something was dropped: everything is to be looked at again.
    pub(crate) relist: Notify,
    /// How many containers were put.
    pub(crate) sightings: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    gaps: Vec<Gap>,
    host: Option<Host>,
    images: BTreeMap<String, Box<EngineImage>>,
    scanned: BTreeMap<String, Box<Scanned>>,
    containers: BTreeMap<String, Slot>,
    listed: Option<Listed>,
    known_until: Option<Timestamp>,
}

/// A container that was seen, one that is gone, or one that came and went.
#[derive(Debug, Default)]
struct Slot {
    seen: Option<Box<Container>>,
    removed: Option<Removed>,
}

impl State {
    fn is_empty(&self) -> bool {
        let State { gaps, host, images, scanned, containers, listed, known_until: _ } = self;
        gaps.is_empty()
            && host.is_none()
            && images.is_empty()
            && scanned.is_empty()
            && containers.is_empty()
            && listed.is_none()
    }

    fn count(&self) -> usize {
        self.images.len() + self.containers.len()
    }

    fn gap(&mut self, gap: Gap) {
        let is_full = self.gaps.len() >= GAPS;
        match self.gaps.last_mut() {
            Some(last) if is_full || last.reason == gap.reason && last.until >= gap.from => {
                last.from = last.from.min(gap.from);
                last.until = last.until.max(gap.until);
            }
            _ => self.gaps.push(gap),
        }
    }

    /// True when there was room.
    fn put(&mut self, item: Item) -> bool {
        let has_room = self.count() < limit::PENDING;
        match item {
            Item::Gap(gap) => self.gap(gap),
            Item::Host(host) => self.host = Some(host),
            Item::Listed(listed) => self.listed = Some(listed),
            Item::Image(image) if has_room || self.images.contains_key(&image.id) => {
                self.images.insert(image.id.clone(), image);
            }
            Item::Container(seen) if has_room || self.containers.contains_key(&seen.id) => {
                let slot = self.containers.entry(seen.id.clone()).or_default();
                slot.seen = Some(seen);
            }
            Item::Removed(removed) if has_room || self.containers.contains_key(&removed.id) => {
                let slot = self.containers.entry(removed.id.clone()).or_default();
                slot.removed = Some(removed);
            }
            Item::Scanned(scanned) if self.scanned.len() < limit::SCANNED => {
                self.scanned.insert(scanned.image_id.clone(), scanned);
            }
            // It is read again later.
            Item::Scanned(_) => {}
            Item::Image(_) | Item::Container(_) | Item::Removed(_) => return false,
        }
        true
    }

    /// The next item of a batch: what explains others comes before them.
    fn pop(&mut self) -> Option<Item> {
        if !self.gaps.is_empty() {
            return Some(Item::Gap(self.gaps.remove(0)));
        }
        if let Some(host) = self.host.take() {
            return Some(Item::Host(host));
        }
        if let Some((_, image)) = self.images.pop_first() {
            return Some(Item::Image(image));
        }
        if let Some((_, scanned)) = self.scanned.pop_first() {
            return Some(Item::Scanned(scanned));
        }
        if let Some(mut entry) = self.containers.first_entry() {
            if let Some(seen) = entry.get_mut().seen.take() {
                if entry.get().removed.is_none() {
                    entry.remove();
                }
                return Some(Item::Container(seen));
            }
            return entry.remove().removed.map(Item::Removed);
        }
        self.listed.take().map(Item::Listed)
    }
}

impl Pending {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an observation, in place of the older one of the same thing.
    pub(crate) fn put(&self, item: Item, now: Timestamp) {
        if matches!(item, Item::Container(_)) {
            self.sightings.fetch_add(1, Ordering::Relaxed);
        }
        let mut state = self.state();
        if !state.put(item) {
            state.gap(Gap { from: now, until: now, reason: "more was seen than could be kept".into() });
            self.relist.notify_one();
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Everything until `until` has been observed.
    pub(crate) fn known_until(&self, until: Timestamp) {
        self.state().known_until = Some(until);
    }

    /// True when nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().is_empty()
    }

    /// True when a batch is worth making at once.
    pub(crate) fn is_large(&self) -> bool {
        self.state().count() >= limit::PENDING / 2
    }

    /// True when another inspection may begin.
    pub(crate) fn has_room(&self) -> bool {
        // An inspection adds a container and perhaps its image.
        self.state().count() + 2 <= limit::PENDING
    }

    /// Items of one batch, and until when everything is known once they are kept: only when
    /// nothing else waits.
    pub(crate) fn take(&self) -> (Vec<Item>, Option<Timestamp>) {
        let mut state = self.state();
        let mut items = Vec::new();
        let mut bytes = FRAME_BYTES;
        while items.len() < BATCH_ITEMS {
            let Some(item) = state.pop() else { break };
            bytes += serde_json::to_vec(&item).map_or(0, |json| json.len() + 1);
            if bytes > BATCH_BYTES && !items.is_empty() {
                state.put(item);
                break;
            }
            items.push(item);
        }
        let until = if state.is_empty() { state.known_until.take() } else { None };
        drop(state);
        self.emptied.notify_one();
        (items, until)
    }

    /// Puts back what could not be kept, unless something newer is there.
    pub(crate) fn give_back(&self, items: Vec<Item>) {
        let mut state = self.state();
        let mut newer = std::mem::take(&mut *state);
        for item in items {
            state.put(item);
        }
        while let Some(item) = newer.pop() {
            state.put(item);
        }
        drop(state);
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaworthy_link::Runtime;

    fn removed(id: usize) -> Item {
        let at = Timestamp::from_seconds(1);
        Item::Removed(Removed { runtime: Runtime::Docker, id: format!("{id:064}"), at })
    }

    #[test]
    fn what_does_not_fit_becomes_a_gap_and_a_full_list() {
        let (pending, now) = (Pending::default(), Timestamp::from_seconds(7));
        for id in 0..limit::PENDING {
            pending.put(removed(id), now);
            pending.put(removed(id), now);
        }
        let relisted = || futures_util::FutureExt::now_or_never(pending.relist.notified()).is_some();
        assert!(!pending.has_room() && pending.is_large() && !relisted());
        pending.put(removed(limit::PENDING), now);
        assert!(relisted());
        pending.known_until(now);
        let (first, until) = pending.take();
        assert!(matches!(first.first(), Some(Item::Gap(gap)) if gap.from == now), "{:?}", first.first());
        assert_eq!((first.len(), until), (BATCH_ITEMS, None));
        let count = first.len();
        pending.give_back(first);
        let mut total = 0;
        while let (items, until) = pending.take()
            && !items.is_empty()
        {
            total += items.len();
            assert!(until.is_none(), "what was known went with the items given back");
        }
        assert_eq!((count, total), (BATCH_ITEMS, limit::PENDING + 1));
    }

    #[test]
    fn inventories_wait_within_their_limits() {
        let scanned = |id: usize| {
            let ready = ready(0);
            Item::Scanned(Box::new(Scanned { runtime: Runtime::Docker, image_id: id.to_string(), ready }))
        };
        let mut state = State::default();
        for id in 0..=limit::SCANNED {
            assert!(state.put(scanned(id)), "it is read again later, and no gap");
            assert_eq!(state.scanned.len(), (id + 1).min(limit::SCANNED));
        }
        let size = |extra| {
            let scanned = Scanned { runtime: Runtime::Docker, image_id: "i".into(), ready: ready(extra) };
            serde_json::to_vec(&scanned).expect("json").len()
        };
        let most = limit::SCANNED_BYTES - size(0);
        let reports = crate::agent::reports_for_tests();
        assert!(reports.scanned("i", ready(most)));
        assert!(!reports.scanned("i", ready(most + 1)));
    }

    /// An inventory with a text of so many bytes.
    fn ready(bytes: usize) -> seaworthy_model::InventoryReady {
        let json = serde_json::json!({
            "manifests": [], "config": seaworthy_oci::Digest::sha256(b""), "image": seaworthy_model::ImageFacts::default(),
            "support": null,
            "inventory": {
                "content_id": "0".repeat(64), "platform": seaworthy_oci::Platform::linux_amd64(), "layers": [],
                "os": {"id": "x".repeat(bytes), "version": null, "codename": null, "name": ""},
                "packages": [], "secrets": [], "coverage": seaworthy_model::Coverage::default(),
                "problems": [], "reader_version": 1,
            },
        });
        serde_json::from_value(json).expect("an inventory")
    }
}
