use std::io::{Read, Write};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use seaworthy_inventory::{
    FactsError, LayerFacts, READER_VERSION,
    sandboxed_reader::{layer_reader, read_answer},
};
use seaworthy_model::ProblemCode;

use crate::{
    archive::{file, program, symlink, tar},
    image::{base, facts},
};

fn sample() -> LayerFacts {
    let mut items = base();
    items.extend([program("x"), symlink("l", "x"), file("n\u{e9}", "")]);
    facts(&items)
}

#[test]
fn damaged_facts_are_errors() {
    let bytes = sample().to_bytes();
    assert!(matches!(LayerFacts::from_bytes(b""), Err(FactsError::Format)));
    assert!(matches!(LayerFacts::from_bytes(&bytes[1..]), Err(FactsError::Format)));
    let mut newer = bytes.clone();
    newer[8] += 1;
    let other = LayerFacts::from_bytes(&newer);
    assert!(matches!(other, Err(FactsError::OtherReader { version }) if version == READER_VERSION + 1));
    for cut in [12, 13, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(LayerFacts::from_bytes(&bytes[..cut]), Err(FactsError::Damaged { .. })), "{cut}");
    }
    let mut longer = bytes[..12].to_vec();
    let mut body = zstd::decode_all(&bytes[12..]).expect("body");
    body.push(0);
    longer.extend(zstd::encode_all(&body[..], 1).expect("zstd"));
    assert!(matches!(
        LayerFacts::from_bytes(&longer),
        Err(FactsError::Damaged { what: "bytes are left over" })
    ));
}

struct Fails;

impl Read for Fails {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("gone"))
    }
}

fn answer(input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    layer_reader(b"", &mut &input[..], &mut output).expect("answer");
    output
}

#[test]
fn the_sandboxed_reader_answers() {
    let layer = tar(&base());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&layer).expect("gzip");
    let gz = encoder.finish().expect("gzip");
    assert_eq!(read_answer(&answer(&gz), 0).expect("facts"), facts(&base()));
    let problem = |answer: &[u8]| read_answer(answer, 3).expect_err("problem");
    let cut = problem(&answer(&gz[..gz.len() / 2]));
    assert_eq!((cut.code, cut.layer), (ProblemCode::LayerUnreadable, Some(3)));
    let hostile = problem(&answer(&tar(&[file("../x", "")])));
    assert_eq!(hostile.code, ProblemCode::LayerUnreadable);
    assert!(hostile.message.contains("out of the root"), "{}", hostile.message);
    assert_eq!(problem(b"").code, ProblemCode::ReaderFailed);
    assert_eq!(problem(b"\x00junk").code, ProblemCode::ReaderFailed);
    assert_eq!(problem(b"\x02too large").code, ProblemCode::LayerTooLarge);

    let error = layer_reader(b"", &mut Fails, &mut Vec::new()).expect_err("input fails");
    assert!(error.contains("gone"), "{error}");
}

proptest! {
    #[test]
    fn arbitrary_facts_never_panic(bytes: Vec<u8>, at in 0usize..4000, to: u8) {
        let _ = LayerFacts::from_bytes(&bytes);
        let _ = read_answer(&bytes, 0);
        // Behind the compression, too.
        let mut stored = sample().to_bytes();
        let mut body = zstd::decode_all(&stored[12..]).expect("body");
        let at = at % body.len();
        body[at] = to;
        stored.truncate(12);
        let mut raw = stored.clone();
        raw.extend(zstd::encode_all(&bytes[..], 1).expect("zstd"));
        let _ = LayerFacts::from_bytes(&raw);
        stored.extend(zstd::encode_all(&body[..], 1).expect("zstd"));
        if let Ok(facts) = LayerFacts::from_bytes(&stored) {
            let layers = vec![Ok(std::sync::Arc::new(facts))];
            let platform = seaworthy_oci::Platform::linux_amd64();
            let config = crate::image::config(&layers);
            let _ = seaworthy_inventory::inspect(Ok(&config), &platform, &layers);
        }
    }
}
