//! The padded planes that kernels read, one for each phase and channel, and what fills them with rows of the input: the kernel itself,
//! which copies them, or whoever writes the input, where that is asked to do so ([`Layout`]).

use super::groups::Phase;
use super::shifted::Spread;
use crate::compile::{Code, Compiler, Function};
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::machine::Isa;
use crate::number::Number;
use crate::transpose::Transposer;
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

/// A tensor as planes of all its samples: those of a sample phase by phase, each with the channels in order. All numbers of a plane that
/// are not elements are 0. Behind the last plane are some numbers more, of no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of the product that reads it.
    pub(crate) geometry: Geometry,
    pub(crate) phases: Vec<Phase>,
    pub(crate) planes: Planes,
    /// Rows of a plane.
    pub(crate) rows: usize,
    /// Numbers behind the last plane.
    pub(crate) behind: usize,
}

impl Layout {
    /// Numbers of all planes, and behind them.
    #[allow(clippy::len_without_is_empty)] // Of an empty tensor there is no layout.
    pub fn len(&self) -> usize {
        self.geometry.samples * self.sample() + self.behind
    }

    /// In words.
    pub fn describe(&self) -> String {
        let Planes { pitch, bands, .. } = self.planes;
        let phases = match self.phases.len() {
            1 => String::new(),
            count => format!("{count} phases of "),
        };
        match bands {
            1 => format!("{phases}rows {pitch} apart"),
            _ => format!("{phases}{bands} bands of rows, {pitch} apart"),
        }
    }

    /// Channels of a sample.
    pub(crate) fn channels(&self) -> usize {
        self.geometry.groups * self.geometry.channels
    }

    /// Numbers from a sample to the next.
    pub(crate) fn sample(&self) -> usize {
        self.phases.len() * self.channels() * self.planes.plane
    }

    /// The numbers of a plane.
    pub(crate) fn plane(&self, sample: usize, phase: usize, channel: usize) -> Range<usize> {
        let start = sample * self.sample() + (phase * self.channels() + channel) * self.planes.plane;
        start..start + self.planes.plane
    }
}

/// How the planes of a kernel are filled, with numbers of type `T` that are made of those of type `S`.
pub(crate) struct Packing<S, T> {
    pub planes: Planes,
    phases: Vec<PackedPhase>,
    /// Of matrices.
    transposer: Option<Transposer>,
    numbers: PhantomData<(S, T)>,
}

/// What a function that makes rows of planes of rows of the input takes: where the first is, how many rows in how many planes, and how many bytes
/// lie from one to the next.
#[repr(C)]
pub(crate) struct Rows<S, T> {
    pub source: *const S,
    pub target: *mut T,
    pub planes: usize,
    pub source_plane: usize,
    pub target_plane: usize,
    pub rows: usize,
    pub source_row: usize,
    pub target_row: usize,
    /// What numbers are multiplied by, if they are.
    pub factor: *const f32,
}

impl<S, T> Rows<S, T> {
    /// Makes them.
    ///
    /// # Safety
    /// The function takes such rows, what it reads of them is there, and what it writes, which nobody else accesses.
    pub unsafe fn make(&self, function: &Function) {
        // SAFETY: the function was emitted for exactly this type, by the caller's promise; `entry()` is its start.
        unsafe {
            let rows = std::mem::transmute::<*const u8, unsafe extern "C" fn(*const Self)>(function.entry());
            rows(self);
        }
    }
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
    rows: Arc<Function>,
}

impl<T: Number> Packing<T, T> {
    /// Of planes that hold these phases, phase by phase, with the input's numbers as they are.
    pub fn new(
        compiler: &Compiler,
        isa: Isa,
        geometry: &Geometry,
        phases: &[Phase],
        planes: Planes,
    ) -> Result<Packing<T, T>, JitError> {
        let spread = |count, stride| Spread { element: T::ELEMENT, vector: isa.bytes(), count, stride };
        Packing::by(compiler, isa, geometry, phases, planes, spread)
    }
}

impl<S: Number, T: Number> Packing<S, T> {
    /// As [`Packing::new`], with rows made by the function that a count of numbers and the stride between them in the input call for. It takes
    /// [`Rows`], reads from the first to the last of the numbers of each row, and writes exactly as many.
    pub fn by<C: Code>(
        compiler: &Compiler,
        isa: Isa,
        geometry: &Geometry,
        phases: &[Phase],
        planes: Planes,
        function: impl Fn(usize, usize) -> C,
    ) -> Result<Packing<S, T>, JitError> {
        let stride = geometry.strides[1];
        let last = planes.columns - (planes.bands - 1) * planes.band[1];
        let others = if planes.bands > 1 { planes.band[1] } else { last };
        let part = |phase: &Phase, width: usize| -> Result<Part, JitError> {
            let [first, end] = phase.columns(geometry, width);
            let column = (first * stride + phase.remainder[1]).saturating_sub(geometry.pads[1]);
            let count = end - first;
            Ok(Part { first, column, count, rows: compiler.function(&function(count, stride))? })
        };
        // Rows of a matrix are not copied but transposed.
        let transposer = match geometry.input_strides.x {
            1 => None,
            _ => Some(Transposer::new::<T>(compiler, isa)?),
        };
        let phases = if transposer.is_none() { phases } else { &[] };
        let phases = phases.iter().map(|phase| {
            let parts = [part(phase, others)?, part(phase, last)?];
            Ok(PackedPhase { phase: phase.clone(), parts })
        });
        let phases = phases.collect::<Result<_, JitError>>()?;
        Ok(Packing { planes, phases, transposer, numbers: PhantomData })
    }

