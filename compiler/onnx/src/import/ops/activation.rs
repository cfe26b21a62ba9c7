//! Activations: functions of one tensor with the parameters that networks use.

use super::super::call::{Call, Reason, Translated, one};
use super::{Operator, operator};
use twnc_ir::{Binary, Dim, ElementType, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("Relu", 6, (1, 1), "relu", |call| unary(call, Unary::Relu)),
    operator("LeakyRelu", 6, (1, 1), "leaky_relu", leaky_relu),
    operator("PRelu", 6, (2, 2), "prelu", prelu),
    operator("Clip", 6, (1, 3), "clip; max, min where a bound is not constant or not f32", clip),
    operator("Sigmoid", 6, (1, 1), "sigmoid", |call| unary(call, Unary::Sigmoid)),
    operator("Tanh", 6, (1, 1), "tanh", |call| unary(call, Unary::Tanh)),
    operator("HardSigmoid", 6, (1, 1), "hard_sigmoid", hard_sigmoid),
    operator("HardSwish", 14, (1, 1), "hard_swish", |call| unary(call, Unary::HardSwish)),
    operator("Elu", 6, (1, 1), "relu, neg, exp, sub, mul, add", elu),
    operator("Celu", 12, (1, 1), "relu, neg, div, exp, sub, mul, add", celu),
    operator("Selu", 6, (1, 1), "relu, neg, exp, sub, mul, add", selu),
    operator("Softplus", 1, (1, 1), "relu, abs, neg, exp, log, add", |call| {
        let x = call.value(0)?;
        one(softplus(call, x)?)
    }),
    operator("Softsign", 1, (1, 1), "abs, add, div", softsign),
    operator("Mish", 18, (1, 1), "relu, abs, neg, exp, log, add, tanh, mul", mish),
    operator("Gelu", 20, (1, 1), "erf or tanh, add, mul", gelu),
    operator("ThresholdedRelu", 10, (1, 1), "less, keep", thresholded_relu),
    operator("Shrink", 9, (1, 1), "less, add, keep", shrink),
    operator("Swish", 24, (1, 1), "mul, sigmoid", swish),
];

/// A function without attributes.
pub(super) fn unary(call: &mut Call<'_, '_>, f: Unary) -> Translated {
    let x = call.value(0)?;
    one(call.unary(f, x)?)
}

fn leaky_relu(call: &mut Call<'_, '_>) -> Translated {
    let slope = call.attributes.float("alpha")?.unwrap_or(0.01);
    unary(call, Unary::LeakyRelu { slope })
}

fn hard_sigmoid(call: &mut Call<'_, '_>) -> Translated {
    let alpha = call.attributes.float("alpha")?.unwrap_or(0.2);
    let beta = call.attributes.float("beta")?.unwrap_or(0.5);
    unary(call, Unary::HardSigmoid { alpha, beta })
}

fn prelu(call: &mut Call<'_, '_>) -> Translated {
    let (x, mut slope) = (call.value(0)?, call.value(1)?);
    // Before operator set 7 a slope of more than one element is one a channel.
    if call.opset < 7 && call.ty(slope).rank() == 1 && call.shape(slope)[0] != Dim::from(1) {
        slope = call.along_channels(1, call.ty(x).rank())?;
    }
    let y = call.binary(Binary::PRelu, x, slope)?;
    if !call.ty(y).is_consistent_with(call.ty(x)) {
        return Err(Reason::new(format!(
            "the slope is {}; it must broadcast to {}",
            call.ty(slope),
            call.ty(x)
        )));
    }
    one(y)
}

/// Bounds are attributes before operator set 11, operands from then on.
fn clip(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    if call.opset < 11 {
        let min = call.attributes.float("min")?.unwrap_or(f32::MIN);
        let max = call.attributes.float("max")?.unwrap_or(f32::MAX);
        return one(call.unary(Unary::Clip { min, max }, x)?);
    }
    let bound = |operand: usize, absent: f32| match call.tensor(operand) {
        Some(tensor) => tensor.as_f32().and_then(|v| v.first().copied()).filter(|_| tensor.len() == 1),
        None => (!call.has(operand)).then_some(absent),
    };
    if let (Some(min), Some(max), ElementType::F32) =
        (bound(1, f32::NEG_INFINITY), bound(2, f32::INFINITY), call.ty(x).element)
    {
        return one(call.unary(Unary::Clip { min, max }, x)?);
    }
    let element = call.ty(x).element;
    // Narrow integers are compared as i32, which holds them all.
    let wide =
        if matches!(element, ElementType::F32 | ElementType::I64) { element } else { ElementType::I32 };
    let mut y = call.cast(x, wide)?;
    for (operand, f) in [(1, Binary::Max), (2, Binary::Min)] {
        if let Some(bound) = call.optional(operand)? {
            let bound = call.cast(bound, wide)?;
            y = call.binary(f, y, bound)?;
        }
    }
    one(call.cast(y, element)?)
}

fn elu(call: &mut Call<'_, '_>) -> Translated {
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.0);
    let x = call.value(0)?;
    one(exponential_linear(call, x, alpha, 1.0)?)
}

fn celu(call: &mut Call<'_, '_>) -> Translated {
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.0);
    let x = call.value(0)?;
    one(exponential_linear(call, x, alpha, alpha)?)
}

