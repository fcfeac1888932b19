//! The catalogue of `japanese.rs`, of what the registry's rules and promotion say: data.

/// English as in the code, and Japanese.
pub(crate) const TEXTS: &[(&str, &str)] = &[
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
    ("more than {} patterns of immutable tags", "変更できないタグのパターンが {0} 件を超えています"),
    ("there are rules for {} prefixes already", "ルールのあるプレフィックスがすでに {0} 件あります"),
    ("there are no rules for `{}`", "`{0}` のルールはありません"),
    (
        "`{}` names another image than {}: a copy keeps its digest",
        "`{0}` は {1} とは別のイメージを指しています。コピーのダイジェストは変わりません",
    ),
    ("more than {} manifests would be copied at once", "一度にコピーするマニフェストが {0} 件を超えます"),
    ("promote the images of the index one by one", "インデックスのイメージを 1 件ずつ昇格してください"),
    ("`{}` has no manifest `{}` any more", "`{0}` のマニフェスト `{1}` はもうありません"),
];
