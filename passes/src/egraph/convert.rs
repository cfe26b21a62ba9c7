//! A region of a graph as an e-graph, and what was chosen of the e-graph as nodes of the graph.
//!
//! What a region reads from outside is a leaf. Its *roots* are the values that something outside of it reads. A node that inference types otherwise
//! than the graph does stays as it is, and its results are leaves. A node that was chosen as it stood is not touched: only what changed
//! is built anew, under the names of the layers that it came from.

use super::extract::{Price, Selection};
use super::facts::{Classes, Kind, Tables, operands, operator};
use super::language::{Head, Term};
use egg::{EGraph, Id};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use twnc_ir::{
    Binary, CostModel, ElementType, Flow, Graph, Node, NodeId, Op, PerChannel, Rewriter, TypeError, Use,
    ValueId, eval, infer,
};

/// A region of a graph as an e-graph.
pub(crate) struct Region {
    /// The e-graph.
    pub(crate) classes: Classes,
    /// The class of each value.
    pub(crate) places: BTreeMap<ValueId, Id>,
    /// The values that something outside reads, in order.
    pub(crate) roots: Vec<ValueId>,
    /// The nodes that are in it.
    pub(crate) nodes: Vec<NodeId>,
    /// The nodes of the graph by the nodes of the e-graph that they became, in order.
    originals: Vec<(Term, NodeId)>,
}

impl Region {
    /// A region without nodes.
    pub(crate) fn new() -> Region {
        Region {
            classes: EGraph::new(Tables::default()),
            places: BTreeMap::new(),
            roots: vec![],
            nodes: vec![],
            originals: vec![],
        }
    }

    /// Finds the roots: what is read outside of the nodes that were added.
    pub(crate) fn close(&mut self, graph: &Graph) {
        self.classes.rebuild();
        let inside: HashSet<NodeId> = self.nodes.iter().copied().collect();
        for &id in &self.nodes {
            for &result in &graph.node(id).results {
                let leaves = graph.value(result).uses.iter().any(|site| match site {
                    Use::Operand(node, _) => !inside.contains(node),
                    Use::Output(_) => true,
                });
                if leaves {
                    self.roots.push(result);
                }
            }
        }
    }

    /// Adds a node behind those that it depends on. Constants come along with what reads them.
    pub(crate) fn add(&mut self, graph: &Graph, id: NodeId, non_negative: &HashSet<ValueId>) {
        let node = graph.node(id);
        let types: Vec<_> = node.operands.iter().map(|&value| graph.ty(value)).collect();
        let declared = node.results.iter().map(|&value| graph.ty(value));
        let typed = infer(&node.op, &types).is_ok_and(|inferred| inferred.iter().eq(declared));
        if !typed || matches!(node.op, Op::Constant(_)) {
            return;
        }
        let children = match self.scaled(graph, node, non_negative) {
            Some(children) => children,
            None => {
                let mut children = vec![];
                if super::facts::plain(node.op.mnemonic()).is_none() {
                    let place = self.classes.analysis.operator(node.op.clone());
                    children.push(self.classes.add(Term::leaf(Head::Attributes(place))));
                }
                for &value in &node.operands {
                    children.push(self.value(graph, value, non_negative));
                }
                children
            }
        };
        let term = Term { head: Head::Operator(node.op.mnemonic()), children };
        let name = node.name.clone();
        self.classes.analysis.names.entry(term.clone()).or_insert(name);
        let class = self.classes.add(term.clone());
        self.originals.push((term, id));
        self.nodes.push(id);
        match node.results.as_slice() {
            &[result] => {
                self.places.insert(result, class);
            }
            results => {
                for (i, &result) in results.iter().enumerate() {
                    let part = Term { head: Head::Part(i as u32), children: vec![class] };
                    let class = self.classes.add(part.clone());
                    self.originals.push((part, id));
                    self.places.insert(result, class);
                }
            }
        }
    }

    /// The operands of an element-wise function of a value and a coefficient, which stands right where order does not matter.
    fn scaled(&mut self, graph: &Graph, node: &Node, non_negative: &HashSet<ValueId>) -> Option<Vec<Id>> {
        let (Op::Binary(f), &[a, b], &[result]) =
            (&node.op, node.operands.as_slice(), node.results.as_slice())
        else {
            return None;
        };
        let ty = graph.ty(result);
        if ty.element != ElementType::F32 {
            return None;
        }
        let (value, constant, swapped) = match (graph.constant(a), graph.constant(b)) {
            (None, Some(_)) => (a, b, false),
            (Some(_), None) => (b, a, true),
            _ => return None,
        };
        let numbers = PerChannel::of(graph, constant, ty).filter(|_| graph.ty(value) == ty)?;
        let values: Vec<f64> = numbers.values.iter().map(|&v| f64::from(v)).collect();
        let back = numbers.axis.map(|axis| ty.rank() - axis);
        let coefficient = self.classes.analysis.factors.coefficient(back, &values)?;
        let place = self.classes.analysis.coefficient(coefficient)?;
        let name = graph.definer(constant).map_or(String::new(), |(_, node)| node.name.clone());
        let known = self.classes.analysis.coefficients.get_mut(place as usize)?;
        // A single number may have been written in a shape that fits nothing else.
        if known.op.as_constant().is_some_and(|tensor| tensor.ty() == *graph.ty(constant)) {
            known.origin.get_or_insert((constant, name));
        }
        let constant = self.classes.add(Term::leaf(Head::Coefficient(place)));
        let value = self.value(graph, value, non_negative);
        let commutes = matches!(f, Binary::Add | Binary::Mul | Binary::Min | Binary::Max);
        Some(if swapped && !commutes { vec![constant, value] } else { vec![value, constant] })
    }

