//! The tables of a group over a region: what builds them of planes or of the input, and what asks for what they are built from ahead.

use super::TableKernel;
use crate::accumulate::blocks::Members;
use crate::accumulate::code::BuildFunction;
use crate::accumulate::pack::Planes;
use crate::accumulate::reads::Reads;
use crate::kernel::{Line, fetch};
use crate::number::Number;

/// Rows of a region's tables that are built alike, of all groups of a phase.
#[derive(Clone, Copy)]
struct Section {
    /// The first of them, and how many there are.
    rows: [usize; 2],
    /// How far what the first is built from is behind the beginning of a member's plane, in numbers; negative ones wrap.
    source: usize,
    masks: *const i32,
}

/// All rows of a region's tables, in sections.
pub(super) struct Sections {
    /// Rows inside of the input begin and end twice at most.
    all: [Section; 5],
    count: usize,
}

impl Sections {
    /// What is not yet known.
    pub const NONE: Sections =
        Sections { all: [Section { rows: [0, 0], source: 0, masks: std::ptr::null() }; 5], count: 0 };

    fn push(&mut self, section: Section) {
        self.all[self.count] = section;
        self.count += 1;
    }
}

impl<T: Number> TableKernel<T> {
    /// The sections of `rows` rows of tables of a phase, of the region that starts at a place of the plan's image.
    pub(super) fn sections(&self, phase: usize, across: usize, start: [usize; 2], rows: usize) -> Sections {
        let Planes { pitch, .. } = self.packing.planes;
        let mut sections = Sections::NONE;
        let Reads::Masked { step, .. } = self.plan.reads else {
            let row = if self.plan.reads == Reads::LaidOut { start[0] } else { 0 };
            let source = row * pitch + start[1];
            sections.push(Section { rows: [0, rows], source, masks: std::ptr::null() });
            return sections;
        };
        let inside = self.plan.parts_inside(&self.geometry, phase, start, rows);
        // The padded image's first row and column are before the input's; nothing is read there.
        let pads = self.geometry.pads[0] * self.geometry.input_strides.y + self.geometry.pads[1];
        let (part, rows_of_a_part) = self.plan.first_part(start[1]);
        let column = (start[1] - part * self.plan.image.parts().0) * step;
        let source = ((start[0] + part * rows_of_a_part) * pitch + column).wrapping_sub(pads);
        let mut first = 0;
        while first < rows {
            let chosen = inside.iter().enumerate().map(|(i, rows)| usize::from(rows.contains(&first)) << i);
            let masks = self.masks.row(across, chosen.sum());
            let ends = inside.iter().flat_map(|rows| [rows.start, rows.end]).filter(|&end| end > first);
            let end = ends.min().unwrap_or(rows).min(rows);
            let source = source.wrapping_add(first * pitch);
            sections.push(Section { rows: [first, end - first], source, masks });
            first = end;
        }
        sections
    }

    /// Builds the sections of a group's table of a region, from the planes of a convolution group and what follows.
    pub(super) fn build(&self, members: &Members, sections: &Sections, table: &mut [T], planes: &[T]) {
        let row_bytes = self.packing.planes.pitch * size_of::<T>();
        // SAFETY: the function was emitted for exactly these types; `entry()` is its start.
        let build = unsafe { std::mem::transmute::<*const u8, BuildFunction<T>>(self.build.entry()) };
        for &Section { rows: [first, rows], source, masks } in &sections.all[..sections.count] {
            if rows == 0 {
                continue;
            }
            let table = &mut table[first * self.plan.shape.tile.pitch..];
            let source = planes.as_ptr().wrapping_add(source);
            // From there on a table has `rows` rows of `tile.pitch` numbers. Of whole rows, a member's plane starts inside `planes`, and these
            // are long enough for `rows` rows of `tile.pitch` numbers from every region's start and member's displacement:
            // `Plan::planes` and `Plan::layout` see to it, and a region of the input as it is ends with its plane. Of masked ones, what
            // masks choose is inside of a row of the input, and there are masks for as many numbers as are loaded.
            // SAFETY: what is written and read is there, as above. `members` has as many offsets as the group's size, and as many of masks
            // if there are any.
            unsafe { build(table.as_mut_ptr(), source, members.offsets.as_ptr(), rows, row_bytes, masks) };
        }
    }

    /// Asks for what the table of a group of a region is built from, of planes that are laid out, long before it is needed: what comes from another
    /// core takes as long as hundreds of additions, and no processor fetches such rows ahead by itself.
    pub(super) fn fetch(&self, members: &Members, start: [usize; 2], rows: usize, planes: &[T]) {
        let (row, pitch) = (self.plan.shape.tile.pitch * size_of::<T>(), self.packing.planes.pitch);
        let first = planes.as_ptr().wrapping_add(start[0] * pitch + start[1]).cast::<u8>();
        for &member in &members.offsets[..self.plan.size] {
            for from in (0..rows).map(|i| first.wrapping_add(member as usize + i * pitch * size_of::<T>())) {
                (0..row).step_by(size_of::<Line>()).for_each(|at| fetch(from.wrapping_add(at)));
                fetch(from.wrapping_add(row - 1));
            }
        }
    }
}
