//! The tests of twnc-program: tables of steps and their results, programs that are refused, files, and random programs.

// A table's type is its columns.
#![allow(clippy::type_complexity)]

mod damage;
mod format;
mod maps;
mod moves;
mod operations;
mod order;
mod planes;
mod products;
mod random;
mod refusals;
mod released;
mod running;
mod single;
mod windows;
