//! How far a network's outputs are from the float network's.

use crate::finetune::Tuning;
use twnc_ir::Tensor;

/// What a repair has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Layers that were made ternary.
    pub layers: usize,
    /// Samples to which they were fitted.
    pub fitted: usize,
    /// Samples on which the outputs were compared: the last fifth, which nothing was fitted to. Where there were too few to hold any
    /// back, it is 0, and the outputs were compared on those that were fitted to.
    pub held_out: usize,
    /// What fine-tuning came to, if there was any.
    pub tuning: Option<Tuning>,
    /// The f32 outputs, in order.
    pub outputs: Vec<OutputAccuracy>,
}

/// How far an output is from the float network's, rounded alone and repaired.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputAccuracy {
    /// The output's name.
    pub name: String,
    /// Signal to noise, in dB, of the network whose weights were rounded alone. Infinite where there is no noise; NaN where the numbers are not finite.
    pub sqnr_rounded: f64,
    /// The same of the repaired network.
    pub sqnr: f64,
    /// The share of rows whose largest element is at the float network's place, of the network rounded alone; for matrices of two columns or more.
    pub agreement_rounded: Option<f64>,
    /// The same of the repaired network.
    pub agreement: Option<f64>,
}

/// Sums over pairs of outputs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Distance {
    signal: f64,
    noise: f64,
    rows: usize,
    same: usize,
    is_matrix: bool,
}

impl Distance {
    /// Adds a batch.
    pub fn add(&mut self, float: &Tensor, other: &Tensor) {
        let (Some(a), Some(b)) = (float.as_f32(), other.as_f32()) else { return };
        for (&a, &b) in a.iter().zip(b) {
            self.signal += f64::from(a).powi(2);
            self.noise += (f64::from(a) - f64::from(b)).powi(2);
        }
        if let &[_, width] = float.shape()
            && width >= 2
        {
            self.is_matrix = true;
            for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
                self.rows += 1;
                self.same += usize::from(largest(a) == largest(b));
            }
        }
    }

    /// Signal to noise, in dB.
    pub fn sqnr(&self) -> f64 {
        10.0 * (self.signal / self.noise).log10()
    }

    /// The share of rows with the same largest element.
    pub fn agreement(&self) -> Option<f64> {
        (self.is_matrix && self.rows > 0).then(|| self.same as f64 / self.rows as f64)
    }
}

/// The place of the largest element, the first of equals; NaN is passed over.
fn largest(row: &[f32]) -> usize {
    let start = (0, f32::NEG_INFINITY);
    row.iter().enumerate().fold(start, |best, (i, &x)| if x > best.1 { (i, x) } else { best }).0
}
