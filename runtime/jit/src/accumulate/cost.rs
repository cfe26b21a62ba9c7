//! What a table kernel does, counted, and how many cycles that should take.
//!
//! [`Counts`] follow from shapes alone. [`costs`] are what each counted thing takes with a kind of code; they were fitted to
//! measured plans (`testsuite/scripts/fit_costs.py`), and only their ratios decide between plans.

use super::blocks::IntegerRange;
use super::code::Tile;
use super::groups::Group;
use super::plan::{Image, Shape};
use super::reads::Reads;
use crate::geometry::Geometry;
use crate::machine::{Isa, first_level_cache};
use std::collections::BTreeMap;

/// How many things of each kind there are: of work, or of cycles for one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Tables of a group over a region.
    pub tables: f64,
    /// Vectors of sums stored in them.
    pub built: f64,
    /// Lookups of an output in a tile.
    pub lookups: f64,
    /// Vectors of table entries added.
    pub added: f64,
    /// Those of them that cross a cache line.
    pub crossing: f64,
    /// Times that the sums of an output and a tile are loaded and stored.
    pub reloads: f64,
    /// Their vectors, as far as they stay in the first-level cache.
    pub near: f64,
    /// Their vectors that come from further away.
    pub far: f64,
    /// Vectors of i16 sums added to wider totals.
    pub widened: f64,
    /// Runs of neighbouring outputs stored.
    pub runs: f64,
    /// Outputs, in vectors of 4.
    pub stored: f64,
    /// Numbers copied into padded planes.
    pub packed: f64,
    /// Vectors of the input loaded by a mask.
    pub masked: f64,
    /// Regions of a convolution group: what is done once for each.
    pub regions: f64,
}

impl Counts {
    /// The names of the things.
    pub const NAMES: [&'static str; 14] = [
        "tables", "built", "lookups", "added", "crossing", "reloads", "near", "far", "widened", "runs",
        "stored", "packed", "masked", "regions",
    ];

    /// The numbers, in the order of [`Self::NAMES`].
    pub fn values(&self) -> [f64; 14] {
        let Counts { tables, built, lookups, added, crossing, reloads, near, far, .. } = *self;
        let Counts { widened, runs, stored, packed, masked, regions, .. } = *self;
        [
            tables, built, lookups, added, crossing, reloads, near, far, widened, runs, stored, packed,
            masked, regions,
        ]
    }

    /// Cycles, if one of each thing takes what `costs` says.
    pub fn cycles(&self, costs: &Counts) -> f64 {
        self.values().iter().zip(costs.values()).map(|(count, cost)| count * cost).sum()
    }
}

/// What one of each thing takes, in cycles: between what fits to plans on cores of two makers gave.
pub(crate) fn costs(isa: Isa) -> Counts {
    let narrow = Counts {
        tables: 60.0,
        built: 1.4,
        lookups: 0.4,
        added: 0.5,
        crossing: 0.45,
        reloads: 1.5,
        near: 0.3,
        far: 1.35,
        widened: 4.5,
        runs: 2.0,
        stored: 1.2,
        packed: 1.7,
        masked: 3.5,
        // Not fitted, but what depthwise layers of single positions take for each group.
        regions: 250.0,
    };
    match isa {
        Isa::Portable => Counts {
            tables: 90.0,
            built: 1.1,
            lookups: 0.2,
            added: 0.46,
            crossing: 0.25,
            far: 0.6,
            widened: 2.0,
            runs: 9.0,
            stored: 2.0,
            packed: 2.0,
            ..narrow
        },
        Isa::Avx2 => narrow,
        // A vector is a cache line: each that is reloaded, or crosses into a second line, moves whole lines.
        Isa::Avx512 => Counts {
            tables: 45.0,
            added: 0.58,
            crossing: 0.56,
            near: 0.8,
            far: 2.2,
            widened: 8.0,
            runs: 1.0,
            ..narrow
        },
    }
}

/// Counts what plans for a layer do that have their image and groups in common.
pub(crate) struct Counter<'a> {
    geometry: &'a Geometry,
    groups: &'a [Group],
    image: Image,
    /// Lookups that an output makes in all groups.
    lookups: usize,
    shifts: Shifts,
    /// Times that sums of integers have to be widened, about.
    widenings: usize,
    /// Planes of the input that are packed for a convolution group.
    planes: usize,
    /// Whether the input will be where it is asked for.
    laid_out: bool,
}

