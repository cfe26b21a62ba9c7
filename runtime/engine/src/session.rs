//! Sessions: they run a module, and keep the memory that a run can use again.

use crate::array::{Input, Output, OutputMut};
use crate::backend::{self, Backend};
use crate::error::Error;
use crate::memory;
use crate::module::Inner;
use crate::plan::{Given, Plan, PlanReport, Workspace};
use crate::plans::Setup;
use crate::tuning::Tuning;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use twnc_jit::{JitError, Threads};
use twnc_program::interpret::View;
use twnc_program::{ElementType, Port, Shapes, Step};

/// Threads of a session, at most: more than any machine has, and few enough to be started.
const MAX_THREADS: usize = 1024;

/// How a session runs.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    threads: usize,
    backend: Option<Backend>,
    max_memory: usize,
    tuning: Tuning,
}

/// Runs a module. `Send + Sync`: several threads may run one session at a time, each run with memory of its own; what they compute is, byte for
/// byte, what each would alone.
///
/// Plans belong to the [module](crate::Module), which all its sessions share. The memory that a run works in belongs to the session, which keeps
/// it for the next run with inputs of the same shapes, within [`SessionOptions::max_memory`], and frees it when it is dropped or the plan is.
///
/// # Errors
/// Whatever runs the model fails with
/// * [`Error::UnknownInput`], [`Error::DuplicateInput`], [`Error::MissingInput`], [`Error::Element`] or [`Error::Program`] if the inputs do not fit it,
/// * [`Error::Memory`] or [`Error::Allocation`] if there is no memory for it,
/// * [`Error::Run`] if a step cannot be computed for these elements, or a custom function fails or is missing,
/// * [`Error::Jit`] if code cannot be made.
///
/// No failure spoils the session.
#[derive(Debug)]
pub struct Session {
    pub(crate) inner: Arc<Inner>,
    pub(crate) setup: Setup,
    pub(crate) max_memory: usize,
    /// Why it is the interpreter although nobody asked for it.
    fallback: Option<&'static JitError>,
    /// Those that compute with the caller's; none with one thread.
    pub(crate) threads: Threads,
    /// What waits for a run, most recently used last.
    idle: Mutex<Vec<Idle>>,
}

/// A workspace of a plan, as long as the plan is of use.
#[derive(Debug)]
struct Idle {
    plan: Weak<Plan>,
    workspace: Workspace,
}

impl Default for SessionOptions {
    /// One thread, the fastest path there is, and three quarters of the machine's memory ([`SessionOptions::max_memory`]).
    fn default() -> SessionOptions {
        let tuning = Tuning::default();
        SessionOptions { threads: 1, backend: None, max_memory: memory::default_limit(), tuning }
    }
}

impl SessionOptions {
    /// The number of threads that compute; 0 counts as 1. Of more than 1,024 a session is not made.
    pub fn threads(self, threads: usize) -> SessionOptions {
        SessionOptions { threads: threads.max(1), ..self }
    }

    /// The path of execution, an [`Isa`](crate::Isa) or a [`Backend`]; without it the environment's `TWNC_ISA`, or the fastest that there is. One
    /// that is asked for, here or by the environment, and is not available is an error; only the choice that nobody made falls back to the
    /// interpreter.
    pub fn backend(self, backend: impl Into<Backend>) -> SessionOptions {
        SessionOptions { backend: Some(backend.into()), ..self }
    }

    /// The most memory, in bytes, that a run may take: for all tensors, the scratch memory of every thread, and the outputs that
    /// [`Session::run`] allocates. What is kept between runs, together with what one run takes, stays below it too; runs at the same time take
    /// as much each. The model itself and its code are not counted, nor what custom functions take.
    ///
    /// Without it: three quarters of the machine's memory, or of what the process's control group may have if that is less (Linux);
    /// 16 GiB where neither is known.
    pub fn max_memory(self, bytes: usize) -> SessionOptions {
        SessionOptions { max_memory: bytes, ..self }
    }

    /// Which kernels accumulations take where measurements know better than the estimate; without it those with the least estimate. Sums of
    /// integers are the same bits with any; those of f32 are added in another order, within the same bound of error.
    pub fn tuning(self, tuning: Tuning) -> SessionOptions {
        SessionOptions { tuning, ..self }
    }
}

