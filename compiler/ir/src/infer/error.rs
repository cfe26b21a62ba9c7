//! Why an operator does not apply: every message names the operator and what is wrong with which operand.

use thiserror::Error;

/// Why an operator does not apply to its operands.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TypeError {
    /// The wrong number of operands.
    #[error("{op} takes {expected}, not {found}")]
    Arity {
        /// The operator's word.
        op: &'static str,
        /// How many it takes: `2 operands`.
        expected: String,
        /// How many it was given.
        found: usize,
    },
    /// An operand has elements that the operator does not take.
    #[error("{op} does not take {ty} as operand {operand}")]
    Element {
        /// The operator's word.
        op: &'static str,
        /// Which operand, from 0.
        operand: usize,
        /// Its type.
        ty: String,
    },
    /// An operand has the wrong number of axes.
    #[error("{op} needs {expected} as operand {operand}, not {ty}")]
    Rank {
        /// The operator's word.
        op: &'static str,
        /// Which operand, from 0.
        operand: usize,
        /// What it needs.
        expected: String,
        /// Its type.
        ty: String,
    },
    /// Sizes that must agree do not.
    #[error("{op}: {what}: {left} against {right}")]
    Mismatch {
        /// The operator's word.
        op: &'static str,
        /// Which sizes.
        what: &'static str,
        /// One of them.
        left: String,
        /// The other.
        right: String,
    },
    /// An attribute is out of its range.
    #[error("{op}: {message}")]
    Attribute {
        /// The operator's word.
        op: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A size is larger than 64 bits, or its expression too long.
    #[error("{op}: a size of the result is too large to be written down")]
    Overflow {
        /// The operator's word.
        op: &'static str,
    },
    /// A value was to take the place of one of another type.
    #[error("a value of type {new} cannot replace one of type {old}")]
    Replacement {
        /// The type of the value to replace.
        old: String,
        /// The type of what was to replace it.
        new: String,
    },
    /// A custom operator refused.
    #[error("custom operator `{name}`: {message}")]
    Custom {
        /// `domain::name`.
        name: String,
        /// Why.
        message: String,
    },
}
