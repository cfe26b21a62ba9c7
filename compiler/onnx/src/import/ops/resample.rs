//! Resampling: `Resize`, `Upsample` and `ConvTranspose`, by what the closed set has.
//!
//! Along each axis a resized tensor is a `gather` at the nearest element, or two of them and their weighted sum. Where the
//! nearest elements are each one repeated, which does not depend on the size of the axis, it is a `broadcast` along a new one. A
//! transposed convolution is a convolution, by the mirrored kernel, of the operand with zeros between its elements.

use super::super::call::{Call, Known, Reason, Translated, axis, one, overflow};
use super::convolution::{list, positive};
use super::{Operator, operator};
use crate::error::Setting;
use twnc_ir::{Binary, Conv, Data, Dim, Geometry, Op, Pad, PadMode, Slice, Tensor, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Resize", 10, (2, 4), "reshape, broadcast; gather, mul, add", resize),
    operator("Upsample", 7, (1, 2), "reshape, broadcast; gather, mul, add", resize),
    operator("ConvTranspose", 7, (2, 3), "reshape, pad, slice, conv, add", conv_transpose),
];

/// How one axis is resized.
struct Axis<'m> {
    /// Its size, if it is not open.
    from: Option<usize>,
    /// The size of the result.
    to: Dim,
    scale: f32,
    coordinates: &'m str,
    rounding: &'m str,
}

fn resize(call: &mut Call<'_, '_>) -> Translated {
    let mut x = call.value(0)?;
    let shape = call.shape(x);
    let old = call.opset < 11;
    // Operator sets 7 to 10 have neither of these attributes, and mean these.
    let default = if old { ("asymmetric", "floor") } else { ("half_pixel", "round_prefer_floor") };
    let coordinates = call.attributes.string("coordinate_transformation_mode")?.unwrap_or(default.0);
    let rounding = call.attributes.string("nearest_mode")?.unwrap_or(default.1);
    let linear = match call.attributes.string("mode")?.unwrap_or("nearest") {
        "nearest" => false,
        "linear" | "bilinear" => true,
        other => return Err(Reason::new(format!("mode `{other}` is not supported; nearest and linear are"))),
    };
    if !matches!(
        coordinates,
        "half_pixel" | "half_pixel_symmetric" | "pytorch_half_pixel" | "align_corners" | "asymmetric"
    ) {
        return Err(Reason::new(format!("coordinate_transformation_mode `{coordinates}` is not supported")));
    }
    if call.attributes.flag("antialias", false)? {
        return Err(Reason::new("antialias is not supported".into()));
    }
    if !matches!(call.attributes.string("keep_aspect_ratio_policy")?.unwrap_or("stretch"), "stretch") {
        return Err(Reason::new("keep_aspect_ratio_policy is not supported".into()));
    }
    // They say how cubic interpolation and cropping behave, which are refused.
    call.attributes.ignore(&["cubic_coeff_a", "exclude_outside", "extrapolation_value"]);
    let on: Vec<usize> = match call.attributes.ints("axes")? {
        Some(list) => list.iter().map(|&a| axis(a, shape.len())).collect::<Result<_, _>>()?,
        None => (0..shape.len()).collect(),
    };
    let axes = targets(call, &shape, &on)?;
    for (&on, (scale, to)) in on.iter().zip(axes) {
        let from = shape[on].as_size();
        if shape[on] != to {
            x = resized(call, x, on, linear, &Axis { from, to, scale, coordinates, rounding })?;
        }
    }
    one(x)
}

