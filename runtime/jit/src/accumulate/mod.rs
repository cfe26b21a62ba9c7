//! Sums of inputs that ternary weights select and sign, without a multiplication.
//!
//! One step becomes an [`AccumulateKernel`]. Per plane it takes one of four families, by a count of cycles:
//! partial-sum tables with lanes over positions (`table`); for the few rows of fully connected layers tables in registers with
//! lanes over outputs (`registers`), or of single numbers where there are no such vectors (`rows`); or signed sums of
//! shifted rows for depthwise layers (`direct`).

mod blocks;
mod code;
mod cost;
mod direct;
mod groups;
mod indices;
mod pack;
mod pattern;
#[cfg(all(target_arch = "x86_64", unix))]
mod permute;
mod plan;
mod portable;
mod registers;
mod rows;
mod shifted;
mod stream;
mod table;
#[cfg(all(target_arch = "x86_64", unix))]
mod wide;
#[cfg(all(target_arch = "x86_64", unix))]
mod wide_shifted;

use crate::Jit;
use crate::compile::Function;
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::kernel::{Interface, Io, Kernel, Line, Slot, sealed};
use crate::number::Number;
pub use blocks::IntegerRange;
pub use cost::Counts;
use direct::DirectKernel;
use plan::Plan;
use registers::{Passes, RegisterKernel};
use rows::RowsKernel;
use std::ops::Range;
use std::sync::Arc;
use table::TableKernel;
use twnc_program::ElementType;
use twnc_program::constant::Trits;
use twnc_program::interpret::View;
use twnc_program::scalar::Unary;
use twnc_program::step::Contraction;

/// A plane of an accumulation, with concrete shapes and its constants.
#[derive(Clone, Debug)]
pub struct PlaneSpec<'a> {
    /// Shape of the input.
    pub input: &'a [usize],
    /// Shape of the weight, as in [`twnc_program::step::Plane`].
    pub weight_shape: &'a [usize],
    /// The weight.
    pub weight: &'a Trits,
    /// Which of the two.
    pub contraction: &'a Contraction,
    /// f32 `[1]` or `[M]`.
    pub scale: Option<&'a [f32]>,
    /// The range of the input if it is i16; otherwise it is f32.
    pub integers: Option<IntegerRange>,
    /// Whether a factor for each sample is an input.
    pub input_scale: bool,
}

/// An accumulate step with concrete shapes and its constants.
#[derive(Clone, Debug)]
pub struct AccumulateSpec<'a> {
    /// One or more.
    pub planes: Vec<PlaneSpec<'a>>,
    /// f32 `[M]`.
    pub bias: Option<&'a [f32]>,
    /// Whether a residual is added.
    pub residual: bool,
    /// Applied last.
    pub activation: Option<Unary>,
    /// How many threads will share the work: layers of few positions are then divided by outputs too.
    pub threads: usize,
    /// Which of the plans that a layer has to take, in the order of their estimates: 0 for the one that should be fastest.
    pub rank: usize,
}

/// Generated code for an accumulate step. Its inputs are those of its planes, then the planes' input scales; its planes are
/// phases.
pub struct AccumulateKernel {
    planes: Vec<Box<dyn Family>>,
    interface: Interface,
}

/// A kernel of one plane.
trait Family: Send + Sync {
    /// Units of work.
    fn units(&self) -> usize;

    /// Lines of scratch memory.
    fn scratch(&self) -> usize;

    fn functions(&self) -> Vec<Arc<Function>>;

    /// What was chosen.
    fn describe(&self) -> String;

    /// What a run should take, in cycles.
    fn estimate(&self) -> Option<f64> {
        None
    }

    /// What a run does, if that is counted.
    fn counts(&self) -> Option<Counts> {
        None
    }

    /// # Safety
    /// As [`sealed::Execute::execute`], with the input of this plane.
    unsafe fn execute(&self, units: Range<usize>, input: View<'_>, io: &Io<'_>, scratch: &mut [Line]);
}

