//! Fine-tuning without labels: all layers that were fitted one by one are trained together to give the float network's outputs.
//!
//! Trained are, of each layer, its trits, scales and bias, and of one that stays float its weight and bias (`trained` says how). Forward and
//! backward go by `αT + bias`; the gradient by T is that by what it is rounded from, straight through. A batch norm behind needs no training of its own: where a channel has its
//! scale and bias, it has all that a batch norm would add. Adam, with a rate that falls along a cosine.
//!
//! Outputs behind a softmax are compared by the divergence of their logits, others by squared error. Samples that are held out decide: the
//! state that was best on them stays, which may be that in the beginning.

use crate::RepairError;
use crate::augment::Augment;
use crate::gradient::bind::{self, Bound};
use crate::gradient::{GradientError, Mode, Network};
use crate::loss::{Head, Loss, deviation};
use crate::optimiser::{Optimiser, Rule, Schedule};
use crate::random::Random;
use crate::samples::{Samples, gather};
use crate::solution::{Solution, bias_tensor};
use crate::trained::Trained;
use twnc_ir::{Binary, ElementType, Graph, Layer, Op, Rewriter, Tensor, ValueId};

/// Samples of a step; where the network takes fewer at a time, gradients are added up.
const BATCH: usize = 64;
/// The rate of Adam, in the units of what is trained.
const RATE: f32 = 1e-2;
/// At which logits are compared.
const TEMPERATURE: f32 = 2.0;
/// How often the samples that are held out are looked at.
const LOOKS: usize = 20;
/// Multiplications of a fine-tuning whose steps nobody has said, about: a minute or two on two cores.
const PRODUCTS: f64 = 3e12;
/// But at least and at most so many steps.
const STEPS: [usize; 2] = [100, 1000];

/// How long layers are trained together after they were fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FineTune {
    /// Not at all.
    #[default]
    None,
    /// As many steps as the size of the network suggests: 100 to 1,000.
    Auto,
    /// So many steps.
    Steps(usize),
}

/// What fine-tuning came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Steps that were made.
    pub steps: usize,
    /// The one that was best on the samples held out; 0 is the beginning.
    pub best: usize,
    /// The loss on the samples held out, before and at the best step.
    pub loss: [f64; 2],
    /// How images were changed.
    pub augment: Augment,
}

/// Two networks side by side.
struct Pair {
    student: Network,
    teacher: Network,
    losses: Vec<Loss>,
    batch: usize,
}

/// What is trained, and on what.
pub(crate) struct Task<'a> {
    pub graph: &'a Graph,
    pub samples: &'a Samples,
    /// How many samples are for fitting; those behind are held out.
    pub fitted: usize,
    pub held_out: usize,
    pub memory: usize,
    pub seed: u64,
    pub steps: FineTune,
    /// `None`: what is safe for the shape of each input.
    pub augment: Option<Augment>,
}

/// A graph with the layers as they are trained: its weights and biases.
struct Student {
    graph: Graph,
    weights: Vec<ValueId>,
    biases: Vec<Option<ValueId>>,
}

