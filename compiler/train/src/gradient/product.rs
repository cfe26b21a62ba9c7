//! Products of matrices: `matmul`, and what convolutions are made of.
//!
//! A product is divided into pieces by the rows of the result, or by its batches. Each element of it is one sum in one piece.

use super::operator::{Gradients, Operator};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Rows of a result that are one piece of work, at least.
const ROWS: usize = 64;
/// At most so many pieces.
const PIECES: usize = 8;

/// `c = a·b`, or `c += a·b`, on one thread.
pub fn multiply(c: MatMut<'_, f32>, add: bool, a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    matmul(c, if add { Accum::Add } else { Accum::Replace }, a, b, 1.0, Par::Seq);
}

/// Row-major elements as a matrix.
pub fn matrix(elements: &[f32], rows: usize, columns: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(elements, rows, columns)
}

/// Row-major elements as a matrix to write.
pub fn matrix_mut(elements: &mut [f32], rows: usize, columns: usize) -> MatMut<'_, f32> {
    MatMut::from_row_major_slice_mut(elements, rows, columns)
}

/// `c = a·b` or `c += a·b` on all processors; `c` is row-major.
fn spread(c: &mut [f32], add: bool, a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    let (rows, columns) = (a.nrows(), b.ncols());
    if rows == 0 || columns == 0 {
        return;
    }
    let piece = rows.div_ceil(PIECES).max(ROWS);
    c.par_chunks_mut(piece * columns).enumerate().for_each(|(i, c)| {
        let count = c.len() / columns;
        multiply(matrix_mut(c, count, columns), add, a.subrows(i * piece, count), b);
    });
}

/// `matmul`.
pub struct Product {
    rows: usize,
    inner: usize,
    columns: usize,
    /// For each matrix of the result, which of the operands'. `None`: all rows of the left operand are one matrix, the right is one.
    batches: Option<[Vec<usize>; 2]>,
}

impl Product {
    /// For operands and a result of these shapes.
    pub fn new(a: &[usize], b: &[usize], y: &[usize]) -> Option<Product> {
        let [.., rows, inner] = *a else { return None };
        let [.., _, columns] = *b else { return None };
        if b.len() == 2 {
            let rows = y.iter().rev().skip(1).product();
            return Some(Product { rows, inner, columns, batches: None });
        }
        let outer = &y[..y.len() - 2];
        let count: usize = outer.iter().product();
        let places = |shape: &[usize]| {
            let own = &shape[..shape.len() - 2];
            (0..count).map(|i| broadcast_index(i, outer, own)).collect::<Vec<usize>>()
        };
        Some(Product { rows, inner, columns, batches: Some([places(a), places(b)]) })
    }
}

/// Where the element `i` of a row-major tensor of shape `outer` is read in one of shape `own` that is broadcast over it.
pub fn broadcast_index(mut i: usize, outer: &[usize], own: &[usize]) -> usize {
    let (mut index, mut stride) = (0, 1);
    for axis in 0..outer.len() {
        let size = outer[outer.len() - 1 - axis].max(1);
        let at = i % size;
        i /= size;
        if let Some(&own_size) = own.len().checked_sub(axis + 1).and_then(|k| own.get(k)) {
            if own_size != 1 {
                index += at * stride;
            }
            stride *= own_size;
        }
    }
    index
}

impl Operator for Product {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let (rows, inner, columns) = (self.rows, self.inner, self.columns);
        let Some([of_a, of_b]) = &self.batches else {
            return spread(y, false, matrix(x[0], rows, inner), matrix(x[1], inner, columns));
        };
        let (a, b, size) = (rows * inner, inner * columns, rows * columns);
        if size == 0 {
            return;
        }
        y.par_chunks_mut(size).enumerate().for_each(|(i, y)| {
            let (i, j) = (of_a[i], of_b[i]);
            let (a, b) = (&x[0][i * a..(i + 1) * a], &x[1][j * b..(j + 1) * b]);
            multiply(matrix_mut(y, rows, columns), false, matrix(a, rows, inner), matrix(b, inner, columns));
        });
    }

    fn backward(&mut self, x: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let (rows, inner, columns) = (self.rows, self.inner, self.columns);
        let Some([of_a, of_b]) = &self.batches else {
            let dy = matrix(dy, rows, columns);
            if let Some(da) = dx.of(0) {
                spread(da, true, dy, matrix(x[1], inner, columns).transpose());
            }
            if let Some(db) = dx.of(1) {
                spread(db, true, matrix(x[0], rows, inner).transpose(), dy);
            }
            return;
        };
        let (a, b, size) = (rows * inner, inner * columns, rows * columns);
        if a == 0 || b == 0 || size == 0 {
            return;
        }
        let dy = |i: usize| matrix(&dy[i * size..(i + 1) * size], rows, columns);
        let readers = |of: &[usize], count: usize| {
            let mut readers = vec![vec![]; count];
            of.iter().enumerate().for_each(|(i, &place)| readers[place].push(i));
            readers
        };
        if let Some(da) = dx.of(0) {
            let readers = readers(of_a, da.len() / a);
            da.par_chunks_mut(a).zip(readers).for_each(|(da, readers)| {
                for i in readers {
                    let b = &x[1][of_b[i] * b..(of_b[i] + 1) * b];
                    multiply(matrix_mut(da, rows, inner), true, dy(i), matrix(b, inner, columns).transpose());
                }
            });
        }
        if let Some(db) = dx.of(1) {
            let readers = readers(of_b, db.len() / b);
            db.par_chunks_mut(b).zip(readers).for_each(|(db, readers)| {
                for i in readers {
                    let a = &x[0][of_a[i] * a..(of_a[i] + 1) * a];
                    multiply(matrix_mut(db, inner, columns), true, matrix(a, rows, inner).transpose(), dy(i));
                }
            });
        }
    }
}
