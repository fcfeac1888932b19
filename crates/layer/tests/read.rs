use std::{
    fmt::Write as _,
    io::{Read, Write},
};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use seaworthy_layer::{Body, Chunk, Entry, LayerDigest, LayerError, Limits, Visitor, limit, read_layer};
use seaworthy_oci::Digest;

use crate::archive::{Item, append, dir, file, hardlink, header, item, pad, pax, put, seal, symlink, tar};

/// Every entry as one line of text.
#[derive(Default)]
struct Lines(Vec<String>);

impl Visitor for Lines {
    fn entry(&mut self, entry: &Entry<'_>, body: &mut Body<'_>) -> Result<(), LayerError> {
        let mut content = String::new();
        while let Some(chunk) = body.next_chunk()? {
            match chunk {
                Chunk::Data(bytes) => content.push_str(&String::from_utf8_lossy(bytes)),
                Chunk::Hole(zeros) => write!(content, "<{zeros}>").expect("text"),
            }
        }
        let kind = format!("{:?}", entry.kind).to_lowercase();
        let link = String::from_utf8_lossy(entry.link);
        self.0.push(format!("{kind} {} {:o} {link} {} {content}", entry.path, entry.mode, entry.size));
        Ok(())
    }
}

/// Skips all content.
struct Blind;

