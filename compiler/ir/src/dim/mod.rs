//! Dimensions of tensors: numbers, named symbols, and exact arithmetic over them.
//!
//! A [`Dim`] is kept in a normal form, a polynomial with integer coefficients over symbols and over the three functions
//! that do not expand (floor division, minimum, maximum). Equal normal forms mean equal sizes; different ones may or may
//! not. A symbol stands for a size of at least 1, so `N*8 / N` is 8 and `max(N, 1)` is `N`.
//!
//! All arithmetic is checked: [`None`] says that 64 bits, or the bounds on an expression's size that keep hostile files
//! from growing it without end, do not hold the result.

mod bounds;
mod print;

pub(crate) use print::is_word;

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

/// The largest number of factors in a whole expression, nested ones included. It bounds depth and all work as well.
pub(crate) const MAX_WEIGHT: usize = 128;

/// A size, or a signed intermediate of a computation with sizes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Fixed(i64),
    /// At least one term.
    Open(Arc<Polynomial>),
}

#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Polynomial {
    /// Sorted factors to their coefficient, which is never 0; never an empty list of factors.
    terms: BTreeMap<Vec<Atom>, i64>,
    constant: i64,
    /// The number of factors, nested ones included; set by [`Dim::normal`].
    weight: usize,
}

/// What a polynomial is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Atom {
    Symbol(Arc<str>),
    FloorDiv(Dim, Dim),
    Min(Dim, Dim),
    Max(Dim, Dim),
}

/// One step of reading a dimension from the outside, as [`Dim::fold`] hands it over.
#[derive(Clone, Debug)]
pub enum DimNode<'a, T> {
    /// A number.
    Fixed(i64),
    /// A symbol.
    Symbol(&'a str),
    /// A sum.
    Add(T, T),
    /// A product.
    Mul(T, T),
    /// A quotient, rounded down.
    FloorDiv(T, T),
    /// The smaller.
    Min(T, T),
    /// The larger.
    Max(T, T),
}

impl Dim {
    /// A number.
    pub fn fixed(n: i64) -> Dim {
        Dim(Repr::Fixed(n))
    }

    /// A named symbol.
    pub fn symbol(name: &str) -> Dim {
        let terms = BTreeMap::from([(vec![Atom::Symbol(name.into())], 1)]);
        Dim(Repr::Open(Arc::new(Polynomial { terms, constant: 0, weight: 1 })))
    }

    /// The number, if it is one.
    pub fn as_fixed(&self) -> Option<i64> {
        match &self.0 {
            Repr::Fixed(n) => Some(*n),
            Repr::Open(_) => None,
        }
    }

    /// The size, if it is a number and not negative.
    pub fn as_size(&self) -> Option<usize> {
        self.as_fixed().and_then(|n| usize::try_from(n).ok())
    }

