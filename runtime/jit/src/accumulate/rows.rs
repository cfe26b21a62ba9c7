//! The kernel for matrix products of few rows where no vector can look up: fully connected layers at batch 1 to 3.
//!
//! There are too few positions to fill lanes, so entries are single numbers and several outputs are summed side by side.
//! A byte selects one of the 3^5 signed sums of five inputs: the stream is the weights themselves at 1.6 bits each,
//! a twentieth of what a product of floats reads.

use super::code::{
    AccumulateScalars, AccumulateScalarsFunction, BuildScalars, BuildScalarsFunction, SCALAR_OUTPUTS,
    SCALAR_TABLE,
};
use super::pattern::Patterns;
use super::{Banded, Family, Weights};
use crate::compile::{Compiler, Function};
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::kernel::{Io, Line, lines};
use crate::number::Number;
use bytemuck::Zeroable;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::interpret::View;

/// Inputs of a group.
const GROUP: usize = 5;
/// Groups whose tables exist at once: 23 KB.
const BLOCK: usize = 24;
/// Rows up to which this kernel is faster than one with lanes over rows.
const MOST_ROWS: usize = 3;

/// A kernel of one plane with inputs of type `T`.
pub(crate) struct RowsKernel<T> {
    input: PhantomData<T>,
    geometry: Geometry,
    /// By block: chunk by chunk of outputs, group by group, an index per output of the chunk.
    indices: Vec<Vec<u8>>,
    build: Arc<Function>,
    accumulate: Arc<Function>,
    epilogue: Epilogue,
}

impl<T: Number> RowsKernel<T> {
    /// Whether the layer is such a product.
    pub fn suits(geometry: &Geometry) -> bool {
        geometry.rows_of_a_sample.is_some() && geometry.positions() <= MOST_ROWS
    }

    pub fn new(
        compiler: &Compiler,
        geometry: Geometry,
        weights: &Weights,
        epilogue: Epilogue,
    ) -> Result<RowsKernel<T>, JitError> {
        let patterns = Patterns::new(GROUP);
        let groups: Vec<usize> = (0..geometry.channels.div_ceil(GROUP)).collect();
        let index = |output: usize, group: usize| {
            if output >= geometry.outputs {
                return 0;
            }
            let channels = group * GROUP..((group + 1) * GROUP).min(geometry.channels);
            let digits = channels.map(|channel| weights.at(&geometry, output, channel, [0, 0]));
            let (number, negative) = patterns.number(digits);
            (if negative { patterns.entries() - 1 + number } else { number }) as u8
        };
        let indices = groups
            .chunks(BLOCK)
            .map(|block| {
                let chunks = 0..geometry.outputs.div_ceil(SCALAR_OUTPUTS);
                chunks
                    .flat_map(|chunk| block.iter().map(move |&group| (chunk, group)))
                    .flat_map(|(chunk, group)| {
                        (0..SCALAR_OUTPUTS).map(move |i| (chunk * SCALAR_OUTPUTS + i, group))
                    })
                    .map(|(output, group)| index(output, group))
                    .collect()
            })
            .collect();
        let build = compiler.function(&BuildScalars { element: T::ELEMENT, group: GROUP })?;
        let accumulate = compiler.function(&AccumulateScalars { element: T::ELEMENT })?;
        Ok(RowsKernel { input: PhantomData, geometry, indices, build, accumulate, epilogue })
    }

    fn groups(&self) -> usize {
        self.geometry.channels.div_ceil(GROUP)
    }

    fn row_lines(&self) -> usize {
        lines::<T>(self.groups() * GROUP)
    }

    fn sum_lines(&self) -> usize {
        lines::<T::Wide>(self.units() * SCALAR_OUTPUTS)
    }
}

impl<T: Number + 'static> Family for RowsKernel<T> {
    fn units(&self) -> usize {
        self.geometry.outputs.div_ceil(SCALAR_OUTPUTS)
    }

    fn scratch(&self) -> usize {
        self.row_lines() + self.sum_lines() + lines::<T::Wide>(BLOCK * SCALAR_TABLE)
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        vec![self.build.clone(), self.accumulate.clone()]
    }

    fn describe(&self) -> String {
        format!("scalar tables: groups of {GROUP}, {BLOCK} a block; {SCALAR_OUTPUTS} outputs at once")
    }

    fn into_banded(self: Box<Self>) -> Option<Box<dyn Banded>> {
        None
    }

    unsafe fn execute(&self, units: Range<usize>, input: View<'_>, io: &Io<'_>, scratch: &mut [Line]) {
        let input = T::elements(input);
        let (row, scratch) = scratch.split_at_mut(self.row_lines());
        let (sums, tables) = scratch.split_at_mut(self.sum_lines());
        let row: &mut [T] = bytemuck::cast_slice_mut(row);
        let sums: &mut [T::Wide] = &mut bytemuck::cast_slice_mut(sums)[..units.len() * SCALAR_OUTPUTS];
        let tables: &mut [T::Wide] = bytemuck::cast_slice_mut(tables);
        // SAFETY: the functions were emitted for exactly these types; `entry()` is their start.
        let build =
            unsafe { std::mem::transmute::<*const u8, BuildScalarsFunction<T, T::Wide>>(self.build.entry()) };
        // SAFETY: as above.
        let accumulate = unsafe {
            std::mem::transmute::<*const u8, AccumulateScalarsFunction<T::Wide>>(self.accumulate.entry())
        };
        let (depth, stride) = (self.geometry.channels, self.geometry.input_strides.x);
        let outputs = units.start * SCALAR_OUTPUTS..(units.end * SCALAR_OUTPUTS).min(self.geometry.outputs);
        for position in 0..self.geometry.positions() {
            row[..depth].copy_from_slice(&input[position * stride..][..depth]);
            row[depth..].fill(T::zeroed());
            sums.fill(T::Wide::zeroed());
            for (block, indices) in self.indices.iter().enumerate() {
                let first = block * BLOCK;
                let groups = (self.groups() - first).min(BLOCK);
                let stride = groups * SCALAR_OUTPUTS;
                let indices = &indices[units.start * stride..units.end * stride];
                // SAFETY: `tables` has `BLOCK >= groups` tables of `SCALAR_TABLE` numbers; `row` has `groups() * GROUP`
                // numbers, of which the block's start at `first * GROUP`. `sums` has `units.len()` chunks, `indices`
                // `groups * SCALAR_OUTPUTS` bytes for each of them, and every index is below 3^5.
                unsafe {
                    build(tables.as_mut_ptr(), row[first * GROUP..].as_ptr(), groups);
                    accumulate(tables.as_ptr(), sums.as_mut_ptr(), indices.as_ptr(), units.len(), groups);
                }
            }
            let sums = sums.iter().copied();
            // SAFETY: these outputs belong to the units that the caller gave over.
            unsafe { self.epilogue.row(&self.geometry, position, outputs.clone(), sums, io) };
        }
    }
}
