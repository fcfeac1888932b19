use std::{fmt, ops::Range, path::Path};

use seaworthy_store::Db;
use seaworthy_trust::{Bundle, Checkpoint, Hash, TILE_WIDTH, Tile, Verifier, leaf_hash};

use crate::{
    LedgerError,
    db::{self, Head, LeafRow},
    files::{Files, Found},
    limit,
    tree::Edge,
};

const MISSING: &str = "is missing";
const UNREADABLE: &str = "cannot be read";

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Records under the signed checkpoint.
    pub size: u64,
    /// Everything that differs, in record order; empty means the ledger is whole.
    pub broken: Vec<Broken>,
}

/// Something that is not as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A record in SQL.
    Record {
        /// Its index.
        index: u64,
        /// How.
        what: &'static str,
    },
    /// A record's copy in a bundle file.
    BundleEntry {
        /// Its index.
        index: u64,
        /// The file, below DATA/ledger.
        path: String,
    },
    /// A bundle or tile file.
    Tile {
        /// The file, below DATA/ledger.
        path: String,
        /// The records it covers.
        records: Range<u64>,
    },
    /// A signed checkpoint.
    Checkpoint {
        /// `DATA/ledger/checkpoint` or the database.
        place: &'static str,
        /// How.
        what: String,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { index, what } => write!(f, "record {index} in the database {what}"),
            Self::BundleEntry { index, path } => {
                write!(f, "record {index} in `{path}` is not the record that was signed")
            }
            Self::Tile { path, records } => {
                write!(
                    f,
                    "`{path}` (records {} to {}) is damaged",
                    records.start,
                    records.end.saturating_sub(1)
                )
            }
            Self::Checkpoint { place, what } => write!(f, "the checkpoint in {place} {what}"),
        }
    }
}

/// Compares everything that is kept twice: leaves in SQL, their columns, bundles, tiles of all
/// levels, the head in SQL and the checkpoint file, up to the signed size.
pub async fn verify(db: &Db, directory: &Path, verifier: &Verifier) -> Result<Report, LedgerError> {
    let files = Files::new(directory);
    let mut broken = Vec::new();
    // Of a server that signs meanwhile, the file is the older one: the head is stored first.
    let mut file = files.read("checkpoint")?;
    let head = db::readable(db::head(db).await)?.map_or(Err(UNREADABLE), |head| head.ok_or(MISSING));
    if file.is_none() && head.is_ok() {
        file = files.read("checkpoint")?;
    }
    // Without a checkpoint that is believed, it is the numbers that say how many records there are.
    let is_without = head == Err(MISSING) && file.is_none();
    let numbered = async || db::numbered_from(db, 0).await.map(|(_, end)| end);
    // A server that died over its first step has files, and no more numbers than that step gave.
    let is_new = is_without && numbered().await? <= limit::BATCH.unsigned_abs();
    let claimed = head.as_ref().map_or(0, |head| head.size);
    let (in_sql, on_disk) = if is_new {
        compare_bundles(db, &files, numbered().await?, &mut broken).await?;
        (None, None)
    } else {
        let in_sql = head_in_sql(head, verifier)
            .map_err(|what| broken.push(Broken::Checkpoint { place: "the database", what }))
            .ok();
        (in_sql, read_checkpoint_file(file, verifier, &mut broken))
    };
    let signed = in_sql.iter().chain(&on_disk).map(|checkpoint| checkpoint.size).max();
    let size = match signed {
        Some(size) => size,
        // What is not signed may claim anything.
        None => claimed.min(numbered().await?),
    };

    let mut walk = Walk {
        files: &files,
        size,
        edge: Edge::default(),
        broken,
        watched: on_disk.as_ref().map(|it| it.size),
        root: None,
    };
    let mut from = 0;
    while from < size {
        let to = size.min(from + TILE_WIDTH);
        let rows = Rows::read(db, from, to).await?;
        walk.bundle(from, to, &rows)?;
        from = to;
    }
    walk.partial_tiles()?;
    if let Some(index) = db::first_gap(db, size).await? {
        walk.broken.push(Broken::Record { index, what: MISSING });
    }
    let Walk { edge, mut broken, root, .. } = walk;
    // With everything below whole, a root that differs means the checkpoint is of another tree.
    if broken.is_empty() {
        let other = || "is of another tree than the records".to_owned();
        if in_sql.is_some_and(|checkpoint| checkpoint.root != edge.root()) {
            broken.push(Broken::Checkpoint { place: "the database", what: other() });
        }
        if on_disk.is_some_and(|checkpoint| checkpoint.size > 0 && root != Some(checkpoint.root)) {
            broken.push(Broken::Checkpoint { place: "`ledger/checkpoint`", what: other() });
        }
    }
    Ok(Report { size, broken })
}

