//! A product of two matrices of f32, from tiles whose sums are in registers.
//!
//! `out = left · right`, all row-major. Columns of the right matrix are taken a panel at a time, which is copied to scratch
//! memory if many rows will read it; then each tile of rows runs down the panel. Every sum is taken in the order of the inner
//! index, whatever the division of the work.

use crate::compile::{Code, Compiler, Function};
use crate::error::JitError;
use crate::kernel::{Line, lines};
use crate::loops::{VECTOR, count, load, splat_from, store, zero};
use crate::machine::{Element, Isa};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use std::sync::Arc;

/// The most rows of a tile.
const ROWS: usize = 6;
/// `tile(left, left_row_bytes, right, right_row_bytes, inner, out, out_row_bytes)`
///
/// `rows` rows of the left matrix by `vectors · lanes` columns of the right one, over `inner` terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    pub lanes: usize,
    pub rows: usize,
    pub vectors: usize,
}

/// The type of [`Tile`]'s function.
type TileFunction = unsafe extern "C" fn(*const f32, usize, *const f32, usize, usize, *mut f32, usize);

/// The code for products of matrices.
pub(crate) struct Product {
    /// Columns of a panel.
    panel: usize,
    /// By the number of rows, from 1.
    tiles: Vec<Arc<Function>>,
}

/// A matrix in a slice: its first element and the distance from row to row; columns are neighbours.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    elements: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// Panics if the slice is too short: a mistake of this crate, found before any memory is touched.
    pub fn new(elements: &'a [f32], rows: usize, columns: usize, stride: usize) -> Matrix<'a> {
        assert!(
            rows == 0 || columns == 0 || (rows - 1) * stride + columns <= elements.len(),
            "a matrix in its slice"
        );
        Matrix { elements, rows, columns, stride }
    }
}

impl Product {
    pub fn new(compiler: &Compiler, isa: Isa) -> Result<Product, JitError> {
        let lanes = isa.lanes(Element::F32);
        // As many as there are registers for, beside those of the panel and a factor.
        let vectors = if isa.registers() >= 32 { 4 } else { 2 };
        let tiles = (1..=ROWS).map(|rows| compiler.function(&Tile { lanes, rows, vectors }));
        Ok(Product { panel: vectors * lanes, tiles: tiles.collect::<Result<_, _>>()? })
    }

    pub fn functions(&self) -> &[Arc<Function>] {
        &self.tiles
    }

    /// Lines of scratch memory for products over so many terms: a panel, and a tile for columns that do not fill one.
    pub fn scratch(&self, inner: usize) -> usize {
        lines::<f32>((inner + ROWS) * self.panel)
    }

    /// `out = left · right`, dense.
    pub fn multiply(&self, left: Matrix<'_>, right: Matrix<'_>, out: &mut [f32], scratch: &mut [Line]) {
        let (rows, columns, inner) = (left.rows, right.columns, left.columns);
        assert!(right.rows == inner && out.len() >= rows * columns, "matrices that multiply, and room");
        let scratch: &mut [f32] = bytemuck::cast_slice_mut(scratch);
        let (packed, partial) = scratch.split_at_mut(inner * self.panel);
        for first in (0..columns).step_by(self.panel) {
            let width = self.panel.min(columns - first);
            // Few rows read a panel too seldom to pay for a copy; one that is not full has no room to be read in place.
            let copy = width < self.panel || rows > ROWS;
            if copy {
                for (k, line) in packed.chunks_exact_mut(self.panel).enumerate() {
                    line[..width].copy_from_slice(&right.elements[k * right.stride + first..][..width]);
                    line[width..].fill(0.0);
                }
            }
            let (panel, step) = match copy {
                true => (&*packed, self.panel),
                false => (right.elements.get(first..).unwrap_or(&[]), right.stride),
            };
            for row in (0..rows).step_by(ROWS) {
                let count = ROWS.min(rows - row);
                let left_rows = left.elements.get(row * left.stride..).unwrap_or(&[]);
                let whole = width == self.panel;
                let (target, target_step) = match whole {
                    true => (&mut out[row * columns + first..], columns),
                    false => (&mut partial[..ROWS * self.panel], self.panel),
                };
                // SAFETY: the function was emitted for exactly this type and `count` rows. `left` has `count` rows of `inner`
                // elements from there; the panel has `inner` rows of `panel` elements, `step` apart; the target has `count` such
                // rows, `target_step` apart.
                unsafe {
                    let tile = std::mem::transmute::<*const u8, TileFunction>(self.tiles[count - 1].entry());
                    let (rows_of_left, right, out) =
                        (left_rows.as_ptr(), panel.as_ptr(), target.as_mut_ptr());
                    tile(rows_of_left, left.stride * 4, right, step * 4, inner, out, target_step * 4);
                }
                if !whole {
                    for i in 0..count {
                        let from = &partial[i * self.panel..][..width];
                        out[(row + i) * columns + first..][..width].copy_from_slice(from);
                    }
                }
            }
        }
    }
}

impl Code for Tile {
    fn parameters(&self) -> usize {
        7
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[left, left_row, right, right_row, inner, out, out_row] = arguments else { return };
        let mut start = vec![left, right];
        start.extend((0..self.rows * self.vectors).map(|_| zero(b, types::F32X4)));
        let end = count(b, inner, &start, |b, state| {
            let (left, right) = (state[0], state[1]);
            let mut next = vec![b.ins().iadd_imm_s(left, 4), b.ins().iadd(right, right_row)];
            let load = |b: &mut FunctionBuilder<'_>, v| load(b, types::F32X4, right, v * VECTOR);
            let columns: Vec<Value> = (0..self.vectors).map(|v| load(b, v)).collect();
            let mut address = left;
            for row in 0..self.rows {
                let factor = splat_from(b, address);
                for (v, &column) in columns.iter().enumerate() {
                    let product = b.ins().fmul(factor, column);
                    next.push(b.ins().fadd(state[2 + row * self.vectors + v], product));
                }
                address = b.ins().iadd(address, left_row);
            }
            next
        });
        let mut address = out;
        for row in end[2..].chunks_exact(self.vectors) {
            row.iter().enumerate().for_each(|(v, &sum)| store(b, sum, address, v * VECTOR));
            address = b.ins().iadd(address, out_row);
        }
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        super::wide::tile(self)
    }
}
