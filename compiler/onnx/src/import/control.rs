//! `If` and `Loop` that are decided while importing: the branch that is taken, or the body as often as it runs, becomes part of the graph.

use super::call::{Call, Known, Reason, Translated, axis};
use super::translate::{Scope, walk};
use crate::error::Setting;
use crate::external::ExternalData;
use crate::proto::{AttributeProto, GraphProto, NodeProto};
use crate::tensor;
use std::collections::HashSet;
use twnc_ir::{Data, Op, Tensor};

/// The most nodes that the passes of all loops of a file may make together, of those inside of one another too.
const MAX_UNROLLED: usize = 1 << 14;

/// Whether this module translates the operator.
pub fn handles(op_type: &str) -> bool {
    matches!(op_type, "If" | "Loop")
}

/// The results of an `If` whose condition, or a `Loop` whose conditions and number of passes, are constant.
pub fn translate<'m>(node: &'m NodeProto, scope: &mut Scope<'_, 'm>) -> Translated {
    if node.op_type == "If" { branch(node, scope) } else { unrolled(node, scope) }
}

fn branch<'m>(node: &'m NodeProto, scope: &mut Scope<'_, 'm>) -> Translated {
    let [condition] = node.input.as_slice() else {
        return Err(Reason::new(format!("has {} operands; it has 1", node.input.len())));
    };
    let name = if truth(known(scope, condition)?, condition, "its condition")? {
        "then_branch"
    } else {
        "else_branch"
    };
    let body = graph(node, name)?;
    if body.output.len() != node.output.len() {
        return Err(Reason::new(format!("attribute `{name}` has {} outputs", body.output.len())));
    }
    inner(body, scope)
}

/// The passes one after the other. A body has the number of the pass, a condition and what it carries on as inputs, and the next condition, what
/// it carries on and what is collected of every pass as outputs.
fn unrolled<'m>(node: &'m NodeProto, scope: &mut Scope<'_, 'm>) -> Translated {
    let body = graph(node, "body")?;
    let operand = |i: usize| node.input.get(i).map(String::as_str).filter(|name| !name.is_empty());
    let most = match operand(0) {
        None => None,
        Some(name) => match constant(known(scope, name)?, name, "the number of passes")?.data() {
            Data::I64(v) if v.len() == 1 => Some(v[0]),
            _ => return Err(Reason::new("the number of passes (operand 0) is not one INT64".into())),
        },
    };
    let mut goes_on = match operand(1) {
        None => true,
        Some(name) => truth(known(scope, name)?, name, "its condition")?,
    };
    let carried = node.input.len().saturating_sub(2);
    if body.input.len() != carried + 2
        || body.output.len() < carried + 1
        || body.output.len() != node.output.len() + 1
    {
        return Err(Reason::new("the inputs and outputs of its body do not fit its own".into()));
    }
    let mut state = vec![];
    for name in node.input.iter().skip(2) {
        state.push(known(scope, name)?);
    }
    let around = scope.translation.meaning(body.input.iter().map(|input| input.name.as_str()));
    let mut collected: Vec<Vec<Known>> = vec![vec![]; body.output.len() - 1 - carried];
    let mut pass = 0i64;
    while goes_on && most.is_none_or(|most| pass < most) {
        if scope.translation.unrolled > MAX_UNROLLED {
            return Err(Reason::new(format!("runs over {pass} times, which makes too many nodes")));
        }
        scope.translation.unrolled += body.node.len().max(1);
        let number = scalar(Data::I64([pass].into()), "pass")?;
        let condition = scalar(Data::Bool([true].into()), "condition")?;
        let values = [number, condition].into_iter().chain(state);
        for (input, value) in body.input.iter().zip(values) {
            scope.translation.define(&input.name, value);
        }
        let mut results = inner(body, scope)?.into_iter();
        let name = body.output.first().map_or("", |output| output.name.as_str());
        goes_on = match results.next() {
            Some(next) => truth(next, name, "the condition after a pass")?,
            None => false,
        };
        state = results.by_ref().take(carried).collect();
        collected.iter_mut().zip(results).for_each(|(all, value)| all.push(value));
        pass += 1;
    }
    scope.translation.restore(around);
    let mut results = state;
    for values in collected {
        results.push(stacked(node, values, scope)?);
    }
    Ok(results)
}

