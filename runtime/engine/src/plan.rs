//! Plans: what a module becomes for inputs of given shapes on one processor.
//!
//! A plan holds the concrete shapes, where each buffer lies, and how each step is executed. It is immutable and shared; what a run
//! changes is its [`Workspace`].

use crate::code::{self, Bound, MAX_INPUTS};
use crate::error::Error;
use crate::liveness::{self, Layout};
use crate::module::Inner;
use crate::session::Isa;
use bytemuck::{Pod, Zeroable};
use std::ops::Range;
use twnc_jit::{Function, JitError, Work};
use twnc_program::interpret::{self, Operands, RunError, View, ViewMut};
use twnc_program::{BufferId, ElementType, Shapes, Step};

/// How a program runs for certain shapes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) shapes: Shapes,
    layout: Layout,
    steps: Vec<Execution>,
    /// Lines of scratch memory that each thread needs.
    scratch: usize,
    threads: usize,
}

/// What a plan depends on beside the program and its shapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
    pub(crate) max_memory: usize,
}

/// How a step is executed.
#[derive(Debug)]
enum Execution {
    /// Its output is its input's memory.
    Alias,
    /// By the interpreter.
    Interpret,
    /// By generated code.
    Kernel(Bound),
}

/// The memory of one run at a time.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    arena: Vec<Line>,
    /// What each thread's kernels work in.
    scratch: Vec<Vec<twnc_jit::Line>>,
}

/// The unit in which memory is held, so that it is aligned.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; liveness::ALIGNMENT]);

impl Plan {
    /// Plans for inputs of these shapes, in the order of the program's inputs.
    pub(crate) fn new(inner: &Inner, inputs: &[Vec<usize>], settings: Settings) -> Result<Plan, Error> {
        let program = &inner.program;
        let shapes = program.resolve(inputs)?;
        let layout = liveness::plan(program, &shapes.bytes(program));
        if layout.size > settings.max_memory {
            return Err(Error::Memory { needed: layout.size, limit: settings.max_memory });
        }
        let generator = match settings.isa {
            Isa::Interpreter => None,
            Isa::Portable => code::generator(),
        };
        let execution = |step: &Step| {
            if liveness::is_alias(&step.kind) {
                return Ok(Execution::Alias);
            }
            let Some(jit) = generator else { return Ok(Execution::Interpret) };
            let bound = code::bind(jit, program, &shapes, step, settings.threads)?;
            Ok::<_, Error>(bound.map_or(Execution::Interpret, Execution::Kernel))
        };
        let steps = program.steps.iter().map(execution).collect::<Result<Vec<_>, _>>()?;
        let scratch = steps.iter().map(|step| match step {
            Execution::Kernel(bound) => bound.kernel.interface().scratch,
            Execution::Alias | Execution::Interpret => 0,
        });
        let scratch = scratch.max().unwrap_or(0);
        Ok(Plan { shapes, layout, steps, scratch, threads: settings.threads })
    }

    /// How each step is executed, in words.
    pub(crate) fn describe(&self) -> Vec<String> {
        let words = self.steps.iter().map(|execution| match execution {
            Execution::Alias => "alias".to_owned(),
            Execution::Interpret => "interpreter".to_owned(),
            Execution::Kernel(bound) => bound.kernel.describe(),
        });
        words.collect()
    }

    /// The memory that a run needs.
    pub(crate) fn workspace(&self) -> Workspace {
        Workspace {
            arena: vec![Line::zeroed(); self.layout.size.div_ceil(liveness::ALIGNMENT)],
            scratch: vec![vec![Default::default(); self.scratch]; self.threads],
        }
    }

    /// The generated functions of each step.
    pub(crate) fn functions(&self) -> Vec<Vec<std::sync::Arc<Function>>> {
        let functions = self.steps.iter().map(|execution| match execution {
            Execution::Kernel(bound) => bound.kernel.functions(),
            Execution::Alias | Execution::Interpret => vec![],
        });
        functions.collect()
    }

