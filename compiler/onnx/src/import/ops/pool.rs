//! Pools. Of 8-bit integers, a maximum is taken in f32, which holds them exactly.

use super::super::call::{Call, Reason, Translated, one, overflow};
use super::convolution::{geometry, padded};
use super::{Operator, operator};
use crate::error::Setting;
use twnc_ir::{Binary, Conv, Dim, ElementType, Geometry, Op, Pool, ReduceKind, Tensor, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("MaxPool", 1, (1, 1), "max_pool; pad, slice where a pad is open", max_pool),
    operator("AveragePool", 1, (1, 1), "average_pool", average_pool),
    operator("GlobalAveragePool", 1, (1, 1), "reduce_mean", |call| global(call, ReduceKind::Mean)),
    operator("LpPool", 6, (1, 1), "abs, mul or pow, reshape, conv, sqrt or pow", norm_pool),
    operator("GlobalLpPool", 6, (1, 1), "abs, mul or pow, reduce_sum, sqrt or pow", global_norm),
    operator("GlobalMaxPool", 1, (1, 1), "reduce_max", |call| global(call, ReduceKind::Max)),
];

fn max_pool(call: &mut Call<'_, '_>) -> Translated {
    if call.wants(1) {
        return Err(Reason::new("its second result, the indices, is not supported".into()));
    }
    // It orders the indices, which are not there.
    call.attributes.ignore(&["storage_order"]);
    let x = call.value(0)?;
    let element = call.ty(x).element;
    if matches!(element, ElementType::I64 | ElementType::I32) {
        return Err(Reason::new(format!("elements of type {element} are not supported; cast them to FLOAT")));
    }
    let x = call.cast(x, ElementType::F32)?;
    let kernel = kernel(call, x)?;
    let (x, geometry) = padded(call, x, &extents(&kernel), f32::NEG_INFINITY)?;
    let pool = Pool { kernel, geometry, ceil: call.attributes.flag("ceil_mode", false)? };
    let y = call.op(Op::MaxPool(pool), &[x])?;
    one(call.cast(y, element)?)
}

fn average_pool(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    one(averaged(call, x)?)
}

pub(super) fn averaged(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    let pool = pool(call, x)?;
    let count_padding = call.attributes.flag("count_include_pad", false)?;
    call.op(Op::AveragePool { pool, count_padding }, &[x])
}

fn global(call: &mut Call<'_, '_>, kind: ReduceKind) -> Translated {
    let x = call.value(0)?;
    let axes: Vec<usize> = (2..call.ty(x).rank()).collect();
    one(if axes.is_empty() { x } else { call.op(Op::Reduce { kind, axes, keep_dims: true }, &[x])? })
}

/// The norm of each window: the sum of powers is a convolution of each channel by ones.
fn norm_pool(call: &mut Call<'_, '_>) -> Translated {
    let p = norm(call)?;
    let x = call.value(0)?;
    let Pool { kernel, mut geometry, ceil } = pool(call, x)?;
    let shape = call.shape(x);
    let powers = power(call, x, p)?;
    let lines =
        [vec![Dim::product(&shape[..2]).ok_or_else(overflow)?, Dim::from(1)], shape[2..].to_vec()].concat();
    let powers = call.reshape(powers, lines)?;
    if ceil {
        for (axis, kernel) in kernel.iter().enumerate() {
            geometry.pads_end[axis] = padding_of_ceil(&geometry, axis, *kernel, &shape[axis + 2])?;
        }
    }
    let taps = kernel.iter().try_fold(1usize, |taps, &n| taps.checked_mul(n)).filter(|&n| n <= MAX_TAPS);
    let taps = taps.ok_or_else(|| Reason::new(format!("kernel_shape {kernel:?} has too many taps")))?;
    let ones = Tensor::from_f32([vec![1, 1], kernel].concat(), vec![1.0; taps])?;
    let ones = call.place_tensor(ones);
    let sums = call.op(Op::Conv(Conv { geometry, groups: 1 }), &[powers, ones])?;
    let mut result = call.shape(sums);
    result.splice(..2, shape[..2].iter().cloned());
    let sums = call.reshape(sums, result)?;
    one(root(call, sums, p)?)
}

