//! Sums of inputs that ternary weights select and sign, without a multiplication.
//!
//! One step becomes an [`AccumulateKernel`]: plane by plane, each adds to what the ones before have left in the output. Planes that read the
//! same windows of one input are one product whose outputs take turns, so that they share tables, if an estimate says that this
//! takes less time. Each takes one of four families, by a count of cycles:
//! partial-sum tables with lanes over positions (`table`); for the few rows of fully connected layers tables in registers with
//! lanes over outputs (`registers`), or of single numbers where there are no such vectors (`rows`); or signed sums of
//! shifted rows for depthwise layers (`direct`).

mod blocks;
pub(crate) mod channels;
mod choice;
pub(crate) mod code;
mod cost;
pub(crate) mod direct;
mod groups;
mod indices;
pub(crate) mod pack;
mod pattern;
#[cfg(all(target_arch = "x86_64", unix))]
mod permute;
mod plan;
mod pooled;
mod portable;
mod reads;
mod registers;
mod rows;
pub(crate) mod shifted;
mod stream;
mod table;
mod weights;
#[cfg(all(target_arch = "x86_64", unix))]
mod wide;
#[cfg(all(target_arch = "x86_64", unix))]
pub(crate) mod wide_shifted;

use crate::Jit;
use crate::compile::Function;
use crate::epilogue::{Before, Epilogue};
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::kernel::{Interface, Io, Kernel, Line, Slot, sealed};
use crate::measure::Measured;
use crate::number::Number;
pub use blocks::IntegerRange;
use choice::{Choice, Product};
pub use cost::Counts;
pub use pack::Layout;
use pooled::Banded;
pub use pooled::PooledKernel;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::ElementType;
use twnc_program::constant::Trits;
use twnc_program::interpret::View;
use twnc_program::scalar::Unary;
use twnc_program::step::Contraction;
pub(crate) use weights::Weights;

/// A plane of an accumulation, with concrete shapes and its constants.
#[derive(Clone, Debug)]
pub struct PlaneSpec<'a> {
    /// The number of the kernel's input that it reads. Several planes may read one.
    pub source: usize,
    /// Shape of the input.
    pub input: &'a [usize],
    /// Shape of the weight, as in [`twnc_program::step::Plane`].
    pub weight_shape: &'a [usize],
    /// The weight.
    pub weight: &'a Trits,
    /// Which of the two.
    pub contraction: &'a Contraction,
    /// Which part of the input channels and of the weight it is, of how many ([`twnc_program::step::Term::parts`]); 0 of 1 where they
    /// are not divided.
    pub part: [usize; 2],
    /// Whether its sum is a part of that of the next plane, whose factor they have in common.
    pub partial: bool,
    /// f32 `[1]` or `[M]`; that of the part.
    pub scale: Option<&'a [f32]>,
    /// The range of the input if it is i16; otherwise it is f32.
    pub integers: Option<IntegerRange>,
    /// Whether a factor for each sample is an input.
    pub input_scale: bool,
    /// Whether whoever writes the input does so as the kernel's [`Interface`] asks; otherwise it is dense.
    pub laid_out: bool,
}

impl<'a> PlaneSpec<'a> {
    /// The product of the kernel's first input, of f32 and dense, as it is.
    pub fn new(
        input: &'a [usize],
        weight_shape: &'a [usize],
        weight: &'a Trits,
        contraction: &'a Contraction,
    ) -> PlaneSpec<'a> {
        PlaneSpec {
            source: 0,
            input,
            weight_shape,
            weight,
            contraction,
            part: [0, 1],
            partial: false,
            scale: None,
            integers: None,
            input_scale: false,
            laid_out: false,
        }
    }

    /// Whether it reads what another does, in the same windows, and has as many outputs.
    fn reads_as(&self, other: &PlaneSpec<'_>) -> bool {
        (self.source, self.contraction, self.weight_shape, self.part, self.integers)
            == (other.source, other.contraction, other.weight_shape, other.part, other.integers)
    }

    /// Whether it is the next part of the product of which another is a part.
    fn continues(&self, before: &PlaneSpec<'_>) -> bool {
        let next = PlaneSpec { part: [before.part[0] + 1, before.part[1]], ..before.clone() };
        self.part[0] > 0 && self.reads_as(&next)
    }
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
    /// What is measured of each sample's outputs, for a second output of the kernel; where outputs are rows of a matrix product there is none.
    pub measured: Option<Measured>,
    /// How many threads will share the work: layers of few positions are then divided by outputs too.
    pub threads: usize,
    /// Whether a pool follows that the kernel may be one with ([`Jit::pooled`]): threads have outputs then, not positions.
    pub pooled: bool,
    /// Which of the plans that a layer has to take, in the order of their estimates: 0 for the one that should be fastest.
    pub rank: usize,
}

