//! Quarantine, as Azure's registry has it: what is pushed below a prefix in quarantine is hidden until somebody
//! lets it out, manifest by manifest. It is asked beside the gate, and never instead of it.

use std::collections::BTreeSet;

use seaworthy_access::{Identity, Permission};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{ErrorCode, Problem, Scope, Timestamp};
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::Tx;
use serde_json::{Map, Value, json};

use crate::{
    Registry, RegistryError,
    db::{self, StoredManifest},
    limit,
    lock::{self, Locks, QuarantineState},
    manifest,
    path::ManifestName,
    refusal::object,
};

/// What somebody found out about an image in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// May it be pulled?
    pub state: QuarantineState,
    /// Why, in the words of whoever says so.
    pub details: String,
}

/// Why nobody pulls an image, whatever its clearance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// `lock` or `quarantine`.
    pub by: &'static str,
    /// What a pull is answered.
    pub problem: Problem,
}

impl Finding {
    /// Reads `{"quarantineState": "Passed", "quarantineDetails": "…"}` among the attributes of a manifest; `None`
    /// when they say nothing of it.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Self>, Problem> {
        let wrong = |message: &str| Problem::new(ErrorCode::Invalid, message.to_owned());
        let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let details = match fields.get("quarantineDetails") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            // Some write an object where others write its text.
            Some(other) => other.to_string(),
        };
        let state = match fields.get("quarantineState") {
            None | Some(Value::Null) if details.is_empty() => return Ok(None),
            Some(Value::String(word)) if word.eq_ignore_ascii_case("passed") => QuarantineState::Passed,
            Some(Value::String(word)) if word.eq_ignore_ascii_case("failed") => QuarantineState::Failed,
            _ => return Err(wrong("`quarantineState` is neither `Passed` nor `Failed`")),
        };
        Self { state, details }.checked().map(Some)
    }

    fn checked(self) -> Result<Self, Problem> {
        if self.details.len() > limit::QUARANTINE_BYTES {
            let message =
                format!("the details of a quarantine are longer than {} bytes", limit::QUARANTINE_BYTES);
            return Err(Problem::new(ErrorCode::TooLarge, message));
        }
        Ok(self)
    }
}

impl Registry {
    /// True when what is pushed there is hidden until it is let out.
    pub(crate) async fn is_quarantined(&self, repository: &RepoName) -> Result<bool, RegistryError> {
        let rules = self.inner.rules.rules().await?;
        Ok(rules.iter().any(|rules| rules.quarantine && rules.prefix.covers(repository)))
    }

    /// Hides a manifest that is in quarantine from who may not look into it.
    pub(crate) async fn check_quarantine(
        &self,
        identity: &Identity,
        repository: &RepoName,
        (name, found): (&ManifestName, &StoredManifest),
    ) -> Result<(), RegistryError> {
        if found.locks.has_passed() || !self.is_quarantined(repository).await? {
            return Ok(());
        }
        let scope = Scope::repository(repository);
        if self.access().allows(identity, Permission::Quarantine, &scope).await? {
            return Ok(());
        }
        // Who pushes there is told why it is not to be had.
        if self.access().allows_with_wider_token(identity, Permission::Push, &scope).await? {
            return Err(quarantined(&manifest::named(repository, name)).into());
        }
        Err(hidden(repository, name).into())
    }

    /// What keeps `identity` from pulling an image whatever its clearance is.
    pub async fn withheld(
        &self,
        identity: &Identity,
        repository: &RepoName,
        reference: Result<Tag, Digest>,
    ) -> Result<Option<Withheld>, RegistryError> {
        let name = reference.map_or_else(ManifestName::Digest, ManifestName::Tag);
        let Some(found) = self.inner.reads.named(repository, &name).await? else { return Ok(None) };
        let what = manifest::named(repository, &name);
        if let Err(problem) = lock::check_read(found.locks, &what) {
            return Ok(Some(Withheld { by: "lock", problem }));
        }
        let scope = Scope::repository(repository);
        if found.locks.has_passed()
            || !self.is_quarantined(repository).await?
            || self.access().allows(identity, Permission::Quarantine, &scope).await?
        {
            return Ok(None);
        }
        Ok(Some(Withheld {
            by: "quarantine",
            problem: quarantined(&what).hint(let_out(repository, &found.digest)),
        }))
    }