impl Task<'_> {
    /// Trains the layers from these solutions on, which stay where nothing is better.
    pub fn tune(
        &self,
        solved: &mut [(Layer, Solution)],
        progress: &dyn Fn(usize, usize),
    ) -> Result<Tuning, RepairError> {
        let mut trained: Vec<Trained> =
            solved.iter().map(|(layer, solution)| Trained::new(self.graph, layer, solution)).collect();
        let student = self.student(solved).map_err(RepairError::Gradient)?;
        let mut pair = self.pair(&student)?;
        let augment = self.augment.unwrap_or_else(|| {
            let of = |port: &twnc_ir::Port| Augment::of_shape(&self.samples.shape(&port.name));
            self.graph.inputs().iter().map(of).find(|a| *a != Augment::default()).unwrap_or_default()
        });
        let rounds = BATCH.div_ceil(pair.batch);
        let steps = match self.steps {
            FineTune::None => 0,
            FineTune::Steps(steps) => steps,
            FineTune::Auto => {
                let products = (3.0 * pair.student.products() + pair.teacher.products()) * rounds as f64;
                ((PRODUCTS / products.max(1.0)) as usize).clamp(STEPS[0], STEPS[1])
            }
        };
        self.units(&mut pair)?;
        let mut optimiser = Optimiser::new(Rule::Adam, trained.iter().flat_map(Trained::sizes));
        // Of samples of which none is held out, the fit decides.
        let judged =
            if self.held_out > 0 { self.fitted..self.fitted + self.held_out } else { 0..self.fitted };
        let judged: Vec<usize> = judged.collect();
        let answers = self.answers(&mut pair, &judged)?;
        let before = self.judge(&mut pair, &trained, &judged, &answers)?;
        if !before.is_finite() {
            return Err(RepairError::NotFinite(self.graph.name().to_owned()));
        }
        let mut tuning = Tuning { steps, best: 0, loss: [before; 2], augment };
        let (mut order, mut next, mut epoch) = (vec![], 0, 0);
        for step in 0..steps {
            progress(step, steps);
            let mut chosen = vec![];
            while chosen.len() < rounds * pair.batch {
                if next == order.len() {
                    order = Random::of(self.seed, &[0, epoch]).permutation(self.fitted);
                    (next, epoch) = (0, epoch + 1);
                }
                chosen.push(order[next]);
                next += 1;
            }
            // All of a step together, so that images meet others however few run at a time.
            let changed = |tensor: &Tensor| augment.apply(tensor, self.seed, |i| [1 + step as u64, i as u64]);
            let inputs: Vec<Tensor> = self.samples.chosen(self.graph, &chosen).iter().map(changed).collect();
            let mut sums: Vec<[Vec<f32>; 2]> = vec![];
            for round in 0..rounds {
                let of_round: Vec<usize> = (round * pair.batch..(round + 1) * pair.batch).collect();
                let inputs: Vec<Tensor> = inputs.iter().map(|tensor| gather(tensor, &of_round)).collect();
                self.write(&mut pair, &trained);
                pair.learn(&inputs)?;
                for (i, t) in trained.iter().enumerate() {
                    let by_bias = if t.has_bias() { pair.student.gradient(student.bias(i)) } else { &[][..] };
                    let found = [pair.student.gradient(i), by_bias];
                    match sums.get_mut(i) {
                        Some(sums) => {
                            sums.iter_mut().zip(found).for_each(|(sum, g)| crate::gradient::add(sum, g));
                        }
                        None => sums.push(found.map(<[f32]>::to_vec)),
                    }
                }
            }
            let rate = RATE * Schedule::Cosine.factor(step as u64, steps as u64);
            optimiser.begin();
            let mut group = 0;
            for (t, sums) in trained.iter_mut().zip(&sums) {
                t.step(sums, &mut optimiser, &mut group, rate);
            }
            if (step + 1) % (steps / LOOKS).max(1) == 0 || step + 1 == steps {
                let loss = self.judge(&mut pair, &trained, &judged, &answers)?;
                if !loss.is_finite() {
                    // It has run away; what was best stays.
                    tuning.steps = step + 1;
                    break;
                }
                if loss < tuning.loss[1] {
                    (tuning.best, tuning.loss[1]) = (step + 1, loss);
                    solved.iter_mut().zip(&trained).for_each(|((_, solution), t)| *solution = t.solution());
                }
            }
        }
        progress(steps, steps);
        Ok(tuning)
    }

    /// The graph whose layers have weights and biases that may be written.
    fn student(&self, solved: &[(Layer, Solution)]) -> Result<Student, GradientError> {
        let mut graph = self.graph.clone();
        let mut rewriter = Rewriter::new(&mut graph);
        let (mut weights, mut biases) = (vec![], vec![]);
        for (layer, solution) in solved {
            let fail = |e: twnc_ir::TypeError| GradientError::node(&layer.name, e);
            let weight = rewriter.constant(layer.float_tensor(solution.weight(layer)), "");
            let mut value = layer.insert(&mut rewriter, weight).map_err(fail)?;
            weights.push(weight);
            biases.push(None);
            if let Some(bias) = &solution.bias {
                let rank = rewriter.graph().ty(value).rank();
                let bias = rewriter.constant(bias_tensor(layer, bias, rank), "");
                value = rewriter.insert(Op::Binary(Binary::Add), &[value, bias], "").map_err(fail)?;
                biases.pop();
                biases.push(Some(bias));
            }
            rewriter.replace(layer.result, value, "it is trained").map_err(fail)?;
        }
        drop(rewriter.finish());
        Ok(Student { graph, weights, biases })
    }

    /// Both networks, for as many samples at a time as a step has and memory holds.
    fn pair(&self, student: &Student) -> Result<Pair, RepairError> {
        let is_float = |graph: &Graph, value: ValueId| graph.ty(value).element == ElementType::F32;
        let heads = |graph: &Graph| -> Vec<Head> {
            let ports = graph.outputs().iter().filter(|port| is_float(graph, port.value));
            ports.map(|port| Head::of(graph, port.value)).collect()
        };
        let (own, asked) = (heads(&student.graph), heads(self.graph));
        let fixed =
            self.graph.inputs().first().and_then(|port| self.graph.ty(port.value).shape.first()?.as_size());
        let mut batch = fixed.unwrap_or(BATCH.min(self.fitted)).max(1);
        loop {
            let shapes: Vec<Vec<usize>> = self
                .graph
                .inputs()
                .iter()
                .map(|port| {
                    let mut shape = self.samples.shape(&port.name);
                    if let Some(first) = shape.first_mut() {
                        *first = batch;
                    }
                    shape
                })
                .collect();
            let sizes = bind::sizes(self.graph, &shapes).map_err(RepairError::Samples)?;
            let build = |graph: &Graph, parameters: &[ValueId], heads: &[Head]| {
                let Bound { graph, values } = bind::bind(graph, &sizes)?;
                let parameters: Vec<ValueId> = parameters.iter().map(|value| values[value]).collect();
                let outputs: Vec<ValueId> = heads.iter().map(|head| values[&head.value]).collect();
                Network::new(&graph, &parameters, &outputs, self.memory / 2)
            };
            let parameters: Vec<ValueId> =
                student.weights.iter().copied().chain(student.biases.iter().copied().flatten()).collect();
            let built = build(&student.graph, &parameters, &own)
                .and_then(|s| Ok((s, build(self.graph, &[], &asked)?)));
            match built {
                Ok((student, teacher)) => {
                    let loss = |head: &Head| match head.is_logits {
                        true => Loss::Divergence { temperature: TEMPERATURE },
                        false => Loss::SquaredError { unit: 1.0 },
                    };
                    return Ok(Pair { student, teacher, losses: asked.iter().map(loss).collect(), batch });
                }
                Err(GradientError::Memory { .. }) if fixed.is_none() && batch > 1 => batch /= 2,
                Err(error) => return Err(RepairError::Gradient(error)),
            }
        }
    }

    /// In which units squared errors are: how far the float network's outputs are from their mean.
    fn units(&self, pair: &mut Pair) -> Result<(), RepairError> {
        let count = self.fitted.min(4 * BATCH);
        let outputs = self.answers(pair, &(0..count).collect::<Vec<_>>())?;
        for (loss, rows) in pair.losses.iter_mut().zip(outputs) {
            if let Loss::SquaredError { unit } = loss {
                *unit = deviation(&rows, count);
            }
        }
        Ok(())
    }

    /// The float network's outputs for some samples.
    fn answers(&self, pair: &mut Pair, samples: &[usize]) -> Result<Vec<Vec<f32>>, RepairError> {
        let mut outputs = vec![vec![]; pair.losses.len()];
        for (chosen, count) in batches(samples, pair.batch) {
            let inputs = self.samples.chosen(self.graph, &chosen);
            pair.teacher.forward(&inputs, Mode::Inference).map_err(RepairError::Gradient)?;
            for (i, output) in outputs.iter_mut().enumerate() {
                let rows = pair.teacher.output(i);
                output.extend_from_slice(&rows[..rows.len() / pair.batch * count]);
            }
        }
        Ok(outputs)
    }

    /// The loss on samples to which the float network's answers are known.
    fn judge(
        &self,
        pair: &mut Pair,
        trained: &[Trained],
        samples: &[usize],
        answers: &[Vec<f32>],
    ) -> Result<f64, RepairError> {
        self.write(pair, trained);
        let (mut loss, mut done) = (0.0, 0);
        for (chosen, count) in batches(samples, pair.batch) {
            let inputs = self.samples.chosen(self.graph, &chosen);
            pair.student.forward(&inputs, Mode::Inference).map_err(RepairError::Gradient)?;
            for (i, answers) in answers.iter().enumerate() {
                let rows = pair.student.output(i);
                let size = rows.len() / pair.batch;
                let (rows, answers) = (&rows[..size * count], &answers[size * done..size * (done + count)]);
                let width = pair.student.output_shape(i).last().copied().unwrap_or(1).max(1);
                let mut seed = vec![0.0; rows.len()];
                loss += pair.losses[i].of(rows, answers, width, 1.0 / samples.len() as f32, &mut seed);
            }
            done += count;
        }
        Ok(loss)
    }

    fn write(&self, pair: &mut Pair, trained: &[Trained]) {
        let mut bias = trained.len();
        for (i, t) in trained.iter().enumerate() {
            t.weight(pair.student.parameter_mut(i));
            if t.has_bias() {
                t.bias(pair.student.parameter_mut(bias));
                bias += 1;
            }
        }
    }
}

