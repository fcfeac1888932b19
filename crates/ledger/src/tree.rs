use seaworthy_trust::{Hash, TILE_WIDTH, Tile, node_hash, root_of};

/// The right edge of a growing tree: for each level the tile that is not full yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Tile>,
}

impl Edge {
    /// Number of leaves.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; tiles that became full are handed to `full`.
    pub(crate) fn push(&mut self, leaf: Hash, full: &mut impl FnMut(Tile)) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0u8.. {
            if self.levels.len() <= usize::from(level) {
                self.levels.push(Tile { level, index: 0, hashes: Vec::new() });
            }
            let Some(tile) = self.levels.get_mut(usize::from(level)) else { return };
            tile.hashes.push(hash);
            let Some(summary) = tile.summary() else { return };
            let next = Tile { level, index: tile.index + 1, hashes: Vec::new() };
            full(std::mem::replace(tile, next));
            hash = summary;
        }
    }

    /// The tiles that are begun and not full: what a checkpoint at this size publishes.
    pub(crate) fn partial(&self) -> impl Iterator<Item = &Tile> {
        self.levels.iter().filter(|tile| !tile.hashes.is_empty())
    }

    /// The root over all leaves (RFC 6962): perfect subtrees, largest first, joined from the right.
    pub(crate) fn root(&self) -> Hash {
        let mut root = None;
        for tile in &self.levels {
            // Within a tile the perfect subtrees are its binary decomposition, largest first.
            let mut rest = tile.hashes.as_slice();
            let mut perfect = Vec::new();
            while !rest.is_empty() {
                let width = 1 << rest.len().ilog2();
                let (head, tail) = rest.split_at(width);
                perfect.push(root_of(head));
                rest = tail;
            }
            for left in perfect.into_iter().rev() {
                root = Some(root.map_or(left, |right| node_hash(&left, &right)));
            }
        }
        root.unwrap_or_else(|| root_of(&[]))
    }
}

/// Widths of the tiles at `level` for a tree of `size` leaves: full ones, then the partial's width.
pub(crate) fn tiles_at(size: u64, level: u8) -> (u64, u64) {
    let hashes = size >> (8 * u32::from(level)).min(63);
    (hashes / TILE_WIDTH, hashes % TILE_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaworthy_trust::leaf_hash;

    #[test]
    fn edge_root_is_the_tree_root_at_every_size() {
        let mut edge = Edge::default();
        let mut leaves = Vec::new();
        let mut full = 0;
        for n in 0u32..1_100 {
            let hash = leaf_hash(&n.to_be_bytes());
            leaves.push(hash);
            edge.push(hash, &mut |_| full += 1);
            if n < 40 || n % 51 == 0 || n > 1_020 {
                assert_eq!(edge.root(), root_of(&leaves), "{n}");
            }
        }
        assert_eq!((full, edge.size()), (4, 1_100));
        assert_eq!((tiles_at(1_100, 0), tiles_at(1_100, 1)), ((4, 76), (0, 4)));
        assert_eq!(Edge::default().root(), root_of(&[]));
    }
}
