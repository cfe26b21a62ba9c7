//! Graphs to programs: step selection and fusion.
//!
//! [`lower`] walks a graph in order and turns each node into a step, or into part of one:
//!
//! * a `conv` or `matmul`, or a sum of ternary ones, takes along the scales, bias, residual and activation that follow;
//! * element-wise nodes that feed only one another become one `map` (`map`);
//! * everything else is a step of its own (`select`).
//!
//! Which nodes that are is found by [`twnc_ir::steps`], by which costs are counted too.
//!
//! A step stands where the last of its nodes stood, so that all its operands are there. Lowering is exact: a step computes
//! what its nodes do, in their order of operations. The crate decides nothing about layouts, kernels or memory.

#![forbid(unsafe_code)]

mod builder;
mod map;
mod select;

use std::collections::{HashMap, HashSet};
use thiserror::Error;
use twnc_ir::steps::{Layer, Steps};
use twnc_ir::{Cycle, Graph, NodeId, ValueId};
use twnc_program::Program;

/// Why a graph has no program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LowerError {
    /// The graph is not valid.
    #[error(transparent)]
    Cycle(#[from] Cycle),
    /// An input's size is an expression, so that no input could bind its symbols.
    #[error("input `{input}` has the dimension {dimension}; give it a number or one name")]
    InputDimension {
        /// The input.
        input: String,
        /// The dimension.
        dimension: String,
    },
    /// A size depends on a symbol that no input has.
    #[error("`{node}` has a size that depends on {symbol}, which no input binds; give it a value")]
    UnboundSymbol {
        /// The layer.
        node: String,
        /// The symbol.
        symbol: String,
    },
    /// A value has more axes than a program's buffers can.
    #[error("`{node}` has {rank} axes; at most {} are supported", twnc_program::MAX_RANK)]
    Rank {
        /// The layer.
        node: String,
        /// How many.
        rank: usize,
    },
    /// A convolution by a weight whose spatial extents are open.
    #[error("`{node}` has a kernel of open size; give its weight fixed sizes")]
    Kernel {
        /// The layer.
        node: String,
    },
    /// A convolution or pool beyond what a program's windows can be.
    #[error(
        "`{node}` has a kernel, stride, dilation or padding over {}, or as many taps; make it smaller",
        twnc_program::MAX_WINDOW
    )]
    Window {
        /// The layer.
        node: String,
    },
    /// A node that the verifier should have refused.
    #[error("`{node}` cannot be lowered: {reason}")]
    Invalid {
        /// The layer.
        node: String,
        /// Why.
        reason: &'static str,
    },
}

/// The program that computes what `graph` does.
pub fn lower(graph: &Graph) -> Result<Program, LowerError> {
    let order = graph.order()?;
    let Steps { layers, inlined } = Steps::of(graph, &order);
    let ending: HashMap<NodeId, &Layer<NodeId, ValueId>> =
        layers.iter().filter_map(|layer| Some((*layer.nodes.last()?, layer))).collect();
    let held: HashSet<NodeId> = layers.iter().flat_map(|layer| layer.nodes.iter().copied()).collect();
    let mut build = builder::ProgramBuilder::new(graph)?;
    for &id in &order {
        if let Some(layer) = ending.get(&id) {
            select::layer(&mut build, layer)?;
        } else if !held.contains(&id) && !inlined.contains(&id) {
            select::node(&mut build, &inlined, id)?;
        }
    }
    build.finish()
}
