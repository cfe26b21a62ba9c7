//! Sums of shifted rows, for layers whose outputs read so few inputs that tables of partial sums would not pay: a tile of
//! positions is summed in registers, and where the epilogue is simple it is made there too, before the only store.
//!
//! Emitted twice, as all functions of accumulations: by Cranelift here, with wider vectors in `wide_shifted`. The sums are additions and
//! subtractions of memory; what multiplies is the epilogue's, once for each vector of outputs.

use super::pack::Rows;
#[cfg(all(target_arch = "x86_64", unix))]
use super::wide_shifted;
use crate::compile::Code;
use crate::finish::Finishing;
use crate::loops::{VECTOR, count, flags, load, splat_from, store, zero};
use crate::machine::Element;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use std::mem::offset_of;

/// Vector registers that hold no sums: factor, bias, up to four numbers of an activation, two for values on their way.
pub(crate) const RESERVED: usize = 8;

/// `shifted(source, output, tiles, stream, numbers)`
///
/// For each of `tiles` tiles of `rows` rows of `columns` positions: the sum over some byte offsets of what is at `source` plus that
/// offset, less the same for others. `stream` has the number of those to add, of those to subtract, and both lists (`u32`). If they are
/// `weighted`, each offset has an f32 behind it by which what is there is multiplied. The sums, or what [`Finishing`] makes of them with `numbers`, go to `output`, exactly `columns` in each row. Reads whole vectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shifted {
    pub element: Element,
    pub lanes: usize,
    pub rows: usize,
    pub columns: usize,
    /// Numbers from a row to the next, of the source and of the output.
    pub pitches: [usize; 2],
    /// Numbers from a tile to the next.
    pub steps: [usize; 2],
    /// Whether what is added is multiplied; only of f32. A layer that stays float.
    pub weighted: bool,
    /// Without it, the output is the sums as they are.
    pub finish: Option<Finishing>,
}

/// The type of [`Shifted`]'s function. The output is f32 behind an epilogue, otherwise of the sums' type.
pub(crate) type ShiftedFunction<T> =
    unsafe extern "C" fn(*const T, *mut u8, usize, *const u32, *const [f32; 2]);

impl Shifted {
    /// Vectors of a row.
    pub fn vectors(&self) -> usize {
        self.columns.div_ceil(self.lanes)
    }

    /// Of each vector of sums: the row, and the first column.
    pub fn places(&self) -> impl Iterator<Item = [usize; 2]> {
        let Shifted { lanes, .. } = *self;
        let vectors = self.vectors();
        (0..self.rows).flat_map(move |row| (0..vectors).map(move |v| [row, v * lanes]))
    }

    /// Bytes of an offset in the stream and what belongs to it.
    pub fn entry(&self) -> usize {
        if self.weighted { 8 } else { 4 }
    }

    /// Bytes of a number of the output.
    pub fn output_bytes(&self) -> usize {
        if self.finish.is_some() { size_of::<f32>() } else { self.element.bytes() }
    }
}

impl Code for Shifted {
    fn parameters(&self) -> usize {
        5
    }

