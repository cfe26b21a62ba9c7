//! Convolutions, and the geometry of sliding windows that pools share.

use super::super::attributes::Attributes;
use super::super::call::{Call, Reason, Translated, one, overflow};
use super::movement::widened;
use super::{Operator, operator};
use crate::error::Setting;
use twnc_ir::{Binary, Conv, Dim, Geometry, Op, ValueId};

pub(super) const OPERATORS: &[Operator] =
    &[operator("Conv", 1, (2, 3), "conv, add; concat where a pad is open", conv)];

fn conv(call: &mut Call<'_, '_>) -> Translated {
    one(convolved(call)?)
}

/// Operands: x, w, a bias.
pub(super) fn convolved(call: &mut Call<'_, '_>) -> Result<ValueId, Reason> {
    let (x, w) = (call.value(0)?, call.value(1)?);
    let (input, weight) = (call.shape(x), call.shape(w));
    if input.len() != weight.len() || input.len() < 3 {
        return Err(Reason::new(format!(
            "needs an input and a weight of the same rank, 3 or more; they are {} and {}",
            call.ty(x),
            call.ty(w)
        )));
    }
    let kernel = weight[2..].to_vec();
    if let Some(stated) = call.attributes.sizes("kernel_shape")?
        && !(stated.len() == kernel.len()
            && stated.iter().zip(&kernel).all(|(&n, dim)| Dim::from(n).may_equal(dim)))
    {
        return Err(Reason::new(format!("kernel_shape is {stated:?}, the weight is {}", call.ty(w))));
    }
    let groups = positive(call.attributes.int("group")?.unwrap_or(1), "group")?;
    let (x, geometry) = padded(call, x, &kernel, 0.0)?;
    let y = call.op(Op::Conv(Conv { geometry, groups }), &[x, w])?;
    if !call.has(2) {
        return Ok(y);
    }
    let bias = call.along_channels(2, input.len())?;
    call.binary(Binary::Add, y, bias)
}

/// The movement of a window of the extents `kernel` over the spatial axes of `x`, from the attributes that all windowed operators have; and `x`,
/// with elements of `value` around it where `auto_pad` pads by what depends on an open size.
pub(super) fn padded(
    call: &mut Call<'_, '_>,
    mut x: ValueId,
    kernel: &[Dim],
    value: f32,
) -> Result<(ValueId, Geometry), Reason> {
    let spatial = call.shape(x).split_off(2);
    let (mut geometry, same) = movement(call, kernel, &spatial)?;
    for (axis, [begin, end]) in same.into_iter().enumerate() {
        match (begin.as_size(), end.as_size()) {
            (Some(begin), Some(end)) => (geometry.pads_begin[axis], geometry.pads_end[axis]) = (begin, end),
            _ => {
                x = widened(call, x, axis + 2, false, begin, value)?;
                x = widened(call, x, axis + 2, true, end, value)?;
            }
        }
    }
    Ok((x, geometry))
}

/// The same, where padding is not elements.
pub(super) fn geometry(call: &Call<'_, '_>, kernel: &[Dim], spatial: &[Dim]) -> Result<Geometry, Reason> {
    let (mut geometry, same) = movement(call, kernel, spatial)?;
    for (axis, [begin, end]) in same.iter().enumerate() {
        let (Some(begin), Some(end)) = (begin.as_size(), end.as_size()) else {
            let size = &spatial[axis];
            let text =
                format!("auto_pad needs the size of every spatial axis here, and one is {size}; fix it");
            return Err(Reason::new(text).with(&[Setting::InputShapes, Setting::Dims]));
        };
        (geometry.pads_begin[axis], geometry.pads_end[axis]) = (begin, end);
    }
    Ok(geometry)
}

/// The geometry but for what `auto_pad` pads, and that for each axis, at its begin and its end.
fn movement(
    call: &Call<'_, '_>,
    kernel: &[Dim],
    spatial: &[Dim],
) -> Result<(Geometry, Vec<[Dim; 2]>), Reason> {
    let rank = spatial.len();
    let a = &call.attributes;
    let (strides, dilations) = (list(a, "strides", rank, 1)?, list(a, "dilations", rank, 1)?);
    if strides.contains(&0) || dilations.contains(&0) {
        return Err(Reason::new("a stride or dilation is 0".into()));
    }
    let mut pads = list(a, "pads", 2 * rank, 0)?;
    let mut same = vec![];
    match call.attributes.string("auto_pad")?.unwrap_or("NOTSET") {
        "NOTSET" | "" => {}
        "VALID" => pads.fill(0),
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            pads.fill(0);
            for axis in 0..rank {
                let halves = same_padding(&spatial[axis], &kernel[axis], strides[axis], dilations[axis]);
                let [smaller, larger] = halves.ok_or_else(overflow)?;
                same.push(if mode == "SAME_UPPER" { [smaller, larger] } else { [larger, smaller] });
            }
        }
        other => return Err(Reason::new(format!("attribute `auto_pad` is `{other}`"))),
    }
    let pads_end = pads.split_off(rank);
    Ok((Geometry { strides, dilations, pads_begin: pads, pads_end }, same))
}

/// What must be padded for `size / stride` windows, rounded up, in halves of which the second may be one more.
fn same_padding(size: &Dim, kernel: &Dim, stride: usize, dilation: usize) -> Option<[Dim; 2]> {
    let (one, zero, two) = (Dim::from(1), Dim::from(0), Dim::from(2));
    let windows = size.ceil_div(&Dim::from(stride))?;
    let reach = kernel.checked_sub(&one)?.checked_mul(&Dim::from(dilation))?.checked_add(&one)?;
    let covered = windows.checked_sub(&one)?.checked_mul(&Dim::from(stride))?.checked_add(&reach)?;
    let total = covered.checked_sub(size)?.maximum(&zero)?;
    Some([total.floor_div(&two)?, total.checked_add(&one)?.floor_div(&two)?])
}

/// An attribute of so many sizes, or as many times the default.
pub(super) fn list(
    attributes: &Attributes<'_>,
    name: &str,
    entries: usize,
    default: usize,
) -> Result<Vec<usize>, Reason> {
    match attributes.sizes(name)? {
        Some(list) if list.len() == entries => Ok(list),
        Some(list) => {
            Err(Reason::new(format!("attribute `{name}` has {} entries; {entries} are needed", list.len())))
        }
        None => Ok(vec![default; entries]),
    }
}

/// A number that is at least 1.
pub(super) fn positive(n: i64, name: &str) -> Result<usize, Reason> {
    let n = usize::try_from(n).ok().filter(|&n| n > 0);
    n.ok_or_else(|| Reason::new(format!("attribute `{name}` is not positive")))
}
