//! Layers that stay float: convolutions and products of matrices, by the `gemm` crate.
//!
//! No code is generated for them. What the steps define after the sum (bias, residual, activation) is applied as for ternary layers. The
//! division into units does not depend on the number of threads, so that results do not either.

mod conv;
mod matmul;

pub use conv::{ConvKernel, ConvSpec};
pub use matmul::{MatMulKernel, MatMulSpec};

use crate::kernel::Io;
use std::sync::Arc;

/// Where the elements of an operand come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The kernel's input of this number.
    Input(usize),
    /// A constant.
    Constant(Arc<[f32]>),
}

impl Source {
    /// The elements in a run.
    pub(crate) fn elements<'a>(&'a self, io: &Io<'a>) -> &'a [f32] {
        match self {
            Source::Input(number) => io.f32(*number),
            Source::Constant(elements) => elements,
        }
    }
}

/// A matrix in a slice: its first element and the distance from row to row; columns are neighbours.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    elements: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// Panics if the slice is too short: a mistake of this crate, found before any memory is touched.
    fn new(elements: &'a [f32], rows: usize, columns: usize, stride: usize) -> Matrix<'a> {
        assert!(
            rows == 0 || columns == 0 || (rows - 1) * stride + columns <= elements.len(),
            "a matrix in its slice"
        );
        Matrix { elements, rows, columns, stride }
    }

    /// `out = self · right`, row-major and dense.
    fn multiply(self, right: Matrix<'_>, out: &mut [f32]) {
        let (m, n, k) = (self.rows, right.columns, self.columns);
        assert!(right.rows == k && out.len() >= m * n, "matrices that multiply, and room for the product");
        if m * n == 0 {
            return;
        }
        // SAFETY: `new` has checked that both operands lie in their slices, the line above that `out` holds m·n elements; `out` is
        // exclusive. The crate reads nothing of `out` with `read_dst` false.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                out.as_mut_ptr(),
                1,
                n as isize,
                false,
                self.elements.as_ptr(),
                1,
                self.stride as isize,
                right.elements.as_ptr(),
                1,
                right.stride as isize,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}
