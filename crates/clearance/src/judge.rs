//! Deciding and recording: facts are read, judged and stored in one transaction, so that no
//! verdict rests on facts that were replaced meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, ContainerKey, FeedsChanged, FindingsChanged, Timestamp};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_policy::{
    Counting, Decision, Facts, InventoryFacts, Mode, Policy, Settling, Verdict, WorkloadFacts, decide,
};
use seaworthy_store::{Delivery, Tx, args};
use serde_json::json;

use crate::{
    Clearance, ClearanceError, PolicyRef, PolicyRow, Purpose, StoredVerdict,
    db::{self, Subject},
    policies::Compiled,
    workload,
};

/// What is to be judged: containers, then images.
#[derive(Default)]
pub(crate) struct Subjects {
    pub(crate) workloads: Vec<ContainerKey>,
    pub(crate) images: Vec<(RepoName, Digest)>,
}

impl Subjects {
    pub(crate) fn images(images: Vec<(RepoName, Digest)>) -> Self {
        Self { workloads: Vec::new(), images }
    }

    pub(crate) fn workloads(workloads: Vec<ContainerKey>) -> Self {
        Self { workloads, images: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.workloads.len() + self.images.len()
    }

    /// Takes the first `most` out: what runs before what lies in the registry.
    pub(crate) fn take(&mut self, most: usize) -> Self {
        let running = self.workloads.len().min(most);
        let images = self.images.len().min(most - running);
        Self {
            workloads: self.workloads.drain(..running).collect(),
            images: self.images.drain(..images).collect(),
        }
    }
}

/// An answer that was computed and not recorded, with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Unrecorded {
    /// The facts.
    pub facts: Facts,
    /// The answer.
    pub decision: Decision,
    /// The policies that applied.
    pub policies: Vec<PolicyRef>,
}

/// What is to be judged, and the delivery that asked for it, settled in the same transaction.
pub(crate) struct Round {
    pub(crate) subjects: Subjects,
    pub(crate) delivery: Option<Delivery>,
}

impl Clearance {
    /// Judges subjects and records what changed. Subjects that are no images are passed over.
    pub(crate) async fn judge(&self, round: Round) -> Result<(), ClearanceError> {
        let keys = round.subjects.images.clone();
        let context = (round, self.compiled(), self.db().now());
        seaworthy_ledger::write(self.db(), &Actor::system(), context, |(round, compiled, now), tx| {
            Box::pin(async move {
                let acts = judge_in(tx, &round.subjects, compiled, *now).await?;
                if let Some(delivery) = &round.delivery {
                    tx.settle(delivery).await?;
                }
                Ok::<_, ClearanceError>(((), acts))
            })
        })
        .await?;
        self.forget(&keys);
        Ok(())
    }

    /// The answer for an image that is not stored here, to be pulled, or run with these settings:
    /// computed, never recorded.
    pub async fn judge_unrecorded(
        &self,
        repository: &RepoName,
        inventory: &InventoryFacts,
        findings: &FindingsChanged,
        workload: Option<WorkloadFacts>,
    ) -> Result<Unrecorded, ClearanceError> {
        let feeds = db::feeds_now(self.db()).await?;
        let facts = Facts::from_events(
            repository,
            Some(inventory),
            Some(findings),
            feeds.as_ref(),
            Settling::Settled,
        );
        self.decide_unrecorded(Facts { workload, ..facts }).await
    }

    /// The answer for a container of an image that is stored here: computed, never recorded. Pending
    /// while its inspection can still settle it. `None` for what is no image.
    pub async fn judge_deploy(
        &self,
        repository: &RepoName,
        digest: &Digest,
        workload: WorkloadFacts,
    ) -> Result<Option<Unrecorded>, ClearanceError> {
        let Some(facts) = self.facts_of(repository, digest, repository).await? else { return Ok(None) };
        self.decide_unrecorded(facts.for_workload(workload)).await.map(Some)
    }

