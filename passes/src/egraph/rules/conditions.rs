//! The words of rules for conditions: what is asked of classes. Each answers no where it does not know.

use super::algebra::{attributes, proportion};
use crate::egraph::build::{coefficient, tensor};
use crate::egraph::facts::{Classes, Kind};
use crate::egraph::language::Term;
use egg::Id;
use twnc_ir::{Dim, ElementType, Op, PadMode};

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
    /// A pad of what is there already.
    PadsCopies,
    /// A pool that counts what is there alone, and no padding.
    CountsElements,
    /// Attributes with which an operator that keeps the shape keeps everything in its place.
    Identity,
    /// Coefficients of many numbers that are one multiple of each other.
    Proportional,
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
    /// The same of a bias.
    Unbiased,
    /// A value that is no product, with or without a scale: the step of one adds a bias anyway, which nothing gains from moving on.
    Apart,
}

impl Condition {
    const ALL: [(&'static str, Condition); 24] = [
        ("coefficient", Condition::Coefficient),
        ("nonzero", Condition::Nonzero),
        ("positive", Condition::Positive),
        ("uniform", Condition::Uniform),
        ("unit", Condition::Unit),
        ("zero", Condition::Zero),
        ("pads_zero", Condition::PadsZero),
        ("pads_copies", Condition::PadsCopies),
        ("counts_elements", Condition::CountsElements),
        ("identity", Condition::Identity),
        ("proportional", Condition::Proportional),
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
        ("unbiased", Condition::Unbiased),
        ("apart", Condition::Apart),
    ];

    pub(crate) fn named(word: &str) -> Option<Condition> {
        Condition::ALL.iter().find(|(name, _)| *name == word).map(|(_, condition)| *condition)
    }

    pub(crate) fn words() -> impl Iterator<Item = &'static str> {
        Condition::ALL.into_iter().map(|(name, _)| name)
    }

    /// How many variables it is said of.
    pub(crate) fn arity(self) -> usize {
        match self {
            Condition::SameType
            | Condition::Depthwise
            | Condition::FactorRight
            | Condition::FactorLeft
            | Condition::Proportional => 2,
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
            Condition::PadsCopies => match attributes(classes, id)? {
                Op::Pad(pad) => !matches!(pad.mode, PadMode::Constant(_)),
                _ => false,
            },
            Condition::CountsElements => match attributes(classes, id)? {
                Op::AveragePool { pool, count_padding } => {
                    let pads = pool.geometry.pads_begin.iter().chain(&pool.geometry.pads_end);
                    !count_padding || pads.into_iter().all(|&n| n == 0)
                }
                _ => false,
            },
            Condition::Identity => match attributes(classes, id)? {
                Op::Transpose { perm } => perm.iter().copied().eq(0..perm.len()),
                Op::Slice(slice) => slice.start == Dim::from(0usize) && slice.step == 1,
                Op::Pad(pad) => pad.begin.iter().chain(&pad.end).all(|&n| n == 0),
                _ => false,
            },
            Condition::Proportional => {
                let (s, t) = (values()?, coefficient(classes, *ids.get(1)?)?.1);
                let along = |id: Id| coefficient(classes, id).map(|(known, _)| known.back());
                s.len() > 1 && along(id) == along(ids[1]) && proportion(t, s).is_some()
            }
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
            Condition::Bare => !has_taken(classes, id, "mul", 1.0),
            Condition::Unbiased => !has_taken(classes, id, "add", 0.0),
            Condition::Apart => {
                let scaled = |node: &Term| {
                    node.head.is("mul")
                        && node.children.last().is_some_and(|&s| coefficient(classes, s).is_some())
                        && is_product(classes, node.children[0])
                };
                !is_product(classes, id) && !classes[id].nodes.iter().any(scaled)
            }
            Condition::F32 => facts.single()?.element == ElementType::F32,
        })
    }
}

/// Whether a class is known as another one by `f` and a coefficient that is not neutral everywhere.
fn has_taken(classes: &Classes, id: Id, f: &str, neutral: f64) -> bool {
    let id = classes.find(id);
    let taken = |node: &Term| {
        let &[x, s] = node.children.as_slice() else { return false };
        node.head.is(f)
            && classes.find(x) != id
            && coefficient(classes, s).is_some_and(|(_, values)| values.iter().any(|&v| v != neutral))
    };
    classes[id].nodes.iter().any(taken)
}

/// A bound on the magnitudes of a float constant, or of one times a coefficient; `None` for any other class.
fn magnitude(classes: &Classes, id: Id) -> Option<f64> {
    let constant = |id: Id| match classes[id].data.kind {
        Kind::Constant(place) => Some(classes.analysis.constants.get(place as usize)?.magnitude),
        _ => None,
    };
    if let Some(magnitude) = constant(id) {
        return magnitude;
    }
    let products = classes[id].nodes.iter().filter(|node| node.head.is("mul"));
    let bounds = products.filter_map(|node| {
        let &[weight, by] = node.children.as_slice() else { return None };
        let weight = constant(weight)??;
        let (_, values) = coefficient(classes, by)?;
        Some(weight * values.iter().fold(0.0, |most: f64, v| most.max(v.abs())))
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
