//! The catalogue of `japanese.rs`, continued: OCI layouts, written and read by the command line.

/// English as in the code, and Japanese.
pub(crate) const TEXTS: &[(&str, &str)] = &[
    // As typed.
    (
        "`--below` and `--dry-run` are for layouts, and `{}` is none that is there",
        "`--below` と `--dry-run` は OCI レイアウト用ですが、`{0}` というレイアウトはありません",
    ),
    (
        "`{}` is no file: an image of a registry needs a destination",
        "`{0}` というファイルはありません。レジストリのイメージには宛先が必要です",
    ),
    (
        "`{}` is neither REPOSITORY nor REPOSITORY:TAG",
        "`{0}` は REPOSITORY でも REPOSITORY:TAG でもありません",
    ),
    ("`{}` has neither a tag nor a digest", "`{0}` にタグもダイジェストもありません"),
    (
        "`{}` is an image of another registry than `--server` names",
        "`{0}` は `--server` とは別のレジストリのイメージです",
    ),
    (
        "`{}` is not a platform like `linux/arm64`",
        "`{0}` は `linux/arm64` のようなプラットフォームではありません",
    ),
    ("`{}` has no image for `{}`", "`{0}` に `{1}` 用のイメージはありません"),
    ("`seaworthy image show` lists its platforms", "`seaworthy image show` でプラットフォームを一覧できます"),
    // Reading one.
    ("it is not there", "ありません"),
    ("it is a link", "リンクです"),
    ("it is not a folder", "フォルダーではありません"),
    ("it is not a plain file", "通常のファイルではありません"),
    ("name a folder as `oci:DIR`", "フォルダーは `oci:DIR` と指定してください"),
    ("it is no JSON: {}", "JSON ではありません: {0}"),
    ("its `imageLayoutVersion` is not `1.0.0`", "`imageLayoutVersion` が `1.0.0` ではありません"),
    ("it is no OCI layout: it has no `{}`", "OCI レイアウトではありません: `{0}` がありません"),
    (
        "`{}` is an archive of an older Docker, not an OCI layout",
        "`{0}` は古い Docker のアーカイブで、OCI レイアウトではありません",
    ),
    (
        "bring it in with `docker load` and `docker push`, or save it with Docker 25 or later",
        "`docker load` と `docker push` で取り込むか、Docker 25 以降で保存してください",
    ),
    ("it is no tar archive", "tar アーカイブではありません"),
    ("it is cut within `{}`", "`{0}` の途中で切れています"),
    ("`{}` leads out of the layout", "`{0}` はレイアウトの外を指しています"),
    ("`{}` is not a plain file", "`{0}` は通常のファイルではありません"),
    ("`{}` is there twice", "`{0}` が 2 つあります"),
    ("it has more than {} members", "{0} 個を超えるファイルがあります"),
    ("it unpacks to more than {} bytes", "展開すると {0} バイトを超えます"),
    ("what describes a member is longer than {} bytes", "ファイルの情報が {0} バイトを超えています"),
    ("its bytes are those of {}", "内容は {0} のものです"),
    ("it ends after {} of {} bytes", "{1} バイトのうち {0} バイトで終わっています"),
    ("{} is said to have {} bytes, and has {}", "{0} は {1} バイトとされていますが、{2} バイトです"),
    ("{} is said to have {} bytes, and {}", "{0} は {1} バイトとも {2} バイトともされています"),
    ("`{}` does not have {}", "`{0}` に {1} がありません"),
    ("manifest {} cannot be used: {}", "マニフェスト {0} を使用できません: {1}"),
    ("{} lies more than {} manifests deep", "{0} はマニフェストの入れ子が {1} 段を超えています"),
    ("there are more than {} manifests", "マニフェストが {0} 個を超えています"),
    ("the manifests have more than {} bytes", "マニフェストの合計が {0} バイトを超えています"),
    ("import its images one by one, by name", "イメージを名前で 1 つずつ取り込んでください"),
    ("the layout's reader ended unexpectedly", "レイアウトの読み取りが予期せず終了しました"),
    // Where its images go.
    ("`{}` has {} images, and one destination", "`{0}` には {1} 個のイメージがありますが、宛先は 1 つです"),
    (
        "name one with `oci:DIR:NAME` or `oci-archive:FILE:NAME`",
        "`oci:DIR:NAME` または `oci-archive:FILE:NAME` で 1 つ指定してください",
    ),
    ("{} has no repository, only the name `{}`", "{0} にリポジトリがなく、名前は `{1}` だけです"),
    ("{} has no name", "{0} に名前がありません"),
    (
        "say where it goes: `seaworthy image import SOURCE REPOSITORY:TAG`",
        "宛先を指定してください: `seaworthy image import SOURCE REPOSITORY:TAG`",
    ),
    ("failed to upload {}: {}", "{0} をアップロードできません: {1}"),
    ("it is not there any more", "なくなっています"),
    ("an upload ended unexpectedly", "アップロードが予期せず終了しました"),
    ("index {} names {}, which `{}` does not have", "インデックス {0} が参照する {1} が `{2}` にありません"),
    (
        "export it again with all its platforms, or with `--platform`",
        "すべてのプラットフォームを含めて、または `--platform` を付けて書き出し直してください",
    ),
    // Writing one.
    ("failed to export {}: {}", "{0} を書き出せません: {1}"),
    ("failed to write `{}`: {}", "`{0}` に書き込めません: {1}"),
    ("the thread that writes it ended", "書き込みの処理が終了しました"),
    ("an archive is not for a terminal", "アーカイブは端末に出力できません"),
    (
        "redirect stdout, or use `--to FILE.tar`",
        "標準出力をリダイレクトするか、`--to FILE.tar` を使用してください",
    ),
    ("`{}` is a folder", "`{0}` はフォルダーです"),
    (
        "write `--to oci:DIR` for a layout in a folder",
        "フォルダーに書き出すには `--to oci:DIR` と指定してください",
    ),
    ("`{}` has files, and is no OCI layout", "`{0}` にはファイルがあり、OCI レイアウトではありません"),
    ("name an empty folder, or another layout", "空のフォルダーか、既存のレイアウトを指定してください"),
    (
        "the layout would have an index of more than {} bytes or {} entries",
        "レイアウトの索引が {0} バイトまたは {1} 項目を超えます",
    ),
    ("export fewer images at once", "一度に書き出すイメージを減らしてください"),
    (
        "the index names {}, which its repository does not have",
        "インデックスが参照する {0} がリポジトリにありません",
    ),
    ("export one image of it with `--platform`", "`--platform` で 1 つのイメージだけを書き出してください"),
    ("{} has more than {} referrers", "{0} を参照するものが {1} 個を超えています"),
    ("export it with `--no-referrers`", "`--no-referrers` を付けて書き出してください"),
    ("the server gave manifest {} for {}", "サーバーが {1} の代わりにマニフェスト {0} を返しました"),
    ("{} of {} bytes came", "{1} バイトのうち {0} バイトを受信しました"),
    ("`{}` broke off: {} of {} bytes", "`{0}` が途切れました: {2} バイトのうち {1} バイト"),
    ("`/proc/meminfo` does not say MemFree", "`/proc/meminfo` に MemFree がありません"),
    ("failed to fill the memory: {}", "メモリを満たせませんでした: {0}"),
    (
        "the memory was not filled by a file in `{}`: it may be in memory itself, or within a memory limit",
        "`{0}` のファイルではメモリを満たせませんでした。メモリ上のファイルシステムか、メモリ制限内の可能性があります",
    ),
    ("query has `{}` twice", "クエリーに `{0}` が 2 つあります"),
    ("request has the header `{}` twice", "要求にヘッダー `{0}` が 2 つあります"),
    (
        "`{}` measures a server of this binary alone: leave out the URL",
        "`{0}` はこのバイナリのサーバーだけを測定します。URL を省いてください",
    ),
];
