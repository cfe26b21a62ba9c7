//! The values of a graph on all samples, computed as they are asked for, and let go behind their last use.
//!
//! Each node runs once. What is asked for is cut out of the graph, from the values that are there already, as a graph of its own with
//! fixed sizes, which an [`Execute`] runs batch by batch. Layers may have another weight than the graph says ([`Activations::substitute`]):
//! so one graph serves as the float network and as the one whose layers have become ternary.
//!
//! Values of all samples are in memory from where they are computed to their last reader; together they have a limit.

use crate::RepairError;
use crate::execute::Execute;
use crate::gradient::bind;
use crate::parallel;
use crate::samples::bytes;
use crate::solution::{Solution, bias_tensor};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use twnc_ir::{Binary, Dim, Graph, GraphBuilder, Layer, NodeId, Op, Tensor, TensorType, Use, ValueId};

/// See the module. Copies share the values that they have in common.
#[derive(Clone)]
pub(crate) struct Activations<'a> {
    graph: &'a Graph,
    order: &'a [NodeId],
    execute: &'a dyn Execute,
    substitutes: HashMap<NodeId, (Layer, Solution)>,
    /// Of each value that is there, a tensor for each batch.
    values: BTreeMap<ValueId, Vec<Tensor>>,
    /// Nodes that have been run.
    done: HashSet<NodeId>,
    /// What the symbols of each batch are.
    bindings: Vec<BTreeMap<String, i64>>,
    limit: usize,
}

/// A part of a graph, cut out: its inputs and outputs in the graph.
struct Segment {
    nodes: Vec<NodeId>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
}

