//! How a table kernel goes about a layer: what a group of weights is, which positions form a tile, what shares a table.
//!
//! Everything here follows from the shapes; weights only fill the index streams afterwards. The choice is made by
//! counting cycles of the steps that bound the kernel ([`Plan::choose`]).

use super::blocks::IntegerRange;
use super::code::{MOST_LOOKUPS, Tile};
use super::pattern::Patterns;
use crate::geometry::Geometry;
use crate::machine::{Element, Isa};
use std::collections::HashMap;

/// Bytes that all tables of a block may take: that leaves room for streams and sums in a first-level cache of 32 KB.
const TABLE_BUDGET: usize = 28 * 1024;
/// Numbers of packed input that a kernel may need; larger layers are left to the interpreter.
const PACKED_LIMIT: usize = 1 << 28;

/// A tap of the window, seen from the phase of the input that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tap {
    /// Place in the kernel.
    pub at: [usize; 2],
    /// Displacement in the phase's plane.
    pub shift: [usize; 2],
}

/// The elements of the input whose coordinates have the same remainder by the strides, and the taps that read them. A
/// strided product is a sum of products without strides, one per phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub remainder: [usize; 2],
    pub taps: Vec<Tap>,
}

impl Phase {
    /// The columns, of `columns`, that are inside the input; the others are padding.
    pub fn columns(&self, geometry: &Geometry, columns: usize) -> [usize; 2] {
        let [stride, remainder, pad] = [geometry.strides[1], self.remainder[1], geometry.pads[1]];
        let first = pad.saturating_sub(remainder).div_ceil(stride).min(columns);
        let end = (pad + geometry.input[1]).saturating_sub(remainder).div_ceil(stride);
        [first, end.clamp(first, columns)]
    }
}

/// Inputs whose signed sums share a table, and the lookups in it that each output makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub phase: usize,
    /// Channel within the convolution group, and horizontal displacement.
    pub members: Vec<(usize, usize)>,
    pub lookups: Vec<Lookup>,
}

/// One lookup: where the entry is, and which weight of the kernel signs each member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    pub shift: [usize; 2],
    /// Per member.
    pub taps: Vec<[usize; 2]>,
}

/// The image as the tiles see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// Rows and columns as they are.
    Rows,
    /// All rows one after the other, `pitch` apart, so that a tile may run over the end of a row; neighbouring rows share
    /// their padding.
    Flat { pitch: usize },
}

/// What the range of the inputs allows, so that sums of i16 cannot overflow between two widenings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Members of a group.
    pub group: usize,
    /// Lookups of a pass.
    pub lookups: usize,
}

impl Limits {
    /// Those of integers in a range, so that one pass never overflows, or of f32. `None` if even the smallest could.
    pub fn of(range: Option<IntegerRange>) -> Option<Limits> {
        let weights = range.map_or(usize::MAX, IntegerRange::inputs);
        let group = weights.min(5);
        (group >= 2).then(|| Limits { group, lookups: (weights / group).min(MOST_LOOKUPS) })
    }
}

/// The chosen loops.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub phases: Vec<Phase>,
    /// Those of one convolution group; all are alike.
    pub groups: Vec<Group>,
    /// Members of a group.
    pub size: usize,
    pub image: Image,
    /// Positions of the (possibly flat) image.
    pub extent: [usize; 2],
    pub shape: Shape,
    /// What the run should take, in cycles.
    pub cycles: f64,
}

