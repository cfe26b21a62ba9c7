//! The Cholesky factor of a symmetric matrix, and what is solved by it.

use crate::gradient::vectors::vectors;
use crate::parallel;
use crate::part::part;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis};

/// Columns that are factored at a time; the rest is a product of matrices.
const BLOCK: usize = 64;
/// Rows of the rest that one thread updates at a time.
const PANEL: usize = 128;

/// `H = L·Lᵀ`. On and below the diagonal of the matrix is L; above it is the transpose of L, each row divided by its diagonal.
#[derive(Debug)]
pub(crate) struct Factor(Array2<f64>);

impl Factor {
    /// The factor of a matrix, of which the lower triangle is read; `None` if it is not positive definite. O(n³/3).
    pub fn new(mut a: Array2<f64>) -> Option<Factor> {
        let n = a.nrows();
        for start in (0..n).step_by(BLOCK) {
            let end = (start + BLOCK).min(n);
            for k in start..end {
                let pivot = a[[k, k]];
                if !(pivot > 0.0 && pivot.is_finite()) {
                    return None;
                }
                let root = pivot.sqrt();
                a[[k, k]] = root;
                for i in k + 1..end {
                    a[[i, k]] /= root;
                }
                for j in k + 1..end {
                    let factor = a[[j, k]];
                    for i in j..end {
                        a[[i, j]] -= a[[i, k]] * factor;
                    }
                }
            }
            let (top, mut rest) = a.view_mut().split_at(Axis(0), end);
            let diagonal = part(top.view(), start..end, start..end);
            let rows: Vec<_> = rest.axis_chunks_iter_mut(Axis(0), PANEL).collect();
            parallel::map(rows, |_, mut rows| {
                for mut row in rows.rows_mut() {
                    for k in 0..end - start {
                        let known = (0..k).map(|j| row[start + j] * diagonal[[k, j]]).sum::<f64>();
                        row[start + k] = (row[start + k] - known) / diagonal[[k, k]];
                    }
                }
            });
            let panel = part(rest.view(), 0..n - end, start..end).to_owned();
            let rows: Vec<_> = rest.axis_chunks_iter_mut(Axis(0), PANEL).collect();
            parallel::map(rows, |i, mut rows| {
                let first = i * PANEL;
                let last = first + rows.nrows();
                let mut target = part(rows.view_mut(), 0..last - first, end..end + last);
                let (left, right) = (
                    part(panel.view(), first..last, 0..end - start),
                    part(panel.view(), 0..last, 0..end - start),
                );
                general_mat_mul(-1.0, &left, &right.t(), 1.0, &mut target);
            });
        }
        for k in 0..n {
            let diagonal = a[[k, k]];
            for j in k + 1..n {
                a[[k, j]] = a[[j, k]] / diagonal;
            }
        }
        Some(Factor(a))
    }

    /// Row k: what the errors of the columns behind column k add to it.
    pub fn feedback(&self, k: usize) -> &[f64] {
        &self.row(k)[k + 1..]
    }

    /// x of `H·x = b`.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let n = b.len();
        let mut x = b.to_vec();
        for k in 0..n {
            let row = self.row(k);
            x[k] = (x[k] - dot(&row[..k], &x[..k])) / row[k];
        }
        for k in (0..n).rev() {
            let row = self.row(k);
            x[k] = x[k] / row[k] - dot(&row[k + 1..], &x[k + 1..]);
        }
        x
    }

    fn row(&self, k: usize) -> &[f64] {
        row(self.0.view(), k)
    }
}

/// A row of a matrix that lies row by row.
pub(crate) fn row(matrix: ArrayView2<'_, f64>, k: usize) -> &[f64] {
    matrix.index_axis_move(Axis(0), k).to_slice().expect("the matrix lies row by row")
}

/// The product of two vectors, by partial sums that vector units can hold.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_parts, b_parts) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_parts.remainder().iter().zip(b_parts.remainder()).map(|(x, y)| x * y).sum();
    vectors(|| {
        for (x, y) in a_parts.zip(b_parts) {
            for i in 0..8 {
                sums[i] += x[i] * y[i];
            }
        }
    });
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_solves() {
        for n in [1, 5, 63, 64, 65, 200] {
            let g =
                Array2::from_shape_fn((n + 3, n), |(i, j)| (((i * 31 + j * 17) % 23) as f64 - 11.0) / 7.0);
            let h = g.t().dot(&g) + Array2::<f64>::eye(n);
            let x: Vec<f64> = (0..n).map(|i| (i % 5) as f64 - 1.5).collect();
            let b: Vec<f64> =
                h.rows().into_iter().map(|row| row.iter().zip(&x).map(|(a, x)| a * x).sum()).collect();
            let factor = Factor::new(h).expect("it is positive definite");
            let worst = factor.solve(&b).iter().zip(&x).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-9, "{n}: {worst}");
        }
    }

    #[test]
    fn an_indefinite_matrix_has_none() {
        assert!(Factor::new(ndarray::array![[1.0, 2.0], [2.0, 1.0]]).is_none());
        assert!(Factor::new(ndarray::array![[f64::NAN]]).is_none());
        assert!(Factor::new(Array2::zeros((3, 3))).is_none());
    }
}
