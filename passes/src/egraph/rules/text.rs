//! The text of rules: `rule NAME (EXACTNESS): LEFT => RIGHT if CONDITION, ...`.
//!
//! The grammar, with `x*` for any number, `x?` for at most one, and lists with commas between:
//!
//! ```text
//! rules      = rule*
//! rule       = "rule" word "(" ("exact" | "reassociation") ("," "numbers")? ")" ":" left "=>" right ("if" condition*)?
//! left       = variable | operator attributes? "(" left* ")"
//! right      = variable | operator attributes? "(" right* ")" | number
//! operator   = word | "custom" text
//! attributes = "{" (variable | word "(" variable* ")" | (word "=" value)*) "}"
//! number     = product (("+" | "-") product)*          of coefficients
//! product    = factor (("*" | "/") factor)*
//! factor     = variable | integer | "-" factor | "(" number ")" | word "(" number* ")"
//! condition  = word "(" variable* ")"
//! variable   = "?" word
//! ```
//!
//! `#` starts a comment. The words are those of `algebra.rs`, `attributes.rs` and `conditions.rs`; a value of an attribute is in the syntax of a graph's text.

use super::algebra::{self, Algebra, Bindings};
use super::attributes::AttributeFunction;
use super::conditions::Condition;
use crate::egraph::facts::Classes;
use std::fmt;
use thiserror::Error;
use twnc_ir::text::AttributeList;
use twnc_ir::{CustomCall, Op};

/// Why a text holds no rules.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {message}")]
pub struct RuleError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// How closely the sides of a rule agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exactness {
    /// Whether they agree to the bit; else, up to float reassociation.
    pub exact: bool,
    /// Whether they agree for finite numbers only, and may differ beside NaN and infinities.
    pub numbers_only: bool,
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.exact { "exact" } else { "reassociation" })?;
        f.write_str(if self.numbers_only { ", numbers" } else { "" })
    }
}

/// A rule as its text says it. Variables are numbers: places in `variables`.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) name: String,
    /// Where it stands: line and column, from 1.
    pub(crate) place: (usize, usize),
    pub(crate) exactness: Exactness,
    /// From `LEFT` on, with blanks as single ones.
    pub(crate) equation: String,
    pub(crate) variables: Vec<String>,
    pub(crate) left: Left,
    pub(crate) right: Right,
    pub(crate) conditions: Vec<(Condition, Vec<u32>)>,
}

/// A left side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Left {
    Variable(u32),
    Apply { word: &'static str, attributes: Option<LeftAttributes>, operands: Vec<Left> },
}

/// The attributes of an operator on a left side: a variable, which may be one that the text does not name, and what it may be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LeftAttributes {
    pub(crate) variable: u32,
    pub(crate) among: Among,
}

/// Among which attributes a left side has its match.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Among {
    /// Any.
    All,
    /// Those that are written out.
    These(AttributeList),
    /// Any of this custom operator; the attributes are what it is tried with.
    AllOf(CustomCall),
    /// This custom operator with these attributes.
    Call(CustomCall),
}

/// A right side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Right {
    Variable(u32),
    Apply { word: &'static str, attributes: Option<RightAttributes>, operands: Vec<Right> },
    Number(Algebra),
}

/// The attributes of an operator on a right side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RightAttributes {
    Variable(u32),
    /// Those of a use of this custom operator.
    VariableOf(CustomCall, u32),
    Computed(AttributeFunction, Vec<u32>),
    Written(AttributeList),
    Call(CustomCall),
}

impl Left {
    /// Whether the attributes that were matched are among those that it allows.
    pub(crate) fn admits(&self, classes: &Classes, bindings: &Bindings) -> bool {
        let Left::Apply { attributes, operands, .. } = self else { return true };
        let own = attributes.as_ref().is_none_or(|attributes| {
            let bound = bindings.get(attributes.variable as usize);
            match &attributes.among {
                Among::All => true,
                among => {
                    bound.and_then(|&id| algebra::attributes(classes, id)).is_some_and(|op| among.has(&op))
                }
            }
        });
        own && operands.iter().all(|operand| operand.admits(classes, bindings))
    }

    /// Whether attributes are written out somewhere.
    pub(crate) fn has_written(&self) -> bool {
        let Left::Apply { attributes, operands, .. } = self else { return false };
        attributes.as_ref().is_some_and(|attributes| matches!(attributes.among, Among::These(_)))
            || operands.iter().any(Left::has_written)
    }
}

impl Among {
    fn has(&self, op: &Op) -> bool {
        match (self, op) {
            (Among::All, _) => true,
            (Among::These(list), op) => list.is_of(op),
            (Among::AllOf(known), Op::Custom(call)) => known.operator.name() == call.operator.name(),
            (Among::Call(known), Op::Custom(call)) => known == call,
            _ => false,
        }
    }
}

/// Operators whose nodes have attributes.
const WITH_ATTRIBUTES: [&str; 22] = [
    "conv",
    "leaky_relu",
    "clip",
    "hard_sigmoid",
    "batch_norm",
    "max_pool",
    "average_pool",
    "softmax",
    "reshape",
    "transpose",
    "concat",
    "slice",
    "pad",
    "broadcast",
    "gather",
    "cast",
    "quantize",
    "reduce_sum",
    "reduce_mean",
    "reduce_max",
    "reduce_min",
    "custom",
];

/// The operator of this word, and whether its nodes have attributes.
pub(crate) fn operator(word: &str) -> Option<(&'static str, bool)> {
    if let Some(known) = WITH_ATTRIBUTES.iter().find(|known| **known == word) {
        return Some((known, true));
    }
    crate::egraph::facts::plain(word).map(|op| (op.mnemonic(), false))
}

/// The words of all operators.
pub(crate) fn operator_words() -> impl Iterator<Item = &'static str> {
    WITH_ATTRIBUTES.into_iter().chain(crate::egraph::facts::plain_words())
}
