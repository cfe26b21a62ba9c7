//! Coefficients: what tensors are multiplied by and what is added to them, one number or one for each index along an axis.
//!
//! A coefficient is a polynomial of *factors*, the constants of the graph, each known by an id: `(αβ)γ` and `α(βγ)` are one coefficient, and
//! `γ·(α/γ)` is α, to the bit. Its numbers are computed from the factors in f64, and rounded to f32 once, when a graph is made of them.
//!
//! Every number is 0 or has a magnitude between 2^-60 and 2^60; what would leave that range is no coefficient. So a tensor that is kept without
//! its scale stays far from the ends of the range of f32.

use std::collections::BTreeMap;
use std::sync::Arc;
use twnc_ir::{Dim, Tensor, TensorType};

/// A factor's place in its table.
type FactorId = u32;

/// The most monomials of a coefficient; the numbers of a longer one become a factor.
const MOST_MONOMIALS: usize = 3;
/// The least magnitude of a number other than 0, and the inverse of the largest.
const LEAST: f64 = 1.0 / (1u64 << 60) as f64;

/// A product of powers of factors, by factor; no exponent is 0.
type Monomial = Vec<(FactorId, i32)>;

/// A sum of monomials with whole coefficients, over an axis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Coefficient {
    /// The axis along which the numbers lie, counted from the last, which is 1; `None` for one number.
    back: Option<usize>,
    /// By monomial; no whole coefficient is 0.
    terms: Vec<(Monomial, i32)>,
}

/// The constants of which coefficients are made.
#[derive(Debug, Default)]
pub(crate) struct Factors {
    values: Vec<Arc<[f64]>>,
    ids: BTreeMap<Vec<u64>, FactorId>,
}

impl Factors {
    /// The coefficient of these numbers along an axis, counted from the last. `None` for numbers that no coefficient has.
    pub(crate) fn coefficient(&mut self, back: Option<usize>, values: &[f64]) -> Option<Coefficient> {
        let first = *values.first()?;
        let uniform = values.iter().all(|v| v.to_bits() == first.to_bits());
        let (back, values) = if uniform { (None, &values[..1]) } else { (Some(back?), values) };
        let terms = match values {
            [v] if *v == 0.0 => vec![],
            [v] if v.abs() == 1.0 => vec![(vec![], *v as i32)],
            // A number and its negative are one factor, so that what differs by its sign alone meets.
            [v] => vec![(vec![(self.intern(&[v.abs()])?, 1)], v.signum() as i32)],
            _ => vec![(vec![(self.intern(values)?, 1)], 1)],
        };
        Some(Coefficient { back, terms })
    }

    fn intern(&mut self, values: &[f64]) -> Option<FactorId> {
        if !values.iter().all(|v| in_range(*v)) {
            return None;
        }
        let key = values.iter().map(|v| v.to_bits()).collect();
        let next = self.values.len() as FactorId;
        let id = *self.ids.entry(key).or_insert(next);
        if id == next {
            self.values.push(values.into());
        }
        Some(id)
    }

    /// Its numbers: one, or one for each index along its axis. `None` if one of them is out of range.
    pub(crate) fn values(&self, coefficient: &Coefficient) -> Option<Vec<f64>> {
        let count = coefficient.back.map_or(1, |_| self.count(coefficient));
        let mut sums = vec![0.0; count];
        for (monomial, times) in &coefficient.terms {
            for (i, sum) in sums.iter_mut().enumerate() {
                let power = |&(id, exponent): &(FactorId, i32)| {
                    let values = &self.values[id as usize];
                    values[if values.len() == 1 { 0 } else { i }].powi(exponent)
                };
                *sum += f64::from(*times) * monomial.iter().map(power).product::<f64>();
            }
        }
        sums.iter().all(|v| in_range(*v)).then_some(sums)
    }

    /// How many numbers lie along its axis.
    fn count(&self, coefficient: &Coefficient) -> usize {
        let factors = coefficient.terms.iter().flat_map(|(monomial, _)| monomial);
        factors.map(|&(id, _)| self.values[id as usize].len()).max().unwrap_or(1)
    }

    /// The product.
    pub(crate) fn times(&mut self, a: &Coefficient, b: &Coefficient) -> Option<Coefficient> {
        let back = self.common(a, b)?;
        let products = a.terms.iter().flat_map(|(left, m)| {
            b.terms.iter().map(move |(right, n)| Some((multiply(left, right), m.checked_mul(*n)?)))
        });
        let products = products.collect::<Option<_>>()?;
        self.normal(back, products)
    }

