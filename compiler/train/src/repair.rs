//! `repair`: makes float layers ternary so that they reproduce what the float network computes on samples.
//!
//! **Approximate**. It stands in the place of `ternarise` and makes the same layers ternary. Layer by
//! layer, with the activations X that the network has whose layers before are ternary already, and the float network's results Y:
//! T, α and a bias are those for which `αX·T + bias` is next to Y ([`assign`](crate) has the formulas). So a layer also makes good, as far as
//! it can, what the layers before have lost. Where its result goes into a sum whose other side is known, it is fitted to the sum.
//!
//! A layer becomes a ternary product, or a sum of two, a `mul` by α and an `add` of the bias. What stands behind it stays: batch norms need no new
//! statistics, for scale and bias are fitted in front of them, and fold into one with them. A weight that several layers
//! share gives each a T of its own. All layers have one form, or, with [`Limits`], each the one that these leave it.
//!
//! The same samples and seed give the same network, on any number of processors, and where it was [interrupted](crate::journal) too.

use crate::RepairError;
use crate::activations::Activations;
use crate::augment::Augment;
use crate::budget::{self, Bytes, Limits};
use crate::checkpoint;
use crate::execute::Execute;
use crate::finetune::{FineTune, Task, Tuning};
use crate::fit::Work;
use crate::journal::{Journal, Keeper};
use crate::measure::{Distance, LayerAccuracy, OutputAccuracy, Summary};
use crate::samples::{Batches, Samples};
use crate::schedule::Schedule;
use crate::solution::{Form, Freedom, Plane, Solution};
use crate::target::Target;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use twnc_ir::{
    Changed, Graph, Layer, NodeId, Pass, PassContext, PassError, Rewriter, Tensor, Topic, ValueId,
};
use twnc_passes::{Options, OptionsError, Ternarise};

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

/// Told how many layers are measured or fitted, or steps of fine-tuning made, of how many.
pub type Progress = Box<dyn Fn(Stage, usize, usize) + Send + Sync>;

/// What a repair is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is measured, layer by layer, what each form of it costs the outputs.
    Measuring,
    /// Layers are fitted, one by one.
    Fitting,
    /// They are trained together.
    Tuning,
}

impl Stage {
    /// As what a user reads.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Measuring => "weighing layers",
            Stage::Fitting => "fitting layers",
            Stage::Tuning => "fine-tuning",
        }
    }
}

/// The pass.
pub struct Repair {
    rounding: Ternarise,
    form: Form,
    samples: Arc<Samples>,
    execute: Arc<dyn Execute>,
    options: RepairOptions,
    budget: Option<(Limits, Bytes)>,
    progress: Option<Progress>,
    keeper: Option<Box<dyn Keeper>>,
    /// What it is taken up from.
    from: Option<Vec<u8>>,
    /// All choices of passes: what is weighed is what they make of a graph.
    choices: String,
    summary: Arc<Mutex<Option<Summary>>>,
}

/// A network, the samples it is repaired on, and what runs it.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub graph: &'a Graph,
    pub order: &'a [NodeId],
    pub execute: &'a dyn Execute,
    pub batches: &'a Batches,
    pub options: RepairOptions,
    pub journal: &'a Journal<'a>,
}

/// A layer that was fitted.
#[derive(Clone, Debug)]
pub(crate) struct Fitted {
    pub layer: Layer,
    pub form: Form,
    /// Its weight rounded alone; of one that stays float, nothing.
    pub rounded: Option<Solution>,
    pub solution: Solution,
    /// The mean of what each weight multiplies, of each group.
    pub means: Vec<Vec<f32>>,
    /// Relative squared errors of what comes of its result: rounded, and solved.
    pub errors: [f64; 2],
}

