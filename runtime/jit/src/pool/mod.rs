//! Pools over one or two spatial axes, with positions as lanes.
//!
//! Where a window is small and lies inside of the plane, all of it is folded in registers (`inside`). Other outputs are made row by row: a vertical
//! pass over whole rows, then a horizontal one. Between the two a row waits in scratch memory with its padding in place, so that the horizontal pass
//! needs no borders. The largest element does not depend on the order (of zeros of both signs either may be it); a mean's sum is taken in f32.

mod inside;
mod make;
mod rows;
#[cfg(all(target_arch = "x86_64", unix))]
mod wide;

use inside::Inside;
pub(crate) use make::Planes;
use rows::{Horizontal, Vertical};

use crate::Jit;
use crate::compile::Function;
use crate::elementwise::Elementwise;
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::finish::Finish;
use crate::kernel::{Interface, Kernel, LINE, Slot};
use crate::loops::{LANES, splat};
use crate::machine::Element;
use crate::measure::Measure;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::step::PoolKind;
use twnc_program::window::Window;

/// Beyond any network; it bounds the scratch memory and keeps every coordinate in range.
const FAR: usize = 1 << 24;
/// Maxima or means that wait in scratch memory, of several planes together: what the first-level cache holds beside what they are made of.
const WAITING: usize = 4096;
/// Up to this many taps of a row a function has no loop over them.
const UNROLLED: usize = 8;
/// Up to this many taps a window is folded in registers, by its stride across: those of larger ones have too many numbers in common,
/// unless they are a column.
const MOST_TAPS: [usize; 2] = [4, 9];
const MOST_TAPS_OF_COLUMN: usize = 9;

/// A pool with concrete shapes.
#[derive(Clone, Debug)]
pub struct PoolSpec<'a> {
    /// What is taken of each window.
    pub kind: PoolKind,
    /// Shape of the input.
    pub input: &'a [usize],
    /// Shape of the output.
    pub output: &'a [usize],
    /// Its geometry.
    pub window: &'a Window,
    /// What happens to each maximum or mean.
    pub epilogue: Epilogue,
}

/// A maximum or mean over windows. A unit of work is a channel of a sample.
pub struct PoolKernel {
    fold: Fold,
    planes: usize,
    channels: usize,
    /// Lines of scratch memory that a row between the passes takes.
    column: usize,
    input: [usize; 2],
    output: [usize; 2],
    axes: [Axis; 2],
    /// The outputs whose windows lie inside of the plane, by axis, and how they are made.
    inside: Option<([Range<usize>; 2], Arc<Function>)>,
    vertical: Arc<Function>,
    horizontal: Arc<Function>,
    /// What the sums of each row of outputs are divided by; empty for a maximum.
    divisors: Vec<Vec<f32>>,
    /// What makes outputs of maxima or means, if these are not the outputs themselves.
    finish: Option<Finishing>,
    /// What measures the outputs, if they are measured.
    measure: Option<Measure>,
    interface: Interface,
}

/// What makes outputs of planes of maxima or means that wait in scratch memory.
struct Finishing {
    finish: Finish,
    /// Factor and bias of each channel.
    numbers: Vec<[f32; 2]>,
    /// Planes that wait at a time, at most.
    together: usize,
}

/// What a window's elements are combined by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    Maximum,
    Sum,
}

/// A window along one axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    kernel: usize,
    stride: usize,
    dilation: usize,
    begin: usize,
    /// The size with padding.
    padded: usize,
    size: usize,
}

impl Axis {
    /// The taps that fall on elements, with the window at a position.
    fn taps(self, position: usize) -> Range<usize> {
        let before =
            |end: usize| end.saturating_sub(position * self.stride).div_ceil(self.dilation).min(self.kernel);
        before(self.begin)..before(self.begin + self.size)
    }

    /// How many taps a mean at a position counts: those on elements, or those on padding too.
    fn count(self, position: usize, padding: bool) -> usize {
        let padded = Axis { begin: 0, size: self.padded, ..self };
        if padding { padded.taps(position).len() } else { self.taps(position).len() }
    }

