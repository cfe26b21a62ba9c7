//! What ONNX Runtime's own tools write in its domain, `com.microsoft`: nodes that its optimiser fused, and the integers of its quantiser's
//! operators. They are read as the operators of ONNX that they stand for.

use super::super::call::{Call, Known, Reason, Translated, axis, one};
use super::integer::{centred, requantised};
use super::{MANY, Operator, activation, convolution, linear, normalisation, operator, pool};
use twnc_ir::{Binary, ElementType, Op, ReduceKind, Unary, ValueId};

pub(super) const OPERATORS: &[Operator] = &[
    operator("com.microsoft::Gelu", 1, (1, 1), "erf, add, mul", |call| {
        let x = call.value(0)?;
        one(activation::erf_gelu(call, x)?)
    }),
    operator("com.microsoft::BiasGelu", 1, (2, 2), "add, erf, mul", |call| {
        let x = biased(call)?;
        one(activation::erf_gelu(call, x)?)
    }),
    operator("com.microsoft::FastGelu", 1, (1, 2), "add, tanh, mul", |call| {
        let x = biased(call)?;
        one(activation::tanh_gelu(call, x)?)
    }),
    operator("com.microsoft::QuickGelu", 1, (1, 1), "mul, sigmoid", quick_gelu),
    operator("com.microsoft::FusedConv", 1, (2, 4), "conv, add, and the activation", fused_conv),
    operator("com.microsoft::FusedGemm", 1, (2, 3), "as Gemm, and the activation", fused_gemm),
    operator("com.microsoft::FusedMatMul", 1, (2, 2), "transpose, matmul, mul", fused_matmul),
    operator(
        "com.microsoft::SkipLayerNormalization",
        1,
        (3, 5),
        "add, reduce_mean, sub, mul, sqrt, div",
        skip_layer_normalisation,
    ),
    operator("com.microsoft::QLinearAdd", 1, (7, 8), "cast, sub, mul, add, div, round, clip", |call| {
        of_two(call, Binary::Add)
    }),
    operator("com.microsoft::QLinearMul", 1, (7, 8), "cast, sub, mul, div, round, add, clip", |call| {
        of_two(call, Binary::Mul)
    }),
    operator(
        "com.microsoft::QLinearSigmoid",
        1,
        (4, 5),
        "cast, sub, mul, sigmoid, div, round, add, clip",
        |call| of_one(call, |call, x| call.unary(Unary::Sigmoid, x)),
    ),
    operator(
        "com.microsoft::QLinearLeakyRelu",
        1,
        (4, 5),
        "cast, sub, mul, leaky_relu, div, round, add, clip",
        |call| {
            let slope = call.attributes.float("alpha")?.unwrap_or(0.01);
            of_one(call, |call, x| call.unary(Unary::LeakyRelu { slope }, x))
        },
    ),
    operator(
        "com.microsoft::QLinearSoftmax",
        1,
        (4, 5),
        "cast, sub, mul, softmax, div, round, add, clip",
        softmax,
    ),
    operator(
        "com.microsoft::QLinearGlobalAveragePool",
        1,
        (4, 5),
        "cast, sub, mul, reduce_mean, div, round, add, clip",
        global_average_pool,
    ),
    operator(
        "com.microsoft::QLinearAveragePool",
        1,
        (4, 5),
        "cast, sub, mul, average_pool, div, round, add, clip",
        average_pool,
    ),
    operator(
        "com.microsoft::QLinearConcat",
        1,
        (5, MANY),
        "cast, sub, mul, concat, div, round, add, clip",
        concat,
    ),
    operator(
        "com.microsoft::QGemm",
        1,
        (6, 9),
        "cast, sub, transpose, matmul, add, mul, div, round, clip",
        gemm,
    ),
];

/// The first operand, and the second added to it if it is given.
fn biased(call: &mut Call<'_, '_>) -> Result<ValueId, Reason> {
    let x = call.value(0)?;
    match call.optional(1)? {
        Some(bias) => call.binary(Binary::Add, x, bias),
        None => Ok(x),
    }
}

/// `x·sigmoid(alpha·x)`
fn quick_gelu(call: &mut Call<'_, '_>) -> Translated {
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.702);
    let x = call.value(0)?;
    let scaled = call.with_scalar(Binary::Mul, x, alpha)?;
    let gate = call.unary(Unary::Sigmoid, scaled)?;
    one(call.binary(Binary::Mul, x, gate)?)
}

