//! Pools, reductions and softmax.

use super::walk::{PerAxis, strides, walk};
use super::{Context, RunError, ViewMut};
use crate::MAX_RANK;
use crate::scalar::Binary;
use crate::step::{Operand, Pool, PoolKind, Reduce, ReduceKind, Softmax};

pub(super) fn pool(cx: &Context<'_>, step: &Pool, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let input = cx.f32(Operand::Buffer(step.input))?;
    let out = cx.f32_output(step.output, output)?;
    let (input_shape, output_shape) = (&cx.shapes.of(step.input)[2..], &cx.shapes.of(step.output)[2..]);
    let (rank, window) = (step.window.rank(), &step.window);
    let (input_size, output_size): (usize, usize) =
        (input_shape.iter().product(), output_shape.iter().product());
    let input_strides = strides(input_shape);
    for (i, value) in out.iter_mut().enumerate() {
        let plane = &input[i / output_size * input_size..][..input_size];
        let at = unravel(i % output_size, output_shape);
        let (mut largest, mut sum, mut inside, mut counted) = (f32::NEG_INFINITY, 0f64, 0usize, 0usize);
        for tap in 0..window.kernel.iter().product() {
            let tap = unravel(tap, &window.kernel);
            // The tap's place in the padded input, and whether that is an element or padding.
            let (mut offset, mut on_element, mut on_padding) = (0, true, true);
            for axis in 0..rank {
                let place = at[axis] * window.strides[axis] + tap[axis] * window.dilations[axis];
                let (begin, size) = (window.pads_begin[axis], input_shape[axis]);
                on_padding &= place < begin + size + window.pads_end[axis];
                match place.checked_sub(begin).filter(|&i| i < size) {
                    Some(i) => offset += i * input_strides[axis],
                    None => on_element = false,
                }
            }
            counted += usize::from(on_padding);
            if on_element {
                inside += 1;
                let element = plane[offset];
                sum += f64::from(element);
                largest = if element > largest { element } else { largest };
            }
        }
        *value = match step.kind {
            PoolKind::Max => largest,
            PoolKind::Average { count_padding: true } => (sum / counted as f64) as f32,
            PoolKind::Average { count_padding: false } => (sum / inside as f64) as f32,
        };
    }
    Ok(())
}

pub(super) fn reduce(cx: &Context<'_>, step: &Reduce, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let input = cx.f32(Operand::Buffer(step.input))?;
    let out = cx.f32_output(step.output, output)?;
    let split = Split::new(cx.shapes.of(step.input), &step.axes);
    let mut next = out.iter_mut();
    split.each_kept(&mut |base| {
        let Some(value) = next.next() else { return };
        let (mut sum, mut count) = (0f64, 0usize);
        let (mut least, mut largest) = (f32::INFINITY, f32::NEG_INFINITY);
        split.each_reduced(base, &mut |i| {
            sum += f64::from(input[i]);
            count += 1;
            least = Binary::Min.apply(least, input[i]);
            largest = Binary::Max.apply(largest, input[i]);
        });
        *value = match step.kind {
            ReduceKind::Sum => sum as f32,
            ReduceKind::Mean => (sum / count as f64) as f32,
            ReduceKind::Max => largest,
            ReduceKind::Min => least,
        };
    });
    Ok(())
}

pub(super) fn softmax(cx: &Context<'_>, step: &Softmax, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let input = cx.f32(Operand::Buffer(step.input))?;
    let out = cx.f32_output(step.output, output)?;
    let split = Split::new(cx.shapes.of(step.input), &step.axes);
    split.each_kept(&mut |base| {
        let mut largest = f32::NEG_INFINITY;
        split.each_reduced(base, &mut |i| largest = Binary::Max.apply(largest, input[i]));
        let mut sum = 0f64;
        split.each_reduced(base, &mut |i| {
            out[i] = (input[i] - largest).exp();
            sum += f64::from(out[i]);
        });
        split.each_reduced(base, &mut |i| out[i] = (f64::from(out[i]) / sum) as f32);
    });
    Ok(())
}

/// A shape with its axes split into those that are reduced and those that are kept.
struct Split {
    kept: Axes,
    reduced: Axes,
}

#[derive(Default)]
struct Axes {
    rank: usize,
    sizes: PerAxis,
    strides: PerAxis,
}

impl Split {
    fn new(shape: &[usize], axes: &[usize]) -> Split {
        let strides = strides(shape);
        let mut split = Split { kept: Axes::default(), reduced: Axes::default() };
        for (axis, &size) in shape.iter().enumerate() {
            let part = if axes.contains(&axis) { &mut split.reduced } else { &mut split.kept };
            part.sizes[part.rank] = size;
            part.strides[part.rank] = strides[axis];
            part.rank += 1;
        }
        split
    }

    fn each_kept(&self, visit: &mut dyn FnMut(usize)) {
        walk(&self.kept.sizes[..self.kept.rank], &self.kept.strides, 0, visit);
    }

    fn each_reduced(&self, base: usize, visit: &mut dyn FnMut(usize)) {
        walk(&self.reduced.sizes[..self.reduced.rank], &self.reduced.strides, base, visit);
    }
}

/// The index along each axis of the element at a row-major position.
fn unravel(mut position: usize, shape: &[usize]) -> PerAxis {
    let mut index = [0; MAX_RANK];
    for (axis, &size) in shape.iter().enumerate().rev() {
        index[axis] = position % size;
        position /= size;
    }
    index
}
