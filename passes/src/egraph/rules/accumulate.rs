//! Rules about sums that ternary weights select: which of them become one.
//!
//! Two products of one input are one where their windows agree. To be added, a smaller ternary window is placed inside of a larger one, with zeros around: there
//! are no more outputs than without. It is not, to be stacked: kernels look up every tap of a window for every output, also those that are zero.

use super::Function;
use super::text::Exactness;
use crate::egraph::build::{Builder, name};
use crate::egraph::facts::{operands as operands_of, operator};
use egg::Id;
use std::collections::BTreeSet;
use twnc_ir::layer::channel_axis;
use twnc_ir::{Binary, Conv, Data, Dim, ElementType, Op, Slice, Tensor};

pub(super) const RULES: &[Function] = &[
    Function {
        name: "sum_of_products",
        exactness: Exactness { exact: false, numbers_only: true },
        equation: "add(conv{?a}(?x, ?T1), conv{?b}(?x, ?T2)) => conv(?x, T1 + T2), and for matmul, where the sum is ternary, or both are float",
        word: "add",
        apply: sum_of_products,
        samples: &["add(conv{?a}(?x, ?w), conv{?b}(?x, ?v))", "add(matmul(?x, ?w), matmul(?x, ?v))"],
    },
    Function {
        name: "stacked_products",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "concat{1}(conv{?a}(?x, ?T1), conv{?a}(?x, ?T2), ..) => conv{?a}(?x, [T1; T2; ..]), and for matmul along the last axis",
        word: "concat",
        apply: stacked,
        samples: &[
            "concat{?c}(conv{?a}(?x, ?w), conv{?a}(?x, ?v))",
            "concat{?c}(matmul(?x, ?w), matmul(?x, ?v))",
        ],
    },
    Function {
        name: "products_of_one_input",
        exactness: Exactness { exact: true, numbers_only: false },
        equation: "conv{?a}(?x, ?T1) beside conv{?a}(?x, ?T2), .. => slice(conv{?a}(?x, [T1; T2; ..])), for ternary weights",
        word: "conv",
        apply: beside,
        samples: &["add(relu(conv{?a}(?x, ?w)), abs(conv{?a}(?x, ?v)))"],
    },
    Function {
        name: "average_pool_is_sum",
        exactness: Exactness { exact: false, numbers_only: true },
        equation: "average_pool{?a}(?x) => mul(conv(?x, ones), 1/n) where every window counts n elements",
        word: "average_pool",
        apply: average_pool,
        samples: &["average_pool{?a}(?x)"],
    },
];

/// A product with a constant weight.
struct Product {
    op: Op,
    x: Id,
    weight: Id,
}

/// The products with constant weights that a class is.
fn products(build: &Builder<'_>, id: Id) -> Vec<Product> {
    let nodes = ["conv", "matmul"].into_iter().flat_map(|word| build.nodes(id, word));
    let products = nodes.filter_map(|(op, operands)| match operands.as_slice() {
        &[x, weight] if build.tensor_of(weight).is_some() => {
            Some(Product { op, x: build.classes.find(x), weight })
        }
        _ => None,
    });
    products.collect()
}

/// The weight of a product that has the windows of another.
fn with_same_windows(build: &Builder<'_>, product: &Product, other: &Product) -> Option<Tensor> {
    let (tensor, larger) = (build.tensor_of(product.weight)?, build.tensor_of(other.weight)?);
    let same = product.x == other.x
        && tensor.element() == larger.element()
        && product.op == other.op
        && tensor.shape().get(2..) == larger.shape().get(2..);
    same.then(|| tensor.clone())
}

/// The weight that does what a product does with the windows of another; `None` if there are none.
fn with_windows_of(build: &Builder<'_>, product: &Product, other: &Product) -> Option<Tensor> {
    let (tensor, larger) = (build.tensor_of(product.weight)?, build.tensor_of(other.weight)?);
    if let Some(weight) = with_same_windows(build, product, other) {
        return Some(weight);
    }
    if product.x != other.x || tensor.element() != larger.element() {
        return None;
    }
    let (Op::Conv(from), Op::Conv(to)) = (&product.op, &other.op) else { return None };
    (from.groups == to.groups).then(|| embedded(tensor, from, larger.shape(), to)).flatten()
}

