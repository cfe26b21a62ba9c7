//! Fitting one layer: from the values of both networks to the sums over its rows, and from these to the ternary weight that is best.

use crate::activations::Activations;
use crate::assign::{Channel, Problem};
use crate::damping::{self, FOLDS};
use crate::moments::{self, Moments};
use crate::repair::RepairOptions;
use crate::rows::{Rows, mix, pick};
use crate::solution::{Freedom, Solution};
use crate::target::{Seen, Target};
use crate::{RepairError, parallel};
use ndarray::{Array2, Axis};
use twnc_ir::{Graph, Layer, Tensor, ValueId};

/// Multiplications that `XᵀX` of a layer may take; rows are left out beyond.
const PRODUCTS: f64 = 2e10;
/// But so many rows for each input are looked at, if there are as many.
const ROWS_PER_INPUT: usize = 4;
/// And no more than so many: of more, the sums say nothing else.
const MOST_ROWS_PER_INPUT: usize = 128;
/// And so many for any layer, at least.
const LEAST_ROWS: usize = 1 << 12;
/// How often a layer in front of a clip is fitted again to what it then aims at.
const REFINEMENTS: usize = 4;
/// How often groups find new trits for the scale that they share.
const SHARINGS: usize = 4;
/// Pieces in which rows are unfolded in parallel.
const PIECES: usize = 8;
/// Numbers that are unfolded at a time.
const UNFOLDED: usize = 1 << 22;

/// What layers are fitted with: the values of the float network, and of the one whose layers become ternary.
pub(crate) struct Work<'a> {
    pub float: Activations<'a>,
    pub ternary: Activations<'a>,
    pub options: RepairOptions,
}

/// Sees some rows of a layer: their batch, X of each group, and what is seen behind.
type Visitor<'v> = dyn FnMut(usize, &[Array2<f32>], &Seen<'_>) + 'v;

/// A layer as it is fitted, in any form.
pub(crate) struct Fit<'a> {
    layer: &'a Layer,
    target: &'a Target,
    rows: Rows,
    x: ValueId,
    sums: Vec<Moments>,
    problems: Vec<Problem>,
    /// The float ones, by output channel.
    weights: Vec<Vec<f32>>,
}

