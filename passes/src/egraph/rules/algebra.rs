//! The words of rules: what is computed of coefficients and attributes, and what is asked of classes.
//!
//! Every function and condition answers no where it does not know: a coefficient that leaves its range, an axis that does not survive, a class
//! of which nothing is known.

use super::carry::{Carried, carried};
use crate::egraph::build::{Builder, coefficient, tensor};
use crate::egraph::coefficient::Coefficient;
use crate::egraph::facts::{Classes, Kind};
use crate::egraph::language::Term;
use egg::Id;
use twnc_ir::{Conv, ElementType, Geometry, Op, Pad, PadMode, ReduceKind, Unary};

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
}

impl Algebra {
    pub(crate) fn times(a: Algebra, b: Algebra) -> Algebra {
        Algebra::Times(Box::new(a), Box::new(b))
    }

    /// The function of this word.
    pub(crate) fn function(word: &str, operands: Vec<Algebra>) -> Result<Algebra, String> {
        let count = operands.len();
        let mut operands = operands.into_iter().map(Box::new);
        let pair = [operands.next(), operands.next()];
        match (word, pair, count) {
            ("behind", [Some(s), Some(x)], 2) => match *x {
                Algebra::Variable(x) => Ok(Algebra::Behind(s, x)),
                _ => Err("`behind` takes a coefficient and an operand".to_owned()),
            },
            ("conv_outputs", [Some(s), Some(w)], 2) => match *w {
                Algebra::Variable(w) => Ok(Algebra::ConvOutputs(s, w)),
                _ => Err("`conv_outputs` takes a coefficient and a weight".to_owned()),
            },
            ("conv_inputs", [Some(s), Some(w)], 2) => match *w {
                Algebra::Variable(w) => Ok(Algebra::ConvInputs(s, w)),
                _ => Err("`conv_inputs` takes a coefficient and a weight".to_owned()),
            },
            ("count", [Some(a), Some(x)], 2) => match (*a, *x) {
                (Algebra::Variable(a), Algebra::Variable(x)) => Ok(Algebra::Count(a, x)),
                _ => Err("`count` takes the attributes of a reduction and its operand".to_owned()),
            },
            ("magnitude", [Some(s), None], 1) => Ok(Algebra::Magnitude(s)),
            ("matmul_outputs", [Some(s), None], 1) => Ok(Algebra::MatmulOutputs(s)),
            ("matmul_inputs", [Some(s), None], 1) => Ok(Algebra::MatmulInputs(s)),
            _ => Err(format!("there is no operator, and no function `{word}` of {count} coefficients")),
        }
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
        })
    }
}

/// What is computed of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttributeFunction {
    /// `over(?a, ?s)`: the bounds of a `clip`, or the number of a `pad`, divided by one number.
    Over,
    /// `padded(?a, ?p)`: the convolution ?a, which also pads with zeros as ?p does along spatial axes.
    Padded,
    /// `composed(?a, ?b)`: the transpose that does what ?a does and then ?b.
    Composed,
    /// `summed(?a)`: the sum along the axes of a reduction.
    Summed,
    /// `together(?a, ?b)`: the pad by ?a and then by ?b, with the same number.
    Together,
}

impl AttributeFunction {
    pub(crate) fn named(word: &str) -> Option<AttributeFunction> {
        Some(match word {
            "over" => AttributeFunction::Over,
            "padded" => AttributeFunction::Padded,
            "composed" => AttributeFunction::Composed,
            "summed" => AttributeFunction::Summed,
            "together" => AttributeFunction::Together,
            _ => return None,
        })
    }

