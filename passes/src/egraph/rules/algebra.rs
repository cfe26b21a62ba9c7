//! The words of rules for coefficients: what is computed of those that the left side bound.
//!
//! A function gives nothing where it does not know: a coefficient that leaves its range, an axis that does not survive, a class of which nothing
//! is known.

use super::carry::{Carried, carried};
use crate::egraph::build::Builder;
use crate::egraph::coefficient::Coefficient;
use crate::egraph::facts::{Classes, Kind};
use egg::Id;
use twnc_ir::{Data, Op, Tensor};

/// The values of variables, by place.
pub(crate) type Bindings = Vec<Id>;

/// What is computed of coefficients.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Algebra {
    Variable(u32),
    Whole(i32),
    Times(Box<Algebra>, Box<Algebra>),
    Over(Box<Algebra>, Box<Algebra>),
    Plus(Box<Algebra>, Box<Algebra>),
    /// `behind(?s, ?x)`: what multiplies the result of the left side's operator, where `?s` multiplies its operand `?x`.
    Behind(Box<Algebra>, u32),
    /// `count(?a, ?x)`: how many elements of `?x` the reduction ?a makes one of.
    Count(u32, u32),
    /// `magnitude(?s)`: the absolute numbers.
    Magnitude(Box<Algebra>),
    /// `conv_outputs(?s, ?w)`: what multiplies the weight of a convolution, where `?s` multiplies its output.
    ConvOutputs(Box<Algebra>, u32),
    /// `conv_inputs(?s, ?w)`: the same, where `?s` multiplies its input.
    ConvInputs(Box<Algebra>, u32),
    /// `matmul_outputs(?s)`: what multiplies the right operand of a product, where `?s` multiplies the product.
    MatmulOutputs(Box<Algebra>),
    /// `matmul_inputs(?s)`: the same, where `?s` multiplies the left operand.
    MatmulInputs(Box<Algebra>),
    /// `ratio(?s, ?t)`: the one number by which `?t` multiplied is `?s`.
    Ratio(Box<Algebra>, Box<Algebra>),
    /// `conv_sums(?a, ?t, ?w)`: what a convolution without padding makes of `?t` for each output channel.
    ConvSums(u32, Box<Algebra>, u32),
    /// `matmul_sums(?t, ?w)`: what a matrix product makes of `?t` for each output.
    MatmulSums(Box<Algebra>, u32),
}

impl Algebra {
    pub(crate) fn times(a: Algebra, b: Algebra) -> Algebra {
        Algebra::Times(Box::new(a), Box::new(b))
    }

    /// The function of this word.
    pub(crate) fn function(word: &str, operands: Vec<Algebra>) -> Result<Algebra, String> {
        let count = operands.len();
        let variable = |operand: &Algebra| match operand {
            Algebra::Variable(variable) => Some(*variable),
            _ => None,
        };
        let wrong = |what: &str| format!("`{word}` takes {what}");
        let mut boxed = operands.iter().cloned().map(Box::new);
        let first = boxed.next();
        Ok(match (word, operands.as_slice(), first) {
            ("behind", [_, x], Some(s)) => {
                Algebra::Behind(s, variable(x).ok_or_else(|| wrong("a coefficient and an operand"))?)
            }
            ("conv_outputs", [_, w], Some(s)) => {
                Algebra::ConvOutputs(s, variable(w).ok_or_else(|| wrong("a coefficient and a weight"))?)
            }
            ("conv_inputs", [_, w], Some(s)) => {
                Algebra::ConvInputs(s, variable(w).ok_or_else(|| wrong("a coefficient and a weight"))?)
            }
            ("count", [a, x], _) => match (variable(a), variable(x)) {
                (Some(a), Some(x)) => Algebra::Count(a, x),
                _ => return Err(wrong("the attributes of a reduction and its operand")),
            },
            ("conv_sums", [a, t, w], _) => match (variable(a), variable(w)) {
                (Some(a), Some(w)) => Algebra::ConvSums(a, Box::new(t.clone()), w),
                _ => return Err(wrong("the attributes of a convolution, a coefficient, and a weight")),
            },
            ("matmul_sums", [_, w], Some(t)) => {
                Algebra::MatmulSums(t, variable(w).ok_or_else(|| wrong("a coefficient and a weight"))?)
            }
            ("ratio", [_, t], Some(s)) => Algebra::Ratio(s, Box::new(t.clone())),
            ("magnitude", [_], Some(s)) => Algebra::Magnitude(s),
            ("matmul_outputs", [_], Some(s)) => Algebra::MatmulOutputs(s),
            ("matmul_inputs", [_], Some(s)) => Algebra::MatmulInputs(s),
            _ => {
                return Err(format!(
                    "there is no operator, and no function `{word}` of {count} coefficients"
                ));
            }
        })
    }

