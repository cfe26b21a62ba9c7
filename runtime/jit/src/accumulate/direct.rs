//! The kernel without tables: per output channel a list of inputs to add and one of inputs to subtract.
//!
//! It suits depthwise layers, where every table would be used once, and takes what tables cannot: windows that reach too
//! far, and images of no elements. Lanes are positions of the flat image, so that neighbouring rows share their padding.

use super::blocks::IntegerRange;
use super::code::{Select, SelectFunction};
use super::groups::{Phase, phases, reach};
use super::pack::{Planes, pack_channels};
use super::plan::flat_pitch;
use super::{Family, Weights};
use crate::compile::{Compiler, Function};
use crate::epilogue::{Epilogue, Finish, Piece};
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::kernel::{Io, Line, lines};
use crate::number::Number;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::interpret::View;

/// Vectors of positions summed at once.
const VECTORS: usize = 8;

/// A kernel of one plane with inputs of type `T`.
pub(crate) struct DirectKernel<T> {
    input: PhantomData<T>,
    geometry: Geometry,
    phases: Vec<Phase>,
    planes: Planes,
    /// Per output channel, byte offsets from the first plane of its group: those to add, then those to subtract.
    lists: Vec<[Vec<u32>; 2]>,
    /// Where the rows of a channel's sums go.
    pieces: Vec<Piece>,
    tiles: usize,
    /// Positions of a tile.
    tile: usize,
    select: Arc<Function>,
    finish: Finish,
}

impl<T: Number> DirectKernel<T> {
    /// What a run should take, in the unit of [`super::plan::Plan::cycles`].
    /// `None` if sums of integers in `range` could overflow.
    pub fn cycles(
        geometry: &Geometry,
        weights: &Weights,
        lanes: usize,
        range: Option<IntegerRange>,
    ) -> Option<f64> {
        if range.is_some_and(|range| geometry.depth() > range.inputs()) {
            return None;
        }
        let vectors = geometry.positions().div_ceil(lanes) as f64;
        let tiles = (vectors / VECTORS as f64).ceil();
        let outputs = (geometry.groups * geometry.outputs) as f64;
        let lookups = weights.nonzero() as f64;
        Some(geometry.samples as f64 * tiles * (lookups * (0.72 * VECTORS as f64 + 1.0) + outputs * 40.0))
    }

    pub fn new(
        compiler: &Compiler,
        lanes: usize,
        geometry: Geometry,
        weights: &Weights,
        epilogue: Epilogue,
    ) -> Result<DirectKernel<T>, JitError> {
        let phases = phases(&geometry);
        let reach = reach(&phases);
        let [height, width] = geometry.output;
        let too_large = || JitError::Unsupported("a window that reaches this far");
        let pitch = flat_pitch(&geometry, &phases, reach).ok_or_else(too_large)?;
        let empty = geometry.output_len() == 0;
        let positions = if empty { 0 } else { (height - 1) * pitch + width };
        let tile = VECTORS * lanes;
        let tiles = positions.div_ceil(tile);
        let size = || {
            let last = reach[0].checked_mul(pitch)?.checked_add(reach[1])?;
            let read = (tiles * tile).checked_add(last)?;
            let rows = (height + reach[0]).checked_mul(pitch)?.checked_add(width)?.checked_add(reach[1])?;
            let plane = read.max(rows).checked_next_multiple_of(T::ELEMENT.line())?;
            let all = plane.checked_mul(phases.len())?.checked_mul(geometry.channels)?;
            (all < 1 << 28).then_some(plane)
        };
        let plane = size().ok_or_else(too_large)?;
        let planes = Planes { pitch, columns: width + reach[1], bands: 1, band: [0, 0], plane };
        let list = |output: usize, sign: i8| {
            let channels = 0..geometry.channels;
            let taps = channels.flat_map(|c| phases.iter().enumerate().map(move |(i, p)| (c, i, p)));
            taps.flat_map(|(c, i, p)| p.taps.iter().map(move |t| (c, i, t)))
                .filter(|(c, _, t)| weights.at(&geometry, output, *c, t.at) == sign)
                .map(|(c, i, t)| {
                    let plane = (i * geometry.channels + c) * planes.plane;
                    ((plane + t.shift[0] * pitch + t.shift[1]) * size_of::<T>()) as u32
                })
                .collect::<Vec<u32>>()
        };
        let outputs = geometry.groups * geometry.outputs;
        let lists = if positions == 0 { 0 } else { outputs };
        let lists = (0..lists).map(|output| [list(output, 1), list(output, -1)]).collect();
        let pieces = (0..if positions == 0 { 0 } else { height })
            .map(|y| Piece { from: y * pitch, to: y * geometry.output_strides.y, count: width })
            .collect();
        let select = compiler.function(&Select { element: T::ELEMENT, lanes, vectors: VECTORS })?;
        Ok(DirectKernel {
            input: PhantomData,
            geometry,
            phases,
            planes,
            lists,
            pieces,
            tiles,
            tile,
            select,
            finish: Finish::new(compiler, T::ELEMENT, false, epilogue)?,
        })
    }

