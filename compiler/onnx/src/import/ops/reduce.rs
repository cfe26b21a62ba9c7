//! Reductions. Axes are an attribute first, and an operand from operator set 13 (`ReduceSum`) or 18 (the others) on.
//!
//! Whole numbers are summed and multiplied exactly, as the last of the running sums of an axis, and compared as the first of its elements in order.

use super::super::call::{Call, Reason, Translated, axes, one, overflow};
use super::order::largest_of;
use super::{Operator, operator};
use twnc_ir::{Binary, Combine, Dim, ElementType, Op, ReduceKind, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("ReduceMean", 1, (1, 2), "reduce_mean", mean),
    operator("ReduceSum", 1, (1, 2), "reduce_sum; cumulative, slice of integers", |call| {
        plain(call, ReduceKind::Sum)
    }),
    operator("ReduceMax", 1, (1, 2), "reduce_max; top_k of integers", |call| plain(call, ReduceKind::Max)),
    operator("ReduceMin", 1, (1, 2), "reduce_min; top_k of integers", |call| plain(call, ReduceKind::Min)),
    operator("ReduceProd", 1, (1, 2), "cumulative, slice", product),
    operator("ReduceL1", 1, (1, 2), "abs, reduce_sum", |call| {
        let x = call.value(0)?;
        let magnitudes = call.unary(Unary::Abs, x)?;
        one(reduce(call, ReduceKind::Sum, magnitudes)?)
    }),
    operator("ReduceL2", 1, (1, 2), "mul, reduce_sum, sqrt", |call| {
        let sum = sum_of_squares(call)?;
        let element = call.ty(sum).element;
        let sum = call.cast(sum, ElementType::F32)?;
        let root = call.unary(Unary::Sqrt, sum)?;
        one(call.cast(root, element)?)
    }),
    operator("ReduceSumSquare", 1, (1, 2), "mul, reduce_sum", |call| sum_of_squares(call).and_then(one)),
    operator("ReduceLogSum", 1, (1, 2), "reduce_sum, log", |call| {
        let x = call.value(0)?;
        let sum = reduce(call, ReduceKind::Sum, x)?;
        one(call.unary(Unary::Log, sum)?)
    }),
    operator("ReduceLogSumExp", 1, (1, 2), "exp, reduce_sum, log", |call| {
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

/// Of whole numbers, the sum divided by their number.
fn mean(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let ty = call.ty(x).clone();
    if ty.element == ElementType::F32 {
        return one(reduce(call, ReduceKind::Mean, x)?);
    }
    let Reduced::Axes(on, _) = reduced(call, x)? else { return one(x) };
    let count = on.iter().map(|&axis| ty.shape[axis].clone()).collect::<Vec<_>>();
    let sum = reduce(call, ReduceKind::Sum, x)?;
    let wide = call.cast(sum, Call::wide(ty.element))?;
    let count = call.size(&Dim::product(&count).ok_or_else(overflow)?, Call::wide(ty.element))?;
    let mean = call.binary(Binary::Div, wide, count)?;
    one(call.cast(mean, ty.element)?)
}

fn product(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let Reduced::Axes(axes, keep_dims) = reduced(call, x)? else { return one(x) };
    one(running(call, Combine::Mul, axes, keep_dims, x)?)
}

fn sum_of_squares(call: &mut Call<'_, '_>) -> Result<ValueId, Reason> {
    let x = call.value(0)?;
    let squares = super::elementwise::widened(call, Binary::Mul, x, x)?;
    reduce(call, ReduceKind::Sum, squares)
}

/// What the attributes and the second operand ask for.
enum Reduced {
    /// The operand as it is.
    Nothing,
    /// These axes, and whether they stay with size 1.
    Axes(Vec<usize>, bool),
}

fn reduced(call: &Call<'_, '_>, x: ValueId) -> Result<Reduced, Reason> {
    let keep_dims = call.attributes.flag("keepdims", true)?;
    let nothing_means_nothing = call.attributes.flag("noop_with_empty_axes", false)?;
    let given = match call.attributes.ints("axes")? {
        Some(list) => Some(list.to_vec()),
        None => call.ints(1, "axes")?,
    };
    let rank = call.ty(x).rank();
    let axes = match given.filter(|list| !list.is_empty()) {
        Some(list) => axes(&list, rank)?,
        None if nothing_means_nothing => return Ok(Reduced::Nothing),
        None => (0..rank).collect(),
    };
    // A scalar has no axis to reduce.
    Ok(if axes.is_empty() { Reduced::Nothing } else { Reduced::Axes(axes, keep_dims) })
}

fn reduce(call: &mut Call<'_, '_>, kind: ReduceKind, x: ValueId) -> Result<ValueId, Reason> {
    let Reduced::Axes(axes, keep_dims) = reduced(call, x)? else { return Ok(x) };
    match kind {
        _ if call.ty(x).element == ElementType::F32 => call.op(Op::Reduce { kind, axes, keep_dims }, &[x]),
        ReduceKind::Sum => running(call, Combine::Add, axes, keep_dims, x),
        ReduceKind::Max | ReduceKind::Min => {
            let (element, mut shape) = (call.ty(x).element, call.shape(x));
            let mut y = call.cast(x, Call::wide(element))?;
            for &axis in &axes {
                [y, _] = largest_of(call, y, axis, Dim::from(1), kind == ReduceKind::Max)?;
            }
            without(&mut shape, &axes, keep_dims);
            let y = call.reshape(y, shape)?;
            if element == ElementType::Bool {
                return call.truth(y);
            }
            call.cast(y, element)
        }
        ReduceKind::Mean => Err(Reason::new(format!("does not take {}", call.ty(x)))),
    }
}

/// The last of the running sums or products along each axis. Of nothing, a sum is 0 and a product 1.
fn running(
    call: &mut Call<'_, '_>,
    combine: Combine,
    axes: Vec<usize>,
    keep_dims: bool,
    x: ValueId,
) -> Result<ValueId, Reason> {
    let (element, mut shape) = (call.ty(x).element, call.shape(x));
    let mut y = call.cast(x, Call::wide(element))?;
    for &axis in &axes {
        let last = shape[axis].checked_sub(&Dim::from(1)).ok_or_else(overflow)?;
        if last.is_negative() {
            let mut target = call.shape(y);
            target[axis] = Dim::from(1);
            let neutral = call.number(f64::from(u8::from(combine == Combine::Mul)), call.ty(y).element);
            y = call.broadcast(neutral, target)?;
            continue;
        }
        y = call.op(Op::Cumulative { combine, axis }, &[y])?;
        y = call.slice(y, axis, last, Dim::from(1), 1)?;
    }
    without(&mut shape, &axes, keep_dims);
    let y = call.reshape(y, shape)?;
    call.cast(y, element)
}

/// A shape after its axes were reduced.
fn without(shape: &mut Vec<Dim>, axes: &[usize], keep_dims: bool) {
    for &axis in axes.iter().rev() {
        if keep_dims {
            shape[axis] = Dim::from(1);
        } else {
            shape.remove(axis);
        }
    }
}
