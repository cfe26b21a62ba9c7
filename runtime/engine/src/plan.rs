//! Plans: what a module becomes for inputs of given shapes on one processor.
//!
//! A plan holds the concrete shapes, where each buffer lies, and how each step is executed. It is immutable and shared; what a run
//! changes is its [`Workspace`].

use crate::array::OutputMut;
use crate::backend::{self, Backend};
use crate::bind::{self, Bound, Execution, Layouts, MAX_INPUTS};
use crate::error::Error;
use crate::liveness::{self, Ends, Layout, Order};
use crate::memory;
use crate::module::Inner;
use crate::plans::Setup;
use crate::views::{Part, Views};
use smallvec::{SmallVec, smallvec};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use twnc_jit::{Function, Line, Threads};
use twnc_program::interpret::{self, Operands, RunError, View, ViewMut};
use twnc_program::{BufferId, ElementType, Shapes, Step};

/// How a program runs for certain shapes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) shapes: Shapes,
    layout: Layout,
    /// Whether kernels have their say about what they read and write.
    pub(crate) layouts: bool,
    ends: Ends,
    steps: Vec<Execution>,
    /// Lines of scratch memory that each thread needs.
    scratch: usize,
    threads: usize,
    /// Bytes of all outputs together, an output that stands under two names counted twice.
    outputs: usize,
}

/// How one step of a plan is executed.
#[derive(Clone)]
pub struct PlanReport {
    /// What executes it, in words: the kernel's family and tile, `alias` for a step that moves nothing, or `interpreter` with the reason why
    /// there is no generated code for the step.
    pub kernel: String,
    /// The generated functions that it calls.
    pub functions: Vec<Arc<Function>>,
    /// How long it was expected to take on one thread when the kernel was chosen, in cycles of the processor; `None` for what nothing was
    /// expected of.
    pub estimate_cycles: Option<f64>,
    /// Whether it is the kernel of the next step that does this one too; what is told of that step is then of both.
    pub with_next: bool,
}

/// How many of a program's inputs are read where the caller has them; the others are copied.
const MAX_GIVEN: usize = 4;

/// The bytes of inputs, by number, that are read where the caller has them.
pub(crate) type Given<'a> = [Option<&'a [u8]>; MAX_GIVEN];

/// One for each output of a step; of most there are one or two.
type Written<T> = SmallVec<[T; 2]>;

/// Parts of the arena, each with its offset.
type Pieces<'w> = SmallVec<[(usize, &'w [u8]); 3]>;

/// The memory of one run at a time.
#[derive(Debug)]
pub(crate) struct Workspace {
    arena: Box<[Line]>,
    /// What the kernels work in, in equal parts for the threads.
    scratch: Box<[Line]>,
}

