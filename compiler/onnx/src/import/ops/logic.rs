//! Comparisons, truth values, and choices between elements.
//!
//! What is narrower than 32 bits is compared as i32, and a truth value as 0 or 1; the results are BOOL.

use super::super::call::{Call, Known, Reason, Translated, one};
use super::elementwise::aligned;
use super::{Operator, operator};
use twnc_ir::{Binary, Data, ElementType, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Equal", 1, (2, 2), "equal, cast", |call| {
        compared(call, |call, a, b| call.binary(Binary::Equal, a, b))
    }),
    operator("Less", 1, (2, 2), "less, cast", |call| {
        compared(call, |call, a, b| call.binary(Binary::Less, a, b))
    }),
    operator("LessOrEqual", 12, (2, 2), "less, equal, max, cast", |call| {
        compared(call, |call, a, b| call.at_most(a, b))
    }),
    operator("Greater", 1, (2, 2), "less, cast", |call| {
        compared(call, |call, a, b| call.binary(Binary::Less, b, a))
    }),
    operator("GreaterOrEqual", 12, (2, 2), "less, equal, max, cast", |call| {
        compared(call, |call, a, b| call.at_most(b, a))
    }),
    operator("And", 1, (2, 2), "cast, min", |call| joined(call, Binary::Min)),
    operator("Or", 1, (2, 2), "cast, max", |call| joined(call, Binary::Max)),
    operator("Xor", 1, (2, 2), "cast, equal", |call| joined(call, Binary::Equal)),
    operator("Not", 1, (1, 1), "cast, equal", |call| {
        let x = call.value(0)?;
        let number = call.truth_number(x, ElementType::F32)?;
        let zero = call.is_zero(number)?;
        one(call.truth(zero)?)
    }),
    operator("Where", 9, (3, 3), "cast, keep, equal, add", choice),
    operator("IsNaN", 9, (1, 1), "equal, cast", |call| {
        let x = call.value(0)?;
        let same = call.binary(Binary::Equal, x, x)?;
        let zero = call.is_zero(same)?;
        one(call.truth(zero)?)
    }),
    operator("IsInf", 10, (1, 1), "equal, max, cast", is_infinite),
];

/// A comparison of two operands of one type.
fn compared(
    call: &mut Call<'_, '_>,
    f: impl Fn(&mut Call<'_, '_>, ValueId, ValueId) -> Result<ValueId, Reason>,
) -> Translated {
    let (a, b) = aligned(call)?;
    let element = call.ty(a).element;
    if call.ty(b).element != element {
        return Err(Reason::new(format!("compares {} with {}", call.ty(a), call.ty(b))));
    }
    let wide = Call::wide(element);
    let (a, b) = (call.cast(a, wide)?, call.cast(b, wide)?);
    let number = f(call, a, b)?;
    one(call.truth(number)?)
}

/// A function of two truth values.
fn joined(call: &mut Call<'_, '_>, f: Binary) -> Translated {
    let (a, b) = aligned(call)?;
    let (a, b) = (call.truth_number(a, ElementType::F32)?, call.truth_number(b, ElementType::F32)?);
    let mut number = call.binary(f, a, b)?;
    if f == Binary::Equal {
        number = call.is_zero(number)?;
    }
    one(call.truth(number)?)
}

fn choice(call: &mut Call<'_, '_>) -> Translated {
    // A condition that is known chooses here, so that what it does not choose need not be there.
    if let Some(Known::Constant { tensor, .. }) = call.known(0)
        && let Data::Bool(v) = tensor.data()
        && let &[chosen] = &v[..]
        && let Some(known) = call.known(if chosen { 1 } else { 2 }).cloned()
        && tensor.shape().len() <= call.operand_type(1)?.rank()
        && call.operand_type(1)? == call.operand_type(2)?
    {
        return Ok(vec![known]);
    }
    let (condition, a, b) = (call.value(0)?, call.value(1)?, call.value(2)?);
    let element = call.ty(a).element;
    if call.ty(b).element != element {
        return Err(Reason::new(format!("chooses between {} and {}", call.ty(a), call.ty(b))));
    }
    let wide = Call::wide(element);
    let chosen = call.truth_number(condition, wide)?;
    let (a, b) = (call.cast(a, wide)?, call.cast(b, wide)?);
    let y = call.choose(chosen, a, b)?;
    one(call.cast(y, element)?)
}

fn is_infinite(call: &mut Call<'_, '_>) -> Translated {
    let (positive, negative) =
        (call.attributes.flag("detect_positive", true)?, call.attributes.flag("detect_negative", true)?);
    let x = call.value(0)?;
    let number = match (positive, negative) {
        (true, true) => {
            let magnitude = call.unary(Unary::Abs, x)?;
            call.with_scalar(Binary::Equal, magnitude, f32::INFINITY)?
        }
        (true, false) => call.with_scalar(Binary::Equal, x, f32::INFINITY)?,
        (false, true) => call.with_scalar(Binary::Equal, x, f32::NEG_INFINITY)?,
        (false, false) => {
            // Nothing is both smaller and larger than itself.
            call.binary(Binary::Less, x, x)?
        }
    };
    one(call.truth(number)?)
}
