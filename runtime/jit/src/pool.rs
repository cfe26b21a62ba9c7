//! Pools over one or two spatial axes: a vertical pass over whole rows, whose lanes are positions, then a horizontal one.
//!
//! No code is generated: the compiler's vectors serve. The largest element does not depend on the order; a mean's sum is taken in f32, column by
//! column first.

use crate::Jit;
use crate::compile::Function;
use crate::error::JitError;
use crate::kernel::{Counts, Interface, Io, Kernel, LINE, Line, sealed};
use std::ops::Range;
use std::sync::Arc;
use twnc_program::step::PoolKind;
use twnc_program::window::Window;

/// A pool with concrete shapes.
#[derive(Clone, Debug)]
pub struct PoolSpec<'a> {
    /// What is taken of each window.
    pub kind: PoolKind,
    /// Shape of the input.
    pub input: &'a [usize],
    /// Shape of the output.
    pub output: &'a [usize],
    /// Its geometry.
    pub window: &'a Window,
}

/// A maximum or mean over windows. A unit of work is a channel of a sample.
pub struct PoolKernel {
    kind: PoolKind,
    planes: usize,
    input: [usize; 2],
    output: [usize; 2],
    axes: [Axis; 2],
    interface: Interface,
}

/// A window along one axis.
#[derive(Clone, Copy, Debug)]
struct Axis {
    kernel: usize,
    stride: usize,
    dilation: usize,
    begin: usize,
    /// The size with padding.
    padded: usize,
    size: usize,
}

impl Axis {
    /// The elements under the window at a position, in order.
    fn elements(self, position: usize) -> impl Iterator<Item = usize> {
        let taps = (0..self.kernel).map(move |tap| position * self.stride + tap * self.dilation);
        taps.filter_map(move |place| place.checked_sub(self.begin)).filter(move |&i| i < self.size)
    }

    /// How many taps are on elements or padding.
    fn counted(self, position: usize) -> usize {
        (0..self.kernel).filter(|tap| position * self.stride + tap * self.dilation < self.padded).count()
    }
}

impl Jit {
    /// The kernel of a pool.
    ///
    /// # Errors
    /// [`JitError::Shape`] if the shapes do not fit the window, [`JitError::Unsupported`] for windows of three axes.
    pub fn pool(&self, spec: &PoolSpec<'_>) -> Result<PoolKernel, JitError> {
        let rank = spec.window.rank();
        if rank > 2 {
            return Err(JitError::Unsupported("windows of three and more axes"));
        }
        let fits = spec.input.len() == rank + 2
            && spec.output.len() == rank + 2
            && spec.input[..2] == spec.output[..2];
        if rank == 0 || !fits {
            return Err(JitError::Shape(format!("a pool of {:?} to {:?}", spec.input, spec.output)));
        }
        let two = |shape: &[usize]| if rank == 1 { [1, shape[2]] } else { [shape[2], shape[3]] };
        let (input, output) = (two(spec.input), two(spec.output));
        let axis = |axis: usize| {
            let Some(i) = (axis + rank).checked_sub(2) else {
                return Axis { kernel: 1, stride: 1, dilation: 1, begin: 0, padded: 1, size: 1 };
            };
            let w = spec.window;
            Axis {
                kernel: w.kernel[i],
                stride: w.strides[i],
                dilation: w.dilations[i],
                begin: w.pads_begin[i],
                padded: input[axis] + w.pads_begin[i] + w.pads_end[i],
                size: input[axis],
            }
        };
        let planes = spec.input[0] * spec.input[1];
        let interface = Interface {
            inputs: vec![planes * input[0] * input[1]],
            residual: false,
            output: planes * output[0] * output[1],
            scratch: input[1].div_ceil(LINE),
        };
        Ok(PoolKernel { kind: spec.kind, planes, input, output, axes: [axis(0), axis(1)], interface })
    }
}

impl PoolKernel {
    /// One output row from a plane of the input; `column` holds a row of the input's width.
    fn row(&self, plane: &[f32], y: usize, column: &mut [f32], out: &mut [f32]) {
        let width = self.input[1];
        let maximum = self.kind == PoolKind::Max;
        let larger = |m: f32, x: f32| if x > m { x } else { m };
        column.fill(if maximum { f32::NEG_INFINITY } else { 0.0 });
        for row in self.axes[0].elements(y) {
            let pairs = column.iter_mut().zip(&plane[row * width..][..width]);
            match maximum {
                true => pairs.for_each(|(m, &x)| *m = larger(*m, x)),
                false => pairs.for_each(|(sum, &x)| *sum += x),
            }
        }
        let horizontal = self.axes[1];
        // Where no tap leaves the input the window is a plain slice.
        let reach = (horizontal.kernel - 1) * horizontal.dilation + 1;
        for (x, out) in out.iter_mut().enumerate() {
            let inside = (x * horizontal.stride).checked_sub(horizontal.begin);
            let window = inside.and_then(|start| column.get(start..start + reach));
            *out = match (window, maximum) {
                (Some(w), true) => {
                    w.iter().step_by(horizontal.dilation).fold(f32::NEG_INFINITY, |m, &x| larger(m, x))
                }
                (Some(w), false) => w.iter().step_by(horizontal.dilation).sum(),
                (None, true) => horizontal.elements(x).fold(f32::NEG_INFINITY, |m, i| larger(m, column[i])),
                (None, false) => horizontal.elements(x).map(|i| column[i]).sum(),
            };
        }
        if let PoolKind::Average { count_padding } = self.kind {
            let count = |axis: Axis, position| match count_padding {
                true => axis.counted(position),
                false => axis.elements(position).count(),
            };
            let rows = count(self.axes[0], y);
            for (x, out) in out.iter_mut().enumerate() {
                *out /= (rows * count(horizontal, x)) as f32;
            }
        }
    }
}

impl sealed::Execute for PoolKernel {
    unsafe fn execute(&self, _: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]) {
        let column: &mut [f32] = bytemuck::cast_slice_mut(scratch);
        let column = &mut column[..self.input[1]];
        let (size, width) = (self.input[0] * self.input[1], self.output[1]);
        for unit in units {
            let plane = &io.inputs[0][unit * size..][..size];
            for y in 0..self.output[0] {
                let start = (unit * self.output[0] + y) * width;
                // SAFETY: the caller's promise: the output's plane is this unit's.
                let out = unsafe { io.output(start..start + width) };
                self.row(plane, y, column, out);
            }
        }
    }
}

impl Kernel for PoolKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn units(&self, _: usize) -> usize {
        self.planes
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        vec![]
    }

    fn counts(&self) -> Counts {
        let outputs = self.interface.output as u64;
        let taps = (self.axes[0].kernel + self.axes[1].kernel) as u64;
        let multiplications = if self.kind == PoolKind::Max { 0 } else { outputs };
        Counts { additions: outputs * taps, multiplications }
    }

    fn describe(&self) -> String {
        format!("rows of {}, then windows of {}", self.axes[0].kernel, self.axes[1].kernel)
    }
}
