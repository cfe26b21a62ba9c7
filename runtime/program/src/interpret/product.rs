//! Sums of products: `accumulate`, `conv` and `matmul`.
//!
//! One loop serves ternary and float weights: it asks for a weight by its position. Sums are held for a block of outputs at a time, so
//! that a weight is fetched once for a whole block.

use super::walk::{broadcast_strides, places, three};
use super::{Context, RunError, View, ViewMut};
use crate::constant::{ConstantData, Trits};
use crate::program::{BufferId, ConstantId};
use crate::step::{Accumulate, Contraction, Conv, Epilogue, MatMul, Operand, Plane};
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

/// Elements of an input, f32 or i16.
#[derive(Clone, Copy)]
enum Elements<'a> {
    Float(&'a [f32]),
    Integer(&'a [i16]),
}

impl Elements<'_> {
    /// Adds `weight` times the elements from `first` on, `stride` apart, to as many sums. Sums of integers are exact.
    fn add(self, first: usize, stride: usize, weight: f64, sums: &mut [f64]) {
        match self {
            Elements::Float(x) => add(&x[first..], stride, weight, sums, |&x| f64::from(x)),
            Elements::Integer(x) => add(&x[first..], stride, weight, sums, |&x| f64::from(x)),
        }
    }

    fn get(self, i: usize) -> f64 {
        match self {
            Elements::Float(x) => f64::from(x[i]),
            Elements::Integer(x) => f64::from(x[i]),
        }
    }
}

fn add<T>(elements: &[T], stride: usize, weight: f64, sums: &mut [f64], number: impl Fn(&T) -> f64) {
    let add = |(sum, x): (&mut f64, &T)| *sum += weight * number(x);
    match stride {
        1 => sums.iter_mut().zip(elements).for_each(add),
        _ => sums.iter_mut().zip(elements.iter().step_by(stride)).for_each(add),
    }
}

/// A product of a sum: its input and its weight.
#[derive(Clone, Copy)]
struct Product<'a> {
    input: Elements<'a>,
    weights: Weights<'a>,
}

