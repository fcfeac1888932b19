//! Rooms do not know each other: here one's answer becomes another's trait.

use std::time::Duration;

use futures_util::future::BoxFuture;
use seaworthy_clearance::Clearance;
use seaworthy_inspection::LayerSource;
use seaworthy_model::Problem;
use seaworthy_oci::{Digest, RepoName};
use seaworthy_policy::{Language, Verdict};
use seaworthy_registry::{Door, Passage, PullGate, Refusal, Registry};
use seaworthy_store::BlobReader;

use crate::refusal;

/// Clearance as the registry's gate.
pub(crate) struct ClearanceGate {
    pub(crate) clearance: Clearance,
    pub(crate) language: Language,
}

impl PullGate for ClearanceGate {
    fn check<'a>(
        &'a self,
        repository: &'a RepoName,
        digest: &'a Digest,
        door: Door,
    ) -> BoxFuture<'a, Result<Passage, Problem>> {
        Box::pin(async move {
            let wait = match door {
                Door::Manifest => Duration::from_millis(seaworthy_clearance::limit::WAIT_MS),
                Door::Blob => Duration::ZERO,
            };
            let answer = if wait.is_zero() {
                self.clearance.ask(repository, digest).await
            } else {
                self.clearance.ask_waiting(repository, digest, wait).await
            }
            .map_err(Problem::from)?;
            let refusal = (answer.verdict != Verdict::Allowed).then(|| {
                let problem = refusal::problem(repository, digest, &answer, self.language);
                Refusal { problem, verdict: answer.verdict.word() }
            });
            Ok(Passage { refusal, is_image: answer.is_image })
        })
    }
}

/// The registry's blobs as inspection's source.
pub(crate) struct RegistryLayers(pub(crate) std::sync::OnceLock<Registry>);

impl LayerSource for RegistryLayers {
    fn open<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Option<BlobReader>, Problem>> {
        Box::pin(async move {
            match self.0.get() {
                Some(registry) => registry.open_for_inspection(digest).await.map_err(Problem::from),
                None => Ok(None),
            }
        })
    }
}