/// The function that a fused node ends with, and its parameters.
fn activated(call: &mut Call<'_, '_>, y: ValueId, parameters: [Option<f32>; 2]) -> Translated {
    let [first, second] = parameters;
    let f = match call.attributes.string("activation")?.unwrap_or("") {
        "" => return one(y),
        "Relu" => Unary::Relu,
        "Sigmoid" => Unary::Sigmoid,
        "Tanh" => Unary::Tanh,
        "LeakyRelu" => Unary::LeakyRelu { slope: first.unwrap_or(0.01) },
        "Clip" => Unary::Clip { min: first.unwrap_or(f32::MIN), max: second.unwrap_or(f32::MAX) },
        "HardSigmoid" => Unary::HardSigmoid { alpha: first.unwrap_or(0.2), beta: second.unwrap_or(0.5) },
        other => {
            return Err(Reason::new(format!("attribute `activation` is `{other}`, which is not supported")));
        }
    };
    one(call.unary(f, y)?)
}

/// A sum that has the shape of what is added to.
fn added(call: &mut Call<'_, '_>, y: ValueId, other: ValueId) -> Result<ValueId, Reason> {
    let sum = call.binary(Binary::Add, y, other)?;
    if !call.ty(sum).is_consistent_with(call.ty(y)) {
        let (other, y) = (call.ty(other), call.ty(y));
        return Err(Reason::new(format!("what is added is {other}; it must broadcast to {y}")));
    }
    Ok(sum)
}

/// Operands: x, w, a bias, and what is added before the activation.
fn fused_conv(call: &mut Call<'_, '_>) -> Translated {
    let parameters = call.attributes.floats("activation_params")?.unwrap_or_default();
    let mut y = convolution::convolved(call)?;
    if let Some(other) = call.optional(3)? {
        y = added(call, y, other)?;
    }
    activated(call, y, [parameters.first().copied(), parameters.get(1).copied()])
}

fn fused_gemm(call: &mut Call<'_, '_>) -> Translated {
    let parameters = [call.attributes.float("activation_alpha")?, call.attributes.float("activation_beta")?];
    call.attributes.ignore(&["activation_gamma"]);
    let y = linear::affine(call)?;
    activated(call, y, parameters)
}

fn fused_matmul(call: &mut Call<'_, '_>) -> Translated {
    for batch in ["transBatchA", "transBatchB"] {
        if call.attributes.flag(batch, false)? {
            return Err(Reason::new(format!("attribute `{batch}` is 1, which is not supported")));
        }
    }
    let mut operands = vec![];
    for (operand, turns) in ["transA", "transB"].into_iter().enumerate() {
        let turned = call.attributes.flag(turns, false)?;
        let rank = call.operand_type(operand)?.rank();
        operands.push(match rank {
            _ if !turned => call.value(operand)?,
            2 => call.transposed_matrix(operand)?,
            3.. => {
                let x = call.value(operand)?;
                call.transpose(x, (0..rank - 2).chain([rank - 1, rank - 2]).collect())?
            }
            _ => {
                return Err(Reason::new(format!(
                    "operand {operand} has {rank} axes; to be transposed it needs 2"
                )));
            }
        });
    }
    let y = call.op(Op::MatMul, &operands)?;
    match call.attributes.float("alpha")?.unwrap_or(1.0) {
        1.0 => one(y),
        alpha => one(call.with_scalar(Binary::Mul, y, alpha)?),
    }
}

/// Operands: x, what is added to it, a scale, a bias, and a vector that is added before the norm. The fourth result is the sum.
fn skip_layer_normalisation(call: &mut Call<'_, '_>) -> Translated {
    let epsilon = call.attributes.float("epsilon")?.unwrap_or(1e-12);
    let (x, skip) = (call.value(0)?, call.value(1)?);
    let mut sum = call.binary(Binary::Add, x, skip)?;
    if let Some(bias) = call.optional(4)? {
        sum = call.binary(Binary::Add, sum, bias)?;
    }
    let mut results = normalisation::layer_of(call, sum, -1, epsilon, (2, 3))?;
    if call.wants(3) {
        results.push(Known::Value(sum));
    }
    Ok(results)
}

