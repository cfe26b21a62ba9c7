//! Softmax over the innermost axes, f32.
//!
//! A row is read three times: for its largest element, for the exponentials and their sum, and to divide by that. Within a few units in the
//! last place of the interpreter's result, however long a row is.

#[cfg(all(target_arch = "x86_64", unix))]
mod wide;

use crate::Jit;
use crate::compile::{Code, Function};
use crate::elementwise::Elementwise;
use crate::error::JitError;
use crate::kernel::{Interface, Io, Kernel, Line, Slot, sealed};
use crate::loops::{LANES, Part, VECTOR, count, splat_from, store, zero};
use crate::machine::{MAX_LANES, masks};
use crate::map::{Run, RunFunction};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::scalar::Binary;
use twnc_program::step::MapInstruction;

/// Elements of the rows that are a unit of work, about.
const UNIT: usize = 4096;

/// Softmax with concrete shapes.
pub struct SoftmaxKernel {
    /// Of a row.
    length: usize,
    rows: usize,
    exponentials: Arc<Function>,
    scale: Arc<Function>,
    interface: Interface,
}

/// `exponentials(input, output, numbers, masks, largest, sums)`
///
/// `output` becomes `exp(x - largest)` for each x of `input`; `sums`, [`MAX_LANES`] numbers, a vector whose lanes add up to their sum.
#[derive(Debug)]
struct Exponentials {
    /// Bytes of a vector.
    vector: usize,
}

/// The type of [`Exponentials`]'s function.
type ExponentialsFunction =
    unsafe extern "C" fn(*const f32, *mut f32, usize, *const u8, *const f32, *mut [f32; MAX_LANES]);

impl Jit {
    /// The kernel of a softmax over `axes` of a tensor of f32.
    ///
    /// # Errors
    /// [`JitError::Unsupported`] if other axes lie within `axes`; [`JitError::Shape`] for a tensor too large to address.
    pub fn softmax(&self, shape: &[usize], axes: &[usize]) -> Result<SoftmaxKernel, JitError> {
        let first = shape.len().saturating_sub(axes.len());
        if axes.is_empty() || !axes.iter().copied().eq(first..shape.len()) {
            return Err(JitError::Unsupported("a softmax over axes that are not the innermost ones"));
        }
        let slot = Slot::of_shape(shape)?;
        let length = shape[first..].iter().product::<usize>().max(1);
        let vector = self.isa.bytes();
        let scale = [MapInstruction::Binary(Binary::Mul, 0, 1)];
        Ok(SoftmaxKernel {
            length,
            rows: slot.len / length,
            exponentials: self.compiler.function(&Exponentials { vector })?,
            scale: self.compiler.function(&Run { code: &scale, strides: &[1, 0], exponents: &[], vector })?,
            interface: Interface { inputs: vec![slot], outputs: vec![slot], ..Interface::default() },
        })
    }
}

impl Code for Exponentials {
    fn parameters(&self) -> usize {
        6
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[input, output, numbers, _, largest, sums] = arguments else { return };
        let largest = splat_from(b, largest);
        let vectors = b.ins().ushr_imm_u(numbers, LANES.ilog2() as i64);
        let singles = b.ins().band_imm_u(numbers, LANES as i64 - 1);
        let none = zero(b, types::F32X4);
        let mut state = vec![input, output, none, none];
        for (part, turns, step) in [(Part::Vector, vectors, VECTOR), (Part::Single, singles, VECTOR / LANES)]
        {
            state = count(b, turns, &state, |b, state| {
                let &[input, output, sum, error] = state else { return state.to_vec() };
                let x = part.load(b, input);
                let value = Elementwise(b).exp_of_difference(x, largest);
                part.store(b, value, output);
                let value = match part {
                    Part::Vector => value,
                    // The other lanes hold the same number.
                    Part::Single => {
                        let number = b.ins().extractlane(value, 0u8);
                        let none = zero(b, types::F32X4);
                        b.ins().insertlane(none, number, 0u8)
                    }
                };
                // What earlier additions lost is added to each, so that a long sum is as good as a short one.
                let value = b.ins().fsub(value, error);
                let next = b.ins().fadd(sum, value);
                let added = b.ins().fsub(next, sum);
                let error = b.ins().fsub(added, value);
                vec![
                    b.ins().iadd_imm_s(input, step as i64),
                    b.ins().iadd_imm_s(output, step as i64),
                    next,
                    error,
                ]
            });
        }
        store(b, state[2], sums, 0);
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide::exponentials(self)
    }
}

impl SoftmaxKernel {
    /// Rows of a unit.
    fn together(&self) -> usize {
        (UNIT / self.length).max(1)
    }
}

/// The largest element; NaN does not count, for it makes a sum of exponentials NaN by itself.
fn largest(elements: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = elements.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = larger(*lane, x));
    }
    larger(folded(lanes, larger), rest.iter().copied().fold(f32::NEG_INFINITY, larger))
}

/// One number of many, by halves: no step waits for more than a few others.
fn folded<T: Copy, const N: usize>(mut numbers: [T; N], fold: impl Fn(T, T) -> T) -> T {
    let mut count = N;
    while count > 1 {
        count /= 2;
        let (lower, upper) = numbers.split_at_mut(count);
        lower.iter_mut().zip(upper).for_each(|(a, b)| *a = fold(*a, *b));
    }
    numbers[0]
}

impl sealed::Execute for SoftmaxKernel {
    unsafe fn execute(&self, _: usize, units: Range<usize>, io: &Io<'_>, _: &mut [Line]) {
        // SAFETY: the functions were emitted for exactly these types; `entry()` is where they start.
        let (exponentials, scale) = unsafe {
            (
                std::mem::transmute::<*const u8, ExponentialsFunction>(self.exponentials.entry()),
                std::mem::transmute::<*const u8, RunFunction>(self.scale.entry()),
            )
        };
        let input = io.f32(0);
        let together = self.together();
        for row in units.start * together..(units.end * together).min(self.rows) {
            let range = row * self.length..(row + 1) * self.length;
            let x = &input[range.clone()];
            let largest = largest(x);
            // SAFETY: the caller's promise: this row is one of its units.
            let output = unsafe { io.output(range) };
            let mut sums = [0.0; MAX_LANES];
            let (from, to) = (x.as_ptr(), output.as_mut_ptr());
            // SAFETY: both have `length` numbers, and there is room for the widest vector of sums.
            unsafe { exponentials(from, to, self.length, masks(), &raw const largest, &raw mut sums) };
            let inverse = (1.0 / folded(sums.map(f64::from), |a, b| a + b)) as f32;
            let inputs = [to.cast_const(), &raw const inverse];
            // SAFETY: as above; there is an address for each input, and the output is in the place of the first.
            unsafe { scale(inputs.as_ptr(), to, self.length, masks()) };
        }
    }
}

impl Kernel for SoftmaxKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn units(&self, _: usize) -> usize {
        self.rows.div_ceil(self.together())
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        vec![self.exponentials.clone(), self.scale.clone()]
    }

    fn describe(&self) -> String {
        format!("softmax: {} rows of {}", self.rows, self.length)
    }
}