    /// The answer for an image that is stored in `source`, to be pulled, as if it stood in `destination`:
    /// computed, never recorded. Pending while its inspection can still settle it. `None` for what is no
    /// image.
    pub async fn judge_as(
        &self,
        source: &RepoName,
        digest: &Digest,
        destination: &RepoName,
    ) -> Result<Option<Unrecorded>, ClearanceError> {
        let Some(facts) = self.facts_of(source, digest, destination).await? else { return Ok(None) };
        self.decide_unrecorded(facts).await.map(Some)
    }

    /// What is known of an image that is stored in `source`, for judging it in `repository`.
    async fn facts_of(
        &self,
        source: &RepoName,
        digest: &Digest,
        repository: &RepoName,
    ) -> Result<Option<Facts>, ClearanceError> {
        let row = self.db().fetch_optional(db::SUBJECT, args![source.as_str(), &digest.to_string()]).await?;
        let content_id = match row.map(|row| db::read_subject(&row)).transpose()? {
            Some(Subject::Image(content_id)) => content_id,
            Some(Subject::Index(_) | Subject::Artifact(_)) => return Ok(None),
            // Announced a moment ago.
            None => None,
        };
        let (inventory, findings) = match &content_id {
            Some(content_id) => db::content_now(self.db(), content_id).await?,
            None => (None, None),
        };
        let complete = inventory.is_some() && findings.is_some();
        let image = if complete { Settling::Settled } else { Settling::UnderWay };
        let feeds = db::feeds_now(self.db()).await?;
        let (inventory, findings) = (inventory.as_ref(), findings.as_ref());
        Ok(Some(Facts::from_events(repository, inventory, findings, feeds.as_ref(), image)))
    }

    async fn decide_unrecorded(&self, facts: Facts) -> Result<Unrecorded, ClearanceError> {
        let (policies, refs) = applying(&self.compiled(), &self.policies().await?, &facts.repository)?;
        let exceptions = self.approved().await?;
        let policies: Vec<&Policy> = policies.iter().map(Arc::as_ref).collect();
        let decision = decide(&policies, &facts, &exceptions, self.db().now());
        Ok(Unrecorded { facts, decision, policies: refs })
    }

    /// True when a policy can block something in the repository.
    pub(crate) async fn enforces(&self, repository: &RepoName) -> Result<bool, ClearanceError> {
        let (policies, _) = applying(&self.compiled(), &self.policies().await?, repository)?;
        Ok(policies.iter().flat_map(|policy| &policy.rules).any(|rule| rule.mode == Mode::Enforce))
    }

    /// Refuses a rule that no active policy has, as in `prod/vulns`.
    pub(crate) async fn known_rule(&self, rule: &str) -> Result<(), ClearanceError> {
        let mut known = Vec::new();
        for row in self.policies().await? {
            let policy = Policy::parse(&row.source).map_err(|source| ClearanceError::Policy { source })?;
            known.extend(policy.rules.iter().map(|rule| format!("{}/{}", policy.name, rule.name)));
        }
        if known.iter().any(|name| name == rule) {
            return Ok(());
        }
        Err(ClearanceError::UnknownRule { rule: rule.to_owned(), known })
    }

    /// What a stored verdict would be now if `policy` were the active version of its name: the
    /// same facts, the other active policies, the approved exceptions. Nothing is recorded.
    pub async fn preview(&self, stored: &StoredVerdict, policy: &Policy) -> Result<Decision, ClearanceError> {
        let facts = Facts { counting: Counting::AnyVersion, ..self.full_facts(stored).await? };
        let rows = self.policies().await?;
        let others: Vec<PolicyRow> = rows.into_iter().filter(|row| row.name != policy.name).collect();
        let (mut policies, _) = applying(&self.compiled(), &others, &stored.repository)?;
        if policy.selects(&stored.repository) {
            policies.push(Arc::new(policy.clone()));
        }
        policies.sort_by(|lhs, rhs| lhs.name.cmp(&rhs.name));
        let policies: Vec<&Policy> = policies.iter().map(Arc::as_ref).collect();
        Ok(decide(&policies, &facts, &self.approved().await?, self.db().now()))
    }

