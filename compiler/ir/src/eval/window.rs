//! Sliding windows over one to three spatial axes, as three: missing leading axes have size 1.

use crate::op::Geometry;
use std::ops::Range;

/// One spatial axis of a sliding window.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    /// Elements of the input.
    pub size: usize,
    /// Windows.
    pub out: usize,
    /// Taps of a window.
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub pad_begin: usize,
    pub pad_end: usize,
}

/// The three axes for inputs `[N,C,size...]`, results `[N,M,out...]` and a kernel with these extents.
pub(super) fn axes(geometry: &Geometry, kernel: &[usize], input: &[usize], result: &[usize]) -> [Axis; 3] {
    let from_end = |list: &[usize], axis: usize, otherwise: usize| {
        (list.len() + axis).checked_sub(3).and_then(|i| list.get(i)).copied().unwrap_or(otherwise)
    };
    let spatial = |shape: &'_ [usize]| shape.get(2..).unwrap_or_default().to_vec();
    let (input, result) = (spatial(input), spatial(result));
    [0, 1, 2].map(|axis| Axis {
        size: from_end(&input, axis, 1),
        out: from_end(&result, axis, 1),
        kernel: from_end(kernel, axis, 1),
        stride: from_end(&geometry.strides, axis, 1),
        dilation: from_end(&geometry.dilations, axis, 1),
        pad_begin: from_end(&geometry.pads_begin, axis, 0),
        pad_end: from_end(&geometry.pads_end, axis, 0),
    })
}

impl Axis {
    /// The index of the input element under tap `tap` of window `window`, if it is not padding.
    pub fn element(&self, window: usize, tap: usize) -> Option<usize> {
        (window * self.stride + tap * self.dilation).checked_sub(self.pad_begin).filter(|&i| i < self.size)
    }

    /// The windows whose tap `tap` is no padding.
    pub fn windows_inside(&self, tap: usize) -> Range<usize> {
        let offset = tap * self.dilation;
        let first = self.pad_begin.saturating_sub(offset).div_ceil(self.stride);
        let end = (self.size + self.pad_begin).saturating_sub(offset).div_ceil(self.stride).min(self.out);
        first.min(end)..end
    }

    /// The taps of a window that are no padding.
    pub fn taps_inside(&self, window: usize) -> Range<usize> {
        let start = window * self.stride;
        let first = self.pad_begin.saturating_sub(start).div_ceil(self.dilation);
        let end = (self.size + self.pad_begin).saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        first.min(end)..end
    }

    /// How many taps of a window lie on elements or padding, and not beyond both.
    pub fn taps_padded(&self, window: usize) -> usize {
        let extent = self.pad_begin + self.size + self.pad_end;
        extent.saturating_sub(window * self.stride).div_ceil(self.dilation).min(self.kernel)
    }
}