impl Jit {
    /// The kernel of an accumulate step.
    ///
    /// # Errors
    /// [`JitError::Shape`] if shapes and constants do not fit together, [`JitError::Unsupported`] for windows of three
    /// and more axes, for sizes beyond the limits of the generated code, and for integers whose sums could overflow.
    pub fn accumulate(&self, spec: &AccumulateSpec<'_>) -> Result<AccumulateKernel, JitError> {
        let last = spec.planes.len().checked_sub(1);
        let Some(last) = last else { return Err(JitError::Shape("an accumulation without planes".into())) };
        let mut planes = Vec::new();
        let mut interface = Interface { residual: spec.residual, ..Interface::default() };
        let mut scales = Vec::new();
        let mut shape = None;
        for (i, plane) in spec.planes.iter().enumerate() {
            let geometry = Geometry::new(plane.input, plane.weight_shape, plane.contraction)?;
            let epilogue = Epilogue {
                scale: plane.scale.map(<[f32]>::to_vec),
                input_scale: plane.input_scale.then_some(spec.planes.len() + scales.len()),
                carry: i > 0,
                bias: spec.bias.filter(|_| i == last).map(<[f32]>::to_vec),
                residual: spec.residual && i == last,
                activation: spec.activation.filter(|_| i == last),
            };
            epilogue.check(geometry.groups * geometry.outputs)?;
            if shape.get_or_insert_with(|| geometry.output_shape.clone()) != &geometry.output_shape {
                return Err(JitError::Shape("planes with different output shapes".into()));
            }
            if plane.weight.len() != plane.weight_shape.iter().product::<usize>() {
                return Err(JitError::Shape(format!(
                    "{} weights of shape {:?}",
                    plane.weight.len(),
                    plane.weight_shape
                )));
            }
            if let Some(range) = plane.integers {
                let largest = geometry.depth() as u64 * u64::from(range.largest.unsigned_abs());
                if range.largest < 1 || largest > i32::MAX as u64 {
                    return Err(JitError::Unsupported("sums of integers that may overflow"));
                }
            }
            let element = if plane.integers.is_some() { ElementType::I16 } else { ElementType::F32 };
            interface.inputs.push(Slot { element, len: geometry.input_len() });
            if plane.input_scale {
                scales.push(Slot::f32(plane.input.first().copied().unwrap_or(1)));
            }
            interface.outputs = vec![Slot::f32(geometry.output_len())];
            let family = match plane.integers {
                None => self.family::<f32>(geometry, plane, epilogue, spec)?,
                Some(_) => self.family::<i16>(geometry, plane, epilogue, spec)?,
            };
            interface.scratch = interface.scratch.max(family.scratch());
            planes.push(family);
        }
        interface.inputs.extend(scales);
        Ok(AccumulateKernel { planes, interface })
    }

    fn family<T: Number + 'static>(
        &self,
        geometry: Geometry,
        plane: &PlaneSpec<'_>,
        epilogue: Epilogue,
        spec: &AccumulateSpec<'_>,
    ) -> Result<Box<dyn Family>, JitError> {
        let (threads, range) = (spec.threads.max(1), plane.integers);
        let matmul = *plane.contraction == Contraction::MatMul;
        let weights = Weights { trits: plane.weight.unpack(), transposed: matmul };
        let compiler = &self.compiler;
        let passes = Passes::of(&geometry, T::ELEMENT, range, self.isa);
        if passes.is_none() && geometry.output_len() > 0 && RowsKernel::<T>::suits(&geometry) {
            return Ok(Box::new(RowsKernel::<T>::new(compiler, geometry, &weights, epilogue)?));
        }
        let choose = |rank| Plan::choose(&geometry, T::ELEMENT, range, self.isa, rank);
        let plan = match passes {
            None => choose(spec.rank),
            Some(passes) => {
                let best = choose(0);
                // Where it is among the plans of tables: the first, or behind the best.
                let place = best.as_ref().map(|plan| usize::from(plan.cycles <= passes.cycles));
                if place.is_none_or(|place| spec.rank == place) {
                    let kernel = RegisterKernel::<T>::new(compiler, geometry, passes, &weights, epilogue)?;
                    return Ok(Box::new(kernel));
                }
                spec.rank.checked_sub(1).map_or(best, choose)
            }
        };
        let direct = DirectKernel::<T>::cycles(&geometry, &weights, self.isa, range);
        match (plan, direct) {
            (Some(plan), direct) if spec.rank > 0 || direct.is_none_or(|direct| plan.cycles < direct) => {
                let isa = self.isa;
                let kernel =
                    TableKernel::<T>::new(compiler, isa, geometry, plan, &weights, range, epilogue, threads)?;
                Ok(Box::new(kernel))
            }
            (_, None) => Err(JitError::Unsupported("sums of integers that may overflow")),
            (_, Some(cycles)) => {
                let isa = self.isa;
                Ok(Box::new(DirectKernel::<T>::new(compiler, isa, geometry, cycles, &weights, epilogue)?))
            }
        }
    }
}