impl Plan {
    /// The plan that should be fastest, or the one that is number `rank` in that order; `None` if tables do not suit the
    /// layer's size.
    pub fn choose(
        geometry: &Geometry,
        element: Element,
        range: Option<IntegerRange>,
        isa: Isa,
        rank: usize,
    ) -> Option<Plan> {
        let limits = Limits::of(range)?;
        if geometry.output_len() == 0 {
            return None;
        }
        let phases = phases(geometry);
        let reach = reach(&phases);
        let largest = |axis: usize| geometry.output[axis].checked_add(reach[axis]);
        let plane = largest(0)?.checked_mul(largest(1)?)?;
        let planes = plane.checked_mul(phases.len())?.checked_mul(geometry.groups * geometry.channels)?;
        if planes > PACKED_LIMIT {
            return None;
        }
        let images = images(geometry, &phases, reach);
        let line = element.line();
        let sizes = (2..=limits.group)
            .flat_map(|size| groupings(geometry, &phases, size).into_iter().map(move |g| (size, g)));
        let groupings: Vec<(usize, Vec<Group>)> = sizes.collect();
        let mut candidates: Vec<(f64, usize, usize, Shape)> = Vec::new();
        for (grouping, (size, groups)) in groupings.iter().enumerate() {
            let entries = Patterns::new(*size).entries();
            let reloads: Vec<usize> =
                (1..=MOST_LOOKUPS).map(|block| reloads(groups, block, limits.lookups)).collect();
            for (number, &(image, extent)) in images.iter().enumerate() {
                let (reach, shifts) = (reach_of(groups, image), Shifts::new(groups, image, line));
                for (tile, tiles) in tilings(extent, reach, element, isa) {
                    let table_rows = tiles[0] * tile.rows + reach[0];
                    let entry = (table_rows * tile.pitch).next_multiple_of(line);
                    let most = TABLE_BUDGET / (entry * entries * element.bytes());
                    for block in 1..=most.min(groups.len()).min(MOST_LOOKUPS) {
                        let shape = Shape { tile, tiles, table_rows, entry, entries, block };
                        let reloads = reloads[block - 1];
                        let cycles = shape.cycles(geometry, extent, groups.len(), reloads, &shifts);
                        candidates.push((cycles, grouping, number, shape));
                    }
                }
            }
        }
        let rank = rank.min(candidates.len().checked_sub(1)?);
        let (_, &mut (cycles, grouping, image, shape), _) =
            candidates.select_nth_unstable_by(rank, |a, b| a.0.total_cmp(&b.0));
        let (size, groups) = groupings.into_iter().nth(grouping)?;
        let &(image, extent) = images.get(image)?;
        Some(Plan { phases, groups, size, image, extent, shape, cycles })
    }

    /// Largest displacement of any lookup or member in the image's terms.
    pub fn reach(&self) -> [usize; 2] {
        reach(&self.phases)
    }

    /// Positions of a region: the tiles that share tables.
    pub fn region(&self) -> [usize; 2] {
        [self.shape.tiles[0] * self.shape.tile.rows, self.shape.tiles[1] * self.shape.tile.width()]
    }

    /// How many regions cover the image, down and across.
    pub fn regions(&self) -> [usize; 2] {
        let region = self.region();
        [self.extent[0].div_ceil(region[0]), self.extent[1].div_ceil(region[1])]
    }

    /// A displacement as an offset in a table, in numbers.
    pub fn displacement(&self, shift: [usize; 2]) -> usize {
        match self.image {
            Image::Rows => shift[0] * self.shape.tile.pitch + shift[1],
            Image::Flat { pitch } => shift[0] * pitch + shift[1],
        }
    }
}

/// The sizes of tiles, tables and blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub tile: Tile,
    /// Tiles that share tables, down and across.
    pub tiles: [usize; 2],
    /// Rows of a table.
    pub table_rows: usize,
    /// Numbers from a table's sum to the next.
    pub entry: usize,
    /// Sums of a table, and zero.
    pub entries: usize,
    /// Groups whose tables exist at once.
    pub block: usize,
}

impl Shape {
    /// Cycles of a run. The constants were measured on a core that loads two vectors and stores one per cycle; only
    /// their ratios matter.
    fn cycles(
        &self,
        geometry: &Geometry,
        extent: [usize; 2],
        groups: usize,
        reloads: usize,
        shifts: &Shifts,
    ) -> f64 {
        let Shape { tile, tiles, table_rows, entries, block, .. } = *self;
        let vectors = tile.registers() as f64;
        let table_vectors = (table_rows * tile.pitch / tile.lanes) as f64;
        let build = groups as f64 * (table_vectors * entries as f64 * 1.87 + 218.0);
        // With few vectors the latency of additions shows.
        let lookups = shifts.sum(tile, |crossing| (0.53 * vectors + 0.41 * crossing + 0.4).max(3.0));
        let outputs = geometry.outputs as f64;
        // Sums that do not stay in the first-level cache beside the tables come from the second.
        let bytes = tile.element.bytes();
        let sums = geometry.outputs * tile.positions() * tiles[0] * tiles[1] * bytes;
        let tables = block * entries * table_rows * tile.pitch * bytes;
        let reload = if sums + tables > 30 * 1024 { 1.43 } else { 0.54 };
        let reloads = reloads as f64 * (vectors * reload + 4.0);
        let epilogue = tile.rows as f64 * 7.0;
        let accumulate = outputs * (lookups + reloads + epilogue);
        let across = |size: usize, part: usize| size.div_ceil(part) as f64;
        let [down, right] = [tile.rows, tile.width()];
        let tile_count = across(extent[0], down) * across(extent[1], right);
        let region_count = across(extent[0], down * tiles[0]) * across(extent[1], right * tiles[1]);
        (geometry.samples * geometry.groups) as f64 * (region_count * build + tile_count * accumulate)
    }
}

