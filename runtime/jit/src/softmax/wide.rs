//! The function of a softmax for x86-64, with vectors of 256 or 512 bits.

use super::Exponentials;
use crate::assemble::{Assembled, assemble};
use crate::elementwise::Elementwise;
use crate::elementwise::registers::Expression;
use crate::elementwise::wide::{self, Vectorised};
use iced_x86::code_asm::*;

/// Registers of vectors: the sums; what their last additions added too much; and two for values on their way.
const SUM: usize = 0;
const ERROR: usize = 1;
const NEXT: usize = 2;
const ADDED: usize = 3;
const KEPT: usize = 4;

/// [`Exponentials`]: of inputs, the first moves, the second is the largest.
pub(super) fn exponentials(code: &Exponentials) -> Assembled {
    let write = |expression: &mut Expression, inputs: Vec<usize>| {
        Some(Elementwise(expression).exp_of_difference(inputs[0], inputs[1]))
    };
    let exp = Vectorised::new(&Expression::new([true, false], write)?, code.vector, KEPT)?;
    assemble(code.vector, |a| {
        let (input, output, numbers, masks, largest, sums) = (rdi, rsi, rdx, rcx, r8, r9);
        let (index, count) = (r10, r11);
        a.push(rbp)?;
        // The addresses of the inputs, as the beginning reads them.
        a.push(largest)?;
        a.push(input)?;
        a.mov(index, rsp)?;
        exp.begin(a, index)?;
        a.xor(index, index)?;
        a.clear(SUM)?;
        a.clear(ERROR)?;
        let vector = a.vector();
        wide::run(a, [index, numbers, count, masks], |a, together, mask| {
            let results = exp.emit(a, together, |a, to, number, _| {
                a.load_masked(to, input + index * 4 + number * vector, mask)
            })?;
            for (number, &x) in results.iter().enumerate() {
                a.store_masked(output + index * 4 + number * vector, x, mask)?;
                a.keep(x, mask)?;
                a.subtract_f32(x, x, ERROR)?;
                a.add_f32(NEXT, SUM, x)?;
                a.subtract_f32(ADDED, NEXT, SUM)?;
                a.subtract_f32(ERROR, ADDED, x)?;
                a.copy(SUM, NEXT)?;
            }
            Ok(())
        })?;
        a.store(ptr(sums), SUM)?;
        exp.end(a)?;
        a.add(rsp, 16)?;
        a.pop(rbp)
    })
}
