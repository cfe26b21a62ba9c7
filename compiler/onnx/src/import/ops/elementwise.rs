//! Arithmetic: functions of one tensor, of two, and of any number.
//!
//! Integers narrower than 32 bits are computed as i32 and cast back, which wraps as ONNX's own types do.

use super::super::call::{Call, Known, Reason, Translated, one};
use super::activation::unary;
use super::{MANY, Operator, operator};
use crate::proto::DataType;
use crate::tensor;
use twnc_ir::{Binary, ElementType, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Add", 7, (2, 2), "add", |call| binary(call, Binary::Add)),
    operator("Sub", 7, (2, 2), "sub", |call| binary(call, Binary::Sub)),
    operator("Mul", 7, (2, 2), "mul", |call| binary(call, Binary::Mul)),
    operator("Div", 7, (2, 2), "div", |call| binary(call, Binary::Div)),
    operator("Pow", 7, (2, 2), "pow", pow),
    operator("Sum", 7, (1, MANY), "add", |call| fold(call, Binary::Add).and_then(one)),
    operator("Min", 7, (1, MANY), "min", |call| fold(call, Binary::Min).and_then(one)),
    operator("Max", 7, (1, MANY), "max", |call| fold(call, Binary::Max).and_then(one)),
    operator("Mean", 7, (1, MANY), "add, div", mean),
    operator("Neg", 7, (1, 1), "neg", |call| unary(call, Unary::Neg)),
    operator("Abs", 7, (1, 1), "abs", |call| unary(call, Unary::Abs)),
    operator("Sqrt", 7, (1, 1), "sqrt", |call| unary(call, Unary::Sqrt)),
    operator("Reciprocal", 7, (1, 1), "reciprocal", |call| unary(call, Unary::Reciprocal)),
    operator("Exp", 7, (1, 1), "exp", |call| unary(call, Unary::Exp)),
    operator("Log", 7, (1, 1), "log", |call| unary(call, Unary::Log)),
    operator("Erf", 9, (1, 1), "erf", |call| unary(call, Unary::Erf)),
    operator("Cast", 7, (1, 1), "cast", cast),
    operator("CastLike", 15, (2, 2), "cast", cast_like),
];

fn binary(call: &mut Call<'_, '_>, f: Binary) -> Translated {
    let (a, b) = (call.value(0)?, call.value(1)?);
    one(widened(call, f, a, b)?)
}

/// A function of two tensors of the same type.
fn widened(call: &mut Call<'_, '_>, f: Binary, a: ValueId, b: ValueId) -> Result<ValueId, Reason> {
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

/// The exponent may be of another type than the base.
fn pow(call: &mut Call<'_, '_>) -> Translated {
    let (a, b) = (call.value(0)?, call.value(1)?);
    let b = call.cast(b, ElementType::F32)?;
    one(call.binary(Binary::Pow, a, b)?)
}

fn fold(call: &mut Call<'_, '_>, f: Binary) -> Result<ValueId, Reason> {
    let first = call.value(0)?;
    call.values()?.into_iter().skip(1).try_fold(first, |a, b| widened(call, f, a, b))
}

fn mean(call: &mut Call<'_, '_>) -> Translated {
    let sum = fold(call, Binary::Add)?;
    one(call.with_scalar(Binary::Div, sum, call.operand_count() as f32)?)
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
    one(call.cast(x, element)?)
}
