//! What happens to a sum before it is stored, in the order and with the roundings that `twnc_program::step` defines.
//!
//! Where neighbouring sums are neighbouring outputs of one channel, which is the rule, it is generated code; outputs of
//! neighbouring channels, as matrix products have them, are computed one by one.

use crate::compile::{Code, Compiler, Function};
use crate::elementwise::Elementwise;
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::kernel::Io;
use crate::loops::{count, load, run, splat_from};
use crate::machine::Element;
use crate::number::Number;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use std::ops::Range;
use std::sync::Arc;
use twnc_program::scalar::Unary;

/// The epilogue of a step, or of one plane of it, with its constants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// One factor, or one per output channel.
    pub scale: Option<Vec<f32>>,
    /// The number of the kernel's input that holds a factor per sample.
    pub input_scale: Option<usize>,
    /// Whether the result is added to what an earlier plane left in the output.
    pub carry: bool,
    /// One number per output channel.
    pub bias: Option<Vec<f32>>,
    /// Whether a residual is added.
    pub residual: bool,
    /// Applied last.
    pub activation: Option<Unary>,
}

impl Epilogue {
    /// Checks the constants' lengths against the number of output channels.
    pub(crate) fn check(&self, channels: usize) -> Result<(), JitError> {
        if let Some(scale) = &self.scale
            && scale.len() != 1
            && scale.len() != channels
        {
            return Err(JitError::Shape(format!("{} scales for {channels} channels", scale.len())));
        }
        match &self.bias {
            Some(bias) if bias.len() != channels => {
                Err(JitError::Shape(format!("{} biases for {channels} channels", bias.len())))
            }
            _ => Ok(()),
        }
    }

    /// The factor of a sample, if there is one.
    pub(crate) fn sample_scale(&self, sample: usize, io: &Io<'_>) -> Option<f32> {
        self.input_scale.map(|input| io.f32(input)[sample])
    }

    /// The factor of a channel in a sample with this factor, if there is one; rounded once.
    fn factor(&self, channel: usize, sample_scale: Option<f32>) -> Option<f32> {
        let scale = self.scale.as_ref().map(|scale| if scale.len() == 1 { scale[0] } else { scale[channel] });
        match (scale, sample_scale) {
            (Some(a), Some(b)) => Some(a * b),
            (a, b) => a.or(b),
        }
    }

    /// The factor and the bias of a channel in a sample with this factor; 1 and 0 where there are none.
    pub(crate) fn numbers(&self, channel: usize, sample_scale: Option<f32>) -> [f32; 2] {
        let factor = self.factor(channel, sample_scale).unwrap_or(1.0);
        [factor, self.bias.as_ref().map_or(0.0, |bias| bias[channel])]
    }

    /// Makes some outputs of a row of a matrix product, of their sums.
    ///
    /// # Safety
    /// Nobody else accesses these outputs.
    pub(crate) unsafe fn row(
        &self,
        geometry: &Geometry,
        row: usize,
        outputs: Range<usize>,
        sums: impl Iterator<Item = f32>,
        io: &Io<'_>,
    ) {
        let at = row * geometry.outputs;
        let range = at + outputs.start..at + outputs.end;
        let residual = io.residual.map(|r| &r[range.clone()]);
        // SAFETY: the caller's promise.
        let output = unsafe { io.output(range) };
        let scale = self.sample_scale(row / geometry.rows_of_a_sample.unwrap_or(1), io);
        self.position(outputs.start, scale, sums, residual, output);
    }

    /// Makes the outputs of consecutive channels, from `first`, at one position.
    pub(crate) fn position(
        &self,
        first: usize,
        sample_scale: Option<f32>,
        sums: impl Iterator<Item = f32>,
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        // Only the last of several planes adds the step's residual.
        let residual = residual.filter(|_| self.residual);
        // One loop for each operation: what is constant is decided outside, and each becomes one of vectors.
        let carry = |output: &mut f32, x: f32| *output = if self.carry { *output + x } else { x };
        let places = output.iter_mut().zip(sums);
        match (self.scale.as_deref(), sample_scale) {
            (Some(scale), sample_scale) if scale.len() > 1 => {
                let factors = scale[first..].iter().map(|&s| sample_scale.map_or(s, |factor| s * factor));
                places.zip(factors).for_each(|((output, sum), factor)| carry(output, sum * factor));
            }
            (None, None) => places.for_each(|(output, sum)| carry(output, sum)),
            _ => {
                let factor = self.factor(first, sample_scale).unwrap_or(1.0);
                places.for_each(|(output, sum)| carry(output, sum * factor));
            }
        }
        if let Some(bias) = &self.bias {
            output.iter_mut().zip(&bias[first..]).for_each(|(x, bias)| *x += bias);
        }
        if let Some(residual) = residual {
            output.iter_mut().zip(residual).for_each(|(x, residual)| *x += residual);
        }
        match self.activation {
            // The most frequent one, apart from the others so that it is a loop of vectors too; of NaN it is NaN.
            Some(Unary::Relu) => output.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
            Some(activation) => output.iter_mut().for_each(|x| *x = activation.apply(*x)),
            None => {}
        }
    }
}

/// An epilogue with the code for outputs of one channel.
pub(crate) struct Finish {
    pub epilogue: Epilogue,
    element: Element,
    widened: bool,
    function: Arc<Function>,
}

