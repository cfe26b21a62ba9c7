//! Nodes whose operands are small constants: they are computed while importing, whatever their operator, by its translation and the
//! reference evaluator. So a parameter may be computed in the file (by arithmetic on floats, by comparisons) and still be constant here.

use super::call::{Call, Known, Translation};
use super::ops::Operator;
use crate::proto::NodeProto;
use crate::tensor::stored_as;
use std::collections::{BTreeMap, HashMap};
use twnc_ir::eval::evaluate;
use twnc_ir::{GraphBuilder, Tensor};

/// Operands and results of more elements are data.
const MAX_ELEMENTS: usize = 1024;
/// The most elements that computing a node may take on the way.
const MAX_WORK: usize = 1 << 16;

/// The results; `None` where an operand is not constant, something is large, or the node fails: its ordinary translation says why.
pub fn fold<'m>(
    node: &'m NodeProto,
    operator: &Operator,
    opset: i64,
    translation: &Translation<'m>,
) -> Option<Vec<Known>> {
    let mut scratch = Translation::new(GraphBuilder::new(""), HashMap::new());
    let mut largest: Vec<(usize, &str)> = vec![];
    for name in node.input.iter().filter(|name| !name.is_empty()) {
        let (&key, known) = translation.known.get_key_value(name.as_str())?;
        let Known::Constant { tensor, name, .. } = known else { return None };
        if tensor.len() > MAX_ELEMENTS {
            return None;
        }
        largest.push((tensor.len(), name));
        scratch.known.insert(key, known.clone());
    }
    largest.sort_unstable();
    let mut call = Call::new(node, opset, &mut scratch).ok()?;
    let results = (operator.translate)(&mut call).ok()?;
    if call.attributes.unread().is_some() || largest.is_empty() {
        return None;
    }
    // What is folded keeps the name of the operand that is larger than all others.
    let name = match largest.as_slice() {
        [.., (second, _), (first, _)] if second == first => call.label().to_owned(),
        [.., (_, name)] => (*name).to_owned(),
        [] => call.label().to_owned(),
    };
    for (i, result) in results.iter().enumerate() {
        if let Known::Value(value) = result {
            scratch.build.output(&i.to_string(), *value);
        }
    }
    let graph = scratch.build.finish();
    let mut elements = graph.value_ids().map(|id| {
        let shape = graph.ty(id).fixed_shape()?;
        shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n.max(1)))
    });
    let work = elements.try_fold(0usize, |sum, n| sum.checked_add(n?))?;
    if work > MAX_WORK {
        return None;
    }
    let mut tensors: BTreeMap<String, Tensor> = evaluate(&graph, &BTreeMap::new()).ok()?;
    let constant = |(i, result): (usize, Known)| {
        let Known::Value(_) = result else { return Some(result) };
        let tensor = tensors.remove(&i.to_string()).filter(|tensor| tensor.len() <= MAX_ELEMENTS)?;
        let stored = stored_as(tensor.element());
        Some(Known::Constant { tensor, name: name.clone(), stored })
    };
    results.into_iter().enumerate().map(constant).collect()
}