    /// The coefficient. `root` is the operator of the left side, `result` the class that matched.
    pub(crate) fn evaluate(
        &self,
        build: &mut Builder<'_>,
        bindings: &Bindings,
        root: &Op,
    ) -> Option<Coefficient> {
        let at = |variable: &u32| bindings.get(*variable as usize).copied();
        Some(match self {
            Algebra::Variable(variable) => build.coefficient_of(at(variable)?)?.clone(),
            Algebra::Whole(n) => Coefficient::whole(*n),
            Algebra::Times(a, b) => {
                let (a, b) = (a.evaluate(build, bindings, root)?, b.evaluate(build, bindings, root)?);
                build.classes.analysis.factors.times(&a, &b)?
            }
            Algebra::Over(a, b) => {
                let (a, b) = (a.evaluate(build, bindings, root)?, b.evaluate(build, bindings, root)?);
                build.classes.analysis.factors.over(&a, &b)?
            }
            Algebra::Plus(a, b) => {
                let (a, b) = (a.evaluate(build, bindings, root)?, b.evaluate(build, bindings, root)?);
                build.classes.analysis.factors.plus(&a, &b)?
            }
            Algebra::Behind(s, x) => {
                let s = s.evaluate(build, bindings, root)?;
                let (operand, result) = (build.ty(at(x)?)?, build.ty(build.class)?);
                match carried(root, operand, result, &s)? {
                    Carried::Same(coefficient) => coefficient,
                    Carried::Some(back, numbers) => {
                        let values = build.classes.analysis.factors.values(&s)?;
                        let values: Vec<f64> =
                            numbers.iter().map(|&i| values.get(i).copied()).collect::<Option<_>>()?;
                        build.classes.analysis.factors.coefficient(Some(back), &values)?
                    }
                }
            }
            Algebra::Count(a, x) => {
                let Op::Reduce { axes, .. } = attributes(build.classes, at(a)?)? else { return None };
                let shape = &build.ty(at(x)?)?.shape;
                let sizes = axes.iter().map(|&axis| shape.get(axis)?.as_size());
                let count =
                    sizes.collect::<Option<Vec<_>>>()?.into_iter().try_fold(1usize, usize::checked_mul)?;
                build.classes.analysis.factors.coefficient(None, &[count as f64])?
            }
            Algebra::Magnitude(s) => {
                let s = s.evaluate(build, bindings, root)?;
                let values = build.classes.analysis.factors.values(&s)?;
                if values.iter().all(|&v| v >= 0.0) {
                    return Some(s);
                }
                let values: Vec<f64> = values.iter().map(|v| v.abs()).collect();
                build.classes.analysis.factors.coefficient(s.back(), &values)?
            }
            Algebra::ConvOutputs(s, w) => {
                let (s, rank) = (s.evaluate(build, bindings, root)?, build.ty(at(w)?)?.rank());
                s.back().is_none_or(|back| back + 1 == rank).then(|| s.along(rank))?
            }
            Algebra::ConvInputs(s, w) => {
                let (s, rank) = (s.evaluate(build, bindings, root)?, build.ty(at(w)?)?.rank());
                s.back().is_none_or(|back| back + 1 == rank).then_some(s)?
            }
            Algebra::MatmulOutputs(s) => {
                let s = s.evaluate(build, bindings, root)?;
                s.back().is_none_or(|back| back == 1).then_some(s)?
            }
            Algebra::MatmulInputs(s) => {
                let s = s.evaluate(build, bindings, root)?;
                s.back().is_none_or(|back| back == 1).then(|| s.along(2))?
            }
            Algebra::Ratio(s, t) => {
                let (s, t) = (s.evaluate(build, bindings, root)?, t.evaluate(build, bindings, root)?);
                let factors = &mut build.classes.analysis.factors;
                let ratio = proportion(&factors.values(&s)?, &factors.values(&t)?)?;
                factors.coefficient(None, &[ratio])?
            }
            Algebra::ConvSums(a, t, w) => {
                let t = t.evaluate(build, bindings, root)?;
                let Op::Conv(conv) = attributes(build.classes, at(a)?)? else { return None };
                let padded = conv.geometry.pads_begin.iter().chain(&conv.geometry.pads_end).any(|&n| n > 0);
                let weight = build.tensor_of(at(w)?)?;
                let &[outputs, inputs, ref window @ ..] = weight.shape() else { return None };
                let rank = window.len() + 2;
                if padded || conv.groups == 0 || t.back().is_some_and(|back| back + 1 != rank) {
                    return None;
                }
                let values = build.classes.analysis.factors.values(&t)?;
                let taps: usize = window.iter().product();
                let in_group = outputs.div_ceil(conv.groups).max(1);
                let sums = sums_of(
                    weight,
                    outputs,
                    &|i| {
                        let output = i / (inputs * taps);
                        (output, output / in_group * inputs + i / taps % inputs)
                    },
                    &values,
                )?;
                build.classes.analysis.factors.coefficient(Some(rank - 1), &sums)?
            }
            Algebra::MatmulSums(t, w) => {
                let t = t.evaluate(build, bindings, root)?;
                let weight = build.tensor_of(at(w)?)?;
                let &[_, outputs] = weight.shape() else { return None };
                if t.back().is_some_and(|back| back != 1) {
                    return None;
                }
                let values = build.classes.analysis.factors.values(&t)?;
                let sums = sums_of(weight, outputs, &|i| (i % outputs, i / outputs), &values)?;
                build.classes.analysis.factors.coefficient(Some(1), &sums)?
            }
        })
    }
}

