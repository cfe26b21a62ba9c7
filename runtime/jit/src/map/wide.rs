//! The function of maps for x86-64, with vectors of 256 or 512 bits.

use super::Run;
use crate::assemble::{Assembled, assemble};
use crate::elementwise::Elementwise;
use crate::elementwise::registers::Expression;
use crate::elementwise::wide::{self, Vectorised};
use iced_x86::code_asm::*;

/// [`Run`], where the stack has room for its numbers.
pub(super) fn run(code: &Run<'_>) -> Assembled {
    let moves = code.strides.iter().map(|&stride| stride == 1);
    let write =
        |expression: &mut Expression, inputs| Elementwise(expression).code(code.code, inputs, code.exponents);
    let map = Vectorised::new(&Expression::new(moves, write)?, code.vector, 0)?;
    assemble(code.vector, |a| {
        let (inputs, output, numbers, masks, index, count) = (rdi, rsi, rdx, rcx, r8, r9);
        a.push(rbp)?;
        map.begin(a, inputs)?;
        a.xor(index, index)?;
        let vector = a.vector();
        wide::run(a, [index, numbers, count, masks], |a, together, mask| {
            let results = map.emit(a, together, |a, to, number, input| {
                a.mov(rax, qword_ptr(inputs + 8 * input))?;
                a.load_masked(to, rax + index * 4 + number * vector, mask)
            })?;
            (0..).zip(results).try_for_each(|(number, &result)| {
                a.store_masked(output + index * 4 + number * vector, result, mask)
            })
        })?;
        map.end(a)?;
        a.pop(rbp)
    })
}
