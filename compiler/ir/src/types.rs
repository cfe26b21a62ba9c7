//! Element types and tensor types.

use crate::dim::Dim;
use std::fmt;

/// What one element of a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ElementType {
    /// IEEE 754 binary32.
    F32,
    /// Two's complement, 8 bits.
    I8,
    /// Unsigned, 8 bits.
    U8,
    /// Two's complement, 16 bits.
    I16,
    /// Two's complement, 32 bits.
    I32,
    /// Two's complement, 64 bits.
    I64,
    /// True or false.
    Bool,
    /// -1, 0 or +1. Only constants have it; `conv` and `matmul` take it as their weight.
    Ternary,
}

impl ElementType {
    /// Every type, with the word that the text form has for it.
    pub const ALL: [(ElementType, &'static str); 8] = [
        (ElementType::F32, "f32"),
        (ElementType::I8, "i8"),
        (ElementType::U8, "u8"),
        (ElementType::I16, "i16"),
        (ElementType::I32, "i32"),
        (ElementType::I64, "i64"),
        (ElementType::Bool, "bool"),
        (ElementType::Ternary, "ternary"),
    ];

    /// Whether arithmetic on it is that of whole numbers.
    pub fn is_integer(self) -> bool {
        !matches!(self, ElementType::F32 | ElementType::Bool | ElementType::Ternary)
    }

    /// Whether it is an integer of 8 or 16 bits.
    pub fn is_narrow(self) -> bool {
        matches!(self, ElementType::I8 | ElementType::U8 | ElementType::I16)
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = ElementType::ALL.iter().find(|(t, _)| t == self).map_or("?", |(_, word)| word);
        f.write_str(word)
    }
}

/// The type of a value: its elements and the sizes of its axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// What an element is.
    pub element: ElementType,
    /// The size of each axis, outermost first.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A type.
    pub fn new(element: ElementType, shape: Vec<Dim>) -> TensorType {
        TensorType { element, shape }
    }

    /// An f32 type.
    pub fn f32(shape: Vec<Dim>) -> TensorType {
        TensorType::new(ElementType::F32, shape)
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The sizes, if none is open.
    pub fn fixed_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(Dim::as_size).collect()
    }

    /// Whether a value of one type can stand where the other is declared: the same elements and rank, and no two sizes
    /// that are certainly different.
    pub fn is_consistent_with(&self, other: &TensorType) -> bool {
        self.element == other.element
            && self.rank() == other.rank()
            && self.shape.iter().zip(&other.shape).all(|(a, b)| a.may_equal(b))
    }
}

impl fmt::Display for TensorType {
    /// `f32[N,64,56,56]`; a scalar is `f32[]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.element)?;
        for (i, dim) in self.shape.iter().enumerate() {
            write!(f, "{}{dim}", if i > 0 { "," } else { "" })?;
        }
        f.write_str("]")
    }
}
