//! What is typed, and what people read: tables, wrong words, words that mean the same.

use std::fs;

use serde_json::{Value, json};

use crate::{
    agent::until,
    doors::with_stdin,
    server::{Place, Said, run},
    transfer::{Registry, image},
};

fn table(place: &Place, words: &[&str]) -> String {
    let said = place.cli(&[words, &["-o", "table"]].concat());
    assert_eq!(said.code, 0, "{words:?}: {said:?}");
    assert!(!said.out.contains(['{', '}', '"']), "{words:?} is no table: {}", said.out);
    said.out
}

fn refused(said: &Said, message: &str, hint: &str) {
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains(message) && said.err.contains(hint), "{said:?}");
}

#[test]
fn tables_are_for_people() {
    let registry = Registry::new();
    let place = &registry.place;
    let made = table(place, &["principal", "create", "ci", "--role", "Reader", "--scope", "/"]);
    assert!(made.contains("client_secret  "), "{made}");
    assert!(table(place, &["principal", "show", "ci"]).contains("principal.name "));
    assert!(table(place, &["principal", "credential", "add", "ci"]).contains("client_secret  "));
    assert!(
        table(place, &["token", "create", "tk", "--scope-map", "_repositories_pull"])
            .contains("client_secret  ")
    );
    assert!(table(place, &["role", "show", "Reader"]).contains("permissions "));
    let exception = ["exception", "request", "--repo", "dev/**", "--rule", "prod/vulns", "--owner", "ann"];
    let tomorrow =
        seaworthy_model::Clock::now(&seaworthy_model::SystemClock).plus_seconds(86_400).to_string();
    let more = ["--reason", "none is reachable", "--expires", &tomorrow];
    assert!(table(place, &[&exception[..], &more].concat()).contains("ann"));

    let rules = ["--keep-last", "10", "--keep-tag", "v*", "--keep-tag", "x", "--untagged", "3"];
    registry.done(&[&["registry", "retention", "set", "dev"], &rules[..]].concat());
    let shown = table(place, &["registry", "retention", "list"]);
    assert!(shown.contains("--keep-last 10 --untagged 3 --keep-tag 'v*' --keep-tag 'x'"), "{shown}");

    let one = image("amd64", "99:1", "one");
    for tag in ["1", "2", "3", "4", "5"] {
        one.push(&registry.door, "dev/one", tag);
    }
    for number in 0..25 {
        one.push(&registry.door, &format!("many/{number}"), "1");
    }
    let manifest = table(place, &["image", "explain", &one.digest().to_string()]);
    let lines: Vec<&str> = manifest.lines().collect();
    assert!(lines[0].starts_with("REPOSITORY") && lines[1].contains("1, 2, 3 +2"), "{manifest}");
    assert!(lines[1].contains(" tag "), "{manifest}");
    assert_eq!(lines.len(), 22, "{manifest}");
    assert_eq!(lines[21], "and 6 more: `-o json` has them");
    let layer = table(place, &["image", "explain", &one.layer_digest().to_string()]);
    assert!(layer.starts_with("bytes ") && layer.contains("\nREPOSITORY  MANIFEST"), "{layer}");
    let all = registry.done(&["image", "explain", &one.digest().to_string()]);
    assert_eq!(all["manifests"].as_array().map(Vec::len), Some(26), "JSON has all");
}

#[test]
fn a_repair_says_what_it_would_do_and_how() {
    let registry = Registry::new();
    registry.blob("dev/blob", &vec![7; 1 << 20]);
    let blobs = registry.place.data().join("blobs/registry");
    let folder =
        fs::read_dir(blobs.join("sha256")).expect("folders").next().expect("one").expect("one").path();
    let file = fs::read_dir(folder).expect("files").next().expect("one").expect("one").path();
    fs::write(&file, "short").expect("written");
    let found = registry.place.cli(&["registry", "verify", "-o", "table"]);
    assert!(found.err.contains("run `seaworthy registry repair --apply` first, then push"), "{found:?}");
    let plan = registry.place.cli(&["registry", "repair", "-o", "table"]);
    assert_eq!(plan.code, 1, "{plan:?}");
    assert!(plan.out.contains("WOULD BE\n") && plan.out.contains("marked\n"), "{plan:?}");
    assert!(
        plan.err.contains("nothing was done") && plan.err.contains("`seaworthy registry repair --apply`"),
        "{plan:?}"
    );
    let deep = registry.place.cli(&["registry", "repair", "--deep", "-o", "table"]);
    assert!(deep.err.contains("`seaworthy registry repair --deep --apply`"), "{deep:?}");
    let mut japanese = registry.place.command(&["registry", "repair", "-o", "table"]);
    let japanese = run(japanese.env("SEAWORTHY_LANG", "ja"));
    assert!(japanese.err.contains("何も変更していません"), "{japanese:?}");
    let applied = registry.place.cli(&["registry", "repair", "--apply", "-o", "table"]);
    assert!(applied.out.contains("DONE\n") && applied.out.contains("marked\n"), "{applied:?}");
    assert!(!applied.err.contains("--apply"), "{applied:?}");
    assert!(applied.err.contains("are lost: push the images of these repositories again"), "{applied:?}");
}

