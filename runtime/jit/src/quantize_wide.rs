//! The functions of quantising for x86-64, with vectors of 256 or 512 bits.
//!
//! Both take blocks of several vectors. The last block may overlap the one before, which changes nothing: a largest number stays what it
//! is, and an integer is written twice. Fewer numbers than a block go one by one.

use crate::assemble::{Assembled, Assembler, Emitted, assemble};
use crate::quantize::{Measure, Round};
use iced_x86::code_asm::*;

/// Vectors of a block.
const BLOCK: usize = 4;

/// [`Measure`].
pub(crate) fn measure(code: &Measure) -> Assembled {
    assemble(code.vector, |a| {
        let (input, numbers, largest) = (rdi, rsi, rdx);
        let (zero, sign) = (15, 14);
        // Of each vector of a block: the largest, the numbers, and zeros or NaN.
        let body = |a: &mut Assembler, vectors: usize| {
            for (best, x, nothing) in (0..vectors).map(|v| (v, 4 + v, 8 + v)) {
                if code.signed {
                    a.and(x, x, sign)?;
                }
                // A number plus zero, or NaN for what is not finite, which never is the larger.
                a.multiply_f32(nothing, x, zero)?;
                a.add_f32(x, x, nothing)?;
                a.maximum_f32(best, x, best)?;
            }
            Ok(())
        };
        a.clear(zero)?;
        a.constant_f32(sign, f32::from_bits(!(1 << 31)))?;
        (0..BLOCK).try_for_each(|best| a.clear(best))?;
        blocks(a, [input, largest], [4, 0], numbers, |a, whole| match whole {
            true => {
                (0..BLOCK).try_for_each(|v| a.load(4 + v, ptr(input + v * a.vector())))?;
                body(a, BLOCK)
            }
            false => {
                a.vmovss(xmm4, dword_ptr(input))?;
                body(a, 1)
            }
        })?;
        [(0, 1), (2, 3), (0, 2)]
            .into_iter()
            .try_for_each(|(best, other)| a.maximum_f32(best, other, best))?;
        a.store(ptr(largest), 0)
    })
}

/// [`Round`].
pub(crate) fn round(code: &Round) -> Assembled {
    assemble(code.vector, |a| {
        let (input, integers, numbers, inverse) = (rdi, rsi, rdx, rcx);
        let (factor, zero, high, low) = (15, 14, 13, 12);
        // To integers: NaN is neither above nor below 0.
        let body = |a: &mut Assembler, vectors: usize| {
            for (x, below) in (0..vectors).map(|v| (v, 4 + v)) {
                a.multiply_f32(x, x, factor)?;
                if code.smallest < 0 {
                    a.minimum_f32(below, x, zero)?;
                    a.maximum_f32(below, below, low)?;
                }
                a.maximum_f32(x, x, zero)?;
                a.minimum_f32(x, x, high)?;
                if code.smallest < 0 {
                    a.add_f32(x, x, below)?;
                }
                a.f32_to_i32(x, x)?;
            }
            Ok(())
        };
        a.clear(zero)?;
        a.constant_f32(high, f32::from(code.largest))?;
        a.constant_f32(low, f32::from(code.smallest))?;
        a.broadcast_f32(factor, dword_ptr(inverse))?;
        blocks(a, [input, integers], [4, 2], numbers, |a, whole| match whole {
            true => {
                let vector = a.vector();
                (0..BLOCK).try_for_each(|v| a.load(v, ptr(input + v * vector)))?;
                body(a, BLOCK)?;
                (0..BLOCK).try_for_each(|v| a.store_i32_as_i16(integers, v * vector / 2, v, 8))
            }
            false => {
                a.vmovss(xmm0, dword_ptr(input))?;
                body(a, 1)?;
                a.vpextrw(word_ptr(integers), xmm0, 0)
            }
        })
    })
}

/// A loop over blocks of vectors of numbers, or over single numbers if there is not one block. `at` are addresses, which advance by so
/// many `bytes` for each number; `body` is told which of the two it is for.
fn blocks(
    a: &mut Assembler,
    at: [AsmRegister64; 2],
    bytes: [i32; 2],
    numbers: AsmRegister64,
    body: impl Fn(&mut Assembler, bool) -> Emitted,
) -> Emitted {
    let block = (BLOCK * a.vector() / 4) as i32;
    let (left, back, far) = (r8, r9, r10);
    let (mut next, mut single, mut end) = (a.create_label(), a.create_label(), a.create_label());
    let advance = |a: &mut Assembler, numbers: i32| {
        at.into_iter().zip(bytes).try_for_each(|(address, bytes)| a.add(address, bytes * numbers))
    };
    a.mov(left, numbers)?;
    a.cmp(left, block)?;
    let mut few = a.create_label();
    a.jb(few)?;
    a.set_label(&mut next)?;
    body(a, true)?;
    advance(a, block)?;
    a.sub(left, block)?;
    a.jz(end)?;
    a.cmp(left, block)?;
    a.jae(next)?;
    // Back by what the last block has too many.
    a.mov(back, left)?;
    a.sub(back, block)?;
    for (address, bytes) in at.into_iter().zip(bytes).filter(|(_, bytes)| *bytes > 0) {
        a.mov(far, back)?;
        a.shl(far, bytes.ilog2())?;
        a.add(address, far)?;
    }
    a.mov(left, i64::from(block))?;
    a.jmp(next)?;
    a.set_label(&mut few)?;
    a.test(left, left)?;
    a.jz(end)?;
    a.set_label(&mut single)?;
    body(a, false)?;
    advance(a, 1)?;
    a.dec(left)?;
    a.jnz(single)?;
    a.set_label(&mut end)?;
    // A label stands before an instruction.
    a.nop()
}
