//! What a digest costs: of two uploads one after the other, and of two at once. Run with
//! `cargo bench -p seaworthy-oci --bench hashing`.

use divan::counter::BytesCount;
use seaworthy_oci::{Algorithm, Hasher};

/// What of an upload is hashed at a time.
const CHUNK_BYTES: usize = 256 * 1024;

fn main() {
    divan::main();
}

#[divan::bench(args = [false, true])]
fn two_chunks(bencher: divan::Bencher<'_, '_>, at_once: bool) {
    let chunks = [vec![1_u8; CHUNK_BYTES], vec![2_u8; CHUNK_BYTES]];
    let [one, two] = &chunks;
    let mut hashers = (Hasher::new(Algorithm::Sha256), Hasher::new(Algorithm::Sha256));
    bencher.counter(BytesCount::new(2 * CHUNK_BYTES)).bench_local(|| {
        let (first, second) = (divan::black_box(one.as_slice()), divan::black_box(two.as_slice()));
        if at_once {
            Hasher::update_two((&mut hashers.0, [first]), (&mut hashers.1, [second]));
        } else {
            hashers.0.update(first);
            hashers.1.update(second);
        }
    });
}
