//! `--help` in the user's language. English stands beside the flags; every verb and flag has a
//! Japanese text here, found by the English one, and a test names what has none.

mod after;
mod registry_bench;

use clap::{Arg, Command, CommandFactory as _};
use seaworthy_policy::Language;

use crate::flags::Cli;

/// The command line, with its help in one language.
pub(crate) fn command(language: Language) -> Command {
    let mut command = Cli::command();
    if language == Language::English {
        return command;
    }
    // Global flags and clap's own are there once it is built.
    command.build();
    japanese(command)
}

const TEMPLATE: &str = "{about-with-newline}\n使い方: {usage}\n\n{all-args}{after-help}";

/// Other names of verbs.
const ALIASES: [&str; 2] = ["delete", "remove"];

fn japanese(mut command: Command) -> Command {
    let about = command.get_about().and_then(|text| say(&text.to_string()));
    let aliases: Vec<&str> =
        ALIASES.into_iter().filter(|word| command.get_visible_aliases().any(|it| it == *word)).collect();
    if let Some(text) = about {
        let text = match aliases.join(", ") {
            words if words.is_empty() => text.to_owned(),
            words => format!("{text} [別名: {words}]"),
        };
        command = command.about(text).long_about(None);
    }
    // What clap says of them is English.
    command = command.visible_alias(None).aliases(aliases);
    let after = command.get_after_help().map(|text| examples(&text.to_string()));
    if let Some(text) = after {
        command = command.after_help(text);
    }
    command = command.help_template(TEMPLATE).subcommand_help_heading("コマンド").mut_args(argument);
    let names: Vec<String> = command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, japanese);
    }
    command
}

fn argument(arg: Arg) -> Arg {
    let heading = if arg.is_positional() { "引数" } else { "オプション" };
    let help = arg.get_help().and_then(|text| say(&text.to_string()));
    let Some(text) = help else { return arg.help_heading(heading) };
    let text = format!("{text}{}", values(&arg));
    let arg = arg.help_heading(heading).help(text).long_help(None);
    arg.hide_default_value(true).hide_possible_values(true)
}

/// What clap says of a value by itself, in English.
fn values(arg: &Arg) -> String {
    let is_shown = arg.get_action().takes_values();
    let of = |is_hidden: bool, what: &str, names: Vec<String>| match names.join(", ") {
        names if names.is_empty() || is_hidden || !is_shown => String::new(),
        names => format!(" [{what}: {names}]"),
    };
    let given = arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    let known = arg
        .get_possible_values()
        .iter()
        .filter(|it| !it.is_hide_set())
        .map(|it| it.get_name().to_owned())
        .collect();
    of(arg.is_hide_default_value_set(), "既定", given) + &of(arg.is_hide_possible_values_set(), "値", known)
}

/// Examples stay as they are typed; the words around them are said.
fn examples(text: &str) -> String {
    let line = |line: &str| match after::TEXTS.iter().find(|(english, _)| line.contains(english)) {
        Some((english, japanese)) => line.replace(english, japanese),
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn texts() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    TEXTS.iter().chain(registry_bench::TEXTS)
}

fn say(english: &str) -> Option<&'static str> {
    texts().find(|(key, _)| *key == english).map(|(_, japanese)| *japanese)
}

