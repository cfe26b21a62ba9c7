//! The tests of the passes, in one program: they share an oracle.

#![allow(clippy::unwrap_used)] // in a test a panic is the report, also in the functions around it

mod cases;
mod fixed_point;
mod folding;
mod forms;
mod oracle;
mod preparation;
mod random_graphs;
mod rule_texts;
mod rules;
mod saturation;
mod sub_pixel;
mod swish;
mod ternary;
mod threshold;
