//! Layouts made by hand, for tests.

use std::fs;

use seaworthy_oci::{Digest, media};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::layout::{self, Layout, Source};

/// A layout in a folder that goes away.
pub(super) struct Made {
    folder: TempDir,
}

impl Made {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("blobs/sha256")).expect("folders");
        Self { folder }
    }

    /// Stores bytes; returns their descriptor.
    pub(super) fn put(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = Digest::sha256(bytes);
        fs::write(layout::blob_path(self.folder.path(), &digest), bytes).expect("written");
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }

    /// An image of these layers, about another manifest or none.
    pub(super) fn image(&self, layers: &[&[u8]], subject: Option<&Value>) -> Value {
        let layers: Vec<Value> = layers.iter().map(|bytes| self.put("text/plain", bytes)).collect();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST,
            "config": self.put(media::OCI_CONFIG, b"{}"), "layers": layers,
        });
        if let Some(subject) = subject {
            manifest["subject"] = subject.clone();
        }
        self.put(media::OCI_MANIFEST, manifest.to_string().as_bytes())
    }

    pub(super) fn index(&self, children: &[&Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": children});
        self.put(media::OCI_INDEX, index.to_string().as_bytes())
    }

    /// The layout that lists these.
    pub(super) fn listing(&self, entries: &[Value]) -> Layout {
        let root = self.folder.path();
        let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
        fs::write(root.join(layout::INDEX), index.to_string()).expect("written");
        fs::write(root.join(layout::MARK), layout::MARK_TEXT).expect("written");
        let source = Source::parse(&format!("oci:{}", root.display())).expect("a layout");
        Layout::open(&source).expect("it opens")
    }

    /// A socket's path beside it.
    pub(super) fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("sock")
    }
}

/// An entry with a name.
pub(super) fn named(mut entry: Value, name: &str) -> Value {
    entry["annotations"] = json!({layout::REF_NAME: name});
    entry
}

pub(super) fn digest(entry: &Value) -> Digest {
    entry["digest"].as_str().expect("a digest").parse().expect("a digest")
}
