//! Windows put back into an image: each element goes to the place that it was taken from, and places that several reach are summed.

use super::super::call::{Call, Reason, Translated, one, overflow};
use super::convolution::list;
use super::indexing::flat;
use super::{Operator, operator};
use crate::error::Setting;
use twnc_ir::{Combine, Dim, Op, Pad, PadMode};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Col2Im", 18, (3, 3), "reshape, transpose, broadcast, scatter, slice", columns_to_image),
    operator("MaxUnpool", 9, (2, 3), "reshape, broadcast, scatter, pad", max_unpool),
];

/// The most elements of windows whose places are found while importing.
const MAX_PLACES: usize = 1 << 22;

/// `[N, C·taps, windows]` to `[N, C, image..]`. Elements of the padding go to one more row, which is then left out.
fn columns_to_image(call: &mut Call<'_, '_>) -> Translated {
    let sizes = |operand: usize, what: &str| -> Result<Vec<usize>, Reason> {
        let given = call.ints(operand, what)?.unwrap_or_default();
        let sizes: Option<Vec<usize>> =
            given.iter().map(|&n| usize::try_from(n).ok().filter(|&n| n > 0)).collect();
        sizes.ok_or_else(|| {
            Reason::new(format!("{what} (operand {operand}) is {given:?}; sizes are positive"))
        })
    };
    let (image, block) = (sizes(1, "the image's shape")?, sizes(2, "the block's shape")?);
    let rank = image.len();
    if block.len() != rank || rank == 0 {
        return Err(Reason::new(format!("a block of shape {block:?} for an image of shape {image:?}")));
    }
    let a = &call.attributes;
    let (strides, dilations) = (list(a, "strides", rank, 1)?, list(a, "dilations", rank, 1)?);
    let pads = list(a, "pads", 2 * rank, 0)?;
    if strides.contains(&0) || dilations.contains(&0) {
        return Err(Reason::new("a stride or dilation is 0".into()));
    }
    // For each axis and each pair of tap and window, the place along it; none for padding.
    let mut along: Vec<Vec<Vec<Option<usize>>>> = vec![];
    for i in 0..rank {
        let count = || {
            let padded = image[i].checked_add(pads[i])?.checked_add(pads[rank + i])?;
            let reach = (block[i] - 1).checked_mul(dilations[i])?.checked_add(1)?;
            Some(padded.checked_sub(reach)? / strides[i] + 1)
        };
        let count = count().filter(|count| count.checked_mul(block[i]).is_some_and(|n| n <= MAX_PLACES));
        let count = count.ok_or_else(|| {
            Reason::new(format!("a block of {} does not fit {} elements", block[i], image[i]))
        })?;
        let place = |tap: usize, window: usize| {
            (window * strides[i] + tap * dilations[i]).checked_sub(pads[i]).filter(|&place| place < image[i])
        };
        along.push((0..block[i]).map(|tap| (0..count).map(|window| place(tap, window)).collect()).collect());
    }
    let windows = along.iter().map(|taps| taps[0].len());
    let windows = windows
        .clone()
        .try_fold(1usize, |n, count| n.checked_mul(count))
        .map(|total| (windows.collect::<Vec<_>>(), total));
    let taps = block.iter().try_fold(1usize, |n, &taps| n.checked_mul(taps));
    let pixels = image.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).filter(|&n| n <= MAX_PLACES);
    let (Some((counts, windows)), Some(taps), Some(pixels)) = (windows, taps, pixels) else {
        return Err(overflow());
    };
    let total = taps.checked_mul(windows).filter(|&n| n <= MAX_PLACES);
    let total = total.ok_or_else(|| Reason::new(format!("{taps} taps of {windows} windows are too many")))?;
    let place = |n: usize| {
        let (mut tap, mut window) = (n / windows, n % windows);
        let (mut place, mut stride) = (0, 1);
        for i in (0..rank).rev() {
            place += along[i][tap % block[i]][window % counts[i]]? * stride;
            stride *= image[i];
            (tap, window) = (tap / block[i], window / counts[i]);
        }
        Some(place)
    };
    let places = (0..total).map(|n| place(n).unwrap_or(pixels) as i64).collect();

    let x = call.value(0)?;
    let shape = call.shape(x);
    let [batch, columns, found] = shape.as_slice() else {
        return Err(Reason::new(format!("needs three axes; the operand is {}", call.ty(x))));
    };
    if !found.may_equal(&Dim::from(windows)) {
        return Err(Reason::new(format!(
            "has {found} windows where the image has {windows}; check pads and strides"
        )));
    }
    let channels = columns.floor_div(&Dim::from(taps)).ok_or_else(overflow)?;
    let split = vec![batch.clone(), channels.clone(), Dim::from(taps), Dim::from(windows)];
    let split = call.reshape(x, split)?;
    let rows = call.transpose(split, vec![2, 3, 0, 1])?;
    let row = vec![batch.clone(), channels.clone()];
    let rows = call.reshape(rows, [vec![Dim::from(total)], row.clone()].concat())?;
    let zero = call.scalar(0.0);
    let empty = call.broadcast(zero, [vec![Dim::from(pixels + 1)], row.clone()].concat())?;
    let places = call.whole_numbers(places)?;
    let y = call.op(Op::Scatter { combine: Some(Combine::Add) }, &[empty, places, rows])?;
    let y = call.slice(y, 0, Dim::from(0), Dim::from(pixels), 1)?;
    let y = call.reshape(y, [image.iter().map(|&n| Dim::from(n)).collect(), row].concat())?;
    one(call.transpose(y, [rank, rank + 1].into_iter().chain(0..rank).collect())?)
}

