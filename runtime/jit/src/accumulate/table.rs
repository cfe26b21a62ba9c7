//! The kernel of partial-sum tables: lanes are positions, weights are streams of table indices.
//!
//! For each region of the image: for each block of groups, build the tables of the block over the region, then let
//! every output add one entry per group and tap. Sums wait in scratch memory between blocks; the epilogue takes them
//! from there. See `docs/kernels.md`.

mod build;
mod division;
mod outputs;

use super::blocks::{Blocks, Chunk, IntegerRange, blocks};
use super::code::Build;
use super::cost::Counts;
use super::pack::{Layout, Packing};
use super::plan::{Image, Plan, Shape};
use super::pooled::{Band, Banded, Bands};
use super::reads::{Masks, Reads};
use super::{Family, Weights};
use crate::compile::{Compiler, Function};
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::finish::{Finish, Piece, SLACK};
use crate::geometry::{Geometry, Strides};
use crate::kernel::{Io, Line, lines};
use crate::machine::Isa;
use crate::number::Number;
use crate::transpose::Transposer;
use build::Sections;
use division::Division;
use outputs::To;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::interpret::View;

/// Who shares the work of a kernel: how many threads, and whether a pool may become part of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sharing {
    pub threads: usize,
    pub pooled: bool,
}

/// A table kernel with inputs of type `T`, of one plane or of several whose outputs take turns ([`super::Weights::in_turns`]).
pub(crate) struct TableKernel<T> {
    geometry: Geometry,
    plan: Plan,
    packing: Packing<T, T>,
    /// How the input lies, where that was asked for.
    layout: Option<Arc<Layout>>,
    masks: Masks,
    blocks: Blocks<T>,
    build: Arc<Function>,
    /// One for each plane.
    finishes: Vec<Finish>,
    /// For outputs that are neighbours where their sums are not.
    transposer: Transposer,
    division: Division,
    /// Other threads have written much of the input, so that it has to come from their cores.
    shared: bool,
}

impl<T: Number> TableKernel<T> {
    /// The kernel of `plan`, for `weights` in the order of [`twnc_program::step::Plane`] and, of integers, inputs in
    /// `range`.
    #[allow(clippy::too_many_arguments)] // What is generated, and for what.
    pub fn new(
        compiler: &Compiler,
        isa: Isa,
        geometry: Geometry,
        plan: Plan,
        weights: &Weights,
        range: Option<IntegerRange>,
        epilogues: Vec<Epilogue>,
        sharing: Sharing,
    ) -> Result<TableKernel<T>, JitError> {
        let planes = plan.planes(&geometry);
        let places = plan.regions().iter().product::<usize>() * geometry.samples;
        let Sharing { threads, pooled } = sharing;
        let divide = if pooled { Division::by_outputs } else { Division::new };
        let division = divide([geometry.groups, geometry.outputs], places, epilogues.len(), threads);
        let blocks = blocks(compiler, &geometry, &plan, planes, weights, range, division.chunks())?;
        let Shape { tile, entry, .. } = plan.shape;
        let (element, lanes, pitch) = (tile.element, tile.lanes, tile.pitch);
        let source = plan.source(&geometry);
        let build = compiler.function(&Build { element, lanes, group: plan.size, entry, pitch, source })?;
        let finishes = epilogues
            .into_iter()
            .map(|epilogue| Finish::new(compiler, isa, element, blocks.widened, epilogue))
            .collect::<Result<_, JitError>>()?;
        let packed = if plan.reads == Reads::Packed { &plan.phases[..] } else { &[] };
        let layout = plan.layout(&geometry).map(Arc::new);
        let packing = Packing::new(compiler, isa, &geometry, packed, planes)?;
        let masks = Masks::new(&geometry, &plan);
        let transposer = Transposer::new::<f32>(compiler, isa)?;
        Ok(TableKernel {
            geometry,
            packing,
            layout,
            masks,
            blocks,
            build,
            finishes,
            transposer,
            division,
            shared: threads > 1,
            plan,
        })
    }

    fn table_lines(&self) -> usize {
        let Shape { block, entries, entry, .. } = self.plan.shape;
        lines::<T>(block * entries * entry)
    }

    /// Numbers of sums of a region, for all outputs of a chunk.
    fn sums_of(&self, chunk: &Chunk) -> usize {
        let Shape { tile, tiles, .. } = self.plan.shape;
        tiles[0] * tiles[1] * chunk.1.len() * tile.positions()
    }

    /// Numbers of sums for the largest chunk.
    fn most_sums(&self) -> usize {
        self.division.chunks().iter().map(|chunk| self.sums_of(chunk)).max().unwrap_or(0)
    }

    fn sum_lines(&self) -> usize {
        lines::<T>(self.most_sums() + SLACK)
    }

