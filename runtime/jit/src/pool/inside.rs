//! Windows that lie inside of a plane: all of a window is folded in registers, and nothing waits in memory.

use super::Fold;
use crate::compile::Code;
use crate::loops::{LANES, VECTOR, bytes, count, load, splat, store};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

/// `inside(source, output, rows, planes, source_plane_bytes, output_plane_bytes)`: in each of `planes` planes, one or more, `rows` rows of `columns` outputs,
/// each the maximum or mean of a window, the first of which starts at `source`. There are at least `lanes` columns.
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
pub(super) type InsideFunction = unsafe extern "C" fn(*const f32, *mut f32, usize, usize, usize, usize);

impl Inside {
    /// What sums are divided by.
    pub fn divisor(&self) -> f32 {
        (self.kernel[0] * self.kernel[1]) as f32
    }

    /// The columns of windows as vectors of so many lanes see them. Of a stride of 1: each column, twice. Of a stride of 2, where a vector of outputs is of two
    /// vectors of a row: where these start, from the windows' start, for each two columns. If the last column stands alone, the second of its
    /// vectors ends with the last number that is needed, so that every second number counts from its second on.
    pub fn columns_of_windows(&self, lanes: usize) -> Vec<(usize, usize)> {
        let columns = self.kernel[1];
        match self.strides[1] {
            1 => (0..columns).map(|column| (column, column)).collect(),
            _ => {
                let second = |column| column + if column + 1 < columns { lanes } else { lanes - 1 };
                (0..columns).step_by(2).map(|column| (column, second(column))).collect()
            }
        }
    }

    /// Makes a vector of outputs.
    fn vector(&self, b: &mut FunctionBuilder<'_>, source: Value, output: Value, column: usize) {
        let mut folded = self.fold.start(b);
        for (first, second) in self.columns_of_windows(LANES) {
            let halves: Vec<Value> = [first, second][..self.strides[1]]
                .iter()
                .map(|at| {
                    let start = self.fold.start(b);
                    (0..self.kernel[0]).fold(start, |so_far, tap| {
                        let from = tap * self.pitch + column * self.strides[1] + at;
                        let number = load(b, types::F32X4, source, from * 4);
                        self.fold.next(b, so_far, number)
                    })
                })
                .collect();
            match halves[..] {
                [first_half, second_half] => {
                    let both = second == first + LANES;
                    if both {
                        let odds = choose(b, [first_half, second_half], [1, 3, 5, 7]);
                        folded = self.fold.next(b, folded, odds);
                    }
                    let lanes = if both { [0, 2, 4, 6] } else { [0, 2, 5, 7] };
                    let evens = choose(b, [first_half, second_half], lanes);
                    folded = self.fold.next(b, folded, evens);
                }
                _ => folded = halves.into_iter().fold(folded, |so_far, next| self.fold.next(b, so_far, next)),
            }
        }
        if self.fold == Fold::Sum {
            let divisor = splat(b, self.divisor());
            folded = b.ins().fdiv(folded, divisor);
        }
        store(b, folded, output, column * 4);
    }
}

/// The lanes, by number, of two vectors.
fn choose(b: &mut FunctionBuilder<'_>, vectors: [Value; 2], lanes: [usize; LANES]) -> Value {
    let [first, second] = vectors.map(|vector| bytes(b, vector, types::I8X16));
    let mask: Vec<u8> =
        lanes.into_iter().flat_map(|lane| (0..4).map(move |byte| (lane * 4 + byte) as u8)).collect();
    let mask = b.func.dfg.immediates.push(mask.into());
    let chosen = b.ins().shuffle(first, second, mask);
    bytes(b, chosen, types::F32X4)
}

impl Code for Inside {
    fn parameters(&self) -> usize {
        6
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[source, output, rows, planes, source_plane, output_plane] = arguments else { return };
        let step = self.strides[1] * VECTOR;
        count(b, planes, &[source, output], |b, plane| {
            count(b, rows, plane, |b, state| {
                let vectors = b.ins().iconst(types::I64, (self.columns / LANES) as i64);
                count(b, vectors, state, |b, state| {
                    self.vector(b, state[0], state[1], 0);
                    let steps = [step, VECTOR];
                    (0..2).map(|i| b.ins().iadd_imm_s(state[i], steps[i] as i64)).collect()
                });
                if !self.columns.is_multiple_of(LANES) {
                    // The last vector ends with the row and overlaps the one before.
                    self.vector(b, state[0], state[1], self.columns - LANES);
                }
                let down = [self.strides[0] * self.pitch, self.out_pitch];
                (0..2).map(|i| b.ins().iadd_imm_s(state[i], (down[i] * 4) as i64)).collect()
            });
            vec![b.ins().iadd(plane[0], source_plane), b.ins().iadd(plane[1], output_plane)]
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        super::wide::inside(self)
    }
}
