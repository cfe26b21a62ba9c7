//! Blocks of groups: whose tables exist at once, and in which passes outputs look up entries in them.

use super::Weights;
use super::code::{Accumulate, AccumulateFunction, Into};
use super::cost::passes;
use super::groups::{Group, Lookup};
use super::pack::Planes;
use super::pattern::{Patterns, code, signs};
use super::plan::{Limits, MOST_MEMBERS, Plan};
use super::stream::Stream;
use crate::compile::{Compiler, Function};
use crate::error::JitError;
use crate::geometry::Geometry;
use std::ops::Range;
use std::sync::Arc;

/// All blocks of a plan. What a run reads of them lies in the order in which it does: it goes through all of that for each region.
pub(crate) struct Blocks<T> {
    pub list: Vec<Block>,
    /// What tables are built from.
    pub members: Vec<Members>,
    pub passes: Vec<Pass<T>>,
    /// Those of all passes, by chunk, then by the convolution groups in it.
    pub streams: Vec<Vec<Stream>>,
    /// Whether passes leave sums of i16 in totals on the way, since they could overflow.
    pub widened: bool,
}

/// Groups whose tables exist at once: how many of the members and of the passes are its.
pub(crate) struct Block {
    pub groups: usize,
    pub passes: usize,
}

/// What a group's table is built from.
pub(crate) struct Members {
    pub phase: usize,
    /// The byte offsets of its members from the first plane of the convolution group, always [`Plan::size`] of them, then as many of their
    /// masks, if they have any.
    pub offsets: [u64; 2 * MOST_MEMBERS],
}

/// Some of the lookups that outputs make in a block.
pub(crate) struct Pass<T> {
    pub sum: AccumulateFunction<T>,
    pub lookups: usize,
    function: Arc<Function>,
}

