//! The words of rules for attributes: what is computed of those that the left side bound.
//!
//! A function gives nothing where the operators do not fit it, or a number leaves its range.

use super::algebra::attributes;
use crate::egraph::build::coefficient;
use crate::egraph::facts::Classes;
use egg::Id;
use twnc_ir::{Conv, Dim, Geometry, Op, Pad, PadMode, ReduceKind, Slice, Unary};

/// What is computed of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttributeFunction {
    /// `over(?a, ?s)`: the bounds of a `clip`, or the number of a `pad`, divided by one number.
    Over,
    /// `padded(?a, ?p)`: the convolution ?a, which also pads with zeros as ?p does along spatial axes.
    Padded,
    /// `less(?a, ?t)`: the bounds of a `clip`, or the number of a `pad`, less one number.
    Less,
    /// `composed(?a, ?b)`: the transpose that does what ?a does and then ?b; or the slice, along the same axis.
    Composed,
    /// `summed(?a)`: the sum along the axes of a reduction.
    Summed,
    /// `together(?a, ?b)`: the pad by ?a and then by ?b, with the same number.
    Together,
}

impl AttributeFunction {
    const ALL: [(&'static str, AttributeFunction); 6] = [
        ("over", AttributeFunction::Over),
        ("less", AttributeFunction::Less),
        ("padded", AttributeFunction::Padded),
        ("composed", AttributeFunction::Composed),
        ("summed", AttributeFunction::Summed),
        ("together", AttributeFunction::Together),
    ];

    pub(crate) fn named(word: &str) -> Option<AttributeFunction> {
        AttributeFunction::ALL.iter().find(|(name, _)| *name == word).map(|(_, function)| *function)
    }

    pub(crate) fn words() -> impl Iterator<Item = &'static str> {
        AttributeFunction::ALL.into_iter().map(|(name, _)| name)
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
            AttributeFunction::Less => {
                let [t] = coefficient(classes, *operands.get(1)?)?.1 else { return None };
                let less = |x: f32| (f64::from(x) - t) as f32;
                Some(match attributes(0)? {
                    Op::Unary(Unary::Clip { min, max }) => {
                        Op::Unary(Unary::Clip { min: less(min), max: less(max) })
                    }
                    Op::Pad(Pad { begin, end, mode: PadMode::Constant(value) }) => {
                        Op::Pad(Pad { begin, end, mode: PadMode::Constant(less(value)) })
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
            AttributeFunction::Composed => match (attributes(0)?, attributes(1)?) {
                (Op::Transpose { perm: first }, Op::Transpose { perm: second }) => {
                    let perm = second.iter().map(|&axis| first.get(axis).copied()).collect::<Option<_>>()?;
                    Some(Op::Transpose { perm })
                }
                (Op::Slice(first), Op::Slice(second)) if first.axis == second.axis => {
                    let moved = second.start.checked_mul(&Dim::fixed(first.step))?;
                    let start = first.start.checked_add(&moved)?;
                    let step = first.step.checked_mul(second.step)?;
                    Some(Op::Slice(Slice { axis: first.axis, start, size: second.size, step }))
                }
                _ => None,
            },
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

/// The sums of two lists, element by element.
pub(crate) fn sums(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    a.iter().zip(b).map(|(a, b)| a.checked_add(*b)).collect()
}
