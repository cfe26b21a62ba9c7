//! Fine-tuning without labels: all layers that were fitted one by one are trained together to give the float network's outputs.
//!
//! Trained are, of each layer, its trits through latents, its scales and its bias, and of one that stays float its weight and bias ([`trained`](crate)
//! has the units). Forward and backward go by `αT + bias`; the gradient by T is that by its latent, straight through. A batch norm behind needs no
//! training of its own: where a channel has its scale and bias, it has all that a batch norm would add.
//!
//! Outputs behind a softmax are compared by the divergence of their logits, others by squared error.

use crate::RepairError;
use crate::augment::Augment;
use crate::gradient::{Mode, Network};
use crate::loss::{Head, Loss};
use crate::pupil::{self, BATCH, Course, Lessons, Prepared, Pupil, batches};
use crate::samples::Samples;
use crate::solution::Solution;
use std::collections::BTreeMap;
use twnc_ir::{ElementType, Graph, Layer, Tensor, ValueId};

/// At which logits are compared.
const TEMPERATURE: f32 = 2.0;
/// How often the samples that decide are looked at.
const LOOKS: usize = 20;
/// Multiplications of a fine-tuning whose steps nobody has said, about: a minute on two cores.
const PRODUCTS: f64 = 1.5e12;
/// But at least and at most so many steps.
const STEPS: [usize; 2] = [100, 1000];

/// How long layers are trained together after they were fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FineTune {
    /// Not at all.
    #[default]
    None,
    /// As many steps as the size of each section and of the network suggests: 100 to 1,000.
    Auto,
    /// So many steps, of each section and of the whole network.
    Steps(usize),
}

impl FineTune {
    /// How many steps, where the size of the network suggests so many.
    pub(crate) fn steps(self, suggested: f64) -> usize {
        match self {
            FineTune::None => 0,
            FineTune::Steps(steps) => steps,
            FineTune::Auto => (suggested as usize).clamp(STEPS[0], STEPS[1]),
        }
    }
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

/// Samples, and the float network that answers them.
struct Teacher<'a> {
    task: &'a Task<'a>,
    network: Network,
    outputs: usize,
    batch: usize,
    augment: Augment,
    /// Answers to samples as they are, once known.
    known: BTreeMap<usize, Vec<Vec<f32>>>,
}

impl Lessons for Teacher<'_> {
    fn questions(&mut self, samples: &[usize], step: Option<u64>) -> Result<Vec<Tensor>, RepairError> {
        let inputs = self.task.samples.chosen(self.task.graph, samples);
        let Some(step) = step else { return Ok(inputs) };
        let change = |tensor| self.augment.apply(tensor, self.task.seed, |i| [1 + step, i as u64]);
        Ok(inputs.iter().map(change).collect())
    }

    fn answers(
        &mut self,
        samples: &[usize],
        questions: &[Tensor],
        step: Option<u64>,
    ) -> Result<Vec<Vec<f32>>, RepairError> {
        if step.is_none() && samples.iter().all(|sample| self.known.contains_key(sample)) {
            let of = |i: usize| samples.iter().flat_map(|sample| &self.known[sample][i]).copied().collect();
            return Ok((0..self.outputs).map(of).collect());
        }
        self.network.forward(questions, Mode::Inference).map_err(RepairError::Gradient)?;
        let answers: Vec<Vec<f32>> = (0..self.outputs).map(|i| self.network.output(i).to_vec()).collect();
        if step.is_none() {
            for (i, &sample) in samples.iter().enumerate() {
                let row = |rows: &Vec<f32>| {
                    let size = rows.len() / self.batch;
                    rows[i * size..(i + 1) * size].to_vec()
                };
                self.known.insert(sample, answers.iter().map(row).collect());
            }
        }
        Ok(answers)
    }
}

