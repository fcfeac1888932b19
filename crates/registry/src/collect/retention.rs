//! Tags that the rules of their repository do not keep.

use seaworthy_access::{Identity, Permission};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, ErrorCode, Problem, Scope, Timestamp};
use seaworthy_oci::{Digest, RepoName, Tag};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Registry, RegistryError, RepositoryRules, RetentionRules, Untagged,
    db::{self, Reason, Removal, Review},
    limit,
    path::ManifestName,
    pauses::Point,
    retention::{self, Exception, Newest, Ruling, TagFacts},
    rules,
};

/// What becomes of one tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The tag.
    pub tag: String,
    /// What it points at.
    pub digest: Digest,
    /// When it was set to that.
    pub set_at: Timestamp,
    /// When that was pulled last.
    pub last_pull: Option<Timestamp>,
    /// `keep` or `remove`.
    pub action: &'static str,
    /// The rule that says so.
    pub rule: String,
}

impl Registry {
    /// Rules of all prefixes that `identity` may read about.
    pub async fn retention(&self, identity: &Identity) -> Result<Vec<Value>, RegistryError> {
        let mut out = Vec::new();
        for row in db::retention(self.db(), limit::RETENTION_PREFIXES).await? {
            let scope = scope_of(&row.prefix)?;
            if self.access().allows(identity, Permission::MetadataRead, &scope).await? {
                out.push(json!({
                    "prefix": if row.prefix.is_empty() { "*" } else { &row.prefix }, "rules": row.rules, "set_at": row.set_at, "set_by": row.set_by,
                }));
            }
        }
        Ok(out)
    }

    /// Sets what repositories at and below a prefix keep. It is looked at right away, and every day.
    pub async fn set_retention(
        &self,
        identity: &Identity,
        prefix: &str,
        rules: &RetentionRules,
    ) -> Result<(), RegistryError> {
        self.check_retention(identity, prefix, Permission::Delete).await?;
        rules.check()?;
        let context = (prefix.to_owned(), json!(rules), identity.actor.name.clone(), self.inner.clock.now());
        seaworthy_ledger::write(self.db(), &identity.actor, context, |(prefix, rules, by, now), tx| {
            Box::pin(async move {
                db::hold_retention_alone(tx).await?;
                db::set_retention(tx, (prefix, &rules.to_string()), by, *now).await?;
                if db::count_retention(tx).await? > limit::RETENTION_PREFIXES {
                    let message =
                        format!("there are rules for {} prefixes already", limit::RETENTION_PREFIXES);
                    return Err(RegistryError::from(Problem::new(ErrorCode::TooLarge, message)));
                }
                let act = Act::new(Action::RetentionSet, object(prefix)).details(rules.clone());
                Ok(((), vec![act]))
            })
        })
        .await
    }

    /// Removes the rules of a prefix.
    pub async fn remove_retention(&self, identity: &Identity, prefix: &str) -> Result<(), RegistryError> {
        self.check_retention(identity, prefix, Permission::Delete).await?;
        seaworthy_ledger::write(self.db(), &identity.actor, prefix.to_owned(), |prefix, tx| {
            Box::pin(async move {
                db::hold_retention_alone(tx).await?;
                if !db::remove_retention(tx, prefix).await? {
                    let message = format!("there are no rules for `{prefix}`");
                    return Err(RegistryError::from(Problem::new(ErrorCode::NotFound, message)));
                }
                Ok(((), vec![Act::new(Action::RetentionRemove, object(prefix))]))
            })
        })
        .await
    }

    async fn check_retention(
        &self,
        identity: &Identity,
        prefix: &str,
        permission: Permission,
    ) -> Result<(), RegistryError> {
        let scope = scope_of(prefix)?;
        // They hold below it as well.
        if self.access().allows_within(identity, permission, &scope).await? {
            return Ok(());
        }
        let message = format!("rules for `{scope}` need the right to {} there and below", permission.word());
        Err(Problem::new(ErrorCode::Denied, message).into())
    }

