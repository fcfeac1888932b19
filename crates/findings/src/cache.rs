//! Feeds that were read before, for commands that run without a server: a CI job that scans
//! twice compiles its feeds once.
//!
//! What is kept are the reader's answers, by the SHA-256 of what they were read from, of the name
//! under which it was read and of the binary that read it. Answers are verified when they are
//! read, as those of a child are. The cache is never needed: whatever is wrong with it, the feed
//! is read again.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use seaworthy_advisories::{Import, InputKind, feed_request};
use seaworthy_oci::{Algorithm, Digest, Hasher};

use crate::limit;

/// Where answers are kept, if anywhere.
#[derive(Clone, Debug, Default)]
pub struct FeedCache {
    folder: Option<PathBuf>,
}

impl FeedCache {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Keeps answers in `folder`, which is made; nothing when it is not this user's alone.
    pub fn at(folder: &Path) -> Self {
        drop(DirBuilder::new().recursive(true).mode(0o700).create(folder));
        Self { folder: is_ours_alone(folder).then(|| folder.to_owned()) }
    }

    /// The file for an input; the input is read to its end and back at its start. `None` where
    /// nothing is kept.
    pub(crate) fn place(&self, path: &str, kind: InputKind, input: &mut File) -> io::Result<Option<PathBuf>> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let binary = std::env::current_exe().and_then(fs::metadata)?;
        hasher.update(format!("{} {:?} ", binary.len(), binary.modified()?).as_bytes());
        let request = feed_request(path, kind);
        hasher.update(&(request.len() as u64).to_le_bytes());
        hasher.update(&request);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = input.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
        input.rewind()?;
        Ok(Some(folder.join(hasher.finish().hex())))
    }

    /// What was kept there, if it is whole.
    pub(crate) fn get(place: &Path) -> Option<Import> {
        let bytes = fs::read(place).ok()?;
        // The first bytes are the rest's own hash: what was cut off or changed is not believed.
        let (sum, answer) = bytes.split_at_checked(32)?;
        (Digest::sha256(answer).hash() == sum).then(|| Import::from_bytes(answer).ok()).flatten()
    }

    /// Keeps an answer, and of all of them the newest [`limit::CACHED_FEEDS`].
    pub(crate) fn put(&self, place: &Path, answer: &[u8]) {
        let write = || -> io::Result<()> {
            let fresh = place.with_extension(format!("{}.new", std::process::id()));
            let mut file = File::create(&fresh)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(Digest::sha256(answer).hash())?;
            file.write_all(answer)?;
            fs::rename(&fresh, place)
        };
        if write().is_ok() {
            self.prune();
        }
    }

    fn prune(&self) {
        let Some(entries) = self.folder.as_ref().and_then(|folder| fs::read_dir(folder).ok()) else { return };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        files.iter().skip(limit::CACHED_FEEDS).for_each(|(_, path)| drop(fs::remove_file(path)));
    }
}

/// Anybody else who could write there could tell us what advisories say.
fn is_ours_alone(folder: &Path) -> bool {
    let me = fs::metadata("/proc/self").map(|data| data.uid());
    fs::symlink_metadata(folder).is_ok_and(|data| {
        data.is_dir() && data.mode().trailing_zeros() >= 6 && me.is_ok_and(|me| me == data.uid())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("file");
        file.write_all(content).expect("written");
        file.rewind().expect("rewound");
        file
    }

    fn answer(content: &str) -> Vec<u8> {
        seaworthy_advisories::read("f", InputKind::File, &mut content.as_bytes()).expect("read").to_bytes()
    }

    #[test]
    fn answers_are_kept_by_name_and_content() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = FeedCache::at(&folder.path().join("feeds"));
        let place = |name: &str, content: &[u8]| {
            cache.place(name, InputKind::File, &mut input(content)).expect("place").expect("kept")
        };
        assert_eq!(place("a", b"x"), place("a", b"x"));
        assert_ne!(place("a", b"x"), place("a", b"y"));
        assert_ne!(place("a", b"x"), place("b", b"x"));
        let text = r#"{"id":"X-1","modified":"2026-01-01T00:00:00Z","affected":[]}"#;
        let (here, answer) = (place("a", text.as_bytes()), answer(text));
        assert_eq!(FeedCache::get(&here), None);
        cache.put(&here, &answer);
        assert_eq!(FeedCache::get(&here).expect("kept").to_bytes(), answer);
        let whole = fs::read(&here).expect("file");
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&here, &changed).expect("write");
            assert_eq!(FeedCache::get(&here), None, "byte {at}");
        }
        let mut read = String::new();
        let mut file = input(b"again");
        cache.place("a", InputKind::File, &mut file).expect("place");
        file.read_to_string(&mut read).expect("read");
        assert_eq!(read, "again", "the input is at its start");
    }

    #[test]
    fn the_number_of_answers_is_bounded() {
        let folder = tempfile::tempdir().expect("folder");
        let cache = FeedCache::at(&folder.path().join("feeds"));
        let count = || fs::read_dir(folder.path().join("feeds")).expect("list").count();
        for number in 0..=limit::CACHED_FEEDS {
            assert_eq!(count(), number);
            cache.put(&folder.path().join("feeds").join(number.to_string()), b"answer");
        }
        assert_eq!(count(), limit::CACHED_FEEDS, "one more was put, the oldest went");
    }

    #[test]
    fn a_folder_of_others_is_not_used() {
        let folder = tempfile::tempdir().expect("folder");
        let open = folder.path().join("open");
        fs::create_dir(&open).expect("folder");
        fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("mode");
        std::os::unix::fs::symlink(&open, folder.path().join("link")).expect("link");
        for cache in [FeedCache::none(), FeedCache::at(&open), FeedCache::at(&folder.path().join("link"))] {
            assert_eq!(cache.place("a", InputKind::File, &mut input(b"x")).expect("place"), None);
        }
    }
}