impl Plan {
    /// Plans for inputs of these shapes, in the order of the program's inputs.
    ///
    /// # Errors
    /// Shapes that do not fit the program; [`Error::Memory`] for tensors that take more than `max_memory` bytes. What kernels ask for beyond them
    /// is in [`Plan::workspace_bytes`], and not judged here.
    pub(crate) fn new(
        inner: &Inner,
        inputs: &[Vec<usize>],
        setup: &Setup,
        max_memory: usize,
    ) -> Result<Plan, Error> {
        let (program, threads) = (&inner.program, setup.threads);
        let shapes = program.resolve(inputs)?;
        let mut bytes = shapes.bytes(program);
        let views = Views::of(program, &shapes, &bytes);
        let mut layout = liveness::plan(program, &bytes, &views, &Order::default());
        // Before kernels are made: what they keep for their shapes is bounded by a small multiple of this.
        memory::check(layout.size, max_memory)?;
        let generator = match setup.backend {
            Backend::Interpreter => None,
            Backend::Generated(isa) => {
                let unavailable = |reason| Error::Backend { name: setup.backend.name(), reason };
                Some(backend::generator(isa).map_err(unavailable)?)
            }
        };
        let ranges = bind::ranges(program);
        let mut layouts = if setup.layouts { Layouts::new(program) } else { Layouts::default() };
        // Kernels say how they want what they read, so the last are made first.
        let mut steps: Vec<Execution> = Vec::with_capacity(program.steps.len());
        // What a step writes, by its number, beside what the program says.
        let mut early: HashMap<usize, BufferId> = HashMap::new();
        // What executes the step before, where that is known already.
        let mut before: Option<Execution> = None;
        for (number, step) in program.steps.iter().enumerate().rev() {
            let execution = match (&views.copies[number], before.take(), generator) {
                (Some(copies), ..) => Execution::Alias(copies.clone()),
                (_, Some(execution), _) => execution,
                (.., None) => Execution::Interpret(None),
                (.., Some(jit)) => {
                    let mut pooled = None;
                    if let Some(pair) = layouts.pair(program, number) {
                        let (sums, both) =
                            bind::bind_pooled(jit, program, &shapes, &ranges, &layouts, pair, setup)?;
                        (before, pooled) = (Some(sums), both);
                    }
                    match pooled {
                        Some(bound) => Execution::Kernel(bound),
                        None => bind::bind(jit, program, &shapes, &ranges, &layouts, step, setup)?,
                    }
                }
            };
            if let (Execution::Kernel(bound), Some(jit)) = (&execution, generator)
                && let Some(behind) = layouts.note(bound)
            {
                early.insert(number, bound.outputs[1]);
                // It need not measure what it reads.
                let again = &program.steps[behind];
                let last = program.steps.len() - 1;
                steps[last - behind] = bind::bind(jit, program, &shapes, &ranges, &layouts, again, setup)?;
            }
            steps.push(execution);
        }
        steps.reverse();
        layouts.sizes().for_each(|(id, size)| bytes[id.index()] = size);
        let runs_ahead = |&number: &usize| matches!(steps[number], Execution::Ahead);
        let ahead: HashSet<usize> = (0..steps.len()).filter(runs_ahead).collect();
        // What is between a step and the next never is a tensor. None of all these is a view, or has one.
        let between = ahead.iter().flat_map(|&number| program.steps[number].outputs());
        between.for_each(|id| bytes[id.index()] = 0);
        let order = Order { ahead, early };
        layout = liveness::plan(program, &bytes, &views, &order);
        let scratch = steps.iter().map(Execution::scratch).max().unwrap_or(0);
        let outputs = program.outputs.iter().map(|port| bytes[port.buffer.index()]);
        let outputs = outputs.fold(0, usize::saturating_add);
        let ends = liveness::ends(program, &bytes, &views, &order);
        let layouts = setup.layouts;
        Ok(Plan { shapes, layout, layouts, ends, steps, scratch, threads, outputs })
    }

    /// The bytes of a workspace: the arena, and the scratch memory of every thread.
    pub(crate) fn workspace_bytes(&self) -> usize {
        let scratch = scratch_lines(self.scratch, self.threads).saturating_mul(size_of::<Line>());
        scratch.saturating_add(self.layout.size)
    }

    /// The bytes that a run takes which allocates its outputs too.
    pub(crate) fn run_bytes(&self) -> usize {
        self.workspace_bytes().saturating_add(self.outputs)
    }

    /// How each step is executed.
    pub(crate) fn report(&self) -> Vec<PlanReport> {
        let steps = self.steps.iter().map(|step| PlanReport {
            kernel: step.describe(),
            functions: step.functions(),
            estimate_cycles: step.estimate(),
            with_next: matches!(step, Execution::Ahead),
        });
        steps.collect()
    }

    /// The memory that a run needs.
    pub(crate) fn workspace(&self) -> Result<Workspace, Error> {
        Ok(Workspace {
            arena: memory::zeroed(self.layout.size.div_ceil(size_of::<Line>()))?,
            scratch: memory::zeroed(scratch_lines(self.scratch, self.threads))?,
        })
    }

    /// Whether a step, by its number, runs only together with the next.
    pub(crate) fn runs_ahead(&self, number: usize) -> bool {
        matches!(self.steps[number], Execution::Ahead)
    }

