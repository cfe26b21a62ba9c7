//! Arithmetic on elements, with broadcasting. Narrow integers are computed as i32 and cast back, which wraps.

use super::super::call::{Call, Known, Reason, Translated, axis, one};
use super::activation::unary;
use super::{MANY, Operator, operator};
use crate::proto::DataType;
use crate::tensor;
use twnc_ir::{Binary, Dim, ElementType, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Add", 6, (2, 2), "add", |call| binary(call, Binary::Add)),
    operator("Sub", 6, (2, 2), "sub", |call| binary(call, Binary::Sub)),
    operator("Mul", 6, (2, 2), "mul", |call| binary(call, Binary::Mul)),
    operator("Div", 6, (2, 2), "div", |call| binary(call, Binary::Div)),
    operator("Mod", 10, (2, 2), "div, floor, mul, sub; less, equal where the sign is the divisor's", modulo),
    operator("Pow", 6, (2, 2), "pow", pow),
    operator("Sum", 6, (1, MANY), "add", |call| fold(call, Binary::Add).and_then(one)),
    operator("Min", 6, (1, MANY), "min", |call| fold(call, Binary::Min).and_then(one)),
    operator("Max", 6, (1, MANY), "max", |call| fold(call, Binary::Max).and_then(one)),
    operator("Mean", 6, (1, MANY), "add, div", mean),
    operator("Neg", 6, (1, 1), "neg", |call| unary(call, Unary::Neg)),
    operator("Abs", 6, (1, 1), "abs", |call| unary(call, Unary::Abs)),
    operator("Sign", 9, (1, 1), "less, sub", sign),
    operator("Floor", 6, (1, 1), "floor", |call| unary(call, Unary::Floor)),
    operator("Ceil", 6, (1, 1), "neg, floor", ceil),
    operator("Round", 11, (1, 1), "round", |call| unary(call, Unary::Round)),
    operator("Sqrt", 6, (1, 1), "sqrt", |call| unary(call, Unary::Sqrt)),
    operator("Reciprocal", 6, (1, 1), "reciprocal", |call| unary(call, Unary::Reciprocal)),
    operator("Exp", 6, (1, 1), "exp", |call| unary(call, Unary::Exp)),
    operator("Log", 6, (1, 1), "log", |call| unary(call, Unary::Log)),
    operator("Erf", 9, (1, 1), "erf", |call| unary(call, Unary::Erf)),
    operator("Cast", 6, (1, 1), "cast", cast),
    operator("CastLike", 15, (2, 2), "cast", cast_like),
];

/// Two operands. Before operator set 7 the second broadcasts only where `broadcast` is 1, and then from `axis` on, if that is given.
pub(super) fn aligned(call: &mut Call<'_, '_>) -> Result<(ValueId, ValueId), Reason> {
    let (a, b) = (call.value(0)?, call.value(1)?);
    if call.opset >= 7 {
        return Ok((a, b));
    }
    let broadcast = call.attributes.flag("broadcast", false)?;
    let first = call.attributes.int("axis")?;
    let (shape, rank) = (call.shape(b), call.ty(a).rank());
    if !broadcast {
        if rank != shape.len() || !call.shape(a).iter().zip(&shape).all(|(a, b)| a.may_equal(b)) {
            return Err(Reason::new(format!(
                "broadcast is 0, and the operands are {} and {}; convert the model to operator set 7",
                call.ty(a),
                call.ty(b)
            )));
        }
        return Ok((a, b));
    }
    let Some(first) = first.filter(|_| !shape.is_empty()) else { return Ok((a, b)) };
    let first = axis(first, rank)?;
    let Some(trailing) = rank.checked_sub(first + shape.len()) else {
        return Err(Reason::new(format!("{} does not fit {} from axis {first} on", call.ty(b), call.ty(a))));
    };
    let shape = [shape, vec![Dim::from(1); trailing]].concat();
    let b = call.reshape(b, shape)?;
    Ok((a, b))
}

fn binary(call: &mut Call<'_, '_>, f: Binary) -> Translated {
    let (a, b) = aligned(call)?;
    one(widened(call, f, a, b)?)
}

/// A function of two tensors of the same type.
pub(super) fn widened(call: &mut Call<'_, '_>, f: Binary, a: ValueId, b: ValueId) -> Result<ValueId, Reason> {
    let element = call.ty(a).element;
    if call.ty(b).element != element
        || !matches!(element, ElementType::I8 | ElementType::U8 | ElementType::I16)
    {
        return call.binary(f, a, b);
    }
    let (a, b) = (call.cast(a, ElementType::I32)?, call.cast(b, ElementType::I32)?);
    let y = call.binary(f, a, b)?;
    call.cast(y, element)
}

