//! Adding nodes to the e-graph: a rule's right side is built here, and typed before anything is added.

use super::coefficient::Coefficient;
use super::facts::{Birth, Classes, Facts, Kind, operands, operator, types};
use super::language::{Head, Term};
use egg::Id;
use std::sync::Arc;
use twnc_ir::{Op, Tensor, TensorType};

/// Adds the nodes of one application of a rule.
pub(crate) struct Builder<'a> {
    /// The e-graph.
    pub(crate) classes: &'a mut Classes,
    /// The rule.
    pub(crate) rule: Arc<str>,
    /// The class that it matched.
    pub(crate) class: Id,
    /// What new nodes are called.
    pub(crate) name: String,
    /// The classes that were found equal to others.
    pub(crate) changed: Vec<Id>,
}

impl Builder<'_> {
    /// What is known of a class.
    pub(crate) fn facts(&self, id: Id) -> &Facts {
        &self.classes[id].data
    }

    /// The type of a class.
    pub(crate) fn ty(&self, id: Id) -> Option<&TensorType> {
        self.facts(id).single()
    }

    /// The coefficient that a class is.
    pub(crate) fn coefficient_of(&self, id: Id) -> Option<&Coefficient> {
        coefficient(self.classes, id).map(|(coefficient, _)| coefficient)
    }

    /// The numbers of the coefficient that a class is.
    pub(crate) fn values_of(&self, id: Id) -> Option<&[f64]> {
        coefficient(self.classes, id).map(|(_, values)| values)
    }

    /// The constant tensor that a class is.
    pub(crate) fn tensor_of(&self, id: Id) -> Option<&Tensor> {
        tensor(self.classes, id)
    }

    /// The nodes of a class with this operator, with the operator.
    pub(crate) fn nodes(&self, id: Id, word: &str) -> Vec<(Op, Vec<Id>)> {
        let nodes = self.classes[id].nodes.iter().filter(|node| node.head.is(word));
        nodes
            .filter_map(|node| {
                Some((operator(self.classes, node)?.clone(), operands(self.classes, node).to_vec()))
            })
            .collect()
    }

    /// Whether the e-graph takes more nodes.
    fn has_room(&self) -> Option<()> {
        let size = self.classes.total_size();
        self.classes.analysis.most_nodes.is_none_or(|most| size <= most).then_some(())
    }

    /// Adds an operator; `None` where it does not type, or the e-graph is full.
    pub(crate) fn operator(&mut self, op: Op, operands: &[Id]) -> Option<Id> {
        self.has_room()?;
        types(self.classes, &op, operands)?;
        let word = op.mnemonic();
        let mut children = Vec::with_capacity(operands.len() + 1);
        if super::facts::plain(word).is_none() {
            let place = self.classes.analysis.operator(op);
            children.push(self.classes.add(Term::leaf(Head::Attributes(place))));
        }
        children.extend_from_slice(operands);
        Some(self.node(Term { head: Head::Operator(word), children }))
    }

    /// Adds a result of an operator with several.
    pub(crate) fn part(&mut self, all: Id, number: u32) -> Id {
        self.node(Term { head: Head::Part(number), children: vec![all] })
    }

    /// Says that two classes are equal, if their types agree, and notes which changed.
    pub(crate) fn unite(&mut self, a: Id, b: Id) {
        let (a, b) = (self.classes.find(a), self.classes.find(b));
        if self.facts(a).types == self.facts(b).types && self.classes.union(a, b) {
            self.changed.push(a);
        }
    }

    /// Adds a coefficient; `None` where one of its numbers is out of range, or the e-graph is full.
    pub(crate) fn coefficient(&mut self, coefficient: Coefficient) -> Option<Id> {
        self.has_room()?;
        let place = self.classes.analysis.coefficient(coefficient)?;
        Some(self.classes.add(Term::leaf(Head::Coefficient(place))))
    }

    /// Adds the coefficient of these numbers along an axis, counted from the last.
    pub(crate) fn numbers(&mut self, back: Option<usize>, values: &[f64]) -> Option<Id> {
        let coefficient = self.classes.analysis.factors.coefficient(back, values)?;
        self.coefficient(coefficient)
    }

    /// Adds a constant.
    pub(crate) fn constant(&mut self, tensor: Tensor, name: &str) -> Id {
        let place = self.classes.analysis.constant(tensor, name);
        self.classes.add(Term::leaf(Head::Constant(place)))
    }

    /// The name of the constant that a class is.
    pub(crate) fn constant_name(&self, id: Id) -> String {
        match self.facts(id).kind {
            Kind::Constant(place) => self.classes.analysis.constants[place as usize].name.clone(),
            _ => String::new(),
        }
    }

    fn node(&mut self, term: Term) -> Id {
        if let Some(id) = self.classes.lookup(term.clone()) {
            return id;
        }
        let name = self.name.clone();
        let tables = &mut self.classes.analysis;
        tables.names.insert(term.clone(), name);
        tables.births.push(Birth { rule: self.rule.clone(), class: self.class, node: term.clone() });
        self.classes.add(term)
    }
}

impl Head {
    /// Whether it is this operator.
    pub(crate) fn is(self, word: &str) -> bool {
        matches!(self, Head::Operator(other) if other == word)
    }
}

/// The coefficient that a class is, with its numbers.
pub(crate) fn coefficient(classes: &Classes, id: Id) -> Option<(&Coefficient, &[f64])> {
    match classes[id].data.kind {
        Kind::Coefficient(place) => {
            let known = classes.analysis.coefficients.get(place as usize)?;
            Some((&known.coefficient, &known.values))
        }
        _ => None,
    }
}

/// The constant tensor that a class is.
pub(crate) fn tensor(classes: &Classes, id: Id) -> Option<&Tensor> {
    match classes[id].data.kind {
        Kind::Constant(place) => classes.analysis.tensor(place),
        _ => None,
    }
}

/// The name of a node of a class: the first that has one.
pub(crate) fn name(classes: &Classes, id: Id) -> String {
    let names = &classes.analysis.names;
    let found = classes[id].nodes.iter().filter_map(|node| names.get(node)).find(|name| !name.is_empty());
    found.cloned().unwrap_or_default()
}
