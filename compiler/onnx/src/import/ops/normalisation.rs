//! Normalisations. All but batch normalisation are written out as the mathematics that defines them.

use super::super::call::{Call, Known, Reason, Translated, axes, axis, one, overflow};
use super::{Operator, operator};
use twnc_ir::{Binary, Dim, Geometry, Op, Pool, ReduceKind, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("BatchNormalization", 6, (5, 5), "batch_norm", batch),
    operator("InstanceNormalization", 6, (3, 3), "reduce_mean, sub, mul, sqrt, div, add", instance),
    operator("GroupNormalization", 18, (3, 3), "reshape, reduce_mean, sub, mul, sqrt, div, add", group),
    // Before operator set 17 it is ONNX Runtime's optimiser that writes it, in ONNX's domain.
    operator("LayerNormalization", 1, (2, 3), "reduce_mean, sub, mul, sqrt, div, add", layer),
    operator("RMSNormalization", 23, (2, 2), "mul, reduce_mean, sqrt, div", root_mean_square),
    operator("LRN", 1, (1, 1), "mul, reshape, average_pool, add, pow, div", local_response),
    operator("LpNormalization", 1, (1, 1), "abs or mul, reduce_sum, sqrt, equal, add, div", norm_of_one),
    operator("MeanVarianceNormalization", 9, (1, 1), "reduce_mean, sub, mul, sqrt, add, div", mean_variance),
];

fn batch(call: &mut Call<'_, '_>) -> Translated {
    if call.attributes.flag("training_mode", false)? {
        return batch_of_itself(call);
    }
    if !call.attributes.flag("spatial", true)? {
        return Err(Reason::new(
            "spatial is 0, which is not supported; convert the model to operator set 9".into(),
        ));
    }
    call.attributes.ignore(&["momentum"]);
    if call.opset < 7 && !call.attributes.flag("is_test", false)? {
        return Err(Reason::new("is_test is 0; export the model for inference".into()));
    }
    let epsilon = call.attributes.float("epsilon")?.unwrap_or(1e-5);
    let operands = call.values()?;
    one(call.op(Op::BatchNorm { epsilon }, &operands)?)
}

/// With the mean and variance of the operand itself. Of a weight that is what PyTorch's exporter writes for weights that are standardised; of a value that
/// depends on inputs it is training.
fn batch_of_itself(call: &mut Call<'_, '_>) -> Translated {
    let epsilon = call.attributes.float("epsilon")?.unwrap_or(1e-5);
    let momentum = call.attributes.float("momentum")?.unwrap_or(0.9);
    let x = call.value(0)?;
    if !call.is_computed_from_constants(x) {
        return Err(Reason::new(
            "training_mode is 1, so that a result depends on the other samples of the batch; export the model for inference"
                .into(),
        ));
    }
    let rank = call.ty(x).rank();
    let Some(channels) = call.shape(x).get(1).cloned() else {
        return Err(Reason::new(format!("needs rank 2 or more; the operand is {}", call.ty(x))));
    };
    for operand in 1..5 {
        let ty = call.operand_type(operand)?;
        if ty.shape != [channels.clone()] {
            return Err(Reason::new(format!("operand {operand} is {ty}, and there are {channels} channels")));
        }
    }
    let others: Vec<usize> = (0..rank).filter(|&axis| axis != 1).collect();
    let (y, mean, _) = standardised(call, x, others.clone(), epsilon)?;
    let (scale, bias) = (call.along_channels(1, rank)?, call.along_channels(2, rank)?);
    let y = call.binary(Binary::Mul, y, scale)?;
    let mut results = vec![Known::Value(call.binary(Binary::Add, y, bias)?)];
    if call.wants(1) || call.wants(2) {
        let centred = call.binary(Binary::Sub, x, mean)?;
        let squares = call.binary(Binary::Mul, centred, centred)?;
        let variance = call.reduced(ReduceKind::Mean, &others, squares)?;
        for (operand, own) in [(3, mean), (4, variance)] {
            let before = call.value(operand)?;
            let own = call.reshape(own, call.shape(before))?;
            let kept = call.with_scalar(Binary::Mul, before, momentum)?;
            let new = call.with_scalar(Binary::Mul, own, 1.0 - momentum)?;
            results.push(Known::Value(call.binary(Binary::Add, kept, new)?));
        }
    }
    Ok(results)
}

