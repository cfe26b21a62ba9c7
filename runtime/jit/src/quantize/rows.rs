//! Rows of numbers rounded into the planes of a [`Layout`](crate::Layout): every number of a row, or each that is a stride from the one before.

#[cfg(all(target_arch = "x86_64", unix))]
use super::wide;
use crate::accumulate::shifted::Pieces;
use crate::compile::Code;
use crate::elementwise::Elementwise;
use crate::loops::{LANES, VECTOR, bytes, count, load, splat_from, store};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

/// `round_rows(source, target, rows, source_row_bytes, target_row_bytes, inverse)`
///
/// For each of `rows` rows: numbers `0`, `stride`, `2 * stride`... of the source, `count` of them, times the number at `inverse`, which is not 0,
/// rounded to integers from `smallest` to `largest`, as consecutive numbers of the target. Reads nothing behind the last and writes exactly
/// `count`. A [`RowsFunction`](crate::accumulate::pack::RowsFunction).
#[derive(Debug)]
pub(super) struct RoundRows {
    /// Bytes of a vector: 16, or 32 and more.
    pub vector: usize,
    pub smallest: i16,
    pub largest: i16,
    pub count: usize,
    pub stride: usize,
}

impl RoundRows {
    /// A row in the largest pieces of `sizes` numbers that it is not too short for. Strides beyond 2 are taken number by number.
    pub fn pieces(&self, sizes: &[usize]) -> Pieces {
        let fits = |size: &&usize| **size <= self.count && self.stride <= 2;
        Pieces::of(self.count, sizes.iter().find(fits).copied().unwrap_or(1))
    }
}

impl Code for RoundRows {
    fn parameters(&self) -> usize {
        6
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[source, target, rows, source_row, target_row, inverse] = arguments else { return };
        let inverse = splat_from(b, inverse);
        let (low, high) = (f32::from(self.smallest), f32::from(self.largest));
        let Pieces { size, looped, straight } = self.pieces(&[2 * LANES, LANES]);
        let stride = self.stride;
        // Four numbers, `stride` apart.
        let four = |b: &mut FunctionBuilder<'_>, source, from: usize| match stride {
            1 => load(b, types::F32X4, source, from),
            _ => {
                // Numbers 0, 2 of the first vector, and 1, 3 of one that starts a number early, to end with the last.
                let low = load(b, types::I8X16, source, from);
                let high = load(b, types::I8X16, source, from + VECTOR - 4);
                let lanes = [0u8, 8, 20, 28].into_iter().flat_map(|start| start..start + 4);
                let mask = b.func.dfg.immediates.push(lanes.collect::<Vec<u8>>().into());
                let even = b.ins().shuffle(low, high, mask);
                bytes(b, even, types::F32X4)
            }
        };
        let piece = |b: &mut FunctionBuilder<'_>, source, target, at: usize| {
            let (from, to) = (at * stride * 4, at * 2);
            let parts: Vec<Value> = match size {
                1 => {
                    let number = load(b, types::F32, source, from);
                    vec![b.ins().splat(types::F32X4, number)]
                }
                _ => (0..size / LANES).map(|i| four(b, source, from + i * LANES * stride * 4)).collect(),
            };
            let parts: Vec<Value> =
                parts.into_iter().map(|x| Elementwise(b).rounded(x, inverse, low, high)).collect();
            let (Some(&first), Some(&last)) = (parts.first(), parts.last()) else { return };
            let integers = b.ins().snarrow(first, last);
            let stored = match size {
                1 => b.ins().extractlane(integers, 0u8),
                LANES => {
                    let halves = bytes(b, integers, types::I64X2);
                    b.ins().extractlane(halves, 0u8)
                }
                _ => integers,
            };
            store(b, stored, target, to);
        };
        count(b, rows, &[source, target], |b, state| {
            if looped > 0 {
                let turns = b.ins().iconst(types::I64, looped as i64);
                count(b, turns, state, |b, state| {
                    piece(b, state[0], state[1], 0);
                    let (from, to) = ((size * stride * 4) as i64, (size * 2) as i64);
                    vec![b.ins().iadd_imm_s(state[0], from), b.ins().iadd_imm_s(state[1], to)]
                });
            }
            straight.iter().for_each(|&at| piece(b, state[0], state[1], at));
            vec![b.ins().iadd(state[0], source_row), b.ins().iadd(state[1], target_row)]
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide::round_rows(self)
    }
}
