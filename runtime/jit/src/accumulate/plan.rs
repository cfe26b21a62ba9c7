//! How a table kernel goes about a layer: what a group of weights is, which positions form a tile, what shares a table.
//!
//! Everything here follows from the shapes; weights only fill the index streams afterwards. The choice is made by
//! counting what a kernel would do ([`Plan::choose`], `cost`).

use super::blocks::IntegerRange;
use super::code::{MOST_LOOKUPS, Tile};
use super::cost::{Counter, Counts, costs};
use super::groups::{Group, Phase, groupings, phases, reach};
use super::pattern::Patterns;
use super::reads::Reads;
use crate::geometry::Geometry;
use crate::machine::{Element, Isa, first_level_cache};

/// What part of the first-level cache tables leave for streams and sums, which flow through it and drive out what is used less often, so that tables
/// are built in lines that have to come back first: with tables of 36 KB in 48 at most, not 40, layers with AVX-512 are 1% to 5% faster.
const BESIDE_TABLES: usize = 4;
/// Numbers of packed input that a kernel may need; larger layers are left to the interpreter.
const PACKED_LIMIT: usize = 1 << 28;
/// Weights of an output, at most; groups of more take too much memory and time to compare.
const MOST_WEIGHTS: usize = 1 << 18;
/// Members of a group, at most.
pub(crate) const MOST_MEMBERS: usize = 5;
/// Bands that an image is cut into, at most.
const MOST_BANDS: usize = 8;

/// The image as the tiles see it: rows of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// The output is cut into `bands` bands of `rows` rows each. Row `i` of the image holds row `i` of every band, side by side
    /// and `width` columns apart, so that narrow outputs fill vectors and a step down is a whole row for all of them. One
    /// band is the output as it is.
    Bands { bands: usize, rows: usize, width: usize },
    /// All rows one after the other, `pitch` apart, so that a tile may run over the end of a row; neighbouring rows share
    /// their padding.
    Flat { pitch: usize },
}

impl Image {
    /// Rows and columns.
    pub fn extent(self, output: [usize; 2]) -> [usize; 2] {
        match self {
            Image::Bands { bands, rows, width } => [rows, (bands - 1) * width + output[1]],
            Image::Flat { pitch } => [1, (output[0] - 1) * pitch + output[1]],
        }
    }

    /// Columns from a part of a row that is a row of the output to the next part, and rows of the output between them.
    pub fn parts(self) -> (usize, usize) {
        match self {
            Image::Bands { rows, width, .. } => (width, rows),
            Image::Flat { pitch } => (pitch, 1),
        }
    }
}

/// What the range of the inputs allows, so that sums of i16 cannot overflow between two widenings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Members of a group.
    pub group: usize,
    /// Lookups of a pass.
    lookups: usize,
}

impl Limits {
    /// Those of integers in a range, so that one pass never overflows, or of f32. `None` if even the smallest could.
    pub fn of(range: Option<IntegerRange>) -> Option<Limits> {
        let weights = range.map_or(usize::MAX, IntegerRange::inputs);
        let group = weights.min(MOST_MEMBERS);
        (group >= 2).then(|| Limits { group, lookups: weights / group })
    }

