//! What is certain of a dimension whose symbols are open: the smallest size that it can have.

use super::{Atom, Dim, Repr};

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
        self.least().is_some_and(|n| n >= 0)
    }

    /// Whether it is certainly below zero. *False* says only that this is not known.
    pub fn is_negative(&self) -> bool {
        match self.as_fixed() {
            Some(n) => n < 0,
            None => Dim::fixed(-1).checked_sub(self).is_some_and(|opposite| opposite.is_nonnegative()),
        }
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
        let minus = |a: &Dim| n(0).checked_sub(a).unwrap();
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
            (minus(&h).maximum(&n(-3)).unwrap(), no, no),
            (plus(&h, -9).maximum(&n(0)).unwrap(), yes, no),
        ];
        for (dim, nonnegative, negative) in cases {
            assert_eq!((dim.is_nonnegative(), dim.is_negative()), (nonnegative, negative), "{dim}");
        }
    }
}