    /// The facts of a stored verdict with the findings' rows, which are kept once.
    async fn full_facts(&self, stored: &StoredVerdict) -> Result<Facts, ClearanceError> {
        let mut facts = stored.facts.clone();
        if let Some(set) = &mut facts.findings
            && let Some(full) = db::finding_set(self.db(), &set.id).await?
        {
            set.rows = full.rows;
        }
        Ok(facts)
    }

    async fn approved(&self) -> Result<Vec<seaworthy_policy::Exception>, ClearanceError> {
        let all = self.exceptions().await?.into_iter();
        Ok(all
            .filter(|row| row.state == crate::exceptions::State::Approved)
            .map(|row| row.exception)
            .collect())
    }

    /// Decides a stored verdict again from what it kept; equal to what is stored, on any machine.
    pub async fn replay(&self, stored: &StoredVerdict) -> Result<Decision, ClearanceError> {
        let facts = self.full_facts(stored).await?;
        let mut policies = Vec::new();
        for reference in &stored.policies {
            let source = db::policy_source(self.db(), &reference.hash).await?;
            let source = source.ok_or_else(|| unknown_policy(&reference.name))?;
            policies.push(Policy::parse(&source).map_err(|source| ClearanceError::Policy { source })?);
        }
        let policies: Vec<&Policy> = policies.iter().collect();
        let all = self.exceptions().await?;
        let exceptions: Vec<_> = all
            .into_iter()
            .filter(|row| stored.exceptions.contains(&row.exception.id))
            .map(|row| row.exception)
            .collect();
        Ok(decide(&policies, &facts, &exceptions, stored.decided_at))
    }
}

/// Judges subjects in a transaction and records what changed.
pub(crate) async fn judge_in(
    tx: &mut Tx<'_>,
    subjects: &Subjects,
    compiled: &Mutex<Compiled>,
    now: Timestamp,
) -> Result<Vec<Act>, ClearanceError> {
    let mut acts = Vec::new();
    if !subjects.is_empty() {
        let bench = Bench::load(tx, compiled, now).await?;
        for key in &subjects.workloads {
            acts.extend(bench.workload(tx, key).await?);
        }
        for (repository, digest) in &subjects.images {
            acts.extend(bench.judge(tx, repository, digest).await?);
        }
    }
    Ok(acts)
}

fn unknown_policy(name: &str) -> ClearanceError {
    ClearanceError::Unknown { kind: "policy", name: name.to_owned() }
}

/// The policies that select a repository. One that this version cannot compile stops everything:
/// leaving it out could let an image pass.
pub(crate) fn applying(
    compiled: &Mutex<Compiled>,
    rows: &[PolicyRow],
    repository: &RepoName,
) -> Result<(Vec<Arc<Policy>>, Vec<PolicyRef>), ClearanceError> {
    let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut policies, mut refs) = (Vec::new(), Vec::new());
    for row in rows {
        let policy = compiled.get(row).ok_or_else(|| unknown_policy(&row.name))?;
        if policy.selects(repository) {
            refs.push(PolicyRef { name: row.name.clone(), version: row.version, hash: row.hash.clone() });
            policies.push(policy);
        }
    }
    Ok((policies, refs))
}

/// What is the same for all subjects of one round.
pub(crate) struct Bench<'b> {
    compiled: &'b Mutex<Compiled>,
    rows: Vec<PolicyRow>,
    exceptions: Vec<seaworthy_policy::Exception>,
    feeds: Option<FeedsChanged>,
    revision: i64,
    now: Timestamp,
}

impl<'b> Bench<'b> {
    pub(crate) async fn load(
        tx: &mut Tx<'_>,
        compiled: &'b Mutex<Compiled>,
        now: Timestamp,
    ) -> Result<Self, ClearanceError> {
        let exceptions = db::active_exceptions(tx, now).await?;
        Ok(Self {
            compiled,
            rows: db::policies(tx).await?,
            exceptions: exceptions.into_iter().map(|row| row.exception).collect(),
            feeds: db::feeds(tx).await?,
            revision: db::revision_in(tx).await?,
            now,
        })
    }

