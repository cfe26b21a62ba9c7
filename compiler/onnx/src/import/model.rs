//! The file as ONNX sees it: decoded, its versions and names checked, its nodes in an order in which they can be computed.

use super::functions;
use crate::error::ImportProblem;
use crate::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto};
use prost::Message;
use std::collections::{HashMap, HashSet};

/// IR versions that are read. Before 3 there were no operator sets.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=13;

/// The oldest operator set that is read, and the newest that is known.
pub const OPSETS: std::ops::RangeInclusive<i64> = 1..=27;

/// A model whose versions are accepted.
#[derive(Debug)]
pub struct Model {
    /// The network.
    pub graph: GraphProto,
    /// The version of ONNX's own operators.
    opset: i64,
    /// That of nodes which come from functions that have another, by the first result.
    other: HashMap<String, i64>,
}

impl Model {
    /// The version of ONNX's own operators that a node is of.
    pub fn opset(&self, node: &NodeProto) -> i64 {
        let first = node.output.iter().find(|name| !name.is_empty());
        first.and_then(|name| self.other.get(name)).copied().unwrap_or(self.opset)
    }
}

/// Reads a file. Nesting is limited by the decoder, to 100 messages. `own` says which operators are known by others than the file's functions.
pub fn decode(bytes: &[u8], own: &dyn Fn(&str) -> bool) -> Result<Model, ImportProblem> {
    let model = ModelProto::decode(bytes).map_err(|error| ImportProblem::NotOnnx(error.to_string()))?;
    let Some(mut graph) = model.graph else {
        return Err(ImportProblem::NotOnnx("it holds no graph".into()));
    };
    if !IR_VERSIONS.contains(&model.ir_version) {
        return Err(ImportProblem::Version {
            what: "the IR version".into(),
            found: model.ir_version,
            accepted: format!("{} to {}", IR_VERSIONS.start(), IR_VERSIONS.end()),
            remedy: "write the model with a current exporter, or with `onnx.version_converter`",
        });
    }
    let opset = opset(&model.opset_import, &graph)?;
    let other = functions::inline(&mut graph, &model.functions, opset, own)?;
    Ok(Model { graph, opset, other })
}

/// The version of ONNX's own operators.
fn opset(imports: &[OperatorSetIdProto], graph: &GraphProto) -> Result<i64, ImportProblem> {
    if let Some(opset) = of_onnx(imports)? {
        return Ok(opset);
    }
    // A model of other operators alone may leave ONNX's own domain out.
    match graph.node.iter().find(|node| is_onnx(&node.domain)) {
        None => Ok(*OPSETS.end()),
        Some(node) => Err(ImportProblem::Structure(format!(
            "no operator set is imported for ONNX's own operators, of which node `{}` ({}) is one; add it to `opset_import`",
            label(node),
            node.op_type
        ))),
    }
}

/// The version of ONNX's own operators among those imported, if it is. No domain has two versions.
pub fn of_onnx(imports: &[OperatorSetIdProto]) -> Result<Option<i64>, ImportProblem> {
    let mut versions = HashMap::new();
    for set in imports {
        let domain = if is_onnx(&set.domain) { "ai.onnx" } else { set.domain.as_str() };
        let before = *versions.entry(domain).or_insert(set.version);
        if before != set.version {
            return Err(ImportProblem::Structure(format!(
                "operator sets {before} and {} are imported for domain `{domain}`; keep the one that the nodes are written for",
                set.version
            )));
        }
    }
    let Some(&opset) = versions.get("ai.onnx") else { return Ok(None) };
    if !OPSETS.contains(&opset) {
        return Err(ImportProblem::Version {
            what: "the operator set".into(),
            found: opset,
            accepted: format!("{} to {}", OPSETS.start(), OPSETS.end()),
            remedy: "convert the model with `onnx.version_converter.convert_version(model, 13)`",
        });
    }
    Ok(Some(opset))
}

/// Whether a domain is ONNX's own.
pub fn is_onnx(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// The operator with its domain, where that is not ONNX's own.
pub fn operator_name(domain: &str, op_type: &str) -> String {
    if is_onnx(domain) { op_type.to_owned() } else { format!("{domain}::{op_type}") }
}

/// A node's name; if it has none, that of its first result.
pub fn label(node: &NodeProto) -> &str {
    let first = node.output.iter().find(|name| !name.is_empty());
    if node.name.is_empty() { first.map_or("", String::as_str) } else { &node.name }
}

/// The names of the values that a node reads: its operands, and what graphs inside of it read from around them.
pub fn reads(node: &NodeProto) -> Vec<&str> {
    let operands = node.input.iter().map(String::as_str).filter(|name| !name.is_empty());
    let mut names: Vec<&str> = operands.collect();
    // The decoder limits how deep graphs nest.
    for graph in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
        let mut own: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
        own.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
        own.extend(graph.node.iter().flat_map(|node| &node.output).map(String::as_str));
        let inside = graph.node.iter().flat_map(reads);
        let results = graph.output.iter().map(|output| output.name.as_str());
        names.extend(inside.chain(results).filter(|name| !own.contains(name)));
    }
    names
}

