//! The functions of accumulate kernels: those that fill tables, and those that sum.
//!
//! None multiplies or calls: they load, store, add, subtract, flip signs and compute addresses. The lanes of vectors are
//! positions.

use super::pattern::{Patterns, Sum};
use crate::compile::{Compiler, Function};
use crate::error::JitError;
use crate::loops::{LANES, VECTOR, count, flags, load, store, zero};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use std::sync::Arc;

/// An index is 14 bits of table offset, in numbers, and a sign.
pub(crate) const INDEX_BITS: usize = 14;
/// Added to an index whose entry is subtracted.
pub(crate) const INDEX_NEGATIVE: u16 = 1 << 15;

/// What `accumulate` flips the sign with: nothing, then the sign bits.
#[repr(C, align(16))]
pub(crate) struct SignMasks([[u32; LANES]; 2]);
/// The one instance.
pub(crate) static SIGN_MASKS: SignMasks = SignMasks([[0; LANES], [1 << 31; LANES]]);

/// The positions that are summed in registers at once: `rows` of `vectors`, `pitch` numbers from row to row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub rows: usize,
    pub vectors: usize,
    pub pitch: usize,
}

impl Tile {
    /// Vectors of accumulators.
    pub fn registers(&self) -> usize {
        self.rows * self.vectors
    }

    /// Bytes from the first position to each vector of positions.
    fn offsets(&self) -> Vec<usize> {
        (0..self.rows).flat_map(|r| (0..self.vectors).map(move |v| r * self.pitch * 4 + v * VECTOR)).collect()
    }
}

/// `build(table, source, members, rows, vectors, source_row_bytes)`
///
/// For every row and vector of positions, loads the members of a group (at `source` plus the `u64` byte offsets
/// `members[0..g]`, advancing a vector at a time and `source_row_bytes` from row to row) and stores every sum but the
/// empty one: sum `n` at `table + 4 * (n * entry)`, advancing a vector at a time and `pitch` numbers from row to row.
/// `rows` and `vectors` are at least 1.
pub(crate) fn build(
    compiler: &Compiler,
    group: usize,
    entry: usize,
    pitch: usize,
) -> Result<Arc<Function>, JitError> {
    let patterns = Patterns::new(group);
    compiler.function(format!("build g{group} entry{entry} pitch{pitch}"), 6, |b, arguments| {
        let &[table, source, members, rows, vectors, source_row] = arguments else { return };
        let offsets: Vec<Value> = (0..group).map(|j| load(b, types::I64, members, j * 8)).collect();
        let sources: Vec<Value> = offsets.iter().map(|&o| b.ins().iadd(source, o)).collect();
        let zero = b.ins().iconst(types::I64, 0);
        count(b, rows, &[table, zero], |b, state| {
            let (table, row) = (state[0], state[1]);
            count(b, vectors, &[table, row], |b, state| {
                let (to, at) = (state[0], state[1]);
                let values: Vec<Value> = sources
                    .iter()
                    .map(|&s| {
                        let address = b.ins().iadd(s, at);
                        load(b, types::F32X4, address, 0)
                    })
                    .collect();
                let mut sums: Vec<Value> = Vec::new();
                for (number, sum) in (1..).zip(patterns.sums()) {
                    let value = extend(b, sum, &sums, &values);
                    store(b, value, to, number * entry * 4);
                    sums.push(value);
                }
                vec![b.ins().iadd_imm_s(to, VECTOR as i64), b.ins().iadd_imm_s(at, VECTOR as i64)]
            });
            vec![b.ins().iadd_imm_s(table, pitch as i64 * 4), b.ins().iadd(row, source_row)]
        });
    })
}

