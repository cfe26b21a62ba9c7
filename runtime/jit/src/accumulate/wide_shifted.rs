//! Sums of shifted rows for x86-64, with vectors of 256 or 512 bits: the functions that `shifted` describes.

use super::pack::Rows;
use super::shifted::{Pieces, RESERVED, Shifted, Spread};
use crate::assemble::{Assembled, Assembler, Emitted, assemble};
use crate::finish::wide::{TEMPORARY, constants, factor_and_bias, finished};
use crate::machine::Element;
use iced_x86::code_asm::*;
use std::mem::offset_of;

/// [`Shifted`]: sums are in the registers from [`RESERVED`] on.
pub(crate) fn shifted(code: &Shifted) -> Assembled {
    let Shifted { element, lanes, columns, pitches, steps, finish, .. } = *code;
    let bytes = element.bytes();
    assemble(lanes * bytes, |a| {
        let (source, output, tiles, stream, numbers) = (rdi, rsi, rdx, rcx, r8);
        let (offsets, left, offset) = (r9, r10, rax);
        let vector = a.vector();
        let valid = |column: usize| (columns - column).min(lanes);
        if let Some(finish) = finish {
            factor_and_bias(a, numbers)?;
            constants(a, finish)?;
        }
        let partial = columns % (vector / code.output_bytes());
        if partial > 0 {
            a.choose_first(partial)?;
        }
        let (mut tile, mut end) = (a.create_label(), a.create_label());
        a.test(tiles, tiles)?;
        a.jz(end)?;
        a.set_label(&mut tile)?;
        let sums = || (RESERVED..).zip(code.places());
        sums().try_for_each(|(sum, _)| a.clear(sum))?;
        a.lea(offsets, qword_ptr(stream + 8))?;
        for (number, plus) in [(0, true), (4, false)] {
            let (mut next, mut done) = (a.create_label(), a.create_label());
            a.mov(r10d, dword_ptr(stream + number))?;
            a.test(left, left)?;
            a.jz(done)?;
            a.set_label(&mut next)?;
            a.mov(eax, dword_ptr(offsets))?;
            if code.weighted {
                a.broadcast_f32(TEMPORARY[0], ptr(offsets + 4))?;
            }
            a.add(offsets, code.entry() as i32)?;
            for (sum, [row, column]) in sums() {
                let value = ptr(source + offset + (row * pitches[0] + column) * bytes);
                match (element, plus) {
                    (Element::F32, true) if code.weighted => a.multiply_add_f32(sum, TEMPORARY[0], value)?,
                    (Element::F32, true) => a.add_f32(sum, sum, value)?,
                    (Element::F32, false) => a.subtract_f32(sum, sum, value)?,
                    (Element::I16, true) => a.add_i16(sum, sum, value)?,
                    (Element::I16, false) => a.subtract_i16(sum, sum, value)?,
                }
            }
            a.dec(left)?;
            a.jnz(next)?;
            a.set_label(&mut done)?;
            a.nop()?;
        }
        let size = code.output_bytes();
        for (sum, [row, column]) in sums() {
            let at = (row * pitches[1] + column) * size;
            match (finish, element) {
                (None, _) => a.store_first(output, at, sum, valid(column), size, TEMPORARY[0])?,
                (Some(finish), Element::F32) => {
                    finished(a, finish, sum)?;
                    a.store_first(output, at, sum, valid(column), size, TEMPORARY[0])?;
                }
                (Some(finish), Element::I16) => {
                    let half_lanes = lanes / 2;
                    for half in 0..valid(column).div_ceil(half_lanes) {
                        let x = TEMPORARY[0];
                        a.half_to_f32(x, sum, half)?;
                        finished(a, finish, x)?;
                        let valid = (valid(column) - half * half_lanes).min(half_lanes);
                        a.store_first(output, at + half * vector, x, valid, size, TEMPORARY[1])?;
                    }
                }
            }
        }
        a.add(source, (steps[0] * bytes) as i32)?;
        a.add(output, (steps[1] * size) as i32)?;
        a.dec(tiles)?;
        a.jnz(tile)?;
        a.set_label(&mut end)
    })
}

/// [`Spread`]: whole rows in vectors of the function's width, every second number in those of 256 bits at most.
pub(crate) fn spread(code: &Spread) -> Assembled {
    assemble(code.vector, |a| {
        let pieces = code.pieces(32);
        let (size, stride) = (pieces.size, code.stride);
        rows_in_pieces(a, &pieces, [size * stride, size], |a, source, target, at| {
            piece(a, code.element, size, stride, source, target, at)
        })
    })
}

