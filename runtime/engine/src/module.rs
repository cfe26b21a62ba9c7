//! Modules: a loaded, validated model, shared by the sessions that run it.

use crate::error::Error;
use crate::plans::Plans;
use crate::session::{Session, SessionOptions};
use std::path::Path;
use std::sync::Arc;
use twnc_program::interpret::Functions;
use twnc_program::{Dim, ElementType, Port, Program};

/// A model in memory: `Send + Sync`, immutable, cheap to clone (clones are the same module).
///
/// It owns the plans that its sessions make: shapes, memory layout and kernels for inputs of given shapes, one path of execution and one number of
/// threads. A plan is made by the first run that needs it, serves every session that needs the same, and is kept while the module lives or
/// until more recently used ones have taken its place; a run that works with it keeps it to its end. A module lives as long as it or a
/// session of it does.
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) program: Program,
    pub(crate) functions: Functions,
    pub(crate) plans: Plans,
}

/// What a model says of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// Its name.
    pub name: String,
    /// What an element is.
    pub element: ElementType,
    /// Sizes of its axes.
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
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, is damaged, or holds no valid program.
    pub fn open(path: impl AsRef<Path>) -> Result<Module, Error> {
        Module::open_with(path, Functions::default())
    }

    /// Reads and validates a `model.bin` whose custom operators are `functions`. One that is missing is an error of the run that calls it.
    ///
    /// # Errors
    /// As [`Module::open`].
    pub fn open_with(path: impl AsRef<Path>, functions: Functions) -> Result<Module, Error> {
        let path = path.as_ref();
        let program = Program::read_file(path)
            .map_err(|source| Error::File { path: path.display().to_string(), source })?;
        Ok(Module::of_valid(program, functions))
    }

    /// Validates the bytes of a `model.bin`.
    ///
    /// # Errors
    /// [`Error::Format`] if they are damaged or hold no valid program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Module, Error> {
        Ok(Module::of_valid(Program::from_bytes(bytes)?, Functions::default()))
    }

    /// A module of a program in memory.
    ///
    /// # Errors
    /// [`Error::Program`] if it is not valid.
    pub fn new(program: Program, functions: Functions) -> Result<Module, Error> {
        program.validate()?;
        Ok(Module::of_valid(program, functions))
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
    ///
    /// # Errors
    /// [`Error::Backend`] if the path of execution that the options or the environment's `TWNC_ISA` ask for is not available,
    /// [`Error::UnknownBackend`] if `TWNC_ISA` names none, [`Error::Threads`] if threads cannot be started.
    pub fn session(&self, options: SessionOptions) -> Result<Session, Error> {
        Session::new(Arc::clone(&self.inner), options)
    }

    fn of_valid(program: Program, functions: Functions) -> Module {
        Module { inner: Arc::new(Inner { program, functions, plans: Plans::default() }) }
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
