//! Options of sessions.

use crate::error::{Code, Failure, TWNC_BACKEND, guard};
use crate::handle::Table;
use crate::pointer::{self, Place};
use std::ffi::c_char;
use std::sync::{Mutex, PoisonError};
use twnc_runtime::{Backend, SessionOptions, Tuning};

/// How sessions run. A session copies what it is given.
#[derive(Debug)]
pub struct Options(Mutex<SessionOptions>);

/// The most threads of a session, as for the command.
const MAX_THREADS: usize = 1024;

pub(crate) static OPTIONS: Table<Options> = Table::new("options handle");

impl Options {
    pub(crate) fn get(&self) -> SessionOptions {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Options as they are for a session that is given none: one thread, the fastest path that the machine has (or the one that the environment's TWNC_ISA
/// names), three quarters of the machine's memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_options_new(options: *mut *mut Options) -> Code {
    guard(|| {
        // SAFETY: the header asks for what it needs.
        let place = unsafe { Place::of_handle(options, "options") }?;
        place.put(OPTIONS.open(Options(Mutex::default()))?);
        Ok(())
    })
}

/// Frees options; sessions that were made with them go on.
#[unsafe(no_mangle)]
pub extern "C" fn twnc_options_free(options: *mut Options) -> Code {
    guard(|| OPTIONS.close(options))
}

/// How many threads compute a run, the caller's included: 1 to 1024.
#[unsafe(no_mangle)]
pub extern "C" fn twnc_options_set_threads(options: *mut Options, threads: usize) -> Code {
    guard(|| {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(Failure::argument(format!("{threads} threads; from 1 to {MAX_THREADS} may compute")));
        }
        change(options, |options| options.threads(threads))
    })
}

/// The path of execution: "avx512", "avx2", "portable" or "interpreter". One that the machine does not have is TWNC_BACKEND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_options_set_backend(options: *mut Options, name: *const c_char) -> Code {
    guard(|| {
        // SAFETY: the header asks for what it needs.
        let name = unsafe { pointer::text(name, "name") }?;
        let Some(backend) = Backend::available().find(|backend| backend.name() == name) else {
            let known: Vec<_> = Backend::available().map(Backend::name).collect();
            let message = format!("backend `{name}` is not available here; there are {}", known.join(", "));
            return Err(Failure::new(TWNC_BACKEND, message));
        };
        change(options, |options| options.backend(backend))
    })
}

/// The most memory that a run may take, in bytes; one that needs more is TWNC_MEMORY.
#[unsafe(no_mangle)]
pub extern "C" fn twnc_options_set_max_memory(options: *mut Options, bytes: usize) -> Code {
    guard(|| change(options, |options| options.max_memory(bytes)))
}

/// Which kernels layers take, as `twnc bench --autotune --store FILE` has measured: the file `path` (UTF-8).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn twnc_options_set_tuning(options: *mut Options, path: *const c_char) -> Code {
    guard(|| {
        // SAFETY: the header asks for what it needs.
        let path = unsafe { pointer::text(path, "path") }?;
        let tuning = Tuning::read(path)?;
        change(options, |options| options.tuning(tuning))
    })
}

fn change(
    options: *const Options,
    change: impl FnOnce(SessionOptions) -> SessionOptions,
) -> Result<(), Failure> {
    let options = OPTIONS.get(options)?;
    let mut options = options.0.lock().unwrap_or_else(PoisonError::into_inner);
    *options = change(options.clone());
    Ok(())
}
