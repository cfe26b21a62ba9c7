//! `saturate`: finds where scales cost least, and which accumulations become one, by equality saturation.
//!
//! **Exact** up to float reassociation, for numbers whose magnitudes are far from the ends of the range of f32. A region of the graph becomes an
//! e-graph, which holds all that the [rules](Rule) make of it at once; of these the pass takes what costs least by the compiler's cost model,
//! and leaves the region as it is where nothing costs less. `docs/egraph-rules.md` lists the rules.
//!
//! Regions are runs of nodes in the order of the graph. Each begins some nodes before the end of the one before it, so that a scale that was moved
//! to the end of a region moves on in the next (`regions.rs`); time grows in proportion to the graph. The limits are numbers of nodes and of iterations, and never a time: the same graph gives
//! the same result. A region that reaches a limit leaves a remark; what is taken of it is right, but perhaps not the least.

mod build;
mod check;
mod coefficient;
mod convert;
mod explain;
mod extract;
mod facts;
mod language;
mod regions;
mod rules;

use crate::options::{Options, OptionsError};
use crate::{FlipSigns, FoldScales, non_negative, walk};
pub use check::{Verdict, check, example};
use convert::Region;
use egg::{Rewrite, RewriteScheduler, Runner, RunnerLimits, RunnerResult, SearchMatches, StopReason};
use explain::Explanations;
pub use extract::Strategy;
use extract::extract;
use facts::{Classes, Tables};
use language::Term;
use regions::Regions;
pub use rules::{Exactness, Rule, RuleError};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use twnc_ir::{
    Changed, CustomRegistry, Graph, NodeId, Op, Pass, PassContext, PassError, Rewriter, Topic, ValueId,
};

/// How large a region and its e-graph become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes of the graph in a region.
    pub region: usize,
    /// Nodes that a region shares with the one before.
    pub overlap: usize,
    /// Nodes of an e-graph.
    pub nodes: usize,
    /// How often all rules are applied.
    pub iterations: usize,
    /// How often a rule matches at once: nested patterns do so as often as the product of the nodes of their classes.
    pub matches: usize,
    /// A graph of more nodes is searched in regions of half the size, which takes less than half of the time.
    pub large: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { region: 64, overlap: 16, nodes: 3000, iterations: 48, matches: 20_000, large: 10_000 }
    }
}

impl Limits {
    /// Those for a graph of so many nodes.
    fn of(self, nodes: usize) -> Limits {
        match nodes > self.large {
            true => Limits { region: self.region.div_ceil(2), overlap: self.overlap / 2, ..self },
            false => self,
        }
    }
}

/// In how many random cases a rule of a user's is evaluated before it is applied.
const CASES: usize = 200;

/// The pass.
#[derive(Clone)]
pub struct Saturate {
    rules: Vec<Rule>,
    limits: Limits,
    strategy: Strategy,
    ordered: bool,
    explain: Vec<String>,
}

impl Default for Saturate {
    fn default() -> Saturate {
        Saturate {
            rules: Rule::built_in(),
            limits: Limits::default(),
            strategy: Strategy::Best,
            ordered: true,
            explain: vec![],
        }
    }
}

impl Saturate {
    /// The pass for some options. A rule of the user's, which may use these custom operators, is checked first; one that does not hold is refused.
    pub fn new(options: &Options, registry: &CustomRegistry) -> Result<Saturate, OptionsError> {
        let rules = Rule::parse_with(&options.rules, registry)?;
        for rule in &rules {
            if let Verdict::Fails(case) = check(rule, CASES, 0) {
                let (line, column) = rule.place().unwrap_or_default();
                return Err(OptionsError::WrongRule { name: rule.name().to_owned(), line, column, case });
            }
        }
        let rules = Rule::built_in().into_iter().chain(rules).collect();
        Ok(Saturate { rules, explain: options.explain.clone(), ..Saturate::default() })
    }

    /// The pass with these rules alone.
    pub fn with_rules(self, rules: Vec<Rule>) -> Saturate {
        Saturate { rules, ..self }
    }

    /// The pass with other limits.
    pub fn with_limits(self, limits: Limits) -> Saturate {
        Saturate { limits, ..self }
    }