    fn epilogue_multiplications(&self) -> usize {
        let lanes = self.lanes * self.element.bytes() / Element::F32.bytes();
        let each = self.finish.map_or(0, |finish| finish.multiplications());
        self.rows * self.columns.div_ceil(lanes) * each
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[source, output, tiles, stream, numbers] = arguments else { return };
        let Shifted { element, pitches, steps, .. } = *self;
        let ty = if element == Element::F32 { types::F32X4 } else { types::I16X8 };
        let finish = self.finish.map(|finish| {
            let factor = splat_from(b, numbers);
            let bias = b.ins().iadd_imm_s(numbers, 4);
            (finish, [factor, splat_from(b, bias)])
        });
        let counts = [0, 4].map(|offset| b.ins().uload32(flags(), stream, offset));
        let offsets = b.ins().iadd_imm_s(stream, 8);
        count(b, tiles, &[source, output], |b, state| {
            let (source, output) = (state[0], state[1]);
            let mut sums = vec![offsets];
            sums.extend(self.places().map(|_| zero(b, ty)));
            for (length, plus) in counts.into_iter().zip([true, false]) {
                sums = count(b, length, &sums, |b, state| {
                    let offset = b.ins().uload32(flags(), state[0], 0);
                    let address = b.ins().iadd(source, offset);
                    let weight = self.weighted.then(|| {
                        let weight = b.ins().iadd_imm_s(state[0], 4);
                        splat_from(b, weight)
                    });
                    let mut next = vec![b.ins().iadd_imm_s(state[0], self.entry() as i64)];
                    for (&sum, [row, column]) in state[1..].iter().zip(self.places()) {
                        let value = load(b, ty, address, (row * pitches[0] + column) * element.bytes());
                        let value = weight.map_or(value, |weight| b.ins().fmul(value, weight));
                        next.push(match (element, plus) {
                            (Element::F32, true) => b.ins().fadd(sum, value),
                            (Element::F32, false) => b.ins().fsub(sum, value),
                            (Element::I16, true) => b.ins().iadd(sum, value),
                            (Element::I16, false) => b.ins().isub(sum, value),
                        });
                    }
                    next
                });
            }
            for (&sum, [row, column]) in sums[1..].iter().zip(self.places()) {
                let at = row * pitches[1] + column;
                let parts = match (finish, element) {
                    (None, _) => vec![sum],
                    (Some((finish, numbers)), Element::F32) => vec![finish.emit(b, numbers, sum)],
                    (Some((finish, numbers)), Element::I16) => {
                        let halves = [b.ins().swiden_low(sum), b.ins().swiden_high(sum)];
                        let halves = halves.map(|half| {
                            let half = b.ins().fcvt_from_sint(types::F32X4, half);
                            finish.emit(b, numbers, half)
                        });
                        halves.to_vec()
                    }
                };
                let bytes = self.output_bytes();
                let lanes = VECTOR / bytes;
                for (i, part) in parts.into_iter().enumerate() {
                    let valid = self.columns.saturating_sub(column + i * lanes).min(lanes);
                    store_first(b, part, valid, lanes, output, (at + i * lanes) * bytes);
                }
            }
            let step = |b: &mut FunctionBuilder<'_>, address, numbers: usize, bytes: usize| {
                b.ins().iadd_imm_s(address, (numbers * bytes) as i64)
            };
            let source = step(b, source, steps[0], element.bytes());
            vec![source, step(b, output, steps[1], self.output_bytes())]
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide_shifted::shifted(self)
    }
}

/// Stores the first `valid` of a vector's `lanes` numbers.
fn store_first(
    b: &mut FunctionBuilder<'_>,
    value: Value,
    valid: usize,
    lanes: usize,
    address: Value,
    offset: usize,
) {
    if valid == lanes {
        return store(b, value, address, offset);
    }
    for lane in 0..valid {
        let number = b.ins().extractlane(value, lane as u8);
        store(b, number, address, offset + lane * (VECTOR / lanes));
    }
}

/// `spread(rows)`
///
/// For each of the [`Rows`]: numbers `0`, `stride`, `2 * stride`... of the source, `count` of them, to consecutive numbers of the target.
/// Reads nothing behind the last and writes exactly `count`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub element: Element,
    /// Bytes of the widest vector.
    pub vector: usize,
    pub count: usize,
    pub stride: usize,
}

/// Up to this many pieces of a row are copied without a loop.
const UNROLLED: usize = 8;

/// How a row is made: `looped` turns of a piece, then pieces at some places of the target, all of a size. The last may overlap the one
/// before.
pub(crate) struct Pieces {
    pub size: usize,
    pub looped: usize,
    pub straight: Vec<usize>,
}

impl Pieces {
    /// All of `row`, in pieces of a size that divides it or is no larger.
    pub fn of(row: usize, size: usize) -> Pieces {
        let whole = row / size;
        let looped = if whole > UNROLLED { whole } else { 0 };
        let mut straight: Vec<usize> = (looped..whole).map(|i| i * size).collect();
        if !row.is_multiple_of(size) {
            straight.push(row - size);
        }
        Pieces { size, looped, straight }
    }
}

impl Spread {
    /// Rows in the largest pieces, in bytes, that they are not too short for; those of which only every second number is copied in vectors of at
    /// most `most` bytes.
    pub fn pieces(&self, most: usize) -> Pieces {
        let bytes = self.element.bytes();
        let row = self.count * bytes;
        let size = match self.stride {
            1 => [64, 32, 16, 8, 4].into_iter().find(|&size| size <= row.min(self.vector)),
            2 => [32, 16].into_iter().find(|&size| size <= row.min(most)),
            _ => None,
        };
        Pieces::of(row, size.unwrap_or(bytes))
    }
}

