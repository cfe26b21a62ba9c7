//! Sums of products: `accumulate`, `conv` and `matmul`.
//!
//! One loop serves ternary and float weights: it asks for a weight by its position. Sums are held for a block of outputs at a time, so
//! that a weight is fetched once for a whole block.

use super::walk::{broadcast_strides, places, three};
use super::{Context, RunError, ViewMut};
use crate::constant::{ConstantData, Trits};
use crate::program::{BufferId, ConstantId};
use crate::step::{Accumulate, Contraction, Conv, Epilogue, MatMul, Operand};
use crate::window::Window;

/// Outputs whose sums are held at a time.
const BLOCK: usize = 64;

/// A weight tensor, by position.
#[derive(Clone, Copy)]
enum Weights<'a> {
    Float(&'a [f32]),
    Ternary(&'a Trits),
}

impl Weights<'_> {
    /// The weight, or nothing for a ternary zero: that input takes no part, not even as a NaN.
    fn get(self, i: usize) -> Option<f64> {
        match self {
            Weights::Float(weights) => Some(f64::from(weights[i])),
            Weights::Ternary(trits) => match trits.get(i) {
                0 => None,
                trit => Some(f64::from(trit)),
            },
        }
    }
}

pub(super) fn accumulate(
    cx: &Context<'_>,
    step: &Accumulate,
    output: &mut ViewMut<'_>,
) -> Result<(), RunError> {
    let out = cx.f32_output(step.output, output)?;
    for (i, plane) in step.planes.iter().enumerate() {
        let ConstantData::Ternary(trits) = &cx.program.constant(plane.weight).data else {
            return Err(cx.wrong_buffer("a ternary weight"));
        };
        let scale = plane.scale.map(|id| constant(cx, id)).transpose()?;
        let input = Operand::Buffer(plane.input);
        let weight = Operand::Constant(plane.weight);
        let scaled = |sum: f64, channel: usize, earlier: f32| {
            let mut value = sum as f32;
            if let Some(scale) = scale {
                value *= scale[if scale.len() == 1 { 0 } else { channel }];
            }
            if i == 0 { value } else { earlier + value }
        };
        match &plane.contraction {
            Contraction::Window { window, groups } => {
                let shape = Windowed::new(cx, input, weight, step.output, window, *groups);
                shape.convolve(cx.f32(input)?, Weights::Ternary(trits), out, &scaled);
            }
            Contraction::MatMul => {
                multiply(cx, input, weight, step.output, Weights::Ternary(trits), out, &scaled)?
            }
        }
    }
    let matmul = matches!(step.planes[0].contraction, Contraction::MatMul);
    epilogue(cx, &step.epilogue, step.output, matmul, out)
}

pub(super) fn conv(cx: &Context<'_>, step: &Conv, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let out = cx.f32_output(step.output, output)?;
    let input = Operand::Buffer(step.input);
    let shape = Windowed::new(cx, input, step.weight, step.output, &step.window, step.groups);
    shape.convolve(cx.f32(input)?, Weights::Float(cx.f32(step.weight)?), out, &|sum, _, _| sum as f32);
    epilogue(cx, &step.epilogue, step.output, false, out)
}

pub(super) fn matmul(cx: &Context<'_>, step: &MatMul, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let out = cx.f32_output(step.output, output)?;
    let weights = Weights::Float(cx.f32(step.right)?);
    multiply(cx, step.left, step.right, step.output, weights, out, &|sum, _, _| sum as f32)?;
    epilogue(cx, &step.epilogue, step.output, true, out)
}

/// Bias, residual and activation, in this order, over sums that are already scaled.
fn epilogue(
    cx: &Context<'_>,
    epilogue: &Epilogue,
    id: BufferId,
    channels_last: bool,
    out: &mut [f32],
) -> Result<(), RunError> {
    let shape = cx.shapes.of(id);
    let axis = if channels_last { shape.len() - 1 } else { 1 };
    let inner: usize = shape[axis + 1..].iter().product();
    if let Some(bias) = epilogue.bias {
        let bias = constant(cx, bias)?;
        for (i, chunk) in out.chunks_mut(inner.max(1)).enumerate() {
            chunk.iter_mut().for_each(|value| *value += bias[i % shape[axis]]);
        }
    }
    if let Some(residual) = epilogue.residual {
        let residual = cx.f32(Operand::Buffer(residual))?;
        out.iter_mut().zip(residual).for_each(|(value, more)| *value += more);
    }
    if let Some(f) = epilogue.activation {
        out.iter_mut().for_each(|value| *value = f.apply(*value));
    }
    Ok(())
}

/// What becomes of a sum: its channel and what the output holds from an earlier plane come with it.
type Finish<'f> = &'f dyn Fn(f64, usize, f32) -> f32;

/// A convolution's sizes, with spatial axes filled up to three from the front.
struct Windowed {
    groups: usize,
    /// Input and output channels of one group.
    channels: (usize, usize),
    input: [usize; 3],
    output: [usize; 3],
    kernel: [usize; 3],
    strides: [usize; 3],
    dilations: [usize; 3],
    pads: [usize; 3],
}

impl Windowed {
    fn new(
        cx: &Context<'_>,
        input: Operand,
        weight: Operand,
        output: BufferId,
        window: &Window,
        groups: usize,
    ) -> Windowed {
        let (input, weight, output) = (cx.shape(input), cx.shape(weight), cx.shapes.of(output));
        Windowed {
            groups,
            channels: (weight[1], weight[0] / groups),
            input: three(&input[2..], 1),
            output: three(&output[2..], 1),
            kernel: three(&window.kernel, 1),
            strides: three(&window.strides, 1),
            dilations: three(&window.dilations, 1),
            pads: three(&window.pads_begin, 0),
        }
    }

