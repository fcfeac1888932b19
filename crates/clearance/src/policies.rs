//! Applying and listing policies.

use std::collections::HashMap;

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, Timestamp};
use seaworthy_policy::Policy;
use serde::Serialize;
use serde_json::json;

use crate::{Clearance, ClearanceError, db, limit};

/// A policy version, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyRow {
    /// Name.
    pub name: String,
    /// Version, from 1.
    pub version: i64,
    /// SHA-256 of the text, hex.
    pub hash: String,
    /// The text.
    #[serde(skip)]
    pub source: String,
    /// When it became active.
    pub applied_at: Timestamp,
    /// By whom.
    pub applied_by: String,
}

impl Clearance {
    /// Makes a policy the active version of its name. The active text again changes nothing.
    pub async fn apply_policy(&self, actor: &Actor, source: &str) -> Result<PolicyRow, ClearanceError> {
        let policy = Policy::parse(source).map_err(|source| ClearanceError::Policy { source })?;
        let context = (policy, actor.name.clone(), self.db().now());
        let row = seaworthy_ledger::write(self.db(), actor, context, |(policy, by, now), tx| {
            Box::pin(async move {
                let present = db::policies(tx).await?;
                let newest = present.iter().find(|row| row.name == policy.name);
                if let Some(same) = newest.filter(|row| row.hash == policy.hash) {
                    return Ok::<_, ClearanceError>((same.clone(), vec![]));
                }
                if newest.is_none() && i64::try_from(present.len()).unwrap_or(i64::MAX) >= limit::POLICIES {
                    return Err(ClearanceError::TooMany { kind: "policies", limit: limit::POLICIES });
                }
                let row = PolicyRow {
                    name: policy.name.clone(),
                    version: newest.map_or(1, |row| row.version + 1),
                    hash: policy.hash.clone(),
                    source: policy.source.clone(),
                    applied_at: *now,
                    applied_by: by.clone(),
                };
                db::insert_policy(tx, &row).await?;
                db::bump(tx).await?;
                let act = Act::new(Action::PolicyApply, format!("policies/{}", row.name))
                    .details(json!({"version": row.version, "hash": row.hash}));
                Ok((row, vec![act]))
            })
        })
        .await?;
        self.changed().await?;
        Ok(row)
    }

    /// A version of a policy, active or not; `None` when it was never applied.
    pub async fn policy_version(
        &self,
        name: &str,
        version: i64,
    ) -> Result<Option<PolicyRow>, ClearanceError> {
        Ok(db::policy_version(self.db(), name, version).await?)
    }

    /// Active policies, by name.
    pub async fn policies(&self) -> Result<Vec<PolicyRow>, ClearanceError> {
        Ok(db::policies_now(self.db()).await?)
    }

    /// Applies the policies a new installation starts with, those that are not there yet.
    pub async fn install(&self, sources: &[&str]) -> Result<(), ClearanceError> {
        let present = self.policies().await?;
        for source in sources {
            let policy = Policy::parse(source).map_err(|source| ClearanceError::Policy { source })?;
            if !present.iter().any(|row| row.name == policy.name) {
                self.apply_policy(&Actor::system(), source).await?;
            }
        }
        Ok(())
    }
}

/// Policies are compiled once per text.
#[derive(Default)]
pub(crate) struct Compiled {
    by_hash: HashMap<String, std::sync::Arc<Policy>>,
}

impl Compiled {
    /// The compiled form of a stored policy. A stored text that this version does not accept (a
    /// newer one wrote it) is `None`; the caller must not go on as if it were not there.
    pub(crate) fn get(&mut self, row: &PolicyRow) -> Option<std::sync::Arc<Policy>> {
        if let Some(policy) = self.by_hash.get(&row.hash) {
            return Some(policy.clone());
        }
        let policy = std::sync::Arc::new(Policy::parse(&row.source).ok()?);
        self.by_hash.insert(row.hash.clone(), policy.clone());
        Some(policy)
    }
}
