use std::io::Read;

use seaworthy_oci::Digest;

use crate::{
    EntryPath, LayerError, Limits,
    decode::Decoder,
    header::{self, BLOCK, Header},
    pax::{self, Pax},
    sparse::{self, Piece},
};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file, sparse ones too.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of a file that is named earlier, or in a lower layer.
    Hardlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// One entry of a layer, as its header states it.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Number of the entry, first is 0.
    pub index: u32,
    /// Its path.
    pub path: &'a EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with set-uid, set-gid and sticky.
    pub mode: u16,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Logical length in bytes; 0 when it has no content.
    pub size: u64,
    /// Target of a symbolic or hard link as written, else empty.
    pub link: &'a [u8],
    /// Extended attributes.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// A piece of an entry's content.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Bytes.
    Data(&'a [u8]),
    /// So many zeros that are not stored. Never materialise this number.
    Hole(u64),
}

/// The content of one entry, read at most once. What is not read is skipped.
pub struct Body<'a> {
    source: &'a mut dyn Stored,
    /// Stored bytes not read yet.
    stored: u64,
    /// Logical position.
    position: u64,
    size: u64,
    /// The sparse map still ahead, last piece first; `None` for plain files.
    pieces: Option<Vec<Piece>>,
}

/// Who is told about entries. Content is only lent.
pub trait Visitor {
    /// Called for every entry in the order of the layer.
    fn entry(&mut self, entry: &Entry<'_>, body: &mut Body<'_>) -> Result<(), LayerError>;
}

/// What a whole layer hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerDigest {
    /// SHA-256 of all uncompressed bytes, padding after the archive included.
    pub diff_id: Digest,
    /// Their number.
    pub uncompressed_bytes: u64,
    /// Number of entries.
    pub entries: u32,
}

/// Reads a layer (gzip, zstd or plain tar) to its very end and shows every entry to `visitor`.
///
/// Like Go's reader: entries after the end marker do not exist, a missing end marker is
/// forgiven, and records of *global* pax headers are not applied.
pub fn read_layer(
    input: impl Read,
    limits: &Limits,
    visitor: &mut impl Visitor,
) -> Result<LayerDigest, LayerError> {
    let mut reader = Reader { source: Decoder::new(input, *limits)?, limits: *limits, entries: 0 };
    while let Some((block, pending)) = reader.next_header()? {
        reader.one_entry(&block, pending, visitor)?;
    }
    let entries = reader.entries;
    let (diff_id, uncompressed_bytes) = reader.source.finish()?;
    Ok(LayerDigest { diff_id, uncompressed_bytes, entries })
}

/// What special entries said about the entry that follows.
#[derive(Default)]
struct Pending {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

struct Reader<R: Read> {
    source: Decoder<R>,
    limits: Limits,
    entries: u32,
}

impl<R: Read> Reader<R> {
    /// The next real header with what precedes it; `None` at the end of the archive.
    fn next_header(&mut self) -> Result<Option<(Block, Pending)>, LayerError> {
        let mut pending = Pending::default();
        let mut place = Place::Between;
        // Special entries are entries: without this bound a layer could be made of them alone.
        for _ in 0..=self.limits.entries {
            let Some(block) = self.block(place)? else { return Ok(None) };
            if header::is_zero(&block) {
                return match self.block(Place::Between)? {
                    Some(second) if !header::is_zero(&second) => {
                        Err(self.bad("follows a lone block of zeros"))
                    }
                    _ => Ok(None),
                };
            }
            let header = header::parse(&block).map_err(|problem| self.bad(problem))?;
            match header.type_flag {
                b'x' => {
                    let body = self.special(header.size)?;
                    pending.pax = pax::parse(&body).map_err(|problem| self.bad(problem))?;
                }
                b'g' => {
                    self.special(header.size)?;
                    continue;
                }
                b'L' => {
                    pending.long_name = Some(header::text(&self.special(header.size)?).to_vec());
                }
                b'K' => {
                    pending.long_link = Some(header::text(&self.special(header.size)?).to_vec());
                }
                _ => return Ok(Some((Block { header, raw: block }, pending))),
            }
            place = Place::Inside;
        }
        Err(self.too_many())
    }

