//! Loads a compiled model, plans its memory, runs it.

#![forbid(unsafe_code)]
