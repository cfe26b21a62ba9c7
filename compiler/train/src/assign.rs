//! The ternary weight that reproduces given outputs best: for a channel, T in {-1, 0, +1}, α > 0 and a bias that make
//! `‖X·αT + bias - Y‖² + λ‖αT - W‖²` small.
//!
//! With the columns' means taken out, this is the quadratic form `E(w) = wᵀHw - 2bᵀw + c` at `w = αT`, with `H = XᵀX + λ` and
//! `b = XᵀY + λW`; the bias follows. Its minimum over all w solves `H·w* = b`: the target, corrected for what came before. To find T,
//!
//! 1. columns are rounded one after the other, those of most energy first, and the error of each is made good by those behind it, through
//!    the Cholesky factor of H (Frantar, Alistarh, *Optimal Brain Compression*, arXiv 2208.11580; Chee et al., arXiv 2307.13304, have this form);
//! 2. from there, trits change one at a time, and where that ends, two of columns that are alike, as long as that lowers the minimum of E over α,
//!    which is `c - (bᵀT)²/(TᵀHT)`.
//!
//! Both start several times, from scales around that of the [exact threshold](twnc_passes::threshold::exact), and the best T is kept.
//! Channels with several scales, for parts of their inputs or for two planes, take the same two steps in `basis`, the second of single trits alone.

mod basis;

use crate::factor::{Factor, dot, row};
use crate::gradient::vectors::vectors;
use crate::moments::Moments;
use crate::parallel;
use crate::solution::Freedom;
use ndarray::Array2;
use twnc_passes::threshold;

/// Where the search starts: so many times the scale of the exact threshold.
const STARTS: [f64; 3] = [1.0, 0.8, 1.25];
/// How often columns are rounded again with the scale that came out.
const ROUNDS: usize = 4;
/// How often the trits of a channel are gone through, one or two at a time, at most. It ends by itself, as a rule before.
const SWEEPS: usize = 40;

/// Of so many other columns, those most like it, trits are changed together with a column's own. More find little more.
const PARTNERS: usize = 4;

/// A group of channels with its inputs.
#[derive(Debug)]
pub(crate) struct Problem {
    /// H, with columns in order of their diagonal, the largest last.
    h: Array2<f64>,
    factor: Factor,
    diagonal: Vec<f64>,
    /// Of each column, those before it that are most like it, up or down, with the element of H that is theirs.
    partners: Vec<Vec<(usize, f64)>>,
    /// Which input a column is.
    order: Vec<usize>,
    lambda: f64,
}

/// What is known of one channel: its b, and the targets that solve it.
#[derive(Clone, Debug)]
struct Target {
    b: Vec<f64>,
    w: Vec<f64>,
}

/// A ternary channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Channel {
    /// T, by input, of each plane.
    pub planes: Vec<Vec<i8>>,
    /// The scales of the first plane's parts, then the second's; positive also where T is zero.
    pub scales: Vec<f64>,
}

/// T in the order of columns, with sums that depend on it.
#[derive(Clone, Debug)]
struct State {
    t: Vec<i8>,
    /// `H·T`
    u: Vec<f64>,
    /// `bᵀT`
    p: f64,
    /// `TᵀHT`
    q: f64,
}

impl Problem {
    /// For the rows that were added up; λ is `damping` times the mean of `XᵀX`'s diagonal.
    pub fn new(moments: &Moments, damping: f64) -> Problem {
        let k = moments.x.len();
        let n = moments.rows.max(1.0);
        let centred = |i: usize, j: usize| {
            let (i, j) = if i < j { (j, i) } else { (i, j) };
            moments.xx[[i, j]] - moments.x[i] * moments.x[j] / n
        };
        let diagonal: Vec<f64> = (0..k).map(|i| centred(i, i).max(0.0)).collect();
        let mut order: Vec<usize> = (0..k).collect();
        order.sort_by(|&a, &b| diagonal[a].total_cmp(&diagonal[b]).then(a.cmp(&b)));
        let mean = diagonal.iter().sum::<f64>() / k.max(1) as f64;
        // Below what f32 resolves of the rows, there is nothing but rounding; of constant inputs, or none, weights are all that is known.
        let floor = (0..k).map(|i| moments.xx[[i, i]]).sum::<f64>() / k.max(1) as f64 * 1e-6;
        let mut lambda = (damping * mean).max(floor);
        if !(lambda.is_normal() && lambda > 0.0) {
            lambda = 1.0;
        }
        loop {
            let h = Array2::from_shape_fn((k, k), |(i, j)| {
                centred(order[i], order[j]) + if i == j { lambda } else { 0.0 }
            });
            match Factor::new(h.clone()) {
                Some(factor) => {
                    let (partners, diagonal) = (partners(&h), h.diag().to_vec());
                    return Problem { h, factor, diagonal, partners, order, lambda };
                }
                // Rounding has made it indefinite; with λ large enough it is not.
                None => lambda *= 10.0,
            }
        }
    }

