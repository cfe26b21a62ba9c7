//! Sessions: they run a module, and keep what a run can use again.

use crate::array::{Input, Output, OutputMut};
use crate::error::Error;
use crate::module::Inner;
use crate::plan::{Plan, Settings, Workspace};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use twnc_jit::Function;
use twnc_program::interpret::View;
use twnc_program::{Port, Shapes, Step};

/// How many plans a session keeps; the one not used for longest goes first.
const MAX_PLANS: usize = 8;

/// By which path steps are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// The interpreter of programs: plain Rust, slow.
    Interpreter,
    /// Code that Cranelift generates, with vectors of 128 bits.
    Portable,
}

/// How a session runs.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    threads: usize,
    isa: Option<Isa>,
    max_memory: usize,
}

/// Runs a module. `Send + Sync`: several threads may run one session at a time, each with memory of its own.
#[derive(Debug)]
pub struct Session {
    inner: Arc<Inner>,
    options: SessionOptions,
    isa: Isa,
    /// The threads beside the caller's; none with one thread.
    pool: Option<rayon::ThreadPool>,
    cache: Mutex<Cache>,
}

/// Plans with the workspaces that wait for a run, most recently used last.
#[derive(Debug, Default)]
struct Cache {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    inputs: Vec<Vec<usize>>,
    plan: Arc<Plan>,
    idle: Vec<Workspace>,
}

impl Default for SessionOptions {
    /// One thread, the fastest path there is, no limit on memory.
    fn default() -> SessionOptions {
        SessionOptions { threads: 1, isa: None, max_memory: usize::MAX }
    }
}

impl SessionOptions {
    /// The number of threads that compute, the caller's included; 0 counts as 1.
    pub fn threads(self, threads: usize) -> SessionOptions {
        SessionOptions { threads: threads.max(1), ..self }
    }

    /// The path of execution; without it the environment's `TWNC_ISA`, or the fastest.
    pub fn isa(self, isa: Isa) -> SessionOptions {
        SessionOptions { isa: Some(isa), ..self }
    }

    /// The most memory, in bytes, that a run may use for tensors.
    pub fn max_memory(self, bytes: usize) -> SessionOptions {
        SessionOptions { max_memory: bytes, ..self }
    }
}

impl Isa {
    /// The word for it, as `TWNC_ISA` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Interpreter => "interpreter",
            Isa::Portable => "portable",
        }
    }

    /// The path that `TWNC_ISA` names, or the fastest.
    fn from_environment() -> Result<Isa, Error> {
        match std::env::var_os("TWNC_ISA") {
            None => Ok(Isa::Portable),
            Some(word) if word == "interpreter" => Ok(Isa::Interpreter),
            Some(word) if word == "portable" => Ok(Isa::Portable),
            Some(word) => Err(Error::Isa(word.to_string_lossy().into_owned())),
        }
    }
}

impl Session {
    pub(crate) fn new(inner: Arc<Inner>, options: SessionOptions) -> Result<Session, Error> {
        let isa = options.isa.map_or_else(Isa::from_environment, Ok)?;
        let pool = match options.threads {
            1 => None,
            n => {
                let builder = rayon::ThreadPoolBuilder::new().num_threads(n);
                Some(
                    builder
                        .thread_name(|i| format!("twnc {i}"))
                        .build()
                        .map_err(|e| Error::Threads(e.to_string()))?,
                )
            }
        };
        Ok(Session { inner, options, isa, pool, cache: Mutex::default() })
    }

    fn settings(&self) -> Settings {
        Settings { isa: self.isa, threads: self.options.threads, max_memory: self.options.max_memory }
    }

    /// Runs a plan, on the session's threads.
    fn execute(
        &self,
        plan: &Plan,
        workspace: &mut Workspace,
        observe: &mut (dyn FnMut(usize, &Workspace) + Send),
    ) -> Result<(), Error> {
        match &self.pool {
            None => plan.run(&self.inner, workspace, observe),
            Some(pool) => pool.install(|| plan.run(&self.inner, workspace, observe)),
        }
    }

