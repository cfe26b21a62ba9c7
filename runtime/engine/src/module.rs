//! Modules: a loaded, validated model, shared by the sessions that run it.

use crate::error::Error;
use crate::session::{Session, SessionOptions};
use std::path::Path;
use std::sync::Arc;
use twnc_program::interpret::Functions;
use twnc_program::{Dim, ElementType, Port, Program};

/// A model in memory: `Send + Sync`, immutable, cheap to clone.
#[derive(Clone, Debug)]
pub struct Module {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) program: Program,
    pub(crate) functions: Functions,
}

/// What a model says of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// What an element is.
    pub element: ElementType,
    /// Sizes of its axes: a number, or a name for one that is open; `None` for one that depends on others.
    pub shape: Vec<Size>,
}

/// The size of an axis, as a model declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    /// A number.
    Fixed(usize),
    /// Whatever an input brings, the same wherever the name stands.
    Open(String),
    /// A function of open sizes.
    Computed,
}

impl Module {
    /// Reads and validates a `model.bin`.
    pub fn open(path: impl AsRef<Path>) -> Result<Module, Error> {
        Module::open_with(path, Functions::default())
    }

    /// Reads and validates a `model.bin` whose custom operators are `functions`.
    pub fn open_with(path: impl AsRef<Path>, functions: Functions) -> Result<Module, Error> {
        let path = path.as_ref();
        let program = Program::read_file(path)
            .map_err(|source| Error::File { path: path.display().to_string(), source })?;
        Ok(Module { inner: Arc::new(Inner { program, functions }) })
    }

    /// A module of a program in memory.
    pub fn new(program: Program, functions: Functions) -> Result<Module, Error> {
        program.validate()?;
        Ok(Module { inner: Arc::new(Inner { program, functions }) })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.inner.program
    }

    /// What it takes, in order.
    pub fn inputs(&self) -> Vec<PortInfo> {
        self.inner.program.inputs.iter().map(|port| self.info(port)).collect()
    }

    /// What it gives, in order.
    pub fn outputs(&self) -> Vec<PortInfo> {
        self.inner.program.outputs.iter().map(|port| self.info(port)).collect()
    }

    /// A session that runs the model.
    pub fn session(&self, options: SessionOptions) -> Result<Session, Error> {
        Session::new(Arc::clone(&self.inner), options)
    }

    fn info(&self, port: &Port) -> PortInfo {
        let program = &self.inner.program;
        let buffer = &program.buffers[port.buffer.index()];
        let size = |dim: &Dim| match dim {
            Dim::Fixed(n) => usize::try_from(*n).map_or(Size::Computed, Size::Fixed),
            Dim::Symbol(symbol) => Size::Open(program.symbols[symbol.index()].clone()),
            _ => Size::Computed,
        };
        let shape = buffer.shape.iter().map(size).collect();
        PortInfo { name: port.name.clone(), element: buffer.element, shape }
    }
}