/// What fitting a layer came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Piece {
    solution: Solution,
    means: Vec<Vec<f32>>,
    errors: [f64; 2],
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
        let (rounding, form) = (Ternarise::new(passes)?, Form::Scaled(passes.scale));
        let choices = format!("{passes:?}");
        Ok(Repair {
            rounding,
            form,
            samples,
            execute,
            options,
            budget: None,
            progress: None,
            keeper: None,
            from: None,
            choices,
            summary: Arc::default(),
        })
    }

    /// Lets somebody watch.
    pub fn progress(self, progress: Progress) -> Repair {
        Repair { progress: Some(progress), ..self }
    }

    /// Lets somebody interrupt it and keep checkpoints, and takes it up from one of them, that was made on the same processor.
    pub fn keeper(self, keeper: Box<dyn Keeper>, from: Option<Vec<u8>>) -> Repair {
        Repair { keeper: Some(keeper), from, ..self }
    }

    /// Lets each layer have the form that limits leave it, where a graph becomes a file of so many `bytes`.
    pub fn budget(self, limits: Limits, bytes: Bytes) -> Repair {
        Repair { budget: Some((limits, bytes)), ..self }
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
        let (keeper, from) = (self.keeper.as_deref(), self.from.as_deref());
        let identity = self.identity(graph, &layers);
        let journal = Journal::new(keeper, self.progress.as_ref(), identity, from).map_err(refuse)?;
        let (execute, batches, journal, options) = (&*self.execute, &batches, &journal, self.options);
        let setting = Setting { graph, order, execute, batches, options, journal };
        let (fitted, frontier) = match &self.budget {
            None => {
                let chosen: Vec<(Layer, Form)> = layers.into_iter().map(|layer| (layer, self.form)).collect();
                (setting.fit(&chosen, &self.rounding)?, None)
            }
            Some((limits, bytes)) => {
                let task = budget::Task { setting, rounding: &self.rounding, form: self.form, limits, bytes };
                let (fitted, frontier) = task.choose(layers, cx)?;
                (fitted, Some(frontier))
            }
        };
        for Fitted { layer, form, solution, errors: [before, after], .. } in &fitted {
            let zeros = 100.0 * solution.zeros();
            let errors = format!("relative squared error of its results {before:.3}");
            let form = match form {
                Form::Float => {
                    let message = format!(
                        "its float weight is fitted to what it reads: {errors} as it was, {after:.3} fitted"
                    );
                    cx.applied(Topic::Accuracy, &layer.name, message);
                    continue;
                }
                Form::Scaled(scale) if Form::Scaled(*scale) == self.form => String::new(),
                form => format!(" ({})", form.word()),
            };
            cx.applied(
                Topic::Rounding,
                &layer.name,
                format!("made ternary{form} and repaired: {zeros:.1}% zeros, {errors} rounded, {after:.3} repaired"),
            );
        }
        let mut solved: Vec<(Layer, Solution)> =
            fitted.iter().map(|fit| (fit.layer.clone(), fit.solution.clone())).collect();
        let tuning = self.tune(&setting, &fitted, &mut solved, cx).map_err(refuse)?;
        let rounded = fitted.iter().filter_map(|fit| Some((&fit.layer, fit.rounded.as_ref()?))).collect();
        let repaired = solved.iter().map(|(layer, solution)| (layer, solution)).collect();
        let labels = self.budget.as_ref().and_then(|(limits, _)| limits.labels.as_deref());
        let outputs = setting.accuracy([rounded, repaired], labels).map_err(refuse)?;
        let ternary = || fitted.iter().zip(&solved).filter(|(fit, _)| fit.form != Form::Float);
        let accuracies = ternary().map(|(fit, (_, solution))| LayerAccuracy {
            name: fit.layer.name.clone(),
            form: fit.form,
            zeros: solution.zeros(),
            error_rounded: fit.errors[0],
            error: fit.errors[1],
        });
        let summary = Summary {
            layers: ternary().count(),
            float_layers: solved.len() - ternary().count(),
            accuracies: accuracies.collect(),
            tuning,
            fitted: batches.fitted_samples,
            held_out: batches.held_out_samples,
            outputs,
            frontier,
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

    /// What a repair is, in words: two of the same go the same way.
    fn identity(&self, graph: &Graph, layers: &[Layer]) -> String {
        let limits = self.budget.as_ref().map(|(limits, _)| limits);
        let labels = limits.and_then(|limits| limits.labels.as_deref());
        let mut names = crc32fast::Hasher::new();
        layers.iter().for_each(|layer| names.update(format!("{} {};", layer.node, layer.name).as_bytes()));
        let limits = limits.map_or("no limits".to_owned(), |Limits { size, drop, labels }| {
            format!("limits {size:?}, {drop:?}, {}", if labels.is_some() { "labels" } else { "no labels" })
        });
        format!(
            "a repair by twnc {}: {:?}; {limits}; {}; {} samples; {} layers {:08x}; network and data {:08x}",
            env!("CARGO_PKG_VERSION"),
            self.options,
            self.choices,
            self.samples.count(),
            layers.len(),
            names.finalize(),
            checkpoint::origin(graph, &self.samples, labels),
        )
    }

    /// Trains the layers together, if that is asked for and the network has gradients.
    fn tune(
        &self,
        setting: &Setting<'_>,
        fits: &[Fitted],
        solved: &mut [(Layer, Solution)],
        cx: &mut PassContext<'_>,
    ) -> Result<Option<Tuning>, RepairError> {
        let RepairOptions { memory, seed, fine_tune: steps, augment } = self.options;
        let Setting { graph, batches, journal, .. } = *setting;
        if matches!(steps, FineTune::None | FineTune::Steps(0)) || solved.is_empty() {
            return Ok(None);
        }
        let (fitted, held_out) = (batches.fitted_samples, batches.held_out_samples);
        let means = fits.iter().map(|fit| fit.means.as_slice()).collect();
        let samples = &*self.samples;
        let task = Task { graph, means, samples, fitted, held_out, memory, seed, steps, augment, journal };
        match task.tune(solved) {
            Ok(tuning) => Ok(Some(tuning)),
            // The fit stands without it.
            Err(RepairError::Gradient(error)) => {
                cx.warn(Topic::Accuracy, graph.name(), format!("not fine-tuned: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl<'a> Setting<'a> {
    /// The network's values on some batches.
    pub fn activations(&self, batches: &[Vec<Tensor>]) -> Result<Activations<'a>, RepairError> {
        Activations::new(self.graph, self.order, self.execute, batches, self.options.memory)
    }

    /// What layers are fitted with.
    pub fn work(&self) -> Result<Work<'a>, RepairError> {
        let Batches { inputs, fitted, .. } = self.batches;
        let new = || self.activations(&inputs[..*fitted]);
        Ok(Work { float: new()?, ternary: new()?, options: self.options })
    }

    /// Fits layers in given forms, one after the other. Those that stay float are fitted too, where they read what is not what it was.
    pub fn fit(&self, chosen: &[(Layer, Form)], rounding: &Ternarise) -> Result<Vec<Fitted>, PassError> {
        let graph = self.graph;
        let forms: HashMap<NodeId, Form> =
            chosen.iter().filter(|(_, f)| *f != Form::Float).map(|(l, form)| (l.node, *form)).collect();
        let ternary = chosen.iter().map(|(layer, _)| layer.clone()).filter(|l| forms.contains_key(&l.node));
        let mut layers: Vec<Layer> = ternary.collect();
        layers.extend(self.float_behind(&layers));
        let mut work = self.work().map_err(|e| e.at(graph.name()))?;
        let (mut fitted, count) = (vec![], layers.len());
        let mut schedule = Schedule::new(graph, self.order, layers);
        while let Some(layer) = schedule.next() {
            self.journal.reach(Stage::Fitting, fitted.len(), count);
            let Some(weight) = layer.float(graph) else { continue };
            let form = forms.get(&layer.node).copied().unwrap_or(Form::Float);
            let freedom = form.freedom(graph, &layer);
            let rounded = match freedom {
                Some(_) => Some(Solution::plane(Plane::of(&layer, rounding.round(graph, &layer, weight)?))),
                None => None,
            };
            let target = Target::of(graph, &layer, |value| schedule.settled(value));
            let fail = |e: RepairError| e.at(&layer.name);
            let known = self.journal.recall(|piece: &Piece| piece.fits(&layer, freedom)).map_err(fail)?;
            let piece = match known {
                Some(piece) => {
                    work.reach(graph, &layer, &target).map_err(fail)?;
                    piece
                }
                None => {
                    let mut fit = work.sums(graph, &layer, &target, freedom).map_err(fail)?;
                    let solution = work.solve(&mut fit, freedom).map_err(fail)?;
                    let own = fit.own();
                    let compared = [rounded.as_ref().unwrap_or(&own), &solution];
                    let errors = work.errors(&fit, &compared).map_err(fail)?;
                    let piece = Piece { means: fit.means(), errors: [errors[0], errors[1]], solution };
                    self.journal.add(&piece).map_err(fail)?;
                    piece
                }
            };
            let Piece { solution, means, errors } = piece;
            work.ternary.substitute(&layer, solution.clone());
            fitted.push(Fitted { layer, form, rounded, solution, means, errors });
            work.release();
        }
        self.journal.reach(Stage::Fitting, count, count);
        Ok(fitted)
    }

    /// Float layers that read what ternary ones make of it, and that can be fitted at no cost: their weight is theirs alone, and behind them
    /// each channel is scaled or shifted anyway.
    fn float_behind(&self, ternary: &[Layer]) -> Vec<Layer> {
        let schedule = Schedule::new(self.graph, self.order, ternary.to_vec());
        let all = self.order.iter().filter_map(|&id| Layer::at(self.graph, id)?.ok());
        let fits = |layer: &Layer| {
            ternary.iter().all(|other| other.node != layer.node)
                && !schedule.settled(self.graph.node(layer.node).operands[0])
                && layer.float(self.graph).is_some_and(|weight| weight.iter().all(|w| w.is_finite()))
                && self.graph.value(layer.weight).uses.len() == 1
                && Target::of(self.graph, layer, |_| false).has_channels()
        };
        all.filter(fits).collect()
    }

    /// The batches that are held out, or all where none is, and the number of their first sample.
    pub fn judged(&self) -> (&'a [Vec<Tensor>], usize) {
        let Batches { inputs, fitted, fitted_samples, held_out_samples, .. } = self.batches;
        if *held_out_samples > 0 { (&inputs[*fitted..], *fitted_samples) } else { (inputs, 0) }
    }

    /// The f32 outputs of the float network beside those of the rounded and of the repaired one, on the samples that are held out.
    pub fn accuracy(
        &self,
        networks: [Vec<(&Layer, &Solution)>; 2],
        labels: Option<&[usize]>,
    ) -> Result<Vec<OutputAccuracy>, RepairError> {
        let is_f32 = |value| self.graph.ty(value).element == twnc_ir::ElementType::F32;
        let ports = || self.graph.outputs().iter().filter(|port| is_f32(port.value));
        let values: Vec<ValueId> = ports().map(|port| port.value).collect();
        let [rounded, repaired] = networks;
        let found = [self.distances(&values, &rounded, labels)?, self.distances(&values, &repaired, labels)?];
        let outputs = ports().enumerate().map(|(i, port)| {
            let [rounded, repaired] = [&found[0][i], &found[1][i]];
            OutputAccuracy {
                name: port.name.clone(),
                sqnr_rounded: rounded.sqnr(),
                sqnr: repaired.sqnr(),
                agreement_rounded: rounded.agreement(),
                agreement: repaired.agreement(),
                right_float: repaired.right().map(|right| right[0]),
                right: repaired.right().map(|right| right[1]),
            }
        });
        Ok(outputs.collect())
    }

    /// How far values are from the float network's where layers are replaced, on the samples that are held out.
    pub fn distances(
        &self,
        values: &[ValueId],
        replaced: &[(&Layer, &Solution)],
        labels: Option<&[usize]>,
    ) -> Result<Vec<Distance>, RepairError> {
        let (batches, mut sample) = self.judged();
        let mut distances = vec![Distance::default(); values.len()];
        // Batch by batch: of the networks no more than that is needed.
        for batch in batches {
            let count = batch.first().and_then(|tensor| tensor.shape().first().copied()).unwrap_or(0);
            let batch = std::slice::from_ref(batch);
            let (mut float, mut other) = (self.activations(batch)?, self.activations(batch)?);
            replaced.iter().for_each(|(layer, solution)| other.substitute(layer, (*solution).clone()));
            float.compute(values)?;
            other.compute(values)?;
            let labels = labels.and_then(|labels| labels.get(sample..sample + count));
            for (distance, &value) in distances.iter_mut().zip(values) {
                distance.add(float.of(value, 0)?, other.of(value, 0)?, labels);
            }
            sample += count;
        }
        Ok(distances)
    }
}

impl Piece {
    fn fits(&self, layer: &Layer, freedom: Option<Freedom>) -> bool {
        let groups = self.means.len();
        groups > 0
            && layer.channels.is_multiple_of(groups)
            && self.means.iter().all(|means| means.len() == layer.fan_in)
            && self.solution.fits(layer, freedom)
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
        replaced(graph, solved.iter().map(|(layer, solution)| (layer, solution)))
    }
}

/// Puts solutions in the place of layers.
pub(crate) fn replaced<'s>(
    graph: &mut Graph,
    solved: impl Iterator<Item = (&'s Layer, &'s Solution)>,
) -> Result<Changed, PassError> {
    let mut rewriter = Rewriter::new(graph);
    for (layer, solution) in solved {
        solution.replace(&mut rewriter, layer).map_err(PassError::at(&layer.name))?;
    }
    rewriter.remove_dead("a ternary weight stands in its place");
    Ok(rewriter.finish())
}
