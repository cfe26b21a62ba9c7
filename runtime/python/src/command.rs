//! The command, on what Python holds in memory.

use crate::arrays::Given;
use crate::errors;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use twnc::command::{Content, Event, Host};

/// Does what a command line says, on the terminal; gives the exit code.
#[pyfunction]
pub fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| twnc::command::main_of(arguments))
}

/// Does what a command line says. `given` are the names in it that stand for bytes, an array or arrays by name; an empty one is a place for a
/// result. `listener` is called with what kind of thing happens and what: ("note", text), ("warning", text), ("progress", (work, done, total)).
/// Gives what was printed and, of the names in `results`, the bytes.
#[pyfunction]
pub fn execute<'py>(
    py: Python<'py>,
    arguments: Vec<OsString>,
    given: &Bound<'py, PyDict>,
    results: Vec<PathBuf>,
    listener: Py<PyAny>,
) -> PyResult<(String, Vec<Option<Bound<'py, PyBytes>>>)> {
    let raised: Arc<Mutex<Option<PyErr>>> = Arc::default();
    let first = Arc::clone(&raised);
    let mut host = Host::in_memory(move |event| {
        Python::attach(|py| match tell(py, &listener, event) {
            Ok(()) => true,
            Err(error) => {
                first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                false
            }
        })
    });
    for (name, value) in given {
        let name: PathBuf = name.extract()?;
        let content = content(&value)?;
        host.give(name, content);
    }
    let done = py.detach(|| twnc::command::execute(arguments, &host));
    // What Python raised says more than what came of it.
    if let Some(error) = raised.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    done.map_err(|failure| errors::of_command(py, &failure))?;
    let results = results.into_iter().map(|name| match host.content(name) {
        Some(Content::Bytes(bytes)) => Some(PyBytes::new(py, (*bytes).as_ref())),
        _ => None,
    });
    Ok((host.results(), results.collect()))
}

/// Calls the listener, and lets a signal through that waits for Python.
fn tell(py: Python<'_>, listener: &Py<PyAny>, event: Event<'_>) -> PyResult<()> {
    py.check_signals()?;
    match event {
        Event::Note(text) => listener.call1(py, ("note", text)),
        Event::Warning(text) => listener.call1(py, ("warning", text)),
        Event::Progress { what, done, total } => listener.call1(py, ("progress", (what, done, total))),
    }?;
    Ok(())
}

fn content(value: &Bound<'_, PyAny>) -> PyResult<Content> {
    if let Ok(bytes) = value.extract::<PyBackedBytes>() {
        return Ok(Content::Bytes(Arc::new(bytes)));
    }
    let Ok(arrays) = value.cast::<PyDict>() else {
        return Ok(Content::Array(Given::of("labels", value)?.to_owned()));
    };
    let arrays = arrays.iter().map(|(name, array)| {
        let name: String = name.extract()?;
        let array = Given::of(&name, &array)?.to_owned();
        Ok((name, array))
    });
    Ok(Content::Arrays(arrays.collect::<PyResult<_>>()?))
}
