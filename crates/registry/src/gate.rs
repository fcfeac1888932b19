use futures_util::future::BoxFuture;
use seaworthy_model::Problem;
use seaworthy_oci::{Digest, RepoName};

/// What is about to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A manifest: a pending answer is worth a short wait.
    Manifest,
    /// A blob, after its manifest was let through: answered from what is known. Where nothing opens it and something is
    /// pending, that is asked about once more as a manifest is.
    Blob,
}

/// A pull that is not allowed, or not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub problem: Problem,
    /// `blocked` or `pending`, for the ledger.
    pub verdict: &'static str,
}

impl Refusal {
    /// True when the answer is still to come.
    pub(crate) fn is_pending(&self) -> bool {
        self.verdict == "pending"
    }
}

/// What the gate says of one manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Why it may not be pulled, if it may not.
    pub refusal: Option<Refusal>,
    /// It is an image, and was judged itself: blobs that it names are for nobody as long as it is refused, whatever
    /// artifact or index names them too.
    pub is_image: bool,
}

/// Asked for every manifest and blob read: may this manifest be pulled from this repository?
///
/// An error means "could not find out", and nothing is served.
pub trait PullGate: Send + Sync + 'static {
    /// The answer for one manifest (or index, or artifact) in one repository.
    fn check<'a>(
        &'a self,
        repository: &'a RepoName,
        digest: &'a Digest,
        door: Door,
    ) -> BoxFuture<'a, Result<Passage, Problem>>;
}

/// A registry used alone: everything stored may be pulled.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenGate;

impl PullGate for OpenGate {
    fn check<'a>(
        &'a self,
        _: &'a RepoName,
        _: &'a Digest,
        _: Door,
    ) -> BoxFuture<'a, Result<Passage, Problem>> {
        Box::pin(async { Ok(Passage { refusal: None, is_image: true }) })
    }
}
