//! Maps: a fused element-wise expression, a block of elements at a time, so that each instruction is one loop.

use super::walk::{PerAxis, advance, broadcast_strides};
use super::{Context, RunError, View, ViewMut};
use crate::scalar::{Binary, Unary};
use crate::step::{Map, MapInstruction};
use crate::{MAX_MAP_INPUTS, MAX_MAP_VALUES, MAX_RANK};

/// Elements of a row that are computed at a time.
const BLOCK: usize = 64;

pub(super) fn map(cx: &Context<'_>, step: &Map, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    match output {
        ViewMut::F32(out) => evaluate(cx, step, out),
        ViewMut::I64(out) => evaluate(cx, step, out),
        ViewMut::I32(out) => evaluate(cx, step, out),
        _ => Err(cx.wrong_buffer("f32, i32 or i64")),
    }
}

/// An element type that maps compute with.
trait Number: Copy + Default {
    fn of(view: View<'_>) -> Option<&[Self]>;
    fn unary(f: Unary, x: Self) -> Self;
    /// Nothing for a division by zero.
    fn binary(f: Binary, a: Self, b: Self) -> Option<Self>;
}

impl Number for f32 {
    fn of(view: View<'_>) -> Option<&[f32]> {
        if let View::F32(elements) = view { Some(elements) } else { None }
    }

    fn unary(f: Unary, x: f32) -> f32 {
        f.apply(x)
    }

    fn binary(f: Binary, a: f32, b: f32) -> Option<f32> {
        Some(f.apply(a, b))
    }
}

impl Number for i64 {
    fn of(view: View<'_>) -> Option<&[i64]> {
        if let View::I64(elements) = view { Some(elements) } else { None }
    }

    fn unary(f: Unary, x: i64) -> i64 {
        f.apply_integer(x)
    }

    fn binary(f: Binary, a: i64, b: i64) -> Option<i64> {
        f.apply_integer(a, b)
    }
}

impl Number for i32 {
    fn of(view: View<'_>) -> Option<&[i32]> {
        if let View::I32(elements) = view { Some(elements) } else { None }
    }

    fn unary(f: Unary, x: i32) -> i32 {
        f.apply_integer(i64::from(x)) as i32
    }

    fn binary(f: Binary, a: i32, b: i32) -> Option<i32> {
        f.apply_integer(i64::from(a), i64::from(b)).map(|value| value as i32)
    }
}

fn evaluate<T: Number>(cx: &Context<'_>, step: &Map, out: &mut [T]) -> Result<(), RunError> {
    let shape = cx.shapes.of(step.output);
    if out.len() != shape.iter().product::<usize>() {
        return Err(cx.wrong_buffer("of its shape's size"));
    }
    let count = step.inputs.len();
    let mut inputs: [(&[T], PerAxis); MAX_MAP_INPUTS] = [(&[], [0; MAX_RANK]); MAX_MAP_INPUTS];
    for (input, &operand) in inputs.iter_mut().zip(&step.inputs) {
        let elements = T::of(cx.view(operand)?).ok_or_else(|| cx.wrong_buffer("of its output's type"))?;
        *input = (elements, broadcast_strides(cx.shape(operand), shape));
    }
    let (outer, width) = match shape.split_last() {
        Some((&width, outer)) => (outer, width),
        None => (&[][..], 1),
    };
    let mut values = [[T::default(); BLOCK]; MAX_MAP_VALUES];
    let mut index: PerAxis = [0; MAX_RANK];
    for line in out.chunks_mut(width.max(1)) {
        for (number, block) in line.chunks_mut(BLOCK).enumerate() {
            for (value, (elements, strides)) in values.iter_mut().zip(&inputs[..count]) {
                let offset: usize = index.iter().zip(strides).take(outer.len()).map(|(i, s)| i * s).sum();
                match strides.get(outer.len()) {
                    Some(1) => value[..block.len()]
                        .copy_from_slice(&elements[offset + number * BLOCK..][..block.len()]),
                    _ => value.fill(elements[offset]),
                }
            }
            for (i, instruction) in step.code.iter().enumerate() {
                let (before, rest) = values.split_at_mut(count + i);
                let Some(result) = rest.first_mut() else { continue };
                let result = &mut result[..block.len()];
                match *instruction {
                    MapInstruction::Unary(f, a) => {
                        let a = &before[usize::from(a)];
                        result.iter_mut().zip(a).for_each(|(r, &a)| *r = T::unary(f, a));
                    }
                    MapInstruction::Binary(f, a, b) => {
                        let (a, b) = (&before[usize::from(a)], &before[usize::from(b)]);
                        for ((r, &a), &b) in result.iter_mut().zip(a).zip(b) {
                            *r = T::binary(f, a, b)
                                .ok_or_else(|| RunError::DivisionByZero { step: cx.step.name.clone() })?;
                        }
                    }
                }
            }
            block.copy_from_slice(&values[count + step.code.len() - 1][..block.len()]);
        }
        advance(&mut index, outer);
    }
    Ok(())
}
