//! Findings grouped by what would remove them. Pure: what is grouped comes from the rooms.

use std::collections::{BTreeMap, BTreeSet};

use seaworthy_model::{Finding, FixState, PackageRow, Severity};
use seaworthy_package::compare;
use seaworthy_policy::Language;
use serde_json::{Value, json};

use crate::japanese;

/// How many findings of each band.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bands([u32; 6]);

impl Bands {
    pub(crate) fn add(&mut self, severity: Severity) {
        if let Some(count) = self.0.get_mut(severity as usize) {
            *count += 1;
        }
    }

    pub(crate) fn json(self) -> Value {
        let pairs = Severity::ALL.iter().zip(self.0);
        Value::Object(pairs.map(|(band, count)| (band.to_string(), json!(count))).collect())
    }

    /// Orders groups: more of a worse band first.
    fn rank(self) -> [u32; 6] {
        let mut bands = self.0;
        bands.reverse();
        bands
    }
}

/// Findings that one act removes: an upgrade of a source package, or waiting for its vendor.
#[derive(Clone, Debug)]
pub(crate) struct Group<'f> {
    /// The finding whose fix is the newest: upgrading to it removes all of them.
    last: &'f Finding,
    findings: u32,
    exploited: u32,
    bands: Bands,
}

/// What a group is told apart by: ecosystem, source package and version, and what the vendor says
/// when there is no fix.
pub(crate) type Key<'f> = (&'static str, &'f str, &'f str, Option<FixState>);

pub(crate) fn key(finding: &Finding) -> Key<'_> {
    let state = finding.fixed_version.is_none().then_some(finding.state);
    (finding.ecosystem.name(), &finding.source, &finding.version, state)
}

/// Groups of findings, the ones with a fix first, then exploited, worse and larger ones.
pub(crate) fn groups<'f>(rows: impl IntoIterator<Item = &'f Finding>) -> Vec<Group<'f>> {
    let mut by: BTreeMap<Key<'f>, Group<'f>> = BTreeMap::new();
    for finding in rows {
        let group = by.entry(key(finding)).or_insert(Group {
            last: finding,
            findings: 0,
            exploited: 0,
            bands: Bands::default(),
        });
        group.findings += 1;
        group.exploited += u32::from(finding.kev);
        group.bands.add(finding.severity);
        if is_later(finding, group.last) {
            group.last = finding;
        }
    }
    let mut out: Vec<Group<'f>> = by.into_values().collect();
    out.sort_by_key(|it| {
        std::cmp::Reverse((it.last.fixed_version.is_some(), it.exploited, it.bands.rank(), it.findings))
    });
    out
}

/// Of versions that cannot be compared, the first one seen stays.
fn is_later(finding: &Finding, than: &Finding) -> bool {
    match (&finding.fixed_version, &than.fixed_version) {
        (Some(version), Some(other)) => {
            compare(finding.ecosystem, version, other).is_ok_and(std::cmp::Ordering::is_gt)
        }
        _ => false,
    }
}

impl Group<'_> {
    /// The finding whose fix is the newest.
    pub(crate) const fn finding(&self) -> &Finding {
        self.last
    }

    /// Source package and its version.
    pub(crate) fn source(&self) -> (&str, &str) {
        (&self.last.source, &self.last.version)
    }

    /// `packages` are the installed packages that are built from the group's source.
    pub(crate) fn json(&self, packages: &[&PackageRow], language: Language) -> Value {
        let names: BTreeSet<&str> = packages.iter().map(|row| row.package.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let remedy = seaworthy_advisories::remedy(self.last, &names);
        json!({
            "source": self.last.source,
            "version": self.last.version,
            "type": self.last.ecosystem,
            "fixed_version": self.last.fixed_version,
            "state": self.last.state,
            "findings": self.findings,
            "exploited": self.exploited,
            "severities": self.bands.json(),
            "packages": names,
            "layer": packages.iter().map(|row| row.layer).max(),
            "remedy": {"text": japanese::text(remedy.text, language), "command": remedy.command},
        })
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_package::Ecosystem;

    use super::*;

    fn finding(id: &str, source: &str, severity: Severity, fixed: Option<&str>) -> Finding {
        Finding {
            id: id.to_owned(),
            aliases: Vec::new(),
            ecosystem: Ecosystem::Deb,
            source: source.to_owned(),
            version: "1.0-1".to_owned(),
            severity,
            severity_source: String::new(),
            state: if fixed.is_some() { FixState::Fixed } else { FixState::Affected },
            fixed_version: fixed.map(str::to_owned),
            kev: false,
            epss: None,
            summary: String::new(),
        }
    }

    #[test]
    fn one_upgrade_is_one_group_and_goes_to_the_newest_fix() {
        let rows = [
            finding("CVE-1", "expat", Severity::High, Some("1.0-9")),
            finding("CVE-2", "expat", Severity::Low, Some("1.0-10")),
            finding("CVE-3", "expat", Severity::Low, Some("1.0-2")),
            finding("CVE-4", "expat", Severity::Critical, None),
            finding("CVE-5", "zlib", Severity::Critical, Some("1.0-2")),
        ];
        let groups = groups(&rows);
        let shown: Vec<_> = groups
            .iter()
            .map(|it| (it.last.source.as_str(), it.findings, it.last.fixed_version.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [("zlib", 1, Some("1.0-2")), ("expat", 3, Some("1.0-10")), ("expat", 1, None)],
            "with a fix first, then by severity; 10 is later than 9"
        );
        assert_eq!(groups[1].bands.json()["low"], 2);
    }
}
