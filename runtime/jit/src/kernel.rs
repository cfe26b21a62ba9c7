//! What all kernels have in common: slices in, disjoint units of work, slices out.
//!
//! A kernel is immutable. Its work is a number of *units*, each of which computes its own elements of the output from
//! the inputs alone, in an order of operations that no division of the units changes: any number of threads gives the
//! same bytes. [`run`] hands out shares, consecutive runs of units, without a lock and without an allocation. Each thread first does a share
//! of its own, the same share of every kernel, so that most of what it reads is in its own caches; then those of threads that are late.
//! A share is not divided further: parts of it would pack and build again what they have in common.

use crate::accumulate::Layout;
use crate::compile::Function;
use crate::error::JitError;
use crate::number::Number;
use crate::threads::Threads;
use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use twnc_program::ElementType;
use twnc_program::interpret::{View, ViewMut};

/// A cache line of scratch memory. Kernels state how many they need.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Line([u32; 16]);

/// Numbers of f32 in a [`Line`].
pub(crate) const LINE: usize = 16;

/// Asks for the cache line at an address, which need not be one that is mapped.
pub(crate) fn fetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Lines that hold so many numbers.
pub(crate) fn lines<T>(numbers: usize) -> usize {
    (numbers * size_of::<T>()).div_ceil(size_of::<Line>())
}

/// A slice that a kernel takes: the type and number of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What an element is.
    pub element: ElementType,
    /// How many.
    pub len: usize,
}

impl Slot {
    /// So many f32.
    pub fn f32(len: usize) -> Slot {
        Slot { element: ElementType::F32, len }
    }

    /// As many f32 as a tensor of this shape has.
    ///
    /// # Errors
    /// [`JitError::Shape`] if these are too many to address.
    pub fn of_shape(shape: &[usize]) -> Result<Slot, JitError> {
        let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let fits = elements.filter(|&n| n < 1 << 40);
        fits.map(Slot::f32).ok_or_else(|| JitError::Shape(format!("a tensor of shape {shape:?}")))
    }
}

/// Everything that a kernel takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// What it reads.
    pub inputs: Vec<Slot>,
    /// Those of the inputs, by number, that are not dense, and how they lie.
    pub layouts: Vec<(usize, Arc<Layout>)>,
    /// Whether a residual, as long as the first output, is added.
    pub residual: bool,
    /// What it writes: one or two.
    pub outputs: Vec<Slot>,
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

    /// The functions that it calls, but for common epilogues.
    fn functions(&self) -> Vec<Arc<Function>>;

    /// The family, the tile and what else was chosen, in a line.
    fn describe(&self) -> String;

    /// What a run should take on one thread, in cycles of the processor; nothing where no model says.
    fn estimate(&self) -> Option<f64> {
        None
    }
}

pub(crate) mod sealed {
    use super::{Io, Line};
    use std::ops::Range;

    /// The part of a kernel that only this crate calls.
    pub trait Execute {
        /// Is called once, before the first phase.
        fn prepare(&self, _: &Io<'_>) {}

        /// Computes `units` of `phase`.
        ///
        /// # Safety
        /// The lengths of `io` and `scratch` are those of the kernel's interface, `units` are in range, and nobody else
        /// has access to the output elements of these units meanwhile.
        unsafe fn execute(&self, phase: usize, units: Range<usize>, io: &Io<'_>, scratch: &mut [Line]);
    }
}

/// The most outputs that a kernel has.
const MAX_OUTPUTS: usize = 2;

/// Inputs and outputs of a run.
pub struct Io<'a> {
    pub(crate) inputs: &'a [View<'a>],
    pub(crate) residual: Option<&'a [f32]>,
    outputs: [Target; MAX_OUTPUTS],
    exclusive: PhantomData<&'a mut [u8]>,
}

/// Where an output is.
#[derive(Clone, Copy)]
struct Target {
    start: *mut u8,
    slot: Slot,
}

// SAFETY: `outputs` stand for slices borrowed exclusively, which are Send; shared use goes through `Io::output_of`,
// `Io::written` and `Io::output_start`, whose callers promise that nobody else writes there.
unsafe impl Send for Io<'_> {}
// SAFETY: as above.
unsafe impl Sync for Io<'_> {}

