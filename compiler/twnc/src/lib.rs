//! The ternary neural network compiler: library and command.

#![forbid(unsafe_code)]
