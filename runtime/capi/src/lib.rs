//! The runtime as a C library, whose interface is `include/twnc.h`: written from what is public here, and compared with it by a test.
//!
//! Every function does its work in `error::guard`: it gives a code, leaves a message for the thread that called, and lets no panic out. What C
//! holds of modules, sessions and options are numbers and not addresses (`handle.rs`), so that one that is closed, made up or of another kind is an error.
//! What cannot be seen here, whether a pointer leads to what the header asks for, is the promise of the caller; `pointer.rs` alone
//! makes references of pointers.

// What each function asks of its caller is said once, at the head of the header.
#![allow(clippy::missing_safety_doc)]

mod array;
mod error;
mod handle;
mod module;
mod options;
mod pointer;
mod session;

pub use array::*;
pub use error::*;
pub use module::*;
pub use options::*;
pub use session::*;

use std::ffi::c_char;

/// Which interface this header describes. It changes when something in it changes or goes, and not when something joins.
pub const TWNC_ABI_VERSION: u32 = 1;

/// The TWNC_ABI_VERSION of the library.
#[unsafe(no_mangle)]
pub extern "C" fn twnc_abi_version() -> u32 {
    TWNC_ABI_VERSION
}

/// The version of the library, as text.
#[unsafe(no_mangle)]
pub extern "C" fn twnc_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
