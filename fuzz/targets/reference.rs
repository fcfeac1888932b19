//! References, names, tags, digests and the paths that hold them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seaworthy_oci::{Digest, Reference, RepoName, Tag};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        let again: Reference = reference.to_string().parse().expect("what is shown can be read");
        assert_eq!(reference, again);
    }
    if let Ok(name) = text.parse::<RepoName>() {
        assert_eq!(name.as_str(), text);
        assert!(text.len() <= 255 && !text.contains("//") && !text.contains(".."), "{text}");
        // A scope and a path hold it as it is.
        let scope = seaworthy_model::Scope::repository(&name);
        assert_eq!(scope.as_str().parse(), Ok(scope.clone()));
    }
    if let Ok(tag) = text.parse::<Tag>() {
        assert_eq!(tag.as_str(), text);
        assert!(text.len() <= 128 && !text.contains(['/', ':', '@']), "{text}");
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text, "there is one way to write it");
    }
    seaworthy_registry::fuzzing::path(text);
});
