//! Convolutions and matrix products: sums of products in f64, rounded once.
//!
//! Sums of i16 are taken in f64 too, which holds them exactly: a tensor has at most 2^31 elements, so that a sum stays below 2^46.
//! Every sum starts from +0. What a ternary weight of 0 selects does not take part (a NaN or Inf there leaves no trace), and neither does
//! padding. The innermost loops run along contiguous memory; the order of a sum is that of the weight's elements.

use super::window::{self, Axis};
use super::{EvalError, f32s, moves};
use crate::op::Conv;
use crate::tensor::{Data, Tensor};
use crate::types::ElementType;

/// `result` is `[N,M,t...]`.
pub(super) fn conv(conv: &Conv, x: &Tensor, w: &Tensor, result: &[usize]) -> Result<Data, EvalError> {
    let weights = Weights::of(w)?;
    let input = in_f64(x)?;
    let axes = window::axes(&conv.geometry, w.shape().get(2..).unwrap_or_default(), x.shape(), result);
    let (x_plane, w_plane) = (extent(&axes, |a| a.size), extent(&axes, |a| a.kernel));
    let out_plane = extent(&axes, |a| a.out);
    let (channels, group_channels) = (x.shape()[1], w.shape()[1]);
    let (filters, group_filters) = (w.shape()[0], w.shape()[0] / conv.groups);
    let mut out = Vec::with_capacity(result.iter().product());
    let mut sums = vec![0.0; out_plane];
    for sample in 0..result[0] {
        for filter in 0..filters {
            sums.fill(0.0);
            for c in 0..group_channels {
                let channel = filter / group_filters * group_channels + c;
                let x_start = (sample * channels + channel) * x_plane;
                let w_start = (filter * group_channels + c) * w_plane;
                convolve(&axes, &input[x_start..x_start + x_plane], &weights, w_start, &mut sums);
            }
            out.extend_from_slice(&sums);
        }
    }
    Ok(rounded(x, &out))
}

/// `result` is `[...,R,M]`.
pub(super) fn matmul(a: &Tensor, b: &Tensor, result: &[usize]) -> Result<Data, EvalError> {
    let weights = Weights::of(b)?;
    let left = in_f64(a)?;
    let (batch, inner) = result.split_at(result.len() - 2);
    let (rows, columns, depth) = (inner[0], inner[1], b.shape()[b.shape().len() - 2]);
    let matrices = |t: &Tensor| moves::broadcast_index(&t.shape()[..t.shape().len() - 2], batch);
    let mut out = Vec::with_capacity(result.iter().product());
    let mut sums = vec![0.0; columns];
    for (a_matrix, b_matrix) in matrices(a).into_iter().zip(matrices(b)) {
        for row in 0..rows {
            sums.fill(0.0);
            for k in 0..depth {
                let x = left[(a_matrix * rows + row) * depth + k];
                let start = (b_matrix * depth + k) * columns;
                match &weights {
                    Weights::Float(w) => {
                        for (sum, &w) in sums.iter_mut().zip(&w[start..start + columns]) {
                            *sum += x * f64::from(w);
                        }
                    }
                    Weights::Ternary(w) => {
                        for (sum, &w) in sums.iter_mut().zip(&w[start..start + columns]) {
                            match w {
                                1 => *sum += x,
                                -1 => *sum -= x,
                                _ => {}
                            }
                        }
                    }
                }
            }
            out.extend_from_slice(&sums);
        }
    }
    Ok(rounded(a, &out))
}

enum Weights<'a> {
    Float(&'a [f32]),
    Ternary(&'a [i8]),
}

impl<'a> Weights<'a> {
    fn of(tensor: &'a Tensor) -> Result<Weights<'a>, EvalError> {
        match tensor.as_ternary() {
            Some(trits) => Ok(Weights::Ternary(trits)),
            None => f32s(tensor).map(Weights::Float),
        }
    }
}

/// Adds one channel's part of a convolution to the sums of one output plane.
fn convolve(axes: &[Axis; 3], x: &[f64], weights: &Weights<'_>, w_start: usize, sums: &mut [f64]) {
    let [depth, height, width] = axes;
    let mut index = w_start;
    for kz in 0..depth.kernel {
        for ky in 0..height.kernel {
            for kx in 0..width.kernel {
                let windows = width.windows_inside(kx);
                let first = width.element(windows.start, kx).unwrap_or(0);
                for z in depth.windows_inside(kz) {
                    for y in height.windows_inside(ky) {
                        let (Some(iz), Some(iy)) = (depth.element(z, kz), height.element(y, ky)) else {
                            continue;
                        };
                        let from = (iz * height.size + iy) * width.size;
                        let row = &x[from + first..from + width.size];
                        let to = (z * height.out + y) * width.out;
                        let sums = &mut sums[to + windows.start..to + windows.end];
                        match weights {
                            Weights::Float(w) => {
                                let w = f64::from(w[index]);
                                accumulate(sums, row, width.stride, |sum, x| sum + w * x);
                            }
                            Weights::Ternary(w) => match w[index] {
                                1 => accumulate(sums, row, width.stride, |sum, x| sum + x),
                                -1 => accumulate(sums, row, width.stride, |sum, x| sum - x),
                                _ => {}
                            },
                        }
                    }
                }
                index += 1;
            }
        }
    }
}

fn accumulate(sums: &mut [f64], row: &[f64], stride: usize, add: impl Fn(f64, f64) -> f64) {
    if stride == 1 {
        // The same as below; without the step the compiler makes vectors of it.
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum = add(*sum, x));
    } else {
        sums.iter_mut().zip(row.iter().step_by(stride)).for_each(|(sum, &x)| *sum = add(*sum, x));
    }
}

fn in_f64(tensor: &Tensor) -> Result<Vec<f64>, EvalError> {
    match tensor.data() {
        Data::I16(v) => Ok(v.iter().map(|&n| f64::from(n)).collect()),
        _ => Ok(f32s(tensor)?.iter().map(|&x| f64::from(x)).collect()),
    }
}

/// Sums over elements of `x`, as the elements of the result.
fn rounded(x: &Tensor, sums: &[f64]) -> Data {
    match x.element() {
        // From f64 to i64 nothing is lost, from i64 to i32 the sum wraps.
        ElementType::I16 => Data::I32(sums.iter().map(|&sum| sum as i64 as i32).collect()),
        _ => Data::F32(sums.iter().map(|&sum| sum as f32).collect()),
    }
}

fn extent(axes: &[Axis; 3], of: impl Fn(&Axis) -> usize) -> usize {
    axes.iter().map(of).product()
}
