//! The passes that ship with twnc.

#![forbid(unsafe_code)]
