//! Layers that are trained together, in a network or a part of one, to give answers that are known.
//!
//! Adam, with a rate that falls along a cosine. Samples that are held out decide: the state that was best on them stays, which may be that in
//! the beginning.

use crate::RepairError;
use crate::gradient::{self, GradientError, Mode, Network, bind};
use crate::loss::Loss;
use crate::optimiser::{Optimiser, Rule, Schedule};
use crate::random::Random;
use crate::samples::Samples;
use crate::solution::{Solution, bias_tensor};
use crate::trained::Trained;
use std::collections::{BTreeMap, HashMap};
use twnc_ir::{Binary, Graph, Layer, Op, Port, Rewriter, Tensor, ValueId};

/// Samples of a step, as a rule; where the network takes fewer at a time, gradients are added up.
pub(crate) const BATCH: usize = 64;
/// The rate of Adam, in the units of what is trained.
const RATE: f32 = 1e-2;

/// What is asked, and what the answers are.
pub(crate) trait Lessons {
    /// Inputs for some samples, as they are or as they are in a training step of this number.
    fn questions(&mut self, samples: &[usize], step: Option<u64>) -> Result<Vec<Tensor>, RepairError>;

    /// The answers, output by output, to what was just asked.
    fn answers(
        &mut self,
        samples: &[usize],
        questions: &[Tensor],
        step: Option<u64>,
    ) -> Result<Vec<Vec<f32>>, RepairError>;
}

/// How long, on which samples.
pub(crate) struct Course<'a> {
    pub steps: usize,
    /// How often it is looked how far it has come.
    pub looks: usize,
    /// Samples that are trained on: those before this one.
    pub fitted: usize,
    /// Those that decide.
    pub judged: &'a [usize],
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Progress {
    /// Steps that were made.
    pub steps: usize,
    /// The best of them; 0 is the beginning.
    pub best: usize,
    /// The loss on the samples that decide, in the beginning and at best.
    pub loss: [f64; 2],
}

/// A graph whose layers have weights and biases that may be written.
pub(crate) struct Prepared {
    graph: Graph,
    parameters: Vec<ValueId>,
    /// What stands in the place of layers' results.
    replaced: HashMap<ValueId, ValueId>,
}

/// See the module.
pub(crate) struct Pupil {
    network: Network,
    trained: Vec<Trained>,
    /// Of each layer, the number of its bias among the parameters.
    biases: Vec<Option<usize>>,
    pub losses: Vec<Loss>,
    /// Samples of a step.
    step: usize,
    /// Samples that the network takes at a time.
    pub batch: usize,
}

impl Prepared {
    /// Of a graph with layers that have been solved.
    pub fn new(graph: &Graph, solved: &[(&Layer, &Solution)]) -> Result<Prepared, GradientError> {
        let mut graph = graph.clone();
        let mut rewriter = Rewriter::new(&mut graph);
        let (mut weights, mut biases, mut replaced) = (vec![], vec![], HashMap::new());
        for (layer, solution) in solved {
            let fail = |e: twnc_ir::TypeError| GradientError::node(&layer.name, e);
            let weight = rewriter.constant(layer.float_tensor(solution.weight(layer)), "");
            let mut value = layer.insert(&mut rewriter, weight).map_err(fail)?;
            weights.push(weight);
            if let Some(bias) = &solution.bias {
                let rank = rewriter.graph().ty(value).rank();
                let bias = rewriter.constant(bias_tensor(layer, bias, rank), "");
                value = rewriter.insert(Op::Binary(Binary::Add), &[value, bias], "").map_err(fail)?;
                biases.push(bias);
            }
            rewriter.replace(layer.result, value, "it is trained").map_err(fail)?;
            replaced.insert(layer.result, value);
        }
        drop(rewriter.finish());
        Ok(Prepared { graph, parameters: [weights, biases].concat(), replaced })
    }

    /// The part between some values and others, for these sizes of the graph's inputs.
    pub fn network(
        &self,
        sizes: &BTreeMap<String, i64>,
        inputs: &[ValueId],
        outputs: &[ValueId],
        memory: usize,
    ) -> Result<Network, GradientError> {
        let bound = bind::bind(&self.graph, sizes)?;
        let place = |value: &ValueId| {
            let value = self.replaced.get(value).unwrap_or(value);
            let place = bound.values.get(value).copied();
            place.ok_or_else(|| GradientError::node(&value.to_string(), "it is not there"))
        };
        let places = |values: &[ValueId]| values.iter().map(place).collect::<Result<Vec<_>, _>>();
        let (inputs, outputs) = (places(inputs)?, places(outputs)?);
        Network::between(&bound.graph, &inputs, &places(&self.parameters)?, &outputs, memory)
    }
}

