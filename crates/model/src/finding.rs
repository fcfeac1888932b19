use seaworthy_package::Ecosystem;
use serde::{Deserialize, Serialize};

use crate::{Severity, Timestamp};

/// What the vendor says about a vulnerability in a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FixState {
    /// Affected, and a fixed version exists.
    Fixed,
    /// Affected, no fix yet.
    Affected,
    /// Affected, and the vendor will not fix it (Debian: ignored).
    WillNotFix,
    /// Affected, the vendor postponed the fix (Debian: postponed).
    FixDeferred,
    /// The package's support ended.
    EndOfLife,
    /// Not clear yet.
    UnderInvestigation,
}

/// A vulnerability × an installed *source* package at one version. Derived: recomputed when
/// advisories change, without touching the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The cluster's name: its CVE when it has one, else the advisory's own id.
    pub id: String,
    /// Other names: `DSA-…`, `GHSA-…`; sorted.
    pub aliases: Vec<String>,
    /// Ecosystem of the package.
    #[serde(rename = "type")]
    pub ecosystem: Ecosystem,
    /// Source package.
    pub source: String,
    /// Installed source version.
    pub version: String,
    /// Severity band.
    pub severity: Severity,
    /// Who rated it: `debian`, …; empty when nobody did.
    pub severity_source: String,
    /// What the vendor says.
    pub state: FixState,
    /// First version that is not affected.
    pub fixed_version: Option<String>,
    /// In CISA's catalogue of known exploited vulnerabilities.
    pub kev: bool,
    /// Probability of exploitation in the next 30 days, 0 to 1 (FIRST EPSS).
    pub epss: Option<f32>,
    /// One line about the flaw, when the feed has it.
    pub summary: String,
}

/// What to do about a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// A sentence for people.
    pub text: String,
    /// A command that can be pasted into a Dockerfile's `RUN` or a shell, when there is one.
    pub command: Option<String>,
}

/// One loaded feed, as far as a verdict must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedCoverage {
    /// The feed's name: `debian`, `osv-debian`, `kev`, `epss`, `local`.
    pub feed: String,
    /// What it covers: `deb:debian:12` (ecosystem, distribution, release), `kev`, `epss`.
    pub covers: Vec<String>,
    /// When it was last imported or verified unchanged.
    pub checked_at: Timestamp,
    /// Date of its newest record, for people.
    pub newest: Option<String>,
}

/// All findings of one package set under one index generation. Content ids with equal
/// packages share it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingSet {
    /// SHA-256 over the rows and over what covers them, hex: equal sets have equal ids.
    pub id: String,
    /// Hash of the advisory index the rows were computed with, hex.
    pub index_hash: String,
    /// Coverage key of the image: `deb:debian:12`; `None` when it has no distribution packages.
    pub release: Option<String>,
    /// True when a loaded feed covers `release`, or nothing needs covering.
    pub covered: bool,
    /// The findings, sorted by id, then source.
    pub rows: Vec<Finding>,
}
