//! QONNX: quantisers whose results are floats again. They are executed as the `qonnx` package defines them, with the same divisions and
//! multiplications, so that a code is the one which the network was trained with.
//!
//! The domains `qonnx.custom_op.general`, `finn.custom_op.general` and `onnx.brevitas` mean the same; files often do not import the one that they use.

use super::super::call::{Call, Reason, Translated, one};
use super::elementwise::{ceiling, sign_of};
use super::{Operator, operator};
use twnc_ir::{Binary, Tensor, Unary, ValueId};

/// The domain under which the table lists them.
pub(super) const DOMAIN: &str = "qonnx.custom_op.general";
/// Domains of older exporters.
pub(super) const OLDER_DOMAINS: [&str; 2] = ["finn.custom_op.general", "onnx.brevitas"];

pub(super) const OPERATORS: &[Operator] = &[
    operator("qonnx.custom_op.general::BipolarQuant", 1, (2, 2), "less, mul, sub", bipolar_quant),
    operator(
        "qonnx.custom_op.general::IntQuant",
        1,
        (4, 4),
        "div, add, clip, round or floor, sub, mul",
        quant,
    ),
    operator("qonnx.custom_op.general::Quant", 1, (4, 4), "div, add, clip, round or floor, sub, mul", quant),
    operator(
        "qonnx.custom_op.general::Trunc",
        1,
        (5, 6),
        "div, add, round, clip, round or floor, sub, mul",
        trunc,
    ),
];

/// A wider code is no number of f32.
const MOST_BITS: f64 = 32.0;

/// The smallest and the largest code of so many bits, which need not be whole.
pub fn codes(bits: f64, signed: bool, narrow: bool) -> (f64, f64) {
    let less = f64::from(u8::from(narrow));
    match signed {
        true => (-(bits - 1.0).exp2() + less, (bits - 1.0).exp2() - 1.0),
        false => (0.0, bits.exp2() - 1.0 - less),
    }
}

/// Operands: x, scale, zero point, bits.
fn quant(call: &mut Call<'_, '_>) -> Translated {
    let (signed, narrow) = (call.attributes.flag("signed", true)?, call.attributes.flag("narrow", false)?);
    let rounding = Rounding::of(call, "ROUND")?;
    let (bits_shape, bits) = bits(call, 3)?;
    let x = call.value(0)?;
    let y = in_steps(call, x)?;
    let y = if signed && bits == [1.0] {
        either_one(call, y)?
    } else if signed && bits.contains(&1.0) {
        return Err(Reason::new("has signed codes of 1 bit beside others; use BipolarQuant for them".into()));
    } else {
        let y = within(call, y, bits_shape, &bits, (signed, narrow))?;
        rounding.apply(call, y)?
    };
    one(out_of_steps(call, y)?)
}

/// Operands: x, scale. +scale where `x ≥ 0`, else -scale.
fn bipolar_quant(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let y = either_one(call, x)?;
    let scale = call.value(1)?;
    one(call.binary(Binary::Mul, y, scale)?)
}

/// Operands: x, scale, zero point, bits of the input, bits of the output; in version 2 the scale of the output comes before its bits, and
/// results are clipped.
fn trunc(call: &mut Call<'_, '_>) -> Translated {
    let rounding = Rounding::of(call, "FLOOR")?;
    let x = call.value(0)?;
    let y = in_steps(call, x)?;
    let y = call.unary(Unary::Round, y)?;
    if call.operand_count() == 5 {
        let (before, after) = (number(call, 3)?, number(call, 4)?);
        let y = call.with_scalar(Binary::Div, y, (before - after).exp2() as f32)?;
        let y = rounding.apply(call, y)?;
        return one(out_of_steps(call, y)?);
    }
    let (signed, narrow) = (call.attributes.flag("signed", true)?, call.attributes.flag("narrow", false)?);
    let (scale, zero, after) = (number(call, 1)?, number(call, 2)?, number(call, 4)?);
    let ratio = (after / scale).log2().round_ties_even().exp2();
    if !(ratio as f32).is_normal() {
        return Err(Reason::new(format!("truncates a scale of {scale} to one of {after}")));
    }
    let y = call.with_scalar(Binary::Div, y, ratio as f32)?;
    let (bits_shape, bits) = bits(call, 5)?;
    let y = within(call, y, bits_shape, &bits, (signed, narrow))?;
    let y = rounding.apply(call, y)?;
    let y = call.with_scalar(Binary::Sub, y, (zero / ratio) as f32)?;
    one(call.with_scalar(Binary::Mul, y, after as f32)?)
}

/// `x / scale + zero point`, of operands 1 and 2.
fn in_steps(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    let y = match parameter(call, 1, 1.0)? {
        Some(scale) => call.binary(Binary::Div, x, scale)?,
        None => x,
    };
    match parameter(call, 2, 0.0)? {
        Some(zero) => call.binary(Binary::Add, y, zero),
        None => Ok(y),
    }
}

/// `(y - zero point)·scale`, of operands 2 and 1.
fn out_of_steps(call: &mut Call<'_, '_>, y: ValueId) -> Result<ValueId, Reason> {
    let y = match parameter(call, 2, 0.0)? {
        Some(zero) => call.binary(Binary::Sub, y, zero)?,
        None => y,
    };
    match parameter(call, 1, 1.0)? {
        Some(scale) => call.binary(Binary::Mul, y, scale),
        None => Ok(y),
    }
}

