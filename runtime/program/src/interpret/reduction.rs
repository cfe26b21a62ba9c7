//! Pools, reductions and softmax.

use super::product::epilogue;
use super::walk::{PerAxis, advance, places, strides, three};
use super::{Context, RunError, ViewMut};
use crate::scalar::Binary;
use crate::step::{Operand, Pool, PoolKind, Reduce, ReduceKind, Softmax};
use std::ops::Range;

pub(super) fn pool(cx: &Context<'_>, step: &Pool, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let input = cx.f32(Operand::Buffer(step.input))?;
    let out = cx.f32_output(step.output, output)?;
    let window = &step.window;
    let (sizes, counts) =
        (three(&cx.shapes.of(step.input)[2..], 1), three(&cx.shapes.of(step.output)[2..], 1));
    let (kernel, strides, dilations) =
        (three(&window.kernel, 1), three(&window.strides, 1), three(&window.dilations, 1));
    let (begin, end) = (three(&window.pads_begin, 0), three(&window.pads_end, 0));
    let size: usize = sizes.iter().product();
    let scale = step.scale.map(|id| cx.f32(Operand::Constant(id))).transpose()?;
    let (positions, channels) = (counts.iter().product::<usize>(), cx.shapes.of(step.output)[1]);
    for (i, value) in out.iter_mut().enumerate() {
        let at = [i / (counts[2] * counts[1]) % counts[0], i / counts[2] % counts[1], i % counts[2]];
        // The taps of each axis that are on an element, and those that are on an element or on padding.
        let taps = |axis: usize, within: Range<usize>| {
            places(at[axis] * strides[axis], dilations[axis], kernel[axis], within)
        };
        let inside = |axis: usize| taps(axis, begin[axis]..begin[axis] + sizes[axis]);
        let padded = |axis: usize| taps(axis, 0..begin[axis] + sizes[axis] + end[axis]);
        let land = |axis: usize, tap: usize| at[axis] * strides[axis] + tap * dilations[axis] - begin[axis];
        let plane = &input[i / positions * size..][..size];
        let (mut largest, mut sum) = (f32::NEG_INFINITY, 0f64);
        for z in inside(0).map(|tap| land(0, tap)) {
            for y in inside(1).map(|tap| land(1, tap)) {
                for x in inside(2).map(|tap| land(2, tap)) {
                    let element = plane[(z * sizes[1] + y) * sizes[2] + x];
                    sum += f64::from(element);
                    largest = if element > largest { element } else { largest };
                }
            }
        }
        let mean = |count: usize| (sum / count as f64) as f32;
        let taken = match step.kind {
            PoolKind::Max => largest,
            PoolKind::Average { count_padding: true } => {
                mean((0..3).map(|axis| padded(axis).len()).product())
            }
            PoolKind::Average { count_padding: false } => {
                mean((0..3).map(|axis| inside(axis).len()).product())
            }
        };
        *value = match scale {
            Some(&[scale]) => taken * scale,
            Some(scales) => taken * scales[i / positions % channels],
            None => taken,
        };
    }
    epilogue(cx, &step.epilogue, step.output, false, out)
}

pub(super) fn reduce(cx: &Context<'_>, step: &Reduce, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let input = cx.f32(Operand::Buffer(step.input))?;
    let out = cx.f32_output(step.output, output)?;
    if out.is_empty() {
        return Ok(());
    }
    let split = Split::new(cx.shapes.of(step.input), &step.axes);
    let mut next = out.iter_mut();
    split.kept.each_run(0, &mut |run| {
        for base in run.places() {
            let Some(value) = next.next() else { return };
            let fold = |start: f32, f: Binary| {
                let mut value = start;
                split.reduced.each_run(base, &mut |run| {
                    value = run.places().fold(value, |value, i| f.apply(value, input[i]));
                });
                value
            };
            let sum = || {
                let mut sum = 0f64;
                split.reduced.each_run(base, &mut |run| {
                    sum += match run.stride {
                        1 => sum_of(&input[run.first..][..run.count]),
                        _ => run.places().fold(0.0, |sum, i| sum + f64::from(input[i])),
                    };
                });
                sum
            };
            *value = match step.kind {
                ReduceKind::Sum => sum() as f32,
                ReduceKind::Mean => (sum() / split.reduced.count() as f64) as f32,
                ReduceKind::Max => fold(f32::NEG_INFINITY, Binary::Max),
                ReduceKind::Min => fold(f32::INFINITY, Binary::Min),
            };
        }
    });
    Ok(())
}

/// The sum of neighbours: of every eighth, and of these, so that no addition waits for the one before.
fn sum_of(elements: &[f32]) -> f64 {
    let (chunks, rest) = elements.as_chunks::<8>();
    let mut sums = [0f64; 8];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    rest.iter().fold(sums.iter().sum(), |sum, &x| sum + f64::from(x))
}

pub(super) fn softmax(cx: &Context<'_>, step: &Softmax, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let input = cx.f32(Operand::Buffer(step.input))?;
    let out = cx.f32_output(step.output, output)?;
    // Of no elements there may be a great many rows.
    if out.is_empty() {
        return Ok(());
    }
    let Split { kept, reduced } = Split::new(cx.shapes.of(step.input), &step.axes);
    kept.each_run(0, &mut |run| {
        for base in run.places() {
            let mut largest = f32::NEG_INFINITY;
            reduced.each_run(base, &mut |run| {
                largest = run.places().fold(largest, |largest, i| Binary::Max.apply(largest, input[i]));
            });
            let mut sum = 0f64;
            reduced.each_run(base, &mut |run| {
                for i in run.places() {
                    out[i] = (input[i] - largest).exp();
                    sum += f64::from(out[i]);
                }
            });
            reduced.each_run(base, &mut |run| {
                run.places().for_each(|i| out[i] = (f64::from(out[i]) / sum) as f32);
            });
        }
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

/// Elements at equal distances.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    stride: usize,
    count: usize,
}

impl Split {
    fn new(shape: &[usize], axes: &[usize]) -> Split {
        let strides = strides(shape);
        let mut split = Split { kept: Axes::default(), reduced: Axes::default() };
        for (axis, &size) in shape.iter().enumerate() {
            let part = if axes.contains(&axis) { &mut split.reduced } else { &mut split.kept };
            // An axis right behind another of its part is one with it.
            let before = part
                .rank
                .checked_sub(1)
                .filter(|&last| size.checked_mul(strides[axis]) == Some(part.strides[last]));
            match before {
                Some(last) => part.sizes[last] *= size,
                None => {
                    part.sizes[part.rank] = size;
                    part.rank += 1;
                }
            }
            part.strides[part.rank - 1] = strides[axis];
        }
        split
    }
}

impl Axes {
    fn count(&self) -> usize {
        self.sizes[..self.rank].iter().product()
    }

    /// All elements of these axes from `base` on in row-major order, one run along the last axis after the other.
    fn each_run(&self, base: usize, visit: &mut dyn FnMut(Run)) {
        let Some(last) = self.rank.checked_sub(1) else {
            return visit(Run { first: base, stride: 1, count: 1 });
        };
        if self.sizes[last] == 0 {
            return;
        }
        let outer = &self.sizes[..last];
        let mut index: PerAxis = Default::default();
        for _ in 0..outer.iter().product() {
            let offset: usize =
                index.iter().zip(&self.strides).take(last).map(|(i, stride)| i * stride).sum();
            visit(Run { first: base + offset, stride: self.strides[last], count: self.sizes[last] });
            advance(&mut index, outer);
        }
    }
}

impl Run {
    fn places(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |i| self.first + i * self.stride)
    }
}
