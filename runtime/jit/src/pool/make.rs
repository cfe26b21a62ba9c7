//! How outputs of a pool are made: those whose windows lie inside of the planes of all planes of a sample in a call, the others row by row or one by one,
//! with what is done to them, and measured of them, behind.

use super::inside::InsideFunction;
use super::rows::{HorizontalFunction, VerticalFunction};
use super::{Finishing, PoolKernel};
use crate::finish::{Piece, Sums};
use crate::kernel::{Io, LINE, Line, sealed};
use std::ops::Range;

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

    /// Makes some rows of a plane of outputs, row by row. `plane` has the rows of the input that they read, without those `above`.
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

    /// A column of outputs, in rows whose windows lie inside: `output` has these rows.
    fn column(&self, plane: &[f32], above: usize, rows: Range<usize>, x: usize, output: &mut [f32]) {
        let ([_, pitch], [_, width], [down, across]) = (self.input, self.output, self.axes);
        let taps = across.taps(x);
        let first = (x * across.stride + taps.start * across.dilation).saturating_sub(across.begin);
        let identity = self.fold.identity();
        for (y, output) in rows.zip(output.chunks_exact_mut(width)) {
            let window = &plane[(y * down.stride - down.begin - above) * pitch + first..];
            let mut folded = identity;
            for tap in 0..taps.len() {
                let column = &window[tap * across.dilation..];
                let numbers = column.iter().step_by(down.dilation * pitch).take(down.kernel);
                let column = numbers.fold(identity, |so_far, &next| self.fold.of_two(so_far, next));
                folded = self.fold.of_two(folded, column);
            }
            output[x] = self.divisors.get(y).map_or(folded, |row| folded / row[x]);
        }
    }
}

/// Planes that a pool reads, each from a row on, `step` numbers apart.
#[derive(Clone, Copy)]
pub(crate) struct Planes<'a> {
    pub numbers: &'a [f32],
    pub step: usize,
    /// Rows of each that are not there.
    pub above: usize,
}

impl PoolKernel {
    /// Makes some rows of consecutive planes of outputs of a sample, given by their numbers, does to them what is done to outputs, and measures them.
    ///
    /// # Safety
    /// Nobody else accesses these outputs. The scratch memory is the kernel's, and was [cleared](Self::clear).
    pub(crate) unsafe fn make(
        &self,
        numbers: Range<usize>,
        planes: Planes<'_>,
        rows: Range<usize>,
        io: &Io<'_>,
        scratch: &mut [Line],
    ) {
        if rows.is_empty() || numbers.is_empty() {
            return;
        }
        let scratch: &mut [f32] = bytemuck::cast_slice_mut(scratch);
        let (column, waiting) = scratch.split_at_mut(self.column * LINE);
        let [height, width] = self.output;
        let (plane, some) = (height * width, rows.len() * width);
        let start = |number: usize| number * plane + rows.start * width;
        let place = |numbers: &Range<usize>| start(numbers.start)..start(numbers.end - 1) + some;
        match &self.finish {
            None => {
                let target = io.output_start(place(&numbers));
                // SAFETY: what is written are these rows of these planes, the caller's.
                unsafe { self.fold(numbers.len(), planes, &rows, target, plane, column) };
            }
            Some(Finishing { finish, numbers: factors, together }) => {
                for first in numbers.clone().step_by(*together) {
                    let before = (first - numbers.start) * planes.step;
                    let planes = Planes { numbers: &planes.numbers[before..], ..planes };
                    let numbers = first..numbers.end.min(first + together);
                    let waiting = &mut waiting[..numbers.len() * some];
                    // SAFETY: there are so many rows of so many planes in this memory.
                    unsafe {
                        self.fold(numbers.len(), planes, &rows, waiting.as_mut_ptr(), some, column);
                    }
                    let sums = Sums {
                        sample: first / self.channels,
                        sums: &*waiting,
                        totals: &[],
                        step: some,
                        pieces: &[Piece { from: 0, to: 0, count: some as u32 }],
                        numbers: &factors[first % self.channels..][..numbers.len()],
                        origin: start(first),
                        stride: plane,
                    };
                    // SAFETY: the caller's promise.
                    unsafe { finish.channels(&sums, io) };
                }
            }
        }
        let Some(measure) = &self.measure else { return };
        // SAFETY: the caller's promise: these outputs.
        let largest = |numbers: Range<usize>| measure.largest(unsafe { io.output(place(&numbers)) });
        let largest = match some == plane {
            true => largest(numbers.clone()),
            false => numbers.clone().map(|number| largest(number..number + 1)).fold(0.0, f32::max),
        };
        io.raise(1, numbers.start / self.channels, largest);
    }