/// An operand, unless it is this number, which changes nothing.
fn parameter(call: &mut Call<'_, '_>, operand: usize, neutral: f32) -> Result<Option<ValueId>, Reason> {
    let is_neutral = |tensor: &Tensor| tensor.shape().is_empty() && tensor.as_f32() == Some(&[neutral]);
    if call.tensor(operand).is_some_and(is_neutral) {
        return Ok(None);
    }
    call.value(operand).map(Some)
}

/// The number of bits: one, or some that broadcast over the tensor.
fn bits(call: &Call<'_, '_>, operand: usize) -> Result<(Vec<usize>, Vec<f64>), Reason> {
    let Some(tensor) = call.constant(operand, "the bit width")? else {
        return Err(Reason::new(format!("the bit width (operand {operand}) is missing")));
    };
    let bits = numbers(tensor).unwrap_or_default();
    match bits.iter().all(|bits| (1.0..=MOST_BITS).contains(bits)) && !bits.is_empty() {
        true => Ok((tensor.shape().to_vec(), bits)),
        false => Err(Reason::new(format!(
            "the bit width (operand {operand}) is {tensor:?}; it must be numbers from 1 to {MOST_BITS}"
        ))),
    }
}

/// A number that must be constant.
fn number(call: &Call<'_, '_>, operand: usize) -> Result<f64, Reason> {
    let numbers = call.constant(operand, "a parameter")?.and_then(numbers);
    match numbers.as_deref() {
        Some(&[number]) if number.is_finite() => Ok(number),
        _ => Err(Reason::new(format!("operand {operand} must be one number"))),
    }
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.data() {
        twnc_ir::Data::F32(v) => Some(v.iter().map(|&x| x.into()).collect()),
        data => Some(super::quantise::whole_numbers(data)?.into_iter().map(|n| n as f64).collect()),
    }
}

/// 1 where `x ≥ 0`, else -1; -1 for NaN.
fn either_one(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    let zero = call.scalar(0.0);
    let positive = call.at_most(zero, x)?;
    let twice = call.with_scalar(Binary::Mul, positive, 2.0)?;
    call.with_scalar(Binary::Sub, twice, 1.0)
}

/// The value, clipped to the codes of so many bits.
fn within(
    call: &mut Call<'_, '_>,
    y: ValueId,
    shape: Vec<usize>,
    bits: &[f64],
    (signed, narrow): (bool, bool),
) -> Result<ValueId, Reason> {
    let (low, high): (Vec<f32>, Vec<f32>) = bits
        .iter()
        .map(|&bits| codes(bits, signed, narrow))
        .map(|(low, high)| (low as f32, high as f32))
        .unzip();
    if let (&[min], &[max], []) = (low.as_slice(), high.as_slice(), shape.as_slice()) {
        return call.unary(Unary::Clip { min, max }, y);
    }
    let high = call.place_tensor(Tensor::from_f32(shape.clone(), high)?);
    let low = call.place_tensor(Tensor::from_f32(shape, low)?);
    let y = call.binary(Binary::Min, y, high)?;
    call.binary(Binary::Max, y, low)
}

/// What becomes of a number between two codes.
#[derive(Clone, Copy, Debug)]
enum Rounding {
    HalfEven,
    Ceil,
    Floor,
    AwayFromZero,
    TowardsZero,
    HalfAwayFromZero,
    HalfTowardsZero,
}

impl Rounding {
    fn of(call: &Call<'_, '_>, default: &'static str) -> Result<Rounding, Reason> {
        let mode = call.attributes.string("rounding_mode")?.unwrap_or(default);
        Ok(match mode.to_ascii_uppercase().as_str() {
            "ROUND" | "HALF_EVEN" => Rounding::HalfEven,
            "CEIL" => Rounding::Ceil,
            "FLOOR" => Rounding::Floor,
            "UP" => Rounding::AwayFromZero,
            "DOWN" => Rounding::TowardsZero,
            "HALF_UP" => Rounding::HalfAwayFromZero,
            "HALF_DOWN" => Rounding::HalfTowardsZero,
            _ => {
                return Err(Reason::new(format!(
                    "attribute `rounding_mode` is `{mode}`; ROUND, HALF_EVEN, CEIL, FLOOR, UP, DOWN, HALF_UP and HALF_DOWN are accepted"
                )));
            }
        })
    }

    fn apply(self, call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
        match self {
            Rounding::HalfEven => return call.unary(Unary::Round, x),
            Rounding::Ceil => return ceiling(call, x),
            Rounding::Floor => return call.unary(Unary::Floor, x),
            _ => {}
        }
        let magnitude = call.unary(Unary::Abs, x)?;
        let rounded = match self {
            Rounding::AwayFromZero => ceiling(call, magnitude)?,
            Rounding::HalfAwayFromZero => {
                let above = call.with_scalar(Binary::Add, magnitude, 0.5)?;
                call.unary(Unary::Floor, above)?
            }
            Rounding::HalfTowardsZero => {
                let below = call.with_scalar(Binary::Sub, magnitude, 0.5)?;
                ceiling(call, below)?
            }
            _ => call.unary(Unary::Floor, magnitude)?,
        };
        let sign = sign_of(call, x)?;
        call.binary(Binary::Mul, sign, rounded)
    }
}
