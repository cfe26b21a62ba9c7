//! Fine-tuning without labels: all layers that were fitted one by one are trained together to give the float network's outputs.
//!
//! Trained are, of each layer, its trits, scales and bias, and of one that stays float its weight and bias (`trained` says how). Forward and
//! backward go by `αT + bias`; the gradient by T is that by what it is rounded from, straight through. A batch norm behind needs no training of its own: where a channel has its
//! scale and bias, it has all that a batch norm would add. Adam, with a rate that falls along a cosine.
//!
//! Outputs behind a softmax are compared by the divergence of their logits, others by squared error. In the first half of the steps what layers read is compared too: with few
//! samples it says more than the outputs do. Samples that are held out decide: the last state stays if it is better on them than the beginning, else the best that was seen.

mod team;

use crate::augment::Augment;
use crate::gradient::GradientError;
use crate::journal::Journal;
use crate::optimiser::{Optimiser, Rule, Schedule};
use crate::random::Random;
use crate::repair::Stage;
use crate::samples::Samples;
use crate::solution::{Solution, bias_tensor};
use crate::trained::Trained;
use crate::{RepairError, parallel};
use team::Team;
use twnc_ir::{Binary, Graph, Layer, Op, Rewriter, Tensor, ValueId};

/// The rate of Adam, in the units of what is trained.
const RATE: f32 = 5e-3;
/// In the first steps, this share of all, the rate rises to that: Adam's are as large as its rate, whichever way they go.
const RISE: f32 = 0.05;
/// At this share of all steps features count no more.
const FEATURES: f32 = 0.5;
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
    /// The one whose state stays; 0 is the beginning.
    pub best: usize,
    /// The squared error of the outputs on the samples held out, before and at that step.
    pub loss: [f64; 2],
    /// How images were changed.
    pub augment: Augment,
}

/// What is trained, and on what.
pub(crate) struct Task<'a> {
    pub graph: &'a Graph,
    /// Of each layer, the mean of what each weight multiplies, of each group.
    pub means: Vec<&'a [Vec<f32>]>,
    pub samples: &'a Samples,
    /// How many samples are for fitting; those behind are held out.
    pub fitted: usize,
    pub held_out: usize,
    pub memory: usize,
    pub seed: u64,
    pub steps: FineTune,
    /// `None`: what is safe for the shape of each input.
    pub augment: Option<Augment>,
    pub journal: &'a Journal<'a>,
}

/// How far it has come: the step, those of the optimiser, the best one with its loss and, unless it is the beginning, its solutions; and all that
/// is learnt.
type State = (usize, u64, (usize, f64, Option<Vec<Solution>>), Vec<Vec<f32>>);

/// A graph with the layers as they are trained: its weights and biases.
struct Student {
    graph: Graph,
    weights: Vec<ValueId>,
    biases: Vec<Option<ValueId>>,
    /// What layers read, in both graphs.
    features: Vec<ValueId>,
}

