//! Kernels of every kind of code, run between inaccessible pages.
//!
//! Everything that a kernel is given lies in memory of its own next to a page that nobody may touch: one byte before a slice
//! ([`Edge::Start`]) or behind it ([`Edge::End`]) ends the process, and standard error says which case it was. What is
//! left of the slice's own pages holds a value that is compared afterwards, and inputs cannot be written.

use bytemuck::Pod;
use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Once, OnceLock};
use twnc_jit::{Isa, Jit, Kernel, Line, Threads, run};
use twnc_program::ElementType;
use twnc_program::interpret::{View, ViewMut};

/// Generators of every kind of code that this machine runs.
pub fn jits() -> &'static [Jit] {
    static JITS: OnceLock<Vec<Jit>> = OnceLock::new();
    let new = |isa| Jit::new(isa).expect("this machine runs generated code");
    JITS.get_or_init(|| Isa::available().map(new).collect())
}

/// Which end of a slice is next to an inaccessible page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    Start,
    End,
}

/// Elements next to an inaccessible page, with another one at the other end of their own pages.
pub struct Fenced<T> {
    /// Of the mapping: a page, the elements' own pages, a page.
    start: *mut u8,
    size: usize,
    elements: *mut T,
    len: usize,
}

/// What the rest of the elements' own pages holds.
const GUARD: u8 = 0xA5;

impl<T: Pod> Fenced<T> {
    /// Elements that can be written.
    pub fn new(elements: &[T], edge: Edge) -> Fenced<T> {
        let (page, bytes) = (page(), size_of_val(elements));
        let own = bytes.next_multiple_of(page).max(page);
        let size = own + 2 * page;
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, of which only the pages in the middle can be accessed.
        let (start, opened) = unsafe {
            let start = libc::mmap(std::ptr::null_mut(), size, libc::PROT_NONE, anonymous, -1, 0);
            assert_ne!(start, libc::MAP_FAILED, "no memory of {size} bytes");
            (start.cast::<u8>(), libc::mprotect(start.add(page), own, libc::PROT_READ | libc::PROT_WRITE))
        };
        assert_eq!(opened, 0, "the pages can be opened");
        let place = if edge == Edge::Start { page } else { page + own - bytes };
        let place = start.wrapping_add(place).cast::<T>();
        // SAFETY: the elements' own pages, which nothing refers to yet; the elements fit there, aligned as their size is a
        // multiple of their alignment, and so is the page's.
        unsafe {
            start.add(page).write_bytes(GUARD, own);
            place.copy_from_nonoverlapping(elements.as_ptr(), elements.len());
        }
        Fenced { start, size, elements: place, len: elements.len() }
    }

    /// Elements that cannot be written.
    pub fn constant(elements: &[T], edge: Edge) -> Fenced<T> {
        let fenced = Fenced::new(elements, edge);
        let page = page();
        // SAFETY: the elements' own pages.
        let closed =
            unsafe { libc::mprotect(fenced.start.add(page).cast(), fenced.size - 2 * page, libc::PROT_READ) };
        assert_eq!(closed, 0, "the pages can be closed");
        fenced
    }

    /// Whether nobody wrote to what is left of the elements' own pages.
    pub fn is_intact(&self) -> bool {
        let page = page();
        // SAFETY: the elements' own pages, which can be read and which nothing writes while `self` is borrowed.
        let own = unsafe { std::slice::from_raw_parts(self.start.add(page), self.size - 2 * page) };
        let before = self.elements as usize - own.as_ptr() as usize;
        let behind = &own[before + self.len * size_of::<T>()..];
        own[..before].iter().chain(behind).all(|&byte| byte == GUARD)
    }
}

