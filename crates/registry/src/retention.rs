//! Which tags a repository keeps: pure.

use seaworthy_model::{ErrorCode, Problem, Timestamp};
use seaworthy_oci::{Algorithm, Digest, RepoName};
use serde::{Deserialize, Serialize};

use crate::{TagPattern, Untagged, fate::DAY_SECONDS, limit};

/// What the repositories below a prefix keep. Whatever one rule keeps stays; the rest goes when it is old.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRules {
    /// The tags that were set last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
    /// Tags whose manifest was pulled within so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_pulled_days: Option<u32>,
    /// Tags with such names; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_tags: Vec<TagPattern>,
    /// Other tags are removed when they were set longer ago; absent: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_older_than_days: Option<u32>,
    /// Manifests that nothing leads to are collected after so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untagged_days: Option<u32>,
    /// Or never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_untagged: Option<bool>,
}

impl RetentionRules {
    /// Refuses what nobody means.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let invalid = |message: String| Err(Problem::new(ErrorCode::Invalid, message));
        if self.keep_tags.len() > limit::PATTERNS {
            return invalid(format!("there are more than {} patterns of tags to keep", limit::PATTERNS));
        }
        if self.untagged_days.is_some() && self.keep_untagged == Some(true) {
            return invalid("`untagged_days` and `keep_untagged` exclude each other".to_owned());
        }
        if *self == Self::default() {
            return invalid("the rules say nothing".to_owned());
        }
        Ok(())
    }

    /// How long manifests stay that nothing leads to.
    pub(crate) fn untagged(&self, otherwise: Untagged) -> Untagged {
        match (self.keep_untagged, self.untagged_days) {
            (Some(true), _) => Untagged::Keep,
            (_, Some(days)) => Untagged::Days(days),
            _ => otherwise,
        }
    }
}

/// The rules of a repository: those of the longest prefix that it lies below.
pub(crate) fn rules_of<'r>(
    all: &'r [(String, RetentionRules)],
    repository: &RepoName,
) -> Option<&'r RetentionRules> {
    longest(all, repository).map(|(_, rules)| rules)
}

/// Whose rules those are; empty: of all repositories.
pub(crate) fn prefix_of<'r>(all: &'r [(String, RetentionRules)], repository: &RepoName) -> Option<&'r str> {
    longest(all, repository).map(|(prefix, _)| prefix.as_str())
}

fn longest<'r>(
    all: &'r [(String, RetentionRules)],
    repository: &RepoName,
) -> Option<&'r (String, RetentionRules)> {
    let name = repository.as_str();
    let covers = |prefix: &str| {
        prefix.is_empty()
            || name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    all.iter().filter(|(prefix, _)| covers(prefix)).max_by_key(|(prefix, _)| prefix.len())
}

/// What keeps a tag whatever the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exception {
    /// It, its manifest or its repository is locked.
    Locked,
    /// It is set once, by the rules of the repository.
    Immutable,
    /// A container runs its manifest.
    Runs,
}

/// What is known of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TagFacts {
    pub(crate) name: String,
    pub(crate) digest: Digest,
    /// When it was set to that.
    pub(crate) set_at: Timestamp,
    pub(crate) last_pull: Option<Timestamp>,
    /// It is a signature, or the like, of a manifest that is here: it stays as long as that, and takes no place.
    pub(crate) has_subject: bool,
    pub(crate) exception: Option<Exception>,
}

/// What becomes of a tag, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) keeps: bool,
    /// `locked`, `immutable`, `container`, `subject`, `keep_tags: v*`, `keep_last: 10`, `keep_pulled_days: 30`,
    /// `remove_older_than_days: 90`, or `no rule`.
    pub(crate) rule: String,
}

/// When a tag was set, and its name: of two that were set at the same time one is later.
pub(crate) type Place = (Timestamp, String);

/// Which tags of a repository were set last, as `keep_last` counts: those that were set when these were, or later.
/// Those that are named after a manifest take no place from others, and have one only among all: where nothing but
/// signatures is, they are what is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Newest {
    /// The last one of all that counts; `None`: none does.
    pub(crate) all: Option<Place>,
    /// The last one of those that are not named after a manifest.
    pub(crate) own: Option<Place>,
}

impl Newest {
    fn has(&self, tag: &TagFacts) -> bool {
        let is_in = |last: &Option<Place>| {
            let of = |(at, name): &Place| (*at, name.as_str()) <= (tag.set_at, tag.name.as_str());
            last.as_ref().is_some_and(of)
        };
        !tag.has_subject && (is_in(&self.all) || is_in(&self.own) && !names_another(&tag.name, &tag.digest))
    }
}

