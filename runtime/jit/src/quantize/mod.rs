//! Numbers rounded to integers, sample by sample: first the scales, then the integers. The same bits as the interpreter.

#[cfg(all(target_arch = "x86_64", unix))]
mod wide;

use crate::Jit;
use crate::compile::{Code, Function};
use crate::elementwise::Elementwise;
use crate::error::JitError;
use crate::kernel::{Interface, Io, Kernel, Line, Slot, sealed};
use crate::loops::{LANES, VECTOR, count, load, splat, splat_from, store};
use crate::machine::{Element, MAX_LANES};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::ElementType;
use twnc_program::step::Quantize;

/// Elements of a unit of work of the second phase.
const UNIT: usize = 4096;
/// Numbers of the longest vector.
const MOST: usize = MAX_LANES;
/// Numbers that a turn rounds.
const ROUNDED: usize = 2 * LANES;

/// A quantize step with a concrete shape.
pub struct QuantizeKernel {
    step: Quantize,
    samples: usize,
    /// Elements of a sample.
    size: usize,
    measure: Arc<Function>,
    round: Arc<Function>,
    interface: Interface,
}

/// `measure(input, numbers, largest)`
///
/// Writes to `largest` a vector of numbers, of which the greatest is the largest finite magnitude (unsigned: number) of
/// `numbers` numbers at `input`, and none is negative.
#[derive(Debug)]
struct Measure {
    lanes: usize,
    signed: bool,
}

/// The type of [`Measure`]'s function.
type MeasureFunction = unsafe extern "C" fn(*const f32, usize, *mut [f32; MOST]);

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
    /// The kernel of a quantize step for an input of a shape. It writes the integers and the scales.
    ///
    /// # Errors
    /// [`JitError::Shape`] if the input has no axis.
    pub fn quantize(&self, step: &Quantize, input: &[usize]) -> Result<QuantizeKernel, JitError> {
        let Some((&samples, rest)) = input.split_first() else {
            return Err(JitError::Shape("an input without an axis of samples".into()));
        };
        let size = rest.iter().product();
        let lanes = self.isa.lanes(Element::F32);
        let interface = Interface {
            inputs: vec![Slot::f32(samples * size)],
            outputs: vec![Slot { element: ElementType::I16, len: samples * size }, Slot::f32(samples)],
            ..Interface::default()
        };
        Ok(QuantizeKernel {
            samples,
            size,
            measure: self.compiler.function(&Measure { lanes, signed: step.signed })?,
            round: self.compiler.function(&Round {
                lanes,
                smallest: step.smallest(),
                largest: step.largest(),
            })?,
            step: step.clone(),
            interface,
        })
    }
}

impl QuantizeKernel {
    /// Units that the integers of a sample are.
    fn chunks(&self) -> usize {
        self.size.div_ceil(UNIT)
    }

    fn scale(&self, sample: &[f32]) -> f32 {
        let mut largest = [0.0; MOST];
        if self.step.scale.is_none() {
            // SAFETY: the function was emitted for exactly this type; it reads the sample and writes at most so many numbers.
            unsafe {
                let measure = std::mem::transmute::<*const u8, MeasureFunction>(self.measure.entry());
                measure(sample.as_ptr(), sample.len(), &mut largest);
            }
        }
        self.step.scale_of(largest.into_iter().fold(0.0, f32::max))
    }
}

impl sealed::Execute for QuantizeKernel {
    unsafe fn execute(&self, phase: usize, units: Range<usize>, io: &Io<'_>, _: &mut [Line]) {
        let input = io.f32(0);
        // SAFETY: the function was emitted for exactly this type; `entry()` is its start.
        let round = unsafe { std::mem::transmute::<*const u8, RoundFunction>(self.round.entry()) };
        for unit in units {
            if phase == 0 {
                let scale = self.scale(&input[unit * self.size..][..self.size]);
                // SAFETY: a unit of the first phase is a sample.
                let scales = unsafe { io.output_of::<f32>(1, unit..unit + 1) };
                scales[0] = scale;
                continue;
            }
            let (sample, start) = (unit / self.chunks(), unit % self.chunks() * UNIT);
            let end = (start + UNIT).min(self.size);
            let (from, to) = (sample * self.size + start, sample * self.size + end);
            // SAFETY: the first phase has written the scales, and nobody writes them in the second.
            let scale = unsafe { io.written::<f32>(1, sample) };
            // SAFETY: these elements are the unit's.
            let integers = unsafe { io.output_of::<i16>(0, from..to) };
            // SAFETY: both slices have as many elements as are said.
            unsafe {
                // Times the smallest number, as times 0, every finite number rounds to 0; what is infinite stays it.
                let inverse = Quantize::inverse(scale).max(f32::from_bits(1));
                round(input[from..to].as_ptr(), integers.as_mut_ptr(), integers.len(), &inverse);
            }
        }
    }
}

impl Kernel for QuantizeKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn phases(&self) -> usize {
        2
    }

    fn units(&self, phase: usize) -> usize {
        if phase == 0 { self.samples } else { self.samples * self.chunks() }
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        vec![self.measure.clone(), self.round.clone()]
    }

    fn describe(&self) -> String {
        format!("quantize: {} to {}", self.step.smallest(), self.step.largest())
    }
}

impl Code for Measure {
    fn parameters(&self) -> usize {
        3
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[input, numbers, largest] = arguments else { return };
        let vectors = b.ins().ushr_imm_u(numbers, LANES.ilog2() as i64);
        let singles = b.ins().band_imm_u(numbers, LANES as i64 - 1);
        let mut state = vec![input, splat(b, 0.0)];
        for (vector, turns) in [(true, vectors), (false, singles)] {
            state = count(b, turns, &state, |b, state| {
                let (x, step) = match vector {
                    true => (load(b, types::F32X4, state[0], 0), VECTOR),
                    false => (splat_from(b, state[0]), VECTOR / LANES),
                };
                let magnitude = Elementwise(b).finite_magnitude(x, self.signed);
                let largest = Elementwise(b).larger(state[1], magnitude);
                vec![b.ins().iadd_imm_s(state[0], step as i64), largest]
            });
        }
        store(b, state[1], largest, 0);
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide::measure(self)
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
