//! The inverted index: from a package to every image that has it.
//!
//! Images share package sets (one base, many builds), so the way is
//! (release, source, version) → package sets → content ids. Sets and contents are numbers in
//! roaring bitmaps; a million images over shared bases stay within tens of megabytes.

use std::collections::{BTreeMap, HashMap};

use roaring::RoaringBitmap;
use seaworthy_model::ContentId;

/// A source package at one version, in one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackageVersion<'a> {
    /// Coverage key: `deb:debian:12`.
    pub release: &'a str,
    /// Source package.
    pub source: &'a str,
    /// Source version.
    pub version: &'a str,
}

/// Which package sets have a package, and which images have a package set. In memory; rebuilt from the
/// store at start.
#[derive(Debug, Default)]
pub struct PackageSetIndex {
    /// Versions of each (release, source), each with the sets that hold it.
    packages: BTreeMap<(Box<str>, Box<str>), Versions>,
    sets: Numbered<Box<str>>,
    contents: Numbered<ContentId>,
    /// Contents of each set, by its number.
    members: HashMap<u32, RoaringBitmap>,
    /// The set of each content, by its number.
    set_of: HashMap<u32, u32>,
}

/// Sets that hold each version of one source package.
type Versions = BTreeMap<Box<str>, RoaringBitmap>;

/// Values with small numbers that are used again when a value is removed.
#[derive(Debug)]
struct Numbered<T> {
    numbers: HashMap<T, u32>,
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new(), free: Vec::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    /// The number of `value`; `None` when all 2³² are taken.
    fn add(&mut self, value: &T) -> Option<u32> {
        if let Some(number) = self.numbers.get(value) {
            return Some(*number);
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None => u32::try_from(self.values.len()).ok()?,
        };
        if let Some(slot) = self.values.get_mut(number as usize) {
            *slot = Some(value.clone());
        } else {
            self.values.push(Some(value.clone()));
        }
        self.numbers.insert(value.clone(), number);
        Some(number)
    }

    fn value(&self, number: u32) -> Option<&T> {
        self.values.get(number as usize)?.as_ref()
    }

    fn remove(&mut self, number: u32) {
        if let Some(value) = self.values.get_mut(number as usize).and_then(Option::take) {
            self.numbers.remove(&value);
            self.free.push(number);
        }
    }
}

impl PackageSetIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a package set; equal ids are equal sets, so a known id changes nothing.
    pub fn add_set(&mut self, set: &str, packages: &[PackageVersion<'_>]) {
        if self.sets.numbers.contains_key(set) {
            return;
        }
        let Some(number) = self.sets.add(&set.into()) else { return };
        self.members.insert(number, RoaringBitmap::new());
        for package in packages {
            let versions = self.packages.entry((package.release.into(), package.source.into())).or_default();
            versions.entry(package.version.into()).or_default().insert(number);
        }
    }

    /// Says that `content` has the packages of `set`, and no longer those of another set. False when
    /// the set is not known.
    pub fn assign(&mut self, content: &ContentId, set: &str) -> bool {
        let Some(set) = self.sets.numbers.get(set).copied() else { return false };
        let Some(content) = self.contents.add(content) else { return false };
        if let Some(before) = self.set_of.insert(content, set)
            && let Some(members) = self.members.get_mut(&before)
        {
            members.remove(content);
        }
        self.members.entry(set).or_default().insert(content);
        true
    }

    /// Forgets an image.
    pub fn remove_content(&mut self, content: &ContentId) {
        let Some(number) = self.contents.numbers.get(content).copied() else { return };
        if let Some(set) = self.set_of.remove(&number)
            && let Some(members) = self.members.get_mut(&set)
        {
            members.remove(number);
        }
        self.contents.remove(number);
    }

    /// Forgets a package set and the images that still have it.
    pub fn remove_set(&mut self, set: &str) {
        let Some(number) = self.sets.numbers.get(set).copied() else { return };
        for content in self.members.remove(&number).unwrap_or_default() {
            self.set_of.remove(&content);
            self.contents.remove(content);
        }
        self.packages.retain(|_, versions| {
            versions.retain(|_, sets| {
                sets.remove(number);
                !sets.is_empty()
            });
            !versions.is_empty()
        });
        self.sets.remove(number);
    }

    /// Sets that hold some version of a source package, each once, in no particular order.
    pub fn sets_with<'a>(&self, packages: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<&str> {
        let mut found = RoaringBitmap::new();
        for (release, source) in packages {
            for sets in self.versions(release, source).map(|(_, sets)| sets) {
                found |= sets;
            }
        }
        found.iter().filter_map(|set| self.sets.value(set)).map(|set| &**set).collect()
    }

    /// Sets that hold exactly this version.
    pub fn sets_at(&self, package: PackageVersion<'_>) -> Vec<&str> {
        let found =
            self.versions(package.release, package.source).find(|(version, _)| *version == package.version);
        found
            .into_iter()
            .flat_map(|(_, sets)| sets)
            .filter_map(|set| self.sets.value(set))
            .map(|set| &**set)
            .collect()
    }

    /// Sets of a release: those to look at when its coverage changes.
    pub fn sets_of_release(&self, release: &str) -> Vec<&str> {
        let first = (Box::from(release), Box::from(""));
        let mut found = RoaringBitmap::new();
        for (_, versions) in self.packages.range(first..).take_while(|((other, _), _)| **other == *release) {
            versions.values().for_each(|sets| found |= sets);
        }
        found.iter().filter_map(|set| self.sets.value(set)).map(|set| &**set).collect()
    }

    /// Images that have a package set.
    pub fn contents_of(&self, set: &str) -> impl Iterator<Item = &ContentId> {
        let members = self.sets.numbers.get(set).and_then(|number| self.members.get(number));
        members.into_iter().flatten().filter_map(|content| self.contents.value(content))
    }

    fn versions(&self, release: &str, source: &str) -> impl Iterator<Item = (&str, &RoaringBitmap)> {
        let versions = self.packages.get(&(Box::from(release), Box::from(source)));
        versions.into_iter().flatten().map(|(version, sets)| (&**version, sets))
    }
}
