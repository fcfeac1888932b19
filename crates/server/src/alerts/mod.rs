//! Alerts on their way out: what the telemetry room keeps is given to the senders of webhooks and
//! mails, a few at a time for each target, so that a slow one holds up itself alone.

mod event;
mod letter;

use std::{collections::HashMap, sync::Arc, time::Duration};

use seaworthy_model::{AlertMessageId, AlertTargetId, Network};
use seaworthy_policy::Language;
use seaworthy_seal::Seal;
use seaworthy_store::chain;
use seaworthy_telemetry::{
    BELL, Body, Failure, Format, Message, Retry, Target, TargetKind, Telemetry, TelemetryError,
};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

pub use event::{Links, acr_event, cloud_event, row};
pub use letter::{Letter, letter};

use crate::{
    limit,
    mail::Mail,
    webhook::{Endpoint, Parcel, Webhook},
};

/// Media type of the body of a webhook (`CloudEvents` JSON format 1.0.2, section 3).
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// What the post stands on.
pub struct PostConfig {
    /// Messages and targets.
    pub telemetry: Telemetry,
    /// Opens what a target keeps sealed.
    pub seal: Arc<Seal>,
    /// Sends webhooks.
    pub webhook: Webhook,
    /// Sends mails, when a mail server is configured.
    pub mail: Option<Mail>,
    /// Language of mails.
    pub language: Language,
    /// Where links lead.
    pub links: Links,
}

/// Sends messages. Cheap to clone.
#[derive(Clone)]
pub struct Post {
    inner: Arc<PostConfig>,
}

/// What a webhook's sealed part is sealed for.
pub fn sealed_for(target: AlertTargetId) -> String {
    format!("alert target {target}")
}

impl Post {
    /// A post of this configuration.
    pub fn new(config: PostConfig) -> Self {
        Self { inner: Arc::new(config) }
    }

    /// The key that targets are sealed with.
    pub fn seal(&self) -> &Seal {
        &self.inner.seal
    }

    /// True when mails can be sent.
    pub fn has_mail(&self) -> bool {
        self.inner.mail.is_some()
    }

    /// Where links lead.
    pub fn links(&self) -> &Links {
        &self.inner.links
    }

    /// Sends what is due until cancelled; then waits for what is being sent.
    pub async fn run(self, cancel: CancellationToken) {
        let bell = self.inner.telemetry.db().bell(BELL);
        let poll = Duration::from_millis(limit::POST_POLL_MS);
        let mut round = Round::default();
        loop {
            let rung = bell.notified();
            tokio::pin!(rung);
            // Registered before looking, so a commit between the look and the wait is not missed.
            rung.as_mut().enable();
            if let Err(error) = self.look(&mut round).await {
                tracing::error!(error = %chain(&error), "looking for alerts to send failed, will try again");
            }
            tokio::select! {
                () = rung => {}
                () = tokio::time::sleep(poll) => {}
                () = round.one_ended() => {}
                () = cancel.cancelled() => break,
            }
        }
        while !round.sending.is_empty() {
            round.one_ended().await;
        }
    }

    /// Claims what is due for every target that has room, and begins to send it.
    async fn look(&self, round: &mut Round) -> Result<(), TelemetryError> {
        let telemetry = &self.inner.telemetry;
        telemetry.gather().await?;
        let due = telemetry.due_targets().await?;
        if due.is_empty() {
            return Ok(());
        }
        let targets: HashMap<AlertTargetId, Target> =
            telemetry.targets().await?.into_iter().map(|target| (target.id, target)).collect();
        for id in due {
            let free = limit::PER_TARGET.saturating_sub(round.busy(id));
            let Some(target) = targets.get(&id).filter(|_| free > 0) else { continue };
            for message in telemetry.claim(id, i64::try_from(free).unwrap_or(1)).await? {
                let (post, target) = (self.clone(), target.clone());
                round.begin(id, async move { post.deliver(&target, message).await });
            }
        }
        Ok(())
    }

    async fn deliver(&self, target: &Target, message: Message) {
        let telemetry = &self.inner.telemetry;
        let outcome = self.send(target, message.id, &message.body).await;
        let settled = match outcome {
            Ok(()) => telemetry.delivered(&message).await,
            Err(failure) => {
                tracing::warn!(target = %target.name, message = %message.id, attempts = message.attempts + 1, reason = %failure.reason, "an alert was not delivered");
                match telemetry.failed(&message, failure).await {
                    Ok(is_dead) => {
                        if is_dead {
                            tracing::error!(target = %target.name, message = %message.id, "an alert was given up");
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            }
        };
        if let Err(error) = settled {
            // Its lease ends, and it is sent again under the same id.
            tracing::warn!(message = %message.id, error = %chain(&error), "settling an alert failed");
        }
    }

    /// Sends a target a message that nothing happened, once.
    pub async fn test(&self, target: &Target) -> Result<(), Failure> {
        self.send(target, AlertMessageId::generate(), &Body::Test).await
    }

    async fn send(&self, target: &Target, id: AlertMessageId, body: &Body) -> Result<(), Failure> {
        let it = &self.inner;
        let now = it.telemetry.db().now();
        match target.kind {
            TargetKind::Webhook => {
                let endpoint = self.endpoint(target)?;
                let (event, content_type) = match target.format {
                    Format::CloudEvents => (cloud_event(&it.links, id, body, now), CONTENT_TYPE),
                    Format::Acr => (acr_event(&it.links, id, body, now), "application/json; charset=utf-8"),
                };
                let parcel =
                    Parcel { id: id.to_string(), content_type, body: event.to_string().into_bytes().into() };
                let networks: Vec<Network> =
                    target.networks.iter().filter_map(|text| text.parse().ok()).collect();
                it.webhook.send(&endpoint, &networks, &parcel, now).await.map_err(Failure::from)
            }
            TargetKind::Mail => {
                let mail = it.mail.as_ref().ok_or_else(no_mail)?;
                let letter = letter(&it.links, body, it.language);
                mail.send(&target.address, id, &letter, now).await.map_err(Failure::from)
            }
        }
    }

    fn endpoint(&self, target: &Target) -> Result<Endpoint, Failure> {
        let never = |reason: String| Failure { reason, retry: Retry::Never };
        let kept = self.inner.seal.unwrap(&sealed_for(target.id), &target.sealed);
        let kept = kept.map_err(|error| never(chain(&error)))?;
        Endpoint::of(&kept).ok_or_else(|| never("the sealed address cannot be read".into()))
    }
}

fn no_mail() -> Failure {
    Failure { reason: "no mail server is configured".into(), retry: Retry::Later }
}

/// What is being sent now, and for whom.
#[derive(Default)]
struct Round {
    sending: JoinSet<()>,
    targets: HashMap<Id, AlertTargetId>,
}

impl Round {
    fn busy(&self, target: AlertTargetId) -> usize {
        self.targets.values().filter(|it| **it == target).count()
    }

    fn begin(&mut self, target: AlertTargetId, work: impl Future<Output = ()> + Send + 'static) {
        let id = self.sending.spawn(work).id();
        self.targets.insert(id, target);
    }

    /// Returns when one has ended; never when there is none. What panicked has ended too.
    async fn one_ended(&mut self) {
        let id = match self.sending.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return std::future::pending().await,
        };
        self.targets.remove(&id);
    }
}
