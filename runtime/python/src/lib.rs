//! The native half of the Python package `twnc`: sessions over numpy's arrays, and the command on what Python holds in memory.
//!
//! It converts and nothing else: what a call means is in `twnc` and `twnc-runtime`, how it looks to a user in the package's Python sources, which
//! document it. The interpreter's lock is released while a network runs or is compiled.

#![forbid(unsafe_code)]

mod arrays;
mod command;
mod errors;
mod session;

use pyo3::prelude::*;

/// The native half of `twnc`.
#[pymodule]
mod _twnc {
    #[pymodule_export]
    use crate::command::{execute, main};
    #[pymodule_export]
    use crate::session::Session;
}
