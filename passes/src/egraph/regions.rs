//! Which nodes of a graph are searched together: runs of its order, each with the end of the one before.
//!
//! What is left of a region may be read far behind it alone: the scale of a value that a later part of the network takes up again. Such a node waits, and comes
//! into the region of what reads it, where it may merge. Every node is in a region at most a few times, so that all of them take time in proportion to the graph.

use super::Limits;
use std::collections::HashSet;
use std::vec::IntoIter;
use twnc_ir::{Graph, NodeId, Op, Use};

/// The regions of a graph, one after the other.
pub(crate) struct Regions {
    limits: Limits,
    /// What was in no region yet, in order.
    rest: IntoIter<NodeId>,
    /// That, and what waits.
    coming: HashSet<NodeId>,
    /// Nodes that were in a region and are read by what is to come alone.
    waiting: HashSet<NodeId>,
}

impl Regions {
    /// The regions of nodes that are in order.
    pub(crate) fn new(nodes: Vec<NodeId>, limits: Limits) -> Regions {
        let coming = nodes.iter().copied().collect();
        Regions { limits, rest: nodes.into_iter(), coming, waiting: HashSet::new() }
    }

    /// Adds the next nodes to the end of the region before; whether there were any.
    pub(crate) fn extend(&mut self, graph: &Graph, nodes: &mut Vec<NodeId>) -> bool {
        let shared = nodes.len();
        while nodes.len() < self.limits.region.max(shared + 1) {
            let Some(id) = self.rest.next() else { break };
            self.take(graph, id, nodes);
        }
        for id in &nodes[shared..] {
            self.coming.remove(id);
        }
        nodes.len() > shared
    }

    /// Adds a node behind what has waited for it.
    fn take(&mut self, graph: &Graph, id: NodeId, nodes: &mut Vec<NodeId>) {
        let Some(node) = graph.get_node(id) else { return };
        for &operand in &node.operands {
            if let Some((before, _)) = graph.definer(operand)
                && self.waiting.remove(&before)
            {
                self.take(graph, before, nodes);
            }
        }
        nodes.push(id);
    }

    /// Leaves of the nodes that now stand for a region those with which the next begins.
    pub(crate) fn leave(&mut self, graph: &Graph, nodes: &mut Vec<NodeId>) {
        let gone = nodes.len().saturating_sub(self.limits.overlap);
        // What reads a node comes first, since it may wait too.
        for id in nodes.drain(..gone).rev() {
            let node = graph.node(id);
            let to_come =
                |site: &Use| matches!(site, Use::Operand(reader, _) if self.coming.contains(reader));
            let mut uses = node.results.iter().flat_map(|&result| &graph.value(result).uses);
            if matches!(node.op, Op::Unary(_) | Op::Binary(_)) && uses.all(to_come) {
                self.waiting.insert(id);
                self.coming.insert(id);
            }
        }
    }
}
