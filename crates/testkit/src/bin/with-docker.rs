//! `with-docker COMMAND…`: runs a command beside a private Docker engine, which ends with it.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(words).env("DOCKER_HOST", seaworthy_testkit::docker().host());
    let code = command.status().ok().and_then(|status| status.code());
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(3))
}
