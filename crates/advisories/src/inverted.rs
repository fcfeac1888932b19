//! The inverted index: from a package to every image that has it.
//!
//! Images share package sets (one base, many builds), so the way is (release, source) → package sets
//! → content ids. An image may have several sets. Both have small numbers: sets of a package are a roaring
//! bitmap, images of a set a list. A million images over 100,000 sets take some 90 MB.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, Hash, RandomState},
};

use hashbrown::HashTable;
use roaring::RoaringBitmap;
use seaworthy_model::ContentId;

/// The id of a package set: SHA-256 of what is in it.
pub type SetId = [u8; 32];

/// Which package sets have a package, and which images have a package set. In memory; rebuilt from the
/// store at start.
#[derive(Debug, Default)]
pub struct PackageSetIndex {
    /// Of each release, the sets that hold some version of a source package.
    releases: BTreeMap<Box<str>, HashMap<Box<str>, RoaringBitmap>>,
    sets: Numbered<SetId>,
    contents: Numbered<ContentId>,
    /// Contents of each set, by its number.
    members: Vec<Vec<u32>>,
}

/// Numbers that roaring bitmaps keep together: what lies in an earlier block grows no more.
const BLOCK: u32 = 1 << 16;

/// Distinct values with small numbers that are used again when a value is removed.
#[derive(Debug)]
struct Numbered<T> {
    /// Finds numbers by their values; holds no values itself.
    numbers: HashTable<u32>,
    /// Behind a number that is free, its last value stays.
    values: Vec<T>,
    free: Vec<u32>,
    hasher: RandomState,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { numbers: HashTable::new(), values: Vec::new(), free: Vec::new(), hasher: RandomState::new() }
    }
}

impl<T: Copy + Eq + Hash> Numbered<T> {
    fn find(&self, value: &T) -> Option<u32> {
        let hash = self.hasher.hash_one(value);
        self.numbers.find(hash, |number| self.value(*number) == Some(value)).copied()
    }

    /// The number of `value`, which is new; `None` when all 2³² are taken.
    fn add(&mut self, value: T) -> Option<u32> {
        let number = match self.free.pop() {
            Some(number) => number,
            None => u32::try_from(self.values.len()).ok()?,
        };
        match self.values.get_mut(number as usize) {
            Some(slot) => *slot = value,
            None => self.values.push(value),
        }
        let Self { numbers, values, hasher, .. } = self;
        let hash = |number: &u32| values.get(*number as usize).map_or(0, |value| hasher.hash_one(value));
        numbers.insert_unique(hasher.hash_one(value), number, hash);
        Some(number)
    }

    fn value(&self, number: u32) -> Option<&T> {
        self.values.get(number as usize)
    }

    fn remove(&mut self, value: &T) {
        let hash = self.hasher.hash_one(value);
        let Self { numbers, values, .. } = self;
        let found = numbers.find_entry(hash, |number| values.get(*number as usize) == Some(value));
        if let Ok(entry) = found {
            self.free.push(entry.remove().0);
        }
    }
}

impl PackageSetIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a set of packages, each a release (coverage key: `deb:debian:12`) and a source package.
    /// Equal ids are equal sets, so a known id changes nothing.
    pub fn add_set<'a>(&mut self, set: SetId, packages: impl IntoIterator<Item = (&'a str, &'a str)>) {
        if self.sets.find(&set).is_some() {
            return;
        }
        let Some(number) = self.sets.add(set) else { return };
        if number > 0 && number.is_multiple_of(BLOCK) {
            self.shrink();
        }
        match self.members.get_mut(number as usize) {
            Some(members) => members.clear(),
            None => self.members.push(Vec::new()),
        }
        for (release, source) in packages {
            if !self.releases.contains_key(release) {
                self.releases.insert(release.into(), HashMap::new());
            }
            let Some(sources) = self.releases.get_mut(release) else { continue };
            match sources.get_mut(source) {
                Some(sets) => drop(sets.insert(number)),
                None => drop(sources.insert(source.into(), RoaringBitmap::from_iter([number]))),
            }
        }
    }

    /// Says that an image that has none yet has these package sets; sets that are not known are left out.
    /// False of an image that is known.
    pub fn add_content(&mut self, content: ContentId, sets: &[SetId]) -> bool {
        if self.contents.find(&content).is_some() {
            return false;
        }
        let Some(number) = self.contents.add(content) else { return false };
        for set in sets.iter().filter_map(|set| self.sets.find(set)) {
            if let Some(members) = self.members.get_mut(set as usize)
                && members.last() != Some(&number)
            {
                members.push(number);
            }
        }
        true
    }

    /// Gives back what was taken ahead of need: worth its while after many sets and images came at once.
    pub fn shrink(&mut self) {
        for sets in self.releases.values_mut().flat_map(HashMap::values_mut) {
            // A copy is as long as it has to be.
            let exact = sets.clone();
            *sets = exact;
        }
        self.members.iter_mut().for_each(Vec::shrink_to_fit);
    }

    /// Forgets an image that had these package sets.
    pub fn remove_content(&mut self, content: &ContentId, sets: &[SetId]) {
        let Some(number) = self.contents.find(content) else { return };
        for set in sets.iter().filter_map(|set| self.sets.find(set)) {
            if let Some(members) = self.members.get_mut(set as usize) {
                members.retain(|member| *member != number);
            }
        }
        self.contents.remove(content);
    }

    /// Sets that hold some version of a source package, each once, in no particular order.
    pub fn sets_with<'a>(&self, packages: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<&SetId> {
        self.values(&self.numbers_with(packages))
    }

    /// Sets of a release: those to look at when its coverage changes.
    pub fn sets_of_release(&self, release: &str) -> Vec<&SetId> {
        let mut found = RoaringBitmap::new();
        for sets in self.releases.get(release).into_iter().flat_map(HashMap::values) {
            found |= sets;
        }
        self.values(&found)
    }

    /// Images that hold some version of a source package, each once, in the order in which they came.
    pub fn contents_with<'a>(
        &self,
        packages: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> impl Iterator<Item = &ContentId> {
        // One bit for each image: sets overlap, and the bits of a million stay in a cache.
        let mut bits = vec![0_u64; self.contents.values.len().div_ceil(64)];
        for set in self.numbers_with(packages) {
            for member in self.members.get(set as usize).into_iter().flatten() {
                if let Some(word) = bits.get_mut(*member as usize / 64) {
                    *word |= 1 << (member % 64);
                }
            }
        }
        let words = self.contents.values.chunks(64).zip(bits).filter(|(_, word)| *word != 0);
        words.flat_map(|(values, word)| of_word(values, word))
    }

    fn numbers_with<'a>(&self, packages: impl IntoIterator<Item = (&'a str, &'a str)>) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        for (release, source) in packages {
            if let Some(sets) = self.releases.get(release).and_then(|sources| sources.get(source)) {
                found |= sets;
            }
        }
        found
    }

    fn values(&self, sets: &RoaringBitmap) -> Vec<&SetId> {
        sets.iter().filter_map(|set| self.sets.value(set)).collect()
    }
}

/// Values whose bits are set.
fn of_word<T>(values: &[T], word: u64) -> impl Iterator<Item = &T> {
    values.iter().enumerate().filter(move |(bit, _)| word >> bit & 1 == 1).map(|(_, value)| value)
}
