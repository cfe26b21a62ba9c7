//! The graph of a network, its text form, verifier, rewriter, passes and reference evaluator.

#![forbid(unsafe_code)]
