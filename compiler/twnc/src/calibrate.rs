//! Constant scales of whole numbers: what `fix_point` leaves to be found for each sample, found once on samples that are given.
//!
//! A value's scale becomes the largest that any sample had in the network that is calibrated, in which the values before it are whole
//! numbers already; so no number of these samples is clipped. Numbers beyond are, in samples that reach further.

use crate::compiler::{CompileError, Compiled};
use thiserror::Error;
use twnc_ir::{NodeId, Op, Quantize, Rewriter, TypeError};
use twnc_program::StepKind;
use twnc_program::interpret::{Functions, View};
use twnc_runtime::{Input, Module, Session, SessionOptions};

/// Collects the scales that samples have, then makes them constants.
///
/// ```no_run
/// # let (compiled, samples): (twnc::Compiled, Vec<ndarray::ArrayD<f32>>) = unreachable!();
/// let mut calibrator = twnc::Calibrator::new(&compiled)?;
/// for sample in &samples {
///     calibrator.add(&[("image", sample.view())])?;
/// }
/// let compiled = calibrator.apply(compiled)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Calibrator {
    session: Session,
    /// By the number of the quantising step: its name, and the largest scale.
    scales: Vec<(String, f32)>,
}

/// Why there are no constant scales.
#[derive(Debug, Error)]
pub enum CalibrationError {
    /// The network has no whole numbers whose scale could be constant.
    #[error(
        "no layer of the network sums whole numbers, so there is no scale to calibrate; and none is made ternary, so there is nothing to repair"
    )]
    Nothing,
    /// The samples do not fit the network, or it cannot be run.
    #[error(transparent)]
    Run(#[from] twnc_runtime::Error),
    /// With constant scales it does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The graph and the program do not correspond: a mistake in the compiler.
    #[error("`{0}` of the program is not in the graph")]
    Mismatch(String),
    /// The graph does not take a constant scale: a mistake in the compiler.
    #[error(transparent)]
    Type(#[from] TypeError),
}

impl Calibrator {
    /// For a network that was compiled with whole numbers and has no custom functions.
    pub fn new(compiled: &Compiled) -> Result<Calibrator, CalibrationError> {
        let steps = compiled.program.steps.iter();
        let quantising = steps.filter(|step| matches!(step.kind, StepKind::Quantize(_)));
        let scales: Vec<(String, f32)> = quantising.map(|step| (step.name.clone(), 0.0)).collect();
        if scales.is_empty() {
            return Err(CalibrationError::Nothing);
        }
        let module = Module::new(compiled.program.clone(), Functions::default())?;
        Ok(Calibrator { session: module.session(SessionOptions::default())?, scales })
    }

    /// Runs the network on named inputs: a sample, or a batch of them.
    pub fn add<'a, I: Into<Input<'a>> + Clone>(
        &mut self,
        inputs: &[(&str, I)],
    ) -> Result<(), CalibrationError> {
        let scales = &mut self.scales;
        let mut next = 0;
        self.session.observe(inputs, &mut |step, _, view| {
            // A quantising step writes integers and scales.
            if let (StepKind::Quantize(_), View::F32(found)) = (&step.kind, view) {
                if let Some((_, largest)) = scales.get_mut(next) {
                    *largest = found.iter().copied().fold(*largest, f32::max);
                }
                next += 1;
            }
        })?;
        Ok(())
    }

    /// The network with constant scales. A value that was 0 in all samples keeps a scale for each sample.
    pub fn apply(self, mut compiled: Compiled) -> Result<Compiled, CalibrationError> {
        let graph = &compiled.graph;
        let quantising = |id: &NodeId| matches!(graph.node(*id).op, Op::Quantize(_));
        let mut nodes: Vec<NodeId> =
            graph.order().unwrap_or_default().into_iter().filter(quantising).collect();
        let mut rewriter = Rewriter::new(&mut compiled.graph);
        for (name, scale) in self.scales {
            // Of several nodes of one name, each is the next one's in the order of the program, which is that of the graph.
            let named = |id: &NodeId| rewriter.graph().node_name(*id) == name;
            let Some(found) = nodes.iter().position(named) else {
                return Err(CalibrationError::Mismatch(name));
            };
            let node = rewriter.graph().node(nodes.remove(found)).clone();
            let (Op::Quantize(quantize), &[numbers, scales]) = (&node.op, node.results.as_slice()) else {
                continue;
            };
            if !scale.is_normal() || quantize.scale.is_some() {
                continue;
            }
            let op = Op::Quantize(Quantize { scale: Some(scale), ..*quantize });
            let results = rewriter.insert_all(op, &node.operands, &node.name)?;
            rewriter.replace(numbers, results[0], "its scale is constant")?;
            rewriter.replace(scales, results[1], "it is constant")?;
        }
        rewriter.remove_dead("its scale is constant");
        drop(rewriter.finish());
        let program = twnc_lower::lower(&compiled.graph).map_err(CompileError::from)?;
        program.validate().map_err(CompileError::from)?;
        Ok(Compiled { program, ..compiled })
    }
}