    /// Lines for widened sums.
    fn total_lines(&self) -> usize {
        if self.blocks.widened { lines::<i32>(self.most_sums()) } else { 0 }
    }

    /// Channels of the output.
    fn channels(&self) -> usize {
        self.geometry.groups * self.geometry.outputs / self.finishes.len()
    }

    /// Lines for factors and biases.
    fn number_lines(&self) -> usize {
        lines::<[f32; 2]>(self.geometry.groups * self.geometry.outputs)
    }

    /// Lines for the pieces of a tile: in each of its rows one for each part of a row that begins there, and the one before.
    fn piece_lines(&self) -> usize {
        let tile = self.plan.shape.tile;
        let (pitch, _) = self.plan.image.parts();
        lines::<Piece>(tile.rows * (tile.width() / pitch + 2))
    }

    fn packed_lines(&self) -> usize {
        if self.plan.reads != Reads::Packed {
            return 0;
        }
        let planes = self.plan.phases.len() * self.geometry.groups * self.geometry.channels;
        lines::<T>(planes * self.packing.planes.plane)
    }

    /// Makes `packed` hold what tables of some regions of a row of regions read, where it held what tables
    /// that read the `cleared` columns do, if any.
    fn pack(
        &self,
        sample: usize,
        down: usize,
        across: Range<usize>,
        cleared: &mut Option<Range<usize>>,
        input: &[T],
        packed: &mut [T],
    ) {
        let Plan { image, shape: Shape { tile, .. }, .. } = &self.plan;
        let (geometry, planes, reach) = (&self.geometry, self.packing.planes, self.plan.reach());
        let size = self.plan.region();
        // What the tables of the last region read is a pitch and what members reach.
        let columns = across.start * size[1]..(across.end - 1) * size[1] + tile.pitch + reach[1];
        if geometry.input_strides.x != 1 {
            return self.packing.transpose(geometry, columns, input, packed);
        }
        let new = cleared.as_ref() != Some(&columns);
        let (origin, rows, parts) = match image {
            Image::Bands { width, .. } => {
                let first = down * size[0];
                let rows = self.plan.table_rows_of_image();
                let parts = (columns.start / width).min(planes.bands - 1)
                    ..columns.end.div_ceil(*width).min(planes.bands);
                match parts.len() == planes.bands {
                    _ if !new => {}
                    true => self.packing.clear(0..planes.plane, packed),
                    false => self.packing.clear_parts(0..rows, parts.clone(), packed),
                }
                (first, first..first + rows, parts)
            }
            Image::Flat { pitch } => {
                if new {
                    self.packing.clear(columns.clone(), packed);
                }
                let all = geometry.output[0] + reach[0];
                (0, (columns.start / pitch).min(all)..columns.end.div_ceil(*pitch).min(all), 0..1)
            }
        };
        *cleared = Some(columns);
        let channels = 0..geometry.groups * geometry.channels;
        self.packing.pack(geometry, sample, channels, origin, [rows, parts], input, packed);
    }

    /// Sums of a region for the outputs of a chunk, tile by tile; parts of those of i16 end up in the totals. `planes` are the sample's:
    /// packed ones, which begin with the row of regions, or those of the input.
    #[allow(clippy::too_many_arguments)] // What is summed, and the memory for it.
    fn sum(
        &self,
        region: [usize; 2],
        conv_group: usize,
        chunk: usize,
        tables: &mut [T],
        sums: &mut [T],
        totals: &mut [i32],
        planes: &[T],
    ) {
        let Shape { tile, tiles, entry, entries, .. } = self.plan.shape;
        let start = self.plan.start(region);
        let table = entries * entry;
        // Tiles and rows that the image still covers.
        let left = [self.plan.extent[0] - start[0], self.plan.extent[1] - start[1]];
        let live = [left[0].div_ceil(tile.rows).min(tiles[0]), left[1].div_ceil(tile.width()).min(tiles[1])];
        let rows = self.plan.shape.table_rows - (tiles[0] - live[0]) * tile.rows;
        let planes = &planes[conv_group * self.geometry.channels * self.packing.planes.plane..];
        let (conv_groups, outputs) = &self.division.chunks()[chunk];
        let used = self.sums_of(&self.division.chunks()[chunk]);
        let sums = &mut sums[..used];
        if self.blocks.list.is_empty() {
            sums.fill(T::zeroed());
        }
        let stream = &self.blocks.streams[chunk][conv_group - conv_groups.start];
        let (mut members, mut passes) = (self.blocks.members.iter(), self.blocks.passes.iter());
        let (mut counts, mut words) = (&stream.counts[..], &stream.words[..]);
        // Of the phase of the groups, which follow one another.
        let (mut phase, mut sections) = (None, Sections::NONE);
        for block in &self.blocks.list {
            for (members, table) in members.by_ref().take(block.groups).zip(tables.chunks_exact_mut(table)) {
                if phase.replace(members.phase) != Some(members.phase) {
                    sections = self.sections(members.phase, region[1], start, rows);
                }
                self.build(members, &sections, table, planes);
            }
            if self.shared && self.plan.reads == Reads::LaidOut {
                members.clone().take(block.groups).for_each(|next| self.fetch(next, start, rows, planes));
            }
            for pass in passes.by_ref().take(block.passes) {
                for y in 0..live[0] {
                    for x in 0..live[1] {
                        let first = y * tile.rows * tile.pitch + x * tile.width();
                        let to = (y * tiles[1] + x) * outputs.len() * tile.positions();
                        // SAFETY: the stream was made for this function and these outputs, whose sums are
                        // `tile.positions()` numbers each from `to` on. An offset plus a tile's largest offset stays inside
                        // the table of its slot: its displacement is at most `reach`, which `table_rows` and `pitch`
                        // include beside the tiles. Where it uses totals, there is one for each sum.
                        unsafe {
                            (pass.sum)(
                                tables[first..].as_ptr(),
                                sums[to..].as_mut_ptr(),
                                words.as_ptr(),
                                counts.as_ptr(),
                                totals.as_mut_ptr().wrapping_add(to),
                            );
                        }
                    }
                }
                counts = &counts[pass.lookups + 1..];
                words = &words[outputs.len() * (pass.lookups + 2)..];
            }
        }
    }
}

