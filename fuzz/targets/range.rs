//! `Range` and `Content-Range`: whatever is asked for is a part of the blob.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaworthy_registry::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((size, text)) = data.split_first_chunk::<8>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    // Small sizes are met, large ones too.
    let size = u64::from_be_bytes(*size);
    for size in [size, size % 1_000, 0, u64::MAX] {
        if let Some(parts) = fuzzing::ranges(text, size) {
            assert!(!parts.is_empty());
            let mut total = 0u64;
            for part in &parts {
                assert!(part.start < part.end && part.end <= size, "{part:?} of {size}");
                total = total.checked_add(part.end - part.start).expect("no more than there is");
            }
            assert!(total <= size, "no byte twice");
            let mut sorted = parts.clone();
            sorted.sort_by_key(|part| part.start);
            assert!(sorted.windows(2).all(|two| two[0].end <= two[1].start), "{parts:?}");
        }
    }
    if let Some(chunk) = fuzzing::chunk(text) {
        assert!(chunk.start < chunk.end || chunk.end == u64::MAX, "{chunk:?}");
    }
});
