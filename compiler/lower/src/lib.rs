//! Graphs to programs: step selection and fusion.

#![forbid(unsafe_code)]
