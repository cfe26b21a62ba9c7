//! How much a layer's fit holds on to the weight that it has: λ, as a share of the mean of `XᵀX`'s diagonal.
//!
//! Too little, and the fit learns what is peculiar to the samples; too much, and it does not learn what they say. What is right depends on the layer: rows of one image are
//! alike, and a layer behind a pooling has few. So some channels are fitted to a part of the batches with one λ after the other, and
//! that stays which is best on the rest.

use crate::assign::{self, Problem};
use crate::moments::Moments;
use crate::parallel;
use crate::solution::{Freedom, Solution};

/// What is tried, from the first on, as long as the next is better.
const DAMPINGS: [f64; 6] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
/// Channels of a group that are looked at, at most.
const CHANNELS: usize = 16;
/// Groups that are looked at, at most.
const GROUPS: usize = 8;
/// Of so many batches, the last is not fitted to.
pub(crate) const FOLDS: usize = 4;

/// The best λ for a layer in a form: from sums over the rows that are fitted to, and over the others, of each group, and the float weights by output channel.
pub(crate) fn best(fit: &[Moments], rest: &[Moments], weights: &[Vec<f32>], freedom: Option<Freedom>) -> f64 {
    let outputs = weights.len() / fit.len().max(1);
    if rest.iter().all(|moments| moments.rows == 0.0) || fit.iter().all(|moments| moments.rows == 0.0) {
        return DAMPINGS[0];
    }
    let groups: Vec<usize> = spread(fit.len(), GROUPS);
    let error = |damping: f64| -> f64 {
        let of_group = |_: usize, group: usize| {
            let channels = spread(outputs, CHANNELS);
            let [fit, rest] = [&fit[group], &rest[group]].map(|moments| moments.channels(&channels));
            let weights: Vec<Vec<f32>> =
                channels.iter().map(|channel| weights[group * outputs + channel].clone()).collect();
            let problem = Problem::new(&fit, damping);
            let sums = std::slice::from_ref(&fit);
            let solution = match freedom {
                Some(freedom) => Solution::of(problem.solve(&fit, &weights, freedom), sums, freedom),
                None => Solution::float(problem.relax(&fit, &weights), sums),
            };
            (0..channels.len())
                .map(|channel| assign::error(&rest, channel, &solution.row(channel)))
                .sum::<f64>()
        };
        parallel::map(groups.clone(), of_group).into_iter().sum()
    };
    let mut best = (DAMPINGS[0], error(DAMPINGS[0]));
    for &damping in &DAMPINGS[1..] {
        let next = error(damping);
        if next.is_nan() || next >= best.1 {
            break;
        }
        best = (damping, next);
    }
    best.0
}

/// So many of `count` numbers, evenly spread.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let step = count.div_ceil(most).max(1);
    (0..count).step_by(step).collect()
}
