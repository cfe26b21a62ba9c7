//! Convolutions as products of matrices: the weight `[M, C·taps]` by the elements under each window, unfolded for a few images at a time.

use super::operator::{Gradients, Operator};
use super::product::{matrix, matrix_mut, multiply};
use super::vectors::add;
use super::window::Windows;
use faer::{MatMut, MatRef};
use rayon::prelude::*;

/// Windows that are unfolded together, about: enough for a product to be fast, few enough for the cache.
const WINDOWS: usize = 512;
/// Pieces into which a batch is divided for the gradient of the weight, each with a sum of its own.
const PIECES: usize = 8;

/// A convolution whose groups have more than one input channel.
pub struct Conv {
    windows: Windows,
    groups: usize,
    /// Input and output channels of a group.
    channels: [usize; 2],
    /// Images that are unfolded together.
    images: usize,
}

impl Conv {
    pub fn new(windows: Windows, groups: usize, inputs: usize, outputs: usize) -> Conv {
        let groups = groups.max(1);
        let images = WINDOWS.div_ceil(windows.count().max(1)).max(1);
        Conv { windows, groups, channels: [inputs / groups, outputs / groups], images }
    }

    /// Numbers of an image: of the input, of the result.
    fn image(&self) -> [usize; 2] {
        let [inputs, outputs] = self.channels;
        [inputs * self.groups * self.windows.extent(), outputs * self.groups * self.windows.count()]
    }

    /// The columns of a group of some images: `[C·taps, images·windows]`. Where each window is an element, the image is its own.
    fn columns<'s>(&self, x: &'s [f32], group: usize, images: usize, scratch: &'s mut Vec<f32>) -> &'s [f32] {
        let ([inputs, _], [size, _]) = (self.channels, self.image());
        let (extent, count) = (self.windows.extent(), self.windows.count());
        let start = group * inputs * extent;
        if images == 1 && self.windows.is_pointwise() {
            return &x[start..start + inputs * extent];
        }
        scratch.resize(inputs * self.windows.taps() * images * count, 0.0);
        for image in 0..images {
            let part = &x[image * size + start..][..inputs * extent];
            self.windows.unfold(part, inputs, scratch, images * count, image * count);
        }
        scratch
    }

    /// Channels of some images, side by side: `[M, images·windows]`; one image is its own.
    fn gathered<'s>(
        &self,
        y: &'s [f32],
        group: usize,
        images: usize,
        scratch: &'s mut Vec<f32>,
    ) -> &'s [f32] {
        let ([_, outputs], [_, size]) = (self.channels, self.image());
        let count = self.windows.count();
        let start = group * outputs * count;
        if images == 1 {
            return &y[start..start + outputs * count];
        }
        scratch.resize(outputs * images * count, 0.0);
        for image in 0..images {
            for channel in 0..outputs {
                let from = &y[image * size + start + channel * count..][..count];
                scratch[(channel * images + image) * count..][..count].copy_from_slice(from);
            }
        }
        scratch
    }
}

impl Operator for Conv {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let (x, w) = (x[0], x[1]);
        let ([inputs, outputs], [from, to], count) = (self.channels, self.image(), self.windows.count());
        let inner = inputs * self.windows.taps();
        if from == 0 || to == 0 {
            return y.fill(0.0);
        }
        let pieces = y.par_chunks_mut(self.images * to).zip(x.par_chunks(self.images * from));
        pieces.for_each_init(<[Vec<f32>; 2]>::default, |[columns, results], (y, x)| {
            let images = y.len() / to;
            for group in 0..self.groups {
                let weight = matrix(&w[group * outputs * inner..][..outputs * inner], outputs, inner);
                let columns = matrix(self.columns(x, group, images, columns), inner, images * count);
                let start = group * outputs * count;
                if images == 1 {
                    let y = matrix_mut(&mut y[start..start + outputs * count], outputs, count);
                    multiply(y, false, weight, columns);
                    continue;
                }
                results.resize(outputs * images * count, 0.0);
                multiply(matrix_mut(results, outputs, images * count), false, weight, columns);
                for image in 0..images {
                    for channel in 0..outputs {
                        let from = &results[(channel * images + image) * count..][..count];
                        y[image * to + start + channel * count..][..count].copy_from_slice(from);
                    }
                }
            }
        });
    }

    fn backward(&mut self, x: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let (x, w) = (x[0], x[1]);
        let [from, to] = self.image();
        if from == 0 || to == 0 {
            return;
        }
        let batch = (dy.len() / to).div_ceil(PIECES);
        let wanted = dx.wants(1);
        let work = |x: &[f32], dy: &[f32], dx: Option<&mut [f32]>| {
            let mut dw = if wanted { vec![0.0; w.len()] } else { vec![] };
            self.piece(x, w, dy, dx, &mut dw);
            dw
        };
        let pieces = x.par_chunks(batch * from).zip(dy.par_chunks(batch * to));
        let sums: Vec<Vec<f32>> = match dx.of(0) {
            Some(dx) => {
                let pieces = pieces.zip(dx.par_chunks_mut(batch * from));
                pieces.map(|((x, dy), dx)| work(x, dy, Some(dx))).collect()
            }
            None => pieces.map(|(x, dy)| work(x, dy, None)).collect(),
        };
        if let Some(dw) = dx.of(1) {
            sums.iter().for_each(|sum| add(dw, sum));
        }
    }
}

impl Conv {
    /// Adds the gradients of some images: of the input, and of the weight if there is room for it.
    fn piece(&self, x: &[f32], w: &[f32], dy: &[f32], mut dx: Option<&mut [f32]>, dw: &mut [f32]) {
        let ([inputs, outputs], [from, to], count) = (self.channels, self.image(), self.windows.count());
        let inner = inputs * self.windows.taps();
        let (mut columns, mut gathered, mut unfolded) = (vec![], vec![], vec![]);
        for (i, dy) in dy.chunks(self.images * to).enumerate() {
            let images = dy.len() / to;
            let x = &x[i * self.images * from..][..images * from];
            for group in 0..self.groups {
                let of_group = group * outputs * inner..(group + 1) * outputs * inner;
                let dy: MatRef<'_, f32> =
                    matrix(self.gathered(dy, group, images, &mut gathered), outputs, images * count);
                if !dw.is_empty() {
                    let columns = matrix(self.columns(x, group, images, &mut columns), inner, images * count);
                    let dw: MatMut<'_, f32> = matrix_mut(&mut dw[of_group.clone()], outputs, inner);
                    multiply(dw, true, dy, columns.transpose());
                }
                let Some(dx) = dx.as_deref_mut() else { continue };
                let weight = matrix(&w[of_group], outputs, inner).transpose();
                let dx = &mut dx[i * self.images * from..][..images * from];
                let start = group * inputs * self.windows.extent();
                if images == 1 && self.windows.is_pointwise() {
                    multiply(
                        matrix_mut(&mut dx[start..start + inner * count], inner, count),
                        true,
                        weight,
                        dy,
                    );
                    continue;
                }
                unfolded.resize(inner * images * count, 0.0);
                multiply(matrix_mut(&mut unfolded, inner, images * count), false, weight, dy);
                for image in 0..images {
                    let dx = &mut dx[image * from + start..][..inputs * self.windows.extent()];
                    self.windows.fold(dx, inputs, &unfolded, images * count, image * count);
                }
            }
        }
    }
}
