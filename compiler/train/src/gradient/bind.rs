//! A graph with its sizes fixed, and where its values went.

use super::GradientError;
use std::collections::{BTreeMap, HashMap};
use twnc_ir::{Dim, Graph, GraphBuilder, TensorType, ValueId};

/// A graph without open sizes.
#[derive(Debug)]
pub struct Bound {
    /// The graph.
    pub graph: Graph,
    /// Where each value of the open graph is in this one.
    pub values: HashMap<ValueId, ValueId>,
}

/// What the symbols of a graph's inputs are for inputs of these shapes. The message names an input that does not fit.
pub fn sizes(graph: &Graph, shapes: &[Vec<usize>]) -> Result<BTreeMap<String, i64>, String> {
    let mut sizes = BTreeMap::new();
    for (port, shape) in graph.inputs().iter().zip(shapes) {
        for (dim, &size) in graph.ty(port.value).shape.iter().zip(shape) {
            let Some(symbol) = dim.as_symbol() else { continue };
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            let known = *sizes.entry(symbol.to_owned()).or_insert(size);
            if known != size {
                return Err(format!("`{symbol}` is {known} and, in input `{}`, {size}", port.name));
            }
        }
    }
    Ok(sizes)
}

/// The graph for these sizes.
pub fn bind(graph: &Graph, sizes: &BTreeMap<String, i64>) -> Result<Bound, GradientError> {
    let lookup = |symbol: &str| sizes.get(symbol).copied();
    let mut fix = |dim: &Dim| -> Result<Dim, GradientError> {
        dim.eval(&lookup).map(Dim::fixed).ok_or_else(|| GradientError::Open(dim.to_string()))
    };
    let mut build = GraphBuilder::new(graph.name());
    let mut values: HashMap<ValueId, ValueId> = HashMap::new();
    for port in graph.inputs() {
        let ty = graph.ty(port.value);
        let shape = ty.shape.iter().map(&mut fix).collect::<Result<Vec<_>, _>>()?;
        values.insert(port.value, build.input(&port.name, TensorType::new(ty.element, shape)));
    }
    let order = graph.order().map_err(|cycle| GradientError::node(graph.name(), cycle))?;
    for id in order {
        let (node, name) = (graph.node(id), graph.node_name(id));
        let missing = || GradientError::node(&name, "an operand is not there");
        let operands = node
            .operands
            .iter()
            .map(|v| values.get(v).copied().ok_or_else(missing))
            .collect::<Result<Vec<_>, _>>()?;
        let op = node.op.try_map_dims(&mut fix)?;
        let results =
            build.nodes(op, &operands, &node.name).map_err(|source| GradientError::node(&name, source))?;
        values.extend(node.results.iter().copied().zip(results));
    }
    for port in graph.outputs() {
        let value = values.get(&port.value);
        build.output(&port.name, *value.ok_or_else(|| GradientError::node(&port.name, "it is not there"))?);
    }
    Ok(Bound { graph: build.finish(), values })
}
