//! `repair`: makes float layers ternary so that they reproduce what the float network computes on samples.
//!
//! **Approximate**. It stands in the place of `ternarise` and makes the same layers ternary; what it leaves, `ternarise` finds. Layer by
//! layer, with the activations X that the network has whose layers before are ternary already, and the float network's results Y:
//! T, α and a bias are those for which `αX·T + bias` is next to Y ([`assign`](crate) has the formulas). So a layer also makes good, as far as
//! it can, what the layers before have lost. Where its result goes into a sum whose other side is known, it is fitted to the sum.
//!
//! A layer becomes a ternary product, a `mul` by α and an `add` of the bias. What stands behind it stays: batch norms need no new
//! statistics, for scale and bias are fitted in front of them, and fold into one with them. A weight that several layers
//! share gives each a T of its own.
//!
//! The same samples and seed give the same network, on any number of processors.

use crate::activations::Activations;
use crate::assign::{self, Channel, Problem};
use crate::augment::Augment;
use crate::execute::Execute;
use crate::finetune::{FineTune, Task, Tuning};
use crate::measure::{Distance, OutputAccuracy, Summary};
use crate::moments::{self, Moments};
use crate::rows::{Rows, mix, pick};
use crate::samples::{Batches, Samples};
use crate::schedule::Schedule;
use crate::target::{Seen, Target};
use crate::{RepairError, parallel};
use ndarray::{Array2, Axis};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use twnc_ir::{
    Binary, Changed, Graph, Layer, NodeId, Op, Pass, PassContext, PassError, PerChannel, Rewriter, Tensor,
    Topic, TypeError, ValueId,
};
use twnc_passes::ternarise::Rounding;
use twnc_passes::{Options, OptionsError, Ternarise};

/// Multiplications that `XᵀX` of a layer may take; rows are left out beyond.
const PRODUCTS: f64 = 2e10;
/// But so many rows for each input are looked at, if there are as many.
const ROWS_PER_INPUT: usize = 4;
/// And so many for any layer.
const LEAST_ROWS: usize = 1 << 12;
/// How often a layer in front of a clip is fitted again to what it then aims at.
const REFINEMENTS: usize = 4;
/// Pieces in which rows are unfolded in parallel.
const PIECES: usize = 8;
/// Numbers that are unfolded at a time.
const UNFOLDED: usize = 1 << 22;

/// How a repair is done.
#[derive(Clone, Copy, Debug)]
pub struct RepairOptions {
    /// The most bytes that the values of all samples may take at a time, and the most that fitting one layer may take.
    pub memory: usize,
    /// By what rows are drawn, where not all are looked at, and samples while layers are trained.
    pub seed: u64,
    /// How long layers are trained together after they were fitted.
    pub fine_tune: FineTune,
    /// How images are changed meanwhile; `None`: as is safe for the shape of the input ([`Augment::of_shape`]).
    pub augment: Option<Augment>,
}

/// Told how many layers are fitted, or steps of fine-tuning made, of how many.
pub type Progress = Box<dyn Fn(Stage, usize, usize) + Send + Sync>;

/// What a repair is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Layers are fitted, one by one.
    Fitting,
    /// They are trained together.
    Tuning,
}

/// The pass.
pub struct Repair {
    rounding: Ternarise,
    shared: bool,
    samples: Arc<Samples>,
    execute: Arc<dyn Execute>,
    options: RepairOptions,
    progress: Option<Progress>,
    summary: Arc<Mutex<Option<Summary>>>,
}

/// A layer, made ternary.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// T, by output channel.
    pub rows: Vec<Vec<i8>>,
    /// One scale, or one for each channel.
    pub scales: Vec<f32>,
    /// One number for each channel, if there is something to add.
    pub bias: Option<Vec<f32>>,
}

/// What is repaired, and with what.
struct Work<'a> {
    float: Activations<'a>,
    ternary: Activations<'a>,
    batches: &'a Batches,
    options: RepairOptions,
}

impl Default for RepairOptions {
    fn default() -> RepairOptions {
        RepairOptions { memory: 8 << 30, seed: 0, fine_tune: FineTune::None, augment: None }
    }
}

