//! Parts of tensors, tensors around tensors, tensors repeated.

use super::super::call::{Call, Known, Reason, Translated, axes, axis, one, overflow};
use super::{MANY, Operator, operator};
use crate::error::Setting;
use twnc_ir::{Binary, Data, Dim, ElementType, Op, Pad, PadMode, Slice, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Concat", 6, (1, MANY), "concat", concat),
    operator("Split", 6, (1, 2), "slice", split),
    operator("Slice", 1, (1, 5), "slice", slice),
    operator("Pad", 6, (1, 4), "pad; slice where a pad is negative; concat, gather where it is open", pad),
    operator("Expand", 8, (2, 2), "broadcast", expand),
    operator("Tile", 6, (2, 2), "reshape, broadcast", tile),
];

/// The slices, one an axis, that a `Slice` takes of an operand of this shape. Starts and ends beyond the operand are clamped, as
/// ONNX (and NumPy) has it.
pub fn slice_ranges(call: &Call<'_, '_>, shape: &[Dim]) -> Result<Vec<Slice>, Reason> {
    let attribute = |name: &str| call.attributes.ints(name);
    let fixed = |list: &[i64]| list.iter().copied().map(Dim::fixed).collect::<Vec<_>>();
    let (starts, ends) = match (attribute("starts")?, attribute("ends")?) {
        (Some(starts), Some(ends)) => (fixed(starts), fixed(ends)),
        _ => match (call.dims(1, "starts")?, call.dims(2, "ends")?) {
            (Some(starts), Some(ends)) => (starts, ends),
            _ => return Err(Reason::new("starts or ends are missing".into())),
        },
    };
    let on = match attribute("axes")? {
        Some(list) => Some(list.to_vec()),
        None => call.ints(3, "axes")?,
    };
    let on = on.unwrap_or_else(|| (0..).take(starts.len()).collect());
    let steps = call.ints(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || on.len() != starts.len() || steps.len() != starts.len() {
        return Err(Reason::new("starts, ends, axes and steps differ in length".into()));
    }
    axes(&on, shape.len())?;
    let each = starts.iter().zip(&ends).zip(on.iter().zip(&steps));
    each.map(|((start, end), (&on, &step))| {
        let axis = axis(on, shape.len())?;
        let (start, size) = clamped(start, end, step, &shape[axis])?;
        Ok(Slice { axis, start, size, step })
    })
    .collect()
}

/// How far a dimension is below zero, `most` at most.
fn below(dim: &Dim, most: &Dim) -> Option<Dim> {
    dim.checked_mul(&Dim::fixed(-1))?.maximum(&Dim::from(0))?.minimum(most)
}

/// The first element of a range and the number of elements.
fn clamped(start: &Dim, end: &Dim, step: i64, size: &Dim) -> Result<(Dim, Dim), Reason> {
    let (zero, one) = (Dim::from(0), Dim::from(1));
    // Exporters write the largest 32-bit or 64-bit number for "to the end".
    let beyond = |dim: &Dim| dim.as_fixed().is_some_and(|n| n >= i64::from(i32::MAX));
    let before = |dim: &Dim| dim.as_fixed().is_some_and(|n| n <= i64::from(i32::MIN));
    let clamp = |dim: &Dim, low: &Dim, high: &Dim| {
        if beyond(dim) {
            return Ok(high.clone());
        }
        if before(dim) {
            return Ok(low.clone());
        }
        let from_start = match () {
            () if dim.is_nonnegative() => dim.clone(),
            () if dim.is_negative() => size.checked_add(dim).ok_or_else(overflow)?,
            // One more size where the bound is negative, and no more where it is not.
            () => below(dim, &one)
                .and_then(|negative| dim.checked_add(&size.checked_mul(&negative)?))
                .ok_or_else(overflow)?,
        };
        from_start.maximum(low).and_then(|dim| dim.minimum(high)).ok_or_else(overflow)
    };
    let last = size.checked_sub(&one).ok_or_else(overflow)?;
    let (start, length, stride) = match step {
        0 => return Err(Reason::new("a step is 0".into())),
        1.. => {
            let (start, end) = (clamp(start, &zero, size)?, clamp(end, &zero, size)?);
            (start.clone(), end.checked_sub(&start), step.checked_abs())
        }
        _ => {
            let (start, end) = (clamp(start, &zero, &last)?, clamp(end, &Dim::fixed(-1), &last)?);
            (start.clone(), start.checked_sub(&end), step.checked_abs())
        }
    };
    let length = length.and_then(|length| length.maximum(&zero));
    let count = stride.zip(length).and_then(|(stride, length)| length.ceil_div(&Dim::fixed(stride)));
    Ok((start, count.ok_or_else(overflow)?))
}

fn slice(call: &mut Call<'_, '_>) -> Translated {
    let mut y = call.value(0)?;
    for range in slice_ranges(call, &call.shape(y))? {
        y = part(call, y, range)?;
    }
    one(y)
}

/// The slice; the value itself if that is all of it.
fn part(call: &mut Call<'_, '_>, x: ValueId, range: Slice) -> Result<ValueId, Reason> {
    let all = range.step == 1
        && range.start == Dim::from(0)
        && call.ty(x).shape.get(range.axis) == Some(&range.size);
    if all { Ok(x) } else { call.op(Op::Slice(range), &[x]) }
}

fn concat(call: &mut Call<'_, '_>) -> Translated {
    let operands = call.values()?;
    let Some(given) = call.attributes.int("axis")? else {
        return Err(Reason::new("attribute `axis` is missing".into()));
    };
    let axis = axis(given, call.ty(operands[0]).rank())?;
    one(if let [x] = operands[..] { x } else { call.op(Op::Concat { axis }, &operands)? })
}

/// The axis that a `Split` of this shape divides, and the sizes of the parts, which are an attribute before operator set 13 and an operand from then
/// on; without them, parts are equal.
pub fn split_sizes(call: &Call<'_, '_>, shape: &[Dim]) -> Result<(usize, Vec<Dim>), Reason> {
    let axis = axis(call.attributes.int("axis")?.unwrap_or(0), shape.len())?;
    let given = match call.attributes.ints("split")? {
        Some(list) => Some(list.iter().copied().map(Dim::fixed).collect()),
        None => call.dims(1, "split")?,
    };
    let parts = call.attributes.int("num_outputs")?.and_then(|n| usize::try_from(n).ok());
    let parts = parts.unwrap_or(call.node.output.len());
    let sizes = match given {
        Some(sizes) => sizes,
        None => {
            let count = Dim::from(parts.max(1));
            let each = shape[axis].ceil_div(&count).ok_or_else(overflow)?;
            let before = Dim::from(parts.saturating_sub(1)).checked_mul(&each).ok_or_else(overflow)?;
            let last = shape[axis].checked_sub(&before).ok_or_else(overflow)?;
            let mut sizes = vec![each; parts.saturating_sub(1).min(call.node.output.len())];
            sizes.push(last);
            sizes
        }
    };
    let total =
        sizes.iter().try_fold(Dim::from(0), |sum, size| sum.checked_add(size)).ok_or_else(overflow)?;
    if sizes.len() != call.node.output.len() || !total.may_equal(&shape[axis]) {
        return Err(Reason::new(format!(
            "parts of {sizes:?} for {} results do not make up axis {axis} of {shape:?}",
            call.node.output.len()
        )));
    }
    Ok((axis, sizes))
}

fn split(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let (axis, sizes) = split_sizes(call, &call.shape(x))?;
    let mut start = Dim::from(0);
    let mut results = vec![];
    for size in sizes {
        let end = start.checked_add(&size).ok_or_else(overflow)?;
        let y = part(call, x, Slice { axis, start, size, step: 1 })?;
        results.push(Known::Value(y));
        start = end;
    }
    Ok(results)
}

/// Pads are an attribute before operator set 11 and an operand from then on. A negative pad takes elements away.
fn pad(call: &mut Call<'_, '_>) -> Translated {
    let mut x = call.value(0)?;
    let rank = call.ty(x).rank();
    let mode = match call.attributes.string("mode")?.unwrap_or("constant") {
        "constant" => Some(PadMode::Constant(0.0)),
        "reflect" => Some(PadMode::Reflect),
        "edge" => Some(PadMode::Edge),
        "wrap" => None,
        other => {
            return Err(Reason::new(format!(
                "attribute `mode` is `{other}`; accepted are constant, reflect, edge and wrap"
            )));
        }
    };
    let (mut pads, value) = match call.attributes.ints("pads")? {
        Some(pads) => {
            let pads = pads.iter().map(|&n| Dim::fixed(n)).collect();
            (pads, call.attributes.float("value")?.unwrap_or(0.0))
        }
        None => {
            let whole = |numbers: Vec<i64>| numbers.into_iter().map(Dim::fixed).collect();
            let pads = if mode.is_some() { call.dims(1, "pads")? } else { call.ints(1, "pads")?.map(whole) };
            (pads.ok_or_else(|| Reason::new("the pads are missing".into()))?, pad_value(call)?)
        }
    };
    let on = match call.ints(3, "axes")? {
        Some(list) => list.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * on.len() {
        return Err(Reason::new(format!(
            "{} pads for {} axes; there must be two for each",
            pads.len(),
            on.len()
        )));
    }
    let Some(mode) = mode else { return wrapped(call, x, &on, &pads) };
    let mode = if let PadMode::Constant(_) = mode { PadMode::Constant(value) } else { mode };
    for (i, &axis) in on.iter().enumerate() {
        let both = [i, on.len() + i];
        if both.iter().any(|&side| pads[side].as_fixed().is_none()) {
            let counts = both.map(|side| std::mem::replace(&mut pads[side], Dim::from(0)));
            x = widened(call, x, axis, counts, mode)?;
        }
    }
    let pads: Vec<i64> = pads.iter().filter_map(Dim::as_fixed).collect();
    let (mut begin, mut end) = (vec![0; rank], vec![0; rank]);
    for (i, &on) in on.iter().enumerate() {
        let (before, after) = (pads[i], pads[pads.len() / 2 + i]);
        let (Ok(wider_before), Ok(wider_after)) =
            (usize::try_from(before.max(0)), usize::try_from(after.max(0)))
        else {
            return Err(overflow());
        };
        (begin[on], end[on]) = (wider_before, wider_after);
        if before < 0 || after < 0 {
            let start = before.min(0).checked_neg().map(Dim::fixed).ok_or_else(overflow)?;
            let kept = call.shape(x)[on]
                .checked_sub(&start)
                .and_then(|dim| dim.checked_add(&Dim::fixed(after.min(0))));
            let size = kept.ok_or_else(overflow)?;
            x = part(call, x, Slice { axis: on, start, size, step: 1 })?;
        }
    }
    if begin.iter().chain(&end).all(|&n| n == 0) {
        return one(x);
    }
    one(call.op(Op::Pad(Pad { begin, end, mode }), &[x])?)
}

/// An axis with so many elements more before it and at its end, which depend on open dimensions.
fn widened(
    call: &mut Call<'_, '_>,
    x: ValueId,
    axis: usize,
    [before, after]: [Dim; 2],
    mode: PadMode,
) -> Result<ValueId, Reason> {
    if let Some(count) = [&before, &after].into_iter().find(|count| !count.is_nonnegative()) {
        let text = format!("pads axis {axis} by {count}, which may be negative; fix it");
        return Err(Reason::new(text).with(&[Setting::InputShapes, Setting::Dims]));
    }
    let element = call.ty(x).element;
    let mut shape = call.shape(x);
    if let PadMode::Constant(value) = mode {
        let value = call.number(value.into(), element);
        let value = call.cast(value, element)?;
        let mut more = |count: Dim| -> Result<Option<ValueId>, Reason> {
            shape[axis] = count;
            let empty = shape[axis] == Dim::from(0);
            if empty { Ok(None) } else { call.op(Op::Broadcast { shape: shape.clone() }, &[value]).map(Some) }
        };
        let (before, after) = (more(before)?, more(after)?);
        let parts: Vec<ValueId> = before.into_iter().chain([x]).chain(after).collect();
        return call.op(Op::Concat { axis }, &parts);
    }
    // The place that each element comes from, counted from the first that is there.
    let last = shape[axis].checked_sub(&Dim::from(1)).ok_or_else(overflow)?;
    let all =
        before.checked_add(&shape[axis]).and_then(|sum| sum.checked_add(&after)).ok_or_else(overflow)?;
    let (before, last) = (call.size(&before, ElementType::I64)?, call.size(&last, ElementType::I64)?);
    let places = call.op(Op::Iota { size: all }, &[])?;
    let places = call.binary(Binary::Sub, places, before)?;
    let places = if mode == PadMode::Reflect {
        let from_start = call.unary(Unary::Abs, places)?;
        let twice = call.binary(Binary::Add, last, last)?;
        let from_end = call.binary(Binary::Sub, twice, places)?;
        let places = call.binary(Binary::Min, from_start, from_end)?;
        // A pad as wide as the axis reaches places that are not there, and must not count from the end.
        let behind = call.with_number(Binary::Less, places, 0.0)?;
        let size = call.size(&shape[axis], ElementType::I64)?;
        let away = call.binary(Binary::Mul, behind, size)?;
        call.binary(Binary::Sub, places, away)?
    } else {
        let places = call.with_number(Binary::Max, places, 0.0)?;
        call.binary(Binary::Min, places, last)?
    };
    call.op(Op::Gather { axis }, &[x, places])
}

/// The elements of the other end before the first, and those of this end behind the last.
fn wrapped(call: &mut Call<'_, '_>, mut x: ValueId, on: &[usize], pads: &[Dim]) -> Translated {
    for (i, &axis) in on.iter().enumerate() {
        let size = call.shape(x)[axis].clone();
        let [before, after] = [&pads[i], &pads[on.len() + i]].map(Dim::clone);
        let mut parts = vec![];
        for (start, count) in [(size.checked_sub(&before), before), (Some(Dim::from(0)), after)] {
            let start = start.ok_or_else(overflow)?;
            let fits = size.checked_sub(&count).is_some_and(|rest| !rest.is_negative());
            if count.is_negative() || !fits {
                return Err(Reason::new(format!("wraps {count} elements around an axis of {size}")));
            }
            parts.push(call.slice(x, axis, start, count, 1)?);
        }
        parts.insert(1, x);
        x = call.op(Op::Concat { axis }, &parts)?;
    }
    one(x)
}

/// The number to pad with, which must be one that an f32 holds.
fn pad_value(call: &Call<'_, '_>) -> Result<f32, Reason> {
    let Some(tensor) = call.constant(2, "the value to pad with")? else { return Ok(0.0) };
    let value = match tensor.data() {
        Data::F32(v) => v.first().copied(),
        Data::I8(v) => v.first().map(|&n| n.into()),
        Data::U8(v) => v.first().map(|&n| n.into()),
        Data::I16(v) => v.first().map(|&n| n.into()),
        Data::I32(v) => v.first().map(|&n| n as f32).filter(|&x| x.abs() <= EXACT),
        Data::I64(v) => v.first().map(|&n| n as f32).filter(|&x| x.abs() <= EXACT),
        Data::Bool(v) => v.first().map(|&b| f32::from(u8::from(b))),
        Data::Ternary(_) => None,
    };
    value.ok_or_else(|| Reason::new("the value to pad with is not one number of at most 24 bits".into()))
}

/// Up to here an f32 holds every whole number.
const EXACT: f32 = 16_777_216.0;

/// Sizes of 1, on either side, are as large as the other side's.
fn expand(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let own = call.shape(x);
    let Some(target) = call.dims(1, "the shape")? else {
        return Err(Reason::new("the shape (operand 1) is missing".into()));
    };
    let rank = own.len().max(target.len());
    let one_wide = Dim::from(1);
    let at = |shape: &[Dim], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or_else(|| one_wide.clone(), |i| shape[i].clone())
    };
    let shape: Vec<Dim> = (0..rank)
        .map(|axis| match (at(&own, axis), at(&target, axis)) {
            (size, wanted) if wanted == one_wide => size,
            (_, wanted) => wanted,
        })
        .collect();
    one(if shape == own { x } else { call.op(Op::Broadcast { shape }, &[x])? })
}

/// Each axis that is repeated gets one before it, along which that happens; then the two become one.
fn tile(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let shape = call.shape(x);
    let repeats = call.dims(1, "repeats")?.unwrap_or_default();
    if repeats.len() != shape.len() {
        return Err(Reason::new(format!("{} repeats for {} axes", repeats.len(), shape.len())));
    }
    let one_time = |i: usize| repeats[i] == Dim::from(1);
    let pairs = |first: &dyn Fn(usize) -> Dim| -> Vec<Dim> {
        let pair = |i: usize| (!one_time(i)).then(|| first(i)).into_iter().chain([shape[i].clone()]);
        (0..shape.len()).flat_map(pair).collect()
    };
    let split = pairs(&|_| Dim::from(1));
    let repeated = pairs(&|i| repeats[i].clone());
    let merged: Option<Vec<Dim>> = shape.iter().zip(&repeats).map(|(dim, n)| dim.checked_mul(n)).collect();
    let split = call.reshape(x, split)?;
    let repeated = call.broadcast(split, repeated)?;
    one(call.reshape(repeated, merged.ok_or_else(overflow)?)?)
}
