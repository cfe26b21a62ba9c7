//! Numbers rounded to integers, sample by sample. The same bits as the interpreter.
//!
//! Three phases: the largest magnitude of each part of a sample, which waits where the part's integers will be, unless it was found where the
//! sample was written; from these the scales; the integers, in the order of the numbers or in the planes that the kernel which reads them asks for.

mod rows;
#[cfg(all(target_arch = "x86_64", unix))]
mod wide;

use crate::Jit;
use crate::accumulate::pack::{Layout, Packing, input_of};
use crate::compile::{Code, Function};
use crate::elementwise::Elementwise;
use crate::error::JitError;
use crate::kernel::{Interface, Io, Kernel, Line, Slot, sealed};
use crate::loops::{LANES, VECTOR, count, load, splat_from, store};
use crate::machine::Element;
use crate::measure::{Measure, Measured};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use rows::RoundRows;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::ElementType;
use twnc_program::step::Quantize;

/// Elements of a part of a sample, which is a unit of work: what takes a core about as long as another needs to be told of it.
const PART: usize = 8192;
/// Numbers that a turn rounds.
const ROUNDED: usize = 2 * LANES;

/// A quantize step with a concrete shape.
pub struct QuantizeKernel {
    step: Quantize,
    samples: usize,
    /// Elements of a sample.
    size: usize,
    measure: Measure,
    /// Whether who wrote the input has measured it.
    measured: bool,
    to: To,
    interface: Interface,
}

/// How integers are made, and where they go.
enum To {
    /// In the order of the numbers.
    Dense(Arc<Function>),
    /// Into planes, which are whole channels of some numbers each.
    Planes { layout: Arc<Layout>, packing: Packing<f32, i16>, channel: usize },
}

/// `round(input, integers, numbers, inverse)`
///
/// Rounds `numbers` numbers, times the number at `inverse`, which is not 0, to integers from `smallest` to `largest`.
#[derive(Debug)]
struct Round {
    lanes: usize,
    smallest: i16,
    largest: i16,
}

/// The type of [`Round`]'s function.
type RoundFunction = unsafe extern "C" fn(*const f32, *mut i16, usize, *const f32);

impl Jit {
    /// The kernel of a quantize step for an input of a shape. It writes the integers, where a layout says or in the order of the numbers, and the
    /// scales. If who wrote the input has measured it ([`Measured`]), the result is where the scales will be.
    ///
    /// # Errors
    /// [`JitError::Shape`] if the input has no axis, or is not what the layout is of.
    pub fn quantize(
        &self,
        step: &Quantize,
        input: &[usize],
        layout: Option<&Arc<Layout>>,
        measured: bool,
    ) -> Result<QuantizeKernel, JitError> {
        let Some((&samples, rest)) = input.split_first() else {
            return Err(JitError::Shape("an input without an axis of samples".into()));
        };
        let size = rest.iter().product();
        let lanes = self.isa.lanes(Element::F32);
        let (smallest, largest) = (step.smallest(), step.largest());
        let to = match layout {
            None => To::Dense(self.compiler.function(&Round { lanes, smallest, largest })?),
            Some(layout) => {
                let Layout { geometry, phases, planes, .. } = &**layout;
                let channel = geometry.input[0] * geometry.input[1];
                if samples != geometry.samples || size != layout.channels() * channel || channel == 0 {
                    return Err(JitError::Shape(format!("a layout that is not of {input:?}")));
                }
                let vector = self.isa.bytes();
                let rows = |count, stride| RoundRows { vector, smallest, largest, count, stride };
                let packing = Packing::by(&self.compiler, self.isa, geometry, phases, *planes, rows)?;
                To::Planes { layout: layout.clone(), packing, channel }
            }
        };
        let len = layout.map_or(samples * size, |layout| layout.len());
        let interface = Interface {
            inputs: vec![Slot::f32(samples * size)],
            outputs: vec![Slot { element: ElementType::I16, len }, Slot::f32(samples)],
            ..Interface::default()
        };
        let measure = Measure::new(&self.compiler, self.isa, Measured::of(step.signed))?;
        Ok(QuantizeKernel { samples, size, measure, measured, to, step: step.clone(), interface })
    }
}

impl QuantizeKernel {
    /// Numbers of a part of a sample, but of the last.
    fn part_size(&self) -> usize {
        match self.to {
            To::Dense(_) => PART,
            To::Planes { channel, .. } => (PART / channel).max(1) * channel,
        }
    }

    /// How many parts a sample has: at least one, and none is empty where the sample is not.
    fn parts(&self) -> usize {
        (self.size / self.part_size()).max(1)
    }

    /// The elements of a part, given by its number, which counts on from sample to sample. The last part of a sample has what is left.
    fn part(&self, number: usize) -> Range<usize> {
        let (sample, part) = (number / self.parts(), number % self.parts());
        let size = self.part_size();
        let end = if part + 1 == self.parts() { self.size } else { (part + 1) * size };
        sample * self.size + part * size..sample * self.size + end
    }

    /// Where the first of a part's integers will be.
    fn place(&self, part: usize) -> usize {
        let start = self.part(part).start;
        match &self.to {
            To::Dense(_) => start,
            To::Planes { layout, channel, .. } => {
                layout.plane(start / self.size, 0, start % self.size / channel).start
            }
        }
    }

    /// Whether largest magnitudes of parts wait between the first phase and the second. A sample of one number measures itself.
    fn waits(&self) -> bool {
        self.step.scale.is_none() && self.size > 1 && !self.measured
    }

