//! Training of a network whose weights are rounded in every step, as in *Ternary Weight Networks*.
//!
//! Kept are float weights W. Each step goes forward and backward with what they are by the [method](Method), `αT`, and applies the gradient to W.
//! Batch norms are live. Labels give cross-entropy; without, the network is trained to give the outputs that the float network gives.
//!
//! What is drawn depends on the seed, the epoch and the sample alone. So a training that is taken up again from a
//! [checkpoint](Trainer::checkpoint) goes on to the same bits as one that was never interrupted, on any number of processors.

mod build;
mod resume;

use crate::augment::Augment;
use crate::data::{self, Data};
use crate::gradient::{GradientError, Mode, Network};
use crate::loss::{self, Loss};
use crate::method::{Method, Rounded};
use crate::optimiser::{Optimiser, Rule, Schedule};
use crate::parameters::{self, Kept, Parameter, Role};
use crate::random::Random;
use crate::samples::gather;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use thiserror::Error;
use twnc_ir::{Graph, Tensor, TypeError, ValueId};
use twnc_passes::OptionsError;

/// How a network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// What weights are in a step.
    pub method: Method,
    /// How gradients are followed.
    pub rule: Rule,
    /// How far, in the beginning.
    pub rate: f32,
    /// How that changes.
    pub schedule: Schedule,
    /// So much of a layer's weight is added to its gradient.
    pub decay: f32,
    /// How often every sample is seen.
    pub epochs: usize,
    /// Samples of a step.
    pub batch: usize,
    /// How images are changed.
    pub augment: Augment,
    /// By what everything is drawn.
    pub seed: u64,
    /// Whether weights begin drawn, and not as the network has them.
    pub fresh: bool,
    /// At which logits are compared, where there are no labels.
    pub temperature: f32,
    /// The most bytes that the values of a batch may take.
    pub memory: usize,
}

/// What an epoch came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number, from 1.
    pub number: usize,
    /// The mean of the steps' losses.
    pub loss: f64,
    /// The rate of its last step.
    pub rate: f32,
    /// On samples that are not trained on: the loss, and the share whose class is right (without labels: that of the float network).
    pub validation: Option<[f64; 2]>,
}

/// Why a network is not trained.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The samples do not fit the network.
    #[error("{0}")]
    Samples(String),
    /// The labels do not fit the samples or the network.
    #[error("{0}")]
    Labels(String),
    /// There is nothing to train, or it cannot be.
    #[error("{0}")]
    Network(String),
    /// There are no gradients.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// The choice of layers.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The loss is not finite.
    #[error(
        "the loss is not finite in epoch {epoch}, step {step}: training has run away. Give a smaller --rate, or inputs of a smaller range"
    )]
    Diverged {
        /// From 1.
        epoch: usize,
        /// From 1.
        step: usize,
    },
    /// What was to be taken up again is not from this training.
    #[error("{0}")]
    Checkpoint(String),
    /// A constant does not fit: a mistake in this crate.
    #[error(transparent)]
    Type(#[from] TypeError),
}

/// A training.
pub struct Trainer {
    graph: Graph,
    options: TrainOptions,
    network: Network,
    /// The float network, where there are no labels, and how its outputs are compared.
    teacher: Option<(Network, Loss)>,
    /// Of the network: its own batch.
    batch: usize,
    parameters: Vec<Parameter>,
    latents: Vec<Vec<f32>>,
    /// Of layers that are rounded.
    rounded: Vec<Option<Rounded>>,
    /// Scales that are trained themselves, by parameter; mostly none.
    scales: Vec<Vec<f32>>,
    kept: Kept,
    /// Where a batch norm's statistics are in the network, by where they are in the graph.
    bound: HashMap<ValueId, ValueId>,
    optimiser: Optimiser,
    samples: usize,
    /// A checksum of the network and the data that it began with.
    origin: u32,
    epoch: usize,
    step: usize,
    /// The sum of the losses of this epoch's steps.
    sum: f64,
    history: Vec<Epoch>,
}

impl Trainer {
    /// How many layers are rounded.
    pub fn rounded_layers(&self) -> usize {
        self.rounded.iter().flatten().count()
    }

    /// Samples of a step: as many as were asked for, in whole batches of the network.
    fn samples_of_step(&self) -> usize {
        let asked = self.options.batch.clamp(1, self.samples.max(1));
        asked.next_multiple_of(self.batch).min(self.samples / self.batch * self.batch)
    }

