//! Numbers rounded to integers, sample by sample.

use super::{Context, RunError, ViewMut};
use crate::step::{Operand, Quantize};

pub(super) fn quantize(
    cx: &Context<'_>,
    step: &Quantize,
    outputs: &mut [ViewMut<'_>],
) -> Result<(), RunError> {
    let input = cx.f32(Operand::Buffer(step.input))?;
    let [ViewMut::I16(integers), ViewMut::F32(scales)] = outputs else {
        return Err(cx.wrong_buffer("i16 and f32"));
    };
    let samples = cx.shapes.of(step.input)[0];
    if integers.len() != input.len() || scales.len() != samples {
        return Err(cx.wrong_buffer("of its shape's size"));
    }
    let size = (input.len() / samples.max(1)).max(1);
    for (i, scale) in scales.iter_mut().enumerate() {
        let sample = input.get(i * size..(i + 1) * size).unwrap_or(&[]);
        let largest = sample.iter().map(|&x| step.magnitude(x)).fold(0.0, f32::max);
        *scale = step.scale_of(largest);
        let inverse = Quantize::inverse(*scale);
        let integers = integers.iter_mut().skip(i * size);
        integers.zip(sample).for_each(|(integer, &x)| *integer = step.round(x, inverse));
    }
    Ok(())
}
