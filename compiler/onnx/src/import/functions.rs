//! Functions of the file: each use of one is replaced by its nodes, before anything is translated.
//!
//! Values inside of a function get the name of the node that uses it in front of theirs, and a number, so that they are nobody else's. An attribute that
//! refers to one of the function's is that of the node, or the function's default, or is left out. A function's nodes are of the operator set that
//! it imports, which need not be the file's.

use super::model::{label, of_onnx, operator_name};
use crate::error::ImportProblem;
use crate::proto::{AttributeProto, FunctionProto, GraphProto, NodeProto};
use std::collections::{HashMap, HashSet};

/// Functions that use one another, and all nodes that come of it.
const MAX_DEPTH: usize = 32;
const MAX_NODES: usize = 1 << 17;

/// Replaces the uses of functions in a graph and the graphs inside of its nodes. `own` says which operators stay what they are. Returns the operator sets
/// of nodes that have another than the file, each by the name of its first result.
pub fn inline(
    graph: &mut GraphProto,
    functions: &[FunctionProto],
    opset: i64,
    own: &dyn Fn(&str) -> bool,
) -> Result<HashMap<String, i64>, ImportProblem> {
    let mut by_name = HashMap::new();
    for function in functions {
        let name = operator_name(&function.domain, &function.name);
        let mut formal = HashSet::new();
        if let Some(twice) = function.input.iter().find(|&operand| !formal.insert(operand)) {
            return Err(ImportProblem::Structure(format!("function `{name}` has two operands `{twice}`")));
        }
        if own(&name) {
            continue;
        }
        if by_name.insert((name.clone(), function.overload.as_str()), function).is_some() {
            return Err(ImportProblem::Structure(format!("two functions of the file are `{name}`")));
        }
    }
    if by_name.is_empty() {
        return Ok(HashMap::new());
    }
    let mut inliner = Inliner { functions: by_name, opset, other: HashMap::new(), uses: 0, nodes: 0 };
    inliner.graph(graph, Place { depth: 0, opset })?;
    Ok(inliner.other)
}

/// How many functions a node is inside of, and the operator set that it is of.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    opset: i64,
}

struct Inliner<'f> {
    /// By their names and what tells those of one name apart.
    functions: HashMap<(String, &'f str), &'f FunctionProto>,
    /// The file's.
    opset: i64,
    /// Those of nodes that have another.
    other: HashMap<String, i64>,
    uses: usize,
    nodes: usize,
}

impl<'f> Inliner<'f> {
    fn graph(&mut self, graph: &mut GraphProto, place: Place) -> Result<(), ImportProblem> {
        let mut nodes = vec![];
        for node in std::mem::take(&mut graph.node) {
            self.node(node, place, &mut nodes)?;
        }
        graph.node = nodes;
        Ok(())
    }

    /// What a node uses, if that is a function.
    fn function(&self, node: &NodeProto) -> Option<&'f FunctionProto> {
        let name = (operator_name(&node.domain, &node.op_type), node.overload.as_str());
        self.functions.get(&name).copied()
    }

    fn node(
        &mut self,
        mut node: NodeProto,
        place: Place,
        out: &mut Vec<NodeProto>,
    ) -> Result<(), ImportProblem> {
        let refuse = |reason: &str| {
            let operator = operator_name(&node.domain, &node.op_type);
            Err(ImportProblem::Structure(format!("node `{}` ({operator}): {reason}", label(&node))))
        };
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return refuse("functions of the file make too many nodes; export with functions inlined");
        }
        let Some(function) = self.function(&node) else {
            for graph in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
                self.graph(graph, place)?;
            }
            if place.opset != self.opset {
                let results = node.output.iter().find(|name| !name.is_empty());
                self.other.extend(results.map(|name| (name.clone(), place.opset)));
            }
            out.push(node);
            return Ok(());
        };
        if place.depth == MAX_DEPTH {
            return refuse("functions of the file use one another too deeply, or in a circle");
        }
        let opset = of_onnx(&function.opset_import)?.unwrap_or(self.opset);
        if node.input.len() > function.input.len() || node.output.len() > function.output.len() {
            return refuse("has more operands or results than the function of the file that it uses");
        }
        self.uses += 1;
        let scope = Scope::new(&node, function, self.uses);
        let inside = Place { depth: place.depth + 1, opset };
        for inner in &function.node {
            self.node(scope.node(inner), inside, out)?;
        }
        Ok(())
    }
}

