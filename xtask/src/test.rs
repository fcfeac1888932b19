//! `cargo xtask test`: all tests of a tier against one private PostgreSQL, counted.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use crate::{
    args::{Install, Tier},
    postgres::{self, Cluster},
    prepare,
    step::{self, Outcome, Steps},
};

/// What the test programs said, added up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// `NAME needs WHAT`, in order of appearance.
    not_run: Vec<String>,
    /// Names of failed tests.
    broken: Vec<String>,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// The command: prepare, test, and a last line with the numbers.
pub(crate) fn command(tier: Tier, install: Install) -> Outcome {
    let mut counted = None;
    let outcome = Steps::summarised(|steps| {
        if tier != Tier::Quick {
            prepare::prepare(steps, install)?;
        }
        steps.run("test", || {
            let (count, outcome) = tests(tier)?;
            count.print_names();
            counted = Some(count);
            outcome
        })
    });
    if let Some(count) = counted {
        println!("{count}");
    }
    outcome
}

impl Count {
    /// Names what was not run, was ignored or failed.
    pub(crate) fn print_names(&self) {
        for name in &self.not_run {
            println!("not run: {name}");
        }
        if self.ignored > 0 {
            println!("ignored: {}", self.ignored);
        }
        for name in &self.broken {
            println!("failed: {name}");
        }
    }
}

/// Runs a tier. The outer result fails when the tests could not be run at all, the inner one
/// when one of them failed.
pub(crate) fn tests(tier: Tier) -> Outcome<(Count, Outcome)> {
    let cluster = Cluster::start()?;
    let mut command = step::cargo();
    command
        .args(["test", "--workspace", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"])
        // The output of passed tests is filtered out again below: it tells what was not run.
        .args(["--", "--show-output"])
        .env("SEAWORTHY_TIER", tier.word())
        .stdout(Stdio::piped());
    match &cluster {
        Some(cluster) => {
            command.env(postgres::VARIABLE, cluster.url());
        }
        None => println!("    PostgreSQL is not installed: its tests report themselves as not run"),
    }
    println!("    $ cargo test --workspace (tier {})", tier.word());
    let child = command.spawn().map_err(|error| format!("failed to start `cargo test`: {error}"))?;
    follow(child)
}

fn follow(mut child: Child) -> Outcome<(Count, Outcome)> {
    let mut reading = Reading::default();
    if let Some(output) = child.stdout.take() {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        // Tests may print any bytes.
        while reader.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches('\n');
            if reading.line(text) == Show::Yes {
                println!("{text}");
            }
            line.clear();
        }
    }
    let status = child.wait().map_err(|error| format!("failed to wait for `cargo test`: {error}"))?;
    let count = reading.count;
    let outcome = if status.success() && count.failed == 0 {
        Ok(())
    } else if count.failed == 0 {
        Err(format!("`cargo test` failed ({status})"))
    } else {
        Err(format!("{} tests failed", count.failed))
    };
    Ok((count, outcome))
}

/// Reads libtest's text line by line.
#[derive(Default)]
struct Reading {
    count: Count,
    section: Section,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Running,
    /// The output of tests that passed.
    Successes,
    Failures,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    Yes,
    No,
}

impl Reading {
    fn line(&mut self, line: &str) -> Show {
        if let Some(name) = line.trim_start().strip_prefix("not run: ") {
            if self.count.not_run.iter().all(|known| known != name) {
                self.count.not_run.push(name.to_owned());
            }
            return Show::No;
        }
        if let Some(numbers) = line.strip_prefix("test result: ") {
            self.section = Section::Running;
            self.add(numbers);
            return Show::Yes;
        }
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.count.broken.push(name.to_owned());
        }
        match line {
            "successes:" => self.section = Section::Successes,
            "failures:" => self.section = Section::Failures,
            _ => {}
        }
        if self.section == Section::Successes || line.is_empty() { Show::No } else { Show::Yes }
    }

    fn add(&mut self, numbers: &str) {
        for part in numbers.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(word)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match word {
                "passed" => self.count.passed += number,
                "failed" => self.count.failed += number,
                "ignored" => self.count.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_added_and_output_of_passed_tests_is_hidden() {
        let text = "\
running 3 tests
test a ... ok
test b ... FAILED

successes:

---- a stdout ----
failures are what this test prints about
not run: a needs the advisory pack

successes:
    a

failures:

---- b stdout ----
boom

failures:
    b

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s
running 1 test
test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 12.05s
not run: a needs the advisory pack";
        let mut reading = Reading::default();
        let shown: Vec<&str> = text.lines().filter(|line| reading.line(line) == Show::Yes).collect();
        assert_eq!(reading.count.to_string(), "42 passed, 1 failed");
        assert_eq!(reading.count.ignored, 1);
        assert_eq!(reading.count.not_run, ["a needs the advisory pack"]);
        assert_eq!(reading.count.broken, ["b"]);
        assert!(shown.contains(&"boom") && shown.contains(&"running 1 test"), "{shown:?}");
        assert!(!shown.iter().any(|line| line.contains("prints about")), "{shown:?}");
    }
}
