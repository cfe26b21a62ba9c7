//! The rewriter: the one way to change a graph.
//!
//! It infers the type of everything that is inserted, refuses a replacement whose type does not fit, keeps use lists, and
//! records what was changed and why. A pass's [`Changed`] is that record.

use crate::graph::{Graph, NodeId, Use, ValueId};
use crate::infer::TypeError;
use crate::op::Op;
use crate::tensor::Tensor;
use std::collections::{HashMap, HashSet};

/// A session of changes to one graph. An id or operand number that the graph does not have is a mistake of the caller's, and panics as
/// [`Graph::value`] does.
#[derive(Debug)]
pub struct Rewriter<'g> {
    graph: &'g mut Graph,
    edits: Vec<Edit>,
}

/// One change, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The name of the layer that changed; its value's number where it has none.
    pub node: String,
    /// What was done and why.
    pub reason: String,
}

/// What a pass changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Each change, in order.
    pub edits: Vec<Edit>,
}

impl Changed {
    /// Whether anything was.
    pub fn any(&self) -> bool {
        !self.edits.is_empty()
    }
}

impl<'g> Rewriter<'g> {
    /// Begins to change a graph.
    pub fn new(graph: &'g mut Graph) -> Rewriter<'g> {
        Rewriter { graph, edits: vec![] }
    }

    /// The graph as it is now.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// Inserts a constant; it is dead until something uses it.
    pub fn constant(&mut self, tensor: Tensor, name: &str) -> ValueId {
        let ty = tensor.ty();
        let node = self.graph.push_typed_node(Op::Constant(tensor), &[], name, vec![ty]);
        self.graph.node(node).results[0]
    }

    /// Inserts a node and returns its first result; it is dead until something uses it.
    pub fn insert(&mut self, op: Op, operands: &[ValueId], name: &str) -> Result<ValueId, TypeError> {
        let node = self.graph.push_node(op, operands, name)?;
        Ok(self.graph.node(node).results[0])
    }

    /// Inserts a node and returns all its results.
    pub fn insert_all(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: &str,
    ) -> Result<Vec<ValueId>, TypeError> {
        let node = self.graph.push_node(op, operands, name)?;
        Ok(self.graph.node(node).results.clone())
    }

    /// Lets every use of `old` read `new`. `new` must not depend on `old`; to put something behind a value, use
    /// [`Rewriter::replace_except`].
    pub fn replace(&mut self, old: ValueId, new: ValueId, reason: &str) -> Result<(), TypeError> {
        self.replace_except(old, new, &[], reason)
    }

    /// Lets every use of `old` read `new`, but not those by the nodes `keep` (through which `new` depends on `old`).
    pub fn replace_except(
        &mut self,
        old: ValueId,
        new: ValueId,
        keep: &[NodeId],
        reason: &str,
    ) -> Result<(), TypeError> {
        let (old_type, new_type) = (self.graph.ty(old), self.graph.ty(new));
        if !old_type.is_consistent_with(new_type) {
            return Err(TypeError::Replacement { old: old_type.to_string(), new: new_type.to_string() });
        }
        let kept = |site: &Use| matches!(site, Use::Operand(node, _) if keep.contains(node));
        let sites: Vec<Use> = self.graph.value(old).uses.iter().copied().filter(|u| !kept(u)).collect();
        if old != new && !sites.is_empty() {
            self.record(old, reason);
            self.graph.redirect(old, &sites, new);
        }
        Ok(())
    }

    /// Lets one operand of one node read another value of a consistent type.
    pub fn set_operand(
        &mut self,
        node: NodeId,
        operand: usize,
        new: ValueId,
        reason: &str,
    ) -> Result<(), TypeError> {
        let old = self.graph.node(node).operands[operand];
        let (old_type, new_type) = (self.graph.ty(old), self.graph.ty(new));
        if !old_type.is_consistent_with(new_type) {
            return Err(TypeError::Replacement { old: old_type.to_string(), new: new_type.to_string() });
        }
        if old != new {
            let result = self.graph.node(node).results[0];
            self.record(result, reason);
            self.graph.redirect(old, &[Use::Operand(node, operand)], new);
        }
        Ok(())
    }

    /// Removes every node that no output needs. Returns how many.
    pub fn remove_dead(&mut self, reason: &str) -> usize {
        let all = self.graph.node_ids().collect();
        self.remove_dead_among(all, reason)
    }

    /// Removes those of some nodes that no output needs, and what they alone needed. Returns how many. It takes time in proportion to these, and not
    /// to the graph.
    pub fn remove_dead_among(&mut self, mut candidates: Vec<NodeId>, reason: &str) -> usize {
        // How many uses are left of the values that dead nodes read.
        let mut left: HashMap<ValueId, usize> = HashMap::new();
        let (mut dead, mut found) = (vec![], HashSet::new());
        while let Some(id) = candidates.pop() {
            let Some(node) = self.graph.get_node(id) else { continue };
            let uses = |value: &ValueId| {
                left.get(value).copied().unwrap_or_else(|| self.graph.value(*value).uses.len())
            };
            if node.results.iter().any(|result| uses(result) > 0) || !found.insert(id) {
                continue;
            }
            dead.push(id);
            for &operand in &node.operands {
                let uses = left.entry(operand).or_insert_with(|| self.graph.value(operand).uses.len());
                *uses = uses.saturating_sub(1);
                candidates.extend(self.graph.definer(operand).map(|(id, _)| id));
            }
        }
        for &id in &dead {
            self.record(self.graph.node(id).results[0], reason);
        }
        self.graph.remove_nodes(&dead);
        dead.len()
    }

    /// Ends the session: what was changed.
    pub fn finish(self) -> Changed {
        Changed { edits: self.edits }
    }

    fn record(&mut self, value: ValueId, reason: &str) {
        let name = self.graph.definer(value).map(|(_, node)| node.name.clone()).filter(|n| !n.is_empty());
        let node = name.unwrap_or_else(|| value.to_string());
        self.edits.push(Edit { node, reason: reason.to_owned() });
    }
}
