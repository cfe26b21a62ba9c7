//! Functions of one or two numbers, batch normalisation and casts.

use super::{EvalError, f32s, moves};
use crate::infer::TypeError;
use crate::op::{Binary, Unary};
use crate::tensor::{Data, Tensor};
use crate::types::ElementType;
use std::f64::consts::FRAC_2_SQRT_PI;
use std::sync::Arc;

pub(super) fn unary(f: Unary, x: &Tensor) -> Result<Data, EvalError> {
    if let Some(x) = x.as_f32() {
        return Ok(Data::F32(x.iter().map(|&x| unary_f32(f, x)).collect()));
    }
    let function = match f {
        Unary::Neg => i64::wrapping_neg,
        Unary::Abs => i64::wrapping_abs,
        Unary::Relu => |n: i64| n.max(0),
        _ => return Err(not_defined(f.mnemonic(), x)),
    };
    let results = Data::I64(integers(x.data()).into_iter().map(function).collect());
    // Narrowing wraps, so that 64 bits compute what fewer would.
    Ok(convert(x.element(), &results))
}

/// Operands broadcast to the shape of the result.
pub(super) fn binary(f: Binary, a: &Tensor, b: &Tensor, result: &[usize]) -> Result<Data, EvalError> {
    let (left, right) = (moves::broadcast(a, result), moves::broadcast(b, result));
    if let (Data::F32(left), Data::F32(right)) = (&left, &right) {
        return Ok(Data::F32(left.iter().zip(right.iter()).map(|(&a, &b)| binary_f32(f, a, b)).collect()));
    }
    let function = |(m, n): (i64, i64)| {
        Ok(match f {
            Binary::Add => m.wrapping_add(n),
            Binary::Sub => m.wrapping_sub(n),
            Binary::Mul => m.wrapping_mul(n),
            Binary::Div if n == 0 => return Err(EvalError::DivisionByZero),
            Binary::Div => m.wrapping_div(n),
            Binary::Min => m.min(n),
            Binary::Max => m.max(n),
            Binary::Less => i64::from(m < n),
            Binary::Equal => i64::from(m == n),
            Binary::Keep => m * i64::from(n != 0),
            Binary::Pow | Binary::PRelu => return Err(not_defined(f.mnemonic(), a)),
        })
    };
    let results = integers(&left).into_iter().zip(integers(&right)).map(function);
    Ok(convert(a.element(), &Data::I64(results.collect::<Result<_, _>>()?)))
}

/// In f64 from the f32 parameters, rounded once. `parameters` are scale, bias, mean and variance.
pub(super) fn batch_norm(epsilon: f32, x: &Tensor, parameters: &[Tensor]) -> Result<Data, EvalError> {
    let parameters: Vec<&[f32]> = parameters.iter().map(f32s).collect::<Result<_, _>>()?;
    let [scale, bias, mean, variance] = parameters.as_slice() else {
        return Err(not_defined("batch_norm", x));
    };
    let parameter = |list: &[f32], channel: usize| f64::from(list[channel]);
    let plane: usize = x.shape()[2..].iter().product();
    let normalised = f32s(x)?.iter().enumerate().map(|(i, &x)| {
        let channel = i / plane % scale.len();
        let deviation = (parameter(variance, channel) + f64::from(epsilon)).sqrt();
        let centred = f64::from(x) - parameter(mean, channel);
        (parameter(scale, channel) * centred / deviation + parameter(bias, channel)) as f32
    });
    Ok(Data::F32(normalised.collect()))
}

pub(super) fn cast(to: ElementType, x: &Tensor) -> Result<Data, EvalError> {
    match (to, x.element()) {
        (ElementType::Ternary, _) | (_, ElementType::Ternary) => Err(not_defined("cast", x)),
        (to, from) if to == from => Ok(x.data().clone()),
        _ => Ok(convert(to, x.data())),
    }
}

