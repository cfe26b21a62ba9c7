//! Softmax and its logarithm. Before operator set 13 they took all axes from `axis` on together.

use super::super::call::{Call, Reason, Translated, axis, one};
use super::{Operator, operator};
use twnc_ir::{Binary, Op, ReduceKind, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Softmax", 1, (1, 1), "softmax", softmax),
    operator("LogSoftmax", 1, (1, 1), "reduce_max, sub, exp, reduce_sum, log", log_softmax),
];

fn softmax(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let axes = axes(call, x)?;
    one(call.op(Op::Softmax { axes }, &[x])?)
}

/// `x - max - log(Σ exp(x - max))`
fn log_softmax(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let axes = axes(call, x)?;
    let max = call.op(Op::Reduce { kind: ReduceKind::Max, axes: axes.clone(), keep_dims: true }, &[x])?;
    let shifted = call.binary(Binary::Sub, x, max)?;
    let powers = call.unary(Unary::Exp, shifted)?;
    let sum = call.op(Op::Reduce { kind: ReduceKind::Sum, axes, keep_dims: true }, &[powers])?;
    let log = call.unary(Unary::Log, sum)?;
    one(call.binary(Binary::Sub, shifted, log)?)
}

fn axes(call: &Call<'_, '_>, x: ValueId) -> Result<Vec<usize>, Reason> {
    let rank = call.ty(x).rank();
    let default = if call.opset < 13 { 1 } else { -1 };
    let given = call.attributes.int("axis")?.unwrap_or(default);
    if call.opset < 13 && usize::try_from(given) == Ok(rank) {
        return Err(Reason::new(format!("axis {given} leaves nothing to sum in an operand of {rank} axes")));
    }
    let first = axis(given, rank)?;
    Ok(if call.opset < 13 { (first..rank).collect() } else { vec![first] })
}