    /// T and scales for each of the channels, from `weights`, the float ones.
    pub fn solve(&self, moments: &Moments, weights: &[Vec<f32>], freedom: Freedom) -> Vec<Channel> {
        let indices: Vec<usize> = (0..weights.len()).collect();
        let targets = parallel::map(indices, |_, i| self.target(moments, i, &weights[i]));
        if freedom.planes * freedom.parts > 1 {
            return parallel::map(targets.iter().collect(), |_, target| self.compose(target, freedom));
        }
        let shared = freedom.shared;
        let states = match shared {
            false => parallel::map(targets.iter().collect(), |_, target| self.channel(target)),
            true => self.channels(&targets),
        };
        let alpha = shared.then(|| ratio(&states));
        states.into_iter().map(|state| self.finish(state, alpha)).collect()
    }

    /// The weights that are best if they need not be ternary.
    pub fn relax(&self, moments: &Moments, weights: &[Vec<f32>]) -> Vec<Vec<f32>> {
        parallel::map(weights.iter().collect(), |i, weight| {
            let mut row = vec![0.0; weight.len()];
            let target = self.target(moments, i, weight);
            self.order.iter().zip(target.w).for_each(|(&input, w)| row[input] = w as f32);
            row
        })
    }

    /// Further changes of trits for moments whose outputs have changed.
    pub fn improve(
        &self,
        moments: &Moments,
        weights: &[Vec<f32>],
        channels: Vec<Channel>,
        freedom: Freedom,
    ) -> Vec<Channel> {
        if freedom.planes * freedom.parts > 1 {
            return parallel::map(channels, |i, channel| {
                self.recompose(&self.linear(moments, i, &weights[i]), channel, freedom)
            });
        }
        let shared = freedom.shared;
        let alpha = shared.then(|| channels.first().map_or(1.0, |channel| channel.scales[0]));
        let states = parallel::map(channels, |i, channel| {
            let b = self.linear(moments, i, &weights[i]);
            let trits = self.order.iter().map(|&column| channel.planes[0][column]).collect();
            let mut state = self.state(&b, trits);
            self.descend(&b, &mut state, alpha);
            state
        });
        let alpha = shared.then(|| ratio(&states));
        states.into_iter().map(|state| self.finish(state, alpha)).collect()
    }

    /// `bᵀT` and `TᵀHT`, summed over channels: their quotient is the scale that is best for all of them.
    pub fn products(&self, moments: &Moments, weights: &[Vec<f32>], channels: &[Channel]) -> [f64; 2] {
        let products = parallel::map(channels.iter().collect(), |i, channel: &Channel| {
            let trits = self.order.iter().map(|&column| channel.planes[0][column]).collect();
            let state = self.state(&self.linear(moments, i, &weights[i]), trits);
            [state.p, state.q]
        });
        products.into_iter().fold([0.0; 2], |sum, [p, q]| [sum[0] + p, sum[1] + q])
    }

    /// b of a channel, in the order of columns.
    fn linear(&self, moments: &Moments, channel: usize, weight: &[f32]) -> Vec<f64> {
        let mean = moments.y[channel] / moments.rows.max(1.0);
        let of =
            |&i: &usize| moments.xy[[i, channel]] - moments.x[i] * mean + self.lambda * f64::from(weight[i]);
        self.order.iter().map(of).collect()
    }