fn instance(call: &mut Call<'_, '_>) -> Translated {
    let epsilon = call.attributes.float("epsilon")?.unwrap_or(1e-5);
    let x = call.value(0)?;
    let rank = call.ty(x).rank();
    let (y, ..) = standardised(call, x, (2..rank).collect(), epsilon)?;
    let (scale, bias) = (call.along_channels(1, rank)?, call.along_channels(2, rank)?);
    let y = call.binary(Binary::Mul, y, scale)?;
    one(call.binary(Binary::Add, y, bias)?)
}

fn group(call: &mut Call<'_, '_>) -> Translated {
    let epsilon = call.attributes.float("epsilon")?.unwrap_or(1e-5);
    call.attributes.ignore(&["stash_type"]);
    let groups = call.attributes.int("num_groups")?.filter(|&n| n > 0);
    let groups = Dim::fixed(
        groups.ok_or_else(|| Reason::new("attribute `num_groups` is missing or not positive".into()))?,
    );
    let x = call.value(0)?;
    let shape = call.shape(x);
    let [batch, channels, spatial @ ..] = shape.as_slice() else {
        return Err(Reason::new(format!("needs rank 2 or more; the operand is {}", call.ty(x))));
    };
    let per_group = channels.floor_div(&groups).ok_or_else(overflow)?;
    let split = [vec![batch.clone(), groups, per_group], spatial.to_vec()].concat();
    let rank = split.len();
    let grouped = call.reshape(x, split)?;
    let (y, ..) = standardised(call, grouped, (2..rank).collect(), epsilon)?;
    // Before operator set 21 scale and bias were one a group, from then on they are one a channel.
    if call.opset < 21 {
        let (scale, bias) = (call.along_channels(1, rank)?, call.along_channels(2, rank)?);
        let y = call.binary(Binary::Mul, y, scale)?;
        let y = call.binary(Binary::Add, y, bias)?;
        return one(call.reshape(y, shape)?);
    }
    let rank = shape.len();
    let y = call.reshape(y, shape)?;
    let (scale, bias) = (call.along_channels(1, rank)?, call.along_channels(2, rank)?);
    let y = call.binary(Binary::Mul, y, scale)?;
    one(call.binary(Binary::Add, y, bias)?)
}

fn layer(call: &mut Call<'_, '_>) -> Translated {
    let epsilon = call.attributes.float("epsilon")?.unwrap_or(1e-5);
    call.attributes.ignore(&["stash_type"]);
    let x = call.value(0)?;
    let first = call.attributes.int("axis")?.unwrap_or(-1);
    layer_of(call, x, first, epsilon, (1, 2))
}

/// A value with mean 0 and deviation 1 over the axes from `first` on, by a scale and a bias, which are operands; with the mean and the deviation's
/// reciprocal as the other results.
pub(super) fn layer_of(
    call: &mut Call<'_, '_>,
    x: ValueId,
    first: i64,
    epsilon: f32,
    (scale, bias): (usize, usize),
) -> Translated {
    let rank = call.ty(x).rank();
    let first = axis(first, rank)?;
    let (y, mean, deviation) = standardised(call, x, (first..rank).collect(), epsilon)?;
    let scale = call.value(scale)?;
    let mut y = call.binary(Binary::Mul, y, scale)?;
    if let Some(bias) = call.optional(bias)? {
        y = call.binary(Binary::Add, y, bias)?;
    }
    let mut results = vec![Known::Value(y)];
    if (1..=3).any(|result| call.wants(result)) {
        results.push(Known::Value(mean));
        results.push(Known::Value(call.unary(Unary::Reciprocal, deviation)?));
    }
    Ok(results)
}

fn root_mean_square(call: &mut Call<'_, '_>) -> Translated {
    let epsilon = call.attributes.float("epsilon")?.unwrap_or(1e-5);
    call.attributes.ignore(&["stash_type"]);
    let x = call.value(0)?;
    let rank = call.ty(x).rank();
    let first = axis(call.attributes.int("axis")?.unwrap_or(-1), rank)?;
    let deviation = deviation(call, x, (first..rank).collect(), epsilon)?;
    let y = call.binary(Binary::Div, x, deviation)?;
    let scale = call.value(1)?;
    one(call.binary(Binary::Mul, y, scale)?)
}

