//! Problems in Japanese. The key is the English text as it stands in the code, each argument
//! written `{}`; a Japanese text names them `{0}`, `{1}`. A problem whose text is not here still
//! gets the Japanese headline of its code. A test reads the sources and names what is missing.

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_policy::Language;

use crate::{japanese_registry, japanese_texts, japanese_transfer, limit};

/// All texts: one table would be too long a file.
fn texts() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    japanese_texts::TEXTS.iter().chain(japanese_registry::TEXTS).chain(japanese_transfer::TEXTS)
}

/// The problem in `language`, as its reader should see it. What is Japanese already stays.
pub fn problem(problem: Problem, language: Language) -> Problem {
    if language == Language::English || is_japanese(&problem.message) {
        return problem;
    }
    let message = translate(&problem.message, limit::CAUSES)
        .unwrap_or_else(|| format!("{}: {}", headline(problem.code), problem.message));
    let hint = problem.hint.map(|hint| translate(&hint, limit::CAUSES).unwrap_or(hint));
    Problem { message, hint, ..problem }
}

/// A text that is no problem, such as a remedy, in `language`; as it is when there is none.
pub fn text(text: String, language: Language) -> String {
    if language == Language::English {
        return text;
    }
    let halves = text.split_once(": ").and_then(|(verdict, advice)| {
        Some(format!("{}: {}", translate(verdict, limit::CAUSES)?, translate(advice, limit::CAUSES)?))
    });
    halves.or_else(|| translate(&text, limit::CAUSES)).unwrap_or(text)
}

/// Kana or kanji outside of names, which stand in backticks.
fn is_japanese(text: &str) -> bool {
    let outside = text.split('`').step_by(2);
    outside.flat_map(str::chars).any(|c| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}'))
}

const fn headline(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Invalid => "要求が正しくありません",
        ErrorCode::Unauthorized => "認証が必要です",
        ErrorCode::Denied => "許可されていません",
        ErrorCode::NotFound => "見つかりません",
        ErrorCode::Conflict => "既に存在するか、変更されています",
        ErrorCode::PasswordRequired => "パスワードの設定が必要です",
        ErrorCode::StepUp => "もう一度パスワードが必要です",
        ErrorCode::Unsupported => "この操作はできません",
        ErrorCode::PreconditionFailed => "前提条件が満たされていません",
        ErrorCode::Locked => "ロックされています",
        ErrorCode::TooLarge => "大きすぎます",
        ErrorCode::UriTooLong => "URL が長すぎます",
        ErrorCode::TooManyRequests => "要求が多すぎます",
        ErrorCode::RangeInvalid => "範囲が正しくありません",
        ErrorCode::RangeUnsatisfiable => "その範囲にはデータがありません",
        ErrorCode::Blocked => "ブロックされています",
        ErrorCode::Pending => "判定待ちです",
        ErrorCode::NoSpace => "ディスクの空きがありません",
        ErrorCode::Unavailable => "現在利用できません",
        ErrorCode::Internal => "内部エラーです",
        ErrorCode::BlobUnknown => "blob が見つかりません",
        ErrorCode::BlobUploadInvalid => "アップロードが正しくありません",
        ErrorCode::BlobUploadUnknown => "アップロードが見つかりません",
        ErrorCode::DigestInvalid => "ダイジェストが一致しません",
        ErrorCode::ManifestBlobUnknown => "マニフェストが参照する blob がありません",
        ErrorCode::ManifestInvalid => "マニフェストが正しくありません",
        ErrorCode::ManifestUnknown => "マニフェストが見つかりません",
        ErrorCode::NameInvalid => "リポジトリ名が正しくありません",
        ErrorCode::NameUnknown => "リポジトリが見つかりません",
        ErrorCode::SizeInvalid => "サイズが一致しません",
    }
}

/// The whole text by the most specific key, else cause by cause, as `a: b: c` was put together.
fn translate(text: &str, causes: usize) -> Option<String> {
    if text.len() > limit::TRANSLATED_BYTES || causes == 0 {
        return None;
    }
    let literal = |key: &str| key.replace("{}", "").len();
    let found = texts()
        .filter_map(|(key, japanese)| Some((literal(key), *key, *japanese, captures(key, text)?)))
        .max_by_key(|(specific, ..)| *specific);
    if let Some((_, key, japanese, arguments)) = found {
        return Some(fill(key, japanese, &arguments, causes));
    }
    text.match_indices(": ").find_map(|(at, _)| {
        let (first, rest) = (text.get(..at)?, text.get(at + 2..)?);
        // A file or a place before the cause stays as it is.
        let place = || (!first.contains(' ')).then(|| first.to_owned());
        let first = translate(first, causes - 1).or_else(place)?;
        Some(format!("{first}: {}", translate(rest, causes - 1).unwrap_or_else(|| rest.to_owned())))
    })
}

