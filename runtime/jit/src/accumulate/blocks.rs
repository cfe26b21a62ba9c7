//! Blocks of groups: whose tables exist at once, and in which passes outputs look up entries in them.

use super::Weights;
use super::code::Accumulate;
use super::pack::Planes;
use super::pattern::Patterns;
use super::plan::{Group, Limits, Lookup, Plan, passes};
use super::stream::Stream;
use crate::compile::{Compiler, Function};
use crate::error::JitError;
use crate::geometry::Geometry;
use std::ops::Range;
use std::sync::Arc;

/// Groups whose tables exist at once.
pub(crate) struct Block {
    /// Of each group, the byte offsets of its members from the first plane of the convolution group; always
    /// [`Plan::size`] of them.
    pub members: Vec<Vec<u64>>,
    pub passes: Vec<Pass>,
}

/// Some of the lookups that outputs make in a block.
pub(crate) struct Pass {
    pub function: Arc<Function>,
    /// Whether sums of i16 are widened before, since they could overflow with those of this pass.
    pub widen: bool,
    /// By chunk, then by the convolution groups in it.
    pub streams: Vec<Vec<Stream>>,
}

/// Ranges of convolution groups and of the outputs of each, which units of work are divided by.
pub(crate) type Chunk = (Range<usize>, Range<usize>);

/// The range of integer inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntegerRange {
    /// The largest of them.
    pub largest: i16,
    /// Whether it reaches as far below 0.
    pub signed: bool,
}

impl IntegerRange {
    /// How many such integers a sum of i16 can hold, whatever their signs.
    pub(crate) fn inputs(self) -> usize {
        (i16::MAX / self.largest.max(1)).unsigned_abs().into()
    }
}

/// All blocks of a plan, in order. Sums of integers in `range` never overflow: each pass is small enough for itself, and
/// what the passes since the last widening have added is counted, output by output, over the real weights.
pub(crate) fn blocks(
    compiler: &Compiler,
    geometry: &Geometry,
    plan: &Plan,
    planes: Planes,
    weights: &Weights,
    range: Option<IntegerRange>,
    chunks: &[Chunk],
) -> Result<Vec<Block>, JitError> {
    let tile = plan.shape.tile;
    let bytes = tile.element.bytes();
    let limits = Limits::of(range).ok_or(JitError::Unsupported("integers of this range"))?;
    let sums_bytes = tile.positions() * bytes;
    let most = chunks.iter().map(|(_, outputs)| outputs.len()).max().unwrap_or(0);
    if most.checked_mul(sums_bytes).is_none_or(|bytes| bytes > u32::MAX as usize) {
        return Err(JitError::Unsupported("this many outputs"));
    }
    let patterns = Patterns::new(plan.size);
    let mut counted = Counted::new(range, geometry.groups * geometry.outputs);
    let mut blocks = Vec::new();
    for groups in plan.groups.chunks(plan.shape.block) {
        let channels = geometry.groups * geometry.channels;
        let members = groups.iter().map(|group| {
            let plane = |channel: usize| (group.phase * channels + channel) * planes.plane;
            let offset = |&(channel, dx): &(usize, usize)| ((plane(channel) + dx) * bytes) as u64;
            let mut offsets: Vec<u64> = group.members.iter().map(offset).collect();
            // Members that the last group lacks: no pattern selects them.
            offsets.resize(plan.size, offsets.first().copied().unwrap_or(0));
            offsets
        });
        let members = members.collect();
        let lookups: Vec<Place<'_>> = groups
            .iter()
            .enumerate()
            .flat_map(|(slot, group)| group.lookups.iter().map(move |lookup| Place { slot, group, lookup }))
            .collect();
        let size = lookups.len().div_ceil(passes(lookups.len(), limits.lookups)).max(1);
        let mut made = Vec::new();
        for lookups in lookups.chunks(size) {
            let entries = |output: usize| {
                let entry = |place: &Place<'_>| place.entry(geometry, plan, &patterns, weights, output);
                lookups.iter().map(entry).collect::<Result<Vec<_>, JitError>>()
            };
            let stream = |conv_group: usize, outputs: &Range<usize>| {
                let first = conv_group * geometry.outputs;
                let outputs = outputs.clone().map(|output| entries(first + output));
                let outputs = outputs.collect::<Result<Vec<_>, JitError>>()?;
                Ok(Stream::new(lookups.len(), sums_bytes as u32, &outputs))
            };
            let streams = chunks.iter().map(|(conv_groups, outputs)| {
                conv_groups.clone().map(|conv_group| stream(conv_group, outputs)).collect()
            });
            let signs = |output: usize| lookups.iter().flat_map(move |p| p.signs(geometry, weights, output));
            made.push(Pass {
                function: compiler.function(&Accumulate { tile, lookups: lookups.len() })?,
                widen: counted.add(signs),
                streams: streams.collect::<Result<_, JitError>>()?,
            });
        }
        blocks.push(Block { members, passes: made });
    }
    Ok(blocks)
}

