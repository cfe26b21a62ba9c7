//! Flows: operators and the values between them, and which of them the lowering makes one step of.
//!
//! A [`Flow`] is a graph, or a candidate that is no graph yet. [`Flow::cost`] counts it as it will run: what a step hands on inside of itself is
//! never stored, so its bytes do not count. Which nodes join is by form alone, and found here for the lowering too ([`Steps`]):
//!
//! * a `conv` or `matmul`, a sum of ternary ones, or a pool takes along what an epilogue computes ([`Layer`]);
//! * element-wise nodes that feed only one another are one expression, up to [`MOST_INPUTS`] and [`MOST_VALUES`].

mod layers;

use crate::cost::{Cost, CostModel, OperandInfo};
use crate::graph::{Cycle, Graph, NodeId, ValueId};
use crate::op::Op;
use crate::types::TensorType;
pub use layers::{Layer, MOST_PLANES, Term, channels_of};
use std::collections::{HashMap, HashSet};

/// Inputs of an element-wise expression, at most.
pub const MOST_INPUTS: usize = 16;
/// Inputs and operations of an element-wise expression, at most.
pub const MOST_VALUES: usize = 64;

/// Which nodes of a graph are one step.
#[derive(Clone, Debug)]
pub struct Steps {
    /// The layers.
    pub layers: Vec<Layer<NodeId, ValueId>>,
    /// The element-wise nodes that are part of the expression of the one node that reads them.
    pub inlined: HashSet<NodeId>,
}

impl Steps {
    /// Those of a graph whose [`Graph::order`] is `order`.
    pub fn of(graph: &Graph, order: &[NodeId]) -> Steps {
        let (flow, values) = Flow::ordered(graph, order);
        let mut taken = vec![false; flow.nodes.len()];
        let layers = layers::find(&flow, &mut taken);
        let layers = layers.into_iter().map(|layer| layer.map(|node| order[node], |value| values[value]));
        let inlined = flow.inlined(&taken);
        let inlined = order.iter().zip(inlined).filter(|(_, inlined)| *inlined).map(|(&node, _)| node);
        Steps { layers: layers.collect(), inlined: inlined.collect() }
    }
}

/// Operators and the values between them.
#[derive(Clone, Debug, Default)]
pub struct Flow<'a> {
    values: Vec<FlowValue<'a>>,
    nodes: Vec<FlowNode<'a>>,
}

/// A value of a flow.
#[derive(Clone, Debug)]
struct FlowValue<'a> {
    ty: &'a TensorType,
    definer: Option<usize>,
    /// How many elements are not zero, of a constant.
    nonzeros: Option<u64>,
    /// Nodes that read it, and uses from outside.
    uses: usize,
    /// The first node that reads it.
    user: Option<usize>,
}

#[derive(Clone, Debug)]
struct FlowNode<'a> {
    op: &'a Op,
    operands: Vec<usize>,
    results: Vec<usize>,
}