#[test]
fn what_rotted_is_repaired_before_it_is_pushed_again() {
    let registry = Registry::new();
    let bytes = vec![7; 1 << 20];
    let digest = registry.blob("dev/blob", &bytes);
    let blobs = registry.place.data().join("blobs/registry");
    let folder =
        fs::read_dir(blobs.join("sha256")).expect("folders").next().expect("one").expect("one").path();
    let file = fs::read_dir(folder).expect("files").next().expect("one").expect("one").path();
    fs::write(&file, vec![8; 1 << 20]).expect("written");
    let verify = |language: &str| {
        let mut command = registry.place.command(&["registry", "verify", "--deep", "-o", "table"]);
        run(command.env("SEAWORTHY_LANG", language))
    };
    let found = verify("en");
    assert!(found.out.contains("rot") && found.code == 1, "{found:?}");
    assert!(
        found.err.contains("run `seaworthy registry repair --deep --apply` first, then push"),
        "{found:?}"
    );
    assert!(verify("ja").err.contains("まず `seaworthy registry repair --deep --apply` を実行し"));
    // As it is said: without the first command the second does nothing.
    assert_eq!(registry.blob("dev/blob", &bytes), digest);
    assert_eq!(verify("en").code, 1);
    assert_eq!(registry.place.cli(&["registry", "repair", "--deep", "--apply"]).code, 1);
    assert!(verify("en").err.contains("are lost: push the images of these repositories again"));
    registry.blob("dev/blob", &bytes);
    assert_eq!(verify("en").code, 0);
}

#[test]
fn locks_are_set_seen_and_taken_away() {
    let registry = Registry::new();
    let one = image("amd64", "99:1", "one");
    for tag in ["1", "2"] {
        one.push(&registry.door, "dev/one", tag);
    }
    let digest = one.digest().to_string();
    let host = format!("localhost:{}", registry.server.port);
    let place = &registry.place;
    let locked = |words: &[&str]| registry.done(&[&["image"], words].concat())["locked"].clone();
    assert_eq!(locked(&["lock", "dev/one:1"]), json!(["write", "delete"]));
    assert_eq!(locked(&["lock", &format!("{host}/dev/one:2"), "--list"]), json!(["list"]));
    assert_eq!(
        locked(&["lock", &format!("dev/one@{digest}"), "--delete", "--list"]),
        json!(["delete", "list"])
    );
    let page = registry.done(&["image", "show", "dev/one:1"]);
    assert_eq!(page["locked"], json!(["delete", "list"]), "{page:#}");
    assert_eq!(page["tags"][0]["locked"], json!(["write", "delete"]), "{page:#}");
    assert_eq!(page["tags"][1]["locked"], json!(["list"]), "{page:#}");
    let page = table(place, &["image", "show", "dev/one:1"]);
    assert!(
        page.contains(
            "locked      delete, list
"
        ),
        "{page}"
    );
    let said = place.cli(&["image", "delete", "dev/one:1"]);
    assert!(said.code != 0 && said.err.contains("is locked by `"), "{said:?}");
    assert_eq!(locked(&["lock", "dev/one", "--read"]), json!(["read"]));
    assert_eq!(registry.door.get("GET", "/v2/dev/one/manifests/2").status, 405);
    assert_eq!(locked(&["unlock", "dev/one"]), json!(["read"]), "no more than write and delete");
    assert_eq!(locked(&["unlock", "dev/one", "--read"]), json!([]));
    assert_eq!(locked(&["unlock", &format!("dev/one@{digest}"), "--list", "--delete"]), json!([]));
    assert!(table(place, &["image", "unlock", "dev/one:1"]).contains(
        "locked      -
"
    ));
    registry.done(&["image", "delete", "dev/one:1"]);

    let both = place.cli(&["image", "lock", &format!("dev/one:2@{digest}")]);
    refused(&both, "names a tag and a manifest", "");
    refused(&place.cli(&["image", "lock", "dev/one:9"]), "`dev/one` has no manifest `9`", "");
    refused(&place.cli(&["image", "lock", "dev/none"]), "`dev/none`", "");
}

