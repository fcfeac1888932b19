//! Development tasks: `cargo xtask prepare | tidy | test | bench | fuzz | ci | codegen | web`.
//!
//! Everything that a landing needs is a command here, so that a laptop and the landing run the
//! same thing. Only `prepare` uses the network. Deliberately absent: any product crate (this must
//! build in seconds, also while the product does not compile).
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a development tool talks to its terminal")]

use std::process::ExitCode;

mod args;
mod azure;
mod bench;
mod ci;
mod codegen;
mod conformance;
mod debian;
mod engine;
mod foreign;
mod fuzz;
mod go;
mod postgres;
mod prepare;
mod step;
mod test;
mod tidy;
mod verifier;
mod web;

const HELP: &str = "\
Development tasks. Run from anywhere in the workspace: cargo xtask <command>

  prepare [--yes | --no-install]
          Install what the tests need (Debian packages), fetch crates, build and cache the
          ledger's verifier, the distribution spec's conformance suite, the current Docker engine
          and the test images, fetch Node and the console's packages. The only command that uses
          the network.
            --yes         install without asking (also when CI=true)
            --no-install  print the one `apt-get install` line that is missing, and fail
  tidy    Check the rules of the house: crate edges, names, sizes, SQL, tree, documents.
  test    [--quick | --long] [--yes | --no-install]
          Every test; installs what is missing first.
            --quick       what you run before every commit: no root, no Docker, no network
            --long        soak and kill tests too
  bench   Measure the released binary over the tests' Debian image; needs the advisory pack
          and what `prepare` caches. Prints figures, judges none.
  fuzz [--long]
          Run each fuzz target for ten seconds; what it found is kept in target/fuzz/corpus.
            --long        ten minutes each
  ci      What a landing runs: prepare --yes, fmt, clippy, tidy, web --check, test, codegen --check, fuzz.
  codegen [--check]
          Write docs/reference/{cli,config,errors}.md from the built binary.
            --check       write nothing; fail when a page differs
  web [--check]
          Build the console's bundle, web/dist, which the server compiles in.
            --check       write nothing; check the sources, and that they build the bundle
  help    This text; so does --help after any command.
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match args::parse(&words).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: args::Command) -> step::Outcome {
    std::env::set_current_dir(step::workspace_root())
        .map_err(|error| format!("failed to enter the workspace: {error}"))?;
    match command {
        args::Command::Help => {
            print!("{HELP}");
            Ok(())
        }
        args::Command::Prepare(install) => step::Steps::summarised(|steps| prepare::prepare(steps, install)),
        args::Command::Tidy => step::Steps::summarised(|steps| steps.run("tidy", tidy::tidy)),
        args::Command::Test(tier, install) => test::command(tier, install),
        args::Command::Ci => ci::command(),
        args::Command::Bench => bench::command(),
        args::Command::Fuzz(tier) => step::Steps::summarised(|steps| {
            steps.run("build the fuzz targets", fuzz::build)?;
            steps.run("fuzz", || fuzz::run(tier.fuzz_seconds()))
        }),
        args::Command::Web(mode) => step::Steps::summarised(|steps| match mode {
            args::Mode::Write => steps.run("web", web::build),
            args::Mode::Check => steps.run("web --check", web::check),
        }),
        args::Command::Codegen(mode) => step::Steps::summarised(|steps| {
            steps.run("build the binary", codegen::build)?;
            steps.run("codegen", || codegen::codegen(mode))
        }),
    }
}
