//! What can go wrong between a file and its outputs.

use crate::tuning::TuningError;
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
    /// A file is no tuning.
    #[error("{path}: {source}")]
    Tuning {
        /// Which.
        path: String,
        /// Why.
        source: TuningError,
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
    /// The environment's `TWNC_ISA` names no backend.
    #[error("TWNC_ISA: `{word}` is not available here; there are {known}")]
    UnknownBackend {
        /// What it says.
        word: String,
        /// What it may say.
        known: String,
    },
    /// A backend that was asked for does not run on this machine.
    #[error("`{name}` is not available here: {reason}")]
    Backend {
        /// Which.
        name: &'static str,
        /// Why.
        reason: &'static JitError,
    },
    /// A run would take more memory than the session may use.
    #[error(
        "the model needs {needed} bytes for inputs of these shapes; the limit is {limit}: give smaller inputs, use fewer threads, or raise the session's `max_memory`"
    )]
    Memory {
        /// How much it needs: for all tensors, the scratch memory of all threads, and outputs that the runtime allocates.
        needed: usize,
        /// How much it may use.
        limit: usize,
    },
    /// The system has not the memory that a run takes, although the session may use so much.
    #[error("there is no memory for {bytes} bytes; give smaller inputs or use fewer threads")]
    Allocation {
        /// How much was asked for at once.
        bytes: usize,
    },
}
