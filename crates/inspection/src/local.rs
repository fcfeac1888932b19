//! Images that are not in the registry: the same readers and the same fold, without rows.

use std::{
    iter::Enumerate,
    sync::{Mutex, PoisonError},
    thread,
};

use seaworthy_inventory::LayerResult;
use seaworthy_model::{InventoryProblem, InventoryReady, ProblemCode};
use seaworthy_oci::{Digest, ImageConfig, Platform};
use seaworthy_sandbox::Input;

use crate::{
    LayerReader,
    answer::{FactsMemory, Reading, problem},
    compose::compose,
    limit,
};

/// The config of an image outside the registry.
#[derive(Clone, Copy, Debug)]
pub enum LocalConfig<'a> {
    /// Its exact bytes.
    Bytes(&'a [u8]),
    /// There is none: a root file system, of this platform. Nothing is claimed, so nothing can
    /// differ from a claim; the process is taken to run as root.
    Absent(&'a Platform),
}

/// Inspects an image that is not in the registry: `layers`, bottom first, each opened at its
/// beginning, or the reason why it could not be opened. Blocks; at most
/// [`limit::LOCAL_READERS`] layers are open and read at a time. Whatever fails is a problem in
/// the result, whose `manifests` are empty.
pub fn inspect_local<L>(config: LocalConfig<'_>, layers: L, reader: &LayerReader) -> InventoryReady
where
    L: IntoIterator<Item = Result<Input, InventoryProblem>>,
    L::IntoIter: Send,
{
    let layers = read_all(layers.into_iter(), reader);
    match config {
        LocalConfig::Bytes(bytes) => {
            let parsed = ImageConfig::parse(bytes)
                .map_err(|error| problem(ProblemCode::ConfigUnreadable, &seaworthy_store::chain(&error)));
            compose(Digest::sha256(bytes), parsed.as_ref(), &layers)
        }
        LocalConfig::Absent(platform) => {
            compose(Digest::sha256(b""), Ok(&stand_in(platform, &layers)), &layers)
        }
    }
}

/// Reads layers side by side. Each thread waits for its own child, which would die with it.
fn read_all(
    layers: impl Iterator<Item = Result<Input, InventoryProblem>> + Send,
    reader: &LayerReader,
) -> Vec<LayerResult> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(limit::LOCAL_READERS);
    let waiting = Mutex::new(layers.enumerate());
    let memory = FactsMemory::new(limit::IMAGE_MEMORY_BYTES);
    let mut read: Vec<(usize, LayerResult)> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| read_some(&waiting, reader, &memory))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    read.sort_by_key(|(at, _)| *at);
    let count = read.last().map_or(0, |(at, _)| at + 1);
    let mut results = vec![Err(problem(ProblemCode::ReaderFailed, "the layer reader panicked")); count];
    for (at, layer) in read {
        if let Some(slot) = results.get_mut(at) {
            *slot = layer;
        }
    }
    results
}

fn read_some<I>(
    waiting: &Mutex<Enumerate<I>>,
    reader: &LayerReader,
    memory: &FactsMemory,
) -> Vec<(usize, LayerResult)>
where
    I: Iterator<Item = Result<Input, InventoryProblem>>,
{
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::iter::from_fn(next)
        .map(|(at, opened)| (at, opened.and_then(|input| read(input, reader, memory))))
        .collect()
}

fn read(input: Input, reader: &LayerReader, memory: &FactsMemory) -> LayerResult {
    match reader.read(input) {
        Reading::Facts { facts, .. } => memory.admit(*facts),
        Reading::Problem(problem) | Reading::Died(problem) | Reading::NotStarted(problem) => Err(problem),
    }
}

/// A config that claims what was measured.
fn stand_in(platform: &Platform, layers: &[LayerResult]) -> ImageConfig {
    let mut config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    };
    let nothing = Digest::sha256(b"");
    config.rootfs.diff_ids =
        layers.iter().map(|layer| layer.as_ref().map_or(nothing, |facts| facts.digest.diff_id)).collect();
    config
}