    /// The first `positions` positions as far as their windows lie inside.
    fn inside(self, positions: usize) -> Range<usize> {
        let first = self.begin.div_ceil(self.stride);
        let room = (self.begin + self.size).checked_sub((self.kernel - 1) * self.dilation + 1);
        let end = room.map_or(0, |room| room / self.stride + 1).min(positions);
        first.min(end)..end
    }

    /// From the padding's start to where the windows of `positions` positions end.
    fn reach(self, positions: usize) -> usize {
        positions.saturating_sub(1) * self.stride + (self.kernel - 1) * self.dilation + 1
    }
}

impl Jit {
    /// The kernel of a pool.
    ///
    /// # Errors
    /// [`JitError::Shape`] if the shapes do not fit the window, [`JitError::Unsupported`] for windows of three axes and for
    /// windows that reach far.
    pub fn pool(&self, spec: &PoolSpec<'_>) -> Result<PoolKernel, JitError> {
        let rank = spec.window.rank();
        if rank > 2 {
            return Err(JitError::Unsupported("windows of three and more axes"));
        }
        let fits = spec.input.len() == rank + 2
            && spec.output.len() == rank + 2
            && spec.input[..2] == spec.output[..2];
        if rank == 0 || !fits {
            return Err(JitError::Shape(format!("a pool of {:?} to {:?}", spec.input, spec.output)));
        }
        let two = |shape: &[usize]| if rank == 1 { [1, shape[2]] } else { [shape[2], shape[3]] };
        let (input, output) = (two(spec.input), two(spec.output));
        let axis = |axis: usize| {
            let Some(i) = (axis + rank).checked_sub(2) else {
                return Axis { kernel: 1, stride: 1, dilation: 1, begin: 0, padded: 1, size: 1 };
            };
            let w = spec.window;
            Axis {
                kernel: w.kernel[i],
                stride: w.strides[i],
                dilation: w.dilations[i],
                begin: w.pads_begin[i],
                padded: input[axis] + w.pads_begin[i] + w.pads_end[i],
                size: input[axis],
            }
        };
        let axes = [axis(0), axis(1)];
        for (axis, positions) in axes.into_iter().zip(output) {
            let lists = [axis.kernel, axis.stride, axis.dilation, axis.padded, positions];
            if lists.into_iter().any(|n| n > FAR) || axis.kernel == 0 || axis.reach(positions) > FAR {
                return Err(JitError::Unsupported("a window that moves or reaches this far"));
            }
        }
        let (planes, size) = (spec.input[0] * spec.input[1], output[0] * output[1]);
        spec.epilogue.check(spec.input[1])?;
        if u32::try_from(size).is_err() {
            return Err(JitError::Unsupported("a plane of this many outputs"));
        }
        let measured = spec.epilogue.measured;
        let measure =
            measured.map(|measured| Measure::new(&self.compiler, self.isa, measured)).transpose()?;
        let epilogue = Epilogue { measured: None, ..spec.epilogue.clone() };
        let finish = match epilogue == Epilogue::default() {
            true => None,
            // Of channels without an output there may be more than memory holds.
            false => Some(Finishing {
                numbers: (0..if size == 0 { 0 } else { spec.input[1] })
                    .map(|channel| epilogue.numbers(channel, None))
                    .collect(),
                together: (WAITING / size.max(1)).clamp(1, spec.input[1].max(1)),
                finish: Finish::new(&self.compiler, self.isa, Element::F32, false, epilogue)?,
            }),
        };
        let waiting = finish.as_ref().map_or(0, |finishing| finishing.together * size);
        let samples = measured.map(|_| Slot::f32(spec.input[0]));
        let column = (axes[1].reach(output[1]) + 1).max(axes[1].padded).div_ceil(LINE);
        let interface = Interface {
            inputs: vec![Slot::f32(planes * input[0] * input[1])],
            residual: spec.epilogue.residual,
            outputs: std::iter::once(Slot::f32(planes * size)).chain(samples).collect(),
            scratch: column + waiting.div_ceil(LINE),
            ..Interface::default()
        };
        let divisors = match spec.kind {
            PoolKind::Max => vec![],
            _ if planes == 0 => vec![],
            PoolKind::Average { count_padding } => {
                let counts = |axis: Axis, position| axis.count(position, count_padding);
                let row = |y| {
                    let rows = counts(axes[0], y);
                    (0..output[1]).map(|x| (rows * counts(axes[1], x)) as f32).collect()
                };
                (0..output[0]).map(row).collect()
            }
        };
        let (fold, stride) = (Fold::of(spec.kind), axes[1].stride);
        let inside = [0, 1].map(|axis| axes[axis].inside(output[axis]));
        let inside = match self.pool_inside(fold, axes, input[1], output[1], &inside) {
            Some(code) => Some((inside, self.compiler.function(&code)?)),
            None => None,
        };
        let unrolled = (axes[1].kernel <= UNROLLED).then_some(axes[1].kernel);
        Ok(PoolKernel {
            fold,
            planes,
            channels: spec.input[1],
            column,
            input,
            output,
            axes,
            inside,
            vertical: self.compiler.function(&Vertical { fold, lanes: self.lanes_of_rows(input[1]) })?,
            horizontal: self.compiler.function(&Horizontal {
                fold,
                lanes: self.lanes_of_rows(output[1]),
                stride,
                unrolled,
            })?,
            divisors,
            finish,
            measure,
            interface,
        })
    }
}

