//! Graphs for Graphviz: nodes as boxes, values as arrows with their types, constants left out but named in the box. A broken
//! graph is drawn as far as it goes.

use crate::graph::{Graph, NodeId, ValueId};
use crate::op::Op;
use petgraph::dot::{Config, Dot};
use petgraph::graph::DiGraph;
use std::collections::HashMap;

/// The graph in the language of `dot`.
pub fn print(graph: &Graph) -> String {
    let mut drawing = DiGraph::<String, String>::new();
    let mut places = HashMap::<NodeId, _>::new();
    let ty = |value: ValueId| graph.get_value(value).map_or("?".to_owned(), |value| value.ty.to_string());
    let inputs: HashMap<_, _> = graph
        .inputs()
        .iter()
        .map(|port| (port.value, drawing.add_node(format!("{}\n{}", port.name, ty(port.value)))))
        .collect();
    for id in graph.order().unwrap_or_else(|_| graph.node_ids().collect()) {
        let node = graph.node(id);
        if matches!(node.op, Op::Constant(_)) {
            continue;
        }
        let constants =
            node.operands.iter().filter_map(|&v| graph.constant(v)).map(|t| format!("\n{}", t.ty()));
        let label = format!("{}\n{}{}", node.op.mnemonic(), node.name, constants.collect::<String>());
        let place = drawing.add_node(label);
        places.insert(id, place);
        for &operand in &node.operands {
            let from = match graph.definer(operand) {
                Some((definer, _)) => places.get(&definer),
                None => inputs.get(&operand),
            };
            if let Some(&from) = from {
                drawing.add_edge(from, place, ty(operand));
            }
        }
    }
    for port in graph.outputs() {
        let from = match graph.definer(port.value) {
            Some((definer, _)) => places.get(&definer),
            None => inputs.get(&port.value),
        };
        let place = drawing.add_node(port.name.clone());
        if let Some(&from) = from {
            drawing.add_edge(from, place, ty(port.value));
        }
    }
    let label = |text: &String| format!("label={text:?}");
    let edge = |_: &DiGraph<String, String>, e: petgraph::graph::EdgeReference<'_, String>| label(e.weight());
    let node = |_: &DiGraph<String, String>, (_, text): (petgraph::graph::NodeIndex, &String)| {
        format!("shape=box {}", label(text))
    };
    let config = [Config::EdgeNoLabel, Config::NodeNoLabel];
    Dot::with_attr_getters(&drawing, &config, &edge, &node).to_string()
}
