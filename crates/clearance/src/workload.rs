//! May this container run here? Judged when it is seen, and again when anything it rests on changes.

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{
    Actor, ChangeReason, ClearanceChange, ClearanceChanged, ContainerKey, ContainerSeen, Event, ExceptionId,
    Presence, Timestamp, consumer,
};
use seaworthy_policy::{
    Decision, Facts, Language, Mode, Origin, Policy, Reason, RuleResult, Settling, Verdict, WorkloadFacts,
    decide,
};
use seaworthy_store::{Delivery, Tx};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Clearance, ClearanceError, PolicyRef,
    db::{self, workloads},
    judge::{Bench, applying},
    limit,
};

/// The verdict of one container with everything it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The answer.
    pub verdict: Verdict,
    /// Every rule's result.
    pub reasons: Vec<Reason>,
    /// The policies that applied.
    pub policies: Vec<PolicyRef>,
    /// Exceptions that were used.
    pub exceptions: Vec<ExceptionId>,
    /// The facts, without the findings' rows.
    pub facts: Facts,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When time alone may change it.
    pub valid_until: Option<Timestamp>,
    /// Revision of policies and exceptions it was decided under.
    pub revision: i64,
}

/// A container as clearance knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What the fleet told.
    pub seen: ContainerSeen,
    /// The verdict, once there is one.
    pub judgement: Option<Judgement>,
    /// The start that was reported as a violation, unless it was allowed again.
    pub reported_start: Option<Timestamp>,
    /// The start under which it was last allowed.
    pub allowed_start: Option<Timestamp>,
}

impl Clearance {
    /// What is known of a container; `None` when the fleet did not tell of it yet, or it is gone.
    pub async fn workload(&self, key: &ContainerKey) -> Result<Option<Workload>, ClearanceError> {
        let found = workloads::workload(self.db(), key).await?;
        Ok(found.filter(|workload| workload.seen.presence != Presence::Gone))
    }

    /// The answer of a container now; pending when it is not decided, or no longer holds.
    pub async fn deploy_verdict(&self, workload: &Workload) -> Result<Verdict, ClearanceError> {
        let Some(judgement) = &workload.judgement else { return Ok(Verdict::Pending) };
        let holds = judgement.revision >= self.revision().await?
            && judgement.valid_until.is_none_or(|until| self.db().now() < until);
        Ok(if holds { judgement.verdict } else { Verdict::Pending })
    }

    /// The answers of containers now, in their order: as [`Clearance::deploy_verdict`] gives them, without
    /// what they rest on. `None` of one that the fleet did not tell of yet, or that is gone.
    pub async fn deploy_verdicts(
        &self,
        keys: &[ContainerKey],
    ) -> Result<Vec<Option<Verdict>>, ClearanceError> {
        let (revision, now) = (self.revision().await?, self.db().now());
        let mut verdicts = Vec::with_capacity(keys.len());
        for key in keys {
            let found = workloads::answer(self.db(), key).await?;
            verdicts.push(found.map(|answer| answer.at(revision, now)));
        }
        Ok(verdicts)
    }

    /// Stores what the fleet tells and judges it in the same transaction: who asks meanwhile gets
    /// the answer from before, never a pending one.
    pub(crate) async fn container_seen(
        &self,
        seen: &ContainerSeen,
        delivery: Delivery,
    ) -> Result<(), ClearanceError> {
        let context = (seen.clone(), delivery, self.compiled(), self.db().now());
        seaworthy_ledger::write(
            self.db(),
            &Actor::system(),
            context,
            |(seen, delivery, compiled, now), tx| {
                Box::pin(async move {
                    let is_gone = seen.presence == Presence::Gone;
                    if is_gone {
                        workloads::forget_gone(tx, *now).await?;
                    }
                    let mut acts = Vec::new();
                    if workloads::put(tx, seen, *now).await? && !is_gone {
                        let bench = Bench::load(tx, compiled, *now).await?;
                        acts = bench.workload(tx, &seen.key).await?;
                    }
                    tx.settle(delivery).await?;
                    Ok::<_, ClearanceError>(((), acts))
                })
            },
        )
        .await
    }
}

impl Bench<'_> {
    /// Judges one container and records what changed.
    pub(crate) async fn workload(
        &self,
        tx: &mut Tx<'_>,
        key: &ContainerKey,
    ) -> Result<Vec<Act>, ClearanceError> {
        let Some(known) = workloads::workload_in(tx, key).await? else { return Ok(Vec::new()) };
        if known.seen.presence == Presence::Gone {
            return Ok(Vec::new());
        }
        let facts = self.workload_facts(tx, &known.seen).await?;
        let (policies, refs) = applying(self.compiled(), self.rows(), &known.seen.repository)?;
        let policies: Vec<&Policy> = policies.iter().map(AsRef::as_ref).collect();
        let decision = decide(&policies, &facts, self.exceptions(), self.now());
        let judgement = self.judgement(decision, facts, refs);
        let acts = report(&known, &judgement);
        if is_violation(&known, &judgement) {
            let event = Event::ClearanceChanged(Box::new(changed(&known, &judgement)));
            tx.deliver(consumer::TELEMETRY, &event, self.now()).await?;
        }
        let before = known.judgement.as_ref();
        for exception in &judgement.exceptions {
            if before.is_none_or(|before| !before.exceptions.contains(exception)) {
                db::count_use(tx, *exception).await?;
            }
        }
        workloads::set_judgement(tx, key, &judgement, starts(&known, judgement.verdict)).await?;
        Ok(acts)
    }

    async fn workload_facts(&self, tx: &mut Tx<'_>, seen: &ContainerSeen) -> Result<Facts, ClearanceError> {
        let (inventory, findings) = match &seen.content_id {
            Some(content) => db::content(tx, content).await?,
            None => (None, None),
        };
        let known = seen.content_id.is_some();
        let awaited = if known { inventory.is_none() || findings.is_none() } else { seen.is_awaited };
        let image = if awaited { Settling::UnderWay } else { Settling::Settled };
        let workload = WorkloadFacts {
            named: seen.named.clone(),
            origin: if seen.digest.is_some() || seen.is_awaited { Origin::Here } else { Origin::Unknown },
            settings: seen.settings.clone(),
            unknown: Vec::new(),
        };
        let facts =
            Facts::from_events(&seen.repository, inventory.as_ref(), findings.as_ref(), self.feeds(), image);
        Ok(facts.for_workload(workload))
    }

    fn judgement(&self, decision: Decision, mut facts: Facts, policies: Vec<PolicyRef>) -> Judgement {
        // The rows are kept once, under the set's id.
        if let Some(set) = &mut facts.findings {
            set.rows = Vec::new();
        }
        Judgement {
            verdict: decision.verdict,
            reasons: decision.reasons,
            policies,
            exceptions: decision.exceptions,
            facts,
            decided_at: self.now(),
            valid_until: decision.valid_until,
            revision: self.revision(),
        }
    }
}