    /// The pass with another way to take a graph from an e-graph.
    pub fn with_strategy(self, strategy: Strategy) -> Saturate {
        Saturate { strategy, ..self }
    }

    /// The pass without what it does last: the graph as it was taken, before its chains and signs are put in order.
    pub fn as_extracted(self) -> Saturate {
        Saturate { ordered: false, ..self }
    }
}

impl Pass for Saturate {
    fn name(&self) -> &str {
        "saturate"
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let rewrites: Vec<Rewrite<Term, Tables>> = self.rules.iter().filter_map(Rule::rewrite).collect();
        let mut explanations = Explanations::of(&self.explain, graph)?;
        let mut rewriter = Rewriter::new(graph);
        let order = walk::order(rewriter.graph())?;
        let is_constant = |id: &NodeId| matches!(rewriter.graph().node(*id).op, Op::Constant(_));
        let nodes: Vec<NodeId> = order.into_iter().filter(|id| !is_constant(id)).collect();
        let limits = self.limits.of(nodes.len());
        if limits != self.limits {
            let remark =
                format!("{} nodes are many: it is searched {} at a time", nodes.len(), limits.region);
            cx.missed(Topic::Folding, rewriter.graph().name(), remark);
        }
        let mut regions = Regions::new(nodes, limits);
        let mut known = non_negative::inputs(rewriter.graph());
        let mut nodes: Vec<NodeId> = vec![];
        while regions.extend(rewriter.graph(), &mut nodes) {
            let stand = self.region(&mut rewriter, &nodes, &rewrites, &known, &mut explanations, cx)?;
            nodes = stand.unwrap_or(nodes);
            non_negative::learn(&mut known, rewriter.graph(), &nodes);
            regions.leave(rewriter.graph(), &mut nodes);
        }
        explanations.finish(cx);
        // What weights were multiplied by while compiling.
        rewriter.remove_dead("something that costs less stands in its place");
        let mut changed = rewriter.finish();
        if changed.any() && self.ordered && self.strategy == Strategy::Best {
            // Chains and signs end in the form that the passes before this one left; they have made their remarks. That may cost constants of their own.
            let mut again = PassContext::new(cx.cost());
            changed.edits.extend(FoldScales.run(graph, &mut again)?.edits);
            changed.edits.extend(FlipSigns.run(graph, &mut again)?.edits);
        }
        Ok(changed)
    }
}

impl Saturate {
    /// Rewrites one region. Returns the nodes that now stand for it, in order, if they are not those that did.
    fn region(
        &self,
        rewriter: &mut Rewriter<'_>,
        nodes: &[NodeId],
        rewrites: &[Rewrite<Term, Tables>],
        non_negative: &HashSet<ValueId>,
        explanations: &mut Explanations,
        cx: &mut PassContext<'_>,
    ) -> Result<Option<Vec<NodeId>>, PassError> {
        let (region, limit) = self.grown(rewriter.graph(), nodes, rewrites, non_negative);
        let Some(&first) = region.nodes.first() else { return Ok(None) };
        let layer = rewriter.graph().node_name(first);
        let before = region.price(rewriter.graph(), cx.cost());
        if let Some(limit) = limit {
            cx.missed(
                Topic::Folding,
                &layer,
                format!("what starts here is not searched to the end: {limit}"),
            );
        }
        let (roots, as_it_was) = (region.root_classes(), region.as_it_was());
        let Some((selection, after)) = extract(&region.classes, &roots, &as_it_was, cx.cost(), self.strategy)
        else {
            return Ok(None);
        };
        if self.strategy == Strategy::Best && !after.is_less_than(&before) {
            return Ok(None);
        }
        explanations.remarks(&region, rewriter.graph(), &selection, cx);
        let mut reasons: HashMap<ValueId, String> = HashMap::new();
        for &root in &region.roots {
            let rules = explain::rules(&region, &selection, root);
            reasons.insert(root, format!("costs less by {}", rules.join(", ")));
        }
        let reason = |root: ValueId| reasons.get(&root).cloned().unwrap_or_default();
        let built = region.replace(rewriter, &selection, &reason).map_err(PassError::at(&layer))?;
        // What defines the roots stands first: so the order is, as it was, that of what the region is for.
        let all = [&built, nodes].concat();
        rewriter.remove_dead_among(all.clone(), "something that costs less stands in its place");
        let saved = |what: &str, before: u64, after: u64| match before.cmp(&after) {
            std::cmp::Ordering::Equal => None,
            _ => Some(format!("{before} {what} become {after}")),
        };
        let (before, after) = (before.cost, after.cost);
        let saved = [
            saved("multiplications", before.multiplications, after.multiplications),
            saved("additions", before.additions, after.additions),
            saved("tables", before.tables, after.tables),
            saved("bytes", before.bytes, after.bytes),
            saved("steps", before.steps, after.steps),
        ];
        let saved: Vec<String> = saved.into_iter().flatten().collect();
        cx.applied(Topic::Folding, &layer, format!("what starts here costs less: {}", saved.join(", ")));
        Ok(Some(walk::order_among(rewriter.graph(), &all)))
    }

