//! Explanations: by which rules what was chosen came to be.
//!
//! Every node that a rule makes keeps the rule and the class that it matched. What led to a value is then the chosen nodes below it that rules made,
//! and what those rules matched, back to the graph as it was.

use super::convert::Region;
use super::extract::Selection;
use super::facts::{Classes, operands, operator};
use super::language::{Head, Term};
use crate::near::hint;
use egg::Id;
use std::collections::{BTreeMap, BTreeSet};
use twnc_ir::{Graph, PassContext, PassError, Topic, ValueId};

/// How deep an expression is written out.
const DEPTH: usize = 3;

/// The names of the rules that made what was chosen for a value, in the order in which they first did.
pub(crate) fn rules(region: &Region, selection: &Selection, value: ValueId) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    let chain = region.class(value).map_or(vec![], |class| chain(region, selection, class));
    for (rule, _, _) in chain {
        if !names.contains(&rule) {
            names.push(rule);
        }
    }
    names
}

/// The values that a user asks about, and which of them something was said of.
pub(crate) struct Explanations(Vec<(String, bool)>);

impl Explanations {
    /// For values of a graph, by the names of their layers, of inputs and outputs, or as `%7`; refused where there is no such value.
    pub(crate) fn of(wanted: &[String], graph: &Graph) -> Result<Explanations, PassError> {
        let nodes = || graph.node_ids().map(|id| graph.node(id));
        let ports = || graph.inputs().iter().chain(graph.outputs());
        for name in wanted {
            let mut values = nodes().flat_map(|node| &node.results).chain(ports().map(|port| &port.value));
            if !values.any(|&value| is_called(graph, value, name)) {
                let names =
                    nodes().map(|node| node.name.as_str()).chain(ports().map(|port| port.name.as_str()));
                return Err(PassError::UnknownValue { name: name.clone(), near: hint(name, names) });
            }
        }
        Ok(Explanations(wanted.iter().map(|name| (name.clone(), false)).collect()))
    }

    /// Remarks on how those of the values came to be that the region has.
    pub(crate) fn remarks(
        &mut self,
        region: &Region,
        graph: &Graph,
        selection: &Selection,
        cx: &mut PassContext<'_>,
    ) {
        for (wanted, said) in &mut self.0 {
            let values = region.nodes.iter().flat_map(|&id| &graph.node(id).results);
            let value = values.into_iter().rfind(|&&value| is_called(graph, value, wanted));
            let Some(class) = value.and_then(|&value| region.class(value)) else { continue };
            let chain = chain(region, selection, class);
            if chain.is_empty() {
                continue;
            }
            *said = true;
            let was = region.as_it_was();
            let mut line = |text: String| cx.applied(Topic::Folding, wanted, text);
            line(format!("it was {}", expression(&region.classes, &was, class, DEPTH)));
            for (rule, class, node) in chain {
                let before = expression(&region.classes, &was, class, 2);
                let after = written(&region.classes, selection, &node, 2);
                line(format!("{rule}: {before} => {after}"));
            }
            line(format!("it is {}", expression(&region.classes, selection, class, DEPTH)));
        }
    }

    /// A remark on each value of which nothing was said.
    pub(crate) fn finish(self, cx: &mut PassContext<'_>) {
        for (wanted, _) in self.0.iter().filter(|(_, said)| !said) {
            cx.missed(Topic::Folding, wanted, "no rule led to it: it stays as it was, and nothing before it in its part of the network changes");
        }
    }
}

/// Whether a value has a name: that of its layer, of an input or output, or its number.
fn is_called(graph: &Graph, value: ValueId, name: &str) -> bool {
    let mut ports = graph.inputs().iter().chain(graph.outputs());
    value.to_string() == name
        || graph.definer(value).is_some_and(|(_, node)| node.name == name)
        || ports.any(|port| port.value == value && port.name == name)
}

/// The nodes below a class that rules made, with the rule and the class that it matched, in the order in which they came to be.
fn chain(region: &Region, selection: &Selection, root: Id) -> Vec<(String, Id, Term)> {
    let classes = &region.classes;
    let mut born: BTreeMap<Term, usize> = BTreeMap::new();
    let births = &classes.analysis.births;
    for (i, birth) in births.iter().enumerate() {
        born.entry(region.canonical(&birth.node)).or_insert(i);
    }
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
