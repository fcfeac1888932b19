//! Why a rule came out as it did, as data; and the same in words, English and Japanese.
//! A cause without a text in either language does not compile.

use seaworthy_model::{Finding, ProblemCode, Severity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Weakness, limit};

/// A language of the product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Japanese.
    Japanese,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// Vulnerabilities.
    Any,
    /// With a fixed version.
    Fixable,
    /// Known to be exploited.
    Exploited,
    /// Of a severity or above.
    AtOrAbove(Severity),
}

/// One finding in a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Vulnerability.
    pub id: String,
    /// Source package.
    pub source: String,
    /// Installed version.
    pub version: String,
    /// First fixed version.
    pub fixed: Option<String>,
}

impl From<&Finding> for Example {
    fn from(finding: &Finding) -> Self {
        Self {
            id: finding.id.clone(),
            source: finding.source.clone(),
            version: finding.version.clone(),
            fixed: finding.fixed_version.clone(),
        }
    }
}

/// Why a rule came out as it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// What was asked holds.
    Holds,
    /// It does not hold, and an exception accepts that.
    Excepted {
        /// Who answers for it.
        owner: String,
        /// Until when.
        until: Timestamp,
    },
    /// More than the bound.
    TooMany {
        /// Of what.
        count: Count,
        /// How many.
        found: u32,
        /// How many may be.
        max: u32,
        /// Some of them.
        examples: Vec<Example>,
    },
    /// Nobody rated so many of them.
    Unrated {
        /// How many.
        found: u32,
    },
    /// Secrets in layers.
    Secrets {
        /// How many.
        found: u32,
        /// How many may be.
        max: u32,
        /// Some of their paths.
        paths: Vec<String>,
    },
    /// There is no inventory yet, or no match.
    NotInspected,
    /// Something could not be read.
    Problems {
        /// The first one.
        code: ProblemCode,
        /// Its layer.
        layer: Option<u32>,
        /// What happened.
        message: String,
        /// How many there are.
        found: u32,
    },
    /// No loaded feed covers the release.
    Uncovered {
        /// `deb:debian:12`, or what the image says of itself.
        release: String,
    },
    /// Ecosystems without a reader.
    NoReader {
        /// Their names.
        ecosystems: Vec<String>,
    },
    /// The rule needs a feed that is not loaded.
    NoFeed {
        /// Its name.
        feed: String,
    },
    /// The feed was not checked in time.
    Stale {
        /// The feed.
        feed: String,
        /// When it was.
        checked_at: Timestamp,
    },
    /// The release is not supported.
    Unsupported {
        /// Its name.
        os: String,
        /// Since when.
        ended: Timestamp,
    },
    /// Whether the release is supported is not known.
    UnknownOs {
        /// Its name.
        os: String,
    },
    /// Executables that no package owns.
    Unowned {
        /// How many.
        found: u32,
        /// How many may be.
        max: u32,
    },
    /// A container runs what was never pushed here.
    Unmapped {
        /// What it was started from, by the engine's word.
        named: Option<String>,
    },
    /// A container's settings weaken it.
    Weak {
        /// Some of them.
        weaknesses: Vec<Weakness>,
        /// How many there are.
        found: u32,
    },
    /// A container's image is from a registry that the rule does not list.
    Registry {
        /// What it was started from.
        named: String,
    },
    /// Nobody says which registry a container's image is from.
    Nameless,
}

impl Cause {
    /// The cause in words: lower case, no final period.
    pub fn message(&self, language: Language) -> String {
        match language {
            Language::English => self.english(),
            Language::Japanese => self.japanese(),
        }
    }

