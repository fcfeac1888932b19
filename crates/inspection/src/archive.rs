//! What `docker save` writes: where in the archive the config and the layers of its one image lie.
//! The archive is read in a sandboxed child; its layers are then read where they are.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt as _,
};

use seaworthy_oci::limit::{CONFIG_BYTES, LAYERS, MANIFEST_BYTES};
use seaworthy_sandbox::{Input, Sandbox, SandboxError};
use serde::{Deserialize, Serialize};

use crate::limit;

/// What the reader is called in [`seaworthy_sandbox::child`].
pub const ARCHIVE_READER: &str = "image-archive";

/// Longest answer of the reader that is read, in bytes: the places of [`LAYERS`] layers.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Longest name of a missing member that is told, in characters.
const NAME_CHARACTERS: usize = 100;

/// A member's place in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Extent {
    offset: u64,
    bytes: u64,
}

/// The image of an archive. What is not there has no place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    config: Extent,
    layers: Vec<Result<Extent, String>>,
}

/// An archive that cannot be read as one image.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The reader says why.
    #[error("failed to read the image archive")]
    Reader(#[source] SandboxError),
    /// The reader's answer is not one.
    #[error("failed to understand the reader of image archives")]
    Answer(#[source] serde_json::Error),
    /// The file itself.
    #[error("failed to read the file of the image archive")]
    File(#[source] io::Error),
}

/// An archive whose image is known.
#[derive(Debug)]
pub struct ImageArchive {
    file: File,
    table: Table,
}

impl ImageArchive {
    /// Reads what is where, from the file's beginning. Blocks; the child dies with the thread.
    pub fn open(file: File, sandbox: &Sandbox) -> Result<Self, ArchiveError> {
        let whole = reopened(&file).map_err(ArchiveError::File)?;
        let answer = sandbox.run(ARCHIVE_READER, &[], Input::File(whole)).map_err(ArchiveError::Reader)?;
        let answer = answer.get(..answer.len().min(ANSWER_BYTES)).unwrap_or_default();
        let table = serde_json::from_slice(answer).map_err(ArchiveError::Answer)?;
        Ok(Self { file, table })
    }

    /// The image's config, at most [`CONFIG_BYTES`].
    pub fn config(&self) -> Result<Vec<u8>, ArchiveError> {
        let Extent { offset, bytes } = self.table.config;
        let mut config = vec![0; usize::try_from(bytes).unwrap_or(CONFIG_BYTES).min(CONFIG_BYTES)];
        self.file.read_exact_at(&mut config, offset).map_err(ArchiveError::File)?;
        Ok(config)
    }

    /// The layers, bottom first, and how long each is: opened where it lies, or the name of a member
    /// that is not there.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = Result<Input, String>> + Send {
        self.table.layers.iter().map(|layer| {
            let Extent { offset, bytes } = layer.clone()?;
            let part = reopened(&self.file).and_then(|mut file| {
                io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
                Ok(Input::Part { file, bytes })
            });
            part.map_err(|error| error.to_string())
        })
    }

    /// The length of all layers, in bytes.
    pub fn layer_bytes(&self) -> u64 {
        self.table.layers.iter().flatten().map(|layer| layer.bytes).fold(0, u64::saturating_add)
    }
}

/// The same file with a place of its own, at its beginning: several children read it at once.
fn reopened(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))
}

/// The reader: goes through the archive once and answers with a table in JSON.
pub fn archive_reader(_request: &[u8], input: &mut dyn Read, output: &mut dyn Write) -> Result<(), String> {
    let members = Members::read(input)?;
    let table = members.table()?;
    serde_json::to_writer(output, &table).map_err(|error| error.to_string())
}

/// `manifest.json` of `docker save` (Docker image specification 1.2, "Combined Image JSON").
#[derive(Deserialize)]
struct Image {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers", default)]
    layers: Vec<String>,
}

/// The regular members by name, links to them, and the bytes of `manifest.json`.
#[derive(Default)]
struct Members {
    files: HashMap<String, Extent>,
    links: HashMap<String, String>,
    manifest: Vec<u8>,
}