/// A ternary weight with zeros around, so that it does in the windows of `to` what it does in its own.
fn embedded(weight: &Tensor, from: &Conv, shape: &[usize], to: &Conv) -> Option<Tensor> {
    let trits = weight.as_ternary()?;
    if from.geometry.strides != to.geometry.strides {
        return None;
    }
    let (kernel, outer) = (weight.shape().get(2..)?, shape.get(2..)?);
    let mut first = vec![];
    for axis in 0..kernel.len() {
        let dilation = to.geometry.dilations[axis];
        let moved = to.geometry.pads_begin[axis].checked_sub(from.geometry.pads_begin[axis])?;
        let steps = moved / dilation;
        let aligned =
            moved % dilation == 0 && (kernel[axis] == 1 || from.geometry.dilations[axis] == dilation);
        if !aligned || steps + kernel[axis] > outer[axis] {
            return None;
        }
        first.push(steps);
    }
    let window: usize = kernel.iter().product();
    let outer_window: usize = outer.iter().product();
    let rows = trits.len() / window.max(1);
    let mut wide = vec![0; rows * outer_window];
    for (i, &trit) in trits.iter().enumerate() {
        let (row, mut tap) = (i / window, i % window);
        let (mut place, mut stride) = (0, 1);
        for axis in (0..kernel.len()).rev() {
            place += (tap % kernel[axis] + first[axis]) * stride;
            (tap, stride) = (tap / kernel[axis], stride * outer[axis]);
        }
        wide[row * outer_window + place] = trit;
    }
    let shape = [&weight.shape()[..2], outer].concat();
    Tensor::new(shape, Data::Ternary(wide.into())).ok()
}

fn sum_of_products(build: &mut Builder<'_>, _: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let &[left, right] = operands else { return None };
    if build.ty(left)? != build.ty(right)? {
        return None;
    }
    let mut sums = vec![];
    for a in products(build, left) {
        for b in products(build, right) {
            let pair = [(&a, &b), (&b, &a)].into_iter().find_map(|(inner, outer)| {
                let weight = with_windows_of(build, inner, outer)?;
                Some((outer.op.clone(), sum(&weight, build.tensor_of(outer.weight)?)?, outer.weight))
            });
            if let Some((op, weight, named)) = pair {
                sums.push((op, a.x, weight, build.constant_name(named)));
            }
        }
    }
    let sums = sums.into_iter().filter_map(|(op, x, weight, name)| {
        let weight = build.constant(weight, &name);
        build.operator(op, &[x, weight])
    });
    Some(sums.collect())
}

/// The sum of two weights, if it is one.
fn sum(a: &Tensor, b: &Tensor) -> Option<Tensor> {
    if a.shape() != b.shape() {
        return None;
    }
    let data = match (a.data(), b.data()) {
        (Data::Ternary(a), Data::Ternary(b)) => {
            Data::Ternary(a.iter().zip(b.iter()).map(|(a, b)| a + b).collect())
        }
        (Data::F32(a), Data::F32(b)) => {
            let sums = a.iter().zip(b.iter()).map(|(&a, &b)| (f64::from(a) + f64::from(b)) as f32);
            Data::F32(sums.collect())
        }
        _ => return None,
    };
    // A sum that is not ternary is refused here.
    Tensor::new(a.shape().to_vec(), data).ok()
}

/// Weights one after the other along their output channels.
fn stack(op: &Op, weights: &[Tensor]) -> Option<Tensor> {
    let axis = match op {
        Op::Conv(_) => 0,
        _ => weights.first()?.shape().len().checked_sub(1)?,
    };
    match weights.first()?.data() {
        Data::Ternary(_) => {
            // The evaluator moves no ternary tensors: only constants are.
            let as_bytes = |tensor: &Tensor| match tensor.data() {
                Data::Ternary(trits) => Tensor::new(tensor.shape().to_vec(), Data::I8(trits.clone())).ok(),
                _ => None,
            };
            let weights: Vec<Tensor> = weights.iter().map(as_bytes).collect::<Option<_>>()?;
            let stacked = twnc_ir::eval::apply(&Op::Concat { axis }, &weights).ok()?.pop()?;
            match stacked.data() {
                Data::I8(trits) => Tensor::new(stacked.shape().to_vec(), Data::Ternary(trits.clone())).ok(),
                _ => None,
            }
        }
        _ => twnc_ir::eval::apply(&Op::Concat { axis }, weights).ok()?.pop(),
    }
}

fn stacked(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let (Op::Concat { axis }, rank) = (op, build.ty(*operands.first()?)?.rank()) else { return None };
    let choices: Vec<Vec<Product>> = operands.iter().map(|&id| products(build, id)).collect();
    if choices.len() < 2 {
        return None;
    }
    // Each product whose windows might be those of all others.
    let mut found = vec![];
    let mut tried = BTreeSet::new();
    for outer in choices.iter().flatten() {
        let ungrouped = !matches!(&outer.op, Op::Conv(conv) if conv.groups != 1);
        if channel_axis(&outer.op, rank) != Some(*axis)
            || !ungrouped
            || !tried.insert(format!("{:?}{}", outer.op, outer.x))
        {
            continue;
        }
        let weights =
            choices.iter().map(|list| list.iter().find_map(|inner| with_same_windows(build, inner, outer)));
        let Some(weights) = weights.collect::<Option<Vec<Tensor>>>() else { continue };
        if let Some(weight) = stack(&outer.op, &weights) {
            found.push((outer.op.clone(), outer.x, weight, build.constant_name(outer.weight)));
        }
    }
    let found = found.into_iter().filter_map(|(op, x, weight, name)| {
        let weight = build.constant(weight, &name);
        build.operator(op, &[x, weight])
    });
    Some(found.collect())
}