impl Visitor for Blind {
    fn entry(&mut self, _: &Entry<'_>, _: &mut Body<'_>) -> Result<(), LayerError> {
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Result<(Vec<String>, LayerDigest), LayerError> {
    read_with(bytes, &Limits::default())
}

fn read_with(bytes: &[u8], limits: &Limits) -> Result<(Vec<String>, LayerDigest), LayerError> {
    let mut lines = Lines::default();
    let digest = read_layer(bytes, limits, &mut lines)?;
    Ok((lines.0, digest))
}

fn check(bytes: &[u8], expected: &[&str]) {
    let (lines, _) = read(bytes).expect("layer");
    assert_eq!(lines, expected);
}

fn refuses(bytes: &[u8], message: &str) {
    let error = read(bytes).expect_err(message).to_string();
    assert!(error.contains(message), "{error}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("gzip");
    encoder.finish().expect("gzip")
}

fn sample() -> Vec<u8> {
    tar(&[dir("./etc/"), file("./etc/a", "hello"), symlink("b", "etc/a"), hardlink("c", "./etc/a")])
}

const SAMPLE: [&str; 4] = [
    "directory etc 644  0 ",
    "file etc/a 644  5 hello",
    "symlink b 644 etc/a 0 ",
    "hardlink c 644 ./etc/a 0 ",
];

#[test]
fn every_compression_gives_the_same_entries_and_diff_id() {
    let plain = sample();
    let expected = Digest::sha256(&plain);
    let (head, tail) = plain.split_at(700);
    let mut members = gzip(head);
    members.extend(gzip(tail));
    let mut padded = gzip(&plain);
    padded.resize(padded.len() + 4000, 0);
    let zstd = zstd::encode_all(&plain[..], 3).expect("zstd");
    let mut frames = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    frames.extend(zstd::encode_all(head, 3).expect("zstd"));
    frames.extend([0x5f, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9]);
    frames.extend(zstd::encode_all(tail, 3).expect("zstd"));
    for (name, bytes) in [
        ("plain", plain.clone()),
        ("gzip", gzip(&plain)),
        ("members", members),
        ("padded", padded),
        ("zstd", zstd),
        ("frames", frames),
    ] {
        let (lines, digest) = read(&bytes).expect(name);
        assert_eq!(lines, SAMPLE, "{name}");
        assert_eq!(digest.diff_id, expected, "{name}");
        assert_eq!(digest.uncompressed_bytes, plain.len() as u64, "{name}");
        assert_eq!(digest.entries, 4);
        let blind = read_layer(&bytes[..], &Limits::default(), &mut Blind).expect(name);
        assert_eq!(blind, digest, "skipping content changes nothing: {name}");
    }
}

#[test]
fn what_follows_the_archive_counts_in_the_diff_id_only() {
    let mut long = sample();
    append(&mut long, &file("hidden", "x"));
    long.extend([7; 1000]);
    let (lines, digest) = read(&gzip(&long)).expect("layer");
    assert_eq!(lines, SAMPLE);
    assert_eq!(digest.diff_id, Digest::sha256(&long));
}

#[test]
fn damaged_streams_are_errors() {
    let mut garbage = gzip(&sample());
    garbage.extend(b"PK");
    refuses(&garbage, "other bytes after its gzip stream");
    let whole = gzip(&sample());
    refuses(&whole[..whole.len() - 1], "ends inside the compressed stream");
    refuses(&whole[..whole.len() / 2], "ends inside the compressed stream");
    let mut wrong = whole.clone();
    let at = wrong.len() - 6;
    wrong[at] ^= 1;
    refuses(&wrong, "not valid gzip");
    let zstd = zstd::encode_all(&sample()[..], 3).expect("zstd");
    refuses(&zstd[..zstd.len() - 1], "ends inside the compressed stream");
    refuses(&sample()[..1000], "ends inside an entry's header");
    refuses(&sample()[..1027], "ends inside the content of an entry");
    refuses(b"BZh91AY&SY and more", "ends inside an entry's header");
    refuses(&[1; 512], "bad header checksum");
    let mut lone = vec![0; 512];
    lone.extend(sample());
    refuses(&lone, "follows a lone block of zeros");
    let mut flipped = sample();
    flipped[0] = b'z';
    refuses(&flipped, "wrong header checksum");
}

#[test]
fn an_empty_layer_has_no_entries() {
    check(&[], &[]);
    check(&[0; 1024], &[]);
    check(&gzip(&[]), &[]);
}

#[test]
fn a_failing_input_is_no_damaged_layer() {
    struct Fails(usize);
    impl Read for Fails {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let bytes = gzip(&sample());
            let Some(byte) = bytes.get(self.0).filter(|_| self.0 < 20) else {
                return Err(std::io::Error::other("gone"));
            };
            buffer[0] = *byte;
            self.0 += 1;
            Ok(1)
        }
    }
    let error = read_layer(Fails(0), &Limits::default(), &mut Blind).expect_err("fails");
    assert!(matches!(error, LayerError::Input { .. }), "{error:?}");
}

#[test]
fn long_names_and_pax_records() {
    let long = "d/".repeat(80) + "name";
    check(
        &tar(&[
            pax(&[("path", long.as_bytes()), ("SCHILY.xattr.user.a", b"1")]),
            file("short", "x"),
            item(b'L', "././@LongLink", "", format!("{long}1\0").as_bytes()),
            item(b'K', "././@LongLink", "", format!("{long}2\0").as_bytes()),
            symlink("short", "short"),
            pax(&[("linkpath", b"there"), ("path", b"x\xffy")]),
            symlink("short", "here"),
        ]),
        &[
            &format!("file {long} 644  1 x"),
            &format!("symlink {long}1 644 {long}2 0 "),
            "symlink x\\xffy 644 there 0 ",
        ],
    );
    // GNU's name wins over pax, and records are not carried over to the next entry.
    check(
        &tar(&[
            pax(&[("path", b"from-pax")]),
            item(b'L', "l", "", b"from-gnu\0"),
            file("h", ""),
            file("next", ""),
        ]),
        &["file from-gnu 644  0 ", "file next 644  0 "],
    );
    // Runtimes do not apply global records, so a path in one must not move an entry.
    let mut global = pax(&[("path", b"moved")]);
    global.flag = b'g';
    check(&tar(&[global, file("stays", "")]), &["file stays 644  0 "]);
    refuses(&tar(&[pax(&[("path", b"x")])])[..1024], "ends inside an entry's header");
}

#[test]
fn dialects() {
    let mut out = Vec::new();
    let mut prefixed = header(&file("name", ""));
    put(&mut prefixed, 345, b"some/prefix");
    seal(&mut prefixed);
    out.extend(prefixed);
    let mut v7 = header(&item(0, "old/", "", b""));
    put(&mut v7, 257, &[0; 8]);
    put(&mut v7, 345, b"ignored");
    seal(&mut v7);
    out.extend(v7);
    let mut gnu = header(&file("gnu", ""));
    put(&mut gnu, 257, b"ustar  \0");
    put(&mut gnu, 345, b"00000000000");
    seal(&mut gnu);
    out.extend(gnu);
    let mut go = header(&file("go", ""));
    put(&mut go, 257, b"ustar  \0");
    put(&mut go, 345, b"prefix/of/go");
    seal(&mut go);
    out.extend(go);
    let mut signed = header(&file("\u{e9}", ""));
    put(&mut signed, 148, b"        ");
    let sum: i32 = signed.iter().map(|byte| i32::from(byte.cast_signed())).sum();
    put(&mut signed, 148, format!("{sum:06o}\0 ").as_bytes());
    out.extend(signed);
    let mut base256 = header(&file("big", ""));
    put(&mut base256, 124, b"\x80\0\0\0\0\0\0\0\0\0\0\x03");
    seal(&mut base256);
    out.extend(base256);
    out.extend(b"abc");
    pad(&mut out);
    check(
        &out,
        &[
            "file some/prefix/name 644  0 ",
            "directory old 644  0 ",
            "file gnu 644  0 ",
            "file prefix/of/go/go 644  0 ",
            "file é 644  0 ",
            "file big 644  3 abc",
        ],
    );
    refuses(&tar(&[item(b'V', "label", "", b"")]), "unknown type");
    refuses(&tar(&[file("./", "x")]), "names the root");
    refuses(&tar(&[file("../x", "")]), "leads out of the root");
}

#[test]
fn sparse_files_of_every_version() {
    let mut out = Vec::new();
    let mut old = header(&item(b'S', "old", "", b"abcdef"));
    put(&mut old, 257, b"ustar  \0");
    put(&mut old, 386, b"00000000002\x0000000000003\x0000000000010\x0000000000003\x00");
    put(&mut old, 483, b"00000000024");
    seal(&mut old);
    out.extend(old);
    out.extend(b"abcdef");
    pad(&mut out);
    let v00: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"10"),
        ("GNU.sparse.offset", b"1"),
        ("GNU.sparse.numbytes", b"2"),
        ("GNU.sparse.offset", b"10"),
        ("GNU.sparse.numbytes", b"0"),
    ];
    append(&mut out, &pax(v00));
    append(&mut out, &file("v00", "xy"));
    append(
        &mut out,
        &pax(&[("GNU.sparse.map", b"0,2"), ("GNU.sparse.size", b"5"), ("GNU.sparse.name", b"v01")]),
    );
    append(&mut out, &file("GNUSparseFile.0/v01", "xy"));
    append(
        &mut out,
        &pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"v10"),
            ("GNU.sparse.realsize", b"9"),
        ]),
    );
    let mut data = b"2\n0\n1\n8\n1\n".to_vec();
    data.resize(512, 0);
    data.extend(b"pq");
    append(&mut out, &item(b'0', "GNUSparseFile.0/v10", "", &data));
    append(&mut out, &file("after", "z"));
    check(
        &out,
        &[
            "file old 644  20 <2>abc<3>def<9>",
            "file v00 644  10 <1>xy<7>",
            "file v01 644  5 xy<3>",
            "file v10 644  9 p<7>q",
            "file after 644  1 z",
        ],
    );
    refuses(
        &tar(&[pax(&[("GNU.sparse.map", b"0,9"), ("GNU.sparse.size", b"5")]), file("x", "xy")]),
        "sparse map that does not fit",
    );
}

