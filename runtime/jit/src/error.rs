//! What can go wrong between a step and its machine code.

use thiserror::Error;

/// Why there is no kernel, or why a kernel did not run.
#[derive(Debug, Error)]
pub enum JitError {
    /// Cranelift has no back end for this machine.
    #[error("no code generator for this machine ({0}); run with the interpreter")]
    Machine(String),
    /// The operating system refused memory for code, or refused to make it executable.
    #[error("cannot make memory executable ({0}); run with the interpreter")]
    Executable(#[from] std::io::Error),
    /// Cranelift refused a function. A defect of this crate.
    #[error("code for `{function}` was not accepted: {reason}")]
    Codegen {
        /// Which function.
        function: String,
        /// What the verifier or the back end said.
        reason: String,
    },
    /// The shapes, attributes and constants of a step do not fit together.
    #[error("{0}")]
    Shape(String),
    /// A valid step that this path has no code for: the interpreter runs it.
    #[error("no generated code for {0}; run the step with the interpreter")]
    Unsupported(&'static str),
    /// A slice given to a kernel has elements of another type.
    #[error("{what} is {got} where the kernel takes {want}")]
    Element {
        /// Which slice.
        what: &'static str,
        /// Its elements.
        got: twnc_program::ElementType,
        /// What the kernel takes.
        want: twnc_program::ElementType,
    },
    /// A slice given to a kernel has the wrong length.
    #[error("{what} has {got} elements where the kernel takes {want}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Its length.
        got: usize,
        /// What the kernel takes.
        want: usize,
    },
}
