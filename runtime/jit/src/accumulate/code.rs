//! What the functions of accumulate kernels do and everything that their code depends on.
//!
//! Each is described once, here, and emitted twice: by Cranelift with vectors of 128 bits (`portable`), and by an assembler with
//! vectors of 256 bits (`wide`); the description's `lanes` say which. None multiplies or calls: they load, store, add, subtract,
//! flip signs and compute addresses. The lanes of vectors are positions.

use super::indices::Form;
use crate::machine::Element;

/// Lookups that [`Accumulate`] makes for an output, at most: it has code for every number of them that is negative, about 8
/// bytes for each vector that is added, which together should stay in a first-level cache for instructions of 32 KB.
pub(crate) const MOST_LOOKUPS: usize = 24;
/// Words of a stream behind the last output's that [`Accumulate`] may read, and does not use: the addresses of an output's first entries are made
/// while those before are added.
pub(crate) const READ_BEHIND: usize = 2 + 3;
const MOST_CODE: usize = 24 * 1024;

/// The positions that are summed in registers at once: `rows` of `vectors` of `lanes` numbers, `pitch` numbers from row to
/// row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub element: Element,
    pub lanes: usize,
    pub rows: usize,
    pub vectors: usize,
    pub pitch: usize,
}

impl Tile {
    /// Vectors of accumulators.
    pub fn registers(&self) -> usize {
        self.rows * self.vectors
    }

    /// Lookups that [`Accumulate`] should make for an output, at most.
    pub fn most_lookups(&self) -> usize {
        let code = |lookups: usize| (lookups + 1) * lookups * self.registers() * 8;
        (1..=MOST_LOOKUPS).rev().find(|&lookups| code(lookups) <= MOST_CODE).unwrap_or(1)
    }

    /// Positions of a row.
    pub fn width(&self) -> usize {
        self.vectors * self.lanes
    }

    /// Positions.
    pub fn positions(&self) -> usize {
        self.rows * self.width()
    }

    /// Bytes from the first position to each vector of positions.
    pub fn offsets(&self) -> Vec<usize> {
        let bytes = self.element.bytes();
        let row = |r: usize| (0..self.vectors).map(move |v| (r * self.pitch + v * self.lanes) * bytes);
        (0..self.rows).flat_map(row).collect()
    }
}

/// `build(table, source, members, rows, source_row_bytes, masks)`
///
/// For every row and vector of positions, loads the members of a group (at `source` plus the `u64` byte offsets
/// `members[0..group]`, advancing a vector at a time and `source_row_bytes` from row to row) and stores every sum but the
/// empty one: sum `n` at number `n * entry` of the table, advancing a vector at a time and `pitch` numbers from row to row. A row has
/// `pitch` numbers, which are whole vectors; there is at least one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Build {
    pub element: Element,
    pub lanes: usize,
    pub group: usize,
    pub entry: usize,
    pub pitch: usize,
    pub source: Source,
}

/// Where [`Build`] finds a row of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In a row of as many numbers.
    Whole,
    /// Numbers of f32 in a row, `step` (1 or 2) apart, as far as there are any: where the `i32` of `masks`, at the `u64` byte offset
    /// `members[group..]` of the member and advancing as the row does, is 0, the number is 0 too and is not read; elsewhere it is -1.
    /// Some of the numbers may be in another row.
    Masked { step: usize, second: Option<Second> },
}

/// A second row of which a row of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Second {
    /// How far its numbers are from those of the first.
    pub apart: i32,
    /// How far its masks are from those of the first; no number has both.
    pub masks: i32,
}

impl Build {
    /// Vectors of a row.
    pub fn vectors(&self) -> usize {
        self.pitch / self.lanes
    }
}

/// The type of [`Build`]'s function.
pub(crate) type BuildFunction<T> =
    unsafe extern "C" fn(*mut T, *const T, *const u64, usize, usize, *const i32);

/// `accumulate(table, sums, stream, counts, totals)`
///
/// For each class `n` of outputs, from 0 to `lookups`, and for each of the `counts[n]` (`u32`) outputs in it: adds
/// `lookups - n` table entries to its sums, or to zeros if it is `fresh`, and subtracts `n` more, at every vector of the tile, and
/// leaves the result where `into` says.
/// The stream has, output by
/// output, the byte offset (`u32`) of its sums (`tile.registers()` vectors) from `sums`, then for each lookup the offset
/// (`u16`, in bytes) of its entry from `table`. `lookups` is at least 1 and at most [`MOST_LOOKUPS`].
///
/// That signs are sorted into classes leaves an addition from memory for each vector of a lookup, and nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accumulate {
    pub tile: Tile,
    pub lookups: usize,
    pub fresh: bool,
    pub into: Into,
}

