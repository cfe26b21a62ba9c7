//! The functions of quantize kernels for x86-64, with vectors of 256 or 512 bits.

use super::Round;
use super::rows::RoundRows;
use crate::accumulate::pack::Rows;
use crate::accumulate::wide_shifted::{load_numbers, rows_in_pieces};
use crate::assemble::{Assembled, Assembler, Emitted, assemble};
use iced_x86::code_asm::*;
use std::mem::offset_of;

/// Numbers that a turn of [`round`] rounds: what a vector of 512 bits holds, or two of 256.
const ROUNDED: usize = 16;

/// What rounding takes, in registers: the factor, the smallest integer and the largest; then a spare one.
const FACTOR: usize = 2;
const LOW: usize = 3;
const HIGH: usize = 4;
const SPARE: usize = 5;

/// Fills the registers that [`rounded`] reads; changes `eax`.
fn bounds(a: &mut Assembler, inverse: AsmRegister64, smallest: i16, largest: i16) -> Emitted {
    a.broadcast_f32(FACTOR, ptr(inverse))?;
    a.splat(LOW, f32::from(smallest).to_bits())?;
    a.splat(HIGH, f32::from(largest).to_bits())
}

/// Numbers become the nearest integers within the bounds.
fn rounded(a: &mut Assembler, x: usize, smallest: i16) -> Emitted {
    a.multiply_f32(x, x, FACTOR)?;
    // Where the smallest is 0, NaN becomes 0 with the next instruction, which takes its second operand then.
    if smallest != 0 {
        a.zero_where_nan(x, x, SPARE)?;
    }
    a.larger_f32(x, x, LOW)?;
    a.smaller_f32(x, x, HIGH)?;
    a.nearest_i32(x, x)
}

/// [`Round`]: numbers in registers 0 and 1.
pub(crate) fn round(code: &Round) -> Assembled {
    let Round { lanes, smallest, largest } = *code;
    assemble(lanes * 4, |a| {
        let (input, integers, numbers, inverse) = (rdi, rsi, rdx, rcx);
        bounds(a, inverse, smallest, largest)?;
        let (mut next, mut singles) = (a.create_label(), a.create_label());
        let (mut single, mut end) = (a.create_label(), a.create_label());
        a.mov(r8, numbers)?;
        a.shr(r8, ROUNDED.ilog2())?;
        a.jz(singles)?;
        a.set_label(&mut next)?;
        for v in 0..ROUNDED / lanes {
            a.load(v, ptr(input + v * lanes * 4))?;
            rounded(a, v, smallest)?;
        }
        a.store_i16(ptr(integers), 0, 1)?;
        a.add(input, 4 * ROUNDED as i32)?;
        a.add(integers, 2 * ROUNDED as i32)?;
        a.dec(r8)?;
        a.jnz(next)?;
        a.set_label(&mut singles)?;
        a.and(numbers, ROUNDED as i32 - 1)?;
        a.jz(end)?;
        a.set_label(&mut single)?;
        a.broadcast_f32(0, ptr(input))?;
        rounded(a, 0, smallest)?;
        a.first_i32(eax, 0)?;
        a.mov(word_ptr(integers), ax)?;
        a.add(input, 4)?;
        a.add(integers, 2)?;
        a.dec(numbers)?;
        a.jnz(single)?;
        a.set_label(&mut end)?;
        a.nop()
    })
}

/// [`RoundRows`], with vectors of 256 bits: rows are short, and the time is that of memory.
pub(super) fn round_rows(code: &RoundRows) -> Assembled {
    let &RoundRows { vector, smallest, largest, stride, .. } = code;
    assemble(vector.min(32), |a| {
        let pieces = code.pieces(&[16, 8, 4][usize::from(stride == 2)..]);
        let size = pieces.size;
        a.mov(r9, qword_ptr(rdi + offset_of!(Rows<f32, i16>, factor)))?;
        bounds(a, r9, smallest, largest)?;
        rows_in_pieces(a, &pieces, [size * stride * 4, size * 2], |a, source, target, at| {
            load(a, size, stride, source + at * stride * 4)?;
            (0..size.div_ceil(8)).try_for_each(|x| rounded(a, x, smallest))?;
            store(a, size, target + at * 2)
        })
    })
}

/// Numbers that lie `stride` apart, `size` of them, in registers 0 and 1.
fn load(a: &mut Assembler, size: usize, stride: usize, from: AsmMemoryOperand) -> Emitted {
    match size {
        16 => {
            a.vmovups(ymm0, ymmword_ptr(from))?;
            a.vmovups(ymm1, ymmword_ptr(from + 32))
        }
        8 | 4 => load_numbers(a, size * 4, stride, from),
        _ => a.vmovss(xmm0, dword_ptr(from)),
    }
}

/// The integers of registers 0 and 1 as i16, `size` of them.
fn store(a: &mut Assembler, size: usize, to: AsmMemoryOperand) -> Emitted {
    match size {
        16 => a.store_i16(to, 0, 1),
        8 => {
            a.vpackssdw(ymm0, ymm0, ymm0)?;
            a.vpermq(ymm0, ymm0, 0b10_00_10_00)?;
            a.vmovups(xmmword_ptr(to), xmm0)
        }
        4 => {
            a.vpackssdw(xmm0, xmm0, xmm0)?;
            a.vmovq(qword_ptr(to), xmm0)
        }
        _ => {
            a.vmovd(eax, xmm0)?;
            a.mov(word_ptr(to), ax)
        }
    }
}