/// With `fmod` the sign is the dividend's, without the divisor's.
fn modulo(call: &mut Call<'_, '_>) -> Translated {
    let truncates = call.attributes.flag("fmod", false)?;
    let (a, b) = (call.value(0)?, call.value(1)?);
    let element = call.ty(a).element;
    if element == ElementType::F32 {
        let mut quotient = call.binary(Binary::Div, a, b)?;
        quotient = if truncates { truncated(call, quotient)? } else { call.unary(Unary::Floor, quotient)? };
        let multiple = call.binary(Binary::Mul, quotient, b)?;
        return one(call.binary(Binary::Sub, a, multiple)?);
    }
    let wide = Call::wide(element);
    let (a, b) = (call.cast(a, wide)?, call.cast(b, wide)?);
    let quotient = call.binary(Binary::Div, a, b)?;
    let multiple = call.binary(Binary::Mul, quotient, b)?;
    let mut rest = call.binary(Binary::Sub, a, multiple)?;
    if !truncates {
        // A rest that is not 0 and whose sign is not the divisor's moves by one divisor.
        let (negative, divisor_negative) =
            (call.with_number(Binary::Less, rest, 0.0)?, call.with_number(Binary::Less, b, 0.0)?);
        let same = call.binary(Binary::Equal, negative, divisor_negative)?;
        let differs = call.is_zero(same)?;
        let moves = call.binary(Binary::Keep, differs, rest)?;
        let shift = call.binary(Binary::Keep, b, moves)?;
        rest = call.binary(Binary::Add, rest, shift)?;
    }
    one(call.cast(rest, element)?)
}

/// Towards zero.
fn truncated(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    let magnitude = call.unary(Unary::Abs, x)?;
    let whole = call.unary(Unary::Floor, magnitude)?;
    let sign = sign_of(call, x)?;
    call.binary(Binary::Mul, whole, sign)
}

/// The exponent may be of another type than the base. Integers are raised in f32, which is exact up to 24 bits.
fn pow(call: &mut Call<'_, '_>) -> Translated {
    let (a, b) = aligned(call)?;
    let element = call.ty(a).element;
    let (a, b) = (call.cast(a, ElementType::F32)?, call.cast(b, ElementType::F32)?);
    let y = call.binary(Binary::Pow, a, b)?;
    one(call.cast(y, element)?)
}

fn fold(call: &mut Call<'_, '_>, f: Binary) -> Result<ValueId, Reason> {
    let first = call.value(0)?;
    call.values()?.into_iter().skip(1).try_fold(first, |a, b| widened(call, f, a, b))
}

fn mean(call: &mut Call<'_, '_>) -> Translated {
    let sum = fold(call, Binary::Add)?;
    one(call.with_scalar(Binary::Div, sum, call.operand_count() as f32)?)
}

fn sign(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let element = call.ty(x).element;
    let wide = call.cast(x, Call::wide(element))?;
    let sign = sign_of(call, wide)?;
    one(call.cast(sign, element)?)
}

/// 1, 0 or -1, of the type of the operand; 0 for NaN.
pub(super) fn sign_of(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    let zero = call.number(0.0, call.ty(x).element);
    let (positive, negative) = (call.binary(Binary::Less, zero, x)?, call.binary(Binary::Less, x, zero)?);
    call.binary(Binary::Sub, positive, negative)
}

fn ceil(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    one(ceiling(call, x)?)
}

/// The next whole number upwards.
pub(super) fn ceiling(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    let negated = call.unary(Unary::Neg, x)?;
    let below = call.unary(Unary::Floor, negated)?;
    call.unary(Unary::Neg, below)
}

fn cast(call: &mut Call<'_, '_>) -> Translated {
    // They say how to reach 8-bit floats, which are refused.
    call.attributes.ignore(&["saturate", "round_mode"]);
    let Some(to) = call.attributes.int("to")? else {
        return Err(Reason::new("attribute `to` is missing".into()));
    };
    let number = i32::try_from(to).map_err(|_| Reason::new(format!("attribute `to` is {to}")))?;
    converted(call, tensor::data_type(number)?)
}

fn cast_like(call: &mut Call<'_, '_>) -> Translated {
    call.attributes.ignore(&["saturate", "round_mode"]);
    let like = match call.known(1) {
        Some(Known::Constant { stored, .. }) => *stored,
        _ => tensor::stored_as(call.operand_type(1)?.element),
    };
    converted(call, like)
}

/// The operand with another element type. A constant that has it stays one.
fn converted(call: &mut Call<'_, '_>, to: DataType) -> Translated {
    let element = tensor::element_type(to as i32)?;
    if tensor::stored_as(element) != to && element != ElementType::F32 {
        return Err(Reason::new(format!("casts to {}, which is not supported", tensor::name(to))));
    }
    if let Some(known) = call.known(0).cloned()
        && call.operand_type(0)?.element == element
    {
        return Ok(vec![known]);
    }
    let x = call.value(0)?;
    if call.ty(x).element == ElementType::Bool {
        return one(call.truth_number(x, element)?);
    }
    one(call.cast(x, element)?)
}
