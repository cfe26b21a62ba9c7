//! Values that do not depend on data: constants, shapes, and what inference leaves out.

use super::super::call::{Call, Known, Reason, Translated, overflow};
use super::super::sizes::Sizes;
use super::{Operator, operator};
use crate::proto::DataType;
use twnc_ir::{Data, Dim, Op, Tensor};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Constant", 1, (0, 0), "const", constant),
    operator("ConstantOfShape", 9, (1, 1), "const, broadcast", constant_of_shape),
    operator("Shape", 1, (1, 1), "const or dims", shape),
    operator("Size", 1, (1, 1), "const or dims", size),
    operator("Dropout", 6, (1, 3), "nothing", dropout),
];

fn constant(call: &mut Call<'_, '_>) -> Translated {
    let a = &call.attributes;
    let (tensor, stored) = if let Some(tensor) = a.tensor("value")? {
        tensor
    } else if let Some(x) = a.float("value_float")? {
        (Tensor::scalar(x), DataType::Float)
    } else if let Some(v) = a.floats("value_floats")? {
        (Tensor::from_f32(vec![v.len()], v.to_vec())?, DataType::Float)
    } else if let Some(n) = a.int("value_int")? {
        (Tensor::new(vec![], Data::I64([n].into()))?, DataType::Int64)
    } else if let Some(v) = a.ints("value_ints")? {
        (Tensor::new(vec![v.len()], Data::I64(v.into()))?, DataType::Int64)
    } else {
        return Err(Reason::new("has no value that is supported; texts and sparse tensors are not".into()));
    };
    Ok(vec![call.known_tensor(tensor, stored)])
}

fn constant_of_shape(call: &mut Call<'_, '_>) -> Translated {
    let value = call.attributes.tensor("value")?.map_or_else(|| Tensor::scalar(0.0), |(value, _)| value);
    if value.len() != 1 {
        return Err(Reason::new(format!("attribute `value` has {} elements; it must have 1", value.len())));
    }
    let Some(shape) = call.dims(0, "the shape")? else {
        return Err(Reason::new("the shape (operand 0) is missing".into()));
    };
    let value = call.place_tensor(value.reshaped(vec![])?);
    let y = if shape.is_empty() { value } else { call.op(Op::Broadcast { shape }, &[value])? };
    Ok(vec![Known::Value(y)])
}

/// `start` and `end` exist since operator set 15; both are clamped.
fn shape(call: &mut Call<'_, '_>) -> Translated {
    let shape = call.operand_type(0)?.shape;
    let rank = i64::try_from(shape.len()).map_err(|_| overflow())?;
    let clamped = |n: i64| {
        let from_start = if n < 0 { n.saturating_add(rank) } else { n };
        usize::try_from(from_start.clamp(0, rank)).unwrap_or(0)
    };
    let start = clamped(call.attributes.int("start")?.unwrap_or(0));
    let end = clamped(call.attributes.int("end")?.unwrap_or(rank));
    let part = shape.get(start..end).unwrap_or_default().to_vec();
    Ok(vec![Sizes::vector(part).known(call.label())])
}

fn size(call: &mut Call<'_, '_>) -> Translated {
    let product = Dim::product(&call.operand_type(0)?.shape).ok_or_else(overflow)?;
    Ok(vec![Sizes::scalar(product).known(call.label())])
}

/// Inference drops nothing: the operand, and a mask that keeps everything.
fn dropout(call: &mut Call<'_, '_>) -> Translated {
    call.attributes.ignore(&["ratio", "seed"]);
    if call.opset < 7 {
        call.attributes.ignore(&["is_test"]);
    }
    if let Some(training) = call.constant(2, "training_mode")?
        && !matches!(training.data(), Data::Bool(v) if v.iter().all(|&b| !b))
    {
        return Err(Reason::new("training_mode is true; export the model for inference".into()));
    }
    let Some(x) = call.known(0).cloned() else {
        return Err(Reason::new("operand 0 is missing".into()));
    };
    if !call.wants(1) {
        return Ok(vec![x]);
    }
    let shape = call.operand_type(0)?.shape;
    let keep = call.place_tensor(Tensor::new(vec![], Data::Bool([true].into()))?);
    let mask = if shape.is_empty() { keep } else { call.op(Op::Broadcast { shape }, &[keep])? };
    Ok(vec![x, Known::Value(mask)])
}
