//! What a network is trained on, and whether labels fit it.

use crate::random::Random;
use crate::samples::Samples;
use crate::train::TrainError;

/// Samples, and the class of each if it is known.
#[derive(Clone, Debug)]
pub struct Data {
    /// The inputs.
    pub samples: Samples,
    /// The classes.
    pub labels: Option<Vec<usize>>,
}

impl Data {
    /// Divides the samples: those to train on, and a share, drawn by a seed, to measure on; nothing, where that is no sample.
    pub fn split(self, share: f64, seed: u64) -> Result<(Data, Option<Data>), TrainError> {
        let samples = self.samples.count();
        let held = (samples as f64 * share) as usize;
        if let Some(labels) = self.labels.as_ref().filter(|labels| labels.len() != samples) {
            return Err(TrainError::Labels(format!("{} labels for {samples} samples", labels.len())));
        }
        if held == 0 {
            return Ok((self, None));
        }
        if held == samples {
            return Err(TrainError::Samples(format!("of {samples} samples, none would be left to train on")));
        }
        let order = Random::of(seed, &[5]).permutation(samples);
        let part = |chosen: &[usize]| Data {
            samples: self.samples.part(chosen),
            labels: self.labels.as_ref().map(|labels| chosen.iter().map(|&i| labels[i]).collect()),
        };
        let (held, rest) = order.split_at(held);
        Ok((part(rest), Some(part(held))))
    }
}

/// Whether there is a class for each row of what a batch gives.
pub(crate) fn check(
    labels: &[usize],
    samples: usize,
    output: &[usize],
    batch: usize,
) -> Result<(), TrainError> {
    let (&[rows, classes], true) = (output, labels.len() == samples) else {
        let message = match output {
            &[_, _] => format!("{} labels for {samples} samples", labels.len()),
            _ => format!(
                "the network gives {output:?}, not one row of classes for each sample; without labels it is trained towards the float network"
            ),
        };
        return Err(TrainError::Labels(message));
    };
    if rows != batch || classes < 2 {
        return Err(TrainError::Labels(format!(
            "the network gives {rows} rows of {classes} for {batch} samples: no classes"
        )));
    }
    match labels.iter().position(|&label| label >= classes) {
        Some(i) => Err(TrainError::Labels(format!(
            "label {i} is {}; the network has {classes} classes, from 0",
            labels[i]
        ))),
        None => Ok(()),
    }
}
