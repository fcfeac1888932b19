//! Help of `bench registry`.

pub(super) const TEXTS: &[(&str, &str)] = &[
    (
        "What a registry costs its machine: this one, or any that speaks plain HTTP",
        "レジストリがマシンに掛ける負荷を測定する（この製品、または HTTP で話す任意のレジストリ）",
    ),
    (
        "A registry's address; without one, a server of this binary is started in a directory of its own",
        "レジストリのアドレス。省略時は専用ディレクトリでこのバイナリのサーバーを起動する",
    ),
    (
        "The process of the registry at URL, for its processor time and memory",
        "URL のレジストリのプロセス番号（CPU 時間とメモリの測定用）",
    ),
    (
        "The directory of the registry at URL, for files and bytes on disk",
        "URL のレジストリのディレクトリ（ディスク上のファイル数とバイト数の測定用）",
    ),
    (
        "Runs the registry at URL, which the bench starts, kills and starts again: for `kill` and `cold`, and in the place of `--pid`",
        "URL のレジストリを実行するコマンド。ベンチが起動、強制終了、再起動する（`kill` と `cold` 用。`--pid` の代わりになる）",
    ),
    (
        "Collects at URL what nobody needs: for `collect`",
        "URL のレジストリで不要なデータを回収するコマンド（`collect` 用）",
    ),
    (
        "Where the bench is the upstream that the registry at URL is a cache of: for `pull-through`",
        "URL のレジストリがキャッシュする上流として、ベンチが待ち受けるアドレス（`pull-through` 用）",
    ),
    (
        "What names of the upstream's repositories begin with at URL",
        "URL のレジストリで上流のリポジトリ名の前に付く接頭辞",
    ),
    (
        "Who asks; the password is read from `SEAWORTHY_BENCH_PASSWORD`",
        "要求者の名前。パスワードは `SEAWORTHY_BENCH_PASSWORD` から読む",
    ),
    ("Only these workloads, by comma", "指定した負荷だけを実行する（コンマ区切り）"),
    (
        "Inspect nothing: what a push costs the registry alone",
        "検査を行わない（レジストリ単独のプッシュ負荷を測る）",
    ),
    (
        "Fill the memory with cached nothing first: in a virtual machine, the host may have to find each page that is new, and that is measured too",
        "先にメモリをキャッシュで満たす（仮想マシンではホストによる新しいページの割り当ても測定値に含まれるため）",
    ),
    ("Large blobs pushed; four times as many are pulled", "プッシュする大きな blob の数（プルはその 4 倍）"),
    ("Size of a large blob, in MiB", "大きな blob のサイズ（MiB）"),
    ("Requests of each small kind; a quarter as many pushes", "小さな要求の数（プッシュはその 4 分の 1）"),
    (
        "Tags of one repository; a tenth as many repositories and referrers",
        "1 つのリポジトリのタグの数（リポジトリとリファラーはその 10 分の 1）",
    ),
    (
        "Slow uploads, and as many slow downloads, at once",
        "同時に行う低速アップロードの数（低速ダウンロードも同数）",
    ),
    ("How long each slow one takes, in seconds", "低速の転送 1 件に掛かる時間（秒）"),
    (
        "A server of this binary in turn with it, for what one costs in parts of the other",
        "このバイナリのサーバーと交互に測定し、負荷の比も求める",
    ),
    (
        "Runs of all workloads, each with names and bytes of its own",
        "すべての負荷を繰り返す回数（毎回、別の名前とバイト列を使う）",
    ),
    ("How often a server is killed while it is written to", "書き込み中のサーバーを強制終了する回数"),
];