    /// Folds the windows of some rows of so many planes, to rows that lie one behind the other from `target` on, `step` numbers from a plane to the
    /// next.
    ///
    /// # Safety
    /// These rows are there, and nobody else accesses them.
    unsafe fn fold(
        &self,
        count: usize,
        planes: Planes<'_>,
        rows: &Range<usize>,
        target: *mut f32,
        step: usize,
        column: &mut [f32],
    ) {
        let ([_, width], [_, pitch], [down, across], above) =
            (self.output, self.input, self.axes, planes.above);
        // The rows that have windows inside of the plane, and the columns of these windows.
        let (mut inner, mut columns) = (rows.end..rows.end, 0..0);
        if let Some(([all, across], _)) = &self.inside {
            let first = all.start.clamp(rows.start, rows.end);
            (inner, columns) = (first..all.end.clamp(first, rows.end), across.clone());
        }
        if let Some((_, inside)) = self.inside.as_ref().filter(|_| !inner.is_empty()) {
            let from = (inner.start * down.stride - down.begin - above) * pitch
                + columns.start * across.stride
                - across.begin;
            let reach = ((inner.len() - 1) * down.stride + down.kernel - 1) * pitch
                + (columns.len() - 1) * across.stride
                + across.kernel;
            let source = &planes.numbers[from..][..(count - 1) * planes.step + reach];
            // SAFETY: the function was emitted for exactly this type, these pitches and as many columns, whose windows, in these rows, lie
            // inside of the planes: `source` has what they read. What is written is there, and nobody else's, by the caller's promise.
            unsafe {
                let inside = std::mem::transmute::<*const u8, InsideFunction>(inside.entry());
                let first = target.add((inner.start - rows.start) * width + columns.start);
                inside(source.as_ptr(), first, inner.len(), count, planes.step * 4, step * 4);
            }
        }
        if inner == *rows && columns == (0..width) {
            return;
        }
        for i in 0..count {
            // SAFETY: the caller's promise.
            let output = unsafe { std::slice::from_raw_parts_mut(target.add(i * step), rows.len() * width) };
            let plane = &planes.numbers[i * planes.step..];
            let (before, output) = output.split_at_mut((inner.start - rows.start) * width);
            let (output, behind) = output.split_at_mut(inner.len() * width);
            self.rows(plane, above, rows.start..inner.start, before, column);
            self.rows(plane, above, inner.end..rows.end, behind, column);
            for x in (0..columns.start).chain(columns.end..width).filter(|_| !inner.is_empty()) {
                self.column(plane, above, inner.clone(), x, output);
            }
        }
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
        let step = self.input[0] * self.input[1];
        let mut first = units.start;
        while first < units.end {
            // What is left of a sample.
            let numbers = first..units.end.min((first / self.channels + 1) * self.channels);
            let planes = Planes { numbers: &io.f32(0)[first * step..], step, above: 0 };
            first = numbers.end;
            // SAFETY: the caller's promise: the outputs' planes are these units'.
            unsafe { self.make(numbers, planes, 0..self.output[0], io, scratch) };
        }
    }
}