    /// What to do about it; empty when there is nothing to do.
    pub fn hint(&self, language: Language) -> Option<&'static str> {
        let (english, japanese) = match self {
            Self::Holds | Self::Excepted { .. } => return None,
            Self::TooMany { .. } => (
                "rebuild on a current base, or `seaworthy exception request …`",
                "最新の基本イメージで再ビルドするか、`seaworthy exception request …` を実行してください",
            ),
            Self::Unrated { .. } => (
                "import a feed that rates them, or `seaworthy exception request …`",
                "重大度を含むフィードを取り込むか、`seaworthy exception request …` を実行してください",
            ),
            Self::Secrets { .. } => (
                "revoke the secret, rebuild without it in any layer, or `seaworthy exception request …`",
                "秘密情報を失効させ、どのレイヤーにも含めずに再ビルドするか、`seaworthy exception request …` を実行してください",
            ),
            Self::NotInspected => {
                ("inspection is under way, try again", "検査中です。しばらくしてから再試行してください")
            }
            Self::Problems { .. } => {
                ("rebuild and push the image again", "イメージを再ビルドして、もう一度プッシュしてください")
            }
            Self::Uncovered { .. } | Self::NoFeed { .. } => (
                "import a feed with `seaworthy advisories import PATH`",
                "`seaworthy advisories import PATH` でフィードを取り込んでください",
            ),
            Self::NoReader { .. } => (
                "these packages cannot be judged yet: remove them, or `seaworthy exception request …`",
                "これらのパッケージはまだ判定できません。取り除くか、`seaworthy exception request …` を実行してください",
            ),
            Self::Stale { .. } => (
                "import the feed again with `seaworthy advisories import PATH`",
                "`seaworthy advisories import PATH` でフィードを取り込み直してください",
            ),
            Self::Unsupported { .. } | Self::UnknownOs { .. } => {
                ("rebuild on a supported release", "サポート中のリリースで再ビルドしてください")
            }
            Self::Unmapped { .. } | Self::Registry { .. } | Self::Nameless => (
                "push the image to this registry and start the container from there",
                "イメージをこのレジストリへプッシュし、そこからコンテナーを起動してください",
            ),
            Self::Weak { .. } => (
                "start the container without these settings, or `seaworthy exception request …`",
                "これらの設定なしでコンテナーを起動するか、`seaworthy exception request …` を実行してください",
            ),
            Self::Unowned { .. } => {
                ("install programs from packages", "プログラムはパッケージから導入してください")
            }
        };
        Some(match language {
            Language::English => english,
            Language::Japanese => japanese,
        })
    }

    fn english(&self) -> String {
        match self {
            Self::Holds => "holds".into(),
            Self::Excepted { owner, until } => format!("accepted by an exception of {owner} until {until}"),
            Self::TooMany { count, found, examples, max } => {
                let noun = if *found == 1 { "vulnerability" } else { "vulnerabilities" };
                let bound = if *max == 0 { String::new() } else { format!(", at most {max} allowed") };
                let what = match count {
                    Count::Any => format!("{found} {noun}"),
                    Count::Fixable => format!("{found} fixable {noun}"),
                    Count::Exploited => format!("{found} {noun} known to be exploited"),
                    Count::AtOrAbove(severity) => format!("{found} {noun} rated {severity} or above"),
                };
                format!("{what} ({}){bound}", list(examples, *found))
            }
            Self::Unrated { found } => format!("{found} vulnerabilities that nobody rated"),
            Self::Secrets { found, paths, .. } => {
                format!(
                    "{found} {} ({})",
                    if *found == 1 { "secret" } else { "secrets" },
                    join(paths, *found)
                )
            }
            Self::NotInspected => "the image is not inspected yet".into(),
            Self::Problems { code, layer, message, found } => {
                let at = layer.map(|layer| format!(" in layer {layer}")).unwrap_or_default();
                let more = if *found > 1 { format!(" and {} more", found - 1) } else { String::new() };
                format!("{}{at}: {message}{more}", code.name())
            }
            Self::Uncovered { release } => format!("no loaded feed covers {release}"),
            Self::NoReader { ecosystems } => format!("no reader for {}", ecosystems.join(", ")),
            Self::NoFeed { feed } => format!("the feed `{feed}` is not loaded"),
            Self::Stale { feed, checked_at } => format!("the feed `{feed}` was last checked at {checked_at}"),
            Self::Unsupported { os, ended } => format!("support of {os} ended on {}", ended.date()),
            Self::UnknownOs { os } => format!("it is not known how long {os} is supported"),
            Self::Unowned { found, .. } => format!("{found} executables that no package owns"),
            Self::Unmapped { named: Some(named) } => format!("what runs as `{named}` was never pushed here"),
            Self::Unmapped { named: None } => "what runs was never pushed here".into(),
            Self::Weak { weaknesses, found } => {
                let texts: Vec<String> = weaknesses.iter().map(|it| it.message(Language::English)).collect();
                format!("the container {}", join(&texts, *found))
            }
            Self::Registry { named } => format!("`{named}` is not from an approved registry"),
            Self::Nameless => "it is not said which registry the image is from".into(),
        }
    }

    fn japanese(&self) -> String {
        match self {
            Self::Holds => "条件を満たしています".into(),
            Self::Excepted { owner, until } => {
                format!("{owner} の例外承認により {until} まで許可されています")
            }
            Self::TooMany { count, found, examples, max } => {
                let bound = if *max == 0 { String::new() } else { format!("、上限 {max} 件") };
                let what = match count {
                    Count::Any => format!("脆弱性 {found} 件"),
                    Count::Fixable => format!("修正可能な脆弱性 {found} 件"),
                    Count::Exploited => format!("悪用が確認されている脆弱性 {found} 件"),
                    Count::AtOrAbove(severity) => format!("重大度 {severity} 以上の脆弱性 {found} 件"),
                };
                format!("{what} ({}){bound}", list(examples, *found))
            }
            Self::Unrated { found } => format!("重大度が不明な脆弱性 {found} 件"),
            Self::Secrets { found, paths, .. } => format!("秘密情報 {found} 件 ({})", join(paths, *found)),
            Self::NotInspected => "イメージはまだ検査されていません".into(),
            Self::Problems { code, layer, message, found } => {
                let at = layer.map(|layer| format!(" (レイヤー {layer})")).unwrap_or_default();
                let more = if *found > 1 { format!("、ほか {} 件", found - 1) } else { String::new() };
                format!("{}{at}: {message}{more}", code.name())
            }
            Self::Uncovered { release } => format!("{release} を判定範囲に含むフィードがありません"),
            Self::NoReader { ecosystems } => format!("{} はまだ読み取れません", ecosystems.join(", ")),
            Self::NoFeed { feed } => format!("フィード `{feed}` が取り込まれていません"),
            Self::Stale { feed, checked_at } => format!("フィード `{feed}` の最終確認は {checked_at} です"),
            Self::Unsupported { os, ended } => format!("{os} のサポートは {} に終了しました", ended.date()),
            Self::UnknownOs { os } => format!("{os} のサポート期限が不明です"),
            Self::Unowned { found, .. } => format!("どのパッケージにも属さない実行ファイル {found} 件"),
            Self::Unmapped { named: Some(named) } => {
                format!("`{named}` として動作している内容はこのレジストリにありません")
            }
            Self::Unmapped { named: None } => "動作している内容はこのレジストリにありません".into(),
            Self::Weak { weaknesses, found } => {
                let texts: Vec<String> = weaknesses.iter().map(|it| it.message(Language::Japanese)).collect();
                format!("コンテナーの設定: {}", join(&texts, *found))
            }
            Self::Registry { named } => format!("`{named}` は承認済みレジストリのものではありません"),
            Self::Nameless => "イメージの取得元レジストリが示されていません".into(),
        }
    }
}

fn list(examples: &[Example], found: u32) -> String {
    let texts: Vec<String> = examples
        .iter()
        .map(|it| match &it.fixed {
            Some(fixed) => format!("{} {} {} → {fixed}", it.id, it.source, it.version),
            None => format!("{} {} {}", it.id, it.source, it.version),
        })
        .collect();
    join(&texts, found)
}

fn join(texts: &[String], found: u32) -> String {
    let shown = texts.iter().take(limit::EXAMPLES).cloned().collect::<Vec<_>>();
    let more = if found as usize > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_some_and_says_that_there_are_more() {
        let message = |found: usize| {
            let paths: Vec<String> = (0..found).map(|at| format!("f{at}")).collect();
            join(&paths, u32::try_from(found).expect("small"))
        };
        assert_eq!(message(limit::EXAMPLES), "f0, f1, f2, f3, f4");
        assert_eq!(message(limit::EXAMPLES + 1), "f0, f1, f2, f3, f4, …");
    }
}
