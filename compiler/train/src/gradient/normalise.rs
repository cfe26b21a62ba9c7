//! Batch norm, with the statistics of the batch or with those it has; and softmax.

use super::operator::{Gradients, Operator, Statistics};
use super::vectors::{flush, vectors};
use rayon::prelude::*;

/// Channels that are one piece of work, where they lie side by side.
const CHANNELS: usize = 16;

/// `batch_norm` of `[N, C, inner...]`.
pub struct BatchNorm {
    channels: usize,
    inner: usize,
    epsilon: f32,
    /// Whether it takes the statistics of the batch.
    live: bool,
    /// By which it has normalised: mean, and 1/√(variance + epsilon).
    mean: Vec<f32>,
    inverse: Vec<f32>,
    variance: Vec<f32>,
    count: usize,
}

impl BatchNorm {
    pub fn new(shape: &[usize], epsilon: f32) -> BatchNorm {
        let channels = shape.get(1).copied().unwrap_or(1);
        let inner = shape.iter().skip(2).product();
        let count = shape.first().copied().unwrap_or(1) * inner;
        let (mean, inverse, variance) = (vec![], vec![], vec![]);
        BatchNorm { channels, inner, epsilon, live: false, mean, inverse, variance, count }
    }

    /// Sums over the elements of each channel of two functions of an element of `a`, that of `b` in its place, and the channel.
    fn sums(&self, a: &[f32], b: &[f32], f: impl Fn(f32, f32, usize) -> [f32; 2] + Sync) -> Vec<[f64; 2]> {
        let (channels, inner) = (self.channels, self.inner);
        let image = channels * inner;
        if image == 0 {
            return vec![[0.0; 2]; channels];
        }
        let blocks: Vec<usize> = (0..channels).step_by(CHANNELS).collect();
        let sums: Vec<Vec<[f64; 2]>> = blocks
            .into_par_iter()
            .map(|first| {
                let last = (first + CHANNELS).min(channels);
                let mut sums = vec![[0.0f64; 2]; last - first];
                for start in (0..a.len()).step_by(image) {
                    for (channel, sum) in (first..last).zip(&mut sums) {
                        let row = start + channel * inner..start + (channel + 1) * inner;
                        let of_row = sums_of(&a[row.clone()], &b[row], |a, b| f(a, b, channel));
                        sum.iter_mut().zip(of_row).for_each(|(sum, part)| *sum += part);
                    }
                }
                sums
            })
            .collect();
        sums.concat()
    }

    /// Walks an image's channels: `out[i] = f(channel, i)`, in parallel.
    fn each(&self, out: &mut [f32], f: impl Fn(usize, usize, &mut [f32]) + Sync) {
        if self.inner == 0 || self.channels == 0 {
            return;
        }
        let image = self.channels * self.inner;
        out.par_chunks_mut(image).enumerate().for_each(|(n, out)| {
            for (channel, out) in out.chunks_mut(self.inner).enumerate() {
                f(channel, n * image + channel * self.inner, out);
            }
        });
    }
}

/// Sums of two functions of two numbers, so many at a time that they are taken in vectors.
fn sums_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> [f32; 2]) -> [f64; 2] {
    const LANES: usize = 16;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [[0.0f32; LANES]; 2];
    vectors(|| {
        for (a, b) in a.iter().zip(b) {
            for k in 0..LANES {
                let [first, second] = f(a[k], b[k]);
                lanes[0][k] += first;
                lanes[1][k] += second;
            }
        }
    });
    let mut sums = lanes.map(|lanes| lanes.into_iter().map(f64::from).sum::<f64>());
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        sums.iter_mut().zip(f(a, b)).for_each(|(sum, part)| *sum += f64::from(part));
    }
    sums
}

