//! Reductions. Axes are an attribute first, and an operand from operator set 13 (`ReduceSum`) or 18 (the others) on.

use super::super::call::{Call, Reason, Translated, axes, one};
use super::{Operator, operator};
use twnc_ir::{Binary, Op, ReduceKind, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("ReduceMean", 7, (1, 2), "reduce_mean", |call| plain(call, ReduceKind::Mean)),
    operator("ReduceSum", 7, (1, 2), "reduce_sum", |call| plain(call, ReduceKind::Sum)),
    operator("ReduceMax", 7, (1, 2), "reduce_max", |call| plain(call, ReduceKind::Max)),
    operator("ReduceMin", 7, (1, 2), "reduce_min", |call| plain(call, ReduceKind::Min)),
    operator("ReduceL1", 7, (1, 2), "abs, reduce_sum", |call| {
        let x = call.value(0)?;
        let magnitudes = call.unary(Unary::Abs, x)?;
        one(reduce(call, ReduceKind::Sum, magnitudes)?)
    }),
    operator("ReduceL2", 7, (1, 2), "mul, reduce_sum, sqrt", |call| {
        let sum = sum_of_squares(call)?;
        one(call.unary(Unary::Sqrt, sum)?)
    }),
    operator("ReduceSumSquare", 7, (1, 2), "mul, reduce_sum", |call| sum_of_squares(call).and_then(one)),
    operator("ReduceLogSum", 7, (1, 2), "reduce_sum, log", |call| {
        let x = call.value(0)?;
        let sum = reduce(call, ReduceKind::Sum, x)?;
        one(call.unary(Unary::Log, sum)?)
    }),
    operator("ReduceLogSumExp", 7, (1, 2), "exp, reduce_sum, log", |call| {
        let x = call.value(0)?;
        let powers = call.unary(Unary::Exp, x)?;
        let sum = reduce(call, ReduceKind::Sum, powers)?;
        one(call.unary(Unary::Log, sum)?)
    }),
];

fn plain(call: &mut Call<'_, '_>, kind: ReduceKind) -> Translated {
    let x = call.value(0)?;
    one(reduce(call, kind, x)?)
}

fn sum_of_squares(call: &mut Call<'_, '_>) -> Result<ValueId, Reason> {
    let x = call.value(0)?;
    let squares = call.binary(Binary::Mul, x, x)?;
    reduce(call, ReduceKind::Sum, squares)
}

fn reduce(call: &mut Call<'_, '_>, kind: ReduceKind, x: ValueId) -> Result<ValueId, Reason> {
    let keep_dims = call.attributes.flag("keepdims", true)?;
    let nothing_means_nothing = call.attributes.flag("noop_with_empty_axes", false)?;
    let given = match call.attributes.ints("axes")? {
        Some(list) => Some(list.to_vec()),
        None => call.ints(1, "axes")?,
    };
    let rank = call.ty(x).rank();
    let axes = match given.filter(|list| !list.is_empty()) {
        Some(list) => axes(&list, rank)?,
        None if nothing_means_nothing => return Ok(x),
        None => (0..rank).collect(),
    };
    if axes.is_empty() {
        return Ok(x); // a scalar has no axis to reduce
    }
    call.op(Op::Reduce { kind, axes, keep_dims }, &[x])
}
