//! Some rules of a prefix, with the others as they are.

use seaworthy_model::Prefix;
use serde::{Deserialize, Deserializer};

use super::{RepositoryRules, TagPattern};
use crate::quota::Quota;

/// What is said of a rule: nothing leaves it, null takes it away (RFC 7396).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Said<T> {
    /// It stays as it is.
    #[default]
    Nothing,
    /// It becomes this.
    Value(T),
}

impl<T> Said<T> {
    fn or(self, before: T) -> T {
        match self {
            Self::Nothing => before,
            Self::Value(value) => value,
        }
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Said<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|it| Self::Value(it.unwrap_or_default()))
    }
}

/// Rules of one prefix that become others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesChange {
    /// Which repositories.
    pub prefix: Prefix,
    /// As [`RepositoryRules::promotion_only`].
    #[serde(default)]
    pub promotion_only: Said<bool>,
    /// All patterns, as [`RepositoryRules::immutable`].
    #[serde(default)]
    pub immutable: Said<Vec<TagPattern>>,
    /// As [`RepositoryRules::quarantine`].
    #[serde(default)]
    pub quarantine: Said<bool>,
    /// Which numbers; null takes them all away.
    #[serde(default)]
    pub quota: Said<Option<QuotaChange>>,
}

/// Numbers of a quota that become others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaChange {
    /// As [`Quota::bytes`].
    #[serde(default)]
    pub bytes: Said<Option<u64>>,
    /// As [`Quota::tags`].
    #[serde(default)]
    pub tags: Said<Option<u64>>,
    /// As [`Quota::repositories`].
    #[serde(default)]
    pub repositories: Said<Option<u64>>,
}

impl RulesChange {
    /// The rules with what is changed of them.
    pub(super) fn of(self, before: RepositoryRules) -> RepositoryRules {
        let quota = match self.quota {
            Said::Nothing => before.quota,
            Said::Value(None) => Quota::default(),
            Said::Value(Some(change)) => Quota {
                bytes: change.bytes.or(before.quota.bytes),
                tags: change.tags.or(before.quota.tags),
                repositories: change.repositories.or(before.quota.repositories),
            },
        };
        RepositoryRules {
            prefix: before.prefix,
            promotion_only: self.promotion_only.or(before.promotion_only),
            immutable: self.immutable.or(before.immutable),
            quarantine: self.quarantine.or(before.quarantine),
            quota,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let before = json!({"prefix": "a", "promotion_only": true, "immutable": ["v*"], "quarantine": true,
            "quota": {"bytes": 5, "tags": 6}});
        let check = |change: Value, expected: Value| {
            let mut asked = json!({"prefix": "a"});
            for (key, value) in change.as_object().expect("an object") {
                asked[key] = value.clone();
            }
            let change: RulesChange = serde_json::from_value(asked).expect("a change");
            let mut wanted = before.clone();
            for (key, value) in expected.as_object().expect("an object") {
                wanted[key] = value.clone();
            }
            let rules = change.of(serde_json::from_value(before.clone()).expect("rules"));
            let wanted: RepositoryRules = serde_json::from_value(wanted).expect("rules");
            assert_eq!(rules, wanted);
        };
        let as_they_were = json!({});
        check(json!({}), as_they_were.clone());
        check(json!({"quota": {}}), as_they_were);
        check(json!({"quota": {"bytes": 9}}), json!({"quota": {"bytes": 9, "tags": 6}}));
        check(
            json!({"quota": {"bytes": null, "repositories": 0}}),
            json!({"quota": {"tags": 6, "repositories": 0}}),
        );
        check(json!({"quota": null}), json!({"quota": {}}));
        check(json!({"quarantine": false}), json!({"quarantine": false}));
        check(json!({"promotion_only": null}), json!({"promotion_only": false}));
        check(json!({"immutable": ["x"]}), json!({"immutable": ["x"]}));
        check(json!({"immutable": []}), json!({"immutable": []}));
        for wrong in [
            "{}",
            r#"{"prefix":"a","lock":1}"#,
            r#"{"prefix":"a","quota":{"lock":1}}"#,
            r#"{"prefix":"a","quarantine":false,"quarantine":true}"#,
            r#"{"prefix":"a","immutable":["v 1"]}"#,
        ] {
            assert!(serde_json::from_str::<RulesChange>(wrong).is_err(), "{wrong}");
        }
    }
}