impl Work<'_> {
    /// Computes what the layer reads, which it returns, and what it should give.
    pub fn reach(&mut self, graph: &Graph, layer: &Layer, target: &Target) -> Result<ValueId, RepairError> {
        let x = graph.node(layer.node).operands[0];
        self.float.compute(&[Some(layer.result), target.other].into_iter().flatten().collect::<Vec<_>>())?;
        self.ternary.compute(&[Some(x), target.other].into_iter().flatten().collect::<Vec<_>>())?;
        Ok(x)
    }

    /// [Reaches](Work::reach) a layer, and adds up its rows, to be solved in this form or others.
    pub fn sums<'l>(
        &mut self,
        graph: &Graph,
        layer: &'l Layer,
        target: &'l Target,
        freedom: Option<Freedom>,
    ) -> Result<Fit<'l>, RepairError> {
        let rows = Rows::of(graph, layer).ok_or_else(|| RepairError::Missing(layer.name.clone()))?;
        let (groups, inputs, outputs) = (rows.groups, rows.fan_in, rows.group_channels());
        // XᵀX of both parts, the quadratic form, and its factor; while λ is sought, both parts of the groups that are looked at once more.
        let needed = Moments::bytes(inputs, outputs).saturating_mul(groups.saturating_mul(6));
        if needed > self.options.memory {
            let (layer, limit) = (layer.name.clone(), self.options.memory);
            return Err(RepairError::Sums { layer, needed, limit });
        }
        let x = self.reach(graph, layer, target)?;
        let mut sums = vec![Moments::new(inputs, outputs); groups];
        let mut rest = sums.clone();
        self.visit(&rows, layer, x, target, &mut |batch, x, seen| {
            let sums = if batch % FOLDS == FOLDS - 1 { &mut rest } else { &mut sums };
            moments::add(sums, x, target.aim(seen, None).view(), false);
        })?;
        let numbers = sums.iter().chain(&rest).flat_map(|m| m.xx.iter().chain(&m.xy).chain(&m.yy));
        if numbers.into_iter().any(|v| !v.is_finite()) {
            return Err(RepairError::NotFinite(layer.name.clone()));
        }
        let weights = layer.rows(layer.float(graph).unwrap_or_default());
        let damping = damping::best(&sums, &rest, &weights, freedom);
        sums.iter_mut().zip(&rest).for_each(|(sums, rest)| sums.join(rest));
        drop(rest);
        let problems = match sums.as_slice() {
            [sums] => vec![Problem::new(sums, damping)],
            _ => parallel::map(sums.iter().collect(), |_, sums| Problem::new(sums, damping)),
        };
        Ok(Fit { layer, target, rows, x, sums, problems, weights })
    }

    /// The layer's best solution in a form; without freedom, it stays float.
    pub fn solve(&self, fit: &mut Fit<'_>, freedom: Option<Freedom>) -> Result<Solution, RepairError> {
        let mut solution = fit.solution(freedom, None);
        for _ in 0..if fit.target.clips() { REFINEMENTS } else { 0 } {
            self.aim(fit, Some(&solution))?;
            solution = fit.solution(freedom, Some(&solution));
        }
        Ok(solution)
    }

    /// Adds up again what the layer aims at, behind a result that is known or is not.
    fn aim(&self, fit: &mut Fit<'_>, now: Option<&Solution>) -> Result<(), RepairError> {
        let Fit { layer, target, rows, x, sums, .. } = fit;
        sums.iter_mut().for_each(Moments::forget_outputs);
        self.visit(rows, layer, *x, target, &mut |_, x, seen| {
            let now = now.map(|solution| solution.results(x));
            moments::add(sums, x, target.aim(seen, now.as_ref().map(|now| now.view())).view(), true);
        })
    }

    /// The relative squared errors of what comes of the layer's result, for several solutions.
    pub fn errors(&self, fit: &Fit<'_>, solutions: &[&Solution]) -> Result<Vec<f64>, RepairError> {
        let mut found = vec![[0.0; 2]; solutions.len()];
        self.visit(&fit.rows, fit.layer, fit.x, fit.target, &mut |_, x, seen| {
            for (sum, solution) in found.iter_mut().zip(solutions) {
                let [error, signal] = fit.target.error(seen, solution.results(x).view());
                *sum = [sum[0] + error, sum[1] + signal];
            }
        })?;
        let relative = |[error, signal]: [f64; 2]| if signal > 0.0 { error / signal } else { 0.0 };
        Ok(found.into_iter().map(relative).collect())
    }

    /// Lets go of what no layer reads that is still to come.
    pub fn release(&mut self) {
        self.float.release(&[]);
        self.ternary.release(&[]);
    }

    /// Walks the rows of a layer on the samples that are for fitting, some at a time: the batch, X of each group, and what is seen behind.
    fn visit(
        &self,
        rows: &Rows,
        layer: &Layer,
        x: ValueId,
        target: &Target,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), RepairError> {
        let fitted = 0..self.float.batches();
        let mut count = 0;
        for batch in fitted.clone() {
            count += rows.count(self.float.of(layer.result, batch)?.len());
        }
        let least = ROWS_PER_INPUT.saturating_mul(rows.fan_in).max(LEAST_ROWS) as f64;
        let most = (PRODUCTS / (rows.fan_in as f64).powi(2) / rows.groups as f64)
            .min((MOST_ROWS_PER_INPUT * rows.fan_in) as f64)
            .max(least);
        let share = most / count.max(1) as f64;
        let size = (UNFOLDED / (rows.fan_in * rows.groups).max(1)).max(64);
        for batch in fitted {
            let (x, y) = (self.ternary.of(x, batch)?, self.float.of(layer.result, batch)?);
            let shape = y.shape();
            let values = f32s(x)?;
            let seed = mix(self.options.seed ^ mix(batch as u64) ^ mix(u64::from(layer.node.0) << 32));
            for picks in pick(rows.count(y.len()), share, seed).chunks(size) {
                let float = rows.outputs(f32s(y)?, shape, picks);
                let mut others = vec![];
                if let Some(other) = target.other {
                    for network in [&self.float, &self.ternary] {
                        others.push(rows.outputs(f32s(network.of(other, batch)?)?, shape, picks));
                    }
                }
                let other = match others.as_slice() {
                    [float, ternary] => Some([float.view(), ternary.view()]),
                    _ => None,
                };
                let pieces: Vec<(usize, &[usize])> = match rows.groups {
                    1 => picks.chunks(picks.len().div_ceil(PIECES).max(1)).map(|part| (0, part)).collect(),
                    groups => (0..groups).map(|group| (group, picks)).collect(),
                };
                let parts = parallel::map(pieces, |_, (group, picks)| {
                    rows.inputs(values, x.shape(), shape, picks, group)
                });
                let inputs = if rows.groups == 1 { vec![joined(&parts, rows.fan_in)] } else { parts };
                visitor(batch, &inputs, &Seen { float: float.view(), other });
            }
        }
        Ok(())
    }
}