/// The most elements of a window of ones.
const MAX_TAPS: usize = 1 << 20;

/// The padding at the end with which the windows that fit are those of `ceil_mode`: as far as the last one reaches.
fn padding_of_ceil(geometry: &Geometry, axis: usize, kernel: usize, size: &Dim) -> Result<usize, Reason> {
    let Some(size) = size.as_size() else {
        return Err(Reason::new("ceil_mode needs the size of every spatial axis; fix it".into())
            .with(&[Setting::InputShapes]));
    };
    let whole = || {
        let (before, stride) = (size.checked_add(geometry.pads_begin[axis])?, geometry.strides[axis]);
        let padded = before.checked_add(geometry.pads_end[axis])?;
        let reach = kernel.checked_sub(1)?.checked_mul(geometry.dilations[axis])?.checked_add(1)?;
        let last = padded.checked_sub(reach)?.div_ceil(stride).checked_mul(stride)?;
        // A window starts before the end of what is there.
        let last = last.min(before.checked_sub(1)? / stride * stride);
        Some(last.checked_add(reach)?.saturating_sub(before))
    };
    whole().ok_or_else(|| Reason::new(format!("a window of {kernel} does not fit into {size} elements")))
}

fn global_norm(call: &mut Call<'_, '_>) -> Translated {
    let p = norm(call)?;
    let x = call.value(0)?;
    let axes: Vec<usize> = (2..call.ty(x).rank()).collect();
    let powers = power(call, x, p)?;
    let sums = call.reduced(ReduceKind::Sum, &axes, powers)?;
    one(root(call, sums, p)?)
}

fn norm(call: &Call<'_, '_>) -> Result<i64, Reason> {
    let p = call.attributes.int("p")?.unwrap_or(2);
    if p < 1 { Err(Reason::new(format!("attribute `p` is {p}; it must be positive"))) } else { Ok(p) }
}

fn power(call: &mut Call<'_, '_>, x: ValueId, p: i64) -> Result<ValueId, Reason> {
    if p == 2 {
        return call.binary(Binary::Mul, x, x);
    }
    let magnitudes = call.unary(Unary::Abs, x)?;
    if p == 1 { Ok(magnitudes) } else { call.with_scalar(Binary::Pow, magnitudes, p as f32) }
}

fn root(call: &mut Call<'_, '_>, x: ValueId, p: i64) -> Result<ValueId, Reason> {
    match p {
        1 => Ok(x),
        2 => call.unary(Unary::Sqrt, x),
        _ => call.with_scalar(Binary::Pow, x, 1.0 / p as f32),
    }
}

fn pool(call: &Call<'_, '_>, x: ValueId) -> Result<Pool, Reason> {
    let kernel = kernel(call, x)?;
    let geometry = geometry(call, &extents(&kernel), &call.shape(x)[2..])?;
    Ok(Pool { kernel, geometry, ceil: call.attributes.flag("ceil_mode", false)? })
}

/// The extents of a window, one for each spatial axis of an image.
fn kernel(call: &Call<'_, '_>, x: ValueId) -> Result<Vec<usize>, Reason> {
    let Some(kernel) = call.attributes.sizes("kernel_shape")? else {
        return Err(Reason::new("attribute `kernel_shape` is missing".into()));
    };
    let rank = call.ty(x).rank();
    if rank < 2 || kernel.len() != rank - 2 || kernel.contains(&0) {
        return Err(Reason::new(format!(
            "kernel_shape {kernel:?} does not fit the spatial axes of {}",
            call.ty(x)
        )));
    }
    Ok(kernel)
}

fn extents(kernel: &[usize]) -> Vec<Dim> {
    kernel.iter().map(|&n| Dim::from(n)).collect()
}
