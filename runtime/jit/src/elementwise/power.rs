//! Powers, by way of a logarithm that is the sum of two numbers.
//!
//! `a^b` is `2^(b · log2 a)`, and what the logarithm lacks the exponent multiplies: of a result that is 2^127 an error of 2^-24 of
//! the logarithm would be 2^-17. So the logarithm, and its product with `b`, are a number and what that number lacks.

use super::{Compare, Elementwise, LN_2_NEAREST, One, ROUND, Two, Vectors};

/// A magnitude of exponents beyond which every power but those of ±1 is 0 or infinite: the logarithm nearest to 0 is 2^-24 · log2 e.
const MOST: f32 = 8_589_934_592.0;
/// 2 / ln 2.
const TWO_LOG2_E: Pair<f32> = [2.88539, 3.851926e-08];
/// 1 / 3.
const THIRD: Pair<f32> = [0.33333334, -9.934108e-09];
/// The bits of a number that half of its product with another has room for.
const UPPER: u32 = 0xffff_f000;

/// An exponent that is a multiple of ¼, of which powers are products of roots: from -1 to 2, or 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quarters(i8);

impl Quarters {
    /// Those of a number, if it is such an exponent.
    pub fn of(exponent: f32) -> Option<Quarters> {
        let quarters = exponent * 4.0;
        let near = (-4.0..=8.0).contains(&quarters) || quarters == 12.0;
        let known = near && quarters != 0.0 && quarters.fract() == 0.0;
        known.then_some(Quarters(quarters as i8))
    }
}

/// A sum of two numbers, the second of which is what the first, rounded, lacks.
type Pair<T> = [T; 2];