impl Members {
    fn read(input: &mut dyn Read) -> Result<Self, String> {
        let bad = |error: io::Error| error.to_string();
        let mut members = Self::default();
        let mut archive = tar::Archive::new(io::BufReader::new(input));
        for (number, entry) in archive.entries().map_err(bad)?.enumerate() {
            let mut entry = entry.map_err(bad)?;
            if number >= limit::ARCHIVE_MEMBERS {
                return Err(format!("the archive has more than {} members", limit::ARCHIVE_MEMBERS));
            }
            let path = entry.path().map_err(bad)?.to_string_lossy().into_owned();
            let kind = entry.header().entry_type();
            if kind.is_file() {
                if path == MANIFEST {
                    members.manifest.clear();
                    (&mut entry)
                        .take(MANIFEST_BYTES as u64 + 1)
                        .read_to_end(&mut members.manifest)
                        .map_err(bad)?;
                }
                let extent = Extent { offset: entry.raw_file_position(), bytes: entry.size() };
                members.files.insert(path, extent);
            } else if (kind.is_symlink() || kind.is_hard_link())
                && let Some(target) = entry.link_name().map_err(bad)?
            {
                // `ID/layer.tar -> ../OTHER/layer.tar`, as engines before 25 write it.
                let target = target.to_string_lossy();
                let target = target.strip_prefix("../").unwrap_or(&target).to_owned();
                members.links.insert(path, target);
            }
        }
        Ok(members)
    }

    fn table(&self) -> Result<Table, String> {
        if !self.files.contains_key(MANIFEST) {
            return Err(absent(MANIFEST));
        }
        if self.manifest.len() > MANIFEST_BYTES {
            return Err(format!("`{MANIFEST}` is longer than {MANIFEST_BYTES} bytes"));
        }
        // As strictly as a manifest: an engine would load what another reader sees in it.
        let images: Vec<Image> = seaworthy_oci::read_json(&self.manifest)
            .map_err(|error| format!("`{MANIFEST}`: {}", seaworthy_store::chain(&error)))?;
        let [image] = images.as_slice() else {
            return Err(format!("the archive holds {} images, not one", images.len()));
        };
        let config = self.find(&image.config)?;
        if config.bytes > CONFIG_BYTES as u64 {
            return Err(format!("the config is longer than {CONFIG_BYTES} bytes"));
        }
        if image.layers.len() > LAYERS {
            return Err(format!("the image has more than {LAYERS} layers"));
        }
        let layers: Vec<Result<Extent, String>> = image.layers.iter().map(|name| self.find(name)).collect();
        let sum = |extents: &mut dyn Iterator<Item = &Extent>| {
            extents.fold(0, |sum: u64, it| sum.saturating_add(it.bytes))
        };
        // Layers may be alike; a few bytes that ask for days of reading are no image.
        let held = sum(&mut self.files.values());
        if sum(&mut layers.iter().flatten()) > held.saturating_mul(limit::ARCHIVE_REPEATS) {
            return Err(format!("its layers are longer than {} times the archive", limit::ARCHIVE_REPEATS));
        }
        Ok(Table { config, layers })
    }

    fn find(&self, name: &str) -> Result<Extent, String> {
        let mut at = name;
        for _ in 0..8 {
            if let Some(extent) = self.files.get(at) {
                return Ok(*extent);
            }
            at = self.links.get(at).ok_or_else(|| absent(name))?;
        }
        Err(absent(name))
    }
}

const MANIFEST: &str = "manifest.json";

