//! `cargo xtask ci`: what a landing runs. It stops at the first failure.

use crate::{
    args::{Install, Mode, Tier},
    codegen, fuzz, prepare,
    step::{self, Outcome, Steps},
    test, tidy, web,
};

/// The command; its last line on success is `N passed, 0 failed`.
pub(crate) fn command() -> Outcome {
    let count = Steps::summarised(|steps| {
        prepare::prepare(steps, Install::Yes)?;
        steps.run("fmt", || step::run(step::cargo().args(["fmt", "--all", "--check"])))?;
        steps.run("clippy", || {
            let mut clippy = step::cargo();
            clippy.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
            step::run(&mut clippy)
        })?;
        steps.run("tidy", tidy::tidy)?;
        steps.run("web --check", web::check)?;
        let count = steps.run("test", || {
            let (count, outcome) = test::tests(Tier::Full)?;
            count.print_names();
            outcome.map_err(|message| format!("{message}; {count}"))?;
            Ok(count)
        })?;
        // The tests built the binary; building it alone would unify features anew.
        steps.run("codegen --check", || codegen::codegen(Mode::Check))?;
        steps.run("build the fuzz targets", fuzz::build)?;
        steps.run("fuzz", || fuzz::run(Tier::Full.fuzz_seconds()))?;
        Ok(count)
    })?;
    println!("{count}");
    Ok(())
}
