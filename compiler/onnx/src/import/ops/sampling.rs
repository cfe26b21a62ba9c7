//! Elements between elements: images sampled at computed places.
//!
//! Along each spatial axis a place is a few taps, each an index and a weight; a sample is the sum over all combinations of the taps of its axes. The
//! image is seen as rows of channels, so that each combination is one `gather`.

use super::super::call::{Call, Reason, Translated, axis, one, overflow};
use super::{Operator, operator};
use crate::error::Setting;
use twnc_ir::{Binary, Dim, ElementType, Op, Pad, PadMode, ReduceKind, Tensor, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("GridSample", 16, (2, 2), "slice, floor, round, clip, mul, add, gather, transpose", grid_sample),
    operator("AffineGrid", 20, (2, 2), "transpose, matmul, reshape", affine_grid),
    operator(
        "RoiAlign",
        10,
        (3, 3),
        "slice, floor, clip, mul, add, gather, reduce_mean or reduce_max",
        roi_align,
    ),
    operator("CenterCropPad", 18, (2, 2), "slice, pad", center_crop_pad),
];

/// Taps of places along one axis: indices (f32, whole numbers inside of the axis) and weights, all of the places' shape.
pub(super) type Taps = Vec<(ValueId, ValueId)>;

/// `[N,C,s..]` as `[N·s.., C]`, and the sizes `s`.
fn rows_of_channels(call: &mut Call<'_, '_>, x: ValueId) -> Result<(ValueId, Vec<Dim>), Reason> {
    let shape = call.shape(x);
    let [batch, channels, spatial @ ..] = shape.as_slice() else {
        return Err(Reason::new(format!("needs an image; the operand is {}", call.ty(x))));
    };
    let rank = shape.len();
    let x = call.transpose(x, (0..rank).filter(|&i| i != 1).chain([1]).collect())?;
    let rows = Dim::product([std::slice::from_ref(batch), spatial].concat().iter()).ok_or_else(overflow)?;
    Ok((call.reshape(x, vec![rows, channels.clone()])?, spatial.to_vec()))
}

/// Each combination of taps: its row of channels times its weight. `image` is the index of the image, of the places' shape or one to which that
/// broadcasts; places have `rank` axes.
fn samples(
    call: &mut Call<'_, '_>,
    rows: ValueId,
    sizes: &[Dim],
    image: ValueId,
    taps: &[Taps],
) -> Result<Vec<ValueId>, Reason> {
    let mut partial: Vec<(ValueId, Option<ValueId>)> = vec![(image, None)];
    for (taps, size) in taps.iter().zip(sizes) {
        let size = call.size(size, ElementType::I64)?;
        let mut next = vec![];
        for (place, weight) in partial {
            let place = call.binary(Binary::Mul, place, size)?;
            for &(index, own) in taps {
                let index = call.cast(index, ElementType::I64)?;
                let place = call.binary(Binary::Add, place, index)?;
                let weight = match weight {
                    Some(weight) => call.binary(Binary::Mul, weight, own)?,
                    None => own,
                };
                next.push((place, Some(weight)));
            }
        }
        partial = next;
    }
    let mut all = vec![];
    for (place, weight) in partial {
        let mut sample = call.op(Op::Gather { axis: 0 }, &[rows, place])?;
        if let Some(weight) = weight {
            let column = [call.shape(weight), vec![Dim::from(1)]].concat();
            let weight = call.reshape(weight, column)?;
            sample = call.binary(Binary::Mul, sample, weight)?;
        }
        all.push(sample);
    }
    Ok(all)
}

