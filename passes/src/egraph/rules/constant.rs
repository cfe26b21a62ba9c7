//! Rules whose right side is computed from constants: batch norm as scale and bias, rows of a ternary weight by the signs of their scales.

use super::Function;
use super::text::Exactness;
use crate::egraph::build::Builder;
use egg::Id;
use twnc_ir::{Binary, Data, Op, Tensor};

const MUL: Op = Op::Binary(Binary::Mul);
const ADD: Op = Op::Binary(Binary::Add);

pub(super) const RULES: &[Function] = &[
    Function {
        name: "batch_norm_is_scale_and_bias",
        exactness: Exactness { exact: false, numbers_only: true },
        equation: "batch_norm{?a}(?x, ?g, ?b, ?m, ?v) => add(mul(?x, s), t) where s = g/√(v + ε), t = b - m·s, all constant",
        word: "batch_norm",
        apply: batch_norm,
        samples: &["batch_norm{?a}(?x, ?g, ?b, ?m, ?v)"],
    },
    Function {
        name: "rows_by_sign",
        exactness: Exactness { exact: false, numbers_only: true },
        equation: "mul(conv{?a}(?x, ?T), ?s) => mul(conv{?a}(?x, sign(s)·T), magnitude(s)), and for matmul, where ?s is not positive everywhere; 0 becomes 1",
        word: "mul",
        apply: rows_by_sign,
        samples: &["mul(conv{?a}(?x, ?w), ?s)", "mul(matmul(?x, ?w), ?s)"],
    },
];

fn batch_norm(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let (Op::BatchNorm { epsilon }, &[x, gamma, beta, mean, variance]) = (op, operands) else { return None };
    let numbers = |id: Id| -> Option<Vec<f64>> {
        build.tensor_of(id)?.as_f32().map(|values| values.iter().map(|&v| f64::from(v)).collect())
    };
    let (gamma, beta, mean, variance) = (numbers(gamma)?, numbers(beta)?, numbers(mean)?, numbers(variance)?);
    let ty = build.ty(x)?;
    if ty.shape.get(1)?.as_size()? != gamma.len()
        || [&beta, &mean, &variance].iter().any(|v| v.len() != gamma.len())
    {
        return None;
    }
    let back = Some(ty.rank() - 1);
    let spread = |v: &f64| (v + f64::from(*epsilon)).sqrt();
    let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / spread(v)).collect();
    let shift: Vec<f64> = beta.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
    let (scale, shift) = (build.numbers(back, &scale)?, build.numbers(back, &shift)?);
    let scaled = build.operator(MUL, &[x, scale])?;
    Some(vec![build.operator(ADD, &[scaled, shift])?])
}

fn rows_by_sign(build: &mut Builder<'_>, _: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let &[product, scale] = operands else { return None };
    let values = build.values_of(scale)?.to_vec();
    if values.iter().all(|&s| s > 0.0) {
        return None;
    }
    let back = build.coefficient_of(scale)?.back();
    let rank = build.ty(product)?.rank();
    let magnitudes: Vec<f64> = values.iter().map(|&s| if s == 0.0 { 1.0 } else { s.abs() }).collect();
    let sign = |i: usize| match values[if values.len() == 1 { 0 } else { i }] {
        s if s < 0.0 => -1,
        s if s > 0.0 => 1,
        _ => 0,
    };
    let mut found = vec![];
    for (op, channel_back) in [("conv", rank.checked_sub(1)?), ("matmul", 1)] {
        if back.is_some_and(|back| back != channel_back) {
            continue;
        }
        for (op, operands) in build.nodes(product, op) {
            let &[x, weight] = operands.as_slice() else { continue };
            let Some(tensor) = build.tensor_of(weight) else { continue };
            let Some(trits) = tensor.as_ternary() else { continue };
            let channels = match op {
                Op::Conv(_) => *tensor.shape().first()?,
                _ => *tensor.shape().last()?,
            };
            let per_channel = trits.len() / channels.max(1);
            let channel = |i: usize| match op {
                Op::Conv(_) => i / per_channel.max(1),
                _ => i % channels.max(1),
            };
            let flipped: Vec<i8> = trits.iter().enumerate().map(|(i, t)| t * sign(channel(i))).collect();
            let Ok(flipped) = Tensor::new(tensor.shape().to_vec(), Data::Ternary(flipped.into())) else {
                continue;
            };
            let name = build.constant_name(weight);
            let weight = build.constant(flipped, &name);
            let Some(product) = build.operator(op, &[x, weight]) else { continue };
            let scale = build.numbers(back, &magnitudes)?;
            found.extend(build.operator(MUL, &[product, scale]));
        }
    }
    Some(found)
}
