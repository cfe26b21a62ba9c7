//! The geometry of a sliding window: what convolutions and pools share.

/// How a window moves over the spatial axes of `[N, C, spatial...]`. Every list has one entry per spatial axis.
/// Checked on load: kernels, strides and dilations are at least 1, no number is above [`MAX_WINDOW`](crate::MAX_WINDOW),
/// nor is the number of taps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Extent of the window, in taps.
    pub kernel: Vec<usize>,
    /// Distance between two windows, in input elements.
    pub strides: Vec<usize>,
    /// Distance between two taps, in input elements.
    pub dilations: Vec<usize>,
    /// Padding before the first element.
    pub pads_begin: Vec<usize>,
    /// Padding after the last element.
    pub pads_end: Vec<usize>,
}

impl Window {
    /// The number of spatial axes.
    pub fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// The number of window positions along `axis` over an input of `size` elements; `None` on overflow or when the
    /// window does not fit even once. With `ceil`, a last window that starts inside the input or its leading padding
    /// may reach past the end (ONNX `ceil_mode`).
    pub fn output_size(&self, axis: usize, size: usize, ceil: bool) -> Option<usize> {
        let stride = *self.strides.get(axis)?;
        let reach =
            self.kernel.get(axis)?.checked_sub(1)?.checked_mul(*self.dilations.get(axis)?)?.checked_add(1)?;
        let padded = size.checked_add(self.pads_begin[axis])?.checked_add(self.pads_end[axis])?;
        let room = padded.checked_sub(reach)?;
        let floor = room.checked_div(stride)?.checked_add(1)?;
        let starts_inside = floor.checked_mul(stride)? < size.checked_add(self.pads_begin[axis])?;
        Some(if ceil && room % stride != 0 && starts_inside { floor + 1 } else { floor })
    }
}
