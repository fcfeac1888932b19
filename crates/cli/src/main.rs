//! `seaworthy`: flags, rendering, exit codes. Decisions are made elsewhere.
#![forbid(unsafe_code)]

mod address;
mod client;
mod distribution;
mod docker_login;
mod failure;
mod flags;
mod help;
mod image;
mod layout;
mod login;
mod refusal;
mod render;
mod run;
mod text;
mod tls;
mod verbs;

use std::process::ExitCode;

use clap::FromArgMatches as _;

fn main() -> ExitCode {
    // A confined reader of hostile bytes is this same binary, and must not do anything before.
    seaworthy_sandbox::child(&seaworthy_server::readers());
    let parsed = help::command(text::language()).try_get_matches();
    match parsed.and_then(|matches| flags::Cli::from_arg_matches(&matches)) {
        Ok(cli) => run::run(cli),
        Err(error) if render::wrong_value(&error) => ExitCode::from(2),
        Err(error) => {
            // clap writes help to stdout and mistakes to stderr; a closed pipe is nobody's mistake.
            let _ = error.print();
            if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
        }
    }
}