/// `x/(bias + alpha·m)^beta` with m the mean of the squares of `size` neighbouring channels, which counts those that are not there as 0.
fn local_response(call: &mut Call<'_, '_>) -> Translated {
    let alpha = call.attributes.float("alpha")?.unwrap_or(1e-4);
    let beta = call.attributes.float("beta")?.unwrap_or(0.75);
    let bias = call.attributes.float("bias")?.unwrap_or(1.0);
    let size = call.attributes.int("size")?.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let size = size.ok_or_else(|| Reason::new("attribute `size` is missing or not positive".into()))?;
    let x = call.value(0)?;
    let shape = call.shape(x);
    let [batch, channels, spatial @ ..] = shape.as_slice() else {
        return Err(Reason::new(format!("needs rank 2 or more; the operand is {}", call.ty(x))));
    };
    let squares = call.binary(Binary::Mul, x, x)?;
    let positions = Dim::product(spatial).ok_or_else(overflow)?;
    let rows = vec![batch.clone(), Dim::from(1), channels.clone(), positions];
    let squares = call.reshape(squares, rows)?;
    let geometry =
        Geometry { pads_begin: vec![(size - 1) / 2, 0], pads_end: vec![size / 2, 0], ..Geometry::unit(2) };
    let pool = Pool { kernel: vec![size, 1], geometry, ceil: false };
    let means = call.op(Op::AveragePool { pool, count_padding: true }, &[squares])?;
    let means = call.reshape(means, shape)?;
    let scaled = call.with_scalar(Binary::Mul, means, alpha)?;
    let base = call.with_scalar(Binary::Add, scaled, bias)?;
    let divisor = call.with_scalar(Binary::Pow, base, beta)?;
    one(call.binary(Binary::Div, x, divisor)?)
}

/// `x` divided by its norm along an axis; 0 where that is 0.
fn norm_of_one(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let on = axis(call.attributes.int("axis")?.unwrap_or(-1), call.ty(x).rank())?;
    let norm = match call.attributes.int("p")?.unwrap_or(2) {
        1 => {
            let magnitudes = call.unary(Unary::Abs, x)?;
            call.reduced(ReduceKind::Sum, &[on], magnitudes)?
        }
        2 => {
            let squares = call.binary(Binary::Mul, x, x)?;
            let sum = call.reduced(ReduceKind::Sum, &[on], squares)?;
            call.unary(Unary::Sqrt, sum)?
        }
        p => return Err(Reason::new(format!("attribute `p` is {p}; accepted are 1 and 2"))),
    };
    let nothing = call.is_zero(norm)?;
    let divisor = call.binary(Binary::Add, norm, nothing)?;
    one(call.binary(Binary::Div, x, divisor)?)
}

/// `(x - mean)/(√variance + 1e-9)` over `axes`.
fn mean_variance(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let axes = axes(call.attributes.ints("axes")?.unwrap_or(&[0, 2, 3]), call.ty(x).rank())?;
    let mean = call.reduced(ReduceKind::Mean, &axes, x)?;
    let centred = call.binary(Binary::Sub, x, mean)?;
    let deviation = deviation(call, centred, axes, 0.0)?;
    let divisor = call.with_scalar(Binary::Add, deviation, 1e-9)?;
    one(call.binary(Binary::Div, centred, divisor)?)
}

/// `(x - mean)/√(variance + epsilon)` over `axes`, with the mean and the root.
fn standardised(
    call: &mut Call<'_, '_>,
    x: ValueId,
    axes: Vec<usize>,
    epsilon: f32,
) -> Result<(ValueId, ValueId, ValueId), Reason> {
    let mean = call.op(Op::Reduce { kind: ReduceKind::Mean, axes: axes.clone(), keep_dims: true }, &[x])?;
    let centred = call.binary(Binary::Sub, x, mean)?;
    let deviation = deviation(call, centred, axes, epsilon)?;
    Ok((call.binary(Binary::Div, centred, deviation)?, mean, deviation))
}

/// `√(mean(x²) + epsilon)` over `axes`.
fn deviation(call: &mut Call<'_, '_>, x: ValueId, axes: Vec<usize>, epsilon: f32) -> Result<ValueId, Reason> {
    let squares = call.binary(Binary::Mul, x, x)?;
    let mean = call.op(Op::Reduce { kind: ReduceKind::Mean, axes, keep_dims: true }, &[squares])?;
    let variance = call.with_scalar(Binary::Add, mean, epsilon)?;
    call.unary(Unary::Sqrt, variance)
}
