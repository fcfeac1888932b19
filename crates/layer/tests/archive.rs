//! A small, obvious tar writer. It writes what it is told, nonsense included.

/// One entry to write.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) path: Vec<u8>,
    pub(crate) flag: u8,
    pub(crate) link: Vec<u8>,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
}

pub(crate) fn item(flag: u8, path: &str, link: &str, content: &[u8]) -> Item {
    Item { path: path.into(), flag, link: link.into(), content: content.to_vec(), mode: 0o644 }
}

pub(crate) fn file(path: &str, content: &str) -> Item {
    item(b'0', path, "", content.as_bytes())
}

pub(crate) fn dir(path: &str) -> Item {
    item(b'5', path, "", b"")
}

pub(crate) fn symlink(path: &str, target: &str) -> Item {
    item(b'2', path, target, b"")
}

pub(crate) fn hardlink(path: &str, target: &str) -> Item {
    item(b'1', path, target, b"")
}

pub(crate) fn tar(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        append(&mut out, item);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// Adds one ustar entry.
pub(crate) fn append(out: &mut Vec<u8>, item: &Item) {
    let mut block = header(item);
    seal(&mut block);
    out.extend_from_slice(&block);
    out.extend_from_slice(&item.content);
    pad(out);
}

pub(crate) fn header(item: &Item) -> [u8; 512] {
    let mut block = [0u8; 512];
    put(&mut block, 0, &item.path);
    put(&mut block, 100, format!("{:07o}", item.mode).as_bytes());
    put(&mut block, 108, b"0000000");
    put(&mut block, 116, b"0000000");
    put(&mut block, 124, format!("{:011o}", item.content.len()).as_bytes());
    put(&mut block, 136, b"00000000000");
    block[156] = item.flag;
    put(&mut block, 157, &item.link);
    put(&mut block, 257, b"ustar\x0000");
    block
}

pub(crate) fn put(block: &mut [u8; 512], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Writes the checksum.
pub(crate) fn seal(block: &mut [u8; 512]) {
    put(block, 148, b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(block, 148, format!("{sum:06o}\0 ").as_bytes());
}

pub(crate) fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(512), 0);
}

pub(crate) fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length += 1;
    }
    let mut out = format!("{length} {key}=").into_bytes();
    out.extend_from_slice(value);
    out.push(b'\n');
    out
}

pub(crate) fn pax(records: &[(&str, &[u8])]) -> Item {
    let body: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
    item(b'x', "pax", "", &body)
}
