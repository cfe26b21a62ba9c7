//! Operators that only move elements: each chooses, for every element of its result, the element of its operand.

use super::{EvalError, elementwise, number};
use crate::op::{Pad, PadMode, Slice};
use crate::tensor::{Data, Tensor};
use std::sync::Arc;

pub(super) fn transpose(perm: &[usize], x: &Tensor) -> Data {
    let strides = strides(x.shape());
    let axes = perm.iter().map(|&axis| (0..x.shape()[axis]).map(|i| Some(i * strides[axis])).collect());
    select(x.data(), &cross(axes))
}

pub(super) fn slice(slice: &Slice, x: &Tensor, result: &[usize]) -> Result<Data, EvalError> {
    let (start, strides) = (number(&slice.start)?, strides(x.shape()));
    let axes = result.iter().zip(&strides).enumerate().map(|(axis, (&size, stride))| {
        let element = |i: usize| match axis == slice.axis {
            true => usize::try_from(start + i as i64 * slice.step).ok().map(|i| i * stride),
            false => Some(i * stride),
        };
        (0..size).map(element).collect()
    });
    Ok(select(x.data(), &cross(axes)))
}

pub(super) fn concat(axis: usize, operands: &[Tensor]) -> Result<Data, EvalError> {
    let outer: usize = operands.first().map_or(0, |first| first.shape()[..axis].iter().product());
    let block = |t: &Tensor| t.shape()[axis..].iter().product::<usize>();
    let parts: Vec<&Data> = operands.iter().map(Tensor::data).collect();
    let starts = operands.iter().scan(0, |start, t| Some(std::mem::replace(start, *start + t.len())));
    let starts: Vec<usize> = starts.collect();
    let blocks = (0..outer).flat_map(|i| {
        operands.iter().zip(&starts).flat_map(move |(t, start)| {
            let from = start + i * block(t);
            (from..from + block(t)).map(Some)
        })
    });
    Ok(select(&join(&parts), &blocks.collect::<Vec<_>>()))
}

pub(super) fn pad(pad: &Pad, x: &Tensor) -> Result<Data, EvalError> {
    let strides = strides(x.shape());
    let axes = x.shape().iter().enumerate().map(|(axis, &size)| {
        let (begin, end) = (pad.begin[axis], pad.end[axis]);
        let source = |i: usize| match pad.mode {
            PadMode::Constant(_) => i.checked_sub(begin).filter(|&i| i < size),
            PadMode::Edge => Some(i.saturating_sub(begin).min(size.saturating_sub(1))),
            PadMode::Reflect => {
                let from_edge = i.abs_diff(begin);
                Some(if from_edge < size { from_edge } else { 2 * (size - 1) - from_edge })
            }
        };
        (0..begin + size + end).map(|i| source(i).map(|i| i * strides[axis])).collect()
    });
    let chosen = cross(axes);
    let PadMode::Constant(value) = pad.mode else { return Ok(select(x.data(), &chosen)) };
    let filling = elementwise::cast(x.element(), &Tensor::scalar(value))?;
    let outside = x.len();
    let chosen: Vec<_> = chosen.into_iter().map(|i| i.or(Some(outside))).collect();
    Ok(select(&join(&[x.data(), &filling]), &chosen))
}

pub(super) fn broadcast(x: &Tensor, result: &[usize]) -> Data {
    if x.shape() == result {
        return x.data().clone();
    }
    let chosen: Vec<_> = broadcast_index(x.shape(), result).into_iter().map(Some).collect();
    select(x.data(), &chosen)
}

/// For each element of a tensor of shape `result`, the element of one of shape `from`, which broadcasts to it.
pub(super) fn broadcast_index(from: &[usize], result: &[usize]) -> Vec<usize> {
    let strides = strides(from);
    let new = result.len().saturating_sub(from.len());
    let axes = result.iter().enumerate().map(|(axis, &size)| {
        let stride = match axis.checked_sub(new) {
            Some(axis) if from[axis] != 1 => strides[axis],
            _ => 0,
        };
        (0..size).map(|i| Some(i * stride)).collect()
    });
    cross(axes).into_iter().flatten().collect()
}

pub(super) fn gather(axis: usize, data: &Tensor, indices: &Tensor) -> Result<Data, EvalError> {
    let indices = places(indices, data.shape()[axis])?;
    let strides = strides(data.shape());
    let axes = data.shape().iter().zip(&strides).enumerate().map(|(i, (&size, &stride))| match i == axis {
        true => indices.iter().map(|&index| Some(index * stride)).collect(),
        false => (0..size).map(|i| Some(i * stride)).collect(),
    });
    Ok(select(data.data(), &cross(axes)))
}

/// Indices of an axis of this size; negative ones count from the end.
pub(super) fn places(indices: &Tensor, size: usize) -> Result<Vec<usize>, EvalError> {
    let place = |&index: &i64| {
        let from_start = if index < 0 { index.checked_add(size as i64) } else { Some(index) };
        let inside = from_start.and_then(|i| usize::try_from(i).ok()).filter(|&i| i < size);
        inside.ok_or(EvalError::Index { index, size })
    };
    elementwise::integers(indices.data()).iter().map(place).collect()
}

/// For each position of a grid, in row-major order, the sum of what its axes list for its coordinates; none if one lists none.
fn cross(axes: impl Iterator<Item = Vec<Option<usize>>>) -> Vec<Option<usize>> {
    axes.fold(vec![Some(0)], |grid, axis| {
        grid.iter().flat_map(|&from| axis.iter().map(move |&i| Some(from? + i?))).collect()
    })
}

/// The distance between neighbours along each axis.
fn strides(shape: &[usize]) -> Vec<usize> {
    (1..=shape.len()).map(|axis| shape[axis..].iter().product()).collect()
}

/// The elements of these indices. Every index is one, by construction of the callers.
pub(super) fn select(data: &Data, chosen: &[Option<usize>]) -> Data {
    fn pick<T: Copy>(from: &[T], chosen: &[Option<usize>]) -> Arc<[T]> {
        chosen.iter().filter_map(|i| from.get((*i)?).copied()).collect()
    }
    match data {
        Data::F32(v) => Data::F32(pick(v, chosen)),
        Data::I8(v) => Data::I8(pick(v, chosen)),
        Data::U8(v) => Data::U8(pick(v, chosen)),
        Data::I16(v) => Data::I16(pick(v, chosen)),
        Data::I32(v) => Data::I32(pick(v, chosen)),
        Data::I64(v) => Data::I64(pick(v, chosen)),
        Data::Bool(v) => Data::Bool(pick(v, chosen)),
        Data::Ternary(v) => Data::Ternary(pick(v, chosen)),
    }
}

/// The elements of all parts, which have the type of the first, one after the other.
pub(super) fn join(parts: &[&Data]) -> Data {
    macro_rules! join {
        ($variant:ident) => {
            Data::$variant(
                parts
                    .iter()
                    .flat_map(|part| match part {
                        Data::$variant(v) => v.iter().copied(),
                        _ => [].iter().copied(),
                    })
                    .collect(),
            )
        };
    }
    match parts.first() {
        None | Some(Data::F32(_)) => join!(F32),
        Some(Data::I8(_)) => join!(I8),
        Some(Data::U8(_)) => join!(U8),
        Some(Data::I16(_)) => join!(I16),
        Some(Data::I32(_)) => join!(I32),
        Some(Data::I64(_)) => join!(I64),
        Some(Data::Bool(_)) => join!(Bool),
        Some(Data::Ternary(_)) => join!(Ternary),
    }
}
