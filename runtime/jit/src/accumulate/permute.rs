//! Functions that look up sums in tables that are in vector registers, for x86-64 with AVX2 or AVX-512.
//!
//! One instruction looks up for all lanes of a vector, each of which is an output with indices of its own.

use super::code::{Combine, Permute};
use super::indices::Form;
use crate::assemble::{Assembled, Assembler, Emitted, assemble};
use crate::machine::Element;
use iced_x86::code_asm::*;

/// [`Permute`]: tables in the first registers, then sums and what is on its way.
pub(crate) fn permute(code: &Permute) -> Assembled {
    let Permute { form, groups, fresh } = *code;
    assemble(form.vector, |a| {
        let (sums, indices, chunks) = (rsi, INDICES, rcx);
        let free = groups * form.table;
        (0..groups).try_for_each(|group| build(a, &form, group, free))?;
        if form.bytes() {
            a.load(NIBBLES, ptr(CONSTANTS + split(&form, 2)))?;
        }
        let mut next = a.create_label();
        a.set_label(&mut next)?;
        // Sums that are in registers meanwhile.
        let held = if form.bytes_of_a_pass() { 0 } else { form.sums };
        for sum in 0..held {
            match fresh {
                true => a.clear(free + sum)?,
                false => a.load(free + sum, ptr(sums + sum * form.vector))?,
            }
        }
        for line in (0..form.words(groups) * form.vector).step_by(64) {
            a.prefetcht0(byte_ptr(INDICES + line + AHEAD))?;
        }
        match form.bytes() {
            true => look_up_bytes(a, &form, groups, free)?,
            false => look_up_numbers(a, &form, groups, free)?,
        }
        if form.bytes_of_a_pass() {
            // Lower and upper bytes, each as words as they are, and those at odd places alone.
            for (half, odd) in [(0, 2), (1, 3)].map(|(half, odd)| (half, free + odd)) {
                let all = free + half;
                a.shift_right_u16(odd, all, 8)?;
                for (register, sum) in [(all, 2 * half), (odd, 2 * half + 1)] {
                    let sum = sums + sum * form.vector;
                    if !fresh {
                        a.add_i16(register, register, ptr(sum))?;
                    }
                    a.store(ptr(sum), register)?;
                }
            }
        }
        for sum in 0..held {
            a.store(ptr(sums + sum * form.vector), free + sum)?;
        }
        a.add(sums, (form.sums * form.vector) as i32)?;
        a.add(indices, (form.words(groups) * form.vector) as i32)?;
        a.dec(chunks)?;
        a.jnz(next)
    })
}

/// Makes the table of a group in its registers. Those from `free` on are in use only meanwhile.
fn build(a: &mut Assembler, form: &Form, group: usize, free: usize) -> Emitted {
    let (first, product) = (group * form.table, free + form.group);
    for member in 0..form.group {
        let input = INPUTS + (group * form.group + member) * form.element.bytes();
        match form.element {
            Element::F32 => a.broadcast_f32(free + member, ptr(input))?,
            Element::I16 => a.broadcast_i16(free + member, ptr(input))?,
        }
    }
    let mut constants = (0..).map(|vector| ptr(CONSTANTS + vector * form.vector));
    let mut constant = || constants.next().unwrap_or(ptr(CONSTANTS));
    for table in first..first + form.table_numbers() {
        for member in 0..form.group {
            let to = if member == 0 { table } else { product };
            a.and_bits(to, free + member, constant())?;
            if form.signed {
                a.exclusive_or(to, to, constant())?;
            }
            if member > 0 {
                add(a, form.element, true, table, product)?;
            }
        }
        if form.signed && form.element == Element::I16 {
            a.add_i16(table, table, constant())?;
        }
    }
    if form.bytes() {
        a.shift_right_u16(first + 1, first, form.low)?;
        a.and_bits(first, first, ptr(CONSTANTS + split(form, 0)))?;
        a.and_bits(first + 1, first + 1, ptr(CONSTANTS + split(form, 1)))?;
        (first..first + 2).try_for_each(|table| a.narrow_to_both_halves(table))?;
    }
    Ok(())
}

/// Bytes from the constants to a vector of those for tables of bytes.
fn split(form: &Form, vector: usize) -> usize {
    (form.group + vector) * form.vector
}

/// Adds what a chunk's indices select to its sums, in register `sum`.
fn look_up_numbers(a: &mut Assembler, form: &Form, groups: usize, sum: usize) -> Emitted {
    let (word, index) = (sum + 1, sum + 2);
    let parts: &[bool] = if form.signed { &[true] } else { &[true, false] };
    for (number, first) in (0..groups).step_by(form.fields()).enumerate() {
        a.load(word, ptr(INDICES + number * form.vector))?;
        let fields = (groups - first).min(form.fields());
        // The lowest index is last: it needs no shift, and the word is not needed after it.
        for field in (0..fields).rev() {
            for (part, &plus) in parts.iter().enumerate().rev() {
                let shift = field * form.bits + part * form.group;
                let table = (first + field) * form.table;
                let index = if shift == 0 { word } else { index };
                match form.element {
                    Element::F32 => {
                        if shift > 0 {
                            a.shift_right_u32(index, word, shift as u32)?;
                        }
                        a.look_up_f32(index, table)?;
                    }
                    Element::I16 => {
                        if shift > 0 {
                            a.shift_right_u16(index, word, shift as u32)?;
                        }
                        a.look_up_i16(index, table)?;
                    }
                }
                add(a, form.element, plus, sum, index)?;
            }
        }
    }
    Ok(())
}

