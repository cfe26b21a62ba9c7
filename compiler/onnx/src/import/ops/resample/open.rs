//! Resampling along an axis one of whose sizes is open: the places are computed in the graph, by the same formulas and in the same order as
//! those that are known while importing.

use super::super::super::call::open_names;
use super::super::sampling::{cubic_taps, summed, within};
use super::{Call, Kernel, Manner, Reason, Target};
use crate::error::Setting;
use twnc_ir::{Binary, ElementType, Op, Unary, ValueId};

/// A difference that is smaller than any of two whole numbers, and no zero to divide by.
const TINY: f32 = 1e-9;

/// `[.., from, ..]` to `[.., to, ..]`.
pub(super) fn resized(
    call: &mut Call<'_, '_>,
    x: ValueId,
    on: usize,
    manner: &Manner<'_>,
    target: &Target,
) -> Result<ValueId, Reason> {
    if manner.antialias || manner.exclude_outside || manner.coordinates == "tf_crop_and_resize" {
        return Err(refused(on, target));
    }
    let (from, to) = (call.size(&target.from, ElementType::F32)?, call.size(&target.to, ElementType::F32)?);
    let scale = match target.scale {
        Some(scale) => call.scalar(scale),
        None => call.binary(Binary::Div, to, from)?,
    };
    let last = call.with_scalar(Binary::Sub, from, 1.0)?;
    let number = call.positions(&target.to, 0, 1, ElementType::F32)?;
    let place = position(call, manner.coordinates, number, [from, to, scale])?;
    match manner.kernel {
        Kernel::Nearest => {
            let nearest = rounded(call, place, manner.rounding)?;
            let nearest = within(call, nearest, last)?;
            taken(call, x, on, nearest)
        }
        Kernel::Linear => {
            let place = within(call, place, last)?;
            let (below, above) = (call.unary(Unary::Floor, place)?, ceiling(call, place)?);
            let part = call.binary(Binary::Sub, place, below)?;
            let (below, above) = (taken(call, x, on, below)?, taken(call, x, on, above)?);
            let difference = call.binary(Binary::Sub, above, below)?;
            let part = weighted(call, difference, on, part)?;
            call.binary(Binary::Add, below, part)
        }
        Kernel::Cubic(a) => {
            let mut parts = vec![];
            for (index, weight) in cubic_taps(call, place, a)? {
                let index = within(call, index, last)?;
                let element = taken(call, x, on, index)?;
                parts.push(weighted(call, element, on, weight)?);
            }
            summed(call, parts, Binary::Add)
        }
    }
}

/// As [`super::position`], of the numbers of all elements.
fn position(
    call: &mut Call<'_, '_>,
    coordinates: &str,
    i: ValueId,
    [from, to, scale]: [ValueId; 3],
) -> Result<ValueId, Reason> {
    let half_pixel = |call: &mut Call<'_, '_>| {
        let middle = call.with_scalar(Binary::Add, i, 0.5)?;
        let place = call.binary(Binary::Div, middle, scale)?;
        call.with_scalar(Binary::Sub, place, 0.5)
    };
    match coordinates {
        "asymmetric" => call.binary(Binary::Div, i, scale),
        "align_corners" => {
            let whole = call.binary(Binary::Mul, scale, from)?;
            let last = call.with_scalar(Binary::Sub, from, 1.0)?;
            let place = call.binary(Binary::Mul, i, last)?;
            // Of a result of one element, which is number 0.
            let end = call.with_scalar(Binary::Sub, whole, 1.0)?;
            let end = call.with_scalar(Binary::Max, end, TINY)?;
            call.binary(Binary::Div, place, end)
        }
        "pytorch_half_pixel" => {
            let place = half_pixel(call)?;
            let others = call.with_scalar(Binary::Sub, to, 1.0)?;
            let several = call.with_scalar(Binary::Min, others, 1.0)?;
            call.binary(Binary::Mul, place, several)
        }
        "half_pixel_symmetric" => {
            let place = half_pixel(call)?;
            let whole = call.binary(Binary::Mul, scale, from)?;
            let adjustment = call.binary(Binary::Div, to, whole)?;
            let one = call.scalar(1.0);
            let rest = call.binary(Binary::Sub, one, adjustment)?;
            let half = call.with_scalar(Binary::Div, from, 2.0)?;
            let shift = call.binary(Binary::Mul, half, rest)?;
            call.binary(Binary::Add, shift, place)
        }
        _ => half_pixel(call),
    }
}

fn rounded(call: &mut Call<'_, '_>, at: ValueId, rounding: &str) -> Result<ValueId, Reason> {
    match rounding {
        "floor" => call.unary(Unary::Floor, at),
        "ceil" => ceiling(call, at),
        "round_prefer_ceil" => {
            let above = call.with_scalar(Binary::Add, at, 0.5)?;
            call.unary(Unary::Floor, above)
        }
        _ => {
            let below = call.with_scalar(Binary::Sub, at, 0.5)?;
            ceiling(call, below)
        }
    }
}

fn ceiling(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    let x = call.unary(Unary::Neg, x)?;
    let x = call.unary(Unary::Floor, x)?;
    call.unary(Unary::Neg, x)
}

/// The elements along an axis at whole numbers.
fn taken(call: &mut Call<'_, '_>, x: ValueId, axis: usize, index: ValueId) -> Result<ValueId, Reason> {
    let index = call.cast(index, ElementType::I64)?;
    call.op(Op::Gather { axis }, &[x, index])
}

/// Each element times the weight of its place along an axis.
fn weighted(call: &mut Call<'_, '_>, x: ValueId, axis: usize, weights: ValueId) -> Result<ValueId, Reason> {
    let weights = call.along(weights, axis, call.ty(x).rank())?;
    call.binary(Binary::Mul, x, weights)
}

/// Why an axis with an open size is not resized.
fn refused(on: usize, target: &Target) -> Reason {
    let symbols = open_names([&target.from, &target.to]);
    let needs = "`antialias`, `exclude_outside` and `tf_crop_and_resize` need the sizes of the axis";
    Reason::new(format!("{needs}, and those of axis {on} are open; fix {symbols}"))
        .with(&[Setting::InputShapes, Setting::Dims])
}
