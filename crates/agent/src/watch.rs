//! Follows one engine: its events as they happen, its whole list now and then.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use futures_util::FutureExt as _;
use seaworthy_link::{Gap, Host, Item, Listed, Removed, Runtime};
use seaworthy_model::{Clock, Timestamp};
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep, timeout};
use tracing::warn;

use crate::{
    agent::Paces,
    answer::{Event, ImageRow, Row},
    backoff::Backoff,
    engine::{Engine, EngineError, Events, Session},
    host, limit, observe,
    outage::Outage,
    pending::Pending,
    usage::{Process, Running},
};

/// What a list is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// What is known already is not asked for again.
    Changed,
    /// Nothing known is trusted.
    Full,
}

/// An observer of one engine.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) engine: Engine,
    pub(crate) runtime: Runtime,
    pub(crate) host_name: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) paces: Paces,
    pub(crate) pending: Arc<Pending>,
    /// Containers that run, for who reads what they use.
    pub(crate) running: Arc<Running>,
    /// Since when, and why, nothing is sure; `None` while all is followed, and at the very first.
    pub(crate) lost: Option<(Timestamp, &'static str)>,
    pub(crate) seen: Seen,
    pub(crate) outage: Outage,
}

/// What has been seen of the engine so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The last event, which proves at a reconnection that none is missing.
    last: Option<Event>,
    /// All until here has been observed.
    until: Option<Timestamp>,
    /// Marks of containers that were sent.
    containers: HashMap<String, u64>,
    /// Marks of images that were sent.
    images: HashMap<String, u64>,
    /// Names of the engine's images at the last list.
    names: HashMap<String, u64>,
    /// Containers that could not be inspected: they come last, so that they hide no other.
    failed: HashSet<String>,
    /// Containers to be inspected.
    queue: VecDeque<String>,
    /// When the list was asked for that filled the queue.
    listed_at: Option<Timestamp>,
    /// The engine as last told.
    engine: Option<String>,
    /// False until the host was told for the first time.
    is_host_told: bool,
}

impl Watch {
    /// Follows the engine for ever, through all its restarts.
    pub(crate) async fn run(mut self, seed: u64) {
        let mut backoff = Backoff::new(self.paces.retry, self.paces.engine_retry_most, seed);
        loop {
            let Err(error) = self.follow(&mut backoff).await;
            self.outage.say(&error, "no engine to follow, will look again");
            if self.lost.is_none() {
                self.lost = self.seen.until.map(|until| (until, "the engine was away"));
            }
            self.tell_host(None);
            sleep(backoff.wait()).await;
        }
    }

