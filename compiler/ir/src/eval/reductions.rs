//! Reductions and softmax.

use super::{EvalError, elementwise, f32s, moves};
use crate::op::{Binary, ReduceKind};
use crate::tensor::{Data, Tensor};

/// Sums and means in f64, rounded once. Of nothing, the sum is 0, the mean NaN, the maximum -Inf and the minimum Inf.
pub(super) fn reduce(kind: ReduceKind, axes: &[usize], x: &Tensor) -> Result<Data, EvalError> {
    let groups = Groups::along(axes, x);
    let x = f32s(x)?;
    let sums = || groups.fold(0.0, x, |sum: f64, x| sum + f64::from(x)).into_iter();
    let extremes = |f, start| groups.fold(start, x, |best, x| elementwise::binary_f32(f, best, x));
    let data: Vec<f32> = match kind {
        ReduceKind::Sum => sums().map(|sum| sum as f32).collect(),
        ReduceKind::Mean => sums().map(|sum| (sum / groups.size as f64) as f32).collect(),
        ReduceKind::Max => extremes(Binary::Max, f32::NEG_INFINITY),
        ReduceKind::Min => extremes(Binary::Min, f32::INFINITY),
    };
    Ok(Data::F32(data.into()))
}

/// In f64, rounded once.
pub(super) fn softmax(axes: &[usize], x: &Tensor) -> Result<Data, EvalError> {
    let groups = Groups::along(axes, x);
    let x = f32s(x)?;
    let largest = groups.fold(f32::NEG_INFINITY, x, |a, b| elementwise::binary_f32(Binary::Max, a, b));
    let exponentials = groups.of.iter().zip(x);
    let exponentials: Vec<f64> =
        exponentials.map(|(&group, &x)| (f64::from(x) - f64::from(largest[group])).exp()).collect();
    let mut sums = vec![0.0; groups.count];
    groups.of.iter().zip(&exponentials).for_each(|(&group, e)| sums[group] += e);
    Ok(Data::F32(groups.of.iter().zip(&exponentials).map(|(&group, e)| (e / sums[group]) as f32).collect()))
}

/// Which elements are reduced together.
struct Groups {
    /// The group of each element, in row-major order of those axes that stay.
    of: Vec<usize>,
    count: usize,
    /// Elements in each.
    size: usize,
}

impl Groups {
    fn along(axes: &[usize], x: &Tensor) -> Groups {
        let kept: Vec<usize> =
            x.shape().iter().enumerate().map(|(axis, &n)| if axes.contains(&axis) { 1 } else { n }).collect();
        let size = axes.iter().filter_map(|&axis| x.shape().get(axis)).product();
        Groups { of: moves::broadcast_index(&kept, x.shape()), count: kept.iter().product(), size }
    }

    fn fold<T: Clone>(&self, start: T, x: &[f32], step: impl Fn(T, f32) -> T) -> Vec<T> {
        let mut results = vec![start; self.count];
        for (&group, &x) in self.of.iter().zip(x) {
            results[group] = step(results[group].clone(), x);
        }
        results
    }
}
