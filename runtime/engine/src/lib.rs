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
//! A [`Module`] is a validated program; a [`Session`] runs it, with a plan for each set of input shapes that it meets (kept, up to a
//! bound). Both are `Send + Sync`. The crate depends on no part of the compiler.

#![forbid(unsafe_code)]

mod array;
mod code;
mod error;
mod liveness;
mod module;
mod plan;
mod session;

pub use array::{Element, Input, Output, OutputMut};
pub use error::Error;
pub use module::{Module, PortInfo, Size};
pub use session::{Isa, Session, SessionOptions};
pub use twnc_jit::{Audit, Function};
pub use twnc_program::ElementType;
pub use twnc_program::interpret::{CustomFunction, Functions};
