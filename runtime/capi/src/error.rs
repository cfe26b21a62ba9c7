//! Errors: a code for programs, a message for people, and the wall that no panic passes.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use twnc_runtime::{Error, FormatError, RunError, TuningError};

/// How a call came out. Numbers stay; others may join.
pub type Code = i32;

/// It did what it was asked for.
pub const TWNC_OK: Code = 0;
/// An argument that no call may have: NULL, misaligned, out of range, not UTF-8, a buffer that is too small, arrays that overlap.
pub const TWNC_INVALID_ARGUMENT: Code = 1;
/// A handle that is not open: NULL, freed, made up, or of another kind.
pub const TWNC_INVALID_HANDLE: Code = 2;
/// A file that cannot be read.
pub const TWNC_FILE: Code = 3;
/// A file or bytes that are no model, or no tuning.
pub const TWNC_MODEL: Code = 4;
/// Inputs that are not those that the model takes.
pub const TWNC_INPUT: Code = 5;
/// Arrays for outputs that are not those that the model gives.
pub const TWNC_OUTPUT: Code = 6;
/// A run takes more memory than it may, or than there is.
pub const TWNC_MEMORY: Code = 7;
/// A path of execution that is not available here, code that cannot be made, or threads that cannot be started.
pub const TWNC_BACKEND: Code = 8;
/// A step cannot be computed for these elements.
pub const TWNC_RUN: Code = 9;
/// A mistake in the library. The call did nothing that can be relied on; all handles can be freed.
pub const TWNC_INTERNAL: Code = 10;

/// Why a call failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: Code,
    message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// An argument that no call may have.
    pub(crate) fn argument(message: impl Into<String>) -> Failure {
        Failure::new(TWNC_INVALID_ARGUMENT, message)
    }

    /// What was thrown: a mistake in the library.
    fn panicked(payload: &(dyn Any + Send)) -> Failure {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no more is known");
        Failure::new(TWNC_INTERNAL, format!("a mistake in twnc, please report it: {text}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let code = match &error {
            Error::File { source: FormatError::Io(_) | FormatError::NotAFile, .. } => TWNC_FILE,
            Error::Tuning { source: TuningError::Read(_), .. } => TWNC_FILE,
            Error::File { .. } | Error::Format(_) | Error::Tuning { .. } => TWNC_MODEL,
            Error::Program(_)
            | Error::UnknownInput { .. }
            | Error::MissingInput(_)
            | Error::DuplicateInput(_)
            | Error::Element { .. } => TWNC_INPUT,
            Error::OutputShape { .. } | Error::OutputCount { .. } => TWNC_OUTPUT,
            Error::Memory { .. } | Error::Allocation { .. } | Error::Run(RunError::Memory { .. }) => {
                TWNC_MEMORY
            }
            Error::Jit(_) | Error::Threads(_) | Error::UnknownBackend { .. } | Error::Backend { .. } => {
                TWNC_BACKEND
            }
            Error::Run(_) => TWNC_RUN,
        };
        Failure::new(code, error.to_string())
    }
}

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// Does the work of a function: no panic passes, and what went wrong is remembered for [`twnc_error_message`].
pub(crate) fn guard(work: impl FnOnce() -> Result<(), Failure>) -> Code {
    let done = catch_unwind(AssertUnwindSafe(work));
    let Err(failure) = done.unwrap_or_else(|payload| Err(Failure::panicked(&*payload))) else {
        return TWNC_OK;
    };
    // Names out of a file may hold zeros, which end a text of C.
    let message = CString::new(failure.message.replace('\0', "\\0")).unwrap_or_default();
    // A thread that ends has nobody left to read it.
    let _ = MESSAGE.try_with(|place| place.replace(message));
    failure.code
}

/// What went wrong, and what to do, in the last call of this thread that did not give TWNC_OK; empty if there was none. Never NULL. It stands until
/// the next such call of this thread.
#[unsafe(no_mangle)]
pub extern "C" fn twnc_error_message() -> *const c_char {
    MESSAGE.try_with(|message| message.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pointer;

    fn message() -> String {
        // SAFETY: a text that lives until the next failure of this thread.
        unsafe { pointer::text(twnc_error_message(), "message") }.expect("UTF-8").to_owned()
    }

    #[test]
    fn no_panic_passes() {
        assert_eq!(guard(|| Ok(())), TWNC_OK);
        assert_eq!(message(), "");
        assert_eq!(guard(|| panic!("out of {}", "bounds")), TWNC_INTERNAL);
        assert_eq!(message(), "a mistake in twnc, please report it: out of bounds");
        assert_eq!(guard(|| std::panic::resume_unwind(Box::new(7))), TWNC_INTERNAL);
        assert_eq!(message(), "a mistake in twnc, please report it: no more is known");
        assert_eq!(guard(|| Err(Failure::argument("a\0b"))), TWNC_INVALID_ARGUMENT);
        assert_eq!(guard(|| Ok(())), TWNC_OK);
        assert_eq!(message(), "a\\0b", "what succeeds changes no message");
        std::thread::spawn(|| assert_eq!(message(), "")).join().expect("another thread has its own");
    }
}
