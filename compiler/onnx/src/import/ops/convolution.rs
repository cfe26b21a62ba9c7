//! Convolutions, and the geometry of sliding windows that pools share.

use super::super::attributes::Attributes;
use super::super::call::{Call, Reason, Translated, one, overflow};
use super::{Operator, operator};
use crate::error::Setting;
use twnc_ir::{Binary, Conv, Dim, Geometry, Op, Pad, PadMode, ValueId};

pub(super) const OPERATORS: &[Operator] =
    &[operator("Conv", 1, (2, 3), "conv, add; pad, slice where a pad is open", conv)];

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
    let shape = call.shape(x);
    let (mut geometry, same) = movement(call, kernel, &shape[2..])?;
    let mut around = vec![0; shape.len()];
    let mut parts = vec![];
    for (axis, Same { begin, end, reach, covered }) in same.into_iter().enumerate() {
        match (begin.as_size(), end.as_size()) {
            (Some(begin), Some(end)) => (geometry.pads_begin[axis], geometry.pads_end[axis]) = (begin, end),
            _ => {
                // As much as there can be on either side, of which what is covered is taken: so its size is one that divides.
                let most = reach.as_size().ok_or_else(|| open_kernel(&reach))? / 2;
                around[axis + 2] = most;
                let start = Dim::from(most).checked_sub(&begin).ok_or_else(overflow)?;
                parts.push((axis + 2, start, covered));
            }
        }
    }
    if !parts.is_empty() {
        let pad = Pad { begin: around.clone(), end: around, mode: PadMode::Constant(value) };
        x = call.op(Op::Pad(pad), &[x])?;
    }
    for (axis, start, size) in parts {
        x = call.slice(x, axis, start, size, 1)?;
    }
    Ok((x, geometry))
}

fn open_kernel(reach: &Dim) -> Reason {
    Reason::new(format!("auto_pad needs the size of the window, which is {reach}; fix it"))
        .with(&[Setting::InputShapes, Setting::Dims])
}

/// The same, where padding is not elements.
pub(super) fn geometry(call: &Call<'_, '_>, kernel: &[Dim], spatial: &[Dim]) -> Result<Geometry, Reason> {
    let (mut geometry, same) = movement(call, kernel, spatial)?;
    for (axis, Same { begin, end, .. }) in same.iter().enumerate() {
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

/// What `auto_pad` pads an axis by.
struct Same {
    begin: Dim,
    end: Dim,
    /// What a window covers, and all windows do.
    reach: Dim,
    covered: Dim,
}

/// The geometry but for what `auto_pad` pads, and that for each axis.
fn movement(call: &Call<'_, '_>, kernel: &[Dim], spatial: &[Dim]) -> Result<(Geometry, Vec<Same>), Reason> {
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
                let mut this = Same::of(&spatial[axis], &kernel[axis], strides[axis], dilations[axis])
                    .ok_or_else(overflow)?;
                if mode == "SAME_LOWER" {
                    std::mem::swap(&mut this.begin, &mut this.end);
                }
                same.push(this);
            }
        }
        other => return Err(Reason::new(format!("attribute `auto_pad` is `{other}`"))),
    }
    let pads_end = pads.split_off(rank);
    Ok((Geometry { strides, dilations, pads_begin: pads, pads_end }, same))
}

impl Same {
    /// For `size / stride` windows, rounded up; the end may get one more than the begin.
    fn of(size: &Dim, kernel: &Dim, stride: usize, dilation: usize) -> Option<Same> {
        let (one, zero, two) = (Dim::from(1), Dim::from(0), Dim::from(2));
        let windows = size.ceil_div(&Dim::from(stride))?;
        let reach = kernel.checked_sub(&one)?.checked_mul(&Dim::from(dilation))?.checked_add(&one)?;
        let covered = windows.checked_sub(&one)?.checked_mul(&Dim::from(stride))?.checked_add(&reach)?;
        let total = covered.checked_sub(size)?.maximum(&zero)?;
        let (begin, end) = (total.floor_div(&two)?, total.checked_add(&one)?.floor_div(&two)?);
        Some(Same { begin, end, reach, covered })
    }
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
