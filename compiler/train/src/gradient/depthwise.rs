//! Convolutions whose groups have one input channel: sums of runs of a plane's [phases](super::phases), scaled.

use super::operator::{Gradients, Operator};
use super::phases::Phases;
use super::window::{Windows, add, add_scaled, dot};
use rayon::prelude::*;

/// Pieces into which a batch is divided for the gradient of the weight, each with a sum of its own.
const PIECES: usize = 8;

/// See the module. Output channel `m` reads input channel `m / multiplier`.
pub struct Depthwise {
    phases: Phases,
    /// Elements of an input plane, and windows.
    extent: usize,
    count: usize,
    inputs: usize,
    multiplier: usize,
}

impl Depthwise {
    pub fn new(windows: Windows, inputs: usize, outputs: usize) -> Depthwise {
        let (extent, count) = (windows.extent(), windows.count());
        Depthwise { phases: Phases::new(windows), extent, count, inputs, multiplier: outputs / inputs.max(1) }
    }

    fn outputs(&self) -> usize {
        self.inputs * self.multiplier
    }

    /// The input plane of an output plane.
    fn plane<'x>(&self, x: &'x [f32], output: usize) -> &'x [f32] {
        let (image, channel) = (output / self.outputs(), output % self.outputs());
        &x[(image * self.inputs + channel / self.multiplier) * self.extent..][..self.extent]
    }
}

impl Operator for Depthwise {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let (x, w) = (x[0], x[1]);
        if self.count == 0 {
            return;
        }
        let taps = self.phases.taps();
        let planes = y.par_chunks_mut(self.count).enumerate();
        planes.for_each_init(<[Vec<f32>; 2]>::default, |[phases, run], (i, y)| {
            self.phases.cut(self.plane(x, i), phases);
            run.clear();
            run.resize(self.phases.run(), 0.0);
            let w = &w[i % self.outputs() * taps.len()..][..taps.len()];
            for (&tap, &w) in taps.iter().zip(w) {
                add_scaled(run, w, &phases[tap..]);
            }
            self.phases.gather(run, y);
        });
    }

    fn backward(&mut self, x: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let (x, w) = (x[0], x[1]);
        let (from, to, taps) = (self.inputs * self.extent, self.outputs() * self.count, self.phases.taps());
        if from == 0 || to == 0 {
            return;
        }
        if let Some(dx) = dx.of(0) {
            let planes = dx.par_chunks_mut(self.extent).enumerate();
            planes.for_each_init(<[Vec<f32>; 2]>::default, |[phases, run], (i, dx)| {
                phases.clear();
                phases.resize(self.phases.len(), 0.0);
                for output in i * self.multiplier..(i + 1) * self.multiplier {
                    self.phases.spread(&dy[output * self.count..][..self.count], run);
                    let w = &w[output % self.outputs() * taps.len()..][..taps.len()];
                    for (&tap, &w) in taps.iter().zip(w) {
                        add_scaled(&mut phases[tap..], w, run);
                    }
                }
                self.phases.add(phases, dx);
            });
        }
        if let Some(dw) = dx.of(1) {
            let batch = (dy.len() / to).div_ceil(PIECES);
            let pieces = x.par_chunks(batch * from).zip(dy.par_chunks(batch * to));
            let sums: Vec<Vec<f32>> = pieces
                .map(|(x, dy)| {
                    let (mut dw, mut phases, mut run) = (vec![0.0; w.len()], vec![], vec![]);
                    for (i, dy) in dy.chunks(self.count).enumerate() {
                        self.phases.cut(self.plane(x, i), &mut phases);
                        self.phases.spread(dy, &mut run);
                        let dw = &mut dw[i % self.outputs() * taps.len()..][..taps.len()];
                        for (&tap, dw) in taps.iter().zip(dw) {
                            *dw += dot(&run, &phases[tap..tap + run.len()]);
                        }
                    }
                    dw
                })
                .collect();
            sums.iter().for_each(|sum| add(dw, sum));
        }
    }
}
