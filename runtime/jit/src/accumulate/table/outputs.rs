//! What becomes of the sums of a table kernel: epilogues of a region's tiles, and where their outputs go.

use super::TableKernel;
use crate::accumulate::plan::{Plan, Shape};
use crate::epilogue::Before;
use crate::finish::{Finish, Piece, Sums};
use crate::geometry::Strides;
use crate::kernel::Io;
use crate::machine::Element;
use crate::number::{Number, Total};
use std::ops::Range;

/// Where outputs go.
pub(super) struct To {
    pub strides: Strides,
    /// The row of the image that is the first one there, and where that is.
    pub row: usize,
    pub lead: usize,
}

impl<T: Number> TableKernel<T> {
    /// Epilogues of a region's sums, one plane after the other.
    ///
    /// # Safety
    /// Nobody else accesses the output's elements of this region and these outputs, which are whole ones of all planes.
    #[allow(clippy::too_many_arguments)] // What is finished, and from where.
    pub(super) unsafe fn finish_region(
        &self,
        sample: usize,
        region: [usize; 2],
        outputs: Range<usize>,
        sums: &[T],
        totals: &[i32],
        numbers: &[[f32; 2]],
        pieces: &mut [Piece],
        to: &To,
        io: &Io<'_>,
    ) {
        let Plan { extent, shape: Shape { tile, tiles, .. }, .. } = &self.plan;
        let (start, width, step) = (self.plan.start(region), tile.width(), tile.positions());
        // Columns before are those of the region before.
        let own = region[1] * self.plan.region()[1];
        let strides = to.strides;
        for (ty, tx) in (0..tiles[0]).flat_map(|ty| (0..tiles[1]).map(move |tx| (ty, tx))) {
            let from = (ty * tiles[1] + tx) * outputs.len() * step;
            let (sums, totals) = (&sums[from..], totals.get(from..).unwrap_or(&[]));
            let x = start[1] + tx * width;
            let skipped = own.saturating_sub(x).min(width);
            let mut count = 0;
            for row in 0..tile.rows {
                let y = start[0] + ty * tile.rows + row;
                let covered = if y < extent[0] { width.min(extent[1].saturating_sub(x)) } else { 0 };
                for (y, x, from, run) in self.pieces(y, x + skipped, covered.saturating_sub(skipped)) {
                    let (from, at) = (row * width + skipped + from, (y - to.row) * strides.y + x * strides.x);
                    pieces[count] = Piece { from: from as u32, to: at as u32, count: run as u32 };
                    count += 1;
                }
            }
            let (pieces, stacked) = (&pieces[..count], self.finishes.len());
            let channels = outputs.start / stacked..outputs.end / stacked;
            for (i, finish) in self.finishes.iter().enumerate() {
                let (sums, totals) =
                    (sums.get(i * step..).unwrap_or(&[]), totals.get(i * step..).unwrap_or(&[]));
                match self.geometry.rows_of_a_sample {
                    Some(rows) => {
                        let channels = channels.clone();
                        // SAFETY: the caller's promise, passed on.
                        unsafe { self.finish_rows(finish, rows, channels, sums, totals, pieces, io) };
                    }
                    None => {
                        let numbers = &numbers[i * self.channels()..][channels.clone()];
                        let origin = to.lead + sample * strides.sample + channels.start * strides.channel;
                        let (step, stride) = (step * stacked, strides.channel);
                        let sums = Sums { sums, totals, step, pieces, numbers, origin, stride, sample };
                        // SAFETY: as above.
                        unsafe { finish.channels(&sums, io) };
                    }
                }
            }
        }
    }

