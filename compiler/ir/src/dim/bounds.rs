//! What is certain of a dimension whose symbols are open: the smallest size that it can have.

use super::{Atom, Dim, Repr};

/// How many expressions a question of signs looks at.
const MAX_STEPS: usize = 16;

impl Dim {
    /// The smaller of two.
    pub fn minimum(&self, other: &Dim) -> Option<Dim> {
        if other.checked_sub(self)?.is_nonnegative() {
            Some(self.clone())
        } else if self.checked_sub(other)?.is_nonnegative() {
            Some(other.clone())
        } else {
            let (a, b) = if self <= other { (self, other) } else { (other, self) };
            Dim::atom(Atom::Min(a.clone(), b.clone()))
        }
    }

    /// The larger of two.
    pub fn maximum(&self, other: &Dim) -> Option<Dim> {
        if other.checked_sub(self)?.is_nonnegative() {
            Some(other.clone())
        } else if self.checked_sub(other)?.is_nonnegative() {
            Some(self.clone())
        } else {
            let (a, b) = if self <= other { (self, other) } else { (other, self) };
            Dim::atom(Atom::Max(a.clone(), b.clone()))
        }
    }

    /// Whether it is certainly zero or more. *False* says only that this is not known.
    pub fn is_nonnegative(&self) -> bool {
        let mut steps = MAX_STEPS;
        self.proved_nonnegative(&mut steps)
    }

    /// Whether it is certainly 1 or more. *False* says only that this is not known.
    pub fn is_positive(&self) -> bool {
        self.checked_sub(&Dim::fixed(1)).is_some_and(|less| less.is_nonnegative())
    }

    /// Whether it is certainly below zero. *False* says only that this is not known.
    pub fn is_negative(&self) -> bool {
        match self.as_fixed() {
            Some(n) => n < 0,
            None => Dim::fixed(-1).checked_sub(self).is_some_and(|opposite| opposite.is_nonnegative()),
        }
    }

    /// Looks for smaller expressions without one of its functions, until the parts of one show that it is not negative: `min(a, b)` is at most
    /// `a` and at most `b`, so `a - min(a, b)` is at least `a - a`.
    fn proved_nonnegative(&self, steps: &mut usize) -> bool {
        if self.least().is_some_and(|n| n >= 0) {
            return true;
        }
        let Repr::Open(p) = &self.0 else { return false };
        for (factors, &coefficient) in &p.terms {
            for (place, atom) in factors.iter().enumerate() {
                let others = [&factors[..place], &factors[place + 1..]].concat();
                if matches!(atom, Atom::Symbol(_))
                    || others.iter().any(|other| other.least().is_none_or(|n| n < 0))
                {
                    continue;
                }
                let Some(left) = steps.checked_sub(1) else { return false };
                *steps = left;
                let without = self.without_term(factors, coefficient);
                let Some((without, others)) = without.zip(Dim::term(others, coefficient)) else { continue };
                let mut proved =
                    |bound: Option<Dim>| bound.is_some_and(|bound| bound.proved_nonnegative(steps));
                let instead = |x: &Dim| without.checked_add(&others.checked_mul(x)?);
                let holds = match (atom, coefficient > 0) {
                    (Atom::Min(a, b), true) | (Atom::Max(a, b), false) => {
                        proved(instead(a)) && proved(instead(b))
                    }
                    (Atom::Min(a, b), false) | (Atom::Max(a, b), true) => {
                        proved(instead(a)) || proved(instead(b))
                    }
                    (Atom::FloorDiv(a, b), positive) => {
                        proved(without_quotient(&without, &others, a, b, positive))
                    }
                    (Atom::Symbol(_), _) => false,
                };
                if holds {
                    return true;
                }
            }
        }
        false
    }

    fn without_term(&self, factors: &[Atom], coefficient: i64) -> Option<Dim> {
        self.checked_sub(&Dim::term(factors.to_vec(), coefficient)?)
    }

    /// A number that it is certainly not below. Every symbol is at least 1; sums and products beyond 64 bits are no smaller
    /// than the largest number.
    fn least(&self) -> Option<i64> {
        let Repr::Open(p) = &self.0 else { return self.as_fixed() };
        let term = |(factors, &coefficient): (&Vec<Atom>, &i64)| {
            let positive = (coefficient > 0).then_some(coefficient);
            factors.iter().try_fold(positive?, |product, atom| {
                Some(product.saturating_mul(atom.least().filter(|&n| n >= 0)?))
            })
        };
        let sum = p.terms.iter().map(term).try_fold(0i64, |sum, term| Some(sum.saturating_add(term?)))?;
        Some(sum.saturating_add(p.constant))
    }
}