/// Operators that have results which are seldom wanted, and which exporters write nevertheless.
const OPTIONAL_RESULTS: [&str; 6] = [
    "BatchNormalization",
    "Dropout",
    "LayerNormalization",
    "MaxPool",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
];

/// Takes the names of results of [`OPTIONAL_RESULTS`] that nothing reads, as if the file left them out. `outputs` are read from outside.
pub fn leave_out_unread(graph: &mut GraphProto, outputs: &[String]) {
    fn collect(graph: &GraphProto, read: &mut HashSet<String>) {
        read.extend(graph.output.iter().map(|output| output.name.clone()));
        for node in &graph.node {
            read.extend(node.input.iter().cloned());
            node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()).for_each(|g| collect(g, read));
        }
    }
    fn leave_out(graph: &mut GraphProto, read: &HashSet<String>) {
        for node in &mut graph.node {
            if OPTIONAL_RESULTS.contains(&node.op_type.as_str()) {
                let unread = node.output.iter_mut().skip(1).filter(|name| !read.contains(*name));
                unread.for_each(String::clear);
            }
            node.attribute
                .iter_mut()
                .filter_map(|attribute| attribute.g.as_mut())
                .for_each(|g| leave_out(g, read));
        }
    }
    let mut read: HashSet<String> = outputs.iter().cloned().collect();
    collect(graph, &mut read);
    leave_out(graph, &read);
}

/// The nodes that the named values need, each after those whose results it reads. A file may hold them in any order
/// without a cycle, though ONNX asks for this one.
pub fn needed<'m>(graph: &'m GraphProto, outputs: &[&'m str]) -> Result<Vec<&'m NodeProto>, ImportProblem> {
    let producers = producers(graph)?;
    let sources: HashSet<&str> = {
        let inputs = graph.input.iter().map(|input| input.name.as_str());
        inputs.chain(graph.initializer.iter().map(|tensor| tensor.name.as_str())).collect()
    };
    let mut done = HashSet::new();
    let mut open = HashSet::new();
    let mut order = vec![];
    for &output in outputs {
        let Some(&root) = producers.get(output) else {
            if sources.contains(output) {
                continue;
            }
            return Err(ImportProblem::Structure(format!(
                "output `{output}` is a value that nothing defines"
            )));
        };
        let mut stack = vec![(root, to_visit(&graph.node[root]))];
        while let Some((index, names)) = stack.last_mut() {
            let (index, node) = (*index, &graph.node[*index]);
            open.insert(index);
            let Some(name) = names.pop().filter(|_| !done.contains(&index)) else {
                open.remove(&index);
                if done.insert(index) {
                    order.push(node);
                }
                stack.pop();
                continue;
            };
            match producers.get(name) {
                Some(before) if open.contains(before) => {
                    let path = stack.iter().map(|(node, _)| *node).skip_while(|node| node != before);
                    let names: Vec<_> = path.map(|node| format!("`{}`", label(&graph.node[node]))).collect();
                    return Err(ImportProblem::Structure(format!(
                        "nodes form a cycle: {}",
                        names.join(", ")
                    )));
                }
                Some(before) if !done.contains(before) => {
                    stack.push((*before, to_visit(&graph.node[*before])))
                }
                None if !sources.contains(name) => {
                    return Err(ImportProblem::Structure(format!(
                        "node `{}` reads `{name}`, a value that nothing defines",
                        label(node)
                    )));
                }
                _ => {}
            }
        }
    }
    Ok(order)
}

/// What a node reads, the first at the end.
fn to_visit(node: &NodeProto) -> Vec<&str> {
    let mut names = reads(node);
    names.reverse();
    names
}

/// Which node defines a value. Every value has one definition.
fn producers(graph: &GraphProto) -> Result<HashMap<&str, usize>, ImportProblem> {
    let mut constants = HashSet::new();
    for tensor in &graph.initializer {
        if tensor.name.is_empty() {
            return Err(ImportProblem::Structure("an initialiser has no name".into()));
        }
        if !constants.insert(tensor.name.as_str()) {
            return Err(ImportProblem::Structure(format!("two initialisers are named `{}`", tensor.name)));
        }
    }
    let mut inputs = HashSet::new();
    for input in &graph.input {
        if input.name.is_empty() {
            return Err(ImportProblem::Structure("an input has no name".into()));
        }
        if !inputs.insert(input.name.as_str()) {
            return Err(ImportProblem::Structure(format!("two inputs are named `{}`", input.name)));
        }
    }
    let mut producers = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().map(String::as_str).filter(|name| !name.is_empty()) {
            let twice = producers.insert(name, index).is_some();
            if twice || inputs.contains(name) || constants.contains(name) {
                return Err(ImportProblem::Structure(format!(
                    "`{name}`, a result of node `{}`, is defined twice",
                    label(node)
                )));
            }
        }
    }
    Ok(producers)
}
