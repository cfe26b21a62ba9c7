//! From an ONNX file to a graph.
//!
//! `model` reads the file, checks names and versions, and orders the nodes that the outputs need; `inputs` types the
//! inputs; `translate` walks the nodes, `translation` is how far it has come; `call` is one node as the functions in [`ops`](operators) see it, `attributes` its
//! attributes, `reason` why one is refused, and `sizes` the arithmetic on shapes, which is done here, with open dimensions, and leaves no node behind.
//! `arrival` is the account of how weights were stored.

mod arrival;
mod attributes;
mod call;
mod compute;
mod control;
mod fold;
mod functions;
mod inputs;
mod model;
mod ops;
mod options;
mod reason;
mod sizes;
mod translate;
mod translation;

pub use arrival::Arrival;
pub use ops::{Operator, operators};
pub use options::{ImportOptions, ShapeOverride};

use crate::error::{ImportProblem, OnnxError};
use crate::external::ExternalData;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use twnc_ir::Graph;

/// A model as a graph.
#[derive(Clone, Debug)]
pub struct Import {
    /// The graph.
    pub graph: Graph,
    /// What a user should know though it stops nothing, as sentences.
    pub notes: Vec<String>,
    /// How the weights of layers are stored in the file.
    pub arrivals: Vec<Arrival>,
}

/// Imports the model of this path, external data included.
pub fn import_file(path: impl AsRef<Path>, options: &ImportOptions) -> Result<Import, OnnxError> {
    let path = path.as_ref();
    let result = read(path, options.max_bytes)
        .and_then(|bytes| translate::import(&bytes, &ExternalData::beside(path), options));
    result.map_err(|problem| OnnxError::Import { file: path.display().to_string(), problem })
}

/// Imports a model that is in memory; external data are refused.
pub fn import_bytes(bytes: &[u8], options: &ImportOptions) -> Result<Import, OnnxError> {
    check_size(bytes.len() as u64, options.max_bytes)
        .and_then(|()| translate::import(bytes, &ExternalData::refused(), options))
        .map_err(|problem| OnnxError::Import { file: "model".into(), problem })
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ImportProblem> {
    let file = File::open(path)?;
    check_size(file.metadata()?.len(), limit)?;
    let mut bytes = vec![];
    // A pipe has no length, and a file may grow while it is read.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    check_size(bytes.len() as u64, limit)?;
    Ok(bytes)
}

fn check_size(bytes: u64, limit: u64) -> Result<(), ImportProblem> {
    if bytes > limit { Err(ImportProblem::TooLarge { bytes, limit }) } else { Ok(()) }
}