    /// The operator with the attributes.
    pub(crate) fn evaluate(self, classes: &Classes, operands: &[Id]) -> Option<Op> {
        let attributes = |i: usize| attributes(classes, *operands.get(i)?);
        match self {
            AttributeFunction::Over => {
                let [s] = coefficient(classes, *operands.get(1)?)?.1 else { return None };
                let over = |x: f32| (*s != 0.0).then(|| (f64::from(x) / s) as f32);
                Some(match attributes(0)? {
                    Op::Unary(Unary::Clip { min, max }) if *s > 0.0 => {
                        Op::Unary(Unary::Clip { min: over(min)?, max: over(max)? })
                    }
                    Op::Pad(Pad { begin, end, mode: PadMode::Constant(value) }) => {
                        Op::Pad(Pad { begin, end, mode: PadMode::Constant(over(value)?) })
                    }
                    _ => return None,
                })
            }
            AttributeFunction::Padded => {
                let (Op::Conv(conv), Op::Pad(pad)) = (attributes(0)?, attributes(1)?) else { return None };
                let (outer, begin) = pad.begin.split_at_checked(2)?;
                let (outer_end, end) = pad.end.split_at_checked(2)?;
                let spatial = outer.iter().chain(outer_end).all(|&n| n == 0);
                if !spatial || pad.mode != PadMode::Constant(0.0) {
                    return None;
                }
                let geometry = Geometry {
                    pads_begin: sums(&conv.geometry.pads_begin, begin)?,
                    pads_end: sums(&conv.geometry.pads_end, end)?,
                    ..conv.geometry
                };
                Some(Op::Conv(Conv { geometry, groups: conv.groups }))
            }
            AttributeFunction::Composed => {
                let (Op::Transpose { perm: first }, Op::Transpose { perm: second }) =
                    (attributes(0)?, attributes(1)?)
                else {
                    return None;
                };
                let perm = second.iter().map(|&axis| first.get(axis).copied()).collect::<Option<_>>()?;
                Some(Op::Transpose { perm })
            }
            AttributeFunction::Summed => match attributes(0)? {
                Op::Reduce { axes, keep_dims, .. } => {
                    Some(Op::Reduce { kind: ReduceKind::Sum, axes, keep_dims })
                }
                _ => None,
            },
            AttributeFunction::Together => {
                let (Op::Pad(first), Op::Pad(second)) = (attributes(0)?, attributes(1)?) else { return None };
                let constant = matches!(first.mode, PadMode::Constant(_)) && first.mode == second.mode;
                let (begin, end) = (sums(&first.begin, &second.begin)?, sums(&first.end, &second.end)?);
                constant.then_some(Op::Pad(Pad { begin, end, mode: first.mode }))
            }
        }
    }
}

/// What is asked of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// A coefficient.
    Coefficient,
    /// A coefficient that is nowhere 0.
    Nonzero,
    /// A coefficient that is positive everywhere.
    Positive,
    /// A coefficient of one number.
    Uniform,
    /// A coefficient that is 1.
    Unit,
    /// A coefficient that is 0.
    Zero,
    /// A pad with zeros, or of what is there already.
    PadsZero,
    /// A constant ternary tensor.
    Ternary,
    /// A float tensor that is constant and far from the ends of the range of f32.
    Float,
    /// A value that is not constant.
    Variable,
    /// A value that holds no negative number.
    NonNegative,
    /// Values of one type.
    SameType,
    /// A convolution that is not divided into groups.
    Ungrouped,
    /// A convolution of as many groups as it has inputs and outputs; and its weight.
    Depthwise,
    /// Of two values that are added, whether a factor between them rather stands at the second: only that is a product, whose step multiplies anyway.
    FactorRight,
    /// Whether it rather stands at the first.
    FactorLeft,
    /// A value of f32.
    F32,
    /// A value that is not known as another one times a scale. Rules that move scales ask for it: what is moved is all that can be taken from a
    /// value, and not each of the many parts of that.
    Bare,
}

