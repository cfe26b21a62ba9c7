//! Convolutions as products of matrices: the weight `[M, C·taps]` by the elements under each window, unfolded for a few images at a time.

use super::operator::{Gradients, Operator};
use super::product::{matrix, matrix_mut, multiply};
use super::vectors::add;
use super::window::Windows;
use faer::MatRef;
use rayon::prelude::*;
use std::ops::Range;

/// Windows that are unfolded together, about: enough for a product to be fast.
const WINDOWS: usize = 512;
/// And at most so many elements under them, about: few enough for the cache.
const ELEMENTS: usize = 1 << 18;
/// Pieces into which a batch is divided for the gradient of the weight, each with a sum of its own.
const PIECES: usize = 8;

/// A convolution whose groups have more than one input channel.
pub struct Conv {
    windows: Windows,
    groups: usize,
    /// Input and output channels of a group.
    channels: [usize; 2],
    /// Images that are unfolded together; of a single one, so many rows of windows.
    images: usize,
    lines: usize,
}

/// What is unfolded together: some rows of windows, of a group of channels, of some images.
struct Part {
    group: usize,
    images: usize,
    lines: Range<usize>,
}

impl Conv {
    pub fn new(windows: Windows, groups: usize, inputs: usize, outputs: usize) -> Conv {
        let groups = groups.max(1);
        let images = WINDOWS.div_ceil(windows.count().max(1)).max(1);
        let inner = inputs / groups * windows.taps();
        let together = (ELEMENTS / inner.max(1)).clamp(WINDOWS / 8, WINDOWS);
        // Where nothing is unfolded, an image is one product.
        let lines = match images == 1 && !windows.is_pointwise() {
            true => together.div_ceil(windows.line().max(1)).min(windows.lines()),
            false => windows.lines(),
        };
        Conv { windows, groups, channels: [inputs / groups, outputs / groups], images, lines: lines.max(1) }
    }

    /// Numbers of an image: of the input, of the result.
    fn image(&self) -> [usize; 2] {
        let [inputs, outputs] = self.channels;
        [inputs * self.groups * self.windows.extent(), outputs * self.groups * self.windows.count()]
    }

    /// The parts of some images that lie together.
    fn parts(&self, images: usize) -> impl Iterator<Item = Part> + use<> {
        let (lines, together) = (self.windows.lines(), self.lines);
        let rows =
            move || (0..lines).step_by(together).map(move |first| first..(first + together).min(lines));
        (0..self.groups).flat_map(move |group| rows().map(move |lines| Part { group, images, lines }))
    }

    /// The windows of some rows.
    fn of_lines(&self, lines: &Range<usize>) -> Range<usize> {
        lines.start * self.windows.line()..lines.end * self.windows.line()
    }

    /// The columns of a part: `[C·taps, images·windows]`. Where each window is an element, the image is its own.
    fn columns<'s>(&self, x: &'s [f32], part: &Part, scratch: &'s mut Vec<f32>) -> MatRef<'s, f32> {
        let ([inputs, _], [size, _]) = (self.channels, self.image());
        let (extent, count) = (self.windows.extent(), self.of_lines(&part.lines).len());
        let (start, inner) = (part.group * inputs * extent, inputs * self.windows.taps());
        if part.images == 1 && self.windows.is_pointwise() {
            return matrix(&x[start..start + inputs * extent], inner, count);
        }
        let columns = part.images * count;
        scratch.resize(inner * columns, 0.0);
        for image in 0..part.images {
            let x = &x[image * size + start..][..inputs * extent];
            self.windows.unfold(x, inputs, &part.lines, scratch, columns, image * count);
        }
        matrix(scratch, inner, columns)
    }

