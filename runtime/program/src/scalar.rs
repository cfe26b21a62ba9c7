//! Element-wise functions of f32, as values. Their meaning is [`Unary::apply`] and [`Binary::apply`]: every path of the
//! runtime computes the same bits for the functions marked *exact*, and stays within 4 ulp for the others.

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// `0` if `x < 0`, else `x`: NaN and -0 stay. Exact.
    Relu,
    /// `slope * x` if `x < 0`, else `x`. Exact.
    LeakyRelu {
        /// Factor for negative numbers.
        slope: f32,
    },
    /// First `min` where `x < min`, then `max` where `x > max`; NaN stays. Exact.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `alpha * x + beta` (rounded twice), clipped to 0..1. Exact.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x * HardSigmoid(1/6, 0.5)(x)`. Exact.
    HardSwish,
    /// `-x`. Exact.
    Neg,
    /// `|x|`. Exact.
    Abs,
    /// The square root, NaN for negative numbers. Exact.
    Sqrt,
    /// `1 / x`. Exact.
    Reciprocal,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// The exponential.
    Exp,
    /// The natural logarithm.
    Log,
    /// The error function.
    Erf,
    /// The sine of an angle in radians.
    Sin,
    /// The cosine of an angle in radians.
    Cos,
    /// The angle whose tangent it is, in radians.
    Atan,
    /// The largest whole number that is not larger. Exact.
    Floor,
    /// The nearest whole number, ties to even; keeps the sign. Exact.
    Round,
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`. Exact.
    Add,
    /// `a - b`. Exact.
    Sub,
    /// `a * b`. Exact.
    Mul,
    /// `a / b`. Exact.
    Div,
    /// The smaller; NaN if either is NaN; -0 is smaller than +0. Exact.
    Min,
    /// The larger; NaN if either is NaN; +0 is larger than -0. Exact.
    Max,
    /// `a` raised to `b`.
    Pow,
    /// `b * a` if `a < 0`, else `a`: a leaky relu whose slope is a tensor. Exact.
    PRelu,
    /// 1 if `a < b`, else 0. Exact.
    Less,
    /// 1 if `a` and `b` are equal, else 0. Exact.
    Equal,
    /// `a` where `b` is not 0 (NaN is not), else 0. Exact.
    Keep,
}

impl Unary {
    /// Whether it is defined for i32 and i64 too, wrapping on overflow.
    pub fn takes_integers(self) -> bool {
        matches!(self, Unary::Relu | Unary::Neg | Unary::Abs)
    }

    /// Whether the epilogue of a layer may end with it.
    pub fn is_activation(self) -> bool {
        !matches!(self, Unary::Sin | Unary::Cos | Unary::Atan)
    }

    /// The function's value for an i32 (sign-extended) or i64; for one that does not [take integers](Unary::takes_integers), its
    /// argument.
    pub fn apply_integer(self, x: i64) -> i64 {
        match self {
            Unary::Relu => x.max(0),
            Unary::Neg => x.wrapping_neg(),
            Unary::Abs => x.wrapping_abs(),
            _ => x,
        }
    }

    /// The function's value.
    pub fn apply(self, x: f32) -> f32 {
        match self {
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
            Unary::Clip { min, max } => {
                let x = if x < min { min } else { x };
                if x > max { max } else { x }
            }
            Unary::HardSigmoid { alpha, beta } => Unary::Clip { min: 0.0, max: 1.0 }.apply(alpha * x + beta),
            Unary::HardSwish => x * Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }.apply(x),
            Unary::Neg => -x,
            Unary::Abs => x.abs(),
            Unary::Sqrt => x.sqrt(),
            Unary::Reciprocal => 1.0 / x,
            Unary::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Unary::Tanh => x.tanh(),
            Unary::Exp => x.exp(),
            Unary::Log => x.ln(),
            Unary::Erf => erf(f64::from(x)) as f32,
            Unary::Sin => f64::from(x).sin() as f32,
            Unary::Cos => f64::from(x).cos() as f32,
            Unary::Atan => f64::from(x).atan() as f32,
            Unary::Floor => x.floor(),
            Unary::Round => x.round_ties_even(),
        }
    }
}

impl Binary {
    /// Whether it is defined for i32 and i64 too, wrapping on overflow.
    pub fn takes_integers(self) -> bool {
        !matches!(self, Binary::Pow | Binary::PRelu)
    }

    /// The function's value for integers, before it is wrapped to their width; `None` for a division by zero and for a function that does
    /// not [take integers](Binary::takes_integers).
    pub fn apply_integer(self, a: i64, b: i64) -> Option<i64> {
        Some(match self {
            Binary::Add => a.wrapping_add(b),
            Binary::Sub => a.wrapping_sub(b),
            Binary::Mul => a.wrapping_mul(b),
            Binary::Div if b == 0 => return None,
            Binary::Div => a.wrapping_div(b),
            Binary::Min => a.min(b),
            Binary::Max => a.max(b),
            Binary::Less => i64::from(a < b),
            Binary::Equal => i64::from(a == b),
            Binary::Keep if b == 0 => 0,
            Binary::Keep => a,
            Binary::Pow | Binary::PRelu => return None,
        })
    }

    /// The function's value.
    pub fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Min => minimum(a, b),
            Binary::Max => -minimum(-a, -b),
            Binary::Pow => a.powf(b),
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
}

/// IEEE 754-2019 minimum: NaN wins, -0 < +0.
fn minimum(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() {
        f32::NAN
    } else if a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    }
}

/// The error function to about 1e-15: its Taylor series near 0, a continued fraction for its complement further out
/// (Abramowitz and Stegun 7.1.6 and 7.1.14).
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    let value = if a < 2.5 {
        let (mut term, mut sum) = (a, a);
        for n in 1..80 {
            term *= 2.0 * a * a / (2.0 * f64::from(n) + 1.0);
            sum += term;
        }
        sum * (-a * a).exp() * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let mut fraction = 0.0;
        for n in (1..60).rev() {
            fraction = f64::from(n) / 2.0 / (a + fraction);
        }
        1.0 - (-a * a).exp() / ((a + fraction) * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}
