//! `ConvTranspose`: a convolution, by the mirrored kernel, of the operand with zeros between its elements.

use super::super::call::{Call, Known, Reason, Translated, one, overflow};
use super::convolution::{list, positive};
use super::{Operator, operator};
use crate::error::Setting;
use twnc_ir::{Binary, Conv, Dim, Geometry, Op, Pad, PadMode, Slice, Tensor, ValueId};

pub(super) const OPERATORS: &[Operator] =
    &[operator("ConvTranspose", 1, (2, 3), "reshape, pad, slice, conv, add", conv_transpose)];

fn conv_transpose(call: &mut Call<'_, '_>) -> Translated {
    let mut x = call.value(0)?;
    let rank = call.ty(x).rank();
    let groups = positive(call.attributes.int("group")?.unwrap_or(1), "group")?;
    let (w, kernel) = weight(call, rank, groups)?;
    let spatial = kernel.len();
    if call.attributes.sizes("kernel_shape")?.is_some_and(|stated| stated != kernel) {
        return Err(Reason::new(format!("kernel_shape is not that of the weight, {kernel:?}")));
    }
    let a = &call.attributes;
    let (strides, dilations) = (list(a, "strides", spatial, 1)?, list(a, "dilations", spatial, 1)?);
    if strides.contains(&0) || dilations.contains(&0) {
        return Err(Reason::new("a stride or dilation is 0".into()));
    }
    let extra = list(a, "output_padding", spatial, 0)?;
    let pads = pads(call, &call.shape(x)[2..], &kernel, &strides, &dilations, &extra)?;
    let mut geometry = Geometry { dilations: dilations.clone(), ..Geometry::unit(spatial) };
    x = spread(call, x, &strides)?;
    for i in 0..spatial {
        let reach = reach(kernel[i], dilations[i])?;
        let trailing = number(strides[i] - 1)?;
        let begin = reach.checked_sub(pads[i].0).ok_or_else(overflow)?;
        let end = reach
            .checked_sub(pads[i].1)
            .and_then(|n| n.checked_add(number(extra[i]).ok()?)?.checked_sub(trailing));
        let end = end.ok_or_else(overflow)?;
        geometry.pads_begin[i] = usize::try_from(begin.max(0)).map_err(|_| overflow())?;
        geometry.pads_end[i] = usize::try_from(end.max(0)).map_err(|_| overflow())?;
        if begin < 0 || end < 0 {
            let (start, tail) = (Dim::fixed(begin.min(0).saturating_neg()), Dim::fixed(end.min(0)));
            let size = call.shape(x)[i + 2]
                .checked_sub(&start)
                .and_then(|n| n.checked_add(&tail))
                .ok_or_else(overflow)?;
            x = call.op(Op::Slice(Slice { axis: i + 2, start, size, step: 1 }), &[x])?;
        }
    }
    let y = call.op(Op::Conv(Conv { geometry, groups }), &[x, w])?;
    if !call.has(2) {
        return one(y);
    }
    let bias = call.along_channels(2, rank)?;
    one(call.binary(Binary::Add, y, bias)?)
}

fn number(n: usize) -> Result<i64, Reason> {
    i64::try_from(n).map_err(|_| overflow())
}

/// How far the last tap of a kernel is from the first.
fn reach(kernel: usize, dilation: usize) -> Result<i64, Reason> {
    kernel.checked_sub(1).and_then(|n| n.checked_mul(dilation)).ok_or_else(overflow).and_then(number)
}

/// What is taken off the result before and after each axis; negative where it is added to it.
fn pads(
    call: &Call<'_, '_>,
    sizes: &[Dim],
    kernel: &[usize],
    strides: &[usize],
    dilations: &[usize],
    extra: &[usize],
) -> Result<Vec<(i64, i64)>, Reason> {
    let spatial = kernel.len();
    let mode = call.attributes.string("auto_pad")?.unwrap_or("NOTSET");
    let wanted = call.attributes.sizes("output_shape")?;
    let given = list(&call.attributes, "pads", 2 * spatial, 0)?;
    let same = match mode {
        "NOTSET" | "VALID" | "" => false,
        "SAME_UPPER" | "SAME_LOWER" => true,
        other => return Err(Reason::new(format!("attribute `auto_pad` is `{other}`"))),
    };
    if !same && wanted.is_none() {
        let each = |i: usize| match mode {
            "VALID" => Ok((0, 0)),
            _ => Ok((number(given[i])?, number(given[spatial + i])?)),
        };
        return (0..spatial).map(each).collect();
    }
    // Some writers give the batch and the channels, too.
    let wanted =
        wanted.map(|sizes| sizes.get(sizes.len().saturating_sub(spatial)..).unwrap_or_default().to_vec());
    let each = |i: usize| {
        let covered = reach(kernel[i], dilations[i])?.checked_add(number(extra[i])?).ok_or_else(overflow)?;
        // The result without pads has `(size - 1)·stride + covered + 1` elements.
        let total = match &wanted {
            None => covered.checked_add(1).and_then(|n| n.checked_sub(number(strides[i]).ok()?)),
            Some(wanted) => {
                let (Some(size), Some(&wanted)) = (sizes[i].as_size().filter(|&n| n > 0), wanted.get(i))
                else {
                    return Err(Reason::new(format!(
                        "output_shape needs the size of every axis, and one is {}; fix it",
                        sizes[i]
                    ))
                    .with(&[Setting::InputShapes]));
                };
                let spread = number(size - 1)?.checked_mul(number(strides[i])?);
                spread.and_then(|n| n.checked_add(covered)?.checked_add(1)?.checked_sub(number(wanted).ok()?))
            }
        };
        let total = total.ok_or_else(overflow)?;
        let half = total.max(0) / 2;
        Ok(if mode == "SAME_UPPER" {
            (half, total - half)
        } else {
            (total.max(0) - half, half + total.min(0))
        })
    };
    (0..spatial).map(each).collect()
}