impl<V: Vectors> Elementwise<'_, V> {
    /// `a` to the power `b`, with the special values of C's `powf`.
    pub(super) fn power(&mut self, a: V::Vector, b: V::Vector) -> V::Vector {
        let base = self.magnitude(a);
        let logarithm = self.log2(base);
        let (bounded, zero) = (self.clip(b, -MOST, MOST), self.number(0.0));
        let exponent = self.product([bounded, zero], logarithm);
        let value = self.exp2(exponent);

        let (one, infinity) = (self.number(1.0), self.number(f32::INFINITY));
        let vanishing = self.choose(Compare::Less, b, zero, infinity, zero);
        let growing = self.choose(Compare::Less, b, zero, zero, infinity);
        let value = self.choose(Compare::Equal, base, zero, vanishing, value);
        let value = self.choose(Compare::Equal, base, infinity, growing, value);

        // Of negative numbers: odd exponents keep the sign, and of finite ones there are only whole powers.
        let half = self.number(0.5);
        let halved = self.mul(b, half);
        let (nearest, even) = (self.round(b), self.round(halved));
        let sign = self.number(-0.0);
        let sign = self.0.two(Two::And, a, sign);
        let sign = self.choose(Compare::Equal, halved, even, zero, sign);
        let (nan, least) = (self.number(f32::NAN), self.number(f32::NEG_INFINITY));
        let finite = self.choose(Compare::Greater, a, least, nan, value);
        let broken = self.choose(Compare::Less, a, zero, finite, value);
        let signed = self.0.two(Two::Or, value, sign);
        let value = self.choose(Compare::Equal, b, nearest, signed, broken);

        let value = self.choose(Compare::Equal, a, a, value, nan);
        let value = self.choose(Compare::Equal, b, b, value, nan);
        let value = self.choose(Compare::Equal, b, zero, one, value);
        self.choose(Compare::Equal, a, one, one, value)
    }

    /// As [`Self::power`], of a known exponent.
    pub(super) fn power_of_quarters(&mut self, a: V::Vector, Quarters(quarters): Quarters) -> V::Vector {
        let (whole, part) = (quarters.unsigned_abs() / 4, quarters.unsigned_abs() % 4);
        let one = self.number(1.0);
        let a = match part {
            0 => a,
            // A broken power of -0 is 0, and one of -∞ infinite, where roots are -0 and NaN.
            _ => {
                let (zero, infinity) = (self.number(0.0), self.number(f32::INFINITY));
                let least = self.number(f32::NEG_INFINITY);
                let positive = self.add(a, zero);
                self.choose(Compare::Equal, a, least, infinity, positive)
            }
        };
        let mut factors = vec![a; usize::from(whole)];
        if part > 0 {
            let half = self.0.one(One::Root, a);
            let quarter = |this: &mut Self| this.0.one(One::Root, half);
            factors.push(match part {
                1 => quarter(self),
                2 => half,
                _ => {
                    let quarter = quarter(self);
                    self.mul(half, quarter)
                }
            });
        }
        let power = factors.into_iter().reduce(|product, factor| self.mul(product, factor)).unwrap_or(one);
        // Down to -1 that is no product, which would lose bits where it is subnormal.
        if quarters > 0 { power } else { self.0.two(Two::Divide, one, power) }
    }

    /// Of a positive number, as `e + log2 m` with `m` from √½ to √2 and the series of `2 artanh((m - 1) / (m + 1))`.
    fn log2(&mut self, x: V::Vector) -> Pair<V::Vector> {
        let (m, e) = self.mantissa_and_exponent(x);
        let one = self.number(1.0);
        let (above, below) = (self.0.two(Two::Subtract, m, one), self.add(m, one));
        // What the sum lacks, and then the quotient.
        let lost = self.0.two(Two::Subtract, below, one);
        let lost = self.0.two(Two::Subtract, m, lost);
        let s = self.0.two(Two::Divide, above, below);
        let [main, rest] = self.exact_product(s, below);
        let remainder = self.0.two(Two::Subtract, above, main);
        let remainder = self.0.two(Two::Subtract, remainder, rest);
        let of_lost = self.mul(s, lost);
        let remainder = self.0.two(Two::Subtract, remainder, of_lost);
        let s = [s, self.0.two(Two::Divide, remainder, below)];

        // s + s³/3 as pairs; the rest of the series is less than a 5,000th of it.
        let square = self.product(s, s);
        let third = THIRD.map(|part| self.number(part));
        let third = self.product(square, third);
        let cube = self.product(s, third);
        let series = self.polynomial(square[0], &[1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2]);
        let fourth = self.mul(square[0], square[0]);
        let series = self.mul(series, fourth);
        let series = self.mul(series, s[0]);
        let small = self.add(cube[1], series);
        let small = self.add(s[1], small);
        let [main, lost] = self.sum(s[0], cube[0]);
        let half = [main, self.add(lost, small)];

        let factor = TWO_LOG2_E.map(|part| self.number(part));
        let [main, rest] = self.product(half, factor);
        let [main, lost] = self.sum(e, main);
        [main, self.add(lost, rest)]
    }

    /// The sum and what it lacks, if `a` is 0 or its magnitude is not the smaller.
    fn sum(&mut self, a: V::Vector, b: V::Vector) -> Pair<V::Vector> {
        let sum = self.add(a, b);
        let taken = self.0.two(Two::Subtract, sum, a);
        [sum, self.0.two(Two::Subtract, b, taken)]
    }

    /// 2 to the power of a sum.
    fn exp2(&mut self, [main, rest]: Pair<V::Vector>) -> V::Vector {
        // Beyond these bounds the result is 0 or infinite, whatever is added.
        let (main, rest) = (self.clip(main, -154.0, 131.0), self.clip(rest, -1.0, 1.0));
        let round = self.number(ROUND);
        let rounded = self.add(main, round);
        let n = self.0.two(Two::Subtract, rounded, round);
        let fraction = self.0.two(Two::Subtract, main, n);
        let fraction = self.add(fraction, rest);
        let ln_2 = self.number(LN_2_NEAREST);
        let r = self.mul(fraction, ln_2);
        self.scaled_exp(r, rounded)
    }

    /// The product of two sums, but for what is smaller than either's second number makes of the other's first.
    fn product(&mut self, a: Pair<V::Vector>, b: Pair<V::Vector>) -> Pair<V::Vector> {
        let [main, rest] = self.exact_product(a[0], b[0]);
        let (one, two) = (self.mul(a[0], b[1]), self.mul(a[1], b[0]));
        let more = self.add(one, two);
        [main, self.add(rest, more)]
    }

    /// The product and what it lacks, of numbers whose halves' products are neither too large nor subnormal.
    fn exact_product(&mut self, a: V::Vector, b: V::Vector) -> Pair<V::Vector> {
        let main = self.mul(a, b);
        let [[a_upper, a_lower], [b_upper, b_lower]] = [self.halves(a), self.halves(b)];
        let upper = self.mul(a_upper, b_upper);
        let mut rest = self.0.two(Two::Subtract, upper, main);
        for (a, b) in [(a_upper, b_lower), (a_lower, b_upper), (a_lower, b_lower)] {
            let part = self.mul(a, b);
            rest = self.add(rest, part);
        }
        [main, rest]
    }

    /// The upper half of a number's bits, and the rest.
    fn halves(&mut self, x: V::Vector) -> Pair<V::Vector> {
        let mask = self.0.bits(UPPER);
        let upper = self.0.two(Two::And, x, mask);
        [upper, self.0.two(Two::Subtract, x, upper)]
    }

    /// `m` and `e` of a positive number `m · 2^e`, with `m` from √½ to √2.
    pub(super) fn mantissa_and_exponent(&mut self, x: V::Vector) -> (V::Vector, V::Vector) {
        // Subnormal numbers are scaled up first.
        let (least, up, none) = (self.number(f32::MIN_POSITIVE), self.number(8_388_608.0), self.number(1.0));
        let factor = self.choose(Compare::Less, x, least, up, none);
        let (lower, zero) = (self.number(-23.0), self.number(0.0));
        let shift = self.choose(Compare::Less, x, least, lower, zero);
        let bits = self.mul(x, factor);
        let exponent = self.0.one(One::Right(23), bits);
        let bias = self.0.bits(127);
        let exponent = self.0.two(Two::SubtractIntegers, exponent, bias);
        let exponent = self.0.one(One::FromIntegers, exponent);
        let exponent = self.add(exponent, shift);
        let (mask, one_bits) = (self.0.bits(0x7f_ffff), self.0.bits(0x3f80_0000));
        let mantissa = self.0.two(Two::And, bits, mask);
        let mantissa = self.0.two(Two::Or, mantissa, one_bits);
        // From 1..2 to √½..√2.
        let (root, half, one) = (self.number(std::f32::consts::SQRT_2), self.number(0.5), self.number(1.0));
        let halved = self.mul(mantissa, half);
        let next = self.add(exponent, one);
        let m = self.choose(Compare::Greater, mantissa, root, halved, mantissa);
        let e = self.choose(Compare::Greater, mantissa, root, next, exponent);
        (m, e)
    }
}
