//! What an operator costs, counted: the one model that passes, lowering and reports use.

use crate::dim::Dim;
use crate::graph::{Graph, Node, ValueId};
use crate::op::{Binary, Op, Quantize, ReduceKind, Unary};
use crate::types::{ElementType, TensorType};
use std::iter::Sum;
use std::ops::Add;

/// Counts per inference. Open dimensions count as 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiplications and divisions of elements.
    pub multiplications: u64,
    /// Additions, subtractions and comparisons of elements.
    pub additions: u64,
    /// Bytes of constants and results.
    pub bytes: u64,
}

/// Counts what a node costs. Implement it to let passes minimise something else.
pub trait CostModel {
    /// The cost of one node of `graph`.
    fn cost(&self, graph: &Graph, node: &Node) -> Cost;
}

/// Plain counting: a ternary weight costs an addition where it is not zero, a float weight a multiplication and an addition;
/// element-wise operators cost what their formulas say, and so does `quantize`, to which a scale that it must find costs a comparison an
/// element.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingCost;

impl CostModel for CountingCost {
    fn cost(&self, graph: &Graph, node: &Node) -> Cost {
        let types = |values: &[ValueId]| -> Vec<&TensorType> {
            values.iter().filter_map(|&value| graph.get_value(value)).map(|value| &value.ty).collect()
        };
        let (operands, results) = (types(&node.operands), types(&node.results));
        let total = |types: &[&TensorType], of: fn(&TensorType) -> u64| {
            types.iter().map(|ty| of(ty)).fold(0, u64::saturating_add)
        };
        let elements = total(&results, count);
        let inputs = total(&operands, count);
        let (multiplications, additions) = match &node.op {
            Op::Conv(_) | Op::MatMul => match (operands.as_slice(), results.as_slice()) {
                ([_, weight], [result]) => {
                    let trits = node.operands.get(1).and_then(|&v| graph.constant(v)?.as_ternary());
                    product_cost(&node.op, weight, trits, result)
                }
                _ => (0, 0),
            },
            Op::Unary(f) => unary_cost(*f, elements),
            Op::Binary(f) => match f {
                Binary::Mul | Binary::Div | Binary::Pow | Binary::PRelu => (elements, 0),
                Binary::Add | Binary::Sub | Binary::Min | Binary::Max => (0, elements),
            },
            Op::BatchNorm { .. } => (elements, elements),
            Op::MaxPool(pool) => (0, elements.saturating_mul(product(&pool.kernel))),
            Op::AveragePool { pool, .. } => (elements, elements.saturating_mul(product(&pool.kernel))),
            Op::Reduce { kind: ReduceKind::Mean, .. } => (elements, inputs),
            Op::Reduce { .. } => (0, inputs),
            Op::Quantize(Quantize { scale, .. }) => (inputs, if scale.is_none() { inputs } else { 0 }),
            Op::Softmax { .. } => (elements.saturating_mul(2), elements.saturating_mul(3)),
            Op::Constant(_)
            | Op::Dims(_)
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Broadcast { .. }
            | Op::Gather { .. }
            | Op::Cast { .. }
            | Op::Custom(_) => (0, 0),
        };
        Cost { multiplications, additions, bytes: total(&results, bytes) }
    }
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            multiplications: self.multiplications.saturating_add(other.multiplications),
            additions: self.additions.saturating_add(other.additions),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), Add::add)
    }
}

/// A convolution or matrix product: every output element reads the weights of its channel once. `trits` are those of a
/// ternary weight.
fn product_cost(op: &Op, weight: &TensorType, trits: Option<&[i8]>, result: &TensorType) -> (u64, u64) {
    let channel_axis = if matches!(op, Op::Conv(_)) { 1 } else { result.rank().saturating_sub(1) };
    let channels = result.shape.get(channel_axis).and_then(Dim::as_size).unwrap_or(1).max(1) as u64;
    let positions = count(result) / channels;
    match trits {
        Some(trits) => {
            let selected = trits.iter().filter(|&&t| t != 0).count() as u64;
            (0, positions.saturating_mul(selected))
        }
        None => {
            // Each matrix of a batch of weights meets the positions of its own.
            let leading = if matches!(op, Op::MatMul) { weight.rank().saturating_sub(2) } else { 0 };
            let shared = weight.shape.iter().skip(leading).map(open_as_one).fold(1, u64::saturating_mul);
            let products = positions.saturating_mul(shared);
            (products, products)
        }
    }
}

fn unary_cost(f: Unary, elements: u64) -> (u64, u64) {
    match f {
        Unary::Relu | Unary::Clip { .. } | Unary::Neg | Unary::Abs => (0, elements),
        Unary::HardSwish => (elements.saturating_mul(2), elements),
        Unary::HardSigmoid { .. } => (elements, elements),
        Unary::LeakyRelu { .. }
        | Unary::Sqrt
        | Unary::Reciprocal
        | Unary::Sigmoid
        | Unary::Tanh
        | Unary::Exp
        | Unary::Log
        | Unary::Erf => (elements, 0),
    }
}

fn product(sizes: &[usize]) -> u64 {
    sizes.iter().fold(1, |product, &n| product.saturating_mul(n as u64))
}

/// Elements of a type, with open dimensions as 1.
fn count(ty: &TensorType) -> u64 {
    ty.shape.iter().map(open_as_one).fold(1, u64::saturating_mul)
}

fn open_as_one(dim: &Dim) -> u64 {
    dim.eval(&|_| Some(1)).and_then(|n| u64::try_from(n).ok()).unwrap_or(1)
}

fn bytes(ty: &TensorType) -> u64 {
    let elements = count(ty);
    match ty.element {
        ElementType::Ternary => elements.div_ceil(5),
        ElementType::I8 | ElementType::U8 | ElementType::Bool => elements,
        ElementType::I16 => elements.saturating_mul(2),
        ElementType::F32 | ElementType::I32 => elements.saturating_mul(4),
        ElementType::I64 => elements.saturating_mul(8),
    }
}
