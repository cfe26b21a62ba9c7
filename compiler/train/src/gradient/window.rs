//! Windows over one to three spatial axes, as three; and the columns of a convolution: the elements under each window.

use super::vectors::add;
use std::ops::Range;
use twnc_ir::Geometry;

/// One spatial axis.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    /// Elements of the input.
    pub size: usize,
    /// Windows.
    pub out: usize,
    /// Taps of a window.
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub begin: usize,
    pub end: usize,
}

/// Three axes; missing ones lead, with size 1.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    pub axes: [Axis; 3],
}

impl Windows {
    /// Of inputs `[N,C,size...]` and results `[N,M,out...]`.
    pub fn new(geometry: &Geometry, kernel: &[usize], input: &[usize], result: &[usize]) -> Windows {
        let of = |list: &[usize], axis: usize, otherwise: usize| {
            (list.len() + axis).checked_sub(3).and_then(|i| list.get(i)).copied().unwrap_or(otherwise)
        };
        let (input, result) = (input.get(2..).unwrap_or_default(), result.get(2..).unwrap_or_default());
        let axes = [0, 1, 2].map(|axis| Axis {
            size: of(input, axis, 1),
            out: of(result, axis, 1),
            kernel: of(kernel, axis, 1),
            stride: of(&geometry.strides, axis, 1),
            dilation: of(&geometry.dilations, axis, 1),
            begin: of(&geometry.pads_begin, axis, 0),
            end: of(&geometry.pads_end, axis, 0),
        });
        Windows { axes }
    }

    /// Elements of an input plane.
    pub fn extent(&self) -> usize {
        self.axes.iter().map(|axis| axis.size).product()
    }

    /// Windows of a plane.
    pub fn count(&self) -> usize {
        self.axes.iter().map(|axis| axis.out).product()
    }

    /// Taps of a window.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    /// Whether each window is one element, and each element one window.
    pub fn is_pointwise(&self) -> bool {
        self.axes.iter().all(|a| a.kernel == 1 && a.stride == 1 && a.begin == 0 && a.end == 0)
    }

    /// Rows of windows.
    pub fn lines(&self) -> usize {
        let [depth, height, _] = self.axes;
        depth.out * height.out
    }

    /// Windows of a row.
    pub fn line(&self) -> usize {
        self.axes[2].out
    }

    /// Walks the rows of windows, of these, that see something under one tap: `(first window, how many, first element)`, the first counted from these
    /// rows' start, the last along the last axis from a plane's start. Elements are `stride` apart.
    fn rows(&self, tap: usize, lines: &Range<usize>, mut row: impl FnMut(usize, usize, usize)) {
        let [depth, height, width] = self.axes;
        let kx = tap % width.kernel;
        let ky = tap / width.kernel % height.kernel;
        let kz = tap / width.kernel / height.kernel;
        let inside = width.inside(kx);
        if inside.is_empty() {
            return;
        }
        let x = inside.start * width.stride + kx * width.dilation - width.begin;
        for oz in depth.inside(kz) {
            let z = oz * depth.stride + kz * depth.dilation - depth.begin;
            let (seen, first) = (height.inside(ky), oz * height.out);
            let [start, end] = [lines.start, lines.end].map(|line| line.saturating_sub(first));
            for oy in seen.start.max(start)..seen.end.min(end) {
                let y = oy * height.stride + ky * height.dilation - height.begin;
                let window = (first + oy - lines.start) * width.out + inside.start;
                row(window, inside.len(), (z * height.size + y) * width.size + x);
            }
        }
    }

    /// Distance of two elements of neighbouring windows.
    pub fn stride(&self) -> usize {
        self.axes[2].stride
    }

    /// Writes the elements of `channels` planes under each window of some rows: row `channel·taps + tap`, `columns` numbers apart, from
    /// `offset` on.
    pub fn unfold(
        &self,
        x: &[f32],
        channels: usize,
        lines: &Range<usize>,
        into: &mut [f32],
        columns: usize,
        offset: usize,
    ) {
        let (extent, taps, stride) = (self.extent(), self.taps(), self.stride());
        let count = lines.len() * self.line();
        let padded = self.axes.iter().any(|a| a.begin > 0 || a.end > 0);
        for channel in 0..channels {
            let plane = &x[channel * extent..(channel + 1) * extent];
            for tap in 0..taps {
                let start = (channel * taps + tap) * columns + offset;
                let out = &mut into[start..start + count];
                if padded {
                    out.fill(0.0);
                }
                self.rows(tap, lines, |window, length, element| {
                    let out = &mut out[window..window + length];
                    match stride {
                        1 => out.copy_from_slice(&plane[element..element + length]),
                        _ => {
                            let elements = plane[element..].iter().step_by(stride);
                            out.iter_mut().zip(elements).for_each(|(o, &x)| *o = x);
                        }
                    }
                });
            }
        }
    }

    /// Adds what stands where [`Windows::unfold`] writes to the elements that it reads.
    pub fn fold(
        &self,
        x: &mut [f32],
        channels: usize,
        lines: &Range<usize>,
        from: &[f32],
        columns: usize,
        offset: usize,
    ) {
        let (extent, taps, stride) = (self.extent(), self.taps(), self.stride());
        let count = lines.len() * self.line();
        for channel in 0..channels {
            let plane = &mut x[channel * extent..(channel + 1) * extent];
            for tap in 0..taps {
                let start = (channel * taps + tap) * columns + offset;
                let from = &from[start..start + count];
                self.rows(tap, lines, |window, length, element| {
                    let from = &from[window..window + length];
                    match stride {
                        1 => add(&mut plane[element..element + length], from),
                        _ => {
                            let elements = plane[element..].iter_mut().step_by(stride);
                            elements.zip(from).for_each(|(x, &d)| *x += d);
                        }
                    }
                });
            }
        }
    }
}

impl Axis {
    /// The windows under whose tap there is an element.
    fn inside(&self, tap: usize) -> Range<usize> {
        let offset = tap * self.dilation;
        let first = self.begin.saturating_sub(offset).div_ceil(self.stride);
        let end = (self.size + self.begin).saturating_sub(offset).div_ceil(self.stride).min(self.out);
        first.min(end)..end
    }

    /// The elements under a window.
    pub fn elements(&self, window: usize) -> impl Iterator<Item = usize> + use<> {
        let axis = *self;
        (0..axis.kernel).filter_map(move |tap| {
            (window * axis.stride + tap * axis.dilation).checked_sub(axis.begin).filter(|&i| i < axis.size)
        })
    }

    /// How many taps of a window lie on elements or padding.
    pub fn padded(&self, window: usize) -> usize {
        let extent = self.begin + self.size + self.end;
        extent.saturating_sub(window * self.stride).div_ceil(self.dilation).min(self.kernel)
    }
}