impl Repair {
    /// The pass for the options of `ternarise`, with samples and what runs them.
    pub fn new(
        passes: &Options,
        samples: Arc<Samples>,
        execute: Arc<dyn Execute>,
        options: RepairOptions,
    ) -> Result<Repair, OptionsError> {
        let (rounding, shared) = (Ternarise::new(passes)?, passes.scale.is_shared_by_layer()?);
        Ok(Repair { rounding, shared, samples, execute, options, progress: None, summary: Arc::default() })
    }

    /// Lets somebody watch.
    pub fn progress(self, progress: Progress) -> Repair {
        Repair { progress: Some(progress), ..self }
    }

    /// Where the pass will leave what it came to; nothing, where no layer was to be made ternary.
    pub fn summary(&self) -> Arc<Mutex<Option<Summary>>> {
        self.summary.clone()
    }

    /// Solves all layers of a graph and measures the outputs.
    fn solve(
        &self,
        graph: &Graph,
        order: &[NodeId],
        layers: Vec<Layer>,
        cx: &mut PassContext<'_>,
    ) -> Result<Vec<(Layer, Solution)>, PassError> {
        let refuse = |e: RepairError| e.at(graph.name());
        let batches = self.samples.batches(graph).map_err(refuse)?;
        let new = || Activations::new(graph, order, &*self.execute, &batches.inputs, self.options.memory);
        let (float, ternary) = (new().map_err(refuse)?, new().map_err(refuse)?);
        let mut work = Work { float, ternary, batches: &batches, options: self.options };
        let (mut solved, mut rounded, count) = (vec![], vec![], layers.len());
        let mut schedule = Schedule::new(graph, order, layers);
        while let Some(layer) = schedule.next() {
            if let Some(progress) = &self.progress {
                progress(Stage::Fitting, solved.len(), count);
            }
            let Some(weight) = layer.float(graph) else { continue };
            let rounding = self.rounding.round(graph, &layer, weight)?;
            let target = Target::of(graph, &layer, |value| schedule.settled(value));
            let (solution, errors) =
                work.layer(graph, &layer, &rounding, &target, self.shared).map_err(|e| e.at(&layer.name))?;
            let zeros = 100.0 * solution.zeros();
            let [before, after] = errors;
            cx.applied(
                Topic::Rounding,
                &layer.name,
                format!("made ternary and repaired: {zeros:.1}% zeros, relative squared error of its results {before:.3} rounded, {after:.3} repaired"),
            );
            let Rounding { rows, scales, .. } = rounding;
            rounded.push((layer.clone(), Solution { rows, scales, bias: None }));
            solved.push((layer, solution));
        }
        let Work { float, ternary, .. } = work;
        drop(ternary);
        let tuning = self.tune(graph, &batches, &mut solved, cx).map_err(refuse)?;
        let outputs =
            self.measure(graph, order, float, &batches, [rounded, solved.clone()]).map_err(refuse)?;
        let summary = Summary {
            layers: solved.len(),
            tuning,
            fitted: batches.fitted_samples,
            held_out: batches.held_out_samples,
            outputs,
        };
        if batches.left_out > 0 {
            let message =
                format!("{} samples do not fill the network's batch and were left out", batches.left_out);
            cx.missed(Topic::Accuracy, graph.name(), message);
        }
        for output in &summary.outputs {
            cx.applied(Topic::Accuracy, &output.name, summary.describe(output));
        }
        *self.summary.lock().unwrap_or_else(PoisonError::into_inner) = Some(summary);
        Ok(solved)
    }

