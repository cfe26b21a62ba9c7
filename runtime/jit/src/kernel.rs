//! What all kernels have in common: slices in, disjoint units of work, slices out.
//!
//! A kernel is immutable. Its work is a number of *units*, each of which computes its own elements of the output from
//! the inputs alone, in an order of operations that no division of the units changes: any number of threads gives the
//! same bytes. [`Work`] hands out consecutive runs of units to whoever asks, so that any pool of threads can serve it
//! without a lock and without an allocation.

use crate::compile::Function;
use crate::error::JitError;
use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A cache line of scratch memory. Kernels state how many they need.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Line([u32; 16]);

/// Numbers in a [`Line`].
pub(crate) const LINE: usize = 16;

/// The lengths of everything that a kernel takes, in elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Of each input.
    pub inputs: Vec<usize>,
    /// Whether a residual, as long as the output, is added.
    pub residual: bool,
    /// Of the output.
    pub output: usize,
    /// Of the scratch memory that each thread brings, in lines. Its content on entry does not matter.
    pub scratch: usize,
}

/// Generated code for one step and its shapes.
pub trait Kernel: sealed::Execute + Send + Sync {
    /// What it takes.
    fn interface(&self) -> &Interface;

    /// How many passes over its work it makes; each must be finished before the next starts.
    fn phases(&self) -> usize {
        1
    }

    /// How many units of work a phase has.
    fn units(&self, phase: usize) -> usize;

    /// The functions that Cranelift made for it.
    fn functions(&self) -> Vec<Arc<Function>>;

    /// The family, the tile and what else was chosen, in a line.
    fn describe(&self) -> String;
}

pub(crate) mod sealed {
    use super::{Io, Line};
    use std::ops::Range;

    /// The part of a kernel that only this crate calls.
    pub trait Execute {
        /// Computes `units` of `phase`.
        ///
        /// # Safety
        /// The lengths of `io` and `scratch` are those of the kernel's interface, `units` are in range, and nobody else
        /// has access to the output elements of these units meanwhile.
        unsafe fn execute(&self, phase: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]);
    }
}

/// Inputs and output of a run.
pub struct Io<'a> {
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) residual: Option<&'a [f32]>,
    output: *mut f32,
    len: usize,
    exclusive: PhantomData<&'a mut [f32]>,
}

// SAFETY: `output` stands for a `&mut [f32]`, which is Send; shared use goes through `Io::output`, whose callers
// promise disjoint ranges.
unsafe impl Send for Io<'_> {}
// SAFETY: as above.
unsafe impl Sync for Io<'_> {}

impl Io<'_> {
    /// A part of the output.
    ///
    /// # Safety
    /// While the result lives nobody else accesses these elements.
    #[allow(clippy::mut_from_ref)] // Disjointness is the caller's promise.
    pub(crate) unsafe fn output(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a unit stays inside the output");
        // SAFETY: in bounds of the exclusive borrow that `self` holds (asserted); not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.output.add(range.start), range.len()) }
    }
}

/// A phase of a kernel over given slices, to be shared by threads.
pub struct Work<'a> {
    kernel: &'a dyn Kernel,
    phase: usize,
    io: Io<'a>,
    parts: usize,
    next: AtomicUsize,
}

impl<'a> Work<'a> {
    /// Divides `phase` of `kernel` into `parts` (0 counts as 1), for that many calls of [`Work::run_next`].
    ///
    /// # Errors
    /// [`JitError::Length`] for a slice whose length is not that of the kernel's interface.
    pub fn new(
        kernel: &'a dyn Kernel,
        phase: usize,
        inputs: &'a [&'a [f32]],
        residual: Option<&'a [f32]>,
        output: &'a mut [f32],
        parts: usize,
    ) -> Result<Work<'a>, JitError> {
        let interface = kernel.interface();
        let same = |what, got, want| {
            if got == want { Ok(()) } else { Err(JitError::Length { what, got, want }) }
        };
        same("the list of inputs", inputs.len(), interface.inputs.len())?;
        for (input, &want) in inputs.iter().zip(&interface.inputs) {
            same("an input", input.len(), want)?;
        }
        let residual_length = if interface.residual { interface.output } else { 0 };
        same("the residual", residual.map_or(0, <[f32]>::len), residual_length)?;
        same("the output", output.len(), interface.output)?;
        if phase >= kernel.phases() {
            return Err(JitError::Length { what: "the list of phases", got: phase, want: kernel.phases() });
        }
        let io =
            Io { inputs, residual, output: output.as_mut_ptr(), len: output.len(), exclusive: PhantomData };
        Ok(Work { kernel, phase, io, parts: parts.max(1), next: AtomicUsize::new(0) })
    }

    /// Computes the next part, or answers `false` if none is left. The phase is finished when every call has returned.
    ///
    /// # Errors
    /// [`JitError::Length`] if there is too little scratch.
    pub fn run_next(&self, scratch: &mut [Line]) -> Result<bool, JitError> {
        let want = self.kernel.interface().scratch;
        let Some(scratch) = scratch.get_mut(..want) else {
            return Err(JitError::Length { what: "the scratch memory", got: scratch.len(), want });
        };
        let part = self.next.fetch_add(1, Ordering::Relaxed);
        if part >= self.parts {
            // Keeps the counter from ever wrapping around to a part that was handed out.
            self.next.store(self.parts, Ordering::Relaxed);
            return Ok(false);
        }
        let units = self.kernel.units(self.phase);
        // In 128 bits: the product may be larger than the address space.
        let bound = |i: usize| (units as u128 * i as u128 / self.parts as u128) as usize;
        let range = bound(part)..bound(part + 1);
        if !range.is_empty() {
            // SAFETY: lengths were checked in `new` and above; each part is handed out once, and its units are its own.
            unsafe { self.kernel.execute(self.phase, range, &self.io, scratch) };
        }
        Ok(true)
    }
}

/// Runs all of a kernel on the calling thread.
///
/// # Errors
/// [`JitError::Length`], as [`Work::new`] and [`Work::run_next`].
pub fn run(
    kernel: &dyn Kernel,
    inputs: &[&[f32]],
    residual: Option<&[f32]>,
    output: &mut [f32],
    scratch: &mut [Line],
) -> Result<(), JitError> {
    for phase in 0..kernel.phases() {
        Work::new(kernel, phase, inputs, residual, output, 1)?.run_next(scratch)?;
    }
    Ok(())
}
