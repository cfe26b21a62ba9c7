//! What tables are built from: planes that the kernel packs, the input as it is, or the input as it asked to have it laid out.

use super::pack::{Layout, Planes};
use super::plan::{Image, Plan};
use crate::geometry::Geometry;

/// What the tables of a plan are built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Planes that the kernel packs, for a row of regions at a time.
    Packed,
    /// The input's own planes, which are rows of a table without padding.
    Dense,
    /// Planes of the whole image that whoever writes the input makes.
    LaidOut,
}

impl Reads {
    /// Of tables with so many numbers in a row. `laid_out` says whether the input will be where it is asked for.
    pub fn of(geometry: &Geometry, image: Image, pitch: usize, laid_out: bool) -> Reads {
        let flat = matches!(image, Image::Flat { .. });
        // No padding, and a row of the image that is no shorter than one of a table.
        if flat && geometry.is_pointwise() && image.extent(geometry.output)[1] >= pitch {
            return Reads::Dense;
        }
        // The rows of a matrix product follow one another where they are of one number, too, and are no image.
        let image =
            geometry.input_strides.x == 1 && geometry.rows_of_a_sample.is_none() && geometry.input_len() > 0;
        if laid_out && image { Reads::LaidOut } else { Reads::Packed }
    }
}

impl Plan {
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