impl<'a> Activations<'a> {
    /// Of a graph whose nodes are `order`, for batches of the tensors of its inputs. `limit` is in bytes.
    pub fn new(
        graph: &'a Graph,
        order: &'a [NodeId],
        execute: &'a dyn Execute,
        batches: &[Vec<Tensor>],
        limit: usize,
    ) -> Result<Activations<'a>, RepairError> {
        let shapes =
            |batch: &Vec<Tensor>| batch.iter().map(|tensor| tensor.shape().to_vec()).collect::<Vec<_>>();
        let bindings =
            batches.iter().map(|batch| bind::sizes(graph, &shapes(batch))).collect::<Result<_, _>>();
        let bindings = bindings.map_err(RepairError::Samples)?;
        let column = |i: usize| batches.iter().map(|batch| batch[i].clone()).collect();
        let values = graph.inputs().iter().enumerate().map(|(i, port)| (port.value, column(i))).collect();
        let (substitutes, done) = (HashMap::new(), HashSet::new());
        Ok(Activations { graph, order, execute, substitutes, values, done, bindings, limit })
    }

    /// The number of batches.
    pub fn batches(&self) -> usize {
        self.bindings.len()
    }

    /// From now on, a layer that has not run yet is this.
    pub fn substitute(&mut self, layer: &Layer, solution: Solution) {
        self.substitutes.insert(layer.node, (layer.clone(), solution));
    }

    /// A value that is there: that was computed, and not let go since.
    pub fn of(&self, value: ValueId, batch: usize) -> Result<&Tensor, RepairError> {
        let tensor = self.values.get(&value).and_then(|tensors| tensors.get(batch));
        tensor.ok_or_else(|| RepairError::Missing(value.to_string()))
    }

    /// Computes values, unless they are there.
    pub fn compute(&mut self, wanted: &[ValueId]) -> Result<(), RepairError> {
        let segment = self.segment(wanted);
        if segment.outputs.is_empty() {
            return Ok(());
        }
        let kinds: BTreeSet<&BTreeMap<String, i64>> = self.bindings.iter().collect();
        let mut prepared = HashMap::new();
        let mut needed = self.bytes();
        for kind in kinds {
            let graph = self.cut(&segment, kind)?;
            let ports = graph.outputs().iter().map(|port| graph.ty(port.value));
            let size: usize = ports.map(type_bytes).fold(0, usize::saturating_add);
            let count = self.bindings.iter().filter(|binding| *binding == kind).count();
            needed = needed.saturating_add(size.saturating_mul(count));
            if needed > self.limit {
                return Err(RepairError::Memory { needed, limit: self.limit });
            }
            prepared.insert(kind, self.execute.prepare(graph).map_err(RepairError::Execute)?);
        }
        let pieces: Vec<usize> = (0..self.batches()).collect();
        let results = parallel::map(pieces, |_, batch| {
            let inputs: Vec<Tensor> = segment
                .inputs
                .iter()
                .map(|&value| self.of(value, batch).cloned())
                .collect::<Result<_, _>>()?;
            let run = &prepared[&self.bindings[batch]];
            run(&inputs).map_err(RepairError::Execute)
        });
        let mut columns: Vec<Vec<Tensor>> = vec![vec![]; segment.outputs.len()];
        for result in results {
            for (column, tensor) in columns.iter_mut().zip(result?) {
                column.push(tensor);
            }
        }
        drop(prepared);
        self.values.extend(segment.outputs.into_iter().zip(columns));
        self.done.extend(segment.nodes);
        Ok(())
    }

    /// Lets go of values that no node reads which is still to run, but for the graph's outputs and those to `keep`.
    pub fn release(&mut self, keep: &[ValueId]) {
        let (graph, done) = (self.graph, &self.done);
        let needed = |site: &Use| match site {
            Use::Operand(node, _) => !done.contains(node),
            Use::Output(_) => true,
        };
        self.values.retain(|value, _| keep.contains(value) || graph.value(*value).uses.iter().any(needed));
    }

    /// What is there, in bytes.
    fn bytes(&self) -> usize {
        let tensors = self.values.values().flatten();
        tensors.map(|tensor| bytes(tensor.element(), tensor.len())).fold(0, usize::saturating_add)
    }

    /// What has to run for some values to be there.
    fn segment(&self, wanted: &[ValueId]) -> Segment {
        let there = |value: &ValueId| self.values.contains_key(value);
        let (mut found, mut inputs) = (HashSet::new(), BTreeSet::new());
        let mut open: Vec<ValueId> = wanted.iter().copied().filter(|value| !there(value)).collect();
        while let Some(value) = open.pop() {
            if there(&value) {
                inputs.insert(value);
            } else if let Some((id, node)) = self.graph.definer(value)
                && found.insert(id)
            {
                open.extend(&node.operands);
            }
        }
        let nodes: Vec<NodeId> = self.order.iter().copied().filter(|id| found.contains(id)).collect();
        // Constants are cheap to have again; everything else that somebody outside reads stays.
        let outside = |site: &Use| match site {
            Use::Operand(node, _) => !found.contains(node) && !self.done.contains(node),
            Use::Output(_) => true,
        };
        let stays = |value: &ValueId, constant: bool| {
            wanted.contains(value) || !constant && self.graph.value(*value).uses.iter().any(outside)
        };
        let mut outputs = vec![];
        for &id in &nodes {
            let node = self.graph.node(id);
            let constant = matches!(node.op, Op::Constant(_) | Op::Dims(_));
            outputs.extend(node.results.iter().copied().filter(|value| stays(value, constant)));
        }
        Segment { nodes, inputs: inputs.into_iter().collect(), outputs }
    }

    /// A segment as a graph of its own, with its symbols bound.
    fn cut(&self, segment: &Segment, binding: &BTreeMap<String, i64>) -> Result<Graph, RepairError> {
        let lookup = |symbol: &str| binding.get(symbol).copied();
        let mut bind = |dim: &Dim| -> Result<Dim, RepairError> {
            dim.eval(&lookup).map(Dim::fixed).ok_or_else(|| RepairError::Open(dim.to_string()))
        };
        let mut build = GraphBuilder::new(self.graph.name());
        let mut here: HashMap<ValueId, ValueId> = HashMap::new();
        let batch = self.bindings.iter().position(|b| b == binding).unwrap_or(0);
        for &value in &segment.inputs {
            let ty = self.of(value, batch)?.ty();
            here.insert(value, build.input(&value.to_string(), ty));
        }
        for &id in &segment.nodes {
            let node = self.graph.node(id);
            let at = |source| RepairError::Type { node: self.graph.node_name(id), source };
            let missing = |value: &ValueId| RepairError::Missing(value.to_string());
            let mut operands = vec![];
            for operand in &node.operands {
                operands.push(*here.get(operand).ok_or_else(|| missing(operand))?);
            }
            let op = node.op.try_map_dims(&mut bind)?;
            let results = match self.substitutes.get(&id) {
                None => build.nodes(op, &operands, &node.name).map_err(at)?,
                Some((layer, solution)) => {
                    let weight = build.constant(layer.float_tensor(solution.weight(layer)), "");
                    let product = build.node(op, &[operands[0], weight], &node.name).map_err(at)?;
                    let rank = build.graph().ty(product).rank();
                    match &solution.bias {
                        None => vec![product],
                        Some(bias) => {
                            let bias = build.constant(bias_tensor(layer, bias, rank), "");
                            vec![build.node(Op::Binary(Binary::Add), &[product, bias], "").map_err(at)?]
                        }
                    }
                }
            };
            here.extend(node.results.iter().copied().zip(results));
        }
        for value in &segment.outputs {
            let inside = here.get(value).ok_or_else(|| RepairError::Missing(value.to_string()))?;
            build.output(&value.to_string(), *inside);
        }
        Ok(build.finish())
    }
}

fn type_bytes(ty: &TensorType) -> usize {
    let elements = ty.fixed_shape().map_or(usize::MAX, |shape| {
        shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size)).unwrap_or(usize::MAX)
    });
    bytes(ty.element, elements)
}
