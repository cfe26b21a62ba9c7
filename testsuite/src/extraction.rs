//! What the e-graph's ways of extraction make of a network: what it costs as plain folding leaves it, and after the pass `saturate` with each of them.
//!
//! Every layer is made ternary. Costs are those of the compiler's cost model, with open sizes as 1. What each computes is compared with what plain folding left,
//! by the reference evaluator on seeded inputs.

use crate::agree::share;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use twnc::CompileError;
use twnc_ir::{
    Cost, CostModel, CountingCost, Cycle, EvalError, Flow, Graph, Pass, PassContext, PassError,
    PipelineError, RunOptions, Tensor, TensorError, evaluate,
};
use twnc_onnx::ImportOptions;
use twnc_passes::egraph::Strategy;
use twnc_passes::{Limits, Mode, Options, OptionsError, Saturate, default_pipeline};
use twnc_random::Random;

/// The ways, by name.
const STRATEGIES: [(&str, Strategy); 4] = [
    ("trees", Strategy::Trees),
    ("sets", Strategy::Sets),
    ("best", Strategy::Best),
    ("worst", Strategy::Worst),
];

/// What a network costs, and what it took to find it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The way of extraction; `folded` before any.
    pub name: &'static str,
    /// What the model counts.
    pub cost: Cost,
    /// That as one number, which is what extraction minimises.
    pub weight: f64,
    /// Nodes of the graph that are no constants.
    pub nodes: usize,
    /// How long the pass took.
    pub time: Duration,
    /// The most memory that it took at a time, in bytes.
    pub memory: usize,
    /// Regions that reached a limit.
    pub limited: usize,
    /// The largest share of the numerical contract's bound that an element of an output uses, against what plain folding left; if that was asked for.
    pub share: Option<f64>,
}

/// What is measured.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// How the file is read.
    pub import: ImportOptions,
    /// How large regions become.
    pub limits: Limits,
    /// Whether the graphs are evaluated.
    pub evaluate: bool,
}

/// Why a network is not measured.
#[derive(Debug, thiserror::Error)]
pub enum ExtractionError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] CompileError),
    /// There is no pipeline.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A pass before fails.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The pass fails.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The graph has a cycle.
    #[error(transparent)]
    Cycle(#[from] Cycle),
    /// The evaluator refuses it.
    #[error("the evaluator: {0}")]
    Evaluate(#[from] EvalError),
    /// An input is no tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Folds a network, and searches it in each way; `memory` is how much memory was taken at the most since it was called before.
pub fn measure(
    model: &Path,
    request: &Request,
    memory: &mut dyn FnMut() -> usize,
) -> Result<Vec<Row>, ExtractionError> {
    let mut folded = twnc_onnx::import_file(model, &request.import).map_err(CompileError::from)?.graph;
    let pipeline = default_pipeline(&Options { ternarise: Mode::All, ..Options::default() })?;
    let stop = RunOptions { skip: vec!["saturate".to_owned()], ..RunOptions::default() };
    let mut cx = PassContext::new(&CountingCost);
    pipeline.run(&mut folded, &mut cx, &stop, &mut |_, _| {})?;
    let inputs = inputs(&folded)?;
    let expected = request.evaluate.then(|| evaluate(&folded, &inputs)).transpose()?;
    let mut rows = vec![row("folded", &folded, Duration::ZERO)?];
    for (name, strategy) in STRATEGIES {
        let (mut graph, mut cx) = (folded.clone(), PassContext::new(&CountingCost));
        memory();
        let start = Instant::now();
        Saturate::default().with_limits(request.limits).with_strategy(strategy).run(&mut graph, &mut cx)?;
        let (time, memory) = (start.elapsed(), memory());
        let limited = cx.remarks().iter().filter(|remark| remark.message.contains("not searched to the end"));
        let limited = limited.count();
        let share = match &expected {
            Some(expected) => Some(largest_share(expected, &evaluate(&graph, &inputs)?)),
            None => None,
        };
        rows.push(Row { memory, limited, share, ..row(name, &graph, time)? });
    }
    Ok(rows)
}

fn row(name: &'static str, graph: &Graph, time: Duration) -> Result<Row, Cycle> {
    let cost = Flow::of(graph)?.cost(&CountingCost);
    let nodes = graph.node_ids().filter(|&id| graph.node(id).op.as_constant().is_none()).count();
    let weight = CountingCost.weight(&cost);
    Ok(Row { name, cost, weight, nodes, time, memory: 0, limited: 0, share: None })
}

/// Seeded, normal inputs, with open sizes as 1.
fn inputs(graph: &Graph) -> Result<BTreeMap<String, Tensor>, TensorError> {
    let mut random = Random::new(1);
    let inputs = graph.inputs().iter().map(|port| {
        let sizes = graph.ty(port.value).shape.iter().map(|size| size.eval(&|_| Some(1)).unwrap_or(1));
        let shape: Vec<usize> = sizes.map(|size| usize::try_from(size).unwrap_or(1)).collect();
        let elements = (0..shape.iter().product()).map(|_| random.normal(1.0)).collect();
        Ok((port.name.clone(), Tensor::from_f32(shape, elements)?))
    });
    inputs.collect()
}

/// The largest share of the bound over all outputs; infinite where one is no tensor of floats.
fn largest_share(expected: &BTreeMap<String, Tensor>, found: &BTreeMap<String, Tensor>) -> f64 {
    let shares = expected.iter().map(|(name, expected)| {
        let found = found.get(name).and_then(Tensor::as_f32);
        expected.as_f32().zip(found).map_or(f64::INFINITY, |(expected, found)| share(expected, found))
    });
    shares.fold(0.0, |largest, share| if share > largest || share.is_nan() { share } else { largest })
}