    fn sum_lines(&self) -> usize {
        lines::<T>(self.tiles * self.tile)
    }
}

impl<T: Number> Family for DirectKernel<T> {
    fn units(&self) -> usize {
        self.geometry.samples * self.lists.len()
    }

    fn scratch(&self) -> usize {
        self.sum_lines() + lines::<T>(self.phases.len() * self.geometry.channels * self.planes.plane)
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        vec![self.select.clone()]
    }

    fn describe(&self) -> String {
        format!("direct: {} positions a tile, pitch {}", self.tile, self.planes.pitch)
    }

    unsafe fn execute(&self, units: Range<usize>, input: View<'_>, io: &Io<'_>, scratch: &mut [Line]) {
        let input = T::elements(input);
        let (sums, packed) = scratch.split_at_mut(self.sum_lines());
        let sums: &mut [T] = bytemuck::cast_slice_mut(sums);
        let packed: &mut [T] = bytemuck::cast_slice_mut(packed);
        let (geometry, strides) = (&self.geometry, self.geometry.output_strides);
        // SAFETY: the function was emitted for exactly these types; `entry()` is its start.
        let select = unsafe { std::mem::transmute::<*const u8, SelectFunction<T>>(self.select.entry()) };
        let rows = geometry.output[0] + reach(&self.phases)[0];
        packed.fill(T::zeroed());
        let mut packed_is = None;
        for unit in units {
            let (sample, output) = (unit / self.lists.len(), unit % self.lists.len());
            let group = output / geometry.outputs;
            if packed_is != Some((sample, group)) {
                let channels = group * geometry.channels..(group + 1) * geometry.channels;
                pack_channels(geometry, &self.phases, self.planes, sample, channels, 0..rows, input, packed);
                packed_is = Some((sample, group));
            }
            let [added, subtracted] = &self.lists[output];
            // SAFETY: `sums` has room for `tiles` tiles; the planes of a group are in `packed`, each as long as the
            // last tile's end plus the largest offset in its plane. The lists' lengths are theirs.
            unsafe {
                select(
                    packed.as_ptr(),
                    sums.as_mut_ptr(),
                    self.tiles,
                    added.as_ptr(),
                    added.len(),
                    subtracted.as_ptr(),
                    subtracted.len(),
                );
            }
            let origin = sample * strides.sample + output * strides.channel;
            if let Some(rows) = geometry.rows_of_a_sample {
                for (x, &sum) in sums.iter().take(geometry.output[1]).enumerate() {
                    let at = origin + x * strides.x;
                    let scale = self.finish.epilogue.sample_scale(x / rows, io);
                    let residual = io.residual.map(|r| &r[at..at + 1]);
                    // SAFETY: a channel of a sample belongs to one unit.
                    let output_at = unsafe { io.output(at..at + 1) };
                    let sum = std::iter::once(sum.total(0));
                    self.finish.epilogue.position(output, scale, sum, residual, output_at);
                }
            } else {
                let scale = self.finish.epilogue.sample_scale(sample, io);
                // SAFETY: as above.
                unsafe { self.finish.channel(output, scale, sums, &[], &self.pieces, origin, io) };
            }
        }
    }
}