impl<T> Blocks<T> {
    /// The functions of the passes.
    pub fn functions(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.passes.iter().map(|pass| &pass.function)
    }
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

/// The blocks of a plan. Sums of integers in `range` never overflow: each pass is small enough for itself, and
/// what the passes since the last widening have added is counted, output by output, over the real weights.
pub(crate) fn blocks<T>(
    compiler: &Compiler,
    geometry: &Geometry,
    plan: &Plan,
    planes: Planes,
    weights: &Weights,
    range: Option<IntegerRange>,
    chunks: &[Chunk],
) -> Result<Blocks<T>, JitError> {
    let tile = plan.shape.tile;
    let bytes = tile.element.bytes();
    let limits = Limits::of(range).ok_or(JitError::Unsupported("integers of this range"))?;
    let sums_bytes = tile.positions() * bytes;
    let most = chunks.iter().map(|(_, outputs)| outputs.len()).max().unwrap_or(0);
    if most.checked_mul(sums_bytes).is_none_or(|bytes| bytes > u32::MAX as usize) {
        return Err(JitError::Unsupported("this many outputs"));
    }
    let patterns = Patterns::new(plan.size);
    let last = (patterns.entries() - 1) * plan.shape.entry;
    let mut counted = Counted::new(range, geometry.groups * geometry.outputs);
    // What the passes' functions do.
    let (mut codes, mut list): (Vec<Accumulate>, Vec<Block>) = (Vec::new(), Vec::new());
    let mut streams: Vec<Vec<Stream>> =
        chunks.iter().map(|(conv_groups, _)| vec![Stream::default(); conv_groups.len()]).collect();
    let mut widened = false;
    for groups in plan.groups.chunks(plan.shape.block) {
        let places: Vec<Place> = groups
            .iter()
            .enumerate()
            .flat_map(|(slot, group)| {
                group
                    .lookups
                    .iter()
                    .map(move |lookup| Place::new(geometry, plan, weights, slot, group, lookup))
            })
            .collect();
        if places.iter().any(|place| (place.start + place.shift + last) * bytes > u16::MAX.into()) {
            return Err(JitError::Unsupported("tables this large"));
        }
        let size = places.len().div_ceil(passes(places.len(), limits.lookups(tile))).max(1);
        let before = codes.len();
        for places in places.chunks(size) {
            let selected = Selected::new(geometry, weights, places);
            let stream = |stream: &mut Stream, conv_group: usize, outputs: &Range<usize>| {
                let first = conv_group * geometry.outputs + outputs.start;
                let codes = &selected.codes[first * places.len()..][..outputs.len() * places.len()];
                let lookup = |(&code, place): (&u8, &Place)| {
                    let (sum, negative) = patterns.number_of(code);
                    let shift = if sum == 0 { 0 } else { place.shift };
                    (((place.start + sum * plan.shape.entry + shift) * bytes) as u16, negative)
                };
                let lookups: Vec<_> = codes.iter().zip(places.iter().cycle()).map(lookup).collect();
                stream.push(places.len(), sums_bytes as u32, &lookups);
            };
            for ((conv_groups, outputs), streams) in chunks.iter().zip(&mut streams) {
                streams.iter_mut().zip(conv_groups.clone()).for_each(|(s, group)| stream(s, group, outputs));
            }
            let full = counted.add(|output| selected.signs(output));
            let fresh = full || codes.is_empty();
            if let Some(before) = codes.last_mut().filter(|_| full) {
                before.into = Into::Totals { fresh: !widened };
                widened = true;
            }
            codes.push(Accumulate { tile, lookups: places.len(), fresh, into: Into::Sums });
        }
        list.push(Block { groups: groups.len(), passes: codes.len() - before });
    }
    streams.iter_mut().flatten().for_each(Stream::end);
    let passes = codes.iter().map(|code| {
        let function = compiler.function(code)?;
        // SAFETY: that is the type of the functions that are emitted for this description; `entry()` is its start.
        let sum = unsafe { std::mem::transmute::<*const u8, AccumulateFunction<T>>(function.entry()) };
        Ok(Pass { sum, lookups: code.lookups, function })
    });
    let passes = passes.collect::<Result<_, JitError>>()?;
    let members =
        |group: &Group| Members { phase: group.phase, offsets: plan.members(geometry, planes, group) };
    let members = plan.groups.iter().map(members).collect();
    Ok(Blocks { list, members, passes, streams, widened })
}

/// A lookup of a group whose table is in a slot of its block.
struct Place {
    /// Where the group's table starts, in numbers.
    start: usize,
    /// How far entries are displaced.
    shift: usize,
    /// Where the weights that sign the members are, for output 0.
    weights: Vec<usize>,
}

impl Place {
    fn new(
        geometry: &Geometry,
        plan: &Plan,
        weights: &Weights,
        slot: usize,
        group: &Group,
        lookup: &Lookup,
    ) -> Place {
        let members = group.members.iter().zip(&lookup.taps);
        Place {
            start: slot * plan.shape.entries * plan.shape.entry,
            shift: plan.displacement(lookup.shift),
            weights: members.map(|(&(channel, _), &tap)| weights.place(geometry, 0, channel, tap)).collect(),
        }
    }
}

/// Which sums the outputs of all convolution groups select in a pass: the codes of their weights, output by output.
struct Selected {
    lookups: usize,
    codes: Vec<u8>,
}

impl Selected {
    fn new(geometry: &Geometry, weights: &Weights, places: &[Place]) -> Selected {
        let step = weights.place(geometry, 1, 0, [0, 0]);
        let outputs = geometry.groups * geometry.outputs;
        let mut codes = Vec::with_capacity(outputs * places.len());
        for output in 0..outputs {
            let trits = &weights.trits[output * step..];
            codes.extend(places.iter().map(|place| code(place.weights.iter().map(|&at| trits[at]))));
        }
        Selected { lookups: places.len(), codes }
    }

    /// How many inputs the lookups of an output add and subtract.
    fn signs(&self, output: usize) -> [u32; 2] {
        let codes = &self.codes[output * self.lookups..][..self.lookups];
        codes.iter().fold([0, 0], |[plus, minus], &code| {
            let [more, less] = signs(code);
            [plus + more, minus + less]
        })
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

    /// Counts the inputs that a pass adds and subtracts for each output, as `signs` tells. Whether sums must be widened before
    /// it.
    fn add(&mut self, signs: impl Fn(usize) -> [u32; 2]) -> bool {
        let Some(range) = self.range else { return false };
        let largest = u64::from(range.largest.unsigned_abs());
        let overflows = |[plus, minus]: [u32; 2]| {
            let inputs =
                if range.signed { u64::from(plus) + u64::from(minus) } else { plus.max(minus).into() };
            inputs * largest > i16::MAX as u64
        };
        let new: Vec<[u32; 2]> = (0..self.outputs.len()).map(signs).collect();
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
            [[2, 1], [2, 2], [4, 0], [0, 4]].map(|signs| counted.add(|_| signs))
        };
        // In a pass at most 3, 4, 4 and 4 inputs; together 3, 7, 11, 15, or of one sign 2, 4, 8, 8.
        assert_eq!(passes(i16::MAX / 15, true), [false; 4]);
        assert_eq!(passes(i16::MAX / 15 + 1, true), [false, false, false, true]);
        assert_eq!(passes(i16::MAX / 7, true), [false, false, true, true]);
        assert_eq!(passes(i16::MAX / 8, false), [false; 4]);
        assert_eq!(passes(i16::MAX / 7, false), [false, false, true, false]);
    }
}
