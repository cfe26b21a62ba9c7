//! ONNX files to graphs, and graphs to ONNX files.
//!
//! [`import_file`] and [`import_bytes`] read a model of opset 7 or newer into a [`twnc_ir::Graph`]; [`export`](export::export)
//! writes one. The graph mirrors mathematics and not ONNX: what [`operators`] lists is translated into the closed set of
//! [`twnc_ir::Op`], and what is not is reported, all of it at once. `docs/operators.md` holds the same list with its limits.
//!
//! | module | owns |
//! |---|---|
//! | [`proto`] | the messages of the file format |
//! | [`tensor`], [`external`] | constants, in the file and beside it |
//! | [`import`] | the way from a file to a graph |
//! | [`export`](mod@export) | the way back |
//! | [`error`] | what can be wrong |
//!
//! Whatever bytes come in, the result is a graph or an error: sizes are checked before anything is allocated for them, and
//! no path leaves the model's folder.

#![forbid(unsafe_code)]

pub mod error;
pub mod export;
pub mod external;
pub mod import;
pub mod proto;
pub mod tensor;

pub use error::{ImportProblem, NodeProblem, OnnxError, Setting, TensorProblem};
pub use export::{TernaryFormat, export, export_as};
pub use import::{
    Arrival, Import, ImportOptions, Operator, ShapeOverride, import_bytes, import_file, operators,
};
