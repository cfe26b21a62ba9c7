//! What tables share: phases of the input, and groups of inputs with the lookups that outputs make in their table.

use crate::geometry::Geometry;
use std::collections::HashMap;

/// A tap of the window, seen from the phase of the input that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    /// Place in the kernel.
    pub at: [usize; 2],
    /// Displacement in the phase's plane.
    pub shift: [usize; 2],
}

/// The elements of the input whose coordinates have the same remainder by the strides, and the taps that read them. A
/// strided product is a sum of products without strides, one per phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub remainder: [usize; 2],
    pub taps: Vec<Tap>,
}

impl Phase {
    /// The columns, of `columns`, that are inside the input; the others are padding.
    pub fn columns(&self, geometry: &Geometry, columns: usize) -> [usize; 2] {
        let [stride, remainder, pad] = [geometry.strides[1], self.remainder[1], geometry.pads[1]];
        let first = pad.saturating_sub(remainder).div_ceil(stride).min(columns);
        let end = (pad + geometry.input[1]).saturating_sub(remainder).div_ceil(stride);
        [first, end.clamp(first, columns)]
    }
}

/// Inputs whose signed sums share a table, and the lookups in it that each output makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub phase: usize,
    /// Channel within the convolution group, and horizontal displacement.
    pub members: Vec<(usize, usize)>,
    pub lookups: Vec<Lookup>,
}

/// One lookup: where the entry is, and which weight of the kernel signs each member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub shift: [usize; 2],
    /// Per member.
    pub taps: Vec<[usize; 2]>,
}

/// The phases that some tap reads.
pub(crate) fn phases(geometry: &Geometry) -> Vec<Phase> {
    let mut phases: Vec<Phase> = Vec::new();
    let mut numbers = HashMap::new();
    for ky in 0..geometry.kernel[0] {
        for kx in 0..geometry.kernel[1] {
            let from = [ky * geometry.dilations[0], kx * geometry.dilations[1]];
            let remainder = [from[0] % geometry.strides[0], from[1] % geometry.strides[1]];
            let shift = [from[0] / geometry.strides[0], from[1] / geometry.strides[1]];
            let tap = Tap { at: [ky, kx], shift };
            let number = *numbers.entry(remainder).or_insert(phases.len());
            match phases.get_mut(number) {
                Some(phase) => phase.taps.push(tap),
                None => phases.push(Phase { remainder, taps: vec![tap] }),
            }
        }
    }
    phases
}

/// The largest displacement of a tap.
pub(crate) fn reach(phases: &[Phase]) -> [usize; 2] {
    let shifts = phases.iter().flat_map(|p| p.taps.iter().map(|t| t.shift));
    shifts.fold([0, 0], |a, b| [a[0].max(b[0]), a[1].max(b[1])])
}

/// Both ways to form groups: of channels, which share the taps; or of the taps of a row, for layers of few channels.
pub(crate) fn groupings(geometry: &Geometry, phases: &[Phase], size: usize) -> Vec<Vec<Group>> {
    let channels: Vec<usize> = (0..geometry.channels).collect();
    let by_channel = phases.iter().enumerate().flat_map(|(phase, p)| {
        channels.chunks(size).map(move |chunk| Group {
            phase,
            members: chunk.iter().map(|&c| (c, 0)).collect(),
            lookups: p
                .taps
                .iter()
                .map(|t| Lookup { shift: t.shift, taps: vec![t.at; chunk.len()] })
                .collect(),
        })
    });
    let mut groupings = vec![by_channel.collect()];
    if geometry.kernel[1] > 1 {
        groupings.push(phases.iter().enumerate().flat_map(|(i, p)| by_row(geometry, i, p, size)).collect());
    }
    groupings
}

fn by_row(geometry: &Geometry, phase: usize, p: &Phase, size: usize) -> Vec<Group> {
    let top = p.taps.first().map_or(0, |t| t.at[0]);
    let columns: Vec<Tap> = p.taps.iter().copied().filter(|t| t.at[0] == top).collect();
    let mut rows: Vec<Tap> = p.taps.clone();
    rows.dedup_by_key(|t| t.at[0]);
    let pairs: Vec<(usize, Tap)> =
        (0..geometry.channels).flat_map(|c| columns.iter().map(move |&t| (c, t))).collect();
    pairs
        .chunks(size)
        .map(|chunk| Group {
            phase,
            members: chunk.iter().map(|(c, t)| (*c, t.shift[1])).collect(),
            lookups: rows
                .iter()
                .map(|row| Lookup {
                    shift: [row.shift[0], 0],
                    taps: chunk.iter().map(|(_, t)| [row.at[0], t.at[1]]).collect(),
                })
                .collect(),
        })
        .collect()
}
