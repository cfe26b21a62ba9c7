//! The kernel of partial-sum tables: lanes are positions, weights are streams of table indices.
//!
//! For each region of the image: for each block of groups, build the tables of the block over the region, then let
//! every output add one entry per group and tap. Sums wait in scratch memory between blocks; the epilogue takes them
//! from there. See `docs/kernels.md`.

use super::Weights;
use super::code::{Accumulate, AccumulateFunction, Build, BuildFunction};
use super::pack::{Planes, pack_channels};
use super::pattern::Patterns;
use super::plan::{self, Group, Image, Plan, Shape, passes};
use super::stream::Stream;
use crate::compile::{Compiler, Function};
use crate::epilogue::{Epilogue, Piece};
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::kernel::{Io, LINE, Line};
use crate::machine::{MAX_LANES, MAX_REGISTERS};
use std::ops::Range;
use std::sync::Arc;

/// A block of groups whose tables exist at once.
struct Block {
    /// Of each group, the byte offsets of its members from the first plane of the convolution group; always
    /// [`Plan::size`] of them.
    members: Vec<Vec<u64>>,
    passes: Vec<Pass>,
}

/// Some of the lookups that outputs make in a block.
struct Pass {
    function: Arc<Function>,
    /// By chunk, then by the convolution groups in it.
    streams: Vec<Vec<Stream>>,
}

/// A table kernel of one plane.
pub(crate) struct TableKernel {
    geometry: Geometry,
    plan: Plan,
    planes: Planes,
    blocks: Vec<Block>,
    build: Arc<Function>,
    epilogue: Epilogue,
    /// Ranges of convolution groups and of their outputs that units are divided by.
    chunks: Vec<(Range<usize>, Range<usize>)>,
    entries: usize,
}

impl TableKernel {
    /// The kernel of `plan`, for `weights` in the order of [`twnc_program::step::Plane`].
    pub fn new(
        compiler: &Compiler,
        geometry: Geometry,
        plan: Plan,
        weights: &Weights,
        epilogue: Epilogue,
        threads: usize,
    ) -> Result<TableKernel, JitError> {
        let patterns = Patterns::new(plan.size);
        let reach = plan.reach();
        let planes = planes(&geometry, &plan, reach);
        let table = patterns.entries() * plan.shape.entry;
        let tile = plan.shape.tile;
        let chunks = chunks(&geometry, plan.regions().iter().product::<usize>() * geometry.samples, threads);
        let sums_bytes = (tile.positions() * 4) as u32;
        let channels = geometry.groups * geometry.channels;
        let mut blocks = Vec::new();
        for groups in plan.groups.chunks(plan.shape.block) {
            let members = groups.iter().map(|group| {
                let offset = |&(channel, dx): &(usize, usize)| {
                    ((group.phase * channels + channel) * planes.plane + dx) as u64 * 4
                };
                let mut offsets: Vec<u64> = group.members.iter().map(offset).collect();
                // Members that the last group lacks: no pattern selects them.
                offsets.resize(plan.size, offsets.first().copied().unwrap_or(0));
                offsets
            });
            let lookups: Vec<(usize, &Group, &plan::Lookup)> = groups
                .iter()
                .enumerate()
                .flat_map(|(slot, group)| group.lookups.iter().map(move |lookup| (slot, group, lookup)))
                .collect();
            let entry = |output: usize, &(slot, group, lookup): &(usize, &Group, &plan::Lookup)| {
                let signs = group.members.iter().zip(&lookup.taps);
                let signs = signs.map(|(&(channel, _), &tap)| weights.at(&geometry, output, channel, tap));
                let (number, negative) = patterns.number(signs);
                let shift = if number == 0 { 0 } else { plan.displacement(lookup.shift) };
                let offset = u16::try_from(slot * table + number * plan.shape.entry + shift);
                Ok((offset.map_err(|_| JitError::Unsupported("tables this large"))?, negative))
            };
            let passes =
                lookups.chunks(lookups.len().div_ceil(passes(lookups.len())).max(1)).map(|lookups| {
                    let stream = |conv_group: usize, outputs: &Range<usize>| {
                        let first = conv_group * geometry.outputs;
                        let outputs =
                            outputs.clone().map(|o| lookups.iter().map(|l| entry(first + o, l)).collect());
                        let outputs = outputs.collect::<Result<Vec<Vec<_>>, JitError>>()?;
                        Ok(Stream::new(lookups.len(), sums_bytes, &outputs))
                    };
                    let streams = chunks.iter().map(|(conv_groups, outputs)| {
                        conv_groups.clone().map(|conv_group| stream(conv_group, outputs)).collect()
                    });
                    let function = compiler.function(&Accumulate { tile, lookups: lookups.len() })?;
                    Ok(Pass { function, streams: streams.collect::<Result<_, JitError>>()? })
                });
            let passes = passes.collect::<Result<_, JitError>>()?;
            blocks.push(Block { members: members.collect(), passes });
        }
        let build = compiler.function(&Build {
            lanes: plan.shape.tile.lanes,
            group: plan.size,
            entry: plan.shape.entry,
            pitch: plan.shape.tile.pitch,
        })?;
        Ok(TableKernel {
            geometry,
            planes,
            blocks,
            build,
            epilogue,
            chunks,
            entries: patterns.entries(),
            plan,
        })
    }

