//! A product of two matrices of f32, from tiles whose sums are in registers.
//!
//! `out = left · right`, all row-major. Columns of the right matrix are taken a panel at a time, which is copied ahead if the matrix is constant, or to
//! scratch memory if many rows will read it; then each tile of rows runs down the panel. The last panel has as many vectors as its columns need. Every
//! sum is taken in the order of the inner index, whatever the division of the work.

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

/// Numbers of panels that are copied when a kernel is made, at most: they take memory once more, and those of narrow matrices several times.
const COPIED_AHEAD: usize = 1 << 22;

/// The code for products of matrices of some sizes.
pub(crate) struct Product {
    lanes: usize,
    /// Vectors of a panel, but of the last.
    vectors: usize,
    /// Those that are needed, by the vectors of a panel and the rows of a tile, both from 1.
    tiles: Vec<Option<Arc<Function>>>,
}

/// The panels of a right matrix, one behind the other.
pub(crate) struct Panels(Vec<f32>);

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

    /// Copies `width` columns from the `first` on to rows of `size` numbers, of which the last may be zeros.
    fn copy(&self, first: usize, width: usize, size: usize, to: &mut [f32]) {
        for (k, line) in to.chunks_exact_mut(size).take(self.rows).enumerate() {
            line[..width].copy_from_slice(&self.elements[k * self.stride + first..][..width]);
            line[width..].fill(0.0);
        }
    }
}

impl Product {
    /// For left matrices of these numbers of rows, and right ones of these numbers of columns.
    pub fn new(
        compiler: &Compiler,
        isa: Isa,
        rows: &[usize],
        columns: &[usize],
    ) -> Result<Product, JitError> {
        let lanes = isa.lanes(Element::F32);
        // As many as there are registers for, beside those of the panel and a factor.
        let vectors = if isa.registers() >= 32 { 4 } else { 2 };
        let mut product = Product { lanes, vectors, tiles: vec![None; vectors * ROWS] };
        let parts = |all: usize, whole: usize| [all.min(whole), all % whole].into_iter().filter(|&n| n > 0);
        let panel = product.panel();
        for width in columns.iter().flat_map(|&columns| parts(columns, panel)) {
            for rows in rows.iter().flat_map(|&rows| parts(rows, ROWS)) {
                let tile = Tile { lanes, rows, vectors: width.div_ceil(lanes) };
                let place = product.place(tile.vectors, rows);
                product.tiles[place] = Some(compiler.function(&tile)?);
            }
        }
        Ok(product)
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.tiles.iter().flatten().cloned().collect()
    }

    /// Columns of a panel, but of the last.
    fn panel(&self) -> usize {
        self.vectors * self.lanes
    }

    fn place(&self, vectors: usize, rows: usize) -> usize {
        (vectors - 1) * ROWS + rows - 1
    }

    /// Lines of scratch memory for products over so many terms: a panel, and a tile for columns that do not fill one.
    pub fn scratch(&self, inner: usize) -> usize {
        lines::<f32>((inner + ROWS) * self.panel())
    }

    /// The panels of constant right matrices of so many rows and columns, which lie one behind the other, so that no product has to copy them; nothing if
    /// these are too many numbers.
    pub fn panels(&self, numbers: &[f32], [rows, columns]: [usize; 2]) -> Vec<Panels> {
        let of_a_matrix = rows.saturating_mul(columns.next_multiple_of(self.lanes));
        let count = numbers.len().checked_div(rows * columns).unwrap_or(0);
        if count.saturating_mul(of_a_matrix) > COPIED_AHEAD {
            return vec![];
        }
        let panels = |numbers| {
            let right = Matrix::new(numbers, rows, columns, columns);
            let mut panels = vec![0.0; of_a_matrix];
            for first in (0..columns).step_by(self.panel()) {
                let (size, _) = self.width(columns - first);
                right.copy(first, size.min(columns - first), size, &mut panels[first * rows..]);
            }
            Panels(panels)
        };
        numbers.chunks_exact((rows * columns).max(1)).map(panels).collect()
    }

    /// Columns of a panel that begins so many columns before the end, in whole vectors, and how many vectors these are.
    fn width(&self, left: usize) -> (usize, usize) {
        let vectors = left.div_ceil(self.lanes).min(self.vectors);
        (vectors * self.lanes, vectors)
    }

    /// `out = left · right`, dense, of sizes that it was made for; `panels` are the right matrix's, if there are any.
    pub fn multiply(
        &self,
        left: Matrix<'_>,
        right: Matrix<'_>,
        panels: Option<&Panels>,
        out: &mut [f32],
        scratch: &mut [Line],
    ) {
        let (rows, columns, inner) = (left.rows, right.columns, left.columns);
        assert!(right.rows == inner && out.len() >= rows * columns, "matrices that multiply, and room");
        let scratch: &mut [f32] = bytemuck::cast_slice_mut(scratch);
        let (copied, partial) = scratch.split_at_mut(inner * self.panel());
        for first in (0..columns).step_by(self.panel()) {
            let (size, vectors) = self.width(columns - first);
            let width = size.min(columns - first);
            let whole = width == size;
            let (panel, step) = match panels {
                Some(Panels(numbers)) => (&numbers[first * inner..][..inner * size], size),
                // Few rows read a panel too seldom to pay for a copy; one that is not full has no room to be read in place.
                None if whole && rows <= ROWS => (right.elements.get(first..).unwrap_or(&[]), right.stride),
                None => {
                    right.copy(first, width, size, copied);
                    (&*copied, size)
                }
            };
            for row in (0..rows).step_by(ROWS) {
                let count = ROWS.min(rows - row);
                let left_rows = left.elements.get(row * left.stride..).unwrap_or(&[]);
                let (target, target_step) = match whole {
                    true => (&mut out[row * columns + first..], columns),
                    false => (&mut partial[..ROWS * size], size),
                };
                let tile = self.tiles[self.place(vectors, count)].as_ref();
                let tile = tile.expect("a product is of sizes that it was made for").entry();
                // SAFETY: the function was emitted for exactly this type, `count` rows and a panel of `size` columns. `left` has `count`
                // rows of `inner` elements from there; the panel has `inner` rows of `size` elements, `step` apart; the target has
                // `count` such rows, `target_step` apart.
                unsafe {
                    let tile = std::mem::transmute::<*const u8, TileFunction>(tile);
                    let (rows_of_left, right, out) =
                        (left_rows.as_ptr(), panel.as_ptr(), target.as_mut_ptr());
                    tile(rows_of_left, left.stride * 4, right, step * 4, inner, out, target_step * 4);
                }
                if !whole {
                    for i in 0..count {
                        let from = &partial[i * size..][..width];
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
