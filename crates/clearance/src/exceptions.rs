//! Exceptions: requested by one, approved by another, counted when used.

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, ExceptionId, Timestamp};
use seaworthy_policy::{Exception, ExceptionScope};
use serde::Serialize;
use serde_json::json;

use crate::{Clearance, ClearanceError, db, limit};

/// Where an exception stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Asked for.
    Requested,
    /// Approved; holds until it ends.
    Approved,
    /// Taken back.
    Revoked,
}

impl State {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Approved => "approved",
            Self::Revoked => "revoked",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Requested, Self::Approved, Self::Revoked].into_iter().find(|state| state.word() == word)
    }
}

/// An exception, its state, and how often a recorded verdict rested on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExceptionRow {
    /// The exception.
    pub exception: Exception,
    /// Where it stands.
    pub state: State,
    /// Recorded verdicts that used it.
    pub uses: u64,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct NewException {
    /// About what.
    pub scope: ExceptionScope,
    /// Who answers for the risk.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Until when.
    pub expires_at: Timestamp,
}

impl Clearance {
    /// Asks for an exception as `actor`.
    pub async fn request_exception(
        &self,
        actor: &Actor,
        new: NewException,
    ) -> Result<ExceptionRow, ClearanceError> {
        let exception = Exception {
            id: ExceptionId::generate(),
            scope: new.scope,
            owner: new.owner,
            reason: new.reason,
            requested_by: actor.person(),
            approved_by: None,
            created_at: self.db().now(),
            expires_at: new.expires_at,
        };
        exception.check().map_err(|source| ClearanceError::Exception { source })?;
        self.known_rule(&exception.scope.rule).await?;
        let row = ExceptionRow { exception, state: State::Requested, uses: 0 };
        let context = (row.clone(), self.db().now());
        seaworthy_ledger::write(self.db(), actor, context, |(row, now), tx| {
            Box::pin(async move {
                if db::count_exceptions(tx, *now).await? >= limit::EXCEPTIONS {
                    return Err(ClearanceError::TooMany { kind: "exceptions", limit: limit::EXCEPTIONS });
                }
                db::upsert_exception(tx, row).await?;
                Ok(((), vec![act(Action::ExceptionRequest, row)]))
            })
        })
        .await?;
        Ok(row)
    }

    /// Approves an exception as `actor`, who must not have asked for it.
    pub async fn approve_exception(
        &self,
        actor: &Actor,
        id: ExceptionId,
    ) -> Result<ExceptionRow, ClearanceError> {
        let context = (id, actor.person());
        let row = seaworthy_ledger::write(self.db(), actor, context, |(id, name), tx| {
            Box::pin(async move {
                let mut row = existing(db::exception(tx, *id).await?, *id)?;
                if row.state != State::Requested {
                    return Err(wrong_state(&row));
                }
                row.exception.approve(name).map_err(|source| ClearanceError::Exception { source })?;
                row.state = State::Approved;
                db::upsert_exception(tx, &row).await?;
                db::bump(tx).await?;
                let act = act(Action::ExceptionApprove, &row);
                Ok((row, vec![act]))
            })
        })
        .await?;
        self.changed().await?;
        Ok(row)
    }

    /// Takes an exception back; effective at the next question.
    pub async fn revoke_exception(
        &self,
        actor: &Actor,
        id: ExceptionId,
    ) -> Result<ExceptionRow, ClearanceError> {
        let row = seaworthy_ledger::write(self.db(), actor, id, |id, tx| {
            Box::pin(async move {
                let mut row = existing(db::exception(tx, *id).await?, *id)?;
                if row.state == State::Revoked {
                    return Err(wrong_state(&row));
                }
                row.state = State::Revoked;
                db::upsert_exception(tx, &row).await?;
                db::bump(tx).await?;
                let act = act(Action::ExceptionRevoke, &row);
                Ok((row, vec![act]))
            })
        })
        .await?;
        self.changed().await?;
        Ok(row)
    }

    /// One exception.
    pub async fn exception(&self, id: ExceptionId) -> Result<ExceptionRow, ClearanceError> {
        let all = self.exceptions().await?;
        existing(all.into_iter().find(|row| row.exception.id == id), id)
    }

    /// All exceptions, oldest first.
    pub async fn exceptions(&self) -> Result<Vec<ExceptionRow>, ClearanceError> {
        let mut all = db::exceptions(self.db()).await?;
        all.sort_by_key(|row| row.exception.id);
        Ok(all)
    }
}

fn existing(row: Option<ExceptionRow>, id: ExceptionId) -> Result<ExceptionRow, ClearanceError> {
    row.ok_or_else(|| ClearanceError::Unknown { kind: "exception", name: id.to_string() })
}

fn wrong_state(row: &ExceptionRow) -> ClearanceError {
    ClearanceError::State { kind: "exception", name: row.exception.id.to_string(), state: row.state.word() }
}

fn act(action: Action, row: &ExceptionRow) -> Act {
    let it = &row.exception;
    Act::new(action, format!("exceptions/{}", it.id)).details(json!({
        "scope": it.scope,
        "owner": it.owner,
        "reason": it.reason,
        "expires_at": it.expires_at,
        "requested_by": it.requested_by,
    }))
}