impl Condition {
    const ALL: [(&'static str, Condition); 18] = [
        ("coefficient", Condition::Coefficient),
        ("nonzero", Condition::Nonzero),
        ("positive", Condition::Positive),
        ("uniform", Condition::Uniform),
        ("unit", Condition::Unit),
        ("zero", Condition::Zero),
        ("pads_zero", Condition::PadsZero),
        ("ternary", Condition::Ternary),
        ("float", Condition::Float),
        ("variable", Condition::Variable),
        ("non_negative", Condition::NonNegative),
        ("same_type", Condition::SameType),
        ("ungrouped", Condition::Ungrouped),
        ("depthwise", Condition::Depthwise),
        ("factor_right", Condition::FactorRight),
        ("factor_left", Condition::FactorLeft),
        ("f32", Condition::F32),
        ("bare", Condition::Bare),
    ];

    pub(crate) fn named(word: &str) -> Option<Condition> {
        Condition::ALL.iter().find(|(name, _)| *name == word).map(|(_, condition)| *condition)
    }

    /// How many variables it is said of.
    pub(crate) fn arity(self) -> usize {
        match self {
            Condition::SameType | Condition::Depthwise | Condition::FactorRight | Condition::FactorLeft => 2,
            _ => 1,
        }
    }

    pub(crate) fn holds(self, classes: &Classes, ids: &[Id]) -> bool {
        self.asked(classes, ids).unwrap_or(false)
    }

    fn asked(self, classes: &Classes, ids: &[Id]) -> Option<bool> {
        let id = *ids.first()?;
        let values = || coefficient(classes, id).map(|(_, values)| values);
        let facts = &classes[id].data;
        Some(match self {
            Condition::Coefficient => values().is_some(),
            Condition::Nonzero => values()?.iter().all(|&v| v != 0.0),
            Condition::Positive => values()?.iter().all(|&v| v > 0.0),
            Condition::Uniform => values()?.len() == 1,
            Condition::Unit => values()?.iter().all(|&v| v == 1.0),
            Condition::Zero => values()?.iter().all(|&v| v == 0.0),
            Condition::PadsZero => match attributes(classes, id)? {
                Op::Pad(pad) => !matches!(pad.mode, PadMode::Constant(value) if value != 0.0),
                _ => false,
            },
            Condition::Ternary => tensor(classes, id)?.as_ternary().is_some(),
            Condition::Float => magnitude(classes, id)? <= f64::from(f32::MAX).sqrt(),
            Condition::Variable => facts.single().is_some() && !facts.constant,
            Condition::NonNegative => facts.non_negative,
            Condition::SameType => facts.single()? == classes[*ids.get(1)?].data.single()?,
            Condition::Ungrouped => matches!(attributes(classes, id)?, Op::Conv(conv) if conv.groups == 1),
            Condition::Depthwise => {
                let Op::Conv(conv) = attributes(classes, id)? else { return None };
                let weight = classes[*ids.get(1)?].data.single()?.fixed_shape()?;
                *weight.first()? == conv.groups && *weight.get(1)? == 1
            }
            Condition::FactorLeft => is_product(classes, id) && !is_product(classes, *ids.get(1)?),
            Condition::FactorRight => !is_product(classes, id) || is_product(classes, *ids.get(1)?),
            Condition::Bare => {
                let id = classes.find(id);
                let scaled = |node: &Term| {
                    let &[x, s] = node.children.as_slice() else { return false };
                    node.head.is("mul")
                        && classes.find(x) != id
                        && coefficient(classes, s).is_some_and(|(_, values)| values.iter().any(|&v| v != 1.0))
                };
                !classes[id].nodes.iter().any(scaled)
            }
            Condition::F32 => facts.single()?.element == ElementType::F32,
        })
    }
}

/// A bound on the magnitudes of a float constant, or of one times a coefficient; `None` for any other class.
fn magnitude(classes: &Classes, id: Id) -> Option<f64> {
    if let Some(tensor) = tensor(classes, id) {
        return tensor.as_f32().map(|x| x.iter().fold(0.0, |most: f64, x| most.max(f64::from(x.abs()))));
    }
    let products = classes[id].nodes.iter().filter(|node| node.head.is("mul"));
    let bounds = products.filter_map(|node| {
        let largest =
            coefficient(classes, node.children[1])?.1.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        let weight = tensor(classes, node.children[0])?.as_f32()?;
        Some(largest * weight.iter().fold(0.0, |most: f64, x| most.max(f64::from(x.abs()))))
    });
    bounds.reduce(f64::min)
}

/// Whether a class is the result of a `conv` or `matmul`, perhaps with a bias.
fn is_product(classes: &Classes, id: Id) -> bool {
    let product =
        |id: Id| classes[id].nodes.iter().any(|node| node.head.is("conv") || node.head.is("matmul"));
    let biased = |node: &Term| {
        node.head.is("add") && coefficient(classes, node.children[1]).is_some() && product(node.children[0])
    };
    product(id) || classes[id].nodes.iter().any(biased)
}

/// The operator whose attributes a class is.
pub(crate) fn attributes(classes: &Classes, id: Id) -> Option<Op> {
    match classes[id].data.kind {
        Kind::Attributes(place) => classes.analysis.operators.get(place as usize).cloned(),
        _ => None,
    }
}

/// The sums of two lists, element by element.
pub(crate) fn sums(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    a.iter().zip(b).map(|(a, b)| a.checked_add(*b)).collect()
}
