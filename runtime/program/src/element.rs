//! The element types of buffers and constants.

use std::fmt;

/// What one element of a buffer is. All are little-endian on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// One byte, 0 or 1.
    Bool,
    /// -1, 0 or +1; only constants have it, packed five to a byte.
    Ternary,
}

impl ElementType {
    /// Bytes of one element in a buffer; `None` for [`ElementType::Ternary`], which is packed.
    pub fn size(self) -> Option<usize> {
        match self {
            ElementType::I8 | ElementType::U8 | ElementType::Bool => Some(1),
            ElementType::I16 => Some(2),
            ElementType::F32 | ElementType::I32 => Some(4),
            ElementType::I64 => Some(8),
            ElementType::Ternary => None,
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ElementType::F32 => "f32",
            ElementType::I8 => "i8",
            ElementType::U8 => "u8",
            ElementType::I16 => "i16",
            ElementType::I32 => "i32",
            ElementType::I64 => "i64",
            ElementType::Bool => "bool",
            ElementType::Ternary => "ternary",
        })
    }
}