#[test]
fn locks_are_set_from_afar_by_whom_they_belong_to() {
    let registry = Registry::new();
    let place = &registry.place;
    image("amd64", "99:1", "one").push(&registry.door, "dev/one", "1");
    let url = format!("http://localhost:{}", registry.server.port);
    let home = place.path("home");
    let far = |words: &[&str]| {
        let mut command = place.command(words);
        command.env("XDG_CONFIG_HOME", &home).args(["--server", &url, "-o", "json"]);
        run(&mut command)
    };
    let nobody = far(&["image", "lock", "dev/one:1"]);
    assert!(nobody.code == 3 && nobody.err.contains(&format!("seaworthy login {url}")), "{nobody:?}");
    for (role, code) in [("AcrPull", 3), ("Contributor", 0)] {
        let made = registry.done(&["principal", "create", role, "--role", role, "--scope", "/repositories"]);
        let secret = made["client_secret"].as_str().expect("a secret");
        let mut command = place.command(&["login", &url, "--username", role, "--password-stdin"]);
        command.env("XDG_CONFIG_HOME", &home);
        assert_eq!(with_stdin(command, secret).code, 0);
        let said = far(&["image", "lock", "dev/one:1"]);
        assert_eq!(said.code, code, "{role}: {said:?}");
        assert!(!said.err.contains("seaworthy login"), "{said:?}");
        let shown = far(&["image", "show", "dev/one:1"]).json()["tags"][0]["locked"].clone();
        assert_eq!(shown, if code == 0 { json!(["write", "delete"]) } else { json!([]) });
    }
}

#[test]
fn wrong_words_are_answered_in_the_words_of_the_verb() {
    let registry = Registry::new();
    let place = &registry.place;
    let said = place.cli(&["scope-map", "set", "m", "dev=bogus"]);
    refused(&said, "`bogus` in `dev=bogus`", "hint: write some of content/read, ");
    assert!(!said.err.contains("repositories/"), "{said:?}");
    let said = place.cli(&["scope-map", "set", "m", "Dev=content/read"]);
    refused(&said, "`Dev` in `Dev=content/read`", "dev/*");
    let said = place.cli(&["image", "explain", "dev/app:1"]);
    refused(&said, "`dev/app:1` is no digest", "`seaworthy image show dev/app:1`");
    let cache = ["registry", "cache", "create", "hub", "--upstream", "docker.io", "--username", "me"];
    let said = with_stdin(place.command(&[&cache[..], &["--password-stdin"]].concat()), "\n");
    refused(&said, "the password or token on stdin is empty", "`--password-stdin < FILE`");
    let said = place.cli(&["alert", "dead", "resend", "nope"]);
    refused(&said, "`nope` is no alert message id", "");
    let said = place.cli(&["registry", "rules", "set", "dev", "--immutable", "none"]);
    refused(&said, "`none` is no pattern", "`--immutable ''`");
    assert_eq!(registry.done(&["registry", "rules", "list"]), json!([]));

    let japanese = |words: &[&str]| run(place.command(words).env("SEAWORTHY_LANG", "ja"));
    for (words, text) in [
        (["--quota-bytes", "12x"], "エラー: --quota-bytes <BYTES>: `12x` はバイト数ではありません。"),
        (["--quota-tags", "some"], "`some` は数でも `none` でもありません"),
        (["--immutable", "none"], "`none` はパターンではありません。"),
    ] {
        refused(&japanese(&[&["registry", "rules", "set", "dev"], &words[..]].concat()), text, "");
    }
    let said = japanese(&["alert", "dead", "resend", "nope"]);
    refused(&said, "`nope` は アラートのメッセージ の ID ではありません", "");
    let said = japanese(&["advisories", "compare", "--type", "bogus", "1", "2"]);
    refused(&said, "パッケージの種類 `bogus` は不明です", "");
    refused(
        &japanese(&["image", "explain", "dev/app:1"]),
        "`dev/app:1` はダイジェストではありません",
        "ヒント: ",
    );
}

