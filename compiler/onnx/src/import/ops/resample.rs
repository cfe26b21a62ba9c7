//! Resampling: `Resize` and `Upsample`.
//!
//! Along each axis an element of the result is a few elements of the operand, each with a weight. One with the weight 1 is a `gather`, or, where each
//! element stands so many times whatever the size of the axis, a `broadcast` along a new one; two are two `gather` and their weighted sum; more are a
//! product with the matrix of the weights. Where a size is open ([`open`]), the elements and weights are computed in the graph.

mod open;

use super::super::call::{Call, Reason, Translated, axis, one, overflow};
use super::{Operator, operator};
use crate::error::Setting;
use twnc_ir::{Binary, Data, Dim, Op, Tensor, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator(
        "Resize",
        10,
        (2, 4),
        "reshape, broadcast; gather, mul, add; matmul; iota, div, floor where a size is open",
        resize,
    ),
    operator("Upsample", 7, (1, 2), "reshape, broadcast; gather, mul, add", resize),
];

/// Between which elements a place lies, and how they count.
#[derive(Clone, Copy, PartialEq)]
enum Kernel {
    Nearest,
    Linear,
    /// By Keys, with this parameter.
    Cubic(f32),
}

/// How all axes are resized.
struct Manner<'m> {
    kernel: Kernel,
    coordinates: &'m str,
    rounding: &'m str,
    /// Whether the kernel widens where the result is smaller.
    antialias: bool,
    /// Whether elements that are not there have no weight, or are those at the edge.
    exclude_outside: bool,
    /// What a place outside of the operand gives, of `tf_crop_and_resize`.
    extrapolation: f32,
}

/// What one axis is to become.
struct Target {
    from: Dim,
    to: Dim,
    /// As the file says; else the quotient of the sizes, if it is known.
    scale: Option<f32>,
}

/// How one axis is resized.
struct Axis {
    scale: f32,
    /// The part that is resized, as parts of the axis, of `tf_crop_and_resize`.
    region: (f32, f32),
}

fn resize(call: &mut Call<'_, '_>) -> Translated {
    let mut x = call.value(0)?;
    let shape = call.shape(x);
    let manner = manner(call)?;
    let on: Vec<usize> = match call.attributes.ints("axes")? {
        Some(list) => list.iter().map(|&a| axis(a, shape.len())).collect::<Result<_, _>>()?,
        None => (0..shape.len()).collect(),
    };
    let crops = manner.coordinates == "tf_crop_and_resize";
    let regions = match call.constant(1, "the region")?.filter(|_| crops).map(Tensor::as_f32) {
        Some(Some(region)) if region.len() == 2 * on.len() => {
            region[..on.len()].iter().copied().zip(region[on.len()..].iter().copied()).collect()
        }
        None if !crops => vec![(0.0, 1.0); on.len()],
        _ => {
            return Err(Reason::new("the region (operand 1) does not have two numbers for each axis".into()));
        }
    };
    let targets = targets(call, &shape, &on)?;
    for ((&on, target), region) in on.iter().zip(targets).zip(regions) {
        if target.from != target.to || crops {
            x = resized(call, x, on, &manner, &target, region)?;
        }
    }
    one(x)
}

fn manner<'m>(call: &Call<'_, 'm>) -> Result<Manner<'m>, Reason> {
    // Operator sets 7 to 10 have neither of these attributes, and mean these.
    let old = call.opset < 11;
    let default = if old { ("asymmetric", "floor") } else { ("half_pixel", "round_prefer_floor") };
    let a = &call.attributes;
    let coordinates = a.string("coordinate_transformation_mode")?.unwrap_or(default.0);
    let rounding = a.string("nearest_mode")?.unwrap_or(default.1);
    let parameter = a.float("cubic_coeff_a")?.unwrap_or(-0.75);
    let kernel = match a.string("mode")?.unwrap_or("nearest") {
        "nearest" => Kernel::Nearest,
        "linear" | "bilinear" => Kernel::Linear,
        "cubic" => Kernel::Cubic(parameter),
        other => {
            return Err(Reason::new(format!(
                "attribute `mode` is `{other}`; accepted are nearest, linear and cubic"
            )));
        }
    };
    if !matches!(
        coordinates,
        "half_pixel"
            | "half_pixel_symmetric"
            | "pytorch_half_pixel"
            | "align_corners"
            | "asymmetric"
            | "tf_crop_and_resize"
    ) {
        return Err(Reason::new(format!(
            "coordinate_transformation_mode `{coordinates}` is not one that ONNX has"
        )));
    }
    Ok(Manner {
        kernel,
        coordinates,
        rounding,
        antialias: a.flag("antialias", false)?,
        exclude_outside: a.flag("exclude_outside", false)?,
        extrapolation: a.float("extrapolation_value")?.unwrap_or(0.0),
    })
}

