//! The compiler as a whole: whatever it compiles computes what the reference evaluator does, and whatever it is given, it answers in a sentence.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

mod arrivals;
mod bad_models;
mod budget;
mod command;
mod fix_point;
#[path = "../../../onnx/tests/fixture/mod.rs"]
mod fixture;
mod formats;
mod manual;
mod networks;
mod operations;
mod planes;
mod random_graphs;
mod random_layers;
mod refusals;
mod repair;
mod snapshots;
mod ternary_networks;
mod training;
