//! What runs a graph on samples: handed in by whoever has something fast.
//!
//! This crate knows graphs and no runtime. The compiler hands in generated code; [`Reference`] is the reference evaluator, which is
//! exact and slow.

use std::collections::BTreeMap;
use twnc_ir::{Graph, Tensor, evaluate};

/// A graph, ready to be run on tensors in the order of its inputs; gives those of its outputs, in order. The message says what is wrong.
pub type Prepared<'a> = Box<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>, String> + Send + Sync + 'a>;

/// Prepares graphs to be run.
pub trait Execute: Send + Sync {
    /// Prepares a graph whose sizes are all fixed. The message says why there is nothing that runs it.
    fn prepare(&self, graph: Graph) -> Result<Prepared<'_>, String>;
}

/// Runs graphs by the reference evaluator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Execute for Reference {
    fn prepare(&self, graph: Graph) -> Result<Prepared<'_>, String> {
        Ok(Box::new(move |inputs: &[Tensor]| {
            let names = graph.inputs().iter().map(|port| port.name.clone());
            let inputs: BTreeMap<String, Tensor> = names.zip(inputs.iter().cloned()).collect();
            let mut outputs = evaluate(&graph, &inputs).map_err(|e| e.to_string())?;
            let ports = graph.outputs().iter();
            ports.map(|port| outputs.remove(&port.name).ok_or_else(|| port.name.clone())).collect()
        }))
    }
}