impl<'a> Flow<'a> {
    /// The flow of a graph.
    pub fn of(graph: &'a Graph) -> Result<Flow<'a>, Cycle> {
        Ok(Flow::ordered(graph, &graph.order()?).0)
    }

    /// The flow of a graph with this order, which its nodes are in, and the values that its values are.
    fn ordered(graph: &'a Graph, order: &[NodeId]) -> (Flow<'a>, Vec<ValueId>) {
        let mut flow = Flow::default();
        let mut places: HashMap<ValueId, usize> = HashMap::new();
        let mut values = vec![];
        for port in graph.inputs() {
            places.insert(port.value, flow.value(graph.ty(port.value)));
            values.push(port.value);
        }
        for &id in order {
            let node = graph.node(id);
            let operands: Vec<usize> =
                node.operands.iter().filter_map(|value| places.get(value).copied()).collect();
            let types: Vec<&TensorType> = node.results.iter().map(|&value| graph.ty(value)).collect();
            let nonzeros = node.op.as_constant().map(|tensor| tensor.nonzeros() as u64);
            let results = flow.node(&node.op, &operands, &types, nonzeros);
            places.extend(node.results.iter().copied().zip(results));
            values.extend(&node.results);
        }
        graph
            .outputs()
            .iter()
            .filter_map(|port| places.get(&port.value))
            .for_each(|&value| flow.output(value));
        (flow, values)
    }

    /// Adds a value that comes from outside, and returns its number.
    pub fn value(&mut self, ty: &'a TensorType) -> usize {
        self.values.push(FlowValue { ty, definer: None, nonzeros: None, uses: 0, user: None });
        self.values.len() - 1
    }

    /// Adds a node behind those that it reads, and returns the numbers of its results. `nonzeros` makes them constant: so many of their
    /// elements are not zero.
    pub fn node(
        &mut self,
        op: &'a Op,
        operands: &[usize],
        results: &[&'a TensorType],
        nonzeros: Option<u64>,
    ) -> Vec<usize> {
        let node = self.nodes.len();
        for &operand in operands {
            if let Some(value) = self.values.get_mut(operand) {
                value.uses += 1;
                value.user.get_or_insert(node);
            }
        }
        let first = self.values.len();
        for &ty in results {
            self.values.push(FlowValue { ty, definer: Some(node), nonzeros, uses: 0, user: None });
        }
        let results: Vec<usize> = (first..self.values.len()).collect();
        self.nodes.push(FlowNode { op, operands: operands.to_vec(), results: results.clone() });
        results
    }

    /// Says that a value is used outside of the flow.
    pub fn output(&mut self, value: usize) {
        if let Some(value) = self.values.get_mut(value) {
            value.uses += 1;
        }
    }

    /// What it costs to run. Bytes are those of constants and of what steps store; `steps` counts the steps.
    pub fn cost(&self, model: &dyn CostModel) -> Cost {
        let joined = self.joined();
        let costs = self.nodes.iter().zip(joined).map(|(node, joined)| {
            let operands: Vec<OperandInfo<'_>> = node
                .operands
                .iter()
                .map(|&value| OperandInfo {
                    ty: self.values[value].ty,
                    nonzeros: self.values[value].nonzeros,
                })
                .collect();
            let results: Vec<&TensorType> = node.results.iter().map(|&value| self.values[value].ty).collect();
            let cost = model.cost(node.op, &operands, &results);
            let is_constant = matches!(node.op, Op::Constant(_));
            match joined {
                true => Cost { bytes: 0, steps: 0, ..cost },
                false => Cost { steps: u64::from(!is_constant), ..cost },
            }
        });
        costs.sum()
    }

    /// For each node, whether its result goes nowhere but into the step of the node that reads it.
    fn joined(&self) -> Vec<bool> {
        let mut taken = vec![false; self.nodes.len()];
        let layers = layers::find(self, &mut taken);
        let mut joined = self.inlined(&taken);
        for layer in layers {
            let inner = layer.nodes.split_last().map_or(&[][..], |(_, inner)| inner);
            inner.iter().for_each(|&node| joined[node] = true);
        }
        joined
    }

    /// For each node, whether it is part of the expression of the one node that reads it: both are element-wise, of the same type,
    /// and `taken` by no layer.
    fn inlined(&self, taken: &[bool]) -> Vec<bool> {
        let elementwise = |node: &FlowNode<'_>| matches!(node.op, Op::Unary(_) | Op::Binary(_));
        let mut inlined = vec![false; self.nodes.len()];
        // Sizes of the expressions that end at a node, operands first: (operations, inputs).
        let mut sizes = vec![(0usize, 0usize); self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            let &[result] = node.results.as_slice() else { continue };
            if taken[i] || !elementwise(node) {
                continue;
            }
            let (mut operations, mut inputs) = (1, node.operands.len());
            for &operand in &node.operands {
                let value = &self.values[operand];
                let Some(before) = value.definer.filter(|&before| !taken[before]) else { continue };
                // Narrow integers wrap between two operations, which an expression of wide ones would not.
                let alike =
                    value.uses == 1 && value.ty == self.values[result].ty && !value.ty.element.is_narrow();
                if !alike || !elementwise(&self.nodes[before]) {
                    continue;
                }
                // The operand itself is no input any more.
                let sum = (operations + sizes[before].0, inputs + sizes[before].1 - 1);
                if sum.1 <= MOST_INPUTS && sum.0 + sum.1 <= MOST_VALUES {
                    inlined[before] = true;
                    (operations, inputs) = sum;
                }
            }
            sizes[i] = (operations, inputs);
        }
        inlined
    }

    /// The one node that reads a value, with the operand's number.
    fn only_user(&self, value: usize) -> Option<(usize, usize)> {
        let value_info = self.values.get(value).filter(|info| info.uses == 1)?;
        let user = value_info.user?;
        let operand = self.nodes[user].operands.iter().position(|&operand| operand == value)?;
        Some((user, operand))
    }
}
