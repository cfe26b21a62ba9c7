//! Parts of matrices. What `ndarray::s!` expands to has unsafe code, which this crate forbids.

use ndarray::{ArrayBase, Axis, Ix2, RawData, Slice};
use std::ops::Range;

/// Some rows and columns of a view.
pub(crate) fn part<S: RawData>(
    mut view: ArrayBase<S, Ix2>,
    rows: Range<usize>,
    columns: Range<usize>,
) -> ArrayBase<S, Ix2> {
    view.slice_axis_inplace(Axis(0), Slice::from(rows));
    view.slice_axis_inplace(Axis(1), Slice::from(columns));
    view
}