    fn target(&self, moments: &Moments, channel: usize, weight: &[f32]) -> Target {
        let b = self.linear(moments, channel, weight);
        let w = self.factor.solve(&b);
        Target { b, w }
    }

    /// One channel with an α of its own.
    fn channel(&self, target: &Target) -> State {
        let weights: Vec<f32> = target.w.iter().map(|&w| w as f32).collect();
        let exact = threshold::exact(&weights);
        let mut best = self.state(&target.b, exact.trits);
        self.descend(&target.b, &mut best, None);
        for start in STARTS {
            let mut alpha = start * f64::from(exact.alpha);
            let mut last = f64::NEG_INFINITY;
            for _ in 0..ROUNDS {
                let mut state = self.state(&target.b, self.round(&target.w, alpha));
                self.descend(&target.b, &mut state, None);
                let gain = state.gain();
                alpha = state.alpha();
                if gain > best.gain() {
                    best = state;
                }
                if gain <= last {
                    break;
                }
                last = gain;
            }
        }
        best
    }

    /// Channels that share their α.
    fn channels(&self, targets: &[Target]) -> Vec<State> {
        let all: Vec<f32> = targets.iter().flat_map(|target| &target.w).map(|&w| w as f32).collect();
        let exact = f64::from(threshold::exact(&all).alpha);
        let gain = |states: &[State]| {
            let (p, q) = sums(states);
            value(p, q, None)
        };
        let mut best: Vec<State> = vec![];
        for start in STARTS {
            let mut alpha = start * exact;
            for _ in 0..ROUNDS {
                let states = parallel::map(targets.iter().collect(), |_, target: &Target| {
                    let mut state = self.state(&target.b, self.round(&target.w, alpha));
                    self.descend(&target.b, &mut state, Some(alpha));
                    state
                });
                alpha = ratio(&states);
                if best.is_empty() || gain(&states) > gain(&best) {
                    best = states;
                }
            }
        }
        best
    }

    /// Step 1 of the module: the columns from the last to the first.
    fn round(&self, w: &[f64], alpha: f64) -> Vec<i8> {
        let mut error = vec![0.0; w.len()];
        let mut trits = vec![0; w.len()];
        for k in (0..w.len()).rev() {
            let corrected = w[k] + dot(self.factor.feedback(k), &error[k + 1..]);
            let trit = (corrected / alpha).round().clamp(-1.0, 1.0);
            error[k] = w[k] - alpha * trit;
            trits[k] = trit as i8;
        }
        trits
    }

    fn state(&self, b: &[f64], t: Vec<i8>) -> State {
        let wide: Vec<f64> = t.iter().map(|&t| f64::from(t)).collect();
        let mut u = vec![0.0; t.len()];
        for (k, &trit) in wide.iter().enumerate().filter(|(_, t)| **t != 0.0) {
            self.add_column(&mut u, k, trit);
        }
        let (p, q) = (dot(b, &wide), dot(&u, &wide));
        State { t, u, p, q }
    }

    /// Step 2 of the module; for a given α, as long as it lowers E.
    fn descend(&self, b: &[f64], state: &mut State, alpha: Option<f64>) {
        for _ in 0..SWEEPS {
            if !self.change_one(b, state, alpha) && !self.change_two(b, state, alpha) {
                break;
            }
        }
    }

    /// Goes through the trits once, and changes each where that lowers E; whether any was.
    fn change_one(&self, b: &[f64], state: &mut State, alpha: Option<f64>) -> bool {
        let mut changed = false;
        for (k, (&b, &h)) in b.iter().zip(&self.diagonal).enumerate() {
            let (from, u) = (Moved::none(state), state.u[k]);
            let mut best = Best::new(from, alpha);
            for by in steps(state.t[k]) {
                best.consider(from.one(by, b, u, h), [(k, by), (k, 0)]);
            }
            changed |= self.apply(state, &best);
        }
        changed
    }

