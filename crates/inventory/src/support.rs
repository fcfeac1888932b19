use seaworthy_model::{OsRelease, OsSupport, Timestamp};

/// How far a distribution release is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// By the distribution itself.
    Full,
    /// By its long-term team, free for everybody.
    Lts,
    /// No longer for everybody.
    EndOfLife,
}

impl Phase {
    /// The stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Lts => "lts",
            Self::EndOfLife => "eol",
        }
    }
}

/// Support of one release at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// The phase.
    pub phase: Phase,
    /// The last day of free support, `2028-06-30`.
    pub lts_ends: &'static str,
}

/// Support of `os` at `now`; `None` for a release that is not in the table, which says
/// nothing about its support.
pub fn os_support(os: &OsRelease, now: Timestamp) -> Option<Support> {
    let (full_ends, lts_ends) = last_days(os)?;
    let today = now.date();
    let phase = if today.as_str() <= full_ends {
        Phase::Full
    } else if today.as_str() <= lts_ends {
        Phase::Lts
    } else {
        Phase::EndOfLife
    };
    Some(Support { phase, lts_ends })
}

/// Until when `os` is supported, for rules that decide at a later time; `None` as for [`os_support`].
pub fn os_support_dates(os: &OsRelease) -> Option<OsSupport> {
    let (full_ends, lts_ends) = last_days(os)?;
    let first_without = |last_day: &str| {
        last_day.parse::<Timestamp>().ok().map(|midnight| midnight.plus_seconds(DAY_SECONDS))
    };
    Some(OsSupport { full_ends: first_without(full_ends)?, lts_ends: first_without(lts_ends)? })
}

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// The last days of full and of free support.
fn last_days(os: &OsRelease) -> Option<(&'static str, &'static str)> {
    let version = os.version.as_deref()?;
    let (_, _, full_ends, lts_ends) =
        RELEASES.iter().find(|(id, release, _, _)| *id == os.id && is_release(version, release)).copied()?;
    Some((full_ends, lts_ends))
}

/// `12` is also the release of `12.5`.
fn is_release(version: &str, release: &str) -> bool {
    version.strip_prefix(release).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// ID, `VERSION_ID`, last day of full support, last day of free support. Dates: the pages
/// "LTS" and "Releases" of Debian, "Release cycle" of Ubuntu (whose paid support does not count).
const RELEASES: &[(&str, &str, &str, &str)] = &[
    ("debian", "13", "2028-08-09", "2030-06-30"),
    ("debian", "12", "2026-07-11", "2028-06-30"),
    ("debian", "11", "2024-08-14", "2026-08-31"),
    ("debian", "10", "2022-09-10", "2024-06-30"),
    ("debian", "9", "2020-07-18", "2022-07-01"),
    ("debian", "8", "2018-06-17", "2020-06-30"),
    ("ubuntu", "26.04", "2031-04-30", "2031-04-30"),
    ("ubuntu", "25.10", "2026-07-01", "2026-07-01"),
    ("ubuntu", "25.04", "2026-01-17", "2026-01-17"),
    ("ubuntu", "24.10", "2025-07-10", "2025-07-10"),
    ("ubuntu", "24.04", "2029-05-31", "2029-05-31"),
    ("ubuntu", "23.10", "2024-07-12", "2024-07-12"),
    ("ubuntu", "23.04", "2024-01-20", "2024-01-20"),
    ("ubuntu", "22.10", "2023-07-20", "2023-07-20"),
    ("ubuntu", "22.04", "2027-04-01", "2027-04-01"),
    ("ubuntu", "20.04", "2025-05-31", "2025-05-31"),
    ("ubuntu", "18.04", "2023-05-31", "2023-05-31"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_change_on_their_day() {
        let check = |id: &str, version: &str, date: &str, expected: Option<(&str, &str)>| {
            let os = OsRelease { id: id.into(), version: Some(version.into()), ..OsRelease::default() };
            let found = os_support(&os, date.parse().expect(date)).map(|it| (it.phase.name(), it.lts_ends));
            assert_eq!(found, expected, "{id} {version} {date}");
        };
        check("debian", "12", "2026-07-11", Some(("full", "2028-06-30")));
        check("debian", "12", "2026-11-23", Some(("lts", "2028-06-30")));
        check("debian", "12.5", "2028-06-30", Some(("lts", "2028-06-30")));
        check("debian", "12", "2028-07-01", Some(("eol", "2028-06-30")));
        check("debian", "11", "2026-11-23", Some(("eol", "2026-08-31")));
        check("debian", "1", "2026-11-23", None);
        check("debian", "120", "2026-11-23", None);
        check("ubuntu", "24.04", "2026-11-23", Some(("full", "2029-05-31")));
        check("alpine", "3.20", "2026-11-23", None);
        let rolling = OsRelease { id: "debian".into(), ..OsRelease::default() };
        assert_eq!(os_support(&rolling, Timestamp::from_seconds(0)), None);
    }

    #[test]
    fn dates_are_the_moments_at_which_the_phase_changes() {
        for (id, release, _, _) in RELEASES {
            let os = OsRelease { id: (*id).into(), version: Some((*release).into()), ..OsRelease::default() };
            let dates = os_support_dates(&os).expect(release);
            let phase = |at: Timestamp| os_support(&os, at).expect(release).phase;
            assert_eq!(phase(dates.full_ends.plus_seconds(-1)), Phase::Full, "{id} {release}");
            assert_ne!(phase(dates.full_ends), Phase::Full, "{id} {release}");
            assert_ne!(phase(dates.lts_ends.plus_seconds(-1)), Phase::EndOfLife, "{id} {release}");
            assert_eq!(phase(dates.lts_ends), Phase::EndOfLife, "{id} {release}");
        }
        assert_eq!(os_support_dates(&OsRelease { id: "debian".into(), ..OsRelease::default() }), None);
    }
}
