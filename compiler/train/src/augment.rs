//! Images, mirrored, moved and mixed: more samples from those there are.

use crate::random::Random;
use twnc_ir::{Data, Tensor};

/// What may be done to images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Whether they may be mirrored, left to right.
    pub flip: bool,
    /// By how many pixels they may be moved, in any direction; the edge is repeated.
    pub shift: usize,
    /// Whether in half of them a rectangle is replaced by what another image of the batch has there (Yun et al., *CutMix*, arXiv 1905.04899). Only what
    /// answers for the image that comes out can say what is right then, not a label.
    pub cutmix: bool,
}

/// The sides of an image that are looked for, at least.
const SIDE: usize = 16;
/// The part of its shorter side by which an image is moved, when nobody says by how much.
const PART: usize = 8;

/// How images lie in a tensor.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Planes of an image, rows of a plane, pixels of a row, numbers of a pixel.
    sizes: [usize; 4],
}

impl Layout {
    /// `[N, C, H, W]` or `[N, H, W, C]` with 1 or 3 channels and sides of 16 or more.
    fn of(shape: &[usize]) -> Option<Layout> {
        let is_channel = |c: usize| c == 1 || c == 3;
        match *shape {
            [_, c, h, w] if is_channel(c) && h >= SIDE && w >= SIDE => Some(Layout { sizes: [c, h, w, 1] }),
            [_, h, w, c] if is_channel(c) && h >= SIDE && w >= SIDE => Some(Layout { sizes: [1, h, w, c] }),
            _ => None,
        }
    }

    fn channels(self) -> usize {
        self.sizes[0] * self.sizes[3]
    }

    /// Replaces a rectangle in half of the images, of any share of it, by that of another.
    fn paste(self, images: &mut [f32], randoms: &mut [Random]) {
        let [planes, height, width, numbers] = self.sizes;
        let (size, count, all) = (planes * height * width * numbers, randoms.len(), images.to_vec());
        for (image, random) in images.chunks_exact_mut(size).zip(randoms) {
            let other = random.below(count);
            if random.below(2) == 1 {
                continue;
            }
            let part = random.unit().sqrt();
            let mut place = |side: usize| {
                let length = (side as f64 * part) as usize;
                (random.below(side - length + 1), length)
            };
            let ((top, rows), (left, columns)) = (place(height), place(width));
            for row in (0..planes).flat_map(|plane| (top..top + rows).map(move |row| plane * height + row)) {
                let range = (row * width + left) * numbers..(row * width + left + columns) * numbers;
                image[range.clone()].copy_from_slice(&all[other * size..][range]);
            }
        }
    }
}

impl Augment {
    /// What is safe for an input of this shape where only the answer of another network is asked for: images are moved and mixed; those of
    /// three colours are mirrored too. Anything else stays as it is.
    pub fn of_shape(shape: &[usize]) -> Augment {
        Layout::of(shape).map_or(Augment::default(), |layout| Augment {
            flip: layout.channels() == 3,
            shift: layout.sizes[1].min(layout.sizes[2]) / PART,
            cutmix: true,
        })
    }

    /// Whether a tensor of this shape holds images.
    pub fn applies_to(shape: &[usize]) -> bool {
        Layout::of(shape).is_some()
    }

    /// The samples of a tensor, each changed in its own way, which `seeds` decides. Tensors that hold no images stay.
    pub fn apply(self, tensor: &Tensor, seed: u64, purpose: impl Fn(usize) -> [u64; 2] + Sync) -> Tensor {
        let (Some(layout), Some(x)) = (Layout::of(tensor.shape()), tensor.as_f32()) else {
            return tensor.clone();
        };
        if self == Augment::default() {
            return tensor.clone();
        }
        let [planes, height, width, numbers] = layout.sizes;
        let size = planes * height * width * numbers;
        let mut out = vec![0.0; x.len()];
        let mut randoms: Vec<Random> = (0..x.len() / size).map(|i| Random::of(seed, &purpose(i))).collect();
        for ((out, x), random) in out.chunks_exact_mut(size).zip(x.chunks_exact(size)).zip(&mut randoms) {
            let flip = self.flip && random.below(2) == 1;
            let mut moved = || random.below(2 * self.shift + 1);
            let (down, right) = (moved(), moved());
            let source =
                |at: usize, by: usize, size: usize| (at + by).saturating_sub(self.shift).min(size - 1);
            for (plane, out) in out.chunks_exact_mut(height * width * numbers).enumerate() {
                let x = &x[plane * height * width * numbers..][..height * width * numbers];
                for (row, out) in out.chunks_exact_mut(width * numbers).enumerate() {
                    let row = source(row, down, height) * width;
                    for (column, out) in out.chunks_exact_mut(numbers).enumerate() {
                        let column = source(if flip { width - 1 - column } else { column }, right, width);
                        out.copy_from_slice(&x[(row + column) * numbers..][..numbers]);
                    }
                }
            }
        }
        if self.cutmix {
            layout.paste(&mut out, &mut randoms);
        }
        Tensor::new(tensor.shape().to_vec(), Data::F32(out.into())).unwrap_or_else(|_| tensor.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In half of the images a rectangle is another's, in all planes or colours the same one.
    #[test]
    fn rectangles_are_of_other_images() {
        let (images, side) = (64, 16);
        for shape in [[images, 3, side, side], [images, side, side, 3]] {
            let size = 3 * side * side;
            // What image each number is of.
            let x = (0..images * size).map(|i| (i / size) as f32).collect();
            let x = Tensor::from_f32(shape.to_vec(), x).unwrap();
            let cutmix = Augment { cutmix: true, ..Augment::default() };
            let apply = |seed| cutmix.apply(&x, seed, |i| [7, i as u64]);
            let y = apply(1);
            assert_eq!(y, apply(1));
            assert_ne!(y, apply(2));
            let mut changed = 0;
            for (i, image) in y.as_f32().unwrap().chunks(size).enumerate() {
                let at = |plane: usize, row: usize, column: usize| match shape[1] {
                    3 => image[(plane * side + row) * side + column],
                    _ => image[(row * side + column) * 3 + plane],
                };
                let is_own = |row: usize, column: usize| at(0, row, column) == i as f32;
                let cells = || (0..side).flat_map(|row| (0..side).map(move |column| (row, column)));
                let others: Vec<(usize, usize)> =
                    cells().filter(|&(row, column)| !is_own(row, column)).collect();
                let Some(&(top, left)) = others.first() else { continue };
                let &(bottom, right) = others.last().unwrap();
                changed += 1;
                assert_eq!(others.len(), (bottom - top + 1) * (right - left + 1));
                for (row, column) in cells() {
                    let inside = (top..=bottom).contains(&row) && (left..=right).contains(&column);
                    assert_eq!(inside, !is_own(row, column));
                    let of = if inside { at(0, top, left) } else { i as f32 };
                    assert!((0..3).all(|plane| at(plane, row, column) == of));
                }
            }
            assert!((images / 4..images * 3 / 4).contains(&changed), "{changed}");
        }
    }
}