impl Task<'_> {
    /// Trains the layers from these solutions on, which stay where nothing is better.
    pub fn tune(
        &self,
        solved: &mut [(Layer, Solution)],
        progress: &dyn Fn(usize, usize),
    ) -> Result<Tuning, RepairError> {
        let layers: Vec<(&Layer, &Solution)> =
            solved.iter().map(|(layer, solution)| (layer, solution)).collect();
        let (mut pupil, mut teacher) = self.pair(&layers)?;
        let augment = teacher.augment;
        let products = 3.0 * pupil.products() + teacher.network.products() * pupil.rounds() as f64;
        let steps = self.steps.steps(PRODUCTS / products);
        self.units(&mut pupil, &mut teacher)?;
        let judged = self.judged();
        let course = Course { steps, looks: LOOKS, fitted: self.fitted, judged: &judged, seed: self.seed };
        let (found, best) = pupil.train(&mut teacher, &course, self.graph.name(), progress)?;
        if let Some(best) = best {
            solved.iter_mut().zip(best).for_each(|((_, solution), best)| *solution = best);
        }
        Ok(Tuning { steps: found.steps, best: found.best, loss: found.loss, augment })
    }

    /// The samples that decide: those held out; where there are none, all.
    fn judged(&self) -> Vec<usize> {
        let held_out = self.fitted..self.fitted + self.held_out;
        if held_out.is_empty() { (0..self.fitted).collect() } else { held_out.collect() }
    }

    /// Both networks, for as many samples at a time as a step has and memory holds.
    fn pair(&self, layers: &[(&Layer, &Solution)]) -> Result<(Pupil, Teacher<'_>), RepairError> {
        let prepared = Prepared::new(self.graph, layers).map_err(RepairError::Gradient)?;
        let whole = Prepared::new(self.graph, &[]).map_err(RepairError::Gradient)?;
        let heads = heads(self.graph);
        let outputs: Vec<ValueId> = heads.iter().map(|head| head.value).collect();
        let inputs: Vec<ValueId> = self.graph.inputs().iter().map(|port| port.value).collect();
        let network =
            |prepared: &Prepared, sizes: &_| prepared.network(sizes, &inputs, &outputs, self.memory / 2);
        let ((student, network), batch) =
            pupil::largest(self.graph, self.samples, BATCH.min(self.fitted), |sizes| {
                Ok((network(&prepared, sizes)?, network(&whole, sizes)?))
            })?;
        let loss = |head: &Head| match head.is_logits {
            true => Loss::Divergence { temperature: TEMPERATURE },
            false => Loss::SquaredError { unit: 1.0 },
        };
        let losses = heads.iter().map(loss).collect();
        let augment = self.augment.unwrap_or_else(|| {
            let of = |port: &twnc_ir::Port| Augment::of_shape(&self.samples.shape(&port.name));
            self.graph.inputs().iter().map(of).find(|a| *a != Augment::default()).unwrap_or_default()
        });
        let teacher =
            Teacher { task: self, network, outputs: outputs.len(), batch, augment, known: BTreeMap::new() };
        Ok((Pupil::new(self.graph, layers, student, losses, [BATCH, batch]), teacher))
    }

    /// Sets the units of squared errors.
    fn units(&self, pupil: &mut Pupil, teacher: &mut Teacher<'_>) -> Result<(), RepairError> {
        let samples: Vec<usize> = (0..self.fitted.min(BATCH)).collect();
        let mut rows = vec![vec![]; pupil.losses.len()];
        for (chosen, count) in batches(&samples, pupil.batch) {
            let questions = teacher.questions(&chosen, None)?;
            let answers = teacher.answers(&chosen, &questions, None)?;
            rows.iter_mut().zip(answers).for_each(|(rows, answers)| {
                rows.extend_from_slice(&answers[..answers.len() / pupil.batch * count]);
            });
        }
        for (loss, rows) in pupil.losses.iter_mut().zip(rows) {
            if let Loss::SquaredError { unit } = loss {
                *unit = pupil::unit(&rows, samples.len());
            }
        }
        Ok(())
    }
}

/// What is compared of a graph: its f32 outputs, in front of a softmax.
pub(crate) fn heads(graph: &Graph) -> Vec<Head> {
    let ports = graph.outputs().iter().filter(|port| graph.ty(port.value).element == ElementType::F32);
    ports.map(|port| Head::of(graph, port.value)).collect()
}
