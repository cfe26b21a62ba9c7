//! The functions of epilogues for x86-64, with vectors of 256 or 512 bits.
//!
//! Registers of vectors: factor, bias, up to four numbers of the activation, two for values on their way, then a mask.

use super::{Channels, Finishing, Operands, Piece};
use crate::assemble::{Assembled, Assembler, Emitted, Mask, assemble};
use crate::epilogue::Before;
use crate::machine::Element;
use crate::measure::wide::Registers;
use iced_x86::code_asm::*;
use std::mem::offset_of;
use twnc_program::scalar::Unary;

/// For values on their way.
pub(crate) const TEMPORARY: [usize; 2] = [6, 7];
/// Which numbers of a vector are meant.
const MASK: usize = 8;
/// For what is measured of outputs.
const MEASURE: Registers = Registers { greatest: 9, finite: 10, magnitude: 11 };

/// [`Channels`].
pub(super) fn channels(code: &Channels) -> Assembled {
    assemble(code.vector, |a| {
        let (operands, sums, totals, residual, output) = (rdi, rsi, rdx, rcx, r8);
        let (numbers, channels, piece, pieces) = (r9, r10, rax, r11);
        let (from, to, left, masks, ahead) = (rbx, rbp, r12, r13, r14);
        let saved = [rbx, rbp, r12, r13, r14];
        let lanes = a.vector() / 4;
        let bytes = code.element.bytes();
        saved.iter().try_for_each(|&register| a.push(register))?;
        constants(a, code.finishing)?;
        if code.measured.is_some() {
            MEASURE.begin(a)?;
        }
        let fields = [
            (sums, offset_of!(Operands, sums)),
            (totals, offset_of!(Operands, totals)),
            (residual, offset_of!(Operands, residual)),
            (output, offset_of!(Operands, output)),
            (numbers, offset_of!(Operands, numbers)),
            (channels, offset_of!(Operands, channels)),
            (masks, offset_of!(Operands, masks)),
        ];
        fields.iter().try_for_each(|&(register, offset)| a.mov(register, qword_ptr(operands + offset)))?;
        // The output of the channel after the next, which another core may have: its lines are asked for before they are written.
        a.mov(rax, qword_ptr(operands + offset_of!(Operands, stride)))?;
        a.lea(ahead, ptr(output + rax * 8))?;
        let vector = |a: &mut Assembler, mask: Mask| -> Emitted {
            a.prefetchw(byte_ptr(ahead + to * 4))?;
            let [x, other] = TEMPORARY;
            match code.element {
                Element::F32 => {
                    a.load_masked(x, sums + from * 4, mask)?;
                    if code.before == Before::Sum {
                        a.load_masked(other, output + to * 4, mask)?;
                        a.add_f32(x, other, x)?;
                    }
                }
                Element::I16 => {
                    a.load_masked_i16_as_i32(x, sums + from * 2, mask)?;
                    if code.widened {
                        a.load_masked(other, totals + from * 4, mask)?;
                        a.add_i32(x, x, other)?;
                    }
                    if code.before == Before::Sum {
                        a.load_masked(other, output + to * 4, mask)?;
                        a.add_i32(x, x, other)?;
                    }
                    if code.partial {
                        return a.store_masked(output + to * 4, x, mask);
                    }
                    a.i32_to_f32(x, x)?;
                }
            }
            if code.finishing.factor {
                a.multiply_f32(x, x, 0)?;
            }
            if code.before == Before::Value {
                a.load_masked(other, output + to * 4, mask)?;
                a.add_f32(x, other, x)?;
            }
            if code.finishing.bias {
                a.add_f32(x, x, 1)?;
            }
            if code.residual {
                a.load_masked(other, residual + to * 4, mask)?;
                a.add_f32(x, x, other)?;
            }
            activated(a, code.finishing, x)?;
            a.store_masked(output + to * 4, x, mask)?;
            match code.measured {
                Some(measured) => {
                    a.keep(x, mask)?;
                    MEASURE.next(a, measured, x)
                }
                None => Ok(()),
            }
        };
        let mut labels = [(); 4].map(|()| a.create_label());
        let [channel, next, whole, part] = &mut labels;
        let mut done = a.create_label();
        a.set_label(channel)?;
        factor_and_bias(a, numbers)?;
        a.mov(piece, qword_ptr(operands + offset_of!(Operands, pieces)))?;
        a.mov(pieces, qword_ptr(operands + offset_of!(Operands, count)))?;
        a.set_label(next)?;
        a.mov(ebx, dword_ptr(piece + offset_of!(Piece, from)))?;
        a.mov(ebp, dword_ptr(piece + offset_of!(Piece, to)))?;
        a.mov(r12d, dword_ptr(piece + offset_of!(Piece, count)))?;
        a.sub(left, lanes as i32)?;
        a.jl(*part)?;
        a.set_label(whole)?;
        vector(a, Mask::All)?;
        a.add(from, lanes as i32)?;
        a.add(to, lanes as i32)?;
        a.sub(left, lanes as i32)?;
        a.jge(*whole)?;
        a.set_label(part)?;
        a.add(left, lanes as i32)?;
        a.jz(done)?;
        a.first(MASK, left, masks)?;
        vector(a, Mask::In(MASK))?;
        a.set_label(&mut done)?;
        a.add(piece, size_of::<Piece>() as i32)?;
        a.dec(pieces)?;
        a.jnz(*next)?;
        // The steps, in bytes.
        a.add(numbers, size_of::<[f32; 2]>() as i32)?;
        a.mov(rax, qword_ptr(operands + offset_of!(Operands, step)))?;
        a.lea(sums, ptr(sums + rax * bytes))?;
        a.lea(totals, ptr(totals + rax * 4))?;
        a.mov(rax, qword_ptr(operands + offset_of!(Operands, stride)))?;
        a.lea(output, ptr(output + rax * 4))?;
        a.lea(ahead, ptr(ahead + rax * 4))?;
        a.lea(residual, ptr(residual + rax * 4))?;
        a.dec(channels)?;
        a.jnz(*channel)?;
        if code.measured.is_some() {
            a.mov(rax, qword_ptr(operands + offset_of!(Operands, lanes)))?;
            MEASURE.end(a, ptr(rax))?;
        }
        saved.iter().rev().try_for_each(|&register| a.pop(register))
    })
}

