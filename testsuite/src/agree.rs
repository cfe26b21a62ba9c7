//! A compiled network, on every path of execution, against the reference evaluator on the graph that it was lowered from.
//!
//! Inputs are seeded and normal (`twnc::synthetic`). The bound is the numerical contract's: rtol 1e-3, and atol 1e-4 of an output's range,
//! its largest minus its smallest value. Whole numbers and truth values are equal.

use ndarray::ArrayD;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use twnc::{CompileError, Compiler, synthetic};
use twnc_ir::{Data, Tensor, TensorError, eval};
use twnc_onnx::ImportOptions;
use twnc_passes::{Mode, Options};
use twnc_program::interpret::Functions;
use twnc_runtime::{Backend, Error, Module, Output, SessionOptions};

const RTOL: f64 = 1e-3;
const ATOL: f64 = 1e-4;

/// How a network agrees.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// Layers that have a ternary weight.
    pub ternary_layers: usize,
    /// Bytes of the model.bin.
    pub bytes: usize,
    /// Seconds that compiling took, reading the file included.
    pub compile_seconds: f64,
    /// By path, the largest share of the bound that an element of an output uses; over 1 it does not agree.
    pub shares: Vec<(&'static str, f64)>,
}

/// Why a network is not compared.
#[derive(Debug, thiserror::Error)]
pub enum AgreeError {
    /// It does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It does not run.
    #[error(transparent)]
    Run(#[from] Error),
    /// The evaluator refuses it.
    #[error("the evaluator: {0}")]
    Evaluate(#[from] eval::EvalError),
    /// Its inputs are no tensors.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// An output is another than that of the graph.
    #[error("output `{0}` has another shape or type than the evaluator's")]
    Output(String),
}

/// Compiles a network with its layers ternary as `mode` says, and runs it on one input, whose open sizes are 1.
pub fn agree(model: &Path, import: ImportOptions, mode: Mode) -> Result<Agreement, AgreeError> {
    let start = Instant::now();
    let passes = Options { ternarise: mode, ..Options::default() };
    let compiled = Compiler::builder().import(import).passes(passes).build()?.compile_file(model)?;
    let compile_seconds = start.elapsed().as_secs_f64();
    let (ternary_layers, bytes) = (compiled.ternary_layers(), compiled.program.to_bytes().len());
    let module = Module::new(compiled.program, Functions::default())?;
    let inputs = synthetic::inputs(&module, &synthetic::shapes(&module, 1, &[]), 1);
    let tensors = inputs.iter().map(|(name, array)| Ok((name.clone(), tensor(array)?)));
    let expected =
        eval::evaluate(&compiled.graph, &tensors.collect::<Result<BTreeMap<_, _>, TensorError>>()?)?;
    let views: Vec<_> = inputs.iter().map(|(name, array)| (name.as_str(), array.view())).collect();
    let mut shares = vec![];
    for backend in Backend::available() {
        let session = module.session(SessionOptions::default().backend(backend))?;
        let mut worst = 0.0;
        for (name, found) in session.run(&views)? {
            let (found, expected) = (tensor(&found)?, expected.get(&name));
            let Some(expected) = expected.filter(|expected| expected.ty() == found.ty()) else {
                return Err(AgreeError::Output(name));
            };
            worst = larger(worst, share_of_tensors(expected, &found));
        }
        shares.push((backend.name(), worst));
    }
    Ok(Agreement { ternary_layers, bytes, compile_seconds, shares })
}

/// The largest share of the bound that an element uses; NaN and infinity where that is no number.
pub fn share(expected: &[f32], found: &[f32]) -> f64 {
    let finite = expected.iter().map(|&x| f64::from(x)).filter(|x| x.is_finite());
    let bounds = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (x.min(low), x.max(high)));
    let range = (bounds.1 - bounds.0).max(0.0);
    let shares = expected.iter().zip(found).map(|(&expected, &found)| {
        if expected == found || expected.is_nan() && found.is_nan() {
            return 0.0;
        }
        let (expected, found) = (f64::from(expected), f64::from(found));
        (expected - found).abs() / (ATOL * range + RTOL * expected.abs())
    });
    shares.fold(0.0, larger)
}

fn share_of_tensors(expected: &Tensor, found: &Tensor) -> f64 {
    match (expected.as_f32(), found.as_f32()) {
        (Some(expected), Some(found)) => share(expected, found),
        _ if expected.data() == found.data() => 0.0,
        _ => f64::INFINITY,
    }
}

/// `max` would pass over a NaN.
fn larger(worst: f64, share: f64) -> f64 {
    if share > worst || share.is_nan() { share } else { worst }
}

fn tensor(array: &Output) -> Result<Tensor, TensorError> {
    fn elements<T: Copy>(array: &ArrayD<T>) -> Arc<[T]> {
        array.iter().copied().collect()
    }
    let data = match array {
        Output::F32(a) => Data::F32(elements(a)),
        Output::I8(a) => Data::I8(elements(a)),
        Output::U8(a) => Data::U8(elements(a)),
        Output::I16(a) => Data::I16(elements(a)),
        Output::I32(a) => Data::I32(elements(a)),
        Output::I64(a) => Data::I64(elements(a)),
        Output::Bool(a) => Data::Bool(elements(a)),
    };
    Tensor::new(array.shape().to_vec(), data)
}
