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
        "give whole parts of names, such as `prod` or `team/app`; nothing stands for all",
        "`prod` や `team/app` のように名前の区切りまで指定してください。空はすべてを表します",
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
    ("nothing here is called {}", "{0} という名前のものはありません"),
    ("rules for `{}` need the right to {} there", "`{0}` のルールの設定には、そこでの {1} の権限が必要です"),
    (
        "`{}` has more than {} tags: no rules apply",
        "`{0}` のタグは {1} 個を超えているため、ルールは適用されません",
    ),
];
