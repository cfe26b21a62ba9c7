//! Flows: operators and the values between them, and which of them the lowering makes one step of.
//!
//! A [`Flow`] is a graph, or a candidate that is no graph yet. [`Flow::cost`] counts it as it will run: what a step hands on inside of itself is
//! never stored, so its bytes do not count. Which nodes join is by form alone, as in the lowering:
//!
//! * a `conv` or `matmul` takes along the scale (behind a ternary weight), bias, residual and activation that follow it;
//! * element-wise nodes that feed only one another are one expression.

use crate::cost::{Cost, CostModel, OperandInfo};
use crate::graph::{Cycle, Graph, ValueId};
use crate::layer::channel_axis;
use crate::op::{Binary, Op};
use crate::types::{ElementType, TensorType};
use std::collections::HashMap;

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
        let mut flow = Flow::default();
        let mut places: HashMap<ValueId, usize> = HashMap::new();
        for port in graph.inputs() {
            places.insert(port.value, flow.value(graph.ty(port.value)));
        }
        for id in graph.order()? {
            let node = graph.node(id);
            let operands: Vec<usize> =
                node.operands.iter().filter_map(|value| places.get(value).copied()).collect();
            let types: Vec<&TensorType> = node.results.iter().map(|&value| graph.ty(value)).collect();
            let nonzeros = node.op.as_constant().map(|tensor| tensor.nonzeros() as u64);
            let results = flow.node(&node.op, &operands, &types, nonzeros);
            places.extend(node.results.iter().copied().zip(results));
        }
        graph
            .outputs()
            .iter()
            .filter_map(|port| places.get(&port.value))
            .for_each(|&value| flow.output(value));
        Ok(flow)
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
        let mut joined = vec![false; self.nodes.len()];
        let mut taken = vec![false; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            if matches!(node.op, Op::Conv(_) | Op::MatMul) {
                self.follow(i, &mut joined, &mut taken);
            }
        }
        for (i, node) in self.nodes.iter().enumerate() {
            let elementwise = |node: &FlowNode<'_>| matches!(node.op, Op::Unary(_) | Op::Binary(_));
            if taken[i] || !elementwise(node) || node.results.is_empty() {
                continue;
            }
            for &operand in &node.operands {
                let value = &self.values[operand];
                let Some(before) = value.definer else { continue };
                let alike = value.ty == self.values[node.results[0]].ty;
                if value.uses == 1 && alike && !taken[before] && elementwise(&self.nodes[before]) {
                    joined[before] = true;
                }
            }
        }
        joined
    }

    /// The one node that reads a value, with the operand's number.
    fn only_user(&self, value: usize) -> Option<(usize, usize)> {
        let value_info = self.values.get(value).filter(|info| info.uses == 1)?;
        let user = value_info.user?;
        let operand = self.nodes[user].operands.iter().position(|&operand| operand == value)?;
        Some((user, operand))
    }

    /// Joins what follows a product to its step, in the order of an epilogue: scale, bias, residual, activation.
    fn follow(&self, product: usize, joined: &mut [bool], taken: &mut [bool]) {
        let node = &self.nodes[product];
        let (&[_, weight], Some(&result)) = (node.operands.as_slice(), node.results.first()) else { return };
        let ternary = self.values[weight].ty.element == ElementType::Ternary;
        let (mut end, mut at) = (result, product);
        taken[product] = true;
        let (mut scaled, mut biased, mut added) = (false, false, false);
        if self.values[end].ty.element != ElementType::F32 {
            // Whole numbers are converted and multiplied by the scales of their input, which may stand in a product with others.
            for _ in 0..2 {
                let Some((user, operand)) = self.only_user(end) else { return };
                let next = &self.nodes[user];
                let factor =
                    next.operands.get(1 - operand.min(1)).and_then(|&value| self.values[value].definer);
                if !matches!(next.op, Op::Cast { .. } | Op::Binary(Binary::Mul)) || taken[user] {
                    return;
                }
                if let (Op::Binary(Binary::Mul), Some(factor)) = (next.op, factor)
                    && self.nodes[factor].results.first().is_some_and(|&v| self.values[v].uses == 1)
                    && matches!(self.nodes[factor].op, Op::Binary(Binary::Mul))
                {
                    (joined[factor], taken[factor]) = (true, true);
                }
                joined[at] = true;
                taken[user] = true;
                (at, end) = (user, next.results[0]);
            }
            scaled = true;
        }
        while let Some((user, operand)) = self.only_user(end) {
            let next = &self.nodes[user];
            if taken[user] {
                return;
            }
            let other = next.operands.get(1 - operand.min(1)).copied();
            let per_channel = other.is_some_and(|other| self.is_per_channel(other, end, node.op));
            match next.op {
                Op::Binary(Binary::Mul) if ternary && per_channel && !scaled && !biased && !added => {
                    scaled = true
                }
                Op::Binary(Binary::Add) if per_channel && !biased && !added => biased = true,
                Op::Binary(Binary::Add)
                    if !added
                        && other.is_some_and(|other| {
                            self.values[other].ty == self.values[end].ty
                                && self.values[other].nonzeros.is_none()
                        }) =>
                {
                    added = true;
                }
                Op::Unary(_) => {
                    (joined[at], taken[user]) = (true, true);
                    return;
                }
                _ => return,
            }
            joined[at] = true;
            taken[user] = true;
            (at, end) = (user, next.results[0]);
        }
    }

    /// Whether a value is a constant that broadcasts over `result` along the channel axis of `product` alone.
    fn is_per_channel(&self, value: usize, result: usize, product: &Op) -> bool {
        let (constant, over) = (&self.values[value], self.values[result].ty);
        if constant.nonzeros.is_none() || constant.ty.element != ElementType::F32 {
            return false;
        }
        let Some(first) = over.rank().checked_sub(constant.ty.rank()) else { return false };
        let axis = channel_axis(product, over.rank());
        let channels = axis.and_then(|axis| over.shape[axis].as_size()).filter(|&channels| channels > 0);
        let mut wide = constant.ty.shape.iter().enumerate().filter(|(_, size)| size.as_size() != Some(1));
        channels.is_some() && wide.all(|(i, size)| Some(first + i) == axis && size.as_size() == channels)
    }
}
