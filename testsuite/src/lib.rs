//! Test runner, cases, generators and benchmarks of twnc.
//!
//! What judges the compiler must not be made of it: the networks of [`generate`] are written with onnx-protobuf, not
//! with `twnc-onnx`, and the scripts of `scripts/` compare with ONNX Runtime.

#![forbid(unsafe_code)]

pub mod generate;