impl Session {
    pub(crate) fn new(inner: Arc<Inner>, options: SessionOptions) -> Result<Session, Error> {
        let choice = backend::choose(options.backend)?;
        if options.threads > MAX_THREADS {
            let reason = format!("{} are asked for, and {MAX_THREADS} is the most", options.threads);
            return Err(Error::Threads(reason));
        }
        let threads = Threads::new(options.threads).map_err(|e| Error::Threads(e.to_string()))?;
        let setup = Setup {
            backend: choice.backend,
            threads: threads.count(),
            tuning: options.tuning,
            layouts: true,
        };
        let (max_memory, fallback) = (options.max_memory, choice.fallback);
        Ok(Session { inner, setup, max_memory, fallback, threads, idle: Mutex::default() })
    }

    /// By which path it executes.
    pub fn backend(&self) -> Backend {
        self.setup.backend
    }

    /// Why it is the interpreter that executes, where nobody asked for it and no code can be generated.
    pub fn fallback(&self) -> Option<&JitError> {
        self.fallback
    }

    /// Cycles per second of the calling thread's processor, measured now; for [`PlanReport::estimate_cycles`](crate::PlanReport). `None` for
    /// a session that runs by the interpreter.
    pub fn cycles_per_second(&self) -> Option<f64> {
        match self.backend() {
            Backend::Interpreter => None,
            Backend::Generated(isa) => backend::generator(isa).ok()?.cycles_per_second().ok(),
        }
    }

    /// The number of threads that compute.
    pub fn threads(&self) -> usize {
        self.setup.threads
    }

    /// Runs the model on named inputs; gives named outputs, in the model's order.
    ///
    /// # Errors
    /// As for every run ([`Session`]).
    pub fn run<'a, I: Into<Input<'a>> + Clone>(
        &self,
        inputs: &[(&str, I)],
    ) -> Result<Vec<(String, Output)>, Error> {
        let program = &self.inner.program;
        self.with_plan(&self.setup, inputs, Plan::run_bytes, true, |plan, workspace, given| {
            let outputs = program.outputs.iter().map(|port| {
                let element = program.buffers[port.buffer.index()].element;
                let zeros = Output::zeros(element, plan.shapes.of(port.buffer));
                zeros.ok_or_else(|| Error::Allocation { bytes: plan.buffer(workspace, port.buffer).len() })
            });
            let mut outputs = outputs.collect::<Result<Vec<_>, _>>()?;
            let mut targets: Vec<_> = outputs.iter_mut().map(Output::view_mut).collect();
            self.execute(plan, workspace, given, &mut targets, &mut |_, _| {})?;
            drop(targets);
            let names = program.outputs.iter().map(|port| port.name.clone());
            Ok(names.zip(outputs).collect())
        })
    }

