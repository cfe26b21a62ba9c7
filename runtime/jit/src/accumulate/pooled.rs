//! A pool over the outputs of an accumulation, band by band: what is summed of some rows is pooled while it is in the caches, and never
//! is a tensor.
//!
//! A band is a row of the regions of a table kernel. The rows that windows share with the next band stay. Threads share channels, each with
//! all bands of an image; where work begins in the middle of an image all the same, the band before is computed once more.

use super::{AccumulateKernel, Family, Phase};
use crate::Jit;
use crate::compile::Function;
use crate::error::JitError;
use crate::kernel::{Interface, Io, Kernel, Line, lines, sealed};
use crate::pool::{Planes, PoolKernel, PoolSpec};
use std::ops::Range;
use std::sync::Arc;
use twnc_program::interpret::View;

/// Bytes of a sample's sums from which bands pay: what is smaller stays in the second-level cache anyway.
const LARGE: usize = 1 << 20;

/// A family that can go through its outputs in bands of rows.
pub(crate) trait Banded: Family {
    fn bands(&self) -> Bands;

    /// Computes outputs, to somewhere else: of a sample a band, and of that a share's channels.
    ///
    /// # Safety
    /// As [`Family::execute`].
    unsafe fn execute_band(
        &self,
        place: [usize; 3],
        input: View<'_>,
        io: &Io<'_>,
        scratch: &mut [Line],
        to: Band<'_>,
    );
}

/// Images in bands of rows.
#[derive(Clone, Debug)]
pub(crate) struct Bands {
    pub samples: usize,
    /// The channels that are computed together; all of them in order.
    pub shares: Vec<Range<usize>>,
    /// Rows of an image, and of a band but the last.
    pub height: usize,
    pub rows: usize,
    pub width: usize,
}

impl Bands {
    /// Of a sample.
    fn count(&self) -> usize {
        self.height.div_ceil(self.rows)
    }

    fn channels(&self) -> usize {
        self.shares.last().map_or(0, |share| share.end)
    }

    /// Whether they are what a pool is of, and large enough.
    fn suit(&self, pool: &PoolSpec<'_>) -> bool {
        let sums = self.channels() * self.height * self.width;
        pool.input[2..] == [self.height, self.width] && sums * size_of::<f32>() >= LARGE
    }

    /// The rows of a band.
    fn of(&self, band: usize) -> Range<usize> {
        band * self.rows..((band + 1) * self.rows).min(self.height)
    }
}

/// Where rows of outputs go that are not the kernel's: planes in scratch memory.
pub(crate) struct Band<'a> {
    pub numbers: &'a mut [f32],
    /// From a channel's plane to the next.
    pub plane: usize,
    /// Where the band's first row is in a plane.
    pub lead: usize,
}

/// Rows of a pool, and how many rows before theirs the next ones read.
type Ready = (Range<usize>, usize);

/// A kernel of one product and of a pool behind it.
pub struct PooledKernel {
    /// The number of the input that is summed.
    source: usize,
    sums: Box<dyn Banded>,
    pool: PoolKernel,
    bands: Bands,
    /// Of each band, the rows of the pool whose windows end there, and how many rows of the band those of the next read.
    ready: Vec<Ready>,
    /// Rows before a band, at most.
    carried: usize,
    interface: Interface,
}

impl Jit {
    /// The kernel of an accumulation, made to be pooled ([`super::AccumulateSpec::pooled`]), and of the pool that alone reads it, if they can be
    /// one and that pays. The first output is the pool's.
    ///
    /// # Errors
    /// As [`Jit::pool`]; [`JitError::Shape`] if the pool is not of what the accumulation writes.
    pub fn pooled(
        &self,
        sums: AccumulateKernel,
        spec: &PoolSpec<'_>,
    ) -> Result<Option<PooledKernel>, JitError> {
        let AccumulateKernel { mut phases, interface } = sums;
        let (Some(Phase { source, origin: 0, family }), true) = (phases.pop(), phases.is_empty()) else {
            return Ok(None);
        };
        if interface.residual || interface.outputs.len() > 1 || spec.epilogue.residual {
            return Ok(None);
        }
        let pool = match self.pool(spec) {
            Err(JitError::Unsupported(_)) => return Ok(None),
            pool => pool?,
        };
        if pool.interface().inputs[0].len != interface.outputs[0].len {
            return Err(JitError::Shape(format!("a pool of {:?} behind another shape", spec.input)));
        }
        let Some(sums) = family.into_banded() else { return Ok(None) };
        let bands = sums.bands();
        let Some((ready, carried)) = ready(&bands, &pool).filter(|_| bands.suit(spec)) else {
            return Ok(None);
        };
        let mut kernel = PooledKernel { source, sums, pool, bands, ready, carried, interface };
        let scratch = kernel.band_lines() + kernel.pool.interface().scratch + kernel.sums.scratch();
        let outputs = kernel.pool.interface().outputs.clone();
        kernel.interface = Interface { outputs, scratch, ..kernel.interface };
        Ok(Some(kernel))
    }
}