impl Student {
    /// The number of a layer's bias among the parameters.
    fn bias(&self, layer: usize) -> usize {
        self.weights.len() + self.biases[..layer].iter().flatten().count()
    }
}

impl Pair {
    /// Runs both, and takes the gradients.
    fn learn(&mut self, inputs: &[Tensor]) -> Result<(), RepairError> {
        self.teacher.forward(inputs, Mode::Inference).map_err(RepairError::Gradient)?;
        self.student.forward(inputs, Mode::Inference).map_err(RepairError::Gradient)?;
        let seeds: Vec<Vec<f32>> = self
            .losses
            .iter()
            .enumerate()
            .map(|(i, loss)| {
                let (rows, answers) = (self.student.output(i), self.teacher.output(i));
                let width = self.student.output_shape(i).last().copied().unwrap_or(1).max(1);
                let mut seed = vec![0.0; rows.len()];
                loss.of(rows, answers, width, 1.0 / self.batch as f32, &mut seed);
                seed
            })
            .collect();
        self.student.backward(&seeds);
        Ok(())
    }
}

/// Samples in batches, the last one filled up with those from the beginning; and how many of each count.
fn batches(samples: &[usize], batch: usize) -> impl Iterator<Item = (Vec<usize>, usize)> {
    samples.chunks(batch).map(move |chosen| {
        let filled = chosen.iter().chain(samples.iter().cycle()).take(batch).copied().collect();
        (filled, chosen.len())
    })
}
