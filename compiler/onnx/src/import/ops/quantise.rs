//! Quantised constants and values.
use super::Operator;
pub(super) const OPERATORS: &[Operator] = &[];