    /// By which path it executes.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of threads that compute.
    pub fn threads(&self) -> usize {
        self.options.threads
    }

    /// Runs the model on named inputs; gives named outputs, in the model's order.
    pub fn run<'a, I: Into<Input<'a>> + Clone>(
        &self,
        inputs: &[(&str, I)],
    ) -> Result<Vec<(String, Output)>, Error> {
        let (plan, mut workspace) = self.begin(inputs)?;
        self.execute(&plan, &mut workspace, &mut |_, _| {})?;
        let program = &self.inner.program;
        let mut outputs = Vec::with_capacity(program.outputs.len());
        for port in &program.outputs {
            let element = program.buffers[port.buffer.index()].element;
            if let Some(mut output) = Output::zeros(element, plan.shapes.of(port.buffer)) {
                output.view_mut().copy_from(plan.buffer(&mut workspace, port.buffer));
                outputs.push((port.name.clone(), output));
            }
        }
        self.end(&plan, workspace);
        Ok(outputs)
    }

    /// Runs the model on named inputs, into arrays for all of its outputs in the model's order. Allocates nothing once a run with inputs
    /// of these shapes has been, but for what the `gemm` crate does in layers that stay float, and custom functions.
    pub fn run_into<'a, I: Into<Input<'a>> + Clone>(
        &self,
        inputs: &[(&str, I)],
        outputs: &mut [OutputMut<'_>],
    ) -> Result<(), Error> {
        let program = &self.inner.program;
        if outputs.len() != program.outputs.len() {
            return Err(Error::OutputCount { expected: program.outputs.len(), found: outputs.len() });
        }
        let (plan, mut workspace) = self.begin(inputs)?;
        let result = self.finish_into(&plan, &mut workspace, outputs);
        self.end(&plan, workspace);
        result
    }

    /// Runs the model, and says how long each step took, by the step's number.
    pub fn profile<'a, I: Into<Input<'a>> + Clone>(
        &self,
        inputs: &[(&str, I)],
    ) -> Result<Vec<Duration>, Error> {
        let (plan, mut workspace) = self.begin(inputs)?;
        let mut times = Vec::with_capacity(self.inner.program.steps.len());
        let mut last = Instant::now();
        self.execute(&plan, &mut workspace, &mut |_, _| {
            let now = Instant::now();
            times.push(now - last);
            last = now;
        })?;
        self.end(&plan, workspace);
        Ok(times)
    }

    /// Runs the model, and shows what each step has written: the step, and shape and elements of each of its outputs.
    pub fn observe<'a, I: Into<Input<'a>> + Clone>(
        &self,
        inputs: &[(&str, I)],
        observe: &mut (dyn FnMut(&Step, &[usize], View<'_>) + Send),
    ) -> Result<(), Error> {
        let (plan, mut workspace) = self.begin(inputs)?;
        self.execute(&plan, &mut workspace, &mut |number, workspace| {
            let step = &self.inner.program.steps[number];
            for &id in step.outputs() {
                observe(step, plan.shapes.of(id), plan.view(&self.inner, workspace, id));
            }
        })?;
        self.end(&plan, workspace);
        Ok(())
    }

    /// The shapes of all buffers for inputs of the given shapes.
    pub fn shapes(&self, inputs: &[Vec<usize>]) -> Result<Shapes, Error> {
        Ok(self.inner.program.resolve(inputs)?)
    }

    /// How each step is executed for inputs of the given shapes, in words.
    pub fn kernels(&self, inputs: &[Vec<usize>]) -> Result<Vec<String>, Error> {
        Ok(Plan::new(&self.inner, inputs, self.settings())?.describe())
    }

    /// The generated functions of each step, for inputs of the given shapes.
    pub fn functions(&self, inputs: &[Vec<usize>]) -> Result<Vec<Vec<Arc<Function>>>, Error> {
        Ok(Plan::new(&self.inner, inputs, self.settings())?.functions())
    }

    fn finish_into(
        &self,
        plan: &Plan,
        workspace: &mut Workspace,
        outputs: &mut [OutputMut<'_>],
    ) -> Result<(), Error> {
        let program = &self.inner.program;
        for (port, output) in program.outputs.iter().zip(outputs.iter()) {
            check_element(&port.name, program.buffers[port.buffer.index()].element, output.element())?;
            let shape = plan.shapes.of(port.buffer);
            if output.shape() != shape {
                let (name, expected, found) = (port.name.clone(), shape.to_vec(), output.shape().to_vec());
                return Err(Error::OutputShape { name, expected, found });
            }
        }
        self.execute(plan, workspace, &mut |_, _| {})?;
        for (port, output) in program.outputs.iter().zip(outputs) {
            output.copy_from(plan.buffer(workspace, port.buffer));
        }
        Ok(())
    }

    /// The plan for these inputs, and a workspace that holds them.
    fn begin<'a, I: Into<Input<'a>> + Clone>(
        &self,
        inputs: &[(&str, I)],
    ) -> Result<(Arc<Plan>, Workspace), Error> {
        let program = &self.inner.program;
        for (i, (name, _)) in inputs.iter().enumerate() {
            if !program.inputs.iter().any(|port| port.name == *name) {
                let known = program.inputs.iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>();
                return Err(Error::UnknownInput { name: (*name).to_owned(), known: known.join(", ") });
            }
            if inputs[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(Error::DuplicateInput((*name).to_owned()));
            }
        }
        let given = |port: &Port| {
            let found = inputs.iter().find(|(name, _)| *name == port.name);
            found.map(|(_, input)| input.clone().into()).ok_or_else(|| Error::MissingInput(port.name.clone()))
        };
        for port in &program.inputs {
            check_element(&port.name, program.buffers[port.buffer.index()].element, given(port)?.element())?;
        }
        let fits = |entry: &Entry| {
            let mut pairs = program.inputs.iter().zip(&entry.inputs);
            pairs.all(|(port, shape)| given(port).is_ok_and(|input| input.shape() == shape))
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (plan, idle) = match cache.entries.iter().position(fits) {
            Some(at) => {
                cache.entries[at..].rotate_left(1);
                let entry = cache.entries.last_mut();
                let found = entry.map(|entry| (Arc::clone(&entry.plan), entry.idle.pop()));
                drop(cache);
                found.ok_or_else(|| Error::MissingInput(String::new()))?
            }
            None => {
                drop(cache);
                let shapes = program.inputs.iter().map(|port| Ok(given(port)?.shape().to_vec()));
                let shapes = shapes.collect::<Result<Vec<_>, Error>>()?;
                let plan = Arc::new(Plan::new(&self.inner, &shapes, self.settings())?);
                let entry = Entry { inputs: shapes, plan: Arc::clone(&plan), idle: vec![] };
                let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
                cache.entries.push(entry);
                if cache.entries.len() > MAX_PLANS {
                    cache.entries.remove(0);
                }
                (plan, None)
            }
        };
        let mut workspace = idle.unwrap_or_else(|| plan.workspace());
        for port in &program.inputs {
            given(port)?.copy_to(plan.buffer(&mut workspace, port.buffer));
        }
        Ok((plan, workspace))
    }

    /// Keeps a workspace for the next run of its plan.
    fn end(&self, plan: &Arc<Plan>, workspace: Workspace) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = cache.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.plan, plan)) {
            entry.idle.push(workspace);
        }
    }
}

fn check_element(
    name: &str,
    expected: twnc_program::ElementType,
    found: twnc_program::ElementType,
) -> Result<(), Error> {
    match expected == found {
        true => Ok(()),
        false => {
            let (expected, found) = (expected.to_string(), found.to_string());
            Err(Error::Element { name: name.to_owned(), expected, found })
        }
    }
}