#[test]
fn verbs_that_do_the_same_have_the_same_words() {
    let registry = Registry::new();
    let place = &registry.place;
    for word in ["delete", "remove"] {
        for (verb, set, name) in [
            (&["registry", "rules"][..], &["set", "dev", "--promotion-only"][..], "dev"),
            (&["registry", "retention"], &["set", "dev", "--keep-last", "1"], "dev"),
            (&["registry", "cache"], &["create", "hub", "--upstream", "docker.io"], "hub"),
            (
                &["registry", "replication"],
                &["create", "edge", "dev", "--to", "http://127.0.0.1:9", "--allow-network", "127.0.0.0/8"],
                "edge",
            ),
            (&["principal"], &["create", "ci"], "ci"),
            (&["token"], &["create", "tk", "--scope-map", "_repositories_pull"], "tk"),
            (&["scope-map"], &["set", "m", "dev=content/read"], "m"),
            (&["alert", "target"], &["create", "ops", "--url", "https://hooks.example.com"], "ops"),
        ] {
            registry.done(&[verb, set].concat());
            registry.done(&[verb, &[word, name]].concat());
        }
        for (verb, names) in [
            (&["image"][..], &["dev/none:1"][..]),
            (&["host"], &["none"]),
            (&["principal", "credential"], &["ci", "none"]),
        ] {
            let said = place.cli(&[verb, &[word], names].concat());
            assert!(!said.err.contains("unrecognized"), "{said:?}");
        }
    }
    registry.done(&["principal", "create", "ci"]);
    registry.done(&["token", "create", "tk", "--scope-map", "_repositories_pull"]);
    assert_eq!(registry.done(&["token", "show", "tk"])["principal"]["scope_map"], "_repositories_pull");
    for verb in ["show", "delete"] {
        refused(&place.cli(&["token", verb, "ci"]), "`ci` is no token", "`seaworthy principal show ci`");
    }
    assert_eq!(registry.done(&["principal", "show", "ci"])["principal"]["name"], "ci");
}

#[test]
fn ids_of_what_is_copied_have_their_repository() {
    let registry = Registry::new();
    let one = image("amd64", "99:1", "one");
    one.push(&registry.door, "dev/one", "1");
    registry.done(&[
        "registry",
        "replication",
        "create",
        "edge",
        "dev",
        "--to",
        "http://127.0.0.1:9",
        "--allow-network",
        "127.0.0.0/8",
    ]);
    let rows =
        |more: &[&str]| registry.place.cli(&[&["registry", "replication", "status", "edge"], more].concat());
    let ids = until("what is to be copied", || Some(rows(&["-q"]).out).filter(|out| !out.is_empty()));
    assert_eq!(ids, "dev/one:1\n");
    let all: Value = rows(&["-o", "json"]).json();
    assert!(all[0].get("reference").is_none() && all[0]["name"] == "1", "{all:#}");
}

#[test]
fn what_is_there_is_not_created_again() {
    let registry = Registry::new();
    let place = &registry.place;
    let near = ["--to", "http://127.0.0.1:9", "--allow-network", "127.0.0.0/8"];
    for (verb, name, what, japanese) in [
        ("cache", &["hub", "--upstream", "docker.io"][..], "a cache", "`hub` は既にキャッシュです"),
        (
            "replication",
            &[&["edge", "dev"], &near[..]].concat(),
            "a replication",
            "レプリケーション `edge` は既に存在します",
        ),
    ] {
        let create = [&["registry", verb, "create"], name].concat();
        let sealed = [&create[..], &["--username", "me", "--password-stdin"]].concat();
        let said = with_stdin(place.command(&sealed), "hidden\n");
        assert_eq!(said.code, 0, "{said:?}");
        let username = || registry.done(&["registry", verb, "show", name[0]])["username"].clone();
        assert_eq!(username(), "me");
        let taken = place.cli(&create);
        assert!(taken.err.contains(&format!("`{}` is {what} already", name[0])), "{taken:?}");
        assert!(taken.code == 3 && taken.err.contains("hint: `--replace` sets all of it anew"), "{taken:?}");
        let taken = run(place.command(&create).env("SEAWORTHY_LANG", "ja"));
        assert!(taken.err.contains(japanese) && taken.err.contains("ヒント: `--replace`"), "{taken:?}");
        assert_eq!(username(), "me", "nothing is lost");
        assert!(registry.done(&[&create[..], &["--replace"]].concat())["username"].is_null());
        assert!(username().is_null());
    }
    let bad = ["registry", "cache", "create", "Hub", "--upstream", "docker.io"];
    refused(&place.cli(&bad), "prefix: repository name `Hub` has upper-case letters", "");
}