/// A lookup of a group whose table is in a slot of its block.
#[derive(Clone, Copy)]
struct Place<'a> {
    slot: usize,
    group: &'a Group,
    lookup: &'a Lookup,
}

impl<'a> Place<'a> {
    /// The weights of an output that select an entry.
    fn signs(
        self,
        geometry: &'a Geometry,
        weights: &'a Weights,
        output: usize,
    ) -> impl Iterator<Item = i8> + use<'a> {
        let members = self.group.members.iter().zip(&self.lookup.taps);
        members.map(move |(&(channel, _), &tap)| weights.at(geometry, output, channel, tap))
    }

    /// Where the entry is in the block's tables, and whether it is subtracted.
    fn entry(
        self,
        geometry: &Geometry,
        plan: &Plan,
        patterns: &Patterns,
        weights: &Weights,
        output: usize,
    ) -> Result<(u16, bool), JitError> {
        let (number, negative) = patterns.number(self.signs(geometry, weights, output));
        let shift = if number == 0 { 0 } else { plan.displacement(self.lookup.shift) };
        let offset = (self.slot * patterns.entries() + number) * plan.shape.entry + shift;
        let offset = u16::try_from(offset).map_err(|_| JitError::Unsupported("tables this large"))?;
        Ok((offset, negative))
    }
}

/// How many inputs each output may have added and subtracted since its sums were widened.
struct Counted {
    range: Option<IntegerRange>,
    outputs: Vec<[u32; 2]>,
}

impl Counted {
    fn new(range: Option<IntegerRange>, outputs: usize) -> Counted {
        Counted { range, outputs: vec![[0; 2]; if range.is_some() { outputs } else { 0 }] }
    }

    /// Counts the signs that a pass gives to the inputs of each output. Whether sums must be widened before it.
    fn add<S: Iterator<Item = i8>>(&mut self, signs: impl Fn(usize) -> S) -> bool {
        let Some(range) = self.range else { return false };
        let largest = u64::from(range.largest.unsigned_abs());
        let overflows = |[plus, minus]: [u32; 2]| {
            let inputs =
                if range.signed { u64::from(plus) + u64::from(minus) } else { plus.max(minus).into() };
            inputs * largest > i16::MAX as u64
        };
        let count = |output: usize| {
            signs(output).fold([0u32; 2], |[plus, minus], sign| match sign {
                0 => [plus, minus],
                1.. => [plus + 1, minus],
                _ => [plus, minus + 1],
            })
        };
        let new: Vec<[u32; 2]> = (0..self.outputs.len()).map(count).collect();
        let together = |(old, new): (&[u32; 2], &[u32; 2])| [old[0] + new[0], old[1] + new[1]];
        let sums: Vec<[u32; 2]> = self.outputs.iter().zip(&new).map(together).collect();
        let widen = sums.iter().any(|&counts| overflows(counts));
        self.outputs = if widen { new } else { sums };
        widen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_widened_before_they_can_overflow() {
        let passes = |largest, signed| {
            let mut counted = Counted::new(Some(IntegerRange { largest, signed }), 1);
            let signs = [[1, -1, 1, 0], [1, 1, -1, -1], [1, 1, 1, 1], [-1, -1, -1, -1]];
            signs.map(|signs| counted.add(|_| signs.into_iter()))
        };
        // In a pass at most 3, 4, 4 and 4 inputs; together 3, 7, 11, 15, or of one sign 2, 4, 8, 8.
        assert_eq!(passes(i16::MAX / 15, true), [false; 4]);
        assert_eq!(passes(i16::MAX / 15 + 1, true), [false, false, false, true]);
        assert_eq!(passes(i16::MAX / 7, true), [false, false, true, true]);
        assert_eq!(passes(i16::MAX / 8, false), [false; 4]);
        assert_eq!(passes(i16::MAX / 7, false), [false, false, true, false]);
    }
}
