//! The command line, parsed once.

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Prepare(Install),
    Tidy,
    Test(Tier, Install),
    Bench,
    Fuzz(Tier),
    Ci,
    Codegen(Mode),
    Web(Mode),
}

/// What to do about missing Debian packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Install {
    Ask,
    Yes,
    No,
}

/// Which tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    Quick,
    Full,
    Long,
}

impl Tier {
    /// How long each fuzz target runs.
    pub(crate) const fn fuzz_seconds(self) -> u32 {
        match self {
            Self::Quick | Self::Full => 10,
            Self::Long => 600,
        }
    }

    /// The value of `SEAWORTHY_TIER`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Full => "full",
            Self::Long => "long",
        }
    }
}

/// Whether generated pages are written or compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Check,
}

/// The command that `words` ask for.
pub(crate) fn parse(words: &[String]) -> Result<Command, String> {
    let Some((command, flags)) = words.split_first() else { return Ok(Command::Help) };
    if matches!(command.as_str(), "help" | "--help" | "-h")
        || flags.iter().any(|flag| matches!(flag.as_str(), "--help" | "-h"))
    {
        return Ok(Command::Help);
    }
    let allowed: &[&str] = match command.as_str() {
        "prepare" => &["--yes", "--no-install"],
        "test" => &["--quick", "--long", "--yes", "--no-install"],
        "codegen" | "web" => &["--check"],
        "fuzz" => &["--long"],
        "tidy" | "ci" | "bench" => &[],
        _ => return Err(format!("unknown command `{command}`; try `cargo xtask help`")),
    };
    if let Some(flag) = flags.iter().find(|flag| !allowed.contains(&flag.as_str())) {
        return Err(format!("`{command}` does not know `{flag}`; try `cargo xtask help`"));
    }
    let has = |flag: &str| flags.iter().any(|it| it == flag);
    let install = match (has("--yes"), has("--no-install")) {
        (true, true) => return Err("`--yes` and `--no-install` exclude each other".to_owned()),
        (true, false) => Install::Yes,
        (false, true) => Install::No,
        (false, false) => Install::Ask,
    };
    let tier = match (has("--quick"), has("--long")) {
        (true, true) => return Err("`--quick` and `--long` exclude each other".to_owned()),
        (true, false) => Tier::Quick,
        (false, true) => Tier::Long,
        (false, false) => Tier::Full,
    };
    Ok(match command.as_str() {
        "prepare" => Command::Prepare(install),
        "test" => Command::Test(tier, install),
        "codegen" => Command::Codegen(if has("--check") { Mode::Check } else { Mode::Write }),
        "tidy" => Command::Tidy,
        "bench" => Command::Bench,
        "fuzz" => Command::Fuzz(tier),
        "web" => Command::Web(if has("--check") { Mode::Check } else { Mode::Write }),
        _ => Command::Ci,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Command, &str>) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match (parse(&words), expected) {
            (Ok(command), Ok(wanted)) => assert_eq!(command, wanted, "{line}"),
            (Err(message), Err(part)) => assert!(message.contains(part), "{line}: {message}"),
            (got, wanted) => panic!("{line}: {got:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn command_lines() {
        check("", Ok(Command::Help));
        check("test --help", Ok(Command::Help));
        check("test", Ok(Command::Test(Tier::Full, Install::Ask)));
        check("test --quick", Ok(Command::Test(Tier::Quick, Install::Ask)));
        check("test --long --yes", Ok(Command::Test(Tier::Long, Install::Yes)));
        check("prepare --no-install", Ok(Command::Prepare(Install::No)));
        check("web", Ok(Command::Web(Mode::Write)));
        check("web --check", Ok(Command::Web(Mode::Check)));
        check("codegen --check", Ok(Command::Codegen(Mode::Check)));
        check("ci", Ok(Command::Ci));
        check("fuzz", Ok(Command::Fuzz(Tier::Full)));
        check("fuzz --long", Ok(Command::Fuzz(Tier::Long)));
        check("bench", Ok(Command::Bench));
        check("ci --yes", Err("does not know `--yes`"));
        check("test --quick --long", Err("exclude"));
        check("prepare --yes --no-install", Err("exclude"));
        check("tidi", Err("unknown command `tidi`"));
    }
}
