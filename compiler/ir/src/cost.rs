//! What an operator costs: the one model by which passes choose, and by which candidates are extracted that are no graph yet.
//!
//! A model sees an operator, what is known of its operands and the types of its results, and nothing of where they stand. For a node
//! of a graph [`node_cost`] collects that. The lowering makes no choice by cost.

use crate::dim::Dim;
use crate::graph::{Graph, Node, ValueId};
use crate::layer;
use crate::op::{Binary, Op, Quantize, ReduceKind, Unary};
use crate::types::{ElementType, TensorType};
use std::iter::Sum;
use std::ops::Add;

/// Counts per inference. Open dimensions count as 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiplications, divisions and transcendental functions of elements.
    pub multiplications: u64,
    /// Additions, subtractions and comparisons of elements.
    pub additions: u64,
    /// Tables of the sums of up to [`GROUP`] inputs, in which ternary products look up what they add.
    pub tables: u64,
    /// Bytes of constants and results.
    pub bytes: u64,
    /// Steps of a program; what a node alone costs has none ([`Flow`](crate::Flow) knows them).
    pub steps: u64,
}

/// How many inputs a table has all sums of, as far as costs go; kernels choose.
pub const GROUP: u64 = 4;
/// What building a table takes in additions: every sum of a group up to its sign.
const TABLE_ADDITIONS: u64 = (3u64.pow(GROUP as u32) - 1) / 2;

/// What a cost model is told of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandInfo<'a> {
    /// Its type.
    pub ty: &'a TensorType,
    /// How many of its elements are not zero; `None` if it is not constant.
    pub nonzeros: Option<u64>,
}

/// Counts what operators cost, and says which cost is less. Implement it to let passes minimise something else.
pub trait CostModel: Send + Sync {
    /// The cost of one operator. `operands` and `results` may be those of no graph; if they do not type, the cost is of no meaning,
    /// but there is one.
    fn cost(&self, op: &Op, operands: &[OperandInfo<'_>], results: &[&TensorType]) -> Cost;

    /// A cost as one number, by which costs are ordered ([`f64::total_cmp`]): the less, the better. Finite, at least 0, and no less
    /// where a count is more.
    fn weight(&self, cost: &Cost) -> f64;
}

/// The cost of one node of `graph`.
pub fn node_cost(model: &dyn CostModel, graph: &Graph, node: &Node) -> Cost {
    let operands: Vec<OperandInfo<'_>> = node.operands.iter().map(|&value| operand(graph, value)).collect();
    let results: Vec<&TensorType> = node.results.iter().map(|&value| graph.ty(value)).collect();
    model.cost(&node.op, &operands, &results)
}

/// Plain counting: a ternary weight costs an addition where it is not zero, a float weight a multiplication and an addition;
/// element-wise operators cost what their formulas say. The operations are those of the step that an operator alone is lowered to
/// (`twnc-program` counts them there), so that only what fuses can cost less.
///
/// Additions are those by weights, one for each; kernels take a table's sum for up to four of them. What that saves is not counted, since a product saves it
/// wherever it stands, and the tables themselves are, since products of one input that become one share them.
///
/// Bytes are those of constants and results, but for views: what only names memory anew moves none.
///
/// Its weight is energy: 3.7 pJ for a multiplication of f32, 0.9 for an addition, 40 additions for a table, and 1.25 for a byte from the nearest cache
/// (Horowitz, "Computing's Energy Problem", ISSCC 2014, 45 nm: 10 pJ for 64 bits of 8 KB).
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingCost;

impl CostModel for CountingCost {
    fn cost(&self, op: &Op, operands: &[OperandInfo<'_>], results: &[&TensorType]) -> Cost {
        let elements = results.iter().map(|ty| count(ty)).fold(0, u64::saturating_add);
        let inputs = operands.iter().map(|operand| count(operand.ty)).fold(0, u64::saturating_add);
        let (multiplications, additions) = match op {
            Op::Conv(_) | Op::MatMul => match (operands, results) {
                ([_, weight], [result]) => product_cost(op, weight, result),
                _ => (0, 0),
            },
            Op::Unary(f) => each(elements, unary_cost(*f)),
            Op::Binary(f) => each(elements, binary_cost(*f)),
            // A subtraction and two additions; a root, a division and a multiplication.
            Op::BatchNorm { .. } => each(elements, (3, 3)),
            Op::MaxPool(pool) => (0, elements.saturating_mul(product(&pool.kernel))),
            Op::AveragePool { pool, .. } => (elements, elements.saturating_mul(product(&pool.kernel))),
            // Each update is combined with what is there.
            Op::Scatter { combine: Some(combine) } => {
                each(operands.get(2).map_or(0, |updates| count(updates.ty)), binary_cost(combine.binary()))
            }
            Op::Cumulative { combine, .. } => each(inputs, binary_cost(combine.binary())),
            // A comparison with the least that is kept so far.
            Op::TopK { .. } => (0, inputs),
            Op::Reduce { kind: ReduceKind::Mean, .. } => (elements, inputs),
            Op::Reduce { .. } => (0, inputs),
            // Each element is multiplied; a scale that is not given is looked for with a comparison.
            Op::Quantize(Quantize { scale, .. }) => each(inputs, (1, u64::from(scale.is_none()))),
            // The exponential and a division; the maximum, a subtraction and the sum.
            Op::Softmax { .. } => each(elements, (2, 3)),
            Op::Constant(_)
            | Op::Dims(_)
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Concat { .. }
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Broadcast { .. }
            | Op::Gather { .. }
            | Op::Iota { .. }
            | Op::Scatter { combine: None }
            | Op::Cast { .. }
            | Op::Custom(_) => (0, 0),
        };
        let tables = match (op, operands) {
            (Op::Conv(_) | Op::MatMul, [x, weight]) => tables(op, x.ty, weight.ty),
            _ => 0,
        };
        // No more than its sums are worth: of few outputs a kernel adds up without.
        let tables = tables.min(additions / TABLE_ADDITIONS);
        let bytes = match is_view(op, results) {
            true => 0,
            false => results.iter().map(|ty| bytes(ty)).fold(0, u64::saturating_add),
        };
        Cost { multiplications, additions, tables, bytes, steps: 0 }
    }

    fn weight(&self, cost: &Cost) -> f64 {
        let additions = cost.additions as f64 + TABLE_ADDITIONS as f64 * cost.tables as f64;
        3.7 * cost.multiplications as f64 + 0.9 * additions + 1.25 * cost.bytes as f64
    }
}

impl Add for Cost {
    type Output = Cost;

    fn add(self, other: Cost) -> Cost {
        Cost {
            multiplications: self.multiplications.saturating_add(other.multiplications),
            additions: self.additions.saturating_add(other.additions),
            tables: self.tables.saturating_add(other.tables),
            bytes: self.bytes.saturating_add(other.bytes),
            steps: self.steps.saturating_add(other.steps),
        }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), Add::add)
    }
}

fn operand(graph: &Graph, value: ValueId) -> OperandInfo<'_> {
    let nonzeros = graph.constant(value).map(|tensor| tensor.nonzeros() as u64);
    OperandInfo { ty: graph.ty(value), nonzeros }
}