    async fn follow(&mut self, backoff: &mut Backoff) -> Result<Infallible, EngineError> {
        let session = self.engine.open().await?;
        let last = self.seen.last.as_ref().map(observe::event_nanos);
        let from = self.lost.map_or_else(|| self.clock.now(), |(from, _)| from);
        let mut events = session.events(last.unwrap_or(from.as_micros().saturating_mul(1_000))).await?;
        self.tell_host(Some(session.name().to_owned()));
        let is_whole = self.continues(&mut events).await?;
        let depth = match self.lost {
            Some((from, reason)) if !is_whole => {
                let until = self.clock.now().max(from);
                self.put(Item::Gap(Gap { from, until, reason: reason.into() }));
                Depth::Full
            }
            _ => Depth::Changed,
        };
        self.list(&session, depth).await?;
        self.lost = None;
        self.outage = Outage::default();
        backoff.reset();
        let mut tick = interval_at(tokio::time::Instant::now() + self.paces.reconcile, self.paces.reconcile);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.step(&session, &mut events, &mut tick).await?;
        }
    }

    /// One thing: an event first, then lists that are due, then what waits for an inspection.
    async fn step(
        &mut self,
        session: &Session,
        events: &mut Events,
        tick: &mut Interval,
    ) -> Result<(), EngineError> {
        let has_work = !self.seen.queue.is_empty();
        let can_work = has_work && self.pending.has_room();
        tokio::select! {
            biased;
            event = events.next() => {
                // Whatever ends the stream, all before is known.
                self.seen.until = Some(self.clock.now());
                self.events(session, event?, events).await
            }
            () = self.pending.relist.notified() => self.list(session, Depth::Full).await,
            _ = tick.tick() => self.list(session, Depth::Changed).await,
            () = std::future::ready(()), if can_work => {
                if let Some(id) = self.seen.queue.pop_front() {
                    self.inspect(session, &id).await?;
                }
                self.settle();
                Ok(())
            }
            () = self.pending.emptied.notified(), if has_work && !can_work => Ok(()),
        }
    }

    /// True when the engine still has the last event, and so all since.
    async fn continues(&self, events: &mut Events) -> Result<bool, EngineError> {
        let Some(last) = &self.seen.last else { return Ok(false) };
        let Ok(first) = timeout(self.paces.proof, events.next()).await else { return Ok(false) };
        let first = first?;
        if first == *last {
            return Ok(true);
        }
        events.unread(first);
        Ok(false)
    }

    async fn list(&mut self, session: &Session, depth: Depth) -> Result<(), EngineError> {
        let at = self.clock.now();
        let mut rows = session.containers().await?;
        self.seen.until = Some(at);
        rows.retain(|row| {
            let is_id = observe::is_id(&row.id);
            if !is_id {
                warn!("the engine lists a container without an id");
            }
            is_id
        });
        if depth == Depth::Full {
            self.seen.containers.clear();
            self.seen.images.clear();
            self.tell_host_again();
        }
        let there: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        self.seen.containers.retain(|id, _| there.contains(id.as_str()));
        self.seen.failed.retain(|id| there.contains(id.as_str()));
        let ids = rows.iter().map(|row| row.id.clone()).collect();
        self.put(Item::Listed(Listed { runtime: self.runtime, ids, at }));
        self.names(session).await?;
        let in_use: HashSet<&str> = rows.iter().map(|row| row.image_id.as_str()).collect();
        let names = &self.seen.names;
        self.seen.images.retain(|id, mark| in_use.contains(id.as_str()) && names.get(bare(id)) == Some(mark));
        let is_new = |row: &&Row| {
            self.seen.containers.get(&row.id) != Some(&observe::row_mark(row))
                || !self.seen.images.contains_key(&row.image_id) && names.contains_key(bare(&row.image_id))
        };
        let mut queue: Vec<&Row> = rows.iter().filter(is_new).collect();
        queue.sort_by_key(|row| (self.seen.failed.contains(&row.id), !is_live(row)));
        self.seen.queue = queue.into_iter().map(|row| row.id.clone()).collect();
        self.seen.listed_at = Some(at);
        self.settle();
        Ok(())
    }

    /// Reads the names of all images: one that is named anew is sent again.
    async fn names(&mut self, session: &Session) -> Result<(), EngineError> {
        let rows: Vec<ImageRow> = match session.images().await {
            Ok(rows) => rows,
            Err(error) if is_about_one_thing(&error) => {
                warn!(error = &error as &dyn std::error::Error, "failed to list images");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let marked = |row: ImageRow| {
            let mut hasher = DefaultHasher::new();
            (&row.tags, &row.digests).hash(&mut hasher);
            (bare(&row.id).to_owned(), hasher.finish())
        };
        self.seen.names = rows.into_iter().map(marked).collect();
        Ok(())
    }

    /// When the queue is done, all until the list is observed.
    fn settle(&mut self) {
        if self.seen.queue.is_empty()
            && let Some(at) = self.seen.listed_at.take()
        {
            self.pending.known_until(at);
        }
    }

    /// Handles an event and those that are there already; a container among them is looked at once.
    async fn events(
        &mut self,
        session: &Session,
        first: Event,
        events: &mut Events,
    ) -> Result<(), EngineError> {
        let mut next = Some(Ok(first));
        let mut changed: Vec<String> = Vec::new();
        let mut count = 0;
        let mut end = Ok(());
        while let Some(event) = next.take() {
            let event: Event = match event {
                Ok(event) => event,
                Err(error) => {
                    end = Err(error);
                    break;
                }
            };
            self.event(&event, &mut changed);
            self.seen.last = Some(event);
            count += 1;
            if count < limit::EVENTS_AT_ONCE {
                next = events.next().now_or_never();
            }
        }
        for id in changed {
            self.inspect(session, &id).await?;
        }
        end
    }

    fn event(&mut self, event: &Event, changed: &mut Vec<String>) {
        let id = &event.actor.id;
        if !observe::is_id(id) {
            warn!("an event of the engine names no container");
            return;
        }
        match event.action.as_str() {
            "destroy" | "remove" => {
                let at = Timestamp::from_micros(observe::event_nanos(event).div_euclid(1_000));
                self.seen.containers.remove(id);
                self.running.set(id, None);
                self.put(Item::Removed(Removed { runtime: self.runtime, id: id.clone(), at }));
            }
            "create" | "start" | "die" | "died" | "pause" | "unpause" | "rename" | "update"
                if !changed.contains(id) =>
            {
                changed.push(id.clone());
            }
            _ => {}
        }
    }

    async fn inspect(&mut self, session: &Session, id: &str) -> Result<(), EngineError> {
        let seen_at = self.clock.now();
        let answer = match session.container(id).await {
            Ok(Some(answer)) => answer,
            // Its removal is told by an event or the next list.
            Ok(None) => {
                self.running.set(id, None);
                return Ok(());
            }
            Err(error) if is_about_one_thing(&error) => {
                warn!(id, error = &error as &dyn std::error::Error, "failed to inspect a container");
                self.seen.failed.insert(id.to_owned());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.seen.failed.remove(id);
        let mark = observe::answer_mark(&answer);
        let process = Process { pid: answer.state.pid, has_own_network: answer.host.network != "host" };
        self.running.set(id, Some(process).filter(|it| answer.state.running && it.pid > 0));
        match observe::container(self.runtime, id, answer, seen_at) {
            Ok(container) => {
                self.image(session, &container.image_id).await?;
                self.put(Item::Container(Box::new(container)));
                self.seen.containers.insert(id.to_owned(), mark);
            }
            Err(error) => warn!(id, error = &error as &dyn std::error::Error, "left out a container"),
        }
        Ok(())
    }

    async fn image(&mut self, session: &Session, id: &str) -> Result<(), EngineError> {
        if self.seen.images.contains_key(id) || !observe::is_id(id) {
            return Ok(());
        }
        let answer = match session.image(id).await {
            Ok(answer) => answer,
            Err(error) if is_about_one_thing(&error) => {
                warn!(id, error = &error as &dyn std::error::Error, "failed to inspect an image");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Some(answer) = answer else { return Ok(()) };
        match observe::image(self.runtime, id, &answer) {
            Ok(image) => self.put(Item::Image(Box::new(image))),
            Err(error) => warn!(id, error = &error as &dyn std::error::Error, "left out an image"),
        }
        let mut hasher = DefaultHasher::new();
        (&answer.tags, &answer.digests).hash(&mut hasher);
        self.seen.images.insert(id.to_owned(), hasher.finish());
        Ok(())
    }

    fn tell_host(&mut self, engine: Option<String>) {
        if !self.seen.is_host_told || self.seen.engine != engine {
            self.seen.is_host_told = true;
            self.seen.engine = engine;
            self.tell_host_again();
        }
    }

    fn tell_host_again(&self) {
        let engine = self.seen.engine.clone();
        let host: Host = host::describe(&self.host_name, engine);
        self.put(Item::Host(host));
    }

    fn put(&self, item: Item) {
        self.pending.put(item, self.clock.now());
    }
}

/// True when an engine may fail so about one container or image and work otherwise.
fn is_about_one_thing(error: &EngineError) -> bool {
    use EngineError::{Answer, Refused, Silent, TooLarge};
    matches!(error, Refused { .. } | TooLarge { .. } | Answer { .. } | Silent { .. })
}

fn is_live(row: &Row) -> bool {
    matches!(row.state.as_str(), "running" | "paused" | "restarting")
}

/// Podman lists images without the algorithm that its containers name.
fn bare(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}