    /// Results of a part, images side by side: `[M, images·windows]`; one image is its own.
    fn gathered<'s>(&self, y: &'s [f32], part: &Part, scratch: &'s mut Vec<f32>) -> MatRef<'s, f32> {
        let ([_, outputs], [_, size]) = (self.channels, self.image());
        let count = self.windows.count();
        let start = part.group * outputs * count;
        if part.images == 1 {
            let windows = self.of_lines(&part.lines);
            let y = matrix(&y[start..start + outputs * count], outputs, count);
            return y.subcols(windows.start, windows.len());
        }
        scratch.resize(outputs * part.images * count, 0.0);
        for image in 0..part.images {
            for channel in 0..outputs {
                let from = &y[image * size + start + channel * count..][..count];
                scratch[(channel * part.images + image) * count..][..count].copy_from_slice(from);
            }
        }
        matrix(scratch, outputs, part.images * count)
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
            for part in self.parts(images) {
                let group = part.group;
                let weight = matrix(&w[group * outputs * inner..][..outputs * inner], outputs, inner);
                let columns = self.columns(x, &part, columns);
                let start = group * outputs * count;
                if images == 1 {
                    let y = matrix_mut(&mut y[start..start + outputs * count], outputs, count);
                    let windows = self.of_lines(&part.lines);
                    multiply(y.subcols_mut(windows.start, windows.len()), false, weight, columns);
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
        let work = |x: &[f32], dy: &[f32], dx: Option<(&mut [f32], bool)>| {
            let mut dw = if wanted { vec![0.0; w.len()] } else { vec![] };
            self.piece(x, w, dy, dx, &mut dw);
            dw
        };
        let pieces = x.par_chunks(batch * from).zip(dy.par_chunks(batch * to));
        let sums: Vec<Vec<f32>> = match dx.place(0) {
            Some((dx, fresh)) => {
                let pieces = pieces.zip(dx.par_chunks_mut(batch * from));
                pieces.map(|((x, dy), dx)| work(x, dy, Some((dx, fresh)))).collect()
            }
            None => pieces.map(|(x, dy)| work(x, dy, None)).collect(),
        };
        if let Some(dw) = dx.of(1) {
            sums.iter().for_each(|sum| add(dw, sum));
        }
    }
}

impl Conv {
    /// Makes the gradients of some images: of the input, which are written where it is fresh, else added, and of the weight if there is room for it.
    fn piece(&self, x: &[f32], w: &[f32], dy: &[f32], mut dx: Option<(&mut [f32], bool)>, dw: &mut [f32]) {
        let ([inputs, outputs], [from, to]) = (self.channels, self.image());
        let (inner, extent) = (inputs * self.windows.taps(), self.windows.extent());
        let (mut columns, mut gathered, mut unfolded) = (vec![], vec![], vec![]);
        for (i, dy) in dy.chunks(self.images * to).enumerate() {
            let images = dy.len() / to;
            let in_place = images == 1 && self.windows.is_pointwise();
            let own = i * self.images * from..i * self.images * from + images * from;
            if let Some((dx, true)) = &mut dx
                && !in_place
            {
                dx[own.clone()].fill(0.0);
            }
            let x = &x[own.clone()];
            for part in self.parts(images) {
                let group = part.group;
                let of_group = group * outputs * inner..(group + 1) * outputs * inner;
                let dy = self.gathered(dy, &part, &mut gathered);
                if !dw.is_empty() {
                    let columns = self.columns(x, &part, &mut columns);
                    let dw = matrix_mut(&mut dw[of_group.clone()], outputs, inner);
                    multiply(dw, true, dy, columns.transpose());
                }
                let Some((dx, fresh)) = &mut dx else { continue };
                let weight = matrix(&w[of_group], outputs, inner).transpose();
                let (dx, start) = (&mut dx[own.clone()], group * inputs * extent);
                if in_place {
                    let dx = matrix_mut(&mut dx[start..start + inputs * extent], inner, extent);
                    multiply(dx, !*fresh, weight, dy);
                    continue;
                }
                let count = self.of_lines(&part.lines).len();
                unfolded.resize(inner * images * count, 0.0);
                multiply(matrix_mut(&mut unfolded, inner, images * count), false, weight, dy);
                for image in 0..images {
                    let dx = &mut dx[image * from + start..][..inputs * extent];
                    self.windows.fold(dx, inputs, &part.lines, &unfolded, images * count, image * count);
                }
            }
        }
    }
}
