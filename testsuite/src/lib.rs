//! Test runner, cases, generators and benchmarks of twnc.
//!
//! What judges the compiler must not be made of it: the networks of [`generate`] are written with onnx-protobuf, not
//! with `twnc-onnx`, and the scripts of `scripts/` compare with ONNX Runtime. [`fuzz`] gives readers what no writer writes.

#![forbid(unsafe_code)]

pub mod agree;
pub mod conformance;
pub mod fuzz;
pub mod generate;
mod random;
