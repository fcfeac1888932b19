//! The catalogue of `japanese.rs`, of what the registry keeps: data.

/// English as in the code, and Japanese.
pub(crate) const TEXTS: &[(&str, &str)] = &[
    ("`after` is not what a page before said", "`after` が前のページの示した値ではありません"),
    (
        "`untagged_days` and `keep_untagged` exclude each other",
        "`untagged_days` と `keep_untagged` は同時に指定できません",
    ),
    (
        "`{}` is no pattern of tags: it is empty or too long",
        "`{0}` はタグのパターンではありません: 空か、長すぎます",
    ),
    ("`{}` is no prefix of repositories", "`{0}` はリポジトリの接頭辞ではありません"),
    (
        "give whole parts of names, such as `prod` or `team/app`; `*` is all of them",
        "`prod` や `team/app` のように名前の区切りまで指定してください。`*` はすべてを表します",
    ),
    ("see `seaworthy image deleted`", "`seaworthy image deleted` を参照してください"),
    ("the rules say nothing", "ルールの内容がありません"),
    ("there are more than {} patterns of tags to keep", "保持するタグのパターンが {0} 個を超えています"),
    ("`apply` is for `/api/v1/registry/repair`", "`apply` は `/api/v1/registry/repair` で指定してください"),
    ("`{}` is no repository", "`{0}` はリポジトリ名ではありません"),
    ("name a tag or a digest to restore", "復元するタグかダイジェストを指定してください"),
    ("`{}` has no deleted `{}` that can be restored", "`{0}` に、復元できる削除済みの `{1}` はありません"),
    ("`{}` points at {} now", "`{0}` は現在 {1} を指しています"),
    (
        "delete the tag first, or restore the manifest by its digest",
        "先にタグを削除するか、マニフェストをダイジェストで復元してください",
    ),
    ("the files of the blobs are not there", "BLOBのファイルがありません"),
    (
        "see whether the disk of the data directory is mounted",
        "データディレクトリのディスクがマウントされているか確認してください",
    ),
    ("nothing here is called {}", "{0} という名前のものはありません"),
    ("there are rules for {} prefixes already", "ルールのある接頭辞が既に {0} 個あります"),
    ("there are no rules for `{}`", "`{0}` のルールはありません"),
    ("rules for `{}` need the right to {} there", "`{0}` のルールの設定には、そこでの {1} の権限が必要です"),
    (
        "`{}` has more than {} tags: no rules apply",
        "`{0}` のタグは {1} 個を超えているため、ルールは適用されません",
    ),
    ("too many requests", "要求が多すぎます"),
    (
        "wait as long as `Retry-After` says; `requests_per_minute` in `seaworthy.toml` is the limit",
        "`Retry-After` の秒数だけ待ってください。上限は `seaworthy.toml` の `requests_per_minute` です",
    ),
    ("no configuration: {}", "設定ファイルを書けません: {0}"),
    (
        "name a repository or what it begins with, such as `prod`; `*` is all of them",
        "リポジトリ名またはその先頭部分（`prod` など）を指定してください。`*` はすべてのリポジトリです",
    ),
    (
        "nobody pushes to `{}`: the rules of `{}` let promotion alone write there",
        "`{0}` にはプッシュできません。`{1}` のルールにより昇格だけが書き込めます",
    ),
    (
        "push it elsewhere, and run `seaworthy image promote SRC {}:TAG`",
        "別のリポジトリへプッシュしてから `seaworthy image promote SRC {0}:TAG` を実行してください",
    ),
    ("tag `{}:{}` is immutable by the rules of `{}`", "タグ `{0}:{1}` は `{2}` のルールにより変更できません"),
    ("set another tag: this one stays what it is", "別のタグを使ってください。このタグは変更できません"),
    ("`{}` is no pattern of tags", "`{0}` はタグのパターンではありません"),
    ("write `v*`, `*-release` or a tag", "`v*`、`*-release`、またはタグ名を指定してください"),
    (
        "the quota of `{}` is exceeded: {} of {} {} are used, and {} more do not fit",
        "`{0}` のクォータを超えます。{2} {3} のうち {1} を使用中で、さらに {4} は入りません",
    ),
    (
        "delete what is not needed, or run `seaworthy registry rules set {} --quota-{} N`",
        "不要なものを削除するか、`seaworthy registry rules set {0} --quota-{1} N` を実行してください",
    ),
    ("a quota is larger than 2^63 - 1", "クォータが 2^63 - 1 を超えています"),
    (
        "nobody is told of `{}`: see `seaworthy alert target create --help` for the events",
        "`{0}` は通知されるイベントではありません。イベントの一覧は `seaworthy alert target create --help` を参照してください",
    ),
    (
        "a mail target is told of alerts alone: what happens in the registry goes to webhooks",
        "メールの送信先に通知されるのはアラートのみです。レジストリのイベントは Webhook に送られます",
    ),
    (
        "repositories are named for a target that is told of nothing in them",
        "リポジトリが指定されていますが、レジストリのイベントが指定されていません",
    ),
    (
        "name what it is told of as well, such as `--event manifest.push`",
        "`--event manifest.push` のように、通知するイベントも指定してください",
    ),
    ("the format `{}` has no word for `{}`", "形式 `{0}` では `{1}` を表せません"),
    (
        "it knows `manifest.push`, `manifest.delete`, `manifest.collect` and `repository.delete`",
        "使えるのは `manifest.push`、`manifest.delete`、`manifest.collect`、`repository.delete` です",
    ),
    ("more than {} patterns of immutable tags", "変更できないタグのパターンが {0} 件を超えています"),
    (
        "`{}` names another image than {}: a copy keeps its digest",
        "`{0}` は {1} とは別のイメージを指しています。コピーのダイジェストは変わりません",
    ),
    ("more than {} manifests would be copied at once", "一度にコピーするマニフェストが {0} 件を超えます"),
    ("promote the images of the index one by one", "インデックスのイメージを 1 件ずつ昇格してください"),
    (
        "name an image by its digest: a tag may move",
        "イメージをダイジェストで指定してください。タグは移動することがあります",
    ),
    ("`{}` has no manifest `{}` any more", "`{0}` のマニフェスト `{1}` はもうありません"),
];
