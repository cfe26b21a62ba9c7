//! What tables are built from: planes that the kernel packs, the input as it is, or the input as it asked to have it laid out.

use super::code::{Second, Source, Tile};
use super::groups::{Group, Phase};
use super::pack::{Layout, Planes};
use super::plan::{Image, MOST_MEMBERS, Plan};
use crate::geometry::Geometry;
use crate::machine::Element;
use std::collections::BTreeSet;
use std::ops::Range;

/// What the tables of a plan are built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Planes that the kernel packs, for a row of regions at a time.
    Packed,
    /// The input's own planes, which are rows of a table without padding.
    Dense,
    /// The input's own planes, of which what a row of a table reaches beyond the image is masked; numbers of a row are `step` apart. A row
    /// may be of so many `parts`, one or two, that are rows of bands side by side.
    Masked { step: usize, parts: usize },
    /// Planes of the whole image that whoever writes the input makes.
    LaidOut,
}

impl Reads {
    /// Of the tables that a tile is of. `laid_out` says whether the input will be where it is asked for.
    pub fn of(geometry: &Geometry, image: Image, tile: Tile, laid_out: bool) -> Reads {
        let flat = matches!(image, Image::Flat { .. });
        // No padding, and a row of the image that is no shorter than one of a table.
        if flat && geometry.is_pointwise() && image.extent(geometry.output)[1] >= tile.pitch {
            return Reads::Dense;
        }
        // The rows of a matrix product follow one another where they are of one number, too, and are no image.
        let planes =
            geometry.input_strides.x == 1 && geometry.rows_of_a_sample.is_none() && geometry.input_len() > 0;
        // Vectors of 128 bits have no masks, and integers have none of their size.
        let masks = tile.element == Element::F32 && tile.lanes >= 8;
        let step = geometry.strides[1];
        match image {
            _ if !planes => Reads::Packed,
            _ if laid_out => Reads::LaidOut,
            Image::Bands { bands, width, rows } if masks && step <= 2 => {
                // Masks are kept for each region and each column of the window.
                let columns = image.extent(geometry.output)[1];
                let few = columns <= MASKED_COLUMNS && geometry.kernel[1] <= MASKED_TAPS;
                let apart = rows.saturating_mul(geometry.strides[0]).saturating_mul(geometry.input_strides.y);
                let last = |column: usize| (column / width).min(bands - 1);
                let two = |column| last(column + tile.pitch - 1) - last(column) < 2;
                let near =
                    bands == 1 || few && apart <= FAR_APART && (0..columns).step_by(tile.width()).all(two);
                if few && near { Reads::Masked { step, parts: bands.min(2) } } else { Reads::Packed }
            }
            Image::Flat { .. } | Image::Bands { .. } => Reads::Packed,
        }
    }
}

/// Of images that are masked, the most columns and the most columns of a window, and of bands the most numbers between parts of a row.
const MASKED_COLUMNS: usize = 4096;
const MASKED_TAPS: usize = 32;
const FAR_APART: usize = 1 << 28;

/// Which columns of the padded image are elements of the input: -1 where they are, else 0.
///
/// For each region across, and each choice of parts of its rows that are not padding, they are a row of a table's masks for each part and each
/// of the window's columns ([`Plan::columns`]).
pub(crate) struct Masks {
    masks: Vec<i32>,
    parts: usize,
    /// From those of a choice to those of the next.
    step: usize,
}

impl Masks {
    /// For all tables of a plan; nothing if it needs none.
    pub fn new(geometry: &Geometry, plan: &Plan) -> Masks {
        let (Reads::Masked { step, parts }, Image::Bands { bands, width, .. }) = (plan.reads, plan.image)
        else {
            return Masks { masks: vec![], parts: 0, step: 0 };
        };
        let (row, regions) = (plan.masks_of_a_row(step), plan.regions()[1]);
        let inside = geometry.pads[1]..geometry.pads[1] + geometry.input[1];
        let mut masks = Vec::with_capacity((regions << parts) * parts * plan.columns.len() * row);
        for (region, chosen) in (0..regions).flat_map(|r| (0..1 << parts).map(move |bits| (r, bits))) {
            let start = plan.start([0, region])[1];
            let places = (0..parts).flat_map(|part| plan.columns.iter().map(move |c| (part, c)));
            for ((part, column), i) in places.flat_map(|place| (0..row).map(move |i| (place, i))) {
                let (at, part_of) = (start + i / step, start / width + part);
                let column = (at % width) * step + i % step + column;
                let is_there = chosen >> part & 1 == 1 && at / width == part_of && part_of < bands;
                masks.push(if is_there && inside.contains(&column) { -1 } else { 0 });
            }
        }
        Masks { masks, parts, step: parts * plan.columns.len() * row }
    }

