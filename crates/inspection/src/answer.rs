use std::{
    fs::File,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

use seaworthy_inventory::{LayerFacts, LayerResult, sandboxed_reader};
use seaworthy_model::{InventoryProblem, ProblemCode};
use seaworthy_sandbox::{Input, Sandbox, SandboxError};
use seaworthy_store::{BlobReader, BlobSource};

use crate::limit;

/// Who reads layers.
#[derive(Clone, Debug)]
pub enum LayerReader {
    /// Confined children of this binary, whose `main` registers
    /// [`seaworthy_inventory::sandboxed_reader::layer_reader`].
    Sandboxed(Arc<Sandbox>),
    /// This process itself, without any confinement: for tests only.
    InProcess,
}

/// What one reading of a layer gave.
pub(crate) enum Reading {
    /// Facts, and the reader's answer that holds them: what is stored.
    Facts { facts: Box<LayerFacts>, answer: Vec<u8> },
    /// The layer is damaged or too large, however often it is read.
    Problem(InventoryProblem),
    /// The reader died over it. Mostly the layer's fault, but not surely.
    Died(InventoryProblem),
    /// Nothing was read: no fault of the layer.
    NotStarted(InventoryProblem),
}

impl LayerReader {
    /// Reads a layer from its beginning. Blocks; the child dies with the calling thread.
    pub(crate) fn read(&self, input: Input) -> Reading {
        match self.run(input) {
            Ok(answer) => match sandboxed_reader::read_answer(&answer, 0) {
                Ok(facts) => Reading::Facts { facts: Box::new(facts), answer },
                Err(problem) if problem.code == ProblemCode::ReaderFailed => Reading::Died(problem),
                Err(problem) => Reading::Problem(problem),
            },
            Err(error) => {
                let failed = problem(ProblemCode::ReaderFailed, &seaworthy_store::chain(&error));
                match error {
                    SandboxError::Spawn { .. }
                    | SandboxError::NoLandlock
                    | SandboxError::RequestTooLarge { .. } => Reading::NotStarted(failed),
                    _ => Reading::Died(failed),
                }
            }
        }
    }

    fn run(&self, input: Input) -> Result<Vec<u8>, SandboxError> {
        let reader = sandboxed_reader::NAME;
        match self {
            Self::Sandboxed(sandbox) => sandbox.run(reader, &[], input),
            Self::InProcess => {
                let mut answer = Vec::new();
                let (mut file, mut bytes): (File, &[u8]);
                let input: &mut dyn Read = match &input {
                    Input::File(open) | Input::Part { file: open, .. } => {
                        file = open
                            .try_clone()
                            .map_err(|source| SandboxError::Spawn { reader: reader.to_owned(), source })?;
                        &mut file
                    }
                    Input::Bytes(all) => {
                        bytes = all;
                        &mut bytes
                    }
                };
                sandboxed_reader::layer_reader(&[], input, &mut answer)
                    .map_err(|message| SandboxError::Reader { reader: reader.to_owned(), message })?;
                Ok(answer)
            }
        }
    }
}

/// Memory that the decoded facts of one image may still take.
pub(crate) struct FactsMemory {
    left: Mutex<usize>,
}

impl FactsMemory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: Mutex::new(bytes) }
    }

    /// The facts, or the problem that they no longer fit: the image is then known not to be
    /// read completely, as with any unreadable layer.
    pub(crate) fn admit(&self, facts: LayerFacts) -> LayerResult {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match left.checked_sub(facts.memory_bytes()) {
            Some(rest) => {
                *left = rest;
                Ok(Arc::new(facts))
            }
            None => Err(problem(ProblemCode::LayerTooLarge, FOLD_TOO_LARGE)),
        }
    }
}

/// Said of a layer whose facts do not fit beside those of the others.
pub(crate) const FOLD_TOO_LARGE: &str = "the facts of this image's layers are too large to be folded";

/// An open blob as the sandbox takes it.
pub(crate) fn input(blob: BlobReader) -> Input {
    match blob.source {
        BlobSource::Bytes(bytes) => Input::Bytes(bytes.into()),
        BlobSource::File(file) => Input::File(file),
    }
}

/// A problem of the image or, when the caller says which, of one of its layers.
pub(crate) fn problem(code: ProblemCode, message: &str) -> InventoryProblem {
    InventoryProblem { code, layer: None, message: message.chars().take(limit::MESSAGE_CHARACTERS).collect() }
}
