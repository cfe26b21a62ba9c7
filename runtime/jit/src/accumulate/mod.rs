//! Sums of inputs that ternary weights select and sign, without a multiplication.
//!
//! One step becomes an [`AccumulateKernel`]. Per plane it takes one of three families, by a count of cycles:
//! partial-sum tables with lanes over positions (`table`), the same with one position and a scalar per table entry
//! for the few rows of fully connected layers, or signed sums of shifted rows for depthwise layers.

mod code;
mod direct;
mod pack;
mod pattern;
mod plan;
mod portable;
mod rows;
mod stream;
mod table;
#[cfg(all(target_arch = "x86_64", unix))]
mod wide;

use crate::Jit;
use crate::compile::Function;
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::kernel::{Interface, Io, Kernel, Line, sealed};
use direct::DirectKernel;
use plan::Plan;
use rows::RowsKernel;
use std::ops::Range;
use std::sync::Arc;
use table::TableKernel;
use twnc_program::constant::Trits;
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

/// Generated code for an accumulate step. Its inputs are those of its planes, one phase each.
pub struct AccumulateKernel {
    planes: Vec<Family>,
    interface: Interface,
}

enum Family {
    Table(TableKernel),
    Rows(RowsKernel),
    Direct(DirectKernel),
}

macro_rules! each_family {
    ($family:expr, $kernel:ident => $body:expr) => {
        match $family {
            Family::Table($kernel) => $body,
            Family::Rows($kernel) => $body,
            Family::Direct($kernel) => $body,
        }
    };
}

impl Jit {
    /// The kernel of an accumulate step.
    ///
    /// # Errors
    /// [`JitError::Shape`] if shapes and constants do not fit together, [`JitError::Unsupported`] for windows of three
    /// and more axes and for sizes beyond the limits of the generated code.
    pub fn accumulate(&self, spec: &AccumulateSpec<'_>) -> Result<AccumulateKernel, JitError> {
        let last = spec.planes.len().checked_sub(1);
        let Some(last) = last else { return Err(JitError::Shape("an accumulation without planes".into())) };
        let mut planes = Vec::new();
        let mut interface = Interface { residual: spec.residual, ..Interface::default() };
        let mut shape = None;
        for (i, plane) in spec.planes.iter().enumerate() {
            let geometry = Geometry::new(plane.input, plane.weight_shape, plane.contraction)?;
            let epilogue = Epilogue {
                scale: plane.scale.map(<[f32]>::to_vec),
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
            interface.inputs.push(geometry.input_len());
            interface.output = geometry.output_len();
            let family = self.family(geometry, plane, epilogue, spec)?;
            interface.scratch = interface.scratch.max(each_family!(&family, k => k.scratch()));
            planes.push(family);
        }
        Ok(AccumulateKernel { planes, interface })
    }

    fn family(
        &self,
        geometry: Geometry,
        plane: &PlaneSpec<'_>,
        epilogue: Epilogue,
        spec: &AccumulateSpec<'_>,
    ) -> Result<Family, JitError> {
        let threads = spec.threads.max(1);
        let matmul = *plane.contraction == Contraction::MatMul;
        let weights = Weights { trits: plane.weight.unpack(), transposed: matmul };
        let (compiler, lanes) = (&self.compiler, self.isa.lanes());
        if geometry.output_len() > 0 && RowsKernel::suits(&geometry) {
            return Ok(Family::Rows(RowsKernel::new(compiler, geometry, &weights, epilogue)?));
        }
        let direct = DirectKernel::cycles(&geometry, &weights, lanes);
        match Plan::choose(&geometry, self.isa, spec.rank).filter(|plan| plan.cycles < direct) {
            Some(plan) => {
                Ok(Family::Table(TableKernel::new(compiler, geometry, plan, &weights, epilogue, threads)?))
            }
            None => Ok(Family::Direct(DirectKernel::new(compiler, lanes, geometry, &weights, epilogue)?)),
        }
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
        self.trits[if self.transposed {
            channel * g.outputs + output
        } else {
            ((output * g.channels + channel) * g.kernel[0] + tap[0]) * g.kernel[1] + tap[1]
        }]
    }

    /// How many are not zero.
    pub fn nonzero(&self) -> usize {
        self.trits.iter().filter(|&&t| t != 0).count()
    }
}

impl sealed::Execute for AccumulateKernel {
    unsafe fn execute(&self, phase: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]) {
        let input = io.inputs[phase];
        // SAFETY: the caller's promise, passed on.
        each_family!(&self.planes[phase], k => unsafe { k.execute(units, input, io, scratch) });
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
        self.planes.get(phase).map_or(0, |plane| each_family!(plane, k => k.units()))
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        let all = self.planes.iter().flat_map(|plane| each_family!(plane, k => k.functions()));
        let mut functions: Vec<Arc<Function>> = all.collect();
        functions.sort_by(|a, b| a.name().cmp(b.name()));
        functions.dedup_by(|a, b| a.name() == b.name());
        functions
    }

    fn describe(&self) -> String {
        let planes = self.planes.iter().map(|plane| each_family!(plane, k => k.describe()));
        planes.collect::<Vec<_>>().join(" + ")
    }
}
