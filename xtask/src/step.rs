//! Running named steps: what runs, how long it took, and a table at the end.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A tool's failure is one sentence for its user.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The steps done so far.
pub(crate) struct Steps {
    done: Vec<(String, Duration, bool)>,
}

impl Steps {
    /// Runs `work`, then prints the table of its steps, whether it succeeded or not.
    pub(crate) fn summarised<T>(work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        let mut steps = Self { done: Vec::new() };
        let outcome = work(&mut steps);
        print!("{}", steps.table());
        outcome
    }

    /// Runs one step. Its failure is the failure of the whole.
    pub(crate) fn run<T>(&mut self, name: &str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        println!("==> {name}");
        let start = Instant::now();
        let outcome = work();
        self.done.push((name.to_owned(), start.elapsed(), outcome.is_ok()));
        let word = if outcome.is_ok() { "done" } else { "FAILED" };
        println!("    {name}: {word} in {:.1} s", start.elapsed().as_secs_f64());
        outcome.map_err(|message| format!("{name}: {message}"))
    }

    fn table(&self) -> String {
        let width = self.done.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
        let mut text = String::from("\n");
        for (name, time, succeeded) in &self.done {
            let word = if *succeeded { "ok" } else { "FAILED" };
            let seconds = time.as_secs_f64();
            text.extend([format!("{name:<width$}  {seconds:>7.1} s  {word}"), "\n".to_owned()]);
        }
        text
    }
}

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> PathBuf {
    // Cargo sets the variable for `cargo run`; the compiled-in value serves a direct start.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Ours, not those of the commands that we start.
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME");
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// True when an automatic landing runs us.
pub(crate) fn is_ci() -> bool {
    std::env::var("CI").as_deref() == Ok("true")
}

/// Runs `command` with our terminal.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let name = display(command);
    println!("    $ {name}");
    let status = command.status().map_err(|error| format!("failed to start `{name}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{name}` failed ({status})")) }
}

/// Runs `command` and gives what it printed.
pub(crate) fn read(command: &mut Command) -> Outcome<String> {
    let name = display(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("failed to start `{name}`: {error}"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{name}` failed ({}): {}", output.status, reason.trim()));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{name}` printed something that is not UTF-8"))
}

fn display(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let mut text = program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_step_and_is_in_the_table() {
        let mut steps = Steps { done: Vec::new() };
        assert_eq!(steps.run("first", || Ok(1)), Ok(1));
        let failed: Outcome = steps.run("second", || Err("broke".to_owned()));
        assert_eq!(failed, Err("second: broke".to_owned()));
        let table = steps.table();
        assert!(table.contains("first ") && table.contains("ok"), "{table}");
        assert!(table.lines().any(|line| line.starts_with("second") && line.ends_with("FAILED")), "{table}");
    }
}