/// A start is told apart by its time, by the host's clock; a container without one has one start.
fn start_of(seen: &ContainerSeen) -> Timestamp {
    seen.started_at.unwrap_or(Timestamp::from_micros(0))
}

/// What is remembered of starts: the reported one, and the allowed one. An answer that is pending in
/// between changes neither, so that an import does not report again what was reported.
fn starts(known: &Workload, verdict: Verdict) -> (Option<Timestamp>, Option<Timestamp>) {
    let start = Some(start_of(&known.seen));
    let live = known.seen.presence == Presence::Live;
    match verdict {
        Verdict::Allowed => (None, if live { start } else { known.allowed_start }),
        Verdict::Blocked if live => (start, known.allowed_start),
        Verdict::Blocked | Verdict::Pending => (known.reported_start, known.allowed_start),
    }
}

/// True when it runs, is blocked, and nobody was told of this start yet.
fn is_violation(known: &Workload, now: &Judgement) -> bool {
    let seen = &known.seen;
    now.verdict == Verdict::Blocked
        && seen.presence == Presence::Live
        && known.reported_start != Some(start_of(seen))
}

/// What people are told.
fn changed(known: &Workload, now: &Judgement) -> ClearanceChanged {
    let seen = &known.seen;
    let ran = known.allowed_start == Some(start_of(seen));
    let mut failed: Vec<&Reason> = now.reasons.iter().filter(|it| it.result != RuleResult::Pass).collect();
    failed.sort_by_key(|reason| reason.mode != Mode::Enforce);
    let more = failed.len().saturating_sub(limit::TOLD_REASONS);
    let reason = |it: &&Reason| ChangeReason {
        rule: it.rule.clone(),
        result: word(&it.result),
        mode: word(&it.mode),
        message: message(it, Language::English),
        message_ja: message(it, Language::Japanese),
    };
    ClearanceChanged {
        change: if ran { ClearanceChange::NewlyBlocked } else { ClearanceChange::BlockedStarted },
        key: seen.key.clone(),
        host_name: seen.host_name.clone(),
        name: short(&seen.name),
        reported: short(&seen.reported),
        repository: seen.repository.clone(),
        digest: seen.digest,
        content_id: seen.content_id,
        started_at: seen.started_at,
        verdict: now.verdict.word().to_owned(),
        before: known.judgement.as_ref().map(|it| it.verdict.word().to_owned()),
        reasons: failed.iter().take(limit::TOLD_REASONS).map(reason).collect(),
        more_reasons: u64::try_from(more).unwrap_or(u64::MAX),
        decided_at: now.decided_at,
    }
}

/// The stable word of a value, as in its JSON.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What the ledger is told: an answer that is new or other, and each start of what is blocked.
fn report(known: &Workload, now: &Judgement) -> Vec<Act> {
    let mut acts = Vec::new();
    if now.verdict == Verdict::Pending {
        return acts;
    }
    let seen = &known.seen;
    let before = known.judgement.as_ref().map(|it| it.verdict);
    let object = format!("hosts/{}/containers/{}", seen.host_name, seen.key.id);
    let details = json!({
        "purpose": "deploy",
        "verdict": now.verdict,
        "before": before,
        "container": short(&seen.name),
        "image": short(&seen.reported),
        "repository": seen.repository,
        "digest": seen.digest,
        "content_id": seen.content_id,
        "policies": now.policies,
        "exceptions": now.exceptions,
        "reasons": failed(&now.reasons),
    });
    if before != Some(now.verdict) {
        acts.push(Act::new(Action::ClearanceDecide, object.clone()).details(details.clone()));
    }
    if is_violation(known, now) {
        let mut details = details;
        if let Value::Object(details) = &mut details {
            details.insert("started_at".to_owned(), json!(seen.started_at));
        }
        acts.push(Act::new(Action::ClearanceViolation, object).details(details));
    }
    acts
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The rules that did not pass, for the record.
pub(crate) fn failed(reasons: &[Reason]) -> Vec<Value> {
    let failed = reasons.iter().filter(|reason| reason.result != RuleResult::Pass);
    let row = |reason: &Reason| {
        let message = message(reason, Language::English);
        json!({"rule": reason.rule, "result": reason.result, "mode": reason.mode, "message": message})
    };
    failed.map(row).take(20).collect()
}

fn message(reason: &Reason, language: Language) -> String {
    reason.cause.message(language).chars().take(300).collect()
}
