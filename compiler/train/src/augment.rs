//! Images, mirrored and moved: more samples from those there are.

use crate::random::Random;
use twnc_ir::{Data, Tensor};

/// What may be done to images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augment {
    /// Whether they may be mirrored, left to right.
    pub flip: bool,
    /// By how many pixels they may be moved, in any direction; the edge is repeated.
    pub shift: usize,
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
}

impl Augment {
    /// What is safe for an input of this shape where only the answer of another network is asked for: images are moved; those of three
    /// colours are mirrored too. Anything else stays as it is.
    pub fn of_shape(shape: &[usize]) -> Augment {
        Layout::of(shape).map_or(Augment::default(), |layout| Augment {
            flip: layout.channels() == 3,
            shift: layout.sizes[1].min(layout.sizes[2]) / PART,
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
        for (i, (out, x)) in out.chunks_exact_mut(size).zip(x.chunks_exact(size)).enumerate() {
            let mut random = Random::of(seed, &purpose(i));
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
        Tensor::new(tensor.shape().to_vec(), Data::F32(out.into())).unwrap_or_else(|_| tensor.clone())
    }
}