impl<'a> Io<'a> {
    /// Slices that fit an interface.
    fn new(
        interface: &Interface,
        inputs: &'a [View<'a>],
        residual: Option<&'a [f32]>,
        outputs: &'a mut [ViewMut<'_>],
    ) -> Result<Io<'a>, JitError> {
        let fits = |what, element: ElementType, slot: &Slot| match element == slot.element {
            true => Ok(()),
            false => Err(JitError::Element { what, got: element, want: slot.element }),
        };
        let same = |what, got, want| {
            if got == want { Ok(()) } else { Err(JitError::Length { what, got, want }) }
        };
        same("the list of inputs", inputs.len(), interface.inputs.len())?;
        for (input, slot) in inputs.iter().zip(&interface.inputs) {
            fits("an input", input.element(), slot)?;
            same("an input", input.len(), slot.len)?;
        }
        let first = interface.outputs.first().map_or(0, |slot| slot.len);
        same("the residual", residual.map_or(0, <[f32]>::len), if interface.residual { first } else { 0 })?;
        same("the list of outputs", outputs.len(), interface.outputs.len().min(MAX_OUTPUTS))?;
        let nothing = Target { start: std::ptr::null_mut(), slot: Slot::f32(0) };
        let mut targets = [nothing; MAX_OUTPUTS];
        for ((output, &slot), target) in outputs.iter_mut().zip(&interface.outputs).zip(&mut targets) {
            fits("an output", output.element(), &slot)?;
            same("an output", output.len(), slot.len)?;
            *target = Target { start: start_of(output), slot };
        }
        Ok(Io { inputs, residual, outputs: targets, exclusive: PhantomData })
    }

    /// The same inputs, without a residual, and another output.
    pub(crate) fn with_output(&self, output: &'a mut [f32]) -> Io<'a> {
        let target = |start, len| Target { start, slot: Slot::f32(len) };
        let outputs = [target(output.as_mut_ptr().cast(), output.len()), target(std::ptr::null_mut(), 0)];
        Io { inputs: self.inputs, residual: None, outputs, exclusive: PhantomData }
    }

    /// The elements of an input of f32.
    pub(crate) fn f32(&self, number: usize) -> &'a [f32] {
        f32::elements(self.inputs[number])
    }

    /// A part of the first output, which is f32.
    ///
    /// # Safety
    /// While the result lives nobody else accesses these elements.
    #[allow(clippy::mut_from_ref)] // Disjointness is the caller's promise.
    pub(crate) unsafe fn output(&self, range: Range<usize>) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.output_of(0, range) }
    }

    /// An element of an output that this kernel has written in an earlier phase.
    ///
    /// # Safety
    /// Nobody writes it meanwhile.
    pub(crate) unsafe fn written<T: Number>(&self, number: usize, index: usize) -> T {
        let Target { start, slot } = self.outputs[number];
        assert!(slot.element == T::TYPE && index < slot.len, "an element of the output");
        // SAFETY: in bounds and of this type (asserted); nobody writes it, by the caller's promise.
        unsafe { start.cast::<T>().add(index).read() }
    }

    /// Sets all numbers of an output of f32 that [`Self::raise`] is for to 0.
    pub(crate) fn clear(&self, number: usize) {
        (0..self.outputs[number].slot.len)
            .for_each(|index| self.atomic(number, index).store(0, Ordering::Relaxed));
    }

    /// A number of an output of f32, none of which is negative, becomes `to` if it is smaller. Several threads may do so at a time; nothing
    /// else accesses that output meanwhile.
    pub(crate) fn raise(&self, number: usize, index: usize, to: f32) {
        let (place, bits) = (self.atomic(number, index), to.to_bits());
        // The bits of numbers that are not negative are in their order.
        if bits > place.load(Ordering::Relaxed) {
            place.fetch_max(bits, Ordering::Relaxed);
        }
    }

    fn atomic(&self, number: usize, index: usize) -> &AtomicU32 {
        let Target { start, slot } = self.outputs[number];
        assert!(slot.element == ElementType::F32 && index < slot.len, "a number of the output");
        // SAFETY: in bounds and of 4 bytes, as aligned as f32 are (asserted); while this kernel runs all access is atomic.
        unsafe { AtomicU32::from_ptr(start.cast::<u32>().add(index)) }
    }

    /// Where a part of the first output starts; whoever writes there answers for it.
    pub(crate) fn output_start(&self, range: Range<usize>) -> *mut f32 {
        let Target { start, slot } = self.outputs[0];
        assert!(slot.element == ElementType::F32, "a kernel writes what its interface says");
        assert!(range.start <= range.end && range.end <= slot.len, "a unit stays inside the output");
        start.cast::<f32>().wrapping_add(range.start)
    }

    /// A part of an output.
    ///
    /// # Safety
    /// While the result lives nobody else accesses these elements.
    #[allow(clippy::mut_from_ref)] // Disjointness is the caller's promise.
    pub(crate) unsafe fn output_of<T: Number>(&self, number: usize, range: Range<usize>) -> &mut [T] {
        let Target { start, slot } = self.outputs[number];
        assert!(slot.element == T::TYPE, "a kernel writes what its interface says");
        assert!(range.start <= range.end && range.end <= slot.len, "a unit stays inside the output");
        // SAFETY: in bounds of the exclusive borrow of elements of this type that `self` holds (asserted); not aliased by the
        // caller's promise.
        unsafe { std::slice::from_raw_parts_mut(start.cast::<T>().add(range.start), range.len()) }
    }
}

