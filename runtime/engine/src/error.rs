//! What can go wrong between a file and its outputs.

use thiserror::Error;
use twnc_jit::JitError;
use twnc_program::interpret::RunError;
use twnc_program::{FormatError, ProgramError};

/// Why a model is not loaded or not run.
#[derive(Debug, Error)]
pub enum Error {
    /// The file is not read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: FormatError,
    },
    /// The bytes are no model.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The inputs do not fit the model.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A step failed while it ran.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No code could be made, or it did not run.
    #[error(transparent)]
    Jit(#[from] JitError),
    /// The threads could not be started.
    #[error("the threads could not be started: {0}")]
    Threads(String),
    /// An input has a name that the model does not know.
    #[error("the model has no input `{name}`; it has {known}")]
    UnknownInput {
        /// The name.
        name: String,
        /// Those that it has.
        known: String,
    },
    /// An input was not given.
    #[error("input `{0}` is missing")]
    MissingInput(String),
    /// An input was given twice.
    #[error("input `{0}` is given twice")]
    DuplicateInput(String),
    /// An input or output array holds other elements than the model declares.
    #[error("`{name}` holds {found}, but the model declares {expected}")]
    Element {
        /// The input or output.
        name: String,
        /// The declared type.
        expected: String,
        /// What came.
        found: String,
    },
    /// An output array has another shape.
    #[error("output `{name}` has the shape {expected:?}, but the array for it has {found:?}")]
    OutputShape {
        /// The output.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
        /// The array's.
        found: Vec<usize>,
    },
    /// Not as many arrays as outputs.
    #[error("the model has {expected} outputs, but {found} arrays came for them")]
    OutputCount {
        /// How many it has.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// A path of execution that this machine or the environment's wording does not have.
    #[error("TWNC_ISA: `{0}` is not available here; there are interpreter and portable")]
    Isa(String),
    /// More memory than the session may use.
    #[error("the model needs {needed} bytes for inputs of these shapes; the limit is {limit} (--max-memory)")]
    Memory {
        /// How much it needs.
        needed: usize,
        /// How much it may use.
        limit: usize,
    },
}
