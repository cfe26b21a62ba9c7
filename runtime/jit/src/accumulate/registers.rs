//! The kernel for matrix products of few rows where vectors can look up: fully connected layers at small batches.
//!
//! There are too few positions to fill lanes, so lanes are outputs. The tables of some groups of inputs are built in registers,
//! and the indices of all outputs stream past them, for each row of the batch before the next pass. Between passes sums are
//! in memory. Indices are the weights at about 2 bits each, read once and in order.

use super::code::{Combine, Permute, PermuteFunction, Widen, WidenFunction};
use super::indices::Form;
#[cfg(all(target_arch = "x86_64", unix))]
use super::permute::{combine, permute};
use super::{Banded, Family, IntegerRange, Weights};
use crate::compile::{Compiler, Function};
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::kernel::{Io, Line, lines};
use crate::machine::{Element, Isa};
use crate::number::Number;
use bytemuck::Zeroable;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::interpret::View;

#[cfg(not(all(target_arch = "x86_64", unix)))]
fn permute(_: &Permute) -> Option<Result<Vec<u8>, String>> {
    None
}
#[cfg(not(all(target_arch = "x86_64", unix)))]
fn combine(_: &Combine) -> Option<Result<Vec<u8>, String>> {
    None
}

/// Rows beyond which lanes over rows are always the better choice.
const MOST_ROWS: usize = 16;

/// How such a kernel goes about a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Passes {
    form: Form,
    /// Groups whose tables exist at once.
    groups: usize,
    /// How many passes sums of i16 take without overflow, whatever the weights.
    widen_after: usize,
    /// What a run should take, in cycles.
    pub cycles: f64,
}

impl Passes {
    /// Those of a product of few rows; `None` for other layers, without vectors that look up, and where integers are so large
    /// that sums of a single group could overflow.
    pub fn of(
        geometry: &Geometry,
        element: Element,
        range: Option<IntegerRange>,
        isa: Isa,
    ) -> Option<Passes> {
        let form = Form::of(element, isa.lanes(element) * element.bytes(), range)?;
        let few = geometry.rows_of_a_sample.is_some() && geometry.positions() <= MOST_ROWS;
        if !few || geometry.output_len() == 0 {
            return None;
        }
        let inputs = range.map_or(usize::MAX, IntegerRange::inputs);
        let groups = form.most_groups.min(inputs / form.group);
        let widen_after = inputs.checked_div(groups * form.group)?;
        let passes = Passes { form, groups, widen_after, cycles: 0.0 };
        Some(Passes { cycles: passes.estimate(geometry), ..passes })
    }

    /// The constants were fitted to layers of 32 to 4096 outputs on a core with AVX-512, whose sums and indices come from the
    /// second-level cache or nearer, except that the largest layer's indices come from memory.
    fn estimate(&self, geometry: &Geometry) -> f64 {
        let form = &self.form;
        // To look up a group's sums for a chunk, to make the tables of a pass, to finish an output.
        let [lookup, pass, output] = match (form.element, form.signed) {
            (Element::F32, true) => [1.5, 220.0, 0.8],
            (Element::I16, true) => [2.4, 220.0, 0.8],
            (Element::F32, false) => [2.2, 65.0, 1.0],
            (Element::I16, false) if form.bytes_of_a_pass() => [4.3, 60.0, 0.8],
            (Element::I16, false) => [5.1, 60.0, 0.8],
        };
        let chunks = geometry.outputs.div_ceil(form.outputs()) as f64;
        let groups = geometry.channels.div_ceil(form.group) as f64;
        let passes = geometry.channels.div_ceil(form.group * self.groups) as f64;
        let row = groups * chunks * lookup + passes * pass + geometry.outputs as f64 * output;
        geometry.positions() as f64 * row
    }
}

/// A kernel with inputs of type `T`, of one plane or of several whose outputs take turns ([`super::Weights::in_turns`]).
pub(crate) struct RegisterKernel<T> {
    input: PhantomData<T>,
    geometry: Geometry,
    plan: Passes,
    passes: Vec<Pass>,
    constants: Vec<u8>,
    /// Of each of the planes whose outputs take turns.
    epilogues: Vec<Epilogue>,
}

/// The lookups in the tables that exist at once.
struct Pass {
    function: Arc<Function>,
    groups: usize,
    /// Chunk by chunk.
    indices: Vec<u8>,
    /// Adds sums of i16 to totals afterwards.
    widen: Option<Arc<Function>>,
}

impl<T: Number> RegisterKernel<T> {
    pub fn new(
        compiler: &Compiler,
        geometry: Geometry,
        plan: Passes,
        weights: &Weights,
        epilogues: Vec<Epilogue>,
    ) -> Result<RegisterKernel<T>, JitError> {
        let Passes { form, groups, widen_after, .. } = plan;
        // What makes totals of the sums of so many passes.
        let widen = |passes: usize| match (form.element, form.bytes()) {
            (Element::F32, _) => Ok(None),
            (Element::I16, false) => {
                compiler.function(&Widen { lanes: form.vector / form.element.bytes() }).map(Some)
            }
            (Element::I16, true) => {
                let code = Combine { form, passes };
                compiler.assembled(&code, || combine(&code)).map(Some)
            }
        };
        let packed = form.pack(&geometry, weights, groups);
        let (all, last) = (geometry.channels.div_ceil(form.group), packed.len().saturating_sub(1));
        let pass = |(number, indices): (usize, Vec<u8>)| {
            let groups = (all - number * groups).min(groups);
            // Sums start anew with the first pass and after they were widened.
            let fresh = number.is_multiple_of(widen_after);
            let code = Permute { form, groups, fresh };
            let function = compiler.assembled(&code, || permute(&code))?;
            let passes = number % widen_after + 1;
            let widen = if number == last || passes == widen_after { widen(passes)? } else { None };
            Ok(Pass { function, groups, indices, widen })
        };
        let passes = packed.into_iter().enumerate().map(pass).collect::<Result<_, JitError>>()?;
        let constants = form.constants();
        Ok(RegisterKernel { input: PhantomData, geometry, plan, passes, constants, epilogues })
    }