    fn convolve(&self, input: &[f32], weights: Weights<'_>, out: &mut [f32], finish: Finish<'_>) {
        let [depth, height, width] = self.output;
        let outputs = self.groups * self.channels.1;
        let rows = out.chunks_mut(width.max(1)).enumerate();
        for (row, line) in rows {
            let (y, z) = (row % height, row / height % depth);
            let (channel, sample) = (row / (height * depth) % outputs, row / (height * depth * outputs));
            for (block, values) in line.chunks_mut(BLOCK).enumerate() {
                let mut sums = [0f64; BLOCK];
                let sums = &mut sums[..values.len()];
                self.sum(input, weights, sample, channel, [z, y, block * BLOCK], sums);
                values.iter_mut().zip(sums).for_each(|(value, sum)| *value = finish(*sum, channel, *value));
            }
        }
    }

    /// Adds up the windows at `at` and the positions to its right, one for each of `sums`.
    fn sum(
        &self,
        input: &[f32],
        weights: Weights<'_>,
        sample: usize,
        channel: usize,
        at: [usize; 3],
        sums: &mut [f64],
    ) {
        let [input_depth, input_height, input_width] = self.input;
        let (inputs, group) = (self.channels.0, channel / self.channels.1);
        let taps: usize = self.kernel.iter().product();
        for c in 0..inputs {
            let plane = (sample * self.groups + group) * inputs + c;
            for tap in 0..taps {
                let [_, kh, kw] = self.kernel;
                let k = [tap / (kh * kw), tap / kw % kh, tap % kw];
                // Where the tap lands, if it is not on padding.
                let land = |axis: usize, position: usize, size: usize| {
                    let i = position * self.strides[axis] + k[axis] * self.dilations[axis];
                    i.checked_sub(self.pads[axis]).filter(|&i| i < size)
                };
                let (Some(z), Some(y)) = (land(0, at[0], input_depth), land(1, at[1], input_height)) else {
                    continue;
                };
                let Some(weight) = weights.get((channel * inputs + c) * taps + tap) else { continue };
                let row = ((plane * input_depth + z) * input_height + y) * input_width;
                let (stride, pad) = (self.strides[2], self.pads[2]);
                let base = at[2] * stride + k[2] * self.dilations[2];
                let inside = places(base, stride, sums.len(), pad..pad + input_width);
                if inside.is_empty() {
                    continue;
                }
                let elements = &input[row + base + inside.start * stride - pad..];
                let add = |(sum, &x): (&mut f64, &f32)| *sum += weight * f64::from(x);
                match stride {
                    1 => sums[inside].iter_mut().zip(elements).for_each(add),
                    _ => sums[inside].iter_mut().zip(elements.iter().step_by(stride)).for_each(add),
                }
            }
        }
    }
}

/// A matrix product with broadcast leading axes.
fn multiply(
    cx: &Context<'_>,
    left: Operand,
    right: Operand,
    output: BufferId,
    weights: Weights<'_>,
    out: &mut [f32],
    finish: Finish<'_>,
) -> Result<(), RunError> {
    if out.is_empty() {
        return Ok(());
    }
    let input = cx.f32(left)?;
    let (left, right, shape) = (cx.shape(left), cx.shape(right), cx.shapes.of(output));
    let (outer, rows, columns) = (shape.len() - 2, shape[shape.len() - 2], shape[shape.len() - 1]);
    let inner = left[left.len() - 1];
    let left_strides = broadcast_strides(&left[..left.len() - 2], &shape[..outer]);
    let right_strides = broadcast_strides(&right[..right.len() - 2], &shape[..outer]);
    // Both offsets of a matrix in one walk: strides count matrices.
    let mut matrices = out.chunks_mut((rows * columns).max(1));
    walk_pair(&shape[..outer], &left_strides, &right_strides, &mut |l, r| {
        let Some(matrix) = matrices.next() else { return };
        for (row, line) in matrix.chunks_mut(columns.max(1)).enumerate() {
            let x = &input[(l * rows + row) * inner..][..inner];
            for (block, values) in line.chunks_mut(BLOCK).enumerate() {
                let mut sums = [0f64; BLOCK];
                for (k, &x) in x.iter().enumerate() {
                    let first = (r * inner + k) * columns + block * BLOCK;
                    for (j, sum) in sums[..values.len()].iter_mut().enumerate() {
                        if let Some(weight) = weights.get(first + j) {
                            *sum += weight * f64::from(x);
                        }
                    }
                }
                for (j, value) in values.iter_mut().enumerate() {
                    *value = finish(sums[j], block * BLOCK + j, *value);
                }
            }
        }
    });
    Ok(())
}

/// Walks over two tensors that broadcast to one shape.
fn walk_pair(shape: &[usize], a: &[usize], b: &[usize], visit: &mut dyn FnMut(usize, usize)) {
    match shape.split_first() {
        None => visit(0, 0),
        Some((&size, inner)) => {
            for i in 0..size {
                walk_pair(inner, &a[1..], &b[1..], &mut |x, y| visit(x + i * a[0], y + i * b[0]));
            }
        }
    }
}

fn constant<'a>(cx: &Context<'a>, id: ConstantId) -> Result<&'a [f32], RunError> {
    cx.f32(Operand::Constant(id))
}