/// What stands at each `{}` of a key, when the text is made of it. A key that begins with one begins a cause: what
/// stands there is not several.
fn captures<'t>(key: &str, text: &'t str) -> Option<Vec<&'t str>> {
    let mut pieces = key.split("{}");
    let mut rest = text.strip_prefix(pieces.next()?)?;
    let mut pieces = pieces.peekable();
    let mut found = Vec::new();
    while let Some(piece) = pieces.next() {
        let end = if pieces.peek().is_none() {
            rest.strip_suffix(piece)?.len()
        } else {
            rest.find(piece).filter(|_| !piece.is_empty())?
        };
        let argument = rest.get(..end)?;
        if found.is_empty() && key.starts_with("{}") && (argument.contains(": ") || argument.ends_with(':')) {
            return None;
        }
        found.push(argument);
        rest = rest.get(end + piece.len()..)?;
    }
    (!found.is_empty() || rest.is_empty()).then_some(found)
}

/// Puts the arguments in. What stands in backticks stays as it is; other words are said in Japanese.
fn fill(key: &str, japanese: &str, arguments: &[&str], causes: usize) -> String {
    let opens = |is_open: &mut bool, before: &str| {
        *is_open ^= before.matches('`').count() % 2 == 1;
        Some(*is_open)
    };
    let quoted: Vec<bool> = key.split("{}").scan(false, opens).collect();
    let mut out = japanese.to_owned();
    // From the last, so that an argument that contains `{0}` is not filled again.
    for (at, argument) in arguments.iter().enumerate().rev() {
        let said = if quoted.get(at) == Some(&true) { None } else { translate(argument, causes - 1) };
        let said = said.unwrap_or_else(|| (*argument).to_owned());
        out = out.replace(&format!("{{{at}}}"), &said.replace('{', "\u{1}"));
    }
    out.replace('\u{1}', "{")
}

