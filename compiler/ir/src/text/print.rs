//! Graphs to text. A broken graph prints too, with comments at what is broken: it is what one looks at when the verifier complains.

use super::SMALL;
use super::attributes::{self, Value};
use crate::dim::is_word;
use crate::graph::{Definition, Graph, Node, Port, ValueId};
use crate::op::Op;
use crate::tensor::{Data, Tensor};
use std::fmt::{self, Write as _};

/// The text of a graph, large constants as their digest.
pub fn print(graph: &Graph) -> String {
    write(graph, SMALL)
}

/// The text of a graph with every element of every constant: a file of its own.
pub fn print_full(graph: &Graph) -> String {
    write(graph, usize::MAX)
}

fn write(graph: &Graph, small: usize) -> String {
    let inputs = graph.inputs().iter().map(|p| format!("{} {:?}: {}", p.value, p.name, ty(graph, p.value)));
    let outputs = graph.outputs().iter().map(|Port { name, value }| format!("{value} {name:?}"));
    let mut text = format!("graph {:?} ({}) -> ({}) {{", graph.name(), joined(inputs), joined(outputs));
    text.push_str(&faults(graph, graph.inputs().iter().chain(graph.outputs()).map(|port| port.value)));
    text.push('\n');
    let order = graph.order().unwrap_or_else(|cycle| {
        text.push_str(&format!("  // {cycle}; nodes stand by number\n"));
        graph.node_ids().collect()
    });
    for node in order.into_iter().filter_map(|id| graph.get_node(id)) {
        let faults = faults(graph, node.results.iter().chain(&node.operands).copied());
        text.push_str(&format!("  {}{faults}\n", line(graph, node, small)));
    }
    text.push_str("}\n");
    text
}

/// A comment that names those of the values that do not live, or that no living node defines.
fn faults(graph: &Graph, values: impl Iterator<Item = ValueId>) -> String {
    let fault = |value: ValueId| match graph.get_value(value).map(|v| v.definition) {
        None => Some(format!("{value} is no living value")),
        Some(Definition::Result(id, _)) if graph.get_node(id).is_none() => {
            Some(format!("{value} is a result of {id}, which is no living node"))
        }
        Some(_) => None,
    };
    let faults = joined(values.filter_map(fault));
    if faults.is_empty() { faults } else { format!(" // {faults}") }
}

fn ty(graph: &Graph, value: ValueId) -> String {
    graph.get_value(value).map_or("?".into(), |v| v.ty.to_string())
}

fn line(graph: &Graph, node: &Node, small: usize) -> String {
    let results = joined(node.results.iter().map(ValueId::to_string));
    let name = if node.name.is_empty() { String::new() } else { format!(" {:?}", node.name) };
    if let Op::Constant(tensor) = &node.op {
        let data =
            if tensor.len() <= small { elements(tensor) } else { format!("#{:016x}", tensor.digest()) };
        return format!("{results} = const {}{name} {data}", tensor.ty());
    }
    let word = match &node.op {
        Op::Custom(call) => format!("custom {:?}", call.operator.name()),
        op => op.mnemonic().to_owned(),
    };
    let operands = joined(node.operands.iter().map(ValueId::to_string));
    let attributes = attributes::of(&node.op).into_iter().map(|(name, value)| match is_word(&name) {
        true => format!("{name}={value}"),
        false => format!("{name:?}={value}"),
    });
    let attributes = joined(attributes);
    let attributes = if attributes.is_empty() { attributes } else { format!(" {{{attributes}}}") };
    let types = joined(node.results.iter().map(|&result| ty(graph, result)));
    format!("{results} = {word}({operands}){attributes}{name} : {types}")
}

fn elements(tensor: &Tensor) -> String {
    let list = match tensor.data() {
        Data::F32(v) => joined(v.iter().map(|x| format!("{x:?}"))),
        Data::I8(v) | Data::Ternary(v) => joined(v.iter().map(i8::to_string)),
        Data::U8(v) => joined(v.iter().map(u8::to_string)),
        Data::I16(v) => joined(v.iter().map(i16::to_string)),
        Data::I32(v) => joined(v.iter().map(i32::to_string)),
        Data::I64(v) => joined(v.iter().map(i64::to_string)),
        Data::Bool(v) => joined(v.iter().map(bool::to_string)),
    };
    format!("[{list}]")
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Dim(dim) => write!(f, "{dim}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::NoFloats => f.write_str("f32[]"),
            Value::List(values) => {
                f.write_char('[')?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i > 0 { "," } else { "" })?;
                }
                f.write_char(']')
            }
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{NodeId, Use};
    use crate::{CustomRegistry, dot, text};

    /// Once a removed operand made the printer panic, just when someone wanted to see what the verifier complained of.
    #[test]
    fn broken_graphs_print() {
        let source = r#"graph "g" (%0 "x": f32[2]) -> (%2 "y") {
  %1 = relu(%0) "first" : f32[2]
  %2 = neg(%1) "second" : f32[2]
}
"#;
        type Damage = fn(&mut Graph);
        let cases: [(Damage, &[&str]); 6] = [
            (|_| (), &["  %2 = neg(%1) \"second\" : f32[2]\n"]),
            (
                |g| drop(g.values.remove(&ValueId(1))),
                &[
                    "  %1 = relu(%0) \"first\" : ? // %1 is no living value\n",
                    "  %2 = neg(%1) \"second\" : f32[2] // %1 is no living value\n",
                ],
            ),
            (
                |g| g.nodes[0] = None,
                &[
                    "{\n  %2 = neg(%1) \"second\" : f32[2] // %1 is a result of n0, which is no living node\n}",
                ],
            ),
            (
                |g| drop(g.values.remove(&ValueId(0))),
                &[
                    "(%0 \"x\": ?) -> (%2 \"y\") { // %0 is no living value\n",
                    "  %1 = relu(%0) \"first\" : f32[2] // %0 is no living value\n",
                ],
            ),
            (
                |g| g.nodes[1] = None,
                &["-> (%2 \"y\") { // %2 is a result of n1, which is no living node\n  %1 = relu(%0)"],
            ),
            (
                |g| g.redirect(ValueId(0), &[Use::Operand(NodeId(0), 0)], ValueId(2)),
                &[
                    "  // the graph has a cycle through n1, n0; nodes stand by number\n  %1 = relu(%2) \"first\" : f32[2]\n",
                ],
            ),
        ];
        for (damage, lines) in cases {
            let mut graph = text::parse(source, &CustomRegistry::default()).expect("a graph");
            damage(&mut graph);
            let printed = print(&graph);
            for line in lines {
                assert!(printed.contains(line), "{line}\nis not in\n{printed}");
            }
            assert!(dot::print(&graph).contains("first") || graph.nodes[0].is_none());
        }
    }
}