    pub(crate) fn compiled(&self) -> &Mutex<Compiled> {
        self.compiled
    }

    pub(crate) fn rows(&self) -> &[PolicyRow] {
        &self.rows
    }

    pub(crate) fn exceptions(&self) -> &[seaworthy_policy::Exception] {
        &self.exceptions
    }

    pub(crate) fn feeds(&self) -> Option<&FeedsChanged> {
        self.feeds.as_ref()
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    async fn judge(
        &self,
        tx: &mut Tx<'_>,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Option<Act>, ClearanceError> {
        let row = tx.fetch_optional(db::SUBJECT, args![repository.as_str(), &digest.to_string()]).await?;
        let Some(Subject::Image(content_id)) = row.map(|row| db::read_subject(&row)).transpose()? else {
            return Ok(None);
        };
        let (inventory, findings) = match &content_id {
            Some(content_id) => db::content(tx, content_id).await?,
            None => (None, None),
        };
        let complete = inventory.is_some() && findings.is_some();
        let image = if complete { Settling::Settled } else { Settling::UnderWay };
        let facts =
            Facts::from_events(repository, inventory.as_ref(), findings.as_ref(), self.feeds.as_ref(), image);
        let (policies, refs) = applying(self.compiled, &self.rows, repository)?;
        let policies: Vec<&Policy> = policies.iter().map(Arc::as_ref).collect();
        let decision = decide(&policies, &facts, &self.exceptions, self.now);
        self.record(tx, Judged { repository, digest, content_id, facts, refs, decision }).await
    }

    async fn record(&self, tx: &mut Tx<'_>, judged: Judged<'_>) -> Result<Option<Act>, ClearanceError> {
        let Judged { repository, digest, content_id, mut facts, refs, decision } = judged;
        // The rows are kept once, under the set's id.
        if let Some(set) = &mut facts.findings {
            set.rows = Vec::new();
        }
        let stored = StoredVerdict {
            repository: repository.clone(),
            digest: *digest,
            content_id,
            verdict: decision.verdict,
            reasons: decision.reasons,
            policies: refs,
            exceptions: decision.exceptions,
            facts,
            decided_at: self.now,
            valid_until: decision.valid_until,
            revision: self.revision,
        };
        let purpose = Purpose::Pull.word();
        let before = db::verdict_in(tx, repository, digest, purpose).await?;
        db::upsert_verdict(tx, &stored, purpose).await?;
        let same = before
            .as_ref()
            .is_some_and(|before| before.verdict == stored.verdict && before.exceptions == stored.exceptions);
        // Pending is the absence of an answer: only answers, and changes of them, are recorded.
        if same || stored.verdict == Verdict::Pending {
            return Ok(None);
        }
        for exception in &stored.exceptions {
            db::count_use(tx, *exception).await?;
        }
        Ok(Some(act(&stored, before.map(|before| before.verdict))))
    }
}

struct Judged<'j> {
    repository: &'j RepoName,
    digest: &'j Digest,
    content_id: Option<seaworthy_model::ContentId>,
    facts: Facts,
    refs: Vec<PolicyRef>,
    decision: Decision,
}

fn act(stored: &StoredVerdict, before: Option<Verdict>) -> Act {
    Act::new(Action::ClearanceDecide, format!("repositories/{}@{}", stored.repository, stored.digest))
        .details(json!({
            "purpose": "pull",
            "verdict": stored.verdict,
            "before": before,
            "content_id": stored.content_id,
            "policies": stored.policies,
            "exceptions": stored.exceptions,
            "index_hash": stored.facts.findings.as_ref().map(|set| &set.index_hash),
            "finding_set": stored.facts.findings.as_ref().map(|set| &set.id),
            "reasons": workload::failed(&stored.reasons),
        }))
}
