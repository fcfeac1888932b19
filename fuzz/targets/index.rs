//! An index as it is pushed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaworthy_oci::{Manifest, media};

fuzz_target!(|data: &[u8]| {
    for content_type in [media::OCI_INDEX, media::DOCKER_LIST] {
        let Ok(manifest) = Manifest::parse(data, Some(content_type)) else { continue };
        let json: serde_json::Value = serde_json::from_slice(data).expect("what is taken is JSON");
        let Manifest::Index(index) = &manifest else { panic!("`{content_type}` is an index") };
        let children = json["manifests"].as_array().expect("a list");
        assert_eq!(children.len(), index.manifests.len());
        for (child, json) in index.manifests.iter().zip(children) {
            assert_eq!(json["digest"], child.digest.to_string());
            assert_eq!(json["size"], child.size);
        }
        assert!(json.get("config").is_none() && json.get("layers").is_none(), "an index is no image");
    }
});
