//! The walk over the nodes: each is folded as arithmetic on sizes, or translated by its operator's function, or handed to a
//! custom operator; what none of them takes is collected and reported at the end, all of it.

use super::call::{Call, Known, Reason, Translated, Translation};
use super::model::{self, Model};
use super::{Import, ImportOptions, Operator, arrival, control, fold, inputs, ops, sizes};
use crate::error::{ImportProblem, NodeProblem, Setting};
use crate::external::ExternalData;
use crate::proto::{GraphProto, NodeProto, ValueInfoProto};
use crate::tensor;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use twnc_ir::{CustomCall, CustomOperator, GraphBuilder, Op};

/// Imports a decoded file.
pub fn import(
    bytes: &[u8],
    external: &ExternalData,
    options: &ImportOptions,
) -> Result<Import, ImportProblem> {
    let mut model = model::decode(bytes, &|name| options.custom.get(name).is_some())?;
    model::leave_out_unread(&mut model.graph, &options.outputs);
    let mut notes = vec![];
    let outputs = outputs(&model.graph, options)?;
    let nodes = model::needed(&model.graph, &outputs)?;
    let mut translation = start(&model.graph, &nodes, &outputs, external, options, &mut notes)?;

    let mut scope = Scope { model: &model, options, translation: &mut translation, depth: 0 };
    let problems = walk(nodes.iter().copied(), &mut scope);
    if !problems.is_empty() {
        return Err(ImportProblem::Nodes(problems));
    }
    let arrivals = arrival::arrivals(&nodes, &translation.known);
    for name in outputs {
        let value = translation.place(name).map_err(|reason| ImportProblem::Structure(reason.text))?;
        translation.build.output(name, value);
    }
    Ok(Import { graph: translation.build.finish(), notes, arrivals })
}

/// What nodes are translated in.
pub struct Scope<'a, 'm> {
    /// The file.
    pub model: &'a Model,
    /// What the user asks for.
    pub options: &'a ImportOptions,
    /// The graph so far.
    pub translation: &'a mut Translation<'m>,
    /// How many nodes this one is inside of.
    pub depth: usize,
}

/// Branches and bodies inside of one another.
const MAX_DEPTH: usize = 16;

/// Translates nodes in their order; what cannot be translated is collected.
pub fn walk<'m>(nodes: impl Iterator<Item = &'m NodeProto>, scope: &mut Scope<'_, 'm>) -> Vec<NodeProblem> {
    let mut problems: Vec<NodeProblem> = vec![];
    for node in nodes {
        let handler = handler(node, scope.model, scope.options);
        // What reads a result of a node that failed is not at fault, unless nothing translates it either.
        let known = &scope.translation.known;
        let reads_failed = node.input.iter().any(|n| !n.is_empty() && !known.contains_key(n.as_str()));
        if handler.is_ok() && reads_failed && !problems.is_empty() {
            continue;
        }
        let unfollowed = scope.translation.unfollowed(node);
        match handler.and_then(|handler| translate(node, handler, scope)) {
            Ok(results) => {
                for (name, known) in node.output.iter().zip(results).filter(|(name, _)| !name.is_empty()) {
                    let from = unfollowed.filter(|_| matches!(known, Known::Value(_)));
                    scope.translation.define(name, known);
                    scope.translation.from_shapes.extend(from.map(|from| (name.as_str(), from)));
                }
            }
            Err(Reason { text, settings }) => problems.push(NodeProblem {
                node: model::label(node).to_owned(),
                operator: model::operator_name(&node.domain, &node.op_type),
                reason: text,
                settings,
            }),
        }
    }
    problems
}

/// The names of the values that are to be outputs.
fn outputs<'m>(graph: &'m GraphProto, options: &'m ImportOptions) -> Result<Vec<&'m str>, ImportProblem> {
    let names: Vec<&str> = if options.outputs.is_empty() {
        graph.output.iter().map(|output| output.name.as_str()).collect()
    } else {
        options.outputs.iter().map(String::as_str).collect()
    };
    if names.is_empty() {
        return Err(ImportProblem::Structure("the graph has no outputs".into()));
    }
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        Some(name) => Err(ImportProblem::Structure(format!("two outputs are named `{name}`"))),
        None => Ok(names),
    }
}

