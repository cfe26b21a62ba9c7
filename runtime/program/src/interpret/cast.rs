//! Conversions of elements.

use super::{Context, RunError, View, ViewMut};
use crate::step::Cast;

pub(super) fn cast(cx: &Context<'_>, step: &Cast, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let input = cx.view(step.input)?;
    if input.len() != output.len() {
        return Err(cx.wrong_buffer("of its shape's size"));
    }
    // `as` between these types is what the step defines: saturating from float, wrapping between integers, nearest to float.
    macro_rules! each {
        ($out:expr, $convert_f32:expr, $t:ty) => {
            match input {
                View::F32(v) => $out.iter_mut().zip(v).for_each(|(o, &x)| *o = $convert_f32(x)),
                View::I8(v) => $out.iter_mut().zip(v).for_each(|(o, &x)| *o = x as $t),
                View::U8(v) => $out.iter_mut().zip(v).for_each(|(o, &x)| *o = x as $t),
                View::I16(v) => $out.iter_mut().zip(v).for_each(|(o, &x)| *o = x as $t),
                View::I32(v) => $out.iter_mut().zip(v).for_each(|(o, &x)| *o = x as $t),
                View::I64(v) => $out.iter_mut().zip(v).for_each(|(o, &x)| *o = x as $t),
                View::Bool(v) => $out.iter_mut().zip(v).for_each(|(o, &x)| *o = x as $t),
            }
        };
    }
    match output {
        ViewMut::F32(out) => each!(out, |x: f32| x, f32),
        ViewMut::I8(out) => each!(out, |x: f32| x as i8, i8),
        ViewMut::U8(out) => each!(out, |x: f32| x as u8, u8),
        ViewMut::I16(out) => each!(out, |x: f32| x as i16, i16),
        ViewMut::I32(out) => each!(out, |x: f32| x as i32, i32),
        ViewMut::I64(out) => each!(out, |x: f32| x as i64, i64),
        ViewMut::Bool(out) => match input {
            View::F32(v) => out.iter_mut().zip(v).for_each(|(o, &x)| *o = u8::from(x != 0.0)),
            View::I8(v) => out.iter_mut().zip(v).for_each(|(o, &x)| *o = u8::from(x != 0)),
            View::U8(v) | View::Bool(v) => out.iter_mut().zip(v).for_each(|(o, &x)| *o = u8::from(x != 0)),
            View::I16(v) => out.iter_mut().zip(v).for_each(|(o, &x)| *o = u8::from(x != 0)),
            View::I32(v) => out.iter_mut().zip(v).for_each(|(o, &x)| *o = u8::from(x != 0)),
            View::I64(v) => out.iter_mut().zip(v).for_each(|(o, &x)| *o = u8::from(x != 0)),
        },
    }
    Ok(())
}
