//! How a coefficient of an operand becomes one of the result: which axis its numbers lie along behind an operator that leaves factors alone.

use crate::egraph::coefficient::Coefficient;
use twnc_ir::{Dim, Op, TensorType};

/// What becomes of a coefficient.
pub(crate) enum Carried {
    /// Its numbers, perhaps along another axis.
    Same(Coefficient),
    /// Some of its numbers, along an axis counted from the last.
    Some(usize, Vec<usize>),
}

/// What multiplies the result of `op`, of type `result`, where `s` multiplies its operand of type `operand`. `None` where the axis does not
/// survive, or the operator is not known. It does not ask whether the operator is homogeneous: that is the rule's affair.
pub(crate) fn carried(
    op: &Op,
    operand: &TensorType,
    result: &TensorType,
    s: &Coefficient,
) -> Option<Carried> {
    let Some(axis) = s.axis(operand.rank()) else {
        return s.back().is_none().then(|| Carried::Same(s.clone()));
    };
    let same = || Some(Carried::Same(s.clone()));
    let along = |axis: usize| Some(Carried::Same(s.along(result.rank().checked_sub(axis)?)));
    match op {
        Op::Unary(_) => same(),
        Op::Binary(_) if operand == result => same(),
        // Channels stay apart from one another, and samples.
        Op::MaxPool(_) | Op::AveragePool { .. } if axis < 2 => same(),
        Op::Conv(conv) if axis == 1 => {
            let channels = |ty: &TensorType| ty.shape.get(1).and_then(Dim::as_size);
            (channels(operand) == Some(conv.groups) && channels(result) == Some(conv.groups))
                .then(|| Carried::Same(s.clone()))
        }
        Op::MatMul if axis + 1 < operand.rank() => same(),
        Op::Transpose { perm } => along(perm.iter().position(|&from| from == axis)?),
        Op::Reshape { .. } => {
            // The axis of the same size with as many elements behind it, and so as many before.
            let behind = |shape: &[Dim], axis: usize| Dim::product(shape.get(axis + 1..)?);
            let inner = behind(&operand.shape, axis)?;
            let fits = |i: &usize| {
                result.shape[*i] == operand.shape[axis] && behind(&result.shape, *i).as_ref() == Some(&inner)
            };
            along((0..result.rank()).find(fits)?)
        }
        Op::Slice(slice) if slice.axis != axis => same(),
        Op::Slice(slice) => {
            let (start, size) = (slice.start.as_fixed()?, slice.size.as_fixed()?);
            let index = |i: i64| usize::try_from(start + i * slice.step).ok();
            Some(Carried::Some(s.back()?, (0..size).map(index).collect::<Option<_>>()?))
        }
        Op::Pad(pad) => {
            let untouched = pad.begin.get(axis) == Some(&0) && pad.end.get(axis) == Some(&0);
            untouched.then(|| Carried::Same(s.clone()))
        }
        // Axes are aligned at the last.
        Op::Broadcast { .. } => same(),
        Op::Reduce { axes, .. } if axes.contains(&axis) => None,
        Op::Reduce { keep_dims: true, .. } => same(),
        Op::Reduce { axes, .. } => along(axis - axes.iter().filter(|&&other| other < axis).count()),
        _ => None,
    }
}