    /// # Safety
    /// As [`sealed::Execute::execute`] in the second phase, of a sample.
    unsafe fn scale(&self, sample: usize, io: &Io<'_>) -> f32 {
        let parts = sample * self.parts()..(sample + 1) * self.parts();
        if !self.waits() {
            let largest = match self.step.scale {
                Some(_) => 0.0,
                // SAFETY: what was measured is written, and nobody writes another sample's place.
                None if self.measured => unsafe { io.written::<f32>(1, sample) },
                None => self.measure.largest(&io.f32(0)[self.part(parts.start)]),
            };
            return self.step.scale_of(largest);
        }
        let waiting = parts.map(|part| {
            let start = self.place(part);
            // SAFETY: the first phase has written them, and nobody does in the second.
            let halves = unsafe { [io.written::<i16>(0, start), io.written::<i16>(0, start + 1)] };
            f32::from_bits(bytemuck::cast(halves))
        });
        self.step.scale_of(waiting.fold(0.0, f32::max))
    }
}

impl sealed::Execute for QuantizeKernel {
    unsafe fn execute(&self, phase: usize, units: Range<usize>, io: &Io<'_>, _: &mut [Line]) {
        let input = io.f32(0);
        for unit in units {
            if phase == 0 {
                let halves: [i16; 2] =
                    bytemuck::cast(self.measure.largest(&input[self.part(unit)]).to_bits());
                let place = self.place(unit);
                // SAFETY: the part's integers are the unit's; a part has two or more.
                unsafe { io.output_of::<i16>(0, place..place + 2) }.copy_from_slice(&halves);
                continue;
            }
            if phase == 1 {
                // SAFETY: a unit of the second phase is a sample.
                unsafe { io.output_of::<f32>(1, unit..unit + 1)[0] = self.scale(unit, io) };
                continue;
            }
            // SAFETY: the second phase has written the scales, and nobody writes them in the third.
            let scale = unsafe { io.written::<f32>(1, unit / self.parts()) };
            // Times the smallest number, as times 0, every finite number rounds to 0; what is infinite stays it.
            let inverse = Quantize::inverse(scale).max(f32::from_bits(1));
            let part = self.part(unit);
            match &self.to {
                To::Dense(round) => {
                    // SAFETY: these elements are the unit's.
                    let integers = unsafe { io.output_of::<i16>(0, part.clone()) };
                    // SAFETY: the function was emitted for exactly this type; `entry()` is its start. Both slices have as many
                    // elements as are said.
                    unsafe {
                        let round = std::mem::transmute::<*const u8, RoundFunction>(round.entry());
                        round(input[part].as_ptr(), integers.as_mut_ptr(), integers.len(), &inverse);
                    }
                }
                To::Planes { layout, packing, channel } => {
                    let sample = part.start / self.size;
                    let first = part.start % self.size / channel;
                    let channels = first..first + part.len() / channel;
                    for phase in 0..layout.phases.len() {
                        // Planes of one phase lie one behind the other.
                        let [start, end] =
                            [channels.start, channels.end - 1].map(|c| layout.plane(sample, phase, c));
                        // SAFETY: all planes of the part's channels are the unit's.
                        let planes = unsafe { io.output_of::<i16>(0, start.start..end.end) };
                        planes.fill(0);
                        let input = input_of(&layout.geometry, sample, channels.start, input);
                        let all = [0..layout.rows, 0..layout.planes.bands];
                        packing.planes(&layout.geometry, phase, 0, all, input, planes, &inverse);
                    }
                }
            }
        }
    }
}

impl Kernel for QuantizeKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn phases(&self) -> usize {
        3
    }

    fn units(&self, phase: usize) -> usize {
        match phase {
            0 if !self.waits() => 0,
            1 => self.samples,
            _ => self.samples * self.parts(),
        }
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        let round = match &self.to {
            To::Dense(round) => vec![round.clone()],
            To::Planes { packing, .. } => packing.functions(),
        };
        [vec![self.measure.function().clone()], round].concat()
    }

    fn describe(&self) -> String {
        let integers = format!("quantize: {} to {}", self.step.smallest(), self.step.largest());
        match &self.to {
            To::Dense(_) => integers,
            To::Planes { layout, .. } => format!("{integers}, in {}", layout.describe()),
        }
    }
}

impl Code for Round {
    fn parameters(&self) -> usize {
        4
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[input, integers, numbers, inverse] = arguments else { return };
        let inverse = splat_from(b, inverse);
        let (low, high) = (f32::from(self.smallest), f32::from(self.largest));
        let vectors = b.ins().ushr_imm_u(numbers, ROUNDED.ilog2() as i64);
        let singles = b.ins().band_imm_u(numbers, ROUNDED as i64 - 1);
        let state = count(b, vectors, &[input, integers], |b, state| {
            let halves = [0, VECTOR].map(|offset| {
                let x = load(b, types::F32X4, state[0], offset);
                Elementwise(b).rounded(x, inverse, low, high)
            });
            let both = b.ins().snarrow(halves[0], halves[1]);
            store(b, both, state[1], 0);
            vec![b.ins().iadd_imm_s(state[0], 2 * VECTOR as i64), b.ins().iadd_imm_s(state[1], VECTOR as i64)]
        });
        count(b, singles, &state, |b, state| {
            let x = splat_from(b, state[0]);
            let rounded = Elementwise(b).rounded(x, inverse, low, high);
            let both = b.ins().snarrow(rounded, rounded);
            let integer = b.ins().extractlane(both, 0u8);
            store(b, integer, state[1], 0);
            vec![b.ins().iadd_imm_s(state[0], 4), b.ins().iadd_imm_s(state[1], 2)]
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide::round(self)
    }
}