/// What each axis that is resized is to become.
fn targets(call: &Call<'_, '_>, shape: &[Dim], on: &[usize]) -> Result<Vec<Target>, Reason> {
    let policy = call.attributes.string("keep_aspect_ratio_policy")?.unwrap_or("stretch");
    let operand = if call.opset < 11 { 1 } else { 2 };
    let scales = match call.attributes.floats("scales")? {
        Some(scales) => Some(scales.to_vec()),
        None => call.constant(operand, "scales")?.and_then(Tensor::as_f32).map(<[f32]>::to_vec),
    };
    if let Some(scales) = scales.filter(|scales| !scales.is_empty()) {
        if scales.len() != on.len() {
            return Err(Reason::new(format!("scales {scales:?} do not fit {} axes", on.len())));
        }
        if scales.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
            return Err(Reason::new(format!("scales {scales:?} are not all positive numbers")));
        }
        let target = |(&axis, scale): (&usize, f32)| match scaled(&shape[axis], scale) {
            Some(to) => Ok(Target { from: shape[axis].clone(), to, scale: Some(scale) }),
            None => {
                let text =
                    format!("axis {axis} of size {} is open and its scale {scale}; fix it", shape[axis]);
                Err(Reason::new(text).with(&[Setting::InputShapes, Setting::Dims]))
            }
        };
        return on.iter().zip(scales).map(target).collect();
    }
    let Some(sizes) = call.dims(3, "sizes")?.filter(|sizes| sizes.len() == on.len()) else {
        return Err(Reason::new("has neither scales nor sizes for the axes".into()));
    };
    if policy != "stretch" {
        return kept_ratio(shape, on, &sizes, policy);
    }
    let target = |(&axis, to): (&usize, Dim)| {
        let from = shape[axis].clone();
        let times = |n: &i64| from.checked_mul(&Dim::fixed(*n)).as_ref() == Some(&to);
        let scale = match (from.as_size(), to.as_size()) {
            (Some(from), Some(to)) if from > 0 => Some(to as f32 / from as f32),
            _ => to.floor_div(&from).and_then(|n| n.as_fixed()).filter(times).map(|n| n as f32),
        };
        Target { from, to, scale }
    };
    Ok(on.iter().zip(sizes).map(target).collect())
}

/// A size times a scale, rounded down: if it is open, by a scale that is a whole number of 64ths.
fn scaled(dim: &Dim, scale: f32) -> Option<Dim> {
    if let Some(n) = dim.as_size() {
        // The product is floored in f32, as ONNX's own implementation does.
        return Some(Dim::fixed((n as f32 * scale).floor() as i64));
    }
    let part = (0..=6).map(|power| 1i64 << power).find(|&part| (scale * part as f32).fract() == 0.0)?;
    let times = Some(scale * part as f32).filter(|&times| times < 1e6)?;
    dim.checked_mul(&Dim::fixed(times as i64))?.floor_div(&Dim::fixed(part))
}

/// One scale for all axes: the largest with which no size is beyond what is asked for, or the smallest with which none is below.
fn kept_ratio(shape: &[Dim], on: &[usize], sizes: &[Dim], policy: &str) -> Result<Vec<Target>, Reason> {
    let pairs: Option<Vec<(usize, usize)>> = on
        .iter()
        .zip(sizes)
        .map(|(&axis, to)| Some((shape[axis].as_size().filter(|&n| n > 0)?, to.as_size()?)))
        .collect();
    let Some(pairs) = pairs else {
        return Err(Reason::new("keep_aspect_ratio_policy needs the sizes of all axes; fix them".into())
            .with(&[Setting::InputShapes, Setting::Dims]));
    };
    let scales = pairs.iter().map(|&(from, to)| to as f32 / from as f32);
    let scale = match policy {
        "not_larger" => scales.fold(f32::INFINITY, f32::min),
        "not_smaller" => scales.fold(0.0, f32::max),
        other => {
            return Err(Reason::new(format!("keep_aspect_ratio_policy `{other}` is not one that ONNX has")));
        }
    };
    Ok(pairs
        .iter()
        .map(|&(from, _)| {
            let to = Dim::fixed((from as f32 * scale + 0.5).floor() as i64);
            Target { from: Dim::from(from), to, scale: Some(scale) }
        })
        .collect())
}

