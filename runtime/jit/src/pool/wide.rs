//! The functions of pools for x86-64, with vectors of 256 or 512 bits.
//!
//! A row has at least as many numbers as a vector: the last vector ends with the row and overlaps the one before.

use super::Fold;
use super::inside::Inside;
use super::rows::{Horizontal, Vertical};
use crate::assemble::{Assembled, Assembler, EVENS, EVENS_AND_ODDS, Emitted, ODDS, assemble};
use iced_x86::code_asm::*;

impl Fold {
    /// `so_far` with a further number in each lane.
    fn wide(self, a: &mut Assembler, so_far: usize, next: usize) -> Emitted {
        match self {
            // The second operand where either is NaN or both are equal, as portable code has it.
            Fold::Maximum => a.larger_f32(so_far, next, so_far),
            Fold::Sum => a.add_f32(so_far, so_far, next),
        }
    }
}

/// [`Vertical`]: the result in register 0.
pub(crate) fn vertical(code: &Vertical) -> Assembled {
    let Vertical { fold, lanes } = *code;
    assemble(lanes * 4, |a| {
        let (source, column, numbers, rows, row_bytes) = (rdi, rsi, rdx, rcx, r8);
        let (result, number, identity) = (0, 1, 2);
        let (at, last, from, left, vector) = (r9, r10, rax, r11, 4 * lanes as i32);
        let (mut next, mut row, mut store) = (a.create_label(), a.create_label(), a.create_label());
        a.splat(identity, fold.identity().to_bits())?;
        a.xor(r9d, r9d)?;
        a.lea(last, qword_ptr(numbers * 4 - vector))?;
        a.set_label(&mut next)?;
        a.copy(result, identity)?;
        a.lea(from, qword_ptr(source + at))?;
        a.mov(left, rows)?;
        a.test(left, left)?;
        a.jz(store)?;
        a.set_label(&mut row)?;
        a.load(number, ptr(from))?;
        fold.wide(a, result, number)?;
        a.add(from, row_bytes)?;
        a.dec(left)?;
        a.jnz(row)?;
        a.set_label(&mut store)?;
        a.store(ptr(column + at), result)?;
        advance(a, at, last, vector, next)
    })
}

/// [`Horizontal`], where it has a fixed number of taps and a stride of 1 or 2: results in registers 0 and, of the second half of the
/// numbers between which a stride of 2 chooses, 1.
pub(crate) fn horizontal(code: &Horizontal) -> Assembled {
    let Horizontal { fold, lanes, stride, unrolled: Some(taps @ 1..) } = *code else { return None };
    if stride > 2 {
        return None;
    }
    assemble(lanes * 4, |a| {
        let (column, output, numbers, tap_bytes, divisors) = (rdi, rsi, rdx, r8, r9);
        let (number, identity) = (2, 3);
        let (at, last, from, vector) = (r10, r11, rax, 4 * lanes as i32);
        let mut next = a.create_label();
        a.splat(identity, fold.identity().to_bits())?;
        a.xor(r10d, r10d)?;
        a.lea(last, qword_ptr(numbers * 4 - vector))?;
        a.set_label(&mut next)?;
        a.lea(from, qword_ptr(column + at * stride as i32))?;
        (0..stride).try_for_each(|half| a.copy(half, identity))?;
        for tap in 0..taps {
            if tap > 0 {
                a.add(from, tap_bytes)?;
            }
            for half in 0..stride {
                a.load(number, ptr(from + half as i32 * vector))?;
                fold.wide(a, half, number)?;
            }
        }
        if stride == 2 {
            a.every_second(0, 0, 1)?;
        }
        if fold == Fold::Sum {
            a.load(number, ptr(divisors + at))?;
            a.divide_f32(0, 0, number)?;
        }
        a.store(ptr(output + at), 0)?;
        advance(a, at, last, vector, next)
    })
}

/// [`Inside`]: the result in register 0.
pub(crate) fn inside(code: &Inside) -> Assembled {
    let Inside { fold, lanes, kernel, strides, pitch, out_pitch, columns } = *code;
    let displaced = |numbers: usize| i32::try_from(numbers * 4).ok();
    // The largest displacement of a tap is less than a kernel's rows.
    displaced((kernel[0] + 1) * pitch)?;
    let (down, out_down) = (displaced(strides[0] * pitch)?, displaced(out_pitch)?);
    assemble(lanes * 4, |a| {
        let (first_of_source, first_of_output, rows, planes) = (rdi, rsi, rdx, rcx);
        let (source_plane, output_plane) = (r8, r9);
        let (halves, number, odds, identity, divisor) = ([1, 2], 3, 4, 5, 6);
        let (at, last, from, vector) = (r10, r11, rax, 4 * lanes as i32);
        let (source, output, left) = (rbx, rbp, r12);
        let (mut plane, mut row, mut next) = (a.create_label(), a.create_label(), a.create_label());
        let saved = [source, output, left];
        saved.iter().try_for_each(|&register| a.push(register))?;
        a.splat(identity, fold.identity().to_bits())?;
        a.splat(divisor, code.divisor().to_bits())?;
        a.mov(last, (columns * 4) as i64 - i64::from(vector))?;
        a.set_label(&mut plane)?;
        a.mov(source, first_of_source)?;
        a.mov(output, first_of_output)?;
        a.mov(left, rows)?;
        a.set_label(&mut row)?;
        a.xor(r10d, r10d)?;
        a.set_label(&mut next)?;
        a.lea(from, qword_ptr(source + at * strides[1] as i32))?;
        a.copy(0, identity)?;
        for (first, second) in code.columns_of_windows(lanes) {
            let halves = &halves[..strides[1]];
            for (&half, column) in halves.iter().zip([first, second]) {
                a.copy(half, identity)?;
                for tap in 0..kernel[0] {
                    a.load(number, ptr(from + ((tap * pitch + column) * 4) as i32))?;
                    fold.wide(a, half, number)?;
                }
            }
            if let &[first_half, second_half] = halves {
                let both = second == first + lanes;
                if both {
                    a.choose_lanes(odds, first_half, second_half, ODDS)?;
                    fold.wide(a, 0, odds)?;
                }
                a.choose_lanes(
                    first_half,
                    first_half,
                    second_half,
                    if both { EVENS } else { EVENS_AND_ODDS },
                )?;
            }
            fold.wide(a, 0, halves[0])?;
        }
        if strides[1] == 2 {
            a.put_in_order(0)?;
        }
        if fold == Fold::Sum {
            a.divide_f32(0, 0, divisor)?;
        }
        a.store(ptr(output + at), 0)?;
        advance(a, at, last, vector, next)?;
        a.add(source, down)?;
        a.add(output, out_down)?;
        a.dec(left)?;
        a.jnz(row)?;
        a.add(first_of_source, source_plane)?;
        a.add(first_of_output, output_plane)?;
        a.dec(planes)?;
        a.jnz(plane)?;
        saved.iter().rev().try_for_each(|&register| a.pop(register))
    })
}

/// Goes on with the next vector, or with the last, or ends after that.
fn advance(
    a: &mut Assembler,
    at: AsmRegister64,
    last: AsmRegister64,
    vector: i32,
    next: CodeLabel,
) -> Emitted {
    let mut end = a.create_label();
    a.cmp(at, last)?;
    a.je(end)?;
    a.add(at, vector)?;
    a.cmp(at, last)?;
    a.cmovg(at, last)?;
    a.jmp(next)?;
    a.set_label(&mut end)?;
    // A label stands before an instruction.
    a.nop()
}