    /// The quotient by a single monomial that is nowhere 0.
    pub(crate) fn over(&mut self, a: &Coefficient, b: &Coefficient) -> Option<Coefficient> {
        let [(monomial, sign @ (1 | -1))] = b.terms.as_slice() else { return None };
        if self.values(b)?.contains(&0.0) {
            return None;
        }
        let inverse = monomial.iter().map(|&(id, exponent)| (id, -exponent)).collect();
        self.times(a, &Coefficient { back: b.back, terms: vec![(inverse, *sign)] })
    }

    /// The sum.
    pub(crate) fn plus(&mut self, a: &Coefficient, b: &Coefficient) -> Option<Coefficient> {
        let back = self.common(a, b)?;
        self.normal(back, a.terms.iter().chain(&b.terms).cloned().collect())
    }

    /// The axis of two coefficients together, where there is one.
    fn common(&self, a: &Coefficient, b: &Coefficient) -> Option<Option<usize>> {
        match (a.back, b.back) {
            (Some(_), Some(_)) if a.back != b.back || self.count(a) != self.count(b) => None,
            (a, b) => Some(a.or(b)),
        }
    }

    fn normal(&mut self, back: Option<usize>, terms: Vec<(Monomial, i32)>) -> Option<Coefficient> {
        let mut sums: BTreeMap<Monomial, i32> = BTreeMap::new();
        for (monomial, times) in terms {
            let sum = sums.entry(monomial).or_default();
            *sum = sum.checked_add(times)?;
        }
        let terms: Vec<_> = sums.into_iter().filter(|(_, times)| *times != 0).collect();
        let one = |&(id, _): &(FactorId, i32)| self.values[id as usize].len() == 1;
        let uniform = terms.iter().flat_map(|(monomial, _): &(Monomial, i32)| monomial).all(one);
        let result = Coefficient { back: back.filter(|_| !uniform), terms };
        let values = self.values(&result)?;
        // What has become long is a factor of its own.
        if result.terms.len() > MOST_MONOMIALS {
            self.coefficient(result.back, &values)
        } else {
            Some(result)
        }
    }

    /// As a constant that broadcasts.
    pub(crate) fn tensor(&self, coefficient: &Coefficient) -> Option<Tensor> {
        let values: Vec<f32> = self.values(coefficient)?.into_iter().map(|v| v as f32).collect();
        let shape = self.shape(coefficient);
        Tensor::from_f32(shape, values).ok()
    }

    fn shape(&self, coefficient: &Coefficient) -> Vec<usize> {
        match coefficient.back {
            None => vec![],
            Some(back) => {
                std::iter::once(self.count(coefficient)).chain(std::iter::repeat_n(1, back - 1)).collect()
            }
        }
    }

    /// The type of that constant.
    pub(crate) fn ty(&self, coefficient: &Coefficient) -> TensorType {
        TensorType::f32(self.shape(coefficient).into_iter().map(Dim::from).collect())
    }
}

impl Coefficient {
    /// A whole number.
    pub(crate) fn whole(n: i32) -> Coefficient {
        Coefficient { back: None, terms: if n == 0 { vec![] } else { vec![(vec![], n)] } }
    }

    /// The axis along which its numbers lie, counted from the last, which is 1.
    pub(crate) fn back(&self) -> Option<usize> {
        self.back
    }

    /// The same numbers along another axis; one number stays one.
    pub(crate) fn along(&self, back: usize) -> Coefficient {
        Coefficient { back: self.back.map(|_| back), terms: self.terms.clone() }
    }

    /// The axis along which its numbers lie over a tensor of this rank.
    pub(crate) fn axis(&self, rank: usize) -> Option<usize> {
        rank.checked_sub(self.back?)
    }
}

fn in_range(v: f64) -> bool {
    v == 0.0 || (LEAST..=1.0 / LEAST).contains(&v.abs())
}

fn multiply(a: &Monomial, b: &Monomial) -> Monomial {
    let mut product: BTreeMap<FactorId, i32> = a.iter().copied().collect();
    for &(id, exponent) in b {
        *product.entry(id).or_default() += exponent;
    }
    product.into_iter().filter(|(_, exponent)| *exponent != 0).collect()
}