    /// The name, if it is a bare symbol.
    pub fn as_symbol(&self) -> Option<&str> {
        let Repr::Open(p) = &self.0 else { return None };
        let mut terms = p.terms.iter();
        match (terms.next(), terms.next(), p.constant) {
            (Some((factors, 1)), None, 0) => match factors.as_slice() {
                [Atom::Symbol(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// `self + other`
    pub fn checked_add(&self, other: &Dim) -> Option<Dim> {
        let mut sum = self.polynomial();
        let other = other.polynomial();
        sum.constant = sum.constant.checked_add(other.constant)?;
        for (factors, coefficient) in other.terms {
            sum.add(factors, coefficient)?;
        }
        Dim::normal(sum)
    }

    /// `self - other`
    pub fn checked_sub(&self, other: &Dim) -> Option<Dim> {
        self.checked_add(&other.checked_mul(&Dim::fixed(-1))?)
    }

    /// `self * other`
    pub fn checked_mul(&self, other: &Dim) -> Option<Dim> {
        let (a, b) = (self.polynomial(), other.polynomial());
        let constant = a.constant.checked_mul(b.constant)?;
        let mut product = Polynomial { constant, ..Polynomial::default() };
        let with_constant = |p: Polynomial| {
            let constant = (p.constant != 0).then_some((vec![], p.constant));
            p.terms.into_iter().chain(constant).collect::<Vec<_>>()
        };
        let (a, b) = (with_constant(a), with_constant(b));
        for (x, m) in &a {
            for (y, n) in &b {
                let mut factors = [x.as_slice(), y.as_slice()].concat();
                if factors.is_empty() {
                    continue; // the product of the constants is already there
                }
                if factors.len() > MAX_WEIGHT {
                    return None;
                }
                factors.sort();
                product.add(factors, m.checked_mul(*n)?)?;
            }
        }
        Dim::normal(product)
    }

    /// `self / divisor`, rounded down. `None` also where the divisor is a number that is not positive.
    pub fn floor_div(&self, divisor: &Dim) -> Option<Dim> {
        if self == divisor && !divisor.polynomial().terms.is_empty() {
            return Some(Dim::fixed(1));
        }
        match divisor.as_fixed() {
            Some(d) if d <= 0 => None,
            Some(1) => Some(self.clone()),
            Some(d) => {
                // floor((d·q + r) / d) = q + floor(r / d): whole multiples leave the division.
                let (mut quotient, mut rest) = (Polynomial::default(), Polynomial::default());
                let numerator = self.polynomial();
                quotient.constant = numerator.constant.div_euclid(d);
                rest.constant = numerator.constant.rem_euclid(d);
                for (factors, c) in numerator.terms {
                    let part = if c % d == 0 { &mut quotient } else { &mut rest };
                    part.terms.insert(factors, if c % d == 0 { c / d } else { c });
                }
                Dim::normal(quotient)?.checked_add(&rest.over(d)?)
            }
            None => match self.exact_quotient(divisor) {
                Some(quotient) => Some(quotient),
                None => Dim::atom(Atom::FloorDiv(self.clone(), divisor.clone())),
            },
        }
    }

    /// `self / divisor`, rounded up.
    pub fn ceil_div(&self, divisor: &Dim) -> Option<Dim> {
        self.checked_add(divisor)?.checked_sub(&Dim::fixed(1))?.floor_div(divisor)
    }

    /// Whether the two can be the same size: they are equal, or at least one is open.
    pub fn may_equal(&self, other: &Dim) -> bool {
        self == other || self.as_fixed().is_none() || other.as_fixed().is_none()
    }

    /// The value when each symbol has the value that `lookup` gives; `None` if it gives none, or on overflow or a
    /// division by zero.
    pub fn eval(&self, lookup: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        self.fold(&mut |node| match node {
            DimNode::Fixed(n) => Some(n),
            DimNode::Symbol(name) => lookup(name),
            DimNode::Add(a, b) => a?.checked_add(b?),
            DimNode::Mul(a, b) => a?.checked_mul(b?),
            DimNode::FloorDiv(a, b) => b.filter(|&b| b > 0).and_then(|b| Some(a?.div_euclid(b))),
            DimNode::Min(a, b) => Some(a?.min(b?)),
            DimNode::Max(a, b) => Some(a?.max(b?)),
        })
    }

    /// The dimension with each symbol replaced by what `lookup` gives; symbols that it does not know stay.
    pub fn substitute(&self, lookup: &dyn Fn(&str) -> Option<Dim>) -> Option<Dim> {
        self.fold(&mut |node: DimNode<'_, Option<Dim>>| match node {
            DimNode::Fixed(n) => Some(Dim::fixed(n)),
            DimNode::Symbol(name) => Some(lookup(name).unwrap_or_else(|| Dim::symbol(name))),
            DimNode::Add(a, b) => a?.checked_add(&b?),
            DimNode::Mul(a, b) => a?.checked_mul(&b?),
            DimNode::FloorDiv(a, b) => a?.floor_div(&b?),
            DimNode::Min(a, b) => a?.minimum(&b?),
            DimNode::Max(a, b) => a?.maximum(&b?),
        })
    }

    /// The names in it, in order.
    pub fn symbols(&self) -> BTreeSet<String> {
        let mut symbols = BTreeSet::new();
        self.fold(&mut |node: DimNode<'_, ()>| {
            if let DimNode::Symbol(name) = node {
                symbols.insert(name.to_owned());
            }
        });
        symbols
    }

    /// Builds something from the dimension, innermost parts first.
    pub fn fold<T>(&self, visit: &mut dyn FnMut(DimNode<'_, T>) -> T) -> T {
        let Repr::Open(p) = &self.0 else {
            return visit(DimNode::Fixed(self.as_fixed().unwrap_or(0)));
        };
        let mut sum = None;
        for (factors, &coefficient) in &p.terms {
            let mut product = (coefficient != 1).then(|| visit(DimNode::Fixed(coefficient)));
            for atom in factors {
                let factor = match atom {
                    Atom::Symbol(name) => visit(DimNode::Symbol(name)),
                    Atom::FloorDiv(a, b) => {
                        let parts = (a.fold(visit), b.fold(visit));
                        visit(DimNode::FloorDiv(parts.0, parts.1))
                    }
                    Atom::Min(a, b) => {
                        let parts = (a.fold(visit), b.fold(visit));
                        visit(DimNode::Min(parts.0, parts.1))
                    }
                    Atom::Max(a, b) => {
                        let parts = (a.fold(visit), b.fold(visit));
                        visit(DimNode::Max(parts.0, parts.1))
                    }
                };
                product = Some(match product {
                    Some(product) => visit(DimNode::Mul(product, factor)),
                    None => factor,
                });
            }
            sum = match (sum, product) {
                (Some(sum), Some(product)) => Some(visit(DimNode::Add(sum, product))),
                (sum, product) => sum.or(product),
            };
        }
        match sum {
            Some(sum) if p.constant != 0 => {
                let constant = visit(DimNode::Fixed(p.constant));
                visit(DimNode::Add(sum, constant))
            }
            Some(sum) => sum,
            None => visit(DimNode::Fixed(p.constant)),
        }
    }

    /// The product of sizes.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Option<Dim> {
        dims.into_iter().try_fold(Dim::fixed(1), |product, dim| product.checked_mul(dim))
    }

    fn atom(atom: Atom) -> Option<Dim> {
        Dim::term(vec![atom], 1)
    }

    /// A coefficient, which is not 0, times sorted factors.
    fn term(factors: Vec<Atom>, coefficient: i64) -> Option<Dim> {
        if factors.is_empty() {
            return Some(Dim::fixed(coefficient));
        }
        Dim::normal(Polynomial { terms: BTreeMap::from([(factors, coefficient)]), ..Polynomial::default() })
    }

    /// The dimension of a polynomial, unless it is too heavy.
    fn normal(mut p: Polynomial) -> Option<Dim> {
        if p.terms.is_empty() {
            return Some(Dim::fixed(p.constant));
        }
        p.weight = p.terms.keys().flatten().map(Atom::weight).sum();
        (p.weight <= MAX_WEIGHT).then(|| Dim(Repr::Open(Arc::new(p))))
    }

    /// The number of factors in the whole expression, which is what working with it costs.
    pub fn weight(&self) -> usize {
        match &self.0 {
            Repr::Fixed(_) => 0,
            Repr::Open(p) => p.weight,
        }
    }

    fn polynomial(&self) -> Polynomial {
        match &self.0 {
            Repr::Fixed(n) => Polynomial { constant: *n, ..Polynomial::default() },
            Repr::Open(p) => (**p).clone(),
        }
    }

    /// The quotient by a number or a single term, if that divides every term.
    fn whole_quotient(&self, divisor: &Dim) -> Option<Dim> {
        let Some(d) = divisor.as_fixed() else { return self.exact_quotient(divisor) };
        let p = self.polynomial();
        let whole = p.terms.values().chain([&p.constant]).all(|c| c.checked_rem(d) == Some(0));
        if whole { self.floor_div(divisor) } else { None }
    }

    /// The quotient by a single term that divides every term.
    fn exact_quotient(&self, divisor: &Dim) -> Option<Dim> {
        let divisor = divisor.polynomial();
        let (by, c) = divisor.terms.first_key_value()?;
        let numerator = self.polynomial();
        if divisor.terms.len() != 1 || divisor.constant != 0 || numerator.constant != 0 {
            return None;
        }
        let mut quotient = Polynomial::default();
        for (factors, n) in &numerator.terms {
            let mut left = factors.clone();
            for atom in by {
                left.remove(left.iter().position(|a| a == atom)?);
            }
            let coefficient = n.checked_rem(*c).filter(|&r| r == 0).and_then(|_| n.checked_div(*c))?;
            if left.is_empty() {
                quotient.constant = coefficient;
            } else {
                quotient.terms.insert(left, coefficient);
            }
        }
        Dim::normal(quotient)
    }
}

impl Polynomial {
    /// The quotient, rounded down, by a number above 1 of which no coefficient is a multiple; the constant is between 0 and it.
    fn over(self, d: i64) -> Option<Dim> {
        let mut terms = self.terms.iter();
        let Some((factors, &coefficient)) = terms.next() else { return Some(Dim::fixed(0)) };
        if coefficient < 0 {
            // floor(-r / d) = -floor((r + d - 1) / d): of a quotient rounded up there is one form.
            let minus = Dim::fixed(-1);
            let up = Dim::normal(self)?.checked_mul(&minus)?.checked_add(&Dim::fixed(d - 1))?;
            return up.floor_div(&Dim::fixed(d))?.checked_mul(&minus);
        }
        if let ([Atom::FloorDiv(a, m)], 1, None) = (factors.as_slice(), coefficient, terms.next())
            && let Some(m) = m.as_fixed()
            && let Some(both) = m.checked_mul(d)
        {
            // floor((floor(a / m) + k) / d) = floor((a + k·m) / (m·d))
            let shift = Dim::fixed(self.constant.checked_mul(m)?);
            return a.checked_add(&shift)?.floor_div(&Dim::fixed(both));
        }
        Dim::atom(Atom::FloorDiv(Dim::normal(self)?, Dim::fixed(d)))
    }

    /// Adds a term, whose factors are sorted and whose coefficient is not 0.
    fn add(&mut self, factors: Vec<Atom>, coefficient: i64) -> Option<()> {
        match self.terms.entry(factors) {
            Entry::Vacant(place) => {
                place.insert(coefficient);
            }
            Entry::Occupied(mut term) => match term.get().checked_add(coefficient)? {
                0 => drop(term.remove()),
                sum => *term.get_mut() = sum,
            },
        }
        Some(())
    }
}

impl Atom {
    fn weight(&self) -> usize {
        match self {
            Atom::Symbol(_) => 1,
            Atom::FloorDiv(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => 1 + a.weight() + b.weight(),
        }
    }
}

impl From<usize> for Dim {
    /// A fixed size. Sizes beyond `i64::MAX` cannot exist in memory and saturate.
    fn from(n: usize) -> Dim {
        Dim::fixed(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(v: i64) -> Dim {
        Dim::fixed(v)
    }

    #[test]
    fn normal_forms() {
        let (h, w) = (Dim::symbol("H"), Dim::symbol("W"));
        let cases = [
            (h.checked_add(&h), "2*H"),
            (h.checked_sub(&h), "0"),
            (h.checked_add(&n(3)).unwrap().checked_mul(&w), "H*W+3*W"),
            (h.checked_mul(&w).unwrap().floor_div(&w), "H"),
            (h.checked_mul(&n(8)).unwrap().floor_div(&n(4)), "2*H"),
            (h.checked_add(&n(1)).unwrap().floor_div(&n(2)), "(H+1)/(2)"),
            (h.checked_mul(&n(2)).unwrap().checked_add(&n(5)).unwrap().floor_div(&n(2)), "H+2"),
            (h.checked_sub(&n(1)).unwrap().floor_div(&n(2)), "((H+1)/(2))-1"),
            (h.maximum(&n(1)), "H"),
            (h.minimum(&n(7)), "min(7,H)"),
            (n(7).minimum(&h), "min(7,H)"),
            (h.minimum(&h.checked_add(&n(2)).unwrap()), "H"),
            (n(-7).floor_div(&n(2)), "-4"),
            (h.ceil_div(&n(2)), "(H+1)/(2)"),
            (n(0).checked_sub(&h).unwrap().floor_div(&n(7)), "-((H+6)/(7))"),
            (n(3).checked_sub(&h).unwrap().floor_div(&n(7)), "-((H+3)/(7))"),
            (h.ceil_div(&n(2)).unwrap().ceil_div(&n(2)).unwrap().ceil_div(&n(8)), "(H+31)/(32)"),
            (h.floor_div(&n(3)).unwrap().checked_sub(&n(5)).unwrap().floor_div(&n(4)), "((H+9)/(12))-2"),
            (h.checked_sub(&h.minimum(&n(3)).unwrap()).unwrap().maximum(&n(0)), "H-min(3,H)"),
            (Some(Dim::symbol("a b")), "\"a b\""),
        ];
        for (i, (dim, text)) in cases.into_iter().enumerate() {
            assert_eq!(dim.unwrap().to_string(), text, "case {i}");
        }
        assert_eq!(n(i64::MAX).checked_add(&n(1)), None);
        assert_eq!(h.floor_div(&n(0)), None);
    }

    #[test]
    fn growth_is_bounded() {
        let mut dim = Dim::symbol("H");
        let mut steps = 0;
        while let Some(next) =
            dim.checked_mul(&dim).and_then(|d| d.checked_add(&n(1))).and_then(|d| d.floor_div(&n(3)))
        {
            dim = next;
            steps += 1;
            assert!(steps < 100, "an expression grew without bound");
        }
    }
}
