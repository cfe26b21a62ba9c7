//! Convolutions whose groups have one input channel: sums of runs of a plane's [phases](super::phases), scaled.

use super::operator::{Gradients, Operator};
use super::phases::Phases;
use super::vectors::{add, add_scaled, dot};
use super::window::Windows;
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
    /// `None` where planes are not cut into [phases](Phases::new).
    pub fn new(windows: Windows, inputs: usize, outputs: usize) -> Option<Depthwise> {
        let (extent, count) = (windows.extent(), windows.count());
        let (phases, multiplier) = (Phases::new(windows)?, outputs / inputs.max(1));
        Some(Depthwise { phases, extent, count, inputs, multiplier })
    }

    /// The weights of each output of an input plane.
    fn weights<'w>(&self, w: &'w [f32], plane: usize) -> impl Iterator<Item = &'w [f32]> + use<'w> {
        let taps = self.phases.taps().len();
        w[plane % self.inputs * self.multiplier * taps..].chunks(taps).take(self.multiplier)
    }
}

impl Operator for Depthwise {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let (x, w) = (x[0], x[1]);
        let of_plane = self.multiplier * self.count;
        if self.extent == 0 || of_plane == 0 {
            return y.fill(0.0);
        }
        // The outputs of an input plane lie side by side.
        let planes = y.par_chunks_mut(of_plane).zip(x.par_chunks(self.extent)).enumerate();
        planes.for_each_init(<[Vec<f32>; 2]>::default, |[phases, run], (plane, (y, x))| {
            self.phases.cut(x, phases);
            for (y, w) in y.chunks_mut(self.count).zip(self.weights(w, plane)) {
                run.clear();
                run.resize(self.phases.run(), 0.0);
                for (&tap, &w) in self.phases.taps().iter().zip(w) {
                    add_scaled(run, w, &phases[tap..]);
                }
                self.phases.gather(run, y);
            }
        });
    }

    fn backward(&mut self, x: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let (x, w) = (x[0], x[1]);
        let (of_plane, taps) = (self.multiplier * self.count, self.phases.taps());
        if self.extent == 0 || of_plane == 0 {
            return;
        }
        if let Some((dx, fresh)) = dx.place(0) {
            let planes = dx.par_chunks_mut(self.extent).zip(dy.par_chunks(of_plane)).enumerate();
            planes.for_each_init(<[Vec<f32>; 2]>::default, |[phases, run], (plane, (dx, dy))| {
                phases.clear();
                phases.resize(self.phases.len(), 0.0);
                if fresh {
                    dx.fill(0.0);
                }
                for (dy, w) in dy.chunks(self.count).zip(self.weights(w, plane)) {
                    self.phases.spread(dy, run);
                    for (&tap, &w) in taps.iter().zip(w) {
                        add_scaled(&mut phases[tap..], w, run);
                    }
                }
                self.phases.add(phases, dx);
            });
        }
        if let Some(dw) = dx.of(1) {
            let images = (x.len() / self.extent / self.inputs).div_ceil(PIECES);
            let [from, to] = [self.extent, of_plane].map(|plane| images * self.inputs * plane);
            let pieces = x.par_chunks(from).zip(dy.par_chunks(to));
            let sums: Vec<Vec<f32>> = pieces
                .map(|(x, dy)| {
                    let (mut dw, mut phases, mut run) = (vec![0.0; w.len()], vec![], vec![]);
                    for (plane, (x, dy)) in x.chunks(self.extent).zip(dy.chunks(of_plane)).enumerate() {
                        self.phases.cut(x, &mut phases);
                        let first = plane % self.inputs * self.multiplier * taps.len();
                        let of_outputs = dw[first..].chunks_mut(taps.len());
                        for (dy, dw) in dy.chunks(self.count).zip(of_outputs) {
                            self.phases.spread(dy, &mut run);
                            for (&tap, dw) in taps.iter().zip(dw) {
                                *dw += dot(&run, &phases[tap..tap + run.len()]);
                            }
                        }
                    }
                    dw
                })
                .collect();
            sums.iter().for_each(|sum| add(dw, sum));
        }
    }
}