/// Something that is no larger than `rest + others·floor(a / b)`, or is that many times `b` and no larger than this and `b - 1`; `others` is
/// positive or, as said, not. Of whole numbers both show that the sum is not negative if they are not.
fn without_quotient(rest: &Dim, others: &Dim, a: &Dim, b: &Dim, positive: bool) -> Option<Dim> {
    // b·floor(a / b) is at most a, and at least a - b + 1.
    let bound = if positive { a.checked_sub(b)?.checked_add(&Dim::fixed(1))? } else { a.clone() };
    match (others.whole_quotient(b), b.as_fixed()) {
        (Some(times), _) => rest.checked_add(&times.checked_mul(&bound)?),
        (None, Some(_)) => {
            let sum = rest.checked_mul(b)?.checked_add(&others.checked_mul(&bound)?)?;
            sum.checked_add(b)?.checked_sub(&Dim::fixed(1))
        }
        (None, None) => None,
    }
}

impl Atom {
    fn least(&self) -> Option<i64> {
        match self {
            Atom::Symbol(_) => Some(1),
            // A divisor is positive, or there is no size: dividing by more than 1 moves towards 0.
            Atom::FloorDiv(a, b) => match (a.least()?, b.as_fixed()) {
                (a, Some(b)) => a.checked_div_euclid(b),
                (a, None) => Some(a.min(0)),
            },
            Atom::Min(a, b) => Some(a.least()?.min(b.least()?)),
            Atom::Max(a, b) => a.least().max(b.least()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_certain_of_a_sign() {
        let (h, w, n) = (Dim::symbol("H"), Dim::symbol("W"), Dim::fixed);
        let plus = |a: &Dim, c: i64| a.checked_add(&n(c)).unwrap();
        let over = |a: &Dim, b: &Dim| a.floor_div(b).unwrap();
        let less = |a: &Dim, b: &Dim| a.checked_sub(b).unwrap();
        let minus = |a: &Dim| less(&n(0), a);
        let product = |a: &Dim, b: &Dim| a.checked_mul(b).unwrap();
        let (yes, no) = (true, false);
        let half = over(&h, &n(2));
        // The dimension, whether it is certainly zero or more, whether it is certainly below zero.
        let cases = [
            (n(0), yes, no),
            (n(-1), no, yes),
            (n(i64::MIN), no, yes),
            (h.clone(), yes, no),
            (plus(&h, -1), yes, no),
            (plus(&h, -2), no, no),
            (minus(&h), no, yes),
            (plus(&minus(&h), 1), no, no),
            (plus(&h, i64::MIN), no, no),
            (half.clone(), yes, no),
            (over(&plus(&h, 1), &n(2)), yes, no),
            (plus(&over(&plus(&h, 1), &n(2)), -1), yes, no),
            (plus(&half, -1), no, no),
            (minus(&half), no, no),
            (plus(&minus(&half), -1), no, yes),
            (over(&plus(&h, -4), &n(3)), no, no),
            (plus(&over(&plus(&h, -4), &n(3)), 1), yes, no),
            (over(&h, &w), yes, no),
            (over(&h, &plus(&w, -3)), yes, no),
            (over(&plus(&h, -5), &w), no, no),
            (product(&half, &w), yes, no),
            (product(&plus(&half, -1), &w), no, no),
            (product(&h, &n(i64::MAX)), yes, no),
            (h.minimum(&n(7)).unwrap(), yes, no),
            (plus(&h.minimum(&n(7)).unwrap(), -1), yes, no),
            (h.minimum(&n(-7)).unwrap(), no, yes),
            (minus(&h).maximum(&n(-3)).unwrap(), no, yes),
            (plus(&h, -9).maximum(&n(0)).unwrap(), yes, no),
            // What is left of a size, and what it lacks to a multiple.
            (less(&h, &h.minimum(&n(3)).unwrap()), yes, no),
            (less(&h, &h.minimum(&w).unwrap()), yes, no),
            (less(&h.maximum(&w).unwrap(), &w), yes, no),
            (less(&h.minimum(&n(3)).unwrap(), &h), no, no),
            (less(&h, &product(&over(&h, &n(7)), &n(7))), yes, no),
            (less(&product(&over(&h, &n(7)), &n(7)), &h), no, no),
            (less(&product(&over(&plus(&h, 6), &n(7)), &n(7)), &h), yes, no),
            (less(&product(&over(&plus(&h, 5), &n(7)), &n(7)), &h), no, no),
            (less(&h, &product(&over(&h, &w), &w)), yes, no),
            (less(&h, &over(&product(&h, &n(2)), &n(3))), yes, no),
            (less(&over(&product(&h, &n(2)), &n(3)), &h), no, yes),
        ];
        for (dim, nonnegative, negative) in cases {
            assert_eq!((dim.is_nonnegative(), dim.is_negative()), (nonnegative, negative), "{dim}");
        }
    }
}
