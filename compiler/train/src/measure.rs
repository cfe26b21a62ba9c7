//! How far a network's outputs are from the float network's.

use crate::budget::Frontier;
use crate::finetune::Tuning;
use crate::solution::Form;
use twnc_ir::Tensor;

/// What a repair has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Layers that were made ternary.
    pub layers: usize,
    /// Layers that stayed float and were fitted to what they read now.
    pub float_layers: usize,
    /// Samples to which they were fitted.
    pub fitted: usize,
    /// Samples on which the outputs were compared: the last fifth, which nothing was fitted to. Where there were too few to hold any
    /// back, it is 0, and the outputs were compared on those that were fitted to.
    pub held_out: usize,
    /// What fine-tuning came to, if there was any.
    pub tuning: Option<Tuning>,
    /// The f32 outputs, in order.
    pub outputs: Vec<OutputAccuracy>,
    /// Those layers, in the order in which they were fitted.
    pub accuracies: Vec<LayerAccuracy>,
    /// What was weighed, where there was a budget.
    pub frontier: Option<Frontier>,
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerAccuracy {
    /// The layer's name.
    pub name: String,
    /// What it is made of.
    pub form: Form,
    /// The share of its trits that are zero.
    pub zeros: f64,
    /// The relative squared error of what comes of its result, behind layers that are fitted: of the weight rounded alone.
    pub error_rounded: f64,
    /// The same of the weight that was fitted, before it was fine-tuned.
    pub error: f64,
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
    /// The share of samples held out whose largest element is at their label, of the float network; with labels alone.
    pub right_float: Option<f64>,
    /// The same of the repaired network.
    pub right: Option<f64>,
}

impl Summary {
    /// What is said of the fine-tuning, if there was any.
    pub fn describe_tuning(&self) -> Option<String> {
        let Tuning { steps, best, loss: [before, after], augment } = self.tuning.as_ref()?;
        let changes = [
            augment.flip.then(|| "mirrored".to_owned()),
            (augment.shift > 0).then(|| format!("moved by up to {} pixels", augment.shift)),
            augment.cutmix.then(|| "mixed (CutMix)".to_owned()),
        ];
        let images = match changes.into_iter().flatten().collect::<Vec<_>>().as_slice() {
            [] => String::new(),
            [one] => format!(", images {one}"),
            [first @ .., last] => format!(", images {} and {last}", first.join(", ")),
        };
        Some(match best {
            0 => format!(
                "fine-tuned for {steps} steps{images}: nothing was better than the fit (loss {before:.4})"
            ),
            best => format!(
                "fine-tuned for {steps} steps{images}: loss {before:.4} fitted, {after:.4} at step {best}"
            ),
        })
    }

    /// What is said of an output.
    pub fn describe(&self, output: &OutputAccuracy) -> String {
        let on = match self.held_out {
            0 => format!("on the {} samples it was fitted to (too few to hold any out)", self.fitted),
            held_out => format!("on {held_out} samples held out (the last fifth), fitted on {}", self.fitted),
        };
        let agreement = match (output.agreement_rounded, output.agreement) {
            (Some(rounded), Some(repaired)) => {
                format!(
                    "; the float network's class for {:.1}% rounded, {:.1}% repaired",
                    100.0 * rounded,
                    100.0 * repaired
                )
            }
            _ => String::new(),
        };
        let right = match (output.right_float, output.right) {
            (Some(float), Some(right)) => {
                format!("; right {:.1}% float, {:.1}% repaired", 100.0 * float, 100.0 * right)
            }
            _ => String::new(),
        };
        format!(
            "SQNR {:.2} dB rounded, {:.2} dB repaired{agreement}{right}; {on}",
            output.sqnr_rounded, output.sqnr
        )
    }
}

/// Sums over pairs of outputs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Distance {
    signal: f64,
    noise: f64,
    rows: usize,
    same: usize,
    labelled: usize,
    right: [usize; 2],
    is_matrix: bool,
}

impl Distance {
    /// Adds a batch, with the classes of its samples where they are known.
    pub fn add(&mut self, float: &Tensor, other: &Tensor, labels: Option<&[usize]>) {
        let (Some(a), Some(b)) = (float.as_f32(), other.as_f32()) else { return };
        for (&a, &b) in a.iter().zip(b) {
            self.signal += f64::from(a).powi(2);
            self.noise += (f64::from(a) - f64::from(b)).powi(2);
        }
        if let &[_, width] = float.shape()
            && width >= 2
        {
            self.is_matrix = true;
            for (i, (a, b)) in a.chunks_exact(width).zip(b.chunks_exact(width)).enumerate() {
                let (a, b) = (largest(a), largest(b));
                self.rows += 1;
                self.same += usize::from(a == b);
                if let Some(label) = labels.and_then(|labels| labels.get(i)) {
                    self.labelled += 1;
                    self.right[0] += usize::from(a == *label);
                    self.right[1] += usize::from(b == *label);
                }
            }
        }
    }

    /// Signal to noise, in dB.
    pub fn sqnr(&self) -> f64 {
        10.0 * (self.signal / self.noise).log10()
    }

    /// The shares of rows whose largest element is at their label: of the float network, and of the other.
    pub fn right(&self) -> Option<[f64; 2]> {
        (self.labelled > 0).then(|| self.right.map(|right| right as f64 / self.labelled as f64))
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