impl Operator for BatchNorm {
    fn forward(&mut self, operands: &[&[f32]], y: &mut [f32]) {
        let [x, scale, bias, mean, variance] = operands else { return };
        if self.live {
            let count = self.count.max(1) as f64;
            let means: Vec<f64> = self.sums(x, x, |x, _, _| [x, 0.0]).iter().map(|s| s[0] / count).collect();
            self.mean = means.iter().map(|&m| m as f32).collect();
            let mean = &self.mean;
            // Around the mean, and corrected for its rounding.
            let squares = self.sums(x, x, |x, _, c| {
                let d = x - mean[c];
                [d * d, d]
            });
            self.variance =
                squares.iter().map(|[s, d]| (s / count - (d / count).powi(2)).max(0.0) as f32).collect();
        } else {
            self.mean = mean.to_vec();
            self.variance = variance.to_vec();
        }
        let inverse = |&v: &f32| (1.0 / (f64::from(v) + f64::from(self.epsilon)).sqrt()) as f32;
        self.inverse = self.variance.iter().map(inverse).collect();
        self.each(y, |c, start, y| {
            let (factor, mean, bias) = (scale[c] * self.inverse[c], self.mean[c], bias[c]);
            let x = &x[start..start + y.len()];
            vectors(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - mean) * factor + bias));
        });
    }

    fn backward(&mut self, operands: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let [x, scale, ..] = operands else { return };
        let (mean, inverse) = (&self.mean, &self.inverse);
        // Σ dy, and Σ dy·x̂.
        let needs = self.live || dx.wants(1) || dx.wants(2);
        let sums = match needs {
            true => self.sums(x, dy, |x, dy, c| [dy, dy * ((x - mean[c]) * inverse[c])]),
            false => vec![[0.0; 2]; self.channels],
        };
        if let Some(d) = dx.of(1) {
            d.iter_mut().zip(&sums).for_each(|(d, sum)| *d += sum[1] as f32);
        }
        if let Some(d) = dx.of(2) {
            d.iter_mut().zip(&sums).for_each(|(d, sum)| *d += sum[0] as f32);
        }
        let Some((dx, fresh)) = dx.place(0) else { return };
        let count = self.count.max(1) as f32;
        self.each(dx, |c, start, dx| {
            let factor = scale[c] * inverse[c];
            let (x, dy) = (&x[start..start + dx.len()], &dy[start..start + dx.len()]);
            let [a, b] = if self.live { sums[c].map(|s| s as f32 / count) } else { [0.0; 2] };
            let (mean, inverse) = (mean[c], inverse[c]);
            let d = |x: f32, dy: f32| factor * (dy - a - (x - mean) * inverse * b);
            let numbers = dx.iter_mut().zip(x).zip(dy);
            vectors(|| match fresh {
                true => numbers.for_each(|((dx, &x), &dy)| *dx = d(x, dy)),
                false => numbers.for_each(|((dx, &x), &dy)| *dx += d(x, dy)),
            });
        });
    }

    fn set_live(&mut self, live: bool) {
        self.live = live;
    }

    fn statistics(&self) -> Option<Statistics<'_>> {
        Some(Statistics { mean: &self.mean, variance: &self.variance, count: self.count })
    }
}

/// `softmax` over neighbouring axes of `[outer, size, inner]`.
pub struct Softmax {
    pub size: usize,
    pub inner: usize,
}

impl Operator for Softmax {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let (size, inner) = (self.size, self.inner);
        let block = size * inner;
        if block == 0 {
            return;
        }
        y.par_chunks_mut(block).zip(x[0].par_chunks(block)).for_each(|(y, x)| {
            for i in 0..inner {
                let line = || x.iter().skip(i).step_by(inner);
                let largest = line().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut sum = 0.0f64;
                for (y, x) in y.iter_mut().skip(i).step_by(inner).zip(line()) {
                    *y = (x - largest).exp();
                    sum += f64::from(*y);
                }
                let factor = (1.0 / sum) as f32;
                y.iter_mut().skip(i).step_by(inner).for_each(|y| *y *= factor);
            }
        });
    }

    fn backward(&mut self, _: &[&[f32]], y: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let (inner, block) = (self.inner, self.size * self.inner);
        let Some(dx) = dx.of(0).filter(|_| block > 0) else { return };
        dx.par_chunks_mut(block).zip(y.par_chunks(block)).zip(dy.par_chunks(block)).for_each(
            |((dx, y), dy)| {
                for i in 0..inner {
                    let line = || y.iter().zip(dy).skip(i).step_by(inner);
                    let dot = line().map(|(y, d)| f64::from(y * d)).sum::<f64>() as f32;
                    let dx = dx.iter_mut().skip(i).step_by(inner);
                    dx.zip(line()).for_each(|(dx, (y, d))| *dx += flush(y * (d - dot)));
                }
            },
        );
    }
}
