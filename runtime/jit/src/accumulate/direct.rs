//! The kernel without tables: per output channel a list of inputs to add and one of inputs to subtract; or, for layers that stay float, one
//! of inputs and what they are multiplied by.
//!
//! It suits depthwise layers, where every table would be used once, and takes what tables cannot: windows that reach too
//! far, and images of no elements. A band of rows of a group's channels is copied into padded planes that the first-level cache holds;
//! from there an output's sums go through registers straight to the output where its epilogue is simple ([`Finishing`]).

use super::groups::{phases, reach};
use super::pack::{Packing, Planes};
use super::shifted::{RESERVED, Shifted, ShiftedFunction};
use super::{Banded, Family, Weights};
use crate::compile::{Compiler, Function};
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::finish::{Finish, Finishing, Piece, SLACK, Sums};
use crate::geometry::Geometry;
use crate::kernel::{Io, Line, lines};
use crate::machine::{Isa, first_level_cache};
use crate::measure::Measure;
use crate::number::Number;
use std::iter::StepBy;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::interpret::View;

/// Outputs that are measured at a time, about: so many that what a call takes does not show, and all still in the first-level cache.
const MEASURED: usize = 4096;
/// Vectors of sums that a tile has, at most: enough to hide the latency of additions.
const MOST_SUMS: usize = 16;

/// A kernel of one plane with inputs of type `T`.
pub(crate) struct DirectKernel<T> {
    geometry: Geometry,
    packing: Packing<T, T>,
    /// Numbers of all planes of a group.
    packed: usize,
    /// Per output channel: how many byte offsets from the first plane of its group to add and how many to subtract, and they; or how many to
    /// add, 0, and they, each with its weight.
    streams: Vec<Vec<u32>>,
    /// Rows of a band, and of the image.
    band: usize,
    bands: Vec<Range<usize>>,
    strips: Vec<Strips>,
    /// Where sums do not go straight to the output, what makes it of them.
    finish: Result<Epilogue, Finish>,
    /// What measures outputs that sums go straight to, if they are measured.
    measure: Option<Measure>,
    cycles: f64,
}

