//! The order in which passes walk a graph.

use std::collections::HashSet;
use twnc_ir::{Graph, NodeId, PassError};

/// Every node after those that it depends on.
pub(crate) fn order(graph: &Graph) -> Result<Vec<NodeId>, PassError> {
    graph
        .order()
        .map_err(|cycle| PassError::Refused { node: graph.name().to_owned(), message: cycle.to_string() })
}

/// Those of some nodes of a graph without cycles that live, each after those of them that it depends on, otherwise in the order given.
pub(crate) fn order_among(graph: &Graph, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut waiting: HashSet<NodeId> =
        nodes.iter().copied().filter(|&id| graph.get_node(id).is_some()).collect();
    let mut order = Vec::with_capacity(waiting.len());
    let mut stack: Vec<(NodeId, usize)> = vec![];
    for &id in nodes {
        if waiting.remove(&id) {
            stack.push((id, 0));
        }
        while let Some((id, next)) = stack.last_mut() {
            let Some(&operand) = graph.node(*id).operands.get(*next) else {
                order.push(*id);
                stack.pop();
                continue;
            };
            *next += 1;
            if let Some((before, _)) = graph.definer(operand)
                && waiting.remove(&before)
            {
                stack.push((before, 0));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use twnc_ir::{GraphBuilder, Op, TensorType, Unary};

    #[test]
    fn some_nodes_are_in_order() {
        let mut build = GraphBuilder::new("chain");
        let mut x = build.input("x", TensorType::f32(vec![]));
        for _ in 0..5 {
            x = build.node(Op::Unary(Unary::Relu), &[x], "").unwrap();
        }
        build.output("y", x);
        let graph = build.finish();
        let all: Vec<NodeId> = graph.node_ids().collect();
        // The one between is none of them: nothing is known of what it depends on.
        let some = [all[3], all[0], all[1], all[4]];
        assert_eq!(order_among(&graph, &some), [all[3], all[0], all[1], all[4]]);
        assert_eq!(order_among(&graph, &[all[2], all[1], all[0]]), [all[0], all[1], all[2]]);
    }
}