    /// What becomes of the tags of a repository after `after`, by given rules or by its own: `most` and no
    /// more than [`limit::PAGE`].
    pub async fn preview_retention(
        &self,
        identity: &Identity,
        repository: &RepoName,
        rules: Option<RetentionRules>,
        (after, most): (&str, u32),
    ) -> Result<Vec<Preview>, RegistryError> {
        self.require(identity, Permission::MetadataRead, repository).await?;
        if db::repository_locks(self.db(), repository).await?.is_none() {
            return Err(crate::manifest::unknown(repository).into());
        }
        let rules = match rules {
            Some(rules) => rules,
            None => self.rules_of(repository).await?.unwrap_or_default(),
        };
        let newest = self.newest(repository, &rules).await?;
        let judge = (&rules, &newest);
        let mut shown = Vec::new();
        let most = most.min(limit::PAGE);
        for (mut tag, mut ruling) in self.judge_tags(repository, judge, (after, most)).await? {
            if !ruling.keeps && !db::runners(self.db(), repository, &tag.digest, 1).await?.is_empty() {
                tag.exception = Some(Exception::Runs);
                let alone = std::slice::from_ref(&tag);
                let now = self.inner.clock.now();
                ruling = retention::decide(&rules, &newest, alone, now).pop().unwrap_or(ruling);
            }
            shown.push(Preview {
                tag: tag.name,
                digest: tag.digest,
                set_at: tag.set_at,
                last_pull: tag.last_pull,
                action: if ruling.keeps { "keep" } else { "remove" },
                rule: ruling.rule,
            });
        }
        Ok(shown)
    }

    async fn rules_of(&self, repository: &RepoName) -> Result<Option<RetentionRules>, RegistryError> {
        Ok(retention::rules_of(&self.retention_rules().await?, repository).cloned())
    }

    /// All rules of retention by their prefixes; empty is all repositories.
    pub(crate) async fn retention_rules(&self) -> Result<Vec<(String, RetentionRules)>, RegistryError> {
        let rows = db::retention(self.db(), limit::RETENTION_PREFIXES).await?;
        Ok(rows.into_iter().map(|row| (row.prefix, row.rules)).collect())
    }

    /// How long manifests of a repository stay that nothing leads to.
    pub(crate) async fn untagged(&self, repository: &RepoName) -> Result<Untagged, RegistryError> {
        let configured = self.inner.config.collection.untagged;
        Ok(self.rules_of(repository).await?.map_or(configured, |rules| rules.untagged(configured)))
    }

    /// The one thing about which all tags of a repository are asked.
    async fn newest(&self, repository: &RepoName, rules: &RetentionRules) -> Result<Newest, RegistryError> {
        Ok(db::newest(self.db(), repository, rules.keep_last.unwrap_or(0)).await?)
    }

    /// Tags of a repository after `after`, `most` of them, and what the rules say of each. What runs is asked of those
    /// that would go: no other's lot depends on it.
    async fn judge_tags(
        &self,
        repository: &RepoName,
        (rules, newest): (&RetentionRules, &Newest),
        (after, most): (&str, u32),
    ) -> Result<Vec<(TagFacts, Ruling)>, RegistryError> {
        self.flush_pulls().await?;
        let mut tags = db::tags_to_judge(self.db(), repository, after, most.into()).await?;
        let writing = self.inner.rules.rules().await?;
        for tag in tags.iter_mut().filter(|tag| tag.exception.is_none()) {
            let name = tag.name.parse::<Tag>().ok();
            let freezes = |it: &RepositoryRules| {
                it.prefix.covers(repository) && name.as_ref().is_some_and(|name| it.freeze(name))
            };
            if writing.iter().any(freezes) {
                tag.exception = Some(Exception::Immutable);
            }
        }
        let rulings = retention::decide(rules, newest, &tags, self.inner.clock.now());
        Ok(tags.into_iter().zip(rulings).collect())
    }

    /// Removes the tags that a repository does not keep; what they leave is collected in time.
    pub(super) async fn review_repository(
        &self,
        review: &Review,
        repository: &RepoName,
    ) -> Result<(), RegistryError> {
        // One that is gone is looked at again when it is made anew.
        let rules = match db::repository_locks(self.db(), repository).await? {
            Some(_) => self.rules_of(repository).await?,
            None => None,
        };
        if let Some(rules) = &rules {
            self.expire_by(repository, rules).await?;
        }
        let again = self.inner.clock.now().plus_seconds(limit::RECHECK_SECONDS);
        let context = (review.clone(), rules.is_some(), again);
        self.in_upkeep(context, |(review, has_rules, again), tx| {
            Box::pin(async move {
                match has_rules {
                    true => db::postpone(tx, review, *again).await,
                    false => db::settle(tx, review).await,
                }
            })
        })
        .await
    }