/// What the inputs of each output are multiplied by.
#[derive(Clone, Copy)]
pub(crate) enum Factors<'a> {
    Signs(&'a Weights),
    /// In the order of `[M, C/groups, kernel...]`.
    Floats(&'a [f32]),
}

/// Columns of the image, in strips whose tiles are alike.
struct Strips {
    columns: StepBy<Range<usize>>,
    /// The function for tiles of as many rows, the most first; together they make up any number of rows.
    heights: Vec<(usize, Arc<Function>)>,
}

impl Strips {
    /// The first column of each strip, and the functions for it.
    fn each(&self) -> impl Iterator<Item = (usize, &[(usize, Arc<Function>)])> {
        self.columns.clone().map(|column| (column, self.heights.as_slice()))
    }
}

impl<T: Number> DirectKernel<T> {
    /// What a run should take, in cycles, with so many weights that are not zero. No sum of integers may overflow.
    pub fn cycles(geometry: &Geometry, lookups: usize, isa: Isa) -> f64 {
        let (lanes, bytes) = (isa.lanes(T::ELEMENT), T::ELEMENT.bytes());
        let [height, width] = geometry.output;
        let Tiles { strip, tall } = Tiles::of(geometry.output, lanes, isa);
        let vectors = width.div_ceil(lanes);
        let phases = |axis: usize| geometry.kernel[axis].min(geometry.strides[axis]);
        let planes = (phases(0) * phases(1) * geometry.channels) as f64;
        // Loads of all columns of a window but one cross cache lines, as often as vectors are long, and then take twice as long. What the
        // first-level cache does not hold comes from the second.
        let share = isa.bytes() as f64 / 64.0;
        let crossing = share * (1.0 - 1.0 / geometry.kernel[1].max(1) as f64);
        let live =
            planes * (tall + geometry.kernel[0]).saturating_sub(1) as f64 * (vectors * lanes * bytes) as f64;
        let near = live < 0.8 * first_level_cache() as f64;
        let load = if near { 0.5 * (1.0 + crossing) } else { (0.5 + 0.5 * crossing).max(1.5 * share) };
        let sums = (strip * tall) as f64;
        let tiles = (height.div_ceil(tall) * vectors.div_ceil(strip)) as f64;
        // With few vectors the latency of additions shows.
        let lookups = lookups as f64 * ((sums * load).max(4.0) + 0.5);
        let outputs = (geometry.groups * geometry.outputs) as f64 * (sums * 3.5 + 25.0);
        let fill = geometry.groups as f64 * (planes * (35.0 + 2.0 * (height * vectors) as f64) + 90.0);
        geometry.samples as f64 * (tiles * (lookups + outputs) + fill)
    }

    pub fn new(
        compiler: &Compiler,
        isa: Isa,
        geometry: Geometry,
        cycles: f64,
        factors: Factors<'_>,
        epilogue: Epilogue,
    ) -> Result<DirectKernel<T>, JitError> {
        let too_large = || JitError::Unsupported("a window that reaches this far");
        let (lanes, line, bytes) = (isa.lanes(T::ELEMENT), T::ELEMENT.line(), T::ELEMENT.bytes());
        let phases = phases(&geometry);
        let reach = reach(&phases);
        let matrix = geometry.rows_of_a_sample.is_some();
        let [height, width] = if geometry.output_len() == 0 { [0, 0] } else { geometry.output };
        // Rows start with a cache line, and so do their first numbers that are not padding.
        let first = phases.first().map_or(0, |phase| phase.columns(&geometry, width)[0]);
        let lead = if matrix { 0 } else { (line - first % line) % line };
        let columns = width.checked_add(reach[1]).ok_or_else(too_large)?;
        let pitch = columns.checked_next_multiple_of(line).ok_or_else(too_large)?;
        let count = phases.len().checked_mul(geometry.channels).ok_or_else(too_large)?;
        let finishing = Finishing::alone(&epilogue).filter(|_| !matrix);
        let Tiles { strip, tall } = Tiles::of([height, width], lanes, isa);
        // Half the first-level cache for the planes of a band.
        let fits = (first_level_cache() / 2 / bytes / pitch.max(1) / count.max(1)).saturating_sub(reach[0]);
        let band = (fits / tall.max(1) * tall).clamp(tall, height.max(tall));
        let shifted = |rows: usize, columns: usize| Shifted {
            element: T::ELEMENT,
            lanes,
            rows,
            columns,
            pitches: [pitch, width],
            steps: [rows * pitch, rows * width],
            weighted: matches!(factors, Factors::Floats(_)),
            finish: finishing,
        };
        let size = || {
            let rows = band.checked_add(reach[0])?.checked_mul(pitch)?;
            let plane = lead.checked_add(rows)?.checked_add(columns)?.checked_add(lanes)?;
            let plane = plane.checked_next_multiple_of(line)?;
            let all = plane.checked_mul(count.max(1))?;
            (all < 1 << 28 && geometry.input[1] < 1 << 28).then_some((plane, all))
        };
        let (plane, packed) = size().ok_or_else(too_large)?;
        let planes = Planes { pitch, columns, bands: 1, band: [0, 0], lead, plane };
        // Of an output's inputs: the channel, the tap, and the byte offset.
        let inputs = || {
            let taps = phases.iter().enumerate().flat_map(|(i, p)| p.taps.iter().map(move |t| (i, t)));
            (0..geometry.channels).flat_map(move |c| taps.clone().map(move |(i, t)| (c, i, t))).map(
                |(c, i, t)| {
                    let plane = (i * geometry.channels + c) * planes.plane + lead;
                    (c, t.at, ((plane + t.shift[0] * pitch + t.shift[1]) * size_of::<T>()) as u32)
                },
            )
        };
        let outputs = if height == 0 { 0 } else { geometry.groups * geometry.outputs };
        let stream = |output: usize| match factors {
            Factors::Signs(weights) => {
                let signed = |sign: i8| -> Vec<u32> {
                    let signed =
                        inputs().filter(|&(c, tap, _)| weights.at(&geometry, output, c, tap) == sign);
                    signed.map(|(.., offset)| offset).collect()
                };
                let [added, subtracted] = [signed(1), signed(-1)];
                [&[added.len() as u32, subtracted.len() as u32][..], &added, &subtracted].concat()
            }
            Factors::Floats(weights) => {
                let depth = geometry.depth();
                let weights = &weights[output * depth..][..depth];
                let weight =
                    |c: usize, [y, x]: [usize; 2]| weights[c * geometry.taps() + y * geometry.kernel[1] + x];
                let pairs = inputs().flat_map(|(c, tap, offset)| [offset, weight(c, tap).to_bits()]);
                [depth as u32, 0].into_iter().chain(pairs).collect()
            }
        };
        // All strips are as wide but the last.
        let strip = strip * lanes;
        let (whole, rest) = (width / strip * strip, width % strip);
        let mut strips = Vec::new();
        for (range, wide) in [(0..whole, strip), (whole..width, rest)] {
            let mut heights: Vec<(usize, Arc<Function>)> = Vec::new();
            for rows in [tall, band % tall, height % band % tall, 1] {
                if wide > 0 && rows > 0 && heights.iter().all(|&(other, _)| rows < other) {
                    heights.push((rows, compiler.function(&shifted(rows, wide))?));
                }
            }
            strips.push(Strips { columns: range.step_by(wide.max(1)), heights });
        }
        let measured = epilogue.measured.filter(|_| finishing.is_some());
        let measure = measured.map(|measured| Measure::new(compiler, isa, measured)).transpose()?;
        let finish = match finishing {
            Some(_) => Ok(epilogue),
            None => Err(Finish::new(compiler, isa, T::ELEMENT, false, epilogue)?),
        };
        Ok(DirectKernel {
            streams: (0..outputs).map(stream).collect(),
            packing: Packing::new(compiler, isa, &geometry, &phases, planes)?,
            geometry,
            packed,
            band,
            bands: (0..height).step_by(band).map(|y| y..(y + band).min(height)).collect(),
            strips,
            finish,
            measure,
            cycles,
        })
    }

    /// Lines for the sums of a band, if they do not go straight to the output.
    fn sum_lines(&self) -> usize {
        let sums = self.band * self.geometry.output[1] + SLACK;
        if self.finish.is_ok() || self.streams.is_empty() { 0 } else { lines::<T>(sums) }
    }

    /// Copies what the outputs of some rows read of a group's channels into the planes, whose other columns are zero.
    fn fill(&self, sample: usize, group: usize, band: &Range<usize>, input: &[T], packed: &mut [T]) {
        let (geometry, packing) = (&self.geometry, &self.packing);
        if geometry.input_strides.x != 1 {
            return packing.transpose(geometry, 0..packing.planes.plane, input, packed);
        }
        let channels = group * geometry.channels..(group + 1) * geometry.channels;
        let rows = band.start..band.end + self.rows() - self.band;
        packing.pack(geometry, sample, channels, band.start, [rows, 0..1], input, packed);
    }

    /// Rows of a plane.
    fn rows(&self) -> usize {
        let taps = self.packing.phases().flat_map(|phase| phase.taps.iter());
        self.band + taps.map(|tap| tap.shift[0]).max().unwrap_or(0)
    }

    /// Sums an output over the rows of a band, which `packed` holds.
    ///
    /// # Safety
    /// `to` has room for as many rows of the image, of T, or of f32 if sums are finished.
    unsafe fn sum(&self, output: usize, rows: usize, packed: &[T], to: *mut u8, numbers: &[f32; 2]) {
        let size = if self.finish.is_ok() { size_of::<f32>() } else { size_of::<T>() };
        for (column, heights) in self.strips.iter().flat_map(Strips::each) {
            let mut row = 0;
            for (height, function) in heights {
                let tiles = match rows - row {
                    left if left < *height => continue,
                    left if left < 2 * height => 1,
                    left => left / height,
                };
                let source = &packed[row * self.packing.planes.pitch + column..];
                let to = to.wrapping_add((row * self.geometry.output[1] + column) * size);
                // SAFETY: the function was emitted for exactly these types; `entry()` is its start. The planes of a group are in
                // `packed`, each as long as the last row of a band, with the largest offset in its plane and a vector; the tiles
                // are within the rows that `to` has room for.
                unsafe {
                    let sum = std::mem::transmute::<*const u8, ShiftedFunction<T>>(function.entry());
                    sum(source.as_ptr(), to, tiles, self.streams[output].as_ptr(), numbers);
                }
                row += tiles * height;
            }
        }
    }
}

/// The vectors of sums that registers hold at once.
struct Tiles {
    /// Of a row.
    strip: usize,
    /// Rows.
    tall: usize,
}

impl Tiles {
    fn of([height, width]: [usize; 2], lanes: usize, isa: Isa) -> Tiles {
        let most = isa.registers().saturating_sub(RESERVED).clamp(8, MOST_SUMS);
        let strip = even(width.div_ceil(lanes), most);
        Tiles { strip, tall: even(height, most / strip) }
    }
}

/// How many of `rows` a part has, if there are as few parts of `most` as possible, as even as possible; at least 1.
fn even(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most.max(1)).max(1)).max(1)
}

