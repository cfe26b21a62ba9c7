//! Float products of matrices with leading axes that broadcast.

use super::Source;
use super::product::{Matrix, Panels, Product};
use crate::Jit;
use crate::compile::Function;
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::kernel::{Interface, Io, Kernel, Line, Slot, lines, sealed};
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
    /// Of each right matrix, if they are there ahead.
    panels: Vec<Panels>,
    /// For each product of two matrices where its operands start.
    pairs: Vec<(usize, usize)>,
    rows: usize,
    inner: usize,
    columns: usize,
    epilogue: Epilogue,
    product: Product,
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
        // Many products without an element are no work.
        let empty = rows == 0 || columns == 0;
        let pairs = pairs(left_outer, right_outer, empty).filter(|_| inner == other).ok_or_else(misfit)?;
        let pairs: Vec<_> = pairs.into_iter().map(|(l, r)| (l * rows * inner, r * inner * columns)).collect();
        spec.epilogue.check(columns)?;
        let mut inputs = vec![];
        for (source, shape) in [(&spec.left, spec.left_shape), (&spec.right, spec.right_shape)] {
            let elements = shape.iter().product();
            match source {
                Source::Input(_) => inputs.push(Slot::f32(elements)),
                Source::Constant(constant) if constant.len() == elements => {}
                Source::Constant(constant) => {
                    return Err(JitError::Shape(format!("{} elements of shape {shape:?}", constant.len())));
                }
            }
        }
        let heights = [rows.min(BAND), rows % BAND];
        let product = Product::new(&self.compiler, self.isa, &heights, &[columns])?;
        let panels = match &spec.right {
            Source::Constant(numbers) => product.panels(numbers, [inner, columns]),
            Source::Input(_) => vec![],
        };
        let interface = Interface {
            inputs,
            residual: spec.epilogue.residual,
            outputs: vec![Slot::f32(pairs.len() * rows * columns)],
            scratch: lines::<f32>(BAND.min(rows) * columns) + product.scratch(inner),
            ..Interface::default()
        };
        let (left, right) = (spec.left.clone(), spec.right.clone());
        Ok(MatMulKernel {
            left,
            right,
            panels,
            pairs,
            rows,
            inner,
            columns,
            epilogue: spec.epilogue.clone(),
            product,
            interface,
        })
    }
}

impl sealed::Execute for MatMulKernel {
    unsafe fn execute(&self, _: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]) {
        let (products, scratch) = scratch.split_at_mut(self.product.scratch(self.inner));
        let scratch: &mut [f32] = bytemuck::cast_slice_mut(scratch);
        let (left, right) = (self.left.elements(io), self.right.elements(io));
        let (inner, columns, bands) = (self.inner, self.columns, self.rows.div_ceil(BAND));
        for unit in units {
            let (pair, band) = (unit / bands, unit % bands);
            let (l, r) = self.pairs[pair];
            let rows = band * BAND..((band + 1) * BAND).min(self.rows);
            let sums = &mut scratch[..rows.len() * columns];
            let left = Matrix::new(&left[l + rows.start * inner..], rows.len(), inner, inner);
            let right = Matrix::new(&right[r..], inner, columns, columns);
            let panels = self.panels.get(r / (inner * columns).max(1));
            self.product.multiply(left, right, panels, sums, products);
            for (row, sums) in rows.zip(sums.chunks(columns.max(1))) {
                let start = (pair * self.rows + row) * columns;
                let range = start..start + columns;
                let residual = io.residual.map(|r| &r[range.clone()]);
                // SAFETY: the caller's promise: the rows of this band are this unit's.
                let out = unsafe { io.output(range) };
                self.epilogue.position(0, None, sums.iter().copied(), residual, out);
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
        self.product.functions()
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

/// For each matrix of the result the numbers of its operands' matrices; `None` if the shapes do not broadcast, none if the
/// matrices are `empty`.
fn pairs(left: &[usize], right: &[usize], empty: bool) -> Option<Vec<(usize, usize)>> {
    let rank = left.len().max(right.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let size = |axis: usize| match (at(left, axis), at(right, axis)) {
        (1, n) | (n, 1) => Some(n),
        (a, b) if a == b => Some(a),
        _ => None,
    };
    let sizes = (0..rank).map(size).collect::<Option<Vec<usize>>>()?;
    if empty || sizes.contains(&0) {
        return Some(vec![]);
    }
    let mut pairs = vec![(0, 0)];
    for (axis, size) in sizes.into_iter().enumerate() {
        let (a, b) = (at(left, axis), at(right, axis));
        let step = |number: usize, own: usize, i: usize| number * own + if own == 1 { 0 } else { i };
        pairs =
            pairs.iter().flat_map(|&(l, r)| (0..size).map(move |i| (step(l, a, i), step(r, b, i)))).collect();
    }
    Some(pairs)
}