fn selu(call: &mut Call<'_, '_>) -> Translated {
    // The defaults are those of the paper (arXiv 1706.02515), as ONNX rounds them.
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.673_263_2);
    let gamma = call.attributes.float("gamma")?.unwrap_or(1.050_701);
    let x = call.value(0)?;
    let y = exponential_linear(call, x, alpha, 1.0)?;
    one(call.with_scalar(Binary::Mul, y, gamma)?)
}

/// `max(x, 0) + alpha·(exp(min(x, 0)/width) - 1)`
fn exponential_linear(
    call: &mut Call<'_, '_>,
    x: ValueId,
    alpha: f32,
    width: f32,
) -> Result<ValueId, Reason> {
    let positive = call.unary(Unary::Relu, x)?;
    let negated = call.unary(Unary::Neg, x)?;
    let below = call.unary(Unary::Relu, negated)?;
    let mut negative = call.unary(Unary::Neg, below)?;
    if width != 1.0 {
        negative = call.with_scalar(Binary::Div, negative, width)?;
    }
    let power = call.unary(Unary::Exp, negative)?;
    let curve = call.with_scalar(Binary::Sub, power, 1.0)?;
    let scaled = call.with_scalar(Binary::Mul, curve, alpha)?;
    call.binary(Binary::Add, positive, scaled)
}

/// `log(1 + exp(x))`, as `max(x, 0) + log(1 + exp(-|x|))`, which does not overflow.
fn softplus(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    let positive = call.unary(Unary::Relu, x)?;
    let magnitude = call.unary(Unary::Abs, x)?;
    let negated = call.unary(Unary::Neg, magnitude)?;
    let power = call.unary(Unary::Exp, negated)?;
    let sum = call.with_scalar(Binary::Add, power, 1.0)?;
    let log = call.unary(Unary::Log, sum)?;
    call.binary(Binary::Add, positive, log)
}

fn softsign(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let magnitude = call.unary(Unary::Abs, x)?;
    let divisor = call.with_scalar(Binary::Add, magnitude, 1.0)?;
    one(call.binary(Binary::Div, x, divisor)?)
}

fn mish(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    let softplus = softplus(call, x)?;
    let gate = call.unary(Unary::Tanh, softplus)?;
    one(call.binary(Binary::Mul, x, gate)?)
}

fn gelu(call: &mut Call<'_, '_>) -> Translated {
    let x = call.value(0)?;
    match call.attributes.string("approximate")?.unwrap_or("none") {
        "none" => one(erf_gelu(call, x)?),
        "tanh" => one(tanh_gelu(call, x)?),
        other => {
            Err(Reason::new(format!("attribute `approximate` is `{other}`; accepted are none and tanh")))
        }
    }
}

/// `x/2·(1 + erf(x/√2))`
pub(super) fn erf_gelu(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    let scaled = call.with_scalar(Binary::Mul, x, std::f32::consts::FRAC_1_SQRT_2)?;
    let gate = call.unary(Unary::Erf, scaled)?;
    half_gated(call, x, gate)
}

/// `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`
pub(super) fn tanh_gelu(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, Reason> {
    let square = call.binary(Binary::Mul, x, x)?;
    let cube = call.binary(Binary::Mul, square, x)?;
    let term = call.with_scalar(Binary::Mul, cube, 0.044_715)?;
    let sum = call.binary(Binary::Add, x, term)?;
    let scaled = call.with_scalar(Binary::Mul, sum, (2.0 / std::f32::consts::PI).sqrt())?;
    let gate = call.unary(Unary::Tanh, scaled)?;
    half_gated(call, x, gate)
}

/// `x/2·(1 + gate)`
fn half_gated(call: &mut Call<'_, '_>, x: ValueId, gate: ValueId) -> Result<ValueId, Reason> {
    let gate = call.with_scalar(Binary::Add, gate, 1.0)?;
    let half = call.with_scalar(Binary::Mul, x, 0.5)?;
    call.binary(Binary::Mul, half, gate)
}

/// `x` where it is above `alpha`, else 0.
fn thresholded_relu(call: &mut Call<'_, '_>) -> Translated {
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.0);
    let x = call.value(0)?;
    let bound = call.scalar(alpha);
    let above = call.binary(Binary::Less, bound, x)?;
    one(call.binary(Binary::Keep, x, above)?)
}

/// `x - bias` above `lambd`, `x + bias` below its opposite, else 0.
fn shrink(call: &mut Call<'_, '_>) -> Translated {
    let bound = call.attributes.float("lambd")?.unwrap_or(0.5);
    let bias = call.attributes.float("bias")?.unwrap_or(0.0);
    let x = call.value(0)?;
    let element = call.ty(x).element;
    let x = call.cast(x, ElementType::F32)?;
    let positive = call.scalar(bound);
    let above = call.binary(Binary::Less, positive, x)?;
    let below = call.with_scalar(Binary::Less, x, -bound)?;
    let (down, up) = (call.with_scalar(Binary::Add, x, -bias)?, call.with_scalar(Binary::Add, x, bias)?);
    let (down, up) = (call.binary(Binary::Keep, down, above)?, call.binary(Binary::Keep, up, below)?);
    let y = call.binary(Binary::Add, down, up)?;
    one(call.cast(y, element)?)
}

fn swish(call: &mut Call<'_, '_>) -> Translated {
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.0);
    let x = call.value(0)?;
    let scaled = if alpha == 1.0 { x } else { call.with_scalar(Binary::Mul, x, alpha)? };
    let gate = call.unary(Unary::Sigmoid, scaled)?;
    one(call.binary(Binary::Mul, x, gate)?)
}
