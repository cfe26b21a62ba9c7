//! What a network is trained on, and whether labels fit it.

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
