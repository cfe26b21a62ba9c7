//! Reverse-mode differentiation of a graph: what training and fine-tuning stand on.
//!
//! A [`Network`] is a graph with fixed sizes, made ready to be run forward and backward many times on buffers of its own. It works in f32
//! and agrees with the reference evaluator within float reassociation. Operators on the way from a parameter to an output need a
//! derivative (`operator`); everything else may be whatever the reference evaluator runs. Layers know nothing of ternary weights: whoever
//! trains puts `αT` in the place of a parameter and takes the gradient by it.
//!
//! Work is divided into pieces whose number depends on sizes alone, and sums over pieces are taken in order: so results are the same on any
//! number of processors.
//!
//! | module | owns |
//! |---|---|
//! | `network` | buffers, steps, forward and backward; `network::build`, what makes them of a graph |
//! | `bind` | a graph with its sizes fixed |
//! | `operator` | which operator computes what a node says, and which have no derivative |
//! | `conv`, `window`, `product` | convolutions, their windows, products of matrices |
//! | `depthwise`, `phases` | convolutions of single channels, and the runs that a plane is cut into for them |
//! | `vectors` | loops over runs of numbers, for the processor's vectors |
//! | `elementwise`, `normalise`, `pools`, `reduce`, `moves` | the other families |

pub mod bind;
mod conv;
mod depthwise;
mod elementwise;
mod moves;
pub mod network;
mod normalise;
mod operator;
mod phases;
mod pools;
mod product;
mod reduce;
pub(crate) mod vectors;
mod window;

pub use network::{Mode, Network};
pub(crate) use vectors::add;

use thiserror::Error;

/// Why a graph is not differentiated.
#[derive(Debug, Error)]
pub enum GradientError {
    /// Operators without a derivative stand between a parameter and an output: all of them.
    #[error("there is no derivative of {}", .0.join(", "))]
    NoDerivative(Vec<String>),
    /// Too much memory.
    #[error(
        "the network's values take {needed} bytes for each batch; the limit is {limit}. Give a smaller batch, or a higher limit"
    )]
    Memory {
        /// In bytes.
        needed: usize,
        /// In bytes.
        limit: usize,
    },
    /// A size that is still open.
    #[error("the size {0} does not follow from the inputs; give it a value")]
    Open(String),
    /// The graph does not hold together for these sizes, or is not run.
    #[error("`{node}`: {reason}")]
    Node {
        /// Which node.
        node: String,
        /// What is wrong.
        reason: String,
    },
}

impl GradientError {
    pub(crate) fn node(node: &str, reason: impl ToString) -> GradientError {
        GradientError::Node { node: node.to_owned(), reason: reason.to_string() }
    }
}
