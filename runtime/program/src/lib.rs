//! The executable form of a compiled ternary network.
//!
//! A [`Program`] is a list of [`Step`]s over numbered logical buffers whose shapes may hold named, still open
//! dimensions. It knows no ONNX, no compiler pass and no machine: the runtime plans layouts and addresses when it is
//! loaded and its shapes are known. The crate owns
//!
//! * the data structures ([`program`], [`step`], [`scalar`], [`dim`], [`constant`]),
//! * their validation, once on load (`validate`) and once per set of concrete shapes (`resolve`),
//! * the interpreter (`interpret`): slow, plain and safe; the oracle of the generated code and its fallback,
//! * the count of what it computes ([`operations`]),
//! * `model.bin` (`format`): reader and writer; `docs/model-bin.md` is its specification.
//!
//! It depends on no other crate of the project, and holds no unsafe code.

#![forbid(unsafe_code)]

pub mod constant;
pub mod dim;
pub mod element;
pub mod error;
pub mod format;
pub mod interpret;
pub mod operations;
pub mod program;
pub mod resolve;
pub mod scalar;
pub mod step;
mod validate;
pub mod window;

pub use constant::{Constant, ConstantData, Trits};
pub use dim::{Bindings, Dim, DimError};
pub use element::ElementType;
pub use error::ProgramError;
pub use format::FormatError;
pub use operations::Operations;
pub use program::{Buffer, BufferId, ConstantId, Port, Program, SymbolId};
pub use resolve::{Shapes, element_count};
pub use step::{Operand, Step, StepKind};
pub use window::Window;

/// The largest rank of any buffer or constant. Loops over axes keep their state in arrays of this size.
pub const MAX_RANK: usize = 8;
/// The largest number of inputs of a map.
pub const MAX_MAP_INPUTS: usize = 16;

/// The largest number of values (inputs and instructions) in the expression of a map.
pub const MAX_MAP_VALUES: usize = 64;

/// The largest number of nodes in the expression of a dimension.
pub const MAX_DIM_NODES: usize = 1024;

/// The largest number in a window (kernel, stride, dilation, padding), and the largest number of its taps.
pub const MAX_WINDOW: usize = i32::MAX as usize;