impl<T: Number + 'static> Family for TableKernel<T> {
    fn units(&self) -> usize {
        self.division.units()
    }

    fn scratch(&self) -> usize {
        let sums = self.sum_lines() + self.total_lines();
        self.table_lines() + sums + self.number_lines() + self.piece_lines() + self.packed_lines()
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        std::iter::once(&self.build).chain(self.blocks.functions()).cloned().collect()
    }

    fn describe(&self) -> String {
        let Plan { size, image, cycles, shape: Shape { tile, tiles, block, .. }, .. } = &self.plan;
        let kind = match image {
            Image::Bands { bands, .. } => {
                let masked = if matches!(self.plan.reads, Reads::Masked { .. }) { "masked " } else { "" };
                if bands == &1 { format!("{masked}rows") } else { format!("{bands} {masked}bands") }
            }
            Image::Flat { .. } => "flat".to_owned(),
        };
        let planes =
            if self.finishes.len() > 1 { format!("{} planes; ", self.finishes.len()) } else { String::new() };
        format!(
            "tables: {planes}groups of {size}, {block} a block; {kind}, {}x{} positions a tile, {}x{} tiles a table, pitch {}; \
             {:.2} M cycles",
            tile.rows,
            tile.width(),
            tiles[0],
            tiles[1],
            tile.pitch,
            cycles / 1e6
        )
    }

    fn estimate(&self) -> Option<f64> {
        Some(self.plan.cycles)
    }

    fn layout(&self) -> Option<&Arc<Layout>> {
        self.layout.as_ref()
    }

    fn counts(&self) -> Option<Counts> {
        Some(self.plan.counts)
    }

    fn into_banded(self: Box<Self>) -> Option<Box<dyn Banded>> {
        let whole = matches!(self.plan.image, Image::Bands { bands: 1, .. }) && self.finishes.len() == 1;
        let all = |outputs: &Range<usize>| outputs.len() == self.geometry.outputs;
        let runs = self.geometry.groups == 1 || self.division.chunks().iter().all(|(_, o)| all(o));
        if whole && runs && self.division.is_by_outputs() { Some(self) } else { None }
    }

    unsafe fn execute(&self, units: Range<usize>, input: View<'_>, io: &Io<'_>, scratch: &mut [Line]) {
        let to = To { strides: self.geometry.output_strides, row: 0, lead: 0 };
        // SAFETY: the caller's promise, passed on.
        unsafe { self.run(units, input, io, scratch, &to) };
    }
}

/// Of an image that is not cut into bands side by side, whose rows of regions follow one another.
impl<T: Number + 'static> Banded for TableKernel<T> {
    fn bands(&self) -> Bands {
        let Geometry { samples, groups, outputs, output: [height, width], .. } = self.geometry;
        // Of one group some outputs, of several all.
        let channels = |(of, some): &Chunk| match groups {
            1 => some.clone(),
            _ => of.start * outputs..of.end * outputs,
        };
        let shares = self.division.chunks().iter().map(channels).collect();
        Bands { samples, shares, height, rows: self.plan.region()[0], width }
    }

    unsafe fn execute_band(
        &self,
        [sample, band, share]: [usize; 3],
        input: View<'_>,
        io: &Io<'_>,
        scratch: &mut [Line],
        to: Band<'_>,
    ) {
        let [down, across] = self.plan.regions();
        let first = (sample * down + band) * across;
        let strides = Strides { sample: 0, channel: to.plane, ..self.geometry.output_strides };
        let place = To { strides, row: band * self.plan.region()[0], lead: to.lead };
        // SAFETY: the caller's promise, passed on; the outputs are in `to`, which is borrowed exclusively.
        unsafe {
            self.run(
                self.division.units_of(first..first + across, share),
                input,
                &io.with_output(to.numbers),
                scratch,
                &place,
            )
        };
    }
}