    fn one_entry(
        &mut self,
        block: &Block,
        pending: Pending,
        visitor: &mut impl Visitor,
    ) -> Result<(), LayerError> {
        if self.entries >= self.limits.entries {
            return Err(self.too_many());
        }
        let Block { header, raw } = block;
        let Pending { pax, long_name, long_link } = pending;
        let mut name = long_name.or(pax.path).unwrap_or_else(|| header.name.clone());
        let link = long_link.or(pax.link_path).unwrap_or_else(|| header.link.clone());
        let kind = self.kind(header.type_flag, &name)?;
        let stored = if kind == EntryKind::File { pax.size.unwrap_or(header.size) } else { 0 };
        let mut plan = Plan { stored, consumed: 0, size: stored, pieces: None };
        if header.type_flag == b'S' {
            self.plan_old_sparse(raw, &mut plan)?;
        } else if let Some(sparse_name) = self.plan_pax_sparse(&pax.sparse, kind, &mut plan)? {
            name = sparse_name;
        }
        let path = EntryPath::parse(&name, self.entries, &self.limits)?;
        if path.as_bytes().is_empty() && kind != EntryKind::Directory {
            return Err(self.bad("names the root but is no directory"));
        }
        let link: &[u8] = if matches!(kind, EntryKind::Symlink | EntryKind::Hardlink) { &link } else { b"" };
        if link.len() > self.limits.link_bytes {
            return Err(LayerError::TooLarge {
                what: "bytes in a link target",
                at_most: u64::try_from(self.limits.link_bytes).unwrap_or(u64::MAX),
            });
        }
        let entry = Entry {
            index: self.entries,
            path: &path,
            kind,
            mode: u16::try_from(header.mode & 0o7777).unwrap_or_default(),
            uid: pax.uid.unwrap_or(header.uid),
            gid: pax.gid.unwrap_or(header.gid),
            size: plan.size,
            link,
            xattrs: &pax.xattrs,
        };
        self.show(&entry, plan, visitor)?;
        self.entries += 1;
        Ok(())
    }

    fn show(&mut self, entry: &Entry<'_>, plan: Plan, visitor: &mut impl Visitor) -> Result<(), LayerError> {
        let mut pieces = plan.pieces;
        if let Some(pieces) = &mut pieces {
            pieces.reverse();
        }
        let left = plan.stored - plan.consumed;
        let mut body = Body { source: &mut self.source, stored: left, position: 0, size: plan.size, pieces };
        visitor.entry(entry, &mut body)?;
        let left = body.stored;
        if self.source.skip(left)? > 0 {
            return Err(LayerError::Truncated { what: "the content of an entry" });
        }
        // The last entry's padding may be missing, as Go forgives it.
        self.source.skip(padding(plan.stored))?;
        Ok(())
    }

    fn kind(&self, type_flag: u8, name: &[u8]) -> Result<EntryKind, LayerError> {
        Ok(match type_flag {
            // Before ustar, a directory was a name with a slash at its end.
            0 if name.last() == Some(&b'/') => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::Hardlink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            _ => return Err(self.bad("is of an unknown type")),
        })
    }

    fn plan_old_sparse(&mut self, raw: &[u8; BLOCK], plan: &mut Plan) -> Result<(), LayerError> {
        let (entries, real_size, mut more) = header::old_sparse(raw);
        let mut map = Vec::new();
        sparse::add_old(&mut map, entries).map_err(|problem| self.bad(problem))?;
        let mut read = 0u64;
        while more {
            read += BLOCK as u64;
            if read > self.limits.special_bytes {
                return Err(self.special_too_large());
            }
            let Some(block) = self.block(Place::Inside)? else {
                return Err(LayerError::Truncated { what: "a sparse map" });
            };
            let (entries, another) = header::more_sparse(&block);
            sparse::add_old(&mut map, entries).map_err(|problem| self.bad(problem))?;
            more = another;
        }
        plan.size = real_size.ok_or_else(|| self.bad("has a bad sparse size"))?;
        sparse::check(&map, plan.size, plan.stored).map_err(|problem| self.bad(problem))?;
        plan.pieces = Some(map);
        Ok(())
    }

    /// Versions 0.0, 0.1 and 1.0; gives the real name when the records have one.
    fn plan_pax_sparse(
        &mut self,
        records: &pax::SparseRecords,
        kind: EntryKind,
        plan: &mut Plan,
    ) -> Result<Option<Vec<u8>>, LayerError> {
        let map_in_data = match (records.major.as_slice(), records.minor.as_slice()) {
            (b"0", b"0" | b"1") => false,
            (b"1", b"0") => true,
            (b"", b"") if !records.map.is_empty() => false,
            _ => return Ok(None),
        };
        if kind != EntryKind::File {
            return Err(self.bad("is sparse but no file"));
        }
        let size = if records.size.is_empty() { &records.real_size } else { &records.size };
        if !size.is_empty() {
            plan.size = pax::decimal(size).ok_or_else(|| self.bad("has a bad sparse size"))?;
        }
        let map = if map_in_data {
            self.sparse_map_in_data(plan)?
        } else {
            sparse::from_list(&records.map).map_err(|problem| self.bad(problem))?
        };
        sparse::check(&map, plan.size, plan.stored - plan.consumed).map_err(|problem| self.bad(problem))?;
        plan.pieces = Some(map);
        Ok((!records.name.is_empty()).then(|| records.name.clone()))
    }

