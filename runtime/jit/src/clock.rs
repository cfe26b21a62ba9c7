//! The clock of the processor, to turn estimates in cycles into times. A time-stamp counter may tick at another rate.

use crate::Jit;
use crate::compile::Code;
use crate::error::JitError;
use crate::loops::count;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use std::time::Instant;

/// Additions of a turn, each of which needs the one before: a cycle each.
const CHAIN: usize = 64;
const TURNS: usize = 8192;

/// `chain(turns)`
#[derive(Debug)]
struct Chain;

type ChainFunction = unsafe extern "C" fn(usize);

impl Code for Chain {
    fn parameters(&self) -> usize {
        1
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[turns] = arguments else { return };
        count(b, turns, &[turns, turns], |b, state| {
            let sum = (0..CHAIN).fold(state[0], |sum, _| b.ins().iadd(sum, state[1]));
            vec![sum, state[1]]
        });
    }
}

impl Jit {
    /// Cycles per second that the calling thread gets now, by a chain of dependent additions; the best of a few tries, since
    /// others use the machine too.
    ///
    /// # Errors
    /// As [`Jit::new`], and if the clock of the system stands still.
    pub fn cycles_per_second(&self) -> Result<f64, JitError> {
        let function = self.compiler.function(&Chain)?;
        // SAFETY: the function was emitted for exactly this type; `entry()` is its start.
        let chain = unsafe { std::mem::transmute::<*const u8, ChainFunction>(function.entry()) };
        let time = |_| {
            let start = Instant::now();
            // SAFETY: it touches no memory.
            unsafe { chain(TURNS) };
            start.elapsed().as_secs_f64()
        };
        let best = (0..8).map(time).fold(f64::INFINITY, f64::min);
        match best > 0.0 {
            true => Ok((CHAIN * TURNS) as f64 / best),
            false => Err(JitError::Machine("its clock stands still".into())),
        }
    }
}