impl<T: Number> TableKernel<T> {
    /// # Safety
    /// As [`Family::execute`].
    unsafe fn run(&self, units: Range<usize>, input: View<'_>, io: &Io<'_>, scratch: &mut [Line], to: &To) {
        let input = T::elements(input);
        let (tables, scratch) = scratch.split_at_mut(self.table_lines());
        let (sums, scratch) = scratch.split_at_mut(self.sum_lines());
        let (totals, scratch) = scratch.split_at_mut(self.total_lines());
        let (numbers, scratch) = scratch.split_at_mut(self.number_lines());
        let (pieces, packed) = scratch.split_at_mut(self.piece_lines());
        let tables: &mut [T] = bytemuck::cast_slice_mut(tables);
        let sums: &mut [T] = bytemuck::cast_slice_mut(sums);
        let totals: &mut [i32] = bytemuck::cast_slice_mut(totals);
        let numbers: &mut [[f32; 2]] = bytemuck::cast_slice_mut(numbers);
        let pieces: &mut [u32] = bytemuck::cast_slice_mut(pieces);
        let pieces: &mut [Piece] = bytemuck::cast_slice_mut(pieces.as_chunks_mut::<3>().0);
        let packed: &mut [T] = bytemuck::cast_slice_mut(packed);
        // The empty sum of each table; nothing else writes there.
        let Shape { entry, entries, .. } = self.plan.shape;
        for table in tables.chunks_exact_mut(entries * entry) {
            table[..entry].fill(T::zeroed());
        }
        let regions = self.plan.regions();
        // Bands that lie side by side are rows of the image, so that threads have rows of their own if regions below one another are
        // neighbours. What is packed is a row of regions.
        let side_by_side = matches!(self.plan.image, Image::Bands { bands: 2.., .. });
        let downwards = side_by_side && self.plan.reads == Reads::LaidOut;
        let place = |unit: usize| {
            let (all, place) = (regions[0] * regions[1], self.division.at(unit).0);
            let (sample, region) = (place / all, place % all);
            match downwards {
                true => [sample, region % regions[0], region / regions[0]],
                false => [sample, region / regions[1], region % regions[1]],
            }
        };
        // Up to which unit what is packed suffices; the sample whose numbers are there.
        let (mut packed_until, mut cleared, mut numbered) = (units.start, None, None);
        for unit in units.clone() {
            let [sample, down, across] = place(unit);
            if unit == packed_until && self.plan.reads == Reads::Packed {
                // As far as regions of the row follow one another.
                let mut last = across;
                packed_until = unit + 1;
                while packed_until < units.end
                    && let [next_sample, next_down, next] = place(packed_until)
                    && [next_sample, next_down] == [sample, down]
                    && (last..=last + 1).contains(&next)
                {
                    (last, packed_until) = (next, packed_until + 1);
                }
                let across = across..last + 1;
                self.pack(sample, down, across, &mut cleared, input, packed);
            }
            if numbered.replace(sample) != Some(sample) && self.geometry.rows_of_a_sample.is_none() {
                for (numbers, finish) in numbers.chunks_mut(self.channels().max(1)).zip(&self.finishes) {
                    let scale = finish.epilogue.sample_scale(sample, io);
                    let places = numbers.iter_mut().zip(0..self.channels());
                    places.for_each(|(place, channel)| *place = finish.epilogue.numbers(channel, scale));
                }
            }
            let planes = match (self.plan.reads, &self.layout) {
                (Reads::Packed, _) => &*packed,
                (_, Some(layout)) => &input[sample * layout.sample()..],
                (_, None) => &input[sample * self.geometry.input_strides.sample..],
            };
            let chunk = self.division.at(unit).1;
            let (conv_groups, outputs) = &self.division.chunks()[chunk];
            for conv_group in conv_groups.clone() {
                self.sum([down, across], conv_group, chunk, tables, sums, totals, planes);
                let first = conv_group * self.geometry.outputs;
                let outputs = first + outputs.start..first + outputs.end;
                // SAFETY: the elements of this unit's sample, region and outputs belong to no other unit.
                unsafe {
                    self.finish_region(sample, [down, across], outputs, sums, totals, numbers, pieces, to, io)
                };
            }
        }
    }
}