    /// Removes what rules do not keep, as long as they are the repository's.
    async fn expire_by(&self, repository: &RepoName, rules: &RetentionRules) -> Result<(), RegistryError> {
        let (mut after, most) = (String::new(), limit::EXPIRED_AT_ONCE);
        let mut newest = self.newest(repository, rules).await?;
        loop {
            let mut judged = self.judge_tags(repository, (rules, &newest), (&after, most)).await?;
            let Some((last, _)) = judged.last() else { return Ok(()) };
            let next = last.name.clone();
            // It takes a while: others that were set last may be gone by now, so that these are.
            if !after.is_empty() && judged.iter().any(|(_, ruling)| !ruling.keeps) {
                newest = self.newest(repository, rules).await?;
                judged = self.judge_tags(repository, (rules, &newest), (&after, most)).await?;
            }
            self.pause(Point::Judged).await;
            for (tag, ruling) in judged {
                if !ruling.keeps && !self.expire(repository, (tag, ruling), rules).await? {
                    return Ok(());
                }
            }
            after = next;
        }
    }

    /// Removes a tag that is still what was judged: not moved, locked, pulled or started since. False when the rules
    /// are not the repository's any more.
    async fn expire(
        &self,
        repository: &RepoName,
        (judged, ruling): (TagFacts, Ruling),
        rules: &RetentionRules,
    ) -> Result<bool, RegistryError> {
        self.flush_pulls().await?;
        let Ok(name) = judged.name.parse::<Tag>() else { return Ok(true) };
        let at = self.inner.clock.now();
        let until = self.inner.config.collection.until(at);
        let removal = Removal { by: Actor::system().name, reason: Reason::Retention, at, until };
        let context = (repository.clone(), name, judged, ruling, removal, rules.clone());
        seaworthy_ledger::write(self.db(), &Actor::system(), context, |context, tx| {
            Box::pin(async move {
                let (repository, name, judged, ruling, removal, rules) = context;
                let named = ManifestName::Tag(name.clone());
                db::hold_rules(tx).await?;
                db::hold_retention(tx).await?;
                // What is judged holds until it is done.
                db::held_alone(tx, repository).await?;
                if db::retention_of(tx, repository).await?.as_ref() != Some(rules) {
                    return Ok::<_, RegistryError>((false, vec![]));
                }
                match rules::check_deletion(tx, repository, Some(&named)).await {
                    Err(RegistryError::Refused(_)) => return Ok((true, vec![])),
                    checked => checked?,
                }
                let now = db::tag_to_judge(tx, repository, name).await?;
                if now.as_ref() != Some(judged) || db::runs(tx, repository, &judged.digest).await? {
                    return Ok((true, vec![]));
                }
                db::delete_tag(tx, repository, name, removal).await?;
                let act = Act::new(Action::TagExpire, format!("repositories/{repository}:{name}"))
                    .details(json!({"digest": judged.digest, "rule": ruling.rule}));
                Ok((true, vec![act]))
            })
        })
        .await
    }
}

/// As rules of repositories are called.
fn object(prefix: &str) -> String {
    format!("repositories/{}", if prefix.is_empty() { "*" } else { prefix })
}

/// Rules are about the repositories below a prefix, so they need rights there.
fn scope_of(prefix: &str) -> Result<Scope, RegistryError> {
    if prefix.is_empty() {
        let all = "/repositories".parse::<Scope>();
        return all.map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()).into());
    }
    let repository: RepoName = prefix.parse().map_err(|_| {
        Problem::new(ErrorCode::NameInvalid, format!("`{prefix}` is no prefix of repositories"))
            .hint("give whole parts of names, such as `prod` or `team/app`; `*` is all of them")
    })?;
    Ok(Scope::repository(&repository))
}