impl<'a> Counter<'a> {
    pub fn new(
        geometry: &'a Geometry,
        groups: &'a [Group],
        image: Image,
        range: Option<IntegerRange>,
        phases: usize,
        laid_out: bool,
    ) -> Counter<'a> {
        let lookups = groups.iter().map(|group| group.lookups.len()).sum();
        // Somewhat more than half of the weights are not zero, half of them of either sign.
        let widenings = range.map_or(0, |range| {
            let depth = geometry.depth() * 3 / 5;
            let summed = if range.signed { depth } else { depth / 2 };
            summed / range.inputs().max(1) + 1
        });
        let planes = phases * geometry.channels;
        let shifts = Shifts::new(groups, image);
        Counter { geometry, groups, image, lookups, shifts, widenings, planes, laid_out }
    }

    /// How many vectors, of those that the lookups of an output in a tile add, cross a cache line.
    pub fn crossing(&self, tile: Tile) -> f64 {
        self.shifts.crossings(tile)
    }

    /// What a run does with tiles and tables of this shape, of whose vectors `crossing` cross a cache line, and at most `most`
    /// lookups between two loads of sums.
    pub fn count(&self, shape: &Shape, most: usize, crossing: f64) -> Counts {
        let Shape { tile, tiles, table_rows, entries, block, .. } = *shape;
        let (geometry, extent) = (self.geometry, self.image.extent(self.geometry.output));
        let across = |axis: usize, part: usize| extent[axis].div_ceil(part) as f64;
        let tile_count = across(0, tile.rows) * across(1, tile.width());
        let downs = across(0, tile.rows * tiles[0]);
        let regions = downs * across(1, tile.width() * tiles[1]);
        let images = (geometry.samples * geometry.groups) as f64;
        let sums = images * tile_count * geometry.outputs as f64;
        let vectors = tile.registers() as f64;
        let table_vectors = (table_rows * tile.pitch / tile.lanes) as f64;
        let tables = images * regions * self.groups.len() as f64;
        let reloads = self.reloads(block, most) as f64;
        let bytes = tile.element.bytes();
        let held = geometry.outputs * tile.positions() * tiles[0] * tiles[1]
            + block * entries * table_rows * tile.pitch;
        let near = held * bytes <= first_level_cache();
        let reloaded = sums * reloads * vectors;
        let (parts, _) = self.image.parts();
        let runs = tile.rows as f64 * (tile.width() as f64 / parts as f64 + 1.0).floor();
        let written = (geometry.output_len() / 4) as f64;
        let reads = Reads::of(geometry, self.image, tile, self.laid_out);
        let members = self.groups.first().map_or(0, |group| group.members.len());
        let masked = match reads {
            Reads::Masked { step, parts } => tables * table_vectors * (members * step * parts) as f64,
            Reads::Packed | Reads::Dense | Reads::LaidOut => 0.0,
        };
        let packed = match (reads, self.image) {
            (Reads::Dense | Reads::Masked { .. }, _) => 0.0,
            // Whoever writes the input makes planes of it in the place of something else, but for rows that two bands have.
            (Reads::LaidOut, Image::Bands { bands, .. }) => {
                let shared = (bands - 1) * (table_rows - tiles[0] * tile.rows);
                (shared * geometry.output[1]) as f64 / downs
            }
            (Reads::LaidOut, Image::Flat { .. }) => 0.0,
            (Reads::Packed, Image::Bands { .. }) => (table_rows * extent[1]) as f64,
            (Reads::Packed, Image::Flat { .. }) => (geometry.output[0] * geometry.output[1]) as f64,
        };
        let packed = packed * self.planes as f64;
        Counts {
            tables,
            built: tables * table_vectors * (entries - 1) as f64,
            lookups: sums * self.lookups as f64,
            added: sums * self.lookups as f64 * vectors,
            crossing: sums * crossing,
            reloads: sums * reloads,
            near: if near { reloaded } else { 0.0 },
            far: if near { 0.0 } else { reloaded },
            widened: sums * vectors * self.widenings as f64,
            runs: sums * runs,
            stored: written,
            packed: images * downs * packed,
            masked,
            regions: images * regions,
        }
    }

    /// How often the sums of an output are loaded and stored, with `block` groups at a time.
    fn reloads(&self, block: usize, most: usize) -> usize {
        let lookups = |groups: &[Group]| groups.iter().map(|group| group.lookups.len()).sum();
        self.groups.chunks(block).map(|groups| passes(lookups(groups), most)).sum()
    }
}

/// In how many passes, of at most `most` each, an output makes `lookups` lookups; in each its sums are loaded and stored.
pub(crate) fn passes(lookups: usize, most: usize) -> usize {
    lookups.div_ceil(most).max(1)
}

/// How many lookups of an output are displaced by how many rows and columns.
struct Shifts {
    counts: BTreeMap<[usize; 2], u32>,
}

impl Shifts {
    fn new(groups: &[Group], image: Image) -> Shifts {
        let mut counts = BTreeMap::new();
        for [down, right] in groups.iter().flat_map(|g| g.lookups.iter().map(|l| l.shift)) {
            let shift = match image {
                Image::Bands { .. } => [down, right],
                Image::Flat { pitch } => [0, down * pitch + right],
            };
            *counts.entry(shift).or_insert(0) += 1;
        }
        Shifts { counts }
    }

    /// How many vectors, of those that the lookups of an output in a tile add, cross a cache line.
    fn crossings(&self, tile: Tile) -> f64 {
        let (bytes, line) = (tile.element.bytes(), tile.element.line());
        let starts = tile.offsets();
        let crossing = |shift: &[usize; 2]| {
            let shift = shift[0] * tile.pitch + shift[1];
            let crosses = |start: &&usize| (**start / bytes + shift) % line > line - tile.lanes;
            starts.iter().filter(crosses).count() as f64
        };
        self.counts.iter().map(|(shift, count)| f64::from(*count) * crossing(shift)).sum()
    }
}
