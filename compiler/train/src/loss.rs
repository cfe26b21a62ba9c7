//! How far outputs are from what they should be, and which way is nearer.

use twnc_ir::{Graph, Op, ValueId};

/// What is compared of an output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Of logits, with those of another network: Kullback-Leibler divergence of the softmax at a temperature, times its square, mean over the rows.
    Divergence {
        /// Logits are divided by it.
        temperature: f32,
    },
    /// Squared error, as a part of this, mean over the samples.
    SquaredError {
        /// What the square of a sample's deviation is in the mean.
        unit: f32,
    },
}

/// An output as it is trained: in front of its softmax, if there is one, and how long its rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Logits, or the output itself.
    pub value: ValueId,
    /// Whether these are logits.
    pub is_logits: bool,
}

impl Head {
    /// Of an output of a graph: reshapes are looked through, and a softmax over the last axis.
    pub fn of(graph: &Graph, output: ValueId) -> Head {
        let mut value = output;
        while let Some((_, node)) = graph.definer(value) {
            match &node.op {
                Op::Softmax { axes } if axes.as_slice() == [graph.ty(value).rank() - 1] => {
                    return Head { value: node.operands[0], is_logits: true };
                }
                Op::Reshape { .. } => value = node.operands[0],
                _ => break,
            }
        }
        Head { value: output, is_logits: false }
    }
}

impl Loss {
    /// The loss of outputs beside those that another network gives; adds its derivative, times `factor`, to `seed`.
    pub fn of(self, values: &[f32], targets: &[f32], width: usize, factor: f32, seed: &mut [f32]) -> f64 {
        match self {
            Loss::Divergence { temperature } => divergence(values, targets, width, temperature, factor, seed),
            Loss::SquaredError { unit } => squared_error(values, targets, factor / unit, seed),
        }
    }

    /// By what states of a training are compared: squared errors of the outputs, which behind a softmax are probabilities. So one sample of
    /// which a network is sure, and wrong, counts no more than it does for who uses the outputs.
    pub fn error(self, values: &[f32], targets: &[f32], width: usize) -> f64 {
        match self {
            Loss::Divergence { .. } => {
                let rows = values.chunks(width).zip(targets.chunks(width));
                let squares = rows.map(|(row, target)| {
                    let ((p, _), (q, _)) = (softmax(row, 1.0), softmax(target, 1.0));
                    p.iter().zip(q).map(|(p, q)| (p - q).powi(2)).sum::<f64>()
                });
                squares.sum()
            }
            Loss::SquaredError { unit } => squared_error(values, targets, 1.0 / unit, &mut []),
        }
    }
}

/// The loss of rows of logits with their classes; adds `factor` times its derivative to `seed`.
pub fn cross_entropy(logits: &[f32], width: usize, labels: &[usize], factor: f32, seed: &mut [f32]) -> f64 {
    let mut loss = 0.0;
    for ((row, seed), &label) in logits.chunks(width).zip(seed.chunks_mut(width)).zip(labels) {
        let (probabilities, log_sum) = softmax(row, 1.0);
        loss += log_sum - f64::from(row.get(label).copied().unwrap_or(f32::NAN));
        for (class, (seed, p)) in seed.iter_mut().zip(probabilities).enumerate() {
            *seed += factor * (p as f32 - f32::from(u8::from(class == label)));
        }
    }
    loss * f64::from(factor)
}

/// The divergence of rows of logits from others; adds its derivative, times `factor`, to `seed`.
pub fn divergence(
    logits: &[f32],
    targets: &[f32],
    width: usize,
    temperature: f32,
    factor: f32,
    seed: &mut [f32],
) -> f64 {
    let mut loss = 0.0;
    for ((row, target), seed) in logits.chunks(width).zip(targets.chunks(width)).zip(seed.chunks_mut(width)) {
        let ((p, p_sum), (q, q_sum)) = (softmax(row, temperature), softmax(target, temperature));
        for (((seed, (p, q)), &z), &t) in seed.iter_mut().zip(p.iter().zip(&q)).zip(row).zip(target) {
            let (log_p, log_q) = (f64::from(z / temperature) - p_sum, f64::from(t / temperature) - q_sum);
            loss += q * (log_q - log_p);
            *seed += factor * temperature * (p - q) as f32;
        }
    }
    loss * f64::from(temperature).powi(2) * f64::from(factor)
}

