//! Copies input rows into the padded planes that table kernels read: one plane per phase and channel.

use super::groups::Phase;
use crate::geometry::Geometry;
use crate::number::Number;
use std::ops::Range;

/// The planes of one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planes {
    /// Numbers from a row to the next.
    pub pitch: usize,
    /// Columns that are written in each row; at most one pitch and what the next row shares.
    pub columns: usize,
    /// Parts of a row, that are rows of the image's bands.
    pub bands: usize,
    /// Rows of the image from a band to the next, and columns from a part to the next.
    pub band: [usize; 2],
    /// Numbers from a plane to the next.
    pub plane: usize,
}

/// Makes `packed` hold rows `rows` and columns `columns` of every phase and of some channels of a sample, a plane each, phase
/// by phase, padding included; row `origin` is row 0 of a plane.
#[allow(clippy::too_many_arguments)] // What to copy, from where, to where.
pub(crate) fn pack_channels<T: Number>(
    geometry: &Geometry,
    phases: &[Phase],
    planes: Planes,
    sample: usize,
    channels: Range<usize>,
    origin: usize,
    [rows, columns]: [Range<usize>; 2],
    input: &[T],
    packed: &mut [T],
) {
    let [stride_y, stride_x] = geometry.strides;
    let input = &input[sample * geometry.input_strides.sample..];
    let size = planes.plane * channels.len();
    if size == 0 {
        return;
    }
    clear(
        planes,
        [rows.start - origin..rows.end - origin, columns.clone()],
        &mut packed[..size * phases.len()],
    );
    for (phase, packed) in phases.iter().zip(packed.chunks_exact_mut(size)) {
        for part in 0..planes.bands {
            let start = part * planes.band[1];
            let width = if part + 1 < planes.bands { planes.band[1] } else { planes.columns - start };
            let [from, end] =
                [columns.start, columns.end].map(|column| column.saturating_sub(start).min(width));
            // Those inside the input; the others are padding.
            let [first, end] = phase.columns(geometry, width).map(|column| column.clamp(from, end));
            if first == end {
                continue;
            }
            let column = (first * stride_x + phase.remainder[1]).saturating_sub(geometry.pads[1]);
            for row in rows.clone() {
                let y = (row + part * planes.band[0]) * stride_y + phase.remainder[0];
                let Some(y) = y.checked_sub(geometry.pads[0]).filter(|&y| y < geometry.input[0]) else {
                    continue;
                };
                let to = (row - origin) * planes.pitch + start;
                let from = y * geometry.input_strides.y + column;
                let sources =
                    channels.clone().map(|channel| &input[channel * geometry.input_strides.channel + from..]);
                let targets = packed.chunks_exact_mut(planes.plane).map(|plane| &mut plane[to..][first..end]);
                targets.zip(sources).for_each(|(to, from)| copy(stride_x, from, to));
            }
        }
    }
}

/// Sets some rows and columns of all planes to zero. Rows may be longer than a pitch: then they run into each other.
fn clear<T: Number>(planes: Planes, [rows, columns]: [Range<usize>; 2], packed: &mut [T]) {
    for plane in packed.chunks_exact_mut(planes.plane) {
        if columns.len() < planes.pitch {
            rows.clone().for_each(|row| plane[row * planes.pitch..][columns.clone()].fill(T::zeroed()));
        } else {
            let end = rows.end * planes.pitch + columns.len();
            plane[rows.start * planes.pitch..end.min(planes.plane)].fill(T::zeroed());
        }
    }
}

/// Numbers that are copied at once.
const PIECE: usize = 8;

/// `to[i] = from[i * stride]`, in pieces of a fixed size: rows are too short for calls that copy.
fn copy<T: Number>(stride: usize, from: &[T], to: &mut [T]) {
    match stride {
        1 => {
            let from = &from[..to.len()];
            let last = to.len().saturating_sub(PIECE);
            let whole = to.as_chunks_mut::<PIECE>().0.iter_mut().zip(from.as_chunks::<PIECE>().0);
            whole.for_each(|(to, from)| *to = *from);
            match (to[last..].first_chunk_mut::<PIECE>(), from[last..].first_chunk::<PIECE>()) {
                // The last piece overlaps the one before.
                (Some(to), Some(from)) => *to = *from,
                _ => to.iter_mut().zip(from).for_each(|(to, &from)| *to = from),
            }
        }
        2 => {
            let mut done = 0;
            let pieces = to.as_chunks_mut::<PIECE>().0.iter_mut().zip(from.as_chunks::<{ 2 * PIECE }>().0);
            for (to, from) in pieces {
                *to = std::array::from_fn(|i| from[2 * i]);
                done += PIECE;
            }
            let rest = to[done..].iter_mut().zip(from[2 * done..].iter().step_by(2));
            rest.for_each(|(to, &from)| *to = from);
        }
        _ => to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, &from)| *to = from),
    }
}

/// Makes `packed` hold columns `rows` of the planes of a matrix product, padding included: a row of the matrix is a column, and
/// plane `k` holds element `k` of every row.
pub(crate) fn transpose<T: Number>(
    geometry: &Geometry,
    planes: Planes,
    rows: Range<usize>,
    input: &[T],
    packed: &mut [T],
) {
    let depth = geometry.channels;
    let inner = rows.start..rows.end.min(geometry.input[1]);
    for plane in packed.chunks_exact_mut(planes.plane).take(depth) {
        plane[inner.end..rows.end].fill(T::zeroed());
    }
    // Blocks of rows keep both sides in the first-level cache.
    for start in inner.clone().step_by(8) {
        let end = (start + 8).min(inner.end);
        for k in 0..depth {
            for row in start..end {
                packed[k * planes.plane + row] = input[row * depth + k];
            }
        }
    }
}