/// Decides about tags of a repository, in their order.
pub(crate) fn decide(
    rules: &RetentionRules,
    newest: &Newest,
    tags: &[TagFacts],
    now: Timestamp,
) -> Vec<Ruling> {
    let decide = |tag: &TagFacts| {
        let keeps = |rule: String| Ruling { keeps: true, rule };
        match tag.exception {
            Some(Exception::Locked) => return keeps("locked".to_owned()),
            Some(Exception::Immutable) => return keeps("immutable".to_owned()),
            Some(Exception::Runs) => return keeps("container".to_owned()),
            None if tag.has_subject => return keeps("subject".to_owned()),
            None => {}
        }
        if let Some(pattern) = rules.keep_tags.iter().find(|pattern| pattern.fits(&tag.name)) {
            return keeps(format!("keep_tags: {pattern}"));
        }
        if let Some(number) = rules.keep_last
            && newest.has(tag)
        {
            return keeps(format!("keep_last: {number}"));
        }
        if let (Some(days), Some(pulled)) = (rules.keep_pulled_days, tag.last_pull)
            && is_within(pulled, days, now)
        {
            return keeps(format!("keep_pulled_days: {days}"));
        }
        match rules.remove_older_than_days {
            None => keeps("no rule".to_owned()),
            Some(days) => Ruling {
                keeps: is_within(tag.set_at, days, now),
                rule: format!("remove_older_than_days: {days}"),
            },
        }
    };
    tags.iter().map(decide).collect()
}

fn is_within(at: Timestamp, days: u32, now: Timestamp) -> bool {
    at.plus_seconds(i64::from(days) * DAY_SECONDS) > now
}

/// True when a tag is named after a manifest that it does not point at, as a signature or a list of referrers is.
/// Some call an image itself `sha256-<hex>`.
pub(crate) fn names_another(tag: &str, digest: &Digest) -> bool {
    named_subject(tag).is_some_and(|subject| !digest.to_string().starts_with(&subject))
}

