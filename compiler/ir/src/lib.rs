//! The graph of a network, its text form, verifier, rewriter, passes and reference evaluator.
//!
//! A [`Graph`] is tensors and mathematics: what passes rewrite. It knows no buffer, no layout, no instruction, and no ONNX.
//! Everything a custom pass needs is here; the crate depends on no other crate of the project.
//!
//! | module | owns |
//! |---|---|
//! | [`graph`] | nodes, values and their ids, and the builder |
//! | [`op`] | the operators and their exact meanings |
//! | [`dim`], [`types`], [`tensor`] | sizes that may be open, tensor types, constants |
//! | [`infer`](mod@infer) | shape inference |
//! | [`rewrite`] | the one way to change a graph |
//! | [`custom`] | operators that extensions bring |
//! | [`pass`], [`pipeline`] | what a pass is; ordered lists of passes and how they are run |
//! | [`layer`] | products with constant weights and where their output channels lie; scales and biases |
//! | [`cost`], [`steps`] | what operators cost, counted; which of them are one step |
//! | [`eval`] | the reference evaluator |
//! | [`text`], [`verify`], [`dot`] | the text form, printed and parsed; the verifier; a drawing |

#![forbid(unsafe_code)]

pub mod cost;
pub mod custom;
pub mod dim;
pub mod dot;
pub mod eval;
pub mod graph;
pub mod infer;
pub mod layer;
pub mod op;
pub mod parts;
pub mod pass;
pub mod pipeline;
pub mod rewrite;
pub mod steps;
pub mod tensor;
pub mod text;
pub mod types;
pub mod verify;

pub use cost::{Cost, CostModel, CountingCost, OperandInfo, node_cost};
pub use custom::{Attribute, Attributes, CustomCall, CustomOperator, CustomRegistry};
pub use dim::Dim;
pub use eval::{EvalError, evaluate};
pub use graph::{Cycle, Definition, Graph, GraphBuilder, Node, NodeId, Port, Use, Value, ValueId};
pub use infer::{TypeError, infer};
pub use layer::{Layer, PerChannel};
pub use op::{Binary, Combine, Conv, Geometry, Op, Pad, PadMode, Pool, Quantize, ReduceKind, Slice, Unary};
pub use pass::{Pass, PassContext, PassError, Remark, RemarkKind, Topic};
pub use pipeline::{Entry, Pipeline, PipelineError, PrintAfter, RunOptions, Timing};
pub use rewrite::{Changed, Edit, Rewriter};
pub use steps::Flow;
pub use tensor::{Data, Tensor, TensorError};
pub use types::{ElementType, TensorType};
