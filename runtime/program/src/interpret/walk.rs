//! Walking over the indices of a shape, without allocating.

use crate::MAX_RANK;
use std::ops::Range;

/// One number for each axis.
pub(crate) type PerAxis = [usize; MAX_RANK];

/// Row-major strides of a shape.
pub(crate) fn strides(shape: &[usize]) -> PerAxis {
    let mut strides = [0; MAX_RANK];
    let mut stride = 1;
    for (axis, &size) in shape.iter().enumerate().rev() {
        strides[axis] = stride;
        stride *= size;
    }
    strides
}

/// Strides with which a tensor of shape `from` is read as one of shape `to`, to which it broadcasts.
pub(crate) fn broadcast_strides(from: &[usize], to: &[usize]) -> PerAxis {
    let own = strides(from);
    let missing = to.len() - from.len();
    let mut result = [0; MAX_RANK];
    for (axis, &size) in from.iter().enumerate() {
        result[axis + missing] = if size == 1 { 0 } else { own[axis] };
    }
    result
}

/// The next index in row-major order; after the last comes the first.
pub(crate) fn advance(index: &mut PerAxis, shape: &[usize]) {
    for axis in (0..shape.len()).rev() {
        index[axis] += 1;
        if index[axis] < shape[axis] {
            break;
        }
        index[axis] = 0;
    }
}

/// Those `i` below `count` for which `base + i · step` is within `within`; `step` is at least 1.
pub(crate) fn places(base: usize, step: usize, count: usize, within: Range<usize>) -> Range<usize> {
    let first_from = |bound: usize| bound.saturating_sub(base).div_ceil(step).min(count);
    first_from(within.start)..first_from(within.end)
}

/// The sizes of up to three spatial axes as those of three, filled up from the front.
pub(crate) fn three(sizes: &[usize], fill: usize) -> [usize; 3] {
    let mut result = [fill; 3];
    result[3 - sizes.len()..].copy_from_slice(sizes);
    result
}
