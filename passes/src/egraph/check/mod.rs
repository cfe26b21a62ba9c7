//! Checks of rules: both sides of one are evaluated on random tensors, and a rule whose sides differ is refused with the case.
//!
//! A case is a small random graph that the left side matches (`instance`). The rule is applied once, as the pass does it, and each graph that it makes is
//! evaluated beside the one that came in. A rule that claims to hold beside NaN, infinities and -0 meets them.

mod instance;

use super::convert::Region;
use super::extract::{Search, Selection};
use super::facts::Tables;
use super::language::Term;
use super::rules::Rule;
use egg::{Id, Rewrite, Runner, SimpleScheduler};
use instance::{Instance, Numbers, is_small};
use std::collections::{BTreeMap, HashSet};
use twnc_ir::{CountingCost, Data, Graph, NodeId, Op, Rewriter, Tensor, evaluate, text};

/// How many cases are tried for each that is asked for: most random graphs do not fit the conditions of a rule.
const TRIES: usize = 400;
/// How far the sides of a rule that is not exact may differ, in parts of the largest magnitude of the result, or of 1.
const TOLERANCE: f64 = 1e-4;

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both sides agreed in so many cases.
    Holds(usize),
    /// They did not: the case, for people.
    Fails(String),
}

/// Evaluates both sides of a rule in up to so many cases. The cases depend on the rule and the seed alone.
pub fn check(rule: &Rule, cases: usize, seed: u64) -> Verdict {
    let Some(rewrite) = rule.rewrite() else { return Verdict::Fails("its text makes no rule".to_owned()) };
    let samples = rule.samples();
    let mut numbers = Numbers::new(seed);
    let mut held = 0;
    for attempt in 0..cases * TRIES {
        if held >= cases {
            break;
        }
        let Some(sample) = samples.get(attempt % samples.len().max(1)) else { break };
        let special = !rule.exactness().numbers_only && attempt % 3 == 0;
        let Some(instance) = Instance::new(&mut numbers, sample, special) else { continue };
        match compare(rule, &rewrite, &instance) {
            Ok(true) => held += 1,
            Ok(false) => {}
            Err(case) => return Verdict::Fails(case),
        }
    }
    Verdict::Holds(held)
}

/// A small graph that a rule matches, and what the rule makes of it: the first of the random cases in which it applies.
pub fn example(rule: &Rule, seed: u64) -> Option<(Graph, Graph)> {
    let (rewrite, samples) = (rule.rewrite()?, rule.samples());
    let mut numbers = Numbers::new(seed);
    (0..TRIES * 10).find_map(|attempt| {
        let sample = samples.get(attempt % samples.len().max(1))?;
        let instance = Instance::new(&mut numbers, sample, false)?;
        let after = applications(&rewrite, &instance.graph).into_iter().next()?;
        Some((instance.graph, after))
    })
}

/// The graphs that one application of a rule makes of a graph: one for each node that it adds.
pub(crate) fn applications(rewrite: &Rewrite<Term, Tables>, graph: &Graph) -> Vec<Graph> {
    let Ok(order) = graph.order() else { return vec![] };
    let nodes: Vec<NodeId> =
        order.into_iter().filter(|&id| !matches!(graph.node(id).op, Op::Constant(_))).collect();
    let known: HashSet<_> = match graph.order() {
        Ok(order) => crate::non_negative::values(graph, &order),
        Err(_) => HashSet::new(),
    };
    let mut region = Region::new();
    nodes.iter().for_each(|&id| region.add(graph, id, &known));
    region.close(graph);
    let classes = std::mem::take(&mut region.classes);
    let runner = Runner::<_, _, ()>::new(Tables::default())
        .with_egraph(classes)
        .with_iter_limit(1)
        .with_time_limit(std::time::Duration::MAX)
        .with_scheduler(SimpleScheduler)
        .run([rewrite]);
    region.classes = runner.egraph;
    let (roots, was) = (region.root_classes(), region.as_it_was());
    let search = Search::new(&region.classes, &roots, &CountingCost);
    let mut selections = search.alternatives(&was);
    if was.len() < nodes.len() {
        // What stood in two classes stands in one: a node is replaced by another of the graph.
        selections.push(search.completed(was.clone(), &was));
    }
    selections.into_iter().filter_map(|selection| rebuilt(graph, &region, &selection)).collect()
}

