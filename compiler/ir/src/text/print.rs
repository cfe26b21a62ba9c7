//! Graphs to text.

use super::SMALL;
use super::attributes::{self, Value};
use crate::graph::{Graph, Node, Port, ValueId};
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
    let inputs = graph.inputs().iter().map(|p| format!("{} {:?}: {}", p.value, p.name, graph.ty(p.value)));
    let outputs = graph.outputs().iter().map(|Port { name, value }| format!("{value} {name:?}"));
    let mut text = format!("graph {:?} ({}) -> ({}) {{\n", graph.name(), joined(inputs), joined(outputs));
    // A graph with a cycle still prints: by id, for the eyes of whoever made it.
    let order = graph.order().unwrap_or_else(|_| graph.node_ids().collect());
    for id in order {
        text.push_str("  ");
        text.push_str(&line(graph, graph.node(id), small));
        text.push('\n');
    }
    text.push_str("}\n");
    text
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
    let attributes = attributes::of(&node.op).into_iter().map(|(name, value)| format!("{name}={value}"));
    let attributes = joined(attributes);
    let attributes = if attributes.is_empty() { attributes } else { format!(" {{{attributes}}}") };
    let types =
        joined(node.results.iter().map(|&r| graph.get_value(r).map_or("?".into(), |v| v.ty.to_string())));
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