    /// True when a manifest is in quarantine and `identity` is none of those who know of it: who look into it, who
    /// let it out, who push there.
    pub async fn is_hidden(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        if !self.is_quarantined(repository).await? {
            return Ok(false);
        }
        let roles = self.access().roles_now().await?;
        let mut knowing = [Permission::Quarantine, Permission::QuarantineWrite, Permission::Push].into_iter();
        if knowing.any(|permission| roles.allow(identity, permission, repository)) {
            return Ok(false);
        }
        let stored = self.inner.reads.named(repository, &ManifestName::Digest(*digest)).await?;
        Ok(stored.is_some_and(|stored| !stored.locks.has_passed()))
    }

    /// Says of a manifest in quarantine, and of an index's children, whether they may be pulled.
    pub async fn judge_quarantined(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: &Digest,
        finding: Finding,
    ) -> Result<(), RegistryError> {
        self.require(identity, Permission::QuarantineWrite, repository).await?;
        let context = (repository.clone(), *digest, finding.checked()?, self.inner.clock.now());
        seaworthy_ledger::write(
            self.db(),
            &identity.actor,
            context,
            |(repository, digest, finding, now), tx| {
                Box::pin(async move {
                    db::hold_rules(tx).await?;
                    let rules = db::rules_for(tx, repository).await?;
                    let is_quarantined = rules.iter().any(|rules| rules.quarantine);
                    let told = told(tx, repository, digest).await?;
                    let (mut acts, mut is_here) = (Vec::new(), false);
                    let mut known = BTreeSet::from([*digest]);
                    let mut next = vec![*digest];
                    while let Some(digest) = next.pop() {
                        // What was found in an image itself outlives what is found in its index.
                        if !has_failed_by_itself(tx, repository, &digest, told.as_ref()).await? {
                            let finding = (finding, is_quarantined, *now);
                            let Some(act) = judge(tx, repository, &digest, finding).await? else { continue };
                            acts.extend(act);
                        } else if finding.state == QuarantineState::Passed {
                            return Err(rejected_by_itself(repository, &digest).into());
                        }
                        is_here = true;
                        for child in db::children(tx, repository, &digest).await? {
                            if known.insert(child) {
                                next.push(child);
                            }
                        }
                        if known.len() > limit::PROMOTED_MANIFESTS {
                            let most = limit::PROMOTED_MANIFESTS;
                            let message =
                                format!("more than {most} manifests would leave quarantine at once");
                            let hint = "let the images of the index out one by one";
                            return Err(Problem::new(ErrorCode::TooLarge, message).hint(hint).into());
                        }
                    }
                    if !is_here {
                        let message = format!("`{repository}` has no manifest `{digest}`");
                        return Err(RegistryError::from(Problem::new(ErrorCode::ManifestUnknown, message)));
                    }
                    Ok(((), acts))
                })
            },
        )
        .await
    }
}

