//! Products of quantised integers, and quantisation of data: the integers are computed with as f32.
//!
//! A sum is exact as long as it is below 2^24 in magnitude. With ternary weights (codes -1, 0 and 1 about their zero point) and 8-bit inputs it is up to 65,793
//! products, and the weight is recognised as ternary.

use super::super::call::{Call, Known, Reason, Translated, one};
use super::convolution::{geometry, positive};
use super::quantise::Along;
use super::{Operator, operator};
use crate::proto::DataType;
use crate::tensor;
use twnc_ir::{Binary, Conv, Dim, ElementType, Op, ReduceKind, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("ConvInteger", 10, (2, 4), "cast, sub, conv", conv_integer),
    operator("MatMulInteger", 10, (2, 4), "cast, sub, matmul", matmul_integer),
    operator("QLinearConv", 10, (8, 9), "cast, sub, conv, mul, div, round, add, clip", qlinear_conv),
    operator("QLinearMatMul", 10, (8, 8), "cast, sub, matmul, mul, div, round, add, clip", qlinear_matmul),
    operator(
        "DynamicQuantizeLinear",
        11,
        (1, 1),
        "reduce_min, reduce_max, sub, div, round, clip, cast",
        dynamic,
    ),
];

/// Codes minus their zero point, as f32. A vector of zero points lies along `axis`.
pub(super) fn centred(
    call: &mut Call<'_, '_>,
    codes: usize,
    zero: usize,
    axis: usize,
) -> Result<ValueId, Reason> {
    let x = call.value(codes)?;
    let rank = call.ty(x).rank();
    let x = call.cast(x, ElementType::F32)?;
    let Some(zero) = call.optional(zero)? else { return Ok(x) };
    let zero = call.cast(zero, ElementType::F32)?;
    let zero = along(call, zero, axis, rank)?;
    call.binary(Binary::Sub, x, zero)
}

/// A scalar or vector along one axis of a tensor of `rank` axes; of more axes, as it is.
fn along(call: &mut Call<'_, '_>, x: ValueId, axis: usize, rank: usize) -> Result<ValueId, Reason> {
    let shape = call.shape(x);
    match shape.as_slice() {
        [size] if *size == Dim::from(1) => call.reshape(x, vec![]),
        [_] if axis < rank => call.along(x, axis, rank),
        _ => Ok(x),
    }
}

fn convolved(call: &mut Call<'_, '_>, x: ValueId, w: ValueId) -> Result<ValueId, Reason> {
    let (input, weight) = (call.shape(x), call.shape(w));
    if input.len() != weight.len() || input.len() < 3 {
        return Err(Reason::new(format!(
            "needs an input and a weight of the same rank, 3 or more; they are {} and {}",
            call.ty(x),
            call.ty(w)
        )));
    }
    call.attributes.ignore(&["kernel_shape"]);
    let groups = positive(call.attributes.int("group")?.unwrap_or(1), "group")?;
    let geometry = geometry(call, &weight[2..], &input[2..])?;
    call.op(Op::Conv(Conv { geometry, groups }), &[x, w])
}

fn conv_integer(call: &mut Call<'_, '_>) -> Translated {
    let (x, w) = (centred(call, 0, 2, usize::MAX)?, centred(call, 1, 3, 0)?);
    let y = convolved(call, x, w)?;
    one(call.cast(y, ElementType::I32)?)
}

/// Zero points of rows on the left, of columns on the right.
fn matmul_integer(call: &mut Call<'_, '_>) -> Translated {
    let rank = |call: &mut Call<'_, '_>, i| call.operand_type(i).map(|ty| ty.rank());
    let (left, right) = (rank(call, 0)?, rank(call, 1)?);
    let a = centred(call, 0, 2, left.wrapping_sub(2))?;
    let b = centred(call, 1, 3, right.wrapping_sub(1))?;
    let y = call.op(Op::MatMul, &[a, b])?;
    one(call.cast(y, ElementType::I32)?)
}

/// Operands: x, its scale and zero point, w, its own, those of y, and a bias in units of the product of the scales.
fn qlinear_conv(call: &mut Call<'_, '_>) -> Translated {
    let (x, w) = (centred(call, 0, 2, usize::MAX)?, centred(call, 3, 5, 0)?);
    let rank = call.ty(x).rank();
    let mut y = convolved(call, x, w)?;
    if let Some(bias) = call.optional(8)? {
        let bias = call.cast(bias, ElementType::F32)?;
        let bias = along(call, bias, 1, rank)?;
        y = call.binary(Binary::Add, y, bias)?;
    }
    rescaled(call, y, (1, 4), 6, 1)
}

fn qlinear_matmul(call: &mut Call<'_, '_>) -> Translated {
    let rank = |call: &mut Call<'_, '_>, i| call.operand_type(i).map(|ty| ty.rank());
    let (left, right) = (rank(call, 0)?, rank(call, 3)?);
    let a = centred(call, 0, 2, left.wrapping_sub(2))?;
    let b = centred(call, 3, 5, right.wrapping_sub(1))?;
    let y = call.op(Op::MatMul, &[a, b])?;
    let last = call.ty(y).rank().wrapping_sub(1);
    rescaled(call, y, (1, 4), 6, last)
}

