//! Rules of repositories, by prefix: which of them promotion alone writes, which tags never move, and how much
//! they hold.
//!
//! All rules that cover a repository hold. They are checked in the transaction of the write, as locks are:
//! a rule that committed before it wins.

use std::{fmt, str::FromStr, sync::Arc};

use seaworthy_access::{Identity, Permission};
use seaworthy_ledger::{Act, Action};
use seaworthy_model::{ErrorCode, Prefix, Problem};
use seaworthy_oci::{Digest, RepoName, Tag};
use seaworthy_store::{Db, Tx, Watch};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::change::{QuotaChange, RulesChange, Said};
use crate::{Registry, RegistryError, cache, db, limit, path::ManifestName, quota::Quota};

mod change;

/// Tags by their names: `*` stands for any letters, everything else for itself, as in `v1.*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagPattern(String);

impl TagPattern {
    /// True when the whole name fits.
    pub fn fits(&self, tag: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| tag.strip_prefix(first)) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            let Some((_, behind)) = rest.split_once(part) else { return false };
            rest = behind;
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TagPattern {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let known = |letter: char| letter.is_ascii_alphanumeric() || "_.-*".contains(letter);
        if text.is_empty() || text.len() > limit::PATTERN_BYTES || !text.chars().all(known) {
            let message = format!("`{}` is no pattern of tags", text.escape_debug());
            return Err(Problem::new(ErrorCode::Invalid, message).hint("write `v*`, `*-release` or a tag"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TagPattern {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        text.parse()
    }
}

impl From<TagPattern> for String {
    fn from(pattern: TagPattern) -> Self {
        pattern.0
    }
}

/// The rules of one prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryRules {
    /// Which repositories.
    pub prefix: Prefix,
    /// Nobody pushes there: images come by promotion, when their clearance there allows them.
    #[serde(default)]
    pub promotion_only: bool,
    /// Tags that are set once, and neither moved nor deleted.
    #[serde(default)]
    pub immutable: Vec<TagPattern>,
    /// What is pushed there is hidden until it is let out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quarantine: bool,
    /// The most that they hold together.
    #[serde(default, skip_serializing_if = "Quota::is_none")]
    pub quota: Quota,
}

impl RepositoryRules {
    fn none(prefix: &Prefix) -> Self {
        Self {
            prefix: prefix.clone(),
            promotion_only: false,
            immutable: Vec::new(),
            quarantine: false,
            quota: Quota::default(),
        }
    }

    pub(crate) fn freeze(&self, tag: &Tag) -> bool {
        self.immutable.iter().any(|pattern| pattern.fits(tag.as_str()))
    }
}

/// How an image comes into a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Somebody pushes it.
    Push,
    /// It is copied from another repository.
    Promotion,
    /// It comes from the upstream of a cache.
    Cache,
}

/// Refuses a write of tags that a rule forbids, and of anything where a cache is; true when what is written is in
/// quarantine. Behind [`db::hold_rules`].
pub(crate) async fn check_push(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    way: Way,
    (tags, digest): (&[Tag], &Digest),
) -> Result<bool, RegistryError> {
    if way != Way::Cache
        && let Some(prefix) = db::cache_of(tx, repository).await?
    {
        return Err(cache::takes_no_pushes(repository, &prefix).into());
    }
    let mut hides = false;
    for rules in db::rules_for(tx, repository).await? {
        hides |= rules.quarantine;
        if rules.promotion_only && way == Way::Cache {
            let message =
                format!("the rules of `{}` keep its cache from storing `{repository}`", rules.prefix);
            let hint =
                format!("`seaworthy registry rules set {} --promotion-only=false` lets it", rules.prefix);
            return Err(Problem::new(ErrorCode::Denied, message).hint(hint).into());
        }
        if rules.promotion_only && way == Way::Push {
            return Err(by_promotion_alone(repository, &rules.prefix).into());
        }
        for tag in tags.iter().filter(|tag| rules.freeze(tag)) {
            let before = db::target_of(tx, repository, tag).await?;
            if before.is_some_and(|before| before != *digest) {
                return Err(frozen(repository, tag, &rules.prefix).into());
            }
        }
    }
    Ok(hides)
}

/// Refuses to delete what an immutable tag names: the tag, its manifest or a child of it, its repository. Behind
/// [`db::hold_rules`].
pub(crate) async fn check_deletion(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    name: Option<&ManifestName>,
) -> Result<(), RegistryError> {
    let mut rules = db::rules_for(tx, repository).await?;
    rules.retain(|rules| !rules.immutable.is_empty());
    if rules.is_empty() {
        return Ok(());
    }
    let refuse = |tag: &Tag| {
        let hit = rules.iter().find(|rules| rules.freeze(tag));
        hit.map_or(Ok(()), |rules| Err(RegistryError::from(frozen(repository, tag, &rules.prefix))))
    };
    let digest = match name {
        Some(ManifestName::Tag(tag)) => {
            return if db::target_of(tx, repository, tag).await?.is_some() { refuse(tag) } else { Ok(()) };
        }
        Some(ManifestName::Digest(digest)) => Some(digest),
        None => None,
    };
    let mut after = String::new();
    loop {
        let tags = db::tags_on(tx, repository, digest, (&after, limit::PAGE.into())).await?;
        tags.iter().try_for_each(refuse)?;
        match tags.last() {
            Some(last) if tags.len() >= limit::PAGE as usize => after = last.to_string(),
            _ => return Ok(()),
        }
    }
}

fn by_promotion_alone(repository: &RepoName, prefix: &Prefix) -> Problem {
    let message =
        format!("nobody pushes to `{repository}`: the rules of `{prefix}` let promotion alone write there");
    Problem::new(ErrorCode::Denied, message)
        .hint(format!("push it elsewhere, and run `seaworthy image promote SRC {repository}:TAG`"))
}

fn frozen(repository: &RepoName, tag: &Tag, prefix: &Prefix) -> Problem {
    let message = format!("tag `{repository}:{tag}` is immutable by the rules of `{prefix}`");
    Problem::new(ErrorCode::Denied, message).hint("set another tag: this one stays what it is")
}

/// The rules as they were read last, for refusing an upload before its bytes come.
pub(crate) struct Known {
    db: Db,
    watch: Option<Watch>,
    slot: std::sync::Mutex<Option<(u64, Arc<Vec<RepositoryRules>>)>>,
}

impl Known {
    pub(crate) fn new(db: Db) -> Self {
        Self { watch: db.watch(db::RULES_IN), slot: std::sync::Mutex::default(), db }
    }

    pub(crate) async fn rules(&self) -> Result<Arc<Vec<RepositoryRules>>, RegistryError> {
        let count = self.watch.as_ref().map(Watch::count);
        let kept = self.slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some((_, rules)) = kept.filter(|(then, _)| Some(*then) == count) {
            return Ok(rules);
        }
        let rules = Arc::new(db::rules(&self.db).await?);
        let slot = count.map(|count| (count, rules.clone()));
        *self.slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = slot;
        Ok(rules)
    }
}

impl Registry {
    /// Refuses bytes for a repository that nobody pushes to, before they come.
    pub(crate) async fn check_open(&self, repository: &RepoName) -> Result<(), RegistryError> {
        self.check_no_cache(repository).await?;
        let rules = self.inner.rules.rules().await?;
        match rules.iter().find(|rules| rules.promotion_only && rules.prefix.covers(repository)) {
            Some(rules) => Err(by_promotion_alone(repository, &rules.prefix).into()),
            None => Ok(()),
        }
    }

    /// The rules of the prefixes that `identity` may read the policies of.
    pub async fn rules(&self, identity: &Identity) -> Result<Vec<RepositoryRules>, RegistryError> {
        let mut shown = Vec::new();
        for rules in self.inner.rules.rules().await?.iter() {
            if self.access().allows(identity, Permission::PolicyRead, &rules.prefix.scope()?).await? {
                shown.push(rules.clone());
            }
        }
        Ok(shown)
    }

    /// Sets the rules of a prefix, instead of those that it had. There are at most [`limit::RULES`].
    pub async fn set_rules(&self, identity: &Identity, rules: RepositoryRules) -> Result<(), RegistryError> {
        self.may_rule(identity, &rules.prefix).await?;
        seaworthy_ledger::write(self.db(), &identity.actor, rules, |rules, tx| {
            Box::pin(async move {
                db::hold_rules_alone(tx).await?;
                Ok::<_, RegistryError>(((), vec![put(tx, rules).await?]))
            })
        })
        .await
    }

    /// Sets some rules of a prefix, and says what they all are then.
    pub async fn change_rules(
        &self,
        identity: &Identity,
        change: RulesChange,
    ) -> Result<RepositoryRules, RegistryError> {
        self.may_rule(identity, &change.prefix).await?;
        seaworthy_ledger::write(self.db(), &identity.actor, change, |change, tx| {
            Box::pin(async move {
                db::hold_rules_alone(tx).await?;
                let before = db::rules_at(tx, &change.prefix).await?;
                let rules =
                    change.clone().of(before.unwrap_or_else(|| RepositoryRules::none(&change.prefix)));
                let act = put(tx, &rules).await?;
                Ok::<_, RegistryError>((rules, vec![act]))
            })
        })
        .await
    }

    /// Removes the rules of a prefix.
    pub async fn remove_rules(&self, identity: &Identity, prefix: &Prefix) -> Result<(), RegistryError> {
        self.may_rule(identity, prefix).await?;
        seaworthy_ledger::write(self.db(), &identity.actor, prefix.clone(), |prefix, tx| {
            Box::pin(async move {
                db::hold_rules_alone(tx).await?;
                if !db::remove_rules(tx, &prefix.to_string()).await? {
                    let message = format!("there are no rules for `{prefix}`");
                    return Err(RegistryError::from(Problem::new(ErrorCode::NotFound, message)));
                }
                Ok(((), vec![Act::new(Action::RepositoryRuleRemove, object(prefix))]))
            })
        })
        .await
    }

    /// Who may push must not decide that others may not, so this is a right on policies.
    pub(crate) async fn may_rule(&self, identity: &Identity, prefix: &Prefix) -> Result<(), RegistryError> {
        let (permission, scope) = (Permission::PolicyWrite, prefix.scope()?);
        if self.access().allows(identity, permission, &scope).await? {
            return Ok(());
        }
        let message = format!("`{permission}` at `{scope}` is not permitted to `{}`", identity.actor.name);
        let hint = format!("run `seaworthy access explain {} {permission} {scope}`", identity.actor.name);
        Err(Problem::new(ErrorCode::Denied, message).hint(hint).into())
    }
}

async fn put(tx: &mut Tx<'_>, rules: &RepositoryRules) -> Result<Act, RegistryError> {
    if rules.immutable.len() > limit::PATTERNS {
        let message = format!("more than {} patterns of immutable tags", limit::PATTERNS);
        return Err(Problem::new(ErrorCode::TooLarge, message).into());
    }
    rules.quota.check()?;
    db::put_rules(tx, rules).await?;
    if db::count_rules(tx).await? > limit::RULES {
        let message = format!("there are rules for {} prefixes already", limit::RULES);
        return Err(Problem::new(ErrorCode::TooLarge, message).into());
    }
    Ok(Act::new(Action::RepositoryRuleSet, object(&rules.prefix)).details(json!(rules)))
}

fn object(prefix: &Prefix) -> String {
    format!("repositories/{prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_whole_names() {
        let fits = |pattern: &str, tag: &str| pattern.parse::<TagPattern>().expect("a pattern").fits(tag);
        for (pattern, tag) in [
            ("v1", "v1"),
            ("v*", "v"),
            ("v*", "v1.2"),
            ("*", "latest"),
            ("*-rc*", "1.0-rc2"),
            ("*.*", "1.2.3"),
            ("*-release", "a-release"),
            ("v*.*", "v1.2"),
            ("a*b*c", "abc"),
            ("a*b*c", "axbxbxc"),
            ("**", "x"),
            ("a**b", "ab"),
        ] {
            assert!(fits(pattern, tag), "{pattern} {tag}");
        }
        for (pattern, tag) in [
            ("v1", "v10"),
            ("v1", "av1"),
            ("v*", "av"),
            ("*-release", "release"),
            ("a*b*c", "acb"),
            ("a*a", "a"),
        ] {
            assert!(!fits(pattern, tag), "{pattern} {tag}");
        }
        for wrong in ["", "a b", "v1/2", "v?", "日本"] {
            assert!(wrong.parse::<TagPattern>().is_err(), "{wrong}");
        }
        assert!("a".repeat(limit::PATTERN_BYTES).parse::<TagPattern>().is_ok());
        assert!("a".repeat(limit::PATTERN_BYTES + 1).parse::<TagPattern>().is_err());
    }
}
