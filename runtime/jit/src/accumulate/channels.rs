//! The kernel of depthwise layers of small images: lanes are channels.
//!
//! A row of a small image fills a part of a vector, and a channel is soon done. So the planes of as many channels as a vector has lanes are
//! transposed, an output position's sums are those of all of these channels, and what has been summed is transposed back.
//! Padding is a vector of zeros that offsets point to.

use super::direct::Factors;
use super::{Banded, Family};
use crate::compile::{Compiler, Function};
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::finish::{Finish, Piece, Sums};
use crate::geometry::Geometry;
use crate::kernel::{Io, Line, lines};
use crate::machine::{Element, Isa, first_level_cache};
use crate::transpose::Transposer;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::interpret::View;

/// Positions whose sums are in registers at once.
const BLOCK: usize = 8;
/// The most lanes of a vector.
const MOST_LANES: usize = 16;

/// `sum(source, target, blocks, offsets, factors, taps)`
///
/// For each of `blocks` blocks of eight positions, eight vectors at `target`: of each, the sum over `taps` taps of the vector at `source` plus a byte
/// offset, of which there are eight for each tap in turn. With each tap's vectors at `factors` it is multiplied, if it is `weighted`; otherwise there are two: of the bits that are kept,
/// and of those that are flipped.
#[derive(Clone, Copy, Debug)]
struct OfChannels {
    /// Bytes of a vector.
    vector: usize,
    weighted: bool,
}

/// The type of [`OfChannels`]' function.
type OfChannelsFunction = unsafe extern "C" fn(*const f32, *mut f32, usize, *const u32, *const u32, usize);

/// A kernel of one plane of f32.
pub(crate) struct ChannelsKernel {
    geometry: Geometry,
    lanes: usize,
    /// Byte offsets of the taps of all positions, block by block.
    offsets: Vec<u32>,
    /// By group of channels: what the function takes of its taps.
    factors: Vec<Vec<u32>>,
    sum: Arc<Function>,
    transposer: Transposer,
    finish: Finish,
    cycles: f64,
}

impl ChannelsKernel {
    /// What a run should take, in cycles; `None` for other layers, and without vectors that are wide.
    pub fn cycles(geometry: &Geometry, isa: Isa) -> Option<f64> {
        let depthwise = geometry.channels == 1 && geometry.outputs == 1 && geometry.groups > 1;
        let lanes = isa.lanes(Element::F32);
        let [inputs, outputs] = numbers(geometry, lanes)?;
        // Offsets are numbers of 4 bytes too.
        let offsets = outputs / lanes * geometry.taps();
        let near = (inputs + 2 * outputs + offsets) * size_of::<f32>() <= first_level_cache();
        let suits = isa != Isa::Portable && depthwise && geometry.rows_of_a_sample.is_none() && near;
        if !suits || geometry.output_len() == 0 || geometry.input_len() == 0 {
            return None;
        }
        let blocks = (outputs / lanes / BLOCK) as f64;
        let moved = (inputs + outputs) as f64 / (BLOCK * BLOCK) as f64 * 22.0;
        let sums = blocks * (geometry.taps() as f64 * 10.0 + 12.0);
        let finished = (lanes * (12 + 3 * geometry.positions().div_ceil(lanes))) as f64;
        let units = geometry.samples * geometry.groups.div_ceil(lanes);
        Some(units as f64 * (moved + sums + finished + 120.0))
    }