impl<T: Number + 'static> Family for DirectKernel<T> {
    fn units(&self) -> usize {
        self.geometry.samples * self.streams.len()
    }

    fn scratch(&self) -> usize {
        self.sum_lines() + lines::<T>(self.packed)
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        let sums = self.strips.iter().flat_map(|strips| strips.heights.iter().map(|(_, f)| f.clone()));
        sums.collect()
    }

    fn describe(&self) -> String {
        let rows = self.strips.iter().find_map(|strips| strips.heights.first()).map_or(0, |(rows, _)| *rows);
        format!("direct: bands of {} rows, tiles of {rows}, pitch {}", self.band, self.packing.planes.pitch)
    }

    fn estimate(&self) -> Option<f64> {
        Some(self.cycles)
    }

    fn into_banded(self: Box<Self>) -> Option<Box<dyn Banded>> {
        None
    }

    unsafe fn execute(&self, units: Range<usize>, input: View<'_>, io: &Io<'_>, scratch: &mut [Line]) {
        let input = T::elements(input);
        let (sums, packed) = scratch.split_at_mut(self.sum_lines());
        let sums: &mut [T] = bytemuck::cast_slice_mut(sums);
        let packed: &mut [T] = bytemuck::cast_slice_mut(packed);
        packed.fill(T::zeroed());
        let (strides, outputs) = (self.geometry.output_strides, self.geometry.outputs);
        let count = self.streams.len();
        let (mut next, mut sample, mut first) = match count {
            0 => return,
            count => (units.start, units.start / count, units.start % count),
        };
        let mut group = first / outputs;
        // Outputs that are to be measured: many at a time, of a sample.
        let mut written = Written { sample, places: 0..0 };
        while next < units.end {
            // The units of a group read the same planes.
            let last = units.end.min(next + (group + 1) * outputs - first);
            for band in &self.bands {
                self.fill(sample, group, band, input, packed);
                for output in first..first + (last - next) {
                    let origin = sample * strides.sample + output * strides.channel + band.start * strides.y;
                    // SAFETY: the caller's promise: a channel of a sample belongs to one unit, and this is one.
                    unsafe { self.output(output, sample, origin, band.len(), packed, sums, io) };
                    let places = origin..origin + band.len() * self.geometry.output[1];
                    if !written.extend(sample, &places) {
                        // SAFETY: as above.
                        unsafe { self.measure(&written, io) };
                        written = Written { sample, places };
                    }
                }
            }
            (first, group) = (first + (last - next), group + 1);
            if first == count {
                (sample, first, group) = (sample + 1, 0, 0);
            }
            next = last;
        }
        // SAFETY: as above.
        unsafe { self.measure(&written, io) };
    }
}

