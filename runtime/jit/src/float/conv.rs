//! Float convolutions: im2col for a band of output rows, which of pointwise ones are columns already, then one product of matrices; or, where a group has few outputs, as in depthwise
//! layers, weighted sums of shifted rows, by the kernel of ternary layers that are alike (`accumulate::direct`).

use super::Source;
use super::product::{Matrix, Product};
use super::unfold::Unfold;
use crate::Jit;
use crate::accumulate::Family;
use crate::accumulate::channels::ChannelsKernel;
use crate::accumulate::direct::{DirectKernel, Factors};
use crate::compile::Function;
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::finish::{Finish, Piece, Sums};
use crate::geometry::Geometry;
use crate::kernel::{Interface, Io, Kernel, Line, Slot, lines, sealed};
use crate::machine::Element;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::interpret::View;
use twnc_program::window::Window;

/// The elements of the matrix that a band unfolds to: 512 KB, which fits a second-level cache.
const BAND_ELEMENTS: usize = 128 << 10;
/// Below this many output channels in a group sums of rows are faster than a product of matrices; and up to so many where there are several
/// groups, each of which is a product of its own.
const FEW_OUTPUTS: usize = 4;
const FEW_OUTPUTS_OF_SEVERAL: usize = 16;

/// A float convolution with concrete shapes.
#[derive(Clone, Debug)]
pub struct ConvSpec<'a> {
    /// Shape of the input, which is the kernel's input 0.
    pub input: &'a [usize],
    /// Shape of the weight.
    pub weight_shape: &'a [usize],
    /// The weight; as an input it is number 1.
    pub weight: Source,
    /// Its geometry.
    pub window: &'a Window,
    /// Divides input and output channels.
    pub groups: usize,
    /// What happens to the sum.
    pub epilogue: Epilogue,
}

/// A float convolution of one or two spatial axes.
pub struct ConvKernel {
    kind: Kind,
    interface: Interface,
}

enum Kind {
    Columns(Box<Columns>),
    Rows(Box<dyn Family>),
}

/// Products of matrices.
struct Columns {
    geometry: Geometry,
    weight: Source,
    finish: Finish,
    product: Product,
    /// Of an image that is not columns already.
    unfold: Option<Unfold>,
    /// Output rows of a band.
    band: usize,
}

impl Jit {
    /// The kernel of a float convolution.
    ///
    /// # Errors
    /// [`JitError::Shape`] if shapes and constants do not fit together, [`JitError::Unsupported`] for windows of three axes, and for
    /// a constant weight with an infinity or NaN where there is padding.
    pub fn conv(&self, spec: &ConvSpec<'_>) -> Result<ConvKernel, JitError> {
        let geometry = Geometry::convolution(spec.input, spec.weight_shape, spec.window, spec.groups)?;
        spec.epilogue.check(geometry.groups * geometry.outputs)?;
        let weights: usize = spec.weight_shape.iter().product();
        if let Source::Constant(elements) = &spec.weight {
            if elements.len() != weights {
                let (count, shape) = (elements.len(), spec.weight_shape);
                return Err(JitError::Shape(format!("{count} weights of shape {shape:?}")));
            }
            // Padding is multiplied too, and adds 0 only then.
            let padded = geometry.pads != [0, 0] || spec.window.pads_end.iter().any(|&pad| pad > 0);
            if padded && !elements.iter().all(|weight| weight.is_finite()) {
                return Err(JitError::Unsupported("padding beside a weight that is not finite"));
            }
        }
        let mut inputs = vec![Slot::f32(geometry.input_len())];
        if let Source::Input(_) = spec.weight {
            inputs.push(Slot::f32(weights));
        }
        let (residual, outputs) = (spec.epilogue.residual, vec![Slot::f32(geometry.output_len())]);
        let (kind, scratch) = self.conv_kind(spec, geometry)?;
        Ok(ConvKernel {
            kind,
            interface: Interface { inputs, residual, outputs, scratch, ..Interface::default() },
        })
    }