    /// For a layer of which [`Self::cycles`] says something.
    pub fn new(
        compiler: &Compiler,
        isa: Isa,
        geometry: Geometry,
        cycles: f64,
        factors: Factors<'_>,
        epilogue: Epilogue,
    ) -> Result<ChannelsKernel, JitError> {
        let lanes = isa.lanes(Element::F32);
        let code = OfChannels { vector: isa.bytes(), weighted: matches!(factors, Factors::Floats(_)) };
        let sum = compiler.assembled(&code, || assemble(&code))?;
        let taps = || (0..geometry.kernel[0]).flat_map(|y| (0..geometry.kernel[1]).map(move |x| [y, x]));
        // Behind the vector of zeros.
        let offset = |position: usize, tap: [usize; 2]| {
            let at = [position / geometry.output[1].max(1), position % geometry.output[1].max(1)];
            let land = |axis: usize| {
                let at = at[axis] * geometry.strides[axis] + tap[axis] * geometry.dilations[axis];
                at.checked_sub(geometry.pads[axis]).filter(|&at| at < geometry.input[axis])
            };
            let place = land(0).zip(land(1)).filter(|_| position < geometry.positions());
            place.map_or(0, |(y, x)| (1 + y * geometry.input[1] + x) * lanes * size_of::<f32>()) as u32
        };
        let offsets = (0..geometry.positions().div_ceil(BLOCK)).flat_map(|block| {
            taps().flat_map(move |tap| (0..BLOCK).map(move |i| offset(block * BLOCK + i, tap)))
        });
        let of_group = |first: usize| -> Vec<u32> {
            let channels =
                || (first..first + lanes).map(|channel| Some(channel).filter(|&c| c < geometry.groups));
            taps()
                .flat_map(|tap| match factors {
                    Factors::Signs(weights) => {
                        let trit =
                            |channel: Option<usize>| channel.map_or(0, |c| weights.at(&geometry, c, 0, tap));
                        let kept = channels().map(|c| if trit(c) == 0 { 0 } else { u32::MAX });
                        let flipped = channels().map(|c| if trit(c) < 0 { 1 << 31 } else { 0 });
                        kept.chain(flipped).collect::<Vec<u32>>()
                    }
                    Factors::Floats(weights) => {
                        let at = |c: usize| c * geometry.taps() + tap[0] * geometry.kernel[1] + tap[1];
                        channels().map(|c| c.map_or(0, |c| weights[at(c)].to_bits())).collect()
                    }
                })
                .collect()
        };
        Ok(ChannelsKernel {
            offsets: offsets.collect(),
            factors: (0..geometry.groups).step_by(lanes).map(of_group).collect(),
            sum,
            transposer: Transposer::new::<f32>(compiler, isa)?,
            finish: Finish::new(compiler, isa, Element::F32, false, epilogue)?,
            geometry,
            lanes,
            cycles,
        })
    }

    /// Numbers of a plane of the input, and of sums, in whole blocks.
    fn planes(&self) -> [usize; 2] {
        let plane = self.geometry.input[0] * self.geometry.input[1];
        [plane, self.geometry.positions()].map(|numbers| numbers.next_multiple_of(BLOCK))
    }
}

/// Numbers of transposed planes, with those in front of them, and of sums; `None` where offsets would not reach them.
fn numbers(geometry: &Geometry, lanes: usize) -> Option<[usize; 2]> {
    let plane = geometry.input[0].checked_mul(geometry.input[1])?;
    let inputs = plane.checked_next_multiple_of(BLOCK)?.checked_add(1)?.checked_mul(lanes)?;
    let outputs = geometry.positions().checked_next_multiple_of(BLOCK)?.checked_mul(lanes)?;
    (inputs < 1 << 24 && outputs < 1 << 24).then_some([inputs, outputs])
}

impl Family for ChannelsKernel {
    fn units(&self) -> usize {
        self.geometry.samples * self.factors.len()
    }

    fn scratch(&self) -> usize {
        let [input, output] = self.planes().map(|plane| plane * self.lanes);
        lines::<f32>(self.lanes + input) + 2 * lines::<f32>(output)
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        vec![self.sum.clone()]
    }

    fn describe(&self) -> String {
        format!("lanes of channels: {} at once, {} positions", self.lanes, self.geometry.positions())
    }

    fn estimate(&self) -> Option<f64> {
        Some(self.cycles)
    }

    fn into_banded(self: Box<Self>) -> Option<Box<dyn Banded>> {
        None
    }

