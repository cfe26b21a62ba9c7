//! Transposes of f32: axes in another order.
//!
//! Neighbouring axes that stay neighbours are one. What is left is copied in runs where the innermost axis stays innermost; elsewhere it is a matrix, transposed
//! in blocks, for each place along the other axes.

use crate::Jit;
use crate::compile::Function;
use crate::error::JitError;
use crate::kernel::{Interface, Io, Kernel, Line, Slot, sealed};
use crate::transpose::Transposer;
use std::ops::Range;
use std::sync::Arc;

/// Elements of a unit of work, about.
const UNIT: usize = 4096;

/// A transpose with concrete shapes.
pub struct TransposeKernel {
    /// Those that units are counted along, in the order of the output.
    outer: Vec<Axis>,
    /// The innermost axis of the output.
    rows: Axis,
    /// The innermost axis of the input, if it is another.
    columns: Option<Axis>,
    /// How many of the rows are a unit.
    together: usize,
    transposer: Transposer,
    interface: Interface,
}

/// An axis: its size, and how far it is from an element to the next, in the input and the output.
#[derive(Clone, Copy, Debug)]
struct Axis {
    size: usize,
    from: usize,
    to: usize,
}

impl Jit {
    /// The kernel of a transpose: axis `i` of the output is axis `perm[i]` of the input.
    ///
    /// # Errors
    /// [`JitError::Shape`] if `perm` is no permutation of the axes, or for a tensor too large to address.
    pub fn transpose(&self, shape: &[usize], perm: &[usize]) -> Result<TransposeKernel, JitError> {
        let slot = Slot::of_shape(shape)?;
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..shape.len()) {
            return Err(JitError::Shape(format!("a tensor of shape {shape:?}, transposed by {perm:?}")));
        }
        let distance = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        let mut axes: Vec<Axis> = vec![];
        for &axis in perm.iter().filter(|&&axis| shape[axis] != 1) {
            let (size, from) = (shape[axis], distance(axis));
            match axes.last_mut() {
                Some(last) if last.from == from * size => {
                    *last = Axis { size: last.size * size, from, to: 0 }
                }
                _ => axes.push(Axis { size, from, to: 0 }),
            }
        }
        let mut to = 1;
        for axis in axes.iter_mut().rev() {
            axis.to = to;
            to *= axis.size;
        }
        let rows = axes.pop().unwrap_or(Axis { size: 1, from: 1, to: 1 });
        let inner = axes.iter().position(|axis| axis.from == 1).filter(|_| rows.from != 1);
        let columns = inner.map(|inner| axes.remove(inner));
        let wide = columns.map_or(1, |columns| columns.size.max(1));
        Ok(TransposeKernel {
            outer: axes,
            rows,
            columns,
            together: (UNIT / wide).max(1).next_multiple_of(8),
            transposer: Transposer::new::<f32>(&self.compiler, self.isa)?,
            interface: Interface { inputs: vec![slot], outputs: vec![slot], ..Interface::default() },
        })
    }
}

impl sealed::Execute for TransposeKernel {
    unsafe fn execute(&self, _: usize, units: Range<usize>, io: &Io<'_>, _: &mut [Line]) {
        let (input, Axis { size, from: step, .. }) = (io.f32(0), self.rows);
        let parts = size.div_ceil(self.together);
        for unit in units {
            let (mut rest, first) = (unit / parts, unit % parts * self.together);
            let count = self.together.min(size - first);
            let (mut from, mut to) = (first * step, first);
            for axis in self.outer.iter().rev() {
                let at = rest % axis.size;
                (from, to) = (from + at * axis.from, to + at * axis.to);
                rest /= axis.size;
            }
            match self.columns {
                None => {
                    // SAFETY: the caller's promise: these elements are this unit's.
                    let output = unsafe { io.output(to..to + count) };
                    output.copy_from_slice(&input[from..from + count]);
                }
                Some(columns) => {
                    let source = &input[from..][..(count - 1) * step + columns.size];
                    let target = io.output_start(to..to + (columns.size - 1) * columns.to + count);
                    // SAFETY: the rows end with `source`, and as columns where `target` was checked to; the places in between that are no
                    // unit of the caller's are not written.
                    unsafe {
                        let size = [count, columns.size];
                        self.transposer.transpose(size, source.as_ptr(), step, target, columns.to);
                    }
                }
            }
        }
    }
}

impl Kernel for TransposeKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn units(&self, _: usize) -> usize {
        let outer: usize = self.outer.iter().map(|axis| axis.size).product();
        let columns = self.columns.map_or(1, |columns| columns.size);
        if columns == 0 { 0 } else { outer * self.rows.size.div_ceil(self.together) }
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        self.columns.map_or(vec![], |_| self.transposer.functions())
    }

    fn describe(&self) -> String {
        match self.columns {
            None => format!("transpose: runs of {}", self.rows.size),
            Some(columns) => format!("transpose: {} by {}", self.rows.size, columns.size),
        }
    }
}
