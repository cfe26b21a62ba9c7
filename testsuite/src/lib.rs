//! Test runner, cases, generators and benchmarks of twnc.

#![forbid(unsafe_code)]