/// What integers stand for: `(x - zero)·scale`. Operands `at` and the two behind it.
fn real(call: &mut Call<'_, '_>, at: usize) -> Result<ValueId, Reason> {
    let x = centred(call, at, at + 2, usize::MAX)?;
    let scale = call.value(at + 1)?;
    let scale = call.reshape(scale, vec![])?;
    call.binary(Binary::Mul, x, scale)
}

fn of_one(
    call: &mut Call<'_, '_>,
    f: impl Fn(&mut Call<'_, '_>, ValueId) -> Result<ValueId, Reason>,
) -> Translated {
    let x = real(call, 0)?;
    let y = f(call, x)?;
    requantised(call, y, 3)
}

fn of_two(call: &mut Call<'_, '_>, f: Binary) -> Translated {
    let (a, b) = (real(call, 0)?, real(call, 3)?);
    let y = call.binary(f, a, b)?;
    requantised(call, y, 6)
}

fn softmax(call: &mut Call<'_, '_>) -> Translated {
    // Of the operator set that the softmax was of: before 13 all axes from the first on.
    let together = call.attributes.int("opset")?.unwrap_or(13) < 13;
    let first = call.attributes.int("axis")?.unwrap_or(-1);
    of_one(call, |call, x| {
        let rank = call.ty(x).rank();
        let first = axis(first, rank)?;
        let axes = if together { (first..rank).collect() } else { vec![first] };
        call.op(Op::Softmax { axes }, &[x])
    })
}

/// Channels are axis 1.
fn channels_first(call: &mut Call<'_, '_>) -> Result<(), Reason> {
    match call.attributes.flag("channels_last", false)? {
        true => Err(Reason::new("attribute `channels_last` is 1, which is not supported".into())),
        false => Ok(()),
    }
}

fn global_average_pool(call: &mut Call<'_, '_>) -> Translated {
    channels_first(call)?;
    of_one(call, |call, x| {
        let axes: Vec<usize> = (2..call.ty(x).rank()).collect();
        call.reduced(ReduceKind::Mean, &axes, x)
    })
}

fn average_pool(call: &mut Call<'_, '_>) -> Translated {
    channels_first(call)?;
    of_one(call, pool::averaged)
}

/// Operands: scale and zero point of the result, then each part with its own.
fn concat(call: &mut Call<'_, '_>) -> Translated {
    let count = call.operand_count();
    if count % 3 != 2 {
        return Err(Reason::new(format!("has {count} operands; a part has three, the result two")));
    }
    let parts = (2..count).step_by(3).map(|at| real(call, at)).collect::<Result<Vec<_>, _>>()?;
    let rank = parts.first().map_or(0, |&part| call.ty(part).rank());
    let along = call.attributes.int("axis")?;
    let along = along.ok_or_else(|| Reason::new("attribute `axis` is missing".into()))?;
    let y = call.op(Op::Concat { axis: axis(along, rank)? }, &parts)?;
    requantised(call, y, 0)
}

/// Operands: a and b, each with its scale and zero point, a bias in units of the product of the scales, and scale and zero point of the result;
/// without these it is FLOAT. Scales of b may be one a column.
fn gemm(call: &mut Call<'_, '_>) -> Translated {
    let alpha = call.attributes.float("alpha")?.unwrap_or(1.0);
    let turned = [call.attributes.flag("transA", false)?, call.attributes.flag("transB", false)?];
    // Zero points of b lie along its columns, which are its rows before it is turned.
    let mut a = centred(call, 0, 2, usize::MAX)?;
    let mut b = centred(call, 3, 5, usize::from(!turned[1]))?;
    if call.ty(a).rank() != 2 || call.ty(b).rank() != 2 {
        return Err(Reason::new(format!(
            "multiplies matrices; the operands are {} and {}",
            call.ty(a),
            call.ty(b)
        )));
    }
    for (operand, turned) in [&mut a, &mut b].into_iter().zip(turned) {
        if turned {
            *operand = call.transpose(*operand, vec![1, 0])?;
        }
    }
    let mut y = call.op(Op::MatMul, &[a, b])?;
    if let Some(bias) = call.optional(6)? {
        let bias = call.cast(bias, ElementType::F32)?;
        y = added(call, y, bias)?;
    }
    let (first, second) = (call.value(1)?, call.value(4)?);
    let scale = call.binary(Binary::Mul, first, second)?;
    let scale = call.with_scalar(Binary::Mul, scale, alpha)?;
    let y = call.binary(Binary::Mul, y, scale)?;
    if call.has(7) { requantised(call, y, 7) } else { one(y) }
}
