//! What to do about a finding.

use seaworthy_model::{Finding, FixState, Remedy};
use seaworthy_package::Ecosystem;

/// The way out of a finding. `binaries` are the installed packages built from the finding's source;
/// the command upgrades them, and no other.
///
/// Names that are not package names (Debian Policy §5.6.7, with dpkg's `:arch`) never reach a
/// command: images name packages, and commands are pasted into shells.
pub fn remedy(finding: &Finding, binaries: &[&str]) -> Remedy {
    let Finding { source, version, .. } = finding;
    match (&finding.fixed_version, finding.state) {
        (Some(fixed), FixState::UnderInvestigation) => Remedy {
            text: format!(
                "check {source}: its version {version} cannot be compared; {fixed} or later is not affected"
            ),
            command: upgrade(finding.ecosystem, binaries),
        },
        (Some(fixed), _) => Remedy {
            text: format!("upgrade {source} from {version} to {fixed} or later"),
            command: upgrade(finding.ecosystem, binaries),
        },
        (None, state) => {
            Remedy { text: format!("{}: {}", verdict(finding, state), advice(state)), command: None }
        }
    }
}

fn verdict(finding: &Finding, state: FixState) -> String {
    let source = &finding.source;
    match state {
        FixState::WillNotFix => format!("the vendor will not fix {source}"),
        FixState::FixDeferred => format!("the vendor postponed the fix of {source}"),
        FixState::EndOfLife => format!("the vendor's support of {source} has ended"),
        FixState::UnderInvestigation => {
            format!("it is not clear yet which versions of {source} are affected")
        }
        FixState::Affected | FixState::Fixed => format!("{source} has no fix yet"),
    }
}

fn advice(state: FixState) -> &'static str {
    match state {
        FixState::EndOfLife => "remove the package, move to a supported release, or ask for an exception",
        FixState::WillNotFix => "remove the package, or ask for an exception",
        FixState::UnderInvestigation => {
            "check again when the feed is updated, remove the package, or ask for an exception"
        }
        FixState::FixDeferred | FixState::Affected | FixState::Fixed => {
            "remove the package if it is not needed, or ask for an exception until a fix is there"
        }
    }
}

fn upgrade(ecosystem: Ecosystem, binaries: &[&str]) -> Option<String> {
    match ecosystem {
        Ecosystem::Deb => {
            let mut names: Vec<&str> = binaries.to_vec();
            names.sort_unstable();
            names.dedup();
            if names.is_empty() || !names.iter().all(|name| is_package_name(name)) {
                return None;
            }
            Some(format!("apt-get update && apt-get install --only-upgrade -y {}", names.join(" ")))
        }
        // No command is better than one of another package manager.
        _ => None,
    }
}

fn is_package_name(name: &str) -> bool {
    name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'.' | b'-' | b':'))
}

/// The vendor's page about a finding, and others that are known by its ids.
pub fn references(finding: &Finding) -> Vec<String> {
    let pages = std::iter::once(&finding.id).chain(&finding.aliases).filter_map(|id| page(id));
    pages.collect()
}

fn page(id: &str) -> Option<String> {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match id.split('-').next()? {
        _ if !plain => None,
        "CVE" | "DSA" | "DLA" | "TEMP" => Some(format!("https://security-tracker.debian.org/tracker/{id}")),
        "GHSA" => Some(format!("https://github.com/advisories/{id}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_model::Severity;

    use super::*;

    fn finding(state: FixState, fixed: Option<&str>) -> Finding {
        Finding {
            id: "CVE-2026-1111".to_owned(),
            aliases: vec!["DSA-1-1".to_owned(), "X; rm".to_owned()],
            ecosystem: Ecosystem::Deb,
            source: "expat".to_owned(),
            version: "2.5.0-1".to_owned(),
            severity: Severity::High,
            severity_source: String::new(),
            state,
            fixed_version: fixed.map(str::to_owned),
            kev: false,
            epss: None,
            summary: String::new(),
        }
    }

    #[test]
    fn fixed_findings_come_with_a_command() {
        let remedy =
            remedy(&finding(FixState::Fixed, Some("2.5.0-1+deb12u2")), &["libexpat1", "expat", "libexpat1"]);
        assert_eq!(remedy.text, "upgrade expat from 2.5.0-1 to 2.5.0-1+deb12u2 or later");
        assert_eq!(
            remedy.command.unwrap(),
            "apt-get update && apt-get install --only-upgrade -y expat libexpat1"
        );
    }

    #[test]
    fn the_rest_comes_with_the_vendors_word() {
        for (state, word) in [
            (FixState::Affected, "no fix yet"),
            (FixState::WillNotFix, "will not fix"),
            (FixState::FixDeferred, "postponed"),
            (FixState::EndOfLife, "support"),
            (FixState::UnderInvestigation, "not clear"),
        ] {
            let remedy = remedy(&finding(state, None), &["expat"]);
            assert!(remedy.text.contains(word) && remedy.text.contains("exception"), "{}", remedy.text);
            assert_eq!(remedy.command, None);
        }
    }

    #[test]
    fn hostile_names_reach_no_shell() {
        for name in ["a;b", "$(x)", "a b", "-y", "", "A", "a'b", "a\nb", "é"] {
            assert_eq!(
                remedy(&finding(FixState::Fixed, Some("2")), &["expat", name]).command,
                None,
                "{name:?}"
            );
        }
        assert!(remedy(&finding(FixState::Fixed, Some("2")), &["libstdc++6:amd64"]).command.is_some());
        assert_eq!(remedy(&finding(FixState::Fixed, Some("2")), &[]).command, None);
    }

    #[test]
    fn references_are_built_of_plain_ids_only() {
        let pages = references(&finding(FixState::Fixed, None));
        assert_eq!(pages.len(), 2);
        assert!(pages[0].ends_with("/tracker/CVE-2026-1111"));
    }
}