    fn chunks(&self) -> usize {
        self.geometry.outputs.div_ceil(self.plan.form.outputs())
    }

    /// Lines of the sums of a row.
    fn sum_lines(&self) -> usize {
        lines::<u8>(self.chunks() * self.plan.form.sums * self.plan.form.vector)
    }

    /// Lines of the totals of a row.
    fn total_lines(&self) -> usize {
        if T::ELEMENT == Element::I16 { lines::<i32>(self.chunks() * self.plan.form.outputs()) } else { 0 }
    }
}

impl<T: Number + 'static> Family for RegisterKernel<T> {
    fn units(&self) -> usize {
        self.chunks()
    }

    fn scratch(&self) -> usize {
        let inputs = lines::<T>(self.plan.groups * self.plan.form.group);
        inputs + self.geometry.positions() * (self.sum_lines() + self.total_lines())
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        self.passes.iter().flat_map(|pass| [&pass.function].into_iter().chain(&pass.widen)).cloned().collect()
    }

    fn describe(&self) -> String {
        let Passes { form, groups, .. } = &self.plan;
        let sums = if form.signed { "signed sums" } else { "subsets" };
        let planes = if self.epilogues.len() > 1 {
            format!("{} planes; ", self.epilogues.len())
        } else {
            String::new()
        };
        format!(
            "tables in registers: {planes}{sums} of {}, {groups} tables; {} outputs at once",
            form.group,
            form.outputs()
        )
    }

    fn estimate(&self) -> Option<f64> {
        Some(self.plan.cycles)
    }

    fn into_banded(self: Box<Self>) -> Option<Box<dyn Banded>> {
        None
    }

    unsafe fn execute(&self, units: Range<usize>, input: View<'_>, io: &Io<'_>, scratch: &mut [Line]) {
        let input = T::elements(input);
        let form = &self.plan.form;
        let (depth, positions) = (self.geometry.channels, self.geometry.positions());
        let row_stride = self.geometry.input_strides.x;
        let pass_inputs = self.plan.groups * form.group;
        let (tail, scratch) = scratch.split_at_mut(lines::<T>(pass_inputs));
        let (sums, totals) = scratch.split_at_mut(positions * self.sum_lines());
        let totals = &mut totals[..positions * self.total_lines()];
        let tail: &mut [T] = bytemuck::cast_slice_mut(tail);
        if self.passes.is_empty() {
            sums.fill(Line::zeroed());
        }
        totals.fill(Line::zeroed());
        for (number, pass) in self.passes.iter().enumerate() {
            // SAFETY: the functions were emitted for exactly these types; `entry()` is their start.
            let permute =
                unsafe { std::mem::transmute::<*const u8, PermuteFunction<T>>(pass.function.entry()) };
            // SAFETY: as above.
            let widen = pass
                .widen
                .as_ref()
                .map(|widen| unsafe { std::mem::transmute::<*const u8, WidenFunction>(widen.entry()) });
            let stride = form.words(pass.groups) * form.vector;
            let indices = &pass.indices[units.start * stride..units.end * stride];
            let first = number * pass_inputs;
            for position in 0..positions {
                let row = &input[position * row_stride..][first..depth.min(first + pass_inputs)];
                let needed = pass.groups * form.group;
                let row = if row.len() < needed {
                    tail[..row.len()].copy_from_slice(row);
                    tail[row.len()..needed].fill(T::zeroed());
                    &tail[..needed]
                } else {
                    row
                };
                let sums = &mut sums[position * self.sum_lines()..][..self.sum_lines()];
                // SAFETY: `row` has the inputs of the pass's groups; `sums` have `form.sums` vectors for every chunk of the
                // layer, `indices` `stride` bytes for each of the `units.len() >= 1` chunks; the constants are this form's.
                unsafe {
                    let (sums, indices) = (sums.as_mut_ptr().cast(), indices.as_ptr());
                    permute(row.as_ptr(), sums, indices, units.len(), self.constants.as_ptr());
                }
                if let Some(widen) = widen {
                    let totals = &mut totals[position * self.total_lines()..][..self.total_lines()];
                    // SAFETY: `totals` have a number for every output of these chunks, `sums` are as above. What `Widen`
                    // takes for a vector is a chunk: one vector of sums.
                    unsafe { widen(sums.as_mut_ptr().cast(), totals.as_mut_ptr().cast(), units.len()) };
                }
            }
        }
        // A unit has whole outputs: so many, or as many sums, are a multiple of how many planes there are.
        let stacked = self.epilogues.len();
        let all = units.start * form.outputs()..(units.end * form.outputs()).min(self.geometry.outputs);
        let outputs = all.start / stacked..all.end / stacked;
        for position in 0..positions {
            let sums: &[T::Wide] = match T::ELEMENT {
                Element::F32 => bytemuck::cast_slice(&sums[position * self.sum_lines()..]),
                Element::I16 => bytemuck::cast_slice(&totals[position * self.total_lines()..]),
            };
            for (i, epilogue) in self.epilogues.iter().enumerate() {
                let sums = sums.iter().copied().skip(i).step_by(stacked);
                // SAFETY: these outputs belong to the units that the caller gave over.
                unsafe { epilogue.row(&self.geometry, position, outputs.clone(), sums, io) };
            }
        }
    }
}
