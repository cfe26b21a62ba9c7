//! Extraction: one node for each class that the roots need, so that the whole costs least.
//!
//! What several nodes read is paid once, and what the lowering makes one step of counts as one ([`Flow`]). Finding the least is hard; here three
//! candidates (the graph as it was; the least of trees, in which shared values are paid wherever they are read; the least by sets of classes, in
//! which they are paid once) are improved, class by class, as long as that helps, and judged by what they really cost. Every choice is
//! made in the order of classes and nodes, so that equal inputs give equal outputs; no candidate has a cycle.

use super::facts::{Classes, Kind, operands, operator};
use super::language::{Head, Term};
use egg::{Id, Language};
use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use twnc_ir::{Cost, CostModel, Flow, Op, OperandInfo, Tensor, TensorType};

/// One node for each class that has been decided.
pub(crate) type Selection = BTreeMap<Id, Term>;

/// A constant in the place of one that is computed from others that are computed.
static SCALAR: LazyLock<Op> = LazyLock::new(|| Op::Constant(Tensor::scalar(1.0)));

/// How often all classes are tried again.
const ROUNDS: usize = 6;

/// How many classes the sets of [`Strategy::Sets`] have that are looked at, in all.
const MOST_IN_SETS: usize = 4_000_000;

/// What a selection costs: by weight, then steps, then nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Price {
    /// What the model counts.
    pub(crate) cost: Cost,
    weight: f64,
    nodes: usize,
}

impl Price {
    /// What a flow of so many nodes costs.
    pub(crate) fn of(flow: &Flow<'_>, nodes: usize, model: &dyn CostModel) -> Price {
        let cost = flow.cost(model);
        Price { cost, weight: model.weight(&cost), nodes }
    }

    /// Whether it is less, by more than what rounding the weight may do.
    pub(crate) fn is_less_than(&self, other: &Price) -> bool {
        if (self.weight - other.weight).abs() > 1e-9 * other.weight.abs() {
            return self.weight < other.weight;
        }
        (self.cost.steps, self.nodes) < (other.cost.steps, other.nodes)
    }
}

/// How one graph is taken from an e-graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Shared values are paid wherever they are read.
    Trees,
    /// Shared values are paid once.
    Sets,
    /// The best of both and of the graph as it was, improved. A region for which that costs no less than it did stays.
    #[default]
    Best,
    /// A costly one. It computes the same, which tests rely on.
    Worst,
}

/// The selection for some roots, with its price. `None` if no candidate is free of cycles, which the graph as it was is.
pub(crate) fn extract(
    classes: &Classes,
    roots: &[Id],
    as_it_was: &Selection,
    model: &dyn CostModel,
    strategy: Strategy,
) -> Option<(Selection, Price)> {
    let search = Search::new(classes, roots, model);
    let trees = search.trees();
    let candidate = |selection: Selection| {
        let mut completed = search.completed(selection, as_it_was);
        for (class, term) in &trees {
            completed.entry(*class).or_insert_with(|| term.clone());
        }
        search.price(&completed).map(|price| (completed, price))
    };
    match strategy {
        Strategy::Trees => candidate(trees.clone()),
        Strategy::Sets => candidate(search.sets()),
        Strategy::Worst => candidate(search.worst(as_it_was)),
        Strategy::Best => {
            let candidates = [as_it_was.clone(), trees.clone(), search.sets()];
            let least = |best: Option<(Selection, Price)>, next: (Selection, Price)| match best {
                Some(best) if !next.1.is_less_than(&best.1) => Some(best),
                _ => Some(next),
            };
            let improved = candidates.into_iter().filter_map(candidate).map(|found| search.improved(found));
            improved.fold(None, least)
        }
    }
}