    /// Goes through the pairs of columns that are alike, and changes both trits where that lowers E; whether any was. What one gives, the other can take.
    fn change_two(&self, b: &[f64], state: &mut State, alpha: Option<f64>) -> bool {
        let mut changed = false;
        for (k, partners) in self.partners.iter().enumerate() {
            let from = Moved::none(state);
            let mut best = Best::new(from, alpha);
            for by_k in steps(state.t[k]) {
                let first = from.one(by_k, b[k], state.u[k], self.diagonal[k]);
                for &(j, h) in partners {
                    for by_j in steps(state.t[j]) {
                        let both = first.one(by_j, b[j], state.u[j], self.diagonal[j]);
                        best.consider(both.together(by_k, by_j, h), [(k, by_k), (j, by_j)]);
                    }
                }
            }
            changed |= self.apply(state, &best);
        }
        changed
    }

    /// Makes the best change, if there is one.
    fn apply(&self, state: &mut State, best: &Best) -> bool {
        for (k, by) in best.trits.into_iter().filter(|(_, by)| *by != 0) {
            state.t[k] += by;
            self.add_column(&mut state.u, k, f64::from(by));
        }
        (state.p, state.q) = (best.moved.p, best.moved.q);
        best.trits[0].1 != 0
    }

    /// `u += factor·H[.., k]`
    fn add_column(&self, u: &mut [f64], k: usize, factor: f64) {
        vectors(|| u.iter_mut().zip(row(self.h.view(), k)).for_each(|(u, h)| *u += factor * h));
    }

    fn finish(&self, state: State, alpha: Option<f64>) -> Channel {
        let alpha = alpha.unwrap_or_else(|| state.alpha());
        let mut trits = vec![0; state.t.len()];
        self.order.iter().zip(&state.t).for_each(|(&i, &t)| trits[i] = t);
        Channel { planes: vec![trits], scales: vec![alpha] }
    }
}

/// The two changes that a trit has left.
fn steps(trit: i8) -> [i8; 2] {
    match trit {
        0 => [-1, 1],
        1 => [-2, -1],
        _ => [1, 2],
    }
}

/// p and q behind changes of trits.
#[derive(Clone, Copy, Debug)]
struct Moved {
    p: f64,
    q: f64,
}

impl Moved {
    fn none(state: &State) -> Moved {
        Moved { p: state.p, q: state.q }
    }

    /// Behind the change of one trit more, of a column with these b and u and this element of the diagonal.
    fn one(self, by: i8, b: f64, u: f64, h: f64) -> Moved {
        let d = f64::from(by);
        Moved { p: self.p + d * b, q: self.q + d * (2.0 * u + d * h) }
    }

    /// What two changes have of each other, by the element of H that columns share.
    fn together(self, one: i8, other: i8, h: f64) -> Moved {
        Moved { q: self.q + 2.0 * f64::from(one) * f64::from(other) * h, ..self }
    }
}

/// The best change so far; a step of 0 is none.
#[derive(Debug)]
struct Best {
    /// What the next one has to be above: by how much E is less than that of no trits, and what rounding alone makes of equals.
    bar: f64,
    moved: Moved,
    trits: [(usize, i8); 2],
    alpha: Option<f64>,
}

impl Best {
    fn new(moved: Moved, alpha: Option<f64>) -> Best {
        let value = value(moved.p, moved.q, alpha);
        Best { bar: bar(value), moved, trits: [(0, 0); 2], alpha }
    }

    fn consider(&mut self, moved: Moved, trits: [(usize, i8); 2]) {
        let value = value(moved.p, moved.q, self.alpha);
        if value > self.bar {
            (self.bar, self.moved, self.trits) = (bar(value), moved, trits);
        }
    }
}

fn bar(value: f64) -> f64 {
    value + 1e-12 * value.abs()
}

/// By how much E is less than that of no trits: with the α that is given, or with the best.
fn value(p: f64, q: f64, alpha: Option<f64>) -> f64 {
    match alpha {
        Some(alpha) => alpha * (2.0 * p - alpha * q),
        None if p > 0.0 && q > 0.0 => p * p / q,
        None => 0.0,
    }
}

/// Of each column, those before it that are most like it, up or down, with the element of H that is theirs.
fn partners(h: &Array2<f64>) -> Vec<Vec<(usize, f64)>> {
    let of = |k: usize| {
        let likeness = |j: usize| h[[k, j]].abs() / h[[j, j]].sqrt();
        let mut found: Vec<usize> = (0..k).collect();
        if k > PARTNERS {
            found.select_nth_unstable_by(PARTNERS, |&a, &b| {
                likeness(b).total_cmp(&likeness(a)).then(a.cmp(&b))
            });
            found.truncate(PARTNERS);
        }
        found.into_iter().map(|j| (j, h[[k, j]])).collect()
    };
    parallel::map((0..h.nrows()).collect(), |_, k| of(k))
}

