//! The shape of one product, ternary or float, reduced to two spatial axes: convolutions of one axis have height 1, and the rows
//! of a matrix product are the columns of an image of height 1.

use crate::error::JitError;
use twnc_program::step::Contraction;
use twnc_program::window::Window;

/// Where element (sample, channel, y, x) of a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strides {
    pub sample: usize,
    pub channel: usize,
    pub y: usize,
    pub x: usize,
}

/// A product. Pairs are (vertical, horizontal).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub samples: usize,
    pub groups: usize,
    /// Input channels of a group.
    pub channels: usize,
    /// Output channels of a group.
    pub outputs: usize,
    pub input: [usize; 2],
    pub output: [usize; 2],
    pub kernel: [usize; 2],
    pub strides: [usize; 2],
    pub dilations: [usize; 2],
    pub pads: [usize; 2],
    pub input_strides: Strides,
    pub output_strides: Strides,
    pub output_shape: Vec<usize>,
    /// For a matrix product: how many rows belong to one index of the input's first axis, at least 1.
    pub rows_of_a_sample: Option<usize>,
}

impl Geometry {
    /// Checks `input` and `weight` (shapes as in [`twnc_program::step::Plane`]) against each other. Of several `parts`
    /// ([`twnc_program::step::Term::parts`]) it is the geometry of the first; that of the next begins [`Self::part_len`] numbers later.
    pub fn new(
        input: &[usize],
        weight: &[usize],
        contraction: &Contraction,
        parts: usize,
    ) -> Result<Geometry, JitError> {
        match contraction {
            Contraction::MatMul if parts > 1 => {
                Self::checked(input, weight, Self::matmul_in_parts(input, weight, parts))
            }
            Contraction::MatMul => Self::checked(input, weight, Self::matmul(input, weight)),
            Contraction::Window { window, groups } => {
                let geometry = Self::convolution(input, weight, window, *groups)?;
                let part = if parts > 1 { geometry.part_of(parts)? } else { geometry };
                Ok(part.with_samples_as_rows())
            }
        }
    }

    /// A convolution as it is: the strides of both tensors are those of dense `[N, C, height, width]`.
    pub fn convolution(
        input: &[usize],
        weight: &[usize],
        window: &Window,
        groups: usize,
    ) -> Result<Geometry, JitError> {
        let geometry = Self::window(input, weight, window, groups)?;
        Self::checked(input, weight, geometry)
    }

