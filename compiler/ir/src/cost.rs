//! What an operator costs, counted: the one model that passes, lowering and reports use.

use crate::dim::Dim;
use crate::graph::{Graph, Node};
use crate::op::Op;
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
/// element-wise operators cost what their formulas say.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingCost;

impl CostModel for CountingCost {
    fn cost(&self, graph: &Graph, node: &Node) -> Cost {
        let result = graph.ty(node.results[0]);
        let elements = count(result);
        let inputs: u64 = node.operands.iter().map(|&v| count(graph.ty(v))).fold(0, u64::saturating_add);
        let (multiplications, additions) = match &node.op {
            Op::Conv(_) | Op::MatMul => return product_cost(graph, node),
            Op::Unary(f) => unary_cost(*f, elements),
            Op::Binary(f) => {
                use crate::op::Binary;
                match f {
                    Binary::Mul | Binary::Div | Binary::Pow | Binary::PRelu => (elements, 0),
                    Binary::Add | Binary::Sub | Binary::Min | Binary::Max => (0, elements),
                }
            }
            Op::BatchNorm { .. } => (elements, elements),
            Op::MaxPool(pool) => (0, elements.saturating_mul(product(&pool.kernel))),
            Op::AveragePool { pool, .. } => (elements, elements.saturating_mul(product(&pool.kernel))),
            Op::Reduce { .. } => (elements, inputs),
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
        Cost { multiplications, additions, bytes: bytes(result) }
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

/// A convolution or matrix product: every output element reads the weights of its channel once.
fn product_cost(graph: &Graph, node: &Node) -> Cost {
    let (weight, result) = (graph.ty(node.operands[1]), graph.ty(node.results[0]));
    let channel_axis = if matches!(node.op, Op::Conv(_)) { 1 } else { result.rank() - 1 };
    let outputs = result.shape[channel_axis].as_size().unwrap_or(1).max(1) as u64;
    let positions = count(result) / outputs;
    let bytes = bytes(result);
    match graph.constant(node.operands[1]).and_then(|w| w.as_ternary()) {
        Some(trits) => {
            let selected = trits.iter().filter(|&&t| t != 0).count() as u64;
            Cost { multiplications: 0, additions: positions.saturating_mul(selected), bytes }
        }
        None => {
            let shared = if matches!(node.op, Op::MatMul) && weight.rank() > 2 {
                count(&TensorType::f32(weight.shape[weight.rank() - 2..].to_vec()))
            } else {
                count(weight)
            };
            let products = positions.saturating_mul(shared);
            Cost { multiplications: products, additions: products, bytes }
        }
    }
}

fn unary_cost(f: crate::op::Unary, elements: u64) -> (u64, u64) {
    use crate::op::Unary;
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
    let open_as_one = |dim: &Dim| dim.eval(&|_| Some(1)).and_then(|n| u64::try_from(n).ok()).unwrap_or(1);
    ty.shape.iter().fold(1, |product, dim| product.saturating_mul(open_as_one(dim)))
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