/// The most threads that have shares of their own.
const MOST_SHARES: usize = 64;

/// Runs all of a kernel, each phase shared by `threads`, on scratch memory of as many parts.
///
/// # Errors
/// [`JitError::Length`] for a slice whose length is not that of the kernel's interface, or too little scratch memory for so many
/// threads; [`JitError::Element`] for a slice of another type. Nothing has been written then.
pub fn run(
    kernel: &dyn Kernel,
    inputs: &[View<'_>],
    residual: Option<&[f32]>,
    outputs: &mut [ViewMut<'_>],
    scratch: &mut [Line],
    threads: &Threads,
) -> Result<(), JitError> {
    let (want, count) = (kernel.interface().scratch, threads.count());
    let io = Io::new(kernel.interface(), inputs, residual, outputs)?;
    if scratch.len() / count < want {
        let (got, want) = (scratch.len(), want.saturating_mul(count));
        return Err(JitError::Length { what: "the scratch memory", got, want });
    }
    let scratch = Scratch { start: scratch.as_mut_ptr(), size: scratch.len() / count };
    let shares = count.min(MOST_SHARES);
    kernel.prepare(&io);
    for phase in 0..kernel.phases() {
        let units = kernel.units(phase);
        if units < 2 || count == 1 {
            // SAFETY: lengths were checked; all units are handed out, and the first part of the scratch memory, here alone.
            unsafe {
                kernel.execute(phase, 0..units, &io, std::slice::from_raw_parts_mut(scratch.of(0), want))
            };
            continue;
        }
        // In 128 bits: the product may be larger than the address space.
        let bound = |share: usize| (units as u128 * share as u128 / shares as u128) as usize;
        let taken = [const { AtomicBool::new(false) }; MOST_SHARES];
        threads.run(&|thread| {
            // SAFETY: `size` lines for each of `count` threads were given, exclusively, and a number is called once at a time.
            let scratch = unsafe { std::slice::from_raw_parts_mut(scratch.of(thread), want) };
            for share in (0..shares).map(|i| (thread + i) % shares) {
                let range = bound(share)..bound(share + 1);
                if !range.is_empty() && !taken[share].swap(true, Ordering::Relaxed) {
                    // SAFETY: lengths were checked; each share is taken once, and its units are its own.
                    unsafe { kernel.execute(phase, range, &io, scratch) };
                }
            }
        });
    }
    Ok(())
}

/// Scratch memory, a part of `size` lines for each thread.
#[derive(Clone, Copy)]
struct Scratch {
    start: *mut Line,
    size: usize,
}

// SAFETY: stands for a slice borrowed exclusively; whoever uses a part promises that nobody else does.
unsafe impl Sync for Scratch {}

impl Scratch {
    fn of(&self, thread: usize) -> *mut Line {
        self.start.wrapping_add(thread * self.size)
    }
}

/// Where the elements start.
fn start_of(view: &mut ViewMut<'_>) -> *mut u8 {
    match view {
        ViewMut::F32(elements) => elements.as_mut_ptr().cast(),
        ViewMut::I8(elements) => elements.as_mut_ptr().cast(),
        ViewMut::U8(elements) | ViewMut::Bool(elements) => elements.as_mut_ptr(),
        ViewMut::I16(elements) => elements.as_mut_ptr().cast(),
        ViewMut::I32(elements) => elements.as_mut_ptr().cast(),
        ViewMut::I64(elements) => elements.as_mut_ptr().cast(),
    }
}
