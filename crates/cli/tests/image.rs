//! Images made by hand: pushed over raw HTTP, or laid out in a folder for a client to push.

use std::{fs, path::Path};

use seaworthy_inspection::{LayerReader, LocalConfig, inspect_local};
use seaworthy_model::InventoryReady;
use seaworthy_oci::{Digest, Platform};
use seaworthy_sandbox::Input;
use serde_json::{Value, json};

use crate::http::{Answer, Door};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const TAR_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// One layer, a config, and the manifest that names them.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Image {
    /// `label` sets images of equal content apart.
    pub(crate) fn new(layer: &[u8], media_type: &str, diff_id: &Digest, label: &str) -> Self {
        Self::built_for(&Platform::host().architecture, layer, media_type, diff_id, label)
    }

    pub(crate) fn built_for(
        architecture: &str,
        layer: &[u8],
        media_type: &str,
        diff_id: &Digest,
        label: &str,
    ) -> Self {
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": {"Labels": {"test": label}},
            "rootfs": {"type": "layers", "diff_ids": [diff_id.to_string()]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": [descriptor(media_type, layer)],
        });
        Self { layer: layer.to_vec(), config, manifest: manifest.to_string().into_bytes() }
    }

    /// A Debian 12 with one package.
    pub(crate) fn debian(source: &str, version: &str, label: &str) -> Self {
        let layer = debian_layer(source, version);
        Self::new(&layer, TAR, &Digest::sha256(&layer), label)
    }

    /// The same bytes under other names: an artifact type, another type of config.
    pub(crate) fn called(&self, artifact_type: Option<&str>, config_type: &str) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).expect("JSON");
        manifest["config"]["mediaType"] = json!(config_type);
        if let Some(artifact_type) = artifact_type {
            manifest["artifactType"] = json!(artifact_type);
        }
        Self { manifest: manifest.to_string().into_bytes(), ..self.clone() }
    }

    /// That says of itself that it refers to another.
    pub(crate) fn about(&self, subject: &Self) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).expect("JSON");
        manifest["subject"] = descriptor(MANIFEST, &subject.manifest);
        Self { manifest: manifest.to_string().into_bytes(), ..self.clone() }
    }

    /// With another config, whatever it says.
    pub(crate) fn configured(&self, config: &[u8]) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).expect("JSON");
        manifest["config"] = descriptor(CONFIG, config);
        Self { config: config.to_vec(), manifest: manifest.to_string().into_bytes(), ..self.clone() }
    }

    /// What the command line would send about it.
    pub(crate) fn inspected(&self) -> InventoryReady {
        let layers = [Ok(Input::Bytes(self.layer.clone()))];
        inspect_local(LocalConfig::Bytes(&self.config), layers, &LayerReader::InProcess)
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }

    /// Length of its manifest.
    pub(crate) fn size(&self) -> usize {
        self.manifest.len()
    }

    pub(crate) fn layer_digest(&self) -> Digest {
        Digest::sha256(&self.layer)
    }

    /// One attempt; `Err` says what went wrong, the server having gone away or not.
    pub(crate) fn try_push(&self, door: &Door, repository: &str, tag: &str) -> Result<(), String> {
        for blob in [&self.layer, &self.config] {
            upload(door, repository, blob)?;
        }
        let path = format!("/v2/{repository}/manifests/{tag}");
        expect(201, door.ask("PUT", &path, MANIFEST, &self.manifest))?;
        Ok(())
    }

    pub(crate) fn push(&self, door: &Door, repository: &str, tag: &str) {
        self.try_push(door, repository, tag).expect("pushed");
    }
}

/// An OCI image layout whose one name, `name`, is an image, or an index of several.
pub(crate) fn lay_out(folder: &Path, name: &str, images: &[(&str, &Image)]) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("folder");
    let keep = |bytes: &[u8]| fs::write(blobs.join(Digest::sha256(bytes).hex()), bytes).expect("written");
    let mut top: Vec<Value> = Vec::new();
    for (architecture, image) in images {
        [&image.layer, &image.config, &image.manifest].into_iter().for_each(|bytes| keep(bytes));
        let mut child = descriptor(MANIFEST, &image.manifest);
        child["platform"] = json!({"architecture": architecture, "os": "linux"});
        top.push(child);
    }
    let mut named = if let [one] = top.as_slice() {
        one.clone()
    } else {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": top}).to_string();
        keep(index.as_bytes());
        descriptor(INDEX, index.as_bytes())
    };
    named["annotations"] =
        json!({"org.opencontainers.image.ref.name": "it", "io.containerd.image.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [named]}).to_string();
    fs::write(folder.join("index.json"), index).expect("written");
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(bytes).to_string(), "size": bytes.len()})
}

fn expect(status: u16, answer: Result<Answer, std::io::Error>) -> Result<Answer, String> {
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status == status { Ok(answer) } else { Err(format!("{}: {}", answer.status, answer.text())) }
}

fn upload(door: &Door, repository: &str, blob: &[u8]) -> Result<(), String> {
    let digest = Digest::sha256(blob);
    let bytes = "application/octet-stream";
    let begun = expect(202, door.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), bytes, b""))?;
    let place = begun.header("location").ok_or("an upload without a place")?;
    // Relative or absolute: the path is what counts here.
    let path = place.strip_prefix("http://localhost").unwrap_or(place);
    let path = path.find('/').map_or(path, |at| &path[at..]);
    let joint = if path.contains('?') { '&' } else { '?' };
    expect(201, door.ask("PUT", &format!("{path}{joint}digest={digest}"), bytes, blob))?;
    Ok(())
}

/// A tar with an `os-release` and a dpkg database of one package.
pub(crate) fn debian_layer(source: &str, version: &str) -> Vec<u8> {
    let release = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n\
                   PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
    let status = format!(
        "Package: lib{source}-test\nStatus: install ok installed\nPriority: optional\nSection: libs\n\
         Maintainer: Nobody <nobody@example.com>\nArchitecture: amd64\nSource: {source}\n\
         Version: {version}\nDescription: made by hand\n\n"
    );
    let mut out = tar::Builder::new(Vec::new());
    for (path, text) in [("etc/os-release", release), ("var/lib/dpkg/status", &status)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        out.append_data(&mut header, path, text.as_bytes()).expect("in memory");
    }
    out.into_inner().expect("in memory")
}
