use crate::{Entry, EntryKind, LayerError, Limits};

/// What the first bytes of a file say it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Magic {
    /// Nothing we look for.
    #[default]
    Other,
    /// An ELF program or library.
    Elf,
    /// A script: `#!`.
    Script,
}

/// All entries of one layer in order: paths, kinds, links. Two allocations, whatever the
/// number of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathTable {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    start: u32,
    path_bytes: u16,
    link_bytes: u16,
    mode: u16,
    kind: EntryKind,
    magic: Magic,
    size: u64,
}

/// One row of a [`PathTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRow<'a> {
    /// Path bytes, as [`crate::EntryPath`] holds them.
    pub path: &'a [u8],
    /// Target of a symbolic or hard link as written, else empty.
    pub link: &'a [u8],
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u16,
    /// What the content begins with.
    pub magic: Magic,
    /// Logical length in bytes.
    pub size: u64,
}

impl PathTable {
    /// Adds an entry.
    pub fn push(&mut self, entry: &Entry<'_>, magic: Magic, limits: &Limits) -> Result<(), LayerError> {
        let row = TableRow {
            path: entry.path.as_bytes(),
            link: entry.link,
            kind: entry.kind,
            mode: entry.mode,
            magic,
            size: entry.size,
        };
        self.push_row(row, limits)
    }

    /// Adds a row that was read back from storage. Nothing is believed: lengths are checked.
    pub fn push_row(&mut self, row: TableRow<'_>, limits: &Limits) -> Result<(), LayerError> {
        let too_large = LayerError::TooLarge {
            what: "bytes in paths",
            at_most: u64::try_from(limits.table_bytes).unwrap_or(u64::MAX),
        };
        let after = self.bytes.len() + row.path.len() + row.link.len();
        let (Ok(start), Ok(path_bytes), Ok(link_bytes)) =
            (u32::try_from(self.bytes.len()), u16::try_from(row.path.len()), u16::try_from(row.link.len()))
        else {
            return Err(too_large);
        };
        if after > limits.table_bytes {
            return Err(too_large);
        }
        if self.len() >= limits.entries {
            return Err(LayerError::TooLarge { what: "entries", at_most: u64::from(limits.entries) });
        }
        self.bytes.extend_from_slice(row.path);
        self.bytes.extend_from_slice(row.link);
        self.rows.push(Row {
            start,
            path_bytes,
            link_bytes,
            mode: row.mode,
            kind: row.kind,
            magic: row.magic,
            size: row.size,
        });
        Ok(())
    }

    /// Memory that the table holds, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.rows.capacity() * size_of::<Row>()
    }

    /// Number of entries.
    pub fn len(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    /// True when the layer has no entry.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Entry `index`.
    pub fn row(&self, index: u32) -> Option<TableRow<'_>> {
        let row = self.rows.get(usize::try_from(index).ok()?)?;
        let start = usize::try_from(row.start).ok()?;
        let middle = start + usize::from(row.path_bytes);
        Some(TableRow {
            path: self.bytes.get(start..middle)?,
            link: self.bytes.get(middle..middle + usize::from(row.link_bytes))?,
            kind: row.kind,
            mode: row.mode,
            magic: row.magic,
            size: row.size,
        })
    }

    /// All entries, in order.
    pub fn rows(&self) -> impl Iterator<Item = TableRow<'_>> {
        (0..self.len()).filter_map(|index| self.row(index))
    }
}
