//! Which values hold no negative number: what activations, and what passes them on, leave.
//!
//! -0 and NaN may be among them, and from a `max_pool` or `reduce_max` of NaN alone or of nothing, -Inf. Where nothing is known, the
//! answer is no.

use std::collections::HashSet;
use twnc_ir::{Binary, ElementType, Graph, NodeId, Op, PadMode, Unary, ValueId};

/// The values of a graph that hold no negative number. `order` has every node after those that it depends on.
pub(crate) fn values(graph: &Graph, order: &[NodeId]) -> HashSet<ValueId> {
    let mut found = inputs(graph);
    learn(&mut found, graph, order);
    found
}

/// The inputs of a graph that hold no negative number.
pub(crate) fn inputs(graph: &Graph) -> HashSet<ValueId> {
    graph.inputs().iter().map(|port| port.value).filter(|&value| is_unsigned(graph, value)).collect()
}

/// Adds the results of some nodes that hold no negative number to those that are known of. Each node stands behind those that it depends on.
pub(crate) fn learn(found: &mut HashSet<ValueId>, graph: &Graph, nodes: &[NodeId]) {
    for &id in nodes {
        let node = graph.node(id);
        found.extend(node.results.iter().filter(|&&value| is_unsigned(graph, value)));
        // Sums and products of integers wrap.
        let float = |value: &ValueId| graph.ty(*value).element == ElementType::F32;
        if node.results.iter().all(float)
            && results(&node.op, node.operands.len(), &|operand| {
                node.operands.get(operand).is_some_and(|value| found.contains(value))
            })
        {
            found.extend(&node.results);
        }
    }
}

fn is_unsigned(graph: &Graph, value: ValueId) -> bool {
    matches!(graph.ty(value).element, ElementType::U8 | ElementType::Bool)
}

/// Whether f32 results of an operator are not negative, where `operand` says of each of its operands whether it is not.
pub(crate) fn results(op: &Op, operands: usize, operand: &dyn Fn(usize) -> bool) -> bool {
    let positive = |number: f32| number >= 0.0 || number.is_nan();
    match op {
        Op::Constant(tensor) => tensor.as_f32().is_some_and(|x| x.iter().all(|&x| positive(x))),
        Op::Unary(f) => match *f {
            Unary::Relu
            | Unary::HardSigmoid { .. }
            | Unary::Abs
            | Unary::Sqrt
            | Unary::Sigmoid
            | Unary::Exp => true,
            Unary::Clip { min, max } => (min >= 0.0 || operand(0)) && positive(max),
            Unary::LeakyRelu { .. }
            | Unary::HardSwish
            | Unary::Tanh
            | Unary::Erf
            | Unary::Atan
            | Unary::Floor
            | Unary::Round => operand(0),
            // The reciprocal of -0, which `relu` keeps, is -Inf.
            Unary::Neg | Unary::Reciprocal | Unary::Log | Unary::Sin | Unary::Cos => false,
        },
        Op::Binary(f) => match f {
            Binary::Add | Binary::Mul | Binary::Min => operand(0) && operand(1),
            Binary::Max => operand(0) || operand(1),
            Binary::PRelu | Binary::Keep => operand(0),
            Binary::Less | Binary::Equal => true,
            // Of -0, a quotient and a power may be -Inf.
            Binary::Sub | Binary::Div | Binary::Pow => false,
        },
        Op::Softmax { .. } => true,
        Op::Concat { .. } => (0..operands).all(operand),
        Op::Pad(pad) => operand(0) && !matches!(pad.mode, PadMode::Constant(value) if !positive(value)),
        Op::Reduce { .. }
        | Op::MaxPool(_)
        | Op::AveragePool { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice(_)
        | Op::Broadcast { .. }
        | Op::Gather { .. }
        | Op::Cumulative { .. }
        | Op::TopK { .. }
        | Op::Cast { .. } => operand(0),
        Op::Scatter { .. } => operand(0) && operand(2),
        Op::Iota { .. } => true,
        Op::Dims(_) | Op::Conv(_) | Op::MatMul | Op::BatchNorm { .. } | Op::Quantize(_) | Op::Custom(_) => {
            false
        }
    }
}