/// Values of every pass along a new first axis.
fn stacked<'m>(node: &'m NodeProto, values: Vec<Known>, scope: &mut Scope<'_, 'm>) -> Result<Known, Reason> {
    if values.is_empty() {
        return Err(Reason::new("never runs, and what it collects has no type".into()));
    }
    let mut call = Call::new(node, scope.model.opset(node), scope.translation)?;
    let mut rows = vec![];
    for value in values {
        let value = call.place_known(value)?;
        let shape = [vec![twnc_ir::Dim::from(1)], call.shape(value)].concat();
        rows.push(call.reshape(value, shape)?);
    }
    let first = axis(0, call.ty(rows[0]).rank())?;
    Ok(Known::Value(if let [one] = rows[..] { one } else { call.op(Op::Concat { axis: first }, &rows)? }))
}

/// The outputs of a graph inside of a node, whose nodes may read what is around it. Its names are its own: what they stood for around it they stand for again
/// behind it.
fn inner<'m>(body: &'m GraphProto, scope: &mut Scope<'_, 'm>) -> Translated {
    let initialisers = body.initializer.iter().map(|tensor| tensor.name.as_str());
    let results = body.node.iter().flat_map(|node| &node.output).map(String::as_str);
    let around = scope.translation.meaning(initialisers.chain(results));
    let outputs = outputs(body, scope);
    scope.translation.restore(around);
    outputs
}

fn outputs<'m>(body: &'m GraphProto, scope: &mut Scope<'_, 'm>) -> Translated {
    if !body.sparse_initializer.is_empty() {
        return Err(Reason::new("holds a sparse initialiser; export it dense".into()));
    }
    let mut names = HashSet::new();
    for proto in &body.initializer {
        let decoded = tensor::decode(proto, &ExternalData::refused());
        let tensor = decoded.map_err(|problem| Reason::new(format!("tensor `{}`: {problem}", proto.name)))?;
        let stored = proto.data_type();
        if !names.insert(proto.name.as_str()) {
            return Err(Reason::new(format!("two initialisers inside of it are named `{}`", proto.name)));
        }
        scope.translation.define(&proto.name, Known::Constant { tensor, name: proto.name.clone(), stored });
    }
    let problems = walk(body.node.iter(), scope);
    if let Some(problem) = problems.into_iter().next() {
        return Err(Reason { text: format!("inside of it, {problem}"), settings: problem.settings });
    }
    body.output.iter().map(|output| known(scope, &output.name)).collect()
}

fn graph<'m>(node: &'m NodeProto, name: &str) -> Result<&'m GraphProto, Reason> {
    let find = |a: &&AttributeProto| a.name == name;
    let attribute = node.attribute.iter().find(find).and_then(|a| a.g.as_ref());
    attribute.ok_or_else(|| Reason::new(format!("attribute `{name}` is missing, or no graph")))
}

fn known(scope: &Scope<'_, '_>, name: &str) -> Result<Known, Reason> {
    let known = scope.translation.known.get(name).cloned();
    known.ok_or_else(|| Reason::new(format!("`{name}` is a value that nothing defines before it")))
}

fn constant(known: Known, name: &str, what: &str) -> Result<Tensor, Reason> {
    match known {
        Known::Constant { tensor, .. } => Ok(tensor),
        _ => Err(Reason::new(format!(
            "{what} (`{name}`) depends on data or on an open size; fix the sizes, or export the model without it"
        ))
        .with(&[Setting::InputShapes, Setting::Outputs])),
    }
}

fn truth(known: Known, name: &str, what: &str) -> Result<bool, Reason> {
    match constant(known, name, what)?.data() {
        Data::Bool(v) if v.len() == 1 => Ok(v[0]),
        _ => Err(Reason::new(format!("{what} (`{name}`) is not one truth value"))),
    }
}

fn scalar(data: Data, name: &str) -> Result<Known, Reason> {
    let tensor = Tensor::new(vec![], data)?;
    let stored = tensor::stored_as(tensor.element());
    Ok(Known::Constant { tensor, name: name.to_owned(), stored })
}