impl Fit<'_> {
    /// The layer as it is.
    pub fn own(&self) -> Solution {
        Solution { planes: vec![], float: Some(self.weights.clone()), bias: None }
    }

    /// The mean of what each weight multiplies, of each group.
    pub fn means(&self) -> Vec<Vec<f32>> {
        let of = |sums: &Moments| sums.x.iter().map(|x| (x / sums.rows.max(1.0)) as f32).collect();
        self.sums.iter().map(of).collect()
    }

    /// What is best for the sums, sought from the start or from what the layer is now.
    pub fn solution(&self, freedom: Option<Freedom>, now: Option<&Solution>) -> Solution {
        let outputs = self.rows.group_channels();
        let part = |i: usize| i * outputs..(i + 1) * outputs;
        let Some(freedom) = freedom else {
            let rows = each(&self.problems, &self.sums, |i, problem, sums| {
                problem.relax(sums, &self.weights[part(i)])
            });
            return Solution::float(rows, &self.sums);
        };
        let channels = each(&self.problems, &self.sums, |i, problem, sums| {
            let weights = &self.weights[part(i)];
            match now {
                None => problem.solve(sums, weights, freedom),
                Some(now) => problem.improve(sums, weights, now.channels(part(i)), freedom),
            }
        });
        let channels =
            if freedom.shared && self.problems.len() > 1 { self.share(channels, freedom) } else { channels };
        Solution::of(channels, &self.sums, freedom)
    }

    /// Gives channels of several groups, each of which has found a scale for itself, the one that is best for all.
    fn share(&self, mut channels: Vec<Channel>, freedom: Freedom) -> Vec<Channel> {
        let outputs = self.rows.group_channels();
        let part = |i: usize| i * outputs..(i + 1) * outputs;
        for round in 0..=SHARINGS {
            let products = each(&self.problems, &self.sums, |i, problem, sums| {
                vec![problem.products(sums, &self.weights[part(i)], &channels[part(i)])]
            });
            let [p, q] = products.into_iter().fold([0.0; 2], |sum, [p, q]| [sum[0] + p, sum[1] + q]);
            if p > 0.0 && q > 0.0 {
                channels.iter_mut().for_each(|channel| channel.scales[0] = p / q);
            }
            if round < SHARINGS {
                channels = each(&self.problems, &self.sums, |i, problem, sums| {
                    problem.improve(sums, &self.weights[part(i)], channels[part(i)].to_vec(), freedom)
                });
            }
        }
        channels
    }
}

/// What is found for the channels of all groups, in order.
fn each<T: Clone + Send>(
    problems: &[Problem],
    sums: &[Moments],
    solve: impl Fn(usize, &Problem, &Moments) -> Vec<T> + Sync,
) -> Vec<T> {
    match (problems, sums) {
        // Its channels are worked on in parallel.
        ([problem], [sums]) => solve(0, problem, sums),
        _ => parallel::map(problems.iter().zip(sums).collect(), |i, (problem, sums)| solve(i, problem, sums))
            .concat(),
    }
}

/// Matrices, one below the other.
fn joined(parts: &[Array2<f32>], columns: usize) -> Array2<f32> {
    let mut all = Array2::zeros((0, columns));
    for part in parts {
        all.append(Axis(0), part.view()).expect("all have the same columns");
    }
    all
}

fn f32s(tensor: &Tensor) -> Result<&[f32], RepairError> {
    tensor.as_f32().ok_or_else(|| RepairError::Execute(format!("a layer reads {}, not f32", tensor.ty())))
}
