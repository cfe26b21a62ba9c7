//! Moves of elements. Runs of neighbouring elements are copied whole.

use super::walk::{PerAxis, advance, broadcast_strides, strides};
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
    // Without elements an offset may be anything; nothing below then multiplies it.
    if out.is_empty() {
        return Ok(());
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
            // A single element needs no step, which then may be anything.
            if shape[*axis] > 1 {
                from[*axis] *= *by as isize;
            }
            copy_strided(first, base, &from, shape, out);
        }
        MoveKind::Concat { axis } => {
            let inner: usize = shape[axis + 1..].iter().product();
            let row = shape[*axis] * inner;
            let mut at = 0;
            for &operand in &step.inputs {
                let (input, width) = (read(operand)?, cx.shape(operand)[*axis] * inner);
                let rows = out.chunks_mut(row).zip(input.chunks(width.max(1)));
                rows.for_each(|(to, from)| to[at..at + width].copy_from_slice(from));
                at += width;
            }
        }
        MoveKind::Pad { begin, end: _, mode } => pad(first, first_shape, begin, *mode, shape, out, convert),
        MoveKind::Gather { axis } => {
            let (size, inner) = (first_shape[*axis], first_shape[axis + 1..].iter().product::<usize>());
            let indices = cx.view(step.inputs[1])?;
            let count = indices.len();
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

/// Rows and columns of the blocks in which matrices are transposed, so that a block's lines stay in the cache.
const BLOCK: usize = 16;

/// The axes of a shape that has elements, with a stride for each, of which those that are walked as one are made one, so that runs are as long as
/// they can be; how many are left, of sizes other than 1.
fn merged(shape: &[usize], strides: &[isize]) -> (PerAxis, [isize; MAX_RANK], usize) {
    let (mut sizes, mut steps, mut rank) = ([1; MAX_RANK], [0isize; MAX_RANK], 0usize);
    for (&size, &stride) in shape.iter().zip(strides).filter(|&(&size, _)| size != 1) {
        match rank.checked_sub(1) {
            Some(last) if steps[last] == stride * size as isize => {
                sizes[last] *= size;
                steps[last] = stride;
            }
            _ => {
                (sizes[rank], steps[rank]) = (size, stride);
                rank += 1;
            }
        }
    }
    (sizes, steps, rank)
}

/// `out[index] = from[base + Σ indexᵢ · strideᵢ]` for every index of `shape`.
fn copy_strided<T: Copy>(from: &[T], base: isize, strides: &[isize], shape: &[usize], out: &mut [T]) {
    let (sizes, steps, rank) = merged(shape, strides);
    let place = |index: &PerAxis, rank: usize| {
        base + index.iter().zip(&steps).take(rank).map(|(&i, stride)| i as isize * stride).sum::<isize>()
    };
    let line = |first: isize, stride: isize, out: &mut [T]| match stride {
        1 => out.copy_from_slice(&from[first as usize..][..out.len()]),
        0 => out.fill(from[first as usize]),
        _ => {
            out.iter_mut().enumerate().for_each(|(i, to)| *to = from[(first + i as isize * stride) as usize])
        }
    };
    let mut index: PerAxis = [0; MAX_RANK];
    match (&sizes[..rank], &steps[..rank]) {
        ([outer @ .., rows, columns], [.., 1, stride]) if *stride != 0 => {
            for matrix in out.chunks_mut(rows * columns) {
                let first = place(&index, outer.len());
                let element = |row: usize, column: usize| {
                    from[(first + row as isize + column as isize * stride) as usize]
                };
                transpose(matrix, *columns, &element);
                advance(&mut index, outer);
            }
        }
        // Each element some times: an image that is made larger.
        ([outer @ .., rows, times], [.., 1, 0]) => {
            for matrix in out.chunks_mut(rows * times) {
                let row = &from[place(&index, outer.len()) as usize..][..*rows];
                match times {
                    2 => repeat::<T, 2>(row, matrix),
                    3 => repeat::<T, 3>(row, matrix),
                    4 => repeat::<T, 4>(row, matrix),
                    _ => matrix.chunks_mut(*times).zip(row).for_each(|(to, &x)| to.fill(x)),
                }
                advance(&mut index, outer);
            }
        }
        ([outer @ .., rows, row], [.., down, stride]) => {
            for matrix in out.chunks_mut(rows * row) {
                let first = place(&index, outer.len());
                for (i, to) in matrix.chunks_mut(*row).enumerate() {
                    line(first + i as isize * down, *stride, to);
                }
                advance(&mut index, outer);
            }
        }
        ([_], [stride]) => line(base, *stride, out),
        _ => out.fill(from[base as usize]),
    }
}

/// Each of some elements `N` times.
fn repeat<T: Copy, const N: usize>(from: &[T], out: &mut [T]) {
    out.as_chunks_mut::<N>().0.iter_mut().zip(from).for_each(|(to, &x)| *to = [x; N]);
}

/// Puts elements where those of an output are that are the given strides apart, the first at `base`.
fn place_strided<T: Copy>(from: &[T], shape: &[usize], base: usize, strides: &[isize], out: &mut [T]) {
    let (sizes, steps, rank) = merged(shape, strides);
    let Some((outer, row)) = rank.checked_sub(1).map(|last| (&sizes[..last], sizes[last])) else {
        return out[base..=base].copy_from_slice(from);
    };
    let stride = steps[outer.len()] as usize;
    let mut index: PerAxis = [0; MAX_RANK];
    for line in from.chunks(row) {
        let places = index.iter().zip(&steps).take(outer.len());
        let first = base + places.map(|(&i, &stride)| i * stride as usize).sum::<usize>();
        match stride {
            1 => out[first..first + row].copy_from_slice(line),
            _ => out[first..].iter_mut().step_by(stride).zip(line).for_each(|(to, &x)| *to = x),
        }
        advance(&mut index, outer);
    }
}

/// Fills a matrix with elements whose neighbours in memory are in the next row.
fn transpose<T: Copy>(out: &mut [T], columns: usize, element: &impl Fn(usize, usize) -> T) {
    for (block, lines) in out.chunks_mut(BLOCK * columns).enumerate() {
        for start in (0..columns).step_by(BLOCK) {
            let width = BLOCK.min(columns - start);
            for (row, line) in lines.chunks_mut(columns).enumerate() {
                for (column, to) in line[start..start + width].iter_mut().enumerate() {
                    *to = element(block * BLOCK + row, start + column);
                }
            }
        }
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
    if let PadMode::Constant(value) = mode {
        out.fill(convert(value));
        let to = strides(shape);
        let base = begin.iter().zip(&to).map(|(&begin, stride)| begin * stride).sum();
        if !from.is_empty() {
            place_strided(from, from_shape, base, &to.map(|stride| stride as isize), out);
        }
        return;
    }
    let own = strides(from_shape);
    // The place on an axis of the input that a place on the output's comes from.
    let source = |axis: usize, i: usize| {
        let (size, reflects) = (from_shape[axis], mode == PadMode::Reflect);
        match i.checked_sub(begin[axis]) {
            Some(i) if i < size => i,
            None if reflects => begin[axis] - i,
            None => 0,
            Some(i) if reflects => 2 * (size - 1) - i,
            Some(_) => size - 1,
        }
    };
    let Some((&row, outer)) = shape.split_last() else {
        return out.copy_from_slice(from);
    };
    let (last, width) = (outer.len(), from_shape[outer.len()]);
    let mut index: PerAxis = [0; MAX_RANK];
    for line in out.chunks_mut(row) {
        let first: usize = (0..last).map(|axis| source(axis, index[axis]) * own[axis]).sum();
        let inner = begin[last]..begin[last] + width;
        line[inner.clone()].copy_from_slice(&from[first..][..width]);
        for i in (0..inner.start).chain(inner.end..row) {
            line[i] = from[first + source(last, i)];
        }
        advance(&mut index, outer);
    }
}
