//! `cargo xtask test`: all tests of a tier against one private PostgreSQL, counted.

use std::{
    fmt, fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use crate::{
    args::{Install, Tier},
    postgres::{self, Cluster},
    prepare,
    step::{self, Outcome, Steps},
};

/// For how long nothing may be said before what runs is taken to hang: longer than a cold build, and
/// than the longest test of a landing.
const SILENCE: Duration = Duration::from_secs(20 * 60);
/// The same for the long tier, whose tests are long.
const SILENCE_LONG: Duration = Duration::from_secs(3 * 60 * 60);

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
    follow(child, if tier == Tier::Long { SILENCE_LONG } else { SILENCE })
}

fn follow(mut child: Child, silence: Duration) -> Outcome<(Count, Outcome)> {
    let mut reading = Reading::default();
    if let Some(lines) = child.stdout.take().map(lines) {
        loop {
            match lines.recv_timeout(silence) {
                Ok(line) if reading.line(&line) == Show::Yes => println!("{line}"),
                Ok(_) => {}
                // What an ended program left running may hold the output open.
                Err(RecvTimeoutError::Timeout) if child.try_wait().is_ok_and(|ended| ended.is_some()) => {
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {
                    reading.hang();
                    if end_children(child.id())? == 0 {
                        drop(child.kill());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
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

/// The lines of an output, as they come. Tests may print any bytes.
fn lines(output: ChildStdout) -> mpsc::Receiver<String> {
    let (said, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if said.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    lines
}

/// Ends the programs that `parent` started, and says how many: cargo then goes on with the next one.
fn end_children(parent: u32) -> Outcome<usize> {
    let mut ended = 0;
    let failed = |error| format!("failed to look for a test program that hangs: {error}");
    for entry in fs::read_dir("/proc").map_err(failed)?.flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if parent_in(&stat) == Some(parent) {
            let id = entry.file_name();
            println!("    ending process {}: nothing was heard of it for long", id.display());
            // One that ended meanwhile has.
            drop(step::read(Command::new("sh").args(["-c", "kill -KILL \"$1\"", "sh"]).arg(id)));
            ended += 1;
        }
    }
    Ok(ended)
}

/// The parent in `/proc/PID/stat`: behind the name, which may hold anything, and the state.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Reads libtest's text line by line.
#[derive(Default)]
struct Reading {
    count: Count,
    /// Tests that run for over a minute.
    slow: Vec<String>,
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
        if let Some(rest) = line.strip_prefix("test ") {
            if let Some((name, _)) = rest.split_once(" has been running for over ") {
                self.slow.push(name.to_owned());
            } else if let Some((name, outcome)) = rest.split_once(" ... ") {
                self.slow.retain(|slow| slow != name);
                if outcome == "FAILED" {
                    self.count.broken.push(name.to_owned());
                }
            }
        }
        match line {
            "successes:" => self.section = Section::Successes,
            "failures:" => self.section = Section::Failures,
            _ => {}
        }
        if self.section == Section::Successes || line.is_empty() { Show::No } else { Show::Yes }
    }

    /// Notes that what runs does not end.
    fn hang(&mut self) {
        self.count.broken.extend(self.slow.drain(..).map(|name| format!("{name} (does not end)")));
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

    #[test]
    fn a_test_that_hangs_is_ended_and_named() {
        // As cargo: it goes on when the program that it started was ended.
        let script = "echo 'test a has been running for over 60 seconds'; echo 'test a ... ok';
            echo 'test b has been running for over 60 seconds'; sleep 1000; echo 'test c ... FAILED'; exit 1";
        let child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("started");
        let (count, outcome) = follow(child, Duration::from_millis(200)).expect("followed");
        assert_eq!(count.broken, ["b (does not end)", "c"]);
        assert!(outcome.is_err());
    }

    #[test]
    fn a_parent_is_read_behind_any_name() {
        assert_eq!(parent_in("7 (a) S 1 2) S 42 7 7 0"), Some(42));
        assert_eq!(parent_in("7 (sh"), None);
    }
}
