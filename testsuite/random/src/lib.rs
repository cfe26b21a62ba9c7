//! What tests draw: [`Random`] numbers and [`graph()`]s, each a function of its seed.
//!
//! A graph is valid: its shapes are solved forward, sizes of its inputs may be open, its values have several readers, and what jumps (rounding,
//! comparing, sorting) reads only what every way of computing it has to the bit. So two ways of computing it that are both right differ by
//! rounding alone. This crate knows the graph and nothing else, so that every crate's tests may use it.

#![forbid(unsafe_code)]

mod graph;
mod networks;
mod numbers;
mod operators;

pub use graph::{Sample, Vocabulary, graph};
pub use numbers::Random;
