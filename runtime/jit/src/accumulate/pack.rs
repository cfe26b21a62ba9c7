//! Copies input rows into the padded planes that table kernels read: one plane per phase and channel.

use super::plan::Phase;
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
    /// Numbers from a plane to the next.
    pub plane: usize,
}

/// Fills `packed` with rows `rows` of every phase and of some channels of a sample, a plane each, phase by phase; row
/// `rows.start` becomes row 0.
#[allow(clippy::too_many_arguments)] // What to copy, from where, to where.
pub(crate) fn pack_channels<T: Number>(
    geometry: &Geometry,
    phases: &[Phase],
    planes: Planes,
    sample: usize,
    channels: Range<usize>,
    rows: Range<usize>,
    input: &[T],
    packed: &mut [T],
) {
    if geometry.input_strides.x != 1 {
        return transpose(geometry, planes, input, packed);
    }
    let Planes { pitch, columns, plane } = planes;
    let written = (rows.len().saturating_sub(1) * pitch + columns).min(plane);
    let mut targets = packed.chunks_exact_mut(plane);
    for phase in phases {
        let stride = geometry.strides[1];
        let [first, end] = phase.columns(geometry, columns);
        let from_column = (first * stride + phase.remainder[1]).saturating_sub(geometry.pads[1]);
        for channel in channels.clone() {
            let Some(target) = targets.next() else { return };
            // Lanes past the image read this; any number would do, but not slow ones.
            target[written..].fill(T::zeroed());
            let source = sample * geometry.input_strides.sample + channel * geometry.input_strides.channel;
            for (i, row) in rows.clone().enumerate() {
                let target = &mut target[i * pitch..][..columns];
                let y = (row * geometry.strides[0] + phase.remainder[0]).checked_sub(geometry.pads[0]);
                let Some(y) = y.filter(|&y| y < geometry.input[0]) else {
                    target.fill(T::zeroed());
                    continue;
                };
                target[..first].fill(T::zeroed());
                target[end..].fill(T::zeroed());
                if first < end {
                    let source =
                        &input[source + y * geometry.input_strides.y..][from_column..geometry.input[1]];
                    let target = &mut target[first..end];
                    match stride {
                        1 => target.copy_from_slice(&source[..target.len()]),
                        2 => target.iter_mut().zip(source.chunks(2)).for_each(|(t, s)| *t = s[0]),
                        _ => target.iter_mut().zip(source.iter().step_by(stride)).for_each(|(t, &s)| *t = s),
                    }
                }
            }
        }
    }
}

/// Rows of a matrix become columns of planes: plane `k` holds element `k` of every row.
fn transpose<T: Number>(geometry: &Geometry, planes: Planes, input: &[T], packed: &mut [T]) {
    let depth = geometry.channels;
    let rows = geometry.input[1];
    for plane in packed.chunks_exact_mut(planes.plane).take(depth) {
        plane[rows..].fill(T::zeroed());
    }
    // Blocks of rows keep both sides in the first-level cache.
    for start in (0..rows).step_by(8) {
        let end = (start + 8).min(rows);
        for k in 0..depth {
            for row in start..end {
                packed[k * planes.plane + row] = input[row * depth + k];
            }
        }
    }
}
