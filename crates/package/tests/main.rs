//! Differential test of the dpkg order against dpkg itself, where it is installed.

use std::{cmp::Ordering, fmt::Write as _, process::Command};

use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use seaworthy_package::{DebVersion, Ecosystem, compare};

/// Pairs that dpkg is asked about, all in one shell so that the test stays quick.
const PAIRS: usize = 300;

#[test]
fn dpkg_agrees() {
    if Command::new("dpkg").arg("--version").output().is_err() {
        println!("not run: dpkg_agrees needs dpkg");
        return;
    }
    let mut runner = TestRunner::deterministic();
    let version = "(0|[0-2]:)?[0-2][0a1.~+Z-]{0,6}[0-9az](-[01.~+ab]{1,4})?";
    let mut draw = || version.new_tree(&mut runner).unwrap().current();
    let pairs: Vec<(String, String)> = std::iter::repeat_with(|| (draw(), draw()))
        .filter(|(a, b)| DebVersion::parse(a).is_ok() && DebVersion::parse(b).is_ok())
        .take(PAIRS)
        .collect();
    // The alphabet has nothing that a shell would read between single quotes.
    let script = pairs.iter().fold(String::new(), |mut script, (a, b)| {
        writeln!(script, "if dpkg --compare-versions '{a}' lt '{b}'; then echo l; elif dpkg --compare-versions '{a}' eq '{b}'; then echo e; else echo g; fi").unwrap();
        script
    });
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let answers: Vec<Ordering> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| match line {
            "l" => Ordering::Less,
            "e" => Ordering::Equal,
            _ => Ordering::Greater,
        })
        .collect();
    assert_eq!(answers.len(), pairs.len());
    for ((a, b), answer) in pairs.iter().zip(answers) {
        assert_eq!(compare(Ecosystem::Deb, a, b), Ok(answer), "{a} {b}");
    }
}

#[test]
fn dpkg_accepts_and_refuses_the_same() {
    if Command::new("dpkg").arg("--version").output().is_err() {
        println!("not run: dpkg_accepts_and_refuses_the_same needs dpkg");
        return;
    }
    for text in [
        "1.0",
        "1.0 ",
        "1:2:3-4",
        "1-2-3",
        "1..0",
        "1-~",
        "1~-1",
        "01:1",
        "2147483647:1",
        "",
        " ",
        "a1",
        "1-",
        "1:",
        ":1",
        "1_2",
        "1.0-a_b",
        "2147483648:1",
        "0x1:1",
        "1 2",
        "-1:1",
        "1-2:3",
        "1:-1",
        "1é",
        "1:1-2:3",
    ] {
        let valid =
            Command::new("dpkg").args(["--validate-version", text]).output().unwrap().status.success();
        assert_eq!(DebVersion::parse(text).is_ok(), valid, "{text:?}");
    }
}
