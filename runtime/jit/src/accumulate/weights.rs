//! Ternary weights of a product, one number each while its kernel is made.

use super::{IntegerRange, PlaneSpec};
use crate::geometry::Geometry;
use std::ops::Range;
use twnc_program::step::Contraction;

/// The weights of a plane.
pub(crate) struct Weights {
    pub trits: Vec<i8>,
    /// Whether they are `[K, M]` instead of `[M, C/groups, kernel...]`.
    pub transposed: bool,
}

impl Weights {
    /// Those of planes of one shape whose outputs take turns: output `o` of plane `p` of `n` is output `o·n + p`.
    pub fn in_turns(planes: &[PlaneSpec<'_>]) -> Weights {
        let transposed = planes.iter().all(|plane| *plane.contraction == Contraction::MatMul);
        let of_part = |plane: &PlaneSpec<'_>| {
            let [part, parts] = plane.part;
            let len = plane.weight.len() / parts.max(1);
            plane.weight.unpack_range(part * len..(part + 1) * len)
        };
        let mut each: Vec<Vec<i8>> = planes.iter().map(of_part).collect();
        if let [trits] = each.as_mut_slice() {
            return Weights { trits: std::mem::take(trits), transposed };
        }
        // Weights of an output that lie side by side.
        let run = if transposed { 1 } else { planes[0].weight_shape[1..].iter().product() };
        let count = each.first().map_or(0, |trits| trits.len().checked_div(run).unwrap_or(0));
        let runs = (0..count).flat_map(|i| each.iter().flat_map(move |trits| &trits[i * run..][..run]));
        Weights { trits: runs.copied().collect(), transposed }
    }

    /// That of an output and of a channel of its group, at a tap.
    pub fn at(&self, g: &Geometry, output: usize, channel: usize, tap: [usize; 2]) -> i8 {
        self.trits[self.place(g, output, channel, tap)]
    }

    /// Where [`Weights::at`] is among the weights: a sum of what each of the output, the channel and the tap contribute.
    pub fn place(&self, g: &Geometry, output: usize, channel: usize, tap: [usize; 2]) -> usize {
        if self.transposed {
            channel * g.outputs + output
        } else {
            ((output * g.channels + channel) * g.kernel[0] + tap[0]) * g.kernel[1] + tap[1]
        }
    }

    /// Those of all outputs for each of some channels of a matrix product, channel by channel; gathered into `buffer` if they
    /// are not stored like that.
    pub fn rows<'a>(&'a self, g: &Geometry, channels: Range<usize>, buffer: &'a mut Vec<i8>) -> &'a [i8] {
        if self.transposed {
            return &self.trits[channels.start * g.outputs..channels.end * g.outputs];
        }
        buffer.resize(channels.len() * g.outputs, 0);
        for output in 0..g.outputs {
            let trits = &self.trits[output * g.channels..][channels.clone()];
            let places = buffer[output..].iter_mut().step_by(g.outputs);
            places.zip(trits).for_each(|(place, &trit)| *place = trit);
        }
        buffer
    }

    /// Whether no sum in 16 bits of an output's integers in a range can overflow, in whatever order it is made.
    pub fn never_overflow(&self, g: &Geometry, range: IntegerRange) -> bool {
        let most = range.inputs();
        if g.depth() <= most {
            return true;
        }
        let mut counts = vec![[0; 2]; g.groups * g.outputs];
        for (i, &trit) in self.trits.iter().enumerate().filter(|&(_, &trit)| trit != 0) {
            let output = if self.transposed { i % g.outputs } else { i / g.depth() };
            counts[output][usize::from(trit < 0)] += 1;
        }
        // Integers of either sign add up whatever the weights' signs; others only where these are the same.
        counts.iter().all(|&[plus, minus]| if range.signed { plus + minus } else { plus.max(minus) } <= most)
    }

    /// How many are not zero.
    pub fn nonzero(&self) -> usize {
        self.trits.iter().filter(|&&t| t != 0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_judged_by_the_weights_of_each_output() {
        // Sums of 16 bits hold two such integers.
        let [unsigned, signed] = [false, true].map(|signed| IntegerRange { largest: 12_000, signed });
        let geometry = Geometry::new(&[1, 4], &[4, 2], &Contraction::MatMul, 1).expect("fits");
        let judged = |first: [i8; 4], second: [i8; 4]| {
            [false, true].map(|transposed| {
                let rows = first.iter().zip(&second).flat_map(|(&a, &b)| [a, b]);
                let trits = if transposed { rows.collect() } else { [first, second].concat() };
                let weights = Weights { trits, transposed };
                [unsigned, signed].map(|range| weights.never_overflow(&geometry, range))
            })
        };
        assert_eq!(judged([1, 0, -1, 0], [0, 0, 0, 1]), [[true, true]; 2]);
        assert_eq!(judged([0, 0, 0, 0], [1, -1, 1, -1]), [[true, false]; 2]);
        assert_eq!(judged([-1, -1, -1, 0], [0, 0, 0, 0]), [[false, false]; 2]);
        assert_eq!(judged([0, 0, 0, 0], [1, 1, 0, 1]), [[false, false]; 2]);
    }
}