/// The scale and the new size of each axis that is resized.
fn targets(call: &Call<'_, '_>, shape: &[Dim], on: &[usize]) -> Result<Vec<(f32, Dim)>, Reason> {
    let operand = if call.opset < 11 { 1 } else { 2 };
    let scales = match call.attributes.floats("scales")? {
        Some(scales) => Some(scales.to_vec()),
        None => call.constant(operand, "scales")?.and_then(Tensor::as_f32).map(<[f32]>::to_vec),
    };
    if let Some(scales) = scales.filter(|scales| !scales.is_empty()) {
        if scales.len() != on.len() || scales.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(Reason::new(format!("scales {scales:?} do not fit {} axes", on.len())));
        }
        let size = |dim: &Dim, scale: f32| match dim.as_size() {
            // The product is floored in f32, as ONNX's own implementation does.
            Some(n) => Some(Dim::fixed((n as f32 * scale).floor() as i64)),
            None if scale.fract() == 0.0 && scale < 1e6 => dim.checked_mul(&Dim::fixed(scale as i64)),
            None => None,
        };
        let target = |(&axis, scale): (&usize, f32)| match size(&shape[axis], scale) {
            Some(to) => Ok((scale, to)),
            None => Err(Reason::new(format!("axis {axis} is open and its scale {scale}; fix it"))
                .with(&[Setting::InputShapes])),
        };
        return on.iter().zip(scales).map(target).collect();
    }
    let Some(sizes) = call.dims(3, "sizes")?.filter(|sizes| sizes.len() == on.len()) else {
        return Err(Reason::new("has neither scales nor sizes for the axes".into()));
    };
    let target = |(&axis, to): (&usize, Dim)| {
        let from = &shape[axis];
        let scale = match (from.as_size(), to.as_size()) {
            (Some(from), Some(to)) if from > 0 => Some(to as f32 / from as f32),
            _ => to
                .floor_div(from)
                .and_then(|n| n.as_fixed())
                .filter(|&n| from.checked_mul(&Dim::fixed(n)) == Some(to.clone()))
                .map(|n| n as f32),
        };
        scale.map(|scale| (scale, to)).ok_or_else(|| {
            Reason::new(format!("axis {axis} of size {from} is open; fix it")).with(&[Setting::InputShapes])
        })
    };
    on.iter().zip(sizes).map(target).collect()
}

fn resized(
    call: &mut Call<'_, '_>,
    x: ValueId,
    on: usize,
    linear: bool,
    axis: &Axis<'_>,
) -> Result<ValueId, Reason> {
    if !linear && let Some(times) = axis.repeats() {
        return repeated(call, x, on, times);
    }
    let (Some(from), Some(to)) = (axis.from, axis.to.as_size().filter(|&n| n <= MAX_SIZE)) else {
        return Err(Reason::new(format!("axis {on} is open, and this mode needs its size; fix it"))
            .with(&[Setting::InputShapes]));
    };
    let Some(last) = from.checked_sub(1) else {
        return Err(Reason::new(format!("axis {on} is empty")));
    };
    let positions = (0..to).map(|i| axis.position(i, from, to));
    if !linear {
        let nearest = positions.map(|at| rounded(at, axis.rounding).clamp(0.0, last as f32) as i64);
        return taken(call, x, on, nearest.collect());
    }
    let positions: Vec<f32> = positions.map(|at| at.clamp(0.0, last as f32)).collect();
    let below = taken(call, x, on, positions.iter().map(|at| at.floor() as i64).collect())?;
    let above = taken(call, x, on, positions.iter().map(|at| at.ceil() as i64).collect())?;
    let mut shape = vec![1; call.ty(x).rank()];
    shape[on] = to;
    let weights =
        call.place_tensor(Tensor::from_f32(shape, positions.iter().map(|at| at.fract()).collect())?);
    let difference = call.binary(Binary::Sub, above, below)?;
    let part = call.binary(Binary::Mul, difference, weights)?;
    call.binary(Binary::Add, below, part)
}

/// The longest axis that is resized element by element.
const MAX_SIZE: usize = 1 << 20;

impl Axis<'_> {
    /// Where the element `i` of the result lies in the operand.
    fn position(&self, i: usize, from: usize, to: usize) -> f32 {
        let (i, from, to) = (i as f32, from as f32, to as f32);
        // The size of the result before it is rounded down to a whole number.
        let whole = self.scale * from;
        let half_pixel = (i + 0.5) / self.scale - 0.5;
        match self.coordinates {
            "asymmetric" => i / self.scale,
            "align_corners" if whole == 1.0 => 0.0,
            "align_corners" => i * (from - 1.0) / (whole - 1.0),
            "pytorch_half_pixel" if to == 1.0 => 0.0,
            "half_pixel_symmetric" => {
                let adjustment = to / whole;
                from / 2.0 * (1.0 - adjustment) + half_pixel
            }
            _ => half_pixel,
        }
    }

    /// The number of times that each element of the operand stands in the result, whatever its size.
    fn repeats(&self) -> Option<i64> {
        let whole = self.scale.fract() == 0.0 && self.scale >= 1.0 && self.scale < 1e6;
        let repeats = matches!(
            (self.coordinates, self.rounding),
            ("asymmetric", "floor")
                | ("half_pixel" | "half_pixel_symmetric", "round_prefer_floor" | "round_prefer_ceil")
        );
        (whole && repeats).then_some(self.scale as i64)
    }
}

