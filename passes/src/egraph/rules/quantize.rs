//! Rules about `quantize`, whose two results are whole numbers and their scales.

use super::Function;
use super::conditions::Condition;
use super::text::Exactness;
use crate::egraph::build::Builder;
use egg::Id;
use twnc_ir::{Binary, Op, Quantize};

pub(super) const RULES: &[Function] = &[Function {
    name: "scale_through_quantize",
    exactness: Exactness { exact: false, numbers_only: false },
    equation: "quantize{?a}(mul(?x, ?s)) => q, mul(t, ?s) where q, t = quantize{?b}(?x), ?s is one positive number, and a scale that ?a has ?b has divided by it",
    word: "quantize",
    apply: scaled,
    samples: &["quantize{?a}(mul(?x, ?s))"],
}];

/// The whole numbers do not know of the scale, but for the rounding of what they are made of; their scales do.
fn scaled(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let (Op::Quantize(quantize), &[x]) = (op, operands) else { return None };
    let all = build.class;
    for (_, factors) in build.nodes(x, "mul") {
        let &[x, s] = factors.as_slice() else { continue };
        let Some(&[scale]) = build.values_of(s) else { continue };
        if scale <= 0.0 || !Condition::Bare.holds(build.classes, &[x]) {
            continue;
        }
        let constant = quantize.scale.map(|of_all| (f64::from(of_all) / scale) as f32);
        if constant.is_some_and(|of_all| !of_all.is_normal()) {
            continue;
        }
        let quantize = Op::Quantize(Quantize { scale: constant, ..*quantize });
        let Some(bare) = build.operator(quantize, &[x]) else { continue };
        let (numbers, scales) = (build.part(bare, 0), build.part(bare, 1));
        let Some(scales) = build.operator(Op::Binary(Binary::Mul), &[scales, s]) else { continue };
        for (number, equal) in [numbers, scales].into_iter().enumerate() {
            let result = build.part(all, number as u32);
            build.unite(result, equal);
        }
    }
    Some(vec![])
}
