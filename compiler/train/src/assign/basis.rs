//! Channels with several scales: for parts of their inputs, or for planes whose sum they are.
//!
//! Such a weight is `w = B·α`, where the columns of B are the trits of a plane in a part. Of given α, trits are found as for one scale: columns are
//! rounded one after the other to the nearest sum of their planes, then change one at a time as long as that lowers E. Of given trits,
//! the best α solves `BᵀHB·α = Bᵀb`. The two take turns, and the best is kept.

use super::{Channel, Problem, ROUNDS, SWEEPS, Target};
use crate::factor::{Factor, dot};
use crate::solution::Freedom;
use ndarray::Array2;
use twnc_passes::threshold;

/// Trits in the order of columns, with sums that depend on them.
#[derive(Clone)]
struct Composed {
    /// Of each plane.
    trits: Vec<Vec<i8>>,
    /// The scales of the first plane's parts, then the second's.
    scales: Vec<f64>,
    w: Vec<f64>,
    /// `H·w`
    u: Vec<f64>,
}

impl Problem {
    /// One channel, from the start.
    pub(super) fn compose(&self, target: &Target, freedom: Freedom) -> Channel {
        let mut state = self.composed(self.beginning(&target.w, freedom), freedom);
        self.settle(&target.b, &mut state, freedom);
        let (mut best, mut least) = (state.clone(), state.energy(&target.b));
        for _ in 0..ROUNDS {
            let channel = (self.rounded(&target.w, &state.scales, freedom), state.scales);
            state = self.composed(channel, freedom);
            self.settle(&target.b, &mut state, freedom);
            let energy = state.energy(&target.b);
            if energy >= least {
                break;
            }
            (best, least) = (state.clone(), energy);
        }
        self.release(best)
    }

    /// Further changes, from what a channel is, for another b.
    pub(super) fn recompose(&self, b: &[f64], channel: Channel, freedom: Freedom) -> Channel {
        let in_order = |trits: &Vec<i8>| self.order.iter().map(|&column| trits[column]).collect();
        let trits = channel.planes.iter().map(in_order).collect();
        let mut state = self.composed((trits, channel.scales), freedom);
        self.settle(b, &mut state, freedom);
        self.release(state)
    }

    /// The exact threshold's trits and scales, of each part, and of what the planes before leave.
    fn beginning(&self, w: &[f64], freedom: Freedom) -> (Vec<Vec<i8>>, Vec<f64>) {
        let mut rest: Vec<f32> = w.iter().map(|&w| w as f32).collect();
        let (mut planes, mut scales) = (vec![], vec![]);
        for _ in 0..freedom.planes {
            let mut trits = vec![0; w.len()];
            for part in 0..freedom.parts {
                let columns: Vec<usize> = (0..w.len()).filter(|&k| self.part(k, freedom) == part).collect();
                let exact = threshold::exact(&columns.iter().map(|&k| rest[k]).collect::<Vec<_>>());
                let alpha = if exact.alpha > 0.0 { exact.alpha } else { 1.0 };
                for (&k, &trit) in columns.iter().zip(&exact.trits) {
                    trits[k] = trit;
                    rest[k] -= alpha * f32::from(trit);
                }
                scales.push(f64::from(alpha));
            }
            planes.push(trits);
        }
        (planes, scales)
    }

    /// The part that a column is of.
    fn part(&self, column: usize, freedom: Freedom) -> usize {
        self.order[column] * freedom.parts / self.order.len().max(1)
    }

    /// The scales of a column's planes.
    fn scales_of(&self, column: usize, scales: &[f64], freedom: Freedom) -> Vec<f64> {
        let part = self.part(column, freedom);
        (0..freedom.planes).map(|plane| scales[plane * freedom.parts + part]).collect()
    }

    fn composed(&self, (trits, scales): (Vec<Vec<i8>>, Vec<f64>), freedom: Freedom) -> Composed {
        let mut state = Composed { trits, scales, w: vec![], u: vec![] };
        self.weigh(&mut state, freedom);
        state
    }