    /// The bytes of a buffer.
    pub(crate) fn buffer<'w>(&self, workspace: &'w mut Workspace, id: BufferId) -> &'w mut [u8] {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut workspace.arena);
        &mut bytes[self.layout.ranges[id.index()].clone()]
    }

    /// Whether some step reads an input, given by its number, or something with its memory, where the caller has it.
    pub(crate) fn reads_given(&self, input: usize) -> bool {
        input < MAX_GIVEN && self.ends.inputs.iter().flatten().any(|(number, _)| *number == input)
    }

    /// Whether an output, given by its number, is written where the caller wants it, if that is one run of bytes.
    pub(crate) fn writes_given(&self, output: usize) -> bool {
        self.ends.outputs.iter().flatten().any(|(number, _)| *number == output)
    }

    /// The elements of a buffer, in a plan without layouts.
    pub(crate) fn view<'w>(&self, inner: &Inner, workspace: &'w Workspace, id: BufferId) -> View<'w> {
        let bytes: &[u8] = bytemuck::cast_slice(&workspace.arena);
        view(inner.program.buffers[id.index()].element, &bytes[self.layout.ranges[id.index()].clone()])
    }

    /// Runs every step; `observe` is called after each with its number. Inputs are where they are `given`, else in the workspace; `outputs`
    /// are written where they can be ([`Plan::writes_given`]), else they are in the workspace.
    pub(crate) fn run(
        &self,
        inner: &Inner,
        threads: &Threads,
        workspace: &mut Workspace,
        given: &Given<'_>,
        outputs: &mut [OutputMut<'_>],
        observe: &mut dyn FnMut(usize, &Workspace),
    ) -> Result<(), Error> {
        for number in 0..self.steps.len() {
            self.run_step(inner, threads, workspace, given, outputs, number)?;
            observe(number, workspace);
        }
        Ok(())
    }

    /// Runs the step of a number, behind those before it; as [`Plan::run`].
    #[allow(clippy::too_many_arguments)] // What runs, and on what.
    pub(crate) fn run_step(
        &self,
        inner: &Inner,
        threads: &Threads,
        workspace: &mut Workspace,
        given: &Given<'_>,
        outputs: &mut [OutputMut<'_>],
        number: usize,
    ) -> Result<(), Error> {
        match &self.steps[number] {
            Execution::Alias(copies) => {
                let written = inner.program.steps[number].outputs();
                copies.iter().for_each(|part| self.copy(workspace, given, outputs, written, part));
                Ok(())
            }
            Execution::Ahead => Ok(()),
            Execution::Interpret(_) => {
                Ok(self.interpret(inner, workspace, given, outputs, &inner.program.steps[number])?)
            }
            Execution::Kernel(bound) => {
                self.execute(inner, threads, bound, workspace, &|id| self.given(given, id), outputs)
            }
        }
    }

    /// The bytes of a buffer that is one of the inputs, or part of it, if they are not in the arena.
    fn given<'a>(&self, given: &Given<'a>, id: BufferId) -> Option<&'a [u8]> {
        let (input, range) = self.ends.inputs[id.index()].as_ref()?;
        given.get(*input).copied().flatten()?.get(range.clone())
    }

    /// The bytes for what a step writes alone, if they are not in the arena.
    fn target<'o>(&self, outputs: &'o mut [OutputMut<'_>], written: &[BufferId]) -> Option<&'o mut [u8]> {
        let &[id] = written else { return None };
        let (output, range) = self.ends.outputs[id.index()].as_ref()?;
        outputs.get_mut(*output)?.bytes_mut()?.get_mut(range.clone())
    }

    /// Copies a buffer to its place in what a step writes.
    fn copy(
        &self,
        workspace: &mut Workspace,
        given: &Given<'_>,
        outputs: &mut [OutputMut<'_>],
        written: &[BufferId],
        part: &Part,
    ) {
        let arena: &mut [u8] = bytemuck::cast_slice_mut(&mut workspace.arena);
        let from = self.layout.ranges[part.buffer.index()].clone();
        let to = part.offset..part.offset + from.len();
        let own = written.first().map_or(0, |id| self.layout.ranges[id.index()].start);
        match (self.given(given, part.buffer), self.target(outputs, written)) {
            (Some(bytes), Some(target)) => target[to].copy_from_slice(bytes),
            (Some(bytes), None) => arena[own..][to].copy_from_slice(bytes),
            (None, Some(target)) => target[to].copy_from_slice(&arena[from]),
            (None, None) => arena.copy_within(from, own + to.start),
        }
    }

    /// Runs a kernel on its buffers; as [`Plan::run`], but for inputs that are where `given` says. The scratch memory is enough for it.
    #[allow(clippy::too_many_arguments)] // What runs, and on what.
    pub(crate) fn execute<'g>(
        &self,
        inner: &Inner,
        threads: &Threads,
        bound: &Bound,
        workspace: &mut Workspace,
        given: &dyn Fn(BufferId) -> Option<&'g [u8]>,
        outputs: &mut [OutputMut<'_>],
    ) -> Result<(), Error> {
        let element = |id: BufferId| inner.program.buffers[id.index()].element;
        let range = |id: BufferId| self.layout.ranges[id.index()].clone();
        let arena = bytemuck::cast_slice_mut(&mut workspace.arena);
        let (pieces, written) = self.apart(arena, &bound.outputs, self.target(outputs, &bound.outputs));
        let bytes = |id: BufferId| given(id).unwrap_or_else(|| piece(&pieces, range(id)));
        let read = |id: BufferId| view(element(id), bytes(id));
        let mut inputs = [View::F32(&[]); MAX_INPUTS];
        inputs.iter_mut().zip(&bound.inputs).for_each(|(slice, &id)| *slice = read(id));
        let inputs = &inputs[..bound.inputs.len()];
        let residual = bound.residual.map(|id| bytemuck::cast_slice(bytes(id)));
        let written = bound.outputs.iter().zip(written);
        let mut views: Written<_> = written.map(|(&id, bytes)| view_mut(element(id), bytes)).collect();
        Ok(twnc_jit::run(&*bound.kernel, inputs, residual, &mut views, &mut workspace.scratch, threads)?)
    }

    fn interpret(
        &self,
        inner: &Inner,
        workspace: &mut Workspace,
        given: &Given<'_>,
        outputs: &mut [OutputMut<'_>],
        step: &Step,
    ) -> Result<(), RunError> {
        let element = |id: BufferId| inner.program.buffers[id.index()].element;
        let range = |id: BufferId| self.layout.ranges[id.index()].clone();
        let given = |id: BufferId| self.given(given, id);
        let arena = bytemuck::cast_slice_mut(&mut workspace.arena);
        let (pieces, written) = self.apart(arena, step.outputs(), self.target(outputs, step.outputs()));
        let written = step.outputs().iter().zip(written);
        let mut views: Written<_> = written.map(|(&id, bytes)| view_mut(element(id), bytes)).collect();
        let operands = Around { pieces: &pieces, given: &given, element: &element, range: &range };
        interpret::run_step(&inner.program, &self.shapes, step, &operands, &mut views, &inner.functions)
    }

    /// The bytes for what a step writes, in its order, in the arena or where `target` is, and the pieces of the arena around them, each with
    /// its offset. No buffer that a step reads shares memory with one that it writes.
    fn apart<'w>(
        &self,
        arena: &'w mut [u8],
        written: &[BufferId],
        target: Option<&'w mut [u8]>,
    ) -> (Pieces<'w>, Written<&'w mut [u8]>) {
        if let Some(target) = target {
            return (smallvec![(0, &*arena)], smallvec![target]);
        }
        let range = |place: usize| self.layout.ranges[written[place].index()].clone();
        let mut order: Written<usize> = (0..written.len()).collect();
        // An empty output may start where another does, and lies before it.
        order.sort_by_key(|&place| (range(place).start, range(place).end));
        let mut bytes: Written<&mut [u8]> = written.iter().map(|_| &mut [][..]).collect();
        let mut pieces = Pieces::new();
        let (mut rest, mut at) = (arena, 0);
        for place in order {
            let range = range(place);
            let (before, behind) = rest.split_at_mut(range.start - at);
            let (own, behind) = behind.split_at_mut(range.len());
            pieces.push((at, &*before));
            bytes[place] = own;
            (rest, at) = (behind, range.end);
        }
        pieces.push((at, &*rest));
        (pieces, bytes)
    }
}

/// Lines of scratch memory for so many threads that need `scratch` each. Between two of them lies a page: a processor fetches ahead within a
/// page, so that the end of one thread's memory would bring the beginning of the next one's, which that thread writes, to the wrong core.
fn scratch_lines(scratch: usize, threads: usize) -> usize {
    const PAGE: usize = 4096 / size_of::<Line>();
    let between = if threads > 1 && scratch > 0 { PAGE } else { 0 };
    scratch.saturating_add(between).saturating_mul(threads)
}

impl Workspace {
    /// Makes the scratch memory enough for a kernel that needs `scratch` lines for each of `threads` threads.
    ///
    /// # Errors
    /// [`Error::Memory`] if the workspace were more than `limit` bytes then, [`Error::Allocation`] if there is not so much memory.
    pub(crate) fn reserve(&mut self, scratch: usize, threads: usize, limit: usize) -> Result<(), Error> {
        let lines = scratch_lines(scratch, threads);
        if lines > self.scratch.len() {
            memory::check(
                lines.saturating_mul(size_of::<Line>()).saturating_add(size_of_val(&*self.arena)),
                limit,
            )?;
            self.scratch = memory::zeroed(lines)?;
        }
        Ok(())
    }

    /// How much memory it is.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.arena) + size_of_val(&*self.scratch)
    }
}