impl<T: Pod> Deref for Fenced<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` initialised elements that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.elements, self.len) }
    }
}

impl<T: Pod> DerefMut for Fenced<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed exclusively. (What `constant` made faults when it is written, as it should.)
        unsafe { std::slice::from_raw_parts_mut(self.elements, self.len) }
    }
}

impl<T> Drop for Fenced<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; no borrow of it is left.
        unsafe { libc::munmap(self.start.cast(), self.size) };
    }
}

fn page() -> usize {
    // SAFETY: a question to the system, without conditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).expect("pages have a size")
}

/// Elements of one of the types that kernels take.
pub enum Elements {
    F32(Fenced<f32>),
    I16(Fenced<i16>),
}

impl Elements {
    fn constant(view: View<'_>, edge: Edge) -> Elements {
        match view {
            View::F32(x) => Elements::F32(Fenced::constant(x, edge)),
            View::I16(x) => Elements::I16(Fenced::constant(x, edge)),
            other => panic!("no kernel takes {:?}", other.element()),
        }
    }

    /// What an earlier kernel left.
    fn stale(element: ElementType, len: usize, edge: Edge) -> Elements {
        match element {
            ElementType::F32 => Elements::F32(Fenced::new(&vec![f32::NAN; len], edge)),
            ElementType::I16 => Elements::I16(Fenced::new(&vec![0x7A7A; len], edge)),
            other => panic!("no kernel writes {other:?}"),
        }
    }

    fn view(&self) -> View<'_> {
        match self {
            Elements::F32(x) => View::F32(x),
            Elements::I16(x) => View::I16(x),
        }
    }

    fn view_mut(&mut self) -> ViewMut<'_> {
        match self {
            Elements::F32(x) => ViewMut::F32(x),
            Elements::I16(x) => ViewMut::I16(x),
        }
    }

    fn is_intact(&self) -> bool {
        match self {
            Elements::F32(x) => x.is_intact(),
            Elements::I16(x) => x.is_intact(),
        }
    }

    /// The elements, which are f32.
    pub fn f32(&self) -> &[f32] {
        match self {
            Elements::F32(x) => x,
            Elements::I16(_) => panic!("elements are i16"),
        }
    }

    /// The elements, which are i16.
    #[allow(dead_code)] // Not every test has a kernel that writes them.
    pub fn i16(&self) -> &[i16] {
        match self {
            Elements::F32(_) => panic!("elements are f32"),
            Elements::I16(x) => x,
        }
    }
}

/// Runs a kernel on so many threads, with everything that it takes at an edge; gives its outputs. `case` is told where it faults.
pub fn execute(
    case: &dyn Debug,
    kernel: &dyn Kernel,
    inputs: &[View<'_>],
    residual: Option<&[f32]>,
    threads: usize,
    edge: Edge,
) -> Vec<Elements> {
    let interface = kernel.interface();
    let told =
        format!("{case:?}: {} on {threads} threads at the {edge:?}: {interface:?}\n", kernel.describe());
    let inputs: Vec<Elements> = inputs.iter().map(|&view| Elements::constant(view, edge)).collect();
    let views: Vec<View<'_>> = inputs.iter().map(Elements::view).collect();
    let residual = residual.map(|residual| Fenced::constant(residual, edge));
    let stale = |slot: &twnc_jit::Slot| Elements::stale(slot.element, slot.len, edge);
    let mut outputs: Vec<Elements> = interface.outputs.iter().map(stale).collect();
    let line: Line = bytemuck::cast([f32::NAN; 16]);
    let threads = Threads::new(threads).expect("threads start");
    let mut scratch = Fenced::new(&vec![line; interface.scratch * threads.count()], edge);
    let mut targets: Vec<ViewMut<'_>> = outputs.iter_mut().map(Elements::view_mut).collect();
    telling(&told, || {
        run(kernel, &views, residual.as_deref(), &mut targets, &mut scratch, &threads).expect("lengths fit");
    });
    assert!(outputs.iter().all(Elements::is_intact), "wrote around an output: {told}");
    assert!(scratch.is_intact(), "wrote around the scratch: {told}");
    outputs
}

/// What threads are at, for the handler; at most so many at once.
static TOLD: [AtomicPtr<String>; 64] = [const { AtomicPtr::new(std::ptr::null_mut()) }; 64];

/// Does something whose faults are told, on whatever thread they happen.
pub fn telling<R>(told: &str, action: impl FnOnce() -> R) -> R {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: the handler reads atomics and makes system calls that handlers may make.
            unsafe { libc::signal(signal, tell as extern "C" fn(libc::c_int) as libc::sighandler_t) };
        }
    });
    let mut text = format!("a kernel left its slices: {told}");
    let (none, own) = (std::ptr::null_mut(), &raw mut text);
    let take = |slot: &&AtomicPtr<String>| {
        slot.compare_exchange(none, own, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    };
    let slot = TOLD.iter().find(take).expect("fewer tests run at once");
    let result = action();
    slot.store(none, Ordering::SeqCst);
    result
}

/// Says what threads were at; the access is then made again and ends the process.
extern "C" fn tell(signal: libc::c_int) {
    for slot in &TOLD {
        // SAFETY: null, or what `telling` has put there and takes back before it goes. (Another thread might go meanwhile, but
        // this process ends here whatever it prints.)
        if let Some(text) = unsafe { slot.load(Ordering::SeqCst).as_ref() } {
            // SAFETY: the text's own bytes.
            unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        }
    }
    // SAFETY: puts back what was there before.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}
