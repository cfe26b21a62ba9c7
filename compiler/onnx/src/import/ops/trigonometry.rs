//! Trigonometric and hyperbolic functions and their inverses, by sine, cosine, arctangent, exponential and logarithm.

use super::super::call::{Call, Reason, Translated, one};
use super::activation::unary;
use super::{Operator, operator};
use twnc_ir::{Binary, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Sin", 6, (1, 1), "sin", |call| unary(call, Unary::Sin)),
    operator("Cos", 6, (1, 1), "cos", |call| unary(call, Unary::Cos)),
    operator("Tan", 6, (1, 1), "sin, cos, div", |call| {
        let x = call.value(0)?;
        let (sin, cos) = (call.unary(Unary::Sin, x)?, call.unary(Unary::Cos, x)?);
        one(call.binary(Binary::Div, sin, cos)?)
    }),
    operator("Atan", 6, (1, 1), "atan", |call| unary(call, Unary::Atan)),
    operator("Asin", 6, (1, 1), "add, sub, mul, sqrt, div, atan", asin),
    operator("Acos", 6, (1, 1), "add, sub, div, sqrt, atan, mul", acos),
    operator("Sinh", 9, (1, 1), "exp, neg, sub, mul", |call| hyperbolic(call, Binary::Sub)),
    operator("Cosh", 9, (1, 1), "exp, neg, add, mul", |call| hyperbolic(call, Binary::Add)),
    operator("Asinh", 9, (1, 1), "abs, mul, add, sqrt, log, less, sub", asinh),
    operator("Acosh", 9, (1, 1), "mul, sub, sqrt, add, log", acosh),
    operator("Atanh", 9, (1, 1), "add, sub, div, log, mul", atanh),
];

/// `atan(x / √((1 - x)(1 + x)))`: at the ends the quotient is infinite and the angle right.
fn asin(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let (less, more) = around_one(call, x)?;
    let product = call.binary(Binary::Mul, less, more)?;
    let adjacent = call.unary(Unary::Sqrt, product)?;
    let tangent = call.binary(Binary::Div, x, adjacent)?;
    one(call.unary(Unary::Atan, tangent)?)
}

/// `2·atan(√((1 - x)/(1 + x)))`
fn acos(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let (less, more) = around_one(call, x)?;
    let quotient = call.binary(Binary::Div, less, more)?;
    let tangent = call.unary(Unary::Sqrt, quotient)?;
    let half = call.unary(Unary::Atan, tangent)?;
    one(call.with_scalar(Binary::Mul, half, 2.0)?)
}

/// `1 - x` and `1 + x`
fn around_one(call: &mut Call<'_, '_>, x: ValueId) -> Result<(ValueId, ValueId), Reason> {
    let unit = call.scalar(1.0);
    Ok((call.binary(Binary::Sub, unit, x)?, call.binary(Binary::Add, unit, x)?))
}

/// `(exp(x) ± exp(-x))/2`
fn hyperbolic(call: &mut Call<'_, '_>, f: Binary) -> Translated {
    let x = call.value(0)?;
    let negated = call.unary(Unary::Neg, x)?;
    let (rising, falling) = (call.unary(Unary::Exp, x)?, call.unary(Unary::Exp, negated)?);
    let both = call.binary(f, rising, falling)?;
    one(call.with_scalar(Binary::Mul, both, 0.5)?)
}

/// `log(|x| + √(x² + 1))` with the sign of `x`.
fn asinh(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let magnitude = call.unary(Unary::Abs, x)?;
    let square = call.binary(Binary::Mul, x, x)?;
    let sum = call.with_scalar(Binary::Add, square, 1.0)?;
    let root = call.unary(Unary::Sqrt, sum)?;
    let sum = call.binary(Binary::Add, magnitude, root)?;
    let log = call.unary(Unary::Log, sum)?;
    let sign = super::elementwise::sign_of(call, x)?;
    one(call.binary(Binary::Mul, log, sign)?)
}

/// `log(x + √(x² - 1))`
fn acosh(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let square = call.binary(Binary::Mul, x, x)?;
    let difference = call.with_scalar(Binary::Sub, square, 1.0)?;
    let root = call.unary(Unary::Sqrt, difference)?;
    let sum = call.binary(Binary::Add, x, root)?;
    one(call.unary(Unary::Log, sum)?)
}

/// `log((1 + x)/(1 - x))/2`
fn atanh(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let (less, more) = around_one(call, x)?;
    let quotient = call.binary(Binary::Div, more, less)?;
    let log = call.unary(Unary::Log, quotient)?;
    one(call.with_scalar(Binary::Mul, log, 0.5)?)
}