fn limited(limits: Limits, fits: &[u8], passes: &[u8], what: &str) {
    read_with(fits, &limits).expect("at the limit");
    let error = read_with(passes, &limits).expect_err("one past");
    assert!(error.is_too_large() && error.to_string().contains(what), "{error}");
}

#[test]
fn each_limit_holds_at_its_edge() {
    let base = Limits::default();
    let items = |count: usize| -> Vec<Item> { (0..count).map(|n| file(&n.to_string(), "")).collect() };
    limited(Limits { entries: 3, ..base }, &tar(&items(3)), &tar(&items(4)), "3 entries");
    let bytes = tar(&items(3));
    let length = bytes.len() as u64;
    let mut longer = bytes.clone();
    longer.push(0);
    limited(
        Limits { uncompressed_bytes: length, ..base },
        &gzip(&bytes),
        &gzip(&longer),
        "uncompressed bytes",
    );
    limited(
        Limits { link_bytes: 3, ..base },
        &tar(&[symlink("a", "bbb")]),
        &tar(&[symlink("a", "bbbb")]),
        "link",
    );
    let record = |value: &str| tar(&[pax(&[("comment", value.as_bytes())]), file("a", "")]);
    limited(Limits { special_bytes: 20, ..base }, &record("12345678"), &record("123456789"), "extended");
    let special = |count: usize| {
        let mut items = vec![pax(&[("comment", b"1")]); count];
        items.push(file("a", ""));
        tar(&items)
    };
    limited(Limits { entries: 5, ..base }, &special(5), &special(6), "entries");
}

