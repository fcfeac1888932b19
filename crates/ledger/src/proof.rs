use std::path::Path;

use seaworthy_store::Db;
use seaworthy_trust::{
    Checkpoint, Hash, TILE_WIDTH, Verifier, check_inclusion, leaf_hash, node_hash, root_of,
};

use crate::{LedgerError, Record, db, files::Files};

/// Proof that a record is in the signed ledger: enough to check it offline with a public key.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The record's index.
    pub index: u64,
    /// The record.
    pub record: Record,
    /// The leaf, byte for byte.
    pub leaf: String,
    /// Sibling hashes from the leaf up (RFC 6962 §2.1.1).
    pub path: Vec<Hash>,
    /// The signed checkpoint it leads to.
    pub checkpoint: String,
    /// The key that signed it, as text.
    pub vkey: String,
}

/// Proves record `index`, reading O(log n) tiles.
pub async fn prove(db: &Db, directory: &Path, verifier: &Verifier, index: u64) -> Result<Proof, LedgerError> {
    let head = db::head(db).await?.ok_or(LedgerError::NoRecord { index, size: 0 })?;
    let checkpoint = Checkpoint::open(&head.checkpoint, verifier)?;
    let size = checkpoint.size;
    if index >= size {
        return Err(LedgerError::NoRecord { index, size });
    }
    let row = db::leaves(db, index, index + 1).await?.into_iter().next();
    let row = row.ok_or(LedgerError::RootMismatch { size })?;
    let files = Files::new(directory);
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + (end - start).next_power_of_two() / 2;
        if index < middle {
            path.push(range_root(&files, middle, end, size)?);
            end = middle;
        } else {
            path.push(range_root(&files, start, middle, size)?);
            start = middle;
        }
    }
    path.reverse();
    let hash = leaf_hash(row.leaf.as_bytes());
    if !check_inclusion(hash, index, size, &path, &checkpoint.root) {
        return Err(LedgerError::RootMismatch { size });
    }
    let record = serde_json::from_str(&row.leaf).map_err(|_| LedgerError::RootMismatch { size })?;
    Ok(Proof { index, record, leaf: row.leaf, path, checkpoint: head.checkpoint, vkey: verifier.vkey() })
}

/// Root over the leaves `start..end`, a node (or an edge of nodes) of the tree of `size` leaves.
fn range_root(files: &Files, start: u64, end: u64, size: u64) -> Result<Hash, LedgerError> {
    let count = end - start;
    if !count.is_power_of_two() {
        let middle = start + count.next_power_of_two() / 2;
        let left = range_root(files, start, middle, size)?;
        return Ok(node_hash(&left, &range_root(files, middle, end, size)?));
    }
    // A perfect, aligned subtree: a run of hashes within one tile.
    let level = u8::try_from(count.ilog2() / 8).unwrap_or(7);
    let position = start >> (8 * u32::from(level));
    let tile = files.tile(level, position / TILE_WIDTH, size)?;
    let offset = usize::try_from(position % TILE_WIDTH).unwrap_or_default();
    let width = 1usize << (count.ilog2() % 8);
    let hashes = tile
        .hashes
        .get(offset..offset + width)
        .ok_or_else(|| LedgerError::Incomplete { path: tile.path() })?;
    Ok(root_of(hashes))
}