    /// Version 1.0: decimal lines in front of the data, padded to whole blocks.
    fn sparse_map_in_data(&mut self, plan: &mut Plan) -> Result<Vec<Piece>, LayerError> {
        let mut text = Vec::new();
        let mut lines: Option<u64> = None;
        let mut seen = 0u64;
        loop {
            if lines.is_some_and(|lines| seen > lines) {
                break;
            }
            if plan.consumed + BLOCK as u64 > self.limits.special_bytes {
                return Err(self.special_too_large());
            }
            if plan.stored - plan.consumed < BLOCK as u64 {
                return Err(self.bad("has a sparse map that does not fit its file"));
            }
            let Some(block) = self.block(Place::Inside)? else {
                return Err(LayerError::Truncated { what: "a sparse map" });
            };
            plan.consumed += BLOCK as u64;
            seen += block.split(|byte| *byte == b'\n').skip(1).count() as u64;
            text.extend_from_slice(&block);
            if lines.is_none() && seen > 0 {
                let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let count = pax::decimal(first).filter(|count| *count <= self.limits.special_bytes);
                lines = Some(count.ok_or_else(|| self.bad("has a bad sparse map"))? * 2);
            }
        }
        let numbers: Vec<&[u8]> = text
            .split(|byte| *byte == b'\n')
            .skip(1)
            .take(usize::try_from(lines.unwrap_or_default()).unwrap_or_default())
            .collect();
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        sparse::from_list(&numbers.join(&b',')).map_err(|problem| self.bad(problem))
    }

    /// The body of a special entry, with its padding.
    fn special(&mut self, size: u64) -> Result<Vec<u8>, LayerError> {
        if size > self.limits.special_bytes {
            return Err(self.special_too_large());
        }
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            let chunk = self.source.take(size - body.len() as u64)?;
            if chunk.is_empty() {
                return Err(LayerError::Truncated { what: "an extended header" });
            }
            body.extend_from_slice(chunk);
        }
        self.source.skip(padding(size))?;
        Ok(body)
    }

    /// The next block; `None` at the end of the stream, which is an error inside an entry.
    fn block(&mut self, place: Place) -> Result<Option<[u8; BLOCK]>, LayerError> {
        let mut block = [0; BLOCK];
        match self.source.read_into(&mut block)? {
            BLOCK => Ok(Some(block)),
            0 if place == Place::Between => Ok(None),
            _ => Err(LayerError::Truncated { what: "an entry's header" }),
        }
    }

    const fn bad(&self, problem: &'static str) -> LayerError {
        LayerError::BadEntry { entry: self.entries, problem }
    }

    const fn too_many(&self) -> LayerError {
        LayerError::TooLarge { what: "entries", at_most: self.limits.entries as u64 }
    }

    const fn special_too_large(&self) -> LayerError {
        LayerError::TooLarge { what: "bytes in an extended header", at_most: self.limits.special_bytes }
    }
}

/// Whether the stream may end here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    Inside,
}

struct Block {
    header: Header,
    raw: [u8; BLOCK],
}

/// Where an entry's bytes are.
struct Plan {
    /// Bytes in the archive.
    stored: u64,
    /// Of these, already read as a sparse map.
    consumed: u64,
    /// Logical length.
    size: u64,
    pieces: Option<Vec<Piece>>,
}

/// Where stored bytes come from, whatever is read underneath.
trait Stored {
    fn chunk(&mut self, wanted: u64) -> Result<&[u8], LayerError>;
}

impl<R: Read> Stored for Decoder<R> {
    fn chunk(&mut self, wanted: u64) -> Result<&[u8], LayerError> {
        self.take(wanted)
    }
}

impl Body<'_> {
    /// Logical length in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The next piece of the content, at most 64 KiB of data; `None` at its end.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>, LayerError> {
        let wanted = match &mut self.pieces {
            None => self.stored,
            Some(pieces) => {
                while pieces.last().is_some_and(|piece| piece.length == 0) {
                    pieces.pop();
                }
                let next = pieces.last().map_or(self.size, |piece| piece.offset);
                if next > self.position {
                    let hole = next - self.position;
                    self.position = next;
                    return Ok(Some(Chunk::Hole(hole)));
                }
                pieces.last().map_or(0, |piece| piece.length)
            }
        };
        if wanted == 0 {
            return Ok(None);
        }
        let chunk = self.source.chunk(wanted)?;
        if chunk.is_empty() {
            return Err(LayerError::Truncated { what: "the content of an entry" });
        }
        let length = chunk.len() as u64;
        self.stored = self.stored.saturating_sub(length);
        self.position += length;
        if let Some(piece) = self.pieces.as_mut().and_then(|pieces| pieces.last_mut()) {
            piece.offset += length;
            piece.length -= length;
        }
        Ok(Some(Chunk::Data(chunk)))
    }

    /// All of the content; `None`, and nothing read, when it is longer than `at_most` bytes.
    pub fn read_all(&mut self, at_most: usize) -> Result<Option<Vec<u8>>, LayerError> {
        if self.size > at_most as u64 {
            return Ok(None);
        }
        let mut content = Vec::new();
        while let Some(chunk) = self.next_chunk()? {
            match chunk {
                Chunk::Data(bytes) => content.extend_from_slice(bytes),
                Chunk::Hole(zeros) => {
                    let zeros = usize::try_from(zeros).unwrap_or(at_most).min(at_most);
                    content.resize(content.len() + zeros, 0);
                }
            }
        }
        Ok(Some(content))
    }
}

const fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}
