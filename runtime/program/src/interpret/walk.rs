//! Walking over the indices of a shape, without allocating.

use crate::MAX_RANK;

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

/// Calls `visit` with `base + Σ indexᵢ · strideᵢ` for every index of a shape, in row-major order.
pub(crate) fn walk(shape: &[usize], strides: &[usize], base: usize, visit: &mut dyn FnMut(usize)) {
    match shape.split_first() {
        None => visit(base),
        Some((&size, inner)) => {
            (0..size).for_each(|i| walk(inner, &strides[1..], base + i * strides[0], visit));
        }
    }
}