/// The same for tables of bytes. Sums are in registers from `sum` on: those of words and of upper bytes, or of lower bytes and
/// of upper ones of this pass alone.
fn look_up_bytes(a: &mut Assembler, form: &Form, groups: usize, sum: usize) -> Emitted {
    let [word, index, low, high] = [3, 4, 5, 6].map(|i| sum + i);
    if form.bytes_of_a_pass() {
        a.load(sum, ptr(CONSTANTS + split(form, 3)))?;
        a.load(sum + 1, ptr(CONSTANTS + split(form, 3)))?;
    }
    for group in 0..groups {
        a.load(word, ptr(INDICES + group * form.vector))?;
        for plus in [true, false] {
            match plus {
                true => a.and_bits(index, word, NIBBLES)?,
                false => {
                    a.shift_right_u16(index, word, 4)?;
                    a.and_bits(index, index, NIBBLES)?;
                }
            }
            a.look_up_bytes(low, group * 2, index)?;
            a.look_up_bytes(high, group * 2 + 1, index)?;
            let upper = if form.bytes_of_a_pass() {
                add_bytes(a, plus, sum, low)?;
                sum + 1
            } else {
                add(a, Element::I16, plus, sum, low)?;
                a.shift_right_u16(low, low, 8)?;
                add(a, Element::I16, plus, sum + 1, low)?;
                sum + 2
            };
            add_bytes(a, plus, upper, high)?;
        }
    }
    Ok(())
}

/// [`Combine`].
pub(crate) fn combine(code: &Combine) -> Assembled {
    let Combine { form, passes } = *code;
    let Form { vector, low, sums: registers, .. } = form;
    assemble(vector, |a| {
        let (sums, totals, chunks) = (rdi, rsi, rdx);
        let [all, odd, upper, upper_odd, shifted, excess] = [0, 1, 2, 3, 4, 5];
        a.splat(excess, u32::from(form.excess(passes).cast_unsigned()) * 0x0001_0001)?;
        let mut next = a.create_label();
        a.set_label(&mut next)?;
        for sum in 0..registers {
            a.load(sum, ptr(sums + sum * vector))?;
        }
        if registers == upper_odd {
            a.shift_right_u16(upper_odd, upper, 8)?;
        }
        for (sum, upper) in [(all, upper), (odd, upper_odd)] {
            a.shift_left_u16(upper, upper, low)?;
            a.add_i16(sum, sum, upper)?;
        }
        // At even places: all but 256 times what is at odd ones.
        a.shift_left_u16(shifted, odd, 8)?;
        a.subtract_i16(all, all, shifted)?;
        for sum in [all, odd] {
            a.subtract_i16(sum, sum, excess)?;
        }
        for sum in [all, odd] {
            a.store(ptr(sums + sum * vector), sum)?;
        }
        for half in 0..4 {
            a.load_i16_as_i32(all, sums + half * vector / 2)?;
            a.add_i32(all, all, ptr(totals + half * vector))?;
            a.store(ptr(totals + half * vector), all)?;
        }
        a.add(sums, (registers * vector) as i32)?;
        a.add(totals, (4 * vector) as i32)?;
        a.dec(chunks)?;
        a.jnz(next)
    })
}

/// Where the inputs are.
const INPUTS: AsmRegister64 = rdi;
/// Where the indices of a chunk are.
const INDICES: AsmRegister64 = rdx;
/// Where the constants are.
const CONSTANTS: AsmRegister64 = r8;
/// Bytes from the indices that are in use to those that are fetched: the processor's own prefetching ends with each page.
const AHEAD: usize = 2048;
/// The register of a mask of the lower halves of bytes.
const NIBBLES: usize = 15;

/// `sum += value` or `sum -= value`.
fn add(a: &mut Assembler, element: Element, plus: bool, sum: usize, value: usize) -> Emitted {
    match (element, plus) {
        (Element::F32, true) => a.add_f32(sum, sum, value),
        (Element::F32, false) => a.subtract_f32(sum, sum, value),
        (Element::I16, true) => a.add_i16(sum, sum, value),
        (Element::I16, false) => a.subtract_i16(sum, sum, value),
    }
}

/// The same of bytes.
fn add_bytes(a: &mut Assembler, plus: bool, sum: usize, value: usize) -> Emitted {
    match plus {
        true => a.add_i8(sum, sum, value),
        false => a.subtract_i8(sum, sum, value),
    }
}
