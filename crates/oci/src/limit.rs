/// Largest manifest or index, in bytes (the distribution spec's recommended bound).
pub const MANIFEST_BYTES: usize = 4 * 1024 * 1024;
/// Largest image config, in bytes.
pub const CONFIG_BYTES: usize = 4 * 1024 * 1024;
/// Most layers in one image manifest.
pub const LAYERS: usize = 1_000;
/// Most children of one index.
pub const INDEX_CHILDREN: usize = 10_000;
/// Deepest JSON nesting that is read.
pub const JSON_DEPTH: usize = 64;
/// Keys of one JSON object that are compared one by one before further ones are hashed.
pub const FIRST_KEYS: usize = 16;
/// Longest repository name, in bytes (the name becomes part of a URL and a key).
pub const REPO_NAME_BYTES: usize = 255;
/// Longest tag, in bytes (distribution spec, "Pulling manifests").
pub const TAG_BYTES: usize = 128;
