//! Why a program is refused.

use crate::dim::DimError;
use thiserror::Error;

/// A program that is not valid, or inputs that do not fit it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProgramError {
    /// A step is not valid, or not for these shapes.
    #[error("step {index} `{name}` ({kind}): {message}")]
    Step {
        /// Its position.
        index: usize,
        /// Its layer's name.
        name: String,
        /// Its kind.
        kind: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A buffer, constant, input or output is not valid.
    #[error("{what}: {message}")]
    Declaration {
        /// Which.
        what: String,
        /// What is wrong.
        message: String,
    },
    /// A dimension has no value.
    #[error("{what}: {source}")]
    Dimension {
        /// Whose dimension.
        what: String,
        /// Why.
        source: DimError,
    },
    /// The caller gave the wrong number of inputs.
    #[error("the program has {expected} inputs, not {found}")]
    InputCount {
        /// How many it has.
        expected: usize,
        /// How many came.
        found: usize,
    },
    /// An input's shape does not fit its declaration.
    #[error("input `{name}` has the shape {found:?}, but the model takes {expected}")]
    InputShape {
        /// The input.
        name: String,
        /// Its declared shape.
        expected: String,
        /// What came.
        found: Vec<usize>,
    },
    /// An input has no elements along an open dimension.
    #[error(
        "input `{name}` has size 0 along axis {axis}, but `{dim}` stands for a size of at least 1; do not run the model on nothing"
    )]
    EmptyInput {
        /// The input.
        name: String,
        /// Which of its axes.
        axis: usize,
        /// The symbol.
        dim: String,
    },
    /// The buffers together are larger than memory can be.
    #[error("the program's buffers need more bytes than memory can address")]
    TooLarge,
}
