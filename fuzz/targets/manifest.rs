//! A manifest as it is pushed: what is taken is JSON without repeated keys, says what it is, and names only what
//! can be named; whatever is not is refused, and nothing else happens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaworthy_oci::{Manifest, media};

fuzz_target!(|data: &[u8]| {
    for content_type in
        [None, Some(media::OCI_MANIFEST), Some(media::DOCKER_MANIFEST), Some(media::OCI_INDEX)]
    {
        let Ok(manifest) = Manifest::parse(data, content_type) else { continue };
        // Serde reads it too, and what was understood is there.
        let json: serde_json::Value = serde_json::from_slice(data).expect("what is taken is JSON");
        if let Some(content_type) = content_type {
            assert_eq!(manifest.media_type(), content_type);
        }
        if let Manifest::Image(image) = &manifest {
            assert_eq!(json["config"]["digest"], image.config.digest.to_string());
            let layers = json["layers"].as_array().map_or(0, Vec::len);
            assert_eq!(layers, image.layers.len());
            assert!(json.get("manifests").is_none(), "an image is no index (CVE-2021-41190)");
        }
        // The answer does not depend on who asks when the document says what it is.
        if json["mediaType"].is_string() {
            let read = Manifest::parse(data, None).expect("it says what it is");
            assert_eq!(read.media_type(), manifest.media_type());
        }
    }
});