fn grid_sample(call: &mut Call<'_, '_>) -> Translated {
    let aligned = call.attributes.flag("align_corners", false)?;
    let mode = call.attributes.string("mode")?.unwrap_or("linear");
    let padding = call.attributes.string("padding_mode")?.unwrap_or("zeros");
    if !matches!(padding, "zeros" | "border" | "reflection") {
        return Err(Reason::new(format!("attribute `padding_mode` is `{padding}`")));
    }
    let (x, grid) = (call.value(0)?, call.value(1)?);
    let (shape, places) = (call.shape(x), call.shape(grid));
    let Some((components, outer)) = places.split_last() else {
        return Err(Reason::new("the grid (operand 1) has no axes".into()));
    };
    let spatial = shape.len().saturating_sub(2);
    if places.len() != shape.len() || components.as_size() != Some(spatial) {
        return Err(Reason::new(format!("the grid {} does not fit {}", call.ty(grid), call.ty(x))));
    }
    let (outer, grid_rank) = (outer.to_vec(), places.len());
    let (rows, sizes) = rows_of_channels(call, x)?;
    let mut taps = vec![];
    for (i, size) in sizes.iter().enumerate() {
        // The first component is that of the last axis.
        let part = call.slice(grid, grid_rank - 1, Dim::from(spatial - 1 - i), Dim::from(1), 1)?;
        let part = call.reshape(part, outer.clone())?;
        let size = call.size(size, ElementType::F32)?;
        let place = denormalised(call, part, size, aligned)?;
        taps.push(axis_taps(call, place, size, mode, padding, aligned)?);
    }
    let image = call.positions(&shape[0], 0, outer.len(), ElementType::I64)?;
    let samples = samples(call, rows, &sizes, image, &taps)?;
    let y = summed(call, samples, Binary::Add)?;
    let rank = call.ty(y).rank();
    one(call.transpose(y, [0, rank - 1].into_iter().chain(1..rank - 1).collect())?)
}

/// From -1..1 to indices of an axis: its ends are the middles of its outer elements where corners are aligned, else their edges.
fn denormalised(
    call: &mut Call<'_, '_>,
    x: ValueId,
    size: ValueId,
    aligned: bool,
) -> Result<ValueId, Reason> {
    let shifted = call.with_scalar(Binary::Add, x, 1.0)?;
    let width = if aligned { call.with_scalar(Binary::Sub, size, 1.0)? } else { size };
    let scaled = call.binary(Binary::Mul, shifted, width)?;
    let scaled = if aligned { scaled } else { call.with_scalar(Binary::Sub, scaled, 1.0)? };
    call.with_scalar(Binary::Mul, scaled, 0.5)
}

fn axis_taps(
    call: &mut Call<'_, '_>,
    place: ValueId,
    size: ValueId,
    mode: &str,
    padding: &str,
    aligned: bool,
) -> Result<Taps, Reason> {
    let unit = call.scalar(1.0);
    let raw: Taps = match mode {
        "nearest" => vec![(call.unary(Unary::Round, place)?, unit)],
        "linear" | "bilinear" => {
            let below = call.unary(Unary::Floor, place)?;
            let above = call.with_scalar(Binary::Add, below, 1.0)?;
            let part = call.binary(Binary::Sub, place, below)?;
            let rest = call.binary(Binary::Sub, unit, part)?;
            vec![(below, rest), (above, part)]
        }
        "cubic" | "bicubic" => cubic_taps(call, place, -0.75)?,
        other => return Err(Reason::new(format!("attribute `mode` is `{other}`"))),
    };
    let mut taps = vec![];
    let last = call.with_scalar(Binary::Sub, size, 1.0)?;
    for (mut index, mut weight) in raw {
        match padding {
            "zeros" => {
                let zero = call.scalar(0.0);
                let (from_start, to_end) = (call.at_most(zero, index)?, call.at_most(index, last)?);
                let inside = call.binary(Binary::Min, from_start, to_end)?;
                weight = call.binary(Binary::Keep, weight, inside)?;
            }
            "reflection" => index = reflected(call, index, size, aligned)?,
            _ => {}
        }
        let index = within(call, index, last)?;
        // A weight of one number is one for every place.
        let shape = call.shape(index);
        taps.push((index, call.broadcast(weight, shape)?));
    }
    Ok(taps)
}

/// `max(0, min(x, last))`
pub(super) fn within(call: &mut Call<'_, '_>, x: ValueId, last: ValueId) -> Result<ValueId, Reason> {
    let low = call.with_scalar(Binary::Max, x, 0.0)?;
    call.binary(Binary::Min, low, last)
}