impl Pupil {
    /// Layers of a graph, in a network that has their weights and biases as parameters, as [`Prepared`] makes it; how many samples a step has, and
    /// how many of them it takes at a time.
    pub fn new(
        graph: &Graph,
        solved: &[(&Layer, &Solution)],
        network: Network,
        losses: Vec<Loss>,
        [step, batch]: [usize; 2],
    ) -> Pupil {
        let trained: Vec<Trained> =
            solved.iter().map(|(layer, solution)| Trained::new(graph, layer, solution)).collect();
        let mut next = trained.len();
        let number = |t: &Trained| {
            t.has_bias().then(|| {
                next += 1;
                next - 1
            })
        };
        let biases = trained.iter().map(number).collect();
        Pupil { network, trained, biases, losses, step, batch }
    }

    /// Multiplications forward of a step.
    pub fn products(&self) -> f64 {
        self.network.products() * self.rounds() as f64
    }

    /// Rounds of a step.
    pub fn rounds(&self) -> usize {
        self.step.div_ceil(self.batch)
    }

    /// Trains, and gives what the layers were at best, if that was not the beginning.
    pub fn train(
        &mut self,
        lessons: &mut dyn Lessons,
        course: &Course<'_>,
        name: &str,
        progress: &dyn Fn(usize, usize),
    ) -> Result<(Progress, Option<Vec<Solution>>), RepairError> {
        let mut optimiser = Optimiser::new(Rule::Adam, self.trained.iter().flat_map(Trained::sizes));
        let before = self.judge(lessons, course.judged)?;
        if !before.is_finite() {
            return Err(RepairError::NotFinite(name.to_owned()));
        }
        let steps = course.steps;
        let (mut found, mut best) = (Progress { steps, best: 0, loss: [before; 2] }, None);
        let (mut order, mut next, mut epoch) = (vec![], 0, 0);
        for step in 0..steps {
            progress(step, steps);
            let mut sums: Vec<[Vec<f32>; 2]> = vec![];
            for round in 0..self.rounds() {
                let mut chosen = vec![];
                while chosen.len() < self.batch {
                    if next == order.len() {
                        order = Random::of(course.seed, &[0, epoch]).permutation(course.fitted);
                        (next, epoch) = (0, epoch + 1);
                    }
                    chosen.push(order[next]);
                    next += 1;
                }
                self.learn(lessons, &chosen, (step * self.rounds() + round) as u64)?;
                for i in 0..self.trained.len() {
                    let by_bias = self.biases[i].map_or(&[][..], |bias| self.network.gradient(bias));
                    let found = [self.network.gradient(i), by_bias];
                    match sums.get_mut(i) {
                        Some(sums) => sums.iter_mut().zip(found).for_each(|(sum, g)| gradient::add(sum, g)),
                        None => sums.push(found.map(<[f32]>::to_vec)),
                    }
                }
            }
            let rate = RATE * Schedule::Cosine.factor(step as u64, steps as u64);
            optimiser.begin();
            let mut group = 0;
            for (trained, sums) in self.trained.iter_mut().zip(&sums) {
                trained.step(sums, &mut optimiser, &mut group, rate);
            }
            if (step + 1) % (steps / course.looks).max(1) == 0 || step + 1 == steps {
                let loss = self.judge(lessons, course.judged)?;
                if !loss.is_finite() {
                    // It has run away; what was best stays.
                    found.steps = step + 1;
                    break;
                }
                if loss < found.loss[1] {
                    (found.best, found.loss[1]) = (step + 1, loss);
                    best = Some(self.trained.iter().map(Trained::solution).collect());
                }
            }
        }
        progress(steps, steps);
        Ok((found, best))
    }