/// Factor and bias, in registers 0 and 1.
pub(crate) fn factor_and_bias(a: &mut Assembler, numbers: AsmRegister64) -> Emitted {
    a.broadcast_f32(0, dword_ptr(numbers))?;
    a.broadcast_f32(1, dword_ptr(numbers + 4))
}

/// The numbers of the activation, in the registers from 2 on; changes `eax`.
pub(crate) fn constants(a: &mut Assembler, finish: Finishing) -> Emitted {
    let activation = match finish.activation {
        Some(Unary::Relu) => vec![0.0],
        Some(Unary::Clip { min, max }) => vec![min, max],
        Some(Unary::HardSigmoid { alpha, beta }) => vec![0.0, 1.0, alpha, beta],
        Some(Unary::HardSwish) => vec![0.0, 1.0, 1.0 / 6.0, 0.5],
        _ => vec![],
    };
    (2..).zip(activation).try_for_each(|(register, number)| a.splat(register, number.to_bits()))
}

/// Factor, bias and activation of a vector.
pub(crate) fn finished(a: &mut Assembler, finish: Finishing, x: usize) -> Emitted {
    if finish.factor {
        a.multiply_f32(x, x, 0)?;
    }
    if finish.bias {
        a.add_f32(x, x, 1)?;
    }
    activated(a, finish, x)
}

/// The activation of a vector. Where a number is NaN or both are equal, larger and smaller are the second.
fn activated(a: &mut Assembler, finish: Finishing, x: usize) -> Emitted {
    match finish.activation {
        Some(Unary::Relu) => a.larger_f32(x, 2, x),
        Some(Unary::Clip { .. }) => {
            a.larger_f32(x, 2, x)?;
            a.smaller_f32(x, 3, x)
        }
        Some(Unary::HardSigmoid { .. }) => gate(a, x, x),
        Some(Unary::HardSwish) => {
            let to = TEMPORARY[1];
            gate(a, to, x)?;
            a.multiply_f32(x, x, to)
        }
        _ => Ok(()),
    }
}

/// `to` becomes the hard sigmoid of `x`.
fn gate(a: &mut Assembler, to: usize, x: usize) -> Emitted {
    a.multiply_f32(to, x, 4)?;
    a.add_f32(to, to, 5)?;
    a.larger_f32(to, 2, to)?;
    a.smaller_f32(to, 3, to)
}