    /// The bytes of a buffer.
    pub(crate) fn buffer<'w>(&self, workspace: &'w mut Workspace, id: BufferId) -> &'w mut [u8] {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut workspace.arena);
        &mut bytes[self.layout.ranges[id.index()].clone()]
    }

    /// The elements of a buffer.
    pub(crate) fn view<'w>(&self, inner: &Inner, workspace: &'w Workspace, id: BufferId) -> View<'w> {
        let bytes: &[u8] = bytemuck::cast_slice(&workspace.arena);
        view(inner.program.buffers[id.index()].element, &bytes[self.layout.ranges[id.index()].clone()])
    }

    /// Runs every step; `observe` is called after each with its number.
    pub(crate) fn run(
        &self,
        inner: &Inner,
        workspace: &mut Workspace,
        observe: &mut dyn FnMut(usize, &Workspace),
    ) -> Result<(), Error> {
        for (number, (step, execution)) in inner.program.steps.iter().zip(&self.steps).enumerate() {
            match execution {
                Execution::Alias => {}
                Execution::Interpret => self.interpret(inner, workspace, step)?,
                Execution::Kernel(bound) => self.execute(bound, workspace)?,
            }
            observe(number, workspace);
        }
        Ok(())
    }

    fn execute(&self, bound: &Bound, workspace: &mut Workspace) -> Result<(), Error> {
        let range = |id: BufferId| self.layout.ranges[id.index()].clone();
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut workspace.arena);
        let target = range(bound.output);
        let (before, rest) = bytes.split_at_mut(target.start);
        let (written, behind) = rest.split_at_mut(target.len());
        let pieces = [(0, &*before), (target.end, &*behind)];
        let read = |id: BufferId| bytemuck::cast_slice::<u8, f32>(piece(&pieces, range(id)));
        let mut inputs = [&[][..]; MAX_INPUTS];
        inputs.iter_mut().zip(&bound.inputs).for_each(|(slice, &id)| *slice = read(id));
        let inputs = &inputs[..bound.inputs.len()];
        let residual = bound.residual.map(read);
        let output: &mut [f32] = bytemuck::cast_slice_mut(written);
        // Some parts more than threads, so that one that is late is not waited for long.
        let parts = if self.threads == 1 { 1 } else { self.threads * 4 };
        for phase in 0..bound.kernel.phases() {
            let work = Work::new(&*bound.kernel, phase, inputs, residual, output, parts)?;
            share(&work, &mut workspace.scratch)?;
        }
        Ok(())
    }

    fn interpret(&self, inner: &Inner, workspace: &mut Workspace, step: &Step) -> Result<(), RunError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut workspace.arena);
        let element = |id: BufferId| inner.program.buffers[id.index()].element;
        let range = |id: BufferId| self.layout.ranges[id.index()].clone();
        let call = |operands: &dyn Operands, outputs: &mut [ViewMut<'_>]| {
            interpret::run_step(&inner.program, &self.shapes, step, operands, outputs, &inner.functions)
        };
        // No buffer that a step reads shares memory with one that it writes, so the arena falls apart around the outputs.
        let [output] = step.outputs() else {
            let mut outputs: Vec<_> = step.outputs().iter().map(|&id| (range(id), element(id))).collect();
            outputs.sort_by_key(|(range, _)| range.start);
            let mut around = Vec::new();
            let mut views = Vec::new();
            let (mut rest, mut at) = (bytes, 0);
            for (range, element) in outputs {
                let (before, behind) = rest.split_at_mut(range.start - at);
                let (output, behind) = behind.split_at_mut(range.len());
                around.push((at, &*before));
                views.push((range.start, view_mut(element, output)));
                (rest, at) = (behind, range.end);
            }
            around.push((at, &*rest));
            views.sort_by_key(|(start, _)| step.outputs().iter().position(|&id| range(id).start == *start));
            let mut views: Vec<_> = views.into_iter().map(|(_, view)| view).collect();
            let operands = Around { pieces: &around, element: &element, range: &range };
            return call(&operands, &mut views);
        };
        let target = range(*output);
        let (before, rest) = bytes.split_at_mut(target.start);
        let (written, behind) = rest.split_at_mut(target.len());
        let pieces = [(0, &*before), (target.end, &*behind)];
        let operands = Around { pieces: &pieces, element: &element, range: &range };
        call(&operands, &mut [view_mut(element(*output), written)])
    }
}

/// The parts of the arena around what a step writes, each with its offset.
struct Around<'a> {
    pieces: &'a [(usize, &'a [u8])],
    element: &'a dyn Fn(BufferId) -> ElementType,
    range: &'a dyn Fn(BufferId) -> Range<usize>,
}

impl Operands for Around<'_> {
    fn buffer(&self, id: BufferId) -> View<'_> {
        let range = (self.range)(id);
        view((self.element)(id), piece(self.pieces, range))
    }
}

/// The bytes of a range that lies in one of the pieces of the arena.
fn piece<'a>(pieces: &[(usize, &'a [u8])], range: Range<usize>) -> &'a [u8] {
    let found = pieces.iter().find_map(|(offset, bytes)| {
        bytes.get(range.start.checked_sub(*offset)?..range.end.checked_sub(*offset)?)
    });
    found.unwrap_or(&[])
}

/// Does the work with one thread of the current pool for each scratch.
fn share(work: &Work<'_>, scratch: &mut [Vec<twnc_jit::Line>]) -> Result<(), JitError> {
    match scratch {
        [] => Ok(()),
        [own] => {
            while work.run_next(own)? {}
            Ok(())
        }
        many => {
            let (a, b) = many.split_at_mut(many.len() / 2);
            let (a, b) = rayon::join(|| share(work, a), || share(work, b));
            a.and(b)
        }
    }
}

/// Bytes of a buffer as elements. Buffers start at multiples of 64 and are whole elements long.
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
