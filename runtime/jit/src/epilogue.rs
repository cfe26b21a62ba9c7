//! What happens to a sum before it is stored, in the order and with the roundings that `twnc_program::step` defines.

use crate::error::JitError;
use crate::kernel::Io;
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

    /// Makes the outputs of one channel of a sample: `pieces` says which runs of the `sums` go where in the tensor.
    ///
    /// # Safety
    /// Nobody else accesses the output at the pieces, displaced by `origin`.
    #[allow(clippy::too_many_arguments)] // What is computed, and from where to where.
    pub(crate) unsafe fn channel(
        &self,
        channel: usize,
        sample_scale: Option<f32>,
        sums: &[f32],
        pieces: &[Piece],
        origin: usize,
        io: &Io<'_>,
    ) {
        let scale = self.factor(channel, sample_scale);
        // Adding -0 changes no number.
        let bias = self.bias.as_ref().map_or(-0.0, |b| b[channel]);
        let relu = |x: f32| if x < 0.0 { 0.0 } else { x };
        for piece in pieces {
            let range = origin + piece.to..origin + piece.to + piece.count;
            let residual = io.residual.map_or(&[][..], |r| &r[range.clone()]);
            // SAFETY: the caller's promise.
            let output = unsafe { io.output(range) };
            let sums = &sums[piece.from..piece.from + piece.count];
            match (scale, residual, self.activation) {
                _ if self.carry => self.carried(channel, scale, sums, residual, output),
                (Some(s), [], Some(Unary::Relu)) => each(sums, output, |x| relu(x * s + bias)),
                (Some(s), [], None) => each(sums, output, |x| x * s + bias),
                (None, [], Some(Unary::Relu)) => each(sums, output, |x| relu(x + bias)),
                (Some(s), r, Some(Unary::Relu)) => each_two(sums, r, output, |x, r| relu(x * s + bias + r)),
                (Some(s), r @ [_, ..], None) => each_two(sums, r, output, |x, r| x * s + bias + r),
                _ => self.carried(channel, scale, sums, residual, output),
            }
        }
    }

    /// Makes the outputs of consecutive channels, from `first`, at one position; sum `i` is `sums[i * stride]`.
    pub(crate) fn position(
        &self,
        first: usize,
        sample_scale: Option<f32>,
        sums: &[f32],
        stride: usize,
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        for (i, (output, &sum)) in output.iter_mut().zip(sums.iter().step_by(stride)).enumerate() {
            let scale = self.factor(first + i, sample_scale);
            *output = self.one(first + i, scale, sum, residual.map(|r| r[i]), *output);
        }
    }

    /// The uncommon combinations.
    fn carried(
        &self,
        channel: usize,
        scale: Option<f32>,
        sums: &[f32],
        residual: &[f32],
        output: &mut [f32],
    ) {
        for (i, (output, &sum)) in output.iter_mut().zip(sums).enumerate() {
            *output = self.one(channel, scale, sum, residual.get(i).copied(), *output);
        }
    }

    /// One output, from its sum, its residual and what an earlier plane left there.
    #[inline(always)]
    fn one(&self, channel: usize, scale: Option<f32>, sum: f32, residual: Option<f32>, before: f32) -> f32 {
        let x = scale.map_or(sum, |s| sum * s);
        let x = if self.carry { before + x } else { x };
        let x = self.bias.as_ref().map_or(x, |b| x + b[channel]);
        let x = residual.map_or(x, |r| x + r);
        self.activation.map_or(x, |a| a.apply(x))
    }
}

/// A run of sums and where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    /// First of the sums.
    pub from: usize,
    /// First of the outputs.
    pub to: usize,
    /// How many.
    pub count: usize,
}

/// Vector by vector: runs are short, so that a loop unrolled further would spend its time in the remainder.
#[inline(always)]
fn each(sums: &[f32], output: &mut [f32], f: impl Fn(f32) -> f32) {
    let (sums, sums_rest) = sums.as_chunks::<4>();
    let (output, output_rest) = output.as_chunks_mut::<4>();
    for (o, x) in output.iter_mut().zip(sums) {
        *o = x.map(&f);
    }
    for (o, &x) in output_rest.iter_mut().zip(sums_rest) {
        *o = f(x);
    }
}

#[inline(always)]
fn each_two(sums: &[f32], residual: &[f32], output: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    let (sums, sums_rest) = sums.as_chunks::<4>();
    let (residual, residual_rest) = residual.as_chunks::<4>();
    let (output, output_rest) = output.as_chunks_mut::<4>();
    for ((o, x), r) in output.iter_mut().zip(sums).zip(residual) {
        *o = std::array::from_fn(|i| f(x[i], r[i]));
    }
    for ((o, &x), &r) in output_rest.iter_mut().zip(sums_rest).zip(residual_rest) {
        *o = f(x, r);
    }
}