    /// Computes w and u.
    fn weigh(&self, state: &mut Composed, freedom: Freedom) {
        let n = self.order.len();
        let weight = |k: usize| {
            let scales = self.scales_of(k, &state.scales, freedom);
            scales.iter().zip(&state.trits).map(|(scale, trits)| scale * f64::from(trits[k])).sum()
        };
        state.w = (0..n).map(weight).collect();
        state.u = vec![0.0; n];
        for (k, &w) in state.w.iter().enumerate().filter(|(_, w)| **w != 0.0) {
            self.add_column(&mut state.u, k, w);
        }
    }

    /// Trits and scales in turns, until neither changes or often enough.
    fn settle(&self, b: &[f64], state: &mut Composed, freedom: Freedom) {
        for _ in 0..ROUNDS {
            let changed = self.exchange(b, state, freedom);
            let before = state.clone();
            self.rescale(b, state, freedom);
            if state.energy(b) > before.energy(b) {
                // What rounding makes of a best that was reached.
                *state = before;
                break;
            }
            if !changed {
                break;
            }
        }
    }

    /// Columns rounded from the last to the first, the error of each made good by those before it.
    fn rounded(&self, w: &[f64], scales: &[f64], freedom: Freedom) -> Vec<Vec<i8>> {
        let mut error = vec![0.0; w.len()];
        let mut planes = vec![vec![0; w.len()]; freedom.planes];
        for k in (0..w.len()).rev() {
            let corrected = w[k] + dot(self.factor.feedback(k), &error[k + 1..]);
            let options = sums(&self.scales_of(k, scales, freedom));
            let nearest =
                options.iter().min_by(|a, b| (a.1 - corrected).abs().total_cmp(&(b.1 - corrected).abs()));
            let Some((trits, value)) = nearest else { continue };
            error[k] = w[k] - value;
            planes.iter_mut().zip(trits).for_each(|(plane, &trit)| plane[k] = trit);
        }
        planes
    }

    /// Trits change as long as that lowers E; whether any did.
    fn exchange(&self, b: &[f64], state: &mut Composed, freedom: Freedom) -> bool {
        let options: Vec<_> =
            (0..b.len()).map(|k| sums(&self.scales_of(k, &state.scales, freedom))).collect();
        let unit = dot(b, &state.w).abs().max(f64::MIN_POSITIVE);
        let mut any = false;
        for _ in 0..SWEEPS {
            let mut changed = false;
            for (k, options) in options.iter().enumerate() {
                let lowered = |value: f64| {
                    let d = value - state.w[k];
                    d * (2.0 * (state.u[k] - b[k]) + d * self.diagonal[k])
                };
                let best = options.iter().map(|option| (lowered(option.1), option));
                let Some((gain, (trits, value))) = best.min_by(|a, b| a.0.total_cmp(&b.0)) else { continue };
                // What rounding alone makes of equals is no change.
                if gain < -1e-12 * unit {
                    let change = value - state.w[k];
                    state.w[k] = *value;
                    state.trits.iter_mut().zip(trits).for_each(|(plane, &trit)| plane[k] = trit);
                    self.add_column(&mut state.u, k, change);
                    changed = true;
                }
            }
            any |= changed;
            if !changed {
                break;
            }
        }
        any
    }