    /// Runs the model on named inputs, into arrays for all of its outputs in the model's order. Allocates nothing once a run with inputs
    /// of these shapes has been, but for what custom functions do.
    ///
    /// # Errors
    /// As for every run ([`Session`]); [`Error::OutputCount`], [`Error::OutputShape`] or [`Error::Element`] if the arrays are not those that the outputs
    /// need: nothing has been computed then. After any other error the arrays hold anything.
    pub fn run_into<'a, I: Into<Input<'a>> + Clone>(
        &self,
        inputs: &[(&str, I)],
        outputs: &mut [OutputMut<'_>],
    ) -> Result<(), Error> {
        let program = &self.inner.program;
        if outputs.len() != program.outputs.len() {
            return Err(Error::OutputCount { expected: program.outputs.len(), found: outputs.len() });
        }
        self.with_plan(&self.setup, inputs, Plan::workspace_bytes, true, |plan, workspace, given| {
            for (port, output) in program.outputs.iter().zip(outputs.iter()) {
                check_element(&port.name, program.buffers[port.buffer.index()].element, output.element())?;
                let shape = plan.shapes.of(port.buffer);
                if output.shape() != shape {
                    let (name, expected, found) =
                        (port.name.clone(), shape.to_vec(), output.shape().to_vec());
                    return Err(Error::OutputShape { name, expected, found });
                }
            }
            self.execute(plan, workspace, given, outputs, &mut |_, _| {})
        })
    }

    /// Runs the model, and says how long each step took, by the step's number.
    ///
    /// # Errors
    /// As for every run ([`Session`]).
    pub fn profile<'a, I: Into<Input<'a>> + Clone>(
        &self,
        inputs: &[(&str, I)],
    ) -> Result<Vec<Duration>, Error> {
        self.profile_of(&self.setup, inputs)
    }

    /// [`Session::profile`] with the plan of a setup for the session's threads.
    pub(crate) fn profile_of<'a, I: Into<Input<'a>> + Clone>(
        &self,
        setup: &Setup,
        inputs: &[(&str, I)],
    ) -> Result<Vec<Duration>, Error> {
        self.with_plan(setup, inputs, Plan::workspace_bytes, true, |plan, workspace, given| {
            let mut times = Vec::with_capacity(self.inner.program.steps.len());
            let mut last = Instant::now();
            self.execute(plan, workspace, given, &mut [], &mut |_, _| {
                let now = Instant::now();
                times.push(now - last);
                last = now;
            })?;
            Ok(times)
        })
    }

    /// Runs the model, and shows what each step has written: the step, and shape and elements of each of its outputs.
    ///
    /// # Errors
    /// As for every run ([`Session`]).
    pub fn observe<'a, I: Into<Input<'a>> + Clone>(
        &self,
        inputs: &[(&str, I)],
        observe: &mut (dyn FnMut(&Step, &[usize], View<'_>) + Send),
    ) -> Result<(), Error> {
        let setup = Setup { layouts: false, ..self.setup.clone() };
        self.with_plan(&setup, inputs, Plan::workspace_bytes, false, |plan, workspace, given| {
            self.execute(plan, workspace, given, &mut [], &mut |number, workspace| {
                let step = &self.inner.program.steps[number];
                for &id in step.outputs() {
                    observe(step, plan.shapes.of(id), plan.view(&self.inner, workspace, id));
                }
            })
        })
    }

    /// The shapes of all buffers for inputs of the given shapes, in the order of the model's inputs. Plans nothing.
    ///
    /// # Errors
    /// [`Error::Program`] if the shapes do not fit the model.
    pub fn shapes(&self, inputs: &[Vec<usize>]) -> Result<Shapes, Error> {
        Ok(self.inner.program.resolve(inputs)?)
    }

    /// How each step is executed for inputs of the given shapes, by the step's number: from the plan that a run with such inputs uses, which is made
    /// if there is none.
    ///
    /// # Errors
    /// [`Error::Program`] if the shapes do not fit the model; [`Error::Memory`] if a run would take more than it may;
    /// [`Error::Jit`] if code cannot be made.
    pub fn plan(&self, inputs: &[Vec<usize>]) -> Result<Vec<PlanReport>, Error> {
        let fits = |shapes: &[Vec<usize>]| shapes == inputs;
        let plan = self.find_plan(&self.setup, Plan::workspace_bytes, fits, || inputs.to_vec())?;
        memory::check(plan.workspace_bytes(), self.max_memory)?;
        Ok(plan.report())
    }

    /// Does `work` with the plan of a setup for these inputs and a workspace; what it is not `given` of them, because it lies scattered or unless
    /// `in_place`, the workspace holds. `needed` is what a run with the plan takes.
    pub(crate) fn with_plan<'a, I: Into<Input<'a>> + Clone, T>(
        &self,
        setup: &Setup,
        inputs: &[(&str, I)],
        needed: fn(&Plan) -> usize,
        in_place: bool,
        work: impl FnOnce(&Plan, &mut Workspace, &Given<'a>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let program = &self.inner.program;
        // Names in the model's order are found at once; any other order is searched, which few inputs bear.
        let named = |(port, (name, _)): (&Port, &(&str, I))| port.name == *name;
        let in_order = inputs.len() == program.inputs.len() && program.inputs.iter().zip(inputs).all(named);
        if !in_order {
            self.check_names(inputs)?;
        }
        let given = |(i, port): (usize, &Port)| -> Option<Input<'a>> {
            let at = if in_order { Some(i) } else { inputs.iter().position(|(name, _)| *name == port.name) };
            Some(inputs.get(at?)?.1.clone().into())
        };
        for (i, port) in program.inputs.iter().enumerate() {
            let input = given((i, port)).ok_or_else(|| Error::MissingInput(port.name.clone()))?;
            check_element(&port.name, program.buffers[port.buffer.index()].element, input.element())?;
        }
        let all = || program.inputs.iter().enumerate().filter_map(given);
        let plan = self.find_plan(
            setup,
            needed,
            |shapes| {
                let mut pairs = all().zip(shapes);
                shapes.len() == program.inputs.len() && pairs.all(|(input, shape)| input.shape() == shape)
            },
            || all().map(|input| input.shape().to_vec()).collect(),
        )?;
        let mut workspace = self.take(&plan, needed(&plan))?;
        let mut given = Given::default();
        for (i, (port, input)) in program.inputs.iter().zip(all()).enumerate() {
            let bytes = input.bytes().filter(|_| in_place && plan.reads_given(i));
            match (bytes, given.get_mut(i)) {
                (Some(bytes), Some(place)) => *place = Some(bytes),
                _ => input.copy_to(plan.buffer(&mut workspace, port.buffer)),
            }
        }
        let result = work(&plan, &mut workspace, &given);
        self.keep(&plan, workspace);
        result
    }

    /// Whether every input is one of the model's, and given once.
    fn check_names<I>(&self, inputs: &[(&str, I)]) -> Result<(), Error> {
        let ports = &self.inner.program.inputs;
        for (i, (name, _)) in inputs.iter().enumerate() {
            if !ports.iter().any(|port| port.name == *name) {
                let known = ports.iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>();
                return Err(Error::UnknownInput { name: (*name).to_owned(), known: known.join(", ") });
            }
            if inputs[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(Error::DuplicateInput((*name).to_owned()));
            }
        }
        Ok(())
    }

    /// The plan of a setup; where a run would take too much, the one with tensors that are as large as they must be.
    fn find_plan(
        &self,
        setup: &Setup,
        needed: fn(&Plan) -> usize,
        fits: impl Fn(&[Vec<usize>]) -> bool,
        shapes: impl Fn() -> Vec<Vec<usize>>,
    ) -> Result<Arc<Plan>, Error> {
        let limit = self.max_memory;
        let find = |setup: &Setup| {
            self.inner.plans.get(setup, &fits, &shapes, |inputs| Plan::new(&self.inner, inputs, setup, limit))
        };
        let plan = find(setup)?;
        if !setup.layouts || needed(&plan) <= limit {
            return Ok(plan);
        }
        let small = find(&Setup { layouts: false, ..setup.clone() })?;
        Ok(if needed(&small) < needed(&plan) { small } else { plan })
    }

    /// A workspace for a run that takes `needed` bytes in all; those of other plans make room for it.
    fn take(&self, plan: &Arc<Plan>, needed: usize) -> Result<Workspace, Error> {
        memory::check(needed, self.max_memory)?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.iter().rposition(|kept| std::ptr::eq(kept.plan.as_ptr(), &**plan));
        let found = found.map(|at| idle.remove(at).workspace);
        trim(&mut idle, self.max_memory - needed);
        drop(idle);
        found.map_or_else(|| plan.workspace(), Ok)
    }

    /// Keeps a workspace for the next run of its plan.
    fn keep(&self, plan: &Arc<Plan>, workspace: Workspace) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(Idle { plan: Arc::downgrade(plan), workspace });
        trim(&mut idle, self.max_memory);
    }

    /// Runs a plan, on the session's threads, into `outputs`, all or none.
    fn execute(
        &self,
        plan: &Plan,
        workspace: &mut Workspace,
        given: &Given<'_>,
        outputs: &mut [OutputMut<'_>],
        observe: &mut (dyn FnMut(usize, &Workspace) + Send),
    ) -> Result<(), Error> {
        plan.run(&self.inner, &self.threads, workspace, given, outputs, observe)?;
        for (i, (port, output)) in self.inner.program.outputs.iter().zip(outputs).enumerate() {
            if !plan.writes_given(i) || output.bytes_mut().is_none() {
                output.copy_from(plan.buffer(workspace, port.buffer));
            }
        }
        Ok(())
    }
}

/// Frees workspaces whose plans are gone, then the least recently used ones until the others are at most `limit` bytes.
fn trim(idle: &mut Vec<Idle>, limit: usize) {
    idle.retain(|kept| kept.plan.strong_count() > 0);
    let mut held: usize = idle.iter().map(|kept| kept.workspace.bytes()).sum();
    while held > limit {
        held -= idle.remove(0).workspace.bytes();
    }
}

fn check_element(name: &str, expected: ElementType, found: ElementType) -> Result<(), Error> {
    match expected == found {
        true => Ok(()),
        false => {
            let (expected, found) = (expected.to_string(), found.to_string());
            Err(Error::Element { name: name.to_owned(), expected, found })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::tests::module;

    #[test]
    fn what_is_kept_makes_room_for_what_runs() {
        let options = SessionOptions::default().backend(Backend::Interpreter).max_memory(512);
        let session = module().session(options).expect("a session");
        let kept = || -> usize {
            let idle = session.idle.lock().expect("no panic");
            idle.iter().map(|kept| kept.workspace.bytes()).sum()
        };
        let run = |n: usize| session.run(&[("x", ndarray::Array1::<f32>::ones(n).view())]);
        // Elements, and what is kept then: a run takes 4 bytes an element for the tensor and as much for the output.
        for (n, bytes) in [(16, 64), (16, 64), (64, 256), (16, 320), (32, 192), (64, 256)] {
            run(n).expect("a run");
            assert_eq!(kept(), bytes, "after {n} elements");
        }
        assert!(matches!(run(65), Err(Error::Memory { needed: 580.., limit: 512 })));
        assert_eq!(kept(), 256);
        // Plans that are driven out take their memory with them.
        (1..=16).for_each(|n| drop(run(n).expect("a run")));
        assert_eq!(kept(), 512 - 64);
    }
}
