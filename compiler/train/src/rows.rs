//! A layer as a product of matrices: the rows X that its weight multiplies, and the rows Y that come out.
//!
//! A row is one place of the result: of a `matmul` a row, of a convolution a place of the window, whose elements lie as those of the
//! weight of an output channel, padding as zeros. Which rows are looked at is drawn: all, or evenly spread ones.

use ndarray::{Array2, ArrayViewMut2};
use twnc_ir::{Conv, Graph, Layer, Op};

/// See the module.
#[derive(Debug)]
pub(crate) struct Rows {
    kind: Kind,
    /// Groups of output channels, each with its own inputs.
    pub groups: usize,
    /// Columns of a group's X.
    pub fan_in: usize,
    /// Columns of Y, of all groups.
    pub channels: usize,
}

#[derive(Debug)]
enum Kind {
    MatMul,
    /// With the kernel's extents.
    Conv(Conv, Vec<usize>),
}

impl Rows {
    /// Those of a layer; `None` if it is not one with matrices.
    pub fn of(graph: &Graph, layer: &Layer) -> Option<Rows> {
        let (kind, groups) = match &graph.node(layer.node).op {
            Op::MatMul => (Kind::MatMul, 1),
            Op::Conv(conv) => {
                let kernel = graph.constant(layer.weight)?.shape().get(2..)?.to_vec();
                (Kind::Conv(conv.clone(), kernel), conv.groups)
            }
            _ => return None,
        };
        Some(Rows { kind, groups, fan_in: layer.fan_in, channels: layer.channels })
    }

    /// Output channels of a group.
    pub fn group_channels(&self) -> usize {
        self.channels / self.groups.max(1)
    }

    /// How many rows a result of so many elements has.
    pub fn count(&self, elements: usize) -> usize {
        elements / self.channels.max(1)
    }

    /// Rows of a group's X: `x` is the layer's operand, `result` the shape of what it computes.
    pub fn inputs(
        &self,
        x: &[f32],
        shape: &[usize],
        result: &[usize],
        picks: &[usize],
        group: usize,
    ) -> Array2<f32> {
        let mut rows = Array2::zeros((picks.len(), self.fan_in));
        match &self.kind {
            Kind::MatMul => {
                for (mut row, &pick) in rows.rows_mut().into_iter().zip(picks) {
                    let source = &x[pick * self.fan_in..][..self.fan_in];
                    row.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
                }
            }
            Kind::Conv(conv, kernel) => unfold(conv, kernel, x, shape, result, picks, group, rows.view_mut()),
        }
        rows
    }

    /// Rows of Y out of the layer's result, or something else of its shape.
    pub fn outputs(&self, y: &[f32], result: &[usize], picks: &[usize]) -> Array2<f32> {
        let (row, column) = match self.kind {
            Kind::MatMul => (self.channels, 1),
            Kind::Conv(..) => (1, result.iter().skip(2).product::<usize>().max(1)),
        };
        Array2::from_shape_fn((picks.len(), self.channels), |(i, channel)| {
            let (sample, place) = match self.kind {
                Kind::MatMul => (0, picks[i]),
                Kind::Conv(..) => (picks[i] / column, picks[i] % column),
            };
            y[sample * self.channels * column + place * row + channel * column]
        })
    }
}

/// Windows of a convolution's input.
#[allow(clippy::too_many_arguments)] // the parts of one description
fn unfold(
    conv: &Conv,
    kernel: &[usize],
    x: &[f32],
    shape: &[usize],
    result: &[usize],
    picks: &[usize],
    group: usize,
    mut rows: ArrayViewMut2<'_, f32>,
) {
    let geometry = &conv.geometry;
    let rank = geometry.rank();
    // Three spatial axes, the first of which may be made up.
    let pad = |values: &[usize], absent: usize| -> [usize; 3] {
        std::array::from_fn(|i| if i + rank < 3 { absent } else { values[i + rank - 3] })
    };
    let (strides, dilations) = (pad(&geometry.strides, 1), pad(&geometry.dilations, 1));
    let (pads, taps) = (pad(&geometry.pads_begin, 0), pad(kernel, 1));
    let (size, places) = (pad(&shape[2..], 1), pad(&result[2..], 1));
    let channels = shape[1];
    let in_group = channels / conv.groups.max(1);
    let (plane, all_places) = (size.iter().product::<usize>(), places.iter().product::<usize>());
    for (mut row, &pick) in rows.rows_mut().into_iter().zip(picks) {
        let Some(row) = row.as_slice_mut() else { continue };
        let (sample, place) = (pick / all_places, pick % all_places);
        let at = [place / (places[1] * places[2]), place / places[2] % places[1], place % places[2]];
        // The element that a tap is on, if it is not padding.
        let tap = |axis: usize, i: usize| {
            let at = (at[axis] * strides[axis] + i * dilations[axis]).checked_sub(pads[axis])?;
            (at < size[axis]).then_some(at)
        };
        let mut column = 0;
        for channel in 0..in_group {
            let base = (sample * channels + group * in_group + channel) * plane;
            for i in 0..taps[0] {
                for j in 0..taps[1] {
                    let line = tap(0, i).zip(tap(1, j)).map(|(i, j)| base + (i * size[1] + j) * size[2]);
                    for k in 0..taps[2] {
                        if let (Some(line), Some(k)) = (line, tap(2, k)) {
                            row[column] = x[line + k];
                        }
                        column += 1;
                    }
                }
            }
        }
    }
}

/// Which of `count` rows are looked at, if `share` of all are: one, drawn, of each of as many equal parts.
pub(crate) fn pick(count: usize, share: f64, seed: u64) -> Vec<usize> {
    if share >= 1.0 {
        return (0..count).collect();
    }
    let picked = ((count as f64 * share).ceil() as usize).clamp(usize::from(count > 0), count);
    let draw = |i: usize| {
        let (from, to) = (i * count / picked, (i + 1) * count / picked);
        from + (mix(seed.wrapping_add(i as u64)) % (to - from).max(1) as u64) as usize
    };
    (0..picked).map(draw).collect()
}

/// A number whose bits look drawn (the finaliser of SplitMix64; Steele, Lea, Flood 2014).
pub(crate) fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