/// In how many passes, of at most `most` each, an output makes `lookups` lookups; in each its sums are loaded and stored.
pub(crate) fn passes(lookups: usize, most: usize) -> usize {
    lookups.div_ceil(most).max(1)
}

/// How often the sums of an output are loaded and stored, with `block` groups at a time.
fn reloads(groups: &[Group], block: usize, most: usize) -> usize {
    groups.chunks(block).map(|groups| passes(groups.iter().map(|g| g.lookups.len()).sum(), most)).sum()
}

/// How many lookups of an output are displaced by how much, modulo cache lines as far as rows allow.
struct Shifts {
    counts: [u32; MAX_LINE],
    /// Numbers of a cache line.
    line: usize,
}

/// The most numbers that a cache line has.
const MAX_LINE: usize = 32;

impl Shifts {
    fn new(groups: &[Group], image: Image, line: usize) -> Shifts {
        let mut counts = [0; MAX_LINE];
        for [down, right] in groups.iter().flat_map(|g| g.lookups.iter().map(|l| l.shift)) {
            let shift = match image {
                Image::Rows => right,
                Image::Flat { pitch } => down * pitch + right,
            };
            counts[shift % line] += 1;
        }
        Shifts { counts, line }
    }

    /// The sum over lookups of a cost, which depends on how many vectors of the tile cross a cache line: these loads take
    /// two turns.
    fn sum(&self, tile: Tile, cost: impl Fn(f64) -> f64) -> f64 {
        let starts = tile.offsets();
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        used.map(|(shift, &count)| {
            let bytes = tile.element.bytes();
            let crosses = |start: &&usize| (**start / bytes + shift) % self.line > self.line - tile.lanes;
            f64::from(count) * cost(starts.iter().filter(crosses).count() as f64)
        })
        .sum()
    }
}

/// The phases that some tap reads.
pub(crate) fn phases(geometry: &Geometry) -> Vec<Phase> {
    let mut phases: Vec<Phase> = Vec::new();
    let mut numbers = HashMap::new();
    for ky in 0..geometry.kernel[0] {
        for kx in 0..geometry.kernel[1] {
            let from = [ky * geometry.dilations[0], kx * geometry.dilations[1]];
            let remainder = [from[0] % geometry.strides[0], from[1] % geometry.strides[1]];
            let shift = [from[0] / geometry.strides[0], from[1] / geometry.strides[1]];
            let tap = Tap { at: [ky, kx], shift };
            let number = *numbers.entry(remainder).or_insert(phases.len());
            match phases.get_mut(number) {
                Some(phase) => phase.taps.push(tap),
                None => phases.push(Phase { remainder, taps: vec![tap] }),
            }
        }
    }
    phases
}

/// The largest displacement of a tap.
pub(crate) fn reach(phases: &[Phase]) -> [usize; 2] {
    let shifts = phases.iter().flat_map(|p| p.taps.iter().map(|t| t.shift));
    shifts.fold([0, 0], |a, b| [a[0].max(b[0]), a[1].max(b[1])])
}

/// Both ways to form groups: of channels, which share the taps; or of the taps of a row, for layers of few channels.
fn groupings(geometry: &Geometry, phases: &[Phase], size: usize) -> Vec<Vec<Group>> {
    let channels: Vec<usize> = (0..geometry.channels).collect();
    let by_channel = phases.iter().enumerate().flat_map(|(phase, p)| {
        channels.chunks(size).map(move |chunk| Group {
            phase,
            members: chunk.iter().map(|&c| (c, 0)).collect(),
            lookups: p
                .taps
                .iter()
                .map(|t| Lookup { shift: t.shift, taps: vec![t.at; chunk.len()] })
                .collect(),
        })
    });
    let mut groupings = vec![by_channel.collect()];
    if geometry.kernel[1] > 1 {
        groupings.push(phases.iter().enumerate().flat_map(|(i, p)| by_row(geometry, i, p, size)).collect());
    }
    groupings
}