    /// Lookups of a pass over a tile.
    pub fn lookups(self, tile: Tile) -> usize {
        self.lookups.min(tile.most_lookups())
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
    /// Positions of the image.
    pub extent: [usize; 2],
    pub shape: Shape,
    pub reads: Reads,
    /// The columns of the window that members of groups have.
    pub columns: Vec<usize>,
    /// What a run does.
    pub counts: Counts,
    /// What it should take, in cycles.
    pub cycles: f64,
}

impl Plan {
    /// The plan that should be fastest, or the one that is number `rank` in that order; `None` if tables do not suit the
    /// layer's size. `laid_out` says whether the input will be where a plan asks for it.
    pub fn choose(
        geometry: &Geometry,
        element: Element,
        range: Option<IntegerRange>,
        laid_out: bool,
        isa: Isa,
        rank: usize,
    ) -> Option<Plan> {
        let limits = Limits::of(range)?;
        if geometry.output_len() == 0 || geometry.depth() > MOST_WEIGHTS {
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
        let sizes = (2..=limits.group)
            .flat_map(|size| groupings(geometry, &phases, size).into_iter().map(move |g| (size, g)));
        let groupings: Vec<(usize, Vec<Group>)> = sizes.collect();
        let line = element.line();
        let cache = first_level_cache();
        let budget = (cache - cache / BESIDE_TABLES).min(u16::MAX.into());
        let mut candidates: Vec<(f64, usize, Image, Shape)> = Vec::new();
        // Narrower vectors may be filled where rows leave wide ones half empty.
        let short = geometry.output[1] <= isa.lanes(element);
        for &isa in isa.and_narrower().iter().take(if short { usize::MAX } else { 1 }) {
            let costs = costs(isa);
            let lanes = isa.lanes(element);
            let images = images(geometry, &phases, reach, lanes);
            for (grouping, (size, groups)) in groupings.iter().enumerate() {
                let entries = Patterns::new(*size).entries();
                let tight = if laid_out { vec![] } else { tight_bands(geometry, groups, element, lanes) };
                for &image in images.iter().chain(&tight) {
                    let reach = reach_of(groups, image);
                    let counter = Counter::new(geometry, groups, image, range, phases.len(), laid_out);
                    for (tile, tiles) in tilings(image.extent(geometry.output), reach, element, isa) {
                        if tight.contains(&image)
                            && !matches!(Reads::of(geometry, image, tile, false), Reads::Masked { .. })
                        {
                            continue;
                        }
                        let table_rows = tiles[0] * tile.rows + reach[0];
                        let entry = (table_rows * tile.pitch).next_multiple_of(line);
                        let most = budget / (entry * entries * element.bytes());
                        if most == 0 {
                            continue;
                        }
                        let (lookups, crossing) = (limits.lookups(tile), counter.crossing(tile));
                        for block in 1..=most.min(groups.len()).min(MOST_LOOKUPS) {
                            let shape = Shape { tile, tiles, table_rows, entry, entries, block };
                            let cycles = counter.count(&shape, lookups, crossing).cycles(&costs);
                            candidates.push((cycles, grouping, image, shape));
                        }
                    }
                }
            }
        }
        let rank = rank.min(candidates.len().checked_sub(1)?);
        let (_, &mut (cycles, grouping, image, shape), _) =
            candidates.select_nth_unstable_by(rank, |a, b| a.0.total_cmp(&b.0));
        let (size, groups): (usize, Vec<Group>) = groupings.into_iter().nth(grouping)?;
        let counter = Counter::new(geometry, &groups, image, range, phases.len(), laid_out);
        let counts = counter.count(&shape, limits.lookups(shape.tile), counter.crossing(shape.tile));
        let extent = image.extent(geometry.output);
        let reads = Reads::of(geometry, image, shape.tile, laid_out);
        let columns = Plan::columns(&phases, &groups, geometry.strides[1]);
        Some(Plan { columns, phases, groups, size, image, extent, shape, reads, counts, cycles })
    }

    /// Largest displacement of any lookup or member in the image's terms.
    pub fn reach(&self) -> [usize; 2] {
        reach(&self.phases)
    }

    /// Positions of a region: the tiles that share tables.
    pub fn region(&self) -> [usize; 2] {
        [self.shape.tiles[0] * self.shape.tile.rows, self.shape.tiles[1] * self.shape.tile.width()]
    }

    /// Where the tables of a region begin. Without padding behind the image the last region is moved back, so that it ends with it.
    pub fn start(&self, region: [usize; 2]) -> [usize; 2] {
        let size = self.region();
        let most = if self.reads == Reads::Dense { self.extent[1] - size[1] } else { usize::MAX };
        [region[0] * size[0], (region[1] * size[1]).min(most)]
    }

    /// How many regions cover the image, down and across.
    pub fn regions(&self) -> [usize; 2] {
        let region = self.region();
        [self.extent[0].div_ceil(region[0]), self.extent[1].div_ceil(region[1])]
    }

    /// A displacement as an offset in a table, in numbers.
    pub fn displacement(&self, shift: [usize; 2]) -> usize {
        match self.image {
            Image::Bands { .. } => shift[0] * self.shape.tile.pitch + shift[1],
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

/// Images that tiles may see: bands, if there is more than one row, and flat.
fn images(geometry: &Geometry, phases: &[Phase], reach: [usize; 2], lanes: usize) -> Vec<Image> {
    let [height, width] = geometry.output;
    let Some(pitch) = flat_pitch(geometry, phases, reach) else { return Vec::new() };
    let mut images = vec![Image::Flat { pitch }];
    if height > 1 {
        images.push(Image::Bands { bands: 1, rows: height, width: width + reach[1] });
        // Parts whose beginnings are neighbours of the ends of others share their zeros; the last has none to share.
        images.extend(better_bands(geometry.output, pitch, lanes).map(|(bands, rows)| {
            let width = if lanes.is_multiple_of(bands) { pitch.max(lanes / bands) } else { pitch };
            Image::Bands { bands, rows, width }
        }));
    }
    images
}

/// How many bands of parts of `pitch` columns, and of how many rows, leave fewer lanes without a position than the fewer before them.
fn better_bands(
    [height, width]: [usize; 2],
    pitch: usize,
    lanes: usize,
) -> impl Iterator<Item = (usize, usize)> {
    let vectors = move |bands: usize, row: usize| height.div_ceil(bands) * row.div_ceil(lanes);
    let mut least = vectors(1, width);
    (2..=MOST_BANDS.min(height)).filter_map(move |bands| {
        let vectors = vectors(bands, bands * pitch);
        let better = vectors < least;
        least = least.min(vectors);
        better.then_some((bands, height.div_ceil(bands)))
    })
}

/// Bands whose parts are rows of outputs without anything between: where no lookup is displaced to the right, tables need no more, if
/// they are built from rows that are masked.
fn tight_bands(geometry: &Geometry, groups: &[Group], element: Element, lanes: usize) -> Vec<Image> {
    let upright = groups.iter().all(|group| group.lookups.iter().all(|lookup| lookup.shift[1] == 0));
    let width = geometry.output[1];
    let bands =
        better_bands(geometry.output, width, lanes).map(|(bands, rows)| Image::Bands { bands, rows, width });
    let masked = |image: &Image| {
        let tile = Tile { element, lanes, rows: 1, vectors: 1, pitch: lanes };
        matches!(Reads::of(geometry, *image, tile, false), Reads::Masked { .. })
    };
    bands.filter(|image| upright && masked(image)).collect()
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
        Image::Bands { .. } => [far[0].max(s[0]), far[1].max(s[1])],
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