const TEXTS: &[(&str, &str)] = &[
    (
        "May this container image run here, and how do we know?",
        "このコンテナーイメージをここで実行してよいか、その根拠は何か",
    ),
    // Global.
    (
        "Data directory of the server on this machine [default: /var/lib/seaworthy as root, else below `XDG_DATA_HOME`]",
        "このマシンのサーバーのデータディレクトリー [既定: root では /var/lib/seaworthy、それ以外は `XDG_DATA_HOME` の下]",
    ),
    (
        "Talk to this server, with the login of `seaworthy login URL`, instead of the operator socket",
        "オペレーターソケットの代わりに、`seaworthy login URL` のログインでこのサーバーに接続する",
    ),
    (
        "Output: a table for people, or one JSON document [default: table on a terminal, else json]",
        "出力形式: 表、または 1 つの JSON 文書 [既定: 端末では table、それ以外は json]",
    ),
    ("Configuration file [default: DATA/seaworthy.toml]", "設定ファイル [既定: DATA/seaworthy.toml]"),
    ("On lists: ids only", "一覧では ID だけを出力する"),
    ("Say more on stderr", "標準エラー出力に詳しく出力する"),
    ("Print help", "ヘルプを表示する"),
    ("Print help (see more with '--help')", "ヘルプを表示する"),
    (
        "Print a link that signs you in to the console, once",
        "コンソールに一度だけサインインできるリンクを表示する",
    ),
    (
        "Create a service principal, or a person; the secret or link is shown once",
        "サービスプリンシパルまたは利用者を作成する。シークレットまたはリンクは一度だけ表示される",
    ),
    (
        "A person, who gets a link to set a password, not a client secret",
        "利用者として作成する。クライアントシークレットではなく、パスワードを設定するリンクを発行する",
    ),
    (
        "Print a link with which a person sets a password, once",
        "利用者がパスワードを設定するための、一度だけ使えるリンクを表示する",
    ),
    ("Print version", "バージョンを表示する"),
    (
        "Print this message or the help of the given subcommand(s)",
        "このヘルプ、または指定したサブコマンドのヘルプを表示する",
    ),
    // Verbs.
    ("Start everything on this machine", "このマシンですべてを開始する"),
    ("Start the control plane", "コントロールプレーンを開始する"),
    (
        "Address of the plain-HTTP door; loopback only [default: localhost:5000]",
        "平文 HTTP の待ち受けアドレス。ループバックのみ [既定: localhost:5000]",
    ),
    ("Import these advisories in the background", "これらの脆弱性フィードをバックグラウンドで取り込む"),
    (
        "Start no agent: this machine's containers stay unknown",
        "エージェントを開始しない。このマシンのコンテナーは不明のままになる",
    ),
    (
        "Report this machine's containers to its server, or to the one it joined; `up` starts one",
        "このマシンのコンテナーを、このマシンのサーバーか参加先のサーバーに報告する。`up` は自動で開始する",
    ),
    (
        "The container engine's socket [default: `DOCKER_HOST`, else `unix:///var/run/docker.sock`]",
        "コンテナーエンジンのソケット [既定: `DOCKER_HOST`、なければ `unix:///var/run/docker.sock`]",
    ),
    ("What the server is doing", "サーバーの状態を表示する"),
    ("Sign in", "サインインする"),
    (
        "The server to sign in to; https, or http on this machine",
        "サインイン先のサーバー。https、またはこのマシン上の http",
    ),
    (
        "Give docker and podman a credential for this registry, valid for 12 hours",
        "docker と podman に、このレジストリの 12 時間有効な資格情報を渡す",
    ),
    ("Client id or name of a principal", "プリンシパルのクライアント ID または名前"),
    ("Read the client secret from stdin", "クライアントシークレットを標準入力から読む"),
    ("CA certificate to trust besides the system's (PEM)", "システムのものに加えて信頼する CA 証明書（PEM）"),
    (
        "Trust the certificates of this PEM file for the server",
        "この PEM ファイルの証明書をサーバーの検証に使う",
    ),
    (
        "Forget a login: a server's, or docker's for the registry of this machine",
        "ログインを破棄する: サーバーのもの、またはこのマシンのレジストリに対する docker のもの",
    ),
    (
        "The server; without it docker's credential is forgotten",
        "サーバー。省略すると docker の資格情報を破棄する",
    ),
    ("Who the server takes you for", "サーバーから見た自分の身元を表示する"),
    ("Principals and their credentials", "プリンシパルとその資格情報"),
    ("Name", "名前"),
    ("Role to assign", "割り当てるロール"),
    ("Where the role holds", "ロールが有効な範囲"),
    ("List principals", "プリンシパルを一覧する"),
    ("Show one with its assignments and credentials", "割り当てと資格情報を含めて 1 つ表示する"),
    ("Name or id", "名前または ID"),
    ("Disable one; effective at its next request", "無効にする。次の要求から効く"),
    ("Delete one with its credentials and assignments", "資格情報と割り当てごと削除する"),
    (
        "Client secrets: two, so that one can be rotated",
        "クライアントシークレット。交換できるように 2 つまで",
    ),
    ("Add a client secret, shown once", "クライアントシークレットを追加する。一度だけ表示される"),
    ("Principal", "プリンシパル"),
    ("A word to know it by", "見分けるための名前"),
    ("List credentials, without their secrets", "シークレットを除いて資格情報を一覧する"),
    ("Remove a credential", "資格情報を削除する"),
    ("Credential id", "資格情報の ID"),
    ("Roles and their assignments", "ロールとその割り当て"),
    ("List roles", "ロールを一覧する"),
    ("Show one", "1 つ表示する"),
    ("Define a custom role", "独自のロールを定義する"),
    ("What it permits", "許可する操作"),
    ("What it is for", "用途"),
    ("Assign a role", "ロールを割り当てる"),
    ("Take an assignment back; effective at the next request", "割り当てを取り消す。次の要求から効く"),
    ("Role", "ロール"),
    ("Scope, such as /repositories/dev", "範囲。例: /repositories/dev"),
    ("Who may do what, and which assignment says so", "誰が何をしてよいか、その根拠となる割り当て"),
    (
        "May a principal do something somewhere, and which assignment says so?",
        "プリンシパルがある範囲である操作をしてよいか、どの割り当てによるか",
    ),
    ("Action, such as pull or push", "操作。例: pull、push"),
    ("Scope", "範囲"),
    ("Images in the registry", "レジストリのイメージ"),
    ("List images", "イメージを一覧する"),
    ("Only repositories that begin with this", "この文字列で始まるリポジトリだけ"),
    (
        "What is known about one: digests, platforms, layers, who pushed it, verdicts, findings",
        "1 つのイメージについて分かっていることを表示する: ダイジェスト、プラットフォーム、レイヤー、プッシュした人、判定、検出結果",
    ),
    (
        "Copy an image to another repository, if its clearance there allows it",
        "コピー先での使用可否判定が許可の場合に、イメージを別のリポジトリへコピーする（昇格）",
    ),
    ("REPOSITORY or REPOSITORY:TAG", "REPOSITORY または REPOSITORY:TAG"),
    ("How long to wait while its inspection is under way", "検査中の場合に待つ時間"),
    (
        "Which repositories promotion alone writes, which tags never move, and how much is kept",
        "昇格のみで書き込めるリポジトリ、変更できないタグ、保存できる量",
    ),
    ("What is used of quotas", "クォータの使用状況"),
    (
        "What is pushed there is hidden until `image release`",
        "プッシュされたものを `image release` まで隔離する",
    ),
    (
        "Let an image out of quarantine, with all images of an index",
        "イメージの隔離を解除する。インデックスではすべてのイメージを含む",
    ),
    (
        "Write images to an OCI layout: an archive or a folder, for a machine that this one does not reach",
        "イメージを OCI レイアウト (アーカイブまたはフォルダー) に書き出す。接続できないマシンへの持ち込み用",
    ),
    (
        "FILE for a tar archive, oci:DIR for a folder, to which images are added, or `-` for an archive on stdout",
        "tar アーカイブは FILE、フォルダーは oci:DIR (既存のイメージに追加)、標準出力は `-`",
    ),
    (
        "Of each index the image for this platform alone, such as linux/arm64",
        "各インデックスからこのプラットフォームのイメージだけを書き出す。例: linux/arm64",
    ),
    ("Leave out what refers to the images", "イメージを参照するもの (署名、SBOM など) を除外する"),
    (
        "Copy an image from another registry through the cache that answers for it, or images from an OCI layout",
        "他のレジストリのイメージを対応するキャッシュを通して、または OCI レイアウトのイメージを取り込む",
    ),
    (
        "HOST/REPOSITORY:TAG, what a cache here calls it, FILE, oci-archive:FILE[:NAME] or oci:DIR[:NAME]",
        "HOST/REPOSITORY:TAG、このレジストリのキャッシュでの名前、FILE、oci-archive:FILE[:NAME]、oci:DIR[:NAME] のいずれか",
    ),
    (
        "REPOSITORY or REPOSITORY:TAG; without it each image of a layout goes where its name says",
        "REPOSITORY または REPOSITORY:TAG。省略すると、レイアウトの各イメージはその名前の場所に取り込まれる",
    ),
    ("Put all images of a layout below this prefix", "レイアウトのすべてのイメージをこの接頭辞の下に置く"),
    (
        "Say what a layout would bring where, and push nothing",
        "レイアウトから取り込まれるものと場所を表示し、何もプッシュしない",
    ),
    ("Say that an image stays in quarantine", "イメージを隔離したままにすると記録する"),
    ("The most bytes that they hold together, such as 200GiB", "合計で保存できるバイト数の上限。例: 200GiB"),
    ("The most tags that they have together", "合計で持てるタグ数の上限"),
    ("The most repositories that there are", "リポジトリ数の上限"),
    (
        "Set rules of a prefix; those that are not named stay",
        "プレフィックスのルールを設定する（指定しないルールはそのまま）",
    ),
    ("Repository, with all below it; `*` is all of them", "リポジトリとその配下。`*` はすべてのリポジトリ"),
    (
        "Nobody pushes there: images come by `image promote`",
        "プッシュを禁止し、`image promote` による昇格だけを許可する",
    ),
    ("Tags that are set once, and neither moved nor deleted", "一度設定したら変更も削除もできないタグ"),
    ("Remove the rules of a prefix", "プレフィックスのルールを削除する"),
    (
        "Tokens: principals of one scope map, for the registry alone",
        "トークン。スコープマップを 1 つ持つ、レジストリ専用のプリンシパル",
    ),
    ("Scope maps: what tokens may do", "スコープマップ。トークンに許可する操作"),
    ("List scope maps", "スコープマップを一覧する"),
    ("Set one, instead of what it says", "設定する（既存の内容は置き換える）"),
    ("Lines, such as dev/web=content/read,content/write", "行。例: dev/web=content/read,content/write"),
    ("Delete one that no token has", "どのトークンも使っていないものを削除する"),
    (
        "Create a token, a principal that may do what its scope map says; the secret is shown once",
        "トークンを作成する。スコープマップの範囲で操作できるプリンシパルで、シークレットは一度だけ表示される",
    ),
    ("What it may do", "許可する操作"),
    (
        "How long the secret lasts [default: until it is removed]",
        "シークレットの有効日数 [既定: 削除するまで]",
    ),
    ("How long it lasts [default: until it is removed]", "有効日数 [既定: 削除するまで]"),
    (
        "Give a token another scope map; effective at its next request",
        "トークンに別のスコープマップを割り当てる。次の要求から有効",
    ),
    ("List tokens", "トークンを一覧する"),
    ("Enable one that was disabled", "無効にしたものを有効にする"),
    (
        "Forbid changes of a repository, a tag or a manifest, whoever asks",
        "リポジトリ、タグ、マニフェストの変更を誰に対しても禁じる（ロック）",
    ),
    ("Take locks away", "ロックを解除する"),
    (
        "REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST",
        "REPOSITORY、REPOSITORY:TAG または REPOSITORY@DIGEST",
    ),
    ("Pushing to it, moving and deleting it", "プッシュ、移動、削除"),
    ("Deleting it", "削除"),
    ("Pulling it", "プル"),
    ("Showing it in lists", "一覧への表示"),
    (
        "Prefixes that hold what other registries have, fetched when it is asked for",
        "他のレジストリの内容を要求時に取得して保持するプレフィックス（キャッシュ）",
    ),
    ("Make a prefix a cache of another registry", "プレフィックスを他のレジストリのキャッシュにする"),
    ("List caches", "キャッシュを一覧表示する"),
    ("Its prefix", "キャッシュのプレフィックス"),
    (
        "Make a cache a prefix like others; what is in it stays",
        "キャッシュを通常のプレフィックスに戻す（内容は残る）",
    ),
    ("Repository, with all below it; nobody pushes there", "リポジトリとその配下。プッシュはできない"),
    (
        "Where images come from: an https URL without a path, or a known name such as docker.io",
        "取得元: https://HOST、または docker.io などの既知の名前",
    ),
    ("What names begin with there, such as library", "取得元での名前の先頭部分（library など）"),
    ("Host that containerd names with `ns=` for it", "containerd が `ns=` で示すホスト名"),
    ("Host of its token service, if that is another", "トークンサービスのホスト（レジストリと異なる場合）"),
    ("User name there", "そのレジストリでのユーザー名"),
    ("Read the password or token from stdin", "パスワードまたはトークンを標準入力から読む"),
    (
        "How long its answer about a tag holds, in seconds [default: 60]",
        "タグについての回答が有効な秒数 [既定: 60]",
    ),
    ("Show one, with what it mirrors", "1 つを、ミラーの状態とともに表示する"),
    (
        "Fetch these before anybody asks: a repository as the upstream calls it, with a pattern of tags or all",
        "要求を待たずに取得する: 取得元でのリポジトリ名と、タグのパターン（なければすべて）",
    ),
    ("How often they are looked at, in seconds [default: 3600]", "確認の間隔（秒） [既定: 3600]"),
    (
        "Network that it may be in, if that is a private one",
        "そのレジストリがあってもよいプライベートネットワーク",
    ),
    (
        "Set all of one that is there anew; what is not named is gone, its password too",
        "既にあるものの設定をすべて置き換える。指定しない設定はパスワードも含めて消える",
    ),
    (
        "Prefixes that are copied to other registries, and kept there as they are here",
        "他のレジストリへコピーし、最新に保つプレフィックス（レプリケーション）",
    ),
    ("Copy a prefix to another registry from now on", "プレフィックスを他のレジストリへ継続的にコピーする"),
    ("List replications, and how far each is behind", "レプリケーションと、それぞれの遅れを一覧表示する"),
    (
        "What it copied, and what is not there yet and why",
        "コピー済みのものと、まだコピー先にないもの（理由付き）を表示する",
    ),
    (
        "Only what is not there as it is here; exits 1 when there is such",
        "コピー先がまだ同じでないものだけを表示する。あれば終了コード 1",
    ),
    ("Have everything of it looked at again now", "すべてを今すぐ確認し直す"),
    ("End it; what was copied stays", "終了する（コピーしたものは残る）"),
    ("Name of the replication", "レプリケーションの名前"),
    ("What it is called, such as edge", "名前（edge など）"),
    (
        "Where they are copied to: an https URL without a path, or a known name such as ghcr.io",
        "コピー先: https://HOST、または ghcr.io などの既知の名前",
    ),
    (
        "What names begin with there, instead of PREFIX [default: they stay]",
        "コピー先での名前の先頭部分（PREFIX の代わり） [既定: 同じ名前]",
    ),
    (
        "Copy tags of this name alone; `*` stands for any characters",
        "この名前のタグだけをコピーする。`*` は任意の文字列",
    ),
    ("Delete tags there that are deleted here", "ここで削除したタグをコピー先でも削除する"),
    (
        "Delete a tag, or a manifest by digest with all its tags",
        "タグを削除する。ダイジェスト指定ではマニフェストをすべてのタグごと削除する",
    ),
    ("REPOSITORY:TAG or REPOSITORY@DIGEST", "REPOSITORY:TAG または REPOSITORY@DIGEST"),
    (
        "REPOSITORY:TAG, REPOSITORY:TAG@DIGEST or REPOSITORY@DIGEST",
        "REPOSITORY:TAG、REPOSITORY:TAG@DIGEST、または REPOSITORY@DIGEST",
    ),
    ("Containers on all hosts", "全ホストのコンテナー"),
    (
        "List containers with the verdict and the findings of their images",
        "コンテナーを、イメージの判定と検出結果とともに一覧する",
    ),
    (
        "May this container run here, and how do we know?",
        "このコンテナーをここで実行してよいか、その根拠は何か",
    ),
    ("Name, beginning of the id, or HOST/NAME", "名前、ID の先頭、または HOST/NAME"),
    ("Only on this host", "このホストだけ"),
    ("Only those whose image has a known vulnerability", "イメージに既知の脆弱性があるものだけ"),
    ("Machines whose containers are known", "コンテナーが把握されているマシン"),
    ("List hosts", "ホストを一覧する"),
    (
        "May this be pulled from there, or run, and how do we know?",
        "そこからプルしてよいか、実行してよいか、その根拠は何か",
    ),
    ("Image", "イメージ"),
    ("Judge a local image as if it stood there", "ローカルイメージをその場所にあるものとして判定する"),
    ("What is to be done with it", "用途"),
    (
        "How the container is to run, YAML or JSON, `-` for stdin [default: a plain `docker run IMAGE`]",
        "コンテナーの起動設定 (YAML または JSON、`-` は標準入力) [既定: 追加指定のない `docker run IMAGE`]",
    ),
    ("Use these policies and no server", "サーバーを使わず、これらのポリシーで判定する"),
    ("Wait this long for a pending answer, such as 30s or 2m", "判定待ちの間この時間まで待つ。例: 30s、2m"),
    ("Use these advisories and no server", "サーバーを使わず、これらの脆弱性フィードを使う"),
    ("Findings of an image, with remedies", "イメージの検出結果と対処方法"),
    ("Exit 1 when there is a finding like this", "該当する検出結果があれば終了コード 1 を返す"),
    ("Show everything known about one vulnerability", "1 つの脆弱性について分かっていることをすべて表示する"),
    ("Wait this long for the inspection", "検査をこの時間まで待つ"),
    ("Findings over all images", "全イメージの検出結果"),
    ("Images that have a vulnerability", "ある脆弱性を持つイメージ"),
    ("Vulnerability, by any of its names", "脆弱性。どの別名でもよい"),
    ("Advisory feeds", "脆弱性フィード"),
    (
        "Import files, folders, .tar.zst and .zip; formats are recognised by content",
        "ファイル、フォルダー、.tar.zst、.zip を取り込む。形式は内容から判別する",
    ),
    ("What to import", "取り込むもの"),
    ("Loaded feeds", "読み込み済みのフィード"),
    ("Past imports", "取り込みの履歴"),
    (
        "Compare two versions: prints <, =, > or `invalid: why`",
        "2 つのバージョンを比較し、<、=、> または `invalid: 理由` を出力する",
    ),
    ("Whose rules, such as deb", "どの規則で比較するか。例: deb"),
    ("First version, or - for stdin", "1 つ目のバージョン。- なら標準入力"),
    ("Second version", "2 つ目のバージョン"),
    ("Policies", "ポリシー"),
    ("Make a policy file the active version of its name", "ポリシーファイルをその名前の有効な版にする"),
    ("The file", "ファイル"),
    ("List active policies", "有効なポリシーを一覧する"),
    ("Show one with its source", "ソースを含めて 1 つ表示する"),
    (
        "What changes from one policy to another; exit 1 when something does",
        "2 つのポリシーの違いを表示する。違いがあれば終了コード 1 を返す",
    ),
    ("File, or name of an active policy", "ファイル、または有効なポリシーの名前"),
    ("Also name the stored images whose verdict would change", "判定が変わる保存済みイメージも表示する"),
    (
        "Run cases written as files against the policies of a folder",
        "ファイルに書いたケースを、フォルダーのポリシーに対して実行する",
    ),
    ("The folder", "フォルダー"),
    ("Judge as if it were this moment", "この時刻として判定する"),
    ("Time-limited accepted risks", "期限付きで受け入れたリスク（例外承認）"),
    ("Ask for an exception; somebody else approves it", "例外承認を申請する。承認は別の人が行う"),
    ("Repository or pattern", "リポジトリまたはパターン"),
    ("Rule, such as prod/vulns", "ルール。例: prod/vulns"),
    ("Only this vulnerability", "この脆弱性だけ"),
    ("Only this source package", "このソースパッケージだけ"),
    ("Who answers for the risk", "リスクの責任者"),
    ("Why", "理由"),
    ("Until when, at most 90 days", "期限。最長 90 日"),
    ("Approve one that somebody else asked for", "他の人の申請を承認する"),
    ("Exception id", "例外承認の ID"),
    ("List exceptions", "例外承認を一覧する"),
    ("Take one back", "取り消す"),
    ("The tamper-evident record of who did what", "誰が何をしたかの、改ざんを検知できる記録（監査証跡）"),
    ("List records, newest first", "新しい順に記録を一覧する"),
    ("Only this actor", "この実行者だけ"),
    ("Only this act, such as manifest.push", "この操作だけ。例: manifest.push"),
    ("Only objects that begin with this", "この文字列で始まる対象だけ"),
    ("Only since this moment", "この時刻以降だけ"),
    ("At most so many", "最大件数"),
    (
        "Compare everything that is kept twice; exit 1 names what differs",
        "二重に保存したものをすべて照合する。違いがあれば示して終了コード 1 を返す",
    ),
    ("Everything is compared with or without it", "指定の有無にかかわらず、すべてを照合する"),
    (
        "Print a record with the proof that it is in the signed ledger",
        "記録と、署名済みの監査証跡に含まれる証明を出力する",
    ),
    ("Its index", "番号"),
    (
        "Measure this installation, or another product beside it",
        "この環境、または並べた他製品の性能を測定する",
    ),
    (
        "Cold scans of a local image, each in a process of its own, beside a peer's",
        "ローカルイメージのコールドスキャンを 1 回ごとに別プロセスで行い、他製品と並べて測定する",
    ),
    (
        "Image: docker:NAME, oci:DIR[:TAG], docker-archive:FILE",
        "イメージ: docker:NAME、oci:DIR[:TAG]、docker-archive:FILE",
    ),
    ("Image: oci:DIR[:TAG]", "イメージ: oci:DIR[:TAG]"),
    ("Advisories: files or folders", "脆弱性フィード: ファイルまたはフォルダー"),
    ("How often each side runs", "それぞれの実行回数"),
    ("A command of another product, run alternately with ours", "交互に実行する他製品のコマンド"),
    ("Matching and deciding, without a server", "照合と判定（サーバーなし）"),
    (
        "From push to verdict, on a server of its own in a directory of its own",
        "専用のサーバーとディレクトリで、プッシュから判定までを測定する",
    ),
    (
        "Lists and pages of many containers, on a server of its own in a directory of its own",
        "専用のサーバーとディレクトリで、多数のコンテナーの一覧とページを測定する",
    ),
    (
        "From a package to every image that has it, in an index of very many images",
        "多数のイメージの索引で、パッケージからそれを含むすべてのイメージを引く",
    ),
    ("Images in the index", "索引に入れるイメージの数"),
    (
        "Pages of very many findings, and one advisory's way to a container that runs",
        "多数の検出結果のページと、1 件の勧告が実行中コンテナーに届くまでの時間を測定する",
    ),
    (
        "What an agent costs beside the Docker engine of `DOCKER_HOST`, and how soon it sees a start",
        "`DOCKER_HOST` の Docker エンジンの横で動くエージェントの負荷と、起動を検知するまでの時間を測定する",
    ),
    ("Images, no two of which have the same packages", "パッケージ構成が互いに異なるイメージの数"),
    ("Packages of each image, all with one vulnerability", "各イメージのパッケージ数（それぞれ脆弱性 1 件）"),
    (
        "Versions of each package that are about: a remedy is for one of them",
        "各パッケージに存在するバージョンの数（対処方法はバージョンごと）",
    ),
    (
        "A tar file of a root directory with `/bin/sleep`, imported as the image of all containers",
        "`/bin/sleep` を含むルートディレクトリの tar ファイル。全コンテナーのイメージとして取り込む",
    ),
    ("Containers that run meanwhile", "その間に動かすコンテナーの数"),
    ("How long each state is watched, in seconds", "各状態を観測する時間（秒）"),
    (
        "Many hosts that joined, each with a connection of its own, on a server of its own",
        "専用のサーバーで、参加した多数のホストがそれぞれ接続して報告する",
    ),
    ("Hosts, each with ten containers", "コンテナーを 10 個ずつ持つホストの数"),
    ("How long they report, in seconds", "報告を続ける時間（秒）"),
    ("Containers that one host reports", "1 台のホストが報告するコンテナーの数"),
    ("How many servers live and die", "起動と停止を繰り返すサーバーの回数"),
    ("Print a completion script", "補完スクリプトを出力する"),
    ("Which shell", "シェルの種類"),
    // Hosts.
    (
        "Print a token that lets one host join, once",
        "ホスト 1 台を参加させる、一度だけ使えるトークンを表示する",
    ),
    ("Name that the host gets [default: its host name]", "ホストに付ける名前 [既定: ホスト名]"),
    ("For how long, such as 30m or 2h", "有効期間。例: 30m、2h"),
    (
        "Join this machine to the fleet of a server; reads the token from stdin",
        "このマシンをサーバーの管理対象に加える。トークンは標準入力から読み取る",
    ),
    ("The HTTPS door of the server", "サーバーの HTTPS の入口"),
    ("Read the token from this file", "トークンをこのファイルから読み取る"),
    ("What this host calls itself [default: its host name]", "このホストの名前 [既定: ホスト名]"),
    (
        "Take a host out of the fleet, with its containers; its certificate ends at once",
        "ホストをコンテナーとともに管理対象から外す。証明書は直ちに無効になる",
    ),
    (
        "Address of the HTTPS door, which agents of other machines use [default: [::]:8443 with `--domain`, else closed]",
        "他のマシンのエージェントが使う HTTPS の入口のアドレス [既定: `--domain` があれば [::]:8443、なければ閉じる]",
    ),
    ("Name of this installation for other machines", "他のマシンから見たこのサーバーの名前"),
    // Alerts.
    ("What people are told, and where it is sent", "通知する内容と送信先"),
    ("List alerts, newest first", "アラートを新しい順に一覧する"),
    ("How many", "件数"),
    ("Where alerts are sent", "アラートの送信先"),
    ("Messages that could not be delivered", "配信できなかったメッセージ"),
    (
        "Create a target; the secret of a webhook is shown once",
        "送信先を作成する。Webhook の秘密は一度だけ表示される",
    ),
    (
        "Address of the webhook, or `-` to read it from stdin",
        "Webhook のアドレス。`-` は標準入力から読み取る",
    ),
    ("Mail address", "メールアドレス"),
    (
        "Only this event, such as container.blocked or manifest.push [default: all alerts]",
        "このイベントのみ。container.blocked、manifest.push など [既定: すべてのアラート]",
    ),
    (
        "Of the registry only this repository, with all below it [default: all]",
        "レジストリのイベントはこのリポジトリとその配下のみ [既定: すべて]",
    ),
    (
        "Form of the webhook's body: acr is that of Azure's registry",
        "Webhook の本文の形式。acr は Azure のレジストリの形式",
    ),
    (
        "Private network that the webhook may lie in, such as 10.0.0.0/8",
        "Webhook の送信を許可するプライベートネットワーク。例: 10.0.0.0/8",
    ),
    ("Show one token with its secrets' ids", "トークンを、秘密の ID とともに表示する"),
    ("Delete one token with its secrets", "トークンを、その秘密とともに削除する"),
    ("List targets", "送信先を一覧する"),
    ("Show one, and how its deliveries go", "送信先と配信状況を表示する"),
    ("Delete one with the messages that wait for it", "送信先を、配信待ちのメッセージとともに削除する"),
    ("Send a test; exits 1 when it was not delivered", "テストを送信する。配信できなければ終了コード 1"),
    ("List messages that were given up, newest first", "配信を断念したメッセージを新しい順に一覧する"),
    ("Send one again, under the same id", "同じ ID で再送する"),
    ("Message id", "メッセージ ID"),
    // What the registry keeps.
    ("What the registry keeps, and whether it is all there", "レジストリが保持するものと、その整合性"),
    ("List what was deleted and can be restored", "削除済みで復元できるものを一覧する"),
    (
        "Bring a deleted tag back with its manifest, or a deleted manifest with its tags",
        "削除したタグをマニフェストとともに、または削除したマニフェストをタグとともに復元する",
    ),
    (
        "Why a blob or manifest is still here, and who uses it",
        "blob やマニフェストが残っている理由と、使用しているものを表示する",
    ),
    (
        "DIGEST of a manifest, an index, a config or a layer",
        "マニフェスト、インデックス、構成、レイヤーのいずれかのダイジェスト",
    ),
    (
        "Compare what is stored with what is known; exits 1 when they do not agree",
        "保存内容と記録を照合する。一致しなければ終了コード 1",
    ),
    ("Read all bytes, too", "すべてのバイトも読み取る"),
    (
        "Show what a repair would do: keep damaged blobs from readers, remove files that nobody knows",
        "修復の内容を表示する: 破損した blob を読み取り不可にし、記録のないファイルを削除する",
    ),
    ("Do it", "実行する"),
    (
        "What would be collected, when, and why; collection itself needs no command",
        "回収されるものと時期、理由を表示する。回収そのものに操作は不要",
    ),
    ("Change nothing", "何も変更しない"),
    ("Rules of which tags repositories keep", "リポジトリが保持するタグのルール"),
    ("List rules", "ルールを一覧する"),
    (
        "Set the rules of repositories at and below a prefix, in place of those it had",
        "接頭辞とその配下のリポジトリのルールを設定する (以前のルールは置き換える)",
    ),
    (
        "Repositories at and below it, such as prod or team/app; `*` is all",
        "対象のリポジトリの接頭辞。例: prod、team/app。`*` はすべて",
    ),
    (
        "What becomes of each tag, and by which rule; nothing is removed",
        "各タグの扱いと、その根拠のルールを表示する。何も削除しない",
    ),
    ("Repository", "リポジトリ"),
    ("Keep the tags that were set last", "最後に設定されたタグを保持する"),
    ("Keep what was pulled within so many days", "この日数以内にプルされたものを保持する"),
    ("Keep tags of this name; `*` stands for any characters", "この名前のタグを保持する。`*` は任意の文字列"),
    ("Remove other tags that were set longer ago", "それより前に設定された他のタグを削除する (日数)"),
    (
        "Collect manifests that nothing leads to after so many days",
        "どこからも参照されないマニフェストを、この日数の後に回収する",
    ),
    ("Keep manifests that nothing leads to", "どこからも参照されないマニフェストを保持する"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(command: &Command, path: &str, out: &mut Vec<String>) {
        let mut ask = |place: String, text: Option<String>| match text {
            None => out.push(format!("{place} has no help")),
            Some(text) if say(&text).is_none() => out.push(format!("{place}: {text}")),
            Some(_) => {}
        };
        ask(path.to_owned(), command.get_about().map(ToString::to_string));
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            ask(format!("{path} <{}>", arg.get_id()), arg.get_help().map(ToString::to_string));
        }
        for sub in command.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help") {
            missing(sub, &format!("{path} {}", sub.get_name()), out);
        }
    }

    #[test]
    fn every_verb_and_flag_has_a_japanese_text() {
        let mut english = Cli::command();
        english.build();
        let mut out = Vec::new();
        missing(&english, "seaworthy", &mut out);
        assert!(out.is_empty(), "{out:#?}");
    }

    #[test]
    fn no_japanese_text_is_left_over() {
        fn all(command: &Command, out: &mut String) {
            out.push_str(&command.clone().render_long_help().to_string());
            out.push('\n');
            command.get_subcommands().for_each(|sub| all(sub, out));
        }
        let mut help = String::new();
        let mut japanese = command(Language::Japanese).term_width(0);
        japanese.build();
        all(&japanese, &mut help);
        let unused: Vec<&str> =
            texts().map(|(_, japanese)| *japanese).filter(|text| !help.contains(text)).collect();
        assert!(unused.is_empty(), "{unused:#?}");
        for word in [
            "Usage:",
            "Options:",
            "Commands:",
            "Arguments:",
            "Print help",
            "Examples:",
            "[default:",
            "[alias",
            "[possible",
        ] {
            assert!(!help.contains(word), "`{word}` is English");
        }
    }

    #[test]
    fn both_languages_take_the_same_words() {
        for language in [Language::English, Language::Japanese] {
            let words = ["seaworthy", "--data", "/d", "check", "prod/web:1", "-o", "json", "--wait", "3s"];
            let matches = command(language).try_get_matches_from(words).expect("valid");
            assert_eq!(matches.subcommand_name(), Some("check"));
            for word in ALIASES {
                let words = ["seaworthy", "registry", "rules", word, "dev"];
                assert!(command(language).try_get_matches_from(words).is_ok(), "{word}");
            }
            assert!(command(language).try_get_matches_from(["seaworthy", "launch"]).is_err());
        }
    }
}
