//! Reductions.

use super::operator::{Gradients, Operator};
use super::product::broadcast_index;
use super::vectors::sum;
use rayon::prelude::*;
use twnc_ir::ReduceKind;

/// Rows that are one piece of work, at least.
const ROWS: usize = 16;

/// A reduction.
pub struct Reduce {
    kind: ReduceKind,
    /// Which result each element takes part in; `None` where results are those of rows, one behind the other.
    into: Option<Vec<u32>>,
    /// Elements of a result.
    count: usize,
    /// Which element each result is, of the largest and smallest.
    chosen: Vec<u32>,
}

impl Reduce {
    /// Of a tensor of this shape, along these axes.
    pub fn new(kind: ReduceKind, shape: &[usize], axes: &[usize]) -> Reduce {
        let kept: Vec<usize> =
            shape.iter().enumerate().map(|(i, &size)| if axes.contains(&i) { 1 } else { size }).collect();
        let elements: usize = shape.iter().product();
        let count = axes.iter().filter_map(|&axis| shape.get(axis)).product();
        let is_row = |axis: &usize| kept[*axis..].iter().all(|&size| size == 1);
        let into = match kind {
            ReduceKind::Sum | ReduceKind::Mean if count > 0 && axes.iter().all(is_row) => None,
            _ => Some((0..elements).map(|i| broadcast_index(i, shape, &kept) as u32).collect()),
        };
        Reduce { kind, into, count, chosen: vec![] }
    }
}

impl Operator for Reduce {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => {
                let divisor = if self.kind == ReduceKind::Mean { self.count as f64 } else { 1.0 };
                let Some(into) = &self.into else {
                    let rows = y.par_iter_mut().zip(x[0].par_chunks(self.count)).with_min_len(ROWS);
                    return rows.for_each(|(y, row)| *y = (sum(row) / divisor) as f32);
                };
                let mut sums = vec![0.0f64; y.len()];
                into.iter().zip(x[0]).for_each(|(&i, &x)| sums[i as usize] += f64::from(x));
                y.iter_mut().zip(sums).for_each(|(y, sum)| *y = (sum / divisor) as f32);
            }
            ReduceKind::Max | ReduceKind::Min => {
                let largest = self.kind == ReduceKind::Max;
                y.fill(if largest { f32::NEG_INFINITY } else { f32::INFINITY });
                self.chosen = vec![u32::MAX; y.len()];
                for (element, (&i, &x)) in self.into.iter().flatten().zip(x[0]).enumerate() {
                    let (y, chosen) = (&mut y[i as usize], &mut self.chosen[i as usize]);
                    if y.is_nan() {
                        continue;
                    }
                    if x.is_nan() || *chosen == u32::MAX || (if largest { x > *y } else { x < *y }) {
                        (*y, *chosen) = (x, element as u32);
                    }
                }
            }
        }
    }

    fn backward(&mut self, _: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => {
                let factor = if self.kind == ReduceKind::Mean { 1.0 / self.count as f32 } else { 1.0 };
                let Some(into) = &self.into else {
                    let Some((dx, fresh)) = dx.place(0) else { return };
                    let rows = dx.par_chunks_mut(self.count).zip(dy).with_min_len(ROWS);
                    return rows.for_each(|(dx, d)| match fresh {
                        true => dx.fill(factor * d),
                        false => dx.iter_mut().for_each(|dx| *dx += factor * d),
                    });
                };
                let Some(dx) = dx.of(0) else { return };
                into.iter().zip(dx).for_each(|(&i, dx)| *dx += factor * dy[i as usize]);
            }
            ReduceKind::Max | ReduceKind::Min => {
                let Some(dx) = dx.of(0) else { return };
                for (&element, &d) in self.chosen.iter().zip(dy) {
                    if let Some(dx) = dx.get_mut(element as usize) {
                        *dx += d;
                    }
                }
            }
        }
    }
}
