//! The element-wise functions of [`twnc_program::scalar`], as operations on vectors, whatever their width.
//!
//! Those that are marked exact there give the same bits here, lane by lane. The others stay within 4 units in the last
//! place of the true value wherever that is a normal number, and give the same bits with every kind of [`Vectors`]; polynomials have the
//! coefficients of Cephes (Moshier, 1989), those of the error function are by N. Juffa (2013).

mod portable;
mod power;
#[cfg(all(target_arch = "x86_64", unix))]
pub(crate) mod registers;
#[cfg(all(target_arch = "x86_64", unix))]
pub(crate) mod wide;

use crate::measure::Measured;
pub(crate) use power::Quarters;
use std::f32::consts::{LN_2 as LN_2_NEAREST, LOG2_E};
use twnc_program::scalar::{Binary, Unary};
use twnc_program::step::MapInstruction;

/// Adding it rounds a number below 2^22 to an integer, which then is in the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first of which has so few bits that small multiples of it are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// What code on vectors is written with: lanes of 32 bits, f32 or integers as an operation takes them.
pub(crate) trait Vectors {
    /// A vector.
    type Vector: Copy;

    /// These bits in every lane.
    fn bits(&mut self, bits: u32) -> Self::Vector;

    /// An operation on a vector.
    fn one(&mut self, operation: One, x: Self::Vector) -> Self::Vector;

    /// An operation on two vectors.
    fn two(&mut self, operation: Two, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `yes` where the comparison of f32 holds of `a` and `b`, elsewhere `no`.
    fn choose(
        &mut self,
        compare: Compare,
        between: [Self::Vector; 2],
        yes_no: [Self::Vector; 2],
    ) -> Self::Vector;
}

/// Operations on a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum One {
    /// The square root, of f32.
    Root,
    /// The f32 of integers.
    FromIntegers,
    /// `x << bits`, of integers.
    Left(u32),
    /// `x >> bits`, of integers, zeros coming in.
    Right(u32),
    /// `x >> bits`, of integers, the sign coming in.
    RightSigned(u32),
}

/// Operations on two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Two {
    /// `a + b`, of f32.
    Add,
    /// `a - b`, of f32.
    Subtract,
    /// `a * b`, of f32.
    Multiply,
    /// `a / b`, of f32.
    Divide,
    /// As [`Binary::Min`].
    Smaller,
    /// `a & b`, of bits.
    And,
    /// `a | b`, of bits.
    Or,
    /// `a ^ b`, of bits.
    Differ,
    /// `a + b`, of integers.
    AddIntegers,
    /// `a - b`, of integers.
    SubtractIntegers,
}

/// Comparisons of f32; none holds of NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Less,
    Greater,
    Equal,
}

/// Writes functions with [`Vectors`].
pub(crate) struct Elementwise<'a, V>(pub &'a mut V);

/// Whether [`Elementwise`] can emit it.
pub(crate) fn emits(instruction: &MapInstruction) -> bool {
    match instruction {
        MapInstruction::Unary(f, _) => f.is_activation(),
        MapInstruction::Binary(..) => true,
    }
}