/// The four taps around places, by the kernel of Keys with this parameter; indices may be outside of the axis.
pub(super) fn cubic_taps(call: &mut Call<'_, '_>, place: ValueId, a: f32) -> Result<Taps, Reason> {
    let below = call.unary(Unary::Floor, place)?;
    let part = call.binary(Binary::Sub, place, below)?;
    let unit = call.scalar(1.0);
    let rest = call.binary(Binary::Sub, unit, part)?;
    let mut taps = vec![];
    for (offset, distance, near) in
        [(-1.0, part, false), (0.0, part, true), (1.0, rest, true), (2.0, rest, false)]
    {
        let index = call.with_scalar(Binary::Add, below, offset)?;
        taps.push((index, cubic(call, distance, near, a)?));
    }
    Ok(taps)
}

/// The weight of an element at a distance `d` (near) or `1 + d`, by the kernel of Keys with this parameter.
fn cubic(call: &mut Call<'_, '_>, d: ValueId, near: bool, a: f32) -> Result<ValueId, Reason> {
    // Coefficients of d³ down to 1: ((a + 2)d - (a + 3))d² + 1, and a(t³ - 5t² + 8t - 4) with t = 1 + d.
    let coefficients = if near { [a + 2.0, -(a + 3.0), 0.0, 1.0] } else { [a, -2.0 * a, a, 0.0] };
    let mut sum = call.scalar(coefficients[0]);
    for coefficient in &coefficients[1..] {
        let product = call.binary(Binary::Mul, sum, d)?;
        sum = call.with_scalar(Binary::Add, product, *coefficient)?;
    }
    Ok(sum)
}

/// Mirrored at the ends of the axis as often as it takes.
fn reflected(
    call: &mut Call<'_, '_>,
    index: ValueId,
    size: ValueId,
    aligned: bool,
) -> Result<ValueId, Reason> {
    let low = if aligned { 0.0 } else { -0.5 };
    let span = if aligned { call.with_scalar(Binary::Sub, size, 1.0)? } else { size };
    // An axis of one element has no span to divide by.
    let span = call.with_scalar(Binary::Max, span, 1.0)?;
    let shifted = call.with_scalar(Binary::Sub, index, low)?;
    let distance = call.unary(Unary::Abs, shifted)?;
    let quotient = call.binary(Binary::Div, distance, span)?;
    let times = call.unary(Unary::Floor, quotient)?;
    let whole = call.binary(Binary::Mul, times, span)?;
    let rest = call.binary(Binary::Sub, distance, whole)?;
    let half = call.with_scalar(Binary::Mul, times, 0.5)?;
    let pairs = call.unary(Unary::Floor, half)?;
    let odd = call.binary(Binary::Sub, half, pairs)?;
    let back = call.binary(Binary::Sub, span, rest)?;
    let place = call.choose(odd, back, rest)?;
    call.with_scalar(Binary::Add, place, low)
}

pub(super) fn summed(call: &mut Call<'_, '_>, values: Vec<ValueId>, f: Binary) -> Result<ValueId, Reason> {
    let mut values = values.into_iter();
    let first = values.next().ok_or_else(|| Reason::new("has nothing to sum".into()))?;
    values.try_fold(first, |a, b| call.binary(f, a, b))
}

/// The most places of a grid that is made while importing.
const MAX_PLACES: usize = 1 << 22;