/// The checkpoint in SQL, or what is wrong with it.
fn head_in_sql(head: Result<Head, &'static str>, verifier: &Verifier) -> Result<Checkpoint, String> {
    let head = head?;
    let checkpoint = Checkpoint::open(&head.checkpoint, verifier)
        .map_err(|error| format!("is not believed: {}", seaworthy_store::chain(&error)))?;
    if (checkpoint.size, checkpoint.root.0.as_slice()) == (head.size, head.root.as_slice()) {
        Ok(checkpoint)
    } else {
        Err("does not say what its columns say".to_owned())
    }
}

/// Records as they stand in SQL.
struct Rows {
    rows: Vec<LeafRow>,
    /// Of those that are there: what cannot be read.
    unreadable: Vec<u64>,
}

impl Rows {
    async fn read(db: &Db, from: u64, to: u64) -> Result<Self, LedgerError> {
        if let Some(rows) = db::readable(db::leaves(db, from, to).await)? {
            return Ok(Self { rows, unreadable: Vec::new() });
        }
        let mut them = Self { rows: Vec::new(), unreadable: Vec::new() };
        for position in from..to {
            match db::readable(db::leaves(db, position, position + 1).await)? {
                Some(row) => them.rows.extend(row),
                None => them.unreadable.push(position),
            }
        }
        Ok(them)
    }

    /// One of them, or what is wrong with it.
    fn get(&self, position: u64) -> Result<&LeafRow, &'static str> {
        let why = if self.unreadable.contains(&position) { UNREADABLE } else { MISSING };
        self.rows.iter().find(|row| row.position == position).ok_or(why)
    }
}

/// Names the bundles that say otherwise than the records in SQL, where no checkpoint says which is right.
async fn compare_bundles(
    db: &Db,
    files: &Files,
    numbered: u64,
    broken: &mut Vec<Broken>,
) -> Result<(), LedgerError> {
    for index in 0..=numbered / TILE_WIDTH {
        let from = index * TILE_WIDTH;
        let rows = Rows::read(db, from, from + TILE_WIDTH).await?;
        let full = Files::bundle(index, TILE_WIDTH);
        let paths = files.partials(&full)?.into_iter().map(|(_, path)| path).chain([full]);
        for path in paths {
            let Some(bytes) = files.read(&path)? else { continue };
            let entries = Bundle::read(&bytes).map(|bundle| bundle.0).unwrap_or_default();
            let is_said = |(entry, position): (&&[u8], u64)| {
                rows.get(position).is_ok_and(|row| row.leaf.as_bytes() == *entry)
            };
            if entries.is_empty() || !entries.iter().zip(from..).all(is_said) {
                let records = from..from + entries.len() as u64;
                broken.push(Broken::Tile { path, records });
            }
        }
    }
    Ok(())
}

fn read_checkpoint_file(
    file: Option<Vec<u8>>,
    verifier: &Verifier,
    broken: &mut Vec<Broken>,
) -> Option<Checkpoint> {
    let place = "`ledger/checkpoint`";
    let Some(bytes) = file else {
        broken.push(Broken::Checkpoint { place, what: MISSING.into() });
        return None;
    };
    let opened = String::from_utf8(bytes).map_err(|_| "is not text".to_owned()).and_then(|text| {
        Checkpoint::open(&text, verifier)
            .map_err(|error| format!("is not believed: {}", seaworthy_store::chain(&error)))
    });
    match opened {
        Ok(checkpoint) => Some(checkpoint),
        Err(what) => {
            broken.push(Broken::Checkpoint { place, what });
            None
        }
    }
}

/// The tree as it is being recomputed.
struct Walk<'f> {
    files: &'f Files,
    size: u64,
    edge: Edge,
    broken: Vec<Broken>,
    /// The size at which the root is wanted as well: the checkpoint file may be one behind.
    watched: Option<u64>,
    root: Option<Hash>,
}

