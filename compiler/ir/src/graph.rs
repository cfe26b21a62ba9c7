//! The graph: nodes and values with typed ids, and the order in which to walk them.
//!
//! A graph is read through the methods here, built by a [`GraphBuilder`], and changed by a
//! [`Rewriter`](crate::Rewriter) and by nothing else. Ids are stable: a value keeps its number for as long as it lives, and
//! numbers are not used again. Dead nodes (whose results nobody uses) are allowed; the `dead_code` pass removes them.

use crate::infer::{self, TypeError};
use crate::op::Op;
use crate::tensor::Tensor;
use crate::types::TensorType;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

/// A value: a graph input or a result of a node. Prints as `%7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// A node. Prints as `n7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// A network as tensors and mathematics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    name: String,
    /// By number: a text may number its values as it likes, so the numbers are no positions.
    pub(crate) values: BTreeMap<ValueId, Value>,
    /// Above every number that a value has had.
    next_value: u32,
    pub(crate) nodes: Vec<Option<Node>>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// A named input or output.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The name that the network gives it.
    pub name: String,
    /// Which value.
    pub value: ValueId,
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Its type.
    pub ty: TensorType,
    /// Where it comes from.
    pub definition: Definition,
    /// Where it goes, in no particular order; graph outputs included.
    pub uses: Vec<Use>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// The graph's input of this number.
    Input(usize),
    /// A node's result of this number.
    Result(NodeId, usize),
}

/// Where a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// A node's operand of this number.
    Operand(NodeId, usize),
    /// The graph's output of this number.
    Output(usize),
}

/// An operator with its operands and results.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// What it reads.
    pub operands: Vec<ValueId>,
    /// What it defines.
    pub results: Vec<ValueId>,
    /// The name of the layer or initialiser it came from, for people; may be empty, need not be unique.
    pub name: String,
}

/// The nodes on a cycle, which a graph must not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the graph has a cycle through {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct Cycle(pub Vec<NodeId>);

impl Graph {
    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inputs, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The outputs, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// A value that lives; `None` for an id of another graph or of a removed value.
    pub fn get_value(&self, id: ValueId) -> Option<&Value> {
        self.values.get(&id)
    }

