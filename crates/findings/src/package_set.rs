//! What images share: operating system and packages; and the way back from a package to its sets.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{PoisonError, RwLock},
};

use seaworthy_advisories::{Index, PackageSetIndex, SetId, Touched, release_key};
use seaworthy_model::{FindingSet, OsRelease, PackageRow};
use seaworthy_oci::{Algorithm, Digest, Hasher};
use seaworthy_package::InstalledPackage;
use seaworthy_store::{Db, DbError};
use serde::{Deserialize, Serialize};

use crate::{FindingsError, db::package_sets as db, limit};

/// An operating system and its packages, with their id.
#[derive(Debug)]
pub(crate) struct PackageSet {
    pub(crate) id: Digest,
    content: Content,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    os: Option<OsRelease>,
    packages: Vec<InstalledPackage>,
}

impl PackageSet {
    /// The set of an inventory. Duplicates count once; the system's name for people does not count.
    pub(crate) fn of(os: Option<&OsRelease>, rows: &[PackageRow]) -> Result<Self, FindingsError> {
        if rows.len() > limit::PACKAGES {
            return Err(too_many_packages());
        }
        let packages: BTreeSet<&InstalledPackage> = rows.iter().map(|row| &row.package).collect();
        let content = Content {
            os: os.map(|os| OsRelease { name: String::new(), ..os.clone() }),
            packages: packages.into_iter().cloned().collect(),
        };
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"seaworthy package set v1\n");
        hasher.update(&content.json());
        Ok(Self { id: hasher.finish(), content })
    }

    /// A set as [`PackageSet::to_bytes`] packed it.
    pub(crate) fn from_bytes(id: Digest, bytes: &[u8]) -> Result<Self, DbError> {
        Ok(Self { id, content: unpack(bytes)? })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        pack(&self.content.json())
    }

    /// What `index` finds in it.
    pub(crate) fn find(&self, index: &Index) -> Matched {
        Matched::new(index.find(self.content.os.as_ref(), &self.content.packages))
    }
}

impl Content {
    fn json(&self) -> Vec<u8> {
        // Texts and words always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A finding set, ready to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Matched {
    pub(crate) set: FindingSet,
    /// Length of its JSON.
    pub(crate) json_bytes: usize,
    /// As stored.
    pub(crate) body: Vec<u8>,
}

impl Matched {
    /// Cuts a set that no event could carry: its first rows stay, and it does not count as covered,
    /// because what was cut is not known to be harmless.
    fn new(mut set: FindingSet) -> Self {
        let mut json = serde_json::to_vec(&set).unwrap_or_default();
        if json.len() > limit::FINDING_SET_BYTES {
            let mut hasher = Hasher::new(Algorithm::Sha256);
            hasher.update(b"cut ");
            hasher.update(set.id.as_bytes());
            set.id = hasher.finish().hex();
            set.covered = false;
            while json.len() > limit::FINDING_SET_BYTES && !set.rows.is_empty() {
                set.rows.truncate(set.rows.len() / 2);
                json = serde_json::to_vec(&set).unwrap_or_default();
            }
        }
        Self { json_bytes: json.len(), body: pack(&json), set }
    }

    /// What [`Matched::body`] holds.
    pub(crate) fn from_body(body: Vec<u8>) -> Result<Self, DbError> {
        let json = zstd::decode_all(body.as_slice()).map_err(|_| damaged("Zstandard"))?;
        let set = serde_json::from_slice(&json).map_err(|_| damaged("a finding set"))?;
        Ok(Self { set, json_bytes: json.len(), body })
    }
}

pub(crate) fn too_many_packages() -> FindingsError {
    FindingsError::TooLarge { what: "the image".to_owned(), limit: limit::PACKAGES as u64, unit: "packages" }
}

/// Level 1: written once per set and import, read rarely.
fn pack(json: &[u8]) -> Vec<u8> {
    // Compressing memory into memory does not fail; an empty text is refused when it is read.
    zstd::encode_all(json, 1).unwrap_or_default()
}

fn unpack<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DbError> {
    let json = zstd::decode_all(bytes).map_err(|_| damaged("Zstandard"))?;
    serde_json::from_slice(&json).map_err(|_| damaged("a package set"))
}

fn damaged(expected: &'static str) -> DbError {
    DbError::Column { statement: "a packed column of findings".to_owned(), column: 0, expected }
}

/// Which package sets have a package: in memory, brought up to date from SQL before it is asked.
/// Sets that are gone stay in it until the next start; whoever asks finds no row for them.
#[derive(Debug, Default)]
pub(crate) struct PackageSets {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    index: PackageSetIndex,
    ids: HashSet<Digest>,
}

impl PackageSets {
    /// Adds what other replicas, or an earlier run, have stored.
    pub(crate) async fn synchronise(&self, db: &Db) -> Result<(), DbError> {
        let (mut after, mut came) = (Vec::new(), 0);
        loop {
            let ids = db::ids(db, &after, limit::SETS_PAGE).await?;
            let Some(last) = ids.last().copied() else { break };
            let missing: Vec<Digest> = ids.into_iter().filter(|id| !self.knows(id)).collect();
            let sets = match missing.as_slice() {
                [] => Vec::new(),
                [one] => db::packages(db, one).await?.into_iter().map(|bytes| (*one, bytes)).collect(),
                _ => db::packages_between(db, &after, &last).await?,
            };
            for (id, bytes) in sets {
                if !self.knows(&id) {
                    self.add(&PackageSet::from_bytes(id, &bytes)?);
                    came += 1;
                }
            }
            after = last.hash().to_vec();
        }
        if came >= limit::SETS_PAGE {
            self.known.write().unwrap_or_else(PoisonError::into_inner).index.shrink();
        }
        Ok(())
    }

