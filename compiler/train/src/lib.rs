//! From a float network to a ternary one that still works.
//!
//! [`Repair`] is a pass that stands where `ternarise` does: it makes the same layers ternary, but so that they reproduce what the float
//! network computes on samples, which need no labels: first in closed form, layer by layer; then, where that is asked for, trained together.
//!
//! | module | owns |
//! |---|---|
//! | [`repair`] | the pass: which layer when, what is said of it |
//! | [`budget`] | which form each layer has, where size or accuracy has a limit |
//! | [`solution`] | what a layer becomes: planes, scales, bias |
//! | `fit` | one layer, from the values of both networks to its solution |
//! | [`samples`] | inputs by name, in batches; those that are held out |
//! | [`execute`] | what runs graphs on samples, handed in from outside |
//! | `activations` | the values of both networks, layer by layer |
//! | `rows`, `moments` | a layer as a product of matrices; the sums that are kept of them |
//! | `assign` | the ternary weight that is best for such sums |
//! | `damping` | how much a fit holds on to the weight that there is |
//! | `schedule`, `target` | the order of layers; what each is fitted to |
//! | [`finetune`], `trained` | all layers trained together; what is trained of each |
//! | [`train`], [`method`], `data` | training from weights that are kept, each step with what they are rounded to |
//! | [`journal`], `checkpoint` | a repair that is taken up again; work on disk |
//! | `parameters`, `random` | what is trained; numbers by a seed |
//! | `measure` | what a repair came to, on samples held out |
//! | [`augment`] | images changed, for both |
//! | [`gradient`], [`optimiser`], `loss` | what both learn by |
//! | `factor`, `part`, `parallel` | linear algebra; work on all processors |

#![forbid(unsafe_code)]

mod activations;
mod assign;
pub mod augment;
pub mod budget;
mod checkpoint;
mod damping;
mod data;
pub mod execute;
mod factor;
pub mod finetune;
mod fit;
pub mod gradient;
pub mod journal;
mod loss;
mod measure;
pub mod method;
mod moments;
pub mod optimiser;
mod parallel;
mod parameters;
mod part;
mod random;
pub mod repair;
mod rows;
pub mod samples;
mod schedule;
pub mod solution;
mod target;
pub mod train;
mod trained;

pub use augment::Augment;
pub use budget::{Frontier, Limits, Point, SizeLimit};
pub use data::Data;
pub use execute::{Execute, Prepared, Reference};
pub use finetune::{FineTune, Tuning};
pub use journal::{Due, Keeper};
pub use measure::{LayerAccuracy, OutputAccuracy, Summary};
pub use method::Method;
pub use repair::{Repair, RepairOptions};
pub use samples::Samples;
pub use solution::{Form, Plane, Solution};
pub use train::{Epoch, TrainError, TrainOptions, Trainer};

use thiserror::Error;
use twnc_ir::{PassError, TypeError};

/// Why a network is not repaired.
#[derive(Debug, Error)]
pub enum RepairError {
    /// The samples do not fit the network.
    #[error("{0}")]
    Samples(String),
    /// The values of all samples take too much memory.
    #[error(
        "the values of all samples need {needed} bytes at a time; the limit is {limit}. Give fewer samples, or a higher limit"
    )]
    Memory {
        /// In bytes.
        needed: usize,
        /// In bytes.
        limit: usize,
    },
    /// The sums over the rows of a layer take too much memory.
    #[error(
        "fitting `{layer}` needs {needed} bytes; the limit is {limit}. Keep this layer float, or give a higher limit"
    )]
    Sums {
        /// Which layer.
        layer: String,
        /// In bytes.
        needed: usize,
        /// In bytes.
        limit: usize,
    },
    /// A layer has an input or output that is not finite.
    #[error(
        "on these samples, `{0}` reads or computes numbers that are not finite; keep this layer float, or mend the network"
    )]
    NotFinite(String),
    /// A size that the samples do not decide.
    #[error("the size {0} does not follow from the samples; give it a value")]
    Open(String),
    /// The network cannot be fine-tuned.
    #[error("{0}")]
    Gradient(gradient::GradientError),
    /// A checkpoint cannot be taken up, or cannot be kept.
    #[error("{0}")]
    Checkpoint(String),
    /// Whoever keeps checkpoints wanted it to end.
    #[error("interrupted while {}, behind {done} of {all}", .stage.word())]
    Interrupted {
        /// What it was at.
        stage: repair::Stage,
        /// So many layers or steps were done.
        done: usize,
        /// Of so many.
        all: usize,
    },
    /// The network cannot be run.
    #[error("the network cannot be run on the samples: {0}")]
    Execute(String),
    /// A part of the graph does not type for the sizes of the samples.
    #[error("`{node}` does not fit the samples: {source}")]
    Type {
        /// Which node.
        node: String,
        /// Why.
        source: TypeError,
    },
    /// A value is not there: a mistake in this crate.
    #[error("value {0} was not computed: a mistake in the compiler")]
    Missing(String),
}

impl RepairError {
    /// As the error of a pass, at a layer or at the network.
    fn at(&self, node: &str) -> PassError {
        let (node, message) = (node.to_owned(), self.to_string());
        match self {
            RepairError::Memory { .. }
            | RepairError::Sums { .. }
            | RepairError::Gradient(gradient::GradientError::Memory { .. }) => {
                PassError::Limit { node, message }
            }
            RepairError::Interrupted { .. } => PassError::Interrupted { message },
            _ => PassError::Refused { node, message },
        }
    }
}