impl std::fmt::Debug for PlanReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let functions: Vec<_> = self.functions.iter().map(|function| function.name()).collect();
        f.debug_struct("PlanReport")
            .field("kernel", &self.kernel)
            .field("functions", &functions)
            .field("estimate_cycles", &self.estimate_cycles)
            .field("with_next", &self.with_next)
            .finish()
    }
}

/// The parts of the arena around what a step writes, each with its offset.
struct Around<'a> {
    pieces: &'a [(usize, &'a [u8])],
    given: &'a dyn Fn(BufferId) -> Option<&'a [u8]>,
    element: &'a dyn Fn(BufferId) -> ElementType,
    range: &'a dyn Fn(BufferId) -> Range<usize>,
}

impl Operands for Around<'_> {
    fn buffer(&self, id: BufferId) -> View<'_> {
        let bytes = (self.given)(id).unwrap_or_else(|| piece(self.pieces, (self.range)(id)));
        view((self.element)(id), bytes)
    }
}

/// The bytes of a range that lies in one of the pieces of the arena; of no bytes, some that lie as any element may.
fn piece<'a>(pieces: &[(usize, &'a [u8])], range: Range<usize>) -> &'a [u8] {
    if range.is_empty() {
        return bytemuck::cast_slice::<u64, u8>(&[]);
    }
    let found = pieces.iter().find_map(|(offset, bytes)| {
        bytes.get(range.start.checked_sub(*offset)?..range.end.checked_sub(*offset)?)
    });
    found.unwrap_or(&[])
}