fn by_row(geometry: &Geometry, phase: usize, p: &Phase, size: usize) -> Vec<Group> {
    let top = p.taps.first().map_or(0, |t| t.at[0]);
    let columns: Vec<Tap> = p.taps.iter().copied().filter(|t| t.at[0] == top).collect();
    let mut rows: Vec<Tap> = p.taps.clone();
    rows.dedup_by_key(|t| t.at[0]);
    let pairs: Vec<(usize, Tap)> =
        (0..geometry.channels).flat_map(|c| columns.iter().map(move |&t| (c, t))).collect();
    pairs
        .chunks(size)
        .map(|chunk| Group {
            phase,
            members: chunk.iter().map(|(c, t)| (*c, t.shift[1])).collect(),
            lookups: rows
                .iter()
                .map(|row| Lookup {
                    shift: [row.shift[0], 0],
                    taps: chunk.iter().map(|(_, t)| [row.at[0], t.at[1]]).collect(),
                })
                .collect(),
        })
        .collect()
}

/// The image as it is, and flat.
fn images(geometry: &Geometry, phases: &[Phase], reach: [usize; 2]) -> Vec<(Image, [usize; 2])> {
    let [height, width] = geometry.output;
    let Some(pitch) = flat_pitch(geometry, phases, reach) else { return Vec::new() };
    let flat = (Image::Flat { pitch }, [1, (height - 1) * pitch + width]);
    if height == 1 { vec![flat] } else { vec![(Image::Rows, [height, width]), flat] }
}

/// Numbers from a row of a flat image to the next: what a row and its displacements need, less the zeros that the end of
/// a row and the beginning of the next have in common, in every phase. At least the width of a row of outputs.
pub(crate) fn flat_pitch(geometry: &Geometry, phases: &[Phase], reach: [usize; 2]) -> Option<usize> {
    let row = geometry.output[1].checked_add(reach[1]).filter(|&row| row < PACKED_LIMIT)?;
    let shared = phases.iter().map(|p| {
        let [first, end] = p.columns(geometry, row);
        first.min(row - end).min(reach[1])
    });
    Some(row - shared.min().unwrap_or(0))
}

/// How far lookups reach in an image, beyond what members reach by themselves.
fn reach_of(groups: &[Group], image: Image) -> [usize; 2] {
    let shifts = groups.iter().flat_map(|g| g.lookups.iter().map(|l| l.shift));
    shifts.fold([0, 0], |far, s| match image {
        Image::Rows => [far[0].max(s[0]), far[1].max(s[1])],
        Image::Flat { pitch } => [0, far[1].max(s[0] * pitch + s[1])],
    })
}

/// Tiles and how many of them share tables, for an image of `extent` and lookups that reach `reach`.
fn tilings(extent: [usize; 2], reach: [usize; 2], element: Element, isa: Isa) -> Vec<(Tile, [usize; 2])> {
    let (lanes, registers) = (isa.lanes(element), isa.registers());
    let flat = extent[0] == 1;
    let widest = extent[1].div_ceil(lanes);
    let mut tilings = Vec::new();
    for vectors in 1..=registers.min(widest) {
        for rows in 1..=(registers / vectors).min(extent[0]) {
            for count in 1..=4 {
                let tiles = if flat { [1, count] } else { [count, 1] };
                let covered = [(count - 1) * rows, (count - 1) * vectors * lanes];
                if count > 1 && covered[usize::from(flat)] >= extent[usize::from(flat)] {
                    break;
                }
                let pitch = (tiles[1] * vectors * lanes + reach[1]).next_multiple_of(lanes);
                tilings.push((Tile { element, lanes, rows, vectors, pitch }, tiles));
                // Rows that start with a cache line: then narrow tiles cross none.
                if !pitch.is_multiple_of(element.line()) && rows > 1 {
                    tilings.push((
                        Tile { element, lanes, rows, vectors, pitch: pitch.next_multiple_of(element.line()) },
                        tiles,
                    ));
                }
            }
        }
    }
    tilings
}