/// A function of one f32, exactly as its documentation says.
pub(super) fn unary_f32(f: Unary, x: f32) -> f32 {
    let wide = f64::from(x);
    match f {
        Unary::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Unary::LeakyRelu { slope } => {
            if x < 0.0 {
                slope * x
            } else {
                x
            }
        }
        Unary::Clip { min, max } => clip(x, min, max),
        Unary::HardSigmoid { alpha, beta } => clip(alpha * x + beta, 0.0, 1.0),
        Unary::HardSwish => x * clip(1.0 / 6.0 * x + 0.5, 0.0, 1.0),
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sqrt => x.sqrt(),
        Unary::Reciprocal => 1.0 / x,
        Unary::Sigmoid => (1.0 / (1.0 + (-wide).exp())) as f32,
        Unary::Tanh => wide.tanh() as f32,
        Unary::Exp => wide.exp() as f32,
        Unary::Log => wide.ln() as f32,
        Unary::Erf => erf(wide) as f32,
        Unary::Sin => wide.sin() as f32,
        Unary::Cos => wide.cos() as f32,
        Unary::Atan => wide.atan() as f32,
        Unary::Floor => x.floor(),
        Unary::Round => x.round_ties_even(),
    }
}

/// A function of two f32, exactly as its documentation says.
pub(super) fn binary_f32(f: Binary, a: f32, b: f32) -> f32 {
    match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Min | Binary::Max if a.is_nan() || b.is_nan() => f32::NAN,
        Binary::Min => std::cmp::min_by(a, b, f32::total_cmp),
        Binary::Max => std::cmp::max_by(a, b, f32::total_cmp),
        Binary::Pow => f64::from(a).powf(f64::from(b)) as f32,
        Binary::PRelu => {
            if a < 0.0 {
                b * a
            } else {
                a
            }
        }
        Binary::Less => f32::from(u8::from(a < b)),
        Binary::Equal => f32::from(u8::from(a == b)),
        Binary::Keep if b == 0.0 => 0.0,
        Binary::Keep => a,
    }
}

/// Integers and truth values, as 64 bits; of other elements, nothing.
pub(super) fn integers(data: &Data) -> Vec<i64> {
    match data {
        Data::I8(v) => v.iter().map(|&n| n.into()).collect(),
        Data::U8(v) => v.iter().map(|&n| n.into()).collect(),
        Data::I16(v) => v.iter().map(|&n| n.into()).collect(),
        Data::I32(v) => v.iter().map(|&n| n.into()).collect(),
        Data::I64(v) => v.to_vec(),
        Data::Bool(v) => v.iter().map(|&n| n.into()).collect(),
        Data::F32(_) | Data::Ternary(_) => vec![],
    }
}

/// Elements of another type; see [`crate::Op::Cast`]. `to` is not ternary.
fn convert(to: ElementType, data: &Data) -> Data {
    fn each<T>(data: &Data, from_float: fn(f32) -> T, from_integer: fn(i64) -> T) -> Arc<[T]> {
        match data {
            Data::F32(v) => v.iter().map(|&x| from_float(x)).collect(),
            _ => integers(data).into_iter().map(from_integer).collect(),
        }
    }
    // `as` is the definition: floats truncate and saturate, NaN gives 0, integers wrap, and round to f32.
    match to {
        ElementType::F32 => Data::F32(each(data, |x| x, |n| n as f32)),
        ElementType::I8 | ElementType::Ternary => Data::I8(each(data, |x| x as i8, |n| n as i8)),
        ElementType::U8 => Data::U8(each(data, |x| x as u8, |n| n as u8)),
        ElementType::I16 => Data::I16(each(data, |x| x as i16, |n| n as i16)),
        ElementType::I32 => Data::I32(each(data, |x| x as i32, |n| n as i32)),
        ElementType::I64 => Data::I64(each(data, |x| x as i64, |n| n)),
        ElementType::Bool => Data::Bool(each(data, |x| x != 0.0, |n| n != 0)),
    }
}

fn clip(x: f32, min: f32, max: f32) -> f32 {
    let raised = if x < min { min } else { x };
    if raised > max { max } else { raised }
}

/// The error function, to about 1e-15: `2/√π · exp(-x²) · Σ 2ⁿ x²ⁿ⁺¹ / (1·3·5···(2n+1))` (Abramowitz and Stegun 7.1.6), whose
/// terms all have one sign.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() >= 6.0 {
        // From 6 on the result is 1 to 64 bits.
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > sum.abs() * f64::EPSILON / 4.0 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

fn not_defined(op: &'static str, x: &Tensor) -> EvalError {
    TypeError::Element { op, operand: 0, ty: x.ty().to_string() }.into()
}
