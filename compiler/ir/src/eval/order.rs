//! Operators in which the order of elements counts: scattered rows, running sums, the largest elements.

use super::elementwise::{binary_f32, integers};
use super::{EvalError, f32s, moves};
use crate::op::Combine;
use crate::tensor::{Data, Tensor};
use std::cmp::Ordering;

pub(super) fn scatter(
    combine: Option<Combine>,
    data: &Tensor,
    indices: &Tensor,
    updates: &Tensor,
) -> Result<Data, EvalError> {
    let rows = moves::places(indices, data.shape()[0])?;
    let row: usize = data.shape()[1..].iter().product();
    let target = |i: usize| rows[i / row] * row + i % row;
    let Some(combine) = combine else {
        // The last update of an element stays: chosen are elements of the data, and behind them those of the updates.
        let mut chosen: Vec<_> = (0..data.len()).map(Some).collect();
        (0..updates.len()).for_each(|i| chosen[target(i)] = Some(data.len() + i));
        return Ok(moves::select(&moves::join(&[data.data(), updates.data()]), &chosen));
    };
    if let (Some(data), Some(updates)) = (data.as_f32(), updates.as_f32()) {
        let mut result = data.to_vec();
        for (i, &x) in updates.iter().enumerate() {
            result[target(i)] = binary_f32(combine.binary(), result[target(i)], x);
        }
        return Ok(Data::F32(result.into()));
    }
    let mut result = integers(data.data());
    for (i, x) in integers(updates.data()).into_iter().enumerate() {
        result[target(i)] = combined(combine, result[target(i)], x);
    }
    Ok(narrowed(data, result))
}

pub(super) fn cumulative(combine: Combine, axis: usize, x: &Tensor) -> Result<Data, EvalError> {
    let line = Lines::of(x.shape(), axis);
    if x.as_f32().is_some() {
        let elements = f32s(x)?;
        let mut result = elements.to_vec();
        line.each(|places| {
            let mut running = if combine == Combine::Mul { 1.0 } else { 0.0 };
            for place in places {
                let element = f64::from(elements[place]);
                running = if combine == Combine::Mul { running * element } else { running + element };
                result[place] = running as f32;
            }
        });
        return Ok(Data::F32(result.into()));
    }
    let mut result = integers(x.data());
    line.each(|places| {
        let mut running = i64::from(combine == Combine::Mul);
        for place in places {
            running = combined(combine, running, result[place]);
            result[place] = running;
        }
    });
    Ok(narrowed(x, result))
}

/// `shape` is that of the results.
pub(super) fn top_k(
    axis: usize,
    largest: bool,
    x: &Tensor,
    shape: &[usize],
) -> Result<Vec<Tensor>, EvalError> {
    let (from, to) = (Lines::of(x.shape(), axis), Lines::of(shape, axis));
    let whole = integers(x.data());
    let compare = |a: usize, b: usize| match x.as_f32() {
        Some(x) => number_order(x[a], x[b]),
        None => whole[a].cmp(&whole[b]),
    };
    let (mut chosen, mut indices) = (vec![None; to.count()], vec![0i64; to.count()]);
    let mut targets = vec![];
    to.each(|places| targets.push(places.collect::<Vec<_>>()));
    let mut targets = targets.into_iter();
    from.each(|places| {
        let places: Vec<usize> = places.collect();
        let mut order: Vec<usize> = (0..places.len()).collect();
        // A stable sort keeps the lower index first.
        order.sort_by(|&a, &b| {
            let order = compare(places[a], places[b]);
            if largest { order.reverse() } else { order }
        });
        for (target, index) in targets.next().into_iter().flatten().zip(order) {
            (chosen[target], indices[target]) = (Some(places[index]), index as i64);
        }
    });
    let values = Tensor::new(shape.to_vec(), moves::select(x.data(), &chosen))?;
    Ok(vec![values, Tensor::new(shape.to_vec(), Data::I64(indices.into()))?])
}

/// As numbers, NaN above all.
fn number_order(a: f32, b: f32) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn combined(combine: Combine, a: i64, b: i64) -> i64 {
    match combine {
        Combine::Add => a.wrapping_add(b),
        Combine::Mul => a.wrapping_mul(b),
        Combine::Min => a.min(b),
        Combine::Max => a.max(b),
    }
}

/// 64-bit integers as those that `like` has; narrowing wraps, so that 64 bits compute what fewer would.
fn narrowed(like: &Tensor, integers: Vec<i64>) -> Data {
    match like.data() {
        Data::I32(_) => Data::I32(integers.into_iter().map(|n| n as i32).collect()),
        _ => Data::I64(integers.into()),
    }
}

/// The lines of a tensor along one axis.
struct Lines {
    outer: usize,
    size: usize,
    inner: usize,
}

impl Lines {
    fn of(shape: &[usize], axis: usize) -> Lines {
        let product = |sizes: &[usize]| sizes.iter().product();
        Lines { outer: product(&shape[..axis]), size: shape[axis], inner: product(&shape[axis + 1..]) }
    }

    fn count(&self) -> usize {
        self.outer * self.size * self.inner
    }

    /// The places of the elements of each line.
    fn each(&self, mut visit: impl FnMut(&mut dyn Iterator<Item = usize>)) {
        for start in 0..self.outer * self.inner {
            let first = start / self.inner * self.size * self.inner + start % self.inner;
            visit(&mut (0..self.size).map(|i| first + i * self.inner));
        }
    }
}