    /// The class of a value.
    fn value(&mut self, graph: &Graph, value: ValueId, non_negative: &HashSet<ValueId>) -> Id {
        if let Some(&class) = self.places.get(&value) {
            return class;
        }
        let tables = &mut self.classes.analysis;
        let head = match graph.definer(value) {
            Some((_, Node { op: Op::Constant(tensor), name, .. })) => {
                let place = tables.constants.len() as u32;
                tables.constants.push(super::facts::Constant::new(tensor.clone(), name, Some(value)));
                Head::Constant(place)
            }
            _ => {
                let place = tables.outside.len() as u32;
                tables.outside.push((value, graph.ty(value).clone(), non_negative.contains(&value)));
                Head::Outside(place)
            }
        };
        let class = self.classes.add(Term::leaf(head));
        self.places.insert(value, class);
        class
    }

    /// The class of a root.
    pub(crate) fn class(&self, value: ValueId) -> Option<Id> {
        self.places.get(&value).map(|&class| self.classes.find(class))
    }

    /// The classes of the roots, in order.
    pub(crate) fn root_classes(&self) -> Vec<Id> {
        self.roots.iter().filter_map(|&value| self.class(value)).collect()
    }

    /// What the region costs as it is in the graph.
    pub(crate) fn price(&self, graph: &Graph, model: &dyn CostModel) -> Price {
        let mut flow = Flow::default();
        let mut places: BTreeMap<ValueId, usize> = BTreeMap::new();
        for &id in &self.nodes {
            let node = graph.node(id);
            let mut read = vec![];
            for &value in &node.operands {
                let place = match (places.get(&value), graph.definer(value)) {
                    (Some(&place), _) => place,
                    (None, Some((_, Node { op: op @ Op::Constant(tensor), .. }))) => {
                        let results = flow.node(op, &[], &[graph.ty(value)], Some(tensor.nonzeros() as u64));
                        results.first().copied().unwrap_or_default()
                    }
                    _ => flow.value(graph.ty(value)),
                };
                places.insert(value, place);
                read.push(place);
            }
            let types: Vec<_> = node.results.iter().map(|&value| graph.ty(value)).collect();
            places.extend(node.results.iter().copied().zip(flow.node(&node.op, &read, &types, None)));
        }
        self.roots.iter().filter_map(|value| places.get(value)).for_each(|&place| flow.output(place));
        Price::of(&flow, self.nodes.len(), model)
    }

    /// For each class, the node of the graph that came first in it.
    pub(crate) fn as_it_was(&self) -> Selection {
        let mut selection = Selection::new();
        for (term, _) in &self.originals {
            let class = self.classes.lookup(term.clone());
            if let Some(class) = class {
                selection.entry(class).or_insert_with(|| self.canonical(term));
            }
        }
        selection
    }

    /// A node over the classes as they are now.
    pub(crate) fn canonical(&self, term: &Term) -> Term {
        let children = term.children.iter().map(|&id| self.classes.find(id)).collect();
        Term { head: term.head, children }
    }

    /// Puts what was chosen in the place of what was there. Returns the nodes that were built, behind those that now define the roots, in the order of these.
    pub(crate) fn replace(
        &self,
        rewriter: &mut Rewriter<'_>,
        selection: &Selection,
        reason: &dyn Fn(ValueId) -> String,
    ) -> Result<Vec<NodeId>, TypeError> {
        let names: BTreeMap<Term, &String> = self
            .classes
            .analysis
            .names
            .iter()
            .rev()
            .map(|(term, name)| (self.canonical(term), name))
            .collect();
        let mut originals: BTreeMap<Term, Vec<NodeId>> = BTreeMap::new();
        for (term, id) in &self.originals {
            originals.entry(self.canonical(term)).or_default().push(*id);
        }
        let mut export = Export {
            region: self,
            selection,
            names,
            originals,
            built: BTreeMap::new(),
            nodes: vec![],
            reader: String::new(),
        };
        let mut values = vec![];
        for &root in &self.roots {
            let Some(class) = self.class(root) else { continue };
            let built = export.results(rewriter, class)?;
            if let Some(&value) = built.first() {
                values.push((root, value));
            }
        }
        let own: HashSet<NodeId> = self.nodes.iter().chain(&export.nodes).copied().collect();
        let mut nodes = vec![];
        for (root, value) in values {
            rewriter.replace(root, value, &reason(root))?;
            nodes.extend(rewriter.graph().definer(value).map(|(id, _)| id).filter(|id| own.contains(id)));
        }
        nodes.append(&mut export.nodes);
        Ok(nodes)
    }
}