impl AccumulateKernel {
    /// What a run of each plane does, where that is counted: with tables.
    pub fn counts(&self) -> Vec<Option<Counts>> {
        self.planes.iter().map(|plane| plane.counts()).collect()
    }
}

/// The weights of a plane.
pub(crate) struct Weights {
    trits: Vec<i8>,
    /// Whether they are `[K, M]` instead of `[M, C/groups, kernel...]`.
    transposed: bool,
}

impl Weights {
    /// That of an output and of a channel of its group, at a tap.
    pub fn at(&self, g: &Geometry, output: usize, channel: usize, tap: [usize; 2]) -> i8 {
        self.trits[self.place(g, output, channel, tap)]
    }

    /// Where [`Weights::at`] is among the weights: a sum of what each of the output, the channel and the tap contribute.
    fn place(&self, g: &Geometry, output: usize, channel: usize, tap: [usize; 2]) -> usize {
        if self.transposed {
            channel * g.outputs + output
        } else {
            ((output * g.channels + channel) * g.kernel[0] + tap[0]) * g.kernel[1] + tap[1]
        }
    }

    /// Those of all outputs for each of some channels of a matrix product, channel by channel; gathered into `buffer` if they
    /// are not stored like that.
    pub fn rows<'a>(&'a self, g: &Geometry, channels: Range<usize>, buffer: &'a mut Vec<i8>) -> &'a [i8] {
        if self.transposed {
            return &self.trits[channels.start * g.outputs..channels.end * g.outputs];
        }
        buffer.resize(channels.len() * g.outputs, 0);
        for output in 0..g.outputs {
            let trits = &self.trits[output * g.channels..][channels.clone()];
            let places = buffer[output..].iter_mut().step_by(g.outputs);
            places.zip(trits).for_each(|(place, &trit)| *place = trit);
        }
        buffer
    }

    /// How many are not zero.
    pub fn nonzero(&self) -> usize {
        self.trits.iter().filter(|&&t| t != 0).count()
    }
}

impl sealed::Execute for AccumulateKernel {
    unsafe fn execute(&self, phase: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]) {
        // SAFETY: the caller's promise, passed on.
        unsafe { self.planes[phase].execute(units, io.inputs[phase], io, scratch) };
    }
}

impl Kernel for AccumulateKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn phases(&self) -> usize {
        self.planes.len()
    }

    fn units(&self, phase: usize) -> usize {
        self.planes.get(phase).map_or(0, |plane| plane.units())
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        let mut functions: Vec<Arc<Function>> =
            self.planes.iter().flat_map(|plane| plane.functions()).collect();
        functions.sort_by(|a, b| a.name().cmp(b.name()));
        functions.dedup_by(|a, b| a.name() == b.name());
        functions
    }

    fn describe(&self) -> String {
        let planes = self.planes.iter().map(|plane| plane.describe());
        planes.collect::<Vec<_>>().join(" + ")
    }

    fn estimate(&self) -> Option<f64> {
        self.planes.iter().map(|plane| plane.estimate()).sum()
    }
}
