use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use seaworthy_link::{Item, Runtime, Scanned};
use seaworthy_model::{Clock, InventoryReady, Timestamp};
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    backoff::Backoff,
    door::{Door, DoorError},
    engine::Engine,
    limit,
    outage::Outage,
    pending::Pending,
    spool::{Kept, Spool, SpoolError, SpoolLimits},
    usage::Running,
    watch::Watch,
};

/// What an agent needs to know.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The engine to follow.
    pub engine: Engine,
    /// Whose engine it is.
    pub runtime: Runtime,
    /// Folder for batches that are not delivered yet; the agent's own.
    pub spool: PathBuf,
    /// The host's name for people.
    pub host_name: String,
    /// How often things are done.
    pub paces: Paces,
    /// When things are seen.
    pub clock: Arc<dyn Clock>,
}

/// How often things are done.
#[derive(Clone, Copy, Debug)]
pub struct Paces {
    /// Between two lists of all containers.
    pub reconcile: Duration,
    /// Between two batches at least.
    pub batch: Duration,
    /// Between two batches while an earlier one is not acknowledged.
    pub away: Duration,
    /// The first wait after a failure; doubled each time.
    pub retry: Duration,
    /// The longest wait for the engine.
    pub engine_retry_most: Duration,
    /// The longest wait for the control plane.
    pub delivery_retry_most: Duration,
    /// How long an engine may take to repeat the last event after a reconnection.
    pub proof: Duration,
}

impl Default for Paces {
    fn default() -> Self {
        Self {
            reconcile: Duration::from_secs(60),
            batch: Duration::from_millis(200),
            away: Duration::from_secs(5),
            retry: Duration::from_millis(200),
            engine_retry_most: Duration::from_secs(5),
            delivery_retry_most: Duration::from_secs(30),
            proof: Duration::from_secs(1),
        }
    }
}

/// The observing agent of one engine.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    spool: Spool,
    pending: Arc<Pending>,
}

/// A way to tell what was read in images.
#[derive(Clone, Debug)]
pub struct Reports {
    runtime: Runtime,
    pending: Arc<Pending>,
    clock: Arc<dyn Clock>,
}

impl Reports {
    /// How many containers were told, again or for the first time.
    pub fn sightings(&self) -> u64 {
        self.pending.sightings.load(Ordering::Relaxed)
    }

    /// Tells what an image holds; false of more than can be sent.
    pub fn scanned(&self, image_id: &str, ready: InventoryReady) -> bool {
        let scanned = Scanned { runtime: self.runtime, image_id: image_id.to_owned(), ready };
        let fits = serde_json::to_vec(&scanned).is_ok_and(|it| it.len() <= limit::SCANNED_BYTES);
        if fits {
            self.pending.put(Item::Scanned(Box::new(scanned)), self.clock.now());
        }
        fits
    }
}

/// Reports to nobody.
#[cfg(test)]
pub(crate) fn reports_for_tests() -> Reports {
    Reports {
        runtime: Runtime::Docker,
        pending: Arc::default(),
        clock: Arc::new(seaworthy_model::SystemClock),
    }
}

/// The spool and who waits for it.
#[derive(Clone, Debug)]
struct Shared {
    spool: Arc<Mutex<Spool>>,
    pending: Arc<Pending>,
    appended: Arc<Notify>,
    acked: Arc<Notify>,
    paces: Paces,
    clock: Arc<dyn Clock>,
}

impl Agent {
    /// Opens the spool; an earlier agent's batches in it are sent first.
    pub fn new(config: AgentConfig) -> Result<Self, SpoolError> {
        let spool = Spool::open(&config.spool, SpoolLimits::default())?;
        Ok(Self { config, spool, pending: Arc::default() })
    }

    /// Where what was read in images is told.
    pub fn reports(&self) -> Reports {
        let clock = Arc::clone(&self.config.clock);
        Reports { runtime: self.config.runtime, pending: Arc::clone(&self.pending), clock }
    }

    /// Observes and reports until cancelled. Dropping the future at any instant is like a kill: an
    /// agent that is made anew goes on, and says what it cannot know.
    pub async fn run(self, door: Door, cancel: CancellationToken) {
        let Self { config, spool, pending } = self;
        let running = Arc::new(Running::default());
        let (runtime, door) = (config.runtime, &door);
        let seed =
            spool.id().as_bytes().iter().fold(0, |seed: u64, byte| seed.rotate_left(8) ^ u64::from(*byte));
        let watch = Watch {
            engine: config.engine,
            runtime: config.runtime,
            host_name: config.host_name,
            clock: Arc::clone(&config.clock),
            paces: config.paces,
            pending: Arc::clone(&pending),
            running: Arc::clone(&running),
            lost: spool.seen().map(|from| (from, "the agent was not running")),
            seen: crate::watch::Seen::default(),
            outage: Outage::default(),
        };
        let shared = Shared {
            spool: Arc::new(Mutex::new(spool)),
            pending,
            appended: Arc::default(),
            acked: Arc::default(),
            paces: config.paces,
            clock: Arc::clone(&config.clock),
        };
        let all = async {
            tokio::join!(
                watch.run(seed),
                shared.fill(),
                shared.send(door, seed),
                Box::pin(crate::usage::tell(running, (runtime, config.clock), door))
            )
        };
        Box::pin(cancel.run_until_cancelled(all)).await;
        while !shared.pending.is_empty() && shared.flush().await {}
    }
}