#[test]
fn bombs_are_defused() {
    let zeros = zstd::encode_all(&vec![0u8; 8 << 20][..], 19).expect("zstd");
    let ratio = (8 << 20) / zeros.len() as u64;
    let limits = |ratio| Limits { ratio_free_bytes: 1 << 20, ratio, ..Limits::default() };
    read_with(&zeros, &limits(ratio + 1)).expect("below the ratio");
    let error = read_with(&zeros, &limits(ratio / 4)).expect_err("above");
    assert!(error.to_string().contains("per compressed byte"), "{error}");
    // A sparse file may claim any size: it is told, not made.
    let huge = u64::MAX / 2;
    let records: &[(&str, &[u8])] =
        &[("GNU.sparse.map", b"0,0"), ("GNU.sparse.size", b"9223372036854775807")];
    check(&tar(&[pax(records), file("x", "")]), &[&format!("file x 644  {huge} <{huge}>")]);
}

#[test]
fn each_limit_holds_as_shipped() {
    let shipped = Limits::default();
    assert_eq!((shipped.path_bytes, shipped.path_depth), (limit::PATH_BYTES, limit::PATH_DEPTH));
    assert_eq!((shipped.link_bytes, shipped.special_bytes), (limit::LINK_BYTES, limit::SPECIAL_BYTES));
    let named =
        |key: &str, length: usize| tar(&[pax(&[(key, "x".repeat(length).as_bytes())]), symlink("a", "b")]);
    limited(shipped, &named("path", shipped.path_bytes), &named("path", shipped.path_bytes + 1), "path");
    limited(
        shipped,
        &named("linkpath", shipped.link_bytes),
        &named("linkpath", shipped.link_bytes + 1),
        "link",
    );
    let deep = |depth: usize| tar(&[pax(&[("path", vec!["d"; depth].join("/").as_bytes())]), file("a", "")]);
    limited(shipped, &deep(shipped.path_depth), &deep(shipped.path_depth + 1), "parts");
    // A pax record is its length, the key and the value: 19 bytes beside the comment.
    let special = usize::try_from(shipped.special_bytes).expect("small");
    let (fits, passes) = (named("comment", special - 17), named("comment", special - 16));
    limited(shipped, &fits, &passes, "extended");
}

/// Sizes of the pieces in which contents arrive.
#[derive(Default)]
struct Pieces(Vec<usize>);

impl Visitor for Pieces {
    fn entry(&mut self, _: &Entry<'_>, body: &mut Body<'_>) -> Result<(), LayerError> {
        while let Some(chunk) = body.next_chunk()? {
            if let Chunk::Data(bytes) = chunk {
                self.0.push(bytes.len());
            }
        }
        Ok(())
    }
}

#[test]
fn contents_arrive_in_bounded_pieces() {
    for bytes in [limit::CHUNK_BYTES, limit::CHUNK_BYTES + 1, 3 * limit::CHUNK_BYTES] {
        let mut pieces = Pieces::default();
        let layer = zstd::encode_all(&tar(&[file("a", &"x".repeat(bytes))])[..], 1).expect("zstd");
        read_layer(&layer[..], &Limits::default(), &mut pieces).expect("layer");
        assert_eq!(pieces.0.iter().sum::<usize>(), bytes, "nothing is lost");
        assert!(pieces.0.iter().all(|piece| *piece <= limit::CHUNK_BYTES), "{:?}", pieces.0);
    }
}

/// What a decoder would have to hold is bounded before it is asked for.
#[test]
fn a_zstd_window_ends_at_128_mib() {
    let windowed = |log: u32| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("zstd");
        encoder.window_log(log).expect("window");
        encoder.write_all(&sample()).and_then(|()| encoder.flush()).expect("packed");
        encoder.finish().expect("zstd")
    };
    check(&windowed(limit::ZSTD_WINDOW_LOG), &SAMPLE);
    refuses(&windowed(limit::ZSTD_WINDOW_LOG + 1), "zstd");
}

/// One file of `zeros`, then one of noise, through `pack`: never whole in memory.
fn filled<W: Write>(mut pack: W, zeros: u64, noise: usize) -> W {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(noise)
    .collect();
    let mut start = Vec::new();
    append(&mut start, &item(b'0', "noise", "", &noise));
    let mut block = header(&file("zeros", ""));
    put(&mut block, 124, format!("{zeros:011o}").as_bytes());
    seal(&mut block);
    start.extend(block);
    pack.write_all(&start).expect("packed");
    std::io::copy(&mut std::io::repeat(0).take(zeros.next_multiple_of(512) + 1024), &mut pack)
        .expect("packed");
    pack
}

