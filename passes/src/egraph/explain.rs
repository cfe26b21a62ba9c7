//! Explanations: by which rules what was chosen came to be.
//!
//! Every node that a rule makes keeps the rule and the class that it matched. What led to a value is then the chosen nodes below it that rules made,
//! and what those rules matched, back to the graph as it was.

use super::convert::Region;
use super::extract::Selection;
use super::facts::{Classes, operands, operator};
use super::language::{Head, Term};
use egg::Id;
use std::collections::{BTreeMap, BTreeSet};
use twnc_ir::{Graph, PassContext, Topic, ValueId};

/// How deep an expression is written out.
const DEPTH: usize = 3;

/// The names of the rules that made what was chosen for a value, in the order in which they first did.
pub(crate) fn rules(region: &Region, selection: &Selection, value: ValueId) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for (rule, _, _) in chain(region, selection, value) {
        if !names.contains(&rule) {
            names.push(rule);
        }
    }
    names
}

/// Remarks on how a value came to be, if the region has it.
pub(crate) fn remarks(
    region: &Region,
    graph: &Graph,
    selection: &Selection,
    wanted: &str,
    cx: &mut PassContext<'_>,
) {
    let is_wanted = |value: ValueId| {
        value.to_string() == wanted
            || graph.definer(value).is_some_and(|(_, node)| node.name == wanted)
            || graph.outputs().iter().any(|port| port.value == value && port.name == wanted)
    };
    let values = region.nodes.iter().flat_map(|&id| &graph.node(id).results);
    let Some(&value) = values.into_iter().rfind(|&&value| is_wanted(value)) else { return };
    let Some(class) = region.class(value) else { return };
    let was = region.as_it_was();
    let mut line = |text: String| cx.applied(Topic::Folding, wanted, text);
    line(format!("it was {}", expression(&region.classes, &was, class, DEPTH)));
    for (rule, class, node) in chain(region, selection, value) {
        let before = expression(&region.classes, &was, class, 2);
        let after = written(&region.classes, selection, &node, 2);
        line(format!("{rule}: {before} => {after}"));
    }
    line(format!("it is {}", expression(&region.classes, selection, class, DEPTH)));
}

/// The nodes below a value that rules made, with the rule and the class that it matched, in the order in which they came to be.
fn chain(region: &Region, selection: &Selection, value: ValueId) -> Vec<(String, Id, Term)> {
    let classes = &region.classes;
    let mut born: BTreeMap<Term, usize> = BTreeMap::new();
    let births = &classes.analysis.births;
    for (i, birth) in births.iter().enumerate() {
        born.entry(region.canonical(&birth.node)).or_insert(i);
    }
    let Some(root) = region.class(value) else { return vec![] };
    let (mut open, mut seen, mut found) = (vec![root], BTreeSet::new(), BTreeSet::new());
    while let Some(class) = open.pop() {
        if !seen.insert(class) {
            continue;
        }
        let Some(term) = selection.get(&class) else { continue };
        open.extend(term.children.iter().map(|&id| classes.find(id)));
        found.extend(born.get(term).copied());
    }
    let chain = found.into_iter().map(|i| {
        let birth = &births[i];
        (birth.rule.to_string(), classes.find(birth.class), region.canonical(&birth.node))
    });
    chain.collect()
}

/// A class as the expression that was chosen for it.
fn expression(classes: &Classes, selection: &Selection, class: Id, depth: usize) -> String {
    let class = classes.find(class);
    let leaf = classes[class].nodes.iter().find(|node| node.children.is_empty());
    match (leaf, selection.get(&class)) {
        (Some(leaf), _) => written(classes, selection, leaf, depth),
        (None, Some(term)) => written(classes, selection, term, depth),
        (None, None) => classes[class]
            .nodes
            .first()
            .map_or_else(String::new, |node| written(classes, selection, node, depth)),
    }
}

/// A node as an expression.
fn written(classes: &Classes, selection: &Selection, term: &Term, depth: usize) -> String {
    let tables = &classes.analysis;
    match term.head {
        Head::Outside(place) => tables.outside[place as usize].0.to_string(),
        Head::Constant(place) => {
            let constant = &tables.constants[place as usize];
            match (constant.name.as_str(), constant.op.as_constant()) {
                ("", Some(tensor)) => tensor.ty().to_string(),
                (name, _) => format!("\"{name}\""),
            }
        }
        Head::Coefficient(place) => match tables.coefficients[place as usize].values.as_slice() {
            [one] => format!("{}", *one as f32),
            many => format!("[{}, .. {} numbers]", many[0] as f32, many.len()),
        },
        Head::Attributes(_) => String::new(),
        Head::Part(number) => {
            format!("{}.{number}", expression(classes, selection, term.children[0], depth))
        }
        Head::Operator(word) => {
            if depth == 0 {
                return "..".to_owned();
            }
            let operands: Vec<String> = operands(classes, term)
                .iter()
                .map(|&id| expression(classes, selection, id, depth - 1))
                .collect();
            let known = operator(classes, term).map_or(word, |op| op.mnemonic());
            format!("{known}({})", operands.join(", "))
        }
    }
}