    /// Those of tables of a region across, for rows of which the `chosen` parts (bits) are not padding.
    pub fn row(&self, region: usize, chosen: usize) -> *const i32 {
        self.masks[((region << self.parts) + chosen) * self.step..].as_ptr()
    }
}

impl Plan {
    /// Where [`super::code::Build`] finds rows.
    pub fn source(&self, geometry: &Geometry) -> Source {
        match (self.reads, self.image) {
            (Reads::Masked { step, parts: 2 }, Image::Bands { rows, width, .. }) => {
                let down = rows * geometry.strides[0] * geometry.input_strides.y;
                let apart = down as i32 - (width * step) as i32;
                let masks = (self.columns.len() * self.masks_of_a_row(step)) as i32;
                Source::Masked { step, second: Some(Second { apart, masks }) }
            }
            (Reads::Masked { step, .. }, _) => Source::Masked { step, second: None },
            (Reads::Packed | Reads::Dense | Reads::LaidOut, _) => Source::Whole,
        }
    }

    /// Masks for a row of a table.
    fn masks_of_a_row(&self, step: usize) -> usize {
        self.shape.tile.pitch * step
    }

    /// Planes that hold what every region's tables read.
    pub fn planes(&self, geometry: &Geometry) -> Planes {
        let (tile, reach) = (self.shape.tile, self.reach());
        // What the tables of the last region read beyond the image is of no meaning, and where the image is whole there is always something.
        let whole = self.reads == Reads::LaidOut;
        let across = (self.regions()[1] - 1) * self.region()[1];
        let read = if whole { 0 } else { across + tile.pitch + reach[1] };
        let plane = |numbers: usize| numbers.next_multiple_of(tile.element.line());
        match self.image {
            Image::Flat { pitch } if self.reads == Reads::Dense => {
                let plane = geometry.input_strides.channel;
                Planes { pitch, columns: pitch, bands: 1, band: [0, 0], lead: 0, plane }
            }
            Image::Bands { .. } if matches!(self.reads, Reads::Masked { .. }) => {
                let (pitch, plane) =
                    (geometry.strides[0] * geometry.input_strides.y, geometry.input_strides.channel);
                Planes { pitch, columns: geometry.input[1], bands: 1, band: [0, 0], lead: 0, plane }
            }
            Image::Bands { bands, rows, width } => {
                let columns = (bands - 1) * width + geometry.output[1] + reach[1];
                let pitch = read.max(columns).next_multiple_of(tile.lanes);
                let count = if whole { self.rows(geometry) } else { self.table_rows_of_image() };
                let plane = plane(count * pitch);
                Planes { pitch, columns: pitch, bands, band: [rows, width], lead: 0, plane }
            }
            Image::Flat { pitch } => {
                let columns = geometry.output[1] + reach[1];
                let plane = plane(((self.rows(geometry) - 1) * pitch + columns).max(read));
                Planes { pitch, columns, bands: 1, band: [0, 0], lead: 0, plane }
            }
        }
    }