#[test]
fn bombs_are_told_from_honest_filling() {
    const MIB: u64 = 1 << 20;
    let gzip = |zeros, noise| {
        filled(GzEncoder::new(Vec::new(), Compression::default()), zeros, noise).finish().expect("gzip")
    };
    let zstd = |zeros| {
        let encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("zstd");
        filled(encoder, zeros, 0).finish().expect("zstd")
    };
    let is_bomb = |bytes: &[u8]| match read_layer(bytes, &Limits::default(), &mut Blind) {
        Ok(_) => false,
        Err(error) => {
            assert!(error.to_string().contains("per compressed byte"), "{error}");
            true
        }
    };
    // Nothing but zeros: fine while it is small, whatever the ratio is.
    assert!(!is_bomb(&gzip(64 * MIB, 0)) && !is_bomb(&zstd(64 * MIB)));
    assert!(!is_bomb(&gzip(255 * MIB, 0)) && !is_bomb(&zstd(255 * MIB)));
    let bomb = gzip(400 * MIB, 0);
    assert!((400 * MIB) / (bomb.len() as u64) > 1_000, "as bad as deflate can be");
    assert!(is_bomb(&bomb) && is_bomb(&zstd(400 * MIB)));
    // Beside what is worth its bytes it is an honest file.
    assert!(!is_bomb(&gzip(400 * MIB, 1 << 20)));
    // A bomb in a wrapping is not unwrapped: neither do runtimes, so it is no archive.
    let wrapped = zstd::encode_all(&bomb[..], 3).expect("zstd");
    refuses(&wrapped, "wrong header checksum");
}

/// A tar of empty files, made while it is read.
struct Files {
    left: u32,
    block: [u8; 512],
    at: usize,
}

impl Files {
    fn new(entries: u32) -> Self {
        Self { left: entries + 2, block: [0; 512], at: 512 }
    }

    fn next(&mut self) {
        self.left -= 1;
        self.at = 0;
        self.block = [0; 512];
        if self.left >= 2 {
            self.block = header(&file(&format!("d/{:07}", self.left), ""));
            seal(&mut self.block);
        }
    }
}

impl Read for Files {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.block.len() {
            if self.left == 0 {
                return Ok(0);
            }
            self.next();
        }
        let length = out.len().min(self.block.len() - self.at);
        out[..length].copy_from_slice(&self.block[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[test]
fn a_layer_ends_at_a_million_entries() {
    let limits = Limits::default();
    let began = std::time::Instant::now();
    let digest = read_layer(Files::new(limits.entries), &limits, &mut Blind).expect("at the limit");
    eprintln!("{} entries read in {:?}", digest.entries, began.elapsed());
    assert_eq!(digest.entries, 1_000_000);
    let refused = read_layer(Files::new(limits.entries + 1), &limits, &mut Blind);
    let error = refused.expect_err("one past it").to_string();
    assert!(error.contains("entries") && error.contains("1000000"), "{error}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read(&bytes);
        let _ = read(&gzip(&bytes));
    }

    #[test]
    fn damaged_archives_never_panic(at in 0usize..4096, to: u8, cut in 0usize..5000) {
        let mut bytes = tar(&[
            pax(&[("path", b"long"), ("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"3")]),
            file("a", "x"), dir("b"), hardlink("c", "a"),
        ]);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = to;
        }
        bytes.truncate(cut);
        let _ = read(&bytes);
        // Past the checksum, too.
        for start in [0, 1024] {
            if let Some(block) = bytes.get_mut(start..start + 512) {
                let mut sealed: [u8; 512] = block.try_into().expect("block");
                seal(&mut sealed);
                block.copy_from_slice(&sealed);
            }
        }
        let _ = read(&bytes);
    }

    #[test]
    fn what_is_written_is_read(names in proptest::collection::vec(("[a-z]{1,8}", ".{0,40}"), 0..20)) {
        let items: Vec<Item> = names.iter().map(|(name, content)| file(name, content)).collect();
        let (lines, _) = read(&gzip(&tar(&items))).expect("layer");
        let expected: Vec<String> =
            names.iter().map(|(name, content)| format!("file {name} 644  {} {content}", content.len())).collect();
        prop_assert_eq!(lines, expected);
    }
}