fn absent(name: &str) -> String {
    format!("`{}` is not there", name.chars().take(NAME_CHARACTERS).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(members: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
        let mut out = tar::Builder::new(Vec::new());
        for (name, target) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            out.append_link(&mut header, name, target).unwrap();
        }
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            out.append_data(&mut header, name, *bytes).unwrap();
        }
        out.into_inner().unwrap()
    }

    fn table(archive: &[u8]) -> Result<Table, String> {
        let mut answer = Vec::new();
        archive_reader(b"", &mut &*archive, &mut answer)?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    #[test]
    fn places_are_where_the_bytes_are() {
        let long = format!("{}/layer.tar", "l".repeat(180));
        let manifest =
            serde_json::json!([{"Config": "c.json", "Layers": [long, "b/layer.tar", "gone"]}]).to_string();
        let bytes = archive(
            &[
                (&long, b"first layer"),
                ("c.json", b"{}"),
                ("a/layer.tar", b"second"),
                (MANIFEST, manifest.as_bytes()),
            ],
            &[("b/layer.tar", "../a/layer.tar")],
        );
        let table = table(&bytes).unwrap();
        let number = |it: u64| usize::try_from(it).unwrap();
        let at = |it: Extent| &bytes[number(it.offset)..][..number(it.bytes)];
        assert_eq!(at(table.config), b"{}");
        let layers: Vec<_> = table.layers.iter().map(|it| it.clone().map(at)).collect();
        assert_eq!(layers, [Ok(&b"first layer"[..]), Ok(b"second"), Err("`gone` is not there".to_owned())]);
    }

    #[test]
    fn what_is_no_image_says_so() {
        let of = |manifest: &str| {
            table(&archive(&[(MANIFEST, manifest.as_bytes()), ("c", b"{}")], &[("l", "m"), ("m", "l")]))
        };
        for (manifest, says) in [
            ("[]", "holds 0 images"),
            (r#"[{"Config":"c"},{"Config":"c"}]"#, "holds 2 images"),
            ("{", MANIFEST),
            (r#"[{"Config":"none"}]"#, "`none` is not there"),
            (r#"[{"Config":"c","config":"none"}]"#, "`config` is `Config`"),
            (r#"[{"Config":"c","Layers":[],"layerſ":["c"]}]"#, "is `Layers`"),
            (r#"[["c",[]]]"#, MANIFEST),
            (r#"[{"Config":"l"}]"#, "`l` is not there"),
        ] {
            let error = of(manifest).unwrap_err();
            assert!(error.contains(says), "{manifest}: {error}");
        }
        assert!(table(&archive(&[("c", b"{}")], &[])).unwrap_err().contains(MANIFEST));
        assert!(table(b"not a tar, and long enough to be one".repeat(40).as_slice()).is_err());
        let cut = archive(&[(MANIFEST, br#"[{"Config":"c"}]"#), ("c", b"{}")], &[]);
        for end in 0..cut.len() {
            // Cut anywhere it is refused, or it is whole but for the padding at its end.
            drop(table(&cut[..end]));
        }
    }

    #[test]
    fn numbers_are_bounded() {
        let names: Vec<String> = (0..limit::ARCHIVE_MEMBERS).map(|number| format!("m{number}")).collect();
        let mut members: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
        members[0] = (MANIFEST, br#"[{"Config":"m1"}]"#);
        assert!(table(&archive(&members, &[])).is_ok());
        members.push(("one-more", b""));
        assert!(table(&archive(&members, &[])).unwrap_err().contains("members"));
        for (count, is_fine) in [(LAYERS, true), (LAYERS + 1, false)] {
            let manifest = serde_json::json!([{"Config": "c", "Layers": vec!["empty"; count]}]).to_string();
            let bytes = archive(&[("c", b"{}"), ("empty", b""), (MANIFEST, manifest.as_bytes())], &[]);
            assert_eq!(table(&bytes).is_ok(), is_fine, "{count}");
        }
        let repeated = |count: u64| {
            let names = vec!["c"; usize::try_from(count).unwrap()];
            let manifest = serde_json::json!([{"Config": "c", "Layers": names}]).to_string();
            // The manifest is held too: a member of its own length more, once.
            let config = vec![b' '; manifest.len() * 64];
            table(&archive(&[("c", &config), (MANIFEST, manifest.as_bytes())], &[])).is_ok()
        };
        assert!(repeated(limit::ARCHIVE_REPEATS) && !repeated(limit::ARCHIVE_REPEATS + 1));
        for (extra, is_fine) in [(0, true), (1, false)] {
            let config = vec![b' '; CONFIG_BYTES + extra];
            let bytes = archive(&[("c", &config), (MANIFEST, br#"[{"Config":"c"}]"#)], &[]);
            assert_eq!(table(&bytes).is_ok(), is_fine, "{extra}");
        }
    }
}