    /// What a group's table is built from, as [`super::blocks::Members`] has it.
    pub fn members(&self, geometry: &Geometry, planes: Planes, group: &Group) -> [u64; 2 * MOST_MEMBERS] {
        let bytes = self.shape.tile.element.bytes();
        let [below, right] = self.phases[group.phase].remainder;
        let channels = geometry.groups * geometry.channels;
        let place = |&(channel, dx): &(usize, usize)| match self.reads {
            Reads::Masked { step, .. } => {
                let column = right + dx * step;
                let masks =
                    self.columns.partition_point(|&before| before < column) * self.masks_of_a_row(step);
                [channel * planes.plane + below * geometry.input_strides.y + column, masks]
            }
            _ => [(group.phase * channels + channel) * planes.plane + dx, 0],
        };
        let mut offsets = [0; 2 * MOST_MEMBERS];
        for number in 0..self.size {
            // Members that the last group lacks: no pattern selects them.
            let [from, mask] = place(group.members.get(number).unwrap_or(&group.members[0]));
            offsets[number] = (from * bytes) as u64;
            offsets[self.size + number] = (mask * bytes) as u64;
        }
        offsets
    }

    /// The columns of the window, in the padded image, that members of groups have, in order.
    pub fn columns(phases: &[Phase], groups: &[Group], step: usize) -> Vec<usize> {
        let of = |group: &Group| {
            let right = phases[group.phase].remainder[1];
            group.members.iter().map(move |(_, dx)| right + dx * step).collect::<Vec<_>>()
        };
        let columns: BTreeSet<usize> = groups.iter().flat_map(of).collect();
        columns.into_iter().collect()
    }

    /// Of the rows of a table of a phase, from a row of the plan's image on, those that are in the input and not padding.
    pub fn rows_inside(&self, geometry: &Geometry, phase: usize, first: usize, rows: usize) -> Range<usize> {
        let [stride, remainder, pad] =
            [geometry.strides[0], self.phases[phase].remainder[0], geometry.pads[0]];
        let row = |padded: usize| padded.saturating_sub(remainder).div_ceil(stride).saturating_sub(first);
        let from = row(pad).min(rows);
        from..row(pad + geometry.input[0]).clamp(from, rows)
    }

    /// Of the rows of a table of a phase, of a region that starts at a place of the plan's image, those that are in the input, for the
    /// parts of a row that a table is of.
    pub fn parts_inside(
        &self,
        geometry: &Geometry,
        phase: usize,
        start: [usize; 2],
        rows: usize,
    ) -> [Range<usize>; 2] {
        let (part, rows_of_a_part) = self.first_part(start[1]);
        let first = start[0] + part * rows_of_a_part;
        let second = matches!(self.reads, Reads::Masked { parts: 2, .. });
        [
            self.rows_inside(geometry, phase, first, rows),
            if second { self.rows_inside(geometry, phase, first + rows_of_a_part, rows) } else { 0..0 },
        ]
    }

    /// The part of a row that a column of the plan's image is in, and how many rows of the input's a part is below the one before.
    pub fn first_part(&self, column: usize) -> (usize, usize) {
        match self.image {
            Image::Bands { bands, rows, width } if bands > 1 => (column / width, rows),
            Image::Bands { .. } | Image::Flat { .. } => (0, 0),
        }
    }

    /// Rows of planes that the tables of a row of regions read.
    pub fn table_rows_of_image(&self) -> usize {
        self.region()[0] + self.reach()[0]
    }

    /// Rows of planes that the tables of all regions read, as far as outputs depend on them.
    fn rows(&self, geometry: &Geometry) -> usize {
        let rows = match self.image {
            Image::Bands { rows, .. } => rows,
            Image::Flat { .. } => geometry.output[0],
        };
        rows + self.reach()[0]
    }

    /// How the input is to lie for tables that are built from it so.
    pub fn layout(&self, geometry: &Geometry) -> Option<Layout> {
        if self.reads != Reads::LaidOut {
            return None;
        }
        let (planes, rows) = (self.planes(geometry), self.rows(geometry));
        let [down, across] = self.regions().map(|count| count - 1);
        let start = self.start([down, across]);
        // Of the tables of the last region, the rows of tiles that there are.
        let shape = self.shape;
        let live = (self.extent[0] - start[0]).div_ceil(shape.tile.rows).min(shape.tiles[0]);
        let last = start[0] + shape.table_rows - (shape.tiles[0] - live) * shape.tile.rows - 1;
        let end = last * planes.pitch + start[1] + shape.tile.pitch + self.reach()[1];
        let behind = end.saturating_sub(planes.plane);
        Some(Layout { geometry: geometry.clone(), phases: self.phases.clone(), planes, rows, behind })
    }
}