/// What the names and attributes of a function's body stand for, for one use of it.
struct Scope<'u> {
    names: HashMap<&'u str, &'u str>,
    attributes: HashMap<&'u str, &'u AttributeProto>,
    prefix: String,
}

impl<'u> Scope<'u> {
    fn new(node: &'u NodeProto, function: &'u FunctionProto, number: usize) -> Scope<'u> {
        let given = |formal: &'u [String], actual: &'u [String]| {
            formal
                .iter()
                .enumerate()
                .map(|(i, name)| (name.as_str(), actual.get(i).map_or("", String::as_str)))
        };
        let mut names: HashMap<&str, &str> = given(&function.input, &node.input).collect();
        // A result that is not wanted is a value of the body like any other.
        names.extend(given(&function.output, &node.output).filter(|(_, actual)| !actual.is_empty()));
        let defaults = function.attribute_proto.iter().chain(&node.attribute);
        let attributes = defaults.map(|attribute| (attribute.name.as_str(), attribute)).collect();
        Scope { names, attributes, prefix: format!("{}/{number}/", label(node)) }
    }

    fn name(&self, name: &str) -> String {
        match self.names.get(name) {
            Some(actual) => (*actual).to_owned(),
            None if name.is_empty() => String::new(),
            None => format!("{}{name}", self.prefix),
        }
    }

    fn node(&self, node: &NodeProto) -> NodeProto {
        let names = |list: &[String]| list.iter().map(|name| self.name(name)).collect();
        let mut input: Vec<String> = names(&node.input);
        // An operand that the use leaves out is one left out, at the end too.
        while input.last().is_some_and(String::is_empty) {
            input.pop();
        }
        NodeProto {
            input,
            output: names(&node.output),
            name: format!("{}{}", self.prefix, label(node)),
            attribute: node.attribute.iter().filter_map(|attribute| self.attribute(attribute)).collect(),
            ..node.clone()
        }
    }

    fn attribute(&self, attribute: &AttributeProto) -> Option<AttributeProto> {
        if !attribute.ref_attr_name.is_empty() {
            let value = *self.attributes.get(attribute.ref_attr_name.as_str())?;
            return Some(AttributeProto { name: attribute.name.clone(), ..value.clone() });
        }
        let mut attribute = attribute.clone();
        attribute.g = attribute.g.map(|graph| self.graph(graph));
        Some(attribute)
    }

    /// A graph inside of a node: its own names are the function's, too.
    fn graph(&self, mut graph: GraphProto) -> GraphProto {
        let mut own: HashSet<String> = graph.input.iter().map(|input| input.name.clone()).collect();
        own.extend(graph.initializer.iter().map(|tensor| tensor.name.clone()));
        own.extend(graph.node.iter().flat_map(|node| node.output.iter().cloned()));
        let names = self
            .names
            .iter()
            .filter(|(name, _)| !own.contains(**name))
            .map(|(&name, &actual)| (name, actual));
        let inner = Scope {
            names: names.collect(),
            attributes: self.attributes.clone(),
            prefix: self.prefix.clone(),
        };
        graph.node = graph.node.iter().map(|node| inner.node(node)).collect();
        graph.input.iter_mut().chain(&mut graph.output).for_each(|port| port.name = inner.name(&port.name));
        graph.initializer.iter_mut().for_each(|tensor| tensor.name = inner.name(&tensor.name));
        graph
    }
}