/// The loops of a function that takes [`Rows`]. `piece` makes a piece at a place of a row, of whose source and target so many bytes are one.
pub(crate) fn rows_in_pieces(
    b: &mut FunctionBuilder<'_>,
    pieces: &Pieces,
    operands: Value,
    [from, to]: [usize; 2],
    piece: impl Fn(&mut FunctionBuilder<'_>, Value, Value, usize),
) {
    let mut field = |offset: usize| load(b, types::I64, operands, offset);
    let [source, target] =
        [offset_of!(Rows<f32, f32>, source), offset_of!(Rows<f32, f32>, target)].map(&mut field);
    let [planes, rows] =
        [offset_of!(Rows<f32, f32>, planes), offset_of!(Rows<f32, f32>, rows)].map(&mut field);
    let [source_plane, target_plane] =
        [offset_of!(Rows<f32, f32>, source_plane), offset_of!(Rows<f32, f32>, target_plane)].map(&mut field);
    let [source_row, target_row] =
        [offset_of!(Rows<f32, f32>, source_row), offset_of!(Rows<f32, f32>, target_row)].map(&mut field);
    count(b, planes, &[source, target], |b, plane| {
        count(b, rows, plane, |b, state| {
            if pieces.looped > 0 {
                let turns = b.ins().iconst(types::I64, pieces.looped as i64);
                count(b, turns, state, |b, state| {
                    piece(b, state[0], state[1], 0);
                    vec![b.ins().iadd_imm_s(state[0], from as i64), b.ins().iadd_imm_s(state[1], to as i64)]
                });
            }
            pieces.straight.iter().for_each(|&at| piece(b, state[0], state[1], at));
            vec![b.ins().iadd(state[0], source_row), b.ins().iadd(state[1], target_row)]
        });
        vec![b.ins().iadd(plane[0], source_plane), b.ins().iadd(plane[1], target_plane)]
    });
}

/// Of the numbers of so many bytes at an address, every second one, until they fill a vector: its bytes. Reads nothing behind the last.
pub(crate) fn every_second(
    b: &mut FunctionBuilder<'_>,
    address: Value,
    offset: usize,
    bytes: usize,
) -> Value {
    // Of four, 0 and 2 of the first vector, and 1 and 3 of one that starts a number early, to end with the last.
    let low = load(b, types::I8X16, address, offset);
    let high = load(b, types::I8X16, address, offset + VECTOR - bytes);
    let starts = (0..VECTOR / bytes).map(|i| 2 * i * bytes + if i < VECTOR / bytes / 2 { 0 } else { bytes });
    let lanes: Vec<u8> = starts.flat_map(|start| start..start + bytes).map(|byte| byte as u8).collect();
    let mask = b.func.dfg.immediates.push(lanes.into());
    b.ins().shuffle(low, high, mask)
}

impl Code for Spread {
    fn parameters(&self) -> usize {
        1
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[operands] = arguments else { return };
        let pieces = self.pieces(VECTOR);
        let (size, stride) = (pieces.size, self.stride);
        let piece = |b: &mut FunctionBuilder<'_>, source, target, at: usize| {
            let from = at * stride;
            let value = match (size, stride) {
                (VECTOR, 2) => every_second(b, source, from, self.element.bytes()),
                (VECTOR, _) => load(b, types::I8X16, source, from),
                (8, _) => load(b, types::I64, source, from),
                (4, _) => load(b, types::I32, source, from),
                _ => load(b, types::I16, source, from),
            };
            store(b, value, target, at);
        };
        let steps = [size * stride, size];
        rows_in_pieces(b, &pieces, operands, steps, piece);
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide_shifted::spread(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::Compiler;
    use crate::machine::Isa;
    use twnc_program::scalar::Unary;

    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    fn epilogues_multiply_once_for_each_vector_of_outputs_and_sums_never() {
        let compiler = Compiler::new().unwrap();
        for isa in Isa::available() {
            for (element, columns) in [(Element::F32, 23), (Element::F32, 3), (Element::I16, 40)] {
                let activations = [
                    None,
                    Some(Unary::Clip { min: 0.0, max: 6.0 }),
                    Some(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }),
                    Some(Unary::HardSwish),
                ];
                let finishing =
                    |factor| activations.map(|activation| Some(Finishing { factor, bias: true, activation }));
                for finish in [None].into_iter().chain(finishing(false)).chain(finishing(true)) {
                    let lanes = isa.lanes(element);
                    let (pitches, steps) = ([64, columns], [64, columns]);
                    let weighted = false;
                    let code = Shifted { element, lanes, rows: 1, columns, pitches, steps, weighted, finish };
                    let audit = compiler.function(&code).unwrap().audit().unwrap();
                    assert_eq!((audit.calls, audit.invalid), (0, 0), "{code:?}");
                    assert!(audit.additions > 0, "{code:?}");
                    let epilogue = code.epilogue_multiplications();
                    assert_eq!((audit.multiplications, audit.epilogue), (0, epilogue), "{code:?}");
                }
            }
        }
    }

    #[test]
    fn a_row_s_pieces_are_all_of_it_and_nothing_more() {
        for (count, stride) in (1..300).flat_map(|count| (1..4).map(move |stride| (count, stride))) {
            for (element, vector) in [Element::F32, Element::I16].into_iter().flat_map(|e| [(e, 16), (e, 64)])
            {
                let Pieces { size, looped, straight } =
                    Spread { element, vector, count, stride }.pieces(vector.min(32));
                let starts = (0..looped).map(|i| i * size).chain(straight);
                let mut end = 0;
                for start in starts {
                    assert!(start <= end && end < start + size);
                    end = start + size;
                }
                assert_eq!(end, count * element.bytes());
            }
        }
    }
}