/// What was said last of a manifest in quarantine.
async fn told(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<Finding>, RegistryError> {
    let locks = db::locks_of_manifest(tx, repository, digest).await?;
    let Some(state) = locks.and_then(Locks::quarantine) else { return Ok(None) };
    Ok(Some(Finding { state, details: db::quarantine_details_in(tx, repository, digest).await? }))
}

/// Whether an image was rejected by itself. With the index alone it was when just that, in the same words, is what was
/// said of the index before.
async fn has_failed_by_itself(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    of_index: Option<&Finding>,
) -> Result<bool, RegistryError> {
    let own = told(tx, repository, digest).await?;
    Ok(own.is_some_and(|own| own.state == QuarantineState::Failed && Some(&own) != of_index))
}

fn rejected_by_itself(repository: &RepoName, digest: &Digest) -> Problem {
    let message = format!("`{repository}@{digest}` was rejected by itself");
    let hint =
        format!("let it out first, if it may be pulled: `seaworthy image release {repository}@{digest}`");
    Problem::new(ErrorCode::Conflict, message).hint(hint)
}

/// `None` when the repository does not have it; no act when just that was said before.
async fn judge(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
    (finding, is_quarantined, now): (&Finding, bool, Timestamp),
) -> Result<Option<Option<Act>>, RegistryError> {
    let Some(before) = db::locks_of_manifest(tx, repository, digest).await? else { return Ok(None) };
    let locks = before.in_quarantine(finding.state);
    if locks == before && db::quarantine_details_in(tx, repository, digest).await? == finding.details {
        return Ok(Some(None));
    }
    let pushed = db::quarantine(tx, (repository, digest), locks, &finding.details).await?;
    for tag in &pushed.tags {
        // What was held back may go to other registries now.
        db::send(tx, repository, &ManifestName::Tag(tag.clone()), now).await?;
    }
    let action = match finding.state {
        QuarantineState::Passed => Action::ManifestRelease,
        QuarantineState::Failed => Action::ManifestReject,
    };
    let details = json!({
        "tag": pushed.tags.first(), "tags": pushed.tags, "media_type": pushed.media_type, "bytes": pushed.bytes,
        "details": finding.details,
        // Whether anybody notices.
        "effective": is_quarantined && locks != before,
    });
    Ok(Some(Some(Act::new(action, object(repository, digest)).details(details))))
}

/// A tag is as if it were not there; a digest is known to who asks for it. The words are ACR's.
pub(crate) fn hidden(repository: &RepoName, name: &ManifestName) -> Problem {
    match name {
        ManifestName::Tag(_) => {
            Problem::new(ErrorCode::ManifestUnknown, format!("`{repository}` has no manifest `{name}`"))
        }
        ManifestName::Digest(digest) => {
            quarantined(&manifest::named(repository, name)).hint(let_out(repository, digest))
        }
    }
}

fn let_out(repository: &RepoName, digest: &Digest) -> String {
    format!("who may `quarantine/write` lets it out: `seaworthy image release {repository}@{digest}`")
}

fn quarantined(name: &str) -> Problem {
    Problem::new(ErrorCode::Locked, format!("the operation is disallowed: `{name}` is in quarantine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_read() {
        let passed =
            |details: &str| Some(Finding { state: QuarantineState::Passed, details: details.into() });
        for (body, expected) in [
            ("{}", Some(None)),
            (r#"{"deleteEnabled":true,"quarantineState":null}"#, Some(None)),
            (r#"{"quarantineState":"Passed"}"#, Some(passed(""))),
            (r#"{"quarantineState":"passed","quarantineDetails":"ok"}"#, Some(passed("ok"))),
            (r#"{"quarantineState":"Passed","quarantineDetails":{"by":"x"}}"#, Some(passed(r#"{"by":"x"}"#))),
            (r#"{"quarantineState":"Quarantined"}"#, None),
            (r#"{"quarantineState":true}"#, None),
            (r#"{"quarantineDetails":"of what?"}"#, None),
        ] {
            assert_eq!(Finding::parse(body.as_bytes()).ok(), expected, "{body}");
        }
        for (length, fits) in [(limit::QUARANTINE_BYTES, true), (limit::QUARANTINE_BYTES + 1, false)] {
            let body =
                json!({"quarantineState": "Failed", "quarantineDetails": "x".repeat(length)}).to_string();
            assert_eq!(Finding::parse(body.as_bytes()).is_ok(), fits);
        }
    }
}