/// Outputs of a sample that have been written.
struct Written {
    sample: usize,
    places: Range<usize>,
}

impl Written {
    /// Adds outputs that are right behind these, if these are not many already; whether it has.
    fn extend(&mut self, sample: usize, places: &Range<usize>) -> bool {
        let adds = self.sample == sample && self.places.end == places.start && self.places.len() < MEASURED;
        if adds {
            self.places.end = places.end;
        }
        adds
    }
}

impl<T: Number> DirectKernel<T> {
    /// Measures outputs, if that is asked for and nothing else does it.
    ///
    /// # Safety
    /// Nobody else accesses them.
    unsafe fn measure(&self, written: &Written, io: &Io<'_>) {
        if let Some(measure) = self.measure.as_ref().filter(|_| !written.places.is_empty()) {
            // SAFETY: the caller's promise.
            let outputs = unsafe { io.output(written.places.clone()) };
            io.raise(1, written.sample, measure.largest(outputs));
        }
    }

    /// Makes some rows of an output channel of a sample, from what [`Self::fill`] has packed.
    ///
    /// # Safety
    /// Nobody else accesses them; they start at `origin`.
    #[allow(clippy::too_many_arguments)] // Which part of what, from where, to where.
    unsafe fn output(
        &self,
        output: usize,
        sample: usize,
        origin: usize,
        rows: usize,
        packed: &[T],
        sums: &mut [T],
        io: &Io<'_>,
    ) {
        let count = rows * self.geometry.output[1];
        let finish = match &self.finish {
            Ok(epilogue) => {
                let numbers = epilogue.numbers(output, epilogue.sample_scale(sample, io));
                let to = io.output_start(origin..origin + count);
                // SAFETY: rows of a convolution's output lie one after the other, and so many are at `to`.
                return unsafe { self.sum(output, rows, packed, to.cast(), &numbers) };
            }
            Err(finish) => finish,
        };
        let sums = &mut sums[..count + SLACK];
        // SAFETY: so many sums are there.
        unsafe { self.sum(output, rows, packed, sums.as_mut_ptr().cast(), &[1.0, 0.0]) };
        let Some(rows_of_a_sample) = self.geometry.rows_of_a_sample else {
            let scale = finish.epilogue.sample_scale(sample, io);
            let piece = Piece { from: 0, to: 0, count: count as u32 };
            let sums = Sums {
                sums,
                totals: &[],
                step: count,
                pieces: &[piece],
                numbers: &[finish.epilogue.numbers(output, scale)],
                origin,
                stride: self.geometry.output_strides.channel,
                sample,
            };
            // SAFETY: the caller's promise.
            return unsafe { finish.channels(&sums, io) };
        };
        for (x, &sum) in sums[..count].iter().enumerate() {
            let at = origin + x * self.geometry.output_strides.x;
            let scale = finish.epilogue.sample_scale(x / rows_of_a_sample, io);
            let residual = io.residual.map(|r| &r[at..at + 1]);
            // SAFETY: the caller's promise.
            let output_at = unsafe { io.output(at..at + 1) };
            let sum = std::iter::once(sum.total(0));
            finish.epilogue.position(output, scale, sum, residual, output_at);
        }
    }
}
