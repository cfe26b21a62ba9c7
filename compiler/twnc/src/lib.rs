//! The ternary neural network compiler as a library: from an ONNX file to a program.
//!
//! ```no_run
//! use twnc::Compiler;
//!
//! let compiled = Compiler::builder().build()?.compile_file("model.onnx")?;
//! compiled.program.write_file("model.bin".as_ref())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Compiler::builder`] takes the options of the command, custom operators, a cost model, and passes of one's own in their place. What
//! the compiler decided not to do is in [`Compiled::remarks`]. The command `twnc` is [`command`],
//! which an application can execute on what it holds in memory.

#![forbid(unsafe_code)]

pub mod arrays;
mod calibrate;
pub mod command;
mod compiler;
mod execute;
pub mod synthetic;

pub use calibrate::{CalibrationError, Calibrator};
pub use compiler::{CompileError, Compiled, Compiler, CompilerBuilder};
pub use execute::samples;
pub use twnc_train::gradient::GradientError;
pub use twnc_train::optimiser::{Rule, Schedule};
pub use twnc_train::repair::Stage;
pub use twnc_train::{
    Augment, Data, Due, Epoch, FineTune, Form, Frontier, Keeper, LayerAccuracy, Limits, Method,
    OutputAccuracy, Point, RepairOptions, Samples, SizeLimit, Summary, TrainError, TrainOptions, Trainer,
    Tuning,
};