/// The inputs, and the constants that something reads.
fn start<'m>(
    graph: &'m GraphProto,
    nodes: &[&'m NodeProto],
    outputs: &[&'m str],
    external: &ExternalData,
    options: &ImportOptions,
    notes: &mut Vec<String>,
) -> Result<Translation<'m>, ImportProblem> {
    if let Some(sparse) = graph.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |values| values.name.as_str());
        let reason = format!("initialiser `{name}` is sparse; export it dense");
        return Err(ImportProblem::Structure(reason));
    }
    let mut used: HashSet<&str> = nodes.iter().flat_map(|node| model::reads(node)).collect();
    used.extend(outputs);
    let mut build = GraphBuilder::new(&graph.name);
    let mut known: HashMap<&str, Known> = HashMap::new();
    for proto in &graph.initializer {
        if used.contains(proto.name.as_str()) {
            let tensor = tensor::decode(proto, external)
                .map_err(|problem| ImportProblem::Tensor { tensor: proto.name.clone(), problem })?;
            let stored = proto.data_type();
            known.insert(&proto.name, Known::Constant { tensor, name: proto.name.clone(), stored });
        }
    }
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let data: Vec<&ValueInfoProto> =
        graph.input.iter().filter(|input| !constants.contains(input.name.as_str())).collect();
    for (input, ty) in data.iter().zip(inputs::types(&data, options, notes)?) {
        known.insert(input.name.as_str(), Known::Value(build.input(&input.name, ty)));
    }
    Ok(Translation::new(build, known))
}

/// What translates a node.
enum Handler<'a> {
    Operator(&'static Operator),
    Custom(&'a Arc<dyn CustomOperator>),
    /// `If` or `Loop`.
    Control,
}

fn handler<'a>(node: &NodeProto, model: &Model, options: &'a ImportOptions) -> Result<Handler<'a>, Reason> {
    if node.op_type.is_empty() {
        return Err(Reason::new("names no operator; the file is damaged, export it anew".into()));
    }
    let name = model::operator_name(&node.domain, &node.op_type);
    if let Some(custom) = options.custom.get(&name) {
        return Ok(Handler::Custom(custom));
    }
    if model::is_onnx(&node.domain) && control::handles(&node.op_type) {
        return Ok(Handler::Control);
    }
    match ops::find(&node.domain, &node.op_type) {
        None if name == "ai.onnx.ml::ZipMap" => Err(Reason::new(format!(
            "gives a list of maps, which is no tensor; export with `zipmap` False, or make `{}` an output",
            node.input.first().map_or("", String::as_str)
        ))
        .with(&[Setting::Outputs])),
        None => Err(Reason::new("is not supported; register a custom operator, or cut it off".into())
            .with(&[Setting::Outputs])),
        Some(operator) if model.opset(node) < operator.since => Err(Reason::new(format!(
            "is accepted from operator set {} on, and the file has {}; convert it with \
             `onnx.version_converter`",
            operator.since,
            model.opset(node)
        ))),
        Some(operator) => Ok(Handler::Operator(operator)),
    }
}

fn translate<'m>(node: &'m NodeProto, handler: Handler<'_>, scope: &mut Scope<'_, 'm>) -> Translated {
    let opset = scope.model.opset(node);
    if let Handler::Control = handler {
        if scope.depth == MAX_DEPTH {
            return Err(Reason::new(format!("is inside of {MAX_DEPTH} others")));
        }
        let (model, options, depth) = (scope.model, scope.options, scope.depth + 1);
        let mut inner = Scope { model, options, translation: &mut *scope.translation, depth };
        return control::translate(node, &mut inner);
    }
    let mut call = Call::new(node, opset, &mut *scope.translation)?;
    let results = match handler {
        Handler::Control => vec![],
        Handler::Custom(operator) => {
            let (operator, attributes) = (operator.clone(), call.attributes.custom()?);
            let operands = call.values()?;
            let results = call.ops(Op::Custom(CustomCall { operator, attributes }), &operands)?;
            results.into_iter().map(Known::Value).collect()
        }
        Handler::Operator(operator) => {
            let (least, most) = operator.operands;
            if !(least..=most).contains(&node.input.len()) {
                let most = if most == usize::MAX { "any number".into() } else { most.to_string() };
                return Err(Reason::new(format!(
                    "has {} operands; {least} to {most} are accepted",
                    node.input.len()
                )));
            }
            match sizes::fold(&mut call)? {
                Some(results) => results,
                None => match fold::fold(node, operator, opset, call.translation) {
                    Some(results) => {
                        call.attributes.ignore_all();
                        results
                    }
                    None => (operator.translate)(&mut call).map_err(|reason| call.explained(reason))?,
                },
            }
        }
    };
    known(&call, results)
}

/// The results, once every attribute was read and every result wanted is there.
fn known(call: &Call<'_, '_>, results: Vec<Known>) -> Translated {
    if let Some(attribute) = call.attributes.unread() {
        return Err(Reason::new(format!(
            "attribute `{attribute}` is unknown in operator set {}",
            call.opset
        )));
    }
    match (results.len()..call.node.output.len()).find(|&i| call.wants(i)) {
        Some(result) => {
            Err(Reason::new(format!("result {result} (`{}`) is not supported", call.node.output[result])))
        }
        None => Ok(results),
    }
}