impl Shared {
    /// From memory to disk: at once when nothing is under way, else in larger and rarer batches.
    async fn fill(&self) {
        let mut last = Instant::now();
        loop {
            while self.pending.is_empty() {
                self.pending.filled.notified().await;
            }
            sleep_until(last + self.paces.batch).await;
            let away = last + self.paces.away;
            while !self.is_spool_empty().await && !self.pending.is_large() && Instant::now() < away {
                tokio::select! {
                    () = self.acked.notified() => {}
                    () = self.pending.filled.notified() => {}
                    () = sleep_until(away) => {}
                }
            }
            let is_kept = self.flush().await;
            last = Instant::now();
            if !is_kept {
                sleep(self.paces.away).await;
            }
        }
    }

    /// Makes one batch of what waits; false when the disk does not take it.
    async fn flush(&self) -> bool {
        let (items, until) = self.pending.take();
        if items.is_empty() {
            return true;
        }
        let now = self.clock.now();
        let (outcome, items) = self
            .with_spool(move |spool| {
                let outcome = keep(spool, &items, now, until);
                (outcome, items)
            })
            .await;
        self.appended.notify_one();
        match outcome {
            Ok(kept) => {
                self.relist_after(kept);
                true
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "failed to keep a batch");
                self.pending.give_back(items);
                false
            }
        }
    }

    /// From disk to the control plane, one batch at a time.
    async fn send(&self, door: &Door, seed: u64) {
        let mut backoff = Backoff::new(self.paces.retry, self.paces.delivery_retry_most, !seed);
        let mut outage = Outage::default();
        loop {
            match self.send_one(door, &mut outage).await {
                Ok(Sent::One) => {
                    outage = Outage::default();
                    backoff.reset();
                }
                Ok(Sent::Nothing) => self.appended.notified().await,
                Ok(Sent::Refused) => sleep(backoff.wait()).await,
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "failed to read the spool");
                    sleep(backoff.wait()).await;
                }
            }
        }
    }

    async fn send_one(&self, door: &Door, outage: &mut Outage) -> Result<Sent, SpoolError> {
        let Some((batch, kept)) = self.with_spool(Spool::head).await? else { return Ok(Sent::Nothing) };
        self.relist_after(kept);
        match door.deliver(&batch).await {
            Ok(ack) => {
                let kept = self.with_spool(move |spool| spool.acked(ack)).await?;
                self.relist_after(kept);
                self.acked.notify_one();
                // A control plane that counts otherwise is not asked again at once.
                Ok(if kept == Kept::All { Sent::One } else { Sent::Refused })
            }
            Err(error) => {
                outage.say(&error, "failed to deliver a batch, will try again");
                self.refused(&error).await?;
                Ok(Sent::Refused)
            }
        }
    }

    async fn refused(&self, error: &DoorError) -> Result<(), SpoolError> {
        if error.is_final() {
            self.with_spool(Spool::refused).await?;
            self.relist_after(Kept::Gap);
        } else if error.is_about_numbers() {
            let kept = self.with_spool(Spool::begin_anew).await?;
            self.relist_after(kept);
        }
        Ok(())
    }

    fn relist_after(&self, kept: Kept) {
        if kept == Kept::Gap {
            self.pending.relist.notify_one();
        }
    }

    async fn is_spool_empty(&self) -> bool {
        self.with_spool(|spool| spool.is_empty()).await
    }

    /// The spool waits for disks, so it is used where that holds up nobody.
    async fn with_spool<T: Send + 'static>(&self, work: impl FnOnce(&mut Spool) -> T + Send + 'static) -> T {
        let spool = Arc::clone(&self.spool);
        let done = spawn_blocking(move || work(&mut spool.lock().unwrap_or_else(PoisonError::into_inner)));
        match done.await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going away, and this future with it.
            Err(_) => std::future::pending().await,
        }
    }
}

enum Sent {
    One,
    Nothing,
    Refused,
}

fn keep(
    spool: &mut Spool,
    items: &[Item],
    now: Timestamp,
    until: Option<Timestamp>,
) -> Result<Kept, SpoolError> {
    let kept = spool.append(items, now)?;
    until.map_or(Ok(()), |until| spool.set_seen(until))?;
    Ok(kept)
}