impl Walk<'_> {
    /// Checks records `from..to` (one bundle, one tile of level 0) and what becomes full above.
    fn bundle(&mut self, from: u64, to: u64, rows: &Rows) -> Result<(), LedgerError> {
        let index = from / TILE_WIDTH;
        let path = Files::bundle(index, to - from);
        let found = self.files.signed(&path)?;
        let width = if found.as_ref().is_some_and(|found| found.replaced) { TILE_WIDTH } else { to - from };
        let bytes = found.map(|found| found.bytes).unwrap_or_default();
        let entries = Bundle::read(&bytes).ok().filter(|bundle| bundle.0.len() as u64 == width);
        if entries.is_none() {
            self.broken.push(Broken::Tile { path: path.clone(), records: from..to });
        }
        let tile = self.files.tile(0, index, self.size).ok();
        let mut suspects = 0;
        let mut hashes = Vec::with_capacity(rows_width(from, to));
        for position in from..to {
            let offset = usize::try_from(position - from).unwrap_or_default();
            let row = rows.get(position);
            let entry = entries.as_ref().and_then(|bundle| bundle.0.get(offset)).copied();
            let signed = tile.as_ref().and_then(|tile| tile.hashes.get(offset)).copied();
            let judged = judge(row, entry, signed);
            if let Some(what) = judged.record {
                self.broken.push(Broken::Record { index: position, what });
            }
            if judged.entry {
                self.broken.push(Broken::BundleEntry { index: position, path: path.clone() });
            }
            suspects += u64::from(judged.tile);
            hashes.push(judged.hash);
            let mut full = Vec::new();
            self.edge.push(judged.hash, &mut |tile| full.push(tile));
            if self.watched == Some(self.edge.size()) {
                self.root = Some(self.edge.root());
            }
            for tile in full.iter().filter(|tile| tile.level > 0) {
                self.compare(tile)?;
            }
        }
        if tile.is_none() || suspects > 0 {
            let path = Tile { level: 0, index, hashes: hashes.clone() }.path();
            self.broken.push(Broken::Tile { path, records: from..to });
        }
        self.older_tiles(&Tile { level: 0, index, hashes: hashes.clone() })?;
        self.older_bundles(index, &hashes)
    }

    /// Partial bundles of older checkpoints are beginnings of this one.
    fn older_bundles(&mut self, index: u64, hashes: &[Hash]) -> Result<(), LedgerError> {
        for (width, path) in self.files.partials(&Files::bundle(index, TILE_WIDTH))? {
            let Some(signed) = hashes.get(..width).filter(|signed| signed.len() < hashes.len()) else {
                continue;
            };
            let Some(bytes) = self.files.read(&path)? else { continue };
            let entries = Bundle::read(&bytes).map(|bundle| bundle.0).unwrap_or_default();
            if !entries.iter().map(|entry| leaf_hash(entry)).eq(signed.iter().copied()) {
                let from = index * TILE_WIDTH;
                self.broken.push(Broken::Tile { path, records: from..from + width as u64 });
            }
        }
        Ok(())
    }

    /// Partial tiles of older checkpoints are beginnings of this one.
    fn older_tiles(&mut self, tile: &Tile) -> Result<(), LedgerError> {
        let path = tile.path();
        let full = path.split_once(".p/").map_or(path.as_str(), |(full, _)| full);
        for (width, path) in self.files.partials(full)? {
            let Some(signed) = tile.hashes.get(..width).filter(|it| it.len() < tile.hashes.len()) else {
                continue;
            };
            let signed = Tile { hashes: signed.to_vec(), ..*tile };
            if self.files.read(&path)?.is_some_and(|bytes| bytes != signed.to_bytes()) {
                self.broken.push(Broken::Tile { path, records: signed.records() });
            }
        }
        Ok(())
    }

    fn compare(&mut self, tile: &Tile) -> Result<(), LedgerError> {
        let signed = tile.to_bytes();
        let is_same =
            |found: Found| found.bytes == signed || (found.replaced && found.bytes.starts_with(&signed));
        if !self.files.signed(&tile.path())?.is_some_and(is_same) {
            self.broken.push(Broken::Tile { path: tile.path(), records: tile.records() });
        }
        self.older_tiles(tile)
    }

    fn partial_tiles(&mut self) -> Result<(), LedgerError> {
        let tiles: Vec<Tile> = self.edge.partial().filter(|tile| tile.level > 0).cloned().collect();
        tiles.iter().try_for_each(|tile| self.compare(tile))
    }
}

fn rows_width(from: u64, to: u64) -> usize {
    usize::try_from(to - from).unwrap_or_default()
}

/// Which of three copies is the odd one out.
struct Judged {
    record: Option<&'static str>,
    entry: bool,
    tile: bool,
    /// The hash to go on with: what two of three agree on.
    hash: Hash,
}

fn judge(row: Result<&LeafRow, &'static str>, entry: Option<&[u8]>, signed: Option<Hash>) -> Judged {
    let row_hash = row.ok().map(|row| leaf_hash(row.leaf.as_bytes()));
    let entry_hash = entry.map(leaf_hash);
    let hash = match (row_hash, entry_hash, signed) {
        (Some(row), Some(entry), _) if row == entry => row,
        (row, entry, Some(signed)) if row == Some(signed) || entry == Some(signed) => signed,
        (_, _, Some(signed)) => signed,
        (row, entry, None) => row.or(entry).unwrap_or(Hash([0; 32])),
    };
    let record = match row {
        Err(why) => Some(why),
        Ok(_) if row_hash != Some(hash) => Some("is not the record that was signed"),
        Ok(row) if !row.is_consistent() => Some("has columns that do not say what the record says"),
        Ok(_) => None,
    };
    Judged {
        record,
        // A bundle that cannot be split was reported as a whole.
        entry: entry.is_some() && entry_hash != Some(hash),
        tile: signed.is_some() && signed != Some(hash),
        hash,
    }
}