    /// The scales that are best for the trits. A negative one turns its trits round; where there are no trits, it stays.
    fn rescale(&self, b: &[f64], state: &mut Composed, freedom: Freedom) {
        let n = self.order.len();
        let mut columns = vec![vec![0.0; n]; state.scales.len()];
        for (plane, trits) in state.trits.iter().enumerate() {
            for (k, &trit) in trits.iter().enumerate() {
                columns[plane * freedom.parts + self.part(k, freedom)][k] = f64::from(trit);
            }
        }
        let used: Vec<usize> = (0..columns.len()).filter(|&i| columns[i].iter().any(|t| *t != 0.0)).collect();
        let product = |column: &Vec<f64>| {
            let mut product = vec![0.0; n];
            for (k, &t) in column.iter().enumerate().filter(|(_, t)| **t != 0.0) {
                self.add_column(&mut product, k, t);
            }
            product
        };
        let products: Vec<Vec<f64>> = used.iter().map(|&i| product(&columns[i])).collect();
        let mut normal =
            Array2::from_shape_fn((used.len(), used.len()), |(i, j)| dot(&products[i], &columns[used[j]]));
        // Two planes may be the same: then no scale of theirs is better than another.
        for i in 0..used.len() {
            normal[[i, i]] *= 1.0 + 1e-9;
        }
        let right: Vec<f64> = used.iter().map(|&i| dot(&columns[i], b)).collect();
        let Some(factor) = Factor::new(normal) else { return };
        for (&i, alpha) in used.iter().zip(factor.solve(&right)) {
            if !alpha.is_normal() {
                continue;
            }
            state.scales[i] = alpha.abs();
            if alpha < 0.0 {
                let (plane, part) = (i / freedom.parts, i % freedom.parts);
                for k in 0..n {
                    if self.part(k, freedom) == part {
                        state.trits[plane][k] = -state.trits[plane][k];
                    }
                }
            }
        }
        self.weigh(state, freedom);
    }

    fn release(&self, state: Composed) -> Channel {
        let by_input = |trits: Vec<i8>| {
            let mut row = vec![0; trits.len()];
            self.order.iter().zip(trits).for_each(|(&input, trit)| row[input] = trit);
            row
        };
        Channel { planes: state.trits.into_iter().map(by_input).collect(), scales: state.scales }
    }
}

impl Composed {
    /// E, but for its constant.
    fn energy(&self, b: &[f64]) -> f64 {
        dot(&self.w, &self.u) - 2.0 * dot(b, &self.w)
    }
}

/// What a weight can be: trits of the planes, and their sum.
fn sums(scales: &[f64]) -> Vec<(Vec<i8>, f64)> {
    let mut found = vec![(vec![], 0.0)];
    for &scale in scales {
        found = found
            .into_iter()
            .flat_map(|(trits, sum): (Vec<i8>, f64)| {
                [0i8, 1, -1].map(|trit| ([trits.clone(), vec![trit]].concat(), sum + scale * f64::from(trit)))
            })
            .collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::{self, Moments};
    use ndarray::Array2;

    fn matrix(rows: usize, columns: usize, seed: usize) -> Array2<f32> {
        let number =
            |(i, j): (usize, usize)| (((i * 7919 + j * 104_729 + seed) % 1009) as f32 / 504.0 - 1.0).sin();
        Array2::from_shape_fn((rows, columns), number)
    }

    /// A weight that is of the form comes back, and of another a form with more freedom is nearer.
    #[test]
    fn more_scales_are_nearer() {
        let (inputs, outputs) = (24, 3);
        let x = matrix(400, inputs, 1);
        let w = matrix(inputs, outputs, 5);
        let mut sums = [Moments::new(inputs, outputs)];
        let y = x.dot(&w);
        moments::add(&mut sums, std::slice::from_ref(&x), y.view(), false);
        let weights: Vec<Vec<f32>> = w.columns().into_iter().map(|column| column.to_vec()).collect();
        let problem = Problem::new(&sums[0], 0.01);
        let error = |planes: usize, parts: usize| {
            let channels = problem.solve(&sums[0], &weights, Freedom { shared: false, planes, parts });
            let mut error = 0.0;
            for (j, channel) in channels.iter().enumerate() {
                assert!(channel.scales.iter().all(|scale| *scale > 0.0));
                let weight = |k: usize| {
                    let scale = |plane: usize| channel.scales[plane * parts + k * parts / inputs];
                    (0..planes).map(|plane| scale(plane) * f64::from(channel.planes[plane][k])).sum::<f64>()
                };
                let found: Vec<f64> = (0..inputs).map(weight).collect();
                for row in 0..400 {
                    let z: f64 = (0..inputs).map(|k| f64::from(x[[row, k]]) * found[k]).sum();
                    error += (z - f64::from(y[[row, j]])).powi(2);
                }
            }
            error
        };
        let [one, parts, planes] = [error(1, 1), error(1, 6), error(2, 1)];
        assert!(parts < 0.8 * one, "{parts} {one}");
        assert!(planes < 0.3 * one, "{planes} {one}");
    }
}