fn resized(
    call: &mut Call<'_, '_>,
    x: ValueId,
    on: usize,
    manner: &Manner<'_>,
    target: &Target,
    region: (f32, f32),
) -> Result<ValueId, Reason> {
    if manner.kernel == Kernel::Nearest
        && let Some(times) = target.scale.and_then(|scale| repeats(manner, scale))
    {
        return repeated(call, x, on, times);
    }
    if target.from == Dim::from(0) {
        return Err(Reason::new(format!("axis {on} is empty")));
    }
    let Target { from, to, scale: Some(scale) } = target else {
        return open::resized(call, x, on, manner, target);
    };
    let (Some(from), Some(to)) = (from.as_size(), to.as_size()) else {
        return open::resized(call, x, on, manner, target);
    };
    let axis = &Axis { scale: *scale, region };
    if to > MAX_SIZE {
        return Err(Reason::new(format!("resizes axis {on} from {from} to {to}, which is over {MAX_SIZE}")));
    }
    let last = from - 1;
    let positions: Vec<f32> = (0..to).map(|i| position(manner.coordinates, axis, i, from, to)).collect();
    let y = match manner.kernel {
        Kernel::Nearest => {
            let nearest = |at: &f32| rounded(*at, manner.rounding).clamp(0.0, last as f32) as i64;
            taken(call, x, on, positions.iter().map(nearest).collect())?
        }
        Kernel::Linear if !manner.antialias && !manner.exclude_outside => {
            let held: Vec<f32> = positions.iter().map(|at| at.clamp(0.0, last as f32)).collect();
            between(call, x, on, &held)?
        }
        _ => weighted(
            call,
            x,
            on,
            (from, to),
            &positions.iter().map(|&at| taps(manner, axis, at, from)).collect::<Vec<_>>(),
        )?,
    };
    if manner.coordinates != "tf_crop_and_resize" {
        return Ok(y);
    }
    let outside = |at: &f32| f32::from(u8::from(*at < 0.0 || *at > last as f32));
    let mut shape = vec![1; call.ty(y).rank()];
    shape[on] = to;
    let outside = call.place_tensor(Tensor::from_f32(shape, positions.iter().map(outside).collect())?);
    let value = call.scalar(manner.extrapolation);
    call.choose(outside, value, y)
}

/// The longest axis that is resized element by element, and the largest matrix of weights.
const MAX_SIZE: usize = 1 << 20;
const MAX_WEIGHTS: usize = 1 << 24;

/// Where the element `i` of the result lies in the operand.
fn position(coordinates: &str, axis: &Axis, i: usize, from: usize, to: usize) -> f32 {
    let (i, from, to) = (i as f32, from as f32, to as f32);
    // The size of the result before it is rounded down to a whole number.
    let whole = axis.scale * from;
    let half_pixel = (i + 0.5) / axis.scale - 0.5;
    let (start, end) = axis.region;
    match coordinates {
        "asymmetric" => i / axis.scale,
        "align_corners" if whole == 1.0 => 0.0,
        "align_corners" => i * (from - 1.0) / (whole - 1.0),
        "pytorch_half_pixel" if to == 1.0 => 0.0,
        "half_pixel_symmetric" => {
            let adjustment = to / whole;
            from / 2.0 * (1.0 - adjustment) + half_pixel
        }
        "tf_crop_and_resize" if to > 1.0 => {
            start * (from - 1.0) + i * (end - start) * (from - 1.0) / (to - 1.0)
        }
        "tf_crop_and_resize" => 0.5 * (start + end) * (from - 1.0),
        _ => half_pixel,
    }
}

