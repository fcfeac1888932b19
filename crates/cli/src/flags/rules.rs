//! Flags of the registry's own settings.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Verbs of `registry rules`.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesVerb {
    /// List rules
    List,
    /// Set rules of a prefix; those that are not named stay
    #[command(
        after_help = "PREFIX is a repository with all that lies below it; `*` is all of them. All rules that cover a
repository hold. In a pattern `*` stands for any letters. `--immutable` names all patterns.
`--promotion-only=false`, `--quarantine=false`, `--immutable ''` and `none` as a quota take a rule away.
Examples:
  seaworthy registry rules set prod --promotion-only --immutable 'v*'
  seaworthy registry rules set '*' --immutable '*-release'
  seaworthy registry rules set team --quota-bytes 200GiB --quota-tags none"
    )]
    Set(RulesFlags),
    /// Remove the rules of a prefix
    #[command(visible_alias = "delete")]
    Remove {
        /// Repository, with all below it; `*` is all of them
        prefix: String,
    },
}

/// What becomes of the rules of a prefix.
#[derive(Debug, Args)]
pub(crate) struct RulesFlags {
    /// Repository, with all below it; `*` is all of them
    prefix: String,
    /// Nobody pushes there: images come by `image promote`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    promotion_only: Option<bool>,
    /// What is pushed there is hidden until `image release`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    quarantine: Option<bool>,
    /// Tags that are set once, and neither moved nor deleted
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    immutable: Option<Vec<String>>,
    /// The most bytes that they hold together, such as 200GiB
    #[arg(long, value_name = "BYTES", value_parser = most_bytes)]
    quota_bytes: Option<Most>,
    /// The most tags that they have together
    #[arg(long, value_name = "N", value_parser = most)]
    quota_tags: Option<Most>,
    /// The most repositories that there are
    #[arg(long, value_name = "N", value_parser = most)]
    quota_repositories: Option<Most>,
}

impl RulesFlags {
    /// A merge patch: null takes a rule away.
    pub(crate) fn change(self) -> Value {
        let mut body = json!({"prefix": self.prefix, "quota": {}});
        let immutable = self.immutable.map(|mut it| {
            it.retain(|pattern| !pattern.is_empty());
            json!(it)
        });
        for (rule, value) in [
            ("/promotion_only", self.promotion_only.map(Value::from)),
            ("/quarantine", self.quarantine.map(Value::from)),
            ("/immutable", immutable),
            ("/quota/bytes", self.quota_bytes.map(|it| json!(it.0))),
            ("/quota/tags", self.quota_tags.map(|it| json!(it.0))),
            ("/quota/repositories", self.quota_repositories.map(|it| json!(it.0))),
        ] {
            let (parent, key) = rule.rsplit_once('/').unwrap_or_default();
            if let (Some(value), Some(Value::Object(fields))) = (value, body.pointer_mut(parent)) {
                fields.insert(key.to_owned(), value);
            }
        }
        body
    }
}

/// Quotas end with `none`, and patterns do not.
fn pattern(text: &str) -> Result<String, String> {
    match text {
        "none" => Err("`none` is no pattern; `--immutable ''` takes all patterns away".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// A number, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Most(Option<u64>);

fn most(text: &str) -> Result<Most, String> {
    match text {
        "none" => Ok(Most(None)),
        _ => match text.parse() {
            Ok(number) => Ok(Most(Some(number))),
            Err(_) => Err(format!("`{text}` is no number, nor `none`")),
        },
    }
}

fn most_bytes(text: &str) -> Result<Most, String> {
    if text == "none" { Ok(Most(None)) } else { bytes(text).map(|number| Most(Some(number))) }
}

/// `1048576`, `200GiB` or `500MB`.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is no number of bytes; write one like 200GiB, 500MB or 1048576, or `none`");
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|it| i64::try_from(*it).is_ok()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        flags: RulesFlags,
    }

    #[test]
    fn what_is_named_changes() {
        let check = |words: &[&str], expected: Value| {
            let words = ["set"].iter().chain(words);
            assert_eq!(Words::try_parse_from(words).expect("flags").flags.change(), expected);
        };
        check(&["a"], json!({"prefix": "a", "quota": {}}));
        check(
            &["--promotion-only", "--quarantine", "a", "--immutable", "v*", "--immutable", "x"],
            json!({"prefix": "a", "promotion_only": true, "quarantine": true, "immutable": ["v*", "x"], "quota": {}}),
        );
        check(
            &["a", "--promotion-only=false", "--quarantine=false", "--immutable", ""],
            json!({"prefix": "a", "promotion_only": false, "quarantine": false, "immutable": [], "quota": {}}),
        );
        check(
            &["a", "--quota-bytes", "1KiB", "--quota-tags", "none", "--quota-repositories", "0"],
            json!({"prefix": "a", "quota": {"bytes": 1024, "tags": null, "repositories": 0}}),
        );
        check(&["a", "--quota-bytes", "none"], json!({"prefix": "a", "quota": {"bytes": null}}));
        for wrong in [
            ["a", "--quota-tags=-1"],
            ["a", "--quota-tags=some"],
            ["a", "--quarantine=no"],
            ["a", "--immutable=none"],
        ] {
            assert!(Words::try_parse_from(["set"].iter().chain(&wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_have_units() {
        for (text, number) in [
            ("0", 0),
            ("12", 12),
            ("1KiB", 1_024),
            ("200 GiB", 200 << 30),
            ("5MB", 5_000_000),
            ("8191TiB", 8191 << 40),
        ] {
            assert_eq!(bytes(text), Ok(number), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "1gib", "8388608TiB", "99999999999999999999", "1 0"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