    /// A node that lives.
    pub fn get_node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index()).and_then(Option::as_ref)
    }

    /// A value. Panics if the id is not one of this graph's living values, which is a mistake of the caller's.
    pub fn value(&self, id: ValueId) -> &Value {
        self.get_value(id).unwrap_or_else(|| panic!("{id} is no value of this graph"))
    }

    /// A node. Panics if the id is not one of this graph's living nodes, which is a mistake of the caller's.
    pub fn node(&self, id: NodeId) -> &Node {
        self.get_node(id).unwrap_or_else(|| panic!("{id} is no node of this graph"))
    }

    /// The type of a value. Panics as [`Graph::value`] does.
    pub fn ty(&self, id: ValueId) -> &TensorType {
        &self.value(id).ty
    }

    /// What to call a node in messages: its name; the number of its first result where it has none.
    pub fn node_name(&self, id: NodeId) -> String {
        let node = self.node(id);
        match (node.name.as_str(), node.results.first()) {
            ("", Some(result)) => result.to_string(),
            (name, _) => name.to_owned(),
        }
    }

    /// All living values, by id.
    pub fn value_ids(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.values.keys().copied()
    }

    /// All living nodes, by id.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        (0..).map(NodeId).zip(&self.nodes).filter(|(_, n)| n.is_some()).map(|(id, _)| id)
    }

    /// The node that defines a value; `None` for a graph input, and where the value or its node does not live.
    pub fn definer(&self, id: ValueId) -> Option<(NodeId, &Node)> {
        match self.get_value(id)?.definition {
            Definition::Result(id, _) => self.get_node(id).map(|node| (id, node)),
            Definition::Input(_) => None,
        }
    }

    /// The tensor of a value that a `const` defines.
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.definer(id).and_then(|(_, node)| node.op.as_constant())
    }

    /// The one node that uses a value, with the operand's number; `None` if there are more uses, or a graph output among them.
    pub fn only_user(&self, id: ValueId) -> Option<(NodeId, usize)> {
        match self.value(id).uses.as_slice() {
            [Use::Operand(node, operand)] => Some((*node, *operand)),
            _ => None,
        }
    }

    /// Every node, each after those that define its operands: depth first from the outputs, operands in order, so that a
    /// constant stands right before its first use; nodes that no output needs follow, by id. The order depends on the
    /// graph alone. In a broken graph, a value that does not live needs no node.
    pub fn order(&self) -> Result<Vec<NodeId>, Cycle> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut state = vec![State::New; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        let definer = |value: &ValueId| self.definer(*value).map(|(node, _)| node);
        let roots = self.outputs.iter().filter_map(|port| definer(&port.value)).chain(self.node_ids());
        let mut stack: Vec<(NodeId, usize)> = vec![];
        for root in roots {
            if state[root.index()] == State::New {
                state[root.index()] = State::Open;
                stack.push((root, 0));
            }
            while let Some((node, next)) = stack.last_mut() {
                let (id, operands) = (*node, &self.node(*node).operands);
                let Some(operand) = operands.get(*next) else {
                    state[id.index()] = State::Done;
                    order.push(id);
                    stack.pop();
                    continue;
                };
                *next += 1;
                let Some(before) = definer(operand) else { continue };
                match state[before.index()] {
                    State::New => {
                        state[before.index()] = State::Open;
                        stack.push((before, 0));
                    }
                    State::Open => {
                        let on_path = stack.iter().map(|(node, _)| *node);
                        return Err(Cycle(on_path.skip_while(|node| *node != before).collect()));
                    }
                    State::Done => {}
                }
            }
        }
        Ok(order)
    }

    pub(crate) fn set_name(&mut self, name: &str) {
        self.name = name.to_owned();
    }

    /// Adds an input.
    pub(crate) fn push_input(&mut self, name: &str, ty: TensorType) -> ValueId {
        let id = ValueId(self.next_value);
        self.place_input(id, name, ty);
        id
    }

    pub(crate) fn push_output(&mut self, name: &str, value: ValueId) {
        let number = self.outputs.len();
        self.value_mut(value).uses.push(Use::Output(number));
        self.outputs.push(Port { name: name.to_owned(), value });
    }

    /// Adds a node whose results have the types that its operator infers.
    pub(crate) fn push_node(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: &str,
    ) -> Result<NodeId, TypeError> {
        let types: Vec<_> = operands.iter().map(|&v| self.ty(v)).collect();
        let results = infer::infer(&op, &types)?;
        Ok(self.push_typed_node(op, operands, name, results))
    }

    /// Adds a node whose results have the types given.
    pub(crate) fn push_typed_node(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: &str,
        types: Vec<TensorType>,
    ) -> NodeId {
        let results = (self.next_value..).map(ValueId).zip(types).collect();
        self.place_node(op, operands, name, results);
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// Adds an input whose value has the given id, which no living value has.
    pub(crate) fn place_input(&mut self, id: ValueId, name: &str, ty: TensorType) {
        self.place_value(id, ty, Definition::Input(self.inputs.len()));
        self.inputs.push(Port { name: name.to_owned(), value: id });
    }

    /// Adds a node whose results have the given ids, which no living values have, and types.
    pub(crate) fn place_node(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: &str,
        results: Vec<(ValueId, TensorType)>,
    ) {
        let id = NodeId(self.nodes.len() as u32);
        let ids = results.iter().map(|(value, _)| *value).collect();
        for (i, (value, ty)) in results.into_iter().enumerate() {
            self.place_value(value, ty, Definition::Result(id, i));
        }
        for (i, &operand) in operands.iter().enumerate() {
            self.value_mut(operand).uses.push(Use::Operand(id, i));
        }
        self.nodes.push(Some(Node { op, operands: operands.to_vec(), results: ids, name: name.to_owned() }));
    }

    /// Lets some uses of a value read another.
    pub(crate) fn redirect(&mut self, from: ValueId, sites: &[Use], to: ValueId) {
        for &site in sites {
            match site {
                Use::Operand(node, i) => {
                    let node = self.nodes[node.index()].as_mut().expect("a use list names living nodes");
                    node.operands[i] = to;
                }
                Use::Output(i) => self.outputs[i].value = to,
            }
        }
        let moved: HashSet<Use> = sites.iter().copied().collect();
        self.value_mut(from).uses.retain(|site| !moved.contains(site));
        self.value_mut(to).uses.extend(sites);
    }

    /// Removes nodes whose results have no uses but by one another.
    pub(crate) fn remove_nodes(&mut self, ids: &[NodeId]) {
        let removed: Vec<Node> = ids.iter().filter_map(|id| self.nodes[id.index()].take()).collect();
        for result in removed.iter().flat_map(|node| &node.results) {
            self.values.remove(result);
        }
        let operands: BTreeSet<ValueId> = removed.iter().flat_map(|node| &node.operands).copied().collect();
        for operand in operands {
            if let Some(value) = self.values.get_mut(&operand) {
                let nodes = &self.nodes;
                value.uses.retain(|site| match site {
                    Use::Operand(node, _) => nodes[node.index()].is_some(),
                    Use::Output(_) => true,
                });
            }
        }
    }

    fn place_value(&mut self, id: ValueId, ty: TensorType, definition: Definition) {
        self.next_value = self.next_value.max(id.0.saturating_add(1));
        self.values.insert(id, Value { ty, definition, uses: vec![] });
    }

    fn value_mut(&mut self, id: ValueId) -> &mut Value {
        self.values.get_mut(&id).unwrap_or_else(|| panic!("{id} is no value of this graph"))
    }
}