#[cfg(test)]
#[allow(clippy::string_slice, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn said(text: &str) -> String {
        problem(Problem::new(ErrorCode::NotFound, text), Language::Japanese).message
    }

    #[test]
    fn problems_are_said_in_japanese_with_their_names_as_they_are() {
        for (english, japanese) in [
            ("image `prod/web:9` is not known", "イメージ `prod/web:9` は登録されていません"),
            ("principal `role` does not exist", "プリンシパル `role` は存在しません"),
            ("no such thing: x", "見つかりません: no such thing: x"),
            (
                "the quota of `tags` is exceeded: 5 of 5 tags are used, and 1 more do not fit",
                "`tags` のクォータを超えます。タグ数の上限 5 のうち 5 を使用中で、さらに 1 は入りません",
            ),
            ("scope map `m-tk` does not exist", "スコープマップ `m-tk` は存在しません"),
            ("built-in scope map `m` exists already", "組み込みのスコープマップ `m` は既に存在します"),
            (
                "delete what is not needed, or run `seaworthy registry rules set a --quota-tags N`",
                "不要なものを削除するか、`seaworthy registry rules set a --quota-tags N` を実行してください",
            ),
            (
                "failed to reach clearance rows: no such thing",
                "使用可否判定の行を読み書きできません: no such thing",
            ),
            ("`{1}` is not a {0} id", "`{1}` は {0} の ID ではありません"),
            (
                "pol/b.yaml: policy is refused at 4:5: unknown key `vulnerabilites`",
                "pol/b.yaml: ポリシーを受け付けられません: 4:5: 不明なキー `vulnerabilites`",
            ),
            (
                "the request cannot be read: name: `a/b` is no name of a replication",
                "要求を読めません: name: `a/b` はレプリケーションの名前ではありません",
            ),
            ("イメージはありません", "イメージはありません"),
        ] {
            assert_eq!(said(english), japanese);
        }
        let stays = problem(Problem::new(ErrorCode::Denied, "a"), Language::English);
        assert_eq!(stays.message, "a");
        let long = "a: ".repeat(limit::TRANSLATED_BYTES);
        assert!(said(&long).ends_with(&long));
    }

    #[test]
    fn ways_out_are_said_in_japanese() {
        use seaworthy_model::{Finding, FixState, Severity};
        let states = [
            FixState::Fixed,
            FixState::Affected,
            FixState::WillNotFix,
            FixState::FixDeferred,
            FixState::EndOfLife,
            FixState::UnderInvestigation,
        ];
        for (state, fixed) in states.iter().flat_map(|state| [(*state, None), (*state, Some("2.5.0-2"))]) {
            let finding = Finding {
                id: "CVE-2026-1111".into(),
                aliases: Vec::new(),
                ecosystem: seaworthy_package::Ecosystem::Deb,
                source: "expat".into(),
                version: "2.5.0-1".into(),
                severity: Severity::High,
                severity_source: String::new(),
                state,
                fixed_version: fixed.map(str::to_owned),
                kev: false,
                epss: None,
                summary: String::new(),
            };
            let english = seaworthy_advisories::remedy(&finding, &[]).text;
            assert_eq!(text(english.clone(), Language::English), english);
            let japanese = text(english, Language::Japanese);
            let names = japanese.replace("expat", "").replace("2.5.0-1", "").replace("2.5.0-2", "");
            assert!(!names.contains(|c: char| c.is_ascii_alphabetic()), "{state:?} {fixed:?}: {japanese}");
        }
    }

    #[test]
    fn every_argument_is_used_and_no_key_stands_twice() {
        let mut keys = BTreeSet::new();
        for (key, japanese) in texts() {
            assert!(keys.insert(*key), "`{key}` stands twice");
            for at in 0..key.matches("{}").count() {
                assert!(japanese.contains(&format!("{{{at}}}")), "`{japanese}` leaves out an argument");
            }
        }
    }

    /// Rooms and doors whose problems callers of the API and users of the command line meet.
    const SPEAKING: &[&str] = &[
        "model",
        "oci",
        "registry",
        "link",
        "policy",
        "ledger",
        "access",
        "findings",
        "clearance",
        "fleet",
        "telemetry",
        "server",
        "cli",
    ];
    const BEFORE_MESSAGES: &[&str] = &[
        "#[error(",
        "Problem::new(",
        "Self::new(",
        ".hint(",
        "invalid(",
        "usage(",
        "unable(",
        "missing(",
        "unreadable(",
        ".error(",
        "at(&",
        ".hint = Some(",
    ];

    #[test]
    fn every_problem_of_the_code_has_a_japanese_text() {
        let known: BTreeSet<&str> = texts().map(|(key, _)| *key).collect();
        let mut missing = BTreeSet::new();
        let mut seen = 0;
        for name in SPEAKING {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
            sources(&root, &mut |text| {
                for key in texts_of(text) {
                    seen += 1;
                    if !known.contains(key.as_str()) {
                        missing.insert(format!("{name}: {key}"));
                    }
                }
            });
        }
        assert!(seen > 120, "only {seen} texts found: the search is broken");
        assert!(missing.is_empty(), "say these in japanese_texts.rs: {missing:#?}");
    }

    /// What errors put before a name.
    #[test]
    fn every_kind_has_a_japanese_word() {
        let mut seen = BTreeSet::new();
        for name in ["access", "clearance"] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
            sources(&root, &mut |text| {
                let kinds = text.split("kind: \"").skip(1).filter_map(|rest| rest.split('"').next());
                seen.extend(kinds.map(str::to_owned));
            });
        }
        // Of quotas.
        seen.extend(["bytes", "tags", "repositories"].map(str::to_owned));
        // What tokens are about (distribution spec), and errors are not.
        seen.remove("registry");
        assert!(seen.contains("built-in scope map"), "the search is broken: {seen:?}");
        let missing: Vec<_> = seen.iter().filter(|kind| translate(kind, 1).is_none()).collect();
        assert!(missing.is_empty(), "say these in japanese_registry.rs: {missing:?}");
    }

    fn sources(folder: &Path, visit: &mut impl FnMut(&str)) {
        for entry in fs::read_dir(folder).expect("sources") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                sources(&path, visit);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                visit(text.split("#[cfg(test)]").next().unwrap_or_default());
            }
        }
    }

    /// The literals with words in them that stand in the brackets of what makes a problem.
    fn texts_of(source: &str) -> Vec<String> {
        let mut found = Vec::new();
        for opening in BEFORE_MESSAGES {
            for (at, _) in source.match_indices(opening) {
                let (mut depth, mut rest) = (1, &source[at + opening.len()..]);
                while depth > 0 && !rest.is_empty() {
                    if let Some(body) = rest.strip_prefix('"') {
                        let end = literal_end(body);
                        found.push(key_of(&body[..end]));
                        rest = &body[end + 1..];
                        continue;
                    }
                    depth += i32::from(rest.starts_with('(')) - i32::from(rest.starts_with(')'));
                    rest = &rest[rest.chars().next().map_or(1, char::len_utf8)..];
                }
            }
        }
        found.retain(|key| key.contains(' ') && key.chars().filter(char::is_ascii_alphabetic).count() > 2);
        found
    }

    fn literal_end(body: &str) -> usize {
        let mut escaped = false;
        let end = body.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        end.map_or(body.len(), |(at, _)| at)
    }

    fn key_of(literal: &str) -> String {
        let joined: Vec<&str> = literal
            .split("\\\n")
            .enumerate()
            .map(|(at, it)| if at == 0 { it } else { it.trim_start() })
            .collect();
        let mut out = String::new();
        for (at, part) in joined.concat().split('{').enumerate() {
            out.push_str(if at == 0 { "" } else { "{}" });
            out.push_str(if at == 0 { part } else { part.split_once('}').map_or("", |(_, rest)| rest) });
        }
        out.replace("\\\"", "\"")
    }
}