/// The weight as the convolution has it, and its spatial extents. A constant is turned here, and keeps its name.
fn weight(call: &mut Call<'_, '_>, rank: usize, groups: usize) -> Result<(ValueId, Vec<usize>), Reason> {
    let ty = call.operand_type(1)?;
    let kernel: Option<Vec<usize>> = ty.shape.iter().skip(2).map(Dim::as_size).collect();
    let misfit = || {
        Reason::new(format!(
            "needs an input and a weight of the same rank, 3 or more, whose spatial sizes are fixed; the weight is {ty}"
        ))
    };
    let kernel = kernel.filter(|_| ty.rank() == rank && rank >= 3).ok_or_else(misfit)?;
    if let Some(Known::Constant { tensor, name, .. }) = call.known(1) {
        let (tensor, name) = (mirrored(tensor, groups)?, name.clone());
        return Ok((call.place_named(tensor, &name), kernel));
    }
    let mut w = call.value(1)?;
    for (i, &size) in kernel.iter().enumerate().filter(|(_, size)| **size > 0) {
        w = call.slice(w, i + 2, Dim::from(size - 1), Dim::from(size), -1)?;
    }
    let groups = Dim::from(groups);
    let per_group = ty.shape[0].floor_div(&groups).ok_or_else(overflow)?;
    let filters = groups.checked_mul(&ty.shape[1]).ok_or_else(overflow)?;
    let split = [vec![groups, per_group.clone()], ty.shape[1..].to_vec()].concat();
    let split = call.reshape(w, split)?;
    let perm = [0, 2, 1].into_iter().chain(3..rank + 1).collect();
    let turned = call.transpose(split, perm)?;
    let shape = [vec![filters, per_group], ty.shape[2..].to_vec()].concat();
    Ok((call.reshape(turned, shape)?, kernel))
}

/// The operand with `stride - 1` zeros after each element along each spatial axis.
fn spread(call: &mut Call<'_, '_>, x: ValueId, strides: &[usize]) -> Result<ValueId, Reason> {
    if strides.iter().all(|&stride| stride == 1) {
        return Ok(x);
    }
    let shape = call.shape(x);
    let (mut split, mut joined) = (shape[..2].to_vec(), shape[..2].to_vec());
    let mut end = vec![0, 0];
    for (size, &stride) in shape[2..].iter().zip(strides) {
        split.push(size.clone());
        end.push(0);
        if stride > 1 {
            split.push(Dim::from(1));
            end.push(stride - 1);
        }
        joined.push(size.checked_mul(&Dim::from(stride)).ok_or_else(overflow)?);
    }
    let split = call.reshape(x, split)?;
    let begin = vec![0; end.len()];
    let spread = call.op(Op::Pad(Pad { begin, end, mode: PadMode::Constant(0.0) }), &[split])?;
    call.reshape(spread, joined)
}

/// A weight `[C,M/groups,k...]` as the convolution that goes the other way has it: `[M,C/groups,k...]`, its spatial axes mirrored.
fn mirrored(weight: &Tensor, groups: usize) -> Result<Tensor, Reason> {
    let misfit = || Reason::new(format!("a weight {} does not fit {groups} groups", weight.ty()));
    let (Some(elements), &[channels, filters, ref kernel @ ..]) = (weight.as_f32(), weight.shape()) else {
        return Err(misfit());
    };
    let taps: usize = kernel.iter().product();
    let per_group = channels.checked_div(groups).filter(|n| n * groups == channels).ok_or_else(misfit)?;
    let mut result = Vec::with_capacity(elements.len());
    for group in 0..groups {
        for filter in 0..filters {
            for channel in 0..per_group {
                let start = ((group * per_group + channel) * filters + filter) * taps;
                // Mirroring every spatial axis reverses their elements.
                result.extend(elements.iter().skip(start).take(taps).rev());
            }
        }
    }
    let shape = [&[filters * groups, per_group], kernel].concat();
    Ok(Tensor::from_f32(shape, result)?)
}
