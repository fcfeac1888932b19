use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 Merkle hash (RFC 6962 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(slot, byte)| *slot = *byte);
    Hash(hash)
}

/// Hash of a leaf: SHA-256 over `0x00` and the entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

/// Hash of an inner node: SHA-256 over `0x01`, left, right.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], &left.0, &right.0])
}

/// Root of the tree over `leaves`; the empty tree's is SHA-256 of nothing.
pub fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

/// Largest power of two smaller than `n` (RFC 6962 §2.1), for `n` ≥ 2.
const fn split(n: usize) -> usize {
    let half = n.next_power_of_two() / 2;
    if half == n { n / 2 } else { half }
}

/// The audit path of leaf `index` in the tree over `leaves` (RFC 6962 §2.1.1); `None` when
/// there is no such leaf.
pub fn inclusion_path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let mut path;
    if index < middle {
        path = inclusion_path(left, index)?;
        path.push(root_of(right));
    } else {
        path = inclusion_path(right, index - middle)?;
        path.push(root_of(left));
    }
    Some(path)
}

/// True when `path` proves that `leaf` is record `index` of the tree of `size` leaves with `root`
/// (RFC 9162 §2.1.3.2).
pub fn check_inclusion(leaf: Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn known_roots() {
        // RFC 6962's empty tree, and a tree of three by hand.
        assert_eq!(
            format!("{:?}", root_of(&[])),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let [a, b, c] = leaves(3)[..] else { panic!("three") };
        assert_eq!(root_of(&[a, b, c]), node_hash(&node_hash(&a, &b), &c));
    }

    proptest! {
        #[test]
        fn every_leaf_proves_itself_and_no_other(n in 1usize..200, at: prop::sample::Index, flip: prop::sample::Index) {
            let leaves = leaves(n);
            let root = root_of(&leaves);
            let index = at.index(n);
            let path = inclusion_path(&leaves, index).expect("in the tree");
            let leaf = leaves[index];
            let (index, size) = (index as u64, n as u64);
            prop_assert!(check_inclusion(leaf, index, size, &path, &root));
            prop_assert!(!check_inclusion(leaf_hash(b"other"), index, size, &path, &root));
            prop_assert!(!check_inclusion(leaf, size, size, &path, &root));
            if n > 1 {
                let other = flip.index(n) as u64;
                prop_assert_eq!(check_inclusion(leaf, other, size, &path, &root), other == index);
                let mut bad = path.clone();
                let slot = flip.index(bad.len());
                bad[slot].0[0] ^= 1;
                prop_assert!(!check_inclusion(leaf, index, size, &bad, &root));
            }
        }
    }
}