fn rounded(at: f32, rounding: &str) -> f32 {
    match rounding {
        "floor" => at.floor(),
        "ceil" => at.ceil(),
        "round_prefer_ceil" => (at + 0.5).floor(),
        _ => (at - 0.5).ceil(),
    }
}

fn taken(call: &mut Call<'_, '_>, x: ValueId, axis: usize, indices: Vec<i64>) -> Result<ValueId, Reason> {
    let indices = call.place_tensor(Tensor::new(vec![indices.len()], Data::I64(indices.into()))?);
    call.op(Op::Gather { axis }, &[x, indices])
}

fn repeated(call: &mut Call<'_, '_>, x: ValueId, axis: usize, times: i64) -> Result<ValueId, Reason> {
    let mut shape = call.shape(x);
    let size = shape[axis].checked_mul(&Dim::fixed(times)).ok_or_else(overflow)?;
    shape.insert(axis + 1, Dim::from(1));
    let split = call.reshape(x, shape.clone())?;
    shape[axis + 1] = Dim::fixed(times);
    let wide = call.op(Op::Broadcast { shape: shape.clone() }, &[split])?;
    shape.remove(axis + 1);
    shape[axis] = size;
    call.reshape(wide, shape)
}

fn conv_transpose(call: &mut Call<'_, '_>) -> Translated {
    let mut x = call.value(0)?;
    let rank = call.ty(x).rank();
    let groups = positive(call.attributes.int("group")?.unwrap_or(1), "group")?;
    let Some(Known::Constant { tensor, name, .. }) = call.known(1) else {
        return Err(Reason::new("the weight (operand 1) is not constant".into()));
    };
    let (weight, name) = (mirrored(tensor, groups)?, name.clone());
    let kernel = weight.shape().get(2..).unwrap_or_default().to_vec();
    let spatial = kernel.len();
    if spatial == 0 || spatial + 2 != rank {
        return Err(Reason::new(format!(
            "needs an input and a weight of the same rank, 3 or more; the input is {}",
            call.ty(x)
        )));
    }
    if call.attributes.sizes("kernel_shape")?.is_some_and(|stated| stated != kernel) {
        return Err(Reason::new(format!("kernel_shape is not that of the weight, {kernel:?}")));
    }
    if !matches!(call.attributes.string("auto_pad")?.unwrap_or("NOTSET"), "NOTSET" | "VALID" | "") {
        return Err(Reason::new(
            "auto_pad is supported as NOTSET and VALID only; export explicit pads".into(),
        ));
    }
    if call.attributes.ints("output_shape")?.is_some() {
        return Err(Reason::new("output_shape is not supported; export explicit pads".into()));
    }
    let a = &call.attributes;
    let (strides, dilations) = (list(a, "strides", spatial, 1)?, list(a, "dilations", spatial, 1)?);
    let (pads, extra) = (list(a, "pads", 2 * spatial, 0)?, list(a, "output_padding", spatial, 0)?);
    if strides.contains(&0) || dilations.contains(&0) {
        return Err(Reason::new("a stride or dilation is 0".into()));
    }
    let w = call.place_named(weight, &name);
    let mut geometry = Geometry { dilations: dilations.clone(), ..Geometry::unit(spatial) };
    for i in 0..spatial {
        x = spread(call, x, i + 2, strides[i])?;
        let number = |n: usize| i64::try_from(n).map_err(|_| overflow());
        let reach =
            kernel[i].checked_sub(1).and_then(|n| n.checked_mul(dilations[i])).ok_or_else(overflow)?;
        let (reach, trailing) = (number(reach)?, number(strides[i] - 1)?);
        let begin = reach.checked_sub(number(pads[i])?).ok_or_else(overflow)?;
        let end = reach
            .checked_sub(number(pads[spatial + i])?)
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

/// The operand with `stride - 1` zeros after each element along an axis.
fn spread(call: &mut Call<'_, '_>, x: ValueId, axis: usize, stride: usize) -> Result<ValueId, Reason> {
    if stride == 1 {
        return Ok(x);
    }
    let mut shape = call.shape(x);
    let size = shape[axis].checked_mul(&Dim::from(stride)).ok_or_else(overflow)?;
    shape.insert(axis + 1, Dim::from(1));
    let split = call.reshape(x, shape.clone())?;
    let (begin, mut end) = (vec![0; shape.len()], vec![0; shape.len()]);
    end[axis + 1] = stride - 1;
    let spread = call.op(Op::Pad(Pad { begin, end, mode: PadMode::Constant(0.0) }), &[split])?;
    shape.remove(axis + 1);
    shape[axis] = size;
    call.reshape(spread, shape)
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