/// A run of sums and where it goes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    /// First of the sums.
    pub from: usize,
    /// First of the outputs.
    pub to: usize,
    /// How many.
    pub count: usize,
}

/// `finish(sums, output, residual, numbers, pieces, count, totals)`
///
/// For each of `count` pieces: the epilogue of its sums, to its outputs. `numbers` are the channel's factor and bias. Sums are of
/// type `element`; what was `widened` off them is in the totals.
#[derive(Debug)]
struct Channel {
    element: Element,
    widened: bool,
    factor: bool,
    carry: bool,
    bias: bool,
    residual: bool,
    activation: Option<Unary>,
}

/// The type of [`Channel`]'s function.
type ChannelFunction<T> =
    unsafe extern "C" fn(*const T, *mut f32, *const f32, *const [f32; 2], *const Piece, usize, *const i32);

impl Finish {
    /// For sums of `element`; `widened` says whether parts of sums of i16 are in totals.
    pub fn new(
        compiler: &Compiler,
        element: Element,
        widened: bool,
        epilogue: Epilogue,
    ) -> Result<Finish, JitError> {
        let function = compiler.function(&Channel {
            element,
            widened,
            factor: epilogue.scale.is_some() || epilogue.input_scale.is_some(),
            carry: epilogue.carry,
            bias: epilogue.bias.is_some(),
            residual: epilogue.residual,
            activation: epilogue.activation,
        })?;
        Ok(Finish { epilogue, element, widened, function })
    }

    /// Its function, which multiplies where the epilogue does.
    pub fn function(&self) -> &Arc<Function> {
        &self.function
    }

    /// Makes the outputs of one channel of a sample: `pieces` says which runs of the `sums`, and of the totals if there are
    /// any, go where in the tensor.
    ///
    /// # Safety
    /// Nobody else accesses the output at the pieces, displaced by `origin`.
    #[allow(clippy::too_many_arguments)] // What is computed, and from where to where.
    pub unsafe fn channel<T: Number>(
        &self,
        channel: usize,
        sample_scale: Option<f32>,
        sums: &[T],
        totals: &[i32],
        pieces: &[Piece],
        origin: usize,
        io: &Io<'_>,
    ) {
        let end = |f: fn(&Piece) -> usize| pieces.iter().map(|p| f(p) + p.count).max().unwrap_or(0);
        let enough = |len: usize| end(|p| p.from) <= len;
        assert!(T::ELEMENT == self.element && enough(sums.len()), "sums of every piece");
        assert!(!self.widened || enough(totals.len()), "totals of every piece");
        let outputs = origin..origin + end(|p| p.to);
        let residual = io.residual.map_or(&[][..], |residual| &residual[outputs.clone()]);
        let numbers = self.epilogue.numbers(channel, sample_scale);
        // SAFETY: the function was emitted for exactly these types; `entry()` is its start. Every piece lies within the
        // sums, the outputs and, if there is one, the residual (checked above); only the pieces are accessed, which are
        // the caller's.
        unsafe {
            let finish = std::mem::transmute::<*const u8, ChannelFunction<T>>(self.function.entry());
            let output = io.output_start(outputs);
            let (sums, residual, totals) = (sums.as_ptr(), residual.as_ptr(), totals.as_ptr());
            finish(sums, output, residual, &numbers, pieces.as_ptr(), pieces.len(), totals);
        }
    }
}

impl Code for Channel {
    fn parameters(&self) -> usize {
        7
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[sums, output, residual, numbers, pieces, length, totals] = arguments else { return };
        let factor = splat_from(b, numbers);
        let bias = b.ins().iadd_imm_s(numbers, 4);
        let bias = splat_from(b, bias);
        count(b, length, &[pieces], |b, state| {
            let piece = state[0];
            let [from, to, numbers] = [0, 8, 16].map(|offset| load(b, types::I64, piece, offset));
            let bytes = self.element.bytes();
            let places = [(sums, from, bytes), (output, to, 4), (residual, to, 4), (totals, from, 4)];
            let streams = places.map(|(start, first, bytes)| {
                let offset = b.ins().ishl_imm_u(first, bytes.ilog2() as i64);
                (b.ins().iadd(start, offset), bytes)
            });
            run(b, numbers, &streams, |b, part, addresses| {
                let &[sums, output, residual, totals] = addresses else { return };
                let mut x = match self.element {
                    Element::F32 => part.load(b, sums),
                    Element::I16 => {
                        let mut sum = part.load_i16(b, sums);
                        if self.widened {
                            let total = part.load_i32(b, totals);
                            sum = b.ins().iadd(sum, total);
                        }
                        b.ins().fcvt_from_sint(types::F32X4, sum)
                    }
                };
                if self.factor {
                    x = b.ins().fmul(x, factor);
                }
                if self.carry {
                    let before = part.load(b, output);
                    x = b.ins().fadd(before, x);
                }
                if self.bias {
                    x = b.ins().fadd(x, bias);
                }
                if self.residual {
                    let residual = part.load(b, residual);
                    x = b.ins().fadd(x, residual);
                }
                if let Some(activation) = self.activation {
                    x = Elementwise(b).unary(activation, x);
                }
                part.store(b, x, output);
            });
            vec![b.ins().iadd_imm_s(piece, size_of::<Piece>() as i64)]
        });
    }
}