impl<'a> AccumulateSpec<'a> {
    /// The sum of some planes and nothing else, on one thread, by the plan that should be fastest.
    pub fn new(planes: Vec<PlaneSpec<'a>>) -> AccumulateSpec<'a> {
        AccumulateSpec {
            planes,
            bias: None,
            residual: false,
            activation: None,
            measured: None,
            threads: 1,
            pooled: false,
            rank: 0,
        }
    }
}

/// Generated code for an accumulate step, which writes the outputs and, if they are measured, what was measured of each sample. Its inputs are the sources of its planes, then the planes' input scales, one for all parts of a product; each of its phases is a
/// plane, or several that share tables.
pub struct AccumulateKernel {
    phases: Vec<Phase>,
    interface: Interface,
}

/// A kernel of one plane, or of several that share tables.
struct Phase {
    /// The number of the input that it reads, and the place in it where it begins.
    source: usize,
    origin: usize,
    family: Box<dyn Family>,
}

impl Phase {
    /// What it reads, from where that begins.
    fn input<'a>(&self, io: &Io<'a>) -> View<'a> {
        match io.inputs[self.source] {
            // Of no samples, there is nothing to begin in.
            View::F32(x) => View::F32(x.get(self.origin..).unwrap_or(&[])),
            View::I16(x) => View::I16(x.get(self.origin..).unwrap_or(&[])),
            other => other,
        }
    }
}

/// A kernel of one input.
pub(crate) trait Family: Send + Sync {
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

    /// How the input lies, where that was asked for.
    fn layout(&self) -> Option<&Arc<Layout>> {
        None
    }

    /// What a run does, if that is counted.
    fn counts(&self) -> Option<Counts> {
        None
    }

    /// It as what goes through its outputs in bands, if it can.
    fn into_banded(self: Box<Self>) -> Option<Box<dyn Banded>>;

    /// # Safety
    /// As [`sealed::Execute::execute`], with the input that it reads.
    unsafe fn execute(&self, units: Range<usize>, input: View<'_>, io: &Io<'_>, scratch: &mut [Line]);
}