/// Of each band, the rows of the pool whose windows end there, and how many rows of the band those of the next read; and the most of these, if no
/// band has fewer rows.
fn ready(bands: &Bands, pool: &PoolKernel) -> Option<(Vec<Ready>, usize)> {
    let height = pool.height();
    // The first row that each row of the pool or one behind it reads: with a dilation, one behind may read rows that lie before.
    let mut least = vec![usize::MAX; height + 1];
    (0..height).rev().for_each(|y| least[y] = least[y + 1].min(pool.reads(y).start));
    let mut first = 0;
    let band = |band: usize| {
        let end = bands.of(band).end;
        let ready = first..(first..height).find(|&y| pool.reads(y).end > end).unwrap_or(height);
        first = ready.end;
        (ready, end.saturating_sub(least[first]))
    };
    let ready: Vec<Ready> = (0..bands.count()).map(band).collect();
    let carried = ready.iter().map(|&(_, carried)| carried).max().unwrap_or(0);
    (carried <= bands.rows).then_some((ready, carried))
}

impl PooledKernel {
    /// Numbers of a channel's plane of a band.
    fn plane(&self) -> usize {
        (self.carried + self.bands.rows) * self.bands.width
    }

    fn band_lines(&self) -> usize {
        lines::<f32>(self.bands.channels() * self.plane())
    }

    /// Leaves the sums of a band in its place.
    ///
    /// # Safety
    /// As [`sealed::Execute::execute`], of the kernel of the sums.
    unsafe fn band(&self, place: [usize; 3], io: &Io<'_>, numbers: &mut [f32], scratch: &mut [Line]) {
        let lead = self.carried * self.bands.width;
        let to = Band { numbers, plane: self.plane(), lead };
        // SAFETY: the caller's promise, passed on.
        unsafe { self.sums.execute_band(place, io.inputs[self.source], io, scratch, to) };
    }

    /// Moves the rows of a band that the next one reads before its place, in some planes.
    fn carry(&self, band: usize, numbers: &mut [f32]) {
        let (width, rows) = (self.bands.width, self.ready[band].1);
        let end = (self.carried + self.bands.of(band).len()) * width;
        for plane in numbers.chunks_exact_mut(self.plane()) {
            plane.copy_within(end - rows * width..end, (self.carried - rows) * width);
        }
    }
}

impl sealed::Execute for PooledKernel {
    fn prepare(&self, io: &Io<'_>) {
        self.pool.prepare(io);
    }

    unsafe fn execute(&self, _: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]) {
        let (numbers, scratch) = scratch.split_at_mut(self.band_lines());
        let (pool, scratch) = scratch.split_at_mut(self.pool.interface().scratch);
        let numbers: &mut [f32] = bytemuck::cast_slice_mut(numbers);
        let numbers = &mut numbers[..self.bands.channels() * self.plane()];
        self.pool.clear(pool);
        for unit in units.clone() {
            let (count, shares) = (self.ready.len(), self.bands.shares.len());
            let (sample, share, band) = (unit / count / shares, unit / count % shares, unit % count);
            let channels = self.bands.shares[share].clone();
            let own = channels.start * self.plane()..channels.end * self.plane();
            if unit == units.start && band > 0 && self.ready[band - 1].1 > 0 {
                // SAFETY: the caller's promise: what it reads; what it writes is scratch memory.
                unsafe { self.band([sample, band - 1, share], io, numbers, scratch) };
                self.carry(band - 1, &mut numbers[own.clone()]);
            }
            // SAFETY: as above.
            unsafe { self.band([sample, band, share], io, numbers, scratch) };
            let (rows, first) = (self.ready[band].0.clone(), self.bands.of(band).start);
            // The image's row that is the first of a plane from here on.
            let (skipped, above) = match first.checked_sub(self.carried) {
                Some(above) => (0, above),
                None => ((self.carried - first) * self.bands.width, 0),
            };
            let first = sample * self.bands.channels();
            let numbers = &mut numbers[own];
            let planes =
                Planes { numbers: &numbers[skipped.min(numbers.len())..], step: self.plane(), above };
            // SAFETY: rows of the pool belong to the band in which their windows end, which is this unit's.
            unsafe { self.pool.make(first + channels.start..first + channels.end, planes, rows, io, pool) };
            self.carry(band, numbers);
        }
    }
}

impl Kernel for PooledKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn units(&self, _: usize) -> usize {
        self.bands.samples * self.bands.shares.len() * self.ready.len()
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        [self.sums.functions(), self.pool.functions()].concat()
    }

    fn describe(&self) -> String {
        let (sums, pool) = (self.sums.describe(), self.pool.describe());
        format!("{sums}; pooled in bands of {} rows: {pool}", self.bands.rows)
    }

    fn estimate(&self) -> Option<f64> {
        self.sums.estimate()
    }
}