/// The loops of a function that takes [`Rows`]. `piece` makes a piece at a place of a row, of whose source and target so many
/// bytes are one; it may change `rax`.
pub(crate) fn rows_in_pieces(
    a: &mut Assembler,
    pieces: &Pieces,
    [from_step, to_step]: [usize; 2],
    piece: impl Fn(&mut Assembler, AsmRegister64, AsmRegister64, usize) -> Emitted,
) -> Emitted {
    let (operands, planes) = (rdi, r12);
    let (first_source, first_target, source, target) = (rbx, rbp, rsi, rdx);
    let (rows, source_row, target_row) = (rcx, r8, r13);
    let (from, to, left) = (r9, r10, r11);
    let (mut plane, mut row, mut end) = (a.create_label(), a.create_label(), a.create_label());
    let saved = [rbx, rbp, r12, r13];
    saved.iter().try_for_each(|&register| a.push(register))?;
    for (register, offset) in [
        (planes, offset_of!(Rows<f32, f32>, planes)),
        (first_source, offset_of!(Rows<f32, f32>, source)),
        (first_target, offset_of!(Rows<f32, f32>, target)),
        (source_row, offset_of!(Rows<f32, f32>, source_row)),
        (target_row, offset_of!(Rows<f32, f32>, target_row)),
    ] {
        a.mov(register, qword_ptr(operands + offset))?;
    }
    a.test(planes, planes)?;
    a.jz(end)?;
    a.set_label(&mut plane)?;
    a.mov(source, first_source)?;
    a.mov(target, first_target)?;
    // One row or more.
    a.mov(rows, qword_ptr(operands + offset_of!(Rows<f32, f32>, rows)))?;
    a.set_label(&mut row)?;
    if pieces.looped > 0 {
        let mut next = a.create_label();
        a.mov(from, source)?;
        a.mov(to, target)?;
        a.mov(r11d, pieces.looped as u32)?;
        a.set_label(&mut next)?;
        piece(a, from, to, 0)?;
        a.add(from, from_step as i32)?;
        a.add(to, to_step as i32)?;
        a.dec(left)?;
        a.jnz(next)?;
    }
    pieces.straight.iter().try_for_each(|&at| piece(a, source, target, at))?;
    a.add(source, source_row)?;
    a.add(target, target_row)?;
    a.dec(rows)?;
    a.jnz(row)?;
    a.add(first_source, qword_ptr(operands + offset_of!(Rows<f32, f32>, source_plane)))?;
    a.add(first_target, qword_ptr(operands + offset_of!(Rows<f32, f32>, target_plane)))?;
    a.dec(planes)?;
    a.jnz(plane)?;
    a.set_label(&mut end)?;
    saved.iter().rev().try_for_each(|&register| a.pop(register))
}

/// Copies numbers that make up `size` bytes at `target + at`.
fn piece(
    a: &mut Assembler,
    element: Element,
    size: usize,
    stride: usize,
    source: AsmRegister64,
    target: AsmRegister64,
    at: usize,
) -> Emitted {
    let (from, to) = (source + at * stride, target + at);
    match (size, stride) {
        (64, _) => {
            a.vmovups(zmm0, zmmword_ptr(from))?;
            a.vmovups(zmmword_ptr(to), zmm0)
        }
        (32 | 16, _) => {
            match (element, stride) {
                (Element::I16, 2) => load_every_second_i16(a, size, from)?,
                _ => load_numbers(a, size, stride, from)?,
            }
            if size == 32 { a.vmovups(ymmword_ptr(to), ymm0) } else { a.vmovups(xmmword_ptr(to), xmm0) }
        }
        (8, _) => {
            a.mov(rax, qword_ptr(from))?;
            a.mov(qword_ptr(to), rax)
        }
        (4, _) => {
            a.mov(eax, dword_ptr(from))?;
            a.mov(dword_ptr(to), eax)
        }
        _ => {
            a.movzx(eax, word_ptr(from))?;
            a.mov(word_ptr(to), ax)
        }
    }
}

/// Register 0 becomes the numbers at an address that make up `size` bytes, 32 or 16: all of them, or, of those of 4 bytes, every second one (`stride`).
/// Reads nothing behind the last.
pub(crate) fn load_numbers(a: &mut Assembler, size: usize, stride: usize, from: AsmMemoryOperand) -> Emitted {
    // Of every second number, the first half of a lane comes from numbers 0 and 2 of a vector, the second from 1 and 3 of one that
    // starts a number early, to end with the last.
    const ALTERNATE: i32 = 0b11_01_10_00;
    let early = from + (size - 4);
    match (size, stride) {
        (32, 1) => a.vmovups(ymm0, ymmword_ptr(from)),
        (32, _) => {
            a.vmovups(ymm0, ymmword_ptr(from))?;
            a.vshufps(ymm0, ymm0, ymmword_ptr(early), ALTERNATE)?;
            a.vpermpd(ymm0, ymm0, 0b11_01_10_00)
        }
        (_, 1) => a.vmovups(xmm0, xmmword_ptr(from)),
        _ => {
            a.vmovups(xmm0, xmmword_ptr(from))?;
            a.vshufps(xmm0, xmm0, xmmword_ptr(early), ALTERNATE)
        }
    }
}

/// As [`load_numbers`], of numbers of 2 bytes every second one; changes registers 1 and 2.
fn load_every_second_i16(a: &mut Assembler, size: usize, from: AsmMemoryOperand) -> Emitted {
    // The lower halves of the doublewords of a vector, and the upper ones of a vector that starts a number early.
    let early = from + (size - 2);
    a.vpxor(ymm1, ymm1, ymm1)?;
    if size == 32 {
        a.vpblendw(ymm0, ymm1, ymmword_ptr(from), 0b0101_0101)?;
        a.vmovups(ymm2, ymmword_ptr(early))?;
        a.vpsrld(ymm2, ymm2, 16)?;
        a.vpackusdw(ymm0, ymm0, ymm2)?;
        a.vpermq(ymm0, ymm0, 0b11_01_10_00)
    } else {
        a.vpblendw(xmm0, xmm1, xmmword_ptr(from), 0b0101_0101)?;
        a.vmovups(xmm2, xmmword_ptr(early))?;
        a.vpsrld(xmm2, xmm2, 16)?;
        a.vpackusdw(xmm0, xmm0, xmm2)
    }
}
