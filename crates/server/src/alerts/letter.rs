//! An alert as people read it in a mail: plain text, in the server's language.

use std::fmt::Write as _;

use seaworthy_model::ClearanceChanged;
use seaworthy_policy::Language;
use seaworthy_telemetry::{Alert, AlertKind, Body, Summary};

use super::Links;
use crate::limit;

/// A mail without its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its subject: one line.
    pub subject: String,
    /// Its text.
    pub text: String,
}

/// What a message says, in `language`. Foreign text is shortened and shown, never obeyed.
pub fn letter(links: &Links, body: &Body, language: Language) -> Letter {
    let say = Words(language);
    match body {
        Body::Alert(alert) => Letter {
            subject: format!("[seaworthy] {}", headline(say, alert)),
            text: format!("{}\n\n{}\n{}", headline(say, alert), details(say, links, &alert.about), say.end()),
        },
        Body::Summary(summary) => of_many(say, links, summary),
        // A mail target is told of alerts alone; a row from elsewhere is still said.
        Body::Act(told) => Letter {
            subject: format!("[seaworthy] {} {}", told.record.action.word(), told.record.object),
            text: say.end().to_owned(),
        },
        Body::Test => Letter {
            subject: format!("[seaworthy] {}", say.pick("test", "テスト")),
            text: format!(
                "{}\n{}",
                say.pick(
                    "This is a test of an alert target: nothing happened.\n",
                    "アラート送信先のテストです。何も発生していません。\n"
                ),
                say.end()
            ),
        },
    }
}

#[derive(Clone, Copy)]
struct Words(Language);

impl Words {
    const fn pick<'t>(self, english: &'t str, japanese: &'t str) -> &'t str {
        match self.0 {
            Language::English => english,
            Language::Japanese => japanese,
        }
    }

    const fn end(self) -> &'static str {
        self.pick(
            "-- \nSent by Seaworthy: `seaworthy alert list` shows all alerts.\n",
            "-- \nSeaworthy から送信されました。`seaworthy alert list` ですべてのアラートを確認できます。\n",
        )
    }
}

fn headline(say: Words, alert: &Alert) -> String {
    let (name, host) = (shown(&alert.about.name), shown(&alert.about.host_name));
    match (alert.kind, say.0) {
        (AlertKind::ContainerBlocked, Language::English) => {
            format!("running container `{name}` on `{host}` is now blocked")
        }
        (AlertKind::ContainerBlocked, Language::Japanese) => {
            format!("`{host}` で実行中のコンテナー `{name}` がブロックになりました")
        }
        (AlertKind::ContainerViolation, Language::English) => {
            format!("blocked container `{name}` was started on `{host}`")
        }
        (AlertKind::ContainerViolation, Language::Japanese) => {
            format!("`{host}` でブロック中のコンテナー `{name}` が開始されました")
        }
    }
}

fn details(say: Words, links: &Links, it: &ClearanceChanged) -> String {
    let mut text = String::new();
    let unknown = say.pick("unknown", "不明").to_owned();
    let digest = it.digest.map_or(unknown, |digest| digest.to_string());
    let verdict = |word: &str| match word {
        "allowed" => say.pick("allowed", "許可").to_owned(),
        "blocked" => say.pick("blocked", "ブロック").to_owned(),
        "pending" => say.pick("pending", "判定待ち").to_owned(),
        other => shown(other),
    };
    let before = it.before.as_deref().map_or_else(|| "-".to_owned(), verdict);
    for (english, japanese, value) in [
        ("Host", "ホスト", shown(&it.host_name)),
        ("Container", "コンテナー", format!("{} ({})", shown(&it.name), shown(&it.key.id))),
        ("Image", "イメージ", shown(&it.reported)),
        ("Repository", "リポジトリ", it.repository.to_string()),
        ("Digest", "ダイジェスト", digest),
        ("Verdict", "判定", format!("{} → {}", before, verdict(&it.verdict))),
        ("Decided", "判定時刻", it.decided_at.to_string()),
    ] {
        let _ = writeln!(text, "{}: {value}", say.pick(english, japanese));
    }
    let _ = writeln!(text, "\n{}", say.pick("Why:", "理由:"));
    for reason in &it.reasons {
        let message = say.pick(&reason.message, &reason.message_ja);
        let result = match reason.result.as_str() {
            "fail" => say.pick("fail", "不合格"),
            _ => say.pick("indeterminate", "判定不能"),
        };
        let _ = writeln!(text, "- {} ({result}): {}", shown(&reason.rule), cut(message, 300));
    }
    if it.more_reasons > 0 {
        let _ = match say.0 {
            Language::English => writeln!(text, "- and {} more", it.more_reasons),
            Language::Japanese => writeln!(text, "- 他 {} 件", it.more_reasons),
        };
    }
    let _ = writeln!(text, "\n{}", say.pick("More:", "詳細:"));
    for link in links.explain(it).into_iter().chain([links.container(it)]) {
        let _ = writeln!(text, "  {link}");
    }
    text
}

fn of_many(say: Words, links: &Links, summary: &Summary) -> Letter {
    let count = summary.count();
    let headline = match say.0 {
        Language::English => format!("{count} alerts about running containers"),
        Language::Japanese => format!("実行中のコンテナーに関するアラート {count} 件"),
    };
    let mut text = format!("{headline}\n{} – {}\n\n", summary.since, summary.until);
    for (kind, count) in &summary.kinds {
        let what = match kind {
            AlertKind::ContainerBlocked => say.pick("running and newly blocked", "実行中に新たにブロック"),
            AlertKind::ContainerViolation => say.pick("blocked and started", "ブロック中に開始"),
        };
        let _ = writeln!(text, "{what}: {count}");
    }
    let _ = writeln!(text);
    for alert in &summary.first {
        let rule = alert.about.reasons.first().map(|it| shown(&it.rule)).unwrap_or_default();
        let _ = writeln!(text, "- {}: {} ({rule})", self::headline(say, alert), shown(&alert.about.reported));
    }
    let shown_here = u64::try_from(summary.first.len()).unwrap_or(count);
    if count > shown_here {
        let _ = match say.0 {
            Language::English => writeln!(text, "- and {} more", count - shown_here),
            Language::Japanese => writeln!(text, "- 他 {} 件", count - shown_here),
        };
    }
    let _ = writeln!(text, "\n{}/api/v1/alerts\n", links.base.trim_end_matches('/'));
    Letter { subject: format!("[seaworthy] {headline}"), text: text + say.end() }
}

/// Foreign text in one line: what steers a terminal or turns the direction of writing is replaced.
fn shown(text: &str) -> String {
    cut(text, limit::SHOWN_CHARS)
}

fn cut(text: &str, most: usize) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c,
                '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    let mut out: String = text.chars().take(most).map(|c| if steers(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}