    /// How many steps an epoch has.
    pub fn steps(&self) -> usize {
        (self.samples / self.samples_of_step()).max(1)
    }

    /// What the epochs so far came to.
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// Whether all epochs are done.
    pub fn is_done(&self) -> bool {
        self.epoch >= self.options.epochs
    }

    /// Where it is: how many epochs are done, and steps of this one.
    pub fn place(&self) -> (usize, usize) {
        (self.epoch, self.step)
    }

    /// Trains to the end of the epoch, as long as `watch`, which is told of each step, wants to go on. Gives the epoch when it is done.
    pub fn epoch(
        &mut self,
        data: &Data,
        validation: Option<&Data>,
        watch: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Option<Epoch>, TrainError> {
        let (steps, own) = (self.steps(), self.samples_of_step());
        let order = Random::of(self.options.seed, &[3, self.epoch as u64]).permutation(self.samples);
        let rounds = own / self.batch;
        let mut rate = 0.0;
        while self.step < steps {
            if !watch(self.step, steps) {
                return Ok(None);
            }
            let done = (self.epoch * steps + self.step) as u64;
            rate =
                self.options.rate * self.options.schedule.factor(done, (self.options.epochs * steps) as u64);
            self.write();
            let mut sums: Vec<Vec<f32>> = vec![];
            let chosen = &order[self.step * own..(self.step + 1) * own];
            let inputs = self.inputs(data, chosen);
            for (round, chosen) in chosen.chunks(self.batch).enumerate() {
                let of_round: Vec<usize> = (round * self.batch..(round + 1) * self.batch).collect();
                let inputs: Vec<Tensor> = inputs.iter().map(|tensor| gather(tensor, &of_round)).collect();
                self.sum += self.learn(data, &inputs, chosen, 1.0 / rounds as f32)? / rounds as f64;
                match sums.is_empty() {
                    true => {
                        sums = (0..self.latents.len()).map(|i| self.network.gradient(i).to_vec()).collect()
                    }
                    false => sums
                        .iter_mut()
                        .enumerate()
                        .for_each(|(i, sum)| crate::gradient::add(sum, self.network.gradient(i))),
                }
            }
            if !self.sum.is_finite() {
                return Err(TrainError::Diverged { epoch: self.epoch + 1, step: self.step + 1 });
            }
            self.update(&mut sums, rate);
            self.step += 1;
        }
        let validation = validation.map(|data| self.evaluate(data)).transpose()?;
        let epoch = Epoch { number: self.epoch + 1, loss: self.sum / steps as f64, rate, validation };
        self.history.push(epoch);
        (self.epoch, self.step, self.sum) = (self.epoch + 1, 0, 0.0);
        Ok(Some(epoch))
    }

    /// What a step reads, changed: all together, so that images meet others however few run at a time.
    fn inputs(&self, data: &Data, chosen: &[usize]) -> Vec<Tensor> {
        let inputs = data.samples.chosen(&self.graph, chosen);
        let (seed, epoch, augment) = (self.options.seed, self.epoch as u64, self.options.augment);
        let changed = |tensor: &Tensor| augment.apply(tensor, seed, |i| [4 + epoch, chosen[i] as u64]);
        inputs.iter().map(changed).collect()
    }

    /// Runs a batch forward and backward; gives its loss.
    fn learn(
        &mut self,
        data: &Data,
        inputs: &[Tensor],
        chosen: &[usize],
        share: f32,
    ) -> Result<f64, TrainError> {
        if let Some((teacher, _)) = &mut self.teacher {
            teacher.forward(inputs, Mode::Inference)?;
        }
        self.network.forward(inputs, Mode::Training)?;
        let (loss, mut seed) = self.compare(data, chosen, chosen.len());
        seed.iter_mut().for_each(|d| *d *= share);
        self.network.backward(std::slice::from_ref(&seed));
        Ok(loss)
    }

    /// The loss of the first samples of what was run last, and its derivative.
    fn compare(&self, data: &Data, chosen: &[usize], count: usize) -> (f64, Vec<f32>) {
        let rows = self.network.output(0);
        let width = self.network.output_shape(0).last().copied().unwrap_or(1).max(1);
        let of = rows.len() / self.batch * count;
        let (mut seed, factor) = (vec![0.0; rows.len()], 1.0 / count.max(1) as f32);
        let loss = match (&data.labels, &self.teacher) {
            (Some(labels), _) => {
                let labels: Vec<usize> = chosen.iter().take(count).map(|&i| labels[i]).collect();
                loss::cross_entropy(&rows[..of], width, &labels, factor, &mut seed)
            }
            (None, Some((teacher, comparison))) => {
                comparison.of(&rows[..of], &teacher.output(0)[..of], width, factor, &mut seed)
            }
            (None, None) => 0.0,
        };
        (loss, seed)
    }

    fn update(&mut self, gradients: &mut [Vec<f32>], rate: f32) {
        self.optimiser.begin();
        let count = self.latents.len();
        for (i, gradient) in gradients.iter_mut().enumerate() {
            if let Some(rounded) = &self.rounded[i] {
                let by_scales = rounded.gradient(&self.latents[i], &self.scales[i], gradient);
                self.optimiser.update(count + i, &mut self.scales[i], &by_scales, rate, 0.0);
                Rounded::bound(&mut self.scales[i]);
            }
            let decay =
                if matches!(self.parameters[i].role, Role::Weight(_)) { self.options.decay } else { 0.0 };
            self.optimiser.update(i, &mut self.latents[i], gradient, rate, decay);
        }
    }

    /// Gives the network the weights of the step.
    fn write(&mut self) {
        for (i, latent) in self.latents.iter().enumerate() {
            let into = self.network.parameter_mut(i);
            match &self.rounded[i] {
                Some(rounded) => rounded.weight(latent, &self.scales[i], into),
                None => into.copy_from_slice(latent),
            }
        }
    }

    /// How many samples data have, which must fit the network, and their labels them.
    pub fn check(&self, data: &Data) -> Result<usize, TrainError> {
        let (samples, _) = data.samples.check(&self.graph).map_err(|e| TrainError::Samples(e.to_string()))?;
        if let Some(labels) = &data.labels {
            data::check(labels, samples, self.network.output_shape(0), self.batch)?;
        }
        Ok(samples)
    }

    /// The loss on samples, and the share of the right class; without labels, of the float network's.
    pub fn evaluate(&mut self, data: &Data) -> Result<[f64; 2], TrainError> {
        let samples = self.check(data)?;
        self.write();
        let (mut loss, mut right, mut rows) = (0.0, 0, 0);
        for start in (0..samples).step_by(self.batch) {
            let count = self.batch.min(samples - start);
            let chosen: Vec<usize> = (start..start + self.batch).map(|i| i % samples).collect();
            let inputs = data.samples.chosen(&self.graph, &chosen);
            if let Some((teacher, _)) = &mut self.teacher {
                teacher.forward(&inputs, Mode::Inference)?;
            }
            self.network.forward(&inputs, Mode::Inference)?;
            loss += self.compare(data, &chosen, count).0 * count as f64;
            let width = self.network.output_shape(0).last().copied().unwrap_or(1).max(1);
            let output = self.network.output(0);
            for (i, row) in output[..output.len() / self.batch * count].chunks(width).enumerate() {
                let wanted = match (&data.labels, &self.teacher) {
                    (Some(labels), _) => labels[start + i],
                    (None, Some((teacher, _))) => largest(&teacher.output(0)[i * width..(i + 1) * width]),
                    (None, None) => continue,
                };
                right += usize::from(largest(row) == wanted);
                rows += 1;
            }
        }
        Ok([loss / samples.max(1) as f64, right as f64 / rows.max(1) as f64])
    }

    /// The network as it is now: rounded weights are exactly what they are in a step.
    pub fn finish(&mut self) -> Result<Graph, TrainError> {
        self.write();
        let mut constants = HashMap::new();
        for (i, parameter) in self.parameters.iter().enumerate() {
            constants.insert(parameter.value, self.network.parameter(i).to_vec());
        }
        for value in self.kept.means.iter().chain(&self.kept.variances) {
            if let Some(elements) = self.bound.get(value).and_then(|&value| self.network.value(value)) {
                constants.insert(*value, elements.to_vec());
            }
        }
        Ok(parameters::replaced(&self.graph, &constants)?)
    }
}

fn largest(row: &[f32]) -> usize {
    let start = (0, f32::NEG_INFINITY);
    row.iter().enumerate().fold(start, |best, (i, &x)| if x > best.1 { (i, x) } else { best }).0
}
