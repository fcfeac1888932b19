use std::{fs::File, io};

/// The bytes of an immutable file, mapped read-only.
#[derive(Debug)]
pub struct FileMap(memmap2::Mmap);

impl FileMap {
    /// Maps all of `file`.
    ///
    /// The caller passes only files that this process never changes after they got their final
    /// name: blobs and index segments. An empty file cannot be mapped and is an error.
    pub fn open(file: &File) -> io::Result<Self> {
        if file.metadata()?.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "file is empty"));
        }
        #[allow(unsafe_code, reason = "a memory map is the product's one shared read-only file view")]
        // SAFETY: the file is immutable by the contract above: `Blobs` writes under another name, then
        // renames, and only ever unlinks. A foreign process that truncates it inside our 0700 data
        // directory could raise SIGBUS, which ends the process without corrupting anything.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