/// Bytes of a buffer as elements. Memory starts at multiples of 64, views in it behind whole elements, and all are whole elements long.
fn view(element: ElementType, bytes: &[u8]) -> View<'_> {
    match element {
        ElementType::F32 => View::F32(bytemuck::cast_slice(bytes)),
        ElementType::I8 => View::I8(bytemuck::cast_slice(bytes)),
        ElementType::U8 | ElementType::Ternary => View::U8(bytes),
        ElementType::I16 => View::I16(bytemuck::cast_slice(bytes)),
        ElementType::I32 => View::I32(bytemuck::cast_slice(bytes)),
        ElementType::I64 => View::I64(bytemuck::cast_slice(bytes)),
        ElementType::Bool => View::Bool(bytes),
    }
}

fn view_mut(element: ElementType, bytes: &mut [u8]) -> ViewMut<'_> {
    let bytes = if bytes.is_empty() { bytemuck::cast_slice_mut::<u64, u8>(&mut []) } else { bytes };
    match element {
        ElementType::F32 => ViewMut::F32(bytemuck::cast_slice_mut(bytes)),
        ElementType::I8 => ViewMut::I8(bytemuck::cast_slice_mut(bytes)),
        ElementType::U8 | ElementType::Ternary => ViewMut::U8(bytes),
        ElementType::I16 => ViewMut::I16(bytemuck::cast_slice_mut(bytes)),
        ElementType::I32 => ViewMut::I32(bytemuck::cast_slice_mut(bytes)),
        ElementType::I64 => ViewMut::I64(bytemuck::cast_slice_mut(bytes)),
        ElementType::Bool => ViewMut::Bool(bytes),
    }
}
