//! Pools over one or two spatial axes, with positions as lanes.
//!
//! Where a window is small and lies inside of the plane, all of it is folded in registers (`inside`). Other outputs are made row by row: a vertical
//! pass over whole rows, then a horizontal one. Between the two a row waits in scratch memory with its padding in place, so that the horizontal pass
//! needs no borders. The largest element does not depend on the order (of zeros of both signs either may be it); a mean's sum is taken in f32.

mod inside;
mod rows;
#[cfg(all(target_arch = "x86_64", unix))]
mod wide;

use inside::{Inside, InsideFunction};
use rows::{Horizontal, HorizontalFunction, Vertical, VerticalFunction};

use crate::Jit;
use crate::compile::Function;
use crate::elementwise::Elementwise;
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::finish::{Finish, Piece, Sums};
use crate::kernel::{Interface, Io, Kernel, LINE, Line, Slot, sealed};
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
/// Up to this many taps of a row a function has no loop over them.
const UNROLLED: usize = 8;
/// Up to this many taps a window is folded in registers, by its stride across: those of larger ones have too many numbers in common.
const MOST_TAPS: [usize; 2] = [4, 9];

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
    /// What makes outputs of a plane of maxima or means that waits in scratch memory, if they are not the outputs themselves.
    finish: Option<Finish>,
    /// What measures the outputs, if they are measured.
    measure: Option<Measure>,
    interface: Interface,
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
            false => Some(Finish::new(&self.compiler, self.isa, Element::F32, false, epilogue)?),
        };
        let samples = measured.map(|_| Slot::f32(spec.input[0]));
        let column = (axes[1].reach(output[1]) + 1).max(axes[1].padded).div_ceil(LINE);
        let interface = Interface {
            inputs: vec![Slot::f32(planes * input[0] * input[1])],
            residual: spec.epilogue.residual,
            outputs: std::iter::once(Slot::f32(planes * size)).chain(samples).collect(),
            scratch: column + if finish.is_some() { size.div_ceil(LINE) } else { 0 },
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

impl PoolKernel {
    /// Rows of a plane of outputs.
    pub(crate) fn height(&self) -> usize {
        self.output[0]
    }

    /// The rows of the input that a row of outputs reads, from the first to behind the last.
    pub(crate) fn reads(&self, y: usize) -> Range<usize> {
        let down = self.axes[0];
        let taps = down.taps(y);
        let at =
            |tap: usize| (y * down.stride + tap * down.dilation).saturating_sub(down.begin).min(down.size);
        match taps.is_empty() {
            true => at(0)..at(0),
            false => at(taps.start)..at(taps.end - 1) + 1,
        }
    }

    /// Prepares scratch memory.
    pub(crate) fn clear(&self, scratch: &mut [Line]) {
        let column: &mut [f32] = bytemuck::cast_slice_mut(&mut scratch[..self.column]);
        column.fill(self.fold.identity());
    }

    /// Makes some rows of a plane of outputs, row by row; as [`Self::some_rows`].
    fn rows(&self, plane: &[f32], above: usize, rows: Range<usize>, output: &mut [f32], column: &mut [f32]) {
        let ([_, width], [_, out_width], [down, across]) = (self.input, self.output, self.axes);
        // SAFETY: the functions were emitted for exactly these types; `entry()` is their start.
        let (vertical, horizontal) = unsafe {
            (
                std::mem::transmute::<*const u8, VerticalFunction>(self.vertical.entry()),
                std::mem::transmute::<*const u8, HorizontalFunction>(self.horizontal.entry()),
            )
        };
        for (y, output) in rows.zip(output.chunks_exact_mut(out_width.max(1))) {
            let taps = down.taps(y);
            let first = (y * down.stride + taps.start * down.dilation).saturating_sub(down.begin);
            let rows = first.checked_sub(above).and_then(|row| plane.get(row * width..)).unwrap_or(&[]);
            let needed = taps.len().checked_sub(1).map_or(0, |last| (last * down.dilation + 1) * width);
            assert!(rows.len() >= needed, "a window reads rows that are not in its band");
            let middle = &mut column[across.begin..][..width];
            // SAFETY: `taps` are those inside of the plane, so `taps.len()` rows of `width` numbers are at `rows`, a
            // dilation apart; `middle` has `width` numbers.
            unsafe {
                let step = down.dilation * width * 4;
                vertical(rows.as_ptr(), middle.as_mut_ptr(), width, taps.len(), step);
            }
            let divisors = self.divisors.get(y).map_or(&[][..], |row| row);
            // SAFETY: the scratch memory reaches as far as the windows of all outputs; a mean has a divisor for each
            // output of each row, a maximum reads none.
            unsafe {
                horizontal(
                    column.as_ptr(),
                    output.as_mut_ptr(),
                    out_width,
                    across.kernel,
                    across.dilation * 4,
                    divisors.as_ptr(),
                );
            }
        }
    }

    /// An output by itself.
    fn single(&self, plane: &[f32], above: usize, y: usize, x: usize) -> f32 {
        let [down, across] = self.axes;
        let (rows, columns) = (down.taps(y), across.taps(x));
        let at = |axis: Axis, position, tap| position * axis.stride + tap * axis.dilation - axis.begin;
        let column = |tap| {
            let x = at(across, x, tap);
            let numbers = rows.clone().map(|tap| plane[(at(down, y, tap) - above) * self.input[1] + x]);
            numbers.fold(self.fold.identity(), |so_far, next| self.fold.of_two(so_far, next))
        };
        let folded =
            columns.map(column).fold(self.fold.identity(), |so_far, next| self.fold.of_two(so_far, next));
        self.divisors.get(y).map_or(folded, |row| folded / row[x])
    }
}

impl PoolKernel {
    /// Makes the maxima or means of some rows of a plane. `plane` has the rows of the input that they read, without those `above`.
    fn some_rows(
        &self,
        plane: &[f32],
        above: usize,
        rows: Range<usize>,
        output: &mut [f32],
        column: &mut [f32],
    ) {
        let ([_, width], [_, out_width], [down, across]) = (self.input, self.output, self.axes);
        let Some(([inner, columns], inside)) = &self.inside else {
            return self.rows(plane, above, rows, output, column);
        };
        let first = inner.start.clamp(rows.start, rows.end);
        let inner = first..inner.end.clamp(first, rows.end);
        let (before, output) = output.split_at_mut((inner.start - rows.start) * out_width);
        let (output, behind) = output.split_at_mut(inner.len() * out_width);
        self.rows(plane, above, rows.start..inner.start, before, column);
        self.rows(plane, above, inner.end..rows.end, behind, column);
        if inner.is_empty() {
            return;
        }
        let from = (inner.start * down.stride - down.begin - above) * width + columns.start * across.stride
            - across.begin;
        // SAFETY: the function was emitted for exactly this type, these pitches and as many columns, whose windows, in these rows, lie
        // inside of the plane.
        unsafe {
            let inside = std::mem::transmute::<*const u8, InsideFunction>(inside.entry());
            inside(plane[from..].as_ptr(), output[columns.start..].as_mut_ptr(), inner.len());
        }
        for (y, output) in inner.zip(output.chunks_exact_mut(out_width)) {
            for x in (0..columns.start).chain(columns.end..out_width) {
                output[x] = self.single(plane, above, y, x);
            }
        }
    }
}

impl PoolKernel {
    /// Makes some rows of a plane of outputs, given by its number, as [`Self::some_rows`], does to them what is done to outputs, and measures
    /// them.
    ///
    /// # Safety
    /// Nobody else accesses these outputs. The scratch memory is the kernel's, and was [cleared](Self::clear).
    pub(crate) unsafe fn make(
        &self,
        number: usize,
        plane: &[f32],
        above: usize,
        rows: Range<usize>,
        io: &Io<'_>,
        scratch: &mut [Line],
    ) {
        let scratch: &mut [f32] = bytemuck::cast_slice_mut(scratch);
        let (column, waiting) = scratch.split_at_mut(self.column * LINE);
        let [height, width] = self.output;
        let place = (number * height + rows.start) * width..(number * height + rows.end) * width;
        match &self.finish {
            // SAFETY: the caller's promise.
            None => self.some_rows(plane, above, rows, unsafe { io.output(place.clone()) }, column),
            // SAFETY: as above.
            Some(finish) => unsafe { self.finish(finish, number, plane, above, rows, io, [column, waiting]) },
        }
        if let Some(measure) = &self.measure {
            // SAFETY: as above.
            io.raise(1, number / self.channels, measure.largest(unsafe { io.output(place) }));
        }
    }

    /// As [`Self::make`], where something is done to outputs, before they are measured.
    ///
    /// # Safety
    /// As [`Self::make`].
    #[allow(clippy::too_many_arguments)] // Which rows of what, and the memory for them.
    unsafe fn finish(
        &self,
        finish: &Finish,
        number: usize,
        plane: &[f32],
        above: usize,
        rows: Range<usize>,
        io: &Io<'_>,
        [column, waiting]: [&mut [f32]; 2],
    ) {
        let [height, width] = self.output;
        let place = (number * height + rows.start) * width..(number * height + rows.end) * width;
        let waiting = &mut waiting[..place.len()];
        self.some_rows(plane, above, rows, waiting, column);
        let sums = Sums {
            sample: number / self.channels,
            sums: &*waiting,
            totals: &[],
            step: place.len(),
            pieces: &[Piece { from: 0, to: 0, count: place.len() as u32 }],
            numbers: &[finish.epilogue.numbers(number % self.channels, None)],
            origin: place.start,
            stride: height * width,
        };
        // SAFETY: the caller's promise.
        unsafe { finish.channels(&sums, io) };
    }
}

impl sealed::Execute for PoolKernel {
    fn prepare(&self, io: &Io<'_>) {
        if self.measure.is_some() {
            io.clear(1);
        }
    }

    unsafe fn execute(&self, _: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]) {
        self.clear(scratch);
        let numbers = self.input[0] * self.input[1];
        for unit in units {
            let plane = &io.f32(0)[unit * numbers..][..numbers];
            // SAFETY: the caller's promise: the output's plane is this unit's.
            unsafe { self.make(unit, plane, 0, 0..self.output[0], io, scratch) };
        }
    }
}

impl Kernel for PoolKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn units(&self, _: usize) -> usize {
        self.planes
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        let inside = self.inside.iter().map(|(_, function)| function.clone());
        let finish = self.finish.iter().map(|finish| finish.function().clone());
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
