//! Two SHA-256 at once (FIPS 180-4 §6.2), on one thread.

use std::{mem, slice};

use sha2::{
    Sha256,
    digest::{
        array::Array,
        block_api::{Block, Buffer, CoreProxy, UpdateCore as _},
    },
};

type Core = <Sha256 as CoreProxy>::Core;

const BLOCK_BYTES: usize = 64;

/// One digest, taken apart into what is hashed and what waits for the rest of its block.
struct Lane<'a, P> {
    core: Core,
    buffer: Buffer<Core>,
    pieces: P,
    /// Whole blocks of the piece at hand, to be hashed next.
    blocks: &'a [Block<Core>],
}

pub(super) fn update_two<'a>(
    one: (&mut Sha256, impl Iterator<Item = &'a [u8]>),
    two: (&mut Sha256, impl Iterator<Item = &'a [u8]>),
) {
    let (mut first, mut second) = (Lane::new(mem::take(one.0), one.1), Lane::new(mem::take(two.0), two.1));
    while first.refill() && second.refill() {
        let length = first.blocks.len().min(second.blocks.len());
        for (one, two) in first.next(length).iter().zip(second.next(length)) {
            first.core.update_blocks(slice::from_ref(one));
            second.core.update_blocks(slice::from_ref(two));
        }
    }
    *one.0 = first.finish();
    *two.0 = second.finish();
}

impl<'a, P: Iterator<Item = &'a [u8]>> Lane<'a, P> {
    fn new(hasher: Sha256, pieces: P) -> Self {
        let (core, buffer) = hasher.decompose();
        Self { core, buffer, pieces, blocks: &[] }
    }

    /// Goes on to the next piece that has whole blocks; false when there is none.
    fn refill(&mut self) -> bool {
        while self.blocks.is_empty() {
            let Some(mut piece) = self.pieces.next() else { return false };
            if self.buffer.get_pos() > 0 {
                let (head, rest) = piece.split_at(piece.len().min(self.buffer.remaining()));
                self.buffer.digest_blocks(head, |block| self.core.update_blocks(block));
                piece = rest;
            }
            let (blocks, tail) = piece.as_chunks::<BLOCK_BYTES>();
            self.blocks = Array::cast_slice_from_core(blocks);
            // The buffer is empty if there is a tail, so this only keeps it.
            self.buffer.digest_blocks(tail, |block| self.core.update_blocks(block));
        }
        true
    }

    fn next(&mut self, length: usize) -> &'a [Block<Core>] {
        let (next, rest) = self.blocks.split_at(length.min(self.blocks.len()));
        self.blocks = rest;
        next
    }

    /// Hashes what is left, now that the other digest has nothing more.
    fn finish(mut self) -> Sha256 {
        while self.refill() {
            self.core.update_blocks(mem::take(&mut self.blocks));
        }
        Sha256::compose(self.core, self.buffer)
    }
}