    /// A region as an e-graph, saturated, and the limit that it reached, if it reached one. Nodes are added in order, and the rules applied before each
    /// that is more than a function of the elements of one value: so what can be taken from a value is known before anything is made of it, and moves on as one.
    fn grown(
        &self,
        graph: &Graph,
        nodes: &[NodeId],
        rewrites: &[Rewrite<Term, Tables>],
        non_negative: &HashSet<ValueId>,
    ) -> (Region, Option<String>) {
        let mut region = Region::new();
        let mut limit = None;
        for &id in nodes {
            let node = graph.node(id);
            let values = node.operands.iter().filter(|&&value| graph.constant(value).is_none()).count();
            let of_elements = matches!(node.op, Op::Unary(_) | Op::Binary(_)) && values < 2;
            if limit.is_none() && !of_elements {
                limit = self.saturate(&mut region, rewrites);
            }
            region.add(graph, id, non_negative);
        }
        limit = limit.or_else(|| self.saturate(&mut region, rewrites));
        region.close(graph);
        (region, limit)
    }

    /// Applies the rules as long as they find something new. The limit that stopped it, if one did.
    fn saturate(&self, region: &mut Region, rewrites: &[Rewrite<Term, Tables>]) -> Option<String> {
        let mut classes = std::mem::take(&mut region.classes);
        classes.analysis.most_nodes = Some(self.limits.nodes);
        let runner = Runner::<_, _, ()>::new(Tables::default())
            .with_egraph(classes)
            .with_node_limit(self.limits.nodes)
            .with_iter_limit(self.limits.iterations)
            // A limit of time would make the result depend on the machine.
            .with_time_limit(Duration::MAX)
            .with_scheduler(Bounded { matches: self.limits.matches })
            .run(rewrites);
        region.classes = runner.egraph;
        match runner.stop_reason {
            Some(StopReason::NodeLimit(_)) => {
                Some(format!("its e-graph has more than {} nodes", self.limits.nodes))
            }
            Some(StopReason::IterationLimit(_)) => {
                Some(format!("it takes more than {} iterations", self.limits.iterations))
            }
            Some(StopReason::Other(limit)) => Some(limit),
            _ => None,
        }
    }
}

/// Applies every rule each time, as long as none matches more often than this.
struct Bounded {
    matches: usize,
}

impl RewriteScheduler<Term, Tables> for Bounded {
    fn search_rewrites<'a>(
        &mut self,
        iteration: usize,
        classes: &Classes,
        rewrites: &[&'a Rewrite<Term, Tables>],
        limits: &RunnerLimits,
    ) -> RunnerResult<Vec<Vec<SearchMatches<'a, Term>>>> {
        let mut all = vec![];
        for rewrite in rewrites {
            let found = rewrite.search_with_limit(classes, self.matches.saturating_add(1));
            if found.iter().map(|of_class| of_class.substs.len()).sum::<usize>() > self.matches {
                let limit = format!("`{}` matches more than {} times", rewrite.name, self.matches);
                return Err(StopReason::Other(limit));
            }
            limits.check_limits(iteration, classes)?;
            all.push(found);
        }
        Ok(all)
    }
}
