//! What becomes of a manifest that nobody deleted: pure.

use seaworthy_model::Timestamp;

use crate::limit;

/// How long manifests stay that nothing leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untagged {
    /// For ever.
    Keep,
    /// This many days after they were pushed, pulled, or lost what led to them.
    Days(u32),
}

/// What collection leaves alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Manifests that nothing leads to, where no rule of the repository says otherwise.
    pub untagged: Untagged,
    /// How long what was deleted can be restored, in days; 0: not at all.
    pub soft_delete_days: u32,
}

impl Default for Collection {
    fn default() -> Self {
        Self { untagged: Untagged::Days(7), soft_delete_days: 7 }
    }
}

impl Collection {
    /// Until when what is deleted now can be restored.
    pub(crate) fn until(&self, now: Timestamp) -> Timestamp {
        now.plus_seconds(i64::from(self.soft_delete_days.min(limit::SOFT_DELETE_DAYS)) * DAY_SECONDS)
    }
}

pub(crate) const DAY_SECONDS: i64 = 24 * 3600;

/// What is known of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ManifestFacts {
    /// The last of: pushed, pulled, lost a tag, its index or its subject.
    pub(crate) touched_at: Timestamp,
    /// The first of a tag, an index that names it, a subject that it refers to (each here or to be
    /// restored), a container that runs it or a part of it, a lock on it or its repository.
    pub(crate) kept_by: Option<Keeper>,
    /// A tag of it was deleted and can be restored until then.
    pub(crate) tag_until: Option<Timestamp>,
}

/// What keeps a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    Tag,
    Index,
    Subject,
    Container,
    Lock,
    DeletedTag,
    Grace,
    Rule,
}

impl Keeper {
    /// The stable word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Index => "index",
            Self::Subject => "subject",
            Self::Container => "container",
            Self::Lock => "lock",
            Self::DeletedTag => "deleted_tag",
            Self::Grace => "grace",
            Self::Rule => "rule",
        }
    }
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays until that is lost, which has it looked at again.
    Kept(Keeper),
    /// It stays, and is looked at again then.
    KeptUntil(Keeper, Timestamp),
    /// It goes.
    Goes,
}

/// Decides about a manifest.
pub(crate) fn decide(facts: &ManifestFacts, untagged: Untagged, now: Timestamp) -> Fate {
    let again = now.plus_seconds(limit::RECHECK_SECONDS);
    match facts.kept_by {
        // To lose these has it looked at again.
        Some(keeper @ (Keeper::Tag | Keeper::Index | Keeper::Subject)) => return Fate::Kept(keeper),
        Some(keeper) => return Fate::KeptUntil(keeper, again),
        None => {}
    }
    if let Some(until) = facts.tag_until.filter(|until| *until > now) {
        return Fate::KeptUntil(Keeper::DeletedTag, until);
    }
    let Untagged::Days(days) = untagged else { return Fate::KeptUntil(Keeper::Rule, again) };
    // The index of a push may still be under way.
    let grace = (i64::from(days) * DAY_SECONDS).max(limit::GRACE_SECONDS);
    match facts.touched_at.plus_seconds(grace) {
        until if until > now => Fate::KeptUntil(Keeper::Grace, until),
        _ => Fate::Goes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000_000);

    fn free() -> ManifestFacts {
        ManifestFacts { touched_at: Timestamp::from_seconds(0), kept_by: None, tag_until: None }
    }

    #[test]
    fn anything_keeps_a_manifest() {
        let days = Untagged::Days(7);
        assert_eq!(decide(&free(), days, NOW), Fate::Goes);
        let by = |keeper| ManifestFacts { kept_by: Some(keeper), ..free() };
        for keeper in [Keeper::Tag, Keeper::Index, Keeper::Subject] {
            assert_eq!(decide(&by(keeper), days, NOW), Fate::Kept(keeper));
        }
        let again = NOW.plus_seconds(limit::RECHECK_SECONDS);
        for keeper in [Keeper::Container, Keeper::Lock] {
            assert_eq!(decide(&by(keeper), days, NOW), Fate::KeptUntil(keeper, again));
        }
        assert_eq!(decide(&free(), Untagged::Keep, NOW), Fate::KeptUntil(Keeper::Rule, again));
        let until = NOW.plus_seconds(1);
        let tag = |until| ManifestFacts { tag_until: Some(until), ..free() };
        assert_eq!(decide(&tag(until), days, NOW), Fate::KeptUntil(Keeper::DeletedTag, until));
        assert_eq!(decide(&tag(NOW), days, NOW), Fate::Goes, "its time is over");
    }

    #[test]
    fn grace_ends_at_its_second() {
        for (days, grace) in [(7, 7 * DAY_SECONDS), (1, DAY_SECONDS), (0, limit::GRACE_SECONDS)] {
            let touched = |ago: i64| ManifestFacts { touched_at: NOW.plus_seconds(-ago), ..free() };
            assert_eq!(decide(&touched(grace), Untagged::Days(days), NOW), Fate::Goes);
            let until = NOW.plus_seconds(1);
            let kept = Fate::KeptUntil(Keeper::Grace, until);
            assert_eq!(decide(&touched(grace - 1), Untagged::Days(days), NOW), kept);
        }
        let tomorrow = ManifestFacts { touched_at: NOW.plus_seconds(DAY_SECONDS), ..free() };
        assert_ne!(decide(&tomorrow, Untagged::Days(0), NOW), Fate::Goes, "the clock was put back");
    }

    #[test]
    fn soft_delete_ends_at_its_most() {
        let until = |days| Collection { soft_delete_days: days, ..Collection::default() }.until(NOW);
        assert_eq!(until(0), NOW);
        assert_eq!(until(limit::SOFT_DELETE_DAYS), until(limit::SOFT_DELETE_DAYS + 1));
    }
}