/// `theta` applied to the places of a grid over -1..1.
fn affine_grid(call: &mut Call<'_, '_>) -> Translated {
    let aligned = call.attributes.flag("align_corners", false)?;
    let theta = call.value(0)?;
    let Some(size) = call.dims(1, "the size")? else {
        return Err(Reason::new("the size (operand 1) is missing".into()));
    };
    let sizes: Option<Vec<usize>> = size.iter().skip(2).map(Dim::as_size).collect();
    let sizes = sizes.filter(|sizes| matches!(sizes.len(), 2 | 3) && !sizes.contains(&0));
    let count =
        sizes.as_ref().and_then(|sizes| sizes.iter().try_fold(1usize, |n, &size| n.checked_mul(size)));
    let (Some(sizes), Some(count)) = (sizes, count.filter(|&n| n <= MAX_PLACES)) else {
        return Err(Reason::new(format!(
            "size {size:?} is not one of two or three fixed spatial axes; fix it"
        ))
        .with(&[Setting::InputShapes]));
    };
    let at = |i: usize, n: usize| match (aligned, n) {
        (true, 1) => -1.0,
        (true, _) => -1.0 + 2.0 * i as f32 / (n - 1) as f32,
        (false, _) => (2 * i + 1) as f32 / n as f32 - 1.0,
    };
    let mut places = Vec::with_capacity(count * (sizes.len() + 1));
    for place in 0..count {
        let mut rest = place;
        for &n in sizes.iter().rev() {
            places.push(at(rest % n, n));
            rest /= n;
        }
        places.push(1.0);
    }
    let places = call.place_tensor(Tensor::from_f32(vec![count, sizes.len() + 1], places)?);
    let turned = call.transpose(theta, vec![0, 2, 1])?;
    let grid = call.op(Op::MatMul, &[places, turned])?;
    let batch = call.shape(theta)[0].clone();
    let spatial = sizes.iter().map(|&n| Dim::from(n));
    let shape = std::iter::once(batch).chain(spatial).chain([Dim::from(sizes.len())]).collect();
    one(call.reshape(grid, shape)?)
}

/// The mean (or largest) of `sampling_ratio²` samples in each of the bins that a region is cut into.
fn roi_align(call: &mut Call<'_, '_>) -> Translated {
    let number = |name: &str| call.attributes.int(name).map(|n| n.unwrap_or(1));
    let (height, width) = (number("output_height")?, number("output_width")?);
    let ratio = call.attributes.int("sampling_ratio")?.unwrap_or(0);
    if ratio < 1 {
        return Err(Reason::new(
            "sampling_ratio is 0: how many samples there are depends on data; export with a fixed one".into(),
        ));
    }
    let scale = call.attributes.float("spatial_scale")?.unwrap_or(1.0);
    let default = if call.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel =
        call.attributes.string("coordinate_transformation_mode")?.unwrap_or(default) == "half_pixel";
    let largest = match call.attributes.string("mode")?.unwrap_or("avg") {
        "avg" => false,
        "max" => true,
        other => return Err(Reason::new(format!("attribute `mode` is `{other}`"))),
    };
    let (x, regions, images) = (call.value(0)?, call.value(1)?, call.value(2)?);
    let (rows, sizes) = rows_of_channels(call, x)?;
    if sizes.len() != 2 || call.ty(regions).rank() != 2 {
        return Err(Reason::new(format!(
            "needs an image and regions; they are {} and {}",
            call.ty(x),
            call.ty(regions)
        )));
    }
    let count = call.shape(regions)[0].clone();
    let mut taps = vec![];
    // Regions are x1, y1, x2, y2.
    for (place, (bins, size)) in [height, width].into_iter().zip(&sizes).enumerate() {
        let mut edge = |column: usize| {
            let edge = call.slice(regions, 1, Dim::from(column), Dim::from(1), 1)?;
            let edge = call.with_scalar(Binary::Mul, edge, scale)?;
            if half_pixel { call.with_scalar(Binary::Sub, edge, 0.5) } else { Ok(edge) }
        };
        let (start, end) = (edge(1 - place)?, edge(3 - place)?);
        let mut extent = call.binary(Binary::Sub, end, start)?;
        if !half_pixel {
            extent = call.with_scalar(Binary::Max, extent, 1.0)?;
        }
        let places =
            bins.checked_mul(ratio).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0 && n <= 1 << 16);
        let places = places.ok_or_else(|| Reason::new(format!("{bins} bins of {ratio} samples")))?;
        let parts = (0..places).map(|i| (i as f32 + 0.5) / places as f32).collect();
        let parts = call.place_tensor(Tensor::from_f32(vec![1, places], parts)?);
        let offset = call.binary(Binary::Mul, extent, parts)?;
        let at = call.binary(Binary::Add, start, offset)?;
        let shape = if place == 0 {
            vec![count.clone(), Dim::from(places), Dim::from(1)]
        } else {
            vec![count.clone(), Dim::from(1), Dim::from(places)]
        };
        let at = call.reshape(at, shape)?;
        let size = call.size(size, ElementType::F32)?;
        taps.push(region_taps(call, at, size)?);
    }
    let images = call.cast(images, ElementType::I64)?;
    let images = call.reshape(images, vec![count.clone(), Dim::from(1), Dim::from(1)])?;
    let all = samples(call, rows, &sizes, images, &taps)?;
    let y = summed(call, all, if largest { Binary::Max } else { Binary::Add })?;
    let channels = call.shape(y)[3].clone();
    let [height, width, ratio] = [height, width, ratio].map(Dim::fixed);
    let split = vec![count, height, ratio.clone(), width, ratio, channels];
    let split = call.reshape(y, split)?;
    let kind = if largest { ReduceKind::Max } else { ReduceKind::Mean };
    let y = call.op(Op::Reduce { kind, axes: vec![2, 4], keep_dims: false }, &[split])?;
    one(call.transpose(y, vec![0, 3, 1, 2])?)
}