impl Jit {
    /// The kernel of an accumulate step.
    ///
    /// # Errors
    /// [`JitError::Shape`] if shapes and constants do not fit together, [`JitError::Unsupported`] for windows of three
    /// and more axes, for sizes beyond the limits of the generated code, for integers whose sums could overflow, and for products that share a
    /// factor behind others.
    pub fn accumulate(&self, spec: &AccumulateSpec<'_>) -> Result<AccumulateKernel, JitError> {
        let last = spec.planes.len().checked_sub(1);
        let Some(last) = last else { return Err(JitError::Shape("an accumulation without planes".into())) };
        let sources = spec.planes.iter().map(|plane| plane.source + 1).max().unwrap_or(0);
        let mut slots: Vec<Option<Slot>> = vec![None; sources.min(spec.planes.len())];
        let mut scales = Vec::new();
        let mut planes: Vec<(Geometry, Epilogue)> = Vec::new();
        // What the integers of a sum may amount to.
        let mut largest = 0;
        for (i, plane) in spec.planes.iter().enumerate() {
            let [part, parts] = plane.part;
            if part >= parts {
                return Err(JitError::Shape(format!("part {part} of {parts}")));
            }
            let geometry = Geometry::new(plane.input, plane.weight_shape, plane.contraction, parts)?;
            if !spec.planes[..i].last().is_some_and(|earlier| earlier.partial) {
                largest = 0;
            }
            let continued = spec.planes[..i]
                .last()
                .is_some_and(|earlier| plane.continues(earlier) && plane.input_scale && earlier.input_scale);
            let before = match spec.planes[..i].last() {
                None => Before::Nothing,
                Some(earlier) if earlier.partial => Before::Sum,
                Some(_) => Before::Value,
            };
            if plane.partial {
                let alike = spec
                    .planes
                    .get(i + 1)
                    .is_some_and(|next| next.integers.is_some() == plane.integers.is_some());
                if !alike || plane.scale.is_some() || plane.input_scale {
                    return Err(JitError::Shape("a part of a sum without the rest".into()));
                }
                if before == Before::Value {
                    return Err(JitError::Unsupported("a sum over several planes behind another"));
                }
            }
            // The bias is that of the first term, which is whole with the first plane that is not of a sum's or of the channels' parts, or
            // is the last of these.
            let last_part = |plane: &PlaneSpec<'_>| !plane.partial && plane.part[0] + 1 == plane.part[1];
            let first = !spec.planes[..i].iter().any(last_part) && last_part(plane);
            let epilogue = Epilogue {
                scale: plane.scale.map(<[f32]>::to_vec),
                // That of the part before, or a new one.
                input_scale: plane.input_scale.then_some(slots.len() + scales.len() - usize::from(continued)),
                before,
                partial: plane.partial,
                bias: spec.bias.filter(|_| first).map(<[f32]>::to_vec),
                residual: spec.residual && i == last,
                activation: spec.activation.filter(|_| i == last),
                measured: spec.measured.filter(|_| i == last && geometry.rows_of_a_sample.is_none()),
            };
            epilogue.check(geometry.groups * geometry.outputs)?;
            if planes.first().is_some_and(|(other, _)| other.output_shape != geometry.output_shape) {
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
                largest += geometry.depth() as u64 * u64::from(range.largest.unsigned_abs());
                if range.largest < 1 || largest > i32::MAX as u64 {
                    return Err(JitError::Unsupported("sums of integers that may overflow"));
                }
            }
            let element = if plane.integers.is_some() { ElementType::I16 } else { ElementType::F32 };
            let slot = Slot { element, len: plane.input.iter().product() };
            let place = slots.get_mut(plane.source).map(|place| *place.get_or_insert(slot));
            if place != Some(slot) {
                return Err(JitError::Shape("inputs that are not numbered, or of two shapes".into()));
            }
            if plane.input_scale && !continued {
                scales.push(Slot::f32(plane.input.first().copied().unwrap_or(1)));
            }
            planes.push((geometry, epilogue));
        }
        let slots = slots.into_iter().collect::<Option<Vec<_>>>();
        let mut inputs = slots.ok_or_else(|| JitError::Shape("an input that no plane reads".into()))?;
        inputs.append(&mut scales);
        let (geometry, epilogue) = &planes[last];
        let samples = epilogue.measured.map(|_| Slot::f32(geometry.samples));
        let outputs = std::iter::once(Slot::f32(geometry.output_len())).chain(samples).collect();
        let mut interface = Interface { inputs, residual: spec.residual, outputs, ..Interface::default() };
        let mut phases = Vec::new();
        let (mut rest, mut choice) = (planes.as_slice(), None);
        while let Some(plane) = spec.planes.get(spec.planes.len() - rest.len()) {
            let (stack, family) = match plane.integers {
                None => self.phase::<f32>(rest, spec, &mut choice)?,
                Some(_) => self.phase::<i16>(rest, spec, &mut choice)?,
            };
            interface.scratch = interface.scratch.max(family.scratch());
            if let (Some(layout), Some(slot)) = (family.layout(), interface.inputs.get_mut(plane.source)) {
                slot.len = layout.len();
                interface.layouts.push((plane.source, layout.clone()));
            }
            let origin = rest.first().map_or(0, |(geometry, _)| plane.part[0] * geometry.part_len());
            phases.push(Phase { source: plane.source, origin, family });
            rest = &rest[stack..];
        }
        Ok(AccumulateKernel { phases, interface })
    }

