//! What scikit-learn's pipelines put around a network (`ai.onnx.ml`): scaling before it, labels behind it.

use super::super::call::{Call, Reason, Translated, one, overflow};
use super::{Operator, operator};
use twnc_ir::{Binary, Dim, ElementType, Op, ReduceKind, Tensor, Unary};

pub(super) const OPERATORS: &[Operator] = &[
    operator("ai.onnx.ml::ArrayFeatureExtractor", 1, (2, 2), "reshape, gather", array_feature_extractor),
    operator(
        "ai.onnx.ml::Normalizer",
        1,
        (1, 1),
        "abs or mul, reduce_sum or reduce_max, sqrt, equal, add, div",
        normalizer,
    ),
    operator("ai.onnx.ml::Scaler", 1, (1, 1), "cast, sub, mul", scaler),
];

/// Elements of the last axis, by their indices; those of a vector as a row.
fn array_feature_extractor(call: &mut Call<'_, '_>) -> Translated {
    let (x, indices) = (call.value(0)?, call.value(1)?);
    let count = call.shape(indices).iter().try_fold(Dim::from(1), |n, size| n.checked_mul(size));
    let indices = call.reshape(indices, vec![count.ok_or_else(overflow)?])?;
    let Some(axis) = call.ty(x).rank().checked_sub(1) else {
        return Err(Reason::new("operand 0 has no axes".into()));
    };
    let y = call.op(Op::Gather { axis }, &[x, indices])?;
    let shape = if axis == 0 { [vec![Dim::from(1)], call.shape(y)].concat() } else { call.shape(y) };
    one(call.reshape(y, shape)?)
}

/// `(x - offset)·scale`, each one number or one for each index of the last axis.
fn scaler(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let mut y = call.cast(x, ElementType::F32)?;
    for (name, f) in [("offset", Binary::Sub), ("scale", Binary::Mul)] {
        let Some(numbers) = call.attributes.floats(name)?.filter(|numbers| !numbers.is_empty()) else {
            continue;
        };
        let parameter = call.place_tensor(Tensor::from_f32(vec![numbers.len()], numbers.to_vec())?);
        y = call.binary(f, y, parameter)?;
        if call.ty(y).rank() != call.ty(x).rank() {
            return Err(Reason::new(format!("scales {}, which has no axis of features", call.ty(x))));
        }
    }
    one(y)
}

/// Each row over its norm; a row whose norm is 0 stays.
fn normalizer(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let x = call.cast(x, ElementType::F32)?;
    let Some(last) = call.ty(x).rank().checked_sub(1) else {
        return Err(Reason::new("operand 0 has no axes".into()));
    };
    let norm = match call.attributes.string("norm")?.unwrap_or("MAX") {
        "MAX" => call.reduced(ReduceKind::Max, &[last], x)?,
        "L1" => {
            let magnitude = call.unary(Unary::Abs, x)?;
            call.reduced(ReduceKind::Sum, &[last], magnitude)?
        }
        "L2" => {
            let square = call.binary(Binary::Mul, x, x)?;
            let sum = call.reduced(ReduceKind::Sum, &[last], square)?;
            call.unary(Unary::Sqrt, sum)?
        }
        other => {
            return Err(Reason::new(format!("attribute `norm` is `{other}`; MAX, L1 and L2 are accepted")));
        }
    };
    let none = call.is_zero(norm)?;
    let norm = call.binary(Binary::Add, norm, none)?;
    one(call.binary(Binary::Div, x, norm)?)
}