/// The choices of an e-graph that some roots may need.
pub(crate) struct Search<'a> {
    classes: &'a Classes,
    roots: &'a [Id],
    model: &'a dyn CostModel,
    /// The nodes among which each class has its choice, in order.
    choices: BTreeMap<Id, Vec<Term>>,
    /// What each costs by itself.
    weights: BTreeMap<Id, Vec<f64>>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(classes: &'a Classes, roots: &'a [Id], model: &'a dyn CostModel) -> Search<'a> {
        let mut search = Search { classes, roots, model, choices: BTreeMap::new(), weights: BTreeMap::new() };
        // Only classes that the roots reach by some choice.
        let mut open: Vec<Id> = roots.iter().map(|&id| classes.find(id)).collect();
        while let Some(class) = open.pop() {
            if search.choices.contains_key(&class) {
                continue;
            }
            let terms = search.terms(class);
            for term in &terms {
                open.extend(term.children.iter().map(|&id| classes.find(id)));
            }
            let weights = terms.iter().map(|term| search.weight(class, term)).collect();
            search.choices.insert(class, terms);
            search.weights.insert(class, weights);
        }
        search
    }

    /// The classes, each with the nodes among which it has its choice.
    pub(crate) fn choices(&self) -> impl Iterator<Item = (Id, &[Term])> {
        self.choices.iter().map(|(class, terms)| (*class, terms.as_slice()))
    }

    /// The nodes of a class among which there is a choice.
    fn terms(&self, class: Id) -> Vec<Term> {
        let mut terms: Vec<Term> = self.classes[class]
            .nodes
            .iter()
            .map(|node| node.clone().map_children(|id| self.classes.find(id)))
            .filter(|node| !node.children.contains(&class))
            .collect();
        // A constant is itself, however it could be computed; so is what comes from outside.
        if let Some(leaf) = terms.iter().find(|term| term.is_leaf()) {
            return vec![leaf.clone()];
        }
        terms.sort_unstable();
        terms.dedup();
        terms
    }

    /// What a node costs by itself. What it computes element by element is taken to be stored by no step of its own.
    fn weight(&self, class: Id, term: &Term) -> f64 {
        let facts = &self.classes[class].data;
        let types: Vec<&TensorType> = facts.types.iter().collect();
        if facts.constant {
            let constant = self.constant_op(class, term);
            return constant.map_or(0.0, |op| self.model.weight(&self.model.cost(op, &[], &types)));
        }
        let Some(op) = operator(self.classes, term) else { return 0.0 };
        let infos: Vec<OperandInfo<'_>> = operands(self.classes, term)
            .iter()
            .filter_map(|&id| {
                let ty = self.classes[id].data.single()?;
                Some(OperandInfo { ty, nonzeros: self.nonzeros(id) })
            })
            .collect();
        let cost = self.model.cost(op, &infos, &types);
        let joins = matches!(op, Op::Unary(_) | Op::Binary(_));
        self.model.weight(&if joins { Cost { bytes: 0, ..cost } } else { cost })
    }

    /// How many elements of a constant are not zero.
    fn nonzeros(&self, class: Id) -> Option<u64> {
        let facts = &self.classes[class].data;
        match facts.kind {
            Kind::Constant(place) => Some(self.classes.analysis.constants[place as usize].nonzeros),
            Kind::Coefficient(place) => {
                Some(self.classes.analysis.coefficients[place as usize].values.len() as u64)
            }
            // Of what is computed while compiling, all may be.
            _ if facts.constant => {
                let sizes = facts.single()?.fixed_shape()?;
                Some(sizes.iter().fold(1, |product, &n| product.saturating_mul(n as u64)))
            }
            _ => None,
        }
    }

    /// A constant like the one that a class is, or will be.
    fn constant_op(&self, class: Id, term: &Term) -> Option<&'a Op> {
        match self.classes[class].data.kind {
            Kind::Constant(place) => Some(&self.classes.analysis.constants[place as usize].op),
            Kind::Coefficient(place) => Some(&self.classes.analysis.coefficients[place as usize].op),
            _ => {
                let operands = operands(self.classes, term).iter();
                let mut constants = operands.filter_map(|&id| match self.classes[id].data.kind {
                    Kind::Constant(place) => Some(&self.classes.analysis.constants[place as usize].op),
                    _ => None,
                });
                constants.next().or(Some(&*SCALAR))
            }
        }
    }

    /// The least trees.
    pub(crate) fn trees(&self) -> Selection {
        let mut best: BTreeMap<Id, (f64, usize)> = BTreeMap::new();
        loop {
            let mut changed = false;
            for (class, terms) in &self.choices {
                for (i, term) in terms.iter().enumerate() {
                    let children: Option<f64> =
                        term.children.iter().map(|id| best.get(id).map(|(total, _)| *total)).sum();
                    let Some(children) = children else { continue };
                    // A little for each node, so that no cycle is free.
                    let total = self.weights[class][i] + children + 1e-3;
                    if best.get(class).is_none_or(|(least, _)| total < least - 1e-9 * least.abs()) {
                        best.insert(*class, (total, i));
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        best.into_iter().map(|(class, (_, i))| (class, self.choices[&class][i].clone())).collect()
    }

    /// The least sets of classes, as far as classes are decided one after the other.
    fn sets(&self) -> Selection {
        struct Best {
            total: f64,
            choice: usize,
            set: BTreeMap<Id, f64>,
        }
        let mut parents: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
        for (class, terms) in &self.choices {
            for child in terms.iter().flat_map(|term| &term.children) {
                parents.entry(*child).or_default().insert(*class);
            }
        }
        let mut best: BTreeMap<Id, Best> = BTreeMap::new();
        let mut open: BTreeSet<Id> = self.choices.keys().copied().collect();
        let mut left = MOST_IN_SETS;
        while let Some(class) = open.pop_first() {
            let mut improved = false;
            for (i, term) in self.choices[&class].iter().enumerate() {
                if !term.children.iter().all(|id| best.get(id).is_some_and(|b| !b.set.contains_key(&class))) {
                    continue;
                }
                let mut set = BTreeMap::from([(class, self.weights[&class][i] + 1e-3)]);
                for child in &term.children {
                    set.extend(best[child].set.iter().map(|(id, weight)| (*id, *weight)));
                }
                // Each class can improve only so often; the bound is against slow convergence of large sets.
                left = match left.checked_sub(set.len()) {
                    Some(left) => left,
                    None => {
                        open.clear();
                        break;
                    }
                };
                let total: f64 = set.values().sum();
                if best.get(&class).is_none_or(|b| total < b.total - 1e-9 * b.total) {
                    best.insert(class, Best { total, choice: i, set });
                    improved = true;
                }
            }
            if improved {
                open.extend(parents.get(&class).into_iter().flatten().copied());
            }
        }
        best.into_iter().map(|(class, best)| (class, self.choices[&class][best.choice].clone())).collect()
    }

    /// A costly selection without cycles: for each class in turn, the most costly node that keeps it so.
    fn worst(&self, as_it_was: &Selection) -> Selection {
        let mut selection = self.completed(self.trees(), as_it_was);
        for (class, terms) in &self.choices {
            let mut order: Vec<usize> = (0..terms.len()).collect();
            let weights = &self.weights[class];
            order.sort_by(|&a, &b| weights[b].partial_cmp(&weights[a]).unwrap_or(Ordering::Equal));
            for i in order {
                let before = selection.insert(*class, terms[i].clone());
                if self.price(&selection).is_some() {
                    break;
                }
                if let Some(before) = before {
                    selection.insert(*class, before);
                }
            }
        }
        selection
    }

    /// A selection in which every class has a choice, if it can.
    pub(crate) fn completed(&self, mut selection: Selection, as_it_was: &Selection) -> Selection {
        for (class, terms) in &self.choices {
            if let [only] = terms.as_slice() {
                selection.insert(*class, only.clone());
            } else if let Some(term) = as_it_was.get(class) {
                selection.entry(*class).or_insert_with(|| term.clone());
            }
        }
        selection
    }

    /// The selection, with the choice of one class after the other changed where that lessens the price.
    fn improved(&self, (mut selection, mut price): (Selection, Price)) -> (Selection, Price) {
        for _ in 0..ROUNDS {
            let mut changed = false;
            let Some(needed) = self.order(&selection) else { break };
            for class in needed {
                let terms = &self.choices[&class];
                for term in terms {
                    if selection.get(&class) == Some(term) {
                        continue;
                    }
                    let before = selection.insert(class, term.clone());
                    match self.price(&selection) {
                        Some(new) if new.is_less_than(&price) => {
                            (price, changed) = (new, true);
                        }
                        _ => {
                            if let Some(before) = before {
                                selection.insert(class, before);
                            }
                        }
                    }
                }
            }
            changed |= self.bundled(&mut selection, &mut price);
            if !changed {
                break;
            }
        }
        (selection, price)
    }

    /// Takes all slices of a value from it at once, where that lessens the price: each alone would pay for all of the value beside what it was.
    fn bundled(&self, selection: &mut Selection, price: &mut Price) -> bool {
        let mut changed = false;
        for slices in self.slices() {
            let before = selection.clone();
            selection.extend(slices);
            match self.price(selection) {
                Some(new) if new.is_less_than(price) => (*price, changed) = (new, true),
                _ => *selection = before,
            }
        }
        changed
    }

    /// For each value of which several slices might be taken, all of these.
    fn slices(&self) -> impl Iterator<Item = Vec<(Id, Term)>> {
        let mut slices: BTreeMap<Id, Vec<(Id, Term)>> = BTreeMap::new();
        for (class, terms) in &self.choices {
            for term in terms.iter().filter(|term| terms.len() > 1 && term.head.is("slice")) {
                let of = term.children.last().map(|&id| self.classes.find(id));
                slices.entry(of.unwrap_or(*class)).or_default().push((*class, term.clone()));
            }
        }
        slices.into_values().filter(|slices| slices.len() > 1)
    }

    /// The classes that the roots need, each after those that it depends on; `None` if a choice is missing, or there is a cycle.
    fn order(&self, selection: &Selection) -> Option<Vec<Id>> {
        let mut done: BTreeMap<Id, bool> = BTreeMap::new();
        let mut order = vec![];
        let mut stack: Vec<(Id, usize)> = vec![];
        for &root in self.roots {
            let root = self.classes.find(root);
            if let Entry::Vacant(entry) = done.entry(root) {
                entry.insert(false);
                stack.push((root, 0));
            }
            while let Some((class, next)) = stack.last_mut() {
                let term = selection.get(class)?;
                // What is computed while compiling is one constant.
                let children: &[Id] = if self.classes[*class].data.constant { &[] } else { &term.children };
                match children.get(*next) {
                    None => {
                        done.insert(*class, true);
                        order.push(*class);
                        stack.pop();
                    }
                    Some(&child) => {
                        *next += 1;
                        match done.get(&child) {
                            Some(true) => {}
                            Some(false) => return None,
                            None => {
                                done.insert(child, false);
                                stack.push((child, 0));
                            }
                        }
                    }
                }
            }
        }
        Some(order)
    }

    /// Whether a node multiplies by numbers that are not all positive, or what a bias was added to: of equal costs, the scales that can move on are
    /// better, and those before biases, as the lowering joins them.
    fn is_awkward(&self, selection: &Selection, term: &Term) -> bool {
        let &[x, scale] = term.children.as_slice() else { return false };
        let is_coefficient = |id: Id| matches!(self.classes[id].data.kind, Kind::Coefficient(_));
        match self.classes[scale].data.kind {
            Kind::Coefficient(place) if term.head.is("mul") => {
                let values = &self.classes.analysis.coefficients[place as usize].values;
                let biased = selection.get(&self.classes.find(x)).is_some_and(|before| {
                    before.head.is("add") && before.children.last().is_some_and(|&t| is_coefficient(t))
                });
                biased || values.iter().any(|&v| v <= 0.0)
            }
            _ => false,
        }
    }

    /// What a selection costs.
    pub(crate) fn price(&self, selection: &Selection) -> Option<Price> {
        let order = self.order(selection)?;
        let mut flow = Flow::default();
        let mut places: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
        let mut nodes = 0;
        for class in order {
            let (term, facts) = (selection.get(&class)?, &self.classes[class].data);
            let types: Vec<&TensorType> = facts.types.iter().collect();
            let results = match term.head {
                Head::Attributes(_) => continue,
                _ if facts.constant => {
                    let op = self.constant_op(class, term)?;
                    flow.node(op, &[], &types, self.nonzeros(class))
                }
                Head::Outside(_) => vec![flow.value(facts.single()?)],
                Head::Part(number) => vec![*places.get(&term.children[0])?.get(number as usize)?],
                _ => {
                    nodes += 1 + usize::from(self.is_awkward(selection, term));
                    let read: Vec<usize> = operands(self.classes, term)
                        .iter()
                        .map(|id| places.get(&self.classes.find(*id))?.first().copied())
                        .collect::<Option<_>>()?;
                    flow.node(operator(self.classes, term)?, &read, &types, None)
                }
            };
            places.insert(class, results);
        }
        for root in self.roots {
            flow.output(*places.get(&self.classes.find(*root))?.first()?);
        }
        Some(Price::of(&flow, nodes, self.model))
    }
}