    /// The kernel of the first of some planes, or of the first few that read the same windows of one input, where that should take
    /// less time; and of how many. `known` is what the plane before takes, which a next part of the same product takes too.
    fn phase<T: Number + 'static>(
        &self,
        planes: &[(Geometry, Epilogue)],
        spec: &AccumulateSpec<'_>,
        known: &mut Option<Choice>,
    ) -> Result<(usize, Box<dyn Family>), JitError> {
        let (earlier, specs) = spec.planes.split_at(spec.planes.len() - planes.len());
        let readers = spec.planes.iter().filter(|plane| plane.source == specs[0].source).count();
        let product = |stack: usize| Product {
            laid_out: specs[0].laid_out && readers == stack,
            geometry: Geometry { outputs: planes[0].0.outputs * stack, ..planes[0].0.clone() },
            weights: Weights::in_turns(&specs[..stack]),
            epilogues: planes[..stack].iter().map(|(_, epilogue)| epilogue.clone()).collect(),
            range: specs[0].integers,
        };
        let alike = specs.iter().take_while(|plane| plane.reads_as(&specs[0])).count();
        // A power of two, so that a vector of outputs has whole turns.
        let stack = if planes[0].0.groups == 1 { 1 << alike.ilog2() } else { 1 };
        let cycles = |stack| {
            let choice = product(stack).choose::<T>(self.isa, 0).ok()?;
            Some(choice.cycles()? / stack as f64)
        };
        let pays = || cycles(stack).zip(cycles(1)).is_some_and(|(together, apart)| together < apart);
        let stack = if stack > 1 && pays() { stack } else { 1 };
        let product = product(stack);
        let continued = earlier.last().is_some_and(|before| specs[0].continues(before));
        let choice = match known.take().filter(|_| continued) {
            Some(choice) => choice,
            None => product.choose::<T>(self.isa, spec.rank)?,
        };
        *known = Some(choice.clone());
        let sharing = table::Sharing { threads: spec.threads.max(1), pooled: spec.pooled };
        Ok((stack, product.family::<T>(self, choice, sharing)?))
    }
}

impl AccumulateKernel {
    /// What a run of each phase does, where that is counted: with tables.
    pub fn counts(&self) -> Vec<Option<Counts>> {
        self.phases.iter().map(|phase| phase.family.counts()).collect()
    }
}

impl sealed::Execute for AccumulateKernel {
    fn prepare(&self, io: &Io<'_>) {
        if self.interface.outputs.len() > 1 {
            io.clear(1);
        }
    }

    unsafe fn execute(&self, phase: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]) {
        let phase = &self.phases[phase];
        // SAFETY: the caller's promise, passed on.
        unsafe { phase.family.execute(units, phase.input(io), io, scratch) };
    }
}

impl Kernel for AccumulateKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn phases(&self) -> usize {
        self.phases.len()
    }

    fn units(&self, phase: usize) -> usize {
        self.phases.get(phase).map_or(0, |phase| phase.family.units())
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        let mut functions: Vec<Arc<Function>> =
            self.phases.iter().flat_map(|phase| phase.family.functions()).collect();
        functions.sort_by(|a, b| a.name().cmp(b.name()));
        functions.dedup_by(|a, b| a.name() == b.name());
        functions
    }

    fn describe(&self) -> String {
        // Parts of one product are mostly alike.
        let mut planes: Vec<(String, usize)> = vec![];
        for phase in &self.phases {
            let words = phase.family.describe();
            match planes.last_mut() {
                Some((last, count)) if *last == words => *count += 1,
                _ => planes.push((words, 1)),
            }
        }
        let planes = planes.into_iter().map(|(words, count)| match count {
            1 => words,
            _ => format!("{count} times {words}"),
        });
        planes.collect::<Vec<_>>().join(" + ")
    }

    fn estimate(&self) -> Option<f64> {
        self.phases.iter().map(|phase| phase.family.estimate()).sum()
    }
}
