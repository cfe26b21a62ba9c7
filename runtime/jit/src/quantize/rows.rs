//! Rows of numbers rounded into the planes of a [`Layout`](crate::Layout): every number of a row, or each that is a stride from the one before.

#[cfg(all(target_arch = "x86_64", unix))]
use super::wide;
use crate::accumulate::pack::Rows;
use crate::accumulate::shifted::{Pieces, every_second, rows_in_pieces};
use crate::compile::Code;
use crate::elementwise::Elementwise;
use crate::loops::{LANES, bytes, load, splat_from, store};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use std::mem::offset_of;

/// `round_rows(rows)`
///
/// For each of the [`Rows`]: numbers `0`, `stride`, `2 * stride`... of the source, `count` of them, times the factor, which is not 0,
/// rounded to integers from `smallest` to `largest`, as consecutive numbers of the target. Reads nothing behind the last and writes exactly
/// `count`.
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
        1
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[operands] = arguments else { return };
        let inverse = load(b, types::I64, operands, offset_of!(Rows<f32, i16>, factor));
        let inverse = splat_from(b, inverse);
        let (low, high) = (f32::from(self.smallest), f32::from(self.largest));
        let pieces = self.pieces(&[2 * LANES, LANES]);
        let (size, stride) = (pieces.size, self.stride);
        // Four numbers, `stride` apart.
        let four = |b: &mut FunctionBuilder<'_>, source, from: usize| match stride {
            1 => load(b, types::F32X4, source, from),
            _ => {
                let even = every_second(b, source, from, 4);
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
        let steps = [size * stride * 4, size * 2];
        rows_in_pieces(b, &pieces, operands, steps, piece);
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide::round_rows(self)
    }
}
