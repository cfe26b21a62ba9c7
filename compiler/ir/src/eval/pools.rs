//! Pools.

use super::window::{self, Axis};
use super::{EvalError, f32s};
use crate::op::Pool;
use crate::tensor::{Data, Tensor};
use std::ops::Range;

/// The largest element of each window; -Inf where a window is all padding.
pub(super) fn max(pool: &Pool, x: &Tensor, result: &[usize]) -> Result<Data, EvalError> {
    windows(pool, x, result, |_, elements| {
        elements.fold(f32::NEG_INFINITY, |largest, x| if x > largest { x } else { largest })
    })
}

/// The mean of each window, in f64, rounded once; NaN where a window has nothing to count.
pub(super) fn average(
    pool: &Pool,
    count_padding: bool,
    x: &Tensor,
    result: &[usize],
) -> Result<Data, EvalError> {
    windows(pool, x, result, |counts, elements| {
        let count = if count_padding { counts.padded } else { counts.inside };
        (elements.fold(0.0, |sum, x| sum + f64::from(x)) / count as f64) as f32
    })
}

/// How many taps of a window there are.
struct Counts {
    /// On elements of the input.
    inside: usize,
    /// On elements or padding.
    padded: usize,
}

/// What `of` makes of each window, given its elements in row-major order.
fn windows(
    pool: &Pool,
    x: &Tensor,
    result: &[usize],
    of: impl Fn(Counts, &mut dyn Iterator<Item = f32>) -> f32,
) -> Result<Data, EvalError> {
    let axes @ [depth, height, width] = window::axes(&pool.geometry, &pool.kernel, x.shape(), result);
    let mut out = Vec::with_capacity(result.iter().product());
    let (elements, extent) = (f32s(x)?, axes.iter().map(|axis| axis.size).product::<usize>());
    for plane in 0..result[0] * result[1] {
        let plane = &elements[plane * extent..(plane + 1) * extent];
        for (z, y, x) in positions(0..depth.out, 0..height.out, 0..width.out) {
            let at = [(depth, z), (height, y), (width, x)];
            let taps = at.map(|(axis, window)| axis.taps_inside(window));
            let counts = Counts {
                inside: taps.iter().map(Range::len).product(),
                padded: at.iter().map(|(axis, window)| axis.taps_padded(*window)).product(),
            };
            let element = |axis: Axis, window, tap| axis.element(window, tap);
            let [tz, ty, tx] = taps;
            let mut elements = positions(tz, ty, tx).filter_map(|(kz, ky, kx)| {
                let (iz, iy) = (element(depth, z, kz)?, element(height, y, ky)?);
                plane.get((iz * height.size + iy) * width.size + element(width, x, kx)?).copied()
            });
            out.push(of(counts, &mut elements));
        }
    }
    Ok(Data::F32(out.into()))
}

fn positions(
    z: Range<usize>,
    y: Range<usize>,
    x: Range<usize>,
) -> impl Iterator<Item = (usize, usize, usize)> {
    z.flat_map(move |z| {
        let x = x.clone();
        y.clone().flat_map(move |y| x.clone().map(move |x| (z, y, x)))
    })
}
