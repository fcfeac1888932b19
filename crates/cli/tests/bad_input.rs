//! Mistakes are told where they are made, with the exit code that scripts rely on.

use std::{fs, io::Write as _, net::TcpListener, process::Stdio};

use crate::{
    image::Image,
    server::{Place, Said, free_port, run, seaworthy},
};

fn says(said: &Said, code: i32, parts: &[&str]) {
    assert_eq!((said.code, said.out.as_str()), (code, ""), "{said:?}");
    for part in parts {
        assert!(said.err.contains(part), "`{part}` is not in: {}", said.err);
    }
}

#[test]
fn a_folder_that_is_not_ours_is_left_alone() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    let file = place.data().join("somebody-elses.txt");
    fs::write(&file, "precious").unwrap();
    let said = place.cli(&["up", "--listen", &format!("localhost:{}", free_port())]);
    says(&said, 3, &["not a Seaworthy data directory", "hint"]);
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 1, "nothing was added");
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = place.cli(&["up", "--listen", &format!("localhost:{port}")]);
    says(&said, 3, &[&port, "hint"]);
}

#[test]
fn an_address_for_everybody_is_refused() {
    let place = Place::new();
    let said = place.cli(&["up", "--listen", &format!("0.0.0.0:{}", free_port())]);
    says(&said, 2, &["0.0.0.0"]);
    assert!(!place.data().exists(), "refused before anything was made");
}

#[test]
fn an_unknown_setting_is_refused_before_anything_is_made() {
    let place = Place::new();
    let file = place.path("seaworthy.toml");
    fs::write(&file, "language = \"en\"\nlangauge = \"ja\"\n").unwrap();
    let listen = format!("localhost:{}", free_port());
    let said = place.cli(&["up", "--listen", &listen, "--config", file.to_str().unwrap()]);
    says(&said, 2, &["langauge", "seaworthy.toml"]);
    assert!(!place.data().exists(), "refused before anything was made");
}

#[test]
fn a_typo_in_a_policy_is_shown_where_it_is() {
    let place = Place::new();
    let file = place.path("prod.yaml");
    let text = "policy: prod\nselects: [\"prod/**\"]\nrules:\n  - vulnerabilties: { any_fixable: 0 }\n";
    fs::write(&file, text).unwrap();
    let said = place.cli(&["policy", "apply", "-f", file.to_str().unwrap()]);
    says(&said, 2, &["prod.yaml", "4:5", "vulnerabilties", "`vulnerabilities`"]);
}

#[test]
fn unknown_words_are_wrong_use() {
    for words in [
        &["launch"][..],
        &["check"],
        &["ledger", "verfiy"],
        &["scan", "dev/web:1", "--fail-on", "everything"],
        &["advisories", "compare", "--type", "nonsense", "1", "2"],
        &["check", "docker:web:1"],
        &["check", "prod/web:1", "--wait", "soon"],
    ] {
        let said = run(seaworthy().args(words).args(["--data", "/nonexistent/seaworthy"]));
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{words:?}: {said:?}");
        assert!(!said.err.is_empty(), "{words:?}");
    }
}

#[test]
fn a_server_that_is_away_is_told_in_both_languages() {
    let place = Place::new();
    for words in [&["status"][..], &["check", "prod/web:1"], &["ledger", "verify"], &["images"]] {
        says(&place.cli(words), 3, &["error", "hint", "seaworthy up"]);
        let said = run(place.command(words).env("SEAWORTHY_LANG", "ja"));
        says(&said, 3, &["エラー", "ヒント", "seaworthy up"]);
    }
    let said = place.cli(&["--server", &format!("http://localhost:{}", free_port()), "status"]);
    says(&said, 3, &["hint"]);
}

#[test]
fn versions_are_compared_as_their_ecosystem_does() {
    let compare = |kind: &str, first: &str, second: &str| {
        let said = run(seaworthy().args(["advisories", "compare", "--type", kind, first, second]));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
        said.out
    };
    for (kind, first, second, expected) in [
        ("deb", "1.0~rc1", "1.0", "<\n"),
        ("deb", "1.0", "1.0-0", "=\n"),
        ("deb", "1:0.9", "2.0", ">\n"),
        ("deb", "2.5.0-1", "2.5.0-1+deb12u2", "<\n"),
        ("deb", "1.0-1", "1.0-1+b1", "<\n"),
    ] {
        assert_eq!(compare(kind, first, second), expected, "{kind} {first} {second}");
    }
    assert!(compare("deb", "1.0 beta", "1.0").starts_with("invalid: "));
}

#[test]
fn an_answer_that_cannot_be_written_is_not_done() {
    let compare = ["advisories", "compare", "--type", "deb", "1", "2"];
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = seaworthy();
    let output = command.args(compare).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("failed to write the answer"), "{err}");
    // A reader that has seen enough is not an error.
    let mut command = seaworthy();
    let mut child = command.args(compare).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn pairs_of_versions_are_read_from_stdin() {
    let mut command = seaworthy();
    command.args(["advisories", "compare", "--type", "deb", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input = "1.0~rc1\t1.0\n1\t1\r\n2\t1\nno tab\n1 0\t1\n1\t2";
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<&str> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(answers, ["<", "=", ">", "invalid", "invalid", "<"], "{text}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_refusal_speaks_the_servers_language() {
    let place = Place::new();
    let server = place.try_up(free_port(), &[], "ja").unwrap_or_else(|log| panic!("{log}"));
    let door = place.login(server.port);
    // No feed is loaded, so nobody knows: under `prod/` that is not good enough.
    Image::debian("expat", "2.5.0-1", "").push(&door, "prod/web", "1");
    let check = place.cli(&["check", "prod/web:1", "--wait", "60s", "-o", "json"]);
    assert_eq!(check.code, 1, "{check:?}\n{}", place.log());
    assert_eq!(check.json()["verdict"], "blocked", "{check:?}");
    let answer = door.get("GET", "/v2/prod/web/manifests/1");
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("ブロックされています"), "{}", answer.text());
    let table = run(place.command(&["check", "prod/web:1", "-o", "table"]).env("SEAWORTHY_LANG", "ja"));
    assert!(table.out.contains("ブロック"), "{table:?}");
    let nobody = crate::http::Door::Tcp { port: server.port, basic: "bm9ib2R5Om5vdGhpbmc=".to_owned() };
    let answer = nobody.get("GET", "/v2/prod/web/manifests/1");
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("資格情報が正しくありません"), "{}", answer.text());
    let code: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(code["errors"][0]["code"], "UNAUTHORIZED");
    assert!(nobody.get("HEAD", "/v2/prod/web/manifests/1").text().is_empty());
}