/// Builds a graph from its inputs to its outputs.
///
/// ```
/// use twnc_ir::{Dim, GraphBuilder, Op, TensorType, Unary};
/// let mut build = GraphBuilder::new("tiny");
/// let x = build.input("x", TensorType::f32(vec![Dim::symbol("N"), Dim::from(3)]));
/// let y = build.node(Op::Unary(Unary::Relu), &[x], "activation")?;
/// build.output("y", y);
/// assert_eq!(build.finish().outputs().len(), 1);
/// # Ok::<(), twnc_ir::TypeError>(())
/// ```
#[derive(Debug)]
pub struct GraphBuilder {
    graph: Graph,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> GraphBuilder {
        let mut graph = Graph::default();
        graph.set_name(name);
        GraphBuilder { graph }
    }

    /// What is built so far, to ask for types and constants.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Adds an input.
    pub fn input(&mut self, name: &str, ty: TensorType) -> ValueId {
        self.graph.push_input(name, ty)
    }

    /// Adds a constant.
    pub fn constant(&mut self, tensor: Tensor, name: &str) -> ValueId {
        let ty = tensor.ty();
        let node = self.graph.push_typed_node(Op::Constant(tensor), &[], name, vec![ty]);
        self.graph.node(node).results[0]
    }

    /// Adds a node and returns its first result.
    pub fn node(&mut self, op: Op, operands: &[ValueId], name: &str) -> Result<ValueId, TypeError> {
        let node = self.graph.push_node(op, operands, name)?;
        Ok(self.graph.node(node).results[0])
    }

    /// Adds a node and returns all its results.
    pub fn nodes(&mut self, op: Op, operands: &[ValueId], name: &str) -> Result<Vec<ValueId>, TypeError> {
        let node = self.graph.push_node(op, operands, name)?;
        Ok(self.graph.node(node).results.clone())
    }

    /// Adds an output.
    pub fn output(&mut self, name: &str, value: ValueId) {
        self.graph.push_output(name, value);
    }

    /// The graph.
    pub fn finish(self) -> Graph {
        self.graph
    }
}

impl NodeId {
    /// Its position among all nodes that the graph has had.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Debug for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