/// A product that is one part of all products by ternary weights of the graph that read its input with its windows. Of integers the sum with its
/// cast is, which one step computes, so that no part lies between them.
fn beside(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let layer = name(build.classes, build.class);
    let (all, part) = all_beside(build, op, operands)?;
    build.name.clone_from(&layer);
    if build.ty(all)?.element == ElementType::F32 {
        return Some(vec![build.operator(Op::Slice(part), &[all])?]);
    }
    let cast = Op::Cast { to: ElementType::F32 };
    let casts: Vec<Id> = build.classes[build.class]
        .parents()
        .filter(|&parent| operator(build.classes, build.classes.id_to_node(parent)) == Some(&cast))
        .collect();
    for converted in casts {
        let all = build.operator(cast.clone(), &[all])?;
        let part = build.operator(Op::Slice(part.clone()), &[all])?;
        build.unite(converted, part);
    }
    Some(vec![])
}

/// All products by ternary weights of the graph that read one input with the same windows, as one, and which part of it one of them is.
fn all_beside(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<(Id, Slice)> {
    let &[x, weight] = operands else { return None };
    if !is_original(build, weight) || matches!(op, Op::Conv(conv) if conv.groups != 1) {
        return None;
    }
    let kernel = build.tensor_of(weight)?.shape().get(2..)?.to_vec();
    let mut weights = BTreeSet::new();
    for parent in build.classes[x].parents() {
        let node = build.classes.id_to_node(parent);
        if operator(build.classes, node) != Some(op) {
            continue;
        }
        let &[input, other] = operands_of(build.classes, node) else { continue };
        let same_input = build.classes.find(input) == build.classes.find(x);
        let same_kernel =
            build.tensor_of(other).and_then(|tensor| tensor.shape().get(2..)) == Some(&kernel[..]);
        if same_input && same_kernel && is_original(build, other) {
            weights.insert(build.classes.find(other));
        }
    }
    let own = build.classes.find(weight);
    if weights.len() < 2 || !weights.contains(&own) {
        return None;
    }
    let mut start = 0;
    let mut tensors = vec![];
    let mut size = 0;
    for &other in &weights {
        let tensor = build.tensor_of(other)?;
        let channels = *tensor.shape().first()?;
        if other == own {
            (start, size) = (tensors.iter().map(|t: &Tensor| t.shape()[0]).sum(), channels);
        }
        tensors.push(tensor.clone());
    }
    let stacked = stack(op, &tensors)?;
    let weight = build.constant_name(weight);
    let weight = build.constant(stacked, &weight);
    let all = build.operator(op.clone(), &[x, weight])?;
    Some((all, Slice { axis: 1, start: Dim::from(start), size: Dim::from(size), step: 1 }))
}

/// Whether a class is a ternary constant of the graph.
fn is_original(build: &Builder<'_>, id: Id) -> bool {
    let place = match build.facts(id).kind {
        crate::egraph::facts::Kind::Constant(place) => place as usize,
        _ => return false,
    };
    let constant = &build.classes.analysis.constants[place];
    constant.value.is_some() && constant.op.as_constant().is_some_and(|tensor| tensor.as_ternary().is_some())
}

fn average_pool(build: &mut Builder<'_>, op: &Op, operands: &[Id]) -> Option<Vec<Id>> {
    let Op::AveragePool { pool, count_padding } = op else { return None };
    let &[x] = operands else { return None };
    let padded = pool.geometry.pads_begin.iter().chain(&pool.geometry.pads_end).any(|&n| n > 0);
    if pool.ceil || (padded && !count_padding) {
        return None;
    }
    // Of one channel it would be a product like any other, and no longer known as a pool.
    let channels = build.ty(x)?.shape.get(1)?.as_size().filter(|&channels| channels > 1)?;
    let count = pool.kernel.iter().try_fold(1usize, |count, &n| count.checked_mul(n))?;
    let shape = [&[channels, 1], pool.kernel.as_slice()].concat();
    let ones = Tensor::new(shape, Data::Ternary(vec![1; channels.checked_mul(count)?].into())).ok()?;
    let ones = build.constant(ones, "");
    let conv = Op::Conv(Conv { geometry: pool.geometry.clone(), groups: channels });
    let sum = build.operator(conv, &[x, ones])?;
    let share = build.numbers(None, &[1.0 / count as f64])?;
    Some(vec![build.operator(Op::Binary(Binary::Mul), &[sum, share])?])
}