impl<V: Vectors> Elementwise<'_, V> {
    /// The result of a map's code, all of which this module [`emits`]; `values` are its inputs, and `exponents` what is known of them.
    pub fn code(
        &mut self,
        code: &[MapInstruction],
        mut values: Vec<V::Vector>,
        exponents: &[Option<Quarters>],
    ) -> Option<V::Vector> {
        for instruction in code {
            values.push(match *instruction {
                MapInstruction::Unary(f, a) => self.unary(f, values[usize::from(a)]),
                MapInstruction::Binary(Binary::Pow, a, b) => {
                    let exponent = exponents.get(usize::from(b)).copied().flatten();
                    let (a, b) = (values[usize::from(a)], values[usize::from(b)]);
                    match exponent {
                        Some(exponent) => self.power_of_quarters(a, exponent),
                        None => self.power(a, b),
                    }
                }
                MapInstruction::Binary(f, a, b) => {
                    self.binary(f, values[usize::from(a)], values[usize::from(b)])
                }
            });
        }
        values.pop()
    }

    /// `function(x)`, for one that this module [`emits`] (an activation always is); otherwise `x`.
    pub fn unary(&mut self, function: Unary, x: V::Vector) -> V::Vector {
        match function {
            Unary::Relu => {
                let zero = self.number(0.0);
                self.replace_less(x, zero, zero)
            }
            Unary::LeakyRelu { slope } => {
                let (zero, slope) = (self.number(0.0), self.number(slope));
                let scaled = self.mul(slope, x);
                self.replace_less(x, zero, scaled)
            }
            Unary::Clip { min, max } => self.clip(x, min, max),
            Unary::HardSigmoid { alpha, beta } => {
                let (alpha, beta) = (self.number(alpha), self.number(beta));
                let product = self.mul(alpha, x);
                let sum = self.add(product, beta);
                self.clip(sum, 0.0, 1.0)
            }
            Unary::HardSwish => {
                let gate = self.unary(Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x);
                self.mul(x, gate)
            }
            Unary::Neg => self.negative(x),
            Unary::Abs => self.magnitude(x),
            Unary::Sqrt => self.0.one(One::Root, x),
            Unary::Reciprocal => {
                let one = self.number(1.0);
                self.0.two(Two::Divide, one, x)
            }
            Unary::Sigmoid => {
                let negative = self.negative(x);
                let exp = self.exp(negative);
                let one = self.number(1.0);
                let sum = self.add(one, exp);
                self.0.two(Two::Divide, one, sum)
            }
            Unary::Tanh => self.tanh(x),
            Unary::Exp => self.exp(x),
            Unary::Log => self.log(x),
            Unary::Erf => self.erf(x),
            Unary::Floor => self.floor(x),
            Unary::Round => self.round(x),
            Unary::Sin | Unary::Cos | Unary::Atan => x,
        }
    }

    /// `function(a, b)`.
    pub fn binary(&mut self, function: Binary, a: V::Vector, b: V::Vector) -> V::Vector {
        match function {
            Binary::Add => self.add(a, b),
            Binary::Sub => self.0.two(Two::Subtract, a, b),
            Binary::Mul => self.mul(a, b),
            Binary::Div => self.0.two(Two::Divide, a, b),
            Binary::Min => self.0.two(Two::Smaller, a, b),
            Binary::Max => {
                let (a, b) = (self.negative(a), self.negative(b));
                let smaller = self.0.two(Two::Smaller, a, b);
                self.negative(smaller)
            }
            Binary::PRelu => {
                let zero = self.number(0.0);
                let scaled = self.mul(b, a);
                self.replace_less(a, zero, scaled)
            }
            Binary::Less => {
                let (one, zero) = (self.number(1.0), self.number(0.0));
                self.choose(Compare::Less, a, b, one, zero)
            }
            Binary::Equal => {
                let (one, zero) = (self.number(1.0), self.number(0.0));
                self.choose(Compare::Equal, a, b, one, zero)
            }
            Binary::Keep => {
                let zero = self.number(0.0);
                self.choose(Compare::Equal, b, zero, zero, a)
            }
            Binary::Pow => self.power(a, b),
        }
    }

    /// The larger; `a` where either is NaN or both are equal.
    pub fn larger(&mut self, a: V::Vector, b: V::Vector) -> V::Vector {
        self.choose(Compare::Greater, b, a, b, a)
    }

    /// The larger, lane by lane, of what was largest so far and of `x` as it is measured; what is not finite does not count.
    pub fn largest_finite(&mut self, so_far: V::Vector, x: V::Vector, measured: Measured) -> V::Vector {
        let magnitude = self.magnitude(x);
        let (infinity, zero) = (self.number(f32::INFINITY), self.number(0.0));
        let value = if measured == Measured::Magnitudes { magnitude } else { x };
        let finite = self.choose(Compare::Less, magnitude, infinity, value, zero);
        self.larger(so_far, finite)
    }

    /// The integers nearest to `x · inverse`, ties to even, from `low` to `high`, whose magnitudes are below 2^22; 0 for NaN,
    /// and the ends for infinite `x`.
    pub fn rounded(&mut self, x: V::Vector, inverse: V::Vector, low: f32, high: f32) -> V::Vector {
        let scaled = self.mul(x, inverse);
        let magnitude = self.magnitude(x);
        let (infinity, zero) = (self.number(f32::INFINITY), self.number(0.0));
        let scaled = self.choose(Compare::Equal, magnitude, infinity, x, scaled);
        let scaled = self.choose(Compare::Equal, scaled, scaled, scaled, zero);
        let clipped = self.clip(scaled, low, high);
        let round = self.number(ROUND);
        let rounded = self.add(clipped, round);
        self.integer_of(rounded)
    }

    /// `exp(x - y)`.
    pub fn exp_of_difference(&mut self, x: V::Vector, y: V::Vector) -> V::Vector {
        let difference = self.0.two(Two::Subtract, x, y);
        self.exp(difference)
    }

    /// To about 1 unit in the last place: 2^n · e^r with |r| at most ln 2 / 2.
    fn exp(&mut self, x: V::Vector) -> V::Vector {
        // Beyond these bounds the result is 0 or infinite.
        let x = self.clip(x, -104.0, 89.0);
        let (factor, round) = (self.number(LOG2_E), self.number(ROUND));
        let scaled = self.mul(x, factor);
        let rounded = self.add(scaled, round);
        let n = self.0.two(Two::Subtract, rounded, round);
        let mut r = x;
        for part in LN_2 {
            let part = self.number(part);
            let product = self.mul(n, part);
            r = self.0.two(Two::Subtract, r, product);
        }
        self.scaled_exp(r, rounded)
    }

    /// `e^r · 2^n` with |r| at most ln 2 / 2, for an integer `n` that [`ROUND`] was added to.
    fn scaled_exp(&mut self, r: V::Vector, rounded: V::Vector) -> V::Vector {
        let p = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1];
        let p = self.polynomial(r, &p);
        let square = self.mul(r, r);
        let p = self.mul(p, square);
        let p = self.add(p, r);
        let one = self.number(1.0);
        let p = self.add(p, one);
        // 2^n in two factors, since n reaches below the exponents of normal numbers and above those of finite ones.
        let n = self.integer_of(rounded);
        let half = self.0.one(One::RightSigned(1), n);
        let rest = self.0.two(Two::SubtractIntegers, n, half);
        let (half, rest) = (self.power_of_two(half), self.power_of_two(rest));
        let p = self.mul(p, half);
        self.mul(p, rest)
    }

    /// A polynomial near 0, elsewhere `1 - 2 / (e^2|x| + 1)` with the sign of `x`.
    fn tanh(&mut self, x: V::Vector) -> V::Vector {
        let square = self.mul(x, x);
        let p = [-5.704_988_7e-3, 2.063_908_8e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
        let p = self.polynomial(square, &p);
        let p = self.mul(p, square);
        let p = self.mul(p, x);
        let near = self.add(p, x);
        let magnitude = self.magnitude(x);
        let double = self.add(magnitude, magnitude);
        let exp = self.exp(double);
        let (one, two) = (self.number(1.0), self.number(2.0));
        let sum = self.add(exp, one);
        let quotient = self.0.two(Two::Divide, two, sum);
        let far = self.0.two(Two::Subtract, one, quotient);
        let far = self.with_sign_of(far, x);
        let bound = self.number(0.625);
        self.choose(Compare::Less, magnitude, bound, near, far)
    }

    /// `ln m + e ln 2` for `x = m 2^e` with `m` from √½ to √2.
    fn log(&mut self, x: V::Vector) -> V::Vector {
        let (m, e) = self.mantissa_and_exponent(x);
        let (one, half, zero) = (self.number(1.0), self.number(0.5), self.number(0.0));
        let r = self.0.two(Two::Subtract, m, one);
        let square = self.mul(r, r);
        let p = [
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ];
        let p = self.polynomial(r, &p);
        let p = self.mul(p, r);
        let p = self.mul(p, square);
        let (high, low) = (self.number(LN_2[0]), self.number(LN_2[1]));
        let tail = self.mul(e, low);
        let p = self.add(p, tail);
        let halved = self.mul(square, half);
        let p = self.0.two(Two::Subtract, p, halved);
        let p = self.add(r, p);
        let main = self.mul(e, high);
        let value = self.add(p, main);
        // ln 0 = -∞, ln ∞ = ∞, NaN below 0 and of NaN: there `x - x` or `0 / 0` is NaN.
        let infinity = self.number(f32::INFINITY);
        let minus_infinity = self.number(f32::NEG_INFINITY);
        let nan = self.number(f32::NAN);
        let value = self.choose(Compare::Less, x, infinity, value, x);
        let value = self.choose(Compare::Equal, x, zero, minus_infinity, value);
        self.choose(Compare::Less, x, zero, nan, value)
    }

    /// A polynomial near 0, elsewhere `1 - e^q(|x|)` with the sign of `x`.
    fn erf(&mut self, x: V::Vector) -> V::Vector {
        let square = self.mul(x, x);
        let p =
            [-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_3e-1, -3.761_253_4e-1, 1.283_791_7e-1];
        let p = self.polynomial(square, &p);
        let p = self.mul(p, x);
        let near = self.add(p, x);
        // Beyond 10 the result is 1, and powers must not overflow against each other.
        let magnitude = self.magnitude(x);
        let t = self.clip(magnitude, 0.0, 10.0);
        let q = [
            -1.728_534_7e-5,
            3.831_971_3e-4,
            -3.883_964_4e-3,
            2.425_462_2e-2,
            -1.067_778_8e-1,
            -6.348_468_7e-1,
            -1.287_175_1e-1,
        ];
        let q = self.polynomial(t, &q);
        let q = self.mul(q, t);
        let q = self.0.two(Two::Subtract, q, t);
        let exp = self.exp(q);
        let one = self.number(1.0);
        let far = self.0.two(Two::Subtract, one, exp);
        let far = self.with_sign_of(far, x);
        let bound = self.number(0.921_875);
        self.choose(Compare::Less, magnitude, bound, near, far)
    }

    /// Ties to even, with the sign of `x`: from 2^23 on every number is whole, and below adding it leaves no place for a fraction.
    fn round(&mut self, x: V::Vector) -> V::Vector {
        let (magnitude, whole) = (self.magnitude(x), self.number(8_388_608.0));
        let sum = self.add(magnitude, whole);
        let rounded = self.0.two(Two::Subtract, sum, whole);
        let rounded = self.with_sign_of(rounded, x);
        self.choose(Compare::Less, magnitude, whole, rounded, x)
    }

    fn floor(&mut self, x: V::Vector) -> V::Vector {
        let (rounded, one) = (self.round(x), self.number(1.0));
        let below = self.0.two(Two::Subtract, rounded, one);
        self.choose(Compare::Greater, rounded, x, below, rounded)
    }

    /// By Horner's rule, the highest coefficient first.
    fn polynomial(&mut self, x: V::Vector, coefficients: &[f32]) -> V::Vector {
        let (first, rest) = coefficients.split_first().expect("a polynomial has coefficients");
        let mut sum = self.number(*first);
        for &coefficient in rest {
            let product = self.mul(sum, x);
            let coefficient = self.number(coefficient);
            sum = self.add(product, coefficient);
        }
        sum
    }

    /// First `min` where `x < min`, then `max` where `x > max`.
    fn clip(&mut self, x: V::Vector, min: f32, max: f32) -> V::Vector {
        let (min, max) = (self.number(min), self.number(max));
        let x = self.replace_less(x, min, min);
        self.choose(Compare::Greater, x, max, max, x)
    }

    /// `other` where `x < bound`, elsewhere `x`.
    fn replace_less(&mut self, x: V::Vector, bound: V::Vector, other: V::Vector) -> V::Vector {
        self.choose(Compare::Less, x, bound, other, x)
    }

    /// `yes` where the condition holds of `a` and `b`, elsewhere `no`.
    fn choose(
        &mut self,
        compare: Compare,
        a: V::Vector,
        b: V::Vector,
        yes: V::Vector,
        no: V::Vector,
    ) -> V::Vector {
        self.0.choose(compare, [a, b], [yes, no])
    }

    fn with_sign_of(&mut self, magnitude: V::Vector, x: V::Vector) -> V::Vector {
        let sign = self.number(-0.0);
        let sign = self.0.two(Two::And, sign, x);
        self.0.two(Two::Or, magnitude, sign)
    }

    /// The integer that [`ROUND`] was added to.
    fn integer_of(&mut self, rounded: V::Vector) -> V::Vector {
        let zero = self.0.bits(ROUND.to_bits());
        self.0.two(Two::SubtractIntegers, rounded, zero)
    }

    /// 2^n as a normal number, for `n` from -126 to 127.
    fn power_of_two(&mut self, n: V::Vector) -> V::Vector {
        let bias = self.0.bits(127);
        let exponent = self.0.two(Two::AddIntegers, n, bias);
        self.0.one(One::Left(23), exponent)
    }

    fn negative(&mut self, x: V::Vector) -> V::Vector {
        let sign = self.number(-0.0);
        self.0.two(Two::Differ, x, sign)
    }

    fn magnitude(&mut self, x: V::Vector) -> V::Vector {
        let rest = self.0.bits(u32::MAX >> 1);
        self.0.two(Two::And, x, rest)
    }

    fn number(&mut self, number: f32) -> V::Vector {
        self.0.bits(number.to_bits())
    }

    fn add(&mut self, a: V::Vector, b: V::Vector) -> V::Vector {
        self.0.two(Two::Add, a, b)
    }

    fn mul(&mut self, a: V::Vector, b: V::Vector) -> V::Vector {
        self.0.two(Two::Multiply, a, b)
    }
}