    /// Units of work: samples, regions and chunks of outputs.
    pub fn units(&self) -> usize {
        self.geometry.samples * self.plan.regions().iter().product::<usize>() * self.chunks.len()
    }

    /// Scratch memory: tables, sums, packed input.
    pub fn scratch(&self) -> usize {
        self.table_lines() + self.sum_lines() + self.packed_lines()
    }

    /// Its functions.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        std::iter::once(&self.build).chain(self.passes().map(|pass| &pass.function)).cloned().collect()
    }

    /// What was chosen.
    pub fn describe(&self) -> String {
        let Plan { size, image, cycles, shape: Shape { tile, tiles, block, .. }, .. } = &self.plan;
        let kind = match image {
            Image::Rows => "rows",
            Image::Flat { .. } => "flat",
        };
        format!(
            "tables: groups of {size}, {block} a block; {kind}, {}x{} positions a tile, {}x{} tiles a table, pitch {}; \
             {:.2} M cycles",
            tile.rows,
            tile.width(),
            tiles[0],
            tiles[1],
            tile.pitch,
            cycles / 1e6
        )
    }

    fn passes(&self) -> impl Iterator<Item = &Pass> {
        self.blocks.iter().flat_map(|block| &block.passes)
    }

    fn table_lines(&self) -> usize {
        (self.plan.shape.block * self.entries * self.plan.shape.entry).div_ceil(LINE)
    }

    /// Numbers of sums of one tile, for all outputs of the largest chunk.
    fn tile_sums(&self) -> usize {
        let outputs = self.chunks.iter().map(|(_, outputs)| outputs.len()).max().unwrap_or(0);
        outputs * self.plan.shape.tile.positions()
    }

    fn sum_lines(&self) -> usize {
        (self.plan.shape.tiles[0] * self.plan.shape.tiles[1] * self.tile_sums()).div_ceil(LINE)
    }

    fn packed_lines(&self) -> usize {
        let planes = self.plan.phases.len() * self.geometry.groups * self.geometry.channels;
        (planes * self.planes.plane).div_ceil(LINE)
    }

    /// # Safety
    /// As [`crate::kernel::sealed::Execute::execute`], with the input of this plane.
    pub unsafe fn execute(&self, units: Range<usize>, input: &[f32], io: &Io<'_>, scratch: &mut [Line]) {
        let (tables, scratch) = scratch.split_at_mut(self.table_lines());
        let (sums, packed) = scratch.split_at_mut(self.sum_lines());
        let tables: &mut [f32] = bytemuck::cast_slice_mut(tables);
        let sums: &mut [f32] = bytemuck::cast_slice_mut(sums);
        let packed: &mut [f32] = bytemuck::cast_slice_mut(packed);
        // The empty sum of each table; nothing else writes there.
        for table in tables.chunks_exact_mut(self.entries * self.plan.shape.entry) {
            table[..self.plan.shape.entry].fill(0.0);
        }
        let regions = self.plan.regions();
        let mut packed_is = None;
        for unit in units {
            let (place, chunk) = (unit / self.chunks.len(), unit % self.chunks.len());
            let (place, across) = (place / regions[1], place % regions[1]);
            let (sample, down) = (place / regions[0], place % regions[0]);
            if packed_is != Some((sample, down)) {
                let first = down * self.plan.region()[0];
                let rows = match self.plan.image {
                    Image::Rows => first..first + self.plan.table_rows_of_image(),
                    Image::Flat { .. } => 0..self.geometry.output[0] + self.plan.reach()[0],
                };
                let channels = 0..self.geometry.groups * self.geometry.channels;
                pack_channels(
                    &self.geometry,
                    &self.plan.phases,
                    self.planes,
                    sample,
                    channels,
                    rows,
                    input,
                    packed,
                );
                packed_is = Some((sample, down));
            }
            let (conv_groups, outputs) = &self.chunks[chunk];
            for conv_group in conv_groups.clone() {
                self.sum([down, across], conv_group, chunk, tables, sums, packed);
                // SAFETY: the elements of this unit's sample, region and outputs belong to no other unit.
                unsafe { self.finish(sample, [down, across], conv_group, outputs.clone(), sums, io) };
            }
        }
    }

    /// Sums of a region for the outputs of a chunk, tile by tile.
    fn sum(
        &self,
        region: [usize; 2],
        conv_group: usize,
        chunk: usize,
        tables: &mut [f32],
        sums: &mut [f32],
        packed: &[f32],
    ) {
        let Shape { tile, tiles, entry, .. } = &self.plan.shape;
        let size = self.plan.region();
        let table = self.entries * entry;
        // Tiles and rows that the image still covers.
        let left = [self.plan.extent[0] - region[0] * size[0], self.plan.extent[1] - region[1] * size[1]];
        let live = [left[0].div_ceil(tile.rows).min(tiles[0]), left[1].div_ceil(tile.width()).min(tiles[1])];
        let rows = self.plan.shape.table_rows - (tiles[0] - live[0]) * tile.rows;
        let source = conv_group * self.geometry.channels * self.planes.plane + region[1] * size[1];
        // SAFETY: the functions were emitted for exactly these types; `entry()` is their start.
        let build = unsafe { std::mem::transmute::<*const u8, BuildFunction>(self.build.entry()) };
        let (conv_groups, outputs) = &self.chunks[chunk];
        let used = tiles[0] * tiles[1] * outputs.len() * tile.positions();
        sums[..used].fill(0.0);
        for block in &self.blocks {
            for (slot, members) in block.members.iter().enumerate() {
                // SAFETY: the slot's table is `entries * entry` numbers from `slot * table`, and `table_lines` counts
                // `plan.shape.block` of them; a table has `table_rows >= rows` rows of `pitch` numbers. A member's plane starts
                // inside `packed`, and `planes` made planes long enough for `table_rows` rows of `pitch` numbers from
                // every region's start and member's displacement. `members` has as many offsets as the group's size.
                unsafe {
                    build(
                        tables[slot * table..].as_mut_ptr(),
                        packed[source..].as_ptr(),
                        members.as_ptr(),
                        rows,
                        tile.pitch / tile.lanes,
                        self.planes.pitch * 4,
                    );
                }
            }
            for pass in &block.passes {
                // SAFETY: as above.
                let accumulate =
                    unsafe { std::mem::transmute::<*const u8, AccumulateFunction>(pass.function.entry()) };
                let stream = &pass.streams[chunk][conv_group - conv_groups.start];
                for y in 0..live[0] {
                    for x in 0..live[1] {
                        let first = y * tile.rows * tile.pitch + x * tile.width();
                        let to = (y * tiles[1] + x) * outputs.len() * tile.positions();
                        // SAFETY: the stream was made for this function and these outputs, whose sums are
                        // `tile.positions()` numbers each from `to` on. An offset plus a tile's largest offset stays inside
                        // the table of its slot: its displacement is at most `reach`, which `table_rows` and `pitch`
                        // include beside the tiles.
                        unsafe {
                            accumulate(
                                tables[first..].as_ptr(),
                                sums[to..].as_mut_ptr(),
                                stream.words.as_ptr(),
                                stream.counts.as_ptr(),
                            );
                        }
                    }
                }
            }
        }
    }

    /// Epilogue of a region's sums.
    ///
    /// # Safety
    /// Nobody else accesses the output's elements of this region and these outputs.
    unsafe fn finish(
        &self,
        sample: usize,
        region: [usize; 2],
        conv_group: usize,
        outputs: Range<usize>,
        sums: &[f32],
        io: &Io<'_>,
    ) {
        let Plan { extent, shape: Shape { tile, tiles, .. }, .. } = &self.plan;
        let size = self.plan.region();
        let strides = self.geometry.output_strides;
        let width = tile.width();
        let per_output = tile.positions();
        let first = conv_group * self.geometry.outputs + outputs.start;
        for ty in 0..tiles[0] {
            for tx in 0..tiles[1] {
                let sums = &sums[(ty * tiles[1] + tx) * outputs.len() * per_output..];
                // A tile has at most as many pieces as positions.
                let mut pieces = [Piece::default(); MAX_REGISTERS * MAX_LANES];
                let mut count = 0;
                for row in 0..tile.rows {
                    let y = region[0] * size[0] + ty * tile.rows + row;
                    let x = region[1] * size[1] + tx * width;
                    if y < extent[0] {
                        for (y, x, from, run) in self.pieces(y, x, width.min(extent[1].saturating_sub(x))) {
                            let to = sample * strides.sample + y * strides.y + x * strides.x;
                            pieces[count] = Piece { from: row * width + from, to, count: run };
                            count += 1;
                        }
                    }
                }
                let pieces = &pieces[..count];
                if strides.x == 1 {
                    for (channel, sums) in (first..).zip(sums.chunks_exact(per_output)).take(outputs.len()) {
                        // SAFETY: elements of the region and outputs that the caller gave over.
                        unsafe {
                            self.epilogue.channel(channel, sums, pieces, channel * strides.channel, io);
                        }
                    }
                } else {
                    for (piece, i) in pieces.iter().flat_map(|p| (0..p.count).map(move |i| (p, i))) {
                        let at = piece.to + i * strides.x + first;
                        let range = at..at + outputs.len();
                        let residual = io.residual.map(|r| &r[range.clone()]);
                        // SAFETY: as above.
                        let output = unsafe { io.output(range) };
                        self.epilogue.position(first, &sums[piece.from + i..], per_output, residual, output);
                    }
                }
            }
        }
    }

    /// The pieces of output rows that `count` positions from `x` of row `y` of the image are: (row, column, how far into
    /// the positions, length).
    fn pieces(
        &self,
        y: usize,
        x: usize,
        count: usize,
    ) -> impl Iterator<Item = (usize, usize, usize, usize)> + use<> {
        let width = self.geometry.output[1];
        let pitch = match self.plan.image {
            Image::Rows => usize::MAX,
            Image::Flat { pitch } => pitch,
        };
        let mut at = x;
        std::iter::from_fn(move || {
            while at < x + count {
                let (row, column) = (at / pitch, at % pitch);
                let here = at;
                at = (here - column).saturating_add(pitch).min(x + count);
                if column < width {
                    return Some((y + row, column, here - x, (at - here).min(width - column)));
                }
            }
            None
        })
    }
}

