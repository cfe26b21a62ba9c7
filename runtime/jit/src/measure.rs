//! The largest of numbers, or of their magnitudes, from which the scale of their integers follows.
//!
//! What is infinite or NaN does not count, and of no numbers it is 0. [`Measure`] reads what is there already; kernels that have what they
//! write in registers measure it on the way.

use crate::compile::{Code, Compiler, Function};
use crate::elementwise::Elementwise;
use crate::error::JitError;
use crate::loops::{LANES, VECTOR, count, load, splat, splat_from, store};
use crate::machine::{Element, Isa, MAX_LANES};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use std::sync::Arc;

/// What is measured of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// The largest number; 0 if all are negative.
    Numbers,
    /// The largest magnitude.
    Magnitudes,
}

impl Measured {
    /// For integers that are `signed` or not.
    pub fn of(signed: bool) -> Measured {
        if signed { Measured::Magnitudes } else { Measured::Numbers }
    }
}

/// A vector of which the greatest number is what was measured, and none is negative.
pub(crate) type Lanes = [f32; MAX_LANES];

/// The greatest of them.
pub(crate) fn greatest(lanes: Lanes) -> f32 {
    lanes.into_iter().fold(0.0, f32::max)
}

/// The code that measures.
pub(crate) struct Measure {
    function: Arc<Function>,
}

impl Measure {
    pub fn new(compiler: &Compiler, isa: Isa, measured: Measured) -> Result<Measure, JitError> {
        Ok(Measure { function: compiler.function(&Largest { lanes: isa.lanes(Element::F32), measured })? })
    }

    pub fn function(&self) -> &Arc<Function> {
        &self.function
    }

    /// The largest of some numbers.
    pub fn largest(&self, numbers: &[f32]) -> f32 {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: the function was emitted for exactly this type; it reads the numbers and writes at most so many.
        unsafe {
            let measure = std::mem::transmute::<*const u8, LargestFunction>(self.function.entry());
            measure(numbers.as_ptr(), numbers.len(), &mut lanes);
        }
        greatest(lanes)
    }
}

/// `largest(input, numbers, lanes)`
///
/// Writes to `lanes` a vector whose greatest is the largest of `numbers` numbers at `input`.
#[derive(Debug)]
struct Largest {
    lanes: usize,
    measured: Measured,
}

/// The type of [`Largest`]'s function.
type LargestFunction = unsafe extern "C" fn(*const f32, usize, *mut Lanes);

impl Code for Largest {
    fn parameters(&self) -> usize {
        3
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[input, numbers, lanes] = arguments else { return };
        let vectors = b.ins().ushr_imm_u(numbers, LANES.ilog2() as i64);
        let singles = b.ins().band_imm_u(numbers, LANES as i64 - 1);
        let mut state = vec![input, splat(b, 0.0)];
        for (vector, turns) in [(true, vectors), (false, singles)] {
            state = count(b, turns, &state, |b, state| {
                let (x, step) = match vector {
                    true => (load(b, types::F32X4, state[0], 0), VECTOR),
                    false => (splat_from(b, state[0]), VECTOR / LANES),
                };
                let largest = Elementwise(b).largest_finite(state[1], x, self.measured);
                vec![b.ins().iadd_imm_s(state[0], step as i64), largest]
            });
        }
        store(b, state[1], lanes, 0);
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide::largest(self)
    }
}

/// For x86-64, with vectors of 256 or 512 bits.
///
/// Numbers are compared as integers: the bits of finite numbers that are not negative are in the order of the numbers.
#[cfg(all(target_arch = "x86_64", unix))]
pub(crate) mod wide {
    use super::{Largest, Measured};
    use crate::assemble::{Assembled, Assembler, Emitted, assemble};
    use iced_x86::code_asm::*;

    /// What is added to the bits of a number so that those that are infinite or NaN become negative integers, or smaller than
    /// what zero becomes.
    const FINITE: u32 = 0x0080_0000;
    /// All bits of a number but its sign.
    const MAGNITUDE: u32 = 0x7FFF_FFFF;

    /// Registers: the largest so far, as bits and what is added to them; this; and the bits of magnitudes.
    #[derive(Clone, Copy)]
    pub(crate) struct Registers {
        pub greatest: usize,
        pub finite: usize,
        pub magnitude: usize,
    }

    impl Registers {
        /// Begins with 0; changes `eax`.
        pub fn begin(self, a: &mut Assembler) -> Emitted {
            a.splat(self.finite, FINITE)?;
            a.splat(self.magnitude, MAGNITUDE)?;
            a.splat(self.greatest, FINITE)
        }

        /// Goes on with the numbers in a register, which becomes something else.
        pub fn next(self, a: &mut Assembler, measured: Measured, x: usize) -> Emitted {
            if measured == Measured::Magnitudes {
                a.and_bits(x, x, self.magnitude)?;
            }
            a.add_i32(x, x, self.finite)?;
            a.larger_i32(self.greatest, self.greatest, x)
        }

        /// Stores the vector of the largest.
        pub fn end(self, a: &mut Assembler, to: AsmMemoryOperand) -> Emitted {
            a.subtract_i32(self.greatest, self.greatest, self.finite)?;
            a.store(to, self.greatest)
        }
    }

    /// [`Largest`]: numbers in register 3.
    pub(super) fn largest(code: &Largest) -> Assembled {
        let Largest { lanes, measured } = *code;
        assemble(lanes * 4, |a| {
            let (input, numbers, to) = (rdi, rsi, rdx);
            let registers = Registers { greatest: 0, finite: 1, magnitude: 2 };
            registers.begin(a)?;
            a.mov(rcx, numbers)?;
            a.shr(rcx, lanes.ilog2())?;
            a.and(numbers, lanes as i32 - 1)?;
            for (left, bytes) in [(rcx, 4 * lanes), (numbers, 4)] {
                let (mut next, mut end) = (a.create_label(), a.create_label());
                a.test(left, left)?;
                a.jz(end)?;
                a.set_label(&mut next)?;
                match bytes {
                    4 => a.broadcast_f32(3, ptr(input))?,
                    _ => a.load(3, ptr(input))?,
                }
                registers.next(a, measured, 3)?;
                a.add(input, bytes as i32)?;
                a.dec(left)?;
                a.jnz(next)?;
                a.set_label(&mut end)?;
                // A label stands before an instruction.
                a.nop()?;
            }
            registers.end(a, ptr(to))
        })
    }
}
