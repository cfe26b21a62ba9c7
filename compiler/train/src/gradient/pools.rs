//! Pools: what each window sees is the same for every plane, and found once.

use super::operator::{Gradients, Operator};
use super::window::Windows;
use rayon::prelude::*;

/// The elements of a plane under each window, in row-major order.
struct Seen {
    extent: usize,
    /// Window `i` sees `elements[starts[i]..starts[i + 1]]`.
    starts: Vec<usize>,
    elements: Vec<u32>,
    /// How many elements a window counts, with padding.
    padded: Vec<usize>,
}

impl Seen {
    fn new(windows: &Windows) -> Seen {
        let [depth, height, width] = windows.axes;
        let (mut starts, mut elements, mut padded) = (vec![0], vec![], vec![]);
        for oz in 0..depth.out {
            for oy in 0..height.out {
                for ox in 0..width.out {
                    for z in depth.elements(oz) {
                        for y in height.elements(oy) {
                            let row = (z * height.size + y) * width.size;
                            elements.extend(width.elements(ox).map(|x| (row + x) as u32));
                        }
                    }
                    starts.push(elements.len());
                    padded.push(depth.padded(oz) * height.padded(oy) * width.padded(ox));
                }
            }
        }
        Seen { extent: windows.extent(), starts, elements, padded }
    }

    fn windows(&self) -> usize {
        self.padded.len()
    }

    fn of(&self, window: usize) -> &[u32] {
        &self.elements[self.starts[window]..self.starts[window + 1]]
    }
}

/// `max_pool`.
pub struct MaxPool {
    seen: Seen,
    /// Which element each result is; the largest number where none is.
    chosen: Vec<u32>,
}

impl MaxPool {
    pub fn new(windows: &Windows) -> MaxPool {
        MaxPool { seen: Seen::new(windows), chosen: vec![] }
    }
}

impl Operator for MaxPool {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let (seen, windows) = (&self.seen, self.seen.windows());
        if windows == 0 || seen.extent == 0 {
            return y.fill(f32::NEG_INFINITY);
        }
        self.chosen.resize(y.len(), u32::MAX);
        let planes = y
            .par_chunks_mut(windows)
            .zip(self.chosen.par_chunks_mut(windows))
            .zip(x[0].par_chunks(seen.extent));
        planes.for_each(|((y, chosen), x)| {
            for (i, (y, chosen)) in y.iter_mut().zip(chosen).enumerate() {
                (*y, *chosen) = (f32::NEG_INFINITY, u32::MAX);
                for &element in seen.of(i) {
                    if x[element as usize] > *y {
                        (*y, *chosen) = (x[element as usize], element);
                    }
                }
            }
        });
    }

    fn backward(&mut self, _: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let (extent, windows) = (self.seen.extent, self.seen.windows());
        let Some(dx) = dx.of(0).filter(|_| windows > 0 && extent > 0) else { return };
        let planes =
            dx.par_chunks_mut(extent).zip(self.chosen.par_chunks(windows)).zip(dy.par_chunks(windows));
        planes.for_each(|((dx, chosen), dy)| {
            for (&element, &d) in chosen.iter().zip(dy) {
                if let Some(dx) = dx.get_mut(element as usize) {
                    *dx += d;
                }
            }
        });
    }
}

/// `average_pool`.
pub struct AveragePool {
    seen: Seen,
    /// One divided by what each window counts.
    factors: Vec<f32>,
}

impl AveragePool {
    pub fn new(windows: &Windows, count_padding: bool) -> AveragePool {
        let seen = Seen::new(windows);
        let count = |i: usize| if count_padding { seen.padded[i] } else { seen.of(i).len() };
        let factors = (0..seen.windows()).map(|i| 1.0 / count(i) as f32).collect();
        AveragePool { seen, factors }
    }
}

impl Operator for AveragePool {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let (seen, windows) = (&self.seen, self.seen.windows());
        if windows == 0 || seen.extent == 0 {
            return y.fill(f32::NAN);
        }
        y.par_chunks_mut(windows).zip(x[0].par_chunks(seen.extent)).for_each(|(y, x)| {
            for (i, y) in y.iter_mut().enumerate() {
                *y = seen.of(i).iter().map(|&e| x[e as usize]).sum::<f32>() * self.factors[i];
            }
        });
    }

    fn backward(&mut self, _: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let (seen, extent, windows) = (&self.seen, self.seen.extent, self.seen.windows());
        let Some(dx) = dx.of(0).filter(|_| windows > 0 && extent > 0) else { return };
        dx.par_chunks_mut(extent).zip(dy.par_chunks(windows)).for_each(|(dx, dy)| {
            for (i, &d) in dy.iter().enumerate() {
                seen.of(i).iter().for_each(|&e| dx[e as usize] += d * self.factors[i]);
            }
        });
    }
}