impl Plan {
    /// Rows of planes that the tables of a row of regions read.
    fn table_rows_of_image(&self) -> usize {
        self.region()[0] + self.reach()[0]
    }
}

/// Planes that hold what every region's tables read.
fn planes(geometry: &Geometry, plan: &Plan, reach: [usize; 2]) -> Planes {
    let across = (plan.regions()[1] - 1) * plan.region()[1];
    let read = across + plan.shape.tile.pitch + reach[1];
    match plan.image {
        Image::Rows => {
            let pitch = read.max(geometry.output[1] + reach[1]).next_multiple_of(plan.shape.tile.lanes);
            Planes {
                pitch,
                columns: pitch,
                plane: (plan.table_rows_of_image() * pitch).next_multiple_of(LINE),
            }
        }
        Image::Flat { pitch } => {
            let columns = geometry.output[1] + reach[1];
            let rows = (geometry.output[0] + reach[0] - 1) * pitch + columns;
            Planes { pitch, columns, plane: rows.max(read).next_multiple_of(LINE) }
        }
    }
}

/// Divides the outputs if samples and regions alone are too few to keep `threads` busy.
fn chunks(geometry: &Geometry, places: usize, threads: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let wanted = if places >= 4 * threads { 1 } else { threads };
    let split = |n: usize, parts: usize| -> Vec<Range<usize>> {
        let parts = parts.min(n).max(1);
        (0..parts).map(|i| n * i / parts..n * (i + 1) / parts).collect()
    };
    if geometry.groups >= wanted {
        split(geometry.groups, wanted).into_iter().map(|g| (g, 0..geometry.outputs)).collect()
    } else {
        split(geometry.outputs, wanted.min(geometry.outputs / 16))
            .into_iter()
            .map(|o| (0..geometry.groups, o))
            .collect()
    }
}