/// How the digest of the manifest begins that a tag is named after: by cosign, `sha256-<hex>.sig`, or by the
/// distribution spec ("Referrers Tag Schema"), `sha256-<hex>`, which has 64 characters of every hash.
fn named_subject(tag: &str) -> Option<String> {
    let name = tag.split_once('.').map_or(tag, |(name, _)| name);
    let (algorithm, hex) = name.split_once('-')?;
    let algorithm: Algorithm = algorithm.parse().ok()?;
    let is_hex = hex.len() == 64 && hex.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| format!("{}:{hex}", algorithm.name()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seaworthy_model::Timestamp;
    use seaworthy_oci::{Algorithm, Digest, Hasher};

    use super::{
        Exception, Newest, RetentionRules, Ruling, TagFacts, named_subject, names_another, rules_of,
    };
    use crate::{Untagged, fate::DAY_SECONDS, limit};

    const NOW: Timestamp = Timestamp::from_seconds(1_000_000_000);

    impl Newest {
        /// Of all tags of a repository, as its database says it.
        pub(crate) fn of(tags: &[TagFacts], most: u32) -> Self {
            let mut order: Vec<&TagFacts> = tags.iter().filter(|tag| !tag.has_subject).collect();
            order.sort_unstable_by(|a, b| (b.set_at, &b.name).cmp(&(a.set_at, &a.name)));
            let last = |order: &[&TagFacts]| {
                let tag = order.get((most as usize).checked_sub(1)?);
                let everything = (Timestamp::from_micros(i64::MIN), String::new());
                Some(tag.map_or(everything, |tag| (tag.set_at, tag.name.clone())))
            };
            let all = last(&order);
            order.retain(|tag| !names_another(&tag.name, &tag.digest));
            Self { all, own: last(&order) }
        }
    }

    fn decide(rules: &RetentionRules, tags: &[TagFacts], now: Timestamp) -> Vec<Ruling> {
        super::decide(rules, &Newest::of(tags, rules.keep_last.unwrap_or(0)), tags, now)
    }

    fn tag(name: &str, days_ago: i64) -> TagFacts {
        TagFacts {
            name: name.to_owned(),
            digest: Digest::sha256(name.as_bytes()),
            set_at: NOW.plus_seconds(-days_ago * DAY_SECONDS),
            last_pull: None,
            has_subject: false,
            exception: None,
        }
    }

    /// Signature and referrers of an image of that name.
    fn named(name: &str, days_ago: i64) -> [TagFacts; 2] {
        let hex = Digest::sha256(name.as_bytes()).hex();
        [format!("sha256-{hex}.sig"), format!("sha256-{hex}")].map(|name| tag(&name, days_ago))
    }

    fn check(rules: &str, tags: &[TagFacts], expected: &[(&str, bool)]) {
        let rules: RetentionRules = serde_json::from_str(rules).expect("rules");
        rules.check().expect("meaningful");
        let rulings = decide(&rules, tags, NOW);
        let actual: Vec<(&str, bool)> = rulings.iter().map(|it| (it.rule.as_str(), it.keeps)).collect();
        assert_eq!(actual, expected);
    }

    #[test]
    fn each_rule_says_what_it_keeps() {
        let pulled = TagFacts { last_pull: Some(NOW.plus_seconds(-3 * DAY_SECONDS)), ..tag("pulled", 99) };
        let locked = TagFacts { exception: Some(Exception::Locked), ..tag("locked", 99) };
        let runs = TagFacts { exception: Some(Exception::Runs), ..tag("runs", 99) };
        let frozen = TagFacts { exception: Some(Exception::Immutable), ..tag("frozen", 99) };
        check(r#"{"remove_older_than_days":1}"#, &[frozen], &[("immutable", true)]);
        let signature = TagFacts { has_subject: true, ..tag("sig", 99) };
        let tags =
            [tag("new", 1), tag("v1", 99), pulled, locked, runs, signature, tag("old", 90), tag("edge", 30)];
        let rules = r#"{"keep_last":1,"keep_pulled_days":7,"keep_tags":["v*"],"remove_older_than_days":31}"#;
        let old = "remove_older_than_days: 31";
        let expected = [
            ("keep_last: 1", true),
            ("keep_tags: v*", true),
            ("keep_pulled_days: 7", true),
            ("locked", true),
            ("container", true),
            ("subject", true),
            (old, false),
            (old, true),
        ];
        check(rules, &tags, &expected);
        check(
            r#"{"keep_last":1}"#,
            &[tag("a", 1), tag("b", 99)],
            &[("keep_last: 1", true), ("no rule", true)],
        );
        check(
            r#"{"remove_older_than_days":30}"#,
            &[tag("edge", 30)],
            &[("remove_older_than_days: 30", false)],
        );
    }

    #[test]
    fn the_longest_prefix_counts() {
        let rules = |days| RetentionRules { untagged_days: Some(days), ..RetentionRules::default() };
        let all =
            [(String::new(), rules(1)), ("prod".to_owned(), rules(2)), ("prod/web".to_owned(), rules(3))];
        for (repository, days) in
            [("dev", 1), ("prod", 2), ("prod/api", 2), ("prod/web/x", 3), ("production", 1)]
        {
            let found = rules_of(&all, &repository.parse().expect("name")).expect("rules");
            assert_eq!(found.untagged(Untagged::Keep), Untagged::Days(days), "{repository}");
        }
        assert!(rules_of(&[], &"a".parse().expect("name")).is_none());
    }

    #[test]
    fn rules_are_bounded() {
        let with = |count: usize| RetentionRules {
            keep_tags: vec!["v*".parse().expect("a pattern"); count],
            ..RetentionRules::default()
        };
        assert!(with(limit::PATTERNS).check().is_ok());
        assert!(with(limit::PATTERNS + 1).check().is_err());
        assert!(RetentionRules::default().check().is_err(), "they say nothing");
        let both =
            RetentionRules { keep_untagged: Some(true), untagged_days: Some(1), ..RetentionRules::default() };
        assert!(both.check().is_err());
    }

    #[test]
    fn signatures_are_named_after_their_subject() {
        let image = Digest::sha256(b"x");
        let hex = image.hex();
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"x");
        let long = hasher.finish();
        let cut = long.hex().get(..64).expect("long").to_owned();
        for suffix in ["", ".sig", ".att", ".sbom", ".v1.json"] {
            let named = named_subject(&format!("sha256-{hex}{suffix}"));
            assert_eq!(named, Some(image.to_string()), "{suffix}");
        }
        assert_eq!(named_subject(&format!("sha512-{cut}")), Some(format!("sha512:{cut}")));
        let short = hex.get(1..).expect("long");
        let others = [
            "v1.2".to_owned(),
            "sha256-12.sig".to_owned(),
            format!("sha256-{short}"),
            format!("sha256-{hex}0"),
            format!("sha256-{hex}-sig"),
            format!("sha256-{}", hex.to_uppercase()),
            format!("md5-{hex}"),
            hex.clone(),
        ];
        for other in others {
            assert_eq!(named_subject(&other), None, "{other}");
        }
        let (sig, other) = (format!("sha256-{hex}.sig"), Digest::sha256(b"y"));
        assert!(names_another(&sig, &other));
        assert!(!names_another(&sig, &image), "itself");
        assert!(names_another(&format!("sha512-{cut}"), &other));
        assert!(!names_another(&format!("sha512-{cut}"), &long), "itself");
    }

    #[test]
    fn signatures_take_no_place() {
        let rules = r#"{"keep_last":2,"remove_older_than_days":0}"#;
        let (last, old, subject) = ("keep_last: 2", "remove_older_than_days: 0", "subject");
        let mut tags = vec![tag("v1", 3)];
        for (name, days) in [("v2", 2), ("v3", 1)] {
            tags.push(tag(name, days));
            tags.extend(named(name, days));
        }
        // Their images are elsewhere or gone: they have the places that are left, and take none.
        let expected = [
            (old, false),
            (last, true),
            (old, false),
            (old, false),
            (last, true),
            (last, true),
            (old, false),
        ];
        check(rules, &tags, &expected);
        for it in tags.iter_mut().filter(|it| names_another(&it.name, &it.digest)) {
            it.has_subject = true;
        }
        let expected = [
            (old, false),
            (last, true),
            (subject, true),
            (subject, true),
            (last, true),
            (subject, true),
            (subject, true),
        ];
        check(rules, &tags, &expected);
        // Nothing but signatures.
        let alone = [named("a", 3), named("b", 2)].concat();
        check(rules, &alone, &[(old, false), (old, false), (last, true), (last, true)]);
        // An image that is called by its own digest is one like others.
        let mut itself = named("a", 1);
        for it in &mut itself {
            it.digest = Digest::sha256(b"a");
        }
        let tags = [itself.to_vec(), vec![tag("v1", 2)]].concat();
        check(rules, &tags, &[(last, true), (last, true), (old, false)]);
    }

    prop_compose! {
        fn any_tag()(days in 0i64..100, pulled in proptest::option::of(0i64..100), odd in 0u8..8)
            -> TagFacts {
            let exception = match odd {
                0 => Some(Exception::Locked),
                1 => Some(Exception::Runs),
                _ => None,
            };
            let last_pull = pulled.map(|days| NOW.plus_seconds(-days * DAY_SECONDS));
            TagFacts { last_pull, exception, has_subject: odd == 2, ..tag("", days) }
        }
    }

    /// Names that people give, and those of signatures.
    fn any_name() -> impl Strategy<Value = String> {
        let signature = |(of, suffix): (u8, &str)| format!("sha256-{}{suffix}", Digest::sha256(&[of]).hex());
        prop_oneof![
            "[a-c]{1,3}",
            (0u8..3, prop_oneof![Just(""), Just(".sig"), Just(".att")]).prop_map(signature),
        ]
    }

    proptest! {
        #[test]
        fn what_is_removed_is_old_and_wanted_by_nothing(
            tags in proptest::collection::btree_map(any_name(), any_tag(), 0..20),
            (last, pulled, old) in (0u32..6, 0u32..60, 0u32..60),
        ) {
            let tags: Vec<TagFacts> = tags.into_iter().map(|(name, tag)| TagFacts { name, ..tag }).collect();
            let rules = RetentionRules {
                keep_last: Some(last),
                keep_pulled_days: Some(pulled),
                keep_tags: vec!["a*".parse().expect("a pattern")],
                remove_older_than_days: Some(old),
                ..RetentionRules::default()
            };
            let rulings = decide(&rules, &tags, NOW);
            let ago = |at: Timestamp| (NOW.as_seconds() - at.as_seconds()) / DAY_SECONDS;
            let mut left = Vec::new();
            for (tag, ruling) in tags.iter().zip(&rulings) {
                if ruling.keeps {
                    left.push(tag.clone());
                    continue;
                }
                prop_assert!(tag.exception.is_none() && !tag.has_subject && !tag.name.starts_with('a'));
                prop_assert!(ago(tag.set_at) >= i64::from(old));
                prop_assert!(tag.last_pull.is_none_or(|at| ago(at) >= i64::from(pulled)));
                let is_named = names_another(&tag.name, &tag.digest);
                let counts = |it: &&TagFacts| !it.has_subject && (is_named || !names_another(&it.name, &it.digest));
                let newer = |it: &&TagFacts| (it.set_at, &it.name) > (tag.set_at, &tag.name);
                prop_assert!(tags.iter().filter(counts).filter(newer).count() >= last as usize);
            }
            // Without signatures it is the same for the others.
            let plain = |it: &TagFacts| !it.has_subject && !names_another(&it.name, &it.digest);
            let others: Vec<TagFacts> = tags.iter().filter(|it| plain(it)).cloned().collect();
            let theirs: Vec<Ruling> =
                tags.iter().zip(&rulings).filter(|(it, _)| plain(it)).map(|(_, ruling)| ruling.clone()).collect();
            prop_assert_eq!(decide(&rules, &others, NOW), theirs);
            // Nothing more goes the second time, and the order of the tags says nothing.
            prop_assert!(decide(&rules, &left, NOW).iter().all(|ruling| ruling.keeps));
            let mut turned = tags.clone();
            turned.reverse();
            let mut again = decide(&rules, &turned, NOW);
            again.reverse();
            prop_assert_eq!(again, rulings);
        }
    }
}