/// `accumulate(table, sums, indices, outputs, steps, masks)`
///
/// For each of `outputs` outputs: its sums (`tile.registers()` vectors at `sums`, one output after the other), plus for
/// each of `steps * unroll` indices (`u16`, one output after the other) the table entry at that index at every vector
/// of the tile. `initial` functions start from zero and do not read the sums. `outputs` and `steps` are at least 1;
/// `masks` is [`SIGN_MASKS`].
pub(crate) fn accumulate(
    compiler: &Compiler,
    tile: Tile,
    unroll: usize,
    initial: bool,
) -> Result<Arc<Function>, JitError> {
    let Tile { rows, vectors, pitch } = tile;
    let kind = if initial { "sum" } else { "accumulate" };
    let name = format!("{kind} rows{rows} vectors{vectors} pitch{pitch} unroll{unroll}");
    compiler.function(name, 6, |b, arguments| {
        let &[table, sums, indices, outputs, steps, masks] = arguments else { return };
        let places = tile.offsets();
        count(b, outputs, &[sums, indices], |b, state| {
            let (sums, indices) = (state[0], state[1]);
            let mut start = vec![indices];
            for v in 0..places.len() {
                start.push(if initial { zero(b) } else { load(b, types::F32X4, sums, v * VECTOR) });
            }
            let end = count(b, steps, &start, |b, state| {
                let mut sums = state[1..].to_vec();
                for i in 0..unroll {
                    let index = b.ins().uload16(types::I64, flags(), state[0], (i * 2) as i32);
                    // The sign, times two; scaled by eight it selects a mask.
                    let sign = b.ins().ushr_imm_u(index, INDEX_BITS as i64);
                    let sign = b.ins().ishl_imm_u(sign, 3);
                    let mask = b.ins().iadd(masks, sign);
                    let mask = load(b, types::F32X4, mask, 0);
                    let offset = b.ins().band_imm_u(index, (1 << INDEX_BITS) - 1);
                    let offset = b.ins().ishl_imm_u(offset, 2);
                    let entry = b.ins().iadd(table, offset);
                    for (sum, &place) in sums.iter_mut().zip(&places) {
                        let value = load(b, types::F32X4, entry, place);
                        let value = b.ins().bxor(mask, value);
                        *sum = b.ins().fadd(*sum, value);
                    }
                }
                let mut next = vec![b.ins().iadd_imm_s(state[0], (unroll * 2) as i64)];
                next.extend(sums);
                next
            });
            for (v, &sum) in end[1..].iter().enumerate() {
                store(b, sum, sums, v * VECTOR);
            }
            vec![b.ins().iadd_imm_s(sums, (places.len() * VECTOR) as i64), end[0]]
        });
    })
}

/// `build(tables, inputs, groups)`
///
/// For each of `groups` groups of `group` numbers at `inputs`: all signed sums, at consecutive numbers of its table, the
/// tables [`SCALAR_TABLE`] numbers apart. Entry 0 is zero, then come the sums of [`Patterns`], then their negatives.
pub(crate) fn build_scalar(compiler: &Compiler, group: usize) -> Result<Arc<Function>, JitError> {
    let patterns = Patterns::new(group);
    compiler.function(format!("build scalars g{group}"), 3, |b, arguments| {
        let &[tables, inputs, groups] = arguments else { return };
        let zero = b.ins().f32const(0.0);
        count(b, groups, &[tables, inputs], |b, state| {
            let (table, inputs) = (state[0], state[1]);
            store(b, zero, table, 0);
            let values: Vec<Value> = (0..group).map(|j| load(b, types::F32, inputs, j * 4)).collect();
            let mut sums: Vec<Value> = Vec::new();
            for (number, sum) in (1..).zip(patterns.sums()) {
                let value = extend(b, sum, &sums, &values);
                store(b, value, table, number * 4);
                let negative = b.ins().fneg(value);
                store(b, negative, table, (patterns.entries() - 1 + number) * 4);
                sums.push(value);
            }
            vec![
                b.ins().iadd_imm_s(table, SCALAR_TABLE as i64 * 4),
                b.ins().iadd_imm_s(inputs, group as i64 * 4),
            ]
        });
    })
}

/// Numbers from a scalar table to the next: the 3^5 that the largest groups have, and one.
pub(crate) const SCALAR_TABLE: usize = 244;
/// Outputs that [`accumulate_scalar`] sums at once, enough to hide the latency of additions.
pub(crate) const SCALAR_OUTPUTS: usize = 8;

