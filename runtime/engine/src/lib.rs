//! Loads a compiled model, plans its memory, runs it: what an application links.
//!
//! ```no_run
//! use ndarray::Array4;
//! use twnc_runtime::{Module, SessionOptions};
//!
//! let module = Module::open("model.bin")?;
//! let session = module.session(SessionOptions::default().threads(2))?;
//! let image = Array4::<f32>::zeros((1, 1, 28, 28));
//! for (name, output) in session.run(&[("image", image.view())])? {
//!     println!("{name}: {:?}", output.shape());
//! }
//! # Ok::<(), twnc_runtime::Error>(())
//! ```
//!
//! A [`Module`] is a validated program with the plans made for it, one for each set of input shapes (kept, up to a bound); a [`Session`] runs it, with
//! memory of its own. Both are `Send + Sync`. The crate depends on no part of the compiler.

#![forbid(unsafe_code)]

mod array;
mod backend;
mod bind;
mod error;
mod liveness;
mod memory;
mod module;
mod plan;
mod plans;
mod session;
mod tune;
mod tuning;
mod views;

pub use array::{Element, Input, Output, OutputMut};
pub use backend::Backend;
pub use error::Error;
pub use module::{Module, PortInfo, Size};
pub use plan::PlanReport;
pub use session::{Session, SessionOptions};
pub use tune::{Tuned, TunedStep};
pub use tuning::{Tuning, TuningError};
pub use twnc_jit::{Audit, Function, Isa, JitError};
pub use twnc_program::interpret::{CustomFunction, Functions, RunError};
pub use twnc_program::{ElementType, FormatError};