    fn checked(input: &[usize], weight: &[usize], geometry: Option<Geometry>) -> Result<Geometry, JitError> {
        let misfit = || JitError::Shape(format!("weight {weight:?} does not fit input {input:?}"));
        let geometry = geometry.ok_or_else(misfit)?;
        // Offsets of 32 bits are plenty for a layer; beyond, the interpreter is no slower a choice than swapping.
        let limit = |n: Option<usize>| n.is_some_and(|n| n < 1 << 31);
        let all = [product(input), product(weight), product(&geometry.output_shape)];
        if !all.into_iter().all(limit) {
            return Err(JitError::Unsupported("a tensor this large"));
        }
        // Plans list taps and inputs, also those of a weight without an element.
        let counts = [product(&geometry.kernel), Some(geometry.channels), Some(geometry.groups)];
        let most = [1 << 16, 1 << 22, 1 << 22];
        if counts.into_iter().zip(most).any(|(count, most)| count.is_none_or(|count| count > most)) {
            return Err(JitError::Unsupported("a window or a sum this large"));
        }
        Ok(geometry)
    }

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.samples * self.groups * self.channels * self.input[0] * self.input[1]
    }

    /// Elements of the output.
    pub fn output_len(&self) -> usize {
        self.samples * self.groups * self.outputs * self.output[0] * self.output[1]
    }

    /// Numbers from what a part reads of a sample to what the next reads.
    pub fn part_len(&self) -> usize {
        self.groups * self.channels * self.input_strides.channel
    }

    /// One group, whose outputs are all there are.
    fn part_of(self, parts: usize) -> Result<Geometry, JitError> {
        let [samples, _, ref spatial @ ..] = self.output_shape[..] else {
            return Err(JitError::Shape("a part of a product without channels".into()));
        };
        if self.groups != parts {
            return Err(JitError::Shape(format!("{parts} parts of a product in {} groups", self.groups)));
        }
        Ok(Geometry {
            groups: 1,
            output_shape: [&[samples, self.outputs], spatial].concat(),
            output_strides: Strides {
                sample: self.outputs * self.output_strides.channel,
                ..self.output_strides
            },
            ..self
        })
    }

    /// Output positions of a sample.
    pub fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Taps of the window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Weights of an output: input channels of a group times taps.
    pub fn depth(&self) -> usize {
        self.channels * self.taps()
    }

    /// Whether an output reads the inputs at its own position and no others, of an image that is as large.
    pub fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.strides == [1, 1] && self.input == self.output && self.input_strides.x == 1
    }

    /// Where there is one position per sample and one tap, samples are the rows of a matrix product.
    fn with_samples_as_rows(self) -> Geometry {
        let single = [self.input, self.output, self.kernel] == [[1, 1]; 3] && self.pads == [0, 0];
        let product = Self::matmul(&[self.samples, self.channels], &[self.channels, self.outputs]);
        match product.filter(|_| single && self.groups == 1) {
            Some(product) => {
                // A part of a row is followed by the others.
                let input_strides = Strides { x: self.input_strides.sample, ..product.input_strides };
                Geometry { output_shape: self.output_shape, input_strides, ..product }
            }
            None => self,
        }
    }

    fn matmul(input: &[usize], weight: &[usize]) -> Option<Geometry> {
        let (&depth, leading) = input.split_last()?;
        let &[k, outputs] = weight else { return None };
        let rows = product(leading)?;
        let output_shape = [leading, &[outputs]].concat();
        (k == depth).then_some(Geometry {
            samples: 1,
            groups: 1,
            channels: depth,
            outputs,
            input: [1, rows],
            output: [1, rows],
            kernel: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [0, 0],
            input_strides: Strides { sample: 0, channel: 1, y: 0, x: depth },
            output_strides: Strides { sample: 0, channel: 1, y: 0, x: outputs },
            output_shape,
            rows_of_a_sample: Some((rows / leading.first().copied().unwrap_or(1).max(1)).max(1)),
        })
    }

    /// The first part of a product of `[..., parts, 1, K]` and `[parts, K, M]`.
    fn matmul_in_parts(input: &[usize], weight: &[usize], parts: usize) -> Option<Geometry> {
        let &[ref rows @ .., count, 1, depth] = input else { return None };
        let &[same, _, _] = weight else { return None };
        let geometry = Self::matmul(&[rows, &[depth]].concat(), &weight[1..])?;
        let input_strides = Strides { x: parts.checked_mul(depth)?, ..geometry.input_strides };
        ([count, same] == [parts; 2] && !rows.is_empty()).then_some(Geometry { input_strides, ..geometry })
    }

    fn window(
        input: &[usize],
        weight: &[usize],
        window: &Window,
        groups: usize,
    ) -> Result<Option<Geometry>, JitError> {
        let rank = window.rank();
        let lists = [&window.strides, &window.dilations, &window.pads_begin, &window.pads_end].map(Vec::len);
        if lists != [rank; 4] || input.len() != rank + 2 || weight.len() != rank + 2 {
            return Ok(None);
        }
        if !(1..=2).contains(&rank) {
            return Err(JitError::Unsupported("windows of three and more axes"));
        }
        // Far beyond any network; keeps every coordinate, also of what a tile computes past the image, in range.
        let lists = [&window.strides, &window.dilations, &window.pads_begin, &window.pads_end];
        if lists.into_iter().flatten().any(|&n| n >= 1 << 24) {
            return Err(JitError::Unsupported("a window that moves or reaches this far"));
        }
        let outputs: Option<Vec<usize>> =
            (0..rank).map(|axis| window.output_size(axis, input[axis + 2], false)).collect();
        let Some(spatial) = outputs else { return Ok(None) };
        let fits = groups > 0
            && weight[0].is_multiple_of(groups)
            && weight[1].checked_mul(groups) == Some(input[1])
            && weight[2..] == window.kernel[..]
            && !window.strides.contains(&0)
            && !window.dilations.contains(&0);
        if !fits {
            return Ok(None);
        }
        // A single spatial axis becomes the second of two.
        let pair = |values: &[usize], absent: usize| match *values {
            [x] => [absent, x],
            [y, x] => [y, x],
            _ => [absent, absent],
        };
        let (from, to) = (pair(&input[2..], 1), pair(&spatial, 1));
        let output_shape = [&[input[0], weight[0]], &spatial[..]].concat();
        let strides = |channels: usize, [h, w]: [usize; 2]| -> Option<Strides> {
            let plane = h.checked_mul(w)?;
            Some(Strides { sample: channels.checked_mul(plane)?, channel: plane, y: w, x: 1 })
        };
        let (Some(input_strides), Some(output_strides)) = (strides(input[1], from), strides(weight[0], to))
        else {
            return Ok(None);
        };
        // A window that stands in one place does not move: all of its taps are of one phase then.
        let moves = pair(&window.strides, 1);
        let moves = [0, 1].map(|axis| if to[axis] == 1 { 1 } else { moves[axis] });
        Ok(Some(Geometry {
            samples: input[0],
            groups,
            channels: weight[1],
            outputs: weight[0] / groups,
            input: from,
            output: to,
            kernel: pair(&window.kernel, 1),
            strides: moves,
            dilations: pair(&window.dilations, 1),
            pads: pair(&window.pads_begin, 0),
            input_strides,
            output_strides,
            output_shape,
            rows_of_a_sample: None,
        }))
    }
}

fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size))
}