/// `y` times the scales of both operands over its own, rounded, with its zero point. A vector of scales of the second operand lies along `axis`.
fn rescaled(
    call: &mut Call<'_, '_>,
    y: ValueId,
    scales: (usize, usize),
    scale: usize,
    axis: usize,
) -> Translated {
    let rank = call.ty(y).rank();
    let (first, second, own) = (call.value(scales.0)?, call.value(scales.1)?, call.value(scale)?);
    let first = along(call, first, rank.wrapping_sub(2), rank)?;
    let (second, own) = (along(call, second, axis, rank)?, along(call, own, axis, rank)?);
    let factor = call.binary(Binary::Mul, first, second)?;
    let factor = call.binary(Binary::Div, factor, own)?;
    let y = call.binary(Binary::Mul, y, factor)?;
    let zero = call.value(scale + 1)?;
    let stored = stored(call, scale + 1)?;
    let element = call.ty(zero).element;
    let zero = call.cast(zero, ElementType::F32)?;
    let zero = along(call, zero, axis, rank)?;
    one(rounded(call, y, Some(zero), stored, element)?)
}

/// Numbers as the integers that stand for them, whose scale and zero point are the operands from `scale` on.
pub(super) fn requantised(call: &mut Call<'_, '_>, y: ValueId, scale: usize) -> Translated {
    let own = call.value(scale)?;
    let own = call.reshape(own, vec![])?;
    let y = call.binary(Binary::Div, y, own)?;
    let (stored, zero) = (stored(call, scale + 1)?, call.value(scale + 1)?);
    let element = call.ty(zero).element;
    let zero = call.cast(zero, ElementType::F32)?;
    let zero = call.reshape(zero, vec![])?;
    one(rounded(call, y, Some(zero), stored, element)?)
}

/// What the file says that the elements of an operand are.
fn stored(call: &mut Call<'_, '_>, operand: usize) -> Result<DataType, Reason> {
    Ok(match call.known(operand) {
        Some(Known::Constant { stored, .. }) => *stored,
        _ => tensor::stored_as(call.operand_type(operand)?.element),
    })
}

/// `round(x) + zero`, ties to even, saturated, as integers.
fn rounded(
    call: &mut Call<'_, '_>,
    x: ValueId,
    zero: Option<ValueId>,
    stored: DataType,
    element: ElementType,
) -> Result<ValueId, Reason> {
    let Some((low, high)) = super::quantise::range(stored) else {
        return Err(Reason::new(format!("quantises to {}, which is not supported", tensor::name(stored))));
    };
    let mut y = call.unary(Unary::Round, x)?;
    if let Some(zero) = zero {
        y = call.binary(Binary::Add, y, zero)?;
    }
    let y = call.unary(Unary::Clip { min: low as f32, max: high as f32 }, y)?;
    call.cast(y, element)
}

/// `QuantizeLinear` of data.
pub(super) fn quantise_data(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let x = call.cast(x, ElementType::F32)?;
    let (along, x) = Along::of(call, x)?;
    let Some(scale) = along.parameter(call, 1)? else {
        return Err(Reason::new("the scale (operand 1) is missing".into()));
    };
    let x = call.binary(Binary::Div, x, scale)?;
    let stored = match (call.has(2), call.attributes.int("output_dtype")?.unwrap_or(0)) {
        (true, _) => stored(call, 2)?,
        (false, 0) => DataType::Uint8,
        (false, number) => tensor::data_type(i32::try_from(number).unwrap_or(0))?,
    };
    let zero = along.parameter(call, 2)?;
    let y = rounded(call, x, zero, stored, tensor::element_type(stored as i32)?)?;
    one(along.whole(call, y)?)
}

/// UINT8 with a scale and zero point for the range of the elements and 0.
fn dynamic(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let axes: Vec<usize> = (0..call.ty(x).rank()).collect();
    let mut end = |kind: ReduceKind, f: Binary| {
        let op = Op::Reduce { kind, axes: axes.clone(), keep_dims: false };
        let end = if axes.is_empty() { x } else { call.op(op, &[x])? };
        call.with_scalar(f, end, 0.0)
    };
    let (low, high) = (end(ReduceKind::Min, Binary::Min)?, end(ReduceKind::Max, Binary::Max)?);
    let span = call.binary(Binary::Sub, high, low)?;
    let scale = call.with_scalar(Binary::Div, span, 255.0)?;
    let below = call.unary(Unary::Neg, low)?;
    let steps = call.binary(Binary::Div, below, scale)?;
    let zero = rounded(call, steps, None, DataType::Uint8, ElementType::U8)?;
    let scaled = call.binary(Binary::Div, x, scale)?;
    let shift = call.cast(zero, ElementType::F32)?;
    let y = rounded(call, scaled, Some(shift), DataType::Uint8, ElementType::U8)?;
    Ok([y, scale, zero].map(Known::Value).into())
}