/// The number of times that each element of the operand stands in the result, whatever its size.
fn repeats(manner: &Manner<'_>, scale: f32) -> Option<i64> {
    let whole = scale.fract() == 0.0 && (1.0..1e6).contains(&scale);
    let repeats = matches!(
        (manner.coordinates, manner.rounding),
        ("asymmetric", "floor")
            | ("half_pixel" | "half_pixel_symmetric", "round_prefer_floor" | "round_prefer_ceil")
    );
    (whole && repeats).then_some(scale as i64)
}

fn rounded(at: f32, rounding: &str) -> f32 {
    match rounding {
        "floor" => at.floor(),
        "ceil" => at.ceil(),
        "round_prefer_ceil" => (at + 0.5).floor(),
        _ => (at - 0.5).ceil(),
    }
}

/// The elements around a place, and their weights, which sum to 1.
fn taps(manner: &Manner<'_>, axis: &Axis, at: f32, from: usize) -> Vec<(usize, f32)> {
    let reach = if let Kernel::Cubic(_) = manner.kernel { 2.0 } else { 1.0 };
    let narrowed = if manner.antialias { axis.scale.min(1.0) } else { 1.0 };
    let first = (at - reach / narrowed).floor() as i64 + 1;
    let last = (at + reach / narrowed).ceil() as i64 - 1;
    let weight = |i: i64| {
        let distance = ((i as f32 - at) * narrowed).abs();
        match manner.kernel {
            Kernel::Cubic(a) if distance <= 1.0 => {
                ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0
            }
            Kernel::Cubic(a) if distance < 2.0 => {
                ((a * distance - 5.0 * a) * distance + 8.0 * a) * distance - 4.0 * a
            }
            Kernel::Cubic(_) => 0.0,
            Kernel::Nearest | Kernel::Linear => (1.0 - distance).max(0.0),
        }
    };
    let inside = |i: i64| usize::try_from(i).is_ok_and(|i| i < from);
    // A scale that is almost 0 would reach over everything, many times.
    let taps = (first..=last.min(first.saturating_add(4 * MAX_SIZE as i64))).map(|i| (i, weight(i)));
    let taps: Vec<(i64, f32)> = taps.filter(|&(i, _)| !manner.exclude_outside || inside(i)).collect();
    let sum: f32 = taps.iter().map(|(_, weight)| weight).sum();
    taps.iter().map(|&(i, weight)| (i.clamp(0, from as i64 - 1) as usize, weight / sum)).collect()
}

/// The product with the matrix of weights along an axis.
fn weighted(
    call: &mut Call<'_, '_>,
    x: ValueId,
    on: usize,
    (from, to): (usize, usize),
    taps: &[Vec<(usize, f32)>],
) -> Result<ValueId, Reason> {
    let count = from.checked_mul(to).filter(|&n| n <= MAX_WEIGHTS);
    let count = count.ok_or_else(|| {
        Reason::new(format!("resizes {from} to {to} elements, which takes too many weights"))
    })?;
    let mut matrix = vec![0.0; count];
    for (row, taps) in taps.iter().enumerate() {
        taps.iter().for_each(|&(i, weight)| matrix[row * from + i] += weight);
    }
    let matrix = call.place_tensor(Tensor::from_f32(vec![to, from], matrix)?);
    let mut shape = call.shape(x);
    let inner = Dim::product(&shape[on + 1..]).ok_or_else(overflow)?;
    let columns = [&shape[..=on], &[inner]].concat();
    let columns = call.reshape(x, columns)?;
    let y = call.op(Op::MatMul, &[matrix, columns])?;
    shape[on] = Dim::from(to);
    call.reshape(y, shape)
}

/// The weighted sums of the elements on both sides of places inside of the axis.
fn between(call: &mut Call<'_, '_>, x: ValueId, on: usize, places: &[f32]) -> Result<ValueId, Reason> {
    let below = taken(call, x, on, places.iter().map(|at| at.floor() as i64).collect())?;
    let above = taken(call, x, on, places.iter().map(|at| at.ceil() as i64).collect())?;
    let mut shape = vec![1; call.ty(x).rank()];
    shape[on] = places.len();
    let weights = call.place_tensor(Tensor::from_f32(shape, places.iter().map(|at| at.fract()).collect())?);
    let difference = call.binary(Binary::Sub, above, below)?;
    let part = call.binary(Binary::Mul, difference, weights)?;
    call.binary(Binary::Add, below, part)
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