    /// Takes the gradients on some samples.
    fn learn(&mut self, lessons: &mut dyn Lessons, samples: &[usize], step: u64) -> Result<(), RepairError> {
        self.write();
        let questions = lessons.questions(samples, Some(step))?;
        let answers = lessons.answers(samples, &questions, Some(step))?;
        self.network.forward(&questions, Mode::Inference).map_err(RepairError::Gradient)?;
        let mut seeds = vec![];
        for (i, (loss, answers)) in self.losses.iter().zip(&answers).enumerate() {
            let rows = self.network.output(i);
            let width = self.network.output_shape(i).last().copied().unwrap_or(1).max(1);
            let mut seed = vec![0.0; rows.len()];
            loss.of(rows, answers, width, 1.0 / self.batch as f32, &mut seed);
            seeds.push(seed);
        }
        self.network.backward(&seeds);
        Ok(())
    }

    /// The loss on some samples.
    fn judge(&mut self, lessons: &mut dyn Lessons, samples: &[usize]) -> Result<f64, RepairError> {
        self.write();
        let mut total = 0.0;
        for (chosen, count) in batches(samples, self.batch) {
            let questions = lessons.questions(&chosen, None)?;
            let answers = lessons.answers(&chosen, &questions, None)?;
            self.network.forward(&questions, Mode::Inference).map_err(RepairError::Gradient)?;
            for (i, (loss, answers)) in self.losses.iter().zip(&answers).enumerate() {
                let rows = self.network.output(i);
                let size = rows.len() / self.batch * count;
                let width = self.network.output_shape(i).last().copied().unwrap_or(1).max(1);
                let mut seed = vec![0.0; size];
                total +=
                    loss.of(&rows[..size], &answers[..size], width, 1.0 / samples.len() as f32, &mut seed);
            }
        }
        Ok(total)
    }

    fn write(&mut self) {
        for (i, trained) in self.trained.iter().enumerate() {
            trained.weight(self.network.parameter_mut(i));
            if let Some(bias) = self.biases[i] {
                trained.bias(self.network.parameter_mut(bias));
            }
        }
    }
}

/// Builds something for so many samples at a time, or as many as memory holds, from what the graph's symbols are then.
pub(crate) fn largest<T>(
    graph: &Graph,
    samples: &Samples,
    most: usize,
    build: impl Fn(&BTreeMap<String, i64>) -> Result<T, GradientError>,
) -> Result<(T, usize), RepairError> {
    let fixed = graph.inputs().first().and_then(|port| graph.ty(port.value).shape.first()?.as_size());
    let mut batch = fixed.unwrap_or(most).max(1);
    loop {
        let shape = |port: &Port| {
            let mut shape = samples.shape(&port.name);
            if let Some(first) = shape.first_mut() {
                *first = batch;
            }
            shape
        };
        let shapes: Vec<Vec<usize>> = graph.inputs().iter().map(shape).collect();
        match build(&bind::sizes(graph, &shapes).map_err(RepairError::Samples)?) {
            Ok(built) => return Ok((built, batch)),
            Err(GradientError::Memory { .. }) if fixed.is_none() && batch > 1 => batch /= 2,
            Err(error) => return Err(RepairError::Gradient(error)),
        }
    }
}

/// In which unit squared errors of such rows are: how far they are from their mean.
pub(crate) fn unit(rows: &[f32], count: usize) -> f32 {
    let count = count.max(1);
    let size = (rows.len() / count).max(1);
    let mut sums = vec![[0.0f64; 2]; size];
    for row in rows.chunks(size) {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum = [sum[0] + f64::from(x), sum[1] + f64::from(x).powi(2)];
        }
    }
    let own = sums.iter().map(|[_, square]| square).sum::<f64>() / count as f64;
    let mean = sums.iter().map(|[sum, _]| (sum / count as f64).powi(2)).sum::<f64>();
    // What rounding leaves of a difference of equals is none.
    let square = if own - mean > 1e-9 * own { own - mean } else { 0.0 };
    // Outputs that are the same for all samples are measured by what they are.
    [square, own, 1.0].into_iter().find(|s| *s > f64::from(f32::MIN_POSITIVE)).unwrap_or(1.0) as f32
}

/// Samples in batches, the last one filled up with those from the beginning; and how many of each count.
pub(crate) fn batches(samples: &[usize], batch: usize) -> impl Iterator<Item = (Vec<usize>, usize)> {
    samples.chunks(batch).map(move |chosen| {
        let filled = chosen.iter().chain(samples.iter().cycle()).take(batch).copied().collect();
        (filled, chosen.len())
    })
}