impl Jit {
    /// The code for windows inside of a plane, where that is better than row by row: few taps, and few outputs of a row beside them.
    fn pool_inside(
        &self,
        fold: Fold,
        axes: [Axis; 2],
        pitch: usize,
        out_pitch: usize,
        inside: &[Range<usize>; 2],
    ) -> Option<Inside> {
        let [kernel, strides] = [axes.map(|axis| axis.kernel), axes.map(|axis| axis.stride)];
        let columns = inside[1].len();
        let most = *MOST_TAPS.get(strides[1].checked_sub(1)?)?;
        let most = if kernel[1] == 1 { MOST_TAPS_OF_COLUMN } else { most };
        let few = kernel[0] * kernel[1] <= most && out_pitch - columns <= 2;
        let near = axes.iter().all(|axis| axis.dilation == 1);
        let lanes = self.lanes_of_rows(columns);
        (few && near && columns >= lanes && !inside[0].is_empty()).then_some(Inside {
            fold,
            lanes,
            kernel,
            strides,
            pitch,
            out_pitch,
            columns,
        })
    }

    /// Lanes of the longest vectors that rows of so many numbers fill; portable ones fit every row.
    fn lanes_of_rows(&self, numbers: usize) -> usize {
        let mut lanes = self.isa.lanes(Element::F32);
        while lanes > numbers.max(LANES) {
            lanes /= 2;
        }
        lanes
    }
}

impl Fold {
    fn of(kind: PoolKind) -> Fold {
        if kind == PoolKind::Max { Fold::Maximum } else { Fold::Sum }
    }

    /// What it starts from, and what padding is.
    fn identity(self) -> f32 {
        if self == Fold::Maximum { f32::NEG_INFINITY } else { 0.0 }
    }

    /// As [`Self::next`], of two numbers.
    fn of_two(self, so_far: f32, next: f32) -> f32 {
        match self {
            Fold::Maximum if next > so_far => next,
            Fold::Maximum => so_far,
            Fold::Sum => so_far + next,
        }
    }

    fn start(self, b: &mut FunctionBuilder<'_>) -> Value {
        splat(b, self.identity())
    }

    fn next(self, b: &mut FunctionBuilder<'_>, so_far: Value, next: Value) -> Value {
        match self {
            Fold::Maximum => Elementwise(b).larger(so_far, next),
            Fold::Sum => b.ins().fadd(so_far, next),
        }
    }
}

impl Kernel for PoolKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn units(&self, _: usize) -> usize {
        if self.output.contains(&0) { 0 } else { self.planes }
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        let inside = self.inside.iter().map(|(_, function)| function.clone());
        let finish = self.finish.iter().map(|finishing| finishing.finish.function().clone());
        [self.vertical.clone(), self.horizontal.clone()].into_iter().chain(inside).chain(finish).collect()
    }

    fn describe(&self) -> String {
        let [down, across] = self.axes;
        match self.inside {
            Some(_) => format!("windows of {}x{}, in registers", down.kernel, across.kernel),
            None => format!("rows of {}, then windows of {}", down.kernel, across.kernel),
        }
    }
}