    unsafe fn execute(&self, units: Range<usize>, input: View<'_>, io: &Io<'_>, scratch: &mut [Line]) {
        let View::F32(input) = input else { return };
        let (geometry, lanes) = (&self.geometry, self.lanes);
        let [input_plane, output_plane] = self.planes();
        let (positions, plane) = (geometry.positions(), geometry.input[0] * geometry.input[1]);
        let (transposed, rest) = scratch.split_at_mut(lines::<f32>(lanes * (1 + input_plane)));
        let (sums, rows) = rest.split_at_mut(lines::<f32>(lanes * output_plane));
        let [transposed, sums, rows]: [&mut [f32]; 3] =
            [transposed, sums, rows].map(bytemuck::cast_slice_mut);
        transposed[..lanes].fill(0.0);
        let groups = self.factors.len();
        for unit in units {
            let (sample, first) = (unit / groups, unit % groups * lanes);
            let channels = lanes.min(geometry.groups - first);
            let from = sample * geometry.input_strides.sample + first * geometry.input_strides.channel;
            let source = &input[from..];
            // Whole blocks where numbers of what follows are there to be read.
            let columns =
                if (channels - 1) * plane + input_plane <= source.len() { input_plane } else { plane };
            let source = &source[..(channels - 1) * plane + columns];
            let pieces = [Piece { from: 0, to: 0, count: positions as u32 }];
            let epilogue = &self.finish.epilogue;
            let scale = epilogue.sample_scale(sample, io);
            let mut numbers = [[0.0; 2]; MOST_LANES];
            numbers[..channels].iter_mut().zip(first..).for_each(|(n, c)| *n = epilogue.numbers(c, scale));
            // SAFETY: the rows end with `source`, and as columns they are behind the zeros in `transposed`, which has room for whole blocks of them; so do sums
            // and `rows`. The function was emitted for exactly this type, `entry()` is its start; offsets are of vectors in `transposed`, and there are as
            // many of them, and of factors, as blocks and taps take. Outputs of these channels are the unit's, by the caller's promise.
            unsafe {
                let behind = transposed[lanes..].as_mut_ptr();
                self.transposer.transpose([channels, columns], source.as_ptr(), plane, behind, lanes);
                let sum = std::mem::transmute::<*const u8, OfChannelsFunction>(self.sum.entry());
                sum(
                    transposed.as_ptr(),
                    sums.as_mut_ptr(),
                    output_plane / BLOCK,
                    self.offsets.as_ptr(),
                    self.factors[unit % groups].as_ptr(),
                    geometry.taps(),
                );
                let size = [output_plane, lanes];
                self.transposer.transpose(size, sums.as_ptr(), lanes, rows.as_mut_ptr(), output_plane);
                let sums = Sums {
                    sums: &rows[..channels * output_plane],
                    totals: &[],
                    step: output_plane,
                    pieces: &pieces,
                    numbers: &numbers[..channels],
                    origin: sample * geometry.output_strides.sample + first * geometry.output_strides.channel,
                    stride: geometry.output_strides.channel,
                    sample,
                };
                self.finish.channels(&sums, io);
            }
        }
    }
}

#[cfg(all(target_arch = "x86_64", unix))]
use wide::assemble;

#[cfg(not(all(target_arch = "x86_64", unix)))]
fn assemble(_: &OfChannels) -> Option<Result<Vec<u8>, String>> {
    None
}

/// For x86-64, with vectors of 256 or 512 bits.
#[cfg(all(target_arch = "x86_64", unix))]
mod wide {
    use super::{BLOCK, OfChannels};
    use crate::assemble::Assembled;
    use iced_x86::code_asm::*;

    /// Registers behind those of the sums: a tap's factors, and a value on its way.
    const FACTORS: [usize; 2] = [8, 9];
    const VALUE: usize = 10;

    /// [`OfChannels`].
    pub(super) fn assemble(code: &OfChannels) -> Assembled {
        crate::assemble::assemble(code.vector, |a| {
            let (source, target, blocks, offsets, factors, taps) = (rdi, rsi, rdx, rcx, r8, r9);
            let (tap, left) = (r10, r11);
            let vector = a.vector();
            let factor_bytes = if code.weighted { vector } else { 2 * vector };
            let (mut block, mut next, mut done) = (a.create_label(), a.create_label(), a.create_label());
            a.set_label(&mut block)?;
            (0..BLOCK).try_for_each(|sum| a.clear(sum))?;
            a.mov(tap, factors)?;
            a.mov(left, taps)?;
            a.test(left, left)?;
            a.jz(done)?;
            a.set_label(&mut next)?;
            a.load(FACTORS[0], ptr(tap))?;
            if !code.weighted {
                a.load(FACTORS[1], ptr(tap + vector))?;
            }
            for sum in 0..BLOCK {
                a.mov(eax, dword_ptr(offsets + 4 * sum))?;
                match code.weighted {
                    true => a.multiply_add_f32(sum, FACTORS[0], ptr(source + rax))?,
                    false => {
                        a.and_bits(VALUE, FACTORS[0], ptr(source + rax))?;
                        a.exclusive_or(VALUE, VALUE, FACTORS[1])?;
                        a.add_f32(sum, sum, VALUE)?;
                    }
                }
            }
            a.add(offsets, (4 * BLOCK) as i32)?;
            a.add(tap, factor_bytes as i32)?;
            a.dec(left)?;
            a.jnz(next)?;
            a.set_label(&mut done)?;
            (0..BLOCK).try_for_each(|sum| a.store(ptr(target + sum * vector), sum))?;
            a.add(target, (BLOCK * vector) as i32)?;
            a.dec(blocks)?;
            a.jnz(block)
        })
    }
}
