//! Sessions: a compiled model, run on numpy's arrays.

use crate::arrays::{self, Given, Target};
use crate::errors;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyList};
use std::path::PathBuf;
use twnc_runtime::{Backend, Error, Input, Module, PortInfo, SessionOptions, Size, Tuning};

/// Runs a compiled model; `twnc.InferenceSession` is what users see of it.
#[pyclass(frozen, module = "twnc._twnc")]
pub struct Session {
    module: Module,
    session: twnc_runtime::Session,
    outputs: Vec<String>,
}

/// A compiled model: its bytes, or where its file is.
#[derive(FromPyObject)]
enum Model {
    Bytes(PyBackedBytes),
    Path(PathBuf),
}

/// The size of an axis: a number, the name of an open size, or nothing where open sizes decide.
#[derive(IntoPyObject)]
enum Axis {
    Fixed(usize),
    Open(String),
    Computed(Option<usize>),
}

type Port = (String, String, Vec<Axis>);

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (model, *, threads=1, backend=None, max_memory=None, tuning=None))]
    fn new(
        py: Python<'_>,
        model: Model,
        threads: usize,
        backend: Option<&str>,
        max_memory: Option<usize>,
        tuning: Option<PathBuf>,
    ) -> PyResult<Session> {
        let mut options = SessionOptions::default().threads(threads);
        if let Some(name) = backend {
            options = options.backend(self::backend(py, name)?);
        }
        if let Some(bytes) = max_memory {
            options = options.max_memory(bytes);
        }
        let open = || -> Result<Session, Error> {
            let options = match tuning {
                Some(path) => options.tuning(Tuning::read(&path)?),
                None => options,
            };
            let module = match model {
                Model::Bytes(bytes) => Module::from_bytes(&bytes)?,
                Model::Path(path) => Module::open(path)?,
            };
            let session = module.session(options)?;
            let outputs = module.outputs().into_iter().map(|port| port.name).collect();
            Ok(Session { module, session, outputs })
        };
        py.detach(open).map_err(|error| errors::of_runtime(py, &error))
    }

    /// The inputs, in order: name, element type, sizes of the axes.
    fn inputs(&self) -> Vec<Port> {
        self.module.inputs().into_iter().map(port).collect()
    }

    /// The outputs, in order.
    fn outputs(&self) -> Vec<Port> {
        self.module.outputs().into_iter().map(port).collect()
    }

    /// By which path it executes.
    #[getter]
    fn backend(&self) -> &'static str {
        self.session.backend().name()
    }

    /// How many threads compute.
    #[getter]
    fn threads(&self) -> usize {
        self.session.threads()
    }

    /// The bytes of the model's file.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = py.detach(|| self.module.program().to_bytes());
        PyBytes::new(py, &bytes)
    }

    /// Runs the model: a list of the outputs that are named, all without names.
    fn run<'py>(
        &self,
        py: Python<'py>,
        names: Option<Vec<PyBackedStr>>,
        feeds: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyList>> {
        if let Some(unknown) = names.iter().flatten().find(|name| self.place(name).is_none()) {
            return Err(self.unknown_output(py, unknown));
        }
        let given = given(feeds)?;
        let inputs: Vec<(&str, Input<'_>)> =
            given.iter().map(|(name, array)| (&**name, array.view())).collect();
        let outputs =
            py.detach(|| self.session.run(&inputs)).map_err(|error| errors::of_runtime(py, &error))?;
        let arrays: Vec<_> = outputs.into_iter().map(|(_, output)| arrays::array(py, output)).collect();
        match names {
            None => PyList::new(py, arrays),
            Some(names) => PyList::new(
                py,
                names.iter().filter_map(|name| arrays.get(self.place(name)?)).collect::<Vec<_>>(),
            ),
        }
    }

    /// Runs the model into arrays for all of its outputs.
    fn run_into<'py>(
        &self,
        py: Python<'py>,
        feeds: &Bound<'py, PyDict>,
        outputs: &Bound<'py, PyDict>,
    ) -> PyResult<()> {
        for name in outputs.keys() {
            let name: PyBackedStr = name.extract()?;
            if self.place(&name).is_none() {
                return Err(self.unknown_output(py, &name));
            }
        }
        let given = given(feeds)?;
        let inputs: Vec<(&str, Input<'_>)> =
            given.iter().map(|(name, array)| (&**name, array.view())).collect();
        let mut targets = Vec::with_capacity(self.outputs.len());
        for name in &self.outputs {
            let array = outputs.get_item(name)?.ok_or_else(|| {
                errors::new(py, "OutputError", &format!("there is no array for output `{name}`"))
            })?;
            targets.push(Target::of(name, &array)?);
        }
        let mut views: Vec<_> = targets.iter_mut().map(Target::view).collect();
        py.detach(|| self.session.run_into(&inputs, &mut views))
            .map_err(|error| errors::of_runtime(py, &error))
    }
}

impl Session {
    fn place(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|output| output == name)
    }

    fn unknown_output(&self, py: Python<'_>, name: &str) -> PyErr {
        let known = self.outputs.join("`, `");
        errors::new(py, "OutputError", &format!("the model has no output `{name}`; it has `{known}`"))
    }
}

fn given<'py>(feeds: &Bound<'py, PyDict>) -> PyResult<Vec<(PyBackedStr, Given<'py>)>> {
    let mut given = Vec::with_capacity(feeds.len());
    for (name, value) in feeds {
        let name: PyBackedStr = name.extract()?;
        let array = Given::of(&name, &value)?;
        given.push((name, array));
    }
    Ok(given)
}

fn backend(py: Python<'_>, name: &str) -> PyResult<Backend> {
    Backend::available().find(|backend| backend.name() == name).ok_or_else(|| {
        let known: Vec<_> = Backend::available().map(Backend::name).collect();
        let message = format!("backend `{name}` is not available here; there are {}", known.join(", "));
        errors::new(py, "BackendError", &message)
    })
}

fn port(port: PortInfo) -> Port {
    let axes = port.shape.into_iter().map(|size| match size {
        Size::Fixed(n) => Axis::Fixed(n),
        Size::Open(name) => Axis::Open(name),
        Size::Computed => Axis::Computed(None),
    });
    (port.name, port.element.to_string(), axes.collect())
}