/// A convolution or matrix product: every output element reads the weights of its channel once; of a ternary weight only those that
/// are not zero.
fn product_cost(op: &Op, weight: &OperandInfo<'_>, result: &TensorType) -> (u64, u64) {
    let channel_axis = layer::channel_axis(op, result.rank());
    let channels = channel_axis.map_or(1, |axis| open_as_one(&result.shape[axis]).max(1));
    let positions = count(result) / channels;
    // Each matrix of a batch of weights meets the positions of its own.
    let batch = if matches!(op, Op::MatMul) { weight.ty.rank().saturating_sub(2) } else { 0 };
    let weights = weight.ty.shape.iter().skip(batch).map(open_as_one).fold(1, u64::saturating_mul);
    if weight.ty.element == ElementType::Ternary {
        let matrices =
            weight.ty.shape.iter().take(batch).map(open_as_one).fold(1, u64::saturating_mul).max(1);
        return (0, (positions / matrices).saturating_mul(weight.nonzeros.unwrap_or(weights)));
    }
    let products = positions.saturating_mul(weights);
    (products, products)
}

/// The tables of a product with a ternary weight: one for each few channels of its input at each position. Convolutions in groups that use an input for few outputs
/// add up without.
fn tables(op: &Op, input: &TensorType, weight: &TensorType) -> u64 {
    let groups = match op {
        Op::Conv(conv) => conv.groups as u64,
        _ => 1,
    };
    let axis = layer::channel_axis(op, input.rank());
    let channels = axis.map_or(1, |axis| open_as_one(&input.shape[axis]).max(1));
    if weight.element != ElementType::Ternary || (groups > 1 && groups == channels) {
        return 0;
    }
    let groups = groups.max(1);
    (count(input) / channels).saturating_mul(groups).saturating_mul((channels / groups).div_ceil(GROUP))
}

/// So many multiplications and additions for each element.
fn each(elements: u64, (multiplications, additions): (u64, u64)) -> (u64, u64) {
    (elements.saturating_mul(multiplications), elements.saturating_mul(additions))
}

/// Whether the result is its operand's memory or part of it, or the operands are of the result's, where the network runs on one sample: then nothing is moved.
fn is_view(op: &Op, results: &[&TensorType]) -> bool {
    let is_first =
        |axis: usize| results.iter().all(|ty| ty.shape.iter().take(axis).all(|size| open_as_one(size) == 1));
    match op {
        Op::Reshape { .. } => true,
        Op::Slice(slice) => slice.step == 1 && is_first(slice.axis),
        Op::Concat { axis } => is_first(*axis),
        _ => false,
    }
}

/// Multiplications and additions for one element.
fn unary_cost(f: Unary) -> (u64, u64) {
    match f {
        Unary::Relu | Unary::Neg | Unary::Abs | Unary::Floor | Unary::Round => (0, 1),
        Unary::Clip { .. } => (0, 2),
        Unary::LeakyRelu { .. } => (1, 1),
        Unary::HardSigmoid { .. } => (1, 3),
        Unary::HardSwish => (2, 3),
        Unary::Sqrt
        | Unary::Reciprocal
        | Unary::Sigmoid
        | Unary::Tanh
        | Unary::Exp
        | Unary::Log
        | Unary::Erf
        | Unary::Sin
        | Unary::Cos
        | Unary::Atan => (1, 0),
    }
}

/// Multiplications and additions for one element.
fn binary_cost(f: Binary) -> (u64, u64) {
    match f {
        Binary::Mul | Binary::Div | Binary::Pow => (1, 0),
        Binary::Add
        | Binary::Sub
        | Binary::Min
        | Binary::Max
        | Binary::Less
        | Binary::Equal
        | Binary::Keep => (0, 1),
        Binary::PRelu => (1, 1),
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
