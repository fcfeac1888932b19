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
    ("`{}` in `{}` is no action of a scope map", "`{1}` の `{0}` はスコープマップの操作ではありません"),
    ("write some of {}", "次の中から指定してください: {0}"),
    ("`{}` in `{}` names no repositories", "`{1}` の `{0}` はリポジトリを指していません"),
    (
        "write dev for dev alone, dev/* for what lies below it, * for all",
        "dev は dev のみ、dev/* はその配下、* はすべてを表します",
    ),
    ("the password or token on stdin is empty", "標準入力のパスワードまたはトークンが空です"),
    ("give it as `--password-stdin < FILE`", "`--password-stdin < FILE` のように渡してください"),
    ("`{}` is no number, nor `none`", "`{0}` は数でも `none` でもありません"),
    (
        "`{}` is no number of bytes; write one like 200GiB, 500MB or 1048576, or `none`",
        "`{0}` はバイト数ではありません。200GiB、500MB、1048576 または `none` のように指定してください",
    ),
    (
        "`none` is no pattern; `--immutable ''` takes all patterns away",
        "`none` はパターンではありません。`--immutable ''` ですべてのパターンを外せます",
    ),
    ("`{}` is no token", "`{0}` はトークンではありません"),
    ("see `seaworthy principal show {}`", "`seaworthy principal show {0}` を参照してください"),
    // Of the command line, for which the other table has no room.
    ("run `seaworthy login {}`", "`seaworthy login {0}` を実行してください"),
    ("workloads that could not run: {}", "実行できなかった負荷: {0}"),
    ("alert message", "アラートのメッセージ"),
    ("package type `{}` is not known", "パッケージの種類 `{0}` は不明です"),
    ("`{}` is no {} id", "`{0}` は {1} の ID ではありません"),
    ("`{}` is no digest", "`{0}` はダイジェストではありません"),
    ("write `{}` alone", "`{0}` だけを指定してください"),
    (
        "`seaworthy image show {}` says which digests it has",
        "ダイジェストは `seaworthy image show {0}` で確認できます",
    ),
    ("write one like `sha256:9c1e…`", "`sha256:9c1e…` のように指定してください"),
    ("see `seaworthy image deleted`", "`seaworthy image deleted` を参照してください"),
    ("roles", "ロール"),
    ("client secrets", "クライアントシークレット"),
    ("role assignments", "ロールの割り当て"),
    ("scope map", "スコープマップ"),
    ("scope maps", "スコープマップ"),
    ("built-in scope map", "組み込みのスコープマップ"),
    ("built-in role", "組み込みのロール"),
    ("role assignment", "ロールの割り当て"),
    ("bytes", "バイト数"),
    ("tags", "タグ数"),
    ("repositories", "リポジトリ数"),
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
    (
        "rules for `{}` need the right to {} there and below",
        "`{0}` のルールの設定には、そことその配下のすべてでの {1} の権限が必要です",
    ),
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
        "`{0}` のクォータを超えます。{3}の上限 {2} のうち {1} を使用中で、さらに {4} は入りません",
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
        "it knows `manifest.push`, `.quarantine`, `.release`, `.delete`, `.collect` and `repository.delete`",
        "使えるのは `manifest.push`、`.quarantine`、`.release`、`.delete`、`.collect`、`repository.delete` です",
    ),
    ("`{}` is no line of a scope map", "`{0}` はスコープマップの行ではありません"),
    (
        "write `repositories/NAME/ACTION`, where NAME may end in `/*` or be `*`, and ACTION is content/read, \
         content/write, content/delete, metadata/read or metadata/write",
        "`repositories/NAME/ACTION` の形で指定してください。NAME は `/*` で終わるか `*` でもよく、ACTION は content/read、\
         content/write、content/delete、metadata/read、metadata/write のいずれかです",
    ),
    (
        "a scope map has 1 to {} lines, this one has {}",
        "スコープマップの行数は 1 から {0} までです。指定されたのは {1} 行です",
    ),
    ("{} `{}` is in use, by `{}` for one", "{0} `{1}` は `{2}` などが使用しています"),
    (
        "`{}` is a token: its scope map says what it may do",
        "`{0}` はトークンです。許可される操作はスコープマップで決まります",
    ),
    (
        "change that with `seaworthy scope-map set`, or give the token another one",
        "`seaworthy scope-map set` で変更するか、トークンに別のスコープマップを割り当ててください",
    ),
    (
        "`{}` is no token: its roles say what it may do",
        "`{0}` はトークンではありません。許可される操作はロールで決まります",
    ),
    ("use `seaworthy role assign`", "`seaworthy role assign` を使ってください"),
    ("a secret lasts 1 to {} days", "シークレットの有効期間は 1 日から {0} 日までです"),
    ("its scope map has `{}` at `{}`", "スコープマップが `{1}` で `{0}` を許可しています"),
    (
        "a token has a `scope_map`, and no `role`",
        "トークンには `scope_map` を指定します。`role` は指定できません",
    ),
    (
        "`scope_map` and `days` are for tokens: set `kind` to `token`",
        "`scope_map` と `days` はトークン用です。`kind` を `token` にしてください",
    ),
    (
        "`{}` is not like `dev/web=content/read,content/write`",
        "`{0}` は `dev/web=content/read,content/write` の形ではありません",
    ),
    (
        "`quarantineState` is neither `Passed` nor `Failed`",
        "`quarantineState` は `Passed` でも `Failed` でもありません",
    ),
    ("the details of a quarantine are longer than {} bytes", "隔離の詳細が {0} バイトを超えています"),
    ("`{}@{}` was rejected by itself", "`{0}@{1}` は単独で不合格とされています"),
    (
        "let it out first, if it may be pulled: `seaworthy image release {}@{}`",
        "プルしてよいものなら、先に隔離を解除してください: `seaworthy image release {0}@{1}`",
    ),
    (
        "the operation is disallowed: `{}` is in quarantine",
        "この操作は許可されていません。`{0}` は隔離されています",
    ),
    (
        "who may `quarantine/write` lets it out: `seaworthy image release {}@{}`",
        "`quarantine/write` の権限があれば `seaworthy image release {0}@{1}` で解除できます",
    ),
    ("no cache here answers for `{}`", "`{0}` に対応するキャッシュがありません"),
    (
        "make one: `seaworthy registry cache create hub --upstream docker.io`",
        "作成してください: `seaworthy registry cache create hub --upstream docker.io`",
    ),
    (
        "more than {} manifests would leave quarantine at once",
        "一度に隔離を解除するマニフェストが {0} 件を超えます",
    ),
    ("let the images of the index out one by one", "インデックスのイメージを 1 件ずつ解除してください"),
    (
        "`{}` is no registry: it is `http://HOST:PORT` or `https://HOST:PORT`",
        "`{0}` はレジストリではありません。`http://HOST:PORT` または `https://HOST:PORT` で指定してください",
    ),
    ("no upstream: {}", "取得元を用意できません: {0}"),
    (
        "nothing was collected while it was read: ask for more `--rows`",
        "読み取り中に何も回収されませんでした。`--rows` を増やしてください",
    ),
    ("{} of {} bytes", "{1} バイト中 {0} バイト"),
    ("more than {} patterns of immutable tags", "変更できないタグのパターンが {0} 件を超えています"),
    (
        "`{}` names another image than {}: a copy keeps its digest",
        "`{0}` は {1} とは別のイメージを指しています。コピーのダイジェストは変わりません",
    ),
    ("more than {} manifests would be copied at once", "一度にコピーするマニフェストが {0} 件を超えます"),
    (
        "more than {} bytes of manifests would be copied at once",
        "一度にコピーするマニフェストが {0} バイトを超えます",
    ),
    (
        "more than {} layers and images would be copied at once",
        "一度にコピーするレイヤーとイメージが {0} 件を超えます",
    ),
    (
        "copy the images of an index one by one, or leave behind what refers to them: `--no-referrers`",
        "インデックスのイメージを 1 件ずつコピーするか、`--no-referrers` で参照元を残してください",
    ),
    (
        "`{}` is here, below `{}`: its copies would be copied",
        "`{0}` はここで `{1}` の下にあり、コピーがさらにコピーされます",
    ),
    (
        "name a remote prefix that is not below the prefix, or another registry",
        "プレフィックスの下でないリモートプレフィックスか、別のレジストリを指定してください",
    ),
    ("the database is away", "データベースに接続できません"),
    ("the database does not answer", "データベースが応答しません"),
    (
        "the rules of `{}` keep its cache from storing `{}`",
        "`{0}` のルールにより、キャッシュは `{1}` を保存しません",
    ),
    (
        "`seaworthy registry rules set {} --promotion-only=false` lets it",
        "`seaworthy registry rules set {0} --promotion-only=false` で保存できます",
    ),
    ("`{}` stays {} here, and is {} at its upstream", "`{0}` はここでは {1} のままで、上流では {2} です"),
    (
        "copy what is here: `seaworthy image promote {} …`",
        "ここにあるものは `seaworthy image promote {0} …` でコピーできます",
    ),
    ("`{}` has images that came from `{}`", "`{0}` に `{1}` から来たイメージがあります"),
    (
        "choose another prefix for another upstream, or delete what came from there",
        "別の上流には別のプレフィックスを使うか、そこから来たものを削除してください",
    ),
    (
        "make one: `seaworthy registry cache create PREFIX --upstream {}`",
        "`seaworthy registry cache create PREFIX --upstream {0}` で作れます",
    ),
    ("what `{}` is at its upstream now is not known: {}", "`{0}` が上流で現在何を指すかわかりません: {1}"),
    (
        "try again, or copy what is here: `seaworthy image promote {} …`",
        "再試行するか、ここにあるものを `seaworthy image promote {0} …` でコピーしてください",
    ),
    (
        "name an image by its digest: a tag may move",
        "イメージをダイジェストで指定してください。タグは移動することがあります",
    ),
    ("`{}` has no manifest `{}` any more", "`{0}` のマニフェスト `{1}` はもうありません"),
    ("nobody pushes to `{}`: `{}` is a cache", "`{0}` にはプッシュできません。`{1}` はキャッシュです"),
    (
        "it holds what its upstream has: push there, or to another repository",
        "キャッシュには取得元の内容だけが入ります。取得元か別のリポジトリへプッシュしてください",
    ),
    ("`{}` is no cache", "`{0}` はキャッシュではありません"),
    ("`{}` is no name of a replication", "`{0}` はレプリケーションの名前ではありません"),
    ("write letters and digits, such as `edge`", "`edge` のように、英数字で指定してください"),
    ("there is no replication `{}`", "レプリケーション `{0}` はありません"),
    (
        "`seaworthy registry replication list` shows them",
        "`seaworthy registry replication list` で一覧を表示できます",
    ),
    ("there are {} replications already", "レプリケーションが既に {0} 個あります"),
    ("more than {} patterns of tags", "タグのパターンが {0} 個を超えています"),
    ("what it refers to is not there: `{}`", "参照先 `{0}` がコピー先にありません"),
    ("a mirror is looked at every {} to {} s", "ミラーの確認の間隔は {0} 秒から {1} 秒です"),
    ("more than {} repositories are mirrored", "ミラーするリポジトリが {0} 個を超えています"),
    ("`{}` has no name here", "`{0}` に対応する名前がここにはありません"),
    (
        "name it as the upstream does, below `--remote-prefix` if there is one",
        "取得元での名前を指定してください。`--remote-prefix` がある場合はその配下に限ります",
    ),
    (
        "write the upstream's repository and a pattern of tags, such as `library/alpine:3.*`",
        "`library/alpine:3.*` のように、取得元のリポジトリとタグのパターンを指定してください",
    ),
    ("replication `{}` was changed meanwhile", "レプリケーション `{0}` はその間に変更されました"),
    ("look at it, and try again", "内容を確認してから、もう一度実行してください"),
    ("the name of `{}` would be too long there", "`{0}` のコピー先での名前が長すぎます"),
    ("`{}` changed meanwhile", "`{0}` はその間に変わりました"),
    (
        "`{}` names a tag and a manifest, and each has locks of its own",
        "`{0}` はタグとマニフェストを同時に指しています。ロックはそれぞれにあります",
    ),
    ("`{}` is a cache already", "`{0}` は既にキャッシュです"),
    ("`{}` is a replication already", "レプリケーション `{0}` は既に存在します"),
    (
        "`--replace` sets all of it anew: what is not named is gone, its password too",
        "`--replace` ですべて設定し直せます。指定しない設定はパスワードも含めて消えます",
    ),
    ("there are {} caches already", "キャッシュが既に {0} 個あります"),
    ("a cache is not for all repositories", "すべてのリポジトリをキャッシュにすることはできません"),
    ("name a prefix, such as `hub`", "`hub` などのプレフィックスを指定してください"),
    ("`{}` is no address of a registry", "`{0}` はレジストリのアドレスではありません"),
    (
        "write scheme and host alone, such as `https://registry.example.com`",
        "`https://registry.example.com` のように、スキームとホストだけを指定してください",
    ),
    ("`{}` is no name of a host", "`{0}` はホスト名ではありません"),
    (
        "write a host alone, such as `auth.docker.io`",
        "`auth.docker.io` のように、ホストだけを指定してください",
    ),
    (
        "plain HTTP to `{}` is for a network that is named",
        "`{0}` への平文の HTTP は、指定したネットワークに限られます",
    ),
    (
        "use https, or name the network with `--allow-network`",
        "https を使うか、`--allow-network` でネットワークを指定してください",
    ),
    ("a check holds for at most {} s", "確認が有効な時間は最大 {0} 秒です"),
    (
        "more than {} hosts or networks of one kind",
        "ホストまたはネットワークが 1 種類につき {0} 個を超えています",
    ),
    (
        "the user name or password has more than {} bytes",
        "ユーザー名またはパスワードが {0} バイトを超えています",
    ),
    (
        "the user name or password has letters that none has",
        "ユーザー名またはパスワードに使えない文字があります",
    ),
    ("a user name and a password go together", "ユーザー名とパスワードは両方指定してください"),
    ("`{}` is the cache that answers for `{}` already", "`{1}` には既にキャッシュ `{0}` が応答しています"),
    (
        "`{}` has images that were pushed: a cache takes none",
        "`{0}` にはプッシュされたイメージがあるため、キャッシュにできません",
    ),
    ("choose a prefix that has no repositories", "リポジトリのないプレフィックスを選んでください"),
    ("no cache here answers for `{}` of `{}`", "`{1}` の `{0}` に応答するキャッシュはここにはありません"),
    (
        "not all layers of `{}@{}` came from its upstream yet",
        "`{0}@{1}` のレイヤーの一部が取得元からまだ届いていません",
    ),
    ("pull it once, and try again", "一度プルしてから、やり直してください"),
    ("upstream `{}` refuses: it answered {}", "取得元 `{0}` に拒否されました（応答: {1}）"),
    ("upstream `{}` answered {}", "取得元 `{0}` の応答は {1} でした"),
    (
        "`{}` is {}, which is not of the internet and not in a network that the cache allows",
        "`{0}` は {1} で、インターネット上になく、キャッシュの許可したネットワークにもありません",
    ),
    ("failed to connect to `{}`: {}", "`{0}` に接続できません: {1}"),
    ("the connection to `{}` ended early: {}", "`{0}` との接続が途中で切れました: {1}"),
    ("the connection to `{}` ended early", "`{0}` との接続が途中で切れました"),
    ("upstream `{}` does not have it", "取得元 `{0}` にはありません"),
    ("the server is shutting down", "サーバーは終了処理中です"),
    ("failed to seal the password of a cache", "キャッシュのパスワードを封印できません"),
    ("upstream `{}` gave no answer in time", "取得元 `{0}` から時間内に応答がありません"),
    ("upstream `{}` leads astray: {}", "取得元 `{0}` の案内には従えません: {1}"),
    ("upstream `{}` sent something wrong: {}", "取得元 `{0}` から正しくない内容が届きました: {1}"),
    (
        "upstream `{}` failed lately and is not asked for {} s",
        "取得元 `{0}` に問題があったため、{1} 秒間は問い合わせません",
    ),
    (
        "give the cache a user name and password of the upstream, or wait",
        "キャッシュに取得元のユーザー名とパスワードを設定するか、時間をおいてください",
    ),
    (
        "see whether it exists there, and whether the cache has the user name and password that the upstream wants",
        "取得元に存在するか、キャッシュに必要なユーザー名とパスワードが設定されているかを確認してください",
    ),
    (
        "allow its network with `--allow-network`, if it is meant",
        "意図した接続先であれば、`--allow-network` でネットワークを許可してください",
    ),
];
