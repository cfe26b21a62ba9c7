//! Steps with concrete shapes to machine code.
//!
//! A [`Jit`] turns one step of a [`twnc_program::Program`], its concrete shapes and its constants into a [`Kernel`] for
//! the processor that it runs on: accumulations of ternary weights ([`accumulate`]), which only add and subtract; element-wise
//! maps ([`map`]); pools ([`pool`]); [`softmax`]; transposes ([`movement`]); layers that stay float ([`float`]).
//! Kernels are immutable, `Send` and `Sync`; running one allocates nothing and takes its scratch memory from the caller.
//! Where there is no kernel for a step, or no executable memory at all, the error says so and the interpreter of
//! `twnc-program` does the work.
//!
//! Nearly all unsafe code of the project is here: sealing memory that holds code, calling that code, and handing
//! disjoint parts of an output to threads.

#![cfg_attr(
    not(all(target_arch = "x86_64", unix)),
    allow(dead_code, reason = "descriptions of functions say what only the emitters for x86-64 ask for")
)]

pub mod accumulate;
pub mod arena;
#[cfg(all(target_arch = "x86_64", unix))]
mod assemble;
pub mod audit;
mod clock;
mod compile;
mod elementwise;
pub mod epilogue;
pub mod error;
#[cfg(test)]
mod families;
mod finish;
pub mod float;
mod geometry;
pub mod kernel;
mod loops;
mod machine;
pub mod map;
mod measure;
pub mod movement;
mod number;
pub mod pool;
pub mod quantize;
pub mod softmax;
pub mod threads;
mod transpose;

pub use accumulate::{
    AccumulateKernel, AccumulateSpec, Counts, IntegerRange, Layout, PlaneSpec, PooledKernel,
};
pub use audit::Audit;
pub use compile::Function;
pub use epilogue::{Before, Epilogue};
pub use error::JitError;
pub use float::{ConvKernel, ConvSpec, MatMulKernel, MatMulSpec, Source};
pub use kernel::{Interface, Kernel, Line, Slot, run};
pub use machine::Isa;
pub use map::{MapKernel, MapSpec};
pub use measure::Measured;
pub use movement::TransposeKernel;
pub use pool::{PoolKernel, PoolSpec};
pub use quantize::QuantizeKernel;
pub use softmax::SoftmaxKernel;
pub use threads::Threads;

/// Generates kernels for this machine. One per process is enough: layers share functions.
pub struct Jit {
    compiler: compile::Compiler,
    isa: Isa,
}

impl Jit {
    /// A generator of `isa` code.
    ///
    /// # Errors
    /// [`JitError::Machine`] if this machine cannot run such code; [`JitError::Executable`] if memory cannot be made
    /// executable.
    pub fn new(isa: Isa) -> Result<Jit, JitError> {
        if !isa.is_available() {
            return Err(JitError::Machine(format!("this processor does not run {} code", isa.name())));
        }
        if cfg!(target_endian = "big") {
            return Err(JitError::Machine("streams of lookups are little-endian".into()));
        }
        arena::CodeArena::seal(&[])?;
        Ok(Jit { compiler: compile::Compiler::new()?, isa })
    }

    /// The kind of code.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}
