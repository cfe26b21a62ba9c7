//! Windows that lie inside of a plane: all of a window is folded in registers, and nothing waits in memory.

use super::Fold;
use crate::compile::Code;
use crate::loops::{LANES, VECTOR, bytes, count, load, splat, store};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

/// `inside(source, output, rows)`: `rows` rows of `columns` outputs, each the maximum or mean of a window, the first of which starts at `source`.
/// There are at least `lanes` columns.
#[derive(Debug)]
pub(super) struct Inside {
    pub fold: Fold,
    pub lanes: usize,
    pub kernel: [usize; 2],
    /// Across, 1 or 2.
    pub strides: [usize; 2],
    /// Numbers from a row of the input to the next.
    pub pitch: usize,
    /// Numbers from a row of the output to the next.
    pub out_pitch: usize,
    pub columns: usize,
}

/// The type of [`Inside`]'s function.
pub(super) type InsideFunction = unsafe extern "C" fn(*const f32, *mut f32, usize);

impl Inside {
    /// What sums are divided by.
    pub fn divisor(&self) -> f32 {
        (self.kernel[0] * self.kernel[1]) as f32
    }

    /// Where the taps of a vector's outputs start, in bytes from the first.
    pub fn taps(&self) -> Vec<usize> {
        let [rows, columns] = self.kernel;
        (0..rows * columns).map(|tap| (tap / columns * self.pitch + tap % columns) * 4).collect()
    }

    /// Makes a vector of outputs.
    fn vector(&self, b: &mut FunctionBuilder<'_>, source: Value, output: Value, column: usize) {
        // Of a stride of 2 the second half of the taps ends with the last that is needed.
        let halves = [0, LANES - 1].into_iter().take(self.strides[1]);
        let folded: Vec<Value> = halves
            .map(|half| {
                let from = (column * self.strides[1] + half) * 4;
                let start = self.fold.start(b);
                self.taps().into_iter().fold(start, |so_far, tap| {
                    let number = load(b, types::F32X4, source, from + tap);
                    self.fold.next(b, so_far, number)
                })
            })
            .collect();
        let mut value = match folded[..] {
            [first, second] => {
                let halves = [first, second].map(|half| bytes(b, half, types::I8X16));
                // Lanes 0 and 2 of the first, 1 and 3 of the second.
                let lanes = [0, 2, LANES + 1, LANES + 3].into_iter();
                let mask: Vec<u8> =
                    lanes.flat_map(|lane| (0..4).map(move |byte| (lane * 4 + byte) as u8)).collect();
                let mask = b.func.dfg.immediates.push(mask.into());
                let chosen = b.ins().shuffle(halves[0], halves[1], mask);
                bytes(b, chosen, types::F32X4)
            }
            _ => folded[0],
        };
        if self.fold == Fold::Sum {
            let divisor = splat(b, self.divisor());
            value = b.ins().fdiv(value, divisor);
        }
        store(b, value, output, column * 4);
    }
}

impl Code for Inside {
    fn parameters(&self) -> usize {
        3
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[source, output, rows] = arguments else { return };
        let step = self.strides[1] * VECTOR;
        count(b, rows, &[source, output], |b, state| {
            let vectors = b.ins().iconst(types::I64, (self.columns / LANES) as i64);
            count(b, vectors, state, |b, state| {
                self.vector(b, state[0], state[1], 0);
                vec![b.ins().iadd_imm_s(state[0], step as i64), b.ins().iadd_imm_s(state[1], VECTOR as i64)]
            });
            if !self.columns.is_multiple_of(LANES) {
                // The last vector ends with the row and overlaps the one before.
                self.vector(b, state[0], state[1], self.columns - LANES);
            }
            let down = [self.strides[0] * self.pitch, self.out_pitch];
            (0..2).map(|i| b.ins().iadd_imm_s(state[i], (down[i] * 4) as i64)).collect()
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        super::wide::inside(self)
    }
}
