//! Moves of elements. Runs of neighbouring elements are copied whole.

use super::walk::{PerAxis, broadcast_strides, strides};
use super::{Context, RunError, View, ViewMut};
use crate::MAX_RANK;
use crate::step::{Move, MoveKind, Operand, PadMode};

pub(super) fn run(cx: &Context<'_>, step: &Move, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    macro_rules! dispatch {
        ($($variant:ident($convert:expr)),*) => {
            match output {
                $(ViewMut::$variant(out) => {
                    let read = |operand: Operand| match cx.view(operand)? {
                        View::$variant(elements) => Ok(elements),
                        _ => Err(cx.wrong_buffer("of its output's type")),
                    };
                    typed(cx, step, out, &read, &$convert)
                })*
            }
        };
    }
    dispatch!(
        F32(|x: f32| x),
        I8(|x: f32| x as i8),
        U8(|x: f32| x as u8),
        I16(|x: f32| x as i16),
        I32(|x: f32| x as i32),
        I64(|x: f32| x as i64),
        Bool(|x: f32| u8::from(x != 0.0))
    )
}

/// The move for elements of one type; `convert` makes one of a pad's number.
fn typed<'a, T: Copy + 'a>(
    cx: &Context<'a>,
    step: &Move,
    out: &mut [T],
    read: &dyn Fn(Operand) -> Result<&'a [T], RunError>,
    convert: &dyn Fn(f32) -> T,
) -> Result<(), RunError> {
    let shape = cx.shapes.of(step.output);
    if out.len() != shape.iter().product::<usize>() {
        return Err(cx.wrong_buffer("of its shape's size"));
    }
    let (first, first_shape) = (read(step.inputs[0])?, cx.shape(step.inputs[0]));
    let own = strides(first_shape);
    match &step.kind {
        MoveKind::Reshape => out.copy_from_slice(first),
        MoveKind::Transpose { perm } => {
            let mut moved = [0isize; MAX_RANK];
            perm.iter().enumerate().for_each(|(axis, &from)| moved[axis] = own[from] as isize);
            copy_strided(first, 0, &moved, shape, out);
        }
        MoveKind::Broadcast => {
            let from = broadcast_strides(first_shape, shape).map(|stride| stride as isize);
            copy_strided(first, 0, &from, shape, out);
        }
        MoveKind::Slice { axis, start, step: by } => {
            let start = start.eval(&cx.shapes.bindings).unwrap_or(0) as isize;
            let mut from = own.map(|stride| stride as isize);
            let base = start * from[*axis];
            from[*axis] *= *by as isize;
            copy_strided(first, base, &from, shape, out);
        }
        MoveKind::Concat { axis } => {
            let inner: usize = shape[axis + 1..].iter().product();
            let row = shape[*axis] * inner;
            let mut at = 0;
            for &operand in &step.inputs {
                let (input, width) = (read(operand)?, cx.shape(operand)[*axis] * inner);
                if width > 0 {
                    let rows = out.chunks_mut(row).zip(input.chunks(width));
                    rows.for_each(|(to, from)| to[at..at + width].copy_from_slice(from));
                }
                at += width;
            }
        }
        MoveKind::Pad { begin, end: _, mode } => pad(first, first_shape, begin, *mode, shape, out, convert),
        MoveKind::Gather { axis } => {
            let (size, inner) = (first_shape[*axis], first_shape[axis + 1..].iter().product::<usize>());
            let indices = cx.view(step.inputs[1])?;
            let count = indices.len();
            if count * inner == 0 {
                return Ok(());
            }
            for (i, to) in out.chunks_mut(inner).enumerate() {
                let index = match indices {
                    View::I64(v) => v[i % count],
                    View::I32(v) => i64::from(v[i % count]),
                    _ => return Err(cx.wrong_buffer("i32 or i64 indices")),
                };
                let from_end = if index < 0 { index + size as i64 } else { index };
                let Some(place) = usize::try_from(from_end).ok().filter(|&place| place < size) else {
                    return Err(RunError::Index { step: cx.step.name.clone(), index, size });
                };
                to.copy_from_slice(&first[(i / count * size + place) * inner..][..inner]);
            }
        }
    }
    Ok(())
}

/// `out[index] = from[base + Σ indexᵢ · strideᵢ]` for every index of `shape`.
fn copy_strided<T: Copy>(from: &[T], base: isize, strides: &[isize], shape: &[usize], out: &mut [T]) {
    let Some((&row, outer)) = shape.split_last() else {
        out.copy_from_slice(&from[..1]);
        return;
    };
    let stride = strides[outer.len()];
    let mut index: PerAxis = [0; MAX_RANK];
    for line in out.chunks_mut(row.max(1)) {
        let offsets = index.iter().zip(strides).take(outer.len());
        let first = base + offsets.map(|(&i, stride)| i as isize * stride).sum::<isize>();
        match stride {
            1 => line.copy_from_slice(&from[first as usize..][..row]),
            0 => line.fill(from[first as usize]),
            _ => line
                .iter_mut()
                .enumerate()
                .for_each(|(i, to)| *to = from[(first + i as isize * stride) as usize]),
        }
        advance(&mut index, outer);
    }
}

fn pad<T: Copy>(
    from: &[T],
    from_shape: &[usize],
    begin: &[usize],
    mode: PadMode,
    shape: &[usize],
    out: &mut [T],
    convert: &dyn Fn(f32) -> T,
) {
    let own = strides(from_shape);
    // The place on an axis of the input that a place on the output's comes from; none for a constant.
    let source = |axis: usize, i: usize| {
        let size = from_shape[axis];
        match (i.checked_sub(begin[axis]), mode) {
            (Some(i), _) if i < size => Some(i),
            (_, PadMode::Constant(_)) => None,
            (None, PadMode::Reflect) => Some(begin[axis] - i),
            (None, PadMode::Edge) => Some(0),
            (Some(i), PadMode::Reflect) => Some(2 * (size - 1) - i),
            (Some(_), PadMode::Edge) => Some(size - 1),
        }
    };
    let fill = match mode {
        PadMode::Constant(value) => Some(convert(value)),
        _ => None,
    };
    let mut index: PerAxis = [0; MAX_RANK];
    for to in out.iter_mut() {
        let offset =
            (0..shape.len()).try_fold(0, |sum, axis| Some(sum + source(axis, index[axis])? * own[axis]));
        match (offset, fill) {
            (Some(offset), _) => *to = from[offset],
            (None, Some(fill)) => *to = fill,
            (None, None) => {}
        }
        advance(&mut index, shape);
    }
}

/// The next index in row-major order.
fn advance(index: &mut PerAxis, shape: &[usize]) {
    for axis in (0..shape.len()).rev() {
        index[axis] += 1;
        if index[axis] < shape[axis] {
            break;
        }
        index[axis] = 0;
    }
}
