//! Images unfolded to the columns of a matrix (im2col): a row for each input channel and tap, a column for each position.

use crate::accumulate::pack::Rows;
use crate::accumulate::shifted::Spread;
use crate::compile::{Compiler, Function};
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::machine::{Element, Isa};
use std::ops::Range;
use std::sync::Arc;

/// How the images of a convolution are unfolded.
pub(super) struct Unfold {
    /// By the column of the window.
    taps: Vec<Tap>,
}

/// A column of the window.
struct Tap {
    /// The positions of a row at which it falls on an element and not on padding.
    positions: Range<usize>,
    /// What copies rows of these elements, if there are any.
    rows: Option<Arc<Function>>,
}

impl Unfold {
    pub fn new(compiler: &Compiler, isa: Isa, g: &Geometry) -> Result<Unfold, JitError> {
        let tap = |column: usize| {
            let shift = column * g.dilations[1];
            let position = |element: usize| element.saturating_sub(shift).div_ceil(g.strides[1]);
            let first = position(g.pads[1]).min(g.output[1]);
            let positions = first..position(g.input[1] + g.pads[1]).clamp(first, g.output[1]);
            let (vector, count, stride) = (isa.bytes(), positions.len(), g.strides[1]);
            let code = Spread { element: Element::F32, vector, count, stride };
            let rows = if count == 0 { None } else { Some(compiler.function(&code)?) };
            Ok(Tap { positions, rows })
        };
        Ok(Unfold { taps: (0..g.kernel[1]).map(tap).collect::<Result<_, JitError>>()? })
    }

    pub fn functions(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.taps.iter().flat_map(|tap| &tap.rows)
    }

    /// Unfolds the output rows `rows` of a group of channels, the first of which `input` begins with.
    pub fn unfold(&self, g: &Geometry, input: &[f32], rows: Range<usize>, columns: &mut [f32]) {
        let ([height, width], out_width) = (g.input, g.output[1]);
        let (line, plane) = (rows.len() * out_width, height * width);
        for (tap, (y, x)) in (0..g.kernel[0]).flat_map(|y| (0..g.kernel[1]).map(move |x| (y, x))).enumerate()
        {
            let Tap { positions, rows: function } = &self.taps[x];
            // The rows whose tap falls on an element.
            let row = |element: usize| element.saturating_sub(y * g.dilations[0]).div_ceil(g.strides[0]);
            let from = row(g.pads[0]).clamp(rows.start, rows.end);
            let end = row(height + g.pads[0]).clamp(from, rows.end);
            let inside = (from - rows.start) * out_width..(end - rows.start) * out_width;
            for line in columns.chunks_exact_mut(line).skip(tap).step_by(g.taps()) {
                line[..inside.start].fill(0.0);
                line[inside.end..].fill(0.0);
                if positions.len() < out_width {
                    for row in line[inside.clone()].chunks_exact_mut(out_width) {
                        row[..positions.start].fill(0.0);
                        row[positions.end..].fill(0.0);
                    }
                }
            }
            let Some(function) = function.as_ref().filter(|_| from < end && g.channels > 0) else { continue };
            let row = from * g.strides[0] + y * g.dilations[0] - g.pads[0];
            let column = positions.start * g.strides[1] + x * g.dilations[1] - g.pads[1];
            let copied = end - from;
            let last = (copied - 1) * g.strides[0] * width + (positions.len() - 1) * g.strides[1];
            let source = &input[row * width + column..][..(g.channels - 1) * plane + last + 1];
            let to = tap * line + inside.start + positions.start;
            let length = (g.channels - 1) * g.taps() * line + (copied - 1) * out_width + positions.len();
            let target = &mut columns[to..][..length];
            let rows = Rows {
                source: source.as_ptr(),
                target: target.as_mut_ptr(),
                planes: g.channels,
                source_plane: plane * size_of::<f32>(),
                target_plane: g.taps() * line * size_of::<f32>(),
                rows: copied,
                source_row: g.strides[0] * width * size_of::<f32>(),
                target_row: out_width * size_of::<f32>(),
                factor: &1.0,
            };
            // SAFETY: the function is of these numbers and this stride; the rows that it reads end with `source`, those that it
            // writes with `target`.
            unsafe { rows.make(function) };
        }
    }
}
