//! Convolutions whose groups have one input channel: sums of rows, shifted and scaled.

use super::operator::{Gradients, Operator};
use super::window::{Windows, add};
use rayon::prelude::*;

/// Pieces into which a batch is divided for the gradient of the weight, each with a sum of its own.
const PIECES: usize = 8;

/// See the module. Output channel `m` reads input channel `m / multiplier`.
pub struct Depthwise {
    windows: Windows,
    inputs: usize,
    multiplier: usize,
}

impl Depthwise {
    pub fn new(windows: Windows, inputs: usize, outputs: usize) -> Depthwise {
        Depthwise { windows, inputs, multiplier: outputs / inputs.max(1) }
    }

    fn outputs(&self) -> usize {
        self.inputs * self.multiplier
    }
}

impl Operator for Depthwise {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let (x, w) = (x[0], x[1]);
        let (extent, count, taps, stride) =
            (self.windows.extent(), self.windows.count(), self.windows.taps(), self.windows.stride());
        if count == 0 {
            return;
        }
        y.par_chunks_mut(count).enumerate().for_each(|(i, y)| {
            let (image, channel) = (i / self.outputs(), i % self.outputs());
            let plane = &x[(image * self.inputs + channel / self.multiplier) * extent..][..extent];
            y.fill(0.0);
            for tap in 0..taps {
                let w = w[channel * taps + tap];
                self.windows.rows(tap, |window, length, element| {
                    let y = &mut y[window..window + length];
                    match stride {
                        1 => y.iter_mut().zip(&plane[element..]).for_each(|(y, &x)| *y += w * x),
                        _ => y
                            .iter_mut()
                            .zip(plane[element..].iter().step_by(stride))
                            .for_each(|(y, &x)| *y += w * x),
                    }
                });
            }
        });
    }

    fn backward(&mut self, x: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let (x, w) = (x[0], x[1]);
        let (extent, count, taps, stride) =
            (self.windows.extent(), self.windows.count(), self.windows.taps(), self.windows.stride());
        let (from, to) = (self.inputs * extent, self.outputs() * count);
        if from == 0 || to == 0 {
            return;
        }
        if let Some(dx) = dx.of(0) {
            dx.par_chunks_mut(extent).enumerate().for_each(|(i, dx)| {
                let (image, input) = (i / self.inputs, i % self.inputs);
                for channel in input * self.multiplier..(input + 1) * self.multiplier {
                    let dy = &dy[(image * self.outputs() + channel) * count..][..count];
                    for tap in 0..taps {
                        let w = w[channel * taps + tap];
                        self.windows.rows(tap, |window, length, element| {
                            let dy = &dy[window..window + length];
                            match stride {
                                1 => dx[element..].iter_mut().zip(dy).for_each(|(x, &d)| *x += w * d),
                                _ => dx[element..]
                                    .iter_mut()
                                    .step_by(stride)
                                    .zip(dy)
                                    .for_each(|(x, &d)| *x += w * d),
                            }
                        });
                    }
                }
            });
        }
        if let Some(dw) = dx.of(1) {
            let batch = (dy.len() / to).div_ceil(PIECES);
            let pieces = x.par_chunks(batch * from).zip(dy.par_chunks(batch * to));
            let sums: Vec<Vec<f32>> = pieces
                .map(|(x, dy)| {
                    let mut dw = vec![0.0; w.len()];
                    for (i, dy) in dy.chunks(count).enumerate() {
                        let (image, channel) = (i / self.outputs(), i % self.outputs());
                        let plane =
                            &x[(image * self.inputs + channel / self.multiplier) * extent..][..extent];
                        for tap in 0..taps {
                            let mut sum = 0.0;
                            self.windows.rows(tap, |window, length, element| {
                                let elements = plane[element..].iter().step_by(stride);
                                sum += dy[window..window + length]
                                    .iter()
                                    .zip(elements)
                                    .map(|(d, x)| d * x)
                                    .sum::<f32>();
                            });
                            dw[channel * taps + tap] += sum;
                        }
                    }
                    dw
                })
                .collect();
            sums.iter().for_each(|sum| add(dw, sum));
        }
    }
}