/// What is built of a selection.
struct Export<'a> {
    region: &'a Region,
    selection: &'a Selection,
    names: BTreeMap<Term, &'a String>,
    originals: BTreeMap<Term, Vec<NodeId>>,
    /// The results of classes.
    built: BTreeMap<Id, Vec<ValueId>>,
    nodes: Vec<NodeId>,
    /// What a coefficient is called that is built next.
    reader: String,
}

impl Export<'_> {
    fn results(&mut self, rewriter: &mut Rewriter<'_>, class: Id) -> Result<Vec<ValueId>, TypeError> {
        let class = self.region.classes.find(class);
        if let Some(values) = self.built.get(&class) {
            return Ok(values.clone());
        }
        let values = self.build(rewriter, class)?;
        self.built.insert(class, values.clone());
        Ok(values)
    }

    fn build(&mut self, rewriter: &mut Rewriter<'_>, class: Id) -> Result<Vec<ValueId>, TypeError> {
        let classes = &self.region.classes;
        let tables = &classes.analysis;
        match classes[class].data.kind {
            Kind::Constant(place) => {
                let constant = &tables.constants[place as usize];
                if let Some(value) = constant.value {
                    return Ok(vec![value]);
                }
                let Some(tensor) = constant.op.as_constant() else { return Ok(vec![]) };
                return Ok(vec![rewriter.constant(tensor.clone(), &constant.name)]);
            }
            Kind::Coefficient(place) => {
                let known = &tables.coefficients[place as usize];
                if let Some((value, _)) = &known.origin {
                    return Ok(vec![*value]);
                }
                let Some(tensor) = known.op.as_constant() else { return Ok(vec![]) };
                return Ok(vec![rewriter.constant(tensor.clone(), &self.reader)]);
            }
            _ => {}
        }
        let Some(term) = self.selection.get(&class) else { return Ok(vec![]) };
        match term.head {
            Head::Outside(place) => return Ok(vec![tables.outside[place as usize].0]),
            Head::Part(number) => {
                let all = self.results(rewriter, term.children[0])?;
                return Ok(all.get(number as usize).copied().into_iter().collect());
            }
            _ => {}
        }
        let Some(op) = operator(classes, term) else { return Ok(vec![]) };
        let mut values = vec![];
        for &operand in operands(classes, term) {
            self.reader = match (self.names.get(term), op) {
                (Some(name), Op::Binary(Binary::Add)) if !name.is_empty() => format!("{name}.bias"),
                (Some(name), _) if !name.is_empty() => format!("{name}.scale"),
                _ => String::new(),
            };
            values.extend(self.results(rewriter, operand)?);
        }
        if let Some(results) = self.original(rewriter.graph(), term, &values) {
            return Ok(results);
        }
        let name = self.names.get(term).map_or("", |name| name.as_str());
        if classes[class].data.constant {
            let graph = rewriter.graph();
            let tensors: Option<Vec<_>> =
                values.iter().map(|&value| graph.constant(value).cloned()).collect();
            let folded = tensors.and_then(|tensors| eval::apply(op, &tensors).ok());
            if let Some(folded) = folded {
                let origin = values
                    .iter()
                    .filter_map(|&value| graph.definer(value))
                    .map(|(_, node)| node.name.clone());
                let name =
                    origin.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| name.to_owned());
                return Ok(folded.into_iter().map(|tensor| rewriter.constant(tensor, &name)).collect());
            }
        }
        let results = rewriter.insert_all(op.clone(), &values, name)?;
        self.nodes
            .extend(results.first().and_then(|&value| rewriter.graph().definer(value)).map(|(id, _)| id));
        Ok(results)
    }

    /// The results of the node of the graph that a node was, if it reads what it read.
    fn original(&mut self, graph: &Graph, term: &Term, values: &[ValueId]) -> Option<Vec<ValueId>> {
        let taken: BTreeSet<NodeId> = self.nodes.iter().copied().collect();
        for &id in self.originals.get(term)? {
            let node = graph.node(id);
            let (mut expected, mut found) = (node.operands.clone(), values.to_vec());
            expected.sort_unstable();
            found.sort_unstable();
            if expected == found && !taken.contains(&id) {
                let results = node.results.clone();
                self.nodes.push(id);
                return Some(results);
            }
        }
        None
    }
}
