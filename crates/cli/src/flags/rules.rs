//! Flags of the registry's own settings.

use clap::Subcommand;

/// Verbs of `registry rules`.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesVerb {
    /// List rules
    List,
    /// Set the rules of a prefix, instead of those that it has
    #[command(
        after_help = "PREFIX is a repository with all that lies below it; `*` is all of them. All rules that cover a
repository hold. In a pattern `*` stands for any letters.
Examples:
  seaworthy registry rules set prod --promotion-only --immutable 'v*'
  seaworthy registry rules set '*' --immutable '*-release'
  seaworthy registry rules set team --quota-bytes 200GiB --quota-tags 5000"
    )]
    Set {
        /// Repository, with all below it; `*` is all of them
        prefix: String,
        /// Nobody pushes there: images come by `image promote`
        #[arg(long)]
        promotion_only: bool,
        /// What is pushed there is hidden until `image release`
        #[arg(long)]
        quarantine: bool,
        /// Tags that are set once, and neither moved nor deleted
        #[arg(long, value_name = "PATTERN")]
        immutable: Vec<String>,
        /// The most bytes that they hold together, such as 200GiB
        #[arg(long, value_name = "BYTES", value_parser = bytes)]
        quota_bytes: Option<u64>,
        /// The most tags that they have together
        #[arg(long, value_name = "N")]
        quota_tags: Option<u64>,
        /// The most repositories that there are
        #[arg(long, value_name = "N")]
        quota_repositories: Option<u64>,
    },
    /// Remove the rules of a prefix
    Remove {
        /// Repository, with all below it; `*` is all of them
        prefix: String,
    },
}

/// `1048576`, `200GiB` or `500MB`.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no number of bytes; write one like 200GiB, 500MB or 1048576");
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
    use super::*;

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
