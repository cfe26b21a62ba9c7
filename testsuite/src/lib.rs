//! Test runner, cases, generators and benchmarks of twnc.
//!
//! What judges the compiler must not be made of it: the networks of [`generate`] are written with onnx-protobuf, not
//! with `twnc-onnx`, and the scripts of `scripts/` compare with ONNX Runtime. [`fuzz`] gives readers what no writer writes, [`graphs`] the compiler networks that nobody would.
//! [`extraction`] says what the ways of taking a graph from an e-graph are worth.

#![forbid(unsafe_code)]

pub mod agree;
mod arrays;
pub mod conformance;
pub mod extraction;
pub mod fuzz;
pub mod generate;
pub mod graphs;