/// Two taps for places that are held at the axis' ends; those more than one element outside weigh nothing.
fn region_taps(call: &mut Call<'_, '_>, at: ValueId, size: ValueId) -> Result<Taps, Reason> {
    let lowest = call.scalar(-1.0);
    let (from_start, to_end) = (call.at_most(lowest, at)?, call.at_most(at, size)?);
    let inside = call.binary(Binary::Min, from_start, to_end)?;
    let last = call.with_scalar(Binary::Sub, size, 1.0)?;
    let at = within(call, at, last)?;
    let below = call.unary(Unary::Floor, at)?;
    let above = call.with_scalar(Binary::Add, below, 1.0)?;
    let above = call.binary(Binary::Min, above, last)?;
    let part = call.binary(Binary::Sub, at, below)?;
    let unit = call.scalar(1.0);
    let rest = call.binary(Binary::Sub, unit, part)?;
    let (rest, part) = (call.binary(Binary::Keep, rest, inside)?, call.binary(Binary::Keep, part, inside)?);
    Ok(vec![(below, rest), (above, part)])
}

/// Each axis cut to a size, or padded with zeros to it, around its middle.
fn center_crop_pad(call: &mut Call<'_, '_>) -> Translated {
    let mut x = call.value(0)?;
    let shape = call.shape(x);
    let on = match call.attributes.ints("axes")? {
        Some(list) => list.iter().map(|&a| axis(a, shape.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..shape.len()).collect(),
    };
    let wanted = call.ints(1, "the shape")?.unwrap_or_default();
    if wanted.len() != on.len() {
        return Err(Reason::new(format!("{} sizes for {} axes", wanted.len(), on.len())));
    }
    let (mut begin, mut end) = (vec![0; shape.len()], vec![0; shape.len()]);
    for (&on, wanted) in on.iter().zip(wanted) {
        let (Some(size), Ok(wanted)) = (shape[on].as_size(), usize::try_from(wanted)) else {
            return Err(Reason::new(format!(
                "axis {on} of {shape:?} is open, or its new size {wanted}; fix it"
            ))
            .with(&[Setting::InputShapes]));
        };
        if wanted <= size {
            let start = Dim::from((size - wanted) / 2);
            x = call.slice(x, on, start, Dim::from(wanted), 1)?;
        } else {
            (begin[on], end[on]) = ((wanted - size) / 2, (wanted - size).div_ceil(2));
        }
    }
    if begin.iter().chain(&end).all(|&n| n == 0) {
        return one(x);
    }
    one(call.op(Op::Pad(Pad { begin, end, mode: PadMode::Constant(0.0) }), &[x])?)
}