impl<'a> Product<'a> {
    fn of(cx: &Context<'a>, plane: &Plane) -> Result<Product<'a>, RunError> {
        let ConstantData::Ternary(trits) = &cx.program.constant(plane.weight).data else {
            return Err(cx.wrong_buffer("a ternary weight"));
        };
        let input = match cx.view(Operand::Buffer(plane.input))? {
            View::F32(elements) => Elements::Float(elements),
            View::I16(elements) => Elements::Integer(elements),
            _ => return Err(cx.wrong_buffer("f32 or i16")),
        };
        Ok(Product { input, weights: Weights::Ternary(trits) })
    }
}

pub(super) fn accumulate(
    cx: &Context<'_>,
    step: &Accumulate,
    output: &mut ViewMut<'_>,
) -> Result<(), RunError> {
    let out = cx.f32_output(step.output, output)?;
    let shape = cx.shapes.of(step.output);
    let matmul = matches!(step.terms[0].planes[0].contraction, Contraction::MatMul);
    let bias = step.epilogue.bias.map(|id| constant(cx, id)).transpose()?;
    let sums =
        step.terms.iter().enumerate().flat_map(|(i, term)| (0..term.parts).map(move |part| (i, term, part)));
    for (i, term, part) in sums {
        let scale = term.scale.map(|id| constant(cx, id)).transpose()?;
        let input_scale = term.input_scale.map(|id| cx.f32(Operand::Buffer(id))).transpose()?;
        // Outputs of the plane that are of parts before.
        let first = part * if matmul { shape[shape.len() - 1] } else { shape[1] };
        let factor = |sample: usize, channel: usize| {
            let scale = scale.map(|scale| scale[if scale.len() == 1 { 0 } else { first + channel }]);
            let input_scale = input_scale.map(|scales| scales[sample]);
            match (scale, input_scale) {
                (Some(a), Some(b)) => Some(a * b),
                (a, b) => a.or(b),
            }
        };
        let bias = bias.filter(|_| i == 0 && part + 1 == term.parts);
        let finish = |sum: f64, sample: usize, channel: usize, earlier: f32| {
            let value = factor(sample, channel).map_or(sum as f32, |factor| sum as f32 * factor);
            let value = if i == 0 && part == 0 { value } else { earlier + value };
            bias.map_or(value, |bias| value + bias[channel])
        };
        // Found wanting here, before a sum begins.
        term.planes.iter().try_for_each(|plane| Product::of(cx, plane).map(|_| ()))?;
        let products = term.planes.iter().filter_map(|plane| Some((plane, Product::of(cx, plane).ok()?)));
        match matmul {
            false => {
                let windows = |sample: usize, channel: usize, at: [usize; 3], sums: &mut [f64]| {
                    for (plane, product) in products.clone() {
                        if let Contraction::Window { window, groups } = &plane.contraction {
                            let (input, weight) =
                                (Operand::Buffer(plane.input), Operand::Constant(plane.weight));
                            let windowed = Windowed::new(cx, input, weight, window, *groups);
                            windowed.sum(product, sample, first + channel, at, sums);
                        }
                    }
                };
                convolve(shape, out, &windows, &finish);
            }
            true => {
                let (&columns, rows) = shape.split_last().unwrap_or((&0, &[]));
                let of_a_sample: usize = rows.get(1..).map_or(1, |rows| rows.iter().product());
                for (row, line) in out.chunks_mut(columns.max(1)).enumerate() {
                    for (block, values) in line.chunks_mut(BLOCK).enumerate() {
                        let mut sums = [0f64; BLOCK];
                        for (plane, product) in products.clone() {
                            let weight = cx.shape(Operand::Constant(plane.weight));
                            let inner = weight[weight.len() - 2];
                            let from = (row * term.parts + part) * inner;
                            let x = (0..inner).map(|k| product.input.get(from + k));
                            let column = part * inner * columns + block * BLOCK;
                            row_sums(x, product.weights, columns, column, &mut sums[..values.len()]);
                        }
                        for (j, value) in values.iter_mut().enumerate() {
                            *value = finish(sums[j], row / of_a_sample.max(1), block * BLOCK + j, *value);
                        }
                    }
                }
            }
        }
    }
    // The bias is in the first term.
    epilogue(cx, &Epilogue { bias: None, ..step.epilogue }, step.output, matmul, out)
}

pub(super) fn conv(cx: &Context<'_>, step: &Conv, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let out = cx.f32_output(step.output, output)?;
    let input = Operand::Buffer(step.input);
    let windowed = Windowed::new(cx, input, step.weight, &step.window, step.groups);
    let (input, weights) = (Elements::Float(cx.f32(input)?), Weights::Float(cx.f32(step.weight)?));
    let windows = |sample: usize, channel: usize, at: [usize; 3], sums: &mut [f64]| {
        windowed.sum(Product { input, weights }, sample, channel, at, sums);
    };
    convolve(cx.shapes.of(step.output), out, &windows, &|sum, _, _, _| sum as f32);
    epilogue(cx, &step.epilogue, step.output, false, out)
}

pub(super) fn matmul(cx: &Context<'_>, step: &MatMul, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let out = cx.f32_output(step.output, output)?;
    multiply(cx, step, out)?;
    epilogue(cx, &step.epilogue, step.output, true, out)
}

/// Bias, residual and activation, in this order, over numbers that are already scaled.
pub(super) fn epilogue(
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

/// What becomes of a sum: its sample, its channel and what the output holds from an earlier term come with it.
type Finish<'f> = &'f dyn Fn(f64, usize, usize, f32) -> f32;

/// Adds up, for a sample and a channel, the windows at a position and those to its right, one for each of the sums.
type Windows<'f> = &'f dyn Fn(usize, usize, [usize; 3], &mut [f64]);

/// The outputs of a convolution, of shape `[N, M, spatial...]`.
fn convolve(shape: &[usize], out: &mut [f32], windows: Windows<'_>, finish: Finish<'_>) {
    let (channels, [depth, height, width]) = (shape[1], three(&shape[2..], 1));
    let rows = out.chunks_mut(width.max(1)).enumerate();
    for (row, line) in rows {
        let (y, z) = (row % height, row / height % depth);
        let (channel, sample) = (row / (height * depth) % channels, row / (height * depth * channels));
        for (block, values) in line.chunks_mut(BLOCK).enumerate() {
            let mut sums = [0f64; BLOCK];
            let sums = &mut sums[..values.len()];
            windows(sample, channel, [z, y, block * BLOCK], sums);
            values
                .iter_mut()
                .zip(sums)
                .for_each(|(value, sum)| *value = finish(*sum, sample, channel, *value));
        }
    }
}

/// Adds the products of a row of an input with `sums.len()` columns of a weight, from column `first` on.
fn row_sums(
    x: impl Iterator<Item = f64>,
    weights: Weights<'_>,
    columns: usize,
    first: usize,
    sums: &mut [f64],
) {
    for (k, x) in x.enumerate() {
        for (j, sum) in sums.iter_mut().enumerate() {
            if let Some(weight) = weights.get(k * columns + first + j) {
                *sum += weight * x;
            }
        }
    }
}

/// A convolution's sizes, with spatial axes filled up to three from the front.
struct Windowed {
    groups: usize,
    /// Input and output channels of one group.
    channels: (usize, usize),
    input: [usize; 3],
    kernel: [usize; 3],
    strides: [usize; 3],
    dilations: [usize; 3],
    pads: [usize; 3],
}

impl Windowed {
    fn new(cx: &Context<'_>, input: Operand, weight: Operand, window: &Window, groups: usize) -> Windowed {
        let (input, weight) = (cx.shape(input), cx.shape(weight));
        Windowed {
            groups,
            channels: (weight[1], weight[0] / groups),
            input: three(&input[2..], 1),
            kernel: three(&window.kernel, 1),
            strides: three(&window.strides, 1),
            dilations: three(&window.dilations, 1),
            pads: three(&window.pads_begin, 0),
        }
    }

    /// Adds up the windows at `at` and the positions to its right, one for each of `sums`.
    fn sum(&self, product: Product<'_>, sample: usize, channel: usize, at: [usize; 3], sums: &mut [f64]) {
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
                let Some(weight) = product.weights.get((channel * inputs + c) * taps + tap) else { continue };
                let row = ((plane * input_depth + z) * input_height + y) * input_width;
                let (stride, pad) = (self.strides[2], self.pads[2]);
                let base = at[2] * stride + k[2] * self.dilations[2];
                let inside = places(base, stride, sums.len(), pad..pad + input_width);
                if inside.is_empty() {
                    continue;
                }
                let first = row + base + inside.start * stride - pad;
                product.input.add(first, stride, weight, &mut sums[inside]);
            }
        }
    }
}

