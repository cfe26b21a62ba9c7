//! The tables of a group over a region: what builds them of planes or of the input, and what asks for what they are built from ahead.

use super::TableKernel;
use crate::accumulate::blocks::Members;
use crate::accumulate::code::BuildFunction;
use crate::accumulate::pack::Planes;
use crate::accumulate::plan::Shape;
use crate::accumulate::reads::Reads;
use crate::kernel::{Line, fetch};
use crate::number::Number;
use std::ops::Range;

impl<T: Number> TableKernel<T> {
    /// Builds `rows` rows of a group's table of the region that starts at a place of the image, from the planes of a convolution group and what
    /// follows. For each part of a row, some of the rows are `inside` of the input.
    #[allow(clippy::too_many_arguments)] // What is built, from what.
    pub(super) fn build(
        &self,
        members: &Members,
        across: usize,
        start: [usize; 2],
        rows: usize,
        inside: &[Range<usize>; 2],
        table: &mut [T],
        planes: &[T],
    ) {
        let Planes { pitch, .. } = self.packing.planes;
        let Shape { tile, .. } = self.plan.shape;
        let mut build = |first: usize, rows: usize, source: *const T, masks: *const i32| {
            let table = &mut table[first * tile.pitch..];
            if rows == 0 {
                return;
            }
            // From there on a table has `rows` rows of `tile.pitch` numbers. Of whole rows, a member's plane starts inside `planes`, and these
            // are long enough for `rows` rows of `tile.pitch` numbers from every region's start and member's displacement:
            // `Plan::planes` and `Plan::layout` see to it, and a region of the input as it is ends with its plane. Of masked ones, what
            // masks choose is inside of a row of the input, and there are masks for as many numbers as are loaded.
            // SAFETY: the function was emitted for exactly these types; `entry()` is its start. What is written and read is there, as above.
            // `members` has as many offsets as the group's size, and as many of masks if there are any.
            unsafe {
                let build = std::mem::transmute::<*const u8, BuildFunction<T>>(self.build.entry());
                build(
                    table.as_mut_ptr(),
                    source,
                    members.offsets.as_ptr(),
                    rows,
                    pitch * size_of::<T>(),
                    masks,
                );
            }
        };
        let Reads::Masked { step, .. } = self.plan.reads else {
            let row = if self.plan.reads == Reads::LaidOut { start[0] } else { 0 };
            return build(0, rows, planes[row * pitch + start[1]..].as_ptr(), std::ptr::null());
        };
        // The padded image's first row and column are before the input's; nothing is read there.
        let pads = self.geometry.pads[0] * self.geometry.input_strides.y + self.geometry.pads[1];
        let (part, rows_of_a_part) = self.plan.first_part(start[1]);
        let column = (start[1] - part * self.plan.image.parts().0) * step;
        let source = (start[0] + part * rows_of_a_part) * pitch + column;
        let mut first = 0;
        while first < rows {
            let chosen = inside.iter().enumerate().map(|(i, rows)| usize::from(rows.contains(&first)) << i);
            let chosen = chosen.sum();
            let ends = inside.iter().flat_map(|rows| [rows.start, rows.end]).filter(|&end| end > first);
            let end = ends.min().unwrap_or(rows).min(rows);
            let source = planes.as_ptr().wrapping_add(source + first * pitch).wrapping_sub(pads);
            build(first, end - first, source, self.masks.row(across, chosen));
            first = end;
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