    /// How it is done, and the lines of scratch memory for that.
    fn conv_kind(&self, spec: &ConvSpec<'_>, geometry: Geometry) -> Result<(Kind, usize), JitError> {
        let epilogue = spec.epilogue.clone();
        if let Source::Constant(weights) = &spec.weight
            && (geometry.outputs < FEW_OUTPUTS
                || geometry.groups > 1 && geometry.outputs <= FEW_OUTPUTS_OF_SEVERAL)
        {
            match self.of_rows(&geometry, Factors::Floats(weights), epilogue.clone()) {
                Ok(family) => {
                    let scratch = family.scratch();
                    return Ok((Kind::Rows(family), scratch));
                }
                Err(JitError::Unsupported(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let row = (geometry.depth() * geometry.output[1]).max(1);
        let band = (BAND_ELEMENTS / row).clamp(1, geometry.output[0].max(1));
        let positions = band * geometry.output[1];
        let widths = [positions, geometry.output[0] % band * geometry.output[1]];
        let product = Product::new(&self.compiler, self.isa, &[geometry.outputs], &widths)?;
        // A pointwise layer's input is unfolded as it is.
        let (unfold, unfolded) = match geometry.is_pointwise() {
            true => (None, 0),
            false => (Some(Unfold::new(&self.compiler, self.isa, &geometry)?), geometry.depth()),
        };
        let scratch = lines::<f32>((unfolded + geometry.outputs) * positions);
        let scratch = scratch + product.scratch(geometry.depth());
        let finish = Finish::new(&self.compiler, self.isa, Element::F32, false, epilogue)?;
        let columns = Columns { weight: spec.weight.clone(), product, unfold, finish, geometry, band };
        Ok((Kind::Columns(Box::new(columns)), scratch))
    }
}

impl Jit {
    /// Sums of rows: those of the two kernels that should take less time.
    fn of_rows(
        &self,
        geometry: &Geometry,
        weights: Factors<'_>,
        epilogue: Epilogue,
    ) -> Result<Box<dyn Family>, JitError> {
        let (compiler, isa, geometry) = (&self.compiler, self.isa, geometry.clone());
        let all = geometry.groups * geometry.outputs * geometry.depth();
        let direct = DirectKernel::<f32>::cycles(&geometry, all, isa);
        Ok(match ChannelsKernel::cycles(&geometry, isa) {
            Some(cycles) if cycles < direct => {
                Box::new(ChannelsKernel::new(compiler, isa, geometry, cycles, weights, epilogue)?)
            }
            _ => Box::new(DirectKernel::<f32>::new(compiler, isa, geometry, direct, weights, epilogue)?),
        })
    }
}

impl Columns {
    fn bands(&self) -> usize {
        self.geometry.output[0].div_ceil(self.band)
    }
}

impl sealed::Execute for ConvKernel {
    unsafe fn execute(&self, _: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]) {
        match &self.kind {
            // SAFETY: the caller's promise, passed on.
            Kind::Columns(columns) => unsafe { columns.execute(units, io, scratch) },
            // SAFETY: as above.
            Kind::Rows(rows) => unsafe { rows.execute(units, View::F32(io.f32(0)), io, scratch) },
        }
    }
}

impl Columns {
    /// # Safety
    /// As for every kernel.
    unsafe fn execute(&self, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]) {
        let g = &self.geometry;
        let (products, scratch) = scratch.split_at_mut(self.product.scratch(g.depth()));
        let scratch: &mut [f32] = bytemuck::cast_slice_mut(scratch);
        let weights = self.weight.elements(io);
        let (depth, plane) = (g.depth(), g.positions());
        for unit in units {
            let (part, band) = (unit / self.bands(), unit % self.bands());
            let (sample, group) = (part / g.groups, part % g.groups);
            let rows = band * self.band..((band + 1) * self.band).min(g.output[0]);
            let positions = rows.len() * g.output[1];
            let input = &io.f32(0)[part * g.channels * g.input[0] * g.input[1]..];
            let unfolded = if self.unfold.is_some() { depth * positions } else { 0 };
            let (columns, sums) = scratch.split_at_mut(unfolded);
            let right = match &self.unfold {
                None => Matrix::new(&input[rows.start * g.output[1]..], depth, positions, plane),
                Some(unfold) => {
                    unfold.unfold(g, input, rows.clone(), columns);
                    Matrix::new(columns, depth, positions, positions)
                }
            };
            let weights = &weights[group * g.outputs * depth..][..g.outputs * depth];
            let sums = &mut sums[..g.outputs * positions];
            let left = Matrix::new(weights, g.outputs, depth, depth);
            self.product.multiply(left, right, None, sums, products);
            let piece = Piece { from: 0, to: 0, count: positions as u32 };
            for (output, sums) in sums.chunks(positions.max(1)).enumerate() {
                let channel = group * g.outputs + output;
                let origin = (sample * g.groups * g.outputs + channel) * plane + rows.start * g.output[1];
                let sums = Sums {
                    sample,
                    sums,
                    totals: &[],
                    step: positions,
                    pieces: &[piece],
                    numbers: &[self.finish.epilogue.numbers(channel, None)],
                    origin,
                    stride: plane,
                };
                // SAFETY: the caller's promise: the rows of this band, in these channels, are this unit's.
                unsafe { self.finish.channels(&sums, io) };
            }
        }
    }
}

impl Kernel for ConvKernel {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn units(&self, _: usize) -> usize {
        match &self.kind {
            Kind::Columns(columns) if columns.geometry.output_len() == 0 => 0,
            Kind::Columns(columns) => columns.geometry.samples * columns.geometry.groups * columns.bands(),
            Kind::Rows(rows) => rows.units(),
        }
    }

    fn functions(&self) -> Vec<Arc<Function>> {
        match &self.kind {
            Kind::Columns(columns) => {
                let unfold = columns.unfold.iter().flat_map(Unfold::functions).cloned();
                let finish = columns.finish.function().clone();
                columns.product.functions().into_iter().chain(unfold).chain([finish]).collect()
            }
            Kind::Rows(rows) => rows.functions(),
        }
    }

    fn describe(&self) -> String {
        match &self.kind {
            Kind::Columns(columns) if columns.geometry.is_pointwise() => {
                format!("float: pointwise, {} rows a band", columns.band)
            }
            Kind::Columns(columns) => format!("float: im2col, {} rows a band", columns.band),
            Kind::Rows(rows) => format!("float: {}", rows.describe()),
        }
    }
}
