//! Quantisation to fixed point: whole numbers and a scale for each sample.
//!
//! In f32, where every operation is rounded to nearest: the same bits as any other implementation in f32 that does not contract.

use super::{EvalError, f32s};
use crate::op::Quantize;
use crate::tensor::{Data, Tensor};

/// `x` has rank 1 or more. The results are the whole numbers and the scales.
pub(super) fn quantize(attributes: &Quantize, x: &Tensor) -> Result<Vec<Tensor>, EvalError> {
    let (samples, elements) = (x.shape()[0], f32s(x)?);
    let size: usize = x.shape()[1..].iter().product();
    let (mut numbers, mut scales) = (Vec::with_capacity(elements.len()), Vec::with_capacity(samples));
    for sample in 0..samples {
        let elements = &elements[sample * size..(sample + 1) * size];
        let scale = attributes.scale.unwrap_or_else(|| largest(attributes, elements) / top(attributes));
        let reciprocal = Quantize::reciprocal(scale);
        numbers.extend(elements.iter().map(|&x| number(attributes, x, reciprocal)));
        scales.push(scale);
    }
    let mut shape = vec![1; x.shape().len()];
    shape[0] = samples;
    let numbers = Tensor::new(x.shape().to_vec(), Data::I16(numbers.into()))?;
    Ok(vec![numbers, Tensor::from_f32(shape, scales)?])
}

/// The largest finite magnitude, for unsigned numbers the largest finite number; 0, and never -0, if there is none above.
fn largest(attributes: &Quantize, elements: &[f32]) -> f32 {
    let magnitude = |x: &f32| if attributes.signed { x.abs() } else { *x };
    let finite = elements.iter().filter(|x| x.is_finite()).map(magnitude);
    finite.fold(0.0, |largest, x| if x > largest { x } else { largest })
}

/// The whole number in the range that is nearest to `x·reciprocal`.
fn number(attributes: &Quantize, x: f32, reciprocal: f32) -> i16 {
    let (least, most) = attributes.range();
    // Where the reciprocal is 0, the product would be NaN.
    let scaled = if x.is_infinite() { x } else { x * reciprocal };
    // The cast takes NaN, which `clamp` leaves, to 0.
    scaled.round_ties_even().clamp(f32::from(least), f32::from(most)) as i16
}

fn top(attributes: &Quantize) -> f32 {
    f32::from(attributes.range().1)
}
