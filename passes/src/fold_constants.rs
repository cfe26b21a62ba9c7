//! `fold_constants`: computes what depends on constants alone.
//!
//! **Exact**: the value is the reference evaluator's. Not folded, with a remark: what would make the network much larger (a
//! constant repeated by `broadcast`, one concatenated with itself again and again), what takes too long to compute here, and what the evaluator refuses (an integer
//! division by zero). Nodes with open sizes are not constant. What is folded keeps the name of the operand that is
//! larger than all others: a weight behind a transpose or a dequantisation is that weight.

use crate::walk;
use twnc_ir::{
    Changed, CountingCost, EvalError, Graph, Node, NodeId, Op, Pass, PassContext, PassError, Rewriter,
    Tensor, Topic, eval, node_cost,
};

/// A result of up to so many elements may be larger than its operands.
const SMALL: usize = 1024;
/// So many times the elements of all constants are computed, and [`ROOM`] more.
const TIMES: usize = 16;
const ROOM: usize = 1 << 20;
/// The most additions and multiplications that are worth doing while compiling.
const MOST_WORK: u64 = 1 << 28;

/// The pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct FoldConstants;

impl Pass for FoldConstants {
    fn name(&self) -> &str {
        "fold_constants"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let constants = graph.node_ids().filter_map(|id| graph.node(id).op.as_constant());
        let held = constants.map(Tensor::len).fold(0, usize::saturating_add);
        let mut room = held.saturating_mul(TIMES).saturating_add(ROOM);
        let mut rewriter = Rewriter::new(graph);
        for id in walk::order(rewriter.graph())? {
            let name = rewriter.graph().node_name(id);
            match fold(rewriter.graph(), id, &mut room) {
                None => {}
                Some(Err(reason)) => cx.missed(Topic::Folding, &name, format!("not folded: {reason}")),
                Some(Ok(tensors)) => {
                    let node = rewriter.graph().node(id).clone();
                    let origin = origin(rewriter.graph(), &node);
                    for (old, tensor) in node.results.into_iter().zip(tensors) {
                        let new = rewriter.constant(tensor, &origin);
                        let replaced = rewriter.replace(old, new, "its operands are constant");
                        replaced.map_err(PassError::at(&name))?;
                    }
                }
            }
        }
        rewriter.remove_dead("it is folded");
        Ok(rewriter.finish())
    }
}

/// The name of the operand that is larger than all others; of the node, where there is none.
fn origin(graph: &Graph, node: &Node) -> String {
    let constants = node.operands.iter().filter_map(|&v| graph.definer(v));
    let mut sized: Vec<_> =
        constants.filter_map(|(_, node)| Some((node.op.as_constant()?.len(), &node.name))).collect();
    sized.sort_by_key(|(len, _)| *len);
    match sized.as_slice() {
        [.., (second, _), (largest, _)] if second == largest => node.name.clone(),
        [.., (_, name)] if !name.is_empty() => (*name).clone(),
        _ => node.name.clone(),
    }
}

/// The results of a node that is constant but not yet a `const`; the reason, if it should not become one. They are taken off the `room`.
fn fold(graph: &Graph, id: NodeId, room: &mut usize) -> Option<Result<Vec<Tensor>, String>> {
    let node = graph.node(id);
    if matches!(node.op, Op::Constant(_)) {
        return None;
    }
    let operands: Vec<Tensor> =
        node.operands.iter().map(|&v| graph.constant(v).cloned()).collect::<Option<_>>()?;
    let shapes: Vec<_> = node.results.iter().map(|&v| graph.ty(v).fixed_shape()).collect::<Option<_>>()?;
    let size = |shape: &[usize]| shape.iter().fold(1usize, |product, &n| product.saturating_mul(n));
    let before = operands.iter().map(Tensor::len).fold(0, usize::saturating_add);
    let after = shapes.iter().map(|shape| size(shape)).fold(0, usize::saturating_add);
    if after > before.max(SMALL) {
        return Some(Err(format!("{before} constant elements would become {after}")));
    }
    let Some(rest) = room.checked_sub(after) else {
        return Some(Err(
            "all that is folded would be much more than the constants of the network".to_owned()
        ));
    };
    *room = rest;
    // What the evaluator does, whatever model the target is counted by.
    let cost = node_cost(&CountingCost, graph, node);
    if cost.multiplications.saturating_add(cost.additions) > MOST_WORK {
        return Some(Err("it takes too long to compute while compiling".to_owned()));
    }
    match eval::apply(&node.op, &operands) {
        Ok(tensors) => Some(Ok(tensors)),
        Err(EvalError::Undetermined(_)) => None,
        Err(e) => Some(Err(e.to_string())),
    }
}