/// A matrix product with broadcast leading axes.
fn multiply(cx: &Context<'_>, step: &MatMul, out: &mut [f32]) -> Result<(), RunError> {
    if out.is_empty() {
        return Ok(());
    }
    let (input, weights) = (cx.f32(step.left)?, cx.f32(step.right)?);
    let (left, right, shape) = (cx.shape(step.left), cx.shape(step.right), cx.shapes.of(step.output));
    let (outer, rows, columns) = (shape.len() - 2, shape[shape.len() - 2], shape[shape.len() - 1]);
    let inner = left[left.len() - 1];
    let left_strides = broadcast_strides(&left[..left.len() - 2], &shape[..outer]);
    let right_strides = broadcast_strides(&right[..right.len() - 2], &shape[..outer]);
    // Both offsets of a matrix in one walk: strides count matrices.
    let mut matrices = out.chunks_mut((rows * columns).max(1));
    walk_pair(&shape[..outer], &left_strides, &right_strides, &mut |l, r| {
        let Some(matrix) = matrices.next() else { return };
        let weights = Weights::Float(&weights[r * inner * columns..]);
        for (row, line) in matrix.chunks_mut(columns.max(1)).enumerate() {
            let x = &input[(l * rows + row) * inner..][..inner];
            for (block, values) in line.chunks_mut(BLOCK).enumerate() {
                let mut sums = [0f64; BLOCK];
                let sums = &mut sums[..values.len()];
                row_sums(x.iter().map(|&x| f64::from(x)), weights, columns, block * BLOCK, sums);
                values.iter_mut().zip(sums).for_each(|(value, sum)| *value = *sum as f32);
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