    /// Trains the layers together, if that is asked for and the network has gradients.
    fn tune(
        &self,
        graph: &Graph,
        batches: &Batches,
        solved: &mut [(Layer, Solution)],
        cx: &mut PassContext<'_>,
    ) -> Result<Option<Tuning>, RepairError> {
        let RepairOptions { memory, seed, fine_tune: steps, augment } = self.options;
        if matches!(steps, FineTune::None | FineTune::Steps(0)) || solved.is_empty() {
            return Ok(None);
        }
        let (fitted, held_out) = (batches.fitted_samples, batches.held_out_samples);
        let task = Task { graph, samples: &self.samples, fitted, held_out, memory, seed, steps, augment };
        let progress = |done, all| {
            if let Some(progress) = &self.progress {
                progress(Stage::Tuning, done, all);
            }
        };
        match task.tune(solved, &progress) {
            Ok(tuning) => Ok(Some(tuning)),
            // The fit stands without it.
            Err(RepairError::Gradient(error)) => {
                cx.warn(Topic::Accuracy, graph.name(), format!("not fine-tuned: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The outputs of the float network beside those of the rounded and of the repaired one, on the samples that are held out.
    fn measure(
        &self,
        graph: &Graph,
        order: &[NodeId],
        mut float: Activations<'_>,
        batches: &Batches,
        networks: [Vec<(Layer, Solution)>; 2],
    ) -> Result<Vec<OutputAccuracy>, RepairError> {
        let first = if batches.held_out_samples > 0 { batches.fitted } else { 0 };
        let values: Vec<_> = graph.outputs().iter().map(|port| port.value).collect();
        float.compute(&values)?;
        float.release(&[]);
        let mut distances = vec![[Distance::default(); 2]; values.len()];
        // Batch by batch: of the ternary networks no more than that is needed.
        for (number, batch) in batches.inputs.iter().enumerate().skip(first) {
            let batch = std::slice::from_ref(batch);
            for (kind, layers) in networks.iter().enumerate() {
                let mut alone = Activations::new(graph, order, &*self.execute, batch, self.options.memory)?;
                for (layer, solution) in layers {
                    alone.substitute(layer, solution.clone());
                }
                alone.compute(&values)?;
                for (distances, &value) in distances.iter_mut().zip(&values) {
                    distances[kind].add(float.of(value, number)?, alone.of(value, 0)?);
                }
            }
        }
        let is_f32 = |value| graph.ty(value).element == twnc_ir::ElementType::F32;
        let ports = graph.outputs().iter().zip(distances).filter(|(port, _)| is_f32(port.value));
        let outputs = ports.map(|(port, [rounded, repaired])| OutputAccuracy {
            name: port.name.clone(),
            sqnr_rounded: rounded.sqnr(),
            sqnr: repaired.sqnr(),
            agreement_rounded: rounded.agreement(),
            agreement: repaired.agreement(),
        });
        Ok(outputs.collect())
    }
}

impl Work<'_> {
    /// A layer's solution, and the relative squared error of what comes of its result: rounded alone, and solved.
    fn layer(
        &mut self,
        graph: &Graph,
        layer: &Layer,
        rounding: &Rounding,
        target: &Target,
        shared: bool,
    ) -> Result<(Solution, [f64; 2]), RepairError> {
        let rows = Rows::of(graph, layer).ok_or_else(|| RepairError::Missing(layer.name.clone()))?;
        let (groups, inputs, outputs) = (rows.groups, rows.fan_in, rows.group_channels());
        // XᵀX, the quadratic form, and its factor.
        let needed = Moments::bytes(inputs, outputs).saturating_mul(groups.saturating_mul(3));
        if needed > self.options.memory {
            let (layer, limit) = (layer.name.clone(), self.options.memory);
            return Err(RepairError::Sums { layer, needed, limit });
        }
        let x = graph.node(layer.node).operands[0];
        self.float.compute(&[Some(layer.result), target.other].into_iter().flatten().collect::<Vec<_>>())?;
        self.ternary.compute(&[Some(x), target.other].into_iter().flatten().collect::<Vec<_>>())?;

        let mut sums = vec![Moments::new(inputs, outputs); groups];
        self.visit(&rows, layer, x, target, &mut |x, seen| {
            moments::add(&mut sums, x, target.aim(seen, None).view(), false);
        })?;
        let numbers = sums.iter().flat_map(|m| m.xx.iter().chain(&m.xy).chain(&m.yy));
        if numbers.into_iter().any(|v| !v.is_finite()) {
            return Err(RepairError::NotFinite(layer.name.clone()));
        }
        let weights = layer.rows(layer.float(graph).unwrap_or_default());
        let problems = match sums.as_slice() {
            [sums] => vec![Problem::new(sums)],
            _ => parallel::map(sums.iter().collect(), |_, sums| Problem::new(sums)),
        };
        let part = |group: usize| &weights[group * outputs..(group + 1) * outputs];
        let channels = each(&problems, &sums, |i, problem, sums| problem.solve(sums, part(i), shared));
        let mut solution = Solution::of(channels, &sums, shared);
        for _ in 0..if target.clips() { REFINEMENTS } else { 0 } {
            sums.iter_mut().for_each(Moments::forget_outputs);
            self.visit(&rows, layer, x, target, &mut |x, seen| {
                let now = solution.results(x);
                moments::add(&mut sums, x, target.aim(seen, Some(now.view())).view(), true);
            })?;
            let channels = each(&problems, &sums, |i, problem, sums| {
                problem.improve(sums, part(i), solution.channels(i * outputs..(i + 1) * outputs), shared)
            });
            solution = Solution::of(channels, &sums, shared);
        }
        let alone = Solution { rows: rounding.rows.clone(), scales: rounding.scales.clone(), bias: None };
        let (mut before, mut after) = ([0.0; 2], [0.0; 2]);
        self.visit(&rows, layer, x, target, &mut |x, seen| {
            for (sum, solution) in [(&mut before, &alone), (&mut after, &solution)] {
                let found = target.error(seen, solution.results(x).view());
                *sum = [sum[0] + found[0], sum[1] + found[1]];
            }
        })?;
        self.ternary.substitute(layer, solution.clone());
        self.float.release(&[]);
        self.ternary.release(&[]);
        let relative = |[error, signal]: [f64; 2]| if signal > 0.0 { error / signal } else { 0.0 };
        Ok((solution, [relative(before), relative(after)]))
    }

    /// Walks the rows of a layer on the samples that are for fitting, some at a time: X of each group, and what is seen behind.
    fn visit(
        &self,
        rows: &Rows,
        layer: &Layer,
        x: ValueId,
        target: &Target,
        visitor: &mut dyn FnMut(&[Array2<f32>], &Seen<'_>),
    ) -> Result<(), RepairError> {
        let fitted = 0..self.batches.fitted;
        let mut count = 0;
        for batch in fitted.clone() {
            count += rows.count(self.float.of(layer.result, batch)?.len());
        }
        let least = ROWS_PER_INPUT.saturating_mul(rows.fan_in).max(LEAST_ROWS) as f64;
        let most = (PRODUCTS / (rows.fan_in as f64).powi(2) / rows.groups as f64).max(least);
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
                visitor(&inputs, &Seen { float: float.view(), other });
            }
        }
        Ok(())
    }
}

/// The channels of all groups, in order.
fn each(
    problems: &[Problem],
    sums: &[Moments],
    solve: impl Fn(usize, &Problem, &Moments) -> Vec<Channel> + Sync,
) -> Vec<Channel> {
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

impl Solution {
    /// Of channels, with the biases that are best for them.
    fn of(channels: Vec<Channel>, sums: &[Moments], shared: bool) -> Solution {
        let outputs = channels.len() / sums.len().max(1);
        let mut scales: Vec<f32> = channels.iter().map(|channel| channel.alpha as f32).collect();
        let bias = |(i, channel): (usize, &Channel)| {
            let alpha = f64::from(channel.alpha as f32);
            let weight = channel.trits.iter().map(|&t| alpha * f64::from(t));
            assign::bias(&sums[i / outputs], i % outputs, weight) as f32
        };
        let bias = Some(channels.iter().enumerate().map(bias).collect());
        if shared {
            scales.truncate(1);
        }
        Solution { rows: channels.into_iter().map(|channel| channel.trits).collect(), scales, bias }
    }

    /// Some channels.
    fn channels(&self, range: Range<usize>) -> Vec<Channel> {
        let of = |i: usize| Channel { trits: self.rows[i].clone(), alpha: f64::from(self.scale(i)) };
        range.map(of).collect()
    }

    /// What the layer computes of rows of X of each group.
    fn results(&self, x: &[Array2<f32>]) -> Array2<f32> {
        let (count, outputs) = (x.first().map_or(0, Array2::nrows), self.rows.len() / x.len().max(1));
        let group = |i: usize, x: &Array2<f32>| {
            let weight = Array2::from_shape_fn((x.ncols(), outputs), |(k, j)| {
                let channel = i * outputs + j;
                f32::from(self.rows[channel][k]) * self.scale(channel)
            });
            x.dot(&weight)
        };
        let products = parallel::map(x.iter().collect(), group);
        Array2::from_shape_fn((count, self.rows.len()), |(row, channel)| {
            products[channel / outputs][[row, channel % outputs]]
                + self.bias.as_ref().map_or(0.0, |bias| bias[channel])
        })
    }

    pub(crate) fn scale(&self, channel: usize) -> f32 {
        self.scales[if self.scales.len() == 1 { 0 } else { channel }]
    }

    /// `αT`, as the layer's weight lies.
    pub(crate) fn weight(&self, layer: &Layer) -> Vec<f32> {
        let scaled =
            |(i, row): (usize, &Vec<i8>)| row.iter().map(|&t| f32::from(t) * self.scale(i)).collect();
        layer.of_rows(&self.rows.iter().enumerate().map(scaled).collect::<Vec<Vec<f32>>>())
    }

    fn zeros(&self) -> f64 {
        let zeros = self.rows.iter().flatten().filter(|t| **t == 0).count();
        zeros as f64 / self.rows.iter().map(Vec::len).sum::<usize>().max(1) as f64
    }

    /// Puts itself in the place of a layer.
    fn replace(self, rewriter: &mut Rewriter<'_>, layer: &Layer) -> Result<(), TypeError> {
        let trits = rewriter.constant(layer.ternary_of_rows(&self.rows), &layer.weight_name);
        let mut value = layer.insert_scaled(rewriter, trits, self.scales)?;
        if let Some(bias) = self.bias {
            let rank = rewriter.graph().ty(value).rank();
            let axis = (bias.len() != 1).then_some(layer.channel_axis);
            let name = if layer.weight_name.is_empty() {
                String::new()
            } else {
                format!("{}.bias", layer.weight_name)
            };
            let bias = rewriter.constant(PerChannel::tensor(axis, bias, rank), &name);
            value = rewriter.insert(Op::Binary(Binary::Add), &[value, bias], &layer.name)?;
        }
        rewriter.replace(layer.result, value, "it is made ternary, and repaired")
    }
}

impl Summary {
    /// What is said of the fine-tuning, if there was any.
    pub fn describe_tuning(&self) -> Option<String> {
        let Tuning { steps, best, loss: [before, after], augment } = self.tuning.as_ref()?;
        let images = match (augment.flip, augment.shift) {
            (false, 0) => String::new(),
            (false, shift) => format!(", images moved by up to {shift} pixels"),
            (true, 0) => ", images mirrored".to_owned(),
            (true, shift) => format!(", images mirrored and moved by up to {shift} pixels"),
        };
        Some(match best {
            0 => format!(
                "fine-tuned for {steps} steps{images}: nothing was better than the fit (loss {before:.4})"
            ),
            best => format!(
                "fine-tuned for {steps} steps{images}: loss {before:.4} fitted, {after:.4} at step {best}"
            ),
        })
    }

    /// What is said of an output.
    pub fn describe(&self, output: &OutputAccuracy) -> String {
        let on = match self.held_out {
            0 => format!("on the {} samples it was fitted to (too few to hold any out)", self.fitted),
            held_out => format!("on {held_out} samples held out (the last fifth), fitted on {}", self.fitted),
        };
        let agreement = match (output.agreement_rounded, output.agreement) {
            (Some(rounded), Some(repaired)) => {
                format!(
                    "; the float network's class for {:.1}% rounded, {:.1}% repaired",
                    100.0 * rounded,
                    100.0 * repaired
                )
            }
            _ => String::new(),
        };
        format!("SQNR {:.2} dB rounded, {:.2} dB repaired{agreement}; {on}", output.sqnr_rounded, output.sqnr)
    }
}

impl Pass for Repair {
    fn name(&self) -> &str {
        "repair"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let layers = self.rounding.select(graph, cx)?;
        if layers.is_empty() {
            return Ok(Changed::default());
        }
        let order = graph.order().map_err(|cycle| PassError::Refused {
            node: graph.name().to_owned(),
            message: cycle.to_string(),
        })?;
        let solved = self.solve(graph, &order, layers, cx)?;
        let mut rewriter = Rewriter::new(graph);
        for (layer, solution) in solved {
            solution.replace(&mut rewriter, &layer).map_err(PassError::at(&layer.name))?;
        }
        rewriter.remove_dead("a ternary weight stands in its place");
        Ok(rewriter.finish())
    }
}
