//! A training that is taken up again: all that it needs, and whether it is the same.

use super::{Epoch, TrainError, Trainer};
use crate::checkpoint;
use twnc_ir::ValueId;

/// Of the training: epochs and steps that were made, the sum of the epoch's losses in bits, steps of the optimiser; what epochs came to; and all that is learnt.
type State = ([u64; 4], Vec<Epoch>, Vec<Vec<f32>>);

impl Trainer {
    /// Everything that is needed to go on from here.
    pub fn checkpoint(&self) -> Vec<u8> {
        let statistics = self.kept.means.iter().chain(&self.kept.variances);
        let statistics = statistics.filter_map(|value| self.network.value(*self.bound.get(value)?));
        let vectors: Vec<&[f32]> = self
            .latents
            .iter()
            .chain(&self.scales)
            .map(Vec::as_slice)
            .chain(statistics)
            .chain(self.optimiser.state())
            .collect();
        let numbers = [self.epoch as u64, self.step as u64, self.sum.to_bits(), self.optimiser.steps()];
        checkpoint::write(&self.identity(), &(numbers, &self.history, vectors))
    }

    /// Goes on from a checkpoint of a training of the same network and data with the same options.
    pub fn resume(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let (numbers, history, vectors): State =
            checkpoint::read(bytes, &self.identity()).map_err(TrainError::Checkpoint)?;
        let damaged =
            || TrainError::Checkpoint("the checkpoint does not hold this network's weights".to_owned());
        let [epoch, step, sum, steps] = numbers;
        let statistics: Vec<ValueId> = self
            .kept
            .means
            .iter()
            .chain(&self.kept.variances)
            .filter_map(|value| self.bound.get(value).copied())
            .filter(|value| self.network.value(*value).is_some())
            .collect();
        let mut vectors = vectors.into_iter();
        let mut fill = |into: &mut [f32]| -> Result<(), TrainError> {
            let from = vectors.next().filter(|from| from.len() == into.len()).ok_or_else(damaged)?;
            into.copy_from_slice(&from);
            Ok(())
        };
        for into in self.latents.iter_mut().chain(&mut self.scales) {
            fill(into)?;
        }
        for value in statistics {
            fill(self.network.value_mut(value).unwrap_or_default())?;
        }
        for into in self.optimiser.state_mut() {
            fill(into)?;
        }
        let (epoch, step) = (usize::try_from(epoch), usize::try_from(step));
        let (Ok(epoch), Ok(step)) = (epoch, step) else { return Err(damaged()) };
        if epoch > self.options.epochs || step > self.steps() {
            return Err(damaged());
        }
        self.optimiser.set_steps(steps);
        (self.epoch, self.step, self.sum, self.history) = (epoch, step, f64::from_bits(sum), history);
        Ok(())
    }

    /// What a training is, in words: two of the same go the same way.
    fn identity(&self) -> String {
        let sizes: Vec<usize> = self.latents.iter().map(Vec::len).collect();
        let labels = if self.teacher.is_none() { "labels" } else { "no labels" };
        let rounded: Vec<usize> = (0..sizes.len()).filter(|&i| self.rounded[i].is_some()).collect();
        let shared = self.rounded.iter().flatten().all(|rounded| rounded.is_shared());
        format!(
            "{:?}; {} samples, {labels}; of {sizes:?} numbers, {rounded:?} are rounded, with a scale for a {}; network and data {:08x}",
            self.options,
            self.samples,
            if shared { "layer" } else { "channel" },
            self.origin
        )
    }
}
