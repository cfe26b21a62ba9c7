//! Float products of matrices with leading axes that broadcast.

use super::{Matrix, Source};
use crate::Jit;
use crate::compile::Function;
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::kernel::{Counts, Interface, Io, Kernel, LINE, Line, sealed};
use std::ops::Range;
use std::sync::Arc;

/// Rows of a unit of work.
const BAND: usize = 64;

/// A product of matrices with concrete shapes. Operands that are inputs are numbered in the order left, right.
#[derive(Clone, Debug)]
pub struct MatMulSpec<'a> {
    /// Shape of the left operand, `[..., R, K]`.
    pub left_shape: &'a [usize],
    /// The left operand.
    pub left: Source,
    /// Shape of the right operand, `[..., K, M]`.
    pub right_shape: &'a [usize],
    /// The right operand.
    pub right: Source,
    /// What happens to the sum; its bias is per column.
    pub epilogue: Epilogue,
}

/// A float product of matrices.
pub struct MatMulKernel {
    left: Source,
    right: Source,
    /// For each product of two matrices where its operands start.
    pairs: Vec<(usize, usize)>,
    rows: usize,
    inner: usize,
    columns: usize,
    epilogue: Epilogue,
    interface: Interface,
}

impl Jit {
    /// The kernel of a product of matrices.
    ///
    /// # Errors
    /// [`JitError::Shape`] if the shapes do not multiply or constants do not fit.
    pub fn matmul(&self, spec: &MatMulSpec<'_>) -> Result<MatMulKernel, JitError> {
        let misfit =
            || JitError::Shape(format!("{:?} and {:?} do not multiply", spec.left_shape, spec.right_shape));
        let (&[ref left_outer @ .., rows, inner], &[ref right_outer @ .., other, columns]) =
            (spec.left_shape, spec.right_shape)
        else {
            return Err(misfit());
        };
        let pairs = pairs(left_outer, right_outer).filter(|_| inner == other).ok_or_else(misfit)?;
        let pairs: Vec<_> = pairs.into_iter().map(|(l, r)| (l * rows * inner, r * inner * columns)).collect();
        spec.epilogue.check(columns)?;
        let mut inputs = vec![];
        for (source, shape) in [(&spec.left, spec.left_shape), (&spec.right, spec.right_shape)] {
            let elements = shape.iter().product();
            match source {
                Source::Input(_) => inputs.push(elements),
                Source::Constant(constant) if constant.len() == elements => {}
                Source::Constant(constant) => {
                    return Err(JitError::Shape(format!("{} elements of shape {shape:?}", constant.len())));
                }
            }
        }
        let interface = Interface {
            inputs,
            residual: spec.epilogue.residual,
            output: pairs.len() * rows * columns,
            scratch: (BAND.min(rows) * columns).div_ceil(LINE),
        };
        let (left, right) = (spec.left.clone(), spec.right.clone());
        Ok(MatMulKernel {
            left,
            right,
            pairs,
            rows,
            inner,
            columns,
            epilogue: spec.epilogue.clone(),
            interface,
        })
    }
}

impl sealed::Execute for MatMulKernel {
    unsafe fn execute(&self, _: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]) {
        let scratch: &mut [f32] = bytemuck::cast_slice_mut(scratch);
        let (left, right) = (self.left.elements(io.inputs), self.right.elements(io.inputs));
        let (inner, columns, bands) = (self.inner, self.columns, self.rows.div_ceil(BAND));
        for unit in units {
            let (pair, band) = (unit / bands, unit % bands);
            let (l, r) = self.pairs[pair];
            let rows = band * BAND..((band + 1) * BAND).min(self.rows);
            let sums = &mut scratch[..rows.len() * columns];
            let left = Matrix::new(&left[l + rows.start * inner..], rows.len(), inner, inner);
            left.multiply(Matrix::new(&right[r..], inner, columns, columns), sums);
            for (row, sums) in rows.zip(sums.chunks(columns.max(1))) {
                let start = (pair * self.rows + row) * columns;
                let range = start..start + columns;
                let residual = io.residual.map(|r| &r[range.clone()]);
                // SAFETY: the caller's promise: the rows of this band are this unit's.
                let out = unsafe { io.output(range) };
                self.epilogue.position(0, sums, 1, residual, out);
            }
        }
    }
}

impl Kernel for MatMulKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn units(&self, _: usize) -> usize {
        self.pairs.len() * self.rows.div_ceil(BAND)
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        vec![]
    }

    fn counts(&self) -> Counts {
        let outputs = self.interface.output as u64;
        let products = outputs * self.inner as u64;
        let (additions, multiplications) = self.epilogue.operations();
        Counts {
            additions: products + additions * outputs,
            multiplications: products + multiplications * outputs,
        }
    }

    fn describe(&self) -> String {
        format!(
            "float: {} products of {}x{} by {}x{}",
            self.pairs.len(),
            self.rows,
            self.inner,
            self.inner,
            self.columns
        )
    }
}

/// For each matrix of the result the numbers of its operands' matrices; `None` if the shapes do not broadcast.
fn pairs(left: &[usize], right: &[usize]) -> Option<Vec<(usize, usize)>> {
    let rank = left.len().max(right.len());
    let mut pairs = vec![(0, 0)];
    for axis in 0..rank {
        let at = |shape: &[usize]| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
        let (a, b) = (at(left), at(right));
        let size = match (a, b) {
            (1, n) | (n, 1) => n,
            (a, b) if a == b => a,
            _ => return None,
        };
        let step = |number: usize, own: usize, i: usize| number * own + if own == 1 { 0 } else { i };
        pairs =
            pairs.iter().flat_map(|&(l, r)| (0..size).map(move |i| (step(l, a, i), step(r, b, i)))).collect();
    }
    Some(pairs)
}
