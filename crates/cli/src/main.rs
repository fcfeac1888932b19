//! `seaworthy`: flags, rendering, exit codes. Decisions are made elsewhere.
#![forbid(unsafe_code)]

mod client;
mod docker_login;
mod failure;
mod flags;
mod image;
mod render;
mod run;
mod text;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // A confined reader of hostile bytes is this same binary, and must not do anything before.
    seaworthy_sandbox::child(&seaworthy_server::readers());
    match flags::Cli::try_parse() {
        Ok(cli) => run::run(cli),
        Err(error) => {
            // clap writes help to stdout and mistakes to stderr; a closed pipe is nobody's mistake.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
        }
    }
}