/// Where [`Accumulate`] leaves its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Into {
    /// Where the sums are; the totals are not used.
    Sums,
    /// Sums of i16 are added to the i32 at twice their offset from `totals`, or written there if these are `fresh`; what is at the sums
    /// is of no use then.
    Totals { fresh: bool },
}

impl Accumulate {
    /// Bytes of the stream for an output.
    pub fn stride(&self) -> usize {
        4 + 2 * self.lookups
    }
}

/// The type of [`Accumulate`]'s function.
pub(crate) type AccumulateFunction<T> =
    unsafe extern "C" fn(*const T, *mut T, *const u16, *const u32, *mut i32);

/// `widen(sums, totals, vectors)`
///
/// Adds each of `vectors` vectors of i16 sums to as many i32 totals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widen {
    /// Numbers in a vector of sums.
    pub lanes: usize,
}

/// The type of [`Widen`]'s function, and of [`Combine`]'s.
pub(crate) type WidenFunction = unsafe extern "C" fn(*mut i16, *mut i32, usize);

/// `build(tables, inputs, groups)`
///
/// For each of `groups` groups of `group` numbers at `inputs`: all signed sums, as f32 or i32, at consecutive numbers of its
/// table, the tables [`SCALAR_TABLE`] numbers apart. Entry 0 is zero, then come the sums of [`super::pattern::Patterns`], then their
/// negatives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuildScalars {
    pub element: Element,
    pub group: usize,
}

/// The type of [`BuildScalars`]' function.
pub(crate) type BuildScalarsFunction<T, W> = unsafe extern "C" fn(*mut W, *const T, usize);

/// Numbers from a scalar table to the next: the 3^5 that the largest groups have, and one.
pub(crate) const SCALAR_TABLE: usize = 244;
/// Outputs that [`AccumulateScalars`] sums at once, enough to hide the latency of additions.
pub(crate) const SCALAR_OUTPUTS: usize = 8;

/// `accumulate(tables, sums, indices, chunks, groups)`
///
/// For each of `chunks` chunks of [`SCALAR_OUTPUTS`] consecutive numbers at `sums`: adds, for each of `groups` tables
/// (as [`BuildScalars`] lays them out), the entry that each output's index byte selects. Indices are read in that order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccumulateScalars {
    pub element: Element,
}

/// The type of [`AccumulateScalars`]' function.
pub(crate) type AccumulateScalarsFunction<W> =
    unsafe extern "C" fn(*const W, *mut W, *const u8, usize, usize);

/// `permute(inputs, sums, indices, chunks, constants)`
///
/// Makes the tables of `groups` groups from as many times [`Form::group`] numbers at `inputs`. Then adds, for each of `chunks`
/// chunks of outputs, the sums that the chunk's indices select, as [`Form::pack`] lays them out, to its [`Form::sums`] vectors of sums, or
/// to zeros if it is `fresh`.
/// `constants` are [`Form::constants`]; `chunks` is at least 1, `groups` at least 1 and at most [`Form::most_groups`].
///
/// Sums of f32 and i16 are in the order of the outputs. If tables are split into bytes, vectors of words are the sums
/// of all selected lower bytes, those at odd places as the upper half of each word; of those at odd places alone; and either the
/// same of the upper bytes, each beginning with [`Form::excess`], or, byte by byte, of the upper bytes. [`Combine`] makes sums of that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permute {
    pub form: Form,
    pub groups: usize,
    pub fresh: bool,
}

/// The type of [`Permute`]'s function.
pub(crate) type PermuteFunction<T> = unsafe extern "C" fn(*const T, *mut T, *const u8, usize, *const u8);

/// `combine(sums, totals, chunks)`
///
/// For each of `chunks` chunks of sums that [`Permute`] split into bytes: adds them to as many i32 totals, in the order of
/// the outputs. Sums are those of `passes` passes and are overwritten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Combine {
    pub form: Form,
    pub passes: usize,
}
