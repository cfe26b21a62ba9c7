//! What happens to a sum before it is stored, in the order and with the roundings that `twnc_program::step` defines.
//!
//! Where neighbouring sums are neighbouring outputs of one channel, which is the rule, it is generated code (`finish`); outputs
//! of neighbouring channels, as matrix products have them, are computed here.

use crate::error::JitError;
use crate::geometry::Geometry;
use crate::kernel::Io;
use crate::measure::Measured;
use crate::number::Total;
use std::ops::Range;
use twnc_program::scalar::Unary;

/// The epilogue of a step, or of one plane of it, with its constants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// One factor, or one per output channel.
    pub scale: Option<Vec<f32>>,
    /// The number of the kernel's input that holds a factor per sample.
    pub input_scale: Option<usize>,
    /// What earlier planes left in the output.
    pub before: Before,
    /// Whether the sum is left in the output as it is, for the next plane; of integers, the bits of an i32. There is nothing else then.
    pub partial: bool,
    /// One number per output channel.
    pub bias: Option<Vec<f32>>,
    /// Whether a residual is added.
    pub residual: bool,
    /// Applied last.
    pub activation: Option<Unary>,
    /// What the kernel's second output gets of each sample's outputs, if anything.
    pub measured: Option<Measured>,
}

/// What is in the output before an epilogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    #[default]
    Nothing,
    /// A sum, to which the sum is added before it is multiplied.
    Sum,
    /// A value, to which the sum is added behind its factor.
    Value,
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
        sums: impl Iterator<Item = impl Total>,
        io: &Io<'_>,
    ) {
        let at = row * geometry.output_strides.x;
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
        sums: impl Iterator<Item = impl Total>,
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        if self.partial {
            let places = output.iter_mut().zip(sums);
            return places.for_each(|(output, sum)| {
                let sum = if self.before == Before::Sum { sum.plus(output) } else { sum };
                sum.wait(output);
            });
        }
        let places = output.iter_mut().zip(sums).map(|(output, sum)| {
            let sum = if self.before == Before::Sum { sum.plus(output) } else { sum };
            (output, sum.to_f32())
        });
        self.scaled(first, sample_scale, places);
        self.behind_factors(first, residual, output);
    }

    /// As [`Self::position`] with f32 sums that are in the outputs' places, before which there was nothing.
    pub(crate) fn in_place(
        &self,
        first: usize,
        sample_scale: Option<f32>,
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        let places = output.iter_mut().map(|place| {
            let sum = *place;
            (place, sum)
        });
        self.scaled(first, sample_scale, places);
        self.behind_factors(first, residual, output);
    }

    /// Puts sums, by their factors, into their places. One loop for each operation: what is constant is decided outside, and each becomes one of
    /// vectors.
    fn scaled<'a>(
        &self,
        first: usize,
        sample_scale: Option<f32>,
        places: impl Iterator<Item = (&'a mut f32, f32)>,
    ) {
        let carry = |output: &mut f32, x: f32| {
            *output = if self.before == Before::Value { *output + x } else { x };
        };
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
    }

    /// Bias, residual and activation.
    fn behind_factors(&self, first: usize, residual: Option<&[f32]>, output: &mut [f32]) {
        // Only the last of several planes adds the step's residual.
        let residual = residual.filter(|_| self.residual);
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