    /// The functions that make rows, each once.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        let mut functions: Vec<Arc<Function>> =
            self.phases.iter().flat_map(|phase| &phase.parts).map(|part| part.rows.clone()).collect();
        functions.extend(self.transposer.iter().flat_map(Transposer::functions));
        functions.sort_by(|a, b| a.name().cmp(b.name()));
        functions.dedup_by(|a, b| a.name() == b.name());
        functions
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
        input: &[S],
        packed: &mut [T],
    ) {
        let from = input_of(geometry, sample, channels.start, input);
        let planes = packed.chunks_exact_mut((self.planes.plane * channels.len()).max(1));
        for (phase, target) in (0..self.phases.len()).zip(planes) {
            self.planes(geometry, phase, origin, [rows.clone(), parts.clone()], from, target, &1.0);
        }
    }

    /// Makes planes hold some rows and parts of rows of a phase of as many channels, the first of which `input` begins with; as [`Self::pack`].
    #[allow(clippy::too_many_arguments)] // What to copy, from where, to where.
    pub fn planes(
        &self,
        geometry: &Geometry,
        phase: usize,
        origin: usize,
        [rows, parts]: [Range<usize>; 2],
        input: &[S],
        target: &mut [T],
        factor: &f32,
    ) {
        let Planes { pitch, bands, band, lead, plane, .. } = self.planes;
        let PackedPhase { phase, parts: kinds } = &self.phases[phase];
        let [stride, remainder, pad] = [geometry.strides[0], phase.remainder[0], geometry.pads[0]];
        let channels = target.len().checked_div(plane).unwrap_or(0);
        for part in parts {
            let Part { first, column, count, rows: function } = &kinds[usize::from(part + 1 == bands)];
            if *count == 0 || channels == 0 {
                continue;
            }
            // Of all rows of the phase in this band, those that are in the input.
            let above = part * band[0];
            // Planes may be so small that divisions are what takes the time.
            let steps = |numbers: usize| if stride == 1 { numbers } else { numbers.div_ceil(stride) };
            let from = steps(pad.saturating_sub(remainder)).saturating_sub(above);
            let from = from.clamp(rows.start, rows.end);
            let end = steps((pad + geometry.input[0]).saturating_sub(remainder));
            let end = end.saturating_sub(above).clamp(from, rows.end);
            let place = |row: usize| lead + (row - origin) * pitch + part * band[1] + first;
            for row in (rows.start..from).chain(end..rows.end) {
                for target in target.chunks_exact_mut(plane) {
                    target[place(row)..][..*count].fill(T::zeroed());
                }
            }
            if from == end {
                continue;
            }
            let row = geometry.input_strides.y;
            let start = ((from + above) * stride + remainder - pad) * row + column;
            let copied = end - from;
            let last = (copied - 1) * stride * row + (count - 1) * geometry.strides[1];
            let source = &input[start..=start + (channels - 1) * geometry.input_strides.channel + last];
            let target = &mut target[place(from)..][..(channels - 1) * plane + (copied - 1) * pitch + count];
            let rows = Rows {
                source: source.as_ptr(),
                target: target.as_mut_ptr(),
                planes: channels,
                source_plane: geometry.input_strides.channel * size_of::<S>(),
                target_plane: plane * size_of::<T>(),
                rows: copied,
                source_row: stride * row * size_of::<S>(),
                target_row: pitch * size_of::<T>(),
                factor,
            };
            // SAFETY: the function makes rows of `T` of rows of `S`; those that it reads end with `source`, those that it writes
            // with `target`.
            unsafe { rows.make(function) };
        }
    }
}

/// A channel of a sample, and what follows.
pub(crate) fn input_of<'a, T>(geometry: &Geometry, sample: usize, channel: usize, input: &'a [T]) -> &'a [T] {
    &input[sample * geometry.input_strides.sample + channel * geometry.input_strides.channel..]
}

impl<T: Number> Packing<T, T> {
    /// Makes `packed` hold columns `rows` of the planes of a matrix product, padding included: a row of the matrix is a column,
    /// and plane `k` holds element `k` of every row.
    pub fn transpose(&self, geometry: &Geometry, rows: Range<usize>, input: &[T], packed: &mut [T]) {
        let (depth, stride, size) = (geometry.channels, geometry.input_strides.x, self.planes.plane);
        let inner = rows.start..rows.end.min(geometry.input[1]);
        for plane in packed.chunks_exact_mut(size).take(depth) {
            plane[inner.end..rows.end].fill(T::zeroed());
        }
        if inner.is_empty() || depth == 0 {
            return;
        }
        let source = &input[inner.start * stride..][..(inner.len() - 1) * stride + depth];
        let target = &mut packed[inner.start..][..(depth - 1) * size + inner.len()];
        if let Some(transposer) = &self.transposer {
            // SAFETY: the rows end with `source`, and as columns with `target`.
            unsafe {
                let rows = [inner.len(), depth];
                transposer.transpose(rows, source.as_ptr(), stride, target.as_mut_ptr(), size);
            }
        }
    }
}
