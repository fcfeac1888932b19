//! Coverage keys: `deb:debian:12` (ecosystem, distribution, release).

use seaworthy_model::OsRelease;
use seaworthy_package::InstalledPackage;

/// Debian's releases since OSV and the tracker speak about them.
const DEBIAN: [(&str, &str); 9] = [
    ("jessie", "8"),
    ("stretch", "9"),
    ("buster", "10"),
    ("bullseye", "11"),
    ("bookworm", "12"),
    ("trixie", "13"),
    ("forky", "14"),
    ("duke", "15"),
    ("sid", "sid"),
];

/// The key of a Debian codename; an unknown codename stands for itself.
pub(crate) fn of_codename(codename: &str) -> String {
    let release = DEBIAN.iter().find(|(name, _)| *name == codename).map_or(codename, |(_, release)| release);
    format!("deb:debian:{release}")
}

/// The key of an OSV ecosystem such as `Debian:12`; `None` where no version order is known, or the
/// release is missing.
pub(crate) fn of_osv_ecosystem(ecosystem: &str) -> Option<String> {
    match ecosystem.split_once(':') {
        Some(("Debian", release)) if !release.is_empty() => Some(of_codename(release)),
        _ => None,
    }
}

/// The coverage key of an image: `None` when it has neither a distribution nor its packages. What
/// is not known gets a key that no feed covers; a distribution without packages too, unless its
/// ecosystem is known: its database may be of a kind that has no reader.
pub fn release_key(os: Option<&OsRelease>, packages: &[InstalledPackage]) -> Option<String> {
    let distribution = match os {
        Some(os) if !os.id.is_empty() => os.id.as_str(),
        _ => packages.first().map(|package| package.distribution.as_str()).unwrap_or_default(),
    };
    let ecosystem = match packages.first() {
        Some(package) => package.ecosystem.name(),
        None if distribution.is_empty() => return None,
        None => "os",
    };
    let version = os.and_then(|os| os.version.as_deref()).unwrap_or_default();
    let codename = os.and_then(|os| os.codename.as_deref()).unwrap_or_default();
    Some(match (distribution, version, codename) {
        ("debian", "", "") => "deb:debian:unknown".to_owned(),
        // Testing and unstable have a codename only.
        ("debian", "", codename) => of_codename(codename),
        // Point releases (`12.5`, never Debian's own os-release) share their release's advisories.
        ("debian", version, _) => format!("deb:debian:{}", version.split('.').next().unwrap_or(version)),
        (distribution, version, codename) => {
            let or_unknown = |text: &'static str, value: &str| {
                if value.is_empty() { text.to_owned() } else { value.to_owned() }
            };
            let release = if version.is_empty() { codename } else { version };
            format!("{ecosystem}:{}:{}", or_unknown("unknown", distribution), or_unknown("unknown", release))
        }
    })
}

#[cfg(test)]
mod tests {
    use seaworthy_package::{Ecosystem, SourcePackage};

    use super::*;

    #[test]
    fn keys() {
        let package = InstalledPackage {
            ecosystem: Ecosystem::Deb,
            distribution: String::new(),
            name: "a".to_owned(),
            version: "1".to_owned(),
            architecture: String::new(),
            source: SourcePackage { name: "a".to_owned(), version: "1".to_owned() },
        };
        let key = |id: &str, version: &str, codename: &str| {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let os = OsRelease {
                id: id.to_owned(),
                version: text(version),
                codename: text(codename),
                name: String::new(),
            };
            release_key(Some(&os), std::slice::from_ref(&package)).unwrap()
        };
        assert_eq!(key("debian", "12", "bookworm"), "deb:debian:12");
        assert_eq!(key("debian", "12.5", ""), "deb:debian:12");
        assert_eq!(key("debian", "", "trixie"), "deb:debian:13");
        assert_eq!(key("debian", "", ""), "deb:debian:unknown");
        assert_eq!(key("ubuntu", "22.04", "jammy"), "deb:ubuntu:22.04");
        assert_eq!(key("", "", ""), "deb:unknown:unknown");
        assert_eq!(release_key(None, &[package]).unwrap(), "deb:unknown:unknown");
        assert_eq!(release_key(None, &[]), None);
        let bare = |id: &str, version: Option<&str>| {
            let version = version.map(str::to_owned);
            release_key(
                Some(&OsRelease { id: id.to_owned(), version, codename: None, name: String::new() }),
                &[],
            )
        };
        assert_eq!(bare("debian", Some("12")).unwrap(), "deb:debian:12");
        assert_eq!(bare("arch", None).unwrap(), "os:arch:unknown");
        assert_eq!(bare("alpine", Some("3.20")).unwrap(), "os:alpine:3.20");
        assert_eq!(bare("", None), None);
        assert_eq!(of_osv_ecosystem("Debian:12").unwrap(), "deb:debian:12");
        assert_eq!(of_osv_ecosystem("Debian"), None);
        assert_eq!(of_osv_ecosystem("PyPI"), None);
    }
}
