//! Normalisations. All but batch normalisation are written out as the mathematics that defines them.

use super::super::call::{Call, Known, Reason, Translated, axis, one, overflow};
use super::{Operator, operator};
use twnc_ir::{Binary, Dim, Op, ReduceKind, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("BatchNormalization", 7, (5, 5), "batch_norm", batch),
    operator("InstanceNormalization", 7, (3, 3), "reduce_mean, sub, mul, sqrt, div, add", instance),
    operator("GroupNormalization", 18, (3, 3), "reshape, reduce_mean, sub, mul, sqrt, div, add", group),
    operator("LayerNormalization", 17, (2, 3), "reduce_mean, sub, mul, sqrt, div, add", layer),
    operator("RMSNormalization", 23, (2, 2), "mul, reduce_mean, sqrt, div", root_mean_square),
];

fn batch(call: &mut Call<'_, '_>) -> Translated {
    if call.attributes.flag("training_mode", false)? {
        return Err(Reason::new("training_mode is 1; export the model for inference".into()));
    }
    if !call.attributes.flag("spatial", true)? {
        return Err(Reason::new(
            "spatial is 0, which is not supported; convert the model to operator set 9".into(),
        ));
    }
    call.attributes.ignore(&["momentum"]);
    let epsilon = call.attributes.float("epsilon")?.unwrap_or(1e-5);
    let operands = call.values()?;
    one(call.op(Op::BatchNorm { epsilon }, &operands)?)
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
    let rank = call.ty(x).rank();
    let first = axis(call.attributes.int("axis")?.unwrap_or(-1), rank)?;
    let (y, mean, deviation) = standardised(call, x, (first..rank).collect(), epsilon)?;
    let scale = call.value(1)?;
    let mut y = call.binary(Binary::Mul, y, scale)?;
    if let Some(bias) = call.optional(2)? {
        y = call.binary(Binary::Add, y, bias)?;
    }
    let mut results = vec![Known::Value(y)];
    if call.wants(1) || call.wants(2) {
        results.push(Known::Value(mean));
    }
    if call.wants(2) {
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
