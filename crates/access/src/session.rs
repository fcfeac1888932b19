use std::time::Duration;

use seaworthy_model::{AuthMethod, PrincipalId, Timestamp};
use seaworthy_oci::Digest;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    Access, AccessError, Identity, SignInError, access::actor_of, db::people, decision::Rights, limit,
    refused::Which,
};

/// What the secret of a cookie begins with.
pub(crate) const COOKIE: &str = "swc_";

/// How often ended links and sessions are swept, in seconds.
const SWEEP_SECONDS: u64 = 60;

/// A person's session, without its cookie. Giving a password again begins another one, so a
/// session's beginning is also when its proof was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// SHA-256 of the cookie, which has 256 random bits.
    #[serde(skip)]
    pub(crate) hash: Vec<u8>,
    #[serde(skip)]
    pub(crate) principal: PrincipalId,
    /// The principal's epoch when the session began.
    #[serde(skip)]
    pub(crate) epoch: i64,
    /// When it began: when a password or a link was given.
    pub proved_at: Timestamp,
    #[serde(skip)]
    pub(crate) used_at: Timestamp,
    /// When it ends at the latest.
    pub expires_at: Timestamp,
}

impl Session {
    /// True while neither its time nor its rest is over.
    pub(crate) fn holds(&self, now: Timestamp) -> bool {
        now < self.expires_at && now < self.used_at.plus_seconds(limit::SESSION_IDLE_SECONDS)
    }

    /// True when this use should be written down.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.used_at.plus_seconds(limit::SESSION_TOUCH_SECONDS)
    }

    /// True while its proof is fresh enough for approving.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.proved_at.plus_seconds(limit::STEP_UP_SECONDS)
    }
}

/// The stored hash of a cookie or link; `None` for what cannot be one of ours.
pub(crate) fn hash_of_proof(prefix: &str, text: &str) -> Option<Vec<u8>> {
    let ours = text.len() <= limit::PROOF_BYTES && text.starts_with(prefix);
    ours.then(|| Digest::sha256(text.as_bytes()).hash().to_vec())
}

impl Access {
    /// Whose session a cookie is: one primary-key read, and once a minute a write. `None` for a
    /// cookie of a session that ended, or of none.
    pub async fn authenticate_session(
        &self,
        cookie: &str,
        source: Option<String>,
    ) -> Result<Option<Identity>, AccessError> {
        let Some(hash) = hash_of_proof(COOKIE, cookie) else { return Ok(None) };
        let now = self.inner.clock.now();
        let Some(session) = self.held(&hash, now).await? else { return Ok(None) };
        if session.is_due(now) {
            let touched = self.inner.db.upkeep((hash, now), |(hash, now), tx| {
                Box::pin(async move { people::touch_session(tx, hash, *now).await })
            });
            // A full disk must not sign people out before their session is over.
            if let Err(error) = touched.await {
                tracing::warn!(error = %seaworthy_store::chain(&error), "the use of a session was not written");
            }
        }
        let snapshot = self.snapshot().await?;
        let Some(principal) = snapshot.principals.get(&session.principal) else { return Ok(None) };
        let actor = actor_of(principal, AuthMethod::Session, source);
        let identity = Identity::new(actor, Rights::Principal(principal.id));
        Ok(Some(Identity { ends: Some(session.expires_at), session: Some(session), ..identity }))
    }

    /// True while what `identity` proved still holds: for answers that go on.
    pub async fn still_holds(&self, identity: &Identity) -> Result<bool, AccessError> {
        let now = self.inner.clock.now();
        let active = match identity.principal() {
            Some(id) => {
                let snapshot = self.snapshot().await?;
                let principal = snapshot.principals.get(&id);
                principal.is_some_and(|it| !it.disabled && identity.holds(it.epoch, now))
            }
            None => identity.is_operator(),
        };
        let Some(session) = identity.session().filter(|_| active) else { return Ok(active) };
        Ok(self.held(&session.hash, now).await?.is_some())
    }

    async fn held(&self, hash: &[u8], now: Timestamp) -> Result<Option<Session>, AccessError> {
        let session = people::session(&self.inner.db, hash).await?.filter(|session| session.holds(now));
        let Some(session) = session else { return Ok(None) };
        let snapshot = self.snapshot().await?;
        let principal = snapshot.principals.get(&session.principal);
        let same = principal.is_some_and(|it| !it.disabled && it.epoch == session.epoch);
        Ok(same.then_some(session))
    }

    /// Refuses a session whose password or link was given more than [`limit::STEP_UP_SECONDS`] ago.
    /// What is not a session sends its proof with every request.
    pub fn require_fresh(&self, identity: &Identity) -> Result<(), SignInError> {
        let now = self.inner.clock.now();
        match identity.session() {
            Some(session) if !session.is_fresh(now) => Err(SignInError::StepUp),
            _ => Ok(()),
        }
    }

    /// When a person's password was set, and how many sessions they have.
    pub async fn standing(&self, principal: PrincipalId) -> Result<(Option<Timestamp>, u64), AccessError> {
        Ok(people::standing(&self.inner.db, principal, self.inner.clock.now()).await?)
    }

    /// Closes counts of refused sign-ins, and sweeps what has ended, until `cancel`.
    pub async fn upkeep(self, cancel: CancellationToken) {
        let mut ticks = 0_u64;
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
                () = cancel.cancelled() => {
                    self.inner.refused.close(Which::All).await;
                    return;
                }
            }
            self.inner.refused.close(Which::Old).await;
            ticks += 5;
            if ticks.is_multiple_of(SWEEP_SECONDS)
                && let Err(error) = self.sweep().await
            {
                tracing::warn!(error = %seaworthy_store::chain(&error), "sweeping sessions failed");
            }
        }
    }

    /// Removes links and sessions whose time is over.
    pub async fn sweep(&self) -> Result<(), AccessError> {
        self.inner
            .db
            .upkeep(self.inner.clock.now(), |now, tx| {
                Box::pin(async move { Ok(people::sweep(tx, *now).await?) })
            })
            .await
    }
}