    fn knows(&self, id: &Digest) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).ids.contains(id)
    }

    pub(crate) fn add(&self, set: &PackageSet) {
        let Content { os, packages } = &set.content;
        let release = release_key(os.as_ref(), packages).unwrap_or_default();
        let names = packages.iter().map(|package| package.source.name.as_str()).flat_map(|source| {
            // Advisories speak of signed kernels as `linux`: `Index::find` looks there, too.
            let linux = source.starts_with("linux-signed-").then_some("linux");
            [source].into_iter().chain(linux)
        });
        let Ok(id) = SetId::try_from(set.id.hash()) else { return };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.ids.insert(set.id) {
            known.index.add_set(id, names.map(|source| (release.as_str(), source)));
        }
    }

    /// Sets with a package about which `index` has a row of this id or alias, in order.
    pub(crate) fn with_vulnerability(&self, index: &Index, id: &str) -> BTreeSet<Digest> {
        let packages = index.packages_with(id);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let packages = packages.iter().map(|(release, source)| (release.as_str(), source.as_str()));
        known.index.sets_with(packages).into_iter().filter_map(digest).collect()
    }

    /// Sets whose findings may differ, in order.
    pub(crate) fn touched(&self, index: &Index, touched: &Touched) -> BTreeSet<Digest> {
        let mut packages = touched.packages.clone();
        packages.extend(touched.cves.iter().flat_map(|cve| index.packages_with(cve)));
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let packages = packages.iter().map(|(release, source)| (release.as_str(), source.as_str()));
        let of_packages = known.index.sets_with(packages).into_iter();
        let of_releases = touched.releases.iter().flat_map(|release| known.index.sets_of_release(release));
        of_packages.chain(of_releases).filter_map(digest).collect()
    }
}

fn digest(set: &SetId) -> Option<Digest> {
    Digest::from_hash(Algorithm::Sha256, set)
}

#[cfg(test)]
mod tests {
    use seaworthy_model::{Finding, FixState, Severity};
    use seaworthy_package::{Ecosystem, SourcePackage};

    use super::*;

    fn row(name: &str) -> PackageRow {
        let package = InstalledPackage {
            ecosystem: Ecosystem::Deb,
            distribution: "debian".to_owned(),
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            source: SourcePackage { name: name.to_owned(), version: "1".to_owned() },
        };
        PackageRow { package, layer: 0, paths: Vec::new() }
    }

    fn debian(name: &str) -> OsRelease {
        OsRelease { id: "debian".into(), version: Some("12".into()), codename: None, name: name.into() }
    }

    #[test]
    fn equal_packages_have_equal_ids() {
        let id = |os: Option<&OsRelease>, names: &[&str]| {
            PackageSet::of(os, &names.iter().map(|name| row(name)).collect::<Vec<_>>()).expect("set").id
        };
        let (one, two) = (debian("Debian 12"), debian("Debian GNU/Linux 12"));
        assert_eq!(id(Some(&one), &["a", "b"]), id(Some(&two), &["b", "a", "b"]));
        assert_ne!(id(Some(&one), &["a", "b"]), id(None, &["a", "b"]));
        assert_ne!(id(Some(&one), &["a", "b"]), id(Some(&one), &["a"]));
    }

    #[test]
    fn packages_are_bounded() {
        let rows = vec![row("a"); limit::PACKAGES + 1];
        assert!(PackageSet::of(None, rows.get(1..).unwrap_or_default()).is_ok());
        assert!(matches!(PackageSet::of(None, &rows), Err(FindingsError::TooLarge { .. })));
    }

    #[test]
    fn sets_survive_packing() {
        let set = PackageSet::of(Some(&debian("")), &[row("a"), row("b")]).expect("set");
        let again = PackageSet::from_bytes(set.id, &set.to_bytes()).expect("unpacked");
        assert_eq!(again.content.json(), set.content.json());
        assert!(PackageSet::from_bytes(set.id, b"nonsense").is_err());
    }

    #[test]
    fn a_set_too_long_for_an_event_is_cut_and_not_covered() {
        let finding = |summary: String| Finding {
            id: "CVE-2026-1".into(),
            aliases: Vec::new(),
            ecosystem: Ecosystem::Deb,
            source: "a".into(),
            version: "1".into(),
            severity: Severity::Unknown,
            severity_source: String::new(),
            state: FixState::Fixed,
            fixed_version: None,
            kev: false,
            epss: None,
            summary,
        };
        let set = |rows: Vec<Finding>| FindingSet {
            id: "id".into(),
            index_hash: String::new(),
            release: None,
            covered: true,
            rows,
        };
        let empty = serde_json::to_vec(&set(vec![finding(String::new())])).expect("json").len();
        let most = limit::FINDING_SET_BYTES - empty;
        let whole = Matched::new(set(vec![finding("x".repeat(most))]));
        assert!(whole.set.covered && whole.set.id == "id" && whole.json_bytes == limit::FINDING_SET_BYTES);
        let rows = vec![finding("x".repeat(most / 2)), finding("x".repeat(most / 2 + 2))];
        let cut = Matched::new(set(rows));
        assert!(!cut.set.covered && cut.set.id != "id" && cut.set.rows.len() == 1);
        assert_eq!(Matched::from_body(cut.body.clone()).expect("read").set, cut.set);
    }
}
