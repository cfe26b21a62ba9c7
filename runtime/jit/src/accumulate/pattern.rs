//! The signed sums that a group of ternary weights can select, and the order in which to compute them.
//!
//! A group of `g` weights selects one of 3^g sums of its `g` members. Up to sign these are (3^g - 1) / 2, and zero; a
//! table holds those. Each is one addition or subtraction away from an earlier one.

/// One sum that is computed: an earlier sum plus or minus a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    /// The number of the earlier sum; `None` for a member by itself.
    pub parent: Option<usize>,
    /// Which member is added, or is the sum.
    pub member: usize,
    /// Whether it is subtracted instead.
    pub negative: bool,
}

/// All sums of groups of one size. Number 0 is the empty sum and is not among [`Patterns::sums`].
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    size: usize,
    sums: Vec<Sum>,
    /// By the digits of a pattern, base 3: its number, and whether the pattern is the negative of that sum.
    numbers: Vec<(u16, bool)>,
}

impl Patterns {
    /// The sums of groups of `size` members, 1 to 5.
    pub fn new(size: usize) -> Patterns {
        let mut patterns =
            Patterns { size, sums: Vec::new(), numbers: vec![(0, false); 3usize.pow(size as u32)] };
        let mut digits = vec![0i8; size];
        for top in 0..size {
            digits[top] = 1;
            let number = patterns.push(&digits, Sum { parent: None, member: top, negative: false });
            patterns.below(&mut digits, top, number);
            digits[top] = 0;
        }
        patterns
    }

    /// How many entries a table has: the sums, and zero.
    pub fn entries(&self) -> usize {
        self.sums.len() + 1
    }

    /// The sums in an order in which each follows its parent; sum number `i + 1` is `sums()[i]`. Walking depth first
    /// keeps few of them alive.
    pub fn sums(&self) -> &[Sum] {
        &self.sums
    }

    /// The number of the sum that `digits` (at most `size`; absent ones are 0) selects, and whether it is negated.
    pub fn number(&self, digits: impl IntoIterator<Item = i8>) -> (usize, bool) {
        self.number_of(code(digits))
    }

    /// [`Patterns::number`] of digits by their [`code`].
    pub fn number_of(&self, code: u8) -> (usize, bool) {
        let (number, negative) = self.numbers[usize::from(code)];
        (usize::from(number), negative)
    }

    /// All sums that extend sum `parent`, whose lowest member is `lowest`, downwards.
    fn below(&mut self, digits: &mut Vec<i8>, lowest: usize, parent: usize) {
        for member in (0..lowest).rev() {
            for sign in [1, -1] {
                digits[member] = sign;
                let sum = Sum { parent: Some(parent), member, negative: sign < 0 };
                let number = self.push(digits, sum);
                self.below(digits, member, number);
                digits[member] = 0;
            }
        }
    }

    fn push(&mut self, digits: &[i8], sum: Sum) -> usize {
        self.sums.push(sum);
        let number = self.sums.len();
        for negative in [false, true] {
            let code = (0..self.size).fold(0, |code, i| {
                let d = if negative { -digits[i] } else { digits[i] };
                code + digit(d) * 3usize.pow(i as u32)
            });
            self.numbers[code] = (number as u16, negative);
        }
        number
    }
}

/// Digits (at most 5) in one number: base 3, the first the lowest.
#[inline]
pub(crate) fn code(digits: impl IntoIterator<Item = i8>) -> u8 {
    const PLACES: [u8; 5] = [1, 3, 9, 27, 81];
    digits.into_iter().zip(PLACES).fold(0, |code, (d, place)| code + digit(d) as u8 * place)
}

/// How many of the digits of a [`code`] are positive, and negative.
#[inline]
pub(crate) fn signs(code: u8) -> [u32; 2] {
    const COUNTS: [[u8; 2]; 243] = {
        let mut counts = [[0; 2]; 243];
        let mut code = 1;
        while code < 243 {
            // What the last digit adds to the digits before it.
            counts[code] = counts[code / 3];
            match code % 3 {
                0 => {}
                digit => counts[code][digit - 1] += 1,
            }
            code += 1;
        }
        counts
    };
    COUNTS[usize::from(code)].map(u32::from)
}

fn digit(trit: i8) -> usize {
    match trit {
        0 => 0,
        t if t > 0 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_its_sum() {
        for size in 1..=5usize {
            let patterns = Patterns::new(size);
            assert_eq!(patterns.entries(), 3usize.pow(size as u32).div_ceil(2));
            let members: Vec<i32> = (0..size as u32).map(|i| 10i32.pow(i)).collect();
            let mut values = vec![0];
            for sum in patterns.sums() {
                let member = if sum.negative { -members[sum.member] } else { members[sum.member] };
                values.push(sum.parent.map_or(0, |p| values[p]) + member);
            }
            for code in 0..3i32.pow(size as u32) {
                let digits: Vec<i8> = (0..size as u32).map(|i| (code / 3i32.pow(i) % 3) as i8 - 1).collect();
                let expected: i32 = digits.iter().zip(&members).map(|(&d, m)| i32::from(d) * m).sum();
                let count = |sign: i8| digits.iter().filter(|&&d| d == sign).count() as u32;
                assert_eq!(signs(super::code(digits.iter().copied())), [count(1), count(-1)]);
                let (number, negative) = patterns.number(digits);
                assert_eq!(if negative { -values[number] } else { values[number] }, expected);
            }
        }
    }
}
