//! Layers that stay float: convolutions and products of matrices.
//!
//! Both are products of matrices by generated tiles (`product`), which allocate nothing. What the steps define after the sum (bias, residual, activation) is applied as for ternary layers. The
//! division into units does not depend on the number of threads, so that results do not either.

mod conv;
mod matmul;
pub(crate) mod product;
mod unfold;
#[cfg(all(target_arch = "x86_64", unix))]
mod wide;

pub use conv::{ConvKernel, ConvSpec};
pub use matmul::{MatMulKernel, MatMulSpec};

use crate::kernel::Io;
use std::sync::Arc;

/// Where the elements of an operand come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The kernel's input of this number.
    Input(usize),
    /// A constant.
    Constant(Arc<[f32]>),
}

impl Source {
    /// The elements in a run.
    pub(crate) fn elements<'a>(&'a self, io: &Io<'a>) -> &'a [f32] {
        match self {
            Source::Input(number) => io.f32(*number),
            Source::Constant(elements) => elements,
        }
    }
}