    /// Epilogue of a plane's sums of a tile of a matrix product, whose outputs are neighbours.
    ///
    /// # Safety
    /// As [`Self::finish_region`].
    #[allow(clippy::too_many_arguments)] // What is finished, and from where.
    unsafe fn finish_rows(
        &self,
        finish: &Finish,
        rows_of_a_sample: usize,
        outputs: Range<usize>,
        sums: &[T],
        totals: &[i32],
        pieces: &[Piece],
        io: &Io<'_>,
    ) {
        let step = self.plan.shape.tile.positions() * self.finishes.len();
        let stride = self.geometry.output_strides.x;
        if finish.epilogue.before == Before::Nothing && !finish.epilogue.partial && !outputs.is_empty() {
            let row = |piece: &Piece, i: usize| {
                let row = piece.to as usize + i * stride;
                row + outputs.start..row + outputs.end
            };
            for piece in pieces.iter().filter(|piece| piece.count > 0) {
                let (from, count) = (piece.from as usize, piece.count as usize);
                let target = io.output_start(row(piece, 0).start..row(piece, count - 1).end);
                // SAFETY: the outputs are those of the region and outputs that the caller gave over.
                unsafe {
                    let totals = totals.get(from..).unwrap_or(&[]);
                    self.place([outputs.len(), count], &sums[from..], totals, step, target, stride);
                }
                for at in (0..count).map(|i| row(piece, i)) {
                    let scale = finish.epilogue.sample_scale(at.start / stride / rows_of_a_sample, io);
                    let residual = io.residual.map(|residual| &residual[at.clone()]);
                    // SAFETY: as above.
                    let output = unsafe { io.output(at) };
                    finish.epilogue.in_place(outputs.start, scale, residual, output);
                }
            }
            return;
        }
        for (piece, i) in pieces.iter().flat_map(|p| (0..p.count as usize).map(move |i| (p, i))) {
            let row = piece.to as usize + i * stride;
            let scale = finish.epilogue.sample_scale(row / stride / rows_of_a_sample, io);
            let range = row + outputs.start..row + outputs.end;
            let residual = io.residual.map(|r| &r[range.clone()]);
            // SAFETY: elements of the region and outputs that the caller gave over.
            let output = unsafe { io.output(range) };
            let at = |output: usize| output * step + piece.from as usize + i;
            let widened = |output: usize| totals.get(at(output)).copied().unwrap_or(0);
            let sums = (0..outputs.len()).map(|o| sums[at(o)].total(widened(o)));
            finish.epilogue.position(outputs.start, scale, sums, residual, output);
        }
    }

    /// Puts sums, as f32, into their outputs' places: `count` positions of each of some outputs, whose sums are `step` numbers apart; a position's outputs are
    /// neighbours, `stride` numbers behind those of the position before.
    ///
    /// # Safety
    /// All these places can be written, and nobody else accesses them.
    unsafe fn place(
        &self,
        [outputs, count]: [usize; 2],
        sums: &[T],
        totals: &[i32],
        step: usize,
        target: *mut f32,
        stride: usize,
    ) {
        if T::ELEMENT == Element::F32 {
            let sums = bytemuck::cast_slice(&sums[..(outputs - 1) * step + count]);
            // SAFETY: the sums end with `sums`; the caller answers for the target.
            return unsafe {
                self.transposer.transpose([outputs, count], sums.as_ptr(), step, target, stride);
            };
        }
        /// Outputs and positions at a time.
        const BLOCK: [usize; 2] = [8, 64];
        let mut block = [[0f32; BLOCK[1]]; BLOCK[0]];
        for (output, position) in
            (0..outputs).step_by(BLOCK[0]).flat_map(|o| (0..count).step_by(BLOCK[1]).map(move |p| (o, p)))
        {
            let [rows, columns] = [(outputs - output).min(BLOCK[0]), (count - position).min(BLOCK[1])];
            for (i, row) in block[..rows].iter_mut().enumerate() {
                let at = (output + i) * step + position;
                let sums = row.iter_mut().zip(&sums[at..at + columns]);
                match totals.get(at..at + columns) {
                    Some(totals) => {
                        sums.zip(totals).for_each(|((x, sum), &widened)| *x = sum.total(widened).to_f32());
                    }
                    None => sums.for_each(|(x, sum)| *x = sum.total(0).to_f32()),
                }
            }
            let target = target.wrapping_add(position * stride + output);
            // SAFETY: `block` has these rows and columns; the caller answers for the target.
            unsafe {
                let rows = [rows, columns];
                self.transposer.transpose(rows, block.as_ptr().cast(), BLOCK[1], target, stride);
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
    ) -> impl Iterator<Item = (usize, usize, usize, usize)> + use<T> {
        let [height, width] = self.geometry.output;
        let (pitch, rows) = self.plan.image.parts();
        let mut at = x;
        std::iter::from_fn(move || {
            while at < x + count {
                let (part, column) = (at / pitch, at % pitch);
                let here = at;
                at = (here - column + pitch).min(x + count);
                if column < width && y + part * rows < height {
                    return Some((y + part * rows, column, here - x, (at - here).min(width - column)));
                }
            }
            None
        })
    }
}
