//! The command line's texts, English and Japanese. A text without both does not compile.

use seaworthy_policy::Language;

macro_rules! texts {
    ($($name:ident: $english:literal, $japanese:literal;)*) => {
        /// One text of the command line.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Text { $($name),* }

        impl Text {
            /// The text in one language.
            pub(crate) const fn say(self, language: Language) -> &'static str {
                match (self, language) {
                    $((Self::$name, Language::English) => $english,
                      (Self::$name, Language::Japanese) => $japanese,)*
                }
            }
        }
    };
}

texts! {
    Next: "next:", "次の操作:";
    SignIn: "sign docker and podman in", "docker と podman をサインインさせる";
    Push: "push an image", "イメージをプッシュする";
    OpenConsole: "a link that signs you in to the console", "コンソールにサインインするリンクを表示する";
    MayItRun: "may it run, and why", "使用可否とその理由を確認する";
    ImportFeeds: "no advisories are loaded: import a feed", "脆弱性フィードがありません。取り込んでください";
    Stop: "stop with Ctrl-C", "Ctrl-C で停止";
    Comparing: "comparing all records", "すべての記録を照合しています";
    ReadFrom: "no server runs here: read from", "サーバーは動いていません。直接読みます:";
    Stopping: "stopping: finishing what runs", "停止中: 実行中の処理を完了しています";
    AgentEnded: "the agent ended and is started again", "エージェントが終了したため再開します";
    AgentGivenUp: "the agent cannot start; this machine's containers stay unknown", "エージェントを開始できません。このマシンのコンテナーは不明のままです";
    AgentLate: "the agent did not end in time", "エージェントが時間内に終了しませんでした";
    JoinThere: "on the host that joins", "参加させるホストで実行する";
    ReportHere: "report this host's containers", "このホストのコンテナーを報告する";
    Error: "error", "エラー";
    Hint: "hint", "ヒント";
    Allowed: "allowed", "許可";
    Blocked: "blocked", "ブロック";
    Pending: "pending", "判定待ち";
    Unknown: "unknown", "不明";
    MaybeMore: "maybe more: no loaded feed covers it", "他にもある可能性: 判定範囲に含むフィードなし";
    UnknownLeftOut: "left out, because nothing is known of their images:", "イメージが不明なため除外したコンテナー:";
    Pushed: "pushed", "プッシュ";
    Gone: "removed", "削除済み";
    Since: "since", "開始";
    Started: "started", "開始";
    Ended: "ended", "終了";
    Missing: "was missed: its removal was not seen", "一覧から消失（削除は観測されていません）";
    Gap: "nothing is sure since", "次の時刻以降は不確か:";
    LabelsSay: "its labels say so", "ラベルによる";
    EngineDoesNotSay: "unknown: the engine does not say", "不明（エンジンは実行者を報告しません）";
    NothingWeakens: "none that weakens it", "弱める設定はありません";
    Pass: "pass", "合格";
    Fail: "fail", "不合格";
    Indeterminate: "indeterminate", "判定不能";
    NoFindings: "no findings", "検出結果はありません";
    Remedy: "remedy:", "対処方法:";
    Problems: "not everything could be read:", "読み取れなかったもの:";
    Secrets: "secrets:", "秘密情報:";
    Uncovered: "not judged, no reader yet:", "判定できないエコシステム:";
    NotCovered: "no loaded feed covers this image: the list may be incomplete", "このイメージを判定範囲に含むフィードがありません。一覧は不完全な可能性があります";
    LedgerWhole: "the ledger is whole:", "監査証跡に異常はありません:";
    LedgerBroken: "the ledger is broken:", "監査証跡が破損しています:";
    Records: "records", "件";
    ShownOnce: "the secret is shown once, keep it now", "この秘密は一度しか表示されません。今すぐ保管してください";
    LinkHolds: "whoever has this link is signed in, once; it holds until", "このリンクを持つ人は誰でも一度だけサインインできます。有効期限:";
    LoggedIn: "docker and podman are signed in until", "docker と podman のサインイン有効期限:";
    SignedIn: "signed in at", "サインインしました:";
    NotSignedIn: "not signed in at {}: run `seaworthy login {}`", "{} にサインインしていません: `seaworthy login {}` を実行してください";
    Username: "client id or name:", "クライアント ID または名前:";
    Password: "client secret:", "クライアントシークレット:";
    Same: "no difference", "違いはありません";
    VerdictsChange: "verdicts that would change:", "変わる判定:";
    Judged: "images judged", "件のイメージを判定";
    Inspecting: "inspecting", "検査中";
    LookingAt: "looking at what is stored", "保存されているものを調べています";
    LookedAt: "looked at", "件を調べました";
    NothingWrong: "nothing is wrong", "問題はありません";
    NothingDone: "nothing was done; what would be is done by", "何も変更していません。実行するコマンド:";
    PushAgain: "bytes are lost: push the images of these repositories again, and they are whole", "バイト列が失われています: これらのリポジトリのイメージを再度 push すると元に戻ります";
    RepairFirst: "bytes are lost: run {} first, then push the images of these repositories again", "バイト列が失われています: まず {} を実行し、その後これらのリポジトリのイメージを再度 push してください";
    LeftBehind: "not copied: refers to it, and may not be there", "コピーしません: これを参照しますが、コピー先では許可されません";
    Exporting: "exporting from the engine", "エンジンから書き出しています";
    ExportingImages: "exporting", "書き出しています";
    Pulling: "pulling", "プルしています";
    Measuring: "measuring", "計測しています";
    FillingMemory: "filling the memory", "メモリを満たしています";
    ImportingImages: "importing", "取り込んでいます";
    ForeignLeftOut: "layers left out, because registries need not hold them:", "レジストリが保持しなくてよいため除外したレイヤー数:";
    ReferrersLeftOut: "left out, because what they refer to is not pushed:", "参照先をプッシュしないため除外したもの:";
    AbsentLeftOut: "left out, because they are not there:", "存在しないため除外したもの:";
    PlatformUnsaid: "exported, but its config does not say for which platform it is:", "書き出しましたが、対象のプラットフォームがイメージの設定に書かれていません:";
    RefusedLeftOut: "left out, because they may not be pulled:", "プルが許可されないため除外したもの:";
    Judge: "it is inspected and judged now:", "検査と使用可否判定を開始しました。確認:";
    Importing: "importing advisories", "フィードを取り込んでいます";
    CasesPassed: "cases passed", "件のケースが合格";
    CasesFailed: "failed", "件が不合格";
    PlainSettings: "settings of a plain `docker run`: the image's user, nothing extra; say others with `--settings FILE`", "追加指定のない `docker run` の設定で判定: イメージのユーザー、追加なし。他の設定は `--settings FILE` で指定してください";
    BlockedBy: "is blocked by `{}`: {}", "は `{}` によりブロックされています: {}";
    AndBlockedBy: "and by `{}`: {}", "`{}` によってもブロックされています: {}";
    MoreInJson: "and {} more: `-o json` has them", "ほか {} 件: `-o json` ですべて表示します";
    NotRecorded: "computed here, not recorded", "この場で判定（記録なし）";
}

/// `SEAWORTHY_LANG`, else the locale.
pub(crate) fn language() -> Language {
    let chosen = ["SEAWORTHY_LANG", "LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty());
    match chosen {
        Some(value) if value.starts_with("ja") => Language::Japanese,
        _ => Language::English,
    }
}
