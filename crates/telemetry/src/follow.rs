//! What happens in the registry, read from the ledger: whoever pushes pays nothing for those who are told.

use std::time::Duration;

use seaworthy_ledger::HEAD_BELL;
use seaworthy_store::{DbError, chain};
use tokio_util::sync::CancellationToken;

use crate::{
    BELL, Target, Telemetry, TelemetryError, Told, Wanted,
    db::{self, State, messages},
    limit,
};

impl Telemetry {
    /// Tells targets of what the ledger records, until cancelled.
    pub(crate) async fn follow(&self, cancel: CancellationToken) {
        let bell = self.db().bell(HEAD_BELL);
        loop {
            let rung = bell.notified();
            tokio::pin!(rung);
            // Registered before looking, so a head that is signed in between is not missed.
            rung.as_mut().enable();
            loop {
                match self.follow_on().await {
                    Ok(0) => break,
                    Ok(_) if cancel.is_cancelled() => return,
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "reading the ledger failed, will try again");
                        break;
                    }
                }
            }
            tokio::select! {
                () = rung => {}
                // Other replicas sign, too.
                () = tokio::time::sleep(Duration::from_millis(limit::FOLLOW_POLL_MS)) => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    /// Reads on, at most [`limit::FOLLOWED`] records; returns how many. None when nobody wants to be told.
    pub async fn follow_on(&self) -> Result<usize, TelemetryError> {
        let Some(from) = db::followed(self.db()).await? else { return Ok(0) };
        let records = seaworthy_ledger::from(self.db(), from, limit::FOLLOWED).await?;
        let Some((last, _)) = records.last() else { return Ok(0) };
        let (next, count) = (last + 1, records.len());
        let told = records.into_iter().map(|(index, record)| Told { index, record, tag: None });
        let told: Vec<Told> = told.filter(|told| crate::ACTS.contains(&told.record.action)).collect();
        let targets = if told.is_empty() { Vec::new() } else { self.targets().await? };
        let context = (told, targets, (from, next), self.db().now());
        self.db()
            .upkeep(context, |(told, targets, step, now), tx| {
                Box::pin(async move {
                    if !db::move_followed(tx, *step).await? {
                        // Another replica was here first.
                        return Ok(());
                    }
                    let mut waiting: Vec<u64> = targets.iter().map(|target| target.health.waiting).collect();
                    for told in told {
                        for (target, waiting) in targets.iter().zip(&mut waiting) {
                            if !target.wants_act(told) {
                                continue;
                            }
                            for message in told.messages(target.format) {
                                if *waiting >= limit::WAITING {
                                    db::count_dropped(tx, target.id).await?;
                                    continue;
                                }
                                *waiting += 1;
                                messages::insert_told(tx, (target.id, State::Waiting), &message, *now)
                                    .await?;
                            }
                        }
                    }
                    tx.wake(BELL);
                    Ok(())
                })
            })
            .await
            .map_err(|error: DbError| TelemetryError::Db(error))?;
        Ok(count)
    }
}

impl Target {
    /// True when it wants to be told of this one.
    fn wants_act(&self, told: &Told) -> bool {
        self.events.contains(&Wanted::Act(told.record.action))
            && told.record.at >= self.created_at
            && told.is_below(&self.repositories)
    }
}