/// `accumulate(tables, sums, indices, chunks, groups)`
///
/// For each of `chunks` chunks of [`SCALAR_OUTPUTS`] consecutive numbers at `sums`: adds, for each of `groups` tables
/// (as [`build_scalar`] lays them out), the entry that each output's index byte selects. Indices are read in that order.
pub(crate) fn accumulate_scalar(compiler: &Compiler) -> Result<Arc<Function>, JitError> {
    compiler.function("accumulate scalars".into(), 5, |b, arguments| {
        let &[tables, sums, indices, chunks, groups] = arguments else { return };
        count(b, chunks, &[sums, indices], |b, state| {
            let (sums, indices) = (state[0], state[1]);
            let mut start = vec![tables, indices];
            start.extend((0..SCALAR_OUTPUTS).map(|i| load(b, types::F32, sums, i * 4)));
            let end = count(b, groups, &start, |b, state| {
                let (table, indices) = (state[0], state[1]);
                let mut next = vec![
                    b.ins().iadd_imm_s(table, SCALAR_TABLE as i64 * 4),
                    b.ins().iadd_imm_s(indices, SCALAR_OUTPUTS as i64),
                ];
                for (i, &sum) in state[2..].iter().enumerate() {
                    let index = b.ins().uload8(types::I64, flags(), indices, i as i32);
                    let offset = b.ins().ishl_imm_u(index, 2);
                    let address = b.ins().iadd(table, offset);
                    let value = load(b, types::F32, address, 0);
                    next.push(b.ins().fadd(sum, value));
                }
                next
            });
            for (i, &sum) in end[2..].iter().enumerate() {
                store(b, sum, sums, i * 4);
            }
            vec![b.ins().iadd_imm_s(sums, SCALAR_OUTPUTS as i64 * 4), end[1]]
        });
    })
}

/// `select(source, sums, tiles, added, additions, subtracted, subtractions)`
///
/// For each of `tiles` tiles of `vectors` vectors of positions: the sum over the `additions` byte offsets (`u32`) at
/// `added` of what is at `source` plus that offset, less the same for `subtracted`; to `sums`.
pub(crate) fn select(compiler: &Compiler, vectors: usize) -> Result<Arc<Function>, JitError> {
    compiler.function(format!("select vectors{vectors}"), 7, |b, arguments| {
        let &[source, sums, tiles, added, additions, subtracted, subtractions] = arguments else { return };
        let bytes = (vectors * VECTOR) as i64;
        count(b, tiles, &[source, sums], |b, state| {
            let (source, to) = (state[0], state[1]);
            let mut start = vec![added];
            start.extend((0..vectors).map(|_| zero(b)));
            let positive = select_list(b, source, additions, &start, false);
            let start = [&[subtracted], &positive[1..]].concat();
            let all = select_list(b, source, subtractions, &start, true);
            for (v, &sum) in all[1..].iter().enumerate() {
                store(b, sum, to, v * VECTOR);
            }
            vec![b.ins().iadd_imm_s(source, bytes), b.ins().iadd_imm_s(to, bytes)]
        });
    })
}

/// The loop over one list of [`select`]; the state is the list and the sums.
fn select_list(
    b: &mut FunctionBuilder<'_>,
    source: Value,
    length: Value,
    start: &[Value],
    subtract: bool,
) -> Vec<Value> {
    count(b, length, start, |b, state| {
        let offset = b.ins().uload32(flags(), state[0], 0);
        let address = b.ins().iadd(source, offset);
        let mut next = vec![b.ins().iadd_imm_s(state[0], 4)];
        for (v, &sum) in state[1..].iter().enumerate() {
            let value = load(b, types::F32X4, address, v * VECTOR);
            next.push(if subtract { b.ins().fsub(sum, value) } else { b.ins().fadd(sum, value) });
        }
        next
    })
}

/// The value of a sum from earlier sums and the members.
fn extend(b: &mut FunctionBuilder<'_>, sum: &Sum, sums: &[Value], members: &[Value]) -> Value {
    let member = members[sum.member];
    match sum.parent {
        None => member,
        Some(p) if sum.negative => b.ins().fsub(sums[p - 1], member),
        Some(p) => b.ins().fadd(sums[p - 1], member),
    }
}