/// Zeros, but where the indices put the elements of the operand.
fn max_unpool(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let mut shape = call.shape(x);
    let spatial = shape.len().saturating_sub(2);
    let Some(kernel) =
        call.attributes.sizes("kernel_shape")?.filter(|kernel| kernel.len() == spatial && spatial > 0)
    else {
        return Err(Reason::new("attribute `kernel_shape` is missing or does not fit the operand".into()));
    };
    let a = &call.attributes;
    let (strides, pads) = (list(a, "strides", spatial, 1)?, list(a, "pads", 2 * spatial, 0)?);
    // The indices count the elements of what was pooled if nothing was cut off.
    for i in 0..spatial {
        let size = || {
            let steps = shape[i + 2].checked_sub(&Dim::from(1))?.checked_mul(&Dim::from(strides[i]))?;
            let pads = Dim::from(pads[i]).checked_add(&Dim::from(pads[spatial + i]))?;
            steps.checked_add(&Dim::from(kernel[i]))?.checked_sub(&pads)
        };
        shape[i + 2] = size().ok_or_else(overflow)?;
    }
    if shape.iter().any(Dim::is_negative) {
        return Err(
            Reason::new(format!("the shape {shape:?} has a negative size")).with(&[Setting::InputShapes])
        );
    }
    let indices = call.value(1)?;
    let (indices, x) = (flat(call, indices)?, flat(call, x)?);
    let zero = call.scalar(0.0);
    let empty = call.broadcast(zero, vec![Dim::product(&shape).ok_or_else(overflow)?])?;
    let y = call.op(Op::Scatter { combine: None }, &[empty, indices, x])?;
    let y = call.reshape(y, shape.clone())?;
    let Some(wanted) = call.dims(2, "the shape")? else { return one(y) };
    // What is larger has zeros behind.
    let more: Option<Vec<usize>> = if wanted.len() == shape.len() {
        wanted.iter().zip(&shape).map(|(wanted, size)| wanted.checked_sub(size)?.as_size()).collect()
    } else {
        None
    };
    let Some(end) = more else {
        return Err(Reason::new(format!("the shape {wanted:?} is not {shape:?} or larger by fixed sizes")));
    };
    if end.iter().all(|&n| n == 0) {
        return one(y);
    }
    one(call.op(Op::Pad(Pad { begin: vec![0; end.len()], end, mode: PadMode::Constant(0.0) }), &[y])?)
}