impl State {
    /// By how much the best α lowers E.
    fn gain(&self) -> f64 {
        value(self.p, self.q, None)
    }

    fn alpha(&self) -> f64 {
        ratio(std::slice::from_ref(self))
    }
}

fn sums(states: &[State]) -> (f64, f64) {
    states.iter().fold((0.0, 0.0), |(p, q), state| (p + state.p, q + state.q))
}

/// The scale that is best for all; 1 where none is better than another.
fn ratio(states: &[State]) -> f64 {
    let (p, q) = sums(states);
    let alpha = p / q;
    if alpha.is_normal() && alpha > 0.0 { alpha } else { 1.0 }
}

/// The bias that is best with the weight w.
pub(crate) fn bias(moments: &Moments, channel: usize, w: impl Iterator<Item = f64>) -> f64 {
    let sum: f64 = w.zip(&moments.x).map(|(w, x)| w * x).sum();
    (moments.y[channel] - sum) / moments.rows.max(1.0)
}

/// The squared error of rows that were added up, of a weight with its bias.
pub(crate) fn error(moments: &Moments, channel: usize, (weight, bias): &(Vec<f64>, f64)) -> f64 {
    let (n, y) = (moments.rows, moments.y[channel]);
    let mut error = moments.yy[channel] + n * bias * bias - 2.0 * bias * y;
    for (i, &w) in weight.iter().enumerate().filter(|(_, w)| **w != 0.0) {
        // Of XᵀX, the lower triangle is there.
        let row = row(moments.xx.view(), i);
        let before = dot(&row[..i], &weight[..i]);
        error += w * (2.0 * before + row[i] * w + 2.0 * bias * moments.x[i] - 2.0 * moments.xy[[i, channel]]);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments;
    use crate::random::Random;
    use crate::solution::Freedom;

    /// Neighbours of a line are alike, as pixels are: where no single trit can change, two of them may. Of few inputs all T can be tried, and what is
    /// found is the best of them.
    #[test]
    fn alike_columns_end_at_the_best() {
        let (inputs, outputs, rows) = (6, 8, 200);
        let freedom = Freedom { shared: false, planes: 1, parts: 1 };
        let (mut lost, mut best_of_all) = (0.0, 0.0);
        for seed in 0..8 {
            let mut random = Random::of(seed, &[1]);
            let mut number = || (random.unit() - 0.5) as f32;
            let mut x = Array2::from_shape_fn((rows, inputs), |_| number());
            for mut row in x.rows_mut() {
                for k in 1..inputs {
                    row[k] = 0.3 * row[k] + row[k - 1];
                }
            }
            let w = Array2::from_shape_fn((inputs, outputs), |_| number());
            let mut sums = [Moments::new(inputs, outputs)];
            moments::add(&mut sums, std::slice::from_ref(&x), x.dot(&w).view(), false);
            let weights: Vec<Vec<f32>> = w.columns().into_iter().map(|column| column.to_vec()).collect();
            let problem = Problem::new(&sums[0], 0.01);
            let found = problem.solve(&sums[0], &weights, freedom);
            for (i, channel) in found.iter().enumerate() {
                let b = problem.linear(&sums[0], i, &weights[i]);
                let gain = |trits: Vec<i8>| problem.state(&b, trits).gain();
                let all =
                    (0..3usize.pow(6)).map(|n| (0..6).map(|k| (n / 3usize.pow(k) % 3) as i8 - 1).collect());
                let best = all.map(gain).fold(0.0, f64::max);
                let own = gain(problem.order.iter().map(|&input| channel.planes[0][input]).collect());
                assert!(own <= best * (1.0 + 1e-9));
                (lost, best_of_all) = (lost + best - own, best_of_all + best);
            }
        }
        assert!(lost < 1e-5 * best_of_all, "{lost} of {best_of_all} is lost");
    }
}
