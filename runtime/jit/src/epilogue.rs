//! What happens to a sum before it is stored, in the order and with the roundings that `twnc_program::step` defines.

use crate::error::JitError;
use twnc_program::scalar::Unary;

/// The epilogue of a step, or of one plane of it, with its constants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// One factor, or one per output channel.
    pub scale: Option<Vec<f32>>,
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

    /// Additions and multiplications per output element.
    pub(crate) fn operations(&self) -> (u64, u64) {
        let additions = u64::from(self.carry) + u64::from(self.bias.is_some()) + u64::from(self.residual);
        let activation = match self.activation {
            Some(Unary::LeakyRelu { .. } | Unary::HardSigmoid { .. } | Unary::Reciprocal) => 1,
            Some(Unary::HardSwish) => 2,
            _ => 0,
        };
        (additions, u64::from(self.scale.is_some()) + activation)
    }

    /// The scale of a channel, if there is one.
    fn scale_of(&self, channel: usize) -> Option<f32> {
        let scale = self.scale.as_ref()?;
        Some(if scale.len() == 1 { scale[0] } else { scale[channel] })
    }

    /// `output[i]` from `sums[i]`, all of one channel. `output` holds what earlier planes left, `residual` is as long.
    pub(crate) fn channel(&self, channel: usize, sums: &[f32], residual: Option<&[f32]>, output: &mut [f32]) {
        let sums = &sums[..output.len()];
        // Each combination is a loop without branches: the conditions do not depend on `i`.
        let scale = self.scale_of(channel);
        let bias = self.bias.as_ref().map(|b| b[channel]);
        match self.activation {
            None => lane_loop(self.carry, scale, bias, sums, residual, output, |x| x),
            Some(Unary::Relu) => {
                lane_loop(self.carry, scale, bias, sums, residual, output, |x| if x < 0.0 { 0.0 } else { x });
            }
            Some(activation) => {
                lane_loop(self.carry, scale, bias, sums, residual, output, |x| x);
                output.iter_mut().for_each(|x| *x = activation.apply(*x));
            }
        }
    }

    /// `output[i]` from `sums[i * stride]`, channel `first + i`.
    pub(crate) fn position(
        &self,
        first: usize,
        sums: &[f32],
        stride: usize,
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        for (i, (output, &sum)) in output.iter_mut().zip(sums.iter().step_by(stride)).enumerate() {
            let mut x = sum;
            if let Some(scale) = self.scale_of(first + i) {
                x *= scale;
            }
            if self.carry {
                x += *output;
            }
            if let Some(bias) = &self.bias {
                x += bias[first + i];
            }
            if let Some(residual) = residual {
                x += residual[i];
            }
            *output = self.activation.map_or(x, |a| a.apply(x));
        }
    }
}

#[inline(always)]
fn lane_loop(
    carry: bool,
    scale: Option<f32>,
    bias: Option<f32>,
    sums: &[f32],
    residual: Option<&[f32]>,
    output: &mut [f32],
    activation: impl Fn(f32) -> f32,
) {
    match (carry, scale, bias, residual) {
        (false, Some(s), Some(b), None) => each(sums, output, |x, _| activation(x * s + b)),
        (false, Some(s), Some(b), Some(r)) => {
            for ((o, &x), &r) in output.iter_mut().zip(sums).zip(r) {
                *o = activation(x * s + b + r);
            }
        }
        _ => {
            each(sums, output, |x, o| {
                let x = scale.map_or(x, |s| x * s);
                let x = if carry { o + x } else { x };
                bias.map_or(x, |b| x + b)
            });
            if let Some(residual) = residual {
                output.iter_mut().zip(residual).for_each(|(o, &r)| *o += r);
            }
            output.iter_mut().for_each(|o| *o = activation(*o));
        }
    }
}

#[inline(always)]
fn each(sums: &[f32], output: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    for (o, &x) in output.iter_mut().zip(sums) {
        *o = f(x, *o);
    }
}