impl Task<'_> {
    /// Trains the layers from these solutions on, which stay where nothing is better.
    pub fn tune(&self, solved: &mut [(Layer, Solution)]) -> Result<Tuning, RepairError> {
        let layers = solved.iter().zip(&self.means);
        let mut trained: Vec<Trained> = layers
            .map(|((layer, solution), means)| Trained::new(self.graph, layer, solution, means))
            .collect();
        let student = self.student(solved).map_err(RepairError::Gradient)?;
        let team = Team::new(self, &student, parallel::threads())?;
        let augment = self.augment.unwrap_or_else(|| {
            let of = |port: &twnc_ir::Port| Augment::of_shape(&self.samples.shape(&port.name));
            self.graph.inputs().iter().map(of).find(|a| *a != Augment::default()).unwrap_or_default()
        });
        let steps = match self.steps {
            FineTune::None => 0,
            FineTune::Steps(steps) => steps,
            FineTune::Auto => ((PRODUCTS / team.products().max(1.0)) as usize).clamp(STEPS[0], STEPS[1]),
        };
        let mut optimiser = Optimiser::new(Rule::Adam, trained.iter().flat_map(Trained::sizes));
        // Of samples of which none is held out, the fit decides.
        let judged =
            if self.held_out > 0 { self.fitted..self.fitted + self.held_out } else { 0..self.fitted };
        let judged: Vec<usize> = judged.collect();
        let answers = team.answers(self, &judged)?;
        let before = team.judge(self, &trained, &judged, &answers)?;
        if !before.is_finite() {
            return Err(RepairError::NotFinite(self.graph.name().to_owned()));
        }
        let mut tuning = Tuning { steps, best: 0, loss: [before; 2], augment };
        let begun = match self.journal.recall_open()? {
            Some(state) => self.take_up(state, &mut trained, &mut optimiser, solved, &mut tuning)?,
            None => 0,
        };
        let (mut order, mut drawn) = (vec![], begun * team.step());
        for step in begun..steps {
            self.journal.reach(Stage::Tuning, step, steps);
            if step > begun {
                self.journal.pause(|| Some(state(step, &trained, &optimiser, solved, &tuning)))?;
            }
            let mut chosen = vec![];
            while chosen.len() < team.step() {
                let (epoch, next) = (drawn / self.fitted, drawn % self.fitted);
                if next == 0 || order.is_empty() {
                    order = Random::of(self.seed, &[0, epoch as u64]).permutation(self.fitted);
                }
                chosen.push(order[next]);
                drawn += 1;
            }
            // All of a step together, so that images meet others however few run at a time.
            let changed = |tensor: &Tensor| augment.apply(tensor, self.seed, |i| [1 + step as u64, i as u64]);
            let inputs: Vec<Tensor> = self.samples.chosen(self.graph, &chosen).iter().map(changed).collect();
            let share = (step + 1) as f32 / steps as f32;
            let gradients = team.learn(&trained, &inputs, (1.0 - share / FEATURES).max(0.0))?;
            let rate = RATE * (share / RISE).min(1.0) * Schedule::Cosine.factor(step as u64, steps as u64);
            optimiser.begin();
            let mut group = 0;
            for (i, t) in trained.iter_mut().enumerate() {
                let by_bias = if t.has_bias() { &gradients[student.bias(i)][..] } else { &[] };
                t.step([&gradients[i], by_bias], &mut optimiser, &mut group, rate);
            }
            if (step + 1) % (steps / LOOKS).max(1) == 0 || step + 1 == steps {
                let loss = team.judge(self, &trained, &judged, &answers)?;
                if !loss.is_finite() {
                    // It has run away; what was best stays.
                    tuning.steps = step + 1;
                    break;
                }
                // The samples held out are few, and say less of two states than the rate's fall does.
                if loss < tuning.loss[1] || step + 1 == steps && loss < before {
                    (tuning.best, tuning.loss[1]) = (step + 1, loss);
                    solved.iter_mut().zip(&trained).for_each(|((_, solution), t)| *solution = t.solution());
                }
            }
        }
        self.journal.reach(Stage::Tuning, steps, steps);
        Ok(tuning)
    }

    /// Goes on from a state: the step to begin with.
    fn take_up(
        &self,
        (step, steps, (best, loss, solutions), vectors): State,
        trained: &mut [Trained],
        optimiser: &mut Optimiser,
        solved: &mut [(Layer, Solution)],
        tuning: &mut Tuning,
    ) -> Result<usize, RepairError> {
        let mut into: Vec<&mut Vec<f32>> =
            trained.iter_mut().flat_map(Trained::state_mut).chain(optimiser.state_mut()).collect();
        let sound = into.len() == vectors.len()
            && into.iter().zip(&vectors).all(|(a, b)| a.len() == b.len())
            && best <= step
            && step <= tuning.steps;
        if !sound {
            return Err(self.journal.foreign());
        }
        into.iter_mut().zip(vectors).for_each(|(into, from)| **into = from);
        optimiser.set_steps(steps);
        if let Some(solutions) = solutions {
            let mut pairs = solutions.iter().zip(&*solved);
            let sound = pairs.all(|(best, (layer, solution))| best.fits(layer, solution.freedom()));
            if !sound || solutions.len() != solved.len() {
                return Err(self.journal.foreign());
            }
            solved.iter_mut().zip(solutions).for_each(|((_, solution), best)| *solution = best);
            (tuning.best, tuning.loss[1]) = (best, loss);
        }
        Ok(step)
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
        let is_input = |value: &ValueId| self.graph.inputs().iter().any(|port| port.value == *value);
        let mut features: Vec<ValueId> = vec![];
        for (layer, _) in solved {
            let value = self.graph.node(layer.node).operands[0];
            if !features.contains(&value)
                && !is_input(&value)
                && solved.iter().all(|(l, _)| l.result != value)
            {
                features.push(value);
            }
        }
        Ok(Student { graph, weights, biases, features })
    }
}

/// What is needed to go on with a step.
fn state(
    step: usize,
    trained: &[Trained],
    optimiser: &Optimiser,
    solved: &[(Layer, Solution)],
    tuning: &Tuning,
) -> State {
    let best = (tuning.best > 0).then(|| solved.iter().map(|(_, solution)| solution.clone()).collect());
    let vectors = trained.iter().flat_map(Trained::state).chain(optimiser.state());
    let vectors = vectors.map(<[f32]>::to_vec).collect();
    (step, optimiser.steps(), (tuning.best, tuning.loss[1], best), vectors)
}

impl Student {
    /// What is trained of it: weights, and biases behind them.
    fn parameters(&self) -> Vec<ValueId> {
        self.weights.iter().copied().chain(self.biases.iter().copied().flatten()).collect()
    }

    /// The number of a layer's bias among the parameters.
    fn bias(&self, layer: usize) -> usize {
        self.weights.len() + self.biases[..layer].iter().flatten().count()
    }
}
