//! The language of the e-graph: a node is an operator over classes of values.
//!
//! An operator's attributes are a class of their own, its first child, so that a pattern can bind them (`conv{?a}(?x, ?w)`). Constants,
//! coefficients and attributes stand in tables ([`Tables`](super::facts::Tables)) and are known by their place there. A node with several results
//! is a class of all of them, from which `Part` takes one.

use egg::{Id, Language};

/// A node of the e-graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Term {
    /// What it is.
    pub(crate) head: Head,
    /// The attributes, if the operator has any, and the operands.
    pub(crate) children: Vec<Id>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Head {
    /// A value that is computed elsewhere, by its place in the table of such values.
    Outside(u32),
    /// A constant tensor, by its place in the table.
    Constant(u32),
    /// A coefficient, by its place in the table.
    Coefficient(u32),
    /// An operator with its attributes, by its place in the table.
    Attributes(u32),
    /// An operator by its word.
    Operator(&'static str),
    /// A result of an operator with several, by its number.
    Part(u32),
}

impl Term {
    /// A node without children.
    pub(crate) fn leaf(head: Head) -> Term {
        Term { head, children: vec![] }
    }
}

impl Language for Term {
    type Discriminant = Head;

    fn discriminant(&self) -> Head {
        self.head
    }

    fn matches(&self, other: &Term) -> bool {
        self.head == other.head && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}
