//! Bytes that are what a descriptor says, or an error.

use std::io::{self, Read};

use seaworthy_oci::{Digest, Hasher};

/// Reads bytes of a known digest and length. What differs is an error before the last of them are given out, so nobody
/// takes them for whole.
pub(crate) struct Verified<R> {
    inner: R,
    digest: Digest,
    size: u64,
    left: u64,
    /// `None` once it was compared.
    hasher: Option<Hasher>,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, digest: Digest, size: u64) -> Self {
        Self { inner, digest, size, left: size, hasher: Some(Hasher::new(digest.algorithm())) }
    }

    fn compare(&mut self) -> io::Result<()> {
        match self.hasher.take().map(Hasher::finish) {
            Some(actual) if actual != self.digest => {
                Err(io::Error::other(format!("its bytes are those of {actual}")))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            self.compare()?;
        }
        let count = self.inner.read(buffer)?;
        if count as u64 > self.left {
            return Err(io::Error::other(format!("it is longer than {} bytes", self.size)));
        }
        if count == 0 && self.left > 0 {
            let message = format!("it ends after {} of {} bytes", self.size - self.left, self.size);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.left -= count as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..count).unwrap_or_default());
        }
        if self.left == 0 {
            self.compare()?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_oci::Algorithm;

    use super::*;

    fn read(bytes: &[u8], digest: Digest, size: u64) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let read = Verified::new(bytes, digest, size).read_to_end(&mut out);
        read.map(|_| out).map_err(|error| error.to_string())
    }

    #[test]
    fn bytes_are_what_they_are_said_to_be() {
        let mut long = Hasher::new(Algorithm::Sha512);
        long.update(b"abc");
        for digest in [Digest::sha256(b"abc"), long.finish()] {
            assert_eq!(read(b"abc", digest, 3), Ok(b"abc".to_vec()));
            assert!(read(b"abd", digest, 3).expect_err("flipped").contains("those of"));
            assert!(read(b"abc", digest, 2).is_err(), "a size that is too small");
            assert!(read(b"abc", digest, 4).expect_err("too large").contains("3 of 4"));
            assert!(read(b"abcd", digest, 3).expect_err("longer").contains("longer than 3"));
        }
        assert_eq!(read(b"", Digest::sha256(b""), 0), Ok(Vec::new()));
        assert!(read(b"", Digest::sha256(b"abc"), 0).is_err());
    }

    #[test]
    fn the_last_bytes_of_what_differs_are_not_given_out() {
        let bytes = [7; 100];
        let mut reader = Verified::new(&bytes[..], Digest::sha256(b"other"), 100);
        let mut buffer = [0; 60];
        assert_eq!(reader.read(&mut buffer).expect("the first"), 60);
        assert!(reader.read(&mut buffer).is_err());
    }
}
