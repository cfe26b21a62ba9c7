//! What a graph becomes: each case in `cases/` as the listing of its program, and what cannot be lowered.

#![allow(clippy::unwrap_used)] // A graph that cannot be read is a failure of the test.

mod errors;
mod listing;
mod opaque;
mod programs;