fn rebuilt(graph: &Graph, region: &Region, selection: &Selection) -> Option<Graph> {
    let mut graph = graph.clone();
    let mut rewriter = Rewriter::new(&mut graph);
    region.replace(&mut rewriter, selection, &|_| String::new()).ok()?;
    rewriter.remove_dead("");
    Some(graph)
}

/// Whether the rule applies, and both sides agree; the case, if they do not.
fn compare(rule: &Rule, rewrite: &Rewrite<Term, Tables>, instance: &Instance) -> Result<bool, String> {
    let Ok(expected) = evaluate(&instance.graph, &instance.inputs) else { return Ok(false) };
    let applications = applications(rewrite, &instance.graph);
    for after in &applications {
        let found = match is_small(after) {
            true => evaluate(after, &instance.inputs).map_err(|e| e.to_string()),
            false => Err("its right side is too large to be evaluated".to_owned()),
        };
        let difference = match found {
            Ok(found) => {
                let tolerance = if rule.exactness().exact { None } else { Some(tolerance(&instance.graph)) };
                difference(&expected, &found, tolerance)
            }
            Err(reason) => Some(reason),
        };
        if let Some(difference) = difference {
            let (before, after) = (text::print_full(&instance.graph), text::print_full(after));
            let inputs: Vec<String> = instance
                .inputs
                .iter()
                .map(|(name, tensor)| format!("{name} = {:?}", tensor.data()))
                .collect();
            let inputs = inputs.join("\n");
            return Err(format!("{difference}\nbefore:\n{before}after:\n{after}on\n{inputs}"));
        }
    }
    Ok(!applications.is_empty())
}

/// How far results may differ, in parts of the largest magnitude: where rounding decides which whole number a number becomes, by one of these.
fn tolerance(graph: &Graph) -> f64 {
    let steps = graph.node_ids().map(|id| match &graph.node(id).op {
        Op::Quantize(quantize) => 1.01 / f64::from(quantize.range().1),
        _ => 0.0,
    });
    steps.fold(TOLERANCE, f64::max)
}

/// How two sets of outputs differ; without a tolerance, to the bit.
fn difference(
    expected: &BTreeMap<String, Tensor>,
    found: &BTreeMap<String, Tensor>,
    tolerance: Option<f64>,
) -> Option<String> {
    for (name, a) in expected {
        let Some(b) = found.get(name) else { return Some(format!("output `{name}` is missing")) };
        if a.shape() != b.shape() {
            return Some(format!("the shape of `{name}` is {:?}, and was {:?}", b.shape(), a.shape()));
        }
        let (Data::F32(a), Data::F32(b)) = (a.data(), b.data()) else {
            match a == b {
                true => continue,
                false => return Some(format!("`{name}` differs")),
            }
        };
        let finite = a.iter().filter(|x| x.is_finite()).map(|x| f64::from(x.abs()));
        let range = finite.fold(1.0, f64::max);
        for (i, (&x, &y)) in a.iter().zip(b.iter()).enumerate() {
            let same = match tolerance {
                None => x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan()),
                Some(part) => {
                    x == y || (x.is_nan() && y.is_nan()) || f64::from((x - y).abs()) <= part * range
                }
            };
            if !same {
                return Some(format!("element {i} of `{name}` is {y:?}, and was {x:?}"));
            }
        }
    }
    None
}

impl Search<'_> {
    /// Selections that take, in one class each, another node than the graph as it was.
    fn alternatives(&self, was: &Selection) -> Vec<Selection> {
        let base = self.completed(self.trees(), was);
        let others = self.choices().flat_map(|(class, terms)| {
            let new = terms.iter().filter(move |term| !term.children.is_empty() || was.contains_key(&class));
            new.filter(move |term| was.get(&class).is_some_and(|before| before != *term))
                .map(move |term| (class, term))
        });
        let selections = others.filter_map(|(class, term): (Id, &Term)| {
            let mut selection: Selection = base.clone();
            // Everything else stays as it was.
            selection.extend(was.iter().map(|(class, term)| (*class, term.clone())));
            selection.insert(class, term.clone());
            self.price(&selection).map(|_| selection)
        });
        selections.collect()
    }
}
