use std::io::{Read, Write};

use seaworthy_layer::{LayerError, Limits};
use seaworthy_model::{InventoryProblem, ProblemCode};

use crate::{LayerFacts, read_layer};

/// The name under which [`layer_reader`] is registered with the sandbox.
pub const NAME: &str = "layer";

const FACTS: u8 = 0;
const UNREADABLE: u8 = 1;
const TOO_LARGE: u8 = 2;

/// Reads a layer and writes its facts, in the shape of the sandbox's readers. A layer that is
/// damaged or too large is an answer; an error means that the bytes could not be fetched.
pub fn layer_reader(_request: &[u8], input: &mut dyn Read, output: &mut dyn Write) -> Result<(), String> {
    let (code, body) = match read_layer(input, &Limits::default()) {
        Ok(facts) => (FACTS, facts.to_bytes()),
        Err(error @ LayerError::Input { .. }) => return Err(explain(&error)),
        Err(error) if error.is_too_large() => (TOO_LARGE, explain(&error).into_bytes()),
        Err(error) => (UNREADABLE, explain(&error).into_bytes()),
    };
    output.write_all(&[code]).and_then(|()| output.write_all(&body)).map_err(|error| error.to_string())
}

/// Reads an answer of [`layer_reader`] about layer number `layer`. The child that wrote it
/// read hostile bytes, so it is checked like any input.
pub fn read_answer(answer: &[u8], layer: u32) -> Result<LayerFacts, InventoryProblem> {
    let problem = |code, message: String| InventoryProblem {
        code,
        layer: Some(layer),
        message: message.chars().take(crate::limit::MESSAGE_CHARACTERS).collect(),
    };
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    match answer.split_first() {
        Some((&FACTS, body)) => LayerFacts::from_bytes(body)
            .map_err(|error| problem(ProblemCode::ReaderFailed, error.to_string())),
        Some((&UNREADABLE, body)) => Err(problem(ProblemCode::LayerUnreadable, text(body))),
        Some((&TOO_LARGE, body)) => Err(problem(ProblemCode::LayerTooLarge, text(body))),
        _ => Err(problem(ProblemCode::ReaderFailed, "the layer reader gave no answer".to_owned())),
    }
}

fn explain(error: &LayerError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
