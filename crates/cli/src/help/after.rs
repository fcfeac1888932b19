//! What stands behind the flags: explanations and the words above examples.

pub(super) const TEXTS: &[(&str, &str)] = &[
    (
        "A tag, its manifest and their repository have locks of their own. With no flag it is --write and --delete.",
        "タグ、マニフェスト、リポジトリのロックは別々です。フラグがなければ --write と --delete です。",
    ),
    ("With no flag it is --write and --delete.", "フラグがなければ --write と --delete です。"),
    (
        "`seaworthy image show prod/web:1` shows the locks of an image.",
        "イメージのロックは `seaworthy image show prod/web:1` で確認できます。",
    ),
    ("Examples:", "例:"),
    ("Example:", "例:"),
    ("Targets:", "対象:"),
    (
        "A REF of another registry is pulled with docker's credentials.",
        "他のレジストリの REF は、docker の資格情報でプルします。",
    ),
    (
        "registry, inspection and clearance on this machine",
        "このマシンでレジストリ、検査、使用可否判定を開始",
    ),
    ("sign docker and podman in", "docker と podman をサインインさせる"),
    ("in turn with this binary", "このバイナリと交互に測定"),
    ("may it be pulled from there, and why", "プルしてよいか、その理由は何か"),
    ("the same answer before the push", "プッシュ前に同じ判定を得る"),
    ("findings and remedies", "検出結果と対処方法"),
    ("what runs, and what is known of it", "実行中のものと、その判明状況"),
    ("may it run here, and how do we know", "ここで実行してよいか、その根拠は何か"),
    (
        "A server that does not run is not needed: its data directory is read instead.",
        "サーバーが動いていなければ、データディレクトリーを直接読みます。",
    ),
    ("What was deleted can be restored for some days:", "削除したものは数日の間、復元できます:"),
    (
        "A damaged blob is healed when somebody pushes it again.",
        "破損した blob は、もう一度プッシュすると修復されます。",
    ),
    (
        "NAME is a container's name, the beginning of its id, or HOST/NAME.",
        "NAME はコンテナーの名前、ID の先頭、または HOST/NAME です。",
    ),
    (
        "Exit codes: 0 yes, 1 the answer is no, 2 wrong use, 3 could not do it.",
        "終了コード: 0 はい、1 いいえ、2 使い方の誤り、3 実行できない",
    ),
    (
        "With `-` reads tab-separated pairs from stdin, one answer a line.",
        "`-` を指定すると、タブ区切りの組を標準入力から読み、1 行に 1 つ答えます。",
    ),
    (
        "DIR holds policies (*.yaml) and cases (tests/*.yaml).",
        "DIR にはポリシー (*.yaml) とケース (tests/*.yaml) を置きます。",
    ),
    (
        "OLD and NEW are files, or names of active policies: NAME or NAME@VERSION.",
        "OLD と NEW はファイル、または有効なポリシーの名前 (NAME か NAME@VERSION) です。",
    ),
    (
        "All platforms of each image, and what refers to it (signatures, SBOMs, attestations). What the registry does not give",
        "各イメージの全プラットフォームと、それを参照するもの (署名、SBOM、アテステーション) を書き出します。レジストリがプルさせない",
    ),
    (
        "out (blocked, pending, in quarantine) is not exported. docker, podman, skopeo and containerd read the archive.",
        "もの (ブロック、判定待ち、隔離中) は書き出しません。アーカイブは docker、podman、skopeo、containerd で読めます。",
    ),
    (
        "From another registry all of it is fetched, and copied if its clearance there allows it. A layout is pushed as it is, and judged as",
        "他のレジストリのイメージは全体を取得し、宛先での使用可否判定が許可の場合にコピーします。レイアウトはそのままプッシュし、",
    ),
    (
        "everything that is pushed: each image goes where its name says, or to DESTINATION. The digests stay.",
        "ほかのプッシュと同様に判定します。各イメージは名前の場所、または DESTINATION に置かれます。ダイジェストは変わりません。",
    ),
];