/// The squared error; adds its derivative, times `factor`, to `seed`.
pub fn squared_error(values: &[f32], targets: &[f32], factor: f32, seed: &mut [f32]) -> f64 {
    let mut loss = 0.0;
    for (&z, &t) in values.iter().zip(targets) {
        loss += f64::from(z - t).powi(2);
    }
    for ((&z, &t), seed) in values.iter().zip(targets).zip(seed) {
        *seed += 2.0 * factor * (z - t);
    }
    loss * f64::from(factor)
}

/// How far rows of some samples are from their mean: the unit of their squared error.
pub fn deviation(rows: &[f32], samples: usize) -> f32 {
    let size = rows.len() / samples.max(1);
    let mut square = 0.0;
    for i in 0..size {
        let column = || rows.iter().skip(i).step_by(size).map(|x| f64::from(*x));
        let mean = column().sum::<f64>() / samples as f64;
        square += column().map(|x| (x - mean).powi(2)).sum::<f64>() / samples as f64;
    }
    let own = rows.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / samples.max(1) as f64;
    // Outputs that are the same for all samples are measured by what they are.
    [square, own, 1.0].into_iter().find(|s| *s > f64::from(f32::MIN_POSITIVE)).unwrap_or(1.0) as f32
}

/// The softmax of a row at a temperature, and the logarithm of its sum.
fn softmax(row: &[f32], temperature: f32) -> (Vec<f64>, f64) {
    let scaled = |&z: &f32| f64::from(z / temperature);
    let largest = row.iter().map(scaled).fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = row.iter().map(|z| (scaled(z) - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    (exponentials.into_iter().map(|e| e / sum).collect(), largest + sum.ln())
}

#[cfg(test)]
mod tests {
    use super::{Loss, cross_entropy};

    const LOGITS: [f32; 6] = [0.5, -1.25, 2.0, -0.75, 0.25, 1.0];
    const TARGETS: [f32; 6] = [1.5, 0.5, -0.5, 0.25, -1.0, 2.0];

    /// The derivative that a loss of two rows of three adds to its seed is the quotient of differences, in each element.
    fn check(name: &str, loss: impl Fn(&[f32], &mut [f32]) -> f64) {
        let mut claimed = [0.0; 6];
        loss(&LOGITS, &mut claimed);
        for element in 0..6 {
            let moved = |h: f32| {
                let mut logits = LOGITS;
                logits[element] += h;
                loss(&logits, &mut [0.0; 6])
            };
            let h = 1.0 / 128.0;
            let measured = (moved(h) - moved(-h)) / (2.0 * f64::from(h));
            let difference = (measured - f64::from(claimed[element])).abs();
            assert!(difference < 1e-4, "{name}: element {element}: measured {measured}, claimed {claimed:?}");
        }
    }

    #[test]
    fn derivatives_are_quotients_of_differences() {
        for temperature in [1.0, 2.0, 4.0] {
            let loss = Loss::Divergence { temperature };
            check("divergence", |logits, seed| loss.of(logits, &TARGETS, 3, 0.5, seed));
        }
        let loss = Loss::SquaredError { unit: 4.0 };
        check("squared error", |logits, seed| loss.of(logits, &TARGETS, 3, 0.5, seed));
        check("cross-entropy", |logits, seed| cross_entropy(logits, 3, &[2, 0], 0.5, seed));
    }

    /// Of probabilities: nothing where logits differ by a number alone, and 2 at most, however sure both networks are.
    #[test]
    fn a_sample_has_no_more_error_than_its_probabilities() {
        let loss = Loss::Divergence { temperature: 2.0 };
        let shifted = LOGITS.map(|z| z + 4.0);
        assert!(loss.error(&shifted, &LOGITS, 3).abs() < 1e-9);
        let error = loss.error(&[500.0, 0.0, 0.0], &[0.0, 500.0, 0.0], 3);
        assert!((error - 2.0).abs() < 1e-9, "{error}");
        let squares = Loss::SquaredError { unit: 4.0 }.error(&[3.0, 1.0], &[1.0, 1.0], 2);
        assert!((squares - 1.0).abs() < 1e-9, "{squares}");
    }
}
