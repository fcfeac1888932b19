//! What reading images on their host may take: disk, time and repetition.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    time::{Duration, Instant},
};

use crate::limit;

/// How often the disk is looked at, in bytes written.
const LOOK_BYTES: u64 = 16 * 1024 * 1024;

/// An image on its way into a file: at most [`limit::EXPORT_BYTES`], and only while the disk has
/// [`limit::SPARE_BYTES`] to spare.
#[derive(Debug)]
pub struct Scratch<'f> {
    file: &'f mut File,
    most: u64,
    spare: u64,
    written: u64,
    looked_at: Option<u64>,
}

impl<'f> Scratch<'f> {
    /// Writes to `file`.
    pub const fn new(file: &'f mut File) -> Self {
        Self { file, most: limit::EXPORT_BYTES, spare: limit::SPARE_BYTES, written: 0, looked_at: None }
    }
}

impl Write for Scratch<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written.saturating_add(bytes.len() as u64) > self.most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the image is longer than {} bytes", self.most),
            ));
        }
        if self.looked_at.is_none_or(|at| self.written >= at + LOOK_BYTES) {
            let disk = rustix::fs::fstatvfs(&*self.file)?;
            if disk.f_bavail.saturating_mul(disk.f_frsize) < self.spare.saturating_add(LOOK_BYTES) {
                let message = format!("the disk has no more than {} bytes to spare", self.spare);
                return Err(io::Error::new(io::ErrorKind::StorageFull, message));
            }
            self.looked_at = Some(self.written);
        }
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Images that were tried, so that one that cannot be read is not read without end.
#[derive(Debug, Default)]
pub struct Tried(HashMap<String, Instant>);

impl Tried {
    /// True when `image` is to be read now: not within [`limit::AGAIN_SECONDS`] after it was, and
    /// not beside more than [`limit::IMAGES`] others.
    pub fn is_due(&mut self, image: &str, now: Instant) -> bool {
        self.0.retain(|_, at| now.duration_since(*at) < Duration::from_secs(limit::AGAIN_SECONDS));
        if self.0.contains_key(image) || self.0.len() >= limit::IMAGES {
            return false;
        }
        self.0.insert(image.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_tried_again_after_its_time() {
        let (mut tried, now) = (Tried::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(tried.is_due("a", now));
        assert!(!tried.is_due("a", at(limit::AGAIN_SECONDS - 1)));
        assert!(tried.is_due("b", at(1)));
        assert!(tried.is_due("a", at(limit::AGAIN_SECONDS)));
        let mut full = Tried((0..limit::IMAGES - 1).map(|it| (it.to_string(), now)).collect());
        assert!(full.is_due("last", now) && !full.is_due("one more", now));
    }

    #[test]
    fn an_image_takes_what_the_disk_can_spare() {
        let mut file = tempfile::tempfile().unwrap();
        let scratch = Scratch::new(&mut file);
        assert_eq!((scratch.most, scratch.spare), (limit::EXPORT_BYTES, limit::SPARE_BYTES));
        let mut small = Scratch { most: 10, spare: 0, ..scratch };
        small.write_all(b"12345").unwrap();
        small.write_all(b"67890").unwrap();
        assert_eq!(small.write_all(b"1").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let mut full = Scratch { spare: u64::MAX, ..Scratch::new(&mut file) };
        assert_eq!(full.write_all(b"1").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.metadata().unwrap().len(), 10);
    }
}
