//! Errors as Python's exceptions, whose classes are in `twnc/errors.py`.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use twnc::command::{Failure, Kind};
use twnc_runtime::Error;

/// The exception for a failure of the runtime.
pub fn of_runtime(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error {
        Error::File { .. } | Error::Format(_) | Error::Tuning { .. } => "ModelError",
        Error::Program(_) => "InputShapeError",
        Error::UnknownInput { .. } => "UnknownInputError",
        Error::MissingInput(_) | Error::DuplicateInput(_) => "MissingInputError",
        Error::Element { .. } => "ElementError",
        Error::OutputShape { .. } => "OutputShapeError",
        Error::OutputCount { .. } => "OutputError",
        Error::Run(_) => "RunError",
        Error::Jit(_) | Error::Threads(_) | Error::UnknownBackend { .. } | Error::Backend { .. } => {
            "BackendError"
        }
        Error::Memory { .. } | Error::Allocation { .. } => "LimitError",
    };
    new(py, class, &error.to_string())
}

/// The exception for a failure of the command.
pub fn of_command(py: Python<'_>, failure: &Failure) -> PyErr {
    let class = match failure.kind {
        Kind::Comparison => "ComparisonError",
        Kind::Usage => "OptionError",
        Kind::Unacceptable => "ModelError",
        Kind::Limit => "LimitError",
        Kind::Interrupted => "InterruptionError",
    };
    let known = || {
        let known = PyDict::new(py);
        known.set_item("file", &failure.file)?;
        known.set_item("node", &failure.node)?;
        known.set_item("help", &failure.help)?;
        Ok(known)
    };
    known()
        .and_then(|known| instance(py, class, &failure.to_string(), Some(&known)))
        .unwrap_or_else(|error| error)
}

/// An exception of a class of the package.
pub fn new(py: Python<'_>, class: &str, message: &str) -> PyErr {
    instance(py, class, message, None).unwrap_or_else(|error| error)
}

fn instance(
    py: Python<'_>,
    class: &str,
    message: &str,
    known: Option<&Bound<'_, PyDict>>,
) -> PyResult<PyErr> {
    let class = py.import("twnc.errors")?.getattr(class)?;
    Ok(PyErr::from_value(class.call((message,), known)?))
}
