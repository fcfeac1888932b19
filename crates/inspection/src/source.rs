use futures_util::future::BoxFuture;
use seaworthy_model::Problem;
use seaworthy_oci::Digest;
use seaworthy_store::BlobReader;

/// Where the bytes of layers and configs are: the registry room's blobs, which this room may
/// not read by itself. Implemented by the server over the registry, and by whoever inspects
/// images that were never pushed.
pub trait LayerSource: Send + Sync + 'static {
    /// Opens a blob at its beginning; `None` when it is not there (any more). An error means
    /// "could not find out" and is tried again.
    fn open<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Option<BlobReader>, Problem>>;
}