/// For each output, the sum of its weights, each times the number of the input that it multiplies; of one number for all inputs, that.
/// `places` has the output and the input of each weight.
fn sums_of(
    weight: &Tensor,
    outputs: usize,
    places: &dyn Fn(usize) -> (usize, usize),
    inputs: &[f64],
) -> Option<Vec<f64>> {
    let mut sums = vec![0.0; outputs];
    let mut add = |i: usize, w: f64| {
        let (output, input) = places(i);
        *sums.get_mut(output)? += w * inputs.get(if inputs.len() == 1 { 0 } else { input })?;
        Some(())
    };
    match weight.data() {
        Data::Ternary(trits) => trits.iter().enumerate().try_for_each(|(i, &w)| add(i, f64::from(w)))?,
        Data::F32(numbers) => numbers.iter().enumerate().try_for_each(|(i, &w)| add(i, f64::from(w)))?,
        _ => return None,
    }
    Some(sums)
}

/// The number by which all of `t` multiplied is `s`, up to the rounding of f32; `None` where there is none, or a number is 0.
pub(super) fn proportion(s: &[f64], t: &[f64]) -> Option<f64> {
    if s.len() != t.len() || t.contains(&0.0) {
        return None;
    }
    let first = s.first()? / t.first()?;
    let same = |(s, t): (&f64, &f64)| (s / t - first).abs() <= f64::from(f32::EPSILON) * first.abs();
    (first != 0.0 && s.iter().zip(t).all(same)).then_some(first)
}

/// The operator whose attributes a class is.
pub(crate) fn attributes(classes: &Classes, id: Id) -> Option<Op> {
    match classes[id].data.kind {
        Kind::Attributes(place) => classes.analysis.operators.get(place as usize).cloned(),
        _ => None,
    }
}
