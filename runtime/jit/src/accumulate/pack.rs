//! Copies input rows into the padded planes that kernels read: one plane per phase and channel.

use super::groups::Phase;
use super::shifted::{Spread, SpreadFunction};
use crate::compile::{Compiler, Function};
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::machine::Isa;
use crate::number::Number;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

/// The planes of one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planes {
    /// Numbers from a row to the next.
    pub pitch: usize,
    /// Columns of a row: at most one pitch and what the next row shares, which is padding in both.
    pub columns: usize,
    /// Parts of a row, that are rows of the image's bands.
    pub bands: usize,
    /// Rows of the image from a band to the next, and columns from a part to the next.
    pub band: [usize; 2],
    /// From the start of a plane to its first column.
    pub lead: usize,
    /// Numbers from a plane to the next.
    pub plane: usize,
}

/// How the planes of a kernel are filled.
pub(crate) struct Packing<T> {
    pub planes: Planes,
    phases: Vec<PackedPhase>,
    input: PhantomData<T>,
}

/// A phase of the input, and how its rows are copied.
struct PackedPhase {
    phase: Phase,
    /// The parts of a row but the last, and the last.
    parts: [Part; 2],
}

/// What of a part of a row is not padding.
struct Part {
    /// Its first column, and the column of the input that is there.
    first: usize,
    column: usize,
    count: usize,
    spread: Arc<Function>,
}

impl<T: Number> Packing<T> {
    /// Of planes that hold these phases, phase by phase.
    pub fn new(
        compiler: &Compiler,
        isa: Isa,
        geometry: &Geometry,
        phases: &[Phase],
        planes: Planes,
    ) -> Result<Packing<T>, JitError> {
        let stride = geometry.strides[1];
        let last = planes.columns - (planes.bands - 1) * planes.band[1];
        let others = if planes.bands > 1 { planes.band[1] } else { last };
        let part = |phase: &Phase, width: usize| -> Result<Part, JitError> {
            let [first, end] = phase.columns(geometry, width);
            let column = (first * stride + phase.remainder[1]).saturating_sub(geometry.pads[1]);
            let count = end - first;
            let spread = Spread { element: T::ELEMENT, vector: isa.bytes(), count, stride };
            Ok(Part { first, column, count, spread: compiler.function(&spread)? })
        };
        // Rows of a matrix are not copied but transposed.
        let phases = if geometry.input_strides.x == 1 { phases } else { &[] };
        let phases = phases.iter().map(|phase| {
            let parts = [part(phase, others)?, part(phase, last)?];
            Ok(PackedPhase { phase: phase.clone(), parts })
        });
        Ok(Packing { planes, phases: phases.collect::<Result<_, JitError>>()?, input: PhantomData })
    }

    /// The phases, in the order of their planes.
    pub fn phases(&self) -> impl Iterator<Item = &Phase> {
        self.phases.iter().map(|packed| &packed.phase)
    }

    /// Sets some numbers of every plane to zero.
    pub fn clear(&self, numbers: Range<usize>, packed: &mut [T]) {
        packed.chunks_exact_mut(self.planes.plane).for_each(|plane| plane[numbers.clone()].fill(T::zeroed()));
    }

    /// Sets some parts of some rows of every plane to zero.
    pub fn clear_parts(&self, rows: Range<usize>, parts: Range<usize>, packed: &mut [T]) {
        let Planes { pitch, columns, bands, band, lead, plane } = self.planes;
        let from = lead + parts.start * band[1];
        let end = lead + if parts.end == bands { columns } else { parts.end * band[1] };
        for plane in packed.chunks_exact_mut(plane) {
            rows.clone().for_each(|row| plane[row * pitch..][from..end].fill(T::zeroed()));
        }
    }

    /// Makes `packed` hold some rows and parts of rows of some channels of a sample; row `origin` of the image is row 0 of a
    /// plane. What is padding for all rows has been cleared, and is not written.
    #[allow(clippy::too_many_arguments)] // What to copy, from where, to where.
    pub fn pack(
        &self,
        geometry: &Geometry,
        sample: usize,
        channels: Range<usize>,
        origin: usize,
        [rows, parts]: [Range<usize>; 2],
        input: &[T],
        packed: &mut [T],
    ) {
        let Planes { pitch, bands, band, lead, plane, .. } = self.planes;
        let strides = geometry.input_strides;
        let bytes = size_of::<T>();
        let mut targets = packed.chunks_exact_mut(plane);
        for PackedPhase { phase, parts: kinds } in &self.phases {
            let [stride, remainder, pad] = [geometry.strides[0], phase.remainder[0], geometry.pads[0]];
            for channel in channels.clone() {
                let Some(target) = targets.next() else { return };
                for part in parts.clone() {
                    let Part { first, column, count, spread } = &kinds[usize::from(part + 1 == bands)];
                    if *count == 0 {
                        continue;
                    }
                    // Of all rows of the phase in this band, those that are in the input.
                    let above = part * band[0];
                    let from = pad.saturating_sub(remainder).div_ceil(stride).saturating_sub(above);
                    let from = from.clamp(rows.start, rows.end);
                    let end = (pad + geometry.input[0]).saturating_sub(remainder).div_ceil(stride);
                    let end = end.saturating_sub(above).clamp(from, rows.end);
                    let place = |row: usize| lead + (row - origin) * pitch + part * band[1] + first;
                    for row in (rows.start..from).chain(end..rows.end) {
                        target[place(row)..][..*count].fill(T::zeroed());
                    }
                    if from == end {
                        continue;
                    }
                    let start = sample * strides.sample
                        + channel * strides.channel
                        + ((from + above) * stride + remainder - pad) * strides.y
                        + column;
                    let copied = end - from;
                    let last = (copied - 1) * stride * strides.y + (count - 1) * geometry.strides[1];
                    let source = &input[start..=start + last];
                    let target = &mut target[place(from)..][..(copied - 1) * pitch + count];
                    // SAFETY: the function was emitted for exactly these types; `entry()` is its start. The rows that it reads
                    // end with `source`, those that it writes with `target`.
                    unsafe {
                        let spread = std::mem::transmute::<*const u8, SpreadFunction<T>>(spread.entry());
                        let (from, to) = (stride * strides.y * bytes, pitch * bytes);
                        spread(source.as_ptr(), target.as_mut_ptr(), copied, from, to);
                    }
                }
            }
        }
    }

    /// Makes `packed` hold columns `rows` of the planes of a matrix product, padding included: a row of the matrix is a column,
    /// and plane `k` holds element `k` of every row.
    pub fn transpose(&self, geometry: &Geometry, rows: Range<usize>, input: &[T], packed: &mut [T]) {
        let (depth, stride, size) = (geometry.channels, geometry.input_strides.x, self.planes.plane);
        let inner = rows.start..rows.end.min(geometry.input[1]);
        for plane in packed.chunks_exact_mut(size).take(depth) {
            plane[inner.end..rows.end].fill(T::zeroed());
        }
        // Blocks of rows keep both sides in the first-level cache.
        for start in inner.clone().step_by(8) {
            let end = (start + 8).min(inner.end);
            for k in 0..depth {
                for row in start..end {
                    packed[k * size + row] = input[row * stride + k];
                }
            }
        }
    }
}
